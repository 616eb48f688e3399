"""What a file brought is changed in the file: read-only in the admin, until somebody detaches it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import flatten_fieldsets
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404

from alerts import amfile
from alphaq_portal.ui import action, admin_url, dialog_done

_NOTHING_TO_SAVE = {"show_save": False, "show_save_and_continue": False, "show_save_and_add_another": False}


class OwnedByFileMixin:
    """A model with `managed_by`: rows of an Alertmanager file can be looked at, and detached with all it brought."""

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Every field of what a file owns."""
        own = list(super().get_readonly_fields(request, obj))  # type: ignore[misc]
        if obj is None or not obj.managed_by:
            return own
        return list(dict.fromkeys([*own, *flatten_fieldsets(self.get_fieldsets(request, obj))]))  # type: ignore[attr-defined]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes what the next import would make again."""
        return not (obj is not None and obj.managed_by) and bool(super().has_delete_permission(request, obj))  # type: ignore[misc]

    def has_owner_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether a file owns the row, so that it can be detached."""
        rows = self.model.objects.filter(pk=object_id)  # type: ignore[attr-defined]
        return bool(rows.exclude(managed_by="").exists())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The form; for what a file owns with a word about who changes it, and nothing to save."""
        row = self.get_object(request, object_id)  # type: ignore[attr-defined]
        if row is not None and row.managed_by:
            if request.method == "GET":
                words = f"{row.managed_by} owns this: change it there and import it again, or detach it."
                messages.info(request, words)
            extra_context = {**_NOTHING_TO_SAVE, **(extra_context or {})}
        answer: HttpResponse = super().change_view(request, object_id, form_url, extra_context)  # type: ignore[misc]
        return answer

    @action(
        description="Detach from file", url_path="detach", permissions=["change", "owner"], icon="link_off",
        dialog={
            "title": "Detach all that this file brought?",
            "description": "Its routes, receivers, times and inhibit rules belong to staff from now on; nothing else "
            "changes. Importing the file again is refused unless it is told to take them over.",
        },
    )  # fmt: skip
    def detach(self, request: HttpRequest, form: Any, object_id: str) -> HttpResponse:
        """Give all that the file of this row brought to staff."""
        row = get_object_or_404(self.model, pk=object_id)  # type: ignore[attr-defined]
        owner = row.managed_by
        if not owner:
            self.message_user(request, "No file owns this.", messages.INFO)  # type: ignore[attr-defined]
        else:
            freed = amfile.detach(owner)
            words = f"{freed} routes, receivers, times and rules of {owner} belong to staff now."
            self.message_user(request, words, messages.SUCCESS)  # type: ignore[attr-defined]
        return dialog_done(admin_url(row))
