"""Keys are looked up with whoever holds them; invitations before their tenant is known.

Keys from before belong to nobody, so they become service keys; they had an owner's power and have
an admin's now. People from before were made by operators and administrators, who vouched for their
addresses; but an address that its person could change vouches for nothing and stays unverified.
"""

from django.db import migrations

SECURED = "LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp"

KEY_COLUMNS = """TABLE (
    tenant_id uuid, key_id uuid, name text, digest text, previous_digest text,
    previous_until timestamptz, scopes text[], service boolean, allowed_addresses text[],
    seen_from text[], last_used_at timestamptz, expires_at timestamptz, revoked_at timestamptz,
    membership_id uuid, role text, user_id uuid, person_active boolean)"""
KEY_SELECT = """
    SELECT k.tenant_id, k.id, k.name, k.digest, k.previous_digest, k.previous_until, k.scopes,
           k.service, k.allowed_addresses, k.seen_from, k.last_used_at, k.expires_at, k.revoked_at,
           m.id, m.role, u.id, u.is_active
    FROM public.tenants_apikey k
    LEFT JOIN public.tenants_membership m ON m.tenant_id = k.tenant_id AND m.id = k.created_by_id
    LEFT JOIN public.tenants_user u ON u.id = m.user_id"""

KEY_BEFORE = """
    CREATE FUNCTION privatune_key(wanted text)
    RETURNS TABLE (tenant_id uuid, key_id uuid, digest text, scopes text[], name text,
                   expires_at timestamptz, revoked_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
        SELECT tenant_id, id, digest, scopes, name, expires_at, revoked_at
        FROM public.tenants_apikey WHERE prefix = wanted
    $$"""

FUNCTIONS = {
    "privatune_key(text)": f"""
        CREATE FUNCTION privatune_key(wanted text) RETURNS {KEY_COLUMNS}
        {SECURED} AS $${KEY_SELECT} WHERE k.prefix = wanted $$""",
    "privatune_key_now(uuid)": f"""
        CREATE FUNCTION privatune_key_now(wanted uuid) RETURNS {KEY_COLUMNS}
        {SECURED} AS $${KEY_SELECT} WHERE k.id = wanted $$""",
    "privatune_invitation(text)": """
        CREATE FUNCTION privatune_invitation(wanted text)
        RETURNS TABLE (tenant_id uuid, invitation_id uuid, tenant_name text, slug text, email text,
                       role text, inviter text, mailed boolean)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT i.tenant_id, i.id, t.name, t.slug, i.email, i.role, i.inviter, i.mailed
            FROM public.tenants_invitation i JOIN public.tenants_tenant t ON t.id = i.tenant_id
            WHERE i.digest = wanted AND i.accepted_at IS NULL AND i.revoked_at IS NULL
              AND i.expires_at > now()
        $$""",
}

DATA = [
    "UPDATE tenants_apikey SET service = true WHERE created_by_id IS NULL",
    """INSERT INTO account_emailaddress (user_id, email, verified, "primary")
       SELECT u.id, lower(u.email), true, true FROM tenants_user u
       WHERE NOT EXISTS (SELECT 1 FROM account_emailaddress e WHERE e.user_id = u.id)
       ON CONFLICT DO NOTHING""",
]


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0011_people"),
        ("account", "0009_emailaddress_unique_primary_email"),
    ]

    operations = [
        migrations.RunSQL("DROP FUNCTION privatune_key(text)", KEY_BEFORE),
        *(
            migrations.RunSQL(create, f"DROP FUNCTION {signature}")
            for signature, create in FUNCTIONS.items()
        ),
        *(migrations.RunSQL(statement, migrations.RunSQL.noop) for statement in DATA),
    ]
