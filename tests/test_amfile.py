"""Alertmanager files: read and refused by path, kept as rows, written again for amtool."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from django.core.management import CommandError, call_command

from alerts import amfile
from alerts.amfile import ConfigError
from alerts.models import (
    Alert,
    Group,
    Ingest,
    InhibitRule,
    Integration,
    Notification,
    Receiver,
    Route,
    SlackApp,
    TimeInterval,
)
from tests import build
from tests.build import T0

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
AMTOOL = shutil.which("amtool")
pytestmark = pytest.mark.django_db
HOOK = "https://hooks.slack.com/services/T0/B0/SECRET"
WHOLE = f"""
global:
  resolve_timeout: 7m
  slack_api_url: {HOOK}
  smtp_smarthost: mail.example:25
route:
  receiver: default
  group_by: [alertname, host]
  group_wait: 10s
  group_interval: 2m
  repeat_interval: 3h
  routes:
  - matchers: ['severity="critical"', 'team=~"ml|ai"']
    receiver: oncall
    continue: true
    group_by: ['...']
    mute_time_intervals: [nights]
  - match: {{service: db}}
    match_re: {{env: prod.*}}
    active_time_intervals: [office]
    routes:
    - matchers: [team=db]
      receiver: db
receivers:
- name: default
  slack_configs:
  - channel: '#alerts'
    title: '{{{{ .CommonLabels.alertname }}}}'
    text: '{{{{ range .Alerts }}}}{{{{ .Annotations.summary }}}}{{{{ end }}}}'
- name: oncall
  slack_configs: [{{api_url: 'https://hooks.slack.com/x', channel: '#oncall', send_resolved: true}}]
  webhook_configs: [{{url: 'http://pager.example/hook', max_alerts: 5}}]
- name: db
  email_configs: [{{to: 'db@example.org'}}]
inhibit_rules:
- source_matchers: [severity="critical"]
  target_matchers: [severity="warning"]
  equal: [alertname, host]
time_intervals:
- name: nights
  time_intervals: [{{times: [{{start_time: 17:00, end_time: 24:00}}], location: Europe/Zagreb}}]
mute_time_intervals:
- name: office
  time_intervals: [{{weekdays: ['monday:friday'], years: [2026], days_of_month: [1, '-1'], months: ['1:3', may]}}]
