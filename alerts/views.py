"""Pages of alerts: the list and one alert; and the Slack set-up. The verbs are in actions.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_GET, require_POST
from django.views.generic import TemplateView, View

from alerts import actions, alert_list, alert_story, registry_hints, slack_setup, stopped, suppressed
from alerts.models import Alert, Integration
from alerts.silence_views import SNOOZES, end_of, zone_of
from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring.promql import QueryError


class AlertList(PortalPageMixin, TemplateView):
    """What fires and waits; with `fragment` in the address only the table, for the page that refreshes itself."""

    template_name = "alerts/list.html"
    title = "Alerts"
    permission = "alerts.view_alert"

    def get_template_names(self) -> list[str]:
        """The table alone for a refresh."""
        return ["alerts/table.html"] if "fragment" in self.request.GET else [self.template_name]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The page of alerts that the address asks for."""
        asked, at = self.request.GET, timezone.now()
        wanted = alert_list.Wanted.of(
            asked.get("state", ""), asked.getlist("severity"), asked.get("rule", ""), asked.get("q", "")
        )
        found = alert_list.listing(wanted, at, asked.get("page", 1))
        query = asked.copy()
        query.pop("fragment", None)
        query.pop("page", None)
        return super().get_context_data(
            found=found,
            wanted=wanted,
            at=at,
            query=query.urlencode(),
            states=[(name, found.states.get(name)) for name in alert_list.STATES],
            severities=list(found.severities.items()),
            may_act=self.request.user.has_perm("alerts.change_alert"),
            here_path=self.request.get_full_path().replace("fragment=1", ""),
            **kwargs,
        )


