"""The one door to Unfold: admin classes, actions, filters, widgets and the frame of pages outside the admin's own.

Hides: which package draws the admin. Nothing else in the portal imports it, so a change of it is a change here.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.mixins import AccessMixin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import NoReverseMatch, reverse
from simple_history.admin import SimpleHistoryAdmin
from unfold.admin import ModelAdmin as _ModelAdmin
from unfold.admin import StackedInline as _StackedInline
from unfold.admin import TabularInline as _TabularInline
from unfold.contrib.filters.admin import (
    AutocompleteSelectFilter,
    ChoicesDropdownFilter,
    DropdownFilter,
    MultipleChoicesDropdownFilter,
    RangeDateTimeFilter,
    RangeNumericFilter,
    RelatedDropdownFilter,
    SingleNumericFilter,
    TextFilter,
)
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.forms import AdminPasswordChangeForm, BaseDialogForm, UserChangeForm, UserCreationForm
from unfold.sections import TableSection, TemplateSection
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

__all__ = [
    "ALERT_STATE_LABELS", "SEVERITY_LABELS", "ActionVariant", "AdminPasswordChangeForm", "AutocompleteSelectFilter",
    "BaseDialogForm",
    "ChoicesDropdownFilter", "DropdownFilter", "HistoryAdmin", "JsonWidget", "ModelAdmin",
    "MultipleChoicesDropdownFilter", "PortalPageMixin", "RangeDateTimeFilter", "RangeNumericFilter", "ReadOnlyMixin",
    "RelatedDropdownFilter", "SimpleHistoryAdmin", "SingleNumericFilter", "StackedInline", "TableSection",
    "TabularInline", "TemplateSection", "TextFilter", "UnfoldAdminSelectWidget", "UnfoldAdminSplitDateTimeWidget",
    "UnfoldAdminTextInputWidget", "UnfoldAdminTextareaWidget", "UnfoldBooleanSwitchWidget", "UserChangeForm",
    "UserCreationForm", "action", "admin_url", "chrome_context", "dialog_done", "display",
]  # fmt: skip

# For `@display(label=...)`: what a state or severity looks like, the same on every page.
SEVERITY_LABELS = {"critical": "danger", "warning": "warning", "info": "info"}
ALERT_STATE_LABELS = {"firing": "danger", "pending": "warning", "resolved": "success"}


class JsonWidget(UnfoldAdminTextareaWidget):
    """A small monospaced field for JSON; the package's own is a ten-line box even in an inline."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"rows": 3, "class": "aq-mono", "spellcheck": "false", **(attrs or {})})


_OVERRIDES: Any = {models.JSONField: {"widget": JsonWidget}}


class ModelAdmin(_ModelAdmin):
    """A model in the admin with the defaults of the house: short pages, unsaved changes warned of.

    A large table sets `show_full_result_count = False` and a paginator that does not count.
    """

    list_per_page = 50
    list_filter_submit = True
    list_filter_sheet = True
    list_fullwidth = True
    warn_unsaved_form = True
    compressed_fields = True
    formfield_overrides: Any = _OVERRIDES

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may add a row; `obj` because Unfold asks so for actions with permissions=["add"]."""
        return super().has_add_permission(request)


class HistoryAdmin(SimpleHistoryAdmin, ModelAdmin):
    """A model whose every change is kept: adds the history page with differences and restore."""


class ReadOnlyMixin:
    """For records that nobody edits by hand, such as events and notifications: they can be seen, nothing else."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds a record by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a record."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a record; housekeeping does."""
        return False


class TabularInline(_TabularInline):
    """Rows of another model inside a form, one line each."""

    extra = 0
    formfield_overrides: Any = _OVERRIDES


class StackedInline(_StackedInline):
    """Rows of another model inside a form, one block each."""

    extra = 0
    formfield_overrides: Any = _OVERRIDES


def chrome_context(request: HttpRequest, **extra: Any) -> dict[str, Any]:
    """Return what the admin's frame needs (sidebar, colours, user menu), plus `extra` such as the title."""
    request.current_app = admin.site.name
    return {**admin.site.each_context(request), **extra}


class PortalPageMixin(AccessMixin):
    """A class-based view drawn in the admin's frame, for signed-in staff; templates extend "portal/page.html".

    Give `title`, `permission` (such as "monitoring.view_host"; empty: every user) and, for a link back,
    `trail`: pairs of text and address shown before the title.
    """

    title = ""
    permission = ""
    trail: list[tuple[str, str]] = []
    raise_exception = False

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send strangers to the sign-in page; refuse users who lack the permission (403)."""
        user = request.user
        if not user.is_authenticated:
            query = urlencode({"next": request.get_full_path()})
            return redirect(f"{reverse(settings.LOGIN_URL)}?{query}")
        if not admin.site.has_permission(request) or (self.permission and not user.has_perm(self.permission)):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)  # type: ignore[misc]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the context of the view with the frame's under it; a title given by the view wins."""
        request: HttpRequest = self.request  # type: ignore[attr-defined]
        frame = chrome_context(request, title=self.title, trail=self.trail)
        return super().get_context_data(**{**frame, **kwargs})  # type: ignore[misc]


def dialog_done(url: str) -> HttpResponse:
    """Return the answer that closes an action's dialog and goes on to `url`."""
    return HttpResponse(headers={"HX-Redirect": url})


def admin_url(instance: models.Model | type[models.Model], page: str = "", **query: Any) -> str:
    """Return the admin's address of a row ("change" by default) or of a model's list; "" when it has no page."""
    options = instance._meta
    is_row = isinstance(instance, models.Model)
    name = f"admin:{options.app_label}_{options.model_name}_{page or ('change' if is_row else 'changelist')}"
    try:
        url = reverse(name, args=[instance.pk] if is_row else [])
    except NoReverseMatch:
        return ""
    return f"{url}?{urlencode(query)}" if query else url
