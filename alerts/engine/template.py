"""Templates of labels and annotations as Prometheus expands them; hides the language behind compile and expand.

A subset of Go's text/template with Prometheus' functions (2.42 and main, template/template.go) and two presets of our
own, $threshold and $severity. Templates of the usual simple kind take a short way past the interpreter.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import NamedTuple
from urllib.parse import urlsplit

from alerts.engine.go_values import QueryResult, Struct, sample
from alerts.engine.template_builtins import Function, FunctionError
from alerts.engine.template_fast import Part, join, shortcut
from alerts.engine.template_functions import NAMES
from alerts.engine.template_lex import TemplateError
from alerts.engine.template_nodes import Action, Branch, Call, Chain, Command, Dot, Field, Identifier, Node, Pipe
from alerts.engine.template_nodes import Variable as VariableNode
from alerts.engine.template_parse import parse
from alerts.engine.template_run import Program, Run
from monitoring.promql import EMPTY, Labels, QueryError

__all__ = ["EMPTY_CONTEXT", "Context", "Surroundings", "Template", "TemplateError", "compile", "expand"]

# What Prometheus 2.42, rules/alerting.go Eval puts before every template; columns in its messages count from there.
_PROMETHEUS_HEAD = (
    "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"
)
_VARIABLES = ("$", "$labels", "$externalLabels", "$externalURL", "$value", "$threshold", "$severity")
_DATA_TYPE = "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value float64 }"

Query = Callable[[str], Sequence[tuple[Labels | Mapping[str, str], float]]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all alerts of one evaluation.

    query answers an instant query at the evaluation's time (PT-4) with (labels, value) pairs and raises QueryError;
    None when there is nobody to ask. at_seconds: that time, in seconds since 1970.
    """

    external_labels: Labels | Mapping[str, str] = EMPTY
    external_url: str = ""
    query: Query | None = None
    at_seconds: float = 0.0


class Context(NamedTuple):
    """What one alert brings to its templates; labels are its element's, before rule labels (PT-1)."""

    labels: Labels | Mapping[str, str]
    value: float
    threshold: float | None = None
    severity: str = ""
    surroundings: Surroundings = Surroundings()


EMPTY_CONTEXT = Context(EMPTY, 0.0)


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. uses: what its text depends on: labels, value, threshold, severity, external, query, now."""

    text: str
    program: Program
    uses: frozenset[str]
    parts: tuple[str | Part, ...] | None

    @property
    def is_constant(self) -> bool:
        """True when every expansion gives the same text."""
        return not self.uses

    def render(self, context: Context, is_html: bool = False, missing_key: str = "zero") -> str:
        """Return the expanded text; TemplateError where Prometheus would err. missing_key as Go's option missingkey."""
        run = Run(self.program, _special(context.surroundings), missing_key, is_html)
        around = context.surroundings
        data = Struct(
            _DATA_TYPE,
            {
                "Labels": context.labels,
                "ExternalLabels": around.external_labels,
                "ExternalURL": around.external_url,
                "Value": context.value,
            },
            hidden={"Threshold": context.threshold, "Severity": context.severity},
        )
        presets = (context.labels, around.external_labels, around.external_url)
        mine = (*presets, context.value, context.threshold, context.severity)
        return run.execute(data, dict(zip(_VARIABLES[1:], mine, strict=True)))


@lru_cache(maxsize=4096)
def compile(text: str, name: str = "template") -> Template:  # noqa: A001 - used as template.compile, like re.compile
    """Return the compiled template; TemplateError says at which line and column it is wrong (PR-10).

    name is what messages call it; Prometheus uses "__alert_" and the rule's name.
    """
    body, defined = parse(text, NAMES, _VARIABLES)
    program = Program(text, body, defined, name, len(_PROMETHEUS_HEAD))
    uses = frozenset(_uses(chain(body, *defined.values())))
    return Template(text, program, uses, shortcut(body))


def expand(template: Template, context: Context) -> str:
    """Return the expanded text, or "<error expanding template: …>" in its place; never raises (PT-6)."""
    if template.parts is not None:
        text = join(template.parts, context)
        if text is not None:
            return text
    try:
        return template.render(context)
    except TemplateError as error:
        return f"<error expanding template: error executing template {template.program.name}: {error.message}>"


def _special(around: Surroundings) -> dict[str, Function]:
    """Return the functions that depend on the surroundings."""

    def query(text: str) -> QueryResult:
        if around.query is None:
            raise FunctionError("no data source to ask here")
        try:
            return QueryResult(sample(labels, value) for labels, value in around.query(text))
        except QueryError as error:
            raise FunctionError(str(error)) from error

    return {
        "query": Function(query, ("string",)),
        "externalURL": Function(lambda: around.external_url, ()),
        "pathPrefix": Function(lambda: urlsplit(around.external_url).path, ()),
        "now": Function(lambda: around.at_seconds, ()),
    }


_FIELD_USES = {
    "Labels": "labels",
    "Value": "value",
    "Threshold": "threshold",
    "Severity": "severity",
    "ExternalLabels": "external",
    "ExternalURL": "external",
}
_VARIABLE_USES = {
    "$labels": "labels",
    "$value": "value",
    "$threshold": "threshold",
    "$severity": "severity",
    "$externalLabels": "external",
    "$externalURL": "external",
}
_FUNCTION_USES = {"query": "query", "now": "now", "externalURL": "external", "pathPrefix": "external"}
_EVERYTHING = ("labels", "value", "threshold", "severity", "external")


def _uses(nodes: Iterator[Node] | Sequence[Node]) -> Iterator[str]:
    """Yield what nodes depend on; the bare data, "." or "$", stands for all of it."""
    for node in nodes:
        match node:
            case Dot():
                yield from _EVERYTHING
            case Field(names=(first, *_)) if first in _FIELD_USES:
                yield _FIELD_USES[first]
            case VariableNode(name="$"):
                yield from _EVERYTHING
            case VariableNode(name=name) if name in _VARIABLE_USES:
                yield _VARIABLE_USES[name]
            case Identifier(name=name) if name in _FUNCTION_USES:
                yield _FUNCTION_USES[name]
            case Chain():
                yield from _uses([node.of])
            case Pipe():
                yield from _uses(node.commands)
            case Command():
                yield from _uses(node.args)
            case Action():
                yield from _uses([node.pipe])
            case Branch():
                yield from _uses([node.pipe, *node.body, *node.otherwise])
            case Call(pipe=Pipe() as pipe):
                yield from _uses([pipe])
