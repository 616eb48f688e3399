"""What the lists of the alerts app share: no count of large tables, and words for a list without rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import models
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.alert_list import BoundedPaginator
from alerts.engine.durations import format_duration
from alerts.models.fields import DurationField
from alphaq_portal.ui import HistoryAdmin, JsonWidget, ModelAdmin, UnfoldAdminTextInputWidget
from monitoring import units

OVERRIDES: Any = {
    DurationField: {"widget": UnfoldAdminTextInputWidget({"placeholder": "5m", "class": "aq-short"})},
    models.JSONField: {"widget": JsonWidget},
}


def plain_number(text: str) -> str:
    """A number as people write it: 85 for 85.0; anything else as it is."""
    return text.removesuffix(".0")


def plain_duration(text: str) -> str:
    """Seconds as Prometheus writes a duration; anything else as it is."""
    try:
        return format_duration(float(text))
    except ValueError:
        return text


# How those who may only look see numbers; forms write them the same way.
READ_ONLY = {
    **dict.fromkeys(
        (
            "hold_seconds", "keep_firing_seconds", "no_data_resolve_seconds", "interval_seconds", "group_wait_seconds",
            "group_interval_seconds", "repeat_interval_seconds", "query_offset_seconds",
        ),
        plain_duration,
    ),
    **dict.fromkeys(("value", "upper", "recover_value"), plain_number),
}  # fmt: skip


class EmptyWords:
    """`empty_icon`, `empty_title` and `empty_text` say what to do where a list has no rows yet."""

    empty_icon = "inbox"
    empty_title = "Nothing here yet."
    empty_text = ""
    empty_link: tuple[str, str] | None = None  # text and name of an address
    change_list_template = "admin/alerts/change_list.html"


class AlertsAdmin(EmptyWords, ModelAdmin):
    """A model of the alerts app in the admin."""

    formfield_overrides = OVERRIDES
    readonly_preprocess_fields = READ_ONLY


class AlertsHistoryAdmin(EmptyWords, HistoryAdmin):
    """A model of the alerts app whose changes are kept."""

    formfield_overrides = OVERRIDES
    readonly_preprocess_fields = READ_ONLY


class LargeAdmin(EmptyWords, ModelAdmin):
    """A large table: read-only rows, no full count, pages that end at REACH."""

    show_full_result_count = False
    paginator = BoundedPaginator
    list_per_page = 50
    formfield_overrides = OVERRIDES

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list[Any], dict[str, int], set[str], list]:
        """Nobody deletes here, so nothing related is looked up."""
        return [], {}, {"delete"}, []


def code(text: str) -> SafeString:
    """A text in a monospaced font."""
    return format_html('<code class="aq-mono">{}</code>', text)


def dot(tone: str, words: str) -> SafeString:
    """A coloured dot with words: critical, warning, info, ok or none."""
    return format_html('<span class="aq-state is-{}"><span class="aq-dot"></span>{}</span>', tone, words)


def ago(moment: datetime | None, at: datetime) -> SafeString:
    """How long ago, or how soon; the title is UTC, and the browser adds the local time."""
    if moment is None:
        return format_html("<span>{}</span>", "never")
    return format_html(
        '<time class="aq-time" datetime="{}" title="{} UTC">{}</time>',
        moment.isoformat(timespec="seconds"), moment.strftime("%Y-%m-%d %H:%M:%S"), units.age(moment, at),
    )  # fmt: skip
