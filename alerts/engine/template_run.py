"""Carries out a parsed template as Go does, down to the place named in an error (Go, text/template/exec.go).

Bounded: so many steps, so many characters. Nothing of Python is reachable: fields come from maps and Structs only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alerts.engine.go_time import DURATION_METHODS, TIME_METHODS, Duration, Time
from alerts.engine.go_values import QueryResult, SafeHtml, Struct, is_true, show, type_name
from alerts.engine.template_builtins import MAX_OUTPUT_CHARS, Function, FunctionError, html_escape
from alerts.engine.template_functions import FUNCTIONS
from alerts.engine.template_lex import TemplateError, place
from alerts.engine.template_nodes import (
    Action,
    Branch,
    Call,
    Chain,
    Command,
    Constant,
    Dot,
    Field,
    Identifier,
    Jump,
    Nil,
    Node,
    Operand,
    Pipe,
    Statement,
    Text,
    Variable,
)

MAX_STEPS = 100_000
MAX_CALL_DEPTH = 50

_MISSING = object()
_KINDS = {
    "string": "string",
    "queryResult": "template.queryResult",
    "sample": "*template.sample",
    "duration": "time.Duration",
    "time": "time.Time",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed template: its text, body and the templates it defines. offset: characters Prometheus puts before it."""

    text: str
    body: list[Statement]
    defined: Mapping[str, list[Statement]]
    name: str = "template"
    offset: int = 0


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


