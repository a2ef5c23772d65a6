"""Signed heads of the audit chains, the fingerprints of the installation's keys, and the question
which tenants' chains have grown since their last head."""

import uuid

import django.db.models.deletion
from django.db import migrations, models

import tenants.database.constraints
import tenants.models.base

UNSIGNED = """
CREATE FUNCTION privatune_unsigned(older_than interval) RETURNS SETOF uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT t.id FROM public.tenants_tenant t
    CROSS JOIN LATERAL (SELECT max(seq) AS seq FROM public.tenants_auditentry
                        WHERE tenant_id = t.id) e
    CROSS JOIN LATERAL (SELECT max(seq) AS seq, max(created_at) AS at
                        FROM public.tenants_audithead WHERE tenant_id = t.id) h
    WHERE e.seq > coalesce(h.seq, 0) AND (h.at IS NULL OR h.at < now() - older_than)
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0004_actors"),
    ]

    operations = [
        migrations.CreateModel(
            name="KeyPrint",
            fields=[
                ("name", models.CharField(max_length=10, primary_key=True, serialize=False)),
                ("fingerprint", models.CharField(max_length=200)),
                ("place", models.CharField(max_length=400)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name="AuditHead",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid.uuid4, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("seq", models.BigIntegerField()),
                ("digest", models.CharField(max_length=64)),
                ("at", models.CharField(max_length=32)),
                ("signer", models.CharField(max_length=71)),
                ("signature", models.CharField(max_length=120)),
                (
                    "tenant",
                    tenants.models.base.OwnerKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "seq"), name="tenants_head_seq_once"),
                    models.UniqueConstraint(
                        fields=("tenant", "id"), name="tenants_audithead_tenant_id_key"
                    ),
                    tenants.database.constraints.TenantIsolation(
                        name="tenants_audithead_isolation"
                    ),
                ],
            },
        ),
        migrations.RunSQL(UNSIGNED, "DROP FUNCTION privatune_unsigned(interval)"),
    ]
