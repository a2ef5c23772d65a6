from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("finetune", "0029_form_terms")]

    operations = [
        migrations.AddField(
            model_name="pace", name="answer_seconds", field=models.FloatField(null=True)
        ),
    ]