@dataclass(slots=True)
class Run:
    """One expansion at work. special: the functions that depend on where the template runs."""

    program: Program
    special: Mapping[str, Function]
    missing_key: str = "zero"
    is_html: bool = False
    output: list[str] = field(default_factory=list)
    variables: list[tuple[str, object]] = field(default_factory=list)
    node: Node = field(default_factory=lambda: Node(0))
    steps: int = 0
    size: int = 0
    depth: int = 0

    def execute(self, dot: object, variables: Mapping[str, object]) -> str:
        """Return the text; TemplateError carries Go's message and the place."""
        self.variables = [("$", dot), *variables.items()]
        try:
            self.walk(dot, self.program.body)
        except RecursionError as error:
            raise self.fail("templates nested too deeply") from error
        return "".join(self.output)

    def fail(self, message: str) -> TemplateError:
        """Return the error as Go words it: template: NAME:LINE:COLUMN: executing "NAME" at <NODE>: message."""
        line, column = place(self.program.text, self.node.at)
        shown = column - 1 + (self.program.offset if line == 1 else 0)
        name = self.program.name
        text = f'template: {name}:{line}:{shown}: executing "{name}" at <{self.node}>: {message}'
        return TemplateError(text, line, column)

    def count_step(self) -> None:
        """Stop a template that runs for too long."""
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise self.fail(f"template takes more than {MAX_STEPS:,} steps")

    def write(self, text: str) -> None:
        """Add to the output, which is bounded."""
        self.size += len(text)
        if self.size > MAX_OUTPUT_CHARS:
            raise self.fail(f"output is longer than {MAX_OUTPUT_CHARS:,} characters")
        self.output.append(text)

    def walk(self, dot: object, body: Sequence[Statement]) -> None:
        """Carry out statements."""
        for statement in body:
            self.count_step()
            if isinstance(statement, Text):
                self.write(statement.text)
                continue
            self.node = statement
            if isinstance(statement, Action):
                value = self.pipeline(dot, statement.pipe)
                if not statement.pipe.variables:
                    self.write(self.printed(value))
            elif isinstance(statement, Branch):
                mark = len(self.variables)
                if statement.word == "range":
                    self.loop(dot, statement)
                else:
                    self.branch(dot, statement)
                del self.variables[mark:]
            elif isinstance(statement, Call):
                data = None if statement.pipe is None else self.pipeline(dot, statement.pipe)
                self.node = statement
                self.call_template(statement.name, data)
            elif isinstance(statement, Jump):
                raise _Break if statement.word == "break" else _Continue

    def printed(self, value: object) -> str:
        """Return a value as it appears in the output."""
        if not self.is_html:
            return show(value)
        if value is None:
            return ""
        return str(value) if isinstance(value, SafeHtml) else html_escape(show(value))

    def branch(self, dot: object, statement: Branch) -> None:
        """Carry out if or with."""
        value = self.pipeline(dot, statement.pipe)
        if is_true(value):
            self.walk(value if statement.word == "with" else dot, statement.body)
        else:
            self.walk(dot, statement.otherwise)

    def loop(self, dot: object, statement: Branch) -> None:
        """Carry out range over a slice, a map (by key) or the numbers below an int."""
        value = self.pipeline(dot, statement.pipe)
        pairs = self.pairs(value)
        names, mark = statement.pipe.variables, len(self.variables)
        is_empty = True
        for key, item in pairs:
            self.count_step()
            is_empty = False
            # Go, exec.go: one variable is the element, two are key and element.
            if statement.pipe.is_assignment:
                for name, part in zip(names, (item,) if len(names) == 1 else (key, item), strict=False):
                    self.assign(name, part)
            elif names:
                del self.variables[mark - len(names) :]
                self.variables.extend(zip(names, (item,) if len(names) == 1 else (key, item), strict=False))
            inner = len(self.variables)
            try:
                self.walk(item, statement.body)
            except _Continue:
                pass
            except _Break:
                break
            finally:
                del self.variables[inner:]
        if is_empty:
            self.walk(dot, statement.otherwise)

    def pairs(self, value: object) -> Iterator[tuple[object, object]]:
        """Return what range iterates over, as (key, element)."""
        if value is None:
            return iter(())
        if isinstance(value, Mapping):
            return iter(sorted(value.items()))
        if isinstance(value, int) and not isinstance(value, bool):
            return ((number, number) for number in range(value))
        if isinstance(value, Sequence) and not isinstance(value, str):
            return iter(enumerate(value))
        if type_name(value) == "map[string]string":
            labels: Any = value
            return iter(labels)
        raise self.fail(f"range can't iterate over {show(value, True)}")

    def call_template(self, name: str, data: object) -> None:
        """Carry out a defined template with its own variables."""
        body = self.program.defined.get(name)
        if body is None:
            raise self.fail(f'template "{name}" not defined')
        if self.depth >= MAX_CALL_DEPTH:
            raise self.fail(f"exceeded maximum template depth ({MAX_CALL_DEPTH})")
        outer, self.variables = self.variables, [("$", data)]
        self.depth += 1
        self.walk(data, body)
        self.depth -= 1
        self.variables = outer

    def assign(self, name: str, value: object) -> None:
        """Set the innermost variable of a name."""
        for position in range(len(self.variables) - 1, -1, -1):
            if self.variables[position][0] == name:
                self.variables[position] = (name, value)
                return
        raise self.fail(f"undefined variable: {name}")

    def pipeline(self, dot: object, pipe: Pipe) -> object:
        """Return the value of a pipeline, and set its variables."""
        self.node = pipe
        value: object = _MISSING
        for command in pipe.commands:
            value = self.command(dot, command, value)
        for name in pipe.variables:
            if pipe.is_assignment:
                self.assign(name, value)
            else:
                self.variables.append((name, value))
        return value

    def command(self, dot: object, command: Command, final: object) -> object:
        """Return the value of one command; `final` is what the pipe hands it."""
        first = command.args[0]
        self.count_step()
        match first:
            case Field():
                self.node = first
                return self.fields(dot, first, first.names, dot, command.args, final)
            case Chain():
                return self.chain(dot, first, command.args, final)
            case Identifier():
                self.node = first
                return self.function(dot, first.name, command, command.args, final)
            case Variable():
                self.node = first
                return self.fields(dot, first, first.names, self.variable(first.name), command.args, final)
        self.node = first
        if len(command.args) > 1 or final is not _MISSING:
            raise self.fail(f"can't give argument to non-function {first}")
        match first:
            case Pipe():
                return self.pipeline(dot, first)
            case Dot():
                return dot
            case Constant():
                return first.value
        raise self.fail("nil is not a command")

    def variable(self, name: str) -> object:
        """Return the value of the innermost variable of a name."""
        for known, value in reversed(self.variables):
            if known == name:
                return value
        raise self.fail(f"undefined variable: {name}")

    def chain(self, dot: object, chain: Chain, args: Sequence[Operand], final: object) -> object:
        """Return fields or a method of an operand's value."""
        self.node = chain
        if isinstance(chain.of, Nil):
            raise self.fail(f"indirection through explicit nil in {chain}")
        return self.fields(dot, chain, chain.names, self.argument(dot, "any", chain.of), args, final)

    def fields(
        self,
        dot: object,
        node: Operand,
        names: Sequence[str],
        receiver: object,
        args: Sequence[Operand],
        final: object,
    ) -> object:
        """Return receiver.name.name...; only the last may be a method with arguments."""
        if not names:
            if len(args) > 1 or final is not _MISSING:
                raise self.fail(f"can't give argument to non-function {node}")
            return receiver
        for name in names[:-1]:
            receiver = self.one_field(dot, name, receiver, (), _MISSING)
        return self.one_field(dot, names[-1], receiver, args[1:], final)

    def one_field(self, dot: object, name: str, receiver: object, args: Sequence[Operand], final: object) -> object:
        """Return one field of a struct or map, or the result of a method of a time or duration."""
        methods = TIME_METHODS if isinstance(receiver, Time) else DURATION_METHODS
        if isinstance(receiver, Time | Duration) and name in methods:
            params, call = methods[name]
            function = Function(lambda *values: call(receiver, *values), params)
            return self.invoke(dot, name, function, args, final, self.node)
        if receiver is None:
            if self.missing_key == "error":
                raise self.fail(f'nil data; no entry for key "{name}"')
            return None
        if isinstance(receiver, Struct) and name in receiver.fields:
            value = receiver.fields[name]
        elif isinstance(receiver, Struct) and name in receiver.hidden:
            value = receiver.hidden[name]
        elif isinstance(receiver, Mapping) or type_name(receiver) == "map[string]string":
            value = self.entry(receiver, name)
        else:
            raise self.fail(f"can't evaluate field {name} in type {type_name(receiver)}")
        if args or final is not _MISSING:
            raise self.fail(f"{name} is not a method but has arguments")
        return value

    def entry(self, mapping: Any, name: str) -> object:
        """Return the value of a map's key; what a missing one gives is the option missingkey."""
        value = mapping.get(name, _MISSING)
        if value is not _MISSING:
            return value
        if self.missing_key == "error":
            raise self.fail(f'map has no entry for key "{name}"')
        is_text = not isinstance(mapping, Mapping) or all(isinstance(item, str) for item in mapping.values())
        return "" if self.missing_key == "zero" and is_text else None

    def function(self, dot: object, name: str, node: Node, args: Sequence[Operand], final: object) -> object:
        """Return what a function gives; "and" and "or" look at no more arguments than they need."""
        if name in ("and", "or"):
            return self.junction(dot, name, args[1:], final)
        function = FUNCTIONS.get(name) or self.special.get(name)
        if function is None:
            if name == "tmpl":
                function = Function(lambda called, data: self.captured(called, data), ("string", "any"))
            else:
                raise self.fail(f'"{name}" is not a defined function')
        return self.invoke(dot, name, function, args[1:], final, node)

    def junction(self, dot: object, name: str, args: Sequence[Operand], final: object) -> object:
        """Return the first true value for "or", the first false one for "and", else the last."""
        value: object = _MISSING
        for arg in args:
            value = self.argument(dot, "any", arg)
            if is_true(value) == (name == "or"):
                return value
        value = value if final is _MISSING else final
        if value is _MISSING:
            raise self.fail(f"wrong number of args for {name}: want at least 1 got 0")
        return value

    def captured(self, name: str, data: object) -> SafeHtml:
        """Return the output of a defined template as text (template.go tmpl)."""
        outer, self.output = self.output, []
        self.call_template(name, data)
        text, self.output = "".join(self.output), outer
        return SafeHtml(text)

    def invoke(
        self, dot: object, name: str, function: Function, args: Sequence[Operand], final: object, node: Node
    ) -> object:
        """Return what a call gives, its arguments checked against the parameters' kinds."""
        params = function.params
        given = len(args) + (final is not _MISSING)
        fixed = len(params) - function.is_variadic
        if given < fixed or (given > fixed and not function.is_variadic):
            at_least = "at least " if function.is_variadic else ""
            raise self.fail(f"wrong number of args for {name}: want {at_least}{fixed} got {given}")
        kinds = [params[min(position, len(params) - 1)] for position in range(given)]
        values = [self.argument(dot, kind, arg) for kind, arg in zip(kinds, args, strict=False)]
        if final is not _MISSING:
            values.append(self.checked(final, kinds[-1]))
        try:
            result = function.call(*values)
        except (FunctionError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # Go turns a panic inside a function into an error too: a template must never stop the alert (PT-6).
            self.node = node
            raise self.fail(f"error calling {name}: {error}") from error
        if isinstance(result, str) and len(result) > MAX_OUTPUT_CHARS:
            self.node = node
            raise self.fail(f"error calling {name}: result is longer than {MAX_OUTPUT_CHARS:,} characters")
        return result

    def argument(self, dot: object, kind: str, node: Operand) -> object:
        """Return the value of an argument for a parameter of a kind."""
        self.node = node
        match node:
            case Dot():
                return self.checked(dot, kind)
            case Nil():
                if kind == "queryResult":
                    return QueryResult()
                if kind in ("any", "sample"):
                    return None
                raise self.fail(f"cannot assign nil to {_KINDS[kind]}")
            case Field():
                return self.checked(self.fields(dot, node, node.names, dot, (node,), _MISSING), kind)
            case Variable():
                value = self.fields(dot, node, node.names, self.variable(node.name), (node,), _MISSING)
                return self.checked(value, kind)
            case Pipe():
                return self.checked(self.pipeline(dot, node), kind)
            case Identifier():
                return self.checked(self.function(dot, node.name, node, (node,), _MISSING), kind)
            case Chain():
                return self.checked(self.chain(dot, node, (node,), _MISSING), kind)
        if kind == "any" or (kind == "string" and isinstance(node.value, str)):
            return node.value
        if kind == "duration" and isinstance(node.value, int):
            return Duration(node.value)
        expected = {"string": "expected string; found"}.get(kind)
        raise self.fail(f"{expected} {node}" if expected else f"can't handle {node} for arg of type {_KINDS[kind]}")

    def checked(self, value: object, kind: str) -> object:
        """Return a value that fits a parameter's kind."""
        if kind == "any" or _FITS[kind](value):
            return value
        if value is None:
            raise self.fail(f"invalid value; expected {_KINDS[kind]}")
        raise self.fail(f"wrong type for value; expected {_KINDS[kind]}; got {type_name(value)}")


_FITS: dict[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "queryResult": lambda value: isinstance(value, QueryResult),
    "sample": lambda value: isinstance(value, Struct) and value.type_name == "*template.sample",
    "duration": lambda value: isinstance(value, Duration),
    "time": lambda value: isinstance(value, Time),
}
