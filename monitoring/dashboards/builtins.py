"""The dashboards a portal starts with; what staff changed or deleted of them is left alone."""

from __future__ import annotations

from datetime import datetime

from monitoring.dashboards import rows
from monitoring.dashboards.builtin_specs import BUILTINS
from monitoring.dashboards.spec import DashboardSpec
from monitoring.models import Dashboard


def load_builtins(at: datetime) -> int:
    """Make or renew the built-in dashboards and return how many changed; harmless when repeated.

    One that nobody has edited follows a newer release; one that was edited, or deleted, stays as it is. `at` is when
    the portal started; nothing depends on it yet, every loader of starting rows takes it.
    """
    del at
    return sum(_load(key, spec) for key, spec in BUILTINS.items())


def _load(key: str, spec: DashboardSpec) -> bool:
    row = Dashboard.objects.filter(builtin_key=key).first()
    if row is None:
        # History remembers what staff deleted: it does not come back.
        if Dashboard.history.filter(builtin_key=key).exists():
            return False
        rows.save(spec, Dashboard.Source.BUILTIN, builtin_key=key)
        return True
    # Somebody may have put an import into its place.
    is_ours = row.source == Dashboard.Source.BUILTIN
    if not is_ours or row.loaded_digest == spec.digest() or not is_untouched(row):
        return False
    rows.save(spec, Dashboard.Source.BUILTIN, replacing=row)
    return True


def is_untouched(row: Dashboard) -> bool:
    """Whether a loaded dashboard is still as it was loaded."""
    return rows.spec_of(row).digest() == row.loaded_digest
