"""A key knows the key that made it, and is looked up with its whole line.

What the audit trail says of existing keys is filled in while the key that made them lives; where
that one has ended already its keys are left alone: an update ends nobody's program.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations

import tenants.database.constraints
import tenants.models.base

BEFORE = import_module("tenants.migrations.0012_lookups").FUNCTIONS

SECURED = "LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"
COLUMNS = """TABLE (
    tenant_id uuid, key_id uuid, name text, digest text, previous_digest text,
    previous_until timestamptz, scopes text[], service boolean, networks text[], generation bigint,
    seen_from text[], last_used_at timestamptz, expires_at timestamptz, revoked_at timestamptz,
    membership_id uuid, role text, user_id uuid, person_active boolean)"""

# `networks`: one text per key of the line that has any, its networks with spaces between them.
LINE = """
    WITH RECURSIVE line AS (
        SELECT k.tenant_id, k.id, k.made_with_id, k.allowed_addresses, k.expires_at, k.revoked_at
        FROM public.tenants_apikey k WHERE k.id = wanted
        UNION ALL
        SELECT k.tenant_id, k.id, k.made_with_id, k.allowed_addresses, k.expires_at, k.revoked_at
        FROM public.tenants_apikey k
        JOIN line ON k.tenant_id = line.tenant_id AND k.id = line.made_with_id
    ), bounds AS (
        SELECT count(*) AS generation, min(expires_at) AS expires_at,
               min(revoked_at) AS revoked_at,
               coalesce(array_agg(array_to_string(allowed_addresses, ' '))
                        FILTER (WHERE cardinality(allowed_addresses) > 0), '{}') AS networks
        FROM line
    )
    SELECT k.tenant_id, k.id, k.name, k.digest, k.previous_digest, k.previous_until, k.scopes,
           k.service, b.networks, b.generation, k.seen_from, k.last_used_at, b.expires_at,
           b.revoked_at, m.id, m.role, u.id, u.is_active
    FROM public.tenants_apikey k
    CROSS JOIN bounds b
    LEFT JOIN public.tenants_membership m ON m.tenant_id = k.tenant_id AND m.id = k.created_by_id
    LEFT JOIN public.tenants_user u ON u.id = m.user_id
    WHERE k.id = wanted"""
OF_PREFIX = """
    SELECT found.* FROM public.tenants_apikey k
    CROSS JOIN LATERAL public.privatune_key_now(k.id) found WHERE k.prefix = wanted"""
FUNCTIONS = {
    "privatune_key_now(uuid)": f"""
        CREATE FUNCTION privatune_key_now(wanted uuid) RETURNS {COLUMNS}
        {SECURED} AS $${LINE} $$""",
    "privatune_key(text)": f"""
        CREATE FUNCTION privatune_key(wanted text) RETURNS {COLUMNS}
        {SECURED} AS $${OF_PREFIX} $$""",
}
FILL = """
    UPDATE tenants_apikey k SET made_with_id = maker.id
    FROM tenants_auditentry a JOIN tenants_apikey maker
        ON maker.tenant_id = a.tenant_id AND maker.id = a.key_id
    WHERE a.tenant_id = k.tenant_id AND a.action = 'key.create' AND a.target = k.prefix
        AND maker.id <> k.id AND maker.revoked_at IS NULL
        AND (maker.expires_at IS NULL OR maker.expires_at > now())"""


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0013_audit_acts"),
    ]

    operations = [
        migrations.AddField(
            model_name="apikey",
            name="made_with",
            field=tenants.models.base.TenantForeignKey(
                blank=True,
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="tenants.apikey",
            ),
        ),
        migrations.AddConstraint(
            model_name="apikey",
            constraint=tenants.database.constraints.TenantReference(
                column="made_with_id",
                name="tenants_apikey_made_with_same_tenant",
                to_table="tenants_apikey",
            ),
        ),
        *(
            migrations.RunSQL(f"DROP FUNCTION {signature}", BEFORE[signature])
            for signature in reversed(FUNCTIONS)
        ),
        *(
            migrations.RunSQL(create, f"DROP FUNCTION {signature}")
            for signature, create in FUNCTIONS.items()
        ),
        migrations.RunSQL(FILL, migrations.RunSQL.noop),
    ]
