"""Real processes with a real broker: the agent, the worker's timer, and what they leave for the portal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import redis
from celery import Celery
from django.core.cache import cache
from django.core.management import call_command

from monitoring import hosts, tasks
from monitoring.collect.batch import Batch, Message, Received, pack, stamp, unpack
from monitoring.collect.sender import BrokerAway
from monitoring.models import Host
from tests.test_hosts import stored

ROOT = Path(__file__).resolve().parents[1]
AT_MS = 1_790_000_000_000
WAIT_SECONDS = 30


@pytest.fixture
def broker(services) -> Iterator[redis.Redis]:
    """The broker with an empty ingest queue."""
    with redis.Redis.from_url(services["REDIS_URL"], socket_timeout=WAIT_SECONDS + 5) as client:
        client.delete(tasks.INGEST_QUEUE)
        yield client
        client.delete(tasks.INGEST_QUEUE)


@pytest.fixture
def app(services) -> Celery:
    """A Celery app that knows the broker and nothing else."""
    return app_of(services["REDIS_URL"].replace("unix://", "redis+socket://"))


def app_of(url: str) -> Celery:
    options = {"socket_connect_timeout": 2, "socket_timeout": 2}
    return Celery("sender", broker=url, set_as_current=False, broker_transport_options=options)


def one_batch(host: str = "ana", at_ms: int = AT_MS) -> Message:
    return pack(Batch(host, at_ms, 15.0, "0.1.0", ["host_up"], np.ones(1), {"cores": 2}))


def next_task(broker: redis.Redis, sender: subprocess.Popen | None = None) -> tuple[dict, list[Message]]:
    """Wait for a message in the ingest queue; returns its headers and batches. Fails at once when the sender ended."""
    for _ in range(WAIT_SECONDS):
        found = broker.blpop([tasks.INGEST_QUEUE], timeout=1)
        if found:
            envelope = json.loads(found[1])
            (messages,), _, _ = json.loads(b64decode(envelope["body"]))
            return envelope["headers"], messages
        if sender and sender.poll() is not None:
            pytest.fail(f"the sender ended: {sender.stderr.read().decode()[-2000:]}")
    pytest.fail("no batch came")


def next_batch(broker: redis.Redis, sender: subprocess.Popen | None = None) -> Received:
    return unpack(next_task(broker, sender)[1][0])


@pytest.fixture
def start(services) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a process of the portal on the test's services; it is stopped at the end."""
    running: list[subprocess.Popen] = []

    def run(*command: str, **environ: str) -> subprocess.Popen:
        env = os.environ | services | {"ALPHAQ_COLLECT_INTERVAL": "1", "ALPHAQ_HOST_NAME": "ana", **environ}
        # One group: a pool's processes are stopped with their worker.
        process = subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, start_new_session=True,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # fmt: skip
        running.append(process)
        return process

    yield run
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def worker(*more: str) -> tuple[str, ...]:
    return (
        "-m",
        "celery",
        "-A",
        "alphaq_portal",
        "worker",
        "-Q",
        "nobody",
        "--without-gossip",
        "--without-mingle",
        *more,
    )


def test_a_batch_goes_to_the_ingest_queue_and_dies_of_age(app, broker):
    publisher = tasks.Publisher(app)
    publisher.publish_batch([one_batch()])
    headers, messages = next_task(broker)
    publisher.close()
    assert headers["task"] == tasks.ingest_batch.name
    assert headers["expires"]
    assert unpack(messages[0]).batch.host == "ana"


def test_the_logs_of_workers_get_no_samples(app, broker):
    publisher = tasks.Publisher(app)
    publisher.publish_batch([one_batch(), one_batch()])
    publisher.close()
    headers, _ = next_task(broker)
    assert headers["argsrepr"] == "(2 batches of ana)"


