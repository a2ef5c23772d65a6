from django.db import migrations

from tenants.database.words import FollowWords


class Migration(migrations.Migration):
    dependencies = [("finetune", "0007_isolation")]

    operations = [FollowWords()]
