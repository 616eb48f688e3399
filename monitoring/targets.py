"""What is scraped and what becomes of it: targets with their labels and times, scrapes into samples and statuses.

Nothing here asks a target or reads a clock; `scraper` does, and hands over what it got.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db import connection, transaction
from numpy.typing import NDArray

from monitoring import claims, store
from monitoring.claims import LabelSet
from monitoring.collect.exposition import Exposition, OwnTime
from monitoring.collect.openmetrics import key_labels
from monitoring.collect.report import Metadata
from monitoring.models import Deployment, Target
from monitoring.models.targets import DEFAULT_TIMEOUT_SECONDS, default_instance

#: What Prometheus adds to every scrape (scrape/scrape.go report), first in the row so that nothing passes for it.
REPORT_KEYS = (
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
)
#: Each distinct own time costs a row; an exporter with one a series should be scraped without honor_timestamps.
MAX_OWN_TIMES = 64
DEPLOYMENT_MANAGES = "deployment"
#: What model servers say of themselves and the registry says of them.
SAID_TWICE = frozenset({"model_name", "model_version"})
NOTHING: NDArray[np.float64] = np.empty(0)


@dataclass(frozen=True, slots=True)
class Spec:
    """All a scraper needs to know of a target; `labels` are those its samples carry."""

    target_id: int
    url: str
    interval_ms: int
    timeout_seconds: float
    labels: tuple[tuple[str, str], ...]
    honor_labels: bool
    honor_timestamps: bool
    sample_limit: int
    body_limit_bytes: int
    offset_ms: int

    @property
    def source(self) -> str:
        """The name of the target as a source of the store."""
        return f"target:{self.target_id}"

    def next_slot(self, after_ms: int) -> int:
        """Return the first planned time after `after_ms`, in epoch milliseconds."""
        return after_ms - (after_ms - self.offset_ms) % self.interval_ms + self.interval_ms


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scrape at its planned time: what was read, or why nothing was (`error`)."""

    spec: Spec
    at_ms: int
    duration_seconds: float
    exposition: Exposition | None = None
    error: str = ""
    missed_slots: int = 0
    told: Mapping[str, Metadata] | None = None  # what the target says of its metrics, now and then


def spec_of(target: Target) -> Spec:
    """Return what a scraper needs to know; reads the target's deployment, version and model."""
    labels: dict[str, str] = {**target.labels}
    if target.deployment is not None:
        version = target.deployment.version
        own = {"model_name": version.model.name, "model_version": version.version}
        labels = {**version.model.labels, **labels, **own}
    labels |= {"job": target.job, "instance": target.instance_label}
    interval_ms = round(target.interval_seconds * 1000)
    # Spread over the interval, the same after every restart (Prometheus, scrape/target.go offset).
    digest = hashlib.blake2b(f"{target.job}\0{target.instance_label}\0{target.url}".encode(), digest_size=8).digest()
    return Spec(
        target_id=target.pk,
        url=target.url,
        interval_ms=interval_ms,
        timeout_seconds=target.timeout_seconds or min(DEFAULT_TIMEOUT_SECONDS, target.interval_seconds),
        labels=tuple(sorted(labels.items())),
        honor_labels=target.honor_labels,
        honor_timestamps=target.honor_timestamps,
        sample_limit=target.sample_limit,
        body_limit_bytes=target.body_limit_bytes,
        offset_ms=int.from_bytes(digest, "big") % interval_ms,
    )


def specs(target_ids: Iterable[int]) -> dict[int, Spec]:
    """Return those of some targets that are to be scraped, by id."""
    rows = Target.objects.filter(pk__in=list(target_ids), is_enabled=True).exclude(deployment__is_enabled=False)
    return {target.pk: spec_of(target) for target in rows.select_related("deployment__version__model")}


