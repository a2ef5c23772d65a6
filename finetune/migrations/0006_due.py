"""Uploads that nobody finished and answers kept for repetitions wait for the sweeper as well."""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("finetune.migrations.0003_due").DUE

DUE = """
CREATE OR REPLACE FUNCTION privatune_due()
RETURNS TABLE (tenant_id uuid, kind text, id uuid)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    -- a job whose files nobody has checked yet, or whose check was left half-way
    SELECT j.tenant_id, 'validate', j.id FROM public.finetune_job j
        WHERE j.state = 'validating_files'
    UNION ALL
    -- an uploaded file whose structure nobody has checked
    SELECT d.tenant_id, 'check', d.id FROM public.finetune_dataset d
        WHERE d.state IN ('pending', 'checking')
          AND (d.lease_until IS NULL OR d.lease_until < clock_timestamp())
    UNION ALL
    -- a run that waits for a worker
    SELECT r.tenant_id, 'run', r.job_id FROM public.finetune_run r
        WHERE r.state = 'waiting' AND (r.not_before IS NULL OR r.not_before < clock_timestamp())
    UNION ALL
    -- a run whose worker is gone
    SELECT r.tenant_id, 'reap', r.id FROM public.finetune_run r
        WHERE r.state = 'leased' AND r.lease_until < clock_timestamp()
    UNION ALL
    SELECT f.tenant_id, 'expire', f.id FROM public.tenants_storedfile f
        WHERE f.expires_at < clock_timestamp()
    UNION ALL
    -- a tenant with uploads that nobody finished in time, or with answers kept for repetitions
    SELECT t.id, 'tidy', t.id FROM public.tenants_tenant t
        WHERE t.wrapped_key IS NOT NULL
          AND (EXISTS (SELECT FROM public.tenants_upload u WHERE u.tenant_id = t.id
                         AND u.status = 'pending' AND u.expires_at < clock_timestamp())
            OR EXISTS (SELECT FROM public.tenants_idempotencyrecord i WHERE i.tenant_id = t.id
                         AND i.created_at < clock_timestamp() - interval '25 hours'))
$$
"""


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0005_shredding"),
        ("tenants", "0008_sign_in"),
    ]

    operations = [
        migrations.RunSQL(DUE, BEFORE.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
    ]
