"""Random samples through every tier while readers run: what was acknowledged is read back bit for bit, all the time."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from django.db import connection, connections

from monitoring import store
from monitoring.promql import STALE_NAN, Matcher
from monitoring.store import Scrape, codec, head
from tests.store.build import HOUR, NOW, SPECIAL, bits, everything, put, samples, scrape

DAY_START = NOW // (24 * HOUR) * 24 * HOUR
STALE = bits(STALE_NAN)


@pytest.fixture
def own_head(monkeypatch):
    monkeypatch.setattr(head, "HEAD", head.Head())


class Model:
    """What the store must answer: the samples of each series, from the first to the last that has a value."""

    def __init__(self):
        self.times = {}
        self.values = {}

    def add(self, item):
        self.times.setdefault(item.source, set()).add(item.at_ms)
        for key, value in zip(item.keys, item.values, strict=True):
            self.values.setdefault(f'{key}{{source="{item.source}"}}', {})[item.at_ms] = bits(value)

    def expected(self):
        return {
            name: {at: values.get(at, STALE) for at in self.times[name.split('"')[1]]}
            for name, values in self.values.items()
            if any(value != STALE for value in values.values())
        }

    def check(self, found):
        """Equal, but for markers before the first sample or after the last: they say the same as nothing."""
        assert set(found) == set(self.expected())
        for name, expected in self.expected().items():
            real = {at: value for at, value in expected.items() if value != STALE}
            got = dict(found[name])
            assert len(got) == len(found[name]), f"{name}: a time twice"
            assert {at: value for at, value in got.items() if value != STALE} == real
            inner = {at for at in expected if min(real) < at < max(real)}
            assert {at for at in got if min(real) < at < max(real)} == inner


def random_scrape(random, source, at_ms, names):
    there = random.permutation(names)[: random.integers(0, len(names) + 1)].tolist()
    count = len(there)
    kinds = np.stack(
        [
            random.normal(size=count).view(np.uint64),
            random.choice(SPECIAL, count).view(np.uint64),
            random.integers(-5, 5, count).astype(float).view(np.uint64),
            random.integers(0, 1 << 63, count, dtype=np.uint64),
        ]
    )
    values = kinds[random.choice(4, count, p=[0.4, 0.3, 0.2, 0.1]), np.arange(count)]
    return Scrape(f"s{source}", {"source": f"s{source}"}, at_ms, there, values.view(float))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.django_db
def test_random_samples_come_back_bit_for_bit_from_every_tier(seed, own_head):
    random = np.random.default_rng(seed)
    model, now_ms = Model(), DAY_START
    names = [f"m{number}" for number in range(8)]
    while now_ms < DAY_START + 30 * HOUR:
        now_ms += int(random.choice([15_000, 60_000, 300_000, 2_000_000], p=[0.3, 0.3, 0.3, 0.1]))
        late = int(random.choice([0, 0, 0, 7_000, 400_000]))
        items = [random_scrape(random, source, now_ms - late, names) for source in range(3) if random.random() < 0.8]
        receipt = store.append(items, now_ms=now_ms)
        for item in items:
            if item.source not in receipt.errors:
                model.add(item)
        step = random.random()
        if step < 0.1:
            store.pivot(now_ms)
        elif step < 0.2:
            store.join_halves(now_ms)
            store.compact(now_ms, max_windows=int(random.integers(1, 5)))
        elif step < 0.25:
            store.merge(now_ms, max_sources=int(random.integers(1, 4)))
        elif step < 0.3:
            store.keep_house(now_ms)
        if random.random() < 0.03:
            model.check(everything())
    store.keep_house(now_ms + 5 * HOUR)
    model.check(everything())


@pytest.mark.django_db(transaction=True)
def test_readers_see_every_acknowledged_sample_while_tiers_change(own_head):
    written = threading.Event()
    acknowledged = [DAY_START - 1]
    problems = []

    def watch():
        matchers = [Matcher("=", "__name__", "counter")]
        try:
            while not written.is_set():
                upto = acknowledged[0]
                found = samples(store.select(matchers, DAY_START, upto))
                times = [at for at, _ in found.get('counter{source="s"}', [])]
                expected = list(range(DAY_START, upto + 1, 120_000))
                if times != expected:
                    problems.append((upto, len(times), len(expected)))
                values = [value for _, value in found.get('counter{source="s"}', [])]
                if values != [bits(float(at)) for at in times]:
                    problems.append("values")
        finally:
            connections.close_all()

    readers = [threading.Thread(target=watch) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for at_ms in range(DAY_START, DAY_START + 28 * HOUR, 120_000):
            item = Scrape("s", {"source": "s"}, at_ms, ["counter", "other"], np.array([float(at_ms), 1.0]))
            store.append([item], now_ms=at_ms)
            acknowledged[0] = at_ms
            if at_ms % 2_400_000 == 0:
                store.keep_house(at_ms)
        for minutes in range(0, 60, 15):
            store.keep_house(DAY_START + 28 * HOUR + minutes * 60_000)
    finally:
        written.set()
        for reader in readers:
            reader.join()
    assert problems == []
    with connection.cursor() as cursor:
        cursor.execute("select count(*) > 0 from store_day")
        assert cursor.fetchone()[0]


@pytest.mark.parametrize("crc", [False, True])
def test_every_packed_series_comes_back_bit_for_bit(crc):
    random = np.random.default_rng(11)
    for _ in range(200):
        count = int(random.integers(1, 300))
        fill = float(random.choice([STALE_NAN, store.records.ABSENT]))
        rows = random.choice(np.concatenate([SPECIAL, [fill, fill, 3.0]]), (6, count))
        rows[1] = 7.0
        rows[2] = np.cumsum(random.integers(0, 9, count))
        rows[3] = fill
        for row, data in zip(rows, codec.pack_rows(rows, fill, crc), strict=True):
            out = np.full(count, fill)
            if data is not None:
                codec.unpack_into(data, out, fill)
            assert out.view(np.uint64).tolist() == np.ascontiguousarray(row).view(np.uint64).tolist()


def test_a_flipped_bit_is_found_by_the_checksum():
    random = np.random.default_rng(2)
    [data] = codec.pack_rows(random.normal(size=(1, 100)), STALE_NAN, crc=True)
    out = np.empty(100)
    for position in random.integers(0, len(data) * 8, 200).tolist():
        broken = bytearray(data)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(codec.CorruptChunk):
            codec.unpack_into(bytes(broken), out, STALE_NAN)


def test_times_come_back_whether_regular_or_not():
    random = np.random.default_rng(4)
    for ts in ([NOW], [NOW, NOW + 15_000, NOW + 30_000], NOW + np.cumsum(random.integers(1, 99_999, 500))):
        ts = np.array(ts, np.int64)
        assert codec.unpack_times(codec.pack_times(ts, crc=True)).tolist() == ts.tolist()


@pytest.mark.django_db
def test_two_processes_with_different_layouts_write_one_source():
    put(scrape(a=1.0, b=2.0))
    store.catalog.CATALOG.sync(None)
    put(scrape(at_ms=NOW + 1000, b=3.0, c=4.0))
    assert everything()["b"] == [(NOW, bits(2.0)), (NOW + 1000, bits(3.0))]
