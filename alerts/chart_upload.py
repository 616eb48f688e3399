"""The chart in the thread of a new message: drawn and uploaded after the message arrived, and never in its way.

Nothing is tried twice: a chart is a courtesy, and a second one after a lost answer would be a nuisance. Only the bot
can do it; what became of each is written on the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

import structlog
from django.db import DatabaseError
from django.db.models import Q

from alerts import alert_story, chart_image, transmit
from alerts.channels import slack
from alerts.channels.base import DeliveryError
from alerts.channels.slack import SlackBotConfig
from alerts.engine.delivery import DIGEST_ABOVE
from alerts.engine.message import subject
from alerts.engine.units import PLAIN, Unit, format_value, unit_of
from alerts.models import Alert, Integration, Notification
from monitoring import promql
from monitoring.promql import QueryError

log = structlog.get_logger(__name__)
# Later a chart would tell of another time than its message.
FRESH = timedelta(minutes=10)
# A bot without the right to upload is not asked about each message.
_REFUSED_PAUSE = timedelta(hours=1)
_AT_ONCE = 5
_REFUSED = "not allowed: "
DRAWING, SENT, NOTHING = "drawing", "sent", "nothing to draw"


def upload_due(at: datetime) -> int:
    """Draw and upload charts for messages that arrived lately, none in a storm; returns how many arrived."""
    if Notification.objects.filter(state=Notification.State.QUEUED)[: DIGEST_ABOVE + 1].count() > DIGEST_ABOVE:
        return 0
    return sum(_upload(row, at) for row in _due(at))


def _due(at: datetime) -> Sequence[Notification]:
    is_slacks = Q(integration__kind=Integration.Kind.SLACK, integration__slack_app__isnull=False)
    rows = Notification.objects.filter(
        is_slacks, state=Notification.State.SENT, kind=Notification.Kind.POST, status="firing", chart="",
        sent_at__gt=at - FRESH, group__isnull=False,
    ).exclude(slack_ts="")  # fmt: skip
    return list(rows.select_related("integration__slack_app").defer("message").order_by("-id")[:_AT_ONCE])


def _upload(row: Notification, at: datetime) -> bool:
    """Whether the chart of one message arrived; whoever sets the mark first does it."""
    if not Notification.objects.filter(pk=row.pk, chart="").update(chart=DRAWING):
        return False
    outcome = _try(row, at)
    Notification.objects.filter(pk=row.pk).update(chart=outcome[:200])
    return outcome == SENT


def _try(row: Notification, at: datetime) -> str:
    refused = Notification.objects.filter(
        integration=row.integration, chart__startswith=_REFUSED, sent_at__gt=at - _REFUSED_PAUSE
    )
    if refused.exists():
        return "not tried: it was not allowed lately"
    try:
        drawn = _draw(row, at)
        if drawn is None:
            return NOTHING
        config = transmit.config_of(row.integration)  # type: ignore[arg-type]
        assert isinstance(config, SlackBotConfig)  # noqa: S101  (chosen by kind)
        name, picture = drawn
        slack.upload_file(
            config, channel=row.slack_channel, thread_ts=row.slack_ts, filename="alert.png", content=picture,
            title=name, alt_text=f"{name}: its value over time",
        )  # fmt: skip
    except DeliveryError as error:
        log.info("chart_not_uploaded", notification=row.pk, error=error.text)
        return f"{_REFUSED}{error.text}" if error.code in ("missing_scope", "not_allowed_token_type") else error.text
    except (QueryError, DatabaseError, OSError, ValueError) as error:
        log.warning("chart_not_drawn", notification=row.pk, error=repr(error))
        return f"not drawn: {type(error).__name__}"
    return SENT


def _draw(row: Notification, at: datetime) -> tuple[str, bytes] | None:
    """Title and picture of the first alert of a message that has a value."""
    alerts = Alert.objects.filter(fingerprint__in=row.firing, groups=row.group, state=Alert.State.FIRING)
    for alert in alerts.select_related("rule", "threshold").order_by("id")[:3]:
        unit = _unit(alert)
        name = f"{alert.name} {subject(alert.label_set)}".strip()
        picture = chart_image.png(
            name, alert_story.chart(alert, at), alert_story.chart_limits(alert), partial(_say, unit)
        )
        if picture is not None:
            return name, picture
    return None


def _say(unit: Unit, value: float) -> str:
    return format_value(value, unit)


def _unit(alert: Alert) -> Unit:
    try:
        return unit_of(promql.parse(alert.rule.expr)) if alert.rule else PLAIN
    except QueryError:
        return PLAIN