def test_a_batch_carries_the_clock_of_the_broker(app, broker):
    publisher = tasks.Publisher(app)
    publisher.publish_batch([one_batch()])
    received = next_batch(broker)
    publisher.close()
    seconds, _ = broker.time()
    assert abs(received.broker_ms - seconds * 1000) < 60_000
    assert abs(received.skew_ms(received.sent_ms)) < 60_000


def test_a_broker_that_is_not_there_is_said_so(tmp_path):
    publisher = tasks.Publisher(app_of(f"redis+socket://{tmp_path}/nothing.sock"))
    with pytest.raises(BrokerAway):
        publisher.publish_batch([one_batch()])


def test_a_broker_that_never_answers_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        publisher = tasks.Publisher(app_of(f"redis://127.0.0.1:{silent.getsockname()[1]}/0"))
        with pytest.raises(BrokerAway):
            publisher.publish_batch([one_batch()])


def test_a_broker_full_of_batches_gets_no_more(app, broker):
    publisher = tasks.Publisher(app, max_waiting=2)
    for _ in range(2):
        publisher.publish_batch([one_batch()])
    with pytest.raises(BrokerAway, match="2 messages wait"):
        publisher.publish_batch([one_batch()])
    publisher.close()


def test_a_broker_without_memory_is_a_broker_that_is_away(app, broker):
    publisher = tasks.Publisher(app)
    broker.config_set("maxmemory", "1")
    try:
        with pytest.raises(BrokerAway):
            publisher.publish_batch([one_batch()])
    finally:
        broker.config_set("maxmemory", "0")
    publisher.publish_batch([one_batch()])
    publisher.close()


def test_the_sender_comes_back_after_a_broken_connection(app, broker):
    publisher = tasks.Publisher(app)
    publisher.publish_batch([one_batch()])
    next_task(broker)
    for client in broker.client_list():
        if client["id"] != str(broker.client_id()):
            broker.client_kill_filter(_id=client["id"])
    try:
        publisher.publish_batch([one_batch()])
    except BrokerAway:
        publisher.publish_batch([one_batch()])
    assert next_batch(broker).batch.host == "ana"
    publisher.close()


@pytest.mark.django_db
def test_the_task_stores_what_was_sent(app, broker):
    now_ms = round(datetime.now(UTC).timestamp() * 1000)
    publisher = tasks.Publisher(app)
    publisher.publish_batch([one_batch("ana", now_ms), one_batch("bob", now_ms)])
    publisher.close()
    _, messages = next_task(broker)
    assert tasks.ingest_batch(messages) == {"batches": 2, "samples": 4, "refused": 0}
    assert Host.objects.count() == 2


@pytest.fixture
def lost_host(db) -> Iterator[datetime]:
    """A host not heard of for an hour; gives the time now. The portal has no memory of having listened."""
    now = datetime.now(UTC)
    cache.delete(tasks.LISTENING_KEY)
    Host.objects.create(name="ana", first_seen=now - timedelta(hours=1), last_seen=now - timedelta(hours=1))
    yield now
    cache.delete(tasks.LISTENING_KEY)


def test_the_first_watch_of_a_portal_accuses_nobody(lost_host, broker):
    assert tasks.watch_hosts() == {"silent": 0}


def test_a_watch_that_has_listened_finds_the_silent_host(lost_host, broker):
    cache.set(tasks.LISTENING_KEY, (lost_host - timedelta(minutes=10), lost_host))
    assert tasks.watch_hosts() == {"silent": 1}


def test_a_batch_that_waits_in_the_queue_is_heard_before_anybody_is_accused(lost_host, broker, app):
    cache.set(tasks.LISTENING_KEY, (lost_host - timedelta(hours=2), lost_host))
    waiting = stamp(one_batch(), round((lost_host - timedelta(hours=1)).timestamp() * 1000), None)
    app.send_task(tasks.INGEST_TASK, [[waiting]], queue=tasks.INGEST_QUEUE)
    assert tasks.watch_hosts() == {"silent": 0}


