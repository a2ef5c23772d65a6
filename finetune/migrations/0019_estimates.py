"""What jobs take, as measured; wishes to know it; and the receipt of a job."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import finetune.states
import tenants.database.constraints
import tenants.models.base


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0018_evaluations"),
        ("tenants", "0018_rights"),
    ]

    operations = [
        migrations.CreateModel(
            name="Machine",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("place", models.CharField(max_length=120, unique=True)),
                ("device", models.CharField(max_length=8)),
                ("memory_mb", models.BigIntegerField()),
                ("seen_at", models.DateTimeField(auto_now=True)),
            ],
        ),
        migrations.AddField(
            model_name="job",
            name="receipt",
            field=models.JSONField(null=True),
        ),
        migrations.CreateModel(
            name="Estimate",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="identifier",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="made at")),
                (
                    "state",
                    models.CharField(
                        default=finetune.states.LeaseState["WAITING"],
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                (
                    "epoch",
                    models.IntegerField(
                        db_default=0,
                        default=0,
                        help_text="How often a worker took it. Only the latest may write.",
                        verbose_name="claims",
                    ),
                ),
                (
                    "attempts",
                    models.IntegerField(
                        db_default=0, default=0, verbose_name="attempts without progress"
                    ),
                ),
                (
                    "lease_until",
                    models.DateTimeField(
                        help_text="Past: the worker is presumed lost, and it is tried again.",
                        null=True,
                        verbose_name="lease until",
                    ),
                ),
                (
                    "not_before",
                    models.DateTimeField(
                        help_text="Until then it waits: for room, storage, or after a failure.",
                        null=True,
                        verbose_name="not before",
                    ),
                ),
                (
                    "wait_reason",
                    models.CharField(
                        blank=True,
                        db_default="",
                        help_text="Or, where an attempt failed, with what.",
                        max_length=200,
                        verbose_name="waits for",
                    ),
                ),
                (
                    "worker",
                    models.CharField(
                        blank=True, db_default="", max_length=120, verbose_name="worker"
                    ),
                ),
                ("started_at", models.DateTimeField(null=True, verbose_name="started at")),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished at")),
                ("cancel_requested_at", models.DateTimeField(null=True)),
                ("done", models.BigIntegerField(default=0)),
                ("total", models.BigIntegerField(null=True)),
                ("error", models.JSONField(null=True)),
                ("requested", models.JSONField(default=dict)),
                ("seed", models.BigIntegerField(default=0)),
                ("created_by", models.CharField(blank=True, max_length=120)),
                (
                    "job",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="estimates",
                        to="finetune.job",
                    ),
                ),
                (
                    "tenant",
                    tenants.models.base.OwnerKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                        verbose_name="tenant",
                    ),
                ),
            ],
            options={
                "verbose_name": "estimate",
                "verbose_name_plural": "estimates",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "job"), name="finetune_estimate_once"
                    ),
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="finetune_estimate_tenant_id_key"
                    ),
                    tenants.database.constraints.TenantIsolation(
                        name="finetune_estimate_isolation"
                    ),
                    tenants.database.constraints.TenantReference(
                        column="job_id",
                        name="finetune_estimate_job_same_tenant",
                        to_table="finetune_job",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Pace",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("place", models.CharField(max_length=120)),
                ("shape", models.CharField(max_length=64)),
                ("settings", models.JSONField(default=dict)),
                ("machine", models.JSONField(default=dict)),
                ("token_seconds", models.FloatField()),
                ("valid_token_seconds", models.FloatField(null=True)),
                ("save_seconds", models.FloatField(default=0)),
                ("start_seconds", models.FloatField(default=0)),
                ("publish_seconds", models.FloatField(null=True)),
                ("peak_memory_mb", models.IntegerField()),
                ("formula_mb", models.IntegerField()),
                ("outturns", models.JSONField(default=list)),
                ("measured_at", models.DateTimeField(auto_now=True)),
                (
                    "base",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="finetune.catalogmodel",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("base", "place", "shape"), name="finetune_pace_once"
                    )
                ],
            },
        ),
    ]
