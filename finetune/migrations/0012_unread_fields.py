"""Fields that nothing ever set go; what a base was made for is said by its import."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0011_leased_rows")]

    operations = [
        migrations.RemoveConstraint("job", "finetune_job_parent_artifact_same_tenant"),
        migrations.RemoveField("job", "parent_artifact"),
        migrations.RemoveField("catalogmodel", "parent"),
        migrations.AlterField(
            "catalogmodel", "task", models.CharField(max_length=20, verbose_name="task")
        ),
    ]