@pytest.mark.django_db(transaction=True)
def test_the_house_is_kept_and_says_what_it_did():
    assert tasks.keep_house()["house"]


@pytest.mark.django_db
def test_the_agent_collects_and_the_portal_stores_it(start, broker):
    _, messages = next_task(broker, start("manage.py", "agent"))
    received = unpack(messages[0])
    now = datetime.now(UTC)
    assert hosts.take(messages, now).samples == len(received.batch.keys) + 1
    assert 0 <= stored("cpu_usage_percent", now.replace(year=now.year - 1), now)["ana"][0][1] <= 100
    assert Host.objects.get().facts["cores"] == os.cpu_count()


def test_the_agent_goes_on_at_its_interval(start, broker):
    agent = start("manage.py", "agent")
    times = [next_batch(broker, agent).batch.at_ms for _ in range(3)]
    assert times[1] < times[2]
    assert times[2] % 1000 == pytest.approx(times[1] % 1000, abs=900)


def test_the_agent_ends_when_told(start, broker):
    agent = start("manage.py", "agent")
    next_task(broker, agent)
    agent.terminate()
    assert agent.wait(WAIT_SECONDS) == 0


def test_the_agent_bridges_a_broker_that_is_not_there_yet(services, tmp_path, start):
    late = tmp_path / "late.sock"
    agent = start("manage.py", "agent", REDIS_URL=f"unix://{late}")
    for line in agent.stderr:
        if b"broker_away" in line:
            break
    else:
        pytest.fail("the agent did not say that the broker is away")
    # The late broker is a second name of the real one.
    late.symlink_to(services["REDIS_URL"].removeprefix("unix://"))
    with redis.Redis.from_url(services["REDIS_URL"], socket_timeout=WAIT_SECONDS + 5) as client:
        client.delete(tasks.INGEST_QUEUE)
        first = next_task(client)[1]
        client.delete(tasks.INGEST_QUEUE)
    times = [unpack(message).batch.at_ms for message in first]
    assert times == sorted(times)
    assert unpack(first[0]).batch.facts, "the batch of the start was kept"


def test_one_reading_can_be_shown_without_a_broker(capsys):
    call_command("agent", show=True)
    out = capsys.readouterr().out
    assert "\ncpu_usage_percent " in out
    assert "# kernel: " in out


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_worker_collects_from_its_host(start, broker, pool):
    batch = next_batch(broker, start(*worker("-P", pool, "-c", "1"))).batch
    assert batch.host == "ana"
    assert {"host_up", "cpu_usage_percent", "gpu_collector_up"} <= {key.partition("{")[0] for key in batch.keys}
    assert batch.facts["cores"] == os.cpu_count()


def test_a_worker_ends_with_its_collector_when_told(start, broker):
    process = start(*worker("-c", "1"))
    next_task(broker, process)
    process.terminate()
    assert process.wait(WAIT_SECONDS) == 0


def test_a_second_worker_takes_over_when_the_first_is_killed(start, broker):
    first = start(*worker("-P", "solo"))
    next_task(broker, first)
    second = start(*worker("-P", "solo", "-n", "second@%h"))
    for line in second.stderr:
        if b"host_collector_started" in line:
            break
    os.killpg(first.pid, signal.SIGKILL)
    first.wait(WAIT_SECONDS)
    broker.delete(tasks.INGEST_QUEUE)
    assert next_batch(broker, second).batch.host == "ana"


def test_a_worker_can_be_told_not_to_collect(start, broker):
    process = start(*worker("-P", "solo"), ALPHAQ_COLLECT="0")
    for line in process.stderr:
        if b" ready." in line or b"ready" in line:
            break
    process.terminate()
    assert process.wait(WAIT_SECONDS) == 0
    assert b"host_collector_started" not in process.stderr.read()
    assert not broker.llen(tasks.INGEST_QUEUE)
