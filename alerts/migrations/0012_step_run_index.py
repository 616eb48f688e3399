from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Which messages belong to a step of an escalation; built without blocking the outbox."""

    atomic = False
    dependencies = [("alerts", "0011_quiet")]
    operations = [
        AddIndexConcurrently(
            model_name="notification",
            index=models.Index(
                fields=["step_run"], condition=models.Q(step_run__isnull=False), name="notification_step_run"
            ),
        ),
    ]
