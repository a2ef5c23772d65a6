"""What waited before waits on under its lease's columns, and one question finds all that is due.

`privatune_leased` asks it of any leased table, `privatune_due` of the chores that are no leased
work. Both give ids only.
"""

from importlib import import_module

from django.db import migrations

BEFORE = import_module("finetune.migrations.0009_room").DUE
HEAD, _, REST = BEFORE.partition("    -- a job whose files nobody has checked yet")
CHORES = HEAD + REST[REST.index("    SELECT f.tenant_id, 'expire'") :]

# A check that waited had the end of its wait where a lease has its own.
ROWS = """
UPDATE finetune_dataset
SET not_before = lease_until, lease_until = NULL,
    wait_reason = left(coalesce(error->>'message', ''), 200)
WHERE state = 'pending';
UPDATE finetune_dataset SET attempts = 1 WHERE state = 'checking';
INSERT INTO finetune_validation (id, tenant_id, job_id, created_at, state)
SELECT gen_random_uuid(), tenant_id, id, now(), 'waiting' FROM finetune_job
WHERE state = 'validating_files'
"""
ROWS_BACK = """
UPDATE finetune_dataset SET lease_until = not_before WHERE state = 'pending'
"""

LEASED = """
CREATE FUNCTION privatune_leased(leased_table regclass, key name, waiting text, leased text)
RETURNS TABLE (tenant_id uuid, key_id uuid, id uuid, expired boolean)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    RETURN QUERY EXECUTE format(
        'SELECT tenant_id, %I, id, state = $2 FROM %s'
        ' WHERE state = $1 AND (not_before IS NULL OR not_before <= clock_timestamp())'
        ' OR state = $2 AND lease_until < clock_timestamp()'
        ' ORDER BY created_at', key, leased_table) USING waiting, leased;
END
$$
"""


class Migration(migrations.Migration):
    dependencies = [("finetune", "0010_leased")]

    operations = [
        migrations.RunSQL(ROWS, ROWS_BACK),
        migrations.RunSQL(LEASED, "DROP FUNCTION privatune_leased(regclass, name, text, text)"),
        migrations.RunSQL(CHORES, BEFORE),
    ]
