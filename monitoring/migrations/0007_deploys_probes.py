"""Deploys, probes with their states, and what targets say of their metrics."""

import django.core.validators
import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0006_api_tokens'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Probe',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The label probe of its series.', max_length=300, unique=True)),
                ('url', models.CharField(help_text="The health address, or the server's root for all kinds.", max_length=2000, verbose_name='URL')),
                ('kind', models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/tags')], default='plain', max_length=20)),
                ('model_at_server', models.CharField(blank=True, help_text="Asked for too, where the kind knows models. Empty: the registry's name (vLLM: none).", max_length=200, verbose_name='model at the server')),
                ('interval_seconds', models.FloatField(default=15.0, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3600)])),
                ('timeout_seconds', models.FloatField(default=5.0, validators=[django.core.validators.MinValueValidator(0.1), django.core.validators.MaxValueValidator(60)])),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to its series, such as {"env": "prod"}.')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('managed_by', models.CharField(blank=True, help_text='What owns this row: a deployment, a file; empty: staff.', max_length=200)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.AddField(
            model_name='deployment',
            name='health_model',
            field=models.CharField(blank=True, help_text='Its name there, asked for too where the kind knows models. Empty: the name here (vLLM: not asked).', max_length=200, verbose_name='model at the server'),
        ),
        migrations.AddField(
            model_name='historicaldeployment',
            name='health_model',
            field=models.CharField(blank=True, help_text='Its name there, asked for too where the kind knows models. Empty: the name here (vLLM: not asked).', max_length=200, verbose_name='model at the server'),
        ),
        migrations.AlterField(
            model_name='deployment',
            name='health_kind',
            field=models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/tags')], default='plain', max_length=20, verbose_name='health kind'),
        ),
        migrations.AlterField(
            model_name='historicaldeployment',
            name='health_kind',
            field=models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/tags')], default='plain', max_length=20, verbose_name='health kind'),
        ),
        migrations.CreateModel(
            name='HistoricalProbe',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('name', models.CharField(db_index=True, help_text='The label probe of its series.', max_length=300)),
                ('url', models.CharField(help_text="The health address, or the server's root for all kinds.", max_length=2000, verbose_name='URL')),
                ('kind', models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/tags')], default='plain', max_length=20)),
                ('model_at_server', models.CharField(blank=True, help_text="Asked for too, where the kind knows models. Empty: the registry's name (vLLM: none).", max_length=200, verbose_name='model at the server')),
                ('interval_seconds', models.FloatField(default=15.0, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(3600)])),
                ('timeout_seconds', models.FloatField(default=5.0, validators=[django.core.validators.MinValueValidator(0.1), django.core.validators.MaxValueValidator(60)])),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to its series, such as {"env": "prod"}.')),
                ('is_enabled', models.BooleanField(default=True, verbose_name='enabled')),
                ('managed_by', models.CharField(blank=True, help_text='What owns this row: a deployment, a file; empty: staff.', max_length=200)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('deployment', models.ForeignKey(blank=True, db_constraint=False, help_text='Gives the labels model_name and model_version.', null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.deployment')),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical probe',
                'verbose_name_plural': 'historical probes',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='MetricMetadata',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The name of the family, as in the TYPE line.', max_length=300)),
                ('type', models.CharField(blank=True, max_length=20)),
                ('help', models.CharField(blank=True, max_length=500)),
                ('unit', models.CharField(blank=True, max_length=100)),
            ],
            options={
                'verbose_name_plural': 'metric metadata',
                'ordering': ['name', 'pk'],
                'constraints': [models.UniqueConstraint(fields=('name', 'type', 'help', 'unit'), name='metadata_once')],
            },
        ),
        migrations.CreateModel(
            name='ProbeState',
            fields=[
                ('probe', models.OneToOneField(db_constraint=False, on_delete=django.db.models.deletion.DO_NOTHING, primary_key=True, related_name='state', serialize=False, to='monitoring.probe')),
                ('due_at', models.DateTimeField(db_index=True)),
                ('is_ok', models.BooleanField(help_text='Empty: not asked yet.', null=True, verbose_name='well')),
                ('since', models.DateTimeField(help_text='Since when it answers so.', null=True)),
                ('probed_at', models.DateTimeField(null=True, verbose_name='last asked')),
                ('duration_seconds', models.FloatField(null=True)),
                ('http_status', models.PositiveIntegerField(null=True, verbose_name='HTTP status')),
                ('error', models.TextField(blank=True)),
                ('missed_slots', models.PositiveBigIntegerField(default=0)),
                ('labels', models.JSONField(help_text='Labels under which its samples were last written.', null=True)),
                ('results', models.JSONField(default=list, help_text='The last 50: [unix seconds, well, HTTP status, seconds, error], oldest first.')),
            ],
            options={
                'ordering': ['probe__name'],
            },
        ),
        migrations.AddField(
            model_name='probe',
            name='deployment',
            field=models.OneToOneField(blank=True, help_text='Gives the labels model_name and model_version.', null=True, on_delete=django.db.models.deletion.CASCADE, related_name='probe', to='monitoring.deployment'),
        ),
        migrations.CreateModel(
            name='Deploy',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stage', models.CharField(blank=True, choices=[('development', 'development'), ('staging', 'staging'), ('production', 'production'), ('archived', 'archived')], help_text='The stage the version came to by it.', max_length=20)),
                ('at', models.DateTimeField()),
                ('by', models.CharField(blank=True, help_text='Who did it.', max_length=150)),
                ('note', models.TextField(blank=True, max_length=2000)),
                ('url', models.CharField(blank=True, help_text='The pipeline, the change.', max_length=2000, verbose_name='URL')),
                ('source', models.CharField(choices=[('admin', 'the admin'), ('api', 'the API')], default='admin', max_length=10)),
                ('deployment', models.ForeignKey(blank=True, help_text='Where to; empty: the version as a whole.', null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='deploys', to='monitoring.deployment')),
                ('model', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deploys', to='monitoring.servedmodel')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deploys', to='monitoring.modelversion')),
            ],
            options={
                'ordering': ['-at', '-pk'],
                'indexes': [models.Index(fields=['model', '-at'], name='deploy_of_model'), models.Index(fields=['-at'], name='deploy_by_time')],
                'constraints': [models.UniqueConstraint(fields=('version', 'deployment', 'stage', 'at'), name='deploy_once', nulls_distinct=False)],
            },
        ),
        migrations.AddConstraint(
            model_name='probe',
            constraint=models.CheckConstraint(condition=models.Q(('interval_seconds__gte', 1)), name='probe_interval_at_least_1s'),
        ),
        migrations.AddConstraint(
            model_name='probe',
            constraint=models.CheckConstraint(condition=models.Q(('timeout_seconds__lte', models.F('interval_seconds'))), name='probe_timeout_within_interval', violation_error_message='The timeout may not be longer than the interval.'),
        ),
    ]
