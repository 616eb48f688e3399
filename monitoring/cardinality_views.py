"""The page of cardinality: which metrics, labels and sources the series come from, and which of them grow."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin
from monitoring import store
from monitoring.system_views import PERMISSION, source_names

#: Rows of each table, and how many after "show more".
SHOWN, MOST = 20, 500
SPANS = {"2h": 2, "24h": 24, "7d": 168}
DEFAULT_SPAN = "24h"
#: A source that uses this share of what it may have should be looked at before it is refused.
NEAR_LIMIT = 0.8


class CardinalityPage(PortalPageMixin, TemplateView):
    """Series per metric, per label and per source."""

    template_name = "monitoring/cardinality.html"
    title = "Cardinality"
    permission = PERMISSION

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the counts of the span that the address names."""
        chosen = self.request.GET.get("range", "")
        span = chosen if chosen in SPANS else DEFAULT_SPAN
        top = MOST if self.request.GET.get("all") else SHOWN
        now_ms = round(timezone.now().timestamp() * 1000)
        found = store.cardinality(now_ms - SPANS[span] * 3_600_000, top)
        limit = getattr(settings, "STORE_MAX_SERIES_PER_SOURCE", store.MAX_SERIES_PER_SOURCE)
        names = source_names(each.name for each in found.by_source)
        explore = reverse("monitoring:explore")
        return super().get_context_data(
            trail=[("System", reverse("monitoring:system"))],
            here="Cardinality",
            found=found,
            limit=limit,
            range=span,
            ranges=list(SPANS),
            is_short=top == SHOWN,
            growth=_share(found.new, found.series),
            metrics=[
                {"count": each, "share": _share(each.series, found.series), "url": _ask(explore, _selector(each.name))}
                for each in found.by_metric
            ],
            labels=[{"count": each, "url": _ask(explore, _by_value(each.name))} for each in found.by_label],
            sources=[
                {
                    "count": each,
                    "name": names[each.name][0],
                    "url": names[each.name][1],
                    "used": 100 * each.series / limit,
                    "is_near": each.series >= NEAR_LIMIT * limit,
                }
                for each in found.by_source
            ],
            **kwargs,
        )


def _share(part: int, whole: int) -> float:
    """Return a part in percent of the whole, 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def _selector(metric: str) -> str:
    return f"count({store.sample_key(metric, {})})"


def _by_value(label: str) -> str:
    """Return the question which values of a label have most series."""
    quoted = label if label.isidentifier() and label.isascii() else f'"{label}"'
    return f'topk(20, count by ({quoted}) ({{{quoted}!=""}}))'


def _ask(explore: str, expr: str) -> str:
    return f"{explore}?{urlencode({'expr': expr})}"
