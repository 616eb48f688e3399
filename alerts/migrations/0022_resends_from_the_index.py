"""The index that knows posted alerts holds all that alerts_renew looks at: a resend reads none of the wide rows."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("alerts", "0021_begin")]

    operations = [
        migrations.RemoveIndex(model_name="alert", name="alert_posted_content"),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("content_key__isnull", False)),
                fields=["content_key"],
                include=("id", "state", "fired_at", "ends_at", "is_timeout"),
                name="alert_posted_content",
            ),
        ),
    ]
