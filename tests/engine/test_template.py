"""Templates of labels and annotations (PT)."""

import math
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerts.engine import template
from alerts.engine.template import Context, Surroundings, TemplateError
from monitoring.promql import EvaluationError, Labels

LABELS = Labels.of({"__name__": "usage", "tok": "a", "model": "bert", "instance": "h.x.y:9100"})


def ask(text: str) -> Sequence[tuple[Labels | Mapping[str, str], float]]:
    """Answer two queries and refuse the rest."""
    if text == "usage":
        return [(Labels.of({"tok": "b"}), 12.0), (Labels.of({"tok": "a"}), 95.5)]
    if text == "limit":
        return [(Labels.of({}), 4096.0)]
    if text == "nothing":
        return []
    raise EvaluationError("no such thing")


AROUND = Surroundings({"region": "eu", "replica": "r0"}, "http://portal:9090/p", ask, 1353755652.0)


def expand(text: str, value: float = 95.5, threshold: float | None = None, severity: str = "") -> str:
    return template.expand(template.compile(text, "__alert_T"), Context(LABELS, value, threshold, severity, AROUND))


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("v={{ $value }} {{ .Value }}", "v=95.5 95.5"),
        ("{{ $labels.tok }}/{{ .Labels.model }}", "a/bert"),
        ("{{ $labels.__name__ }}", "usage"),
        ("[{{ $labels.nope }}]", "[]"),
        ("{{ $externalLabels.region }}/{{ .ExternalLabels.replica }}", "eu/r0"),
        ("{{ $externalURL }} {{ .ExternalURL }} {{ externalURL }}", " ".join(["http://portal:9090/p"] * 3)),
        ("{{ $labels }}", "map[__name__:usage instance:h.x.y:9100 model:bert tok:a]"),
        ("{{ . | len }}", "<error"),
    ],
)
def test_PT_1_presets_and_fields(text: str, output: str) -> None:
    assert expand(text).startswith(output)


@pytest.mark.parametrize(
    ("value", "output"),
    [
        (95.0, "95"),
        (95.5, "95.5"),
        (1e6, "1e+06"),
        (999999.0, "999999"),
        (123456.75, "123456.75"),
        (1234567.0, "1.234567e+06"),
        (1e-4, "0.0001"),
        (1.5e-5, "1.5e-05"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1e21, "1e+21"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (math.nan, "NaN"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
    ],
)
def test_PT_2_the_value_prints_as_go_prints_it(value: float, output: str) -> None:
    assert expand("{{ $value }}", value) == output


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ('{{ $value | printf "%.1f" }}', "95.5"),
        ('{{ printf "%5.2f|%-6s|%03d|%x|%q|%v%%" 1.5 "ab" 7 255 "q" true }}', ' 1.50|ab    |007|ff|"q"|true%'),
        ('{{ printf "%s %d" "a" }}', "a %!d(MISSING)"),
        ('{{ printf "%d" 1.5 }}', "%!d(float64=1.5)"),
        ('{{ printf "%s" "a" 1 }}', "a%!(EXTRA int=1)"),
        ('{{ printf "%e %g %+d %6.3e" 1500.0 0.5 3 1500.0 }}', "1.500000e+03 0.5 +3 1.500e+03"),
        ("{{ 1234567.0 | humanize }} {{ 1048576.0 | humanize1024 }}", "1.235M 1Mi"),
        ("{{ 3661.0 | humanizeDuration }} {{ 0.1234 | humanizePercentage }}", "1h 1m 1s 12.34%"),
        ("{{ 0.0 | humanizeTimestamp }}", "1970-01-01 00:00:00 +0000 UTC"),
        ('{{ title "model down" }} {{ toUpper "a-b" }} {{ toLower "AB" }}', "Model Down A-B ab"),
        ("{{ toUpper `größe` }} {{ toLower `ΑΣ` }}", "GRÖßE ασ"),
        ('{{ reReplaceAll "(.*):.*" "$1" "host:9100" }}', "host"),
        ('{{ reReplaceAll "x*" "-" "axxb" }}', "-a-b-"),
        ('{{ reReplaceAll "(?P<n>b)" "${n}${n}$$" "abc" }}', "abb$c"),
        ('{{ match "a.*" "xabc" }} {{ match "^a" "xabc" }}', "true false"),
        ("{{ stripPort $labels.instance }} {{ stripDomain $labels.instance }}", "h.x.y h:9100"),
        ('{{ parseDuration "1h30m" }}', "5400"),
        ('{{ urlQueryEscape "a b&c" }} {{ urlquery "x/y" }}', "a+b%26c x%2Fy"),
        ('{{ len "héé" }} {{ len $labels }} {{ index $labels "tok" }}', "5 4 a"),
        ('{{ slice "abcdef" 1 3 }}', "bc"),
        ('{{ print 1 2 "x" 3 }} {{ println "a" 1 }}', "1 2x3 a 1\n"),
        ("{{ html \"<a href='x'>\" }}", "&lt;a href=&#39;x&#39;&gt;"),
        ("{{ pathPrefix }}", "/p"),
        ('{{ (now | toTime).Format "2006-01-02T15:04:05Z07:00" }}', "2012-11-24T11:14:12Z"),
        ('{{ (now | toTime).Format "Jan _2 3:04PM .000" }}', "Nov 24 11:14AM .000"),
        ("{{ (toDuration 90.5).Minutes }} {{ toDuration 0.0015 }}", "1.5083333333333333 1.5ms"),
    ],
)
def test_PT_3_functions(text: str, output: str) -> None:
    assert expand(text) == output


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("{{ if gt $value 90.0 }}critical{{ else }}warning{{ end }}", "critical"),
        ("{{ if lt $value 90.0 }}a{{ else if eq $labels.tok `a` }}b{{ else }}c{{ end }}", "b"),
        ("{{ if and $labels.tok (not $labels.nope) }}y{{ end }}", "y"),
        ("{{ or $labels.nope `none` }} {{ and 1 0 }}", "none 0"),
        ("{{ with $labels.model }}<{{ . }}>{{ else }}none{{ end }}", "<bert>"),
        ("{{ with $labels.nope }}x{{ else with $labels.tok }}{{ . }}{{ end }}", "a"),
        ("{{ with $x := $labels.tok }}{{ $x }}{{ $.Value }}{{ end }}", "a95.5"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ end }}{{ $x }}", "1"),
        (
            "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
            "__name__=usage;instance=h.x.y:9100;model=bert;tok=a;",
        ),
        ('{{ range $i, $s := query "usage" }}{{ $i }}{{ $s.Labels.tok }}{{ end }}', "0b1a"),
        ('{{ range query "nothing" }}x{{ else }}empty{{ end }}', "empty"),
        (
            "{{ range 4 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ('{{ define "x" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template "x" (args 1 "b") }}', "1-b"),
        ('{{ block "x" $value }}[{{ . }}]{{ end }}', "[95.5]"),
        ('{{ define "a" }}<{{ . }}>{{ end }}{{ tmpl "a" 5 }}', "<5>"),
        ("a  {{- /* why */ -}}  b {{- 1 -}} c", "ab1c"),
        ("{{/* nothing */}}x", "x"),
        ("{{ 0x10 }} {{ 1_000 }} {{ 'a' }} {{ 1e3 }} {{ .5 }} {{ -3 }}", "16 1000 97 1000 0.5 -3"),
        ('{{ "tab\\tq\\"\\u00e9" }} {{ `raw\\n` }}', 'tab\tq"é raw\\n'),
        ("{{ eq 1 2 1 }} {{ ne `a` `b` }} {{ le 1 1 }} {{ ge 1 2 }}", "true true true false"),
        ("{{ true }}{{ false }}", "truefalse"),
    ],
)
def test_the_language(text: str, output: str) -> None:
    assert expand(text) == output


