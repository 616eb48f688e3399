"""The form of a rule with its thresholds: its fields, and what was typed into it as a rule that is not saved."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from django import forms
from django.forms import BaseInlineFormSet
from django.http import QueryDict
from django.utils import timezone

from alerts import scope
from alerts.admin.fields import PairsWidget, PromqlWidget
from alerts.blind import finds_nothing
from alerts.engine import simple
from alerts.engine.durations import format_duration
from alerts.models import Rule, Threshold
from alerts.preview import TypedRow
from alphaq_portal.ui import UnfoldAdminSplitDateTimeWidget
from monitoring import promql
from monitoring.models import Host, ModelVersion, ServedModel

# Rows for all series first, then the special ones; the form and the check number them alike.
ROW_ORDER = ("selector", "-priority", "id")


# Which button was pressed says how far the rule comes.
SAVES_AS = {"_save_live": Rule.Life.LIVE, "_save_shadow": Rule.Life.SHADOW}
# The objects of the registry that a row may be for.
SCOPES = ("model", "version", "stage", "host", "gpu")
_SIMPLE = ("metric", "filter", "measure", "window", "aggregation", "by")


class RuleForm(forms.ModelForm):
    """A rule; what is wrong with it is said beside the field, by the model's own check.

    The question is PromQL; in simple mode it is written from the `simple_` fields before anything is checked.
    """

    mode = forms.ChoiceField(choices=[("simple", "Simple"), ("promql", "PromQL")], required=False)
    simple_metric = forms.CharField(required=False, label="metric")
    simple_filter = forms.CharField(required=False, label="only where")
    simple_measure = forms.ChoiceField(required=False, choices=list(simple.MEASURES.items()), label="what of it")
    simple_window = forms.CharField(required=False, label="over", initial="5m")
    simple_aggregation = forms.ChoiceField(
        required=False, choices=list(simple.AGGREGATIONS.items()), label="put together"
    )
    simple_by = forms.CharField(required=False, label="per")
    # The condition, where it is part of the question: `simple_operator` is empty when rows hold the limits.
    simple_operator = forms.CharField(required=False, widget=forms.HiddenInput)
    simple_limit = forms.FloatField(required=False, widget=forms.HiddenInput)
    metric_not_there_yet = forms.BooleanField(required=False)
    # Who may save a live rule that finds nothing; the admin says who saves.
    may_save_blind = True

    class Meta:
        model = Rule
        fields = "__all__"  # noqa: DJ007  (the admin's fieldsets say which)
        widgets = {"expr": PromqlWidget(), "labels": PairsWidget(), "annotations": PairsWidget()}

    def __init__(self, data: QueryDict | None = None, *args: Any, **kwargs: Any) -> None:
        self.simple_problem: simple.SimpleError | None = None
        if data is not None:
            data = self._as_meant(data)
        super().__init__(data, *args, **kwargs)
        if not self.is_bound:
            self.initial.update(simple_initial(self.initial.get("expr") or ""))

    def _as_meant(self, data: QueryDict) -> QueryDict:
        """What was sent, with the question that simple mode means and the life that the pressed button means."""
        meant = data.copy()
        if meant.get("mode") == "simple":
            try:
                meant["expr"] = _question(meant)
            except simple.SimpleError as error:
                self.simple_problem, meant["expr"] = error, ""
        for button, life in SAVES_AS.items():
            if button in meant:
                meant["life"] = life
        return meant

    def clean(self) -> dict[str, Any]:
        """Say what is wrong in simple mode, and refuse a live rule that could never fire."""
        found: dict[str, Any] = super().clean() or self.cleaned_data
        if self.simple_problem is not None:
            self.errors.pop("expr", None)  # "required" would be said of a field that is not shown
            self.add_error("expr", str(self.simple_problem))
        elif self._has_no_limit(found):
            self.add_error("expr", "Give a limit: without one every series would fire.")
        elif self._goes_live_blind(found):
            text = (
                "Nothing matches now, so it could never fire. Look for a slip in the names, save it as shadow, or tick "
                "“metric not there yet”."
            )
            self.add_error("expr", text)
        return found

    def _has_no_limit(self, found: dict[str, Any]) -> bool:
        """Whether a new alert of simple mode has neither a row nor a limit of its own; PromQL may mean that."""
        if self.instance.pk or found.get("mode") != "simple" or found.get("kind") != Rule.Kind.ALERT:
            return False
        is_row = re.compile(r"thresholds-\d+-value").fullmatch
        has_row = any(is_row(name) and text.strip() for name, text in self.data.items())
        return not has_row and not found.get("simple_operator")

    def _goes_live_blind(self, found: dict[str, Any]) -> bool:
        if self.may_save_blind or found.get("metric_not_there_yet") or found.get("life") != Rule.Life.LIVE:
            return False
        is_new_question = not self.instance.pk or {"life", "expr"} & set(self.changed_data)
        return bool(is_new_question and found.get("expr") and finds_nothing(found["expr"], timezone.now()))


def _question(data: QueryDict) -> str:
    """The question of simple mode; one that means what the text says leaves the text alone. Raises SimpleError."""
    typed = simple.typed(*(data.get(f"simple_{name}", "") for name in _SIMPLE))
    operator, limit = data.get("simple_operator", ""), data.get("simple_limit", "")
    if operator in ("<", "<=", ">", ">=", "==", "!="):
        try:
            typed = replace(typed, operator=operator, limit=float(limit))
        except ValueError as error:
            raise simple.SimpleError("limit", "Give a number for the limit.") from error
    text: str = data.get("expr", "")
    return text if _read(text) == typed else simple.write(typed)


def _read(text: str) -> simple.Simple | None:
    try:
        return simple.read(promql.parse(text))
    except promql.ParseError:
        return None


def simple_fields(text: str) -> dict[str, Any] | None:
    """The fields of simple mode for a question in PromQL, without their prefix; None when it says more."""
    found = _read(text)
    if found is None:
        return None
    return {
        "metric": found.metric,
        "filter": found.filter_text,
        "measure": found.measure,
        "window": format_duration(found.window_seconds) if found.measure else "5m",
        "aggregation": found.aggregation,
        "by": ", ".join(found.by),
        "operator": found.operator,
        "limit": found.limit,
    }


def simple_initial(text: str) -> dict[str, Any]:
    """What the form starts with: simple mode for an empty question and for one that it can show."""
    found = simple_fields(text) if text.strip() else {}
    if found is None:
        return {"mode": "promql"}
    return {"mode": "simple", **{f"simple_{name}": value for name, value in found.items()}}


class NumberField(forms.FloatField):
    """A number as people write it: 85, not 85.0."""

    def prepare_value(self, value: Any) -> Any:
        """Show whole numbers without a point; leave what was typed alone."""
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


class ThresholdForm(forms.ModelForm):
    """One row of limits."""

    # What it is for, when that is an object of the registry: chosen by static/js/rule-simple.js, shown in words.
    # No lists to choose from here: a thousand rows would each ask for them.
    model = forms.ModelChoiceField(ServedModel.objects.all(), required=False, widget=forms.HiddenInput)
    version = forms.ModelChoiceField(
        ModelVersion.objects.select_related("model"), required=False, widget=forms.HiddenInput
    )
    host = forms.ModelChoiceField(Host.objects.all(), required=False, widget=forms.HiddenInput)
    stage = forms.CharField(required=False, widget=forms.HiddenInput)
    gpu = forms.CharField(required=False, widget=forms.HiddenInput)
    # Declared, so that the live check reads the two fields of a date just as the admin does.
    expires_at = forms.SplitDateTimeField(label="until", required=False, widget=UnfoldAdminSplitDateTimeWidget)

    class Meta:
        model = Threshold
        fields = "__all__"  # noqa: DJ007
        field_classes = dict.fromkeys(("value", "upper", "recover_value"), NumberField)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk and _is_owned(self.instance):
            for field in self.fields.values():
                field.disabled = True

    def clean(self) -> dict[str, Any]:
        """Refuse a new limit for all series where a file owns those; limits for some series are staff's."""
        found: dict[str, Any] = super().clean() or {}
        rule = getattr(self.instance, "rule", None) if self.instance.rule_id else None
        is_for_all = not any(found.get(name) for name in SCOPES)
        is_new_default = (
            not self.instance.pk and is_for_all and not Threshold(selector=found.get("selector") or "").has_selector
        )
        if is_new_default and rule is not None and rule.group.managed_by:
            text = "A file owns the limits for all series: say which series this one is for, or detach the group."
            self.add_error("selector", text)
        return found


