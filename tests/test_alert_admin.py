"""Receivers, routes, silences, messages and records in the admin: what is shown, refused, and never shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alerts import amfile, compose
from alerts.admin.slack_view import mrkdwn
from alerts.models import (
    Alert,
    Event,
    Group,
    GroupAlert,
    InhibitRule,
    Integration,
    Notification,
    Receiver,
    Route,
    Silence,
    SlackApp,
    TimeInterval,
)
from tests import build
from tests.build import T0
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
TOKEN = "xoxb-planted-SECRET-1234"
HOOK = "https://hooks.slack.com/services/T0/B0/planted-SECRET"


@pytest.fixture
def editor() -> Client:
    """A signed-in member of the group Editor."""
    return signed_in(member("Editor", "edgar"))


def shown(answer: Any) -> str:
    """The words of a page that was drawn."""
    assert answer.status_code == 200
    return answer.content.decode().replace("&#x27;", "'").replace("&quot;", '"')


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:alerts_{name}", args=args)


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_a_stored_token_never_reaches_the_page(editor: Client) -> None:
    app = build.slack_app(bot_token=TOKEN, signing_secret="planted-SECRET", app_token="xapp-planted-SECRET")
    pages = [editor.get(url("slackapp_change", app.pk)), editor.get(url("slackapp_changelist"))]
    text = "".join(shown(one) for one in pages)
    assert "SECRET" not in text and "•••• 1234" in text


def test_an_empty_field_keeps_the_token(editor: Client) -> None:
    app = build.slack_app(bot_token=TOKEN)
    editor.post(url("slackapp_change", app.pk), {"name": "Renamed", "bot_token": "", "signing_secret": "new"})
    app.refresh_from_db()
    assert (app.name, app.bot_token, app.signing_secret) == ("Renamed", TOKEN, "new")


def test_a_new_token_replaces_the_old_one(editor: Client) -> None:
    app = build.slack_app(bot_token=TOKEN)
    editor.post(url("slackapp_change", app.pk), {"name": "Slack", "bot_token": " xoxb-new-token "})
    app.refresh_from_db()
    assert app.bot_token == "xoxb-new-token"


@pytest.mark.parametrize(
    ("token", "words"), [("xoxp-user", "A bot token starts with xoxb-"), ("", "This field is required")]
)
def test_what_is_no_bot_token_is_refused(editor: Client, token: str, words: str) -> None:
    assert words in shown(editor.post(url("slackapp_add"), {"name": "Slack", "bot_token": token}))
    assert not SlackApp.objects.exists()


def receiver_form(rows: list[dict[str, Any]], saved: int = 0, **changes: Any) -> dict[str, Any]:
    data = {
        "name": "ml-team", "fallback": "", "integrations-TOTAL_FORMS": len(rows), "integrations-INITIAL_FORMS": saved,
    }  # fmt: skip
    for number, row in enumerate(rows):
        data |= {f"integrations-{number}-{name}": value for name, value in row.items()}
    return data | changes


def test_a_webhook_address_is_written_and_never_shown(editor: Client) -> None:
    row = {"kind": "slack_webhook", "url": HOOK, "send_resolved": "on", "is_enabled": "on"}
    assert editor.post(url("receiver_add"), receiver_form([row])).status_code == 302
    way = Integration.objects.get()
    text = shown(editor.get(url("receiver_change", way.receiver_id)))
    assert (way.url, "SECRET" in text) == (HOOK, False)


def test_an_empty_field_keeps_the_address(editor: Client) -> None:
    way = build.integration(kind="slack_webhook", url=HOOK)
    row = {"id": way.pk, "receiver": way.receiver_id, "kind": "slack_webhook", "url": "", "is_enabled": "on"}
    editor.post(url("receiver_change", way.receiver_id), receiver_form([row], saved=1))
    way.refresh_from_db()
    assert (way.url, way.send_resolved) == (HOOK, False)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"kind": "slack", "target": "#a"}, "Choose the Slack app"),
        ({"kind": "slack_webhook", "url": "hooks.slack.com"}, "it starts with https://"),
        ({"kind": "email", "target": "nobody"}, "Give an email address"),
        ({"kind": "email", "target": "a@b.test", "title_template": "{{ .Nope"}, "unclosed action"),
    ],
)
def test_a_way_out_that_leads_nowhere_is_refused(editor: Client, row: dict[str, Any], words: str) -> None:
    assert words in shown(editor.post(url("receiver_add"), receiver_form([row | {"is_enabled": "on"}])))
    assert not Receiver.objects.exists() and not Integration.objects.exists()


def test_a_receiver_without_a_way_out_says_that_messages_are_kept(editor: Client) -> None:
    build.receiver()
    assert "none: messages are kept" in shown(editor.get(url("receiver_changelist")))


def test_the_number_of_alerts_a_webhook_is_told_of_can_be_bounded(editor: Client) -> None:
    way = build.integration(kind="webhook", url=HOOK)
    row = {
        "id": way.pk,
        "receiver": way.receiver_id,
        "kind": "webhook",
        "url": "",
        "is_enabled": "on",
        "max_alerts": "7",
    }
    editor.post(url("receiver_change", way.receiver_id), receiver_form([row], saved=1))
    way.refresh_from_db()
    assert way.max_alerts == 7


# -- what a file owns --------------------------------------------------------------------------------------------------


OWNED = """
route: {receiver: default, routes: [{matchers: [a=b], receiver: default}]}
receivers: [{name: default, slack_configs: [{api_url: "https://hooks.slack.com/planted-SECRET", channel: "#a"}]}]
"""


@pytest.fixture
def owned() -> Receiver:
    """What a file brought."""
    amfile.keep(amfile.read(OWNED), "am.yml", T0)
    return Receiver.objects.get()


@pytest.mark.parametrize("name", ["route", "receiver"])
def test_what_a_file_owns_cannot_be_changed_in_the_admin(editor: Client, owned: Receiver, name: str) -> None:
    row = Route.objects.get(parent__isnull=False) if name == "route" else owned
    page = shown(editor.get(url(f"{name}_change", row.pk)))
    assert "am.yml owns this" in page and 'name="matchers"' not in page and 'name="name"' not in page


def test_the_address_of_an_owned_way_out_is_not_shown(editor: Client, owned: Receiver) -> None:
    assert "planted-SE" not in shown(editor.get(url("receiver_change", owned.pk)))


def test_what_a_file_owns_is_not_deleted_in_the_admin(editor: Client, owned: Receiver) -> None:
    assert editor.post(url("receiver_delete", owned.pk), {"post": "yes"}).status_code == 403
    assert Receiver.objects.exists()


def test_what_is_detached_can_be_changed(editor: Client, owned: Receiver) -> None:
    editor.post(url("receiver_detach", owned.pk), {"_form_submitted": "True"})
    assert 'name="name"' in shown(editor.get(url("receiver_change", owned.pk)))
    assert not Route.objects.exclude(managed_by="").exists()


# -- routes ------------------------------------------------------------------------------------------------------------


def route_form(**changes: Any) -> dict[str, Any]:
    return {"parent": "", "position": "0", "matchers": "", "receiver": "", "group_by": ""} | changes


def test_the_tree_is_listed_depth_first(editor: Client) -> None:
    root = build.route()
    second = build.route(root, position=1, matchers=["b=1"])
    first = build.route(root, position=0, matchers=["a=1"])
    below = build.route(first, matchers=["c=1"])
    rows = editor.get(url("route_changelist")).context["cl"].result_list
    assert [(row.pk, row.depth) for row in rows] == [(root.pk, 0), (first.pk, 1), (below.pk, 2), (second.pk, 1)]


def test_the_list_says_what_is_suspicious_about_the_tree(editor: Client) -> None:
    root = build.route()
    build.route(root, position=0, matchers=["a=1"])
    build.route(root, position=1, matchers=["a=1", "b=2"])
    page = shown(editor.get(url("route_changelist")))
    assert "is never reached" in page and "has no channel" in page and "have no escalation" in page


def test_a_tree_that_is_in_order_is_listed_without_remarks(editor: Client) -> None:
    root = build.route()
    build.integration(root.receiver)
    root.escalation = build.policy("night", (300, root.receiver))
    root.save()
    assert "Look at this" not in shown(editor.get(url("route_changelist")))


def test_a_branch_takes_its_matchers_a_line_each(editor: Client) -> None:
    root = build.route()
    data = route_form(parent=root.pk, matchers='severity="critical"\n\nhost=~"gpu-.*"\n', group_by="alertname, host")
    assert editor.post(url("route_add"), data).status_code == 302
    branch = Route.objects.get(parent=root)
    assert (branch.matchers, branch.group_by) == (['severity="critical"', 'host=~"gpu-.*"'], ["alertname", "host"])


def test_an_empty_grouping_is_inherited(editor: Client) -> None:
    root = build.route()
    editor.post(url("route_add"), route_form(parent=root.pk, matchers="a=1"))
    assert Route.objects.get(parent=root).group_by is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matchers": "severity"}, "bad matcher format"),
        ({"matchers": 'host=~"("'}, "host=~"),
        ({"group_by": "host, host"}, "Name each label once"),
        ({"group_wait_seconds": "soon"}, "is not a duration"),
        ({"group_interval_seconds": "0s"}, "greater than or equal to"),
        ({"matchers": "a=1\x00"}, "null character"),
    ],
)
def test_a_branch_that_cannot_work_is_refused(editor: Client, changes: dict[str, str], words: str) -> None:
    root = build.route()
    assert words in shown(editor.post(url("route_add"), route_form(parent=root.pk, **changes)))
    assert Route.objects.count() == 1


def test_a_second_root_is_refused_in_words(editor: Client) -> None:
    build.route()
    assert "There is a root route already" in shown(editor.post(url("route_add"), route_form()))


def test_alerts_that_fire_follow_a_changed_tree_at_once(editor: Client) -> None:
    root = build.route()
    alert = build.alert(severity="critical")
    editor.post(url("route_add"), route_form(parent=root.pk, matchers='severity="critical"'))
    group = GroupAlert.objects.get(alert=alert).group
    assert group.route == Route.objects.get(parent=root)


def test_alerts_that_fire_go_back_when_their_branch_is_deleted(editor: Client) -> None:
    root = build.route()
    branch = build.route(root, matchers=['severity="critical"'])
    alert = build.alert(severity="critical")
    Group.objects.create(key="k", route=branch, created_at=T0, next_flush_at=T0).members.create(
        alert=alert, joined_at=T0
    )
    editor.post(url("route_delete", branch.pk), {"post": "yes"})
    assert GroupAlert.objects.get(alert=alert).group.route == root


@pytest.mark.parametrize(
    ("spec", "is_saved"),
    [
        ('[{"weekdays": ["monday:friday"]}]', True), ('[{"weekdays": ["someday"]}]', False), ("{}", False),
        ("[", False), ("[1]", False),
    ],
)  # fmt: skip
def test_a_time_interval_is_what_alertmanager_takes(editor: Client, spec: str, is_saved: bool) -> None:
    answer = editor.post(url("timeinterval_add"), {"name": "office", "spec": spec})
    assert (answer.status_code, TimeInterval.objects.exists()) == (302 if is_saved else 200, is_saved)


# -- silences and inhibition -------------------------------------------------------------------------------------------


def silence_form(**changes: str) -> dict[str, str]:
    now = timezone.now()
    ends = now + timedelta(hours=1)
    return {
        "matchers": 'host="ana"', "comment": "disk swap",
        "starts_at_0": f"{now:%Y-%m-%d}", "starts_at_1": f"{now:%H:%M:%S}",
        "ends_at_0": f"{ends:%Y-%m-%d}", "ends_at_1": f"{ends:%H:%M:%S}",
    } | changes  # fmt: skip


def test_a_silence_carries_its_author() -> None:
    rita = member("Responder", "rita")
    signed_in(rita).post(url("silence_add"), silence_form())
    row = Silence.objects.get()
    assert (row.matchers, row.author, row.created_by) == (['host="ana"'], rita, "rita")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matchers": 'alertname=~".+"'}, "would silence every alert"), ({"matchers": ""}, "This field is required"),
        ({"matchers": "host"}, "bad matcher format"), ({"ends_at_0": "2001-01-01"}, "End"),
        ({"comment": ""}, "This field is required"),
    ],
)  # fmt: skip
def test_a_silence_of_everything_or_of_the_past_is_refused(editor: Client, changes: dict[str, str], words: str) -> None:
    text = shown(editor.post(url("silence_add"), silence_form(**changes)))
    assert words.lower() in text.lower()
    assert not Silence.objects.exists()


def test_a_silence_is_ended_and_extended_by_its_row(editor: Client) -> None:
    now = timezone.now()
    row = build.silence('host="ana"', starts_at=now - timedelta(hours=1), ends_at=now + timedelta(hours=1))
    editor.post(url("silence_extend_hour", row.pk), {"_form_submitted": "True"})
    row.refresh_from_db()
    assert row.ends_at == now + timedelta(hours=2)
    editor.post(url("silence_end_now", row.pk), {"_form_submitted": "True"})
    row.refresh_from_db()
    assert row.ends_at < now + timedelta(hours=1)


@pytest.mark.parametrize(("when", "comments"), [("active", ["now"]), ("pending", ["soon"]), ("expired", ["over"])])
def test_silences_are_found_by_when_they_hold(editor: Client, when: str, comments: list[str]) -> None:
    now, hour = timezone.now(), timedelta(hours=1)
    build.silence("a=1", starts_at=now - hour, ends_at=now + hour, comment="now")
    build.silence("a=1", starts_at=now + hour, ends_at=now + 2 * hour, comment="soon")
    build.silence("a=1", starts_at=now - 2 * hour, ends_at=now - hour, comment="over")
    rows = editor.get(url("silence_changelist"), {"when": when}).context["cl"].result_list
    assert [row.comment for row in rows] == comments


def test_an_inhibit_rule_takes_its_matchers_a_line_each(editor: Client) -> None:
    data = {
        "name": "down", "source_matchers": 'alertname="HostDown"', "target_matchers": 'severity="warning"',
        "equal": "host, rack", "is_enabled": "on",
    }  # fmt: skip
    assert editor.post(url("inhibitrule_add"), data).status_code == 302
    row = InhibitRule.objects.get()
    assert (row.source_matchers, row.equal) == (['alertname="HostDown"'], ["host", "rack"])


# -- messages ----------------------------------------------------------------------------------------------------------


def notification(alert: Alert | None = None, **fields: Any) -> Notification:
    """A message about `alert`, given up after one try unless said otherwise."""
    labels = {"host": "ana", "rack": "r1"}
    alert = alert or build.alert("CPUHigh", severity="critical", labels=labels, value=97, limit_value=95)
    group = Group.objects.create(key=f"k{alert.pk}", labels={}, created_at=T0, next_flush_at=T0)
    content = compose.message([alert], group=group, receiver="ml-team", at=T0 + timedelta(minutes=5), outbox_id="o1")
    given = {
        "dedup_key": f"d{alert.pk}", "message": compose.dump(content), "state": "dead", "status": "firing",
        "not_before": T0, "flushed_at": T0, "created_at": T0, "receiver_name": "ml-team", "severity": "critical",
        "last_error": "channel_not_found", "reason": "first message: 1 alert firing", "attempts": 1,
    }  # fmt: skip
    row = Notification.objects.create(**(given | fields))
    row.tries.create(at=T0, outcome="permanent", detail="channel_not_found")
    return row


def test_a_message_is_shown_as_it_looks_in_slack(editor: Client) -> None:
    text = shown(editor.get(url("notification_change", notification().pk)))
    for part in ("<b>Critical: CPUHigh · ana</b>", 'fill="#d32f2f"', "Acknowledge</button>", "<code>rack=r1</code>"):
        assert part in text


def test_a_message_shows_its_tries_and_answers(editor: Client) -> None:
    text = shown(editor.get(url("notification_change", notification().pk)))
    assert "channel_not_found" in text and "first message: 1 alert firing" in text


def test_a_message_that_holds_nothing_is_no_crash(editor: Client) -> None:
    row = notification(message={})
    assert "holds nothing that can be shown" in shown(editor.get(url("notification_change", row.pk)))


def test_the_message_escapes_what_labels_hold(editor: Client) -> None:
    alert = build.alert("X", labels={"host": "<img src=x onerror=1>"})
    assert "<img src=x" not in shown(editor.get(url("notification_change", notification(alert).pk)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("*bold* and _soft_", "<b>bold</b> and <i>soft</i>"), ("`a &lt; b`", "<code>a &lt; b</code>"),
        ("snake_case_name", "snake_case_name"), ("a\nb", "a<br>b"),
        ("<https://x.test|see>", '<a href="https://x.test" rel="noopener noreferrer">see</a>'),
        ("<javascript:alert(1)|x>", "&lt;javascript:alert(1)|x&gt;"), ("&amp;lt;b&amp;gt;", "&amp;lt;b&amp;gt;"),
        ("<!date^1772625600^{date_short}|Mar 4>", '<time datetime="2026-03-04T12:00:00+00:00">Mar 4</time>'),
        ("<b>raw</b>", "&lt;b&gt;raw&lt;/b&gt;"),
    ],
)  # fmt: skip
def test_slack_markup_becomes_safe_html(text: str, expected: str) -> None:
    assert str(mrkdwn(text)) == expected


@pytest.mark.parametrize(
    ("state", "offered"),
    [("dead", {"Send again", "Discard"}), ("queued", {"Discard"}), ("kept", {"Discard"}), ("sent", set())],
)
def test_a_message_offers_what_makes_sense_in_its_state(editor: Client, state: str, offered: set[str]) -> None:
    text = shown(editor.get(url("notification_change", notification(state=state).pk)))
    assert {words for words in ("Send again", "Discard") if words in text} == offered


def test_a_message_that_was_given_up_is_sent_again(editor: Client) -> None:
    row = notification()
    editor.post(url("notification_retry", row.pk), {"_form_submitted": "True"})
    row.refresh_from_db()
    assert (row.state, row.attempts) == ("queued", 0)


def test_a_message_is_discarded(editor: Client) -> None:
    row = notification()
    editor.post(url("notification_discard", row.pk), {"_form_submitted": "True"})
    row.refresh_from_db()
    assert row.state == "discarded"


@pytest.mark.parametrize("verb", ["retry", "discard"])
def test_a_viewer_neither_sends_again_nor_discards(verb: str) -> None:
    row, client = notification(), signed_in(member("Viewer"))
    assert client.post(url(f"notification_{verb}", row.pk), {"_form_submitted": "True"}).status_code == 403
    row.refresh_from_db()
    assert row.state == "dead"


# -- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alert", "event", "notification"])
def test_nobody_edits_adds_or_deletes_a_record(name: str) -> None:
    root = signed_in(member("Admin", "root"))
    alert = build.alert()
    row = {
        "alert": alert, "event": Event.objects.create(alert=alert, at=T0, kind="note"), "notification": notification(),
    }[name]  # fmt: skip
    assert root.get(url(f"{name}_add")).status_code == 403
    assert root.post(url(f"{name}_change", row.pk), {}).status_code == 403
    assert root.post(url(f"{name}_delete", row.pk), {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("name", ["alert", "event", "notification"])
def test_a_large_list_is_counted_no_further_than_it_pages(
    editor: Client, name: str, django_assert_max_num_queries: Any
) -> None:
    notification()
    Event.objects.create(alert=Alert.objects.get(), at=T0, kind="note")
    editor.get(url(f"{name}_changelist"))
    with django_assert_max_num_queries(15) as seen:
        editor.get(url(f"{name}_changelist"))
    asked = [one["sql"] for one in seen.captured_queries if f'FROM "alerts_{name}"' in one["sql"]]
    counts = [sql for sql in asked if "COUNT(*)" in sql]
    assert counts and all("LIMIT 10000" in sql for sql in counts)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("alert", "No alert has ever fired."), ("event", "Nothing has happened yet."),
        ("receiver", "Nobody is told yet."),
        ("notification", "Nothing has been told yet."), ("silence", "Nothing is silenced."), ("route", "No route yet."),
        ("slackapp", "No Slack app yet."), ("inhibitrule", "No inhibit rule yet."), ("rulegroup", "No rule group yet."),
        ("timeinterval", "No time interval yet."),
    ],
)  # fmt: skip
def test_each_empty_list_says_what_it_is_for(editor: Client, name: str, words: str) -> None:
    assert words in shown(editor.get(url(f"{name}_changelist")))


@pytest.mark.parametrize("name", ["slackapp", "receiver", "route", "timeinterval", "inhibitrule", "rulegroup"])
def test_a_responder_changes_no_way_out_and_no_route(name: str) -> None:
    client = signed_in(member("Responder"))
    assert client.get(url(f"{name}_changelist")).status_code == 200
    assert client.get(url(f"{name}_add")).status_code == 403
