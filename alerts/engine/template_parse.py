"""From tokens to the parts of a template (Go, text/template/parse/parse.go); refuses unknown names."""

from collections.abc import Container, Iterable

from alerts.engine.template_lex import TemplateError, Token, error_at, lex
from alerts.engine.template_literals import read_char, read_number, read_string
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
    Operand,
    Pipe,
    Statement,
    Text,
    Variable,
)

# Nothing that a person writes nests deeper; Python's own stack would end at a few hundred.
MAX_NESTING = 50

Body = list[Statement]


def parse(text: str, functions: Container[str], variables: Iterable[str]) -> tuple[Body, dict[str, Body]]:
    """Return the body of a template and the templates it defines by name; TemplateError says where it is wrong."""
    parser = _Parser(text, functions, [*variables])
    body, end = parser.body(is_top=True)
    if end is not None:
        raise error_at(text, end.at, f"unexpected {{{{{end.text}}}}}")
    return body, parser.defined


class _Parser:
    def __init__(self, text: str, functions: Container[str], variables: list[str]) -> None:
        self.text = text
        self.tokens = lex(text)
        self.position = 0
        self.functions = functions
        self.variables = variables
        self.defined: dict[str, Body] = {}
        self.depth = 0
        self.range_depth = 0

    def next(self) -> Token:
        token = self.tokens[self.position]
        self.position += 1
        return token

    def peek(self) -> Token:
        return self.tokens[self.position]

    def fail(self, token: Token, message: str) -> TemplateError:
        return error_at(self.text, token.at, message)

    def unexpected(self, token: Token, context: str) -> TemplateError:
        shown = "end of template" if token.kind == "eof" else f'"{token.text}"'
        return self.fail(token, f"unexpected {shown} in {context}")

    def nested(self, token: Token) -> None:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise self.fail(token, f"nested deeper than {MAX_NESTING} levels")

    def body(self, is_top: bool = False) -> tuple[Body, Token | None]:
        """Return statements up to {{end}} or {{else}} and that keyword, its closing delimiter not yet read."""
        statements: Body = []
        while True:
            token = self.next()
            if token.kind == "eof":
                if is_top:
                    return statements, None
                raise self.fail(token, "unexpected EOF: an {{end}} is missing")
            if token.kind == "text":
                statements.append(Text(token.at, token.text))
                continue
            word = self.peek()
            if word.kind == "keyword" and word.text in ("end", "else"):
                return statements, self.next()
            statement = self.keyword(self.next(), is_top) if word.kind == "keyword" else self.action()
            if statement is not None:
                statements.append(statement)

    def action(self) -> Action:
        at = self.peek().at
        return Action(at, self.pipeline("command", "right"))

    def keyword(self, token: Token, is_top: bool) -> Statement | None:
        match token.text:
            case "if" | "with" | "range":
                return self.branch(token)
            case "define":
                if not is_top:
                    raise self.unexpected(token, "a nested place: define stands at the top level")
                self.define(token)
                return None
            case "block":
                return self.block(token)
            case "template":
                return self.call()
            case word:
                if not self.range_depth:
                    raise self.fail(token, f"{{{{{word}}}}} outside {{{{range}}}}")
                self.close(word)
                return Jump(token.at, word)

    def close(self, context: str) -> None:
        token = self.next()
        if token.kind != "right":
            raise self.unexpected(token, context)

    def branch(self, token: Token) -> Branch:
        """Parse the rest of if, with or range up to its end; variables declared in it end with it."""
        self.nested(token)
        known = len(self.variables)
        word = token.text
        branch = Branch(token.at, word, self.pipeline(word, "right"))
        self.range_depth += word == "range"
        branch.body, end = self.body()
        self.range_depth -= word == "range"
        if end is not None and end.text == "else":
            branch.otherwise = self.otherwise(word, end)
        else:
            self.close("end")
        del self.variables[known:]
        self.depth -= 1
        return branch

    def otherwise(self, word: str, token: Token) -> Body:
        """Parse after {{else; an "else if" or "else with" is a branch of its own that shares the end."""
        following = self.peek()
        if following.kind == "keyword" and following.text == word and word in ("if", "with"):
            return [self.branch(self.next())]
        self.close("else")
        body, end = self.body()
        if end is None or end.text != "end":
            raise self.fail(end or token, "expected end; found {{else}}")
        self.close("end")
        return body

    def name(self, context: str) -> tuple[int, str]:
        """Read a template's name; returns its place and text."""
        token = self.next()
        if token.kind not in ("string", "raw"):
            raise self.unexpected(token, f"{context}: its name must be a quoted string")
        return token.at, read_string(self.text, token)

    def inner(self, name: str, token: Token) -> None:
        """Parse the body of a defined template, which sees only $, and file it."""
        self.nested(token)
        outer, self.variables, ranges, self.range_depth = self.variables, ["$"], self.range_depth, 0
        body, end = self.body()
        if end is None or end.text != "end":
            raise self.fail(end or token, "unexpected {{else}} in a defined template")
        self.close("end")
        self.variables, self.range_depth = outer, ranges
        self.depth -= 1
        self.defined[name] = body

    def define(self, token: Token) -> None:
        _, name = self.name("define clause")
        self.close("define clause")
        if name in self.defined:
            raise self.fail(token, f'multiple definition of template "{name}"')
        self.inner(name, token)

    def block(self, token: Token) -> Call:
        at, name = self.name("block clause")
        pipe = self.pipeline("block clause", "right")
        self.inner(name, token)
        return Call(at, name, pipe)

    def call(self) -> Call:
        at, name = self.name("template clause")
        if self.peek().kind == "right":
            self.next()
            return Call(at, name, None)
        return Call(at, name, self.pipeline("template clause", "right"))

    def pipeline(self, context: str, end: str) -> Pipe:
        """Parse [variables] command {| command} up to the token kind `end`."""
        first = self.peek()
        names, is_assignment = self.declarations(context)
        commands: list[Command] = []
        while True:
            token = self.peek()
            if token.kind == end:
                self.next()
                break
            commands.append(self.command(context))
            separator = self.next()
            if separator.kind == end:
                break
            if separator.kind != "pipe":
                raise self.unexpected(separator, context)
            if self.peek().kind == end:
                raise self.fail(separator, f"missing command after | in {context}")
        if not commands:
            raise self.fail(first, f"missing value for {context}")
        for command in commands[1:]:
            if isinstance(command.args[0], Constant | Dot | Nil):
                raise error_at(self.text, command.at, f"non executable command in pipeline: {command}")
        if not is_assignment:
            self.variables.extend(names)
        return Pipe(first.at, tuple(commands), names, is_assignment)

    def declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        """Read "$x :=", "$x =" or, in a range, "$i, $x :="."""
        start = self.position
        names: list[Token] = []
        while self.peek().kind == "variable":
            token = self.next()
            names.append(token)
            following = self.next()
            if following.kind in ("declare", "assign"):
                is_assignment = following.kind == "assign"
                for name in names if is_assignment else ():
                    self.known(name)
                return tuple(name.text for name in names), is_assignment
            if following.kind != "comma":
                break
            if context != "range" or len(names) > 1:
                raise self.fail(following, f"too many declarations in {context}")
        self.position = start
        return (), False

    def known(self, token: Token) -> None:
        if token.text not in self.variables:
            raise self.fail(token, f'undefined variable "{token.text}"')

    def command(self, context: str) -> Command:
        args: list[Operand] = []
        first = self.peek()
        while True:
            token = self.peek()
            if args and token.kind not in ("pipe", "right", "close") and not token.spaced:
                raise self.unexpected(token, "operand: put a space between arguments")
            operand = self.operand()
            if operand is None:
                break
            args.append(operand)
        if not args:
            raise self.unexpected(first, context)
        return Command(first.at, tuple(args))

    def operand(self) -> Operand | None:
        """Return a term with the fields that follow it without a space; None when no operand starts here."""
        node = self.term()
        names: list[str] = []
        at = self.peek().at
        while node is not None and self.peek().kind == "field" and not self.peek().spaced:
            names.append(self.next().text[1:])
        if node is None or not names:
            return node
        if isinstance(node, Field):
            return Field(at, (*node.names, *names))  # Go gives it the place of the first field that follows
        if isinstance(node, Variable):
            return Variable(at, node.name, (*node.names, *names))
        if isinstance(node, Constant | Nil | Dot):
            raise error_at(self.text, at, f'unexpected . after term "{node}"')
        return Chain(at, node, tuple(names))

    def term(self) -> Operand | None:
        token = self.peek()
        if token.kind in ("pipe", "right", "close", "eof", "declare", "assign", "comma", "keyword"):
            return None
        self.next()
        match token.kind:
            case "word":
                return self.word(token)
            case "dot":
                return Dot(token.at)
            case "field":
                return Field(token.at, (token.text[1:],))
            case "variable":
                self.known(token)
                return Variable(token.at, token.text)
            case "string" | "raw":
                return Constant(token.at, token.text, read_string(self.text, token))
            case "char":
                return Constant(token.at, token.text, read_char(self.text, token))
            case "number":
                return Constant(token.at, token.text, read_number(self.text, token))
            case "open":
                self.nested(token)
                pipe = self.pipeline("parenthesized pipeline", "close")
                self.depth -= 1
                return pipe
        raise self.unexpected(token, "operand")

    def word(self, token: Token) -> Operand:
        if token.text in ("true", "false"):
            return Constant(token.at, token.text, token.text == "true")
        if token.text == "nil":
            return Nil(token.at)
        if token.text not in self.functions:
            raise self.fail(token, f'function "{token.text}" not defined')
        return Identifier(token.at, token.text)
