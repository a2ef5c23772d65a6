"""What a caller did in this hour is looked up at each of its downloads."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0012_lookups"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(
                fields=["tenant", "action", "target", "created_at"], name="tenants_audit_acts"
            ),
        ),
    ]
