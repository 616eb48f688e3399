"""Beat's messages: few, on time, and one look at a time that fails does not keep the others from looking."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from alerts import deliver, tasks
from alerts.models import Notification
from alphaq_portal.schedule import BEAT_SCHEDULE, Scheduler, app
from monitoring import heartbeats
from tests import build


class Sent(Scheduler):
    """A beat that notes what it would send, and how often it looked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.looks = 0
        super().__init__(app)

    def apply_entry(self, entry, producer=None):
        self.names.append(entry.name)

    @property
    def producer(self):
        return None

    def tick(self, *args, **kwargs):
        self.looks += 1
        return super().tick(*args, **kwargs)


def test_beat_sends_one_tick_a_period_and_sleeps_between_them():
    beat, until = Sent(), time.monotonic() + 3.5 * BEAT_SCHEDULE["tick"]["schedule"]
    while time.monotonic() < until:
        time.sleep(max(beat.tick(), 0))
    ticks = beat.names.count("tick")
    assert 2 <= ticks <= 4
    assert beat.looks <= 6 * (ticks + 1), "it went round and round"


def test_beat_is_started_with_this_schedule():
    assert app.conf.beat_scheduler == f"{Scheduler.__module__}:{Scheduler.__name__}"
    assert {one["task"] for one in BEAT_SCHEDULE.values()} <= set(_registered())


def _registered():
    from alphaq_portal.celery import app as worker_app

    worker_app.loader.import_default_modules()
    return worker_app.tasks


@pytest.mark.django_db(transaction=True)
def test_a_look_that_fails_leaves_the_others_their_turn(services, monkeypatch):
    heartbeats._written.clear()
    with heartbeats.connect() as client:
        client.delete(heartbeats.PREFIX + "tick")

    def broken():
        raise ValueError("no plan")

    monkeypatch.setattr(tasks.flush, "next_due_at", broken)
    tasks.tick()
    assert set(heartbeats.last_beats("tick")) == {"evaluate", "escalate", "beat"}


@pytest.mark.django_db
def test_only_what_may_be_sent_now_has_delivery_asked_for():
    at = datetime.now(UTC)
    integration = build.integration()
    assert not deliver.is_due(at)
    row = Notification.objects.create(
        dedup_key="a", integration=integration, group_key="g", kind="post", state="queued", created_at=at,
        flushed_at=at, not_before=at + timedelta(seconds=5), message={},
    )  # fmt: skip
    assert not deliver.is_due(at)
    assert deliver.is_due(at + timedelta(seconds=5))
    Notification.objects.filter(pk=row.pk).update(state="sending", lease_until=at + timedelta(seconds=40))
    assert not deliver.is_due(at + timedelta(seconds=5))
    assert deliver.is_due(at + timedelta(seconds=40)), "its sender was lost"
    Notification.objects.filter(pk=row.pk).update(state="sent")
    assert not deliver.is_due(at + timedelta(days=1))


@pytest.mark.django_db(transaction=True)
def test_the_tick_asks_for_a_delivery_only_when_there_is_something_to_send(services, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.deliver_due, "apply_async", lambda **options: sent.append(options))
    tasks.tick()
    assert sent == []
    at = datetime.now(UTC)
    Notification.objects.create(
        dedup_key="a", integration=build.integration(), group_key="g", kind="post", state="queued", created_at=at,
        flushed_at=at, not_before=at, message={},
    )  # fmt: skip
    tasks.tick()
    assert [options["queue"] for options in sent] == ["deliver"]
    assert sent[0]["expires"] > 0, "it must not pile up where nobody serves the queue"