def test_PT_4_query_asks_and_sorts() -> None:
    text = '{{ range query "usage" | sortByLabel "tok" }}{{ .Labels.tok }}={{ .Value }};{{ end }}'
    assert expand(text) == "a=95.5;b=12;"
    assert expand('{{ with query "limit" }}{{ . | first | value | humanize }}{{ end }}') == "4.096k"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{{ humanize "x" }}', 'at <humanize "x">: error calling humanize: strconv.ParseFloat: parsing "x"'),
        ('{{ query "nothing" | first | value }}', "at <first>: error calling first: first() called on vector with no"),
        ('{{ query "not a query(" }}', "error calling query: no such thing"),
        ("{{ gt $value 90 }}", "at <gt $value 90>: error calling gt: incompatible types for comparison"),
        ("{{ .Nope }}", "at <.Nope>: can't evaluate field Nope in type struct {"),
        ("{{ $value.X }}", "at <$value.X>: can't evaluate field X in type float64"),
        ("{{ title $value }}", "wrong type for value; expected string; got float64"),
        ("{{ title 5 }}", "expected string; found 5"),
        ("{{ title }}", "wrong number of args for title: want 1 got 0"),
        ('{{ reReplaceAll "(" "" "x" }}', "error calling reReplaceAll: error parsing regexp"),
        ('{{ template "nope" }}', 'template "nope" not defined'),
        ("{{ index $labels 1 }}", "value has type int; should be string"),
        ("{{ $labels.tok 1 }}", "tok is not a method but has arguments"),
        ("{{ range $value }}{{ end }}", "range can't iterate over 95.5"),
        ('{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}', "exceeded maximum template depth"),
    ],
)
def test_PT_6_an_error_is_the_text(text: str, message: str) -> None:
    found = expand(text)
    assert found.startswith("<error expanding template: error executing template __alert_T: template: __alert_T:1:")
    assert message in found


