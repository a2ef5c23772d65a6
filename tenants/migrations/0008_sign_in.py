"""A tenant's own identity provider."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import tenants.database.constraints
import tenants.models.base


class Migration(migrations.Migration):
    dependencies = [("tenants", "0007_shredding")]

    operations = [
        migrations.CreateModel(
            "SignInProvider",
            [
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True,
                                        serialize=False)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("issuer", models.URLField(max_length=300)),
                ("client_id", models.CharField(max_length=200)),
                ("secret_object", models.CharField(max_length=80)),
                ("tenant", tenants.models.base.OwnerKey(
                    on_delete=django.db.models.deletion.PROTECT, related_name="+",
                    to="tenants.tenant")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant",), name="tenants_one_provider"),
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="tenants_signinprovider_tenant_id_key"
                    ),
                    tenants.database.constraints.TenantIsolation(
                        name="tenants_signinprovider_isolation"
                    ),
                ]
            },
        )
    ]  # fmt: skip
