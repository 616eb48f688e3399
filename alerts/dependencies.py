"""What hangs on what in the registry, as inhibit rules: host → deployment → model.

Made anew at each tick from the rows, and only for what is down at that moment: as long as nothing is down this costs
one look for firing alerts with the names that mean so. A parent mutes children that nobody was told of yet; it never
keeps a rule from being evaluated, and never swallows a resolve.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urlsplit

from alerts.engine.matching import matches_all, parse_alertmanager_matchers
from alerts.engine.muting import InhibitRule, Subject
from alerts.engine.muting import dependency as edge
from alerts.models import Alert, Dependency
from monitoring.models import Deployment
from monitoring.promql import Labels, Matcher

_NAME = "alertname"
# An alternation of plain names, the form in which people write several: it lets the database look by name.
_PLAIN = re.compile(r"[\w-]+(\|[\w-]+)*")
_HOST, _DEPLOYMENT = Dependency.Kind.HOST, Dependency.Kind.DEPLOYMENT


@dataclass(frozen=True)
class Dependencies:
    """The edges below everything that is down now, and the alerts that say so."""

    rules: Sequence[InhibitRule] = ()
    sources: Sequence[Subject] = ()


@dataclass
class _Down:
    """What one or several alerts say is down."""

    name: str  # in words: host gpu-1
    source: tuple[Matcher, ...]
    spares: tuple[Matcher, ...]  # what targets must not be: another alert that says the same
    deployments: list[Deployment] = field(default_factory=list)


def now(at: datetime) -> Dependencies:
    """The dependencies that hold at `at`, in one query while nothing is down and three otherwise."""
    marks = [(row.kind, _matchers(row.matchers)) for row in Dependency.objects.filter(is_enabled=True)]
    sources = list(_firing(marks, at)) if marks else []
    if not sources:
        return Dependencies()
    deployments = list(Deployment.objects.filter(is_enabled=True).select_related("version__model", "host"))
    downs = list(_downs(sources, marks, deployments))
    rules = [rule for down in downs for rule in _edges(down)]
    return Dependencies([*rules, *_whole_models(downs, deployments)], [subject for _, subject in sources])


def _matchers(texts: Iterable[str]) -> tuple[Matcher, ...]:
    return tuple(matcher for text in texts for matcher in parse_alertmanager_matchers(text))


def _firing(marks: Sequence[tuple[str, tuple[Matcher, ...]]], at: datetime) -> Iterable[tuple[str, Subject]]:
    """Firing alerts that say that something is down, with what."""
    rows = Alert.objects.filter(state=Alert.State.FIRING, is_shadow=False)
    rows = rows.exclude(source=Alert.Source.API, ends_at__lte=at)
    names = [_names(matchers) for _, matchers in marks]
    if all(found is not None for found in names):
        rows = rows.filter(name__in={name for found in names for name in found or ()})
    for pairs, rule_id in rows.values_list("labels", "rule_id"):
        labels = Labels.of(pairs)
        kind = next((kind for kind, matchers in marks if matches_all(matchers, labels)), None)
        if kind is not None:
            yield kind, Subject(labels, rule_id)


def _names(matchers: Sequence[Matcher]) -> set[str] | None:
    """The alert names that matchers allow, None when they are not a plain list."""
    for matcher in matchers:
        if matcher.name == _NAME and (matcher.op == "=" or (matcher.op == "=~" and _PLAIN.fullmatch(matcher.value))):
            return set(matcher.value.split("|")) if matcher.op == "=~" else {matcher.value}
    return None


def _downs(
    sources: Sequence[tuple[str, Subject]], marks: Sequence[tuple[str, tuple[Matcher, ...]]],
    deployments: Sequence[Deployment],
) -> Iterable[_Down]:  # fmt: skip
    """What is down, each thing once however many alerts say so."""
    hosts = tuple(_negated(matchers) for kind, matchers in marks if kind == _HOST)
    both = tuple(_negated(matchers) for _, matchers in marks)
    seen: set[tuple[Matcher, ...]] = set()
    for kind, subject in sources:
        labels = subject.labels
        if kind == _HOST:
            source, name = _pinned(labels, "host") or _pinned(labels, "instance"), "host"
            below = [one for one in deployments if one.host and _is_host(one.host.name, labels)]
        else:
            source, name = _pinned(labels, "instance", "model_name", "model_version", "host"), "deployment"
            below = [one for one in deployments if _is_deployment(one, labels)]
        if source and source not in seen and below:
            seen.add(source)
            spares = hosts if kind == _HOST else both
            words = f"{name} {' '.join(matcher.value for matcher in source)}"
            yield _Down(words, (Matcher("=", _NAME, labels.get(_NAME)), *source), spares, below)


def _edges(down: _Down) -> Iterable[InhibitRule]:
    """A rule for each thing that runs on what is down: by its address, and by its model on that host."""
    for one in down.deployments:
        targets = [[Matcher("=", "instance", address)] for address in sorted(addresses(one))]
        if one.host is not None:
            targets.append([Matcher("=", "model_name", one.version.model.name), Matcher("=", "host", one.host.name)])
        for target in targets:
            yield _edge(down, [*target, *down.spares], f"deployment:{one.pk}")


def _whole_models(downs: Sequence[_Down], deployments: Sequence[Deployment]) -> Iterable[InhibitRule]:
    """Rules for alerts about a model or version as a whole, once nothing that serves it is left."""
    by_deployment = {one.pk: down for down in downs for one in down.deployments}
    served: dict[tuple[str, str], list[Deployment]] = defaultdict(list)
    for one in deployments:
        name = one.version.model.name
        served[name, one.version.version].append(one)
        served[name, ""].append(one)
    for (name, version), rows in served.items():
        if all(one.pk in by_deployment for one in rows):
            down = by_deployment[rows[0].pk]
            target = [
                Matcher("=", "model_name", name), Matcher("=", "model_version", version), Matcher("=", "instance", ""),
                Matcher("=", "host", ""), *down.spares,
            ]  # fmt: skip
            yield _edge(down, target, f"model:{name}:{version}")


def _edge(down: _Down, target: Sequence[Matcher], what: str) -> InhibitRule:
    return edge(f"dependency:{down.name}:{what}", down.source, target, name=down.name)


def addresses(deployment: Deployment) -> set[str]:
    """What stands in the label `instance` of alerts about a deployment: host and port of its URLs."""
    urls = (deployment.url, deployment.metrics_url, deployment.health_url)
    return {netloc for url in urls if url and (netloc := urlsplit(url).netloc)}


def _is_host(name: str, labels: Labels) -> bool:
    return name == (labels.get("host") or labels.get("instance").partition(":")[0])


def _is_deployment(one: Deployment, labels: Labels) -> bool:
    """Whether an alert is about this deployment: its address decides, else model, version and host as far as given."""
    if labels.get("instance") and addresses(one):
        return labels.get("instance") in addresses(one)
    if labels.get("model_name") != one.version.model.name:
        return False
    host = one.host.name if one.host else ""
    return labels.get("model_version") in ("", one.version.version) and labels.get("host") in ("", host)


def _pinned(labels: Labels, *names: str) -> tuple[Matcher, ...]:
    return tuple(Matcher("=", name, labels.get(name)) for name in names if labels.get(name))


def _negated(matchers: Sequence[Matcher]) -> Matcher:
    """The opposite of what a mark says about names; other matchers of it are passed over."""
    own = next(matcher for matcher in matchers if matcher.name == _NAME)
    return Matcher({"=": "!=", "=~": "!~"}[own.op], _NAME, own.value)
