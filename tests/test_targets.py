"""Targets and what becomes of their scrapes: labels, times, statuses, stale markers, claims."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from itertools import pairwise

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.utils import timezone

from monitoring import claims, store, targets
from monitoring.models import Deployment, ModelVersion, ScrapeClaim, Scraper, ServedModel, Target, TargetStatus
from tests.scrape.build import NOW, Scraped, make_target, stored

pytestmark = pytest.mark.django_db


def deployment(**fields) -> Deployment:
    model = ServedModel.objects.get_or_create(name="ranker", defaults={"labels": {"tier": "1"}})[0]
    version = ModelVersion.objects.get_or_create(model=model, version=fields.pop("version", "3"))[0]
    return Deployment.objects.create(version=version, **({"metrics_url": "http://10.0.0.5:8001"} | fields))


def only(found: dict):
    assert len(found) == 1, found
    return next(iter(found.values()))


# --- the row


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"url": "ftp://x/"}, "url", "http:// or https://"),
        ({"url": "metrics"}, "url", "http:// or https://"),
        ({"url": "http:///metrics"}, "url", "names no host"),
        ({"url": "http://u:p@x/metrics"}, "url", "no user and password"),
        ({"url": "http://x:99999/"}, "url", "not a URL"),
        ({"job": " "}, "job", "name"),
        ({"labels": {"a-b": "c"}}, "labels", "no label name"),
        ({"labels": {"__x": "c"}}, "labels", "no label name"),
        ({"labels": {"job": "c"}}, "labels", "set by the portal"),
        ({"labels": {"a": 1}}, "labels", "text in quotes"),
        ({"labels": ["a"]}, "labels", "names and texts"),
        ({"timeout_seconds": 20}, "timeout_seconds", "longer than the interval"),
        ({"interval_seconds": 0.5}, "interval_seconds", "1"),
    ],
)
def test_what_could_never_be_scraped_is_refused_with_its_reason(fields, field, words):
    with pytest.raises(ValidationError) as caught:
        Target(**{"job": "app", "url": "http://x/metrics"} | fields).full_clean()
    assert words in " ".join(caught.value.message_dict[field])


def test_a_job_has_an_instance_once():
    make_target(instance_label="a")
    with pytest.raises(ValidationError, match="has a target of this instance already"):
        Target(job="app", url="http://x/", instance_label="a").full_clean()


@pytest.mark.parametrize(
    ("url", "instance", "path"),
    [
        ("http://x:9100", "x:9100", "http://x:9100/metrics"),
        ("https://x/m?a=b", "x:443", "https://x/m?a=b"),
        ("http://[::1]:80/", "[::1]:80", "http://[::1]:80/"),
    ],
)
def test_path_and_instance_may_be_left_out(url, instance, path):
    target = Target.objects.create(job="app", url=url)
    assert (target.instance_label, target.url) == (instance, path)


def test_changes_of_a_target_are_kept():
    target = make_target()
    target.interval_seconds = 30
    target.save()
    assert [row.interval_seconds for row in target.history.order_by("history_id")] == [15, 30]


# --- labels, times


def test_labels_come_from_the_target_and_the_registry():
    spec = targets.spec_of(make_target(labels={"env": "prod"}, instance_label="a", deployment=deployment()))
    assert dict(spec.labels) == {
        "env": "prod", "instance": "a", "job": "app", "model_name": "ranker", "model_version": "3", "tier": "1",
    }  # fmt: skip


def test_planned_times_lie_on_the_target_s_own_grid_and_move_on():
    spec = targets.spec_of(make_target(interval_seconds=10))
    slots = [spec.next_slot(NOW)]
    for _ in range(5):
        slots.append(spec.next_slot(slots[-1]))
    assert {slot % 10_000 for slot in slots} == {spec.offset_ms}
    assert [after - before for before, after in pairwise(slots)] == [10_000] * 5
    assert NOW < slots[0] <= NOW + 10_000


def test_targets_are_spread_over_the_interval_the_same_each_time():
    made = [make_target(f"http://host{number}:9100/metrics", instance_label=f"host{number}") for number in range(60)]
    offsets = [targets.spec_of(target).offset_ms for target in made]
    assert len({offset // 1500 for offset in offsets}) == 10
    assert offsets == [targets.spec_of(Target.objects.get(pk=target.pk)).offset_ms for target in made]


def test_switched_off_targets_and_those_of_switched_off_deployments_are_not_scraped():
    on, off = make_target(), make_target(is_enabled=False)
    gone = make_target(deployment=deployment(is_enabled=False))
    assert targets.specs([on.pk, off.pk, gone.pk]).keys() == {on.pk}


def test_the_state_of_the_registry_changes_with_targets_and_with_the_names_they_carry():
    one = deployment()
    target = make_target(deployment=one)
    states = [targets.registry_state()]
    Target.objects.filter(pk=target.pk).update(interval_seconds=30)
    states.append(targets.registry_state())
    ModelVersion.objects.update(version="4")
    states.append(targets.registry_state())
    assert len(set(states)) == 3
    assert targets.registry_state() == states[-1]


# --- scrapes into samples


def test_a_scrape_writes_its_samples_and_prometheus_own_five():
    one = Scraped(make_target(instance_label="a"))
    one.says('x{l="1"} 1\ny 2\n')
    one.says('x{l="1"} 3\ny 4\nz 5\n')
    assert only(stored("x")) == [1, 3]
    assert list(stored("x")) == ['x{instance="a", job="app", l="1"}']
    assert {name: only(stored(name)) for name in targets.REPORT_KEYS} == {
        "up": [1, 1],
        "scrape_duration_seconds": [0.5, 0.5],
        "scrape_samples_scraped": [2, 3],
        "scrape_samples_post_metric_relabeling": [2, 3],
        "scrape_series_added": [2, 1],
    }


def test_a_target_cannot_pass_itself_off_as_up():
    one = Scraped(make_target())
    receipt = one.says("up 0\nx 1\n")
    assert (only(stored("up")), receipt.dropped) == ([1], {"duplicate_series": 1})
    assert "same series twice" in TargetStatus.objects.get().warning


def test_a_failed_scrape_writes_up_0_and_ends_the_other_series():
    one = Scraped(make_target())
    one.says("x 1\n")
    one.fails()
    one.says("x 2\n")
    assert (only(stored("up")), only(stored("x"))) == ([1, 0, 1], [1, "stale", 2])


def test_a_series_that_vanishes_ends():
    one = Scraped(make_target())
    one.says("x 1\ny 1\n")
    one.says("y 2\n")
    assert (only(stored("x")), only(stored("y"))) == ([1, "stale"], [1, 2])


def test_labels_of_the_target_that_clash_with_ours_are_exported():
    Scraped(make_target(instance_label="a")).says('x{instance="theirs"} 1\n')
    assert list(stored("x")) == ['x{exported_instance="theirs", instance="a", job="app"}']


def test_with_honor_labels_those_of_the_target_win():
    one = Scraped(make_target(instance_label="a", honor_labels=True))
    one.says('x{instance="theirs"} 1\ny{job=""} 2\nz 3\n')
    assert [*stored("x"), *stored("y"), *stored("z")] == [
        'x{instance="theirs", job="app"}', 'y{instance="a"}', 'z{instance="a", job="app"}'
    ]  # fmt: skip


def test_with_honor_labels_series_end_as_well():
    one = Scraped(make_target(honor_labels=True))
    one.says('x{instance="theirs"} 1\nz 3\n')
    one.says("z 3\n")
    one.says('x{instance="theirs"} 1\nz 3\n')
    one.fails()
    assert (only(stored("x")), only(stored("z"))) == ([1, "stale", 1, "stale"], [3, 3, 3, "stale"])


def test_samples_with_own_times_are_stored_at_these_in_whatever_order_and_never_end():
    one = Scraped(make_target())
    one.says(f"x 1 {NOW - 1000}\ny 1\n")
    one.says(f"x 3 {NOW + 9000}\nw 7 {NOW - 5000}\ny 1\n")
    one.says(f"x 2 {NOW - 3000}\ny 1\n")
    one.fails()
    assert (only(stored("x")), only(stored("w"))) == ([2, 1, 3], [7])


def test_an_own_time_that_is_told_again_changes_nothing():
    one = Scraped(make_target())
    one.says(f"x 1 {NOW}\n")
    one.says(f"x 1 {NOW}\n")
    assert only(stored("x")) == [1]


def test_too_many_own_times_keep_the_newest_and_are_told():
    one = Scraped(make_target())
    one.says("".join(f"x{number} 1 {NOW - number}\n" for number in range(100)))
    assert "honor_timestamps" in TargetStatus.objects.get().warning
    assert stored("x0") and not stored("x99")


def test_a_change_of_labels_ends_the_series_under_the_old_ones():
    target = make_target(instance_label="a", labels={"env": "test"})
    before = Scraped(target)
    before.says("x 1\n")
    target.labels = {"env": "prod"}
    after = Scraped(target)
    after.at_ms, after.writer.open = before.at_ms, before.writer.open
    after.says("x 2\n")
    assert stored("x") == {
        'x{env="test", instance="a", job="app"}': [1, "stale"], 'x{env="prod", instance="a", job="app"}': [2]
    }  # fmt: skip


def test_an_end_closes_all_that_is_open():
    one = Scraped(make_target(honor_labels=True))
    one.says('x{instance="theirs"} 1\nz 3\n')
    store.append(one.writer.end(one.at_ms), now_ms=one.at_ms)
    assert [only(stored(name))[-1] for name in ("x", "z", "up")] == ["stale"] * 3


# --- statuses


def test_the_status_says_what_the_last_scrape_said_and_since_when():
    one = Scraped(make_target())
    one.says("x 1\n")
    one.says("x 1\ny 1\n")
    status = TargetStatus.objects.get()
    assert (status.state, status.samples, status.error) == ("up", 2, "")
    assert status.scraped_at - status.since == timedelta(seconds=15)
    one.fails("connection refused")
    status.refresh_from_db()
    assert (status.state, status.samples, status.error) == ("down", 0, "connection refused")
    assert status.since == status.scraped_at


def test_scrapes_of_a_target_that_was_deleted_meanwhile_do_no_harm():
    target = make_target()
    gone, here = Scraped(target), Scraped(make_target())
    Target.objects.filter(pk=target.pk).delete()
    gone.says("x 1\n")
    here.says("x 1\n")
    assert TargetStatus.objects.count() == 1


def test_a_write_that_fails_leaves_nothing_and_can_be_repeated(monkeypatch):
    one = Scraped(make_target())
    one.says("x 1\n")

    def broken(*_):
        raise DatabaseError("the connection is gone")

    with monkeypatch.context() as patched, pytest.raises(DatabaseError):
        patched.setattr(claims, "note_sources", broken)
        with transaction.atomic():
            one.fails()
    assert only(stored("x")) == [1]
    one.fails()
    assert only(stored("x")) == [1, "stale"]


# --- deployments


def test_a_deployment_is_scraped_under_the_name_of_its_model():
    target = targets.follow(deployment())
    assert (target.job, target.url, target.instance_label) == (
        "ranker",
        "http://10.0.0.5:8001/metrics",
        "10.0.0.5:8001",
    )
    assert dict(targets.spec_of(target).labels)["model_version"] == "3"


def test_a_deployment_that_moves_takes_its_target_along():
    one = deployment()
    before = targets.follow(one)
    one.metrics_url = "http://10.0.0.6:8001/metrics"
    after = targets.follow(one)
    assert (after.pk, after.instance_label) == (before.pk, "10.0.0.6:8001")


def test_a_deployment_without_metrics_has_no_target():
    one = deployment()
    targets.follow(one)
    one.metrics_url = ""
    assert targets.follow(one) is None
    assert not Target.objects.exists()


def test_two_versions_behind_one_address_are_two_targets():
    found = [targets.follow(deployment(version=version)) for version in ("3", "4")]
    assert len({target.instance_label for target in found}) == 2


# --- claims


def claimed(scraper_id: int) -> set[int]:
    return set(claims.held_by(scraper_id))


def beat_and_balance(*scraper_ids: int) -> None:
    for _ in range(2):
        for scraper_id in scraper_ids:
            claims.beat(scraper_id)
            claims.balance(scraper_id)


def test_one_scraper_takes_all():
    found = {make_target().pk for _ in range(3)}
    me = claims.join("one")
    claims.balance(me)
    assert claimed(me) == found
    assert claims.beat(me).is_settled


def test_scrapers_share_and_a_new_one_gets_its_part():
    found = {make_target().pk for _ in range(7)}
    one, two, three = (claims.join(name) for name in ("one", "two", "three"))
    Scraper.objects.filter(pk=three).delete()
    beat_and_balance(one, two)
    three = claims.join("three")
    beat_and_balance(one, two, three)
    shares = [claimed(each) for each in (one, two, three)]
    assert set().union(*shares) == found and sum(map(len, shares)) == 7
    assert max(map(len, shares)) == 3


def test_the_targets_of_the_dead_are_taken_over():
    found = {make_target().pk for _ in range(4)}
    one, two = claims.join("one"), claims.join("two")
    beat_and_balance(one, two)
    Scraper.objects.filter(pk=one).update(beat_at=timezone.now() - timedelta(seconds=claims.LEASE_SECONDS + 1))
    assert not claims.beat(two).is_settled
    claims.balance(two)
    assert claimed(two) == found
    assert claims.beat(one) is None, "the dead are told that they were taken for dead"


@pytest.mark.parametrize("interval_seconds", [1, 1.5, 2, 5, 15, 60])
def test_what_a_vanished_machine_held_is_taken_over_within_two_intervals(interval_seconds):
    lease = claims.lease_for(interval_seconds)
    tick = min(lease / claims.BEATS_A_LEASE, 1.0)
    assert lease + tick <= 2 * interval_seconds
    assert lease >= claims.LEAST_LEASE_SECONDS


def test_who_is_believed_for_a_short_time_is_dead_after_it():
    found = {make_target().pk for _ in range(4)}
    one, two = claims.join("one"), claims.join("two")
    beat_and_balance(one, two)
    shares = claims.beat(one, 1.4)
    assert shares.lease_seconds == 1.4
    Scraper.objects.filter(pk=one).update(beat_at=timezone.now() - timedelta(seconds=1.5))
    claims.balance(two)
    assert claimed(two) == found


def test_who_no_longer_holds_its_lock_is_dead_at_once():
    found = {make_target().pk for _ in range(4)}
    one, two = claims.join("one", is_locked=claims.hold_lock("one")), claims.join("two")
    beat_and_balance(one, two)
    assert claims.beat(two).is_settled
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_unlock_all()")
    assert not claims.beat(two).is_settled
    claims.balance(two)
    assert claimed(two) == found


def test_a_lock_is_taken_once_a_connection_and_by_one_scraper_of_a_name():
    assert claims.hold_lock("one")
    assert claims.hold_lock("one")
    other = connection.copy("other")
    try:
        with other.cursor() as cursor:
            cursor.execute("select pg_try_advisory_lock(%s, hashtext('one'))", [claims._ALIVE_LOCKS])
            assert cursor.fetchone() == (False,)
    finally:
        other.close()
    with connection.cursor() as cursor:
        cursor.execute("select pg_advisory_unlock(%s, hashtext('one'))", [claims._ALIVE_LOCKS])
        cursor.execute(
            "select count(*) from pg_locks where locktype = 'advisory' and classid = %s", [claims._ALIVE_LOCKS]
        )
        assert cursor.fetchone() == (0,)


def test_leaving_frees_everything_at_once():
    make_target()
    one, two = claims.join("one"), claims.join("two")
    claims.balance(one)
    claims.leave(one)
    claims.balance(two)
    assert len(claimed(two)) == 1


def test_a_target_that_is_switched_off_is_not_claimed_anew():
    make_target(is_enabled=False)
    make_target(deployment=deployment(is_enabled=False))
    me = claims.join("one")
    claims.balance(me)
    assert claimed(me) == set()
    assert claims.beat(me).is_settled


def test_the_open_sources_go_over_to_the_next_holder():
    target = make_target(instance_label="a")
    me = claims.join("one")
    claims.balance(me)
    Scraped(target).says("x 1\n")
    assert claims.held_by(me) == {target.pk: [{"instance": "a", "job": "app"}]}
    claims.drop([target.pk], me)
    assert not ScrapeClaim.objects.exists()


# --- add_target


def add(*args: str) -> str:
    out = StringIO()
    call_command("add_target", *args, stdout=out)
    return out.getvalue().strip()


def test_a_target_is_added_changed_and_left_alone():
    args = ("node", "http://10.0.0.1:9100", "--interval", "1m", "--label", "env=prod", "--label", "dc=a")
    assert add(*args) == "added target node 10.0.0.1:9100: http://10.0.0.1:9100/metrics every 60 s"
    assert add(*args).startswith("unchanged")
    assert add("node", "http://10.0.0.1:9100", "--interval", "30s").startswith("changed")
    target = Target.objects.get()
    assert (target.interval_seconds, target.labels) == (30, {"env": "prod", "dc": "a"})


def test_the_url_of_a_named_instance_may_change():
    add("node", "http://10.0.0.1:9100", "--instance", "ana")
    add("node", "http://10.0.0.2:9100", "--instance", "ana")
    assert Target.objects.get().url == "http://10.0.0.2:9100/metrics"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("node", "gopher://x"), "url: A URL starts with"),
        (("node", "http://x", "--interval", "soon"), "no duration"),
        (("node", "http://x", "--interval", "0s"), "interval_seconds"),
        (("node", "http://x", "--label", "env"), "name=value"),
        (("node", "http://x", "--label", "job=x"), "set by the portal"),
    ],
)
def test_what_cannot_be_added_is_told(args, words):
    with pytest.raises(CommandError, match=words):
        add(*args)


# --- labels that the registry and the model server both give


def test_what_a_model_server_says_of_itself_as_the_registry_does_is_said_once():
    row = targets.follow(deployment())
    Scraped(row).says('a{model_name="ranker",model_version="3"} 1\nb{model_name="ranker"} 2\nc 3\n')
    for name in "abc":
        [series] = stored(name)
        assert "exported_" not in series
        assert 'model_name="ranker"' in series and 'model_version="3"' in series


def test_what_a_model_server_says_otherwise_than_the_registry_is_exported():
    Scraped(targets.follow(deployment())).says('a{model_name="ranker",model_version="4"} 1\n')
    [series] = stored("a")
    assert 'exported_model_version="4"' in series and 'model_version="3"' in series
    assert "exported_model_name" not in series


def test_series_of_a_model_end_with_their_target_whoever_gives_their_labels():
    one = Scraped(targets.follow(deployment()))
    one.says('a{model_name="ranker"} 1\nc 3\n')
    one.says("c 3\n")
    one.fails()
    assert (only(stored("a")), only(stored("c")), only(stored("up"))) == ([1, "stale"], [3, 3, "stale"], [1, 1, 0])
