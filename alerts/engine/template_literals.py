"""Literals of Go templates: quoted strings, characters and numbers as Go's strconv reads them."""

import re

from alerts.engine.template_lex import Token, error_at

_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"', "'": "'"}
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_MAX_RUNE = 0x10FFFF
_BASES = {"x": 16, "b": 2, "o": 8}


def read_string(text: str, token: Token) -> str:
    """Return what a "quoted" or `raw` string means; TemplateError at an escape that Go does not know."""
    inner = token.text[1:-1]
    if token.kind == "raw":
        return inner.replace("\r", "")
    return _unescape(text, token, inner, '"')


def read_char(text: str, token: Token) -> int:
    """Return the code point of a character constant, which Go treats as a whole number."""
    value = _unescape(text, token, token.text[1:-1], "'")
    if len(value) != 1:
        raise error_at(text, token.at, f"malformed character constant: {token.text}")
    return ord(value)


def read_number(text: str, token: Token) -> int | float:
    """Return a float where the constant has a point or an exponent, else an int, as Go's ideal constants do."""
    digits = token.text.replace("_", "")
    unsigned = digits.lstrip("+-")
    sign = -1 if digits.startswith("-") else 1
    base = _BASES.get(unsigned[1:2].lower()) if unsigned.startswith("0") else None
    try:
        if base is not None:
            value = sign * int(unsigned[2:], base)
        elif not unsigned.isdecimal():
            return float(digits)
        else:
            value = sign * int(unsigned, 8 if len(unsigned) > 1 and unsigned.startswith("0") else 10)
    except ValueError as error:
        raise error_at(text, token.at, f'bad number syntax: "{token.text}"') from error
    if not -(2**63) <= value < 2**63:
        raise error_at(text, token.at, f"integer overflow: {token.text}")
    return value


def _unescape(text: str, token: Token, inner: str, quote: str) -> str:
    def replace(match: re.Match[str]) -> str:
        hexadecimal = match[1] or match[2] or match[3]
        if hexadecimal or match[4]:
            code = int(hexadecimal, 16) if hexadecimal else int(match[4], 8)
            if code <= _MAX_RUNE:
                return chr(code)
        elif match[5] in _SIMPLE and match[5] not in ({"'", '"'} - {quote}):
            return _SIMPLE[match[5]]
        raise error_at(text, token.at + 1 + match.start(), f"invalid syntax: escape {match[0]}")

    return _ESCAPE.sub(replace, inner)
