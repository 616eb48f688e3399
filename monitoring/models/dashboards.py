"""Dashboards as rows: what a page of charts asks and how it shows the answers."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Max, Q
from simple_history.models import HistoricalRecords

from monitoring.models.registry import Team
from monitoring.promql.labels import is_label_name

#: Grafana's grid: a panel as wide as the page has 24 columns.
GRID_COLUMNS = 24
THRESHOLD_SEVERITIES = ("ok", "info", "warning", "critical")
VARIABLE_KINDS = ("query", "custom", "interval", "constant", "textbox")


class Dashboard(models.Model):
    """A page of panels about one subject."""

    class Source(models.TextChoices):
        """Where a dashboard came from."""

        STAFF = "staff", "made here"
        BUILTIN = "builtin", "built in"
        IMPORTED = "imported", "imported from Grafana"

    slug = models.SlugField(max_length=100, unique=True, help_text="Its place in addresses.")
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=list, blank=True, help_text='Such as ["gpu", "training"].')
    owner = models.ForeignKey(Team, on_delete=models.SET_NULL, null=True, blank=True, related_name="dashboards")
    variables = models.JSONField(
        default=list, blank=True,
        help_text='Choices above the page, such as [{"name": "host", "query": "label_values(host_up, host)"}].',
    )  # fmt: skip
    default_range = models.CharField(max_length=10, default="1h", help_text="Time shown at first, such as 15m or 24h.")
    refresh_seconds = models.PositiveIntegerField(default=30, help_text="How often the page asks again; 0: never.")
    shows_alerts = models.BooleanField(default=True, help_text="Draw when alerts fired as bands behind the lines.")
    alert_matchers = models.CharField(
        max_length=500, blank=True, help_text='Which alerts, such as severity="critical"; empty: all that fit a panel.'
    )
    source = models.CharField(max_length=20, choices=Source, default=Source.STAFF, editable=False)
    builtin_key = models.CharField(max_length=100, blank=True, editable=False)
    loaded_digest = models.CharField(
        max_length=64, blank=True, editable=False, help_text="What was loaded; a difference is somebody's edit."
    )
    viewed_at = models.DateTimeField(null=True, blank=True, editable=False)
    history = HistoricalRecords(excluded_fields=["viewed_at"])

    class Meta:
        ordering = ["title"]
        constraints = [
            models.UniqueConstraint(fields=["builtin_key"], condition=~Q(builtin_key=""), name="dashboard_builtin_once")
        ]

    def __str__(self) -> str:
        return self.title

    def clean(self) -> None:
        """Refuse variables and tags that no page could show; raises ValidationError by field."""
        problems: dict[str, list[str]] = {}
        if not isinstance(self.tags, list) or not all(isinstance(tag, str) for tag in self.tags):
            problems["tags"] = ['Give a list of texts, such as ["gpu"].']
        if complaints := variable_problems(self.variables):
            problems["variables"] = complaints
        if problems:
            raise ValidationError(problems)


class Panel(models.Model):
    """One chart, number, gauge or table of a dashboard."""

    class Kind(models.TextChoices):
        """How a panel shows its answer."""

        TIMESERIES = "timeseries", "time series"
        STAT = "stat", "stat: one number"
        GAUGE = "gauge", "gauge"
        TABLE = "table", "table"

    class Calculation(models.TextChoices):
        """What makes one number of a series; time series and tables do not use it."""

        LAST = "last", "last"
        MEAN = "mean", "mean"
        MIN = "min", "minimum"
        MAX = "max", "maximum"
        SUM = "sum", "sum"

    dashboard = models.ForeignKey(Dashboard, on_delete=models.CASCADE, related_name="panels")
    number = models.PositiveIntegerField(default=0, help_text="Its number within the dashboard; 0: the next free one.")
    title = models.CharField(max_length=200, blank=True)
    description = models.TextField(blank=True)
    kind = models.CharField(max_length=20, choices=Kind, default=Kind.TIMESERIES)
    section = models.CharField(max_length=200, blank=True, help_text="Heading above it; the same for its neighbours.")
    position = models.PositiveIntegerField(default=0, help_text="Panels flow by position, then by number.")
    width = models.PositiveSmallIntegerField(
        default=12, validators=[MinValueValidator(1), MaxValueValidator(GRID_COLUMNS)], help_text="Of 24 columns."
    )
    height = models.PositiveSmallIntegerField(
        default=8, validators=[MinValueValidator(2), MaxValueValidator(40)], help_text="In steps of 30 pixels."
    )
    unit = models.CharField(
        max_length=40, default="short", blank=True,
        help_text="short, percent (0 to 100), ratio, bytes, bytes/s, seconds, or a word such as °C.",
    )  # fmt: skip
    minimum = models.FloatField(null=True, blank=True)
    maximum = models.FloatField(null=True, blank=True)
    is_stacked = models.BooleanField("stacked", default=False)
    calculation = models.CharField(max_length=10, choices=Calculation, default=Calculation.LAST)
    thresholds = models.JSONField(
        default=list, blank=True,
        help_text='From a value up, what it means: [{"value": null, "severity": "ok"}, {"value": 80, "severity": '
        '"warning"}]. Null is the ground. Severities: ok, info, warning, critical.',
    )  # fmt: skip
    history = HistoricalRecords()

    class Meta:
        ordering = ["dashboard", "position", "number"]
        constraints = [
            models.UniqueConstraint(
                fields=["dashboard", "number"],
                name="panel_number_once",
                violation_error_message="The dashboard has a panel of this number already.",
            ),
            models.CheckConstraint(condition=Q(width__gte=1, width__lte=GRID_COLUMNS), name="panel_width_in_grid"),
            models.CheckConstraint(
                condition=Q(minimum__isnull=True) | Q(maximum__isnull=True) | Q(minimum__lt=F("maximum")),
                name="panel_minimum_below_maximum",
                violation_error_message="The minimum must be below the maximum.",
            ),
        ]

    def __str__(self) -> str:
        return self.title or f"panel {self.number}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a panel without a number gets the next free one of its dashboard."""
        if not self.number:
            highest = Panel.objects.filter(dashboard_id=self.dashboard_id).aggregate(top=Max("number"))["top"]
            self.number = (highest or 0) + 1
        super().save(*args, **kwargs)

    def clean(self) -> None:
        """Refuse thresholds that cannot be drawn; raises ValidationError."""
        if complaints := threshold_problems(self.thresholds):
            raise ValidationError({"thresholds": complaints})


