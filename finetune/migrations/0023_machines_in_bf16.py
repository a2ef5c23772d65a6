from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0022_lineage")]

    operations = [
        migrations.AddField(
            model_name="machine",
            name="bf16",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
