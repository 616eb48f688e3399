"""Small words of messages: numbers with units, spans of time, texts cut to fit and made harmless."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise

from alerts.engine.units import Quantity, Unit, format_value, number

_SPANS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_QUANTITIES = {quantity.value: quantity for quantity in Quantity}
# Bytes that are no text, and marks that turn the direction of reading round, so that a label can lie about itself.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_MASS_MENTION = re.compile(r"@(?=(?:here|channel|everyone|group)\b)", re.IGNORECASE)


def quantity(value: float | None, unit: str = "") -> str:
    """`value` for people: `unit` is a Quantity's name ("bytes", "seconds"), "/s" after it for a rate, or any word."""
    if value is None:
        return "no value"
    name, slash, _ = unit.partition("/s")
    if name in _QUANTITIES:
        return format_value(value, Unit(_QUANTITIES[name], is_rate=bool(slash)))
    return f"{number(value)} {unit}"


def span(seconds: float) -> str:
    """A length of time in its two largest units, such as "2 h 5 min"; below a second "0 s"."""
    left = max(0, int(seconds))
    for (size, word), (small, small_word) in pairwise(_SPANS):
        if left >= size:
            count, rest = divmod(left, size)
            return f"{count} {word} {rest // small} {small_word}" if rest >= small else f"{count} {word}"
    return f"{left} s"


def moment(at: datetime) -> str:
    """A time as "2026-11-22 08:41 UTC"."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def rfc3339(at: datetime | None) -> str:
    """A time as Go writes it to JSON, in UTC; None is Go's zero time, which stands for "has not ended"."""
    if at is None:
        return "0001-01-01T00:00:00Z"
    text = at.astimezone(UTC).replace(tzinfo=None).isoformat()
    return (text.rstrip("0") if "." in text else text) + "Z"


def clean(text: str) -> str:
    """`text` without control characters, direction marks, halves of surrogate pairs, and mass mentions that work."""
    text = _SURROGATE.sub("\ufffd", _UNPRINTABLE.sub(" ", text.replace("\r\n", "\n")))
    return _MASS_MENTION.sub("＠", text)


def one_line(text: str) -> str:
    """`text` cleaned and on one line, runs of white space made one blank."""
    return " ".join(clean(text).split())


def width(text: str) -> int:
    """How long Slack counts `text`: in UTF-16 units, as its JavaScript does, so that an emoji counts twice."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def cut(text: str, limit: int) -> str:
    """`text` within `limit` as `width` counts, the cut shown by an ellipsis."""
    if len(text) * 2 <= limit or width(text) <= limit:
        return text
    used, end = 1, 0  # the ellipsis
    for char in text:
        used += 2 if ord(char) > 0xFFFF else 1
        if used > limit:
            break
        end += 1
    return text[:end].rstrip() + "…"


def more(count: int, noun: str = "") -> str:
    """The words for what was left out, such as "+ 285 more"."""
    return f"+ {count} more{' ' + noun if noun else ''}"


def counted(count: int, noun: str) -> str:
    """A number with its noun, such as "1 alert" or "3 alerts"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def safe_url(url: str) -> str:
    """`url` if it is one a reader may be sent to and Slack takes (http or https, 3,000 characters), else ""."""
    fits = len(url) <= 3000 and url.startswith(("http://", "https://")) and url.isprintable() and " " not in url
    return url if fits and not set(url) & set('<>"|') else ""


def join_shown(parts: Sequence[str], separator: str = " · ") -> str:
    """The parts that are not empty, joined."""
    return separator.join(part for part in parts if part)
