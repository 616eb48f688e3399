"""A silence made from the page of an alert; how long people ask for quiet: in hours, or until nine where they are."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import actions, alert_story
from alerts.admin.silence_windows import recurrence_of
from alerts.admin.silences import DAYS
from alerts.engine.escalation import snooze_until
from alerts.engine.intervals import IntervalError, known_zone
from alerts.engine.silences import Recurrence
from alerts.models import Alert
from alphaq_portal.ui import PortalPageMixin

SNOOZES = {"1h": ("1 h", timedelta(hours=1)), "4h": ("4 h", timedelta(hours=4)), "1d": ("1 day", timedelta(days=1))}
# A silence may last longer than a snooze, above all one that comes again.
SILENCES = SNOOZES | {"1w": ("1 week", timedelta(weeks=1)), "4w": ("4 weeks", timedelta(weeks=4))}
MORNING = "morning"
# The browser says where it is (static/js/portal.js).
ZONE_COOKIE = "aq_zone"


def zone_of(request: HttpRequest) -> str:
    """The time zone of whoever asks: the browser's, else that of their Slack account, else UTC."""
    told = known_zone(request.COOKIES.get(ZONE_COOKIE, ""))
    if told:
        return told
    link = request.user.slack_links.exclude(time_zone="").first()  # type: ignore[union-attr]
    return known_zone(link.time_zone if link else "") or "UTC"


def end_of(chosen: str, at: datetime, location: str, typed: Mapping[str, str] | None = None) -> datetime:
    """The end that a button or the field “until” names; raises Refused for anything else."""
    if chosen in SILENCES:
        return at + SILENCES[chosen][1]
    if chosen == MORNING:
        return snooze_until("9am", at, location)
    try:
        until = datetime.fromisoformat((typed or {}).get("until", ""))
    except ValueError as error:
        raise actions.Refused("Choose how long, or give a time such as 2026-03-05T09:00.") from error
    return until if until.tzinfo else until.replace(tzinfo=UTC)


class SilencePage(PortalPageMixin, TemplateView):
    """A silence made from an alert: its labels are filled in, and what it would cover is shown before it is made."""

    template_name = "alerts/silence.html"
    title = "Silence"
    permission = "alerts.add_silence"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form as typed, or filled in from the alert's labels, with its preview."""
        alert, at = get_object_or_404(Alert, pk=kwargs.pop("pk")), timezone.now()
        typed, place = self.request.POST, zone_of(self.request)
        matchers = alert_story.matchers_of(alert)
        is_typed = self.request.method == "POST"
        chosen = _matchers(typed) if is_typed else [text for text, is_on in matchers if is_on]
        preview, problem = None, kwargs.pop("problem", "")
        try:
            ends_at = end_of(typed.get("for", "1h"), at, place, typed)
            preview = actions.preview_silence(chosen, at, ends_at, at, _recurrence(typed))
        except actions.Refused as error:
            problem = problem or str(error)
        return super().get_context_data(
            trail=[("Alerts", reverse("alerts:alerts")), (alert.name, reverse("alerts:alert", args=[alert.pk]))],
            alert=alert,
            at=at,
            matchers=[(text, text in chosen) for text, _ in matchers],
            typed=typed,
            chosen_for=typed.get("for", "1h"),
            durations=[*((key, words) for key, (words, _) in SILENCES.items()), (MORNING, f"until 09:00 ({place})")],
            days=[(str(number), day, str(number) in typed.getlist("recur_weekdays")) for number, day in DAYS],
            is_recurring=bool(typed.get("recur_at") or typed.get("recur_seconds") or typed.getlist("recur_weekdays")),
            place=typed.get("recur_location") or place,
            preview=preview,
            problem=problem,
            **kwargs,
        )

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Preview or make the silence; nothing typed is lost when it is refused."""
        at, typed = timezone.now(), request.POST
        if "preview" in typed:
            return render(request, "alerts/silence_preview.html", self.get_context_data(pk=pk))
        try:
            ends_at = end_of(typed.get("for", ""), at, zone_of(request), typed)
            again, why = _recurrence(typed), typed.get("comment", "")
            made = actions.silence(_matchers(typed), request.user, at, ends_at, why, at, again)
        except actions.Refused as error:
            return self.render_to_response(self.get_context_data(pk=pk, problem=str(error)), status=422)
        often = f" {again.describe()}," if again else ""
        messages.success(request, f"Silenced{often} until {made.ends_at:%Y-%m-%d %H:%M} UTC.")
        return redirect("alerts:alert", pk)


def _matchers(typed: QueryDict) -> list[str]:
    lines = (line.strip() for line in typed.get("more", "").splitlines())
    return [*typed.getlist("matcher"), *(line for line in lines if line)]


def _recurrence(typed: QueryDict) -> Recurrence | None:
    """The windows that were typed, None for a silence that holds throughout; raises Refused for half of one."""
    opens_at, lasts = typed.get("recur_at", "").strip(), typed.get("recur_seconds", "").strip()
    if not opens_at and (lasts or typed.getlist("recur_weekdays")):
        raise actions.Refused("Say when a window opens, or leave days and length empty.")
    if opens_at and not lasts:
        raise actions.Refused("Say how long a window lasts, such as 2h.")
    try:
        return recurrence_of(typed)
    except ValidationError as error:
        raise actions.Refused(" ".join(error.messages)) from error
    except (ValueError, IntervalError) as error:
        raise actions.Refused(f"The windows cannot be read: {error}.") from error
