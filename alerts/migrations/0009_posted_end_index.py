"""Finds posted alerts that have ended by themselves; made without a lock, so that it runs on a full table."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("alerts", "0008_posted_alerts")]

    operations = [
        AddIndexConcurrently(
            model_name="alert",
            index=models.Index(
                fields=["ends_at"], condition=models.Q(state="firing", source="api"), name="alert_posted_end"
            ),
        ),
    ]
