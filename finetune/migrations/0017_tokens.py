from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0016_columns")]

    operations = [
        migrations.AddField(
            model_name="dataset",
            name="tokens_object",
            field=models.CharField(blank=True, db_default="", default="", max_length=200),
        ),
        migrations.AddField(
            model_name="dataset",
            name="tokens_sha256",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
    ]
