"""Hosts: one row a machine that sends samples."""

from django.db import migrations, models

FACTS = "Cores, memory, system, GPUs: what the host says of itself."
SKEW = "How far the host's clock is ahead; negative when behind."
EXPECTED = "Whether silence is a problem. Switch off for a host that is gone for good."


class Migration(migrations.Migration):
    dependencies = [("monitoring", "0001_store")]

    operations = [
        migrations.CreateModel(
            name="Host",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=253, unique=True)),
                ("facts", models.JSONField(blank=True, default=dict, help_text=FACTS)),
                ("agent_version", models.CharField(blank=True, max_length=64)),
                ("interval_seconds", models.FloatField(default=15, help_text="How often the host collects.")),
                ("clock_skew_seconds", models.FloatField(blank=True, help_text=SKEW, null=True)),
                ("first_seen", models.DateTimeField()),
                ("last_seen", models.DateTimeField(help_text="Time of the newest batch.")),
                ("expected", models.BooleanField(default=True, help_text=EXPECTED)),
            ],
            options={
                "ordering": ["name"],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(interval_seconds__gt=0), name="host_interval_is_positive"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(last_seen__gte=models.F("first_seen")), name="host_seen_in_order"
                    ),
                ],
            },
        ),
    ]
