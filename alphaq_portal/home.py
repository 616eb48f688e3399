"""The home page: what fires, what is watched, what needs a person, what changed; and the pulse that keeps it fresh.

Each part asks the database only when the page, or a pulse, shows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import Count, Q, QuerySet, Value
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.views.decorators.http import require_GET

from alerts import alert_list
from alerts.models import Alert, Integration, Receiver, Rule, RuleStatus, Silence, Threshold
from alphaq_portal import bar
from alphaq_portal.ui import admin_url
from monitoring import charts
from monitoring.models import Host

SHOWN_ALERTS = 5
SHOWN_LABELS = 4
MAX_LIMITS = 50
HIDDEN_LABELS = {"alertname", "severity", "job", "alertgroup"}
SHOWN_CHANGES = 8
SOON = timedelta(hours=24)
HOME_CHARTS = ("cpu", "memory", "gpu")
NO_SAMPLES = {"gpu": "No GPU has reported in the last hour."}


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person: how bad, what, and where to do it."""

    severity: str
    text: str
    detail: str = ""
    url: str = ""


@dataclass(frozen=True)
class Hosts:
    """The hosts in numbers, and those to look at."""

    up: int
    silent: list[Host]
    gone: int

    @property
    def total(self) -> int:
        """All hosts that somebody expects."""
        return self.up + len(self.silent)


@dataclass(frozen=True)
class Firing:
    """One firing alert as the page shows it: the labels that tell it from the others, and its page."""

    alert: Alert
    labels: list[tuple[str, str]]
    url: str


class Home:
    """What the home page shows at one moment; a part is read when it is first asked for."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    @cached_property
    def status(self) -> bar.PortalStatus:
        """What the bar shows as well."""
        return bar.status(self.at)

    @cached_property
    def pages(self) -> dict[str, str]:
        """Addresses of the sidebar's pages, such as "alerts"."""
        return bar.pages()

    @cached_property
    def firing(self) -> list[Firing]:
        """The newest firing alerts; of one series that fires at several severities, the worst."""
        rows = alert_list.problems(Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False))
        newest = rows.select_related("acknowledged_by").order_by("-fired_at", "-id")[:SHOWN_ALERTS]
        return [Firing(alert, _telling_labels(alert.labels), _alert_url(alert)) for alert in newest]

    @cached_property
    def rules_on(self) -> int:
        """Rules that can fire: live, of groups that are on."""
        return Rule.objects.filter(life=Rule.Life.LIVE, kind=Rule.Kind.ALERT, group__is_enabled=True).count()

    @cached_property
    def hosts(self) -> Hosts:
        """Who is up, who is silent."""
        # Facts can be long and are not shown here.
        hosts = list(Host.objects.defer("facts"))
        silent = [host for host in hosts if host.is_silent(self.at)]
        expected = sorted((host for host in silent if host.expected), key=lambda host: host.last_seen)
        return Hosts(len(hosts) - len(silent), expected, len(silent) - len(expected))

    @cached_property
    def is_connected(self) -> bool:
        """Whether any way out is configured and on; without one, messages are kept."""
        return Integration.objects.filter(is_enabled=True).exists()

    @cached_property
    def charts(self) -> list[dict[str, Any]]:
        """The charts of all hosts, with the default limits of live rules that ask just what a chart shows."""
        drawn = {name: charts.CHARTS[name] for name in HOME_CHARTS}
        asked = {name: charts.ask(chart.questions[0][1], "", 0).replace("{}", "") for name, chart in drawn.items()}
        is_about = Q()
        for expr in asked.values():
            is_about |= Q(rule__expr__contains=expr)
        rows = Threshold.objects.filter(
            is_about, rule__life=Rule.Life.LIVE, is_enabled=True, selector="", upper=None
        ).values_list("rule__expr", "value", "severity")[:MAX_LIMITS]
        limits = [
            (_unsmoothed(expr), {"value": value, "label": severity, "severity": severity})
            for expr, value, severity in rows
        ]
        return [
            {
                "chart": chart,
                "url": reverse("monitoring:chart", args=[name]),
                "limits": [limit for expr, limit in limits if expr == asked[name]],
                "empty": NO_SAMPLES.get(name, "No samples in the last hour."),
            }
            for name, chart in drawn.items()
        ]

    @cached_property
    def changes(self) -> list[LogEntry]:
        """What people changed last."""
        return list(LogEntry.objects.select_related("user", "content_type").order_by("-action_time")[:SHOWN_CHANGES])

    @cached_property
    def needs(self) -> list[Need]:
        """What waits for a person, the worst first."""
        found = [*self._unanswered(), *self._messages(), *self._silent(), *self._rules(), *self._ending()]
        return sorted(found, key=lambda need: bar.SEVERITIES.index(need.severity))

    def _unanswered(self) -> list[Need]:
        count = self.status.unanswered
        if not count:
            return []
        text = f"{_count(count, 'critical alert')} nobody has acknowledged"
        return [Need("critical", text, "for more than 15 minutes", self.pages.get("alerts", ""))]

    def _messages(self) -> list[Need]:
        url = self.pages.get("notifications", "")
        needs = []
        if self.status.dead:
            text = f"{_count(self.status.dead, 'message')} could not be delivered"
            needs.append(Need("critical", text, "see what the receiver answered", url))
        if self.status.is_late:
            text = f"The evaluator is {round(self.status.lag_seconds)} s late"
            needs.append(Need("critical", text, "is a worker running?", self.pages.get("system", "")))
        return needs

    def _silent(self) -> list[Need]:
        silent = self.hosts.silent
        if not silent:
            return []
        names = ", ".join(host.name for host in silent[:3]) + (" …" if len(silent) > 3 else "")
        return [Need("critical", f"{_count(len(silent), 'host')} silent", names, self.pages.get("hosts", ""))]

    def _rules(self) -> list[Need]:
        counts = RuleStatus.objects.filter(rule__life__in=[Rule.Life.LIVE, Rule.Life.SHADOW]).aggregate(
            failing=Count("pk", filter=Q(health=RuleStatus.Health.ERROR)),
            empty=Count("pk", filter=Q(matches_nothing_since__lt=self.at - timedelta(hours=1))),
        )
        url, needs = self.pages.get("rules", ""), []
        if counts["failing"]:
            text = f"{_count(counts['failing'], 'rule')} cannot be evaluated"
            needs.append(Need("warning", text, "see the error", url))
        if counts["empty"]:
            detail = "a metric has another name, or nobody sends it"
            needs.append(Need("info", f"{_count(counts['empty'], 'rule')} matching no series", detail, url))
        return needs

    def _ending(self) -> list[Need]:
        soon = (self.at, self.at + SOON)
        ending = Silence.objects.filter(ends_at__range=soon, starts_at__lte=self.at)
        expiring = Threshold.objects.filter(expires_at__range=soon, is_enabled=True)
        counts = _counts(silences=ending, limits=expiring)
        silences, limits = counts.get("silences", 0), counts.get("limits", 0)
        needs = []
        if silences:
            text = f"{_count(silences, 'silence')} ending within a day"
            needs.append(Need("info", text, "extend, or let it end", self.pages.get("silences", "")))
        if limits:
            text = f"{_count(limits, 'threshold')} expiring within a day"
            needs.append(Need("info", text, "the default limit comes back", self.pages.get("rules", "")))
        return needs