def _is_owned(row: Threshold) -> bool:
    """Whether a rule file decides about this row."""
    return bool(row.rule.group.managed_by) and row.is_default


class ThresholdFormSet(BaseInlineFormSet):
    """All rows of limits of one rule."""

    def add_fields(self, form: Any, index: int | None) -> None:
        """A row that a file owns is not deleted here either."""
        super().add_fields(form, index)
        if form.instance.pk and _is_owned(form.instance) and "DELETE" in form.fields:
            form.fields["DELETE"].disabled = True

    def typed(self) -> list[TypedRow]:
        """The rows as they stand in the form, with the first thing that is wrong about each; deleted ones are out."""
        self.is_valid()
        rows = []
        for form in self.forms:
            if not form.has_changed() and not form.instance.pk:
                continue  # an empty row to add
            if self.can_delete and form.cleaned_data.get("DELETE"):
                continue
            problem = next((text for texts in form.errors.values() for text in texts), "")
            rows.append(TypedRow(form.prefix, None if problem else form.instance, problem))
        return rows


Rows = forms.inlineformset_factory(Rule, Threshold, form=ThresholdForm, formset=ThresholdFormSet, extra=0)


def typed(data: QueryDict, saved: Rule | None) -> tuple[Rule, list[TypedRow]]:
    """The rule and its rows as they stand in the form; nothing is saved. Raises SimpleError.

    A field that cannot be read keeps what it had before, but the expression and the name are taken as typed. Without
    an expression, as when somebody may only look, it is the saved rule.
    """
    if saved is not None and "expr" not in data:
        rows = saved.thresholds.order_by(*ROW_ORDER).select_related(*scope.RELATED)
        return saved, [TypedRow(f"thresholds-{number}", row) for number, row in enumerate(rows)]
    form = RuleForm(data, instance=saved)
    form.is_valid()
    if form.simple_problem is not None:
        raise form.simple_problem
    rule: Rule = form.instance
    rule.expr = form.data.get("expr", rule.expr)
    rule.name = data.get("name", rule.name).strip()
    formset: Any = Rows(data, instance=rule)
    return rule, formset.typed()
