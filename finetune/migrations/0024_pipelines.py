"""Stages of training in a row, asked for at once."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import finetune.states
import tenants.database.constraints
import tenants.models.base


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0023_machines_in_bf16"),
        ("tenants", "0018_rights"),
    ]

    operations = [
        migrations.CreateModel(
            name="Pipeline",
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
                ("model", models.CharField(max_length=256)),
                ("name", models.CharField(blank=True, max_length=200)),
                ("metadata", models.JSONField(default=dict)),
                ("reserved_at", models.DateTimeField(null=True)),
                ("paused_at", models.DateTimeField(null=True)),
                ("created_by", models.CharField(blank=True, max_length=120)),
                (
                    "base",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="finetune.catalogmodel",
                        verbose_name="base model",
                    ),
                ),
                (
                    "license",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.license",
                    ),
                ),
                (
                    "parent",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="finetune.artifact",
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
                "verbose_name": "pipeline",
                "verbose_name_plural": "pipelines",
            },
        ),
        migrations.CreateModel(
            name="Stage",
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
                ("number", models.IntegerField()),
                ("request", models.JSONField(default=dict)),
                ("gate", models.CharField(default="none", max_length=10)),
                ("seed", models.BigIntegerField()),
                ("trained_tokens", models.BigIntegerField(null=True)),
                ("approved_at", models.DateTimeField(null=True)),
                ("approved_by", models.CharField(blank=True, max_length=120)),
                (
                    "job",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="stages",
                        to="finetune.job",
                    ),
                ),
                (
                    "pipeline",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="stages",
                        to="finetune.pipeline",
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
                (
                    "training_file",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.storedfile",
                    ),
                ),
                (
                    "validation_file",
                    tenants.models.base.TenantForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.storedfile",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="pipeline",
            index=models.Index(
                fields=["tenant", "-created_at", "-id"], name="finetune_pipeline_page"
            ),
        ),
        migrations.AddConstraint(
            model_name="pipeline",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="finetune_pipeline_tenant_id_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="pipeline",
            constraint=tenants.database.constraints.TenantIsolation(
                name="finetune_pipeline_isolation"
            ),
        ),
        migrations.AddConstraint(
            model_name="pipeline",
            constraint=tenants.database.constraints.TenantReference(
                column="license_id",
                name="finetune_pipeline_license_same_tenant",
                to_table="tenants_license",
            ),
        ),
        migrations.AddConstraint(
            model_name="pipeline",
            constraint=tenants.database.constraints.TenantReference(
                column="parent_id",
                name="finetune_pipeline_parent_same_tenant",
                to_table="finetune_artifact",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.UniqueConstraint(
                fields=("tenant", "pipeline", "number"), name="finetune_stage_number_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.UniqueConstraint(
                fields=("tenant", "job"), name="finetune_stage_job_once"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="finetune_stage_tenant_id_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=tenants.database.constraints.TenantIsolation(
                name="finetune_stage_isolation"
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=tenants.database.constraints.TenantReference(
                column="pipeline_id",
                name="finetune_stage_pipeline_same_tenant",
                to_table="finetune_pipeline",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=tenants.database.constraints.TenantReference(
                column="training_file_id",
                name="finetune_stage_training_file_same_tenant",
                to_table="tenants_storedfile",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=tenants.database.constraints.TenantReference(
                column="validation_file_id",
                name="finetune_stage_validation_file_same_tenant",
                to_table="tenants_storedfile",
            ),
        ),
        migrations.AddConstraint(
            model_name="stage",
            constraint=tenants.database.constraints.TenantReference(
                column="job_id", name="finetune_stage_job_same_tenant", to_table="finetune_job"
            ),
        ),
    ]
