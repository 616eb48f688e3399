"""Takes secrets out of what is about to be logged and turns anything into text that JSON can carry. Pure.

Secrets are known by the name of their field, by their shape, and by their value where the portal itself holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

HIDDEN = "[hidden]"
MAX_DEPTH = 6
#: A field of a log line; more of it says nothing a person would read.
MAX_TEXT = 20_000
#: Shorter values occur in ordinary words; nobody should have such a secret.
SHORTEST_SECRET = 6
_NAMES = r"password|passwd|passphrase|secret|token|authorization|cookie|api[_-]?key|webhook|dsn|database_url|sessionid"
_SECRET_NAMES = re.compile(rf"(?i)({_NAMES})")
# Every repetition is bounded, or ends at the first other character: a long text must not take long to clean.
_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    # Slack's tokens and webhook addresses; user and password inside an address; private keys.
    (
        re.compile(
            r"xox[abeoprs]-[\w-]+|xapp-[\w-]+|https://hooks\.slack\.com/\S+|(?<=://)[^/\s:@]{0,200}:[^/\s@]{1,200}(?=@)"
            r"|-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
    # Headers: everything up to the end of the line or the closing quote.
    (re.compile(r"(?i)((?:authorization|cookie)[\"']?\s{0,3}[:=]\s{0,3}[\"']?)[^\"'\r\n]+"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer|basic)\s{1,3}[\w.~+/=-]{6,}"), rf"\1 {HIDDEN}"),
    # name=value and "name": "value", as in forms, addresses, dictionaries and Postgres' DETAIL: Key (name)=(value).
    (
        re.compile(
            rf"(?i)((?:{_NAMES})[\w-]{{0,40}}[\"')]{{0,3}}\s{{0,3}}[=:]\s{{0,3}}[\"'(\[]{{0,3}})(?!\[hidden\])"
            r"[^\s&\"',;)}\]]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)([?&](?:key|sig|signature|auth|code|access|sid)=)[^\s&\"']+"), rf"\1{HIDDEN}"),
    # Postgres repeats the whole row that broke a constraint.
    (re.compile(r"(Failing row contains )\([^\n]*"), rf"\1({HIDDEN})"),
)
# Most texts of a log line: a path, a number, a time, one word. None of the shapes above fits into these characters, but
# for Slack's tokens.
_PLAIN = re.compile(r"[\w./+-]*|[\d:.TZ+-]*")
_SLACK = ("xox", "xapp-")


class Cleaner:
    """Cleans log lines; `secrets` are values that are hidden wherever they stand."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: one secret may begin with another.
        known = sorted({value for value in secrets if len(value) >= SHORTEST_SECRET}, key=len, reverse=True)
        self._known = re.compile("|".join(re.escape(value) for value in known)) if known else None
        self._name = lru_cache(maxsize=1024)(self._checked_name)

    def text(self, text: str) -> str:
        """Return the text without secrets, cut after MAX_TEXT characters."""
        if len(text) > MAX_TEXT:
            text = text[:MAX_TEXT] + "…"
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        if _PLAIN.fullmatch(text) and not any(sign in text for sign in _SLACK):
            return text
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def value(self, value: Any, depth: int = 0) -> Any:
        """Return what JSON can carry of a value, without secrets; objects become their text."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.text(bytes(value).decode("utf-8", "replace"))
        if depth > MAX_DEPTH:
            return "…"
        if isinstance(value, dict):
            cleaned = {}
            for key, item in value.items():
                name, is_secret = self._name(as_text(key))
                cleaned[name] = HIDDEN if item and is_secret else self.value(item, depth + 1)
            return cleaned
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(item, depth + 1) for item in value]
        return self.text(as_text(value))

    def _checked_name(self, name: str) -> tuple[str, bool]:
        """The name of a field without secrets, and whether its value is one."""
        return self.text(name), bool(_SECRET_NAMES.search(name))


def as_text(value: Any) -> str:
    """Return an object as text, whatever its __str__ does; a request without its query, which may hold secrets."""
    if hasattr(value, "META") and hasattr(value, "method"):
        return f"{value.method} {getattr(value, 'path', '')}"
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  (any object may be logged, and a log line must come out)
        return f"<{type(value).__name__} that cannot be shown: {type(error).__name__}>"