def test_PT_6_the_column_counts_what_prometheus_puts_before_the_template() -> None:
    assert 'template: __alert_T:1:117: executing "__alert_T" at <' in expand('ab{{ humanize "x" }}')


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("{{", 1, 1, "unclosed action"),
        ("a\n  {{ $x }}", 2, 6, 'undefined variable "$x"'),
        ("{{ nope 1 }}", 1, 4, 'function "nope" not defined'),
        ("{{ if true }}x", 1, 15, "an {{end}} is missing"),
        ("{{ end }}", 1, 4, "unexpected {{end}}"),
        ("{{ }}", 1, 4, "missing value for command"),
        ('{{ "abc }}', 1, 4, "unterminated quoted string"),
        ("{{ 1x }}", 1, 4, "bad number syntax"),
        ("{{ $value | }}", 1, 11, "missing command after |"),
        ("{{ $value | 5 }}", 1, 13, "non executable command in pipeline"),
        ("{{ break }}", 1, 4, "outside {{range}}"),
        ("{{/* x }}", 1, 3, "unclosed comment"),
        ("{{ if true }}{{ define `x` }}{{ end }}{{ end }}", 1, 17, "define stands at the top level"),
        ("{{ a$b }}", 1, 5, "bad character"),
        ("{{ ; }}", 1, 4, "unrecognized character in action: U+003B ';'"),
        ('{{ define "x" }}{{ end }}{{ define "x" }}{{ end }}', 1, 29, "multiple definition"),
        ("{{ " + "(" * 60 + "1" + ")" * 60 + " }}", 1, 54, "nested deeper than 50 levels"),
    ],
)
def test_a_template_that_does_not_parse_names_line_and_column(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template.compile(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ range 1000000000 }}{{ end }}{{ range 1000000000 }}x{{ end }}", "steps"),
        ('{{ $x := "aaaaaaaaaa" }}{{ range 30 }}{{ $x = printf "%s%s" $x $x }}{{ end }}', "longer than"),
        ('{{ range 99999 }}{{ "0123456789" }}{{ end }}', "longer than"),
        ('{{ reReplaceAll "" "${0}aaaaaaaaaaa" (printf "%09999d" 1) }}', "longer than"),
    ],
)
def test_what_runs_or_grows_without_end_is_stopped(text: str, message: str) -> None:
    assert message in expand(text)


def test_nothing_of_python_can_be_reached() -> None:
    for text in ("{{ $labels.__class__ }}", "{{ .__class__ }}", "{{ $value.real }}", "{{ (now | toTime).moment }}"):
        found = expand(text)
        assert found == "" or found.startswith("<error expanding template")


def test_limit_and_severity_of_a_threshold_can_be_told() -> None:
    text = "{{ $value }} over {{ $threshold }} ({{ $severity }}, {{ .Threshold }})"
    assert expand(text, 95.0, 80.0, "warning") == "95 over 80 (warning, 80)"


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("plain", set()),
        ("{{ $labels.a }}", {"labels"}),
        ("{{ if gt .Value 1.0 }}{{ $severity }}{{ end }}", {"value", "severity"}),
        ('{{ query "up" | first | value }}{{ now }}', {"query", "now"}),
        ("{{ . }}", {"labels", "value", "threshold", "severity", "external"}),
        ('{{ define "x" }}{{ externalURL }}{{ end }}', {"external"}),
    ],
)
def test_a_template_knows_what_it_depends_on(text: str, uses: set[str]) -> None:
    assert template.compile(text).uses == uses


simple_actions = st.sampled_from(
    [
        "{{ $value }}",
        "{{ .Value }}",
        "{{ $labels.tok }}",
        "{{ $labels.nope }}",
        "{{ $value | humanize }}",
        "{{ humanizePercentage $value }}",
        '{{ printf "%.2f" $value }}',
        '{{ $value | printf "%v of %v" $labels.tok }}',
        "{{ title $labels.tok }}",
        "{{ title $value }}",
        "{{ $threshold }}",
        "{{ $severity | toUpper }}",
        "{{ $externalLabels.region }}",
        "{{ humanize $labels.tok }}",
        "{{ 5 }}",
        "{{ gt $value 1.5 }}",
        "{{ gt $value 1 }}",
        "{{ len $labels.tok }}",
        "text ",
    ]
)


@given(st.lists(simple_actions, max_size=4), st.floats(), st.sampled_from([None, 80.0]))
def test_the_short_way_gives_what_the_interpreter_gives(actions: list[str], value: float, limit: float | None) -> None:
    compiled = template.compile("".join(actions))
    context = Context(LABELS, value, limit, "warning", AROUND)
    assert compiled.parts is not None
    try:
        expected = compiled.render(context)
    except TemplateError as error:
        expected = f"<error expanding template: error executing template template: {error.message}>"
    assert template.expand(compiled, context) == expected


@given(st.text(alphabet='{} $.|()"`-:=/*abcdefinrtwhxl019\n', max_size=60))
def test_any_text_compiles_and_expands_or_is_refused_as_a_template_error(text: str) -> None:
    try:
        compiled = template.compile(text)
    except TemplateError:
        return
    assert isinstance(template.expand(compiled, Context(LABELS, 1.0, surroundings=AROUND)), str)
