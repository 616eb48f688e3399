"""Pages about rules beside the admin's form: the history with the way back, and one change to many rules."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import revisions, rule_edit
from alerts.models import Rule, RuleRevision, Severity
from alphaq_portal.ui import PortalPageMixin, admin_url

_PER_PAGE = 20
# More would make a page of differences that nobody reads.
_MOST_RULES = 500


class RuleHistory(PortalPageMixin, TemplateView):
    """Every revision of a rule with what changed in it, who did it and when; each can be brought back."""

    template_name = "alerts/rule_history.html"
    permission = "alerts.view_rule"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """A page of revisions, the newest first, each beside the one before it."""
        rule = get_object_or_404(Rule, pk=kwargs.pop("pk"))
        rows = RuleRevision.objects.filter(rule=rule).order_by("-number").select_related("actor")
        page = Paginator(rows, _PER_PAGE).get_page(self.request.GET.get("page"))
        shown = list(page.object_list)
        older = rows.filter(number__lt=shown[-1].number).first() if shown else None
        pairs = zip(shown, [*shown[1:], older], strict=False)  # none shown, none before it
        return super().get_context_data(
            title=f"History of {rule.name}",
            trail=[("Rules", reverse("admin:alerts_rule_changelist")), (rule.name, admin_url(rule))],
            here="History",
            rule=rule,
            page=page,
            entries=[
                (row, revisions.differences(before.content, row.content) if before else []) for row, before in pairs
            ],
            newest=rows.first(),
            at=timezone.now(),
            may_restore=self.request.user.has_perm("alerts.change_rule"),
            **kwargs,
        )

    def post(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Bring the chosen revision back."""
        number = request.POST.get("restore", "")
        number = number if number.isascii() and number.isdigit() and len(number) < 10 else "0"
        revision = get_object_or_404(RuleRevision, rule=pk, number=int(number))
        try:
            made = rule_edit.restore(revision, request.user, timezone.now())
        except ValidationError as error:
            messages.error(request, f"Not restored. {' '.join(error.messages)}")
        else:
            words = f"Revision {number} is back, as revision {made.number}." if made else "It is like that already."
            messages.success(request, words)
        return redirect("alerts:rule_history", pk)


class RulesBulk(PortalPageMixin, TemplateView):
    """One change to many rules: choose it, see what each would become, apply all or none."""

    template_name = "alerts/rules_bulk.html"
    title = "Change several rules"
    permission = "alerts.change_rule"
    trail = [("Rules", "/admin/alerts/rule/")]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The rules of the address, the change as typed, and what it would do."""
        typed = self.request.POST or self.request.GET
        ids = [int(text) for text in typed.get("ids", "").split(",") if text.isascii() and text.isdigit()][:_MOST_RULES]
        rules = Rule.objects.filter(pk__in=ids).select_related("group").order_by("group__name", "position")
        planned, problems, operation, unseen = [], kwargs.pop("problems", []), None, []
        if typed.get("kind"):
            try:
                operation = rule_edit.operation_of(typed["kind"], typed)
                planned = rule_edit.plan(rules, operation)
                unseen = rule_edit.goes_blind(planned, operation, timezone.now())
            except ValidationError as error:
                problems = [*problems, *error.messages]
        return super().get_context_data(
            rules=rules, ids=",".join(map(str, ids)), typed=typed, severities=Severity.values, problems=problems,
            operation=operation, changed=[one for one in planned if one.changes],
            same=[one for one in planned if not one.changes],
            is_sound=bool(planned) and not any(one.problems for one in planned), lives=_LIVES,
            blind={rule.pk for rule in unseen}, must_tick=bool(unseen) and not self.request.user.is_superuser, **kwargs,
        )  # fmt: skip

    def post(self, request: HttpRequest) -> HttpResponse:
        """Apply what was shown: to exactly the revisions that the page showed."""
        seen = {}
        for text in request.POST.getlist("seen"):
            pk, _, number = text.partition(":")
            if pk.isascii() and pk.isdigit() and number.isascii() and number.isdigit():
                seen[int(pk)] = int(number)
        try:
            operation = rule_edit.operation_of(request.POST.get("kind", ""), request.POST)
            is_meant = request.user.is_superuser or bool(request.POST.get("metric_not_there_yet"))
            count = rule_edit.apply(seen, operation, request.user, timezone.now(), may_be_blind=is_meant)
        except ValidationError as error:
            return self.render_to_response(self.get_context_data(problems=error.messages), status=422)
        messages.success(request, f"{count} rule{'' if count == 1 else 's'} changed.")
        return redirect("admin:alerts_rule_changelist")


_LIVES = [(life, Rule.Life(life).label) for life in (Rule.Life.LIVE, Rule.Life.SHADOW, Rule.Life.DISABLED)]
