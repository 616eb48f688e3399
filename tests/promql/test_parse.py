"""Parsing: what is accepted, what is refused and where the error points."""

from __future__ import annotations

import pickle

import pytest

from monitoring.promql import Matcher, ParseError, parse, parse_matchers, split_condition

CANONICAL = [
    ('sum by(a)(rate(x{a="b",c=~"d|e"}[5m]))>0.5', 'sum by (a) (rate(x{a="b", c=~"d|e"}[5m])) > 0.5'),
    ("sum(x)without(a,)", "sum without (a) (x)"),
    ("-2^2", "-2 ^ 2"),
    ("2^3^2", "2 ^ 3 ^ 2"),
    ("x offset 5m @ 3", "x @ 3.000 offset 5m"),
    ("x@-100", "x @ -100.000"),
    ("x[1m500ms] offset -1h", "x[1m500ms] offset -1h"),
    ("x[5m:]", "x[5m:]"),
    ("x[26m+4m:step()]", "x[26m + 4m:step()]"),
    ("rate(x[5m] smoothed)", "rate(x[5m] smoothed)"),
    ('{"foo.bar",a="c"}', '{"foo.bar", a="c"}'),
    ("a+fill(0)b", "a + fill (0) b"),
    ("a / on(b) group_left(c) d", "a / on (b) group_left (c) d"),
    ("0x1F + 1_000 + .5e1 + 1h30m", "31 + 1000 + 5 + 1h30m"),
    ("SUM BY (a) (x) OR y", "sum by (a) (x) or y"),
    ("topk(3, sum)", "topk(3, sum)"),
    (r'x{a="\x41\u0042\n"}', r'x{a="AB\n"}'),
    ("x # a remark\n + y", "x + y"),
]

REFUSED = [
    ("", 1, 1, "no expression found"),
    ("rat(x[5m])", 1, 1, 'did you mean "rate"'),
    ("x[0]", 1, 3, "greater than 0"),
    ("x[5m:0s]", 1, 6, "greater than 0"),
    ("x[1e400]", 1, 3, "out of range"),
    ("x[1e300]", 1, 3, "out of range"),
    ("1 + 1e309", 1, 5, "out of range"),
    ("0x" + "f" * 40, 1, 1, "out of range"),
    ('x{a="b" or c="d"}', 1, 9, 'expected "," or "}"'),
    ("1 == 2", 1, 3, "BOOL"),
    ("rate(x)", 1, 6, "expected type range vector"),
    ("x +\n  + }", 2, 5, "unexpected"),
    ('x{a=~"("}', 1, 6, "invalid regular expression"),
    ("x @ nan", 1, 5, "out of bounds"),
    ("x offset nan", 1, 10, "expected number"),
    ("{}", 1, 1, "non-empty matcher"),
    ('x{__name__="y"}', 1, 1, "set twice"),
    ('"a', 1, 1, "unterminated"),
    ("x[5m] offset 1m offset 2m", 1, 17, "multiple times"),
    ("(x)[5m]", 1, 4, "ranges only allowed"),
    ("x offset 5m [5m]", 1, 13, "before range"),
    ("a and on(x) group_left b", 1, 13, "no grouping allowed"),
    ("a + on(x) group_left(x) b", 1, 3, "ON and GROUP"),
    ("sum(a, b)", 1, 1, "expected 1, got 2"),
    ("rate(x[5m],)", 1, 11, "trailing commas"),
    ("deriv(x[5m] smoothed)", 1, 1, "not with deriv"),
    ("30m1h", 1, 1, "bad number or duration"),
    ("x\ud800", 1, 2, "invalid UTF-8"),
    ("1 + bool", 1, 5, "bool modifier"),
]


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_a_query_is_printed_in_canonical_form(text: str, canonical: str) -> None:
    assert parse(text).pretty() == canonical


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_the_canonical_form_reads_back_as_itself(text: str, canonical: str) -> None:
    assert parse(canonical).pretty() == canonical


@pytest.mark.parametrize(("text", "line", "column", "words"), REFUSED)
def test_a_bad_query_is_refused_with_its_place(text: str, line: int, column: int, words: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert words in str(caught.value)


def test_the_caret_stands_under_the_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse("sum(x) +\n  rat(y)")
    assert caught.value.caret_text == "  rat(y)\n  ^"


def test_the_error_of_a_long_line_shows_only_the_neighbourhood() -> None:
    with pytest.raises(ParseError) as caught:
        parse("x + " * 10_000 + "}")
    assert len(caught.value.caret_text) < 300


def test_a_long_query_prints_over_several_lines_that_parse_back() -> None:
    text = "sum by (host) (rate(requests_total[5m])) / " * 6 + "scalar(x)"
    pretty = parse(text).pretty()
    assert pretty.count("\n") > 4
    assert parse(pretty).pretty() == pretty


def test_a_query_is_parsed_once_per_process() -> None:
    assert parse("up == 0") is parse("up == 0")


def test_a_query_pickles_as_its_text() -> None:
    assert pickle.loads(pickle.dumps(parse("up == 0"))) is parse("up == 0")  # noqa: S301


def test_a_parse_error_pickles_with_its_place() -> None:
    with pytest.raises(ParseError) as caught:
        parse("x +")
    copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert (copy.line, copy.column, str(copy)) == (1, 4, str(caught.value))


def test_matchers_are_read_with_and_without_braces() -> None:
    wanted = (Matcher("=", "a", "b"), Matcher("=~", "c", "d.*"))
    assert parse_matchers('{a="b",c=~"d.*"}') == parse_matchers('a="b", c=~"d.*"') == wanted


def test_no_matchers_are_no_condition() -> None:
    assert parse_matchers("  ") == parse_matchers("{}") == ()


def test_bad_matchers_are_refused() -> None:
    with pytest.raises(ParseError):
        parse_matchers('{a="b"')


@pytest.mark.parametrize(
    ("text", "value", "operator", "number"),
    [
        ("rate(x[5m]) > 0.1", "rate(x[5m])", ">", 0.1),
        ("80 < cpu", "cpu", ">", 80.0),
        ("((up)) == (0)", "((up))", "==", 0.0),
        ("x <= -5", "x", "<=", -5.0),
        ("5m >= age", "age", "<=", 300.0),
    ],
)
def test_a_condition_is_split_into_value_and_limit(text: str, value: str, operator: str, number: float) -> None:
    split = split_condition(parse(text))
    assert split is not None
    assert (split.value, split.operator, split.number) == (value, operator, number)


@pytest.mark.parametrize("text", ["x > bool 1", "x > y", "x > 1 or y > 2", "1 > bool 2", "x + 1", "x > scalar(y)"])
def test_other_roots_are_not_split(text: str) -> None:
    assert split_condition(parse(text)) is None


def test_selectors_and_metric_names_are_read_off() -> None:
    query = parse('rate(a{x="1"}[5m]) / on() b + a{x="1"} + {__name__="c"}')
    assert query.metric_names() == ("a", "b", "c")
    assert [selector.range_ms for selector in query.selectors()] == [300_000, 0, 0, 0]


@pytest.mark.parametrize(
    ("text", "kind"), [("up", "vector"), ("up[5m]", "matrix"), ("1 + 1", "scalar"), ('"a"', "string")]
)
def test_a_query_knows_its_type(text: str, kind: str) -> None:
    assert parse(text).type == kind
