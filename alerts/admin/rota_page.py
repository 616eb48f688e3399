"""The calendar of a rota: whose week is which, and who is on call at a given time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import rotas
from alerts.engine.intervals import zone
from alerts.models import Rota
from alphaq_portal.ui import PortalPageMixin, admin_url


class RotaPage(PortalPageMixin, TemplateView):
    """Six weeks as a grid, and the answer to “who is on call at”."""

    template_name = "alerts/rota.html"
    permission = "alerts.view_rota"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The rota, its weeks, who has it now, and the answer for the time asked in `at` (the rota's wall time)."""
        rota = get_object_or_404(Rota, pk=kwargs.pop("pk"))
        at, asked = timezone.now(), self.request.GET.get("at", "").strip()
        wanted, problem = _moment(asked, rota) if asked else (None, "")
        now = rotas.on_call(rota, at)
        return super().get_context_data(
            title=f"Rota {rota.name}",
            trail=[("Rotas", reverse("admin:alerts_rota_changelist")), (rota.name, admin_url(rota))],
            here="Calendar",
            rota=rota,
            weeks=rotas.weeks(rota, at),
            days=["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
            now=now,
            now_until=_local(now.ends_at, rota) if now else "",
            following=rotas.on_call(rota, now.ends_at) if now else None,
            asked=asked,
            problem=problem,
            wanted=wanted,
            then=rotas.on_call(rota, wanted) if wanted else None,
            **kwargs,
        )


def _moment(text: str, rota: Rota) -> tuple[datetime | None, str]:
    """The time that was asked for, or what is wrong with it; without a zone it is the rota's wall time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None, "Give a time such as 2026-03-05T09:00."
    if not 1970 < moment.year < 2200:
        return None, "Give a time between 1971 and 2199."
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone(rota.location))).astimezone(UTC), ""


def _local(moment: datetime, rota: Rota) -> str:
    return f"{moment.astimezone(zone(rota.location)):%a %d %b, %H:%M}"
