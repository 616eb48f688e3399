"""Dialogues that open in Slack, and what somebody entered there: a silence, a limit.

Everything shown is cut and escaped as in messages (SL-2, SL-4); what comes back is input like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from alerts.engine.message_mrkdwn import code, words
from alerts.engine.message_words import clean, cut, more, one_line

View = dict[str, Any]
SILENCE, THRESHOLD = "silence", "threshold"
DURATIONS = {"1h": "1 hour", "4h": "4 hours", "1d": "1 day", "1w": "1 week", "4w": "4 weeks", "9am": "until 09:00"}
# Monday first, as people read a week; the numbers count from Sunday.
DAYS = {
    "1": "Monday", "2": "Tuesday", "3": "Wednesday", "4": "Thursday", "5": "Friday", "6": "Saturday", "0": "Sunday",
}  # fmt: skip
WINDOWS = {"30m": "30 minutes", "1h": "1 hour", "2h": "2 hours", "4h": "4 hours", "8h": "8 hours", "1d": "a day"}
LIVES = {"": "until somebody changes it", "1d": "1 day", "1w": "1 week", "4w": "4 weeks"}
CHANGE_ROW, ADD_ROW = "change", "add"
_OPTION_CHARS, _TITLE_CHARS, _MOST_BOXES, _REASON_CHARS = 75, 24, 10, 500


@dataclass(frozen=True, slots=True)
class SilenceTyped:
    """What stands in the silence dialogue: which of the offered matchers, how long, further matchers, why."""

    chosen: tuple[int, ...] = ()
    duration: str = "1h"
    more: tuple[str, ...] = ()
    reason: str = ""
    days: tuple[int, ...] = ()  # 0 is Sunday; none: every day
    opens_at: str = ""  # "02:00" for windows that come again, "" for a silence that holds throughout
    lasts: str = "2h"


@dataclass(frozen=True, slots=True)
class ThresholdTyped:
    """What stands in the limit dialogue."""

    value: str = ""
    scope: str = CHANGE_ROW
    selector: str = ""
    life: str = ""
    reason: str = ""


def silence_view(
    matchers: Sequence[str], typed: SilenceTyped, preview: str, metadata: str, names: Sequence[str] = (),
    place: str = "UTC",
) -> View:  # fmt: skip
    """The silence dialogue; `matchers` are offered as boxes (ten at most), `preview` says what it would cover now.

    names: of alerts it would cover, shown under the preview. place: the time zone of whoever looks.
    """
    boxes = [_option(text, str(number)) for number, text in enumerate(matchers[:_MOST_BOXES])]
    chosen = [box for number, box in enumerate(boxes) if number in typed.chosen]
    element = {"type": "checkboxes", "action_id": "matchers", "options": boxes}
    covered = "\n".join([words(preview, 600), *(f"• {code(name, 120)}" for name in names)])
    return _view(SILENCE, "Silence", "Silence", metadata, [
        _input("matchers", "Alerts with all of these labels", element | _initial("initial_options", chosen),
               acts=True, is_optional=True),
        _input("more", "And with these matchers, one a line", _text("more", lines=True,
               placeholder='host=~"gpu-.*"'), is_optional=True, acts=False),
        _input("duration", "For how long", _select("duration", _durations(place), typed.duration), acts=True),
        _input("opens_at", f"Only in windows that come again, from ({place})", _time("opens_at", typed.opens_at),
               acts=True, is_optional=True),
        _input("lasts", "How long a window lasts", _select("lasts", WINDOWS, typed.lasts), acts=True),
        _input("days", "Windows on these days (none: every day)", _boxes("days", DAYS, typed.days), acts=True,
               is_optional=True),
        {"type": "section", "block_id": "preview", "text": {"type": "mrkdwn", "text": covered or " "}},
        _input("reason", "Why", _text("reason", placeholder="Whoever looks at it later will ask")),
    ])  # fmt: skip


def silence_typed(view: Mapping[str, Any]) -> SilenceTyped:
    """What somebody chose and wrote in the silence dialogue."""
    values = _values(view)
    lines = str(values.get("more", {}).get("value") or "").splitlines()
    return SilenceTyped(
        chosen=_numbers(values.get("matchers", {}).get("selected_options")),
        duration=_selected(values, "duration"),
        more=tuple(line.strip() for line in lines if line.strip()),
        reason=str(values.get("reason", {}).get("value") or ""),
        days=_numbers(values.get("days", {}).get("selected_options")),
        opens_at=str(values.get("opens_at", {}).get("selected_time") or ""),
        lasts=_selected(values, "lasts"),
    )


def threshold_view(
    title: str, explanation: Sequence[str], typed: ThresholdTyped, can_change: bool, metadata: str
) -> View:
    """The limit dialogue: why the limit is what it is, and a new one for this row or for these series alone.

    explanation: lines such as "Row 41 wins because…". can_change: whether there is a row to change.
    """
    scopes = {CHANGE_ROW: "change the row that decides now", ADD_ROW: "add a row for these series only"}
    if not can_change:
        del scopes[CHANGE_ROW]
    shown = "\n".join([f"*{words(title, 150)}*", *(words(line, 500) for line in explanation[:8])])
    return _view(THRESHOLD, "Threshold", "Set limit", metadata, [
        {"type": "section", "text": {"type": "mrkdwn", "text": cut(shown, 2800)}},
        _input("value", "New limit", _text("value", typed.value)),
        _input("scope", "Where", _select("scope", scopes, typed.scope if typed.scope in scopes else ADD_ROW)),
        _input("selector", "For these series (a new row only)", _text("selector", typed.selector), is_optional=True),
        _input("life", "For how long", _select("life", LIVES, typed.life)),
        _input("reason", "Why", _text("reason", placeholder="Whoever looks at it later will ask")),
    ])  # fmt: skip


def threshold_typed(view: Mapping[str, Any]) -> ThresholdTyped:
    """What somebody chose and wrote in the limit dialogue."""
    values = _values(view)
    return ThresholdTyped(
        value=str(values.get("value", {}).get("value") or "").strip(),
        scope=_selected(values, "scope"),
        selector=str(values.get("selector", {}).get("value") or "").strip(),
        life=_selected(values, "life"),
        reason=str(values.get("reason", {}).get("value") or ""),
    )


def errors(**by_block: str) -> dict[str, Any]:
    """The answer to a sent dialogue that shows an error under each named field."""
    shown = {block: cut(one_line(text), 150) for block, text in by_block.items()}
    return {"response_action": "errors", "errors": shown}


def _view(callback_id: str, title: str, submit: str, metadata: str, blocks: list[View]) -> View:
    return {
        "type": "modal", "callback_id": callback_id, "private_metadata": metadata, "title": _plain(title, _TITLE_CHARS),
        "submit": _plain(submit, _TITLE_CHARS), "close": _plain("Cancel", _TITLE_CHARS), "blocks": blocks,
    }  # fmt: skip


def _input(block_id: str, label: str, element: View, *, acts: bool = False, is_optional: bool = False) -> View:
    block = {"type": "input", "block_id": block_id, "label": _plain(label, 150), "element": element}
    return block | {"optional": is_optional, "dispatch_action": acts}


def _text(action_id: str, initial: str = "", *, lines: bool = False, placeholder: str = "") -> View:
    element: View = {
        "type": "plain_text_input",
        "action_id": action_id,
        "multiline": lines,
        "max_length": _REASON_CHARS,
    }
    element |= {"initial_value": cut(clean(initial), _REASON_CHARS)} if initial else {}
    return element | ({"placeholder": _plain(placeholder, 150)} if placeholder else {})


def _durations(place: str) -> dict[str, str]:
    return DURATIONS | {"9am": f"{DURATIONS['9am']} ({place})"}


def _time(action_id: str, initial: str) -> View:
    return {"type": "timepicker", "action_id": action_id} | _initial("initial_time", initial)


def _boxes(action_id: str, choices: Mapping[str, str], chosen: Sequence[int]) -> View:
    options = [_option(text, value) for value, text in choices.items()]
    on = [option for option in options if int(option["value"]) in chosen]
    return {"type": "checkboxes", "action_id": action_id, "options": options} | _initial("initial_options", on)


def _numbers(options: Any) -> tuple[int, ...]:
    """The numbers that are the values of chosen boxes."""
    values = [str(option.get("value", "")) for option in options or []]
    return tuple(int(value) for value in values if value.isascii() and value.isdigit())


def _select(action_id: str, choices: Mapping[str, str], chosen: str) -> View:
    # Slack refuses an empty value.
    options = [_option(text, value or "-") for value, text in choices.items()]
    first = next((option for option in options if option["value"] == (chosen or "-")), options[0])
    return {"type": "static_select", "action_id": action_id, "options": options, "initial_option": first}


def _selected(values: Mapping[str, Any], name: str) -> str:
    value = str((values.get(name, {}).get("selected_option") or {}).get("value") or "")
    return "" if value == "-" else value


def _option(text: str, value: str) -> View:
    return {"text": _plain(text, _OPTION_CHARS), "value": value}


def _initial(name: str, value: Any) -> View:
    return {name: value} if value else {}


def _plain(text: str, limit: int) -> View:
    return {"type": "plain_text", "text": cut(one_line(text), limit), "emoji": False}


def _values(view: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the one element of each block, by the block's id."""
    given = (view.get("state") or {}).get("values") or {}
    return {block: next(iter(elements.values()), {}) for block, elements in given.items() if isinstance(elements, dict)}


def covered_words(count: int, total: int, shown: int) -> str:
    """What a silence would cover, in words."""
    if not count:
        return f"It would cover none of the {total} alerts that fire now, and whatever comes."
    rest = f" Shown: {shown}, {more(count - shown)}." if count > shown else ""
    return f"It would cover {count} of the {total} alerts that fire now.{rest}"
