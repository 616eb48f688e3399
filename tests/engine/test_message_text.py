"""Plain text, email and webhook: the same message in other dress."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alerts.engine.message import AlertLine, Custom, Message, build
from alerts.engine.message_text import email, plain_text
from alerts.engine.message_webhook import quote_meta, webhook_v4
from monitoring.promql import Labels

AT = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)


def line(host: str = "h1", **values: object) -> AlertLine:
    known: dict[str, object] = {
        "labels": Labels.of({"alertname": "Disk", "severity": "critical", "host": host, "env": "prod"}),
        "fingerprint": "5ee1cddb8246637c",
        "starts_at": AT - timedelta(minutes=12),
        "annotations": {"summary": "Disk is <b>full</b>", "runbook_url": "https://wiki.example.org/disk"},
        "generator_url": "https://portal.example.org/graph",
        "value": 0.97, "limit": 0.9, "unit": "ratio", "limit_reason": "default",
    }  # fmt: skip
    return AlertLine(**{**known, **values})  # type: ignore[arg-type]


def message(*lines: AlertLine, **values: object) -> Message:
    known: dict[str, object] = {
        "group_labels": Labels.of({"alertname": "Disk"}),
        "receiver": "ops.mail",
        "at": AT,
        "owner": "ops",
    }
    return build(lines or (line(),), **{**known, **values})  # type: ignore[arg-type]


def test_plain_text_tells_what_how_much_since_when_and_where_to_look() -> None:
    assert plain_text(message(group_url="https://portal.example.org/groups/1")) == (
        "Critical: Disk · h1\n"
        "\n"
        "Disk · h1\n"
        "  97% > 90% · default\n"
        "  since 2026-11-22 08:48 UTC, for 12 min\n"
        "  Disk is <b>full</b>\n"
        "  env=prod\n"
        "  Graph: https://portal.example.org/graph\n"
        "  Runbook: https://wiki.example.org/disk\n"
        "\n"
        "owner ops · receiver ops.mail\n"
        "https://portal.example.org/groups/1\n"
    )


def test_plain_text_of_a_resolve_tells_from_when_to_when() -> None:
    text = plain_text(message(line(ends_at=AT - timedelta(minutes=2), value=0.5, peak=0.99)))
    assert "now 50%, limit 90%, peak 99%" in text
    assert "from 2026-11-22 08:48 UTC to 2026-11-22 08:58 UTC, lasted 10 min" in text


def test_plain_text_counts_what_it_leaves_out() -> None:
    text = plain_text(message(*(line(f"h{i}") for i in range(60))))
    assert text.count("  since ") == 50
    assert "+ 10 more" in text


def test_an_email_has_one_line_of_subject_whatever_the_labels_hold() -> None:
    mail = email(message(line("h\r\nBcc: x@example.org\r\n" + "y" * 500)))
    assert not set(mail.subject) & set("\r\n")
    assert len(mail.subject) <= 200


def test_the_html_part_escapes_every_text() -> None:
    html = email(message(line('"><script>alert(1)</script>'))).html
    assert "<script>" not in html
    assert "Disk is &lt;b&gt;full&lt;/b&gt;" in html


def test_the_html_part_counts_what_it_leaves_out() -> None:
    assert "+ 10 more" in email(message(*(line(f"h{i}") for i in range(60)))).html


def test_the_html_part_links_only_where_it_is_safe() -> None:
    html = email(message(line(annotations={"runbook_url": "javascript:alert(1)"}))).html
    assert "javascript" not in html
    assert '<a href="https://portal.example.org/graph">' in html


def test_a_receivers_own_texts_take_the_place_of_ours() -> None:
    mail = email(message(custom=Custom("my title", "my <text>")))
    assert mail.subject == "my title"
    assert mail.text == "my title\n\nmy <text>"
    assert "<pre>my &lt;text&gt;</pre>" in mail.html


def test_AP_9_the_webhook_body_is_that_of_alertmanager() -> None:
    body = webhook_v4(message(line("h1"), line("h2", ends_at=AT), external_url="https://p", upstream_key="{}:{}"))
    assert {name: body[name] for name in body if name != "alerts"} == {
        "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "ops\\.mail",
        "groupLabels": {"alertname": "Disk"},
        "commonLabels": {"alertname": "Disk", "severity": "critical", "env": "prod"},
        "commonAnnotations": {"summary": "Disk is <b>full</b>", "runbook_url": "https://wiki.example.org/disk"},
        "externalURL": "https://p",
    }  # fmt: skip
    assert [(alert["status"], alert["endsAt"]) for alert in body["alerts"]] == [
        ("firing", "0001-01-01T00:00:00Z"),
        ("resolved", "2026-11-22T09:00:00Z"),
    ]
    assert set(body["alerts"][0]) == {
        "status",
        "labels",
        "annotations",
        "startsAt",
        "endsAt",
        "generatorURL",
        "fingerprint",
    }


def test_AP_9_max_alerts_cuts_the_list_and_says_by_how_many() -> None:
    body = webhook_v4(message(*(line(f"h{i}") for i in range(5))), max_alerts=2)
    assert (len(body["alerts"]), body["truncatedAlerts"]) == (2, 3)


@pytest.mark.parametrize(("name", "quoted"), [("a-b", "a-b"), ("a.b+c", r"a\.b\+c"), ("a/b c", "a/b c")])
def test_AP_9_the_receiver_is_quoted_as_a_regular_expression(name: str, quoted: str) -> None:
    assert quote_meta(name) == quoted
