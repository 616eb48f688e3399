"""Alerts that others post: checked, merged with what is known, stored and dispatched in one transaction (AI-9).

Source of the rules: Alertmanager 0.25, api/v2/api.go postAlertsHandler and types.Merge (ALERTING.md AI). Hides that a
resend of alerts that have not changed does not touch their rows (alerts.amlease): each row has a key of the content it
was posted with, and what comes with the same key is not looked at any closer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from hashlib import blake2b
from itertools import chain
from operator import attrgetter
from typing import Any

import orjson
from django.db import connection, transaction
from django.db.models.base import ModelState

from alerts import amlease, bulk, dispatch
from alerts.amlease import Resend
from alerts.engine.fingerprint import InvalidAlert, PostedAlert, accept, fingerprints, merge
from alerts.models import Alert

# Any constant does that no other advisory lock of the portal has.
_INGEST_LOCK = 0x616C7069 + 1
_FIELDS = [
    "annotations", "generator_url", "active_since", "fired_at", "ends_at", "is_timeout", "updated_at", "state",
    "resolved_at", "resolve_reason", "content_key",
]  # fmt: skip
# One request at a time, and what it finds then: whether alerts have ended that nobody has written down yet, and the
# newest row of each fingerprint, the one that fires, else the last that did. Two statements sent as one.
_TURN = f"""
SELECT pg_advisory_xact_lock(%(lock)s);
SELECT ({amlease.HAS_OVERDUE}), ARRAY(
    SELECT newest.id FROM unnest(%(keys)s::text[]) AS wanted (fingerprint), LATERAL (
        SELECT id FROM alerts_alert WHERE fingerprint = wanted.fingerprint AND source = 'api' ORDER BY id DESC LIMIT 1
    ) AS newest
)
"""  # noqa: S608  (our own text)
# What a post tells of a new row, with the types of the arrays that alerts_begin takes; without one it is one JSON text.
_POSTED = {
    "fingerprint": "text", "name": "text", "severity": "text", "labels": "", "annotations": "", "generator_url": "text",
    "fired_at": "timestamp with time zone", "ends_at": "timestamp with time zone", "is_timeout": "boolean",
    "content_key": "bigint",
}  # fmt: skip
_BEGIN = f"SELECT alerts_begin({', '.join(['%s'] * (1 + len(_POSTED)))})"
_ONLY_TEXT = {str}
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class SchemaError(ValueError):
    """The request does not have the shape the API asks for; nothing of it is stored. The text names the place."""


class MissingError(SchemaError):
    """Something is not there that the API asks for; upstream answers it with another status than a wrong type."""


@dataclass
class Outcome:
    """What became of one request: faults of single alerts, and how many rows it took."""

    problems: list[str] = field(default_factory=list)
    new: int = 0
    changed: int = 0
    renewed: int = 0

    @property
    def is_routed(self) -> bool:
        """Whether groups may have something new to tell."""
        return bool(self.new or self.changed)


class _Timeout:
    """The resolve timeout, read only when an alert without an end comes: a Prometheus always names one."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    @cached_property
    def seconds(self) -> float:
        """How long to believe in an alert without an end."""
        return amlease.resolve_timeout_seconds(self._at)


def ingest(items: Sequence[Any], at: datetime) -> Outcome:
    """Store what was posted: every valid alert, and a sentence for each of the others (AI-4).

    items: the decoded JSON list. Raises SchemaError when it has not the API's shape; then nothing is stored.
    """
    outcome, timeout = Outcome(), _Timeout(at)
    posted = [_posting(item, place, at, timeout) for place, item in enumerate(items)]
    resent = {one.content_key: one for one in posted if one.may_renew(at)}
    unknown = amlease.renew([*resent.values()], at)
    outcome.renewed = len(resent) - len(unknown)
    fresh = [
        (one.content_key, item) for one, item in zip(posted, items, strict=True)
        if one.content_key in unknown or not one.may_renew(at)
    ]  # fmt: skip
    if fresh:
        with transaction.atomic():
            _store(_accepted(fresh, at, timeout, outcome), at, outcome)
    return outcome


