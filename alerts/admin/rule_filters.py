"""Filters of the list of rules: how they fare, what they are about, who has them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from alerts.models import Alert, Flap, Rule, RuleGroup, RuleStatus, Threshold
from monitoring.models import ServedModel

# A rule that has not fired for so long guards nothing, or guards against what does not happen.
QUIET = timedelta(days=90)
# The label that says whose a rule is; routes go by it as well.
OWNER = "team"


class FaresFilter(admin.SimpleListFilter):
    """How a rule fares."""

    title = "how it fares"
    parameter_name = "fares"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The choices."""
        return [
            ("firing", "firing"), ("error", "cannot be evaluated"), ("nothing", "matches no series"),
            ("quiet", "never fired"), ("quiet90", "not fired in 90 days"), ("flapping", "flapping"),
        ]  # fmt: skip

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        match self.value():
            case "firing":
                return queryset.filter(alerts__state=Alert.State.FIRING).distinct()
            case "error":
                return queryset.filter(status__health=RuleStatus.Health.ERROR)
            case "nothing":
                return queryset.filter(status__matches_nothing_since__isnull=False)
            case "quiet":
                return queryset.filter(kind=Rule.Kind.ALERT).exclude(alerts__fired_at__isnull=False)
            case "quiet90":
                since = timezone.now() - QUIET
                lately = Alert.objects.filter(rule=OuterRef("pk")).exclude(fired_at__lt=since, resolved_at__lt=since)
                return queryset.filter(~Exists(lately.filter(fired_at__isnull=False)), kind=Rule.Kind.ALERT)
            case "flapping":
                return queryset.filter(Exists(Flap.objects.filter(rule=OuterRef("pk"), ended_at__isnull=True)))
        return queryset


class SeverityFilter(admin.SimpleListFilter):
    """Rules with a threshold of a severity."""

    title = "severity"
    parameter_name = "severity"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The severities, the worst first."""
        return [(name, name) for name in ("critical", "warning", "info")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        if not self.value():
            return queryset
        is_own = Q(thresholds__severity=self.value(), thresholds__is_enabled=True)
        return queryset.filter(is_own | Q(labels__severity=self.value())).distinct()


class OwnerFilter(admin.SimpleListFilter):
    """Rules of a team, as their label says."""

    title = "owner"
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The teams that have rules."""
        found = Rule.objects.filter(labels__has_key=OWNER).values_list(f"labels__{OWNER}", flat=True)
        return [(name, name) for name in sorted({str(name) for name in found.distinct()[:200]})] + [("-", "nobody")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        if self.value() == "-":
            return queryset.exclude(labels__has_key=OWNER)
        return queryset.filter(**{f"labels__{OWNER}": self.value()}) if self.value() else queryset


class ManagedFilter(admin.SimpleListFilter):
    """Rules that a file owns, and those of the staff."""

    title = "managed by"
    parameter_name = "managed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The files that own groups."""
        files = RuleGroup.objects.exclude(managed_by="").order_by("managed_by")
        return [("-", "staff"), *((name, name) for name in files.values_list("managed_by", flat=True).distinct()[:200])]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        value = self.value()
        return queryset.filter(group__managed_by="" if value == "-" else value) if value else queryset


class ModelFilter(admin.SimpleListFilter):
    """Rules that name a model: in the question, or with a limit of its own."""

    title = "model"
    parameter_name = "model"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The models of the registry."""
        return [(name, name) for name in ServedModel.objects.order_by("name").values_list("name", flat=True)[:500]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        name = self.value()
        if not name:
            return queryset
        rows = Threshold.objects.filter(rule=OuterRef("pk"))
        own = rows.filter(Q(model__name=name) | Q(version__model__name=name) | Q(selector__contains=f'"{name}"'))
        return queryset.filter(Q(expr__contains=f'"{name}"') | Exists(own))


class ChangedFilter(admin.SimpleListFilter):
    """Rules that somebody changed lately."""

    title = "changed"
    parameter_name = "changed"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """How lately, in days."""
        return [("1", "in the last day"), ("7", "in the last week"), ("30", "in the last month")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> QuerySet[Rule]:
        """The rules of the choice."""
        if self.value() not in ("1", "7", "30"):
            return queryset
        since = timezone.now() - timedelta(days=int(self.value() or 0))
        rows = Threshold.objects.filter(rule=OuterRef("pk"), updated_at__gte=since)
        return queryset.filter(Q(updated_at__gte=since) | Exists(rows))
