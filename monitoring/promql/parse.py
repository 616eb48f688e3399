"""PromQL text to nodes: a recursive-descent parser after Prometheus' grammar (promql/parser/generated_parser.y).

Ours because every error must carry line, column and caret, every annotation a position, and because no text may
bring the process down: text length and nesting are bounded here.
"""

from __future__ import annotations

import difflib

from . import nodes as n
from .cursor import MAX_DEPTH, MAX_SECONDS, POWER, PRECEDENCE, DurationParser
from .errors import ParseError, QueryError
from .labels import NAME
from .lex import unquote
from .matchers import Matcher
from .signatures import AGGREGATIONS, FUNCTIONS
from .typecheck import check_aggregate, check_binary, check_call, check_unary, check_whole

SET_OPERATORS = frozenset(("and", "or", "unless"))
COMPARISONS = frozenset(("==", "!=", "<", "<=", ">", ">="))
#: Words of the grammar that cannot name a metric; the others may, as upstream allows.
_RESERVED = frozenset(("bool", "on", "ignoring", "group_left", "group_right", "atan2", "inf", "nan"))
_RESERVED_OPERATORS = frozenset(("and", "or", "unless"))


class Parser(DurationParser):
    """The parser of expressions."""

    def whole(self) -> n.Node:
        """Parse the whole text."""
        if self.token.kind == "end":
            self.fail("no expression found in input")
        root = self.expression()
        if self.token.kind != "end":
            self.unexpected("the query", "an operator or the end")
        check_whole(self.text, root)
        return root

    def expression(self, lowest: int = 1) -> n.Node:
        """Parse operators of precedence ``lowest`` and up; chains are built in a loop, not by recursion."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"expression is nested more than {MAX_DEPTH} levels deep")
        left = self.signed()
        while True:
            op = self.operator()
            power = PRECEDENCE.get(op, 0)
            if power < lowest:
                break
            left = self.binary(left, op, power)
        self.depth -= 1
        return left

    def operator(self) -> str:
        """Return the binary operator that is next, or the empty string."""
        token = self.token
        return token.text if token.kind == "op" else self.word()

    def binary(self, left: n.Node, op: str, power: int) -> n.Node:
        """Parse what follows ``left``: the operator, its modifiers and the right side."""
        op_pos = self.take().pos
        return_bool, matching = self.operator_modifiers(op)
        right = self.expression(power if op == "^" else power + 1)
        node = n.Binary(op, left, right, return_bool, matching, op_pos, pos=left.pos, end=right.end)
        check_binary(self.text, node)
        return node

    def signed(self) -> n.Node:
        """Parse an operand with its sign; a sign binds like ``*``, so ``-2 ^ 2`` is -4."""
        if not self.is_op("+", "-"):
            return self.postfix()
        sign = self.take()
        operand = self.expression(POWER)
        if isinstance(operand, n.Number):
            operand.value = -operand.value if sign.text == "-" else operand.value
            operand.pos = sign.pos
            return operand
        node = n.Unary(sign.text, operand, pos=sign.pos, end=operand.end)
        check_unary(self.text, node)
        return node

    def postfix(self) -> n.Node:
        """Parse an operand and what may follow it: ranges, offset, @, smoothed, anchored."""
        node = self.operand()
        while True:
            word = self.word()
            if self.is_op("["):
                node = self.bracket(node)
            elif self.is_op("@"):
                self.at_modifier(node)
            elif word == "offset":
                self.offset_modifier(node)
            elif word in ("smoothed", "anchored"):
                self.mode_modifier(node, word)
            else:
                return node
            node.end = self.tokens[self.at - 1].end

    def operand(self) -> n.Node:
        """Parse a literal, a selector, a call, an aggregation or parentheses."""
        token = self.token
        if token.kind in ("number", "duration"):
            return self.number_literal()
        if token.kind == "string":
            self.take()
            return n.String(unquote(token, self.text), pos=token.pos, end=token.end)
        if token.kind == "word":
            return self.named()
        if self.is_op("("):
            self.take()
            inner = self.expression()
            close = self.expect(")", "parentheses")
            return n.Paren(inner, pos=token.pos, end=close.end)
        if self.is_op("{"):
            return self.selector("", token.pos)
        return self.unexpected("an expression")

    def named(self) -> n.Node:
        """Parse what begins with a word: number, aggregation, call or metric."""
        token = self.token
        lower = token.text.lower()
        after = self.tokens[self.at + 1]
        follows = after.text.lower()
        if lower in ("inf", "nan"):
            self.take()
            return n.Number(float(lower), pos=token.pos, end=token.end)
        opens = after.kind == "op" and after.text == "("
        if lower in AGGREGATIONS and (opens or (after.kind == "word" and follows in ("by", "without"))):
            return self.aggregate(lower)
        if lower in _RESERVED or lower in _RESERVED_OPERATORS:
            self.unexpected("an expression")
        if opens:
            return self.call()
        self.take()
        return self.selector(token.text, token.pos)

    # -- selectors ------------------------------------------------------------------------------------------------
    def selector(self, name: str, pos: int) -> n.VectorSelector:
        """Parse the matchers after a metric name, if any."""
        matchers: list[Matcher] = []
        if self.is_op("{"):
            name = self.matchers(name, matchers)
        named = (Matcher("=", NAME, name),) if name else ()
        end = self.tokens[self.at - 1].end
        return n.VectorSelector(name, (*named, *matchers), pos=pos, end=end)

    def matchers(self, name: str, found: list[Matcher]) -> str:
        """Parse ``{...}`` into ``found``; return the metric name, which may stand inside as a quoted string."""
        self.expect("{", "label matching")
        while not self.accept("}"):
            token = self.take()
            if token.kind not in ("word", "string"):
                self.at -= token.kind != "end"
                self.unexpected("label matching", 'identifier or "}"')
            label = unquote(token, self.text) if token.kind == "string" else token.text
            if token.kind == "string" and self.is_op(",", "}"):
                if name:
                    self.fail(f'metric name must not be set twice: "{name}" or "{label}"', token.pos)
                name = label
            else:
                if token.kind == "word" and ":" in label:
                    self.fail(f'unexpected character inside braces: ":" in "{label[:40]}"', token.pos)
                found.append(self.matcher(label))
            if not self.accept(",") and not self.is_op("}"):
                self.unexpected("label matching", '"," or "}"')
        return name

    def matcher(self, label: str) -> Matcher:
        """Parse operator and value of one matcher; its regular expression must compile."""
        if not self.is_op("=", "!=", "=~", "!~"):
            self.unexpected("label matching", "label matching operator")
        op = self.take().text
        token = self.take()
        if token.kind != "string":
            self.at -= token.kind != "end"
            self.unexpected("label matching", "string")
        matcher = Matcher(op, label, unquote(token, self.text))
        try:
            matcher.matches("")
        except QueryError as error:
            self.fail(str(error), token.pos)
        return matcher

    def bracket(self, node: n.Node) -> n.Node:
        """Parse ``[range]`` or ``[range:step]``."""
        opening = self.take()
        length = self.duration()
        if self.accept(":"):
            step = None if self.is_op("]") else self.duration()
            self.expect("]", "subquery selector")
            if node.type != n.VECTOR and node.type != n.SCALAR:
                self.fail(f"subquery is only allowed on instant vector, got {n.DOCUMENTED[node.type]}", node.pos)
            if node.type == n.SCALAR:
                self.fail("subquery is only allowed on instant vector, got scalar", node.pos)
            return n.Subquery(node, length, step, pos=node.pos)
        self.expect("]", "range selector")
        if not isinstance(node, n.VectorSelector):
            self.fail("ranges only allowed for vector selectors", opening.pos)
        if node.offset is not None:
            self.fail("no offset modifiers allowed before range", opening.pos)
        if node.at is not None:
            self.fail("no @ modifiers allowed before range", opening.pos)
        if node.mode:
            self.fail(f"no {node.mode} modifiers allowed before range", opening.pos)
        return n.MatrixSelector(node, length, pos=node.pos)

    def modified(self, node: n.Node, what: str) -> n.VectorSelector | n.Subquery:
        """Return the part of ``node`` that carries offset and @; fail for what has none."""
        if isinstance(node, n.MatrixSelector):
            return node.vector
        if isinstance(node, n.VectorSelector | n.Subquery):
            return node
        return self.fail(
            f"{what} must be preceded by an instant vector selector or range vector selector or a subquery, "
            f"but follows {type(node).__name__.lower()} instead",
        )

    def offset_modifier(self, node: n.Node) -> None:
        """Parse ``offset d``."""
        target = self.modified(node, "offset modifier")
        word = self.take()
        if target.offset is not None:
            self.fail("offset may not be set multiple times", word.pos)
        target.offset = self.offset_duration()

    def at_modifier(self, node: n.Node) -> None:
        """Parse ``@ t``, ``@ start()`` or ``@ end()``."""
        target = self.modified(node, "@ modifier")
        sign = self.take()
        if target.at is not None:
            self.fail("@ <timestamp> may not be set multiple times", sign.pos)
        word = self.word()
        if word in ("start", "end"):
            self.take()
            self.expect("(", "@ modifier")
            self.expect(")", "@ modifier")
            target.at = n.At(word)
            return
        negative = self.accept("-")
        if not negative:
            self.accept("+")
        if self.word() in ("inf", "nan"):
            self.fail(f"timestamp out of bounds for @ modifier: {self.token.text}")
        if self.token.kind not in ("number", "duration"):
            self.unexpected("@", "timestamp")
        token = self.token
        seconds = self.number_literal().value * (-1 if negative else 1)
        if not abs(seconds) < MAX_SECONDS * 1000:
            self.fail(f"timestamp out of bounds for @ modifier: {seconds:g}", token.pos)
        target.at = n.At("time", round(seconds * 1000))

    def mode_modifier(self, node: n.Node, mode: str) -> None:
        """Parse ``smoothed`` or ``anchored``."""
        word = self.take()
        if isinstance(node, n.Subquery):
            self.fail(f"{mode} modifier is not supported for subqueries", word.pos)
        target = self.modified(node, f"{mode} modifier")
        assert isinstance(target, n.VectorSelector)  # noqa: S101  -- a subquery was refused above
        if target.mode:
            self.fail("anchored and smoothed modifiers cannot be used together or twice", word.pos)
        target.mode = mode

    # -- calls and aggregations -----------------------------------------------------------------------------------
    def call(self) -> n.Call:
        """Parse a function call."""
        name = self.take()
        function = FUNCTIONS.get(name.text)
        if function is None:
            close = difflib.get_close_matches(name.text, [*FUNCTIONS, *AGGREGATIONS], 1, 0.6)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            self.fail(f'unknown function with name "{name.text[:80]}"{hint}', name.pos)
        args = self.arguments(f'call to function "{name.text}"')
        node = n.Call(name.text, args, function.returns, pos=name.pos, end=self.tokens[self.at - 1].end)
        check_call(self.text, node, function)
        return node

    def arguments(self, where: str) -> list[n.Node]:
        """Parse ``(expr, expr, ...)``."""
        self.expect("(", where)
        args: list[n.Node] = []
        while not self.is_op(")"):
            args.append(self.expression())
            if not self.accept(","):
                break
            if self.is_op(")"):
                self.fail("trailing commas not allowed in function call args", self.tokens[self.at - 1].pos)
        self.expect(")", where)
        return args

    def aggregate(self, op: str) -> n.Aggregate:
        """Parse an aggregation; its by/without may stand before or after the arguments."""
        start = self.take().pos
        grouping = self.grouping()
        args = self.arguments(f'aggregation "{op}"')
        if grouping is None:
            grouping = self.grouping()
        by, names = grouping or (True, ())
        wanted = 1 if AGGREGATIONS[op] is None else 2
        if len(args) != wanted:
            self.fail(
                f"wrong number of arguments for aggregate expression provided, expected {wanted}, got {len(args)}",
                start,
            )
        param = args[0] if wanted == 2 else None
        end = self.tokens[self.at - 1].end
        node = n.Aggregate(op, args[-1], param, by, names, pos=start, end=end)
        check_aggregate(self.text, node)
        return node

    def grouping(self) -> tuple[bool, tuple[str, ...]] | None:
        """Parse ``by (names)`` or ``without (names)`` when next."""
        word = self.word()
        if word not in ("by", "without"):
            return None
        self.take()
        return word == "by", self.names("grouping opts")

    def names(self, where: str) -> tuple[str, ...]:
        """Parse ``(name, name, ...)``; a trailing comma is allowed."""
        self.expect("(", where)
        found: list[str] = []
        while not self.accept(")"):
            token = self.take()
            if token.kind not in ("word", "string") or (token.kind == "word" and ":" in token.text):
                self.at -= token.kind != "end"
                self.unexpected(where, "label")
            found.append(unquote(token, self.text) if token.kind == "string" else token.text)
            if not self.accept(",") and not self.is_op(")"):
                self.unexpected(where, '"," or ")"')
        return tuple(found)

    def operator_modifiers(self, op: str) -> tuple[bool, n.Matching]:
        """Parse ``bool``, ``on|ignoring``, ``group_left|group_right`` and ``fill`` after an operator."""
        return_bool = self.word() == "bool"
        if return_bool:
            if op not in COMPARISONS:
                self.fail("bool modifier can only be used on comparison operators")
            self.take()
        card = "many-to-many" if op in SET_OPERATORS else "one-to-one"
        on = explicit = False
        names: tuple[str, ...] = ()
        include: tuple[str, ...] = ()
        word = self.word()
        if word in ("on", "ignoring"):
            self.take()
            on, explicit = word == "on", True
            names = self.names(f'"{word}"')
            word = self.word()
        if word in ("group_left", "group_right"):
            token = self.take()
            if not explicit:
                self.fail(f"unexpected <{word}>, expected on or ignoring before it", token.pos)
            card = "many-to-one" if word == "group_left" else "one-to-many"
            if op in SET_OPERATORS:
                self.fail(f'no grouping allowed for "{op}" operation', token.pos)
            include = self.names(f'"{word}"') if self.is_op("(") else ()
        fills = self.fills(op)
        return return_bool, n.Matching(card, on, names, include, fills[0], fills[1], explicit)

    def fills(self, op: str) -> tuple[float | None, float | None]:
        """Parse ``fill(x)``, ``fill_left(x)``, ``fill_right(x)``."""
        left: float | None = None
        right: float | None = None
        while self.word() in ("fill", "fill_left", "fill_right") and self.tokens[self.at + 1].text == "(":
            token = self.take()
            if op in SET_OPERATORS:
                self.fail("filling in missing series not allowed for set operators", token.pos)
            self.expect("(", "fill modifier")
            value = self.signed()
            if not isinstance(value, n.Number):
                self.fail("fill value must be a number", value.pos)
            self.expect(")", "fill modifier")
            word = token.text.lower()
            left = value.value if word != "fill_right" else left
            right = value.value if word != "fill_left" else right
        return left, right


def parse_text(text: str) -> n.Node:
    """Return the nodes of ``text``; raise ParseError."""
    try:
        return Parser(text).whole()
    except RecursionError as error:
        raise ParseError(f"expression is nested more than {MAX_DEPTH} levels deep") from error


def parse_selector_text(text: str) -> tuple[Matcher, ...]:
    """Return the matchers of ``name{...}`` or ``{...}``, an all-embracing one too; raise ParseError."""
    parser = Parser(text)
    name = parser.take().text if parser.token.kind == "word" else ""
    node = parser.selector(name, 0)
    if parser.token.kind != "end":
        parser.unexpected("label matching", "the end")
    return node.matchers
