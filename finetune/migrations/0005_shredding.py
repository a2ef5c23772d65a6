"""The history of a shredded tenant's jobs: the app's role may only add to it, so a function of the
owner's empties it, and only once the tenant's key is destroyed."""

from django.db import migrations

FORGET = """
CREATE FUNCTION privatune_forget_history(who uuid) RETURNS bigint
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM public.finetune_event e
        USING public.tenants_tenant t
        WHERE t.id = who AND t.shredding_at IS NOT NULL AND t.wrapped_key IS NULL
          AND e.tenant_id = t.id
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$
"""


class Migration(migrations.Migration):
    dependencies = [("finetune", "0004_figures"), ("tenants", "0007_shredding")]

    operations = [migrations.RunSQL(FORGET, "DROP FUNCTION privatune_forget_history(uuid)")]
