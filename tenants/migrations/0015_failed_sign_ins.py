"""Failed attempts wait here until the logs of their member's organisations tell of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("tenants", "0014_key_lines"),
    ]

    operations = [
        migrations.AddField(
            model_name="proofattempt",
            name="user_id",
            field=models.UUIDField(null=True),
        ),
        migrations.AddField(
            model_name="proofattempt",
            name="step",
            field=models.CharField(blank=True, max_length=8),
        ),
        migrations.AddField(
            model_name="proofattempt",
            name="untold",
            field=models.BooleanField(default=False),
        ),
        migrations.AddIndex(
            model_name="proofattempt",
            index=models.Index(
                condition=models.Q(("untold", True)),
                fields=["user_id", "step"],
                name="tenants_proof_untold",
            ),
        ),
    ]
