"""Which label sets a list of matchers means: Alertmanager's text form, and an index that avoids asking every list.

The text form is Alertmanager's, not PromQL's: braces and quotes are optional and a value may hold almost anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from monitoring.promql import Labels, Matcher, QueryError

# A quoted name is the form newer Alertmanagers use for names outside the classic alphabet.
_MATCHER = re.compile(r'\s*(?:([a-zA-Z_:][a-zA-Z0-9_:]*)|"((?:\\.|[^"\\])*)")\s*(=~|!~|!=|=)\s*(.*?)\s*', re.DOTALL)
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}
# Label values are user data without a bound; a memo that reaches this size is started afresh.
_MEMO_SIZE = 20_000

Predicate = Callable[[str], bool]


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

    Lists with an equality matcher are found by that label's value; the others are asked one by one with their
    regular expressions answered from a memo. Positions are those of the sequence given to the constructor.
    """

    def __init__(self, lists: Sequence[tuple[Matcher, ...]]) -> None:
        """Index `lists`; the order of positions is the order of `matching`."""
        self._checks = [tuple((m.name, _predicate(m)) for m in matchers) for matchers in lists]
        self._by_pair: dict[str, dict[str, list[int]]] = {}
        self._always: list[int] = []
        for position, matchers in enumerate(lists):
            # An equality with "" also holds for labels that are absent, so it cannot be found by a value.
            pair = next((m for m in matchers if m.op == "=" and m.value), None)
            if pair is None:
                self._always.append(position)
            else:
                self._by_pair.setdefault(pair.name, {}).setdefault(pair.value, []).append(position)

    def holds(self, position: int, labels: Labels) -> bool:
        """Whether the list at `position` holds for `labels`."""
        return all(test(labels.get(name)) for name, test in self._checks[position])

    def matching(self, labels: Labels) -> Iterator[int]:
        """Positions of the lists that hold for `labels`, ascending, found as they are asked for."""
        return (position for position in self._candidates(labels) if self.holds(position, labels))

    def _candidates(self, labels: Labels) -> list[int]:
        found: list[int] = []
        for name, by_value in self._by_pair.items():
            positions = by_value.get(labels.get(name))
            if positions:
                found += positions
        if not found:
            return self._always
        return sorted(found + self._always) if self._always or len(found) > 1 else found


class _Memo(dict[str, bool]):
    """Answers of one matcher by label value."""

    def __init__(self, matcher: Matcher) -> None:
        super().__init__()
        self._matcher = matcher

    def __missing__(self, value: str) -> bool:
        if len(self) >= _MEMO_SIZE:
            self.clear()
        answer = self[value] = self._matcher.matches(value)
        return answer


def _predicate(matcher: Matcher) -> Predicate:
    if matcher.op == "=":
        return matcher.value.__eq__
    if matcher.op == "!=":
        return matcher.value.__ne__
    return _Memo(matcher).__getitem__


def _split_on_commas(text: str) -> list[str]:
    parts, start, quoted, escaped = [], 0, False, False
    for position, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            parts.append(text[start:position])
            start = position + 1
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
