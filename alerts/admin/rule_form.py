"""The form of a rule with its thresholds: its fields, and what was typed into it as a rule that is not saved."""

from __future__ import annotations

from typing import Any

from django import forms
from django.forms import BaseInlineFormSet
from django.http import QueryDict

from alerts.admin.fields import PairsWidget, PromqlWidget
from alerts.models import Rule, Threshold
from alerts.preview import TypedRow
from alphaq_portal.ui import UnfoldAdminSplitDateTimeWidget

# Rows for all series first, then the special ones; the form and the check number them alike.
ROW_ORDER = ("selector", "-priority", "id")


class RuleForm(forms.ModelForm):
    """A rule; what is wrong with it is said beside the field, by the model's own check."""

    class Meta:
        model = Rule
        fields = "__all__"  # noqa: DJ007  (the admin's fieldsets say which)
        widgets = {"expr": PromqlWidget(), "labels": PairsWidget(), "annotations": PairsWidget()}


class NumberField(forms.FloatField):
    """A number as people write it: 85, not 85.0."""

    def prepare_value(self, value: Any) -> Any:
        """Show whole numbers without a point; leave what was typed alone."""
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


class ThresholdForm(forms.ModelForm):
    """One row of limits."""

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
        is_new_default = not self.instance.pk and (found.get("selector") or "").strip() in ("", "{}")
        if is_new_default and rule is not None and rule.group.managed_by:
            text = "A file owns the limits for all series: say which series this one is for, or detach the group."
            self.add_error("selector", text)
        return found


def _is_owned(row: Threshold) -> bool:
    """Whether a rule file decides about this row."""
    return bool(row.rule.group.managed_by) and row.selector.strip() in ("", "{}")


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
    """The rule and its rows as they stand in the form; nothing is saved.

    A field that cannot be read keeps what it had before, but the expression and the name are taken as typed. Without
    an expression, as when somebody may only look, it is the saved rule.
    """
    if saved is not None and "expr" not in data:
        rows = saved.thresholds.order_by(*ROW_ORDER)
        return saved, [TypedRow(f"thresholds-{number}", row) for number, row in enumerate(rows)]
    form = RuleForm(data, instance=saved)
    form.is_valid()
    rule: Rule = form.instance
    rule.expr = data.get("expr", rule.expr)
    rule.name = data.get("name", rule.name).strip()
    formset: Any = Rows(data, instance=rule)
    return rule, formset.typed()
