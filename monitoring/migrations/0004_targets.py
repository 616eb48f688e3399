"""What is scraped, what the last scrape said, and which scraper holds which target."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0003_registry'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ScrapeClaim',
            fields=[
                ('target_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('scraper_id', models.BigIntegerField(db_index=True, null=True)),
                ('sources', models.JSONField(default=list, help_text="Label sets of the store's sources that are open.")),
            ],
            options={
                'ordering': ['target_id'],
            },
        ),
        migrations.CreateModel(
            name='Scraper',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=300, unique=True)),
                ('started_at', models.DateTimeField()),
                ('beat_at', models.DateTimeField()),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Target',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('job', models.CharField(help_text='What kind of thing it is; the label job.', max_length=200)),
                ('url', models.CharField(help_text='Where the metrics are; /metrics when no path is given.', max_length=2000, verbose_name='URL')),
                ('instance_label', models.CharField(blank=True, help_text='The label instance; empty: host:port of the URL.', max_length=300, verbose_name='instance')),
                ('interval_seconds', models.FloatField(default=15, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3600)])),
                ('timeout_seconds', models.FloatField(blank=True, help_text='Empty: 10 s, or the interval if shorter.', null=True, validators=[django.core.validators.MinValueValidator(0.1)])),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to all series, such as {"env": "prod"}.')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('honor_labels', models.BooleanField(default=False, help_text="On: labels of the target's own win over ours. Off: they become exported_…")),
                ('honor_timestamps', models.BooleanField(default=True, help_text='Off: all samples get the time of the scrape.')),
                ('sample_limit', models.PositiveIntegerField(default=100000, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100000)])),
                ('body_limit_bytes', models.PositiveIntegerField(default=50000000, validators=[django.core.validators.MinValueValidator(1000), django.core.validators.MaxValueValidator(500000000)])),
                ('managed_by', models.CharField(blank=True, help_text='What owns this row: a deployment, a file; empty: staff.', max_length=200)),
                ('deployment', models.OneToOneField(blank=True, help_text='Gives the labels model_name and model_version.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='target', to='monitoring.deployment')),
            ],
            options={
                'ordering': ['job', 'instance_label'],
            },
        ),
        migrations.CreateModel(
            name='HistoricalTarget',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('job', models.CharField(help_text='What kind of thing it is; the label job.', max_length=200)),
                ('url', models.CharField(help_text='Where the metrics are; /metrics when no path is given.', max_length=2000, verbose_name='URL')),
                ('instance_label', models.CharField(blank=True, help_text='The label instance; empty: host:port of the URL.', max_length=300, verbose_name='instance')),
                ('interval_seconds', models.FloatField(default=15, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3600)])),
                ('timeout_seconds', models.FloatField(blank=True, help_text='Empty: 10 s, or the interval if shorter.', null=True, validators=[django.core.validators.MinValueValidator(0.1)])),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to all series, such as {"env": "prod"}.')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('honor_labels', models.BooleanField(default=False, help_text="On: labels of the target's own win over ours. Off: they become exported_…")),
                ('honor_timestamps', models.BooleanField(default=True, help_text='Off: all samples get the time of the scrape.')),
                ('sample_limit', models.PositiveIntegerField(default=100000, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(100000)])),
                ('body_limit_bytes', models.PositiveIntegerField(default=50000000, validators=[django.core.validators.MinValueValidator(1000), django.core.validators.MaxValueValidator(500000000)])),
                ('managed_by', models.CharField(blank=True, help_text='What owns this row: a deployment, a file; empty: staff.', max_length=200)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('deployment', models.ForeignKey(blank=True, db_constraint=False, help_text='Gives the labels model_name and model_version.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.deployment')),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical target',
                'verbose_name_plural': 'historical targets',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='TargetStatus',
            fields=[
                ('target', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='status', serialize=False, to='monitoring.target')),
                ('state', models.CharField(choices=[('up', 'up'), ('down', 'down')], max_length=10)),
                ('since', models.DateTimeField(help_text='Since when it is in this state.')),
                ('scraped_at', models.DateTimeField(verbose_name='last scrape')),
                ('duration_seconds', models.FloatField()),
                ('samples', models.PositiveIntegerField()),
                ('error', models.TextField(blank=True, help_text='Why the last scrape failed.')),
                ('warning', models.TextField(blank=True, help_text='What was wrong with samples of a scrape that succeeded.')),
                ('missed_slots', models.PositiveBigIntegerField(default=0)),
            ],
            options={
                'verbose_name_plural': 'target statuses',
            },
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.UniqueConstraint(fields=('job', 'instance_label'), name='target_once_a_job', violation_error_message='This job has a target of this instance already; choose another instance.'),
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.CheckConstraint(condition=models.Q(('interval_seconds__gte', 1)), name='target_interval_at_least_1s'),
        ),
        migrations.AddConstraint(
            model_name='target',
            constraint=models.CheckConstraint(condition=models.Q(('timeout_seconds__isnull', True), ('timeout_seconds__lte', models.F('interval_seconds')), _connector='OR'), name='target_timeout_within_interval', violation_error_message='The timeout may not be longer than the interval.'),
        ),
    ]
