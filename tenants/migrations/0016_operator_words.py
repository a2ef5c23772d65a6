from django.db import migrations

from tenants.database.words import FollowWords


class Migration(migrations.Migration):
    dependencies = [("tenants", "0015_failed_sign_ins")]

    operations = [FollowWords()]
