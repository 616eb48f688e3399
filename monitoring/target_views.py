"""The page of a target's metrics: what it exposes, how that is named, and a scrape at once with its report."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring import target_report
from monitoring.models import Target

#: Findings of one rule, and metrics, that are shown: a thousand say no more.
SHOWN_FINDINGS = 10
SHOWN_METRICS = 500


class TargetPage(PortalPageMixin, TemplateView):
    """The metrics of a target; POST asks the target now, stores nothing and shows what came back."""

    template_name = "portal/target.html"
    permission = "monitoring.view_target"

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Scrape once and show the report."""
        if not request.user.has_perm("monitoring.change_target"):
            raise PermissionDenied
        return self.render_to_response(self.get_context_data(**kwargs))

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the target, its report when it was asked, and the names with their remarks."""
        rows = Target.objects.select_related("status", "deployment__version__model")
        target = get_object_or_404(rows, pk=kwargs["pk"])
        at = timezone.now()
        status = getattr(target, "status", None)
        report = target_report.ask(target) if self.request.method == "POST" else None
        if report is not None:
            names = target_report.names_in(report)
        else:
            moment = status.scraped_at if status else at
            names = target_report.names_stored(target, round(moment.timestamp() * 1000))
        may_change = self.request.user.has_perm("monitoring.change_target")
        return super().get_context_data(
            title=f"Target {target}",
            trail=[("Targets", admin_url(Target))],
            here=str(target),
            target=target,
            status=status,
            at=at,
            report=report,
            names=names,
            families=names.families[:SHOWN_METRICS],
            more=max(0, len(names.families) - SHOWN_METRICS),
            remarks=[
                (remark, remark.findings[:SHOWN_FINDINGS], max(0, len(remark.findings) - SHOWN_FINDINGS))
                for remark in names.remarks
            ],
            change_url=admin_url(target) if may_change else "",
            may_scrape=may_change,
            **kwargs,
        )
