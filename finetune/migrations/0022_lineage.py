"""A job knows the model that its training goes on from."""

import django.db.models.deletion
from django.db import migrations, models

import tenants.database.constraints
import tenants.models.base


class Migration(migrations.Migration):
    dependencies = [
        ("finetune", "0021_profiles"),
        ("tenants", "0018_rights"),
    ]

    operations = [
        migrations.AddField(
            model_name="job",
            name="parent",
            field=tenants.models.base.TenantForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="children",
                to="finetune.artifact",
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="start",
            field=models.JSONField(null=True),
        ),
        migrations.AddConstraint(
            model_name="job",
            constraint=tenants.database.constraints.TenantReference(
                column="parent_id",
                name="finetune_job_parent_same_tenant",
                to_table="finetune_artifact",
            ),
        ),
    ]
