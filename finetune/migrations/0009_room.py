"""What lies in a tenant's vault beside files and rows is counted, too.

Adapters from before have the size of their job's checkpointed ones. Of reports from before no size
was noted: they count nothing. Jobs under way have reserved nothing and are not refused anything.
"""

from importlib import import_module

from django.db import migrations, models

BEFORE = import_module("finetune.migrations.0006_due").DUE

SIZES = """
UPDATE finetune_artifact a SET adapter_bytes = found.bytes
FROM (SELECT job_id, MAX((files->'adapter_model.safetensors'->>'bytes')::bigint) AS bytes
      FROM finetune_checkpoint GROUP BY job_id) AS found
WHERE found.job_id = a.job_id AND found.bytes IS NOT NULL
"""
# Checkpoints of a job that ended without a model are of no use to anybody.
SPENT = """
            OR EXISTS (SELECT FROM public.finetune_job j
                       JOIN public.finetune_checkpoint c ON c.job_id = j.id
                       WHERE j.tenant_id = t.id AND j.state IN ('failed', 'cancelled')
                         AND c.files <> '{}'::jsonb)
            OR EXISTS (SELECT FROM public.tenants_idempotencyrecord"""
DUE = BEFORE.replace("\n            OR EXISTS (SELECT FROM public.tenants_idempotencyrecord", SPENT)


def _bytes() -> models.BigIntegerField:  # type: ignore[type-arg]
    return models.BigIntegerField(default=0, db_default=0)


class Migration(migrations.Migration):
    dependencies = [("finetune", "0008_operator_words")]

    operations = [
        migrations.AddField("artifact", "adapter_bytes", _bytes()),
        migrations.AddField("dataset", "errors_bytes", _bytes()),
        migrations.AddField("job", "room_bytes", _bytes()),
        migrations.RunSQL(SIZES, migrations.RunSQL.noop),
        migrations.RunSQL(DUE, BEFORE),
    ]
