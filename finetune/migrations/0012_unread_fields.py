"""Fields that nothing ever set go."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("finetune", "0011_leased_rows")]

    operations = [
        migrations.RemoveConstraint("job", "finetune_job_parent_artifact_same_tenant"),
        migrations.RemoveField("job", "parent_artifact"),
        migrations.RemoveField("catalogmodel", "parent"),
    ]
