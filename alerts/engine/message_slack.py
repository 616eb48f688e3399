"""A message as Slack payloads, inside Slack's limits whatever the labels hold (SL-2, SL-3, SL-4, DL-11).

The headline is the `text`, which phones show; everything else is in blocks inside one attachment, since only an
attachment has a colour bar. Links are buttons, so that the blocks hold no markup made from data but times.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.engine.message import AlertLine, Message, alert_key, parts, rest_of_labels, subject, subject_details
from alerts.engine.message_mrkdwn import bold, code, date, paragraph, template_text, words
from alerts.engine.message_words import clean, counted, cut, join_shown, more, safe_url, span, width

Payload = dict[str, Any]
Block = dict[str, Any]

COLORS = {"critical": "#d32f2f", "warning": "#f57c00", "info": "#1976d2"}
RESOLVED_COLOR, ACKNOWLEDGED_COLOR, OTHER_COLOR = "#2e7d32", "#6a1b9a", "#757575"
SIGNS = {"critical": "🔴", "warning": "🟠", "info": "🔵"}
RESOLVED_SIGN, OTHER_SIGN = "🟢", "⚪"
# What the menu offers, by the word that the press brings back.
SNOOZES = {"1h": "for 1 hour", "4h": "for 4 hours", "9am": "until 09:00"}
_NAMED_COLORS = ("good", "warning", "danger")
_HEX_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
_LABELS_SHOWN = 8  # in one line; the rest is counted
_CUSTOM_TITLE_CHARS = 1024  # Alertmanager cuts there (SL-3)
# What the lines of a long list leave free: "+ K more", the context (about 1,100) and the notes (3 of 200).
_FOOT_BLOCKS, _FOOT_CHARS = 3, 1900
_LINES_KEPT = 3  # of each heading, whatever comes before it
_LINE_CHARS = 1000  # one line of a receiver's own text
EVENT_TYPE = "alphaq_alert"


@dataclass(frozen=True, slots=True)
class SlackBudget:
    """How much one message may take; the defaults stay below every limit known of Slack (SL-2, SL-3, DL-11)."""

    blocks: int = 45  # Slack: 50
    section_chars: int = 2800  # Slack: 3,000
    total_chars: int = 9000  # others saw msg_blocks_too_long from about 13,200
    text_chars: int = 1200  # chat.update refuses more than 4,000 bytes of text; three bytes a character fit
    metadata_chars: int = 6000  # Slack answers metadata_too_large without saying from where; others saw 8,000
    alerts: int = 15  # shown one by one


DEFAULT_BUDGET = SlackBudget()
# No limit is known of webhooks, and nobody edits what they posted: one refusal costs one request.
WEBHOOK_BUDGET = SlackBudget(metadata_chars=60_000)


class _Sheet:
    """The blocks of one message, taken as long as they fit; the room of the actions is kept free from the start."""

    def __init__(self, budget: SlackBudget, reserved_blocks: int) -> None:
        self.blocks: list[Block] = []
        self._budget = budget
        self._blocks_left = budget.blocks - reserved_blocks
        self._chars_left = budget.total_chars

    def section(self, text: str) -> bool:
        """Add a section if it fits; a blank text needs none."""
        return not text.strip() or self._add({"type": "section", "text": _mrkdwn(text)}, width(text))

    def lines(self, lines: Iterable[str]) -> int:
        """Add lines, several to a section, up to the room kept for the context; returns how many were added."""
        taken, pack, used = 0, list[str](), 0
        for line in lines:
            size = width(line) + 1
            if pack and used + size > self._line_room():
                if not self.section("\n".join(pack)):
                    return taken
                taken, pack, used = taken + len(pack), [], 0
            if used + size > self._line_room():
                break
            pack.append(line)
            used += size
        return taken + len(pack) if pack and self.section("\n".join(pack)) else taken

    def _line_room(self) -> int:
        return (
            min(self._budget.section_chars, self._chars_left - _FOOT_CHARS) if self._blocks_left > _FOOT_BLOCKS else 0
        )

    def context(self, texts: Iterable[str]) -> bool:
        """Add a context line of up to ten elements, those that are not empty."""
        shown = [text for text in texts if text][:10]
        return bool(shown) and self._add(
            {"type": "context", "elements": [_mrkdwn(text) for text in shown]}, sum(width(text) for text in shown)
        )

    def _add(self, block: Block, chars: int) -> bool:
        if self._blocks_left < 1 or chars > self._chars_left:
            return False
        self.blocks.append(block)
        self._blocks_left -= 1
        self._chars_left -= chars
        return True


def slack_blocks(message: Message, budget: SlackBudget = DEFAULT_BUDGET, *, interactive: bool = False) -> Payload:
    """The payload for chat.postMessage and chat.update: text, attachments, metadata; no channel.

    `interactive` adds the buttons that act, for an app whose clicks reach the portal; links are there in any case.
    """
    actions = _actions(message, interactive)
    sheet = _Sheet(budget, reserved_blocks=1 if actions else 0)
    if message.custom.text:
        _fill_custom(sheet, message.custom.text)
    elif len(message.alerts) == 1:
        _fill_one(sheet, message, message.alerts[0])
    else:
        _fill_many(sheet, message, budget)
    if not message.custom.text:
        sheet.context(_context(message))
    sheet.context([words(note, 200) for note in message.notes[:3]])
    blocks = sheet.blocks + ([{"type": "actions", "elements": actions}] if actions else [])
    attachment: Block = {"color": _color(message), "fallback": words(message.headline, 300)}
    if blocks:
        attachment["blocks"] = blocks
    return {"text": _headline(message, budget), "attachments": [attachment], "metadata": metadata(message, budget)}


def slack_webhook(message: Message, budget: SlackBudget = WEBHOOK_BUDGET, *, interactive: bool = False) -> Payload:
    """The payload for an incoming webhook: the same message, buttons that act only if the webhook's app hears clicks.

    What a webhook posted can neither be edited nor threaded, so each change comes as a message of its own (SL-1).
    """
    return slack_blocks(message, budget, interactive=interactive)


def slack_plain(message: Message, budget: SlackBudget = DEFAULT_BUDGET) -> Payload:
    """The last resort when Slack refused the blocks: at most 3,000 characters of text with a link (SL-9)."""
    lines = [_headline(message, budget)]
    lines += [f"{_sign(message, alert)} {words(_gist(message, alert), 200)}" for alert in message.alerts[:8]]
    if len(message.alerts) > 8:
        lines.append(more(len(message.alerts) - 8))
    url = safe_url(message.group_url or message.external_url)
    return {"text": "\n".join([*lines, url] if len(url) < 900 else lines), "metadata": metadata(message, budget)}


def slack_thread(message: Message) -> Payload | None:
    """The thread's line about what changed with this message, None when nothing did: new members, or the end."""
    if message.status == "resolved":
        alert = message.alerts[0]
        duration = span(max(alert.duration_seconds(message.at) for alert in message.alerts))
        one = words(alert.measure(), 200) if len(message.alerts) == 1 else counted(len(message.alerts), "alert")
        return {"text": f"{RESOLVED_SIGN} {message.word} after {duration}" + (f": {one}" if one else "")}
    fresh = [alert for alert in message.firing if alert.is_new]
    ended = message.resolved
    if not ended and (not fresh or len(fresh) == len(message.firing)):
        return None
    shown = [*fresh, *ended][:10]
    lines = [f"{_sign(message, alert)} {words(_gist(message, alert), 250)}" for alert in shown]
    if len(fresh) + len(ended) > len(shown):
        lines.append(more(len(fresh) + len(ended) - len(shown)))
    return {"text": "\n".join(lines)}


