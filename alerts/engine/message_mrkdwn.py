"""Slack's mrkdwn made of texts that nobody vouches for: a label can neither page anyone nor break a message (SL-4)."""

from __future__ import annotations

import re
from datetime import datetime

from alerts.engine.message_words import clean, cut, moment, one_line, width

# Slack has no escape for its own formatting signs; these look alike and format nothing.
_LOOK_ALIKE = str.maketrans({"*": "∗", "~": "∼", "`": "ˋ"})
_EDGE_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word, as in model_name, it formats nothing
_CUT_ENTITY = re.compile(r"&[a-z]{0,3}…$")
# What a receiver's own template may use of Slack's control sequences: links, and nothing that pages (<!…>, <@…>, <#…>).
_LINK = re.compile(r"<((?:https?://|mailto:)[^<>|\s]+)(?:\|([^<>|]*))?>")


def control_escaped(text: str) -> str:
    """`text` with &, < and > as entities; one that already is an entity is escaped again."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fit(escaped: str, limit: int) -> str:
    """An escaped text within `limit` characters, never cut inside an entity."""
    return escaped if width(escaped) <= limit else _CUT_ENTITY.sub("…", cut(escaped, limit))


def words(text: str, limit: int) -> str:
    """`text` on one line with nothing in it that Slack acts on, at most `limit` characters."""
    return fit(_flat(one_line(text)), limit)


def paragraph(text: str, limit: int) -> str:
    """`text` with its line breaks and nothing else that Slack acts on, at most `limit` characters."""
    return fit(_flat(clean(text).strip()), limit)


def bold(text: str, limit: int) -> str:
    """`text` in bold, "" when nothing is left of it."""
    inner = words(text, limit - 2)
    return f"*{inner}*" if inner else ""


def code(text: str, limit: int) -> str:
    """`text` in a code span, where Slack formats nothing; "" when nothing is left of it."""
    inner = fit(control_escaped(one_line(text).replace("`", "ˋ")), limit - 2)
    return f"`{inner}`" if inner else ""


def date(at: datetime) -> str:
    """A time that Slack shows in each reader's own zone, with UTC for those that cannot."""
    return f"<!date^{int(at.timestamp())}^{{date_short_pretty}} {{time}}|{moment(at)}>"


def template_text(text: str, limit: int) -> str:
    """A receiver's own expanded template: its formatting and its links stay, everything that could page is escaped."""
    kept, end = [], 0
    cleaned = clean(text)
    for found in _LINK.finditer(cleaned):
        kept += [control_escaped_once(cleaned[end : found.start()]), _link(found[1], found[2])]
        end = found.end()
    kept.append(control_escaped_once(cleaned[end:]))
    return _fit_with_links("".join(kept), limit)


def control_escaped_once(text: str) -> str:
    """`text` with &, < and > as entities; the three entities that a template wrote itself stay as they are."""
    return re.sub(r"&(?!(?:amp|lt|gt);)", "&amp;", text).replace("<", "&lt;").replace(">", "&gt;")


def _flat(text: str) -> str:
    return _EDGE_UNDERSCORE.sub("ˍ", control_escaped(text).translate(_LOOK_ALIKE))


def _link(url: str, label: str | None) -> str:
    safe = control_escaped_once(url)
    return f"<{safe}|{control_escaped_once(label)}>" if label else f"<{safe}>"


def _fit_with_links(text: str, limit: int) -> str:
    """The text within `limit`; a link that the cut would halve goes entirely."""
    short = fit(text, limit)
    opened = short.rfind("<")
    return short if opened < 0 or ">" in short[opened:] else short[:opened].rstrip() + "…"
