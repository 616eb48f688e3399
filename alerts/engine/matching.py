"""Which label sets a list of matchers means: Alertmanager's text form, and an index that avoids asking every list.

The text form is Alertmanager's, not PromQL's: braces and quotes are optional and a value may hold almost anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from monitoring.promql import Labels, Matcher, QueryError

# A quoted name is the form newer Alertmanagers use for names outside the classic alphabet.
_MATCHER = re.compile(r'\s*(?:([a-zA-Z_:][a-zA-Z0-9_:]*)|"((?:\\.|[^"\\])*)")\s*(=~|!~|!=|=)\s*(.*?)\s*', re.DOTALL)
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}
# Label values are user data without a bound; a memo that reaches this size is started afresh.
_MEMO_SIZE = 20_000


class MatcherError(ValueError):
    """A matcher text that cannot be read; the message quotes the part at fault."""


def parse_alertmanager_matcher(text: str) -> Matcher:
    """The one matcher that `text` spells; raises MatcherError (Alertmanager 0.25, pkg/labels/parse.go ParseMatcher)."""
    found = _MATCHER.fullmatch(text)
    if found is None:
        raise MatcherError(f"bad matcher format: {text.strip() or 'empty text'}; write name=value, !=, =~ or !~")
    bare_name, quoted_name, op, raw = found.groups()
    name = bare_name if bare_name is not None else _unescape(quoted_name)
    if raw.startswith('"'):
        if len(raw) < 2 or not _closes(raw):
            raise MatcherError(f"matcher value contains an unescaped double quote: {raw}")
        raw = raw[1:-1]
    elif _has_bare_quote(raw):
        raise MatcherError(f"matcher value contains an unescaped double quote: {raw}")
    return checked_matcher(op, name, _unescape(raw))


def parse_alertmanager_matchers(text: str) -> tuple[Matcher, ...]:
    """All matchers of a comma-separated list in optional braces; "" and "{}" give none; raises MatcherError."""
    body = text.strip().removeprefix("{").removesuffix("}")
    parts = _split_on_commas(body)
    if not parts[-1].strip():
        parts.pop()  # nothing at all, or one comma too many at the end, which upstream allows
    return tuple(parse_alertmanager_matcher(part) for part in parts)


def checked_matcher(op: str, name: str, value: str) -> Matcher:
    """A matcher whose regular expression, if it is one, is known to compile; raises MatcherError."""
    try:
        matcher = Matcher(op, name, value)
        matcher.matches("")
    except (QueryError, ValueError) as e:
        raise MatcherError(f"{name}{op}{value}: {e}") from e
    return matcher


def matches_all(matchers: Iterable[Matcher], labels: Labels) -> bool:
    """Whether every matcher holds for `labels`; a label that is missing counts as empty (AR-6)."""
    return all(matcher.matches(labels.get(matcher.name)) for matcher in matchers)


def first_failure(matchers: Iterable[Matcher], labels: Labels) -> Matcher | None:
    """The first matcher that does not hold for `labels`, None when all hold."""
    return next((matcher for matcher in matchers if not matcher.matches(labels.get(matcher.name))), None)


def format_matchers(matchers: Sequence[Matcher]) -> str:
    """`{a="b",c=~"d"}` in the given order, as Alertmanager prints a route's matchers."""
    return "{" + ",".join(f'{matcher.name}{matcher.op}"{_escape(matcher.value)}"' for matcher in matchers) + "}"


def format_labels(labels: Iterable[tuple[str, str]]) -> str:
    """`{a="b", c="d"}` in the given order, as Go prints a LabelSet inside Alertmanager's group keys."""
    return "{" + ", ".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


class MatcherIndex:
    """Many matcher lists, asked together which of them hold for a label set.

    Each label value has one number whose bits say which lists it satisfies; a label set's answer is those numbers
    and-ed. A regular expression is thus asked once for a value and not once for an alert. Positions are those of the
    sequence given to the constructor.
    """

    def __init__(self, lists: Sequence[tuple[Matcher, ...]]) -> None:
        """Index `lists`; the order of positions is the order of `matching`."""
        by_name: dict[str, dict[int, list[Matcher]]] = {}
        for position, matchers in enumerate(lists):
            for matcher in matchers:
                by_name.setdefault(matcher.name, {}).setdefault(position, []).append(matcher)
        self._all = (1 << len(lists)) - 1
        self._masks = [(name, _Masks(self._all, rows).__getitem__) for name, rows in by_name.items()]

    def holds(self, position: int, labels: Labels) -> bool:
        """Whether the list at `position` holds for `labels`."""
        return bool(self._mask(labels) >> position & 1)

    def matching(self, labels: Labels) -> Iterator[int]:
        """Positions of the lists that hold for `labels`, ascending."""
        return _bits(self._mask(labels))

    def reaching(self, known: Mapping[str, str]) -> Iterator[int]:
        """Positions of the lists that may hold for label sets of which only these labels are known, ascending."""
        mask = self._all
        for name, mask_of in self._masks:
            if name in known:
                mask &= mask_of(known[name])
        return _bits(mask)

    def _mask(self, labels: Labels) -> int:
        mask = self._all
        for name, mask_of in self._masks:
            mask &= mask_of(labels.get(name))
            if not mask:
                break
        return mask


def _bits(mask: int) -> Iterator[int]:
    """The positions of the bits that are set, ascending."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


class _Masks(dict[str, int]):
    """For one label name: by value, the lists whose matchers on that name all hold, as bits."""

    def __init__(self, every_list: int, rows: dict[int, list[Matcher]]) -> None:
        super().__init__()
        self._free = every_list
        self._equal: dict[str, int] = {}
        self._tested: list[tuple[int, list[Matcher]]] = []
        for position, matchers in rows.items():
            bit = 1 << position
            self._free ^= bit
            # Most matchers are one equality; ten thousand of them cost one look-up.
            if len(matchers) == 1 and matchers[0].op == "=":
                self._equal[matchers[0].value] = self._equal.get(matchers[0].value, 0) | bit
            else:
                self._tested.append((bit, matchers))

    def __missing__(self, value: str) -> int:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        mask = self._free | self._equal.get(value, 0)
        for bit, matchers in self._tested:
            if all(matcher.matches(value) for matcher in matchers):
                mask |= bit
        self[value] = mask
        return mask


def _split_on_commas(text: str) -> list[str]:
    """The parts between commas outside quotes; a backslash escapes a quote but not a comma, as upstream has it."""
    parts, start, quoted, escaped = [], 0, False, False
    for position, char in enumerate(text):
        if char == "," and not quoted:
            parts.append(text[start:position])
            start = position + 1
        elif char == "\\":
            escaped = not escaped
        elif char == '"' and not escaped:
            quoted = not quoted
        elif char != ",":
            escaped = False
    return [*parts, text[start:]]


def _closes(quoted: str) -> bool:
    """Whether the only unescaped quotes are the first and the last character."""
    return quoted.endswith('"') and not _has_bare_quote(quoted[1:-1]) and _trailing_backslashes(quoted[1:-1]) % 2 == 0


def _has_bare_quote(text: str) -> bool:
    return '"' in re.sub(r"\\.", "", text, flags=re.DOTALL)


def _trailing_backslashes(text: str) -> int:
    return len(text) - len(text.rstrip("\\"))


def _unescape(text: str) -> str:
    """Replace \\n, \\" and \\\\; any other backslash stays, as upstream does for regular expressions like \\d."""
    return re.sub(r"\\(.)", lambda found: _UNESCAPED.get(found[1], found[0]), text, flags=re.DOTALL)


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