"""
SMALL = """
route: {receiver: default, routes: [{matchers: [a=b], receiver: other}]}
receivers: [{name: default}, {name: other}]
"""


def keep(text=WHOLE, owner="am.yml", **options):
    return amfile.keep(amfile.read(text), owner, T0, **options)


def refused(text, **options):
    with pytest.raises(ConfigError) as told:
        amfile.read(text, **options)
    return told.value.problems


# -- what is kept


def test_the_tree_is_kept():
    keep()
    root = Route.objects.get(parent=None)
    assert (root.receiver.name, root.group_by) == ("default", ["alertname", "host"])
    assert (root.group_wait_seconds, root.group_interval_seconds, root.repeat_interval_seconds) == (10, 120, 10800)
    first, second = root.children.order_by("position")
    assert first.matchers == ['severity="critical"', 'team=~"ml|ai"']
    assert (first.receiver.name, first.goes_on, first.group_by) == ("oncall", True, ["..."])
    assert [one.name for one in first.mute_intervals.all()] == ["nights"]
    assert second.matchers == ['service="db"', 'env=~"prod.*"']
    assert (second.receiver, second.group_wait_seconds) == (None, None)
    assert second.children.get().receiver.name == "db"


def test_AD_9_receivers_are_kept_with_upstream_s_defaults():
    keep()
    slack = Integration.objects.get(receiver__name="default")
    assert (slack.kind, slack.url, slack.target, slack.send_resolved) == ("slack_webhook", HOOK, "#alerts", False)
    assert slack.title_template == "{{ .CommonLabels.alertname }}"
    oncall = Integration.objects.filter(receiver__name="oncall").order_by("id")
    assert [(one.kind, one.send_resolved, one.max_alerts) for one in oncall] == [
        ("slack_webhook", True, 0), ("webhook", True, 5)
    ]  # fmt: skip
    mail = Integration.objects.get(receiver__name="db")
    assert (mail.kind, mail.target, mail.send_resolved) == ("email", "db@example.org", False)


def test_times_inhibition_and_the_resolve_timeout_are_kept():
    keep()
    assert Ingest.objects.get().resolve_timeout_seconds == 420
    rule = InhibitRule.objects.get()
    assert (rule.source_matchers, rule.equal) == (['severity="critical"'], ["alertname", "host"])
    assert TimeInterval.objects.get(name="nights").spec == [
        {"times": [{"start_time": "17:00", "end_time": "24:00"}], "location": "Europe/Zagreb"}
    ]
    assert TimeInterval.objects.get(name="office").spec[0]["years"] == ["2026"]


def test_what_is_kept_says_whose_it_is():
    keep()
    for model in (Receiver, Route, TimeInterval, InhibitRule, Integration):
        assert set(model.objects.values_list("managed_by", flat=True)) == {"am.yml"}


def test_the_file_of_the_guide_works():
    guide = SHARED / "seed" / "monitoring-guide.md"
    if not guide.is_file():
        pytest.skip("the seed's guide is not beside this checkout (../shared/seed)")
    block = re.search(r"^( *)# alertmanager/config\.yml\n.*?(?=\n *```)", guide.read_text(), re.DOTALL | re.MULTILINE)
    text = "\n".join(line.removeprefix(block[1]) for line in block[0].splitlines())
    keep(text)
    root = Route.objects.get(parent=None)
    assert (root.group_by, root.receiver.name) == (["alertname", "severity"], "slack-notifications")
    way = root.receiver.integrations.get()
    assert (way.target, way.send_resolved) == ("#alerts", True)
    row = build.alert("HostDown", severity="critical")
    amfile.keep(amfile.read(text), "am.yml", T0)
    assert row.groups.get().labels == {"alertname": "HostDown", "severity": "critical"}


# -- imported again


def test_the_same_file_again_changes_nothing():
    keep()
    before = [list(model.objects.order_by("pk").values()) for model in (Route, Receiver, Integration, InhibitRule)]
    kept = keep()
    assert (kept.new, kept.changed, kept.removed) == ([], [], [])
    assert before == [list(m.objects.order_by("pk").values()) for m in (Route, Receiver, Integration, InhibitRule)]


def test_a_changed_file_changes_what_it_changed():
    keep()
    ids = set(Route.objects.values_list("pk", flat=True))
    kept = keep(WHOLE.replace("group_wait: 10s", "group_wait: 20s"))
    assert (kept.new, kept.changed, kept.removed) == ([], ["route root"], [])
    assert set(Route.objects.values_list("pk", flat=True)) == ids


def test_what_is_gone_from_the_file_goes():
    keep()
    kept = keep("route: {receiver: default}\nreceivers: [{name: default}]")
    assert Route.objects.count() == 1
    assert list(Receiver.objects.values_list("name", flat=True)) == ["default"]
    assert not TimeInterval.objects.exists()
    assert not InhibitRule.objects.exists()
    assert "receiver oncall" in kept.removed
    assert Ingest.objects.get().resolve_timeout_seconds == 300


def test_groups_of_unchanged_routes_keep_their_clock_and_others_are_led_anew():  # AL-4, AL-5
    keep(SMALL)
    build.alert("X", labels={"a": "b"})
    keep(SMALL)
    group = Group.objects.get()
    keep(SMALL)
    assert Group.objects.get().pk == group.pk
    keep(SMALL.replace("a=b", "a=~b"))
    assert Group.objects.get().pk != group.pk
    assert Group.objects.get().receiver.name == "other"


def test_a_way_out_that_told_somebody_is_switched_off_and_not_deleted():
    keep()
    way = Integration.objects.get(receiver__name="db")
    Notification.objects.create(
        dedup_key="x", integration=way, status="firing", message={}, not_before=T0, flushed_at=T0, created_at=T0
    )
    kept = keep(WHOLE.replace("  email_configs: [{to: 'db@example.org'}]\n", ""))
    way.refresh_from_db()
    assert (way.is_enabled, kept.changed) == (False, ["receiver db"])
    keep()
    way.refresh_from_db()
    assert way.is_enabled


# -- what staff made


def test_the_starter_s_root_is_taken_over():
    root = build.route(receiver=build.receiver("slack"))
    keep()
    assert Route.objects.get(parent=None).pk == root.pk


def test_routes_made_by_hand_stay_after_those_of_the_file():
    root = build.route()
    own = build.route(root, matchers=['team="web"'], receiver=build.receiver("web"))
    kept = keep()
    own.refresh_from_db()
    assert (own.parent, own.position) == (root, 2)
    assert any("made by hand" in note for note in kept.notes)


def test_a_hand_made_route_below_one_that_goes_moves_up():
    keep(SMALL)
    managed = Route.objects.get(parent__isnull=False)
    own = build.route(managed, matchers=['x="y"'])
    keep("route: {receiver: default}\nreceivers: [{name: default}]")
    own.refresh_from_db()
    assert own.parent == Route.objects.get(parent=None)


def test_a_receiver_made_by_hand_is_not_changed_unless_asked():
    build.integration(build.receiver("default"))
    with pytest.raises(ConfigError, match="default was made by hand"):
        keep()
    assert not Route.objects.exists()
    keep(takes_over=True)
    assert Integration.objects.filter(receiver__name="default").count() == 2


def test_the_root_of_another_file_is_not_taken():
    keep(SMALL, "one.yml")
    with pytest.raises(ConfigError, match=r"belongs to one\.yml"):
        keep("route: {receiver: x}\nreceivers: [{name: x}]", "two.yml")


# -- what is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("receiver: oncall", "receiver: nosuch"), "undefined receiver 'nosuch' used in route"),
        (("[nights]", "[nosuch]"), "undefined time interval 'nosuch'"),
        (("group_interval: 2m", "group_interval: 0s"), "route.group_interval: group_interval cannot be zero"),
        (("repeat_interval: 3h", "repeat_interval: 0"), "route.repeat_interval: repeat_interval cannot be zero"),
        (("[alertname, host]", "[alertname, alertname]"), "route.group_by: names a label twice"),
        (("['...']", "['...', a]"), "route.routes[0].group_by: \"...\" stands for all labels"),
        (("group_wait: 10s", "group_wait: 10"), "route.group_wait: duration"),
        (("group_wait: 10s", "group_wat: 10s"), "route.group_wat: unknown field"),
        (("  receiver: default\n  group_by", "  group_by"), "route.receiver: the root route must name a receiver"),
        (("  receiver: default\n", "  receiver: default\n  continue: true\n"), "route.continue"),
        (("  receiver: default\n", "  receiver: default\n  matchers: [a=b]\n"), "route.matchers: the root route"),
        (("team=~\"ml|ai\"", "team=~\"(\""), "route.routes[0].matchers: team=~("),
        (("- name: db", "- name: oncall"), "receivers[2].name: 'oncall' is given twice"),
        (("monday:friday", "friday:monday"), "mute_time_intervals[0].time_intervals[0]: weekdays"),
        (("Europe/Zagreb", "Europe/Nowhere"), "unknown time zone 'Europe/Nowhere'"),
        (("url: 'http://pager", "url: 'ftp://pager"), "receivers[1].webhook_configs[0].url: must be an http"),
        (("{{ .CommonLabels.alertname }}", "{{ .CommonLabels."), "receivers[0].slack_configs[0].title"),
        (("max_alerts: 5", "max_alerts: many"), "max_alerts: must be a whole number"),
        (("continue: true", "continue: maybe"), "must be true or false"),
        (("  slack_api_url: " + HOOK + "\n", ""), "no Slack address"),
        (("equal: [alertname, host]", "equal: alertname"), "inhibit_rules[0].equal: must be a list"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_path(change, words):
    assert WHOLE.count(change[0]) >= 1
    problems = refused(WHOLE.replace(*change, 1))
    assert any(words in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "route: a file needs a root route"),
        ("- a", "must be a mapping"),
        ("route: {a: b", "line 1"),
        ("route: {receiver: a, receiver: b}\nreceivers: [{name: a}]", "receiver is given twice"),
        ("routes: []", "routes: unknown field"),
    ],
)
def test_what_is_no_configuration_is_refused(text, words):
    assert any(words in problem for problem in refused(text))


def test_what_the_portal_cannot_do_is_named_one_by_one():
    text = WHOLE.replace("channel: '#alerts'", "channel: '#alerts'\n    icon_emoji: ':x:'\n    color: red").replace(
        "- name: db", "- name: db\n  pagerduty_configs: [{service_key: x}]"
    )
    assert [problem.split(": ")[:2] for problem in refused(text)] == [
        ["receivers[0].slack_configs[0].icon_emoji", "not supported"],
        ["receivers[0].slack_configs[0].color", "not supported"],
        ["receivers[2].pagerduty_configs", "not supported"],
    ]
    config = amfile.read(text, skips_unsupported=True)
    assert sum("left out" in note for note in config.notes) == 3
    assert any(note.startswith("global.smtp_smarthost: not used") for note in config.notes)


def test_a_secret_is_not_repeated_in_a_fault():
    problems = refused(WHOLE.replace(HOOK, "hooks.slack.com/services/T0/B0/SECRET"))
    assert problems
    assert not any("SECRET" in problem for problem in problems)


def test_AL_6_a_refused_file_changes_nothing():  # X14
    keep(SMALL)
    with pytest.raises(ConfigError):
        keep(SMALL.replace("receiver: default", "receiver: nosuch"))
    assert Route.objects.get(parent=None).receiver.name == "default"


def test_many_aliases_are_refused():
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert any("aliases" in problem for problem in refused("\n".join(lines)))


# -- bots


BOT = """
route: {receiver: default}
receivers:
- name: default
  slack_configs:
  - channel: '#alerts'
    %s
