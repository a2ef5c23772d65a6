"""Invitations, and keys that belong to somebody, rotate and know where they were used."""

import uuid

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

import tenants.database.constraints
import tenants.models.base


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0010_support"),
    ]

    operations = [
        migrations.CreateModel(
            name="Invitation",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("email", models.EmailField(max_length=254)),
                (
                    "role",
                    models.CharField(
                        choices=[
                            ("owner", "owner"),
                            ("admin", "admin"),
                            ("engineer", "engineer"),
                            ("viewer", "viewer"),
                        ],
                        max_length=10,
                    ),
                ),
                ("digest", models.CharField(max_length=64, unique=True)),
                ("expires_at", models.DateTimeField()),
                ("mailed", models.BooleanField(default=False)),
                ("inviter", models.CharField(max_length=330)),
                ("accepted_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
        migrations.AddField(
            model_name="apikey",
            name="allowed_addresses",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=43), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="last_used_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_digest",
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.AddField(
            model_name="apikey",
            name="previous_until",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="apikey",
            name="seen_from",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(max_length=44), blank=True, default=list, size=None
            ),
        ),
        migrations.AddField(
            model_name="apikey",
            name="service",
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name="upload",
            name="user_id",
            field=models.UUIDField(blank=True, null=True),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=models.CheckConstraint(
                condition=models.Q(("service", False), ("created_by", None), _connector="OR"),
                name="tenants_apikey_one_holder",
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="invited_by",
            field=tenants.models.base.TenantForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.membership",
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="invited_with",
            field=tenants.models.base.TenantForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.apikey",
            ),
        ),
        migrations.AddField(
            model_name="invitation",
            name="tenant",
            field=tenants.models.base.OwnerKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="+", to="tenants.tenant"
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                condition=models.Q(("accepted_at", None), ("revoked_at", None)),
                fields=("tenant", "email"),
                name="tenants_invitation_one_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=models.UniqueConstraint(
                fields=("tenant", "id"), name="tenants_invitation_tenant_id_key"
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=tenants.database.constraints.TenantIsolation(
                name="tenants_invitation_isolation"
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=tenants.database.constraints.TenantReference(
                column="invited_by_id",
                name="tenants_invitation_invited_by_same_tenant",
                to_table="tenants_membership",
            ),
        ),
        migrations.AddConstraint(
            model_name="invitation",
            constraint=tenants.database.constraints.TenantReference(
                column="invited_with_id",
                name="tenants_invitation_invited_with_same_tenant",
                to_table="tenants_apikey",
            ),
        ),
    ]
