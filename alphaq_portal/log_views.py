"""The page of the portal's own recent warnings and errors."""

from __future__ import annotations

from typing import Any

import redis
from django.conf import settings
from django.utils import timezone
from django.views.generic import TemplateView

from alphaq_portal import recent_log
from alphaq_portal.recent_log import Entry, Kinds
from alphaq_portal.ui import PortalPageMixin

LEVELS = ("all", "warning", "error")
SHOWN_KINDS = 100
SHOWN_TIMES = 10


class RecentLog(PortalPageMixin, TemplateView):
    """What went wrong lately, in any process of the portal; lines that say the same are one row."""

    template_name = "portal/log.html"
    title = "Log"
    permission = "monitoring.read_log"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return the rows that match the filters: `level`, `q` (any text of the line), `request_id`."""
        level = self.request.GET.get("level", "all")
        text = self.request.GET.get("q", "").strip()
        try:
            entries, problem = recent_log.read(settings.REDIS_URL), ""
        except redis.RedisError as error:
            entries, problem = [], f"{type(error).__name__}: Redis, which keeps these lines, does not answer."
        found = [entry for entry in entries if _is_shown(entry, level, text.lower())]
        kinds = recent_log.group(found)
        return super().get_context_data(
            at=timezone.now(),
            problem=problem,
            level=level,
            q=text,
            levels=[(name, _count(entries, name)) for name in LEVELS],
            rows=[_row(kind) for kind in kinds[:SHOWN_KINDS]],
            more=max(0, len(kinds) - SHOWN_KINDS),
            oldest=entries[-1].at if entries else None,
            kept=recent_log.KEPT_LINES,
            **kwargs,
        )


def _is_shown(entry: Entry, level: str, text: str) -> bool:
    if level in LEVELS[1:] and _tone(entry.level) != level:
        return False
    if not text:
        return True
    words = (entry.event, entry.logger, entry.process, entry.request_id, entry.error, str(entry.fields))
    return any(text in word.lower() for word in words)


def _tone(level: str) -> str:
    return "error" if level in ("error", "critical") else "warning"


def _count(entries: list[Entry], level: str) -> int:
    return sum(entry.count for entry in entries if level == "all" or _tone(entry.level) == level)


def _row(kind: Kinds) -> dict[str, Any]:
    newest = kind.newest
    return {
        "newest": newest,
        "tone": "critical" if _tone(newest.level) == "error" else "warning",
        "count": kind.count,
        "first_at": kind.first_at,
        "fields": sorted(newest.fields.items()),
        "processes": sorted({entry.process for entry in kind.entries}),
        "times": [(entry.at, entry.request_id, entry.count) for entry in kind.entries[:SHOWN_TIMES]],
        "text": _summary(newest),
    }


def _summary(entry: Entry) -> str:
    """Return the fields in a line, for who reads the table without opening it."""
    told = [f"{name}={value}" for name, value in sorted(entry.fields.items()) if not isinstance(value, list | dict)]
    return ("  ".join(told))[:300]