"""
POSTING = "api_url: https://slack.com/api/chat.postMessage"


def bot_file(place):
    return BOT % place


@pytest.mark.parametrize(
    "place",
    [
        "app_token: xoxb-SECRET",
        "app_token_file: token",
        f"{POSTING}\n    http_config: {{authorization: {{credentials: xoxb-SECRET}}}}",
        f"{POSTING}\n    http_config: {{authorization: {{type: Bearer, credentials_file: token}}}}",
    ],
)
def test_a_bots_token_is_taken_wherever_it_stands(place, tmp_path):
    (tmp_path / "token").write_text("xoxb-SECRET\n")
    path = tmp_path / "am.yml"
    path.write_text(bot_file(place))
    run("import_alertmanager", str(path))
    way = Integration.objects.get()
    assert (way.kind, way.target, way.slack_app.bot_token) == ("slack", "#alerts", "xoxb-SECRET")


def test_a_global_token_is_for_channels_without_an_address():
    keep("global: {slack_app_token: xoxb-SECRET}" + bot_file("send_resolved: true"))
    assert Integration.objects.get().slack_app.bot_token == "xoxb-SECRET"


def test_one_token_makes_one_app():
    keep(bot_file("app_token: xoxb-SECRET") + "  - {channel: '#more', app_token: xoxb-SECRET}\n")
    assert SlackApp.objects.count() == 1


def test_a_bot_of_an_export_keeps_its_token():
    keep(bot_file("app_token: xoxb-SECRET"))
    kept = keep(amfile.write())
    assert (Integration.objects.get().slack_app.bot_token, kept.changed) == ("xoxb-SECRET", [])


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("app_token: xoxp-SECRET", "app_token: must be a bot token"),
        ("app_token_file: nosuch", "app_token_file: nosuch cannot be read here"),
        ("app_token: a\n    app_token_file: b", "at most one of app_token and app_token_file"),
        (
            f"{POSTING}\n    http_config: {{authorization: {{credentials: xoxb-S}}, proxy_url: x}}",
            "proxy_url: not supp",
        ),
    ],
)
def test_a_bot_that_cannot_post_is_refused_and_its_token_not_repeated(place, words):
    problems = refused(bot_file(place))
    assert any(words in problem for problem in problems), problems
    assert not any("SECRET" in problem for problem in problems)


# -- files it points to


def test_addresses_and_templates_are_read_beside_the_file(tmp_path):
    (tmp_path / "hook").write_text(HOOK + "\n")
    (tmp_path / "my.tmpl").write_text('{{ define "my.title" }}{{ .Status }}!{{ end }}')
    (tmp_path / "am.yml").write_text("""