def slack_digest(messages: Sequence[Message], url: str = "", budget: SlackBudget = DEFAULT_BUDGET) -> Payload:
    """One message for many groups that wait for the same channel (DL-7): the worst first, the rest counted."""
    rank = {"critical": 0, "warning": 1, "info": 2}
    ordered = sorted(messages, key=lambda m: (m.status == "resolved", rank.get(m.severity, 3)))
    firing = sum(message.status == "firing" for message in messages)
    sheet = _Sheet(budget, reserved_blocks=1)
    lines = [f"{_message_sign(message)} {words(message.headline, 160)}" for message in ordered[: budget.alerts]]
    if len(ordered) > len(lines):
        lines.append(more(len(ordered) - len(lines), "groups"))
    sheet.section("\n".join(lines))
    links = _links([("Open", "link.group", url)])
    blocks = sheet.blocks + ([{"type": "actions", "elements": links}] if links else [])
    text = f"*{counted(firing, 'group')} firing, {len(messages) - firing} resolved*"
    color = _color(ordered[0]) if ordered else OTHER_COLOR
    payload: Payload = {"text": text, "attachments": [{"color": color, "fallback": text, "blocks": blocks}]}
    return payload | {"metadata": _metadata(messages, budget)}


def metadata(message: Message, budget: SlackBudget = DEFAULT_BUDGET) -> Payload:
    """What machines read from the message: its alerts, group and outbox id, cut to Slack's size with `cut` set."""
    return _metadata([message], budget)


