"""The next windows of a recurring silence, for its form while somebody fills it in."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.views import View

from alerts import policy
from alerts.engine.intervals import IntervalError, zone
from alerts.engine.silences import InvalidSilence, Recurrence, Silence, check_silence
from alerts.models.fields import to_seconds
from alphaq_portal.ui import PortalPageMixin
from monitoring.promql import Matcher


class SilenceWindows(PortalPageMixin, View):
    """A fragment: five windows, or what is wrong with what was typed."""

    permission = "alerts.view_silence"

    def get(self, request: HttpRequest) -> HttpResponse:
        """Read the form's fields as they are; half-filled ones are no error."""
        windows, problem = _windows(request.GET, timezone.now())
        return render(request, "alerts/silence_windows.html", {"windows": windows, "problem": problem})


def _windows(typed: QueryDict, at: datetime) -> tuple[Any, str]:
    try:
        again = recurrence_of(typed)
        if again is None:
            return (), ""
        starts_at, ends_at = _moment(typed, "starts_at") or at, _moment(typed, "ends_at")
        # The matcher only stands for those that are not asked here.
        value = Silence("", (Matcher("=", "alertname", "x"),), starts_at, ends_at or datetime.max.replace(tzinfo=UTC))
        found = check_silence(Silence(value.id, value.matchers, starts_at, value.ends_at, recurrence=again), at)
    except (ValueError, ValidationError, IntervalError, InvalidSilence) as error:
        return (), "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
    windows = found.next_windows(at)
    return windows, "" if windows else "No window opens between its start and its end."


def recurrence_of(typed: QueryDict) -> Recurrence | None:
    """The recurrence that form fields spell, None while its time or length is empty; raises ValueError and kin."""
    if not typed.get("recur_at") or not typed.get("recur_seconds"):
        return None
    location = str(typed.get("recur_location") or "").strip() or "UTC"
    zone(location)
    days = [int(day) for day in typed.getlist("recur_weekdays")]
    opens_at = time.fromisoformat(str(typed["recur_at"]).strip())
    return policy.recurrence(opens_at, to_seconds(str(typed["recur_seconds"])), days, location)


def _moment(typed: QueryDict, name: str) -> datetime | None:
    day, clock = typed.get(f"{name}_0", ""), typed.get(f"{name}_1", "") or "00:00"
    return datetime.fromisoformat(f"{day}T{clock}").replace(tzinfo=UTC) if day else None
