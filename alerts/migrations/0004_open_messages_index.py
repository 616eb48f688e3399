"""Finds the first open message of each group; made without a lock, so that it runs on a full outbox."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("alerts", "0003_evaluation_columns")]

    operations = [
        AddIndexConcurrently(
            model_name="notification",
            index=models.Index(
                fields=["integration", "group_key", "id"],
                condition=models.Q(state__in=["queued", "sending"]),
                name="notification_open",
            ),
        ),
    ]
