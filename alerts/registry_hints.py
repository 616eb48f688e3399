"""What the registry of models adds to a message: whose model it is, and whether it was deployed just before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from alerts.engine.message_words import span
from alerts.models import Alert
from monitoring.models import Deploy, ServedModel

_MODEL = "model_name"
# Who owns an alert may stand on it; the first of these that does.
_OWNERS = ("owner", "team")
# A deploy longer before the alert is no hint any more; most trouble of a new version shows within the hour.
_JUST_BEFORE = timedelta(hours=2)
_NAMED = 3


@dataclass(frozen=True)
class Hints:
    """Teams by model, and the deploys of these models that may matter, newest first."""

    owners: Mapping[str, str] = field(default_factory=dict)
    deploys: Sequence[Deploy] = ()

    def owner(self, alerts: Iterable[Alert]) -> str:
        """Whose alerts these are: as annotations or labels say, else the teams of their models; "" for nobody."""
        names = dict.fromkeys(name for alert in alerts if (name := self._owner(alert)))
        return ", ".join([*names][:_NAMED]) + (f" + {len(names) - _NAMED} more" if len(names) > _NAMED else "")

    def _owner(self, alert: Alert) -> str:
        said = (places.get(name) for places in (alert.annotations, alert.labels) for name in _OWNERS)
        return next((str(name) for name in said if name), "") or self.owners.get(alert.labels.get(_MODEL, ""), "")

    def words(self, alerts: Iterable[Alert]) -> list[str]:
        """A sentence about the newest deploy shortly before one of these alerts fired; none when there was none."""
        for alert in alerts:
            began = alert.fired_at or alert.active_since
            for deploy in self.deploys:
                if deploy.model.name == alert.labels.get(_MODEL) and _is_just_before(deploy.at, began):
                    ago = span((began - deploy.at).total_seconds())
                    by = f" by {deploy.by}" if deploy.by else ""
                    return [f"{deploy.model.name}@{deploy.version.version} was deployed {ago} before it fired{by}"]
        return []


def of(alerts: Iterable[Alert]) -> Hints:
    """The hints for these alerts, in two queries; in none when no alert names a model."""
    began: dict[str, datetime] = {}
    for alert in alerts:
        name = alert.labels.get(_MODEL)
        if name:
            first = alert.fired_at or alert.active_since
            began[name] = min(first, began.get(name, first))
    if not began:
        return Hints()
    owned = ServedModel.objects.filter(name__in=began, owner__isnull=False)
    deploys = Deploy.objects.filter(model__name__in=began, at__gt=min(began.values()) - _JUST_BEFORE)
    rows = deploys.select_related("model", "version").order_by("-at", "-pk")[:200]
    return Hints(dict(owned.values_list("name", "owner__name")), list(rows))


def _is_just_before(deployed_at: datetime, began: datetime) -> bool:
    return deployed_at <= began < deployed_at + _JUST_BEFORE
