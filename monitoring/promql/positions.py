"""Regular expressions as positions: which characters each place of a pattern takes, and which place may follow which.

V. M. Glushkov, The abstract theory of automata (1961): as many states as the pattern has characters, no empty steps, so
a whole column of texts can walk through at once. Only what RE2 and everybody else read the same way is taken; the
rest (flags, assertions, Unicode classes, back quotes) is left to RE2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache

Codes = frozenset[int]

EVERY: Codes = frozenset(range(128))
DIGITS = frozenset(b"0123456789")
WORD = frozenset(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz")
SPACE = frozenset(b"\t\n\f\r ")
#: A pattern with more places is no plain pattern.
MAX_POSITIONS = 64
MAX_GROUPS = 20
_CLASSES = {"d": DIGITS, "w": WORD, "s": SPACE, "D": EVERY - DIGITS, "W": EVERY - WORD, "S": EVERY - SPACE}
_CONTROLS = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}
_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^`{|}~")
_SPECIAL = frozenset("\\.+*?()|[]{}^$")


class _Unreadable(Exception):
    """The pattern says something that is left to RE2."""


@dataclass(slots=True)
class _Part:
    """A piece of a pattern: whether it matches nothing, where it may begin and where it may end."""

    is_nullable: bool = True
    first: frozenset[int] = frozenset()
    last: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Positions:
    """The automaton of a pattern: `codes` by position, `follow` by position, where it begins and where it may end."""

    codes: tuple[Codes, ...]
    follow: tuple[frozenset[int], ...]
    first: frozenset[int]
    last: frozenset[int]
    is_nullable: bool

    def is_sure(self, position: int) -> bool:
        """Tell whether every text matches that has come here, whatever follows."""
        endless = (place for place in self.follow[position] if place in self.follow[place])
        return position in self.last and any(place in self.last and self.codes[place] == EVERY for place in endless)

    def has_open_beginning(self) -> bool:
        """Tell whether a match may begin with any text, so that its beginning rules nothing out."""
        return any(place in self.follow[place] and self.codes[place] == EVERY for place in self.first)

    def backwards(self) -> Positions:
        """Return the automaton of the same texts read from their ends."""
        before: list[set[int]] = [set() for _ in self.codes]
        for place, places in enumerate(self.follow):
            for following in places:
                before[following].add(place)
        return Positions(self.codes, tuple(map(frozenset, before)), self.last, self.first, self.is_nullable)


@lru_cache(maxsize=1024)
def positions_of(pattern: str) -> Positions | None:
    """Return the automaton of a pattern that is to match a whole text; None when it is left to RE2."""
    try:
        return _Reader(pattern).read()
    except _Unreadable:
        return None


@lru_cache(maxsize=1024)
def quicker_way(pattern: str) -> tuple[Positions | None, bool]:
    """Return the automaton that rules out more texts at once, and whether it reads them from their ends."""
    forwards = positions_of(pattern)
    if forwards is not None and forwards.has_open_beginning():
        backwards = forwards.backwards()
        if not backwards.has_open_beginning():
            return backwards, True
    return forwards, False


@dataclass(slots=True)
class _Reader:
    """Reads a pattern from left to right and builds the automaton as it goes."""

    text: str
    at: int = 0
    codes: list[Codes] = field(default_factory=list)
    follow: list[set[int]] = field(default_factory=list)

    def read(self) -> Positions:
        if not self.text.isascii() or self.text.count("(") > MAX_GROUPS:
            raise _Unreadable
        self.at = int(self.text.startswith("^"))
        whole = self._alternatives()
        if self.at != len(self.text):
            raise _Unreadable
        follow = tuple(frozenset(places) for places in self.follow)
        return Positions(tuple(self.codes), follow, whole.first, whole.last, whole.is_nullable)

    def _peek(self) -> str:
        return self.text[self.at : self.at + 1]

    def _alternatives(self) -> _Part:
        branches = [self._sequence()]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._sequence())
        return _Part(
            any(branch.is_nullable for branch in branches),
            frozenset().union(*(branch.first for branch in branches)),
            frozenset().union(*(branch.last for branch in branches)),
        )

    def _sequence(self) -> _Part:
        whole = _Part()
        while (sign := self._peek()) and sign not in "|)":
            if sign == "$" and self.at == len(self.text) - 1:
                self.at += 1
                break
            whole = self._joined(whole, self._repeated())
        return whole

    def _joined(self, left: _Part, right: _Part) -> _Part:
        self._link(left.last, right.first)
        return _Part(
            left.is_nullable and right.is_nullable,
            left.first | right.first if left.is_nullable else left.first,
            left.last | right.last if right.is_nullable else right.last,
        )

    def _link(self, ends: Iterable[int], beginnings: Iterable[int]) -> None:
        for end in ends:
            self.follow[end].update(beginnings)

    def _repeated(self) -> _Part:
        start = self.at
        part = self._atom()
        low, high = self._count()
        if (low, high) == (1, 1) or not part.first:  # nothing, however often, is nothing
            return part
        end, whole = self.at, _Part()
        for number in range(max(low, 1) if high is None else high):
            if number:  # each repeat has places of its own
                self.at = start
                part = self._atom()
            if number >= low:
                part = _Part(True, part.first, part.last)
            whole = self._joined(whole, part)
        self.at = end
        if high is None:
            self._link(part.last, part.first)
            whole = _Part(whole.is_nullable or low == 0, whole.first, whole.last)
        return whole

    def _count(self) -> tuple[int, int | None]:
        """Read how often the atom before may stand here: at least, and at most or None."""
        sign = self._peek()
        if sign and sign in "*+?":
            self.at += 1
            found: tuple[int, int | None] = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            found = self._braces()
        else:
            return 1, 1
        if self._peek() == "?":  # lazy: the same whole texts match
            self.at += 1
        if (following := self._peek()) and following in "*+?{":
            raise _Unreadable
        return found

    def _braces(self) -> tuple[int, int | None]:
        end = self.text.find("}", self.at)
        low, comma, high = self.text[self.at + 1 : end].partition(",")
        if end < 0 or not low.isdigit() or (high and not high.isdigit()):
            raise _Unreadable
        self.at = end + 1
        least, most = int(low), int(high) if high else None if comma else int(low)
        if max(least, most or 0) > MAX_POSITIONS or (most is not None and (most < least or most == 0)):
            raise _Unreadable
        return least, most

    def _atom(self) -> _Part:
        sign = self._peek()
        self.at += 1
        if sign == "(":
            if self._peek() == "?":
                if self.text[self.at : self.at + 2] != "?:":
                    raise _Unreadable
                self.at += 2
            inner = self._alternatives()
            if self._peek() != ")":
                raise _Unreadable
            self.at += 1
            return inner
        if sign == ".":
            return self._place(EVERY)
        if sign == "[":
            return self._place(self._class())
        if sign == "\\":
            return self._place(self._escape())
        if not sign or sign in _SPECIAL:
            raise _Unreadable
        return self._place(frozenset((ord(sign),)))

    def _place(self, codes: Codes) -> _Part:
        if len(self.codes) >= MAX_POSITIONS:
            raise _Unreadable
        self.codes.append(codes)
        self.follow.append(set())
        only = frozenset((len(self.codes) - 1,))
        return _Part(False, only, only)

    def _escape(self) -> Codes:
        sign = self._peek()
        self.at += 1
        if sign in _CLASSES:
            return _CLASSES[sign]
        if sign in _CONTROLS or sign in _PUNCTUATION:
            return frozenset((ord(_CONTROLS.get(sign, sign)),))
        raise _Unreadable

    def _class(self) -> Codes:
        is_negated = self._peek() == "^"
        self.at += is_negated
        found: set[int] = set()
        while (sign := self._peek()) != "]" or not found:
            low = self._member(sign)
            if self._peek() == "-" and self.text[self.at + 1 : self.at + 2] != "]":
                self.at += 1
                high = self._member(self._peek())
                if len(low) != 1 or len(high) != 1 or min(high) < min(low):
                    raise _Unreadable
                found.update(range(min(low), min(high) + 1))
            else:
                found |= low
        self.at += 1
        return EVERY - found if is_negated else frozenset(found)

    def _member(self, sign: str) -> Codes:
        self.at += 1
        if sign == "\\":
            return self._escape()
        if not sign or sign in "[]^":
            raise _Unreadable
        return frozenset((ord(sign),))
