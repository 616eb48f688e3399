"""Dashboards, their panels and the queries of these."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0004_targets'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Dashboard',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(help_text='Its place in addresses.', max_length=100, unique=True)),
                ('title', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('tags', models.JSONField(blank=True, default=list, help_text='Such as ["gpu", "training"].')),
                ('variables', models.JSONField(blank=True, default=list, help_text='Choices above the page, such as [{"name": "host", "query": "label_values(host_up, host)"}].')),
                ('default_range', models.CharField(default='1h', help_text='Time shown at first, such as 15m or 24h.', max_length=10)),
                ('refresh_seconds', models.PositiveIntegerField(default=30, help_text='How often the page asks again; 0: never.')),
                ('shows_alerts', models.BooleanField(default=True, help_text='Draw when alerts fired as bands behind the lines.')),
                ('alert_matchers', models.CharField(blank=True, help_text='Which alerts, such as severity="critical"; empty: all that fit a panel.', max_length=500)),
                ('source', models.CharField(choices=[('staff', 'made here'), ('builtin', 'built in'), ('imported', 'imported from Grafana')], default='staff', editable=False, max_length=20)),
                ('builtin_key', models.CharField(blank=True, editable=False, max_length=100)),
                ('loaded_digest', models.CharField(blank=True, editable=False, help_text="What was loaded; a difference is somebody's edit.", max_length=64)),
                ('viewed_at', models.DateTimeField(blank=True, editable=False, null=True)),
                ('owner', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='dashboards', to='monitoring.team')),
            ],
            options={
                'ordering': ['title'],
            },
        ),
        migrations.CreateModel(
            name='HistoricalDashboard',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('slug', models.SlugField(help_text='Its place in addresses.', max_length=100)),
                ('title', models.CharField(max_length=200)),
                ('description', models.TextField(blank=True)),
                ('tags', models.JSONField(blank=True, default=list, help_text='Such as ["gpu", "training"].')),
                ('variables', models.JSONField(blank=True, default=list, help_text='Choices above the page, such as [{"name": "host", "query": "label_values(host_up, host)"}].')),
                ('default_range', models.CharField(default='1h', help_text='Time shown at first, such as 15m or 24h.', max_length=10)),
                ('refresh_seconds', models.PositiveIntegerField(default=30, help_text='How often the page asks again; 0: never.')),
                ('shows_alerts', models.BooleanField(default=True, help_text='Draw when alerts fired as bands behind the lines.')),
                ('alert_matchers', models.CharField(blank=True, help_text='Which alerts, such as severity="critical"; empty: all that fit a panel.', max_length=500)),
                ('source', models.CharField(choices=[('staff', 'made here'), ('builtin', 'built in'), ('imported', 'imported from Grafana')], default='staff', editable=False, max_length=20)),
                ('builtin_key', models.CharField(blank=True, editable=False, max_length=100)),
                ('loaded_digest', models.CharField(blank=True, editable=False, help_text="What was loaded; a difference is somebody's edit.", max_length=64)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('owner', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.team')),
            ],
            options={
                'verbose_name': 'historical dashboard',
                'verbose_name_plural': 'historical dashboards',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalPanel',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('number', models.PositiveIntegerField(default=0, help_text='Its number within the dashboard; 0: the next free one.')),
                ('title', models.CharField(blank=True, max_length=200)),
                ('description', models.TextField(blank=True)),
                ('kind', models.CharField(choices=[('timeseries', 'time series'), ('stat', 'stat: one number'), ('gauge', 'gauge'), ('table', 'table')], default='timeseries', max_length=20)),
                ('section', models.CharField(blank=True, help_text='Heading above it; the same for its neighbours.', max_length=200)),
                ('position', models.PositiveIntegerField(default=0, help_text='Panels flow by position, then by number.')),
                ('width', models.PositiveSmallIntegerField(default=12, help_text='Of 24 columns.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(24)])),
                ('height', models.PositiveSmallIntegerField(default=8, help_text='In steps of 30 pixels.', validators=[django.core.validators.MinValueValidator(2), django.core.validators.MaxValueValidator(40)])),
                ('unit', models.CharField(blank=True, default='short', help_text='short, percent (0 to 100), ratio, bytes, bytes/s, seconds, or a word such as °C.', max_length=40)),
                ('minimum', models.FloatField(blank=True, null=True)),
                ('maximum', models.FloatField(blank=True, null=True)),
                ('is_stacked', models.BooleanField(default=False, verbose_name='stacked')),
                ('calculation', models.CharField(choices=[('last', 'last'), ('mean', 'mean'), ('min', 'minimum'), ('max', 'maximum'), ('sum', 'sum')], default='last', max_length=10)),
                ('thresholds', models.JSONField(blank=True, default=list, help_text='From a value up, what it means: [{"value": null, "severity": "ok"}, {"value": 80, "severity": "warning"}]. Null is the ground. Severities: ok, info, warning, critical.')),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('dashboard', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.dashboard')),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical panel',
                'verbose_name_plural': 'historical panels',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Panel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.PositiveIntegerField(default=0, help_text='Its number within the dashboard; 0: the next free one.')),
                ('title', models.CharField(blank=True, max_length=200)),
                ('description', models.TextField(blank=True)),
                ('kind', models.CharField(choices=[('timeseries', 'time series'), ('stat', 'stat: one number'), ('gauge', 'gauge'), ('table', 'table')], default='timeseries', max_length=20)),
                ('section', models.CharField(blank=True, help_text='Heading above it; the same for its neighbours.', max_length=200)),
                ('position', models.PositiveIntegerField(default=0, help_text='Panels flow by position, then by number.')),
                ('width', models.PositiveSmallIntegerField(default=12, help_text='Of 24 columns.', validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(24)])),
                ('height', models.PositiveSmallIntegerField(default=8, help_text='In steps of 30 pixels.', validators=[django.core.validators.MinValueValidator(2), django.core.validators.MaxValueValidator(40)])),
                ('unit', models.CharField(blank=True, default='short', help_text='short, percent (0 to 100), ratio, bytes, bytes/s, seconds, or a word such as °C.', max_length=40)),
                ('minimum', models.FloatField(blank=True, null=True)),
                ('maximum', models.FloatField(blank=True, null=True)),
                ('is_stacked', models.BooleanField(default=False, verbose_name='stacked')),
                ('calculation', models.CharField(choices=[('last', 'last'), ('mean', 'mean'), ('min', 'minimum'), ('max', 'maximum'), ('sum', 'sum')], default='last', max_length=10)),
                ('thresholds', models.JSONField(blank=True, default=list, help_text='From a value up, what it means: [{"value": null, "severity": "ok"}, {"value": 80, "severity": "warning"}]. Null is the ground. Severities: ok, info, warning, critical.')),
                ('dashboard', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='panels', to='monitoring.dashboard')),
            ],
            options={
                'ordering': ['dashboard', 'position', 'number'],
            },
        ),
        migrations.CreateModel(
            name='HistoricalPanelQuery',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('position', models.PositiveIntegerField(default=0)),
                ('expr', models.TextField(help_text='May hold $variables, $__rate_interval, $__interval and $__range.', verbose_name='PromQL')),
                ('legend', models.CharField(blank=True, help_text='Such as {{method}} {{endpoint}}; empty: labels.', max_length=500)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('panel', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.panel')),
            ],
            options={
                'verbose_name': 'historical query',
                'verbose_name_plural': 'historical queries',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='PanelQuery',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position', models.PositiveIntegerField(default=0)),
                ('expr', models.TextField(help_text='May hold $variables, $__rate_interval, $__interval and $__range.', verbose_name='PromQL')),
                ('legend', models.CharField(blank=True, help_text='Such as {{method}} {{endpoint}}; empty: labels.', max_length=500)),
                ('panel', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='queries', to='monitoring.panel')),
            ],
            options={
                'verbose_name': 'query',
                'verbose_name_plural': 'queries',
                'ordering': ['panel', 'position', 'pk'],
            },
        ),
        migrations.AddConstraint(
            model_name='dashboard',
            constraint=models.UniqueConstraint(condition=models.Q(('builtin_key', ''), _negated=True), fields=('builtin_key',), name='dashboard_builtin_once'),
        ),
        migrations.AddConstraint(
            model_name='panel',
            constraint=models.UniqueConstraint(fields=('dashboard', 'number'), name='panel_number_once', violation_error_message='The dashboard has a panel of this number already.'),
        ),
        migrations.AddConstraint(
            model_name='panel',
            constraint=models.CheckConstraint(condition=models.Q(('width__gte', 1), ('width__lte', 24)), name='panel_width_in_grid'),
        ),
        migrations.AddConstraint(
            model_name='panel',
            constraint=models.CheckConstraint(condition=models.Q(('minimum__isnull', True), ('maximum__isnull', True), ('minimum__lt', models.F('maximum')), _connector='OR'), name='panel_minimum_below_maximum', violation_error_message='The minimum must be below the maximum.'),
        ),
    ]
