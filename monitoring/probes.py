"""Probes: which are due, what their answers become, and which follow from deployments.

A due probe is claimed by moving its `due_at` on under a row lock that others skip, so any number of processes share the
work and nobody asks twice. Nothing here asks a server or reads a clock; `prober` does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.db import connection, transaction

from monitoring import store
from monitoring.collect.probe import Question, Verdict
from monitoring.models import Deployment, HealthKind, ModelVersion, Probe, ProbeState
from monitoring.models.probes import MOST_RESULTS
from monitoring.models.targets import default_instance

JOB = "probe"
#: After blackbox_exporter, so that rules written for it ask ours as well.
KEYS = ("probe_success", "probe_duration_seconds", "probe_http_status_code")
DEPLOYMENT_MANAGES = "deployment"
#: Kinds that know models by name; vLLM is asked for one only where staff named it, most serve a single one.
_KNOWS_MODELS = frozenset({HealthKind.KSERVE, HealthKind.TRITON, HealthKind.OLLAMA})

_WANTED = (
    "monitoring_probe p left join monitoring_deployment d on d.id = p.deployment_id"
    " where p.is_enabled and coalesce(d.is_enabled, true)"
)

LabelSet = dict[str, str]


@dataclass(frozen=True, slots=True)
class Task:
    """One question that is due, with the labels of its samples and the time they will have."""

    probe_id: int
    question: Question
    labels: LabelSet
    at: datetime


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task and what came of it."""

    task: Task
    verdict: Verdict


def source_of(probe_id: int) -> str:
    """Return the name of a probe as a source of the store."""
    return f"probe:{probe_id}"


def task_of(probe: Probe, at: datetime) -> Task:
    """Return what to ask; reads the probe's deployment, version and model."""
    labels: LabelSet = {**probe.labels}
    model = probe.model_at_server
    if probe.deployment is not None:
        version = probe.deployment.version
        labels = {**version.model.labels, **labels, "model_name": version.model.name, "model_version": version.version}
        if not model and probe.kind in _KNOWS_MODELS:
            model = version.model.name
    labels |= {"job": JOB, "instance": default_instance(probe.url), "probe": probe.name}
    return Task(probe.pk, Question(probe.kind, probe.url, model, probe.timeout_seconds), labels, at)


def sweep(at: datetime) -> None:
    """Give new probes a state, due at once; end the series of those that are gone or switched off."""
    with transaction.atomic():
        _execute(
            "insert into monitoring_probestate (probe_id, due_at, error, missed_slots, results)"  # noqa: S608  (all texts are ours)
            f" select p.id, %s, '', 0, '[]' from {_WANTED}"
            " and not exists (select from monitoring_probestate where probe_id = p.id) on conflict do nothing"
            " returning 1",
            [at],
        )
        ended = _execute(
            f"delete from monitoring_probestate where probe_id not in (select p.id from {_WANTED})"  # noqa: S608  (the same)
            " returning probe_id, labels::text"
        )
        at_ms = _ms(at)
        gone = [
            _ended(probe_id, json.loads(labels), at_ms) for probe_id, labels in ended if labels not in (None, "null")
        ]
        if gone:
            store.append(gone, now_ms=at_ms)


def claim(at: datetime, limit: int) -> list[Task]:
    """Return at most `limit` probes that are due at `at` and plan their next times; slots that passed are counted."""
    rows = _execute(
        "with due as (select s.probe_id, s.due_at, p.interval_seconds i, mod(p.id * 0.618034, 1) * p.interval_seconds o"
        "  from monitoring_probestate s join monitoring_probe p on p.id = s.probe_id"
        # The second half: an interval was shortened, or the clock was set back.
        "  where s.due_at <= %(at)s or s.due_at > %(at)s + 2 * p.interval_seconds * interval '1 second'"
        "  order by s.due_at limit %(limit)s for update of s skip locked)"
        " update monitoring_probestate s set"
        "  due_at = to_timestamp((floor((extract(epoch from %(at)s) - o) / i) + 1) * i + o),"
        "  missed_slots = s.missed_slots + greatest(0, floor(extract(epoch from %(at)s - due.due_at) / i))"
        " from due where s.probe_id = due.probe_id returning s.probe_id",
        {"at": at, "limit": limit},
    )
    found = Probe.objects.filter(pk__in=[row[0] for row in rows]).select_related("deployment__version__model")
    return [task_of(probe, at) for probe in found]