class PanelQuery(models.Model):
    """One question of a panel and how its series are called."""

    panel = models.ForeignKey(Panel, on_delete=models.CASCADE, related_name="queries")
    position = models.PositiveIntegerField(default=0)
    expr = models.TextField("PromQL", help_text="May hold $variables, $__rate_interval, $__interval and $__range.")
    legend = models.CharField(max_length=500, blank=True, help_text="Such as {{method}} {{endpoint}}; empty: labels.")
    history = HistoricalRecords()

    class Meta:
        ordering = ["panel", "position", "pk"]
        verbose_name = "query"
        verbose_name_plural = "queries"

    def __str__(self) -> str:
        return self.expr


def variable_problems(variables: object) -> list[str]:
    """Return what is wrong with a dashboard's variables, a sentence each; an empty list when nothing is."""
    if not isinstance(variables, list) or not all(isinstance(one, dict) for one in variables):
        return ['Give a list, such as [{"name": "host", "query": "label_values(host_up, host)"}].']
    problems, seen = [], set()
    for one in variables:
        name = one.get("name")
        if not isinstance(name, str) or not is_label_name(name):
            problems.append(f"{name!r} is no name for a variable: letters, digits and _, no digit first.")
        elif name in seen:
            problems.append(f"There are two variables called {name}.")
        elif one.get("kind", "query") not in VARIABLE_KINDS:
            problems.append(f"The kind of {name} must be one of {', '.join(VARIABLE_KINDS)}.")
        elif one.get("kind", "query") == "query" and not one.get("query"):
            problems.append(f"{name} needs a query, such as label_values(host_up, host).")
        seen.add(name)
    return problems


def threshold_problems(thresholds: object) -> list[str]:
    """Return what is wrong with a panel's thresholds, a sentence each; an empty list when nothing is."""
    if not isinstance(thresholds, list) or not all(isinstance(step, dict) for step in thresholds):
        return ['Give a list, such as [{"value": 80, "severity": "warning"}].']
    problems = []
    for step in thresholds:
        value, severity = step.get("value"), step.get("severity")
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            problems.append(f"{value!r} is no number.")
        if severity not in THRESHOLD_SEVERITIES:
            problems.append(f"{severity!r} is none of {', '.join(THRESHOLD_SEVERITIES)}.")
    return problems
