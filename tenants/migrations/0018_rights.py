"""A licence's rights are a set, so that a new right needs no column."""

from django.contrib.postgres.fields import ArrayField
from django.db import migrations, models

import tenants.models.licences

FILL = """
    UPDATE tenants_license SET rights = array_remove(ARRAY[
        CASE WHEN may_train THEN 'train' END,
        CASE WHEN may_export THEN 'export' END,
        CASE WHEN may_serve THEN 'serve' END]::varchar[], NULL)"""
BACK = """
    UPDATE tenants_license SET may_train = 'train' = ANY(rights),
        may_export = 'export' = ANY(rights), may_serve = 'serve' = ANY(rights)"""


class Migration(migrations.Migration):
    dependencies = [("tenants", "0017_limits")]

    operations = [
        migrations.AddField(
            "license",
            "rights",
            ArrayField(
                models.CharField(max_length=20),
                blank=True,
                default=tenants.models.licences.all_rights,
                verbose_name="rights",
            ),
        ),
        migrations.RunSQL(FILL, BACK),
        migrations.RemoveField("license", "may_train"),
        migrations.RemoveField("license", "may_export"),
        migrations.RemoveField("license", "may_serve"),
    ]
