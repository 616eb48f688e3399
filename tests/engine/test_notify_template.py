"""Titles and texts of imported receivers."""

from datetime import UTC, datetime

import pytest

from alerts.engine import notify_template
from alerts.engine.message import AlertLine, build
from monitoring.promql import Labels

T0 = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


@pytest.fixture
def message():
    """Two firing alerts and a resolved one."""
    lines = [
        AlertLine(Labels.of({"alertname": "A", "tok": tok, "job": "web"}), tok, T0, ends_at=end,
                  annotations={"summary": f"{tok} is high"}, generator_url="http://p/graph")
        for tok, end in (("1", None), ("2", None), ("3", T0))
    ]  # fmt: skip
    groups = Labels.of({"job": "web", "alertname": "A"})
    return build(lines, group_labels=groups, receiver="ops", at=T0, external_url="http://portal")


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("{{ .Status | toUpper }} {{ .Receiver }} {{ .ExternalURL }}", "FIRING ops http://portal"),
        ("{{ .GroupLabels.alertname }}/{{ .CommonLabels.job }}", "A/web"),
        ("{{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}", "alertname=A job=web "),
        ('{{ .GroupLabels.SortedPairs.Values | join "," }}', "A,web"),
        ('{{ .GroupLabels.Names | join "," }}', "alertname,job"),
        ("{{ .Alerts.Firing | len }} {{ .Alerts.Resolved | len }} {{ len .Alerts }}", "2 1 3"),
        ("{{ range .Alerts }}{{ .Status }} {{ .Labels.tok }};{{ end }}", "firing 1;firing 2;resolved 3;"),
        ("{{ range .Alerts.Firing }}{{ .Annotations.summary }};{{ end }}", "1 is high;2 is high;"),
        ("{{ (index .Alerts 0).Fingerprint }} {{ (index .Alerts 0).GeneratorURL }}", "1 http://p/graph"),
        ('{{ (index .Alerts 0).StartsAt.Format "15:04" }}', "12:00"),
        ("{{ .CommonAnnotations.nothing }}", ""),
        ("{{ range $name, $value := .CommonLabels }}{{ $name }}={{ $value }} {{ end }}", "alertname=A job=web "),
        ('{{ define "t" }}<{{ .Status }}>{{ end }}{{ template "t" . }}', "<firing>"),
        ("{{ if .Alerts.Resolved }}yes{{ end }}", "yes"),
    ],
)
def test_a_text_is_expanded_as_alertmanager_does(message, text, expanded):
    assert notify_template.expand(text, message) == expanded


@pytest.mark.parametrize("text", ["{{ .Status", "{{ nofunction 1 }}", '{{ template "slack.default.title" . }}'])
def test_what_cannot_be_expanded_is_an_error(message, text):
    with pytest.raises(notify_template.TemplateError):
        notify_template.expand(text, message)


def test_a_bad_text_is_found_before_there_is_a_message():
    with pytest.raises(notify_template.TemplateError):
        notify_template.check("{{ if }}")