def _posting(item: Any, place: int, at: datetime, timeout: _Timeout) -> Resend:
    """One element of a request, if it is of an alert that is known; raises SchemaError where it is no alert at all.

    Its key is 64 bits of a hash of everything but its times; that it names an end belongs to it. Two contents that meet
    by chance are to be expected once in some 10^9 alerts that fire together.
    """
    try:
        labels, annotations, url = item["labels"], item.get("annotations"), item.get("generatorURL")
        starts_at = _time(item.get("startsAt"), "startsAt", place)
        ends_at = _time(item.get("endsAt"), "endsAt", place)
        annotations = {} if annotations is None else annotations
        is_shaped = set(map(type, chain(labels.values(), annotations.values()))) <= _ONLY_TEXT
    except (TypeError, KeyError, AttributeError):
        is_shaped = False
    if not is_shaped or (url is not None and type(url) is not str):
        _check_shape(item, place)
        raise SchemaError(f"{place} in body must be an alert")
    content = _text([labels, annotations, url or "", ends_at is None])
    key = int.from_bytes(blake2b(content, digest_size=8).digest(), "little", signed=True)
    return Resend(key, starts_at or at, ends_at or at + timedelta(seconds=timeout.seconds))


def _text(content: Any) -> bytes:
    """One text for each content, however its sender orders names."""
    try:
        return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # half a surrogate pair; accept() refuses it
        return json.dumps(content, sort_keys=True).encode()


def _check_shape(item: Any, place: int) -> None:
    """Raise SchemaError where an element is not what api/v2/openapi.yaml calls a postableAlert; times aside."""
    if not isinstance(item, dict):
        raise SchemaError(f"{place} in body must be of type object")
    if item.get("labels") is None:
        raise MissingError(f"{place}.labels in body is required")
    for name in ("labels", "annotations"):
        pairs = item.get(name)
        if pairs is None and name == "annotations":
            continue
        if not isinstance(pairs, dict) or not set(map(type, pairs.values())) <= _ONLY_TEXT:
            raise SchemaError(f"{place}.{name} in body must be an object of strings")
    url = item.get("generatorURL")
    if url is not None and not isinstance(url, str):
        raise SchemaError(f"{place}.generatorURL in body must be of type string")


def _time(value: Any, name: str, place: int) -> datetime | None:
    """An RFC 3339 time; Go's zero time counts as none."""
    if value is None or value == "":
        return None
    try:
        return _parsed(value)
    except (ValueError, OverflowError, TypeError) as error:
        raise SchemaError(f"{place}.{name} in body must be of type date-time: {value!r}") from error


@lru_cache(maxsize=1024)  # a sender gives the alerts of one rule the same end
def _parsed(text: str) -> datetime | None:
    if not _TIME.fullmatch(text):
        raise ValueError(text)
    found = datetime.fromisoformat(text.upper())
    return found.astimezone(UTC) if found.year > 1 else None


def _accepted(
    fresh: Iterable[tuple[int, Any]], at: datetime, timeout: _Timeout, outcome: Outcome
) -> dict[str, tuple[PostedAlert, int]]:
    """The valid alerts by fingerprint, each with its content's number; the faults of the others go to `outcome`."""
    valid: list[tuple[PostedAlert, int]] = []
    for place, (content, item) in enumerate(fresh):
        starts_at, ends_at = (_time(item.get(name), name, place) for name in ("startsAt", "endsAt"))
        try:
            post = accept(
                item["labels"], at=at, annotations=item.get("annotations") or {}, starts_at=starts_at, ends_at=ends_at,
                generator_url=item.get("generatorURL") or "",
                resolve_timeout_seconds=timeout.seconds if ends_at is None else 0.0,
            )  # fmt: skip
            _refuse_nul(post)
        except InvalidAlert as error:
            outcome.problems.append(str(error))
            continue
        valid.append((post, content))
    posts: dict[str, tuple[PostedAlert, int]] = {}
    for key, (post, content) in zip(fingerprints([post.labels for post, _ in valid]), valid, strict=True):
        earlier = posts.get(key)
        posts[key] = (merge(earlier[0], post, at) if earlier else post, content)
    return posts


def _refuse_nul(post: PostedAlert) -> None:
    if "\x00" not in "".join([value for _, value in post.labels.pairs]) + "".join(post.annotations.values()):
        return
    for what, pairs in (("label set", post.labels.pairs), ("annotations", post.annotations.items())):
        for name, value in pairs:
            if "\x00" in value:
                raise InvalidAlert(f"invalid {what}: the value of {name} holds a NUL character, which is not kept")


@dataclass
class _Writes:
    """What a request comes to: rows to insert, rows to update, and what is told."""

    new: list[Alert] = field(default_factory=list)
    changed: list[Alert] = field(default_factory=list)
    told: list[Alert] = field(default_factory=list)  # that fire or resolve by this request