templates: ['*.tmpl']
route: {receiver: a}
receivers:
- name: a
  slack_configs:
  - api_url_file: hook
    channel: '#a'
    title: '{{ template "my.title" . }}'
    text: '{{ template "slack.default.text" . }}'
""")
    call_command("import_alertmanager", str(tmp_path / "am.yml"), stdout=io.StringIO())
    way = Integration.objects.get()
    assert (way.url, way.text_template) == (HOOK, "")
    assert way.title_template == '{{ define "my.title" }}{{ .Status }}!{{ end }}{{ template "my.title" . }}'


def test_a_file_that_is_not_there_is_named(tmp_path):
    (tmp_path / "am.yml").write_text(
        "route: {receiver: a}\nreceivers: [{name: a, slack_configs: [{api_url_file: nosuch, channel: x}]}]"
    )
    with pytest.raises(CommandError, match=r"slack_configs\[0\].api_url_file: .*No such file"):
        call_command("import_alertmanager", str(tmp_path / "am.yml"))


# -- the commands


def run(name, *arguments):
    said = io.StringIO()
    call_command(name, *arguments, stdout=said)
    return said.getvalue()


def test_the_command_says_what_became_of_each_part(tmp_path):
    path = tmp_path / "am.yml"
    path.write_text(WHOLE)
    assert "new: receiver oncall" in run("import_alertmanager", str(path))
    assert run("import_alertmanager", str(path)).startswith("unchanged:")
    assert Route.objects.get(parent=None).managed_by == str(path)


def test_a_dry_run_changes_nothing(tmp_path):
    path = tmp_path / "am.yml"
    path.write_text(WHOLE)
    assert "new: receiver oncall" in run("import_alertmanager", "--dry-run", str(path))
    assert not Receiver.objects.exists()


def test_the_command_refuses_with_every_fault(tmp_path):
    path = tmp_path / "am.yml"
    path.write_text(WHOLE.replace("receiver: oncall", "receiver: nosuch").replace("10s", "ten"))
    with pytest.raises(CommandError) as told:
        run("import_alertmanager", str(path))
    assert "nothing was changed" in str(told.value)
    assert "nosuch" in str(told.value)
    assert "route.group_wait" in str(told.value)


# -- export


def exported(**options):
    return yaml.safe_load(amfile.write(**options))


def test_an_export_says_what_was_imported():
    keep()
    config = exported(with_secrets=True)
    assert config["global"]["resolve_timeout"] == "7m"
    assert config["route"]["routes"][0] == {
        "receiver": "oncall", "group_by": ["..."], "matchers": ['severity="critical"', 'team=~"ml|ai"'],
        "continue": True, "mute_time_intervals": ["nights"],
    }  # fmt: skip
    named = {one["name"]: one for one in config["receivers"]}
    assert named["default"]["slack_configs"][0]["api_url"] == HOOK
    assert named["oncall"]["webhook_configs"] == [
        {"send_resolved": True, "url": "http://pager.example/hook", "max_alerts": 5}
    ]


def test_secrets_are_hidden_unless_asked_for():
    keep()
    build.integration(build.receiver("bot"))
    text = amfile.write()
    assert "SECRET" not in text
    assert "/hook" not in text
    assert "xoxb" not in text
    assert "xoxb-test" in amfile.write(with_secrets=True)


def test_an_export_imported_again_keeps_the_addresses():
    keep()
    kept = keep(amfile.write().replace("http://pager.example/<secret>", "http://pager.example/hook"))
    assert Integration.objects.get(receiver__name="default").url == HOOK
    assert [one for one in kept.changed if one.startswith("receiver")] == []


def test_a_hidden_address_nobody_knows_is_refused():
    with pytest.raises(ConfigError, match="<secret> stands for an address that is not known"):
        keep(WHOLE.replace(HOOK, "<secret>"))


@pytest.mark.oracle
@pytest.mark.skipif(not AMTOOL, reason="amtool is not installed")
@pytest.mark.parametrize("what", ["nothing", "a file", "a bot, mail and an alert"])
def test_amtool_takes_what_is_exported(what, tmp_path):
    if what == "a file":
        keep()
    elif what != "nothing":
        build.route(build.route(), matchers=['a="\\"quoted\\" \\\\ \\n"'], receiver=build.receiver("bot"))
        build.integration(build.receiver("bot"))
        build.integration(build.receiver("mail"), kind="email", target="a@example.org")
        build.alert()
    for option in ((), ("--with-secrets",)):
        path = tmp_path / "am.yml"
        path.write_text(run("export_alertmanager", *option))
        done = subprocess.run([AMTOOL, "check-config", str(path)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr + path.read_text()


def test_imported_routes_lead_what_fires_now():
    row = build.alert("X", labels={"a": "b"})
    keep(SMALL)
    assert Alert.objects.get(pk=row.pk).groups.get().receiver.name == "other"


# -- what is suspicious, and who may change it


def test_the_report_names_what_is_suspicious_about_the_tree(tmp_path):
    path = tmp_path / "am.yml"
    path.write_text(SMALL.replace("{matchers: [a=b], receiver: other}", "{matchers: [a=b]}, {matchers: [a=b, c=d]}"))
    said = run("import_alertmanager", "--dry-run", str(path))
    assert 'look at: {a="b",c="d"} is never reached: {a="b"} before it takes the same alerts' in said
    assert "look at: critical alerts that the root route tells have no escalation" in said


def test_what_is_detached_stays_and_belongs_to_staff():
    keep()
    before = Route.objects.count(), Receiver.objects.count()
    assert amfile.detach("am.yml") == 4 + 3 + 2 + 1
    assert (Route.objects.count(), Receiver.objects.count()) == before
    assert not Route.objects.exclude(managed_by="").exists() and not Receiver.objects.exclude(managed_by="").exists()


def test_what_was_detached_is_not_taken_back_unasked():
    keep()
    amfile.detach("am.yml")
    with pytest.raises(ConfigError, match="oncall was made by hand"):
        keep()
