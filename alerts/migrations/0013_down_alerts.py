from django.db import migrations

# What the portal's own rules and common ones say when something is down; staff edit or switch these off.
DOWN = (
    ("host", ['alertname=~"HostDown|NodeDown|HostUnreachable"']),
    ("deployment", ['alertname=~"TargetDown|InstanceDown|ModelDown|ModelNotReady|ProbeFailed"']),
)


def add(apps, schema_editor):
    """Say which alerts mean that a host or a deployment is down."""
    dependency = apps.get_model("alerts", "Dependency")
    if not dependency.objects.exists():
        dependency.objects.bulk_create([dependency(kind=kind, matchers=matchers) for kind, matchers in DOWN])


class Migration(migrations.Migration):
    """The first dependencies; undoing it leaves them, for staff may have changed them."""

    dependencies = [("alerts", "0012_step_run_index")]
    operations = [migrations.RunPython(add, migrations.RunPython.noop)]
