"""The registry: teams, models, their versions and where these run, each with its history."""

import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('monitoring', '0002_host'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='ModelVersion',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('version', models.CharField(help_text='The label model_version of its series.', max_length=100)),
                ('stage', models.CharField(choices=[('development', 'development'), ('staging', 'staging'), ('production', 'production'), ('archived', 'archived')], default='development', max_length=20)),
                ('baseline', models.JSONField(blank=True, default=dict, help_text='What it should reach, such as {"accuracy": 0.94}.', verbose_name='baseline metrics')),
                ('promoted_at', models.DateTimeField(blank=True, help_text='Since when it is in production.', null=True)),
            ],
            options={
                'ordering': ['model__name', '-promoted_at', 'version'],
            },
        ),
        migrations.CreateModel(
            name='ServedModel',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(help_text='The label model_name of all its series.', max_length=200, unique=True)),
                ('task', models.CharField(blank=True, help_text='What it does: ranking, classification, chat …', max_length=100)),
                ('framework', models.CharField(blank=True, help_text='PyTorch, XGBoost, vLLM …', max_length=100)),
                ('runbook', models.URLField(blank=True, help_text='What to do when it fails.')),
                ('description', models.TextField(blank=True)),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to all its series, such as {"tier": "1"}.')),
            ],
            options={
                'verbose_name': 'model',
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='Team',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('contact', models.CharField(blank=True, help_text='Where to reach them: a channel, an address.', max_length=200)),
            ],
            options={
                'ordering': ['name'],
            },
        ),
        migrations.CreateModel(
            name='HistoricalTeam',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('name', models.CharField(db_index=True, max_length=100)),
                ('contact', models.CharField(blank=True, help_text='Where to reach them: a channel, an address.', max_length=200)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'verbose_name': 'historical team',
                'verbose_name_plural': 'historical teams',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='HistoricalDeployment',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('url', models.CharField(blank=True, help_text='Where it answers requests.', max_length=2000, verbose_name='URL')),
                ('metrics_url', models.CharField(blank=True, help_text='Scraped when given.', max_length=2000, verbose_name='metrics URL')),
                ('health_url', models.CharField(blank=True, help_text='Asked whether it is well.', max_length=2000, verbose_name='health URL')),
                ('health_kind', models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/version')], default='plain', max_length=20, verbose_name='health kind')),
                ('is_enabled', models.BooleanField(default=True, help_text='Off: neither scraped nor asked.', verbose_name='enabled')),
                ('deployed_at', models.DateTimeField(blank=True, editable=False)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('host', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.host')),
                ('version', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.modelversion')),
            ],
            options={
                'verbose_name': 'historical deployment',
                'verbose_name_plural': 'historical deployments',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='model',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='versions', to='monitoring.servedmodel'),
        ),
        migrations.CreateModel(
            name='HistoricalModelVersion',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('version', models.CharField(help_text='The label model_version of its series.', max_length=100)),
                ('stage', models.CharField(choices=[('development', 'development'), ('staging', 'staging'), ('production', 'production'), ('archived', 'archived')], default='development', max_length=20)),
                ('baseline', models.JSONField(blank=True, default=dict, help_text='What it should reach, such as {"accuracy": 0.94}.', verbose_name='baseline metrics')),
                ('promoted_at', models.DateTimeField(blank=True, help_text='Since when it is in production.', null=True)),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('model', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.servedmodel')),
            ],
            options={
                'verbose_name': 'historical model version',
                'verbose_name_plural': 'historical model versions',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.AddField(
            model_name='servedmodel',
            name='owner',
            field=models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='models', to='monitoring.team'),
        ),
        migrations.CreateModel(
            name='HistoricalServedModel',
            fields=[
                ('id', models.BigIntegerField(auto_created=True, blank=True, db_index=True, verbose_name='ID')),
                ('name', models.CharField(db_index=True, help_text='The label model_name of all its series.', max_length=200)),
                ('task', models.CharField(blank=True, help_text='What it does: ranking, classification, chat …', max_length=100)),
                ('framework', models.CharField(blank=True, help_text='PyTorch, XGBoost, vLLM …', max_length=100)),
                ('runbook', models.URLField(blank=True, help_text='What to do when it fails.')),
                ('description', models.TextField(blank=True)),
                ('labels', models.JSONField(blank=True, default=dict, help_text='Added to all its series, such as {"tier": "1"}.')),
                ('history_id', models.AutoField(primary_key=True, serialize=False)),
                ('history_date', models.DateTimeField(db_index=True)),
                ('history_change_reason', models.CharField(max_length=100, null=True)),
                ('history_type', models.CharField(choices=[('+', 'Created'), ('~', 'Changed'), ('-', 'Deleted')], max_length=1)),
                ('history_user', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('owner', models.ForeignKey(blank=True, db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to='monitoring.team')),
            ],
            options={
                'verbose_name': 'historical model',
                'verbose_name_plural': 'historical models',
                'ordering': ('-history_date', '-history_id'),
                'get_latest_by': ('history_date', 'history_id'),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name='Deployment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('url', models.CharField(blank=True, help_text='Where it answers requests.', max_length=2000, verbose_name='URL')),
                ('metrics_url', models.CharField(blank=True, help_text='Scraped when given.', max_length=2000, verbose_name='metrics URL')),
                ('health_url', models.CharField(blank=True, help_text='Asked whether it is well.', max_length=2000, verbose_name='health URL')),
                ('health_kind', models.CharField(choices=[('plain', 'plain: any 2xx of the URL'), ('kserve', 'KServe v2: /v2/health/ready'), ('vllm', 'vLLM: /health'), ('torchserve', 'TorchServe: /ping'), ('triton', 'Triton: /v2/health/ready'), ('ollama', 'Ollama: /api/version')], default='plain', max_length=20, verbose_name='health kind')),
                ('is_enabled', models.BooleanField(default=True, help_text='Off: neither scraped nor asked.', verbose_name='enabled')),
                ('deployed_at', models.DateTimeField(auto_now_add=True)),
                ('host', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='deployments', to='monitoring.host')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deployments', to='monitoring.modelversion')),
            ],
            options={
                'ordering': ['version__model__name', '-deployed_at'],
                'constraints': [models.CheckConstraint(condition=models.Q(('host__isnull', False), models.Q(('url', ''), _negated=True), models.Q(('metrics_url', ''), _negated=True), _connector='OR'), name='deployment_is_somewhere', violation_error_message='Say where it runs: choose a host or give a URL.')],
            },
        ),
        migrations.AddConstraint(
            model_name='modelversion',
            constraint=models.UniqueConstraint(fields=('model', 'version'), name='version_once_a_model', violation_error_message='This model has a version of this name already; choose another.'),
        ),
    ]
