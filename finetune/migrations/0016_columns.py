"""A reading knows by which names it read the file's columns; those that are there used the file's."""

from django.db import migrations, models

OF_ONE_FILE = ["tenant", "file", "base", "max_length", "overflow", "thinking"]


class Migration(migrations.Migration):
    dependencies = [("finetune", "0015_operators_work")]

    operations = [
        migrations.RemoveConstraint("dataset", "finetune_dataset_one_reading"),
        migrations.AddField("dataset", "columns", models.JSONField(default=dict, db_default={})),
        migrations.AddField(
            "dataset",
            "columns_key",
            models.CharField(blank=True, default="", db_default="", max_length=64),
        ),
        migrations.AddConstraint(
            "dataset",
            models.UniqueConstraint(
                fields=[*OF_ONE_FILE, "columns_key"],
                nulls_distinct=False,
                name="finetune_dataset_one_reading",
            ),
        ),
    ]
