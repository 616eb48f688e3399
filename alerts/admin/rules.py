"""Rules: the list that says what each does and how it fares, and the form with its live check."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, OuterRef, Prefetch, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import path, reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from alerts import actions, revisions, scope
from alerts.admin import rule_check
from alerts.admin.listing import OVERRIDES, READ_ONLY, AlertsHistoryAdmin, ago, dot
from alerts.admin.rule_columns import GlanceColumns, limit_text
from alerts.admin.rule_filters import (
    ChangedFilter,
    FaresFilter,
    ManagedFilter,
    ModelFilter,
    OwnerFilter,
    SeverityFilter,
)
from alerts.admin.rule_form import ROW_ORDER, SCOPES, RuleForm, ThresholdForm, ThresholdFormSet
from alerts.admin.rule_life import LifeActions
from alerts.engine.sentence import RuleWords, record_sentence, sentence, severity_rank
from alerts.engine.state import NoDataPolicy
from alerts.models import Alert, Mark, Rule, RuleGroup, RuleStatus, Threshold
from alerts.prepared import limit_of
from alphaq_portal.ui import (
    ChoicesDropdownFilter,
    RelatedDropdownFilter,
    TabularInline,
    action,
    admin_url,
    dialog_done,
    display,
)

LIFE_TONES = {Rule.Life.LIVE: "ok", Rule.Life.SHADOW: "info", Rule.Life.DRAFT: "none", Rule.Life.DISABLED: "none"}
LIFE_WORDS = {Rule.Life.LIVE: "live", Rule.Life.SHADOW: "shadow", Rule.Life.DRAFT: "draft", Rule.Life.DISABLED: "off"}

# What a rule file decides about the rules that it owns.
OWNED_FIELDS = (
    "name", "group", "kind", "expr", "hold_seconds", "keep_firing_seconds", "no_data", "no_data_resolve_seconds",
    "labels", "annotations", "position",
)  # fmt: skip
# How far back the list counts how often a rule fired.
LATELY = timedelta(days=7)
# What makes the alerts of a rule these and no others.
IDENTITY = ("name", "labels", "life", "kind", "group_id")


class ThresholdInline(TabularInline):
    """The limits of a rule: one row a severity, and rows for series that have a limit of their own."""

    model = Threshold
    form = ThresholdForm
    formset = ThresholdFormSet
    formfield_overrides = OVERRIDES
    fields = [
        "severity", "operator", "value", "now", "hold_seconds", "selector", "reason", "upper", "recover_value",
        "priority", "expires_at", "is_enabled", *SCOPES,
    ]  # fmt: skip
    readonly_fields = ["now"]
    ordering = ROW_ORDER
    readonly_preprocess_fields = READ_ONLY
    hide_title = True
    verbose_name_plural = "thresholds: what is too much"

    def get_fields(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        """Whoever may only look reads in one column what a row is for."""
        if self.has_change_permission(request, obj) or self.has_add_permission(request, obj):
            return self.fields
        shown = [name for name in self.fields if name not in SCOPES]
        return ["applies_to" if name == "selector" else name for name in shown]

    def get_readonly_fields(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        """What the live check fills in, and what a row is for."""
        return [*self.readonly_fields, "applies_to"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Threshold]:
        """The rows with the objects that they are for."""
        return super().get_queryset(request).select_related(*scope.RELATED)

    @display(description="Applies to")
    def applies_to(self, row: Threshold) -> str:
        """Objects and selector in words."""
        return row.applies_to or "all"

    @display(description="Now")
    def now(self, row: Threshold) -> SafeString:
        """Filled in by the live check."""
        return format_html('<span class="aq-row-now" data-aq-row-now>{}</span>', "")


@admin.register(Rule)
class RuleAdmin(GlanceColumns, LifeActions, AlertsHistoryAdmin):
    """Questions with a name; their thresholds say what is too much."""

    form = RuleForm
    inlines = [ThresholdInline]
    change_form_template = "admin/alerts/rule/change_form.html"
    list_display = [
        "state", "title", "limits", "value_line", "alerts_now", "evaluated", "told_to", "group_link",
    ]  # fmt: skip
    list_display_links = None
    list_filter = [
        ("life", ChoicesDropdownFilter), FaresFilter, SeverityFilter, ModelFilter, OwnerFilter, ChangedFilter,
        ("group", RelatedDropdownFilter), ManagedFilter, ("kind", ChoicesDropdownFilter),
    ]  # fmt: skip
    search_fields = ["name", "expr", "annotations", "labels"]
    ordering = ["group__name", "position", "name"]
    fieldsets = [
        (None, {"fields": [("name", "group"), ("life", "kind")]}),
        (None, {"fields": ["expr"], "classes": ["question"]}),
        (
            "How long, and without data",
            {
                "fields": [("hold_seconds", "keep_firing_seconds"), ("no_data", "no_data_resolve_seconds")],
                "classes": ["after"],
            },
        ),
        ("Labels and words", {"fields": ["labels", "annotations", "position"], "classes": ["after"]}),
    ]
    actions = ["change_several", "make_live", "make_shadow", "make_disabled", "backtest_selected", "export_selected"]
    actions_list = ["limit_sheet", "import_file", "export_file"]
    actions_detail = [
        {"title": "State", "icon": "tune", "items": ["go_live", "go_shadow", "go_off"]}, "copy", "test_fire", "ask_why",
    ]  # fmt: skip
    save_on_top = False
    empty_icon, empty_title = "rule", "No rule yet."
    empty_text = "A rule asks a question in PromQL; its thresholds say what is too much, for which series."

    class Media:
        """Scripts of the form."""

        js = [
            "js/promql-complete.js", "js/pairs.js", "js/rule-form.js", "js/rule-simple.js", "js/suggest.js",
            "js/backtest.js",
        ]  # fmt: skip
        css = {"all": ["css/backtest.css", "css/rule-form.css"]}

    # -- the list ------------------------------------------------------------------------------------------------------

    def get_queryset(self, request: HttpRequest) -> QuerySet[Rule]:
        """The rules with what the list shows of them, in one query and one for the thresholds."""
        rows = super().get_queryset(request).select_related("group", "status")
        return rows.annotate(
            firing_now=_in_state(Alert.State.FIRING),
            pending_now=_in_state(Alert.State.PENDING),
            fired_lately=_fired_since(timezone.now() - LATELY),
            marked=_marks(),
            marked_noise=_marks(verdict=Mark.Verdict.NOISE),
        ).prefetch_related(Prefetch("thresholds", Threshold.objects.select_related(*scope.RELATED)))

    @display(description="State", ordering="life")
    def state(self, rule: Rule) -> SafeString:
        """How far the rule has come; red when it cannot be evaluated."""
        if not rule.group.is_enabled:
            return dot("none", "group off")
        status = getattr(rule, "status", None)
        if status is not None and status.health == RuleStatus.Health.ERROR and rule.life in ("live", "shadow"):
            return dot("critical", f"{LIFE_WORDS[rule.life]}, error")  # type: ignore[index]
        return dot(LIFE_TONES[rule.life], LIFE_WORDS[rule.life])  # type: ignore[index]

    @display(description="Rule", ordering="name")
    def title(self, rule: Rule) -> SafeString:
        """The name, and in words what the rule does."""
        words = rule_sentence(rule, list(rule.thresholds.all()))
        return format_html(
            '<div class="aq-rule"><a class="aq-strong" href="{}">{}</a><p class="aq-muted">{}</p></div>',
            admin_url(rule), rule.name, words,
        )  # fmt: skip

    @display(description="Limits")
    def limits(self, rule: Rule) -> SafeString | str:
        """The default limit of each severity, and how many series have their own."""
        rows = [row for row in rule.thresholds.all() if row.is_enabled]
        default = [row for row in rows if row.is_default]
        default.sort(key=lambda row: severity_rank(row.severity))
        own = len(rows) - len(default)
        labels = format_html_join(
            " ", '<span class="aq-label is-{}">{} {}</span>',
            ((row.severity, row.severity, limit_text(rule, row)) for row in default),
        )  # fmt: skip
        if not rows and rule.kind == Rule.Kind.ALERT:
            severity = rule.labels.get("severity", "") if isinstance(rule.labels, dict) else ""
            words = severity or "as the query says"
            return format_html('<span class="aq-label is-{}">{}</span>', severity or "none", words)
        more = format_html(' <span class="aq-muted">+{} override{}</span>', own, "" if own == 1 else "s") if own else ""
        return format_html('<span class="aq-limits">{}{}</span>', labels, more)

    @display(description="Alerts now", ordering="firing_now")
    def alerts_now(self, rule: Rule) -> SafeString | str:
        """How many fire and wait."""
        if rule.kind == Rule.Kind.RECORD:
            return "–"
        firing, pending = rule.firing_now, rule.pending_now  # type: ignore[attr-defined]
        often = _often(rule)
        if not firing and not pending:
            return format_html('<span class="aq-muted">{}</span>{}', "none", often)
        told = format_html('<b class="is-critical aq-tone">{} firing</b>', firing) if firing else ""
        waiting = format_html(' <span class="aq-muted">{} pending</span>', pending) if pending else ""
        return format_html("{}{}{}", told, waiting, often)

    @display(description="Last evaluation", ordering="status__evaluated_at")
    def evaluated(self, rule: Rule) -> SafeString:
        """When, how many series, and the error."""
        status = getattr(rule, "status", None)
        if status is None or status.evaluated_at is None:
            return format_html('<span class="aq-muted">{}</span>', "not yet")
        if status.last_error:
            return format_html('<span class="aq-error" title="{0}">{0}</span>', status.last_error[:300])
        series = "no series" if not status.series_count else f"{status.series_count} series"
        since = status.matches_nothing_since
        nothing = format_html('<br><span class="aq-label is-warning">matches nothing</span>') if since else ""
        return format_html(
            '{} <span class="aq-muted">{} ms, {}</span>{}',
            ago(status.evaluated_at, timezone.now()), round(status.duration_seconds * 1000), series, nothing,
        )  # fmt: skip

    @display(description="Group", ordering="group__name")
    def group_link(self, rule: Rule) -> SafeString:
        """The group, leading to its form, and the file that owns it."""
        by = rule.group.managed_by
        file = format_html('<br><span class="aq-muted" title="the file that owns it">{}</span>', by) if by else ""
        return format_html('<a href="{}">{}</a>{}', admin_url(rule.group), rule.group.name, file)

    # -- the form ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        """The form's own addresses come before the row's."""
        view = self.admin_site.admin_view
        own = [
            path("check/", view(lambda request: rule_check.check(self, request)), name="alerts_rule_check"),
            path("chart/", view(lambda request: rule_check.chart(self, request)), name="alerts_rule_chart"),
            path("backtest/", view(lambda request: rule_check.backtest(self, request)), name="alerts_rule_backtest"),
            path("suggest/", view(lambda request: rule_check.suggest(self, request)), name="alerts_rule_suggest"),
            path("names.json", view(lambda request: rule_check.names(self, request)), name="alerts_rule_names"),
        ]
        return own + super().get_urls()

    def get_readonly_fields(self, request: HttpRequest, obj: Rule | None = None) -> Any:
        """A rule that a file owns is changed in the file; only how far it has come is decided here."""
        own = list(super().get_readonly_fields(request, obj))
        return [*own, *OWNED_FIELDS] if obj is not None and obj.group.managed_by else own

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A rule that a file owns goes when the file has it no more, or after it was detached."""
        is_owned = isinstance(obj, Rule) and bool(obj.group.managed_by)
        return not is_owned and super().has_delete_permission(request, obj)

    def get_form(self, request: HttpRequest, obj: Rule | None = None, change: bool = False, **kwargs: Any) -> Any:
        """The form; only a superuser may let a rule go live that finds nothing, without saying so."""
        made = super().get_form(request, obj, change=change, **kwargs)
        made.may_save_blind = request.user.is_superuser
        return made

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """A new rule starts in the only group there is."""
        initial = super().get_changeform_initial_data(request)
        groups = list(RuleGroup.objects.order_by("pk")[:2])
        return {**({"group": groups[0].pk} if len(groups) == 1 else {}), **initial}

    def save_model(self, request: HttpRequest, obj: Rule, form: Any, change: bool) -> None:
        """Save; alerts that the changed rule would never end are ended."""
        before = Rule.objects.filter(pk=obj.pk).first()
        super().save_model(request, obj, form, change)
        # Another name or other labels are other alerts: nothing would ever say that the old ones are over.
        if before is not None and any(getattr(before, name) != getattr(obj, name) for name in IDENTITY):
            words = "The rule was changed; it starts anew."
            actions.end_alerts(obj, request.user, timezone.now(), words, group_ids=[before.group_id])

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save the rows of limits, each with who wrote it."""
        rows = formset.save(commit=False)
        for row in formset.deleted_objects:
            row.delete()
        for row in rows:
            row.author = request.user
            row.save()
        formset.save_m2m()

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the rows, then keep rule and rows together as a revision."""
        super().save_related(request, form, formsets, change)
        revisions.keep(form.instance, request.user, timezone.now(), "changed in the form" if change else "made")

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        """The history of rule and thresholds together, in place of the rule's alone."""
        return redirect("alerts:rule_history", int(object_id))

    def delete_model(self, request: HttpRequest, obj: Rule) -> None:
        """Delete; what the rule had raised ends first."""
        actions.end_alerts(obj, request.user, timezone.now(), "The rule was deleted.")
        super().delete_model(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Rule]) -> None:
        """Delete several, as one."""
        for rule in queryset:
            self.delete_model(request, rule)

    # -- actions -------------------------------------------------------------------------------------------------------

    @action(description="Change several: life, labels, severities, limits…", permissions=["change"])
    def change_several(self, request: HttpRequest, queryset: QuerySet[Rule]) -> HttpResponse:
        """One change to all of them, with a page of differences first."""
        ids = ",".join(str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True))
        return redirect(f"{reverse('alerts:rules_bulk')}?ids={ids}")

    @action(description="Backtest over 7 days", permissions=["change"])
    def backtest_selected(self, request: HttpRequest, queryset: QuerySet[Rule]) -> HttpResponse | None:
        """Try each of the rules on the past and go to the list of outcomes."""
        return rule_check.backtest_all(request, queryset.filter(kind=Rule.Kind.ALERT).select_related("group"))

    @action(description="Export as YAML of Prometheus", permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Rule]) -> HttpResponse:
        """The chosen rules as a rule file."""
        ids = ",".join(str(pk) for pk in queryset.order_by("pk").values_list("pk", flat=True))
        return redirect(f"{reverse('alerts:rules_export')}?ids={ids}")

    @action(description="Limits by model", url_path="limit-sheet", permissions=["view"], icon="table")
    def limit_sheet(self, request: HttpRequest) -> HttpResponse:
        """The limits of all rules about models, as a sheet."""
        return redirect("alerts:limit_sheet")

    @action(description="Import", url_path="import-file", permissions=["add"], icon="upload_file")
    def import_file(self, request: HttpRequest) -> HttpResponse:
        """The page that takes a rule file."""
        return redirect("alerts:rules_import")

    @action(description="Export", url_path="export-file", permissions=["view"], icon="download")
    def export_file(self, request: HttpRequest) -> HttpResponse:
        """All live rules as a rule file."""
        return redirect("alerts:rules_export")

    @action(
        description="Duplicate", url_path="duplicate", permissions=["add"], icon="content_copy",
        dialog={"title": "Make a copy?", "description": "It starts as a draft, which is not evaluated."},
    )  # fmt: skip
    def copy(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Make a copy of a rule with its thresholds."""
        made = actions.duplicate(get_object_or_404(Rule, pk=object_id), request.user, timezone.now())
        self.message_user(request, f"{made.name} is a draft.", messages.SUCCESS)
        return dialog_done(admin_url(made))

    @action(description="Test-fire", url_path="test-fire", permissions=["view"], icon="science")
    def test_fire(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What would happen at every stage if it fired; the page sends nothing unless asked."""
        return redirect("alerts:test_fire", int(object_id))

    @action(description="Why?", url_path="why", permissions=["view"], icon="troubleshoot")
    def ask_why(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Why it told or did not tell, at a moment of the last two days."""
        return redirect(f"{reverse('alerts:why')}?rule={int(object_id)}")


def _fired_since(since: datetime) -> Subquery:
    rows = Alert.objects.filter(rule=OuterRef("pk"), fired_at__gte=since).order_by().values("rule")
    return Subquery(rows.annotate(count=Count("pk")).values("count"))


def _marks(**which: str) -> Subquery:
    rows = Mark.objects.filter(alert__rule=OuterRef("pk"), **which).order_by().values("alert__rule")
    return Subquery(rows.annotate(count=Count("pk")).values("count"))


def _often(rule: Rule) -> SafeString | str:
    """How often it fired lately, and how much of what people marked they called noise."""
    lately, marked = rule.fired_lately or 0, rule.marked or 0  # type: ignore[attr-defined]
    words = [f"{lately} × in 7 d"] if lately else []
    if marked:
        noise: int = rule.marked_noise or 0  # type: ignore[attr-defined]
        words.append(f"{round(100 * noise / marked)} % noise ({noise} of {marked} marks)")
    return format_html('<br><span class="aq-muted">{}</span>', ", ".join(words)) if words else ""


def _in_state(state: str) -> Coalesce:
    # A subquery, not a join: what is not shown, as when the rows are only counted, is then not computed either.
    rows = Alert.objects.filter(rule=OuterRef("pk"), state=state).order_by().values("rule")
    return Coalesce(Subquery(rows.annotate(count=Count("pk")).values("count")), 0)


def rule_sentence(rule: Rule, rows: list[Threshold]) -> str:
    """What a rule does, in words."""
    if rule.kind == Rule.Kind.RECORD:
        return record_sentence(rule.name, rule.expr, rule.group.interval_seconds)
    return sentence(
        RuleWords(
            expr=rule.expr,
            thresholds=[limit_of(row) for row in rows if row.is_enabled],
            hold_seconds=rule.hold_seconds,
            keep_firing_seconds=rule.keep_firing_seconds,
            no_data=NoDataPolicy(rule.no_data),
            no_data_seconds=rule.no_data_resolve_seconds,
            labels=rule.labels if isinstance(rule.labels, dict) else {},
        )
    )