class AlertPage(PortalPageMixin, TemplateView):
    """One alert: its chart, why it fires, what happened, who was told, and what to do about it."""

    template_name = "alerts/alert.html"
    permission = "alerts.view_alert"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The alert with its story."""
        alert = _alert(kwargs.pop("pk"))
        at, user = timezone.now(), self.request.user
        hints = registry_hints.of([alert])
        return super().get_context_data(
            title=alert.name,
            trail=[("Alerts", reverse("alerts:alerts"))],
            here=f"{alert.name} {alert.pk}",
            alert=alert,
            stale_since=stopped.stale_since(alert, at),
            story=alert_story.tell(alert, at),
            suppresses=suppressed.of(alert, at),
            owner=hints.owner([alert]),
            deploy_hints=hints.words([alert]),
            chart_unit=alert_list.unit_of(alert),
            chart_limits=alert_story.chart_limits(alert),
            chart_refresh=0 if alert.state == Alert.State.RESOLVED else 15,
            at=at,
            snoozes=[(key, words) for key, (words, _) in SNOOZES.items()],
            place=zone_of(self.request),
            is_snoozed=alert.snoozed_until is not None and alert.snoozed_until > at,
            is_active=alert.state != Alert.State.RESOLVED,
            marks=list(alert.marks.select_related("user")),
            may_act=user.has_perm("alerts.change_alert"),
            may_silence=user.has_perm("alerts.add_silence"),
            may_end=alert.rule_id is None or alert.no_data_since is not None,
            rule_url=admin_url(alert.rule) if alert.rule and user.has_perm("alerts.view_rule") else "",
            **kwargs,
        )


@require_GET
def chart_json(request: HttpRequest, pk: int) -> HttpResponse:
    """The value of an alert over its life, for static/js/chart.js; 401 or 403 without the right, 422 with `error`."""
    if not request.user.is_authenticated:
        return JsonResponse({"error": "Sign in again."}, status=401)
    if not request.user.has_perm("alerts.view_alert"):
        return JsonResponse({"error": "You may not see alerts."}, status=403)
    try:
        return JsonResponse(alert_story.chart(_alert(pk), timezone.now()))
    except QueryError as error:
        return JsonResponse({"error": str(error)}, status=422)


class Act(PortalPageMixin, View):
    """One verb on one alert, by POST: acknowledge, confirm, unacknowledge, snooze, note, resolve, mark."""

    permission = "alerts.change_alert"
    http_method_names = ["post"]

    def post(self, request: HttpRequest, pk: int, verb: str) -> HttpResponse:
        """Do it, say what came of it, and go back to where the button was."""
        if verb not in VERBS:
            raise Http404
        get_object_or_404(Alert, pk=pk)
        try:
            messages.success(request, VERBS[verb](request, pk, timezone.now()))
        except actions.Refused as error:
            messages.error(request, str(error))
        return redirect(_back(request, reverse("alerts:alert", args=[pk])))


def _acknowledge(request: HttpRequest, pk: int, at: datetime) -> str:
    actions.acknowledge(pk, request.user, at)
    return "You have it. Nobody is reminded of it while it fires."


def _unacknowledge(request: HttpRequest, pk: int, at: datetime) -> str:
    actions.unacknowledge(pk, request.user, at)
    return "The acknowledgement is withdrawn."


def _snooze(request: HttpRequest, pk: int, at: datetime) -> str:
    until = end_of(request.POST.get("for", ""), at, zone_of(request))
    actions.snooze(pk, request.user, until, at)
    return f"No reminder until {until:%Y-%m-%d %H:%M} UTC."


def _note(request: HttpRequest, pk: int, at: datetime) -> str:
    actions.note(pk, request.user, request.POST.get("text", ""), at)
    return "The note is in the timeline."


def _resolve(request: HttpRequest, pk: int, at: datetime) -> str:
    actions.resolve(pk, request.user, at)
    return "It is resolved."


def _confirm(request: HttpRequest, pk: int, at: datetime) -> str:
    actions.confirm_all([pk], request.user, at)
    return "Noted: you are still on it."


def _mark(request: HttpRequest, pk: int, at: datetime) -> str:
    verdict = request.POST.get("verdict", "")
    actions.mark_all([pk], request.user, verdict, at)
    return f"Marked as {verdict}. The list of rules shows how much of each is noise."


VERBS = {
    "mark": _mark, "confirm": _confirm,
    "acknowledge": _acknowledge, "unacknowledge": _unacknowledge, "snooze": _snooze, "note": _note, "resolve": _resolve,
}  # fmt: skip


class ConnectSlack(PortalPageMixin, TemplateView):
    """Takes a token and a channel or a webhook, checks both, saves them on the root receiver, sends a test."""

    template_name = "alerts/connect_slack.html"
    title = "Connect Slack"
    permission = "alerts.add_integration"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form with what was typed, but for the token; the ways out there are; the steps of the last check."""
        return super().get_context_data(
            ways=slack_setup.ways_out(),
            interactions_url=f"{settings.ENV.external_url}{reverse('alerts:slack_interactions')}",
            at=timezone.now(),
            **{"channel": "", "done": None, "is_webhook": False, **kwargs},
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        """Send a test through a way out that is there, or check and save what was typed."""
        if "test" in request.POST:
            return self._test(request)
        typed = slack_setup.Typed(
            bot_token=request.POST.get("bot_token", "").strip(),
            channel=request.POST.get("channel", "").strip(),
            webhook_url=request.POST.get("webhook_url", "").strip(),
            app_token=request.POST.get("app_token", "").strip(),
            signing_secret=request.POST.get("signing_secret", "").strip(),
        )
        done = slack_setup.connect(typed, request.user)
        if done.integration is None:
            context = self.get_context_data(done=done, channel=typed.channel, is_webhook=typed.is_webhook)
            return self.render_to_response(context, status=422)
        messages.success(request, f"Connected: {done.integration}. Send a test message to see it arrive.")
        return self.render_to_response(self.get_context_data(done=done, channel=typed.channel))

    def _test(self, request: HttpRequest) -> HttpResponse:
        pk = request.POST["test"]
        integration = get_object_or_404(Integration, pk=int(pk) if pk.isascii() and pk.isdigit() else 0)
        is_sent, words = slack_setup.send_test(integration, request.user.get_username(), timezone.now())
        messages.add_message(request, messages.SUCCESS if is_sent else messages.ERROR, f"{integration}: {words}")
        return redirect("alerts:connect_slack")


def _alert(pk: int) -> Alert:
    return get_object_or_404(Alert.objects.select_related("rule__group__clock", "threshold", "acknowledged_by"), pk=pk)


def _back(request: HttpRequest, otherwise: str) -> str:
    """Where the button was, if that is a page of ours."""
    url = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())
    return url if url and is_ours else otherwise


act = require_POST(Act.as_view())
