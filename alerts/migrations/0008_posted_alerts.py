"""Ends of posted alerts that are resent, and what an Alertmanager file says about ways out."""

import alerts.models.fields
import django.contrib.postgres.fields
import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("alerts", "0007_rule_files")]

    operations = [
        migrations.CreateModel(
            name="Posting",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("posted_at", models.DateTimeField()),
                ("alert_ids", django.contrib.postgres.fields.ArrayField(base_field=models.BigIntegerField(), size=None)),
                ("ends_at", django.contrib.postgres.fields.ArrayField(base_field=models.DateTimeField(), size=None)),
            ],
            options={"ordering": ["id"]},
        ),
        migrations.CreateModel(
            name="Ingest",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "resolve_timeout_seconds",
                    alerts.models.fields.DurationField(
                        default=300,
                        help_text="A posted alert without an end resolves after this time unless it is posted again.",
                        validators=[django.core.validators.MinValueValidator(0.001)],
                        verbose_name="resolve timeout",
                    ),
                ),
                ("next_check_at", models.DateTimeField()),
                ("managed_by", models.CharField(blank=True, max_length=200)),
            ],
        ),
        migrations.AddConstraint(
            model_name="ingest",
            constraint=models.CheckConstraint(condition=models.Q(("id", 1)), name="ingest_one_row"),
        ),
        migrations.AddField(
            model_name="integration",
            name="managed_by",
            field=models.CharField(blank=True, editable=False, max_length=200),
        ),
        migrations.AddField(
            model_name="integration",
            name="max_alerts",
            field=models.PositiveIntegerField(
                default=0,
                help_text="A webhook is told of this many alerts at most; 0: of all.",
                verbose_name="most alerts",
            ),
        ),
    ]
