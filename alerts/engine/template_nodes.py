"""The parts of a parsed template; `str` of one is how Go's messages quote it (text/template/parse/node.go)."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Node:
    """One part of a template, at an offset of its text."""

    at: int


@dataclass(slots=True)
class Dot(Node):
    """The current value, written "."."""

    def __str__(self) -> str:
        """Return the source form."""
        return "."


@dataclass(slots=True)
class Nil(Node):
    """The constant nil."""

    def __str__(self) -> str:
        """Return the source form."""
        return "nil"


@dataclass(slots=True)
class Constant(Node):
    """A bool, number or string as written; number constants are int where they are whole, else float."""

    text: str
    value: bool | int | float | str

    def __str__(self) -> str:
        """Return the source form."""
        return self.text


@dataclass(slots=True)
class Identifier(Node):
    """The name of a function."""

    name: str

    def __str__(self) -> str:
        """Return the source form."""
        return self.name


@dataclass(slots=True)
class Field(Node):
    """A chain of fields of dot: .Labels.host."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return the source form."""
        return "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Variable(Node):
    """A variable and fields of it: $labels.host; `name` holds the dollar sign."""

    name: str
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the source form."""
        return ".".join((self.name, *self.names))


@dataclass(slots=True)
class Chain(Node):
    """Fields or methods of a pipeline's value: (now | toTime).Year."""

    of: "Operand"
    names: tuple[str, ...]

    def __str__(self) -> str:
        """Return the source form."""
        inner = f"({self.of})" if isinstance(self.of, Pipe) else str(self.of)
        return inner + "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Command(Node):
    """A function or value with its arguments."""

    args: tuple["Operand", ...]

    def __str__(self) -> str:
        """Return the source form."""
        return " ".join(f"({arg})" if isinstance(arg, Pipe) else str(arg) for arg in self.args)


@dataclass(slots=True)
class Pipe(Node):
    """Commands that pass their values on, perhaps into variables."""

    commands: tuple[Command, ...]
    variables: tuple[str, ...] = ()
    is_assignment: bool = False

    def __str__(self) -> str:
        """Return the source form."""
        left = f"{', '.join(self.variables)} {'=' if self.is_assignment else ':='} " if self.variables else ""
        return left + " | ".join(map(str, self.commands))


Operand = Dot | Nil | Constant | Identifier | Field | Variable | Chain | Pipe


@dataclass(slots=True)
class Text(Node):
    """Literal text."""

    text: str


@dataclass(slots=True)
class Action(Node):
    """A pipeline whose value is printed unless it sets variables."""

    pipe: Pipe

    def __str__(self) -> str:
        """Return the source form."""
        return "{{" + str(self.pipe) + "}}"


@dataclass(slots=True)
class Branch(Node):
    """if, with or range, as `word` says: a pipeline, a body and an else part."""

    word: str
    pipe: Pipe
    body: list["Statement"] = field(default_factory=list)
    otherwise: list["Statement"] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the source form of the head."""
        return "{{" + f"{self.word} {self.pipe}" + "}}"


@dataclass(slots=True)
class Call(Node):
    """{{template "name" pipeline}}."""

    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        """Return the source form."""
        quoted = '"' + self.name + '"'
        return "{{template " + (quoted if self.pipe is None else f"{quoted} {self.pipe}") + "}}"


@dataclass(slots=True)
class Jump(Node):
    """{{break}} or {{continue}}."""

    word: str

    def __str__(self) -> str:
        """Return the source form."""
        return "{{" + self.word + "}}"


Statement = Text | Action | Branch | Call | Jump
