"""Alertmanager files in the browser: what an import would change before it changes it, and the tree as a file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils import timezone
from django.views.generic import TemplateView, View

from alerts import amfile
from alerts.amfile import ConfigError, Kept
from alphaq_portal.ui import PortalPageMixin

# What a form may bring; longer files come by the command.
MOST_BYTES = 1_000_000
MOST_OWNER = 200
_TONES = {"new": "ok", "changed": "warning", "removed": "critical"}


@dataclass(frozen=True)
class Typed:
    """What the form brought."""

    text: str = ""
    owner: str = ""
    skips: bool = False
    takes_over: bool = False


class ImportAlertmanager(PortalPageMixin, TemplateView):
    """Paste or upload an Alertmanager file, look at what it would change, then import it: all or nothing."""

    template_name = "alerts/alertmanager_import.html"
    title = "Import an Alertmanager file"
    permission = "alerts.add_route"
    trail = [("Routes", reverse_lazy("admin:alerts_route_changelist"))]  # type: ignore[list-item]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form as typed, and what would change once that is known."""
        kept: Kept | None = kwargs.get("kept")
        kwargs.setdefault("typed", Typed())
        if kept is not None:
            kwargs["rows"] = [(word, tone, what) for word, tone in _TONES.items() for what in getattr(kept, word)]
            kwargs["digest"] = _digest(kept)
        return super().get_context_data(**kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show what would change, or change what was shown."""
        typed, problems = _typed(request)
        if problems:
            return self._page(typed, problems=problems, status=422)
        at = timezone.now()
        try:
            config = amfile.read(typed.text, skips_unsupported=typed.skips)
            kept = amfile.keep_checked(config, typed.owner, at, takes_over=typed.takes_over)
            if request.POST.get("seen") == _digest(kept):
                amfile.keep(config, typed.owner, at, takes_over=typed.takes_over)
                messages.success(request, f"Imported {typed.owner}: {_counts(kept)}.")
                return redirect("admin:alerts_route_changelist")
        except ConfigError as error:
            return self._page(typed, problems=error.problems, status=422)
        if request.POST.get("seen"):
            words = "The routes have changed meanwhile; look again."
            return self._page(typed, kept=kept, problems=[words], status=409)
        return self._page(typed, kept=kept)

    def _page(self, typed: Typed, status: int = 200, **context: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(typed=typed, **context), status=status)


class ExportAlertmanager(PortalPageMixin, View):
    """Routes, receivers, inhibition and times as a file for Alertmanager, addresses and tokens hidden."""

    permission = "alerts.view_route"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The file."""
        answer = HttpResponse(amfile.write(), content_type="application/yaml; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="alertmanager.yml"'
        return answer


def _typed(request: HttpRequest) -> tuple[Typed, list[str]]:
    """What the form brought, and what is wrong with it before the file itself is looked at."""
    problems, text, name = [], request.POST.get("text", ""), ""
    upload = request.FILES.get("file")
    if isinstance(upload, UploadedFile):
        name = str(upload.name or "")
        raw = upload.read(MOST_BYTES + 1)
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError:
            problems.append("The file is no text in UTF-8.")
    owner = request.POST.get("owner", "").strip() or name or "alertmanager.yml"
    if len(owner) > MOST_OWNER:
        problems.append(f"The name has more than {MOST_OWNER} characters.")
    if not text.strip() and not problems:
        problems.append("Paste an Alertmanager file or choose one.")
    if len(text) > MOST_BYTES:
        problems.append(f"The file has more than {MOST_BYTES:,} characters; use manage.py import_alertmanager.")
        text = ""
    return Typed(text, owner, request.POST.get("skips") == "1", request.POST.get("takes_over") == "1"), problems


def _digest(kept: Kept) -> str:
    """What the page showed, in short: an import does exactly that or nothing."""
    return hashlib.sha256(repr((kept.new, kept.changed, kept.removed, kept.notes)).encode()).hexdigest()[:16]


def _counts(kept: Kept) -> str:
    words = ("new", "changed", "removed")
    return ", ".join(f"{len(getattr(kept, word))} {word}" for word in words if getattr(kept, word)) or "nothing changed"
