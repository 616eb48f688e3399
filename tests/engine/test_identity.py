"""Which alert an element is (PA-2, PT-5, PT-7)."""

import pytest

from alerts.engine.identity import IdentityBuilder
from alerts.engine.template import Surroundings, TemplateError
from monitoring.promql import Labels

ELEMENT = Labels.of({"__name__": "load", "host": "a", "job": "app"})


def identity(rule_labels: dict[str, str], value: float = 1.0, severity: str = "") -> dict[str, str]:
    return IdentityBuilder("High", rule_labels).one(ELEMENT, value, severity).as_dict()


def test_PA_2_the_metric_name_goes_and_alertname_comes() -> None:
    assert identity({}) == {"alertname": "High", "host": "a", "job": "app"}


def test_PA_2_rule_labels_override_those_of_the_element() -> None:
    assert identity({"job": "mine"})["job"] == "mine"


def test_PA_2_alertname_overrides_a_rule_label() -> None:
    assert identity({"alertname": "Other"})["alertname"] == "High"


def test_PA_2_a_label_that_expands_to_nothing_is_removed() -> None:
    assert "host" not in identity({"host": ""})
    assert "host" not in identity({"host": "{{ $labels.nosuch }}"})


def test_PT_1_templates_see_the_labels_before_the_rule_labels() -> None:
    assert identity({"job": "mine", "was": "{{ $labels.job }} of {{ $labels.__name__ }}"})["was"] == "app of load"


def test_PT_6_an_expansion_error_is_the_label() -> None:
    assert identity({"bad": '{{ humanize "x" }}'})["bad"].startswith("<error expanding template: ")


def test_the_severity_of_a_threshold_overrides_that_of_the_rule() -> None:
    assert identity({"severity": "page"}, severity="critical")["severity"] == "critical"


def test_PT_7_a_label_made_from_the_value_is_another_alert_for_each_value() -> None:
    builder = IdentityBuilder("High", {"severity": "{{ if gt $value 90.0 }}critical{{ else }}warning{{ end }}"})
    low, high = builder.many([ELEMENT, ELEMENT], [85.0, 95.0])
    assert (low.get("severity"), high.get("severity"), builder.is_stable) == ("warning", "critical", False)


def test_an_identity_is_built_once_and_found_again() -> None:
    builder = IdentityBuilder("High", {"team": "ml", "on": "{{ $labels.host }}"})
    assert builder.many([ELEMENT], [1.0])[0] is builder.many([ELEMENT], [2.0])[0]
    assert builder.is_stable


def test_each_severity_has_its_own_identities() -> None:
    builder = IdentityBuilder("High", {})
    found = [builder.many([ELEMENT], [1.0], severity)[0].get("severity") for severity in ("warning", "critical")]
    assert found == ["warning", "critical"]


def test_external_labels_reach_label_templates() -> None:
    builder = IdentityBuilder("High", {"region": "{{ $externalLabels.region }}"})
    around = Surroundings(external_labels={"region": "eu"})
    assert builder.many([ELEMENT], [1.0], surroundings=around)[0].get("region") == "eu"


def test_a_wrong_template_is_refused_with_its_place() -> None:
    with pytest.raises(TemplateError, match=r'line 1, column 4: undefined variable "\$nope"'):
        IdentityBuilder("High", {"bad": "{{ $nope }}"})
