"""Kept answers are sealed with the tenant's key. Those of the last day are let go: a retry that was
cut in two by the upgrade is a new request."""

from typing import Any

from django.db import migrations, models


def forget(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    apps.get_model("tenants", "IdempotencyRecord").objects.using(alias).all().delete()


class Migration(migrations.Migration):
    dependencies = [("tenants", "0008_sign_in")]

    operations = [
        migrations.RunPython(forget, migrations.RunPython.noop),
        migrations.RemoveField(model_name="idempotencyrecord", name="body"),
        migrations.AddField(
            model_name="idempotencyrecord",
            name="sealed",
            field=models.BinaryField(null=True),
        ),
    ]