def registry_state() -> str:
    """Return a text that changes whenever a target, or the labels a deployment gives it, may have changed."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select count(*) || ':' || coalesce(sum(hashtextextended("
            "row(t.*, d.is_enabled, v.version, m.name, m.labels)::text, 0)::numeric), 0)"
            " from monitoring_target t left join monitoring_deployment d on d.id = t.deployment_id"
            " left join monitoring_modelversion v on v.id = d.version_id"
            " left join monitoring_servedmodel m on m.id = v.model_id"
        )
        return str(cursor.fetchone()[0])


@dataclass(slots=True)
class Writer:
    """Turns the scrapes of one target into those of the store, and knows which of its sources are open.

    `open`: label sets written by the last scrape; a series set that is written no more gets stale markers once.
    """

    spec: Spec
    open: list[LabelSet] = field(default_factory=list)
    _keys: tuple[str, ...] | None = None
    _parts: list[tuple[LabelSet, tuple[str, ...], NDArray[np.intp] | None]] = field(default_factory=list)

    def scrapes(self, outcome: Outcome) -> tuple[list[store.Scrape], str]:
        """Return what goes into the store, and what was left out (""); `open` is what it will be afterwards."""
        found = outcome.exposition
        report = [float(found is not None), outcome.duration_seconds]
        if found is None:
            return self._all([self._scrape(outcome.at_ms, dict(self.spec.labels), REPORT_KEYS, [*report, 0, 0, 0])]), ""
        if found.keys is not self._keys:
            self._arrange(found.keys)
        numbers = np.array([*report, found.samples, found.samples, found.added])
        scrapes = []
        for labels, keys, places in self._parts:
            values = found.values if places is None else found.values[places]
            values = np.concatenate([numbers, values]) if keys[:1] == REPORT_KEYS[:1] else values
            scrapes.append(self._scrape(outcome.at_ms, labels, keys, values))
        own, problem = self._own_times(found.own)
        return self._all(scrapes) + own, problem

    def end(self, at_ms: int) -> list[store.Scrape]:
        """Return stale markers for all that is open."""
        ended = [self._scrape(at_ms, labels, (), NOTHING) for labels in self.open]
        self.open = []
        return ended

    def _all(self, scrapes: list[store.Scrape]) -> list[store.Scrape]:
        """Add stale markers of the label sets that were open and are written no more."""
        written = [dict(scrape.labels) for scrape in scrapes]
        gone = [labels for labels in self.open if labels not in written]
        self.open = written
        return [*[self._scrape(scrapes[0].at_ms, labels, (), NOTHING) for labels in gone], *scrapes]

    def _scrape(self, at_ms: int, labels: LabelSet, keys: Sequence[str], values: Any) -> store.Scrape:
        return store.Scrape(self.spec.source, labels, at_ms, keys, np.asarray(values, np.float64))

    def _arrange(self, keys: tuple[str, ...]) -> None:
        """Sort series by the labels of ours that give way to their own: our label is left out, theirs is seen.

        With honor_labels all that a series has itself, as in Prometheus; else only what monitoring.instrument says of
        the model, where it says the same: the registry would turn it into exported_model_name beside itself.
        """
        ours = dict(self.spec.labels)
        groups: dict[frozenset[str], list[int]] = defaultdict(list)
        if self.spec.honor_labels or not SAID_TWICE.isdisjoint(ours):
            for place, key in enumerate(keys):
                groups[self._overridden(ours, key)].append(place)
        plain = groups.pop(frozenset(), [])
        if not groups:
            self._parts = [(ours, REPORT_KEYS + keys, None)]
        else:
            places = np.array(plain, np.intp)
            self._parts = [(ours, REPORT_KEYS + tuple(keys[place] for place in places), places)]
        for names, members in sorted(groups.items(), key=lambda item: sorted(item[0])):
            labels = {name: value for name, value in ours.items() if name not in names}
            self._parts.append((labels, tuple(keys[place] for place in members), np.array(members, np.intp)))
        self._keys = keys

    def _overridden(self, ours: LabelSet, key: str) -> frozenset[str]:
        own = key_labels(key)
        if self.spec.honor_labels:
            return frozenset(ours.keys() & own.keys())
        return frozenset(name for name in SAID_TWICE if name in own and ours.get(name) == own[name])

    def _own_times(self, own: Sequence[OwnTime]) -> tuple[list[store.Scrape], str]:
        """Return samples with times of their own, a scrape a time; they get no stale markers, as in Prometheus."""
        times: dict[int, dict[str, float]] = defaultdict(dict)
        for sample in own:
            times[sample.at_ms].setdefault(sample.key, sample.value)
        problem = ""
        if len(times) > MAX_OWN_TIMES:
            left_out = sorted(times)[:-MAX_OWN_TIMES]
            problem = f"more than {MAX_OWN_TIMES} different timestamps in one scrape; switch honor_timestamps off"
            for at_ms in left_out:
                del times[at_ms]
        return [
            store.Scrape(
                self.spec.source, dict(self.spec.labels), at_ms, tuple(series), np.array(list(series.values())), True
            )
            for at_ms, series in sorted(times.items())
        ], problem


def record(outcomes: Sequence[tuple[Outcome, Writer]], ended: Sequence[store.Scrape], now_ms: int) -> store.Receipt:
    """Store scrapes, the ends of targets that are no more, and statuses: one COPY, one transaction, durable on return.

    Raises what the database raises, and DiskFull; nothing is stored then, and the same call may be made again.
    """
    store.check_room()
    before = {id(writer): list(writer.open) for _, writer in outcomes}
    try:
        with transaction.atomic():
            scrapes = list(ended)
            warnings: dict[int, str] = {}
            for outcome, writer in outcomes:
                more, problem = writer.scrapes(outcome)
                scrapes += more
                if problem:
                    warnings[outcome.spec.target_id] = problem
            receipt = store.append(scrapes, now_ms=now_ms)
            _note(outcomes, warnings, receipt)
            changed = {
                writer.spec.target_id: writer.open for _, writer in outcomes if writer.open != before[id(writer)]
            }
            claims.note_sources(changed)
    except BaseException:
        for _, writer in outcomes:
            writer.open = before[id(writer)]
        raise
    return receipt


def _note(outcomes: Sequence[tuple[Outcome, Writer]], warnings: dict[int, str], receipt: store.Receipt) -> None:
    """Write what the newest scrape of each target said, in one statement."""
    newest = {outcome.spec.target_id: outcome for outcome, _ in sorted(outcomes, key=lambda pair: pair[0].at_ms)}
    missed: dict[int, int] = defaultdict(int)
    for outcome, _ in outcomes:
        missed[outcome.spec.target_id] += outcome.missed_slots
    rows = []
    for target_id, outcome in sorted(newest.items()):
        found = outcome.exposition
        told = [
            warnings.get(target_id, ""),
            found.warning if found else "",
            receipt.errors.get(outcome.spec.source, ""),
        ]
        rows.append((
            target_id, "down" if found is None else "up", datetime.fromtimestamp(outcome.at_ms / 1000, tz=UTC),
            outcome.duration_seconds, found.samples if found else 0, outcome.error[:2000],
            "; ".join(filter(None, told))[:2000], missed[target_id],
        ))  # fmt: skip
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into monitoring_targetstatus as s (target_id, state, since, scraped_at, duration_seconds, samples,"
            " error, warning, missed_slots)"
            " select u.id, u.state, u.at, u.at, u.seconds, u.samples, u.error, u.warning, u.missed from"
            " unnest(%s::bigint[], %s::text[], %s::timestamptz[], %s::float8[], %s::int[], %s::text[], %s::text[],"
            " %s::bigint[]) u (id, state, at, seconds, samples, error, warning, missed)"
            " join monitoring_target t on t.id = u.id"
            " on conflict (target_id) do update set state = excluded.state, scraped_at = excluded.scraped_at,"
            " since = case when s.state = excluded.state then s.since else excluded.since end,"
            " duration_seconds = excluded.duration_seconds, samples = excluded.samples, error = excluded.error,"
            " warning = excluded.warning, missed_slots = s.missed_slots + excluded.missed_slots",
            [list(column) for column in zip(*rows, strict=True)],
        )


def follow(deployment: Deployment) -> Target | None:
    """Make, change or remove the target of a deployment so that its metrics URL is scraped; return the target."""
    mine = Target.objects.filter(deployment=deployment).first()
    if not deployment.metrics_url:
        if mine is not None and mine.managed_by == DEPLOYMENT_MANAGES:
            mine.delete()
        return None
    if mine is None:
        mine = Target(deployment=deployment, managed_by=DEPLOYMENT_MANAGES)
    elif mine.managed_by != DEPLOYMENT_MANAGES:
        return mine
    if mine.url != deployment.metrics_url:
        mine.url, mine.instance_label = deployment.metrics_url, default_instance(deployment.metrics_url)
    mine.job = deployment.version.model.name
    others = Target.objects.filter(job=mine.job).exclude(pk=mine.pk)
    if others.filter(instance_label=mine.instance_label).exists():
        # Two versions behind one address (a path each) are two instances.
        mine.instance_label = f"{default_instance(mine.url)}/{deployment.pk}"
    mine.save()
    return mine
