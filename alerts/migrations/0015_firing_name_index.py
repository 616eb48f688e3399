from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Finds what is down now by the name of the alert; built without blocking evaluations."""

    atomic = False
    dependencies = [("alerts", "0014_backtests")]
    operations = [
        AddIndexConcurrently(
            model_name="alert",
            index=models.Index(fields=["name"], condition=models.Q(state="firing"), name="alert_firing_name"),
        ),
    ]
