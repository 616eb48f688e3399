"""POST /api/v1/import/<kind>: a pipeline brings rules, routes, escalation or targets as files; all of one or nothing.

The same files, checks and owners as `manage.py import_rules`, `import_alertmanager`, `import_escalation` and
`import_prometheus`, for those who have no shell where the portal runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import DatabaseError, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from alerts import amfile, escalation_file
from alerts.rulefile.owner import MOST_CHARACTERS
from alerts.rulefile.plan import Kind, defaults, import_rules, plan
from alerts.rulefile.prometheus import import_prometheus
from alerts.rulefile.prometheus_read import read_prometheus
from alerts.rulefile.read import read
from alerts.rulefile.remarks import Linter
from alerts.rulefile.table import lines
from alerts.rulefile.yaml_nodes import FileError
from monitoring.api_answer import dumps, failure, log, success
from monitoring.api_auth import refusal

MOST_BYTES = 8_000_000
TYPES = ("application/yaml", "application/x-yaml", "text/yaml")
FLAGS = ("dry_run", "plain", "skip_unsupported", "take_over", "partial")


@dataclass(frozen=True)
class Sent:
    """One file as it came, the name that owns what it brings, and the flags of the query that are set."""

    text: str
    owner: str
    flags: frozenset[str]
    at: datetime


def _rules(sent: Sent) -> Iterable[str]:
    groups, given = read(sent.text, sent.owner), defaults("plain" not in sent.flags)
    if "dry_run" in sent.flags:
        made = plan(groups, sent.owner, given)
    else:
        made = import_rules(groups, sent.owner, given, sent.at)
    yield from lines(made, Linter(sent.at).of_plan(made) if "dry_run" in sent.flags else None)
    yield ", ".join(f"{made.count(kind)} {kind}" for kind in Kind)


def _alertmanager(sent: Sent) -> Iterable[str]:
    config = amfile.read(sent.text, skips_unsupported="skip_unsupported" in sent.flags)
    kept = amfile.keep(config, sent.owner, sent.at, takes_over="take_over" in sent.flags)
    for word in ("new", "changed", "removed"):
        yield from (f"{word}: {what}" for what in getattr(kept, word))
    yield from (f"note: {note}" for note in kept.notes)
    yield from (f"look at: {finding}" for finding in kept.findings)
    yield f"unchanged: {len(kept.same)}"


def _escalation(sent: Sent) -> Iterable[str]:
    done = escalation_file.take(escalation_file.read(sent.text), sent.owner)
    yield ", ".join(f"{done[kind]} {kind}" for kind in ("made", "changed", "same", "removed"))


def _prometheus(sent: Sent) -> Iterable[str]:
    file = read_prometheus(sent.text)
    if file.unsupported and "partial" not in sent.flags:
        raise FileError([*file.unsupported, "nothing was imported; partial=1 imports the rest"])
    yield from import_prometheus(file, sent.owner).lines
    yield from (f"left out  {part}" for part in file.unsupported)
    yield from (f"not used  {part}" for part in file.needless)


# What each kind of file needs of a signed-in user; a token needs the scope for configuration.
_KINDS: dict[str, tuple[str, Callable[[Sent], Iterable[str]]]] = {
    "rules": ("alerts.change_rule", _rules),
    "alertmanager": ("alerts.change_route", _alertmanager),
    "escalation": ("alerts.change_escalationpolicy", _escalation),
    "prometheus": ("monitoring.change_target", _prometheus),
}


@csrf_exempt
@never_cache
def take(request: HttpRequest, kind: str) -> HttpResponse:
    """Import a file, or with dry_run=1 only tell what it would change; every problem of a refused file is told."""
    if request.method != "POST":
        return failure("method_not_allowed", f"{request.method} is not answered here; use POST")
    if kind not in _KINDS:
        return failure("not_found", f"{kind!r} is no kind of file; known are {', '.join(_KINDS)}")
    permission, importing = _KINDS[kind]
    # What changes the configuration needs a name: being on this machine is not enough.
    refused = refusal(request, permission, is_open_here=False)
    if refused is not None:
        return failure("unauthorized" if refused.status == 401 else "forbidden", refused.reason)
    try:
        sent = _sent(request)
        with transaction.atomic():
            told = list(importing(sent))
            transaction.set_rollback("dry_run" in sent.flags)
    except (FileError, amfile.ConfigError) as error:
        return failure("bad_data", "\n".join(error.problems))
    except DatabaseError:
        log.exception("import_failed", path=request.path)
        return failure("internal", "The database did not answer; see the portal's log. Nothing was changed.")
    return success(dumps({"owner": sent.owner, "dry_run": "dry_run" in sent.flags, "told": told}))


def _sent(request: HttpRequest) -> Sent:
    # A form of a foreign page can send text but not these types without asking first (CORS), so a session is safe here.
    if request.content_type not in TYPES:
        raise FileError([f"send the file itself, with Content-Type: {TYPES[0]}"])
    owner = request.GET.get("owner", "").strip()
    if not 0 < len(owner) <= MOST_CHARACTERS:
        raise FileError(
            [f"owner names whose file this is, such as owner=ranker-team; at most {MOST_CHARACTERS} characters"]
        )
    unknown = set(request.GET) - {"owner", *FLAGS}
    if unknown:
        raise FileError([f"{name} is not known; known are owner, {', '.join(FLAGS)}" for name in sorted(unknown)])
    raw = request.read(MOST_BYTES + 1)  # not request.body: its limit is meant for forms
    if len(raw) > MOST_BYTES:
        raise FileError([f"the file has more than {MOST_BYTES:,} bytes"])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError([f"no UTF-8 text (byte {error.start})"]) from error
    flags = frozenset(name for name in FLAGS if request.GET.get(name, "") not in ("", "0", "false"))
    return Sent(text, owner, flags, timezone.now())


app_name = "import_api"
urlpatterns = [path("<slug:kind>", take, name="import")]
