"""Words of a Go text/template: splits a text into literal text and the tokens inside {{ }}.

Hides delimiters, trim markers, comments and literals (Go, text/template/parse/lex.go).
"""

import re
from collections.abc import Generator, Iterator
from typing import NamedTuple

# A rule's annotation is a few lines; what is longer is a mistake or an attack on the parser.
MAX_TEMPLATE_CHARS = 65_536


class TemplateError(ValueError):
    """A template that cannot be compiled or expanded, with the place (line and column from 1) where known."""

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        """Keep message and place; line 0 means that no place is known."""
        super().__init__(f"line {line}, column {column}: {message}" if line else message)
        self.message = message
        self.line = line
        self.column = column


class Token(NamedTuple):
    """One word: its kind, its text as written, its offset in the template, and whether white space precedes it."""

    kind: str
    text: str
    at: int
    spaced: bool = False


KEYWORDS = frozenset({"block", "break", "continue", "define", "else", "end", "if", "range", "template", "with"})

_WORDS = re.compile(
    r"""
    (?P<string>"(?:\\.|[^"\\\n])*")
    | (?P<raw>`[^`]*`)
    | (?P<char>'(?:\\.|[^'\\\n])+')
    | (?P<number>[+-]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+
        |(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9_]+)?))
    | (?P<variable>\$\w*)
    | (?P<field>\.[^\W\d]\w*)
    | (?P<dot>\.)
    | (?P<word>[^\W\d]\w*)
    | (?P<declare>:=)
    | (?P<assign>=)
    | (?P<pipe>\|)
    | (?P<open>\()
    | (?P<close>\))
    | (?P<comma>,)
    """,
    re.VERBOSE,
)
_SPACES = " \t\r\n"
_NEEDS_END = frozenset({"number", "variable", "field", "word", "char", "dot"})
_MAY_FOLLOW = frozenset(" \t\r\n.,|:)(=")


def place(text: str, offset: int) -> tuple[int, int]:
    """Return line and column, both from 1, of an offset."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def error_at(text: str, offset: int, message: str) -> TemplateError:
    """Return the error with the place of an offset."""
    return TemplateError(message, *place(text, offset))


def lex(text: str) -> list[Token]:
    """Return the tokens of a template, the last of kind "eof"; TemplateError names the place of a broken word."""
    if len(text) > MAX_TEMPLATE_CHARS:
        raise TemplateError(f"template of {len(text):,} characters; {MAX_TEMPLATE_CHARS:,} are allowed")
    return [*_tokens(text), Token("eof", "", len(text))]


def _tokens(text: str) -> Iterator[Token]:
    at = 0
    trim = False
    while True:
        start = text.find("{{", at)
        literal = text[at:] if start < 0 else text[at:start]
        literal_at = at + (len(literal) - len(literal.lstrip(_SPACES)) if trim else 0)
        literal = literal.lstrip(_SPACES) if trim else literal
        inside = start + 2
        if start >= 0 and text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in tuple(_SPACES):
            literal, inside = literal.rstrip(_SPACES), inside + 2
        if literal:
            yield Token("text", literal, literal_at)
        if start < 0:
            return
        after_comment = _skip_comment(text, inside)
        if after_comment is not None:
            at, trim = after_comment
            continue
        yield Token("left", "{{", start)
        at, trim = yield from _action(text, start, inside)


def _skip_comment(text: str, inside: int) -> tuple[int, bool] | None:
    """Return where a comment action ends and whether it trims what follows; None when it is no comment."""
    if not text.startswith("/*", inside):
        return None
    end = text.find("*/", inside)
    if end < 0:
        raise error_at(text, inside, "unclosed comment")
    closing = _closing(text, end + 2)
    if closing is None:
        raise error_at(text, inside, "comment ends before closing delimiter")
    return closing


def _closing(text: str, at: int) -> tuple[int, bool] | None:
    """Return the offset after a closing delimiter at `at` and whether it trims; None when there is none."""
    if text.startswith("}}", at):
        return at + 2, False
    if text[at : at + 1] in tuple(_SPACES) and text.startswith("-}}", at + 1):
        return at + 4, True
    return None


def _action(text: str, start: int, at: int) -> Generator[Token, None, tuple[int, bool]]:
    """Yield the tokens of one action; its return value is where it ends and whether it trims what follows."""
    spaced = False
    while True:
        closing = _closing(text, at)
        if closing is not None:
            yield Token("right", "}}", at, spaced)
            return closing
        if at >= len(text):
            raise error_at(text, start, "unclosed action")
        if text[at] in _SPACES:
            at, spaced = at + 1, True
            continue
        token = _word(text, at, spaced)
        yield token
        at, spaced = at + len(token.text), False


def _word(text: str, at: int, spaced: bool) -> Token:
    match = _WORDS.match(text, at)
    if match is None or match.lastgroup is None:
        raise error_at(text, at, _strange(text, at))
    kind, word = match.lastgroup, match.group()
    following = text[match.end() : match.end() + 1]
    if kind in _NEEDS_END and following and following not in _MAY_FOLLOW and not text.startswith("}}", match.end()):
        if kind == "number":
            raise error_at(text, at, f'bad number syntax: "{word}{following}"')
        if kind != "dot":
            raise error_at(text, match.end(), f"bad character U+{ord(following):04X} '{following}'")
    if kind == "word" and word in KEYWORDS:
        kind = "keyword"
    return Token(kind, word, at, spaced)


_UNTERMINATED = {'"': "quoted string", "'": "character constant", "`": "raw quoted string"}


def _strange(text: str, at: int) -> str:
    char = text[at]
    if char in _UNTERMINATED:
        return f"unterminated {_UNTERMINATED[char]}"
    if char == ":":
        return "expected :="
    shown = f" '{char}'" if char.isprintable() and not char.isspace() else ""
    return f"unrecognized character in action: U+{ord(char):04X}{shown}"
