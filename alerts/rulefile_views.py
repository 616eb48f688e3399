"""Rule files in the browser: what an import would change before it changes it, and the rules as a file to keep."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.generic import TemplateView, View

from alerts.engine.findings import Finding
from alerts.models import Rule, RuleGroup
from alerts.rulefile.owner import MOST_CHARACTERS, detach, owners
from alerts.rulefile.plan import Change, Kind, Plan, defaults, import_rules, plan
from alerts.rulefile.read import read
from alerts.rulefile.remarks import Linter
from alerts.rulefile.table import limits_of, note_of
from alerts.rulefile.write import export
from alerts.rulefile.yaml_nodes import FileError
from alphaq_portal.ui import PortalPageMixin

# What a form may bring; longer files come by the command.
MOST_BYTES = 2_000_000
TONES = {Kind.NEW: "ok", Kind.CHANGED: "warning", Kind.SAME: "none", Kind.GONE: "critical"}


@dataclass(frozen=True)
class Row:
    """One rule of the plan as the page shows it."""

    change: Change
    limits: str
    note: str
    tone: str
    remarks: list[Finding]


@dataclass(frozen=True)
class Typed:
    """What the form brought."""

    text: str = ""
    owner: str = ""
    splits: bool = True
    detaches: bool = False


class ImportRules(PortalPageMixin, TemplateView):
    """Paste or upload a rule file, look at what it would change, then import it: all or nothing."""

    template_name = "alerts/rules_import.html"
    title = "Import rules"
    permission = "alerts.add_rule"
    trail = [("Rules", "/admin/alerts/rule/")]

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """The form as typed, and the plan once there is one."""
        made: Plan | None = kwargs.get("plan")
        kwargs.setdefault("typed", Typed())
        kwargs.setdefault("problems", [])
        if made is not None:
            kwargs["rows"] = _rows(made)
            kwargs["digest"] = _digest(made)
            kwargs["counts"] = [(kind.value, made.count(kind)) for kind in Kind]
        return super().get_context_data(owners=owners(), **kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Show the plan, or import what was shown."""
        typed, problems = _typed(request)
        if not problems:
            try:
                made = plan(read(typed.text, "imported"), typed.owner, defaults(typed.splits))
            except FileError as error:
                problems = error.problems
        if problems:
            return self._page(typed, problems=problems, status=422)
        seen = request.POST.get("seen", "")
        if not seen:
            return self._page(typed, plan=made)
        if seen != _digest(made):
            return self._page(typed, plan=made, problems=["The rules have changed meanwhile; look again."], status=409)
        return self._import(request, typed)

    def _import(self, request: HttpRequest, typed: Typed) -> HttpResponse:
        at = timezone.now()
        groups = read(typed.text, "imported")
        made = import_rules(groups, typed.owner, defaults(typed.splits), at, request.user)
        if typed.detaches:
            detach(list(RuleGroup.objects.filter(managed_by=typed.owner)))
        told = ", ".join(f"{made.count(kind)} {kind}" for kind in Kind if made.count(kind)) or "no rules"
        messages.success(request, f"Imported {typed.owner}: {told}.")
        return redirect("admin:alerts_rule_changelist")

    def _page(self, typed: Typed, status: int = 200, **context: Any) -> HttpResponse:
        return self.render_to_response(self.get_context_data(typed=typed, **context), status=status)


def _typed(request: HttpRequest) -> tuple[Typed, list[str]]:
    """What the form brought, and what is wrong with it before the file itself is looked at."""
    problems, text, name = [], request.POST.get("text", ""), ""
    upload = request.FILES.get("file")
    if isinstance(upload, UploadedFile):
        name = str(upload.name or "")
        if (upload.size or 0) > MOST_BYTES:
            return Typed(owner=name), [f"The file has more than {MOST_BYTES:,} bytes; use manage.py import_rules."]
        try:
            text = upload.read().decode("utf-8")
        except UnicodeDecodeError:
            problems.append("The file is no text in UTF-8.")
    owner = request.POST.get("owner", "").strip() or name or "pasted rules"
    if len(owner) > MOST_CHARACTERS:
        problems.append(f"The name has more than {MOST_CHARACTERS} characters.")
    if not text.strip() and not problems:
        problems.append("Paste a rule file or choose one.")
    elif len(text) > MOST_BYTES:
        problems.append(f"The text has more than {MOST_BYTES:,} characters; use manage.py import_rules.")
    plain, detaches = request.POST.get("mode") == "plain", request.POST.get("owns") == "staff"
    return Typed(text, owner, not plain, detaches), problems


def _rows(made: Plan) -> list[Row]:
    remarks = Linter(timezone.now()).of_plan(made)
    return [
        Row(change, limits_of(change), note_of(change), TONES[change.kind], found)
        for change, found in zip(made.changes, remarks, strict=True)
    ]


def _digest(made: Plan) -> str:
    """What the page showed, in short: an import does exactly that or nothing."""
    shown = [(change.kind, change.group, change.rule.name, change.details) for change in made.changes]
    groups = [(group.row.name, group.details, group.is_gone) for group in made.groups]
    return hashlib.sha256(repr((made.owner, shown, groups)).encode()).hexdigest()[:16]


class ExportRules(PortalPageMixin, View):
    """The rules as a rule file of Prometheus: those of `ids`, of `groups`, or all live ones."""

    permission = "alerts.view_rule"

    def get(self, request: HttpRequest) -> HttpResponse:
        """The file."""
        ids, group_ids = _numbers(request.GET.get("ids")), _numbers(request.GET.get("groups"))
        groups = RuleGroup.objects.order_by("name", "managed_by")
        if ids:
            groups = groups.filter(rules__in=ids).distinct()
        elif group_ids:
            groups = groups.filter(pk__in=group_ids)
        else:
            groups = groups.filter(is_enabled=True)
        # What was chosen by hand is written whatever its life.
        lives = Rule.Life.values if ids or group_ids else (Rule.Life.LIVE,)
        text = export(list(groups), timezone.now(), lives, only=ids)
        answer = HttpResponse(text, content_type="application/yaml; charset=utf-8")
        answer["Content-Disposition"] = 'attachment; filename="rules.yml"'
        return answer


def _numbers(text: str | None) -> list[int]:
    return [int(one) for one in (text or "").split(",") if one.isascii() and one.isdigit() and len(one) < 19]
