"""Attempts at secrets are counted; a tenant may require a second factor, which the look-up of a
person's memberships tells with them.
"""

from django.db import migrations, models

MEMBERSHIPS = """
    CREATE FUNCTION privatune_memberships(who uuid)
    RETURNS TABLE (tenant_id uuid, membership_id uuid, role text, slug text, name text
                   {extra_type})
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
        SELECT m.tenant_id, m.id, m.role, t.slug, t.name {extra}
        FROM public.tenants_membership m JOIN public.tenants_tenant t ON t.id = m.tenant_id
        WHERE m.user_id = who ORDER BY t.name, t.id
    $$"""
DROP = "DROP FUNCTION privatune_memberships(uuid);"


class Migration(migrations.Migration):
    dependencies = [("tenants", "0005_heads")]

    operations = [
        migrations.CreateModel(
            "ProofAttempt",
            [
                ("id", models.BigAutoField(primary_key=True, serialize=False, auto_created=True,
                                           verbose_name="ID")),
                ("subject", models.CharField(max_length=64)),
                ("network", models.CharField(max_length=49)),
                ("device", models.CharField(max_length=64, blank=True)),
                ("at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["subject", "at"], name="tenants_proof_subject"),
                    models.Index(fields=["network", "at"], name="tenants_proof_network"),
                    models.Index(fields=["at"], name="tenants_proof_at"),
                ]
            },
        ),
        migrations.AddField(
            "tenant", "require_two_factor", models.BooleanField(default=False, db_default=False)
        ),
        migrations.RunSQL(
            DROP + MEMBERSHIPS.format(
                extra_type=", require_two_factor boolean", extra=", t.require_two_factor"
            ),
            DROP + MEMBERSHIPS.format(extra_type="", extra=""),
        ),
    ]  # fmt: skip
