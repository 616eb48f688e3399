"""The page of a profile: its flame, the hottest functions, the lines that took memory; and its .prof file."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.http import require_GET
from django.views.generic import TemplateView

from alphaq_portal.ui import PortalPageMixin, admin_url
from monitoring import profiling
from monitoring.models import Profile

KINDS = ("portal", "database", "django", "library", "python", "built-in")


class ProfilePage(PortalPageMixin, TemplateView):
    """One profile."""

    template_name = "portal/profile.html"
    permission = "monitoring.view_profile"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the profile with its hottest functions."""
        profile = get_object_or_404(Profile.objects.defer("stats"), pk=kwargs["pk"])
        largest = max((line["bytes"] for line in profile.lines), default=0)
        return super().get_context_data(
            title=f"Profile of {profile.name}",
            trail=[("Profiles", admin_url(Profile))],
            here=profile.name,
            profile=profile,
            kinds=KINDS,
            hottest=profiling.hottest(profile.tree) if profile.tree else [],
            lines=[{**line, "share": line["bytes"] / largest * 100} for line in profile.lines],
            **kwargs,
        )


@require_GET
@login_required
def prof_file(request: HttpRequest, pk: int) -> HttpResponse:
    """Return the `.prof` file of a profile, for `python -m pstats` and the tools that read it."""
    if not request.user.has_perm("monitoring.view_profile"):
        raise PermissionDenied
    profile = get_object_or_404(Profile, pk=pk)
    content = profiling.prof_file(profile)
    if not content:
        raise Http404("This profile has no .prof file: it is one of memory, or was too large.")
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", profile.name).strip("_") or "root"
    response = HttpResponse(content, content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="profile_{name}_{profile.pk}.prof"'
    return response
