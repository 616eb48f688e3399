"""The page of limits as a sheet, and its file."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import limit_sheet, scope
from alerts.models import Rule, Threshold
from alphaq_portal.ui import PortalPageMixin
from monitoring.models import ServedModel

# A page that one can still look over; the filters and the file reach the rest.
_MOST_MODELS = 50
_MOST_COLUMNS = 20
_MOST_BYTES = 1_000_000


class LimitSheet(PortalPageMixin, TemplateView):
    """Models by rules: a number in a cell is that model's own limit, an empty one takes the limit for all."""

    template_name = "alerts/limit_sheet.html"
    title = "Limits by model"
    permission = "alerts.view_rule"
    trail = [("Rules", "/admin/alerts/rule/")]

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The page, or with ?format=csv its file: all models and columns that the filters leave."""
        if request.GET.get("format") != "csv":
            return super().get(request, *args, **kwargs)
        text = limit_sheet.to_csv(list(self._models()), limit_sheet.columns(self._rules()))
        answer = HttpResponse(text, content_type="text/csv; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="limits.csv"'
        return answer

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The table, and what would change."""
        models, columns = list(self._models()[:_MOST_MODELS]), limit_sheet.columns(self._rules())
        return super().get_context_data(
            rows=limit_sheet.table(models, columns[:_MOST_COLUMNS]), columns=columns[:_MOST_COLUMNS],
            more_models=max(0, self._models().count() - len(models)), more_columns=len(columns[_MOST_COLUMNS:]),
            model=self._asked("model"), rule=self._asked("rule"),
            may_change=self.request.user.has_perm("alerts.change_rule"),
            reason=self.request.POST.get("reason", ""), **kwargs,
        )  # fmt: skip

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show what would change; with `apply`, change it."""
        models, columns = list(self._models()), limit_sheet.columns(self._rules())
        try:
            given = self._given(request, models, columns)
            changes, problems = limit_sheet.changes(given, models, columns)
            if "apply" in request.POST and not problems:
                count = limit_sheet.apply(
                    changes, _seen(request), request.POST.get("reason", ""), request.user, timezone.now()
                )
                messages.success(request, f"{len(changes)} limits of {count} rules changed.")
                return redirect(request.get_full_path())
        except ValidationError as error:
            changes, problems = [], error.messages
        seen = {one.column.rule.pk: one.column.rule.revision for one in changes}
        context = self.get_context_data(changes=changes, problems=problems, seen=seen, is_shown=True)
        return self.render_to_response(context, status=422 if problems else 200)

    def _given(self, request: HttpRequest, models: list[ServedModel], columns: list[Any]) -> dict[str, str]:
        file = request.FILES.get("file")
        if file is None:
            return {name[5:]: text for name, text in request.POST.items() if name.startswith("cell:")}  # type: ignore[misc]
        if (file.size or 0) > _MOST_BYTES:
            raise ValidationError("The file is larger than 1 MB; split it.")
        try:
            text = file.read().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValidationError("The file is not UTF-8; save it as CSV in UTF-8.") from error
        return limit_sheet.from_csv(text, models, columns)

    def _models(self) -> Any:
        models = ServedModel.objects.order_by("name")
        return models.filter(name__icontains=self._asked("model")) if self._asked("model") else models

    def _rules(self) -> Any:
        rows = Threshold.objects.select_related(*scope.RELATED)
        rules = Rule.objects.filter(kind=Rule.Kind.ALERT).exclude(life=Rule.Life.DISABLED).order_by("name", "pk")
        rules = rules.filter(name__icontains=self._asked("rule")) if self._asked("rule") else rules
        return rules.prefetch_related(Prefetch("thresholds", rows))

    def _asked(self, name: str) -> str:
        return self.request.GET.get(name, "").replace("\x00", "").strip()


def _seen(request: HttpRequest) -> dict[int, int]:
    pairs = (text.partition(":") for text in request.POST.getlist("seen"))
    return {int(pk): int(number) for pk, _, number in pairs if pk.isdecimal() and number.isdecimal()}
