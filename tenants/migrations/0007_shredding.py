from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("tenants", "0006_second_factor")]

    operations = [
        migrations.AddField(
            model_name="tenant",
            name="shredding_at",
            field=models.DateTimeField(editable=False, null=True),
        ),
        migrations.AddField(
            model_name="tenant",
            name="certificate",
            field=models.JSONField(editable=False, null=True),
        ),
    ]
