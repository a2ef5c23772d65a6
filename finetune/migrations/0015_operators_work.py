"""What an operator may know of an error that a reading keeps: its code, in a column of its own."""

from django.db import migrations, models
from django.db.models.fields.json import KT

from tenants.database.words import FollowWords


class Migration(migrations.Migration):
    dependencies = [("finetune", "0014_dataset_thinking")]

    operations = [
        migrations.AddField(
            "dataset",
            "error_code",
            models.GeneratedField(
                db_persist=True,
                expression=KT("error__code"),
                output_field=models.TextField(),
                verbose_name="error",
            ),
        ),
        FollowWords(),
    ]