def record(outcomes: Sequence[Outcome], now: datetime) -> None:
    """Store samples and states of some outcomes in one transaction; raises what the database raises."""
    if not outcomes:
        return
    with transaction.atomic():
        ids = [outcome.task.probe_id for outcome in outcomes]
        before = dict(ProbeState.objects.filter(pk__in=ids).values_list("pk", "labels"))
        scrapes = []
        for outcome in outcomes:
            task = outcome.task
            old = before.get(task.probe_id)
            if old and old != task.labels:
                scrapes.append(_ended(task.probe_id, old, _ms(task.at)))
            if task.probe_id in before:  # else it was removed while it was asked
                scrapes.append(_scrape(outcome))
        receipt = store.append(scrapes, now_ms=_ms(now))
        _note(outcomes, receipt.errors)


def _scrape(outcome: Outcome) -> store.Scrape:
    task, verdict = outcome.task, outcome.verdict
    values = np.array([float(verdict.is_ok), verdict.duration_seconds, float(verdict.http_status)])
    return store.Scrape(source_of(task.probe_id), task.labels, _ms(task.at), KEYS, values)


def _ended(probe_id: int, labels: LabelSet, at_ms: int) -> store.Scrape:
    return store.Scrape(source_of(probe_id), labels, at_ms, (), np.empty(0))


def _note(outcomes: Sequence[Outcome], refused: dict[str, str]) -> None:
    rows = []
    for outcome in outcomes:
        task, verdict = outcome.task, outcome.verdict
        problem = refused.get(source_of(task.probe_id))
        error = "; ".join(filter(None, [verdict.error, problem and f"its samples are refused: {problem}"]))[:2000]
        result = ProbeState.result(task.at, verdict.is_ok, verdict.http_status, verdict.duration_seconds, error)
        rows.append((
            task.probe_id, task.at, verdict.is_ok, verdict.duration_seconds, verdict.http_status, error,
            json.dumps(task.labels), json.dumps(result),
        ))  # fmt: skip
    _execute(
        "update monitoring_probestate s set is_ok = u.is_ok, probed_at = u.at,"
        " since = case when s.is_ok is not distinct from u.is_ok then s.since else u.at end,"
        " duration_seconds = u.seconds, http_status = u.status, error = u.error, labels = u.labels,"
        " results = case when jsonb_array_length(s.results) >= %s then s.results - 0 else s.results end"
        "  || jsonb_build_array(u.result)"
        " from unnest(%s::bigint[], %s::timestamptz[], %s::bool[], %s::float8[], %s::int[], %s::text[], %s::jsonb[],"
        "  %s::jsonb[]) u (id, at, is_ok, seconds, status, error, labels, result)"
        " where s.probe_id = u.id and (s.probed_at is null or s.probed_at <= u.at) returning 1",
        [MOST_RESULTS, *(list(column) for column in zip(*rows, strict=True))],
    )


def follow(deployment: Deployment) -> Probe | None:
    """Make, change or remove the probe of a deployment so that its health URL is asked; return the probe."""
    mine = Probe.objects.filter(deployment=deployment).first()
    if not deployment.health_url:
        if mine is not None and mine.managed_by == DEPLOYMENT_MANAGES:
            mine.delete()
        return None
    if mine is None:
        mine = Probe(deployment=deployment, managed_by=DEPLOYMENT_MANAGES)
    elif mine.managed_by != DEPLOYMENT_MANAGES:
        return mine
    mine.url, mine.kind, mine.model_at_server = deployment.health_url, deployment.health_kind, deployment.health_model
    name = f"{deployment.version.model.name} {default_instance(mine.url)}"[:280]
    is_taken = Probe.objects.filter(name=name).exclude(pk=mine.pk).exists()
    mine.name = f"{name} #{deployment.pk}" if is_taken else name
    mine.save()
    return mine


def unwell(at: datetime) -> list[tuple[str, str]]:
    """Return (deployment, why) for each enabled production deployment with a health URL that is not well at `at`."""
    rows = Deployment.objects.filter(is_enabled=True, version__stage=ModelVersion.Stage.PRODUCTION)
    rows = rows.exclude(health_url="").select_related("version__model", "host", "probe__state")
    return [(str(one), problem) for one in rows if (problem := _problem(one, at))]


def _problem(deployment: Deployment, at: datetime) -> str:
    probe: Probe | None = getattr(deployment, "probe", None)
    if probe is None or not probe.is_enabled:
        return "its probe is switched off" if probe else "it has no probe; save the deployment once more"
    state: ProbeState | None = getattr(probe, "state", None)
    return state.problem(at) if state else "not asked yet"


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _execute(query: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetchall()
