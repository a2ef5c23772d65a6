"""What the operator lets one tenant use; its rates are read with each key, without another query."""

from importlib import import_module

from django.db import migrations, models

before = import_module("tenants.migrations.0014_key_lines")

ADDED = {
    "storage_mb": "storage, MB",
    "requests_per_minute": "requests a minute",
    "key_requests_per_minute": "requests a minute of each key",
    "tokens_per_minute": "tokens a minute",
}
COLUMNS = before.COLUMNS.removesuffix(")") + ", tenant_requests integer, key_requests integer)"
LINE = before.LINE.replace(
    "u.is_active", "u.is_active, t.requests_per_minute, t.key_requests_per_minute"
).replace(
    "CROSS JOIN bounds b", "JOIN public.tenants_tenant t ON t.id = k.tenant_id CROSS JOIN bounds b"
)
FUNCTIONS = {
    "privatune_key_now(uuid)": f"""
        CREATE FUNCTION privatune_key_now(wanted uuid) RETURNS {COLUMNS}
        {before.SECURED} AS $${LINE} $$""",
    "privatune_key(text)": f"""
        CREATE FUNCTION privatune_key(wanted text) RETURNS {COLUMNS}
        {before.SECURED} AS $${before.OF_PREFIX} $$""",
}


class Migration(migrations.Migration):
    dependencies = [("tenants", "0016_operator_words")]

    operations = [
        *(
            migrations.AddField(
                "tenant",
                name,
                models.PositiveIntegerField(blank=True, null=True, verbose_name=words),
            )
            for name, words in ADDED.items()
        ),
        *(
            migrations.RunSQL(f"DROP FUNCTION {signature}", before.FUNCTIONS[signature])
            for signature in reversed(FUNCTIONS)
        ),
        *(
            migrations.RunSQL(create, f"DROP FUNCTION {signature}")
            for signature, create in FUNCTIONS.items()
        ),
    ]
