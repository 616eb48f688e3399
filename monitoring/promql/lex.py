"""PromQL text to tokens, each with its place in the text (Prometheus, promql/parser/lex.go)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import error_at

#: A rule or a chart query has some hundred characters; the longest generated ones we know stay under 20,000.
MAX_TEXT_CHARS = 100_000


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a query: ``kind`` is "word", "number", "duration", "string", "op" or "end"."""

    kind: str
    text: str
    pos: int
    end: int


_NUMBER = r"0[xX][0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|(?:\d+(?:_\d+)*\.?(?:\d+(?:_\d+)*)?|\.\d+(?:_\d+)*)(?:[eE][+-]?\d+)?"
_DURATION = r"(?:\d+(?:ms|[smhdwy]))+"
_PATTERNS = rf"""
    (?P<space>[ \t\r\n]+|\#[^\n]*)
  | (?P<duration>{_DURATION})(?![\w.])
  | (?P<number>{_NUMBER})(?![\w.])
  | (?P<word>%s)
  | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`)
  | (?P<op>=~|!~|==|!=|<=|>=|[-+*/%%^=<>@(){{}}\[\],:])
"""
# Inside brackets a colon parts a subquery's range from its step; outside it belongs to metric names.
_OUTSIDE = re.compile(_PATTERNS % "[A-Za-z_:][A-Za-z0-9_:]*", re.VERBOSE | re.DOTALL)
_INSIDE = re.compile(_PATTERNS % "[A-Za-z_][A-Za-z0-9_]*", re.VERBOSE | re.DOTALL)


def tokens(text: str) -> list[Token]:
    """Return the tokens of ``text`` with a closing "end"; raise ParseError for what cannot be one."""
    if len(text) > MAX_TEXT_CHARS:
        raise error_at(text, MAX_TEXT_CHARS, f"query has {len(text):,} characters; {MAX_TEXT_CHARS:,} are allowed")
    found: list[Token] = []
    pos = brackets = 0
    while pos < len(text):
        match = (_INSIDE if brackets else _OUTSIDE).match(text, pos)
        if match is None:
            raise error_at(text, pos, _complaint(text, pos))
        kind = match.lastgroup or ""
        if kind != "space":
            word = match.group()
            brackets += (word == "[") - (word == "]" and brackets > 0) if kind == "op" else 0
            found.append(Token(kind, word, pos, match.end()))
        pos = match.end()
    found.append(Token("end", "", len(text), len(text)))
    return found


def _complaint(text: str, pos: int) -> str:
    char = text[pos]
    if char in "\"'":
        return "unterminated quoted string"
    if char == "`":
        return "unterminated raw string"
    if char.isdigit() or (char == "." and text[pos + 1 : pos + 2].isdigit()):
        bad = re.compile(r"[\w.]+").match(text, pos)
        return f"bad number or duration syntax: {(bad.group() if bad else char)[:40]!r}"
    if "\ud800" <= char <= "\udfff":
        return "invalid UTF-8"
    return f"unexpected character: {char!r}"


_UNITS_MS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"(\d+)(ms|[smhdwy])")
_ORDER = re.compile(r"(?:\d+y)?(?:\d+w)?(?:\d+d)?(?:\d+h)?(?:\d+m)?(?:\d+s)?(?:\d+ms)?\Z")


def duration_ms(text: str) -> int | None:
    """Return the milliseconds of ``1h30m``; None when the units are out of order, repeated or unknown."""
    if not text or not _ORDER.match(text):
        return None
    # Python refuses to read numbers of thousands of digits; any of these is out of range.
    return sum((int(count) if len(count) < 40 else 1 << 63) * _UNITS_MS[unit] for count, unit in _PART.findall(text))


def number(text: str) -> float | None:
    """Return the value of a number token: decimal, hexadecimal, with underscores; None when out of range."""
    plain = text.replace("_", "")
    if plain[:2] in ("0x", "0X"):
        return float(int(plain, 16)) if len(plain) < 20 and int(plain, 16) < 1 << 63 else None
    value = float(plain)
    return None if value == float("inf") else value


_SIMPLE_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)


def unquote(token: Token, text: str) -> str:
    """Return the value of a string token as Go unquotes it; a byte that is no UTF-8 becomes a lone surrogate."""
    body = token.text[1:-1]
    if token.text[0] == "`" or "\\" not in body:
        return body
    out = bytearray()
    done = 0
    for match in _ESCAPE.finditer(body):
        out += body[done : match.start()].encode("utf-8", "surrogateescape")
        done = match.end()
        piece = _escaped(match, token.text[0])
        if piece is None:
            raise error_at(text, token.pos + 1 + match.start(), f"unknown escape sequence {match.group()[:10]!r}")
        out += piece
    out += body[done:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def _escaped(match: re.Match[str], quote: str) -> bytes | None:
    byte, short, long, octal, simple = match.groups()
    if byte or octal:
        value = int(byte, 16) if byte else int(octal, 8)
        return bytes([value]) if value < 256 else None
    if short or long:
        point = int(short or long, 16)
        return chr(point).encode() if point < 0x110000 and not 0xD800 <= point < 0xE000 else None
    if simple in "\"'" and simple != quote:
        return None
    code = _SIMPLE_ESCAPES.get(simple)
    return None if code is None else bytes([code])
