"""Each deployment that is there already was deployed once; charts have marked it so far by its own time."""

from django.db import migrations

FILL = """
insert into monitoring_deploy (model_id, version_id, deployment_id, stage, at, by, note, url, source)
select v.model_id, v.id, d.id, '', d.deployed_at, '', '', '', 'admin'
from monitoring_deployment d join monitoring_modelversion v on v.id = d.version_id
on conflict do nothing
"""


class Migration(migrations.Migration):

    dependencies = [('monitoring', '0007_deploys_probes')]

    operations = [migrations.RunSQL(FILL, migrations.RunSQL.noop)]
