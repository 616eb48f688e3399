"""Profiles and how often they are taken, in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alphaq_portal.ui import HistoryAdmin, ModelAdmin, ReadOnlyMixin, display
from monitoring import profiling
from monitoring.models import Profile, ProfileRate
from monitoring.templatetags.portal import ago

KIND_LABELS = {"request": "info", "task": "success", "memory": "warning"}


@admin.register(Profile)
class ProfileAdmin(ReadOnlyMixin, ModelAdmin):
    """What was profiled; a line leads to the page with the flame."""

    list_display = ["name", "what", "seconds_taken", "memory", "detail", "status", "user_name", "taken"]
    list_filter = ["kind", "name"]
    search_fields = ["name", "detail", "request_id"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Profiles may be thrown away by whoever has the right to."""
        return request.user.has_perm("monitoring.delete_profile")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        """The profiles without their trees, which no list shows."""
        return super().get_queryset(request).defer("tree", "lines", "stats")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Lead to the profile's page."""
        return HttpResponseRedirect(reverse("monitoring:profile", args=[int(object_id)]))

    @display(description="What", label=KIND_LABELS)
    def what(self, profile: Profile) -> str:
        """Request, task or memory."""
        return profile.kind

    @display(description="Took", ordering="seconds")
    def seconds_taken(self, profile: Profile) -> str:
        """Wall time."""
        return f"{profile.seconds * 1000:,.0f} ms"

    @display(description="Peak memory", ordering="peak_bytes")
    def memory(self, profile: Profile) -> str:
        """The most memory held above the start."""
        return "" if profile.peak_bytes is None else f"{profile.peak_bytes / 2**20:,.1f} MiB"

    @display(description="When", ordering="id")
    def taken(self, profile: Profile) -> SafeString | str:
        """How long ago."""
        return ago(profile.taken_at, timezone.now())


@admin.register(ProfileRate)
class ProfileRateAdmin(HistoryAdmin):
    """How often requests of a route, or runs of a task, are profiled."""

    list_display = ["name", "kind", "ratio", "until", "is_enabled", "found"]
    list_filter = ["kind", "is_enabled"]
    search_fields = ["name"]
    fieldsets = [(None, {"fields": [("kind", "ratio"), "name", "until", "is_enabled"]})]

    def save_model(self, request: HttpRequest, obj: ProfileRate, form: ModelForm, change: bool) -> None:
        """Save; this process follows at once, the others within ten seconds."""
        super().save_model(request, obj, form, change)
        profiling.forget_rates()

    @display(description="Profiles")
    def found(self, rate: ProfileRate) -> SafeString | str:
        """Where its profiles are."""
        url = reverse("admin:monitoring_profile_changelist")
        if rate.name == ProfileRate.EVERYTHING:
            return format_html('<a class="aq-link" href="{}">Profiles</a>', url)
        return format_html('<a class="aq-link" href="{}?q={}">Profiles</a>', url, rate.name)