def _metadata(messages: Sequence[Message], budget: SlackBudget) -> Payload:
    first = messages[0] if len(messages) == 1 else None
    payload: Payload = {
        "firing": [],
        "resolved": [],
        "group": {cut(n, 80): cut(clean(v), 200) for n, v in (first.group_labels if first else ())},
        "status": "firing" if any(message.status == "firing" for message in messages) else "resolved",
        "outbox_id": first.outbox_id if first else ",".join(m.outbox_id for m in messages if m.outbox_id)[:1000],
    }
    if len(json.dumps(payload)) > budget.metadata_chars // 2:
        payload["group"] = {}
    left = budget.metadata_chars - len(json.dumps(payload)) - len(', "cut": true')
    resolved = [alert_key(alert.labels) for message in messages for alert in message.resolved]
    firing = [alert_key(alert.labels) for message in messages for alert in message.firing]
    # A third is kept for the resolved ones, or a long list of firing ones would hide that anything ended.
    payload["firing"], used = _as_fits(firing, left - min(left // 3, sum(len(key) + 4 for key in resolved)))
    payload["resolved"], _ = _as_fits(resolved, left - used)
    if len(payload["firing"]) + len(payload["resolved"]) < len(firing) + len(resolved):
        payload["cut"] = True
    return {"event_type": EVENT_TYPE, "event_payload": payload}


def _as_fits(keys: Sequence[str], chars: int) -> tuple[list[str], int]:
    taken, used = [], 0
    for key in keys:
        cleaned = cut(clean(key), 300)
        size = len(json.dumps(cleaned)) + 2
        if used + size > chars:
            break
        taken.append(cleaned)
        used += size
    return taken, used


def _headline(message: Message, budget: SlackBudget) -> str:
    if message.custom.title:
        title = template_text(" ".join(message.custom.title.split()), min(_CUSTOM_TITLE_CHARS, budget.text_chars))
        if title:
            return title
    return f"{_message_sign(message)} {bold(message.headline, min(300, budget.text_chars))}"


def _fill_custom(sheet: _Sheet, text: str) -> None:
    """The receiver's own text, as many of its lines as there is room for."""
    lines = clean(text).strip().split("\n")
    shown = sheet.lines(template_text(line, _LINE_CHARS) for line in lines)
    if shown < len(lines):
        sheet.section(more(len(lines) - shown, "lines"))


def _fill_one(sheet: _Sheet, message: Message, alert: AlertLine) -> None:
    measure = bold(alert.measure(), 200)
    sheet.section("\n".join(line for line in (
        join_shown((measure, words(alert.limit_reason, 400))),
        join_shown((*_times(message, alert), words(subject_details(alert.labels), 200), words(alert.state, 80))),
        paragraph(alert.summary, 700),
    ) if line))  # fmt: skip
    if not alert.is_resolved:  # what to do about it is of no use once it is over
        sheet.section(paragraph(alert.description, 1500))


def _fill_many(sheet: _Sheet, message: Message, budget: SlackBudget) -> None:
    """Alerts under their headings, the first of them one by one; what is left out is counted at the end."""
    common = (paragraph(message.common_annotations.get("summary", ""), 700), _labels(message.common_labels, ()))
    sheet.section("\n".join(text for text in common if text))
    shown = 0
    headed = parts(message)
    for number, (heading, alerts) in enumerate(headed, 1):
        # Those that come later keep a few lines, or a long list would hide that anything resolved.
        kept = sum(min(_LINES_KEPT, len(later)) for _, later in headed[number:])
        lines = [_line(message, alert) for alert in alerts[: budget.alerts - shown - kept]]
        shown += max(0, sheet.lines([f"*{heading}* ({len(alerts)})", *lines]) - 1)
    if shown < len(message.alerts):
        sheet.section(more(len(message.alerts) - shown))


def _line(message: Message, alert: AlertLine) -> str:
    """One alert of many: what sets it apart, its value, since when."""
    about = subject(alert.labels, message.common_labels) or subject(alert.labels) or alert.name
    name = "" if message.common_labels.get("alertname") else words(alert.name, 80)
    own_summary = "" if message.common_annotations.get("summary") else words(alert.summary, 160)
    return join_shown((
        f"{_sign(message, alert)} {bold(about, 120) or '*alert*'}",
        name, words(alert.measure(), 100), *_times(message, alert), words(alert.state, 60),
        own_summary, _labels(alert.labels, message.common_labels),
    ))  # fmt: skip


def _times(message: Message, alert: AlertLine) -> tuple[str, ...]:
    duration = span(alert.duration_seconds(message.at))
    if alert.is_resolved:
        return (f"lasted {duration}",)
    return f"since {date(alert.starts_at)}", f"for {duration}"


def _labels(labels: Iterable[tuple[str, str]], without: Iterable[tuple[str, str]]) -> str:
    rest = rest_of_labels(labels, without)
    shown = [code(f"{name}={value}", 90) for name, value in rest[:_LABELS_SHOWN]]
    return " ".join([*shown, more(len(rest) - len(shown), "labels")] if len(rest) > len(shown) else shown)


def _context(message: Message) -> list[str]:
    one = message.alerts[0] if len(message.alerts) == 1 else None
    return [
        words(f"owner {message.owner}", 100) if message.owner else "",
        words(f"route {message.route}", 160) if message.route else "",
        words(f"to {message.receiver}", 100),
        _labels(one.labels, ()) if one else "",
    ]


def _gist(message: Message, alert: AlertLine) -> str:
    about = subject(alert.labels, message.common_labels) or subject(alert.labels)
    return join_shown((alert.name, about, alert.measure()))


def _actions(message: Message, interactive: bool) -> list[Block]:
    acts = _acting_buttons(message) if interactive and message.action_id else []
    links = _links([
        ("Graph", "link.graph", message.graph_url),
        ("Runbook", "link.runbook", message.runbook_url),
        ("Open", "link.group", message.custom.title_link or message.group_url),
    ])  # fmt: skip
    return acts + links + ([_overflow(message)] if interactive and message.action_id else [])


def _acting_buttons(message: Message) -> list[Block]:
    if message.status == "resolved":
        return []
    if message.acknowledged_by:
        first = _button("Un-acknowledge", "alert.unacknowledge", message.action_id)
    else:
        first = _button("Acknowledge", "alert.acknowledge", message.action_id) | {"style": "primary"}
    snooze = {
        "type": "static_select", "action_id": "alert.snooze", "placeholder": _plain("Snooze"),
        "options": _options(SNOOZES, message.action_id),
    }  # fmt: skip
    return [first, snooze, _button("Silence…", "alert.silence", message.action_id)]


def _overflow(message: Message) -> Block:
    verbs = {"useful": "Useful", "noise": "Noise"}
    if message.status == "firing":
        verbs = {"threshold": "Threshold…", **verbs}
    return {"type": "overflow", "action_id": "alert.more", "options": _options(verbs, message.action_id)}


def _options(verbs: Mapping[str, str], action_id: str) -> list[Block]:
    return [{"text": _plain(word), "value": f"{verb}:{action_id}"} for verb, word in verbs.items()]


def slack_reminder(text: str, action_id: str) -> Payload:
    """The thread's question whether somebody is still on it, with buttons for both answers; `text` is mrkdwn."""
    buttons = [
        _button("Still on it", "alert.confirm", action_id) | {"style": "primary"},
        _button("Give it back", "alert.unacknowledge", action_id),
    ]
    return {
        "text": text,
        "blocks": [{"type": "section", "text": _mrkdwn(text)}, {"type": "actions", "elements": buttons}],
    }


def _links(links: Sequence[tuple[str, str, str]]) -> list[Block]:
    buttons = [(word, action_id, safe_url(url)) for word, action_id, url in links]
    return [
        {"type": "button", "action_id": action_id, "text": _plain(word), "url": url}
        for word, action_id, url in buttons
        if url
    ]


def _button(word: str, action_id: str, value: str) -> Block:
    return {"type": "button", "action_id": action_id, "text": _plain(word), "value": value}


def _plain(text: str) -> Mapping[str, object]:
    return {"type": "plain_text", "text": text, "emoji": True}


def _mrkdwn(text: str) -> Mapping[str, object]:
    # verbatim: Slack must not turn "#general" or "@ana" inside a label into a link or a mention.
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def _sign(message: Message, alert: AlertLine) -> str:
    return RESOLVED_SIGN if alert.is_resolved else SIGNS.get(alert.severity or message.severity, OTHER_SIGN)


def _message_sign(message: Message) -> str:
    return RESOLVED_SIGN if message.status == "resolved" else SIGNS.get(message.severity, OTHER_SIGN)


def _color(message: Message) -> str:
    custom = message.custom.color.strip()
    if custom in _NAMED_COLORS or _HEX_COLOR.fullmatch(custom):
        return custom
    if message.status == "resolved":
        return RESOLVED_COLOR
    return ACKNOWLEDGED_COLOR if message.acknowledged_by else COLORS.get(message.severity, OTHER_COLOR)
