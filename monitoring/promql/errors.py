"""What can go wrong with a question, and where in its text."""

from __future__ import annotations


class QueryError(Exception):
    """A query that cannot be answered; the text of the error is meant for the person who wrote the query."""


class ParseError(QueryError):
    """A text that is not PromQL.

    ``line`` and ``column`` count from 1 (columns in characters); ``caret_text`` is the offending line with a caret
    under the position, ready for a monospaced box.
    """

    def __init__(self, message: str, line: int = 1, column: int = 1, caret_text: str = "") -> None:
        self.message = message
        self.line = line
        self.column = column
        self.caret_text = caret_text
        super().__init__(f"{line}:{column}: parse error: {message}")

    def __reduce__(self) -> tuple[type[ParseError], tuple[str, int, int, str]]:
        """Keep all four fields when the error crosses a process boundary."""
        return type(self), (self.message, self.line, self.column, self.caret_text)


class EvaluationError(QueryError):
    """A well-formed query that has no answer over this data."""


class LimitError(QueryError):
    """A query that asked for more than it may have.

    ``limit`` is the field of ``Limits`` that was passed, ``allowed`` its value, ``asked`` what the query wanted.
    """

    def __init__(self, limit: str, allowed: float, asked: float | None, what: str, remedy: str) -> None:
        self.limit = limit
        self.allowed = allowed
        self.asked = asked
        self.what = what
        self.remedy = remedy
        wanted = "" if asked is None else f", asked for {asked:,.10g}"
        super().__init__(f"{what}: limit {limit} is {allowed:,.10g}{wanted}; {remedy}")

    def __reduce__(self) -> tuple[type[LimitError], tuple[str, float, float | None, str, str]]:
        """Keep all fields when the error crosses a process boundary."""
        return type(self), (self.limit, self.allowed, self.asked, self.what, self.remedy)


def error_at(text: str, position: int, message: str) -> ParseError:
    """Return a ParseError for the character at ``position`` (0-based) of ``text``, with its line and caret."""
    position = max(0, min(position, len(text)))
    start = text.rfind("\n", 0, position) + 1
    end = text.find("\n", position)
    line_text = text[start : end if end >= 0 else len(text)]
    column = position - start
    # A box shows some hundred characters; a 1 MB line must not come back whole in the error.
    left = max(0, column - 60)
    shown = line_text[left : left + 120].replace("\t", " ")
    caret = f"{shown}\n{' ' * (column - left)}^"
    return ParseError(message, text.count("\n", 0, position) + 1, column + 1, caret)