def _telling_labels(labels: dict[str, str]) -> list[tuple[str, str]]:
    """Return the labels worth a place on a line: not the name, not the severity, no value twice."""
    told: dict[str, str] = {}
    for name in sorted(labels, key=lambda name: (name != "host", name)):
        if name not in HIDDEN_LABELS and labels[name] not in told.values():
            told[name] = labels[name]
    return list(told.items())[:SHOWN_LABELS]


def _unsmoothed(expr: str) -> str:
    """Return what a rule asks for without the average over time around it: the same values, the same limits."""
    found = re.fullmatch(r"(?:avg|min|max)_over_time\((.+)\[[0-9a-z]+\]\)", expr.strip())
    return found[1] if found else expr.strip()


def _alert_url(alert: Alert) -> str:
    try:
        return reverse("alerts:alert", args=[alert.pk])
    except NoReverseMatch:
        return admin_url(alert)


def _counts(**tables: QuerySet[Any]) -> dict[str, int]:
    """Return how many rows each query has, by its name and in one question; empty ones are left out."""
    asked = [
        rows.order_by().annotate(table=Value(name)).values_list("table").annotate(count=Count("pk"))
        for name, rows in tables.items()
    ]
    return dict(asked[0].union(*asked[1:]))


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


# What the pulse may send: the part's name, its template and the permission it needs.
FRAGMENTS = {
    "bar": ("portal/fragments/bar.html", "alerts.view_alert"),
    "tiles": ("portal/fragments/tiles.html", "alerts.view_alert"),
    "firing": ("portal/fragments/firing.html", "alerts.view_alert"),
    "needs": ("portal/fragments/needs.html", "alerts.view_alert"),
    "changes": ("portal/fragments/changes.html", "alerts.view_rule"),
}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return the context of the admin's index with `home` in it (Unfold's DASHBOARD_CALLBACK)."""
    return {**context, "title": "Home", "home": Home(timezone.now()), "slack_url": _slack_url()}


@require_GET
def pulse(request: HttpRequest) -> HttpResponse:
    """Return the parts named in `want` as HTML, and how many alerts fire; 401 for strangers.

    One address serves every page: a page asks for the parts it shows.
    """
    if not request.user.is_authenticated or not request.user.is_staff:
        return JsonResponse({"error": "Sign in again."}, status=401)
    home = Home(timezone.now())
    status = SimpleLazyObject(lambda: home.status)
    context = {"home": home, "portal_status": status, "portal_pages": home.pages, "slack_url": _slack_url()}
    wanted = set(request.GET.get("want", "").split(","))
    fragments = {
        name: render_to_string(template, context, request)
        for name, (template, permission) in FRAGMENTS.items()
        if name in wanted and request.user.has_perm(permission)
    }
    may_see = request.user.has_perm("alerts.view_alert")
    return JsonResponse({"fragments": fragments, "firing": home.status.firing_count if may_see else 0})


def _slack_url() -> str:
    try:
        return reverse("alerts:connect_slack")
    except NoReverseMatch:
        return admin_url(Receiver, "add")
