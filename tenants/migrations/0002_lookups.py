"""The few look-ups that must work before a tenant is known.

SECURITY DEFINER functions of the owner role: each answers one narrow question, and the app's role
can ask nothing else across tenants.
"""

from django.db import migrations

FUNCTIONS = {
    "privatune_key(text)": """
        CREATE FUNCTION privatune_key(wanted text)
        RETURNS TABLE (tenant_id uuid, key_id uuid, digest text, scopes text[], name text,
                       expires_at timestamptz, revoked_at timestamptz)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT tenant_id, id, digest, scopes, name, expires_at, revoked_at
            FROM public.tenants_apikey WHERE prefix = wanted
        $$""",
    "privatune_memberships(uuid)": """
        CREATE FUNCTION privatune_memberships(who uuid)
        RETURNS TABLE (tenant_id uuid, membership_id uuid, role text, slug text, name text)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT m.tenant_id, m.id, m.role, t.slug, t.name
            FROM public.tenants_membership m JOIN public.tenants_tenant t ON t.id = m.tenant_id
            WHERE m.user_id = who ORDER BY t.name, t.id
        $$""",
    "privatune_tenant(text)": """
        CREATE FUNCTION privatune_tenant(wanted text) RETURNS uuid
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
            SELECT id FROM public.tenants_tenant WHERE slug = wanted
        $$""",
}


class Migration(migrations.Migration):
    dependencies = [("tenants", "0001_initial")]

    operations = [
        migrations.RunSQL(create, f"DROP FUNCTION {signature}")
        for signature, create in FUNCTIONS.items()
    ]
