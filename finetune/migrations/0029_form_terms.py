from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0028_infilling")]

    operations = [
        migrations.AddField(model_name="form", name="granted", field=models.JSONField(null=True)),
    ]
