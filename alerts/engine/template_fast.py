"""The short way for simple templates: text with labels, the value and pure functions of them, as plain closures.

Whatever is not simple, or goes wrong on the way, is left to the interpreter, whose word counts.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from alerts.engine.go_values import format_float, show
from alerts.engine.template_builtins import MAX_OUTPUT_CHARS, Function, FunctionError
from alerts.engine.template_functions import FUNCTIONS
from alerts.engine.template_nodes import (
    Action,
    Command,
    Constant,
    Field,
    Identifier,
    Operand,
    Pipe,
    Statement,
    Text,
    Variable,
)
from monitoring.promql import Labels


class _Around(Protocol):
    @property
    def external_labels(self) -> Labels | Mapping[str, str]: ...

    @property
    def external_url(self) -> str: ...


class Facts(Protocol):
    """What a simple template reads."""

    @property
    def labels(self) -> Labels | Mapping[str, str]:
        """The element's labels."""

    @property
    def value(self) -> float:
        """The element's value."""

    @property
    def threshold(self) -> float | None:
        """The limit."""

    @property
    def severity(self) -> str:
        """The severity."""

    @property
    def surroundings(self) -> _Around:
        """What is common to all."""


Part = Callable[[Facts], str]
_Getter = Callable[[Facts], Any]


class _NotSimple(Exception):
    pass


def shortcut(body: Sequence[Statement]) -> tuple[str | Part, ...] | None:
    """Return a body as texts and closures, None when it is not of the simple kind."""
    try:
        return tuple(statement.text if isinstance(statement, Text) else _part(statement) for statement in body)
    except _NotSimple:
        return None


def join(parts: Sequence[str | Part], facts: Facts) -> str | None:
    """Return the text of the parts; None when the interpreter must look at it."""
    try:
        text = "".join([part if part.__class__ is str else part(facts) for part in parts])  # type: ignore[operator,misc]
    except (FunctionError, _NotSimple, OverflowError):
        return None
    return text if len(text) <= MAX_OUTPUT_CHARS else None


def _part(statement: Statement) -> Part:
    if not isinstance(statement, Action) or statement.pipe.variables:
        raise _NotSimple
    first = statement.pipe.commands[0]
    if len(statement.pipe.commands) == 1 and len(first.args) == 1:
        operand = first.args[0]
        name = _label_name(operand)
        if name is not None:
            return lambda facts: facts.labels.get(name, "")
        if _is_value(operand):
            return lambda facts: format_float(facts.value)
    getter = _pipeline(statement.pipe)
    return lambda facts: show(getter(facts))


def _pipeline(pipe: Pipe) -> _Getter:
    if pipe.variables:
        raise _NotSimple
    getter: _Getter | None = None
    for command in pipe.commands:
        getter = _command(command, getter)
    if getter is None:
        raise _NotSimple
    return getter


def _command(command: Command, final: _Getter | None) -> _Getter:
    first = command.args[0]
    if not isinstance(first, Identifier):
        if len(command.args) > 1 or final is not None:
            raise _NotSimple
        return _operand(first)
    function = FUNCTIONS.get(first.name)
    getters = [_operand(arg) for arg in command.args[1:]]
    if final is not None:
        getters.append(final)
    if function is None or not getters or (len(getters) != len(function.params) and not function.is_variadic):
        raise _NotSimple
    return _call(function, getters)


def _call(function: Function, getters: list[_Getter]) -> _Getter:
    """Return a call of a function on what the getters give, if the kinds fit."""
    params = function.params
    if len(getters) < len(params) - function.is_variadic or not {"any", "string"}.issuperset(params):
        raise _NotSimple
    call = function.call
    if params == ("any",) and len(getters) == 1:
        only = getters[0]
        return lambda facts: call(only(facts))
    must_be_text = [params[min(position, len(params) - 1)] == "string" for position in range(len(getters))]

    def checked(facts: Facts) -> Any:
        values = [getter(facts) for getter in getters]
        for value, is_text in zip(values, must_be_text, strict=True):
            if is_text and not isinstance(value, str):
                raise _NotSimple
        return call(*values)

    return checked


def _label_name(operand: Operand) -> str | None:
    match operand:
        case Variable(name="$labels", names=(name,)) | Field(names=("Labels", name)):
            return str(name)
    return None


def _is_value(operand: Operand) -> bool:
    match operand:
        case Variable(name="$value", names=()) | Field(names=("Value",)):
            return True
    return False


def _operand(operand: Operand) -> _Getter:
    name = _label_name(operand)
    if name is not None:
        return lambda facts: facts.labels.get(name, "")
    if _is_value(operand):
        return lambda facts: facts.value
    match operand:
        case Constant(value=value):
            return lambda facts: value
        case Pipe():
            return _pipeline(operand)
        case Variable(name="$threshold", names=()):
            return lambda facts: facts.threshold
        case Variable(name="$severity", names=()):
            return lambda facts: facts.severity
        case Variable(name="$externalURL", names=()):
            return lambda facts: facts.surroundings.external_url
        case Variable(name="$externalLabels", names=(label,)):
            return lambda facts: facts.surroundings.external_labels.get(label, "")
    raise _NotSimple