def _store(posts: Mapping[str, tuple[PostedAlert, int]], at: datetime, outcome: Outcome) -> None:
    """Write posted alerts and route those that fired or resolved; call inside a transaction.

    One request at a time: two that bring the same new alert would both insert it.
    """
    if not posts:
        return
    rows = _newest(posts, at)
    writes = _Writes()
    for key, (post, content) in posts.items():
        _decide(post, content, key, rows.get(key), at, writes)
    _insert(writes.new, at)
    bulk.update(writes.changed, _FIELDS)
    bulk.insert([amlease.ended_event(row) for row in writes.told if row.state == Alert.State.RESOLVED])
    outcome.new += len(writes.new)
    outcome.changed += len(writes.changed)
    dispatch.route(writes.told, at)


def _insert(rows: Sequence[Alert], at: datetime) -> None:
    """Write new rows, with the first line in the history of each that fires, and give them their keys."""
    if not rows:
        return
    held = {name: list(map(attrgetter(name), rows)) for name in _POSTED}
    columns = [
        bulk.array(held[name], type_) if type_ else orjson.dumps(held[name]).decode() for name, type_ in _POSTED.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [at, *columns])
        for row, pk in zip(rows, cursor.fetchone()[0], strict=True):
            row.pk, row._state.adding = pk, False


def _newest(keys: Iterable[str], at: datetime) -> dict[str, Alert]:
    """The rows that tell what is known of these fingerprints, locked, when it is this request's turn."""
    with connection.cursor() as cursor:
        cursor.execute(_TURN, {"lock": _INGEST_LOCK, "keys": list(keys), "at": at})
        has_overdue, ids = cursor.fetchone()
    if has_overdue:
        amlease.end_overdue(at)
    rows = Alert.objects.filter(pk__in=ids).select_for_update(no_key=True).order_by("id") if ids else ()
    return {row.fingerprint: row for row in rows}


def _decide(post: PostedAlert, content: int, key: str, row: Alert | None, at: datetime, writes: _Writes) -> None:
    """Sort one posted alert into `writes` by what is known of it (AI-6, AI-7)."""
    if row is None:
        _begin(post, content, key, at, writes)
        return
    merged = merge(_posted(row, post), post, at)
    is_over, was_over = merged.is_resolved(at), row.state == Alert.State.RESOLVED
    if was_over and (not is_over or merged.starts_at >= (row.resolved_at or merged.starts_at)):
        _begin(merged, content, key, at, writes)  # a new episode: the old one stays as history
    elif is_over:
        _end(row, merged, was_over, at, writes)
    else:
        # A process whose clock is ahead may have stored another content as the later one.
        _fill(row, merged, content if merged.updated_at == post.updated_at else None, at)
        writes.changed.append(row)


# What an alert is of which nobody knows more than that it was posted: thirty defaults worked out once, not for each.
_BLANK = {name: value for name, value in vars(Alert(source=Alert.Source.API)).items() if name != "_state"}


def _new_row() -> Alert:
    row = Alert.__new__(Alert)
    row.__dict__.update(_BLANK, _state=ModelState())
    return row


def _begin(post: PostedAlert, content: int, key: str, at: datetime, writes: _Writes) -> None:
    labels = post.labels.as_dict()
    row = _new_row()
    row.fingerprint, row.labels, row.label_set = key, labels, post.labels
    row.name, row.severity = labels.get("alertname", "")[:200], labels.get("severity", "")[:50]
    _fill(row, post, content, at)
    writes.new.append(row)
    writes.told.append(row)


def _end(row: Alert, merged: PostedAlert, was_over: bool, at: datetime, writes: _Writes) -> None:
    """A resolve: news the first time, then at most a better known end."""
    if was_over and row.resolved_at == merged.ends_at:
        return
    _fill(row, merged, None, at)
    writes.changed.append(row)
    if not was_over:
        writes.told.append(row)


def _fill(row: Alert, post: PostedAlert, content: int | None, at: datetime) -> None:
    is_over = post.is_resolved(at)
    row.content_key = None if is_over else content
    row.annotations, row.generator_url = dict(post.annotations), post.generator_url[:2000]
    row.active_since = row.fired_at = post.starts_at
    row.ends_at, row.is_timeout, row.updated_at = post.ends_at, post.is_timeout, at
    row.state = Alert.State.RESOLVED if is_over else Alert.State.FIRING
    row.resolved_at, row.resolve_reason = (post.ends_at, "posted") if is_over else (None, "")


def _posted(row: Alert, post: PostedAlert) -> PostedAlert:
    """The row as it was posted. Whose end is with the postings is taken to end with the new post: it has not ended."""
    return PostedAlert(
        post.labels, row.fired_at or row.active_since, row.ends_at or max(post.ends_at, post.updated_at),
        row.updated_at, row.annotations, row.generator_url, row.is_timeout,
    )  # fmt: skip
