"""Under which labels alerts are told: external labels and relabelling, from the one row that all rule groups share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from alerts.engine.relabel import Relabel, RelabelError, outgoing, parse_relabel
from alerts.models import GlobalConfig
from monitoring.promql import Labels


@dataclass(frozen=True)
class Outgoing:
    """What is added to alerts on their way out; `external_url` is the portal's own address, for templates."""

    external_labels: tuple[tuple[str, str], ...] = ()
    rules: tuple[Relabel, ...] = ()
    external_url: str = ""

    def labels(self, identity: Labels) -> Labels | None:
        """The labels an alert is told under; None when a relabel rule drops it."""
        if not self.external_labels and not self.rules:
            return identity
        return outgoing(identity, self.external_labels, self.rules)


def current() -> Outgoing:
    """What the row says now; one small query. Rules that cannot be read are no reason to hold an evaluation up."""
    row = GlobalConfig.objects.values("external_labels", "alert_relabel_configs").first()
    url = settings.ENV.external_url
    return _built(row["external_labels"], row["alert_relabel_configs"], url) if row else Outgoing(external_url=url)


def _built(labels: dict[str, str], configs: Any, url: str) -> Outgoing:
    try:
        rules = parse_relabel(configs)
    except RelabelError:  # written past GlobalConfig.clean
        rules = ()
    return Outgoing(tuple(sorted(labels.items())), rules, url)
