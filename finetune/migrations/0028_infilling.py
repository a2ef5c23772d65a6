from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0027_forms")]

    operations = [
        migrations.AddField(
            model_name="catalogmodel",
            name="infilling",
            field=models.CharField(
                blank=True,
                help_text="Whose control tokens for it the tokenizer has; empty: none.",
                max_length=20,
                null=True,
                verbose_name="fills in the middle",
            ),
        ),
    ]
