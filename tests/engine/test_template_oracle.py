"""Templates against promtool: the same text, error messages with their columns included."""

from pathlib import Path

import pytest

from alerts.engine import template
from alerts.engine.template import Context, Surroundings
from monitoring.promql import Labels

from .promtool import firing, needs_promtool

pytestmark = [pytest.mark.oracle, needs_promtool]

EXTERNAL = {"region": "eu", "replica": "r0"}
ELEMENT = Labels.of({"__name__": "usage", "tok": "a", "model": "bert", "at": "h.x.y:9100"})
VALUES = [95.5, 100.0, 1234567.0, 0.000012345, 1e6, 81e15, -0.5]
TEXTS = [
    "{{ $value }} {{ .Value }} {{ $labels.tok }} [{{ $labels.nope }}] {{ $labels }}",
    "{{ $externalLabels.region }}/{{ .ExternalLabels.replica }} {{ $externalLabels }}",
    "{{ . }}",
    "{{ $value | humanize }} {{ $value | humanize1024 }} {{ $value | humanizeDuration }}",
    "{{ $value | humanizePercentage }}",
    "{{ 1435065584.128 | humanizeTimestamp }} {{ (1435065584.128 | toTime).Year }}",
    '{{ printf "%.1f|%8.3f|%-8s|%q|%v|%d|%x" $value 1.5 "a" "q" $value 7 255 }}',
    '{{ printf "%e|%g|%t|%5d|%05d|%+d|%q|%v" $value $value true 3 4 5 $labels 6 }}',
    '{{ printf "%q %x %6s|%-6d|%06.2f" $labels "hi" "a" 5 2.5 }}',
    '{{ printf "%d" $value }} {{ printf "%s" 5 }} {{ printf "%z" 1 }} {{ printf "%d %d" 1 }} {{ printf "a" 1 "x" }}',
    '{{ printf "%6.2f%%" 12.345 }} {{ printf "%s" $labels }} {{ printf "%v" nil }} {{ print 1 2 "a" 3 4.5 }}',
    "{{ if gt $value 90.0 }}hot{{ else if gt $value 80.0 }}warm{{ else }}cold{{ end }}",
    "{{ gt $value 90 }}",
    "{{ humanize $labels.tok }}",
    "{{ title $value }}",
    "{{ title 5 }}",
    "{{ .Nope }}",
    "{{ $value.X }}",
    "{{ $labels.tok.x }}",
    "{{ index $labels 1 }} x",
    "{{ index $labels `tok` }} {{ len $labels.at }} {{ slice `abcdef` 1 3 }}",
    "{{ slice `abc` 1 9 }}",
    "{{ range $k, $v := $labels }}{{ $k }}={{ $v }};{{ end }}",
    "{{ range $value }}x{{ end }}",
    '{{ range query "usage" | sortByLabel "tok" }}{{ .Labels.tok }}={{ .Value }};{{ end }}',
    '{{ with query "nothing" }}{{ . | first | value }}{{ else }}none{{ end }}',
    '{{ query "nothing" | first | value }}',
    '{{ (query "usage").banana }}',
    "{{ template `nope` }}",
    '{{ define "x" }}{{ .arg0 }}-{{ .arg1 }}{{ end }}{{ template "x" (args 1 "b") }}',
    "a {{- /* c */ -}}   b {{- 1 -}} c {{ `raw` -}} d",
    '{{ reReplaceAll "(.*):.*" "$1" $labels.at }} {{ match "^h" $labels.at }} {{ match "z" "a" }}',
    '{{ reReplaceAll "x*" "-" "axxb" }} {{ reReplaceAll "(a)(b)?" "<$1$2$3>" "ab a" }}',
    '{{ toUpper "a" }}{{ title "a b-c d_e" }}',
    "{{ toUpper `größe µ ŉ` }} {{ toLower `ΑΣ İX` }} {{ title `ßa éb` }}",
    '{{ parseDuration "" }}',
    '{{ label "x" nil }}',
    "{{ stripPort $labels.at }} {{ stripDomain $labels.at }} {{ parseDuration `1h30m` }}",
    '{{ parseDuration "x" }}',
    '{{ graphLink `up > 1` }} {{ tableLink `a{b="c"}` }} {{ urlquery `a b&c` }} {{ html `<a>\'"` }}',
    "{{ and 1 0 }} {{ or `` `x` }} {{ not 1 }} {{ eq 1 1 }} {{ eq `a` `b` `a` }}",
    "{{ ne 1.5 1.5 }} {{ lt 1 2 }} {{ ge 2 3 }}",
    "{{ eq 1 1.0 }}",
    "{{ eq 1 }}",
    "{{ lt true false }}",
    "{{ 0x10 }} {{ 1_000 }} {{ 'a' }} {{ 1e3 }} {{ .5 }} {{ -3 }} {{ 1e100 }}",
    "{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $y := 3 }}{{ $x }}{{ $y }}{{ end }}{{ $x }}",
    "{{ $labels.tok | printf `%s-%s` `a` | toUpper }}",
    "{{ $labels.tok 5 }}",
    "{{ len 5 }}",
    "{{ 5 | len }}",
    "{{ first 5 }}",
    "{{ label `x` nil }}",
    "{{ true }} {{ false | not }} {{ `a` | eq `a` }}",
    "{{ with $x := $labels.tok }}{{ $x }}{{ end }}{{ with `` }}no{{ else }}yes{{ end }}",
    "{{ (`a` | toUpper) }} {{ (index $labels `tok`) }} {{ $labels.tok | len | printf `%03d` }}",
    "{{ block `b` $value }}[{{ . }}]{{ end }}",
    "{{ range $i, $e := query `usage` }}{{ $i }}:{{ $e.Labels.tok }} {{ end }}",
]


def answer(text: str) -> list[tuple[Labels, float]]:
    return [(ELEMENT, 0.0)] if text == "usage" else []


@pytest.mark.parametrize("value", VALUES)
def test_templates_expand_as_promtool_expands_them(value: float, tmp_path: Path) -> None:
    texts = {f"a{number}": text for number, text in enumerate(TEXTS)}
    rules = [{"alert": "T", "expr": "usage != 0", "annotations": texts}]
    # Annotations must be on one line in the report, which all of these are.
    found = firing(tmp_path, rules, {str(ELEMENT).replace(", ", ","): f"{value:.17g}"}, [0], EXTERNAL)
    ((_, annotations),) = found["T", 0]
    expected = dict(annotations)
    around = Surroundings(EXTERNAL, "", lambda text: [(ELEMENT, value)] if text == "usage" else [])
    context = Context(ELEMENT, value, surroundings=around)
    ours = {name: template.expand(template.compile(text, "__alert_T"), context) for name, text in texts.items()}
    differing = {texts[name]: (ours[name], expected.get(name)) for name in texts if ours[name] != expected.get(name)}
    assert differing == {}
