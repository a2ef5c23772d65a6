"""Audit entries carry the ids of who acted. Entries from before keep their rule, version 1."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0003_file_tombstones")]

    operations = [
        migrations.AddField("auditentry", "version", models.SmallIntegerField(default=1)),
        migrations.AddField(
            "auditentry",
            "kind",
            models.CharField(max_length=10, blank=True, default=""),
            preserve_default=False,
        ),
        migrations.AddField("auditentry", "user_id", models.UUIDField(null=True)),
        migrations.AddField("auditentry", "key_id", models.UUIDField(null=True)),
        migrations.AlterField("auditentry", "actor", models.CharField(max_length=330)),
        migrations.AlterField("auditentry", "target", models.CharField(max_length=330, blank=True)),
    ]
