"""Pages that explain: why something was or was not told, where labels would go, and a rule fired as a test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import route_test, testfire, why
from alerts.engine.matching import MatcherError, parse_alertmanager_matchers
from alerts.engine.message_text import plain_text
from alerts.engine.routing import RouteError
from alerts.models import Alert, Rule
from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring.promql import Labels

# Alerts offered to fill in the labels of the route tester.
_OFFERED = 20
_MOMENT = timedelta(seconds=1)


class WhyPage(PortalPageMixin, TemplateView):
    """Pick a rule, one of its series and a moment; the walk from the value to the message stops at the first no."""

    template_name = "alerts/why.html"
    title = "Why?"
    permission = "alerts.view_alert"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The choice as far as it is made, and the walk once it is."""
        asked, at = self.request.GET, timezone.now()
        rules = Rule.objects.filter(kind=Rule.Kind.ALERT).select_related("group").order_by("name", "pk")
        chosen = asked.get("rule", "")
        rule = rules.filter(pk=int(chosen)).first() if chosen.isascii() and chosen.isdigit() else None
        when, problem = _moment(asked.get("at", ""), at)
        series = why.series_of(rule, when) if rule else []
        labels, wrong = _labels(asked.get("labels", ""))
        labels = labels or (series[0] if series else None)
        walk = why.walk(why.Case(rule, labels, when, at)) if rule and labels else None
        return super().get_context_data(
            rules=rules, rule=rule, when=when, at=at, series=[str(one) for one in series], walk=walk,
            labels=str(labels) if labels else "", problem=problem or wrong, rule_url=admin_url(rule) if rule else "",
            **kwargs,
        )  # fmt: skip


class AlertWhyPage(PortalPageMixin, TemplateView):
    """The walk of one alert, at a moment of its life: why its messages were or were not sent."""

    template_name = "alerts/why_alert.html"
    permission = "alerts.view_alert"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The walk at the moment in the address, else now or just before the alert ended."""
        alert = get_object_or_404(Alert.objects.select_related("rule__group"), pk=kwargs.pop("pk"))
        at = timezone.now()
        end = alert.resolved_at - _MOMENT if alert.resolved_at else at
        when, problem = _moment(self.request.GET.get("at", ""), max(end, alert.active_since))
        return super().get_context_data(
            title="Why was it told, or not?",
            trail=[("Alerts", reverse("alerts:alerts")), (alert.name, reverse("alerts:alert", args=[alert.pk]))],
            here="Why?",
            alert=alert,
            when=when,
            at=at,
            problem=problem,
            walk=why.walk(why.Case(alert.rule, alert.label_set, when, at)),
            **kwargs,
        )


class RouteTestPage(PortalPageMixin, TemplateView):
    """Where would these labels go, and why not there: the tree with its answers, and the first messages."""

    template_name = "alerts/route_test.html"
    title = "Try the routes"
    permission = "alerts.view_route"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The report for the labels in the address."""
        typed, at = self.request.GET.get("labels", ""), timezone.now()
        labels, problem = _labels(typed)
        report = None
        if labels is not None:
            try:
                report = route_test.report(labels, at)
            except RouteError as error:
                problem = f"The route tree cannot be used: {error}"
        firing = Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False).order_by("-fired_at")[:_OFFERED]
        offered = [(alert.name, _plain(alert.label_set)) for alert in firing]
        return super().get_context_data(
            trail=[("Routes", reverse("admin:alerts_route_changelist"))], typed=typed, at=at, report=report,
            problem=problem, offered=offered, **kwargs,
        )  # fmt: skip


class TestFirePage(PortalPageMixin, TemplateView):
    """A rule fired as a test: each stage's answer and the message; a dry run unless somebody asks to send it."""

    template_name = "alerts/test_fire.html"
    permission = "alerts.view_rule"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The report of a dry run, or of what was sent."""
        rule = get_object_or_404(Rule.objects.select_related("group"), pk=kwargs.pop("pk"), kind=Rule.Kind.ALERT)
        at, user = timezone.now(), self.request.user
        typed = self.request.POST or self.request.GET
        wanted, problem = _labels(typed.get("series", ""))
        severities = sorted(set(rule.thresholds.filter(is_enabled=True).values_list("severity", flat=True)))
        severity = typed.get("severity", "") if typed.get("severity", "") in severities else ""
        report = None
        try:
            report = testfire.fire(rule, at, wanted=wanted, severity=severity, who=user.get_username())
            if kwargs.pop("is_for_real", False):
                report = testfire.send(report, at, user)
        except RouteError as error:
            problem = f"The route tree cannot be used: {error}"
        return super().get_context_data(
            title=f"Test-fire {rule.name}",
            trail=[("Rules", reverse("admin:alerts_rule_changelist")), (rule.name, admin_url(rule))],
            here="Test-fire", rule=rule, at=at, report=report, problem=problem, severity=severity,
            severities=severities, wanted=str(wanted or ""),
            series=[str(one) for one in report.series] if report else [],
            shots=[(shot, plain_text(shot.message)) for shot in report.shots] if report else [],
            may_send=testfire.may_send(user), **kwargs,
        )  # fmt: skip

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Send the test messages; the dry run needs no POST."""
        return self.render_to_response(self.get_context_data(pk=pk, is_for_real=True))


def _moment(text: str, otherwise: datetime) -> tuple[datetime, str]:
    """The moment that was typed, and what is wrong with it; a time without a zone is UTC."""
    if not text.strip():
        return otherwise, ""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return otherwise, f"“{text[:40]}” is not a time; write for example 2026-03-05T03:12."
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), ""


def _labels(text: str) -> tuple[Labels | None, str]:
    """The labels typed as matchers, one a line or behind commas; None and why when they cannot be labels."""
    lines = ",".join(line.strip().strip(",") for line in text.replace("\x00", "").splitlines() if line.strip())
    if not lines:
        return None, ""
    try:
        matchers = parse_alertmanager_matchers(lines)
    except MatcherError as error:
        return None, f"These are no labels: {error}"
    wrong = next((one for one in matchers if one.op != "="), None)
    if wrong is not None:
        return None, f"{wrong} is a condition; give the alert's labels as name=value."
    return Labels.of((one.name, one.value) for one in matchers), ""


def _plain(labels: Labels) -> str:
    return "\n".join(f'{name}="{value}"' for name, value in labels)
