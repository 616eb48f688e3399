"""A prometheus.yml as values: what the portal can take of it, and each part that it cannot, by name.

Source of the format: Prometheus 3, config/config.go. Taken: static targets with their times and labels, the global
times and external labels, and alert_relabel_configs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import yaml

from alerts.engine.durations import parse_duration
from alerts.rulefile.yaml_nodes import FileError, Reader, Value, load

_GLOBAL = ("scrape_interval", "scrape_timeout", "evaluation_interval", "external_labels", "rule_query_offset")
_SCRAPE = (
    "job_name", "scrape_interval", "scrape_timeout", "metrics_path", "scheme", "honor_labels", "honor_timestamps",
    "params", "static_configs", "sample_limit", "body_size_limit",
)  # fmt: skip
# Parts that mean the same to the portal when they are left out, with the reason.
_NEEDLESS = {
    "alerting.alertmanagers": "the portal tells alerts itself",
    "storage": "the portal's store has settings of its own",
    "tsdb": "the portal's store has settings of its own",
    "rule_files": "import them with import_rules, or with --with-rules",
}
_TRUE, _FALSE = ("true", "True", "yes", "on"), ("false", "False", "no", "off")
_SIZES = {"B": 1, "KB": 1 << 10, "KIB": 1 << 10, "MB": 1 << 20, "MIB": 1 << 20, "GB": 1 << 30, "GIB": 1 << 30}


@dataclass(frozen=True)
class FileTarget:
    """One static target with all that its job says; None where the portal's default holds."""

    job: str
    instance: str
    url: str
    interval_seconds: float
    timeout_seconds: float
    labels: Mapping[str, str]
    honor_labels: bool = False
    honor_timestamps: bool = True
    sample_limit: int | None = None
    body_limit_bytes: int | None = None
    line: int = 0


@dataclass(frozen=True)
class PrometheusFile:
    """What a prometheus.yml says. unsupported: parts that would be lost; needless: parts that nobody misses."""

    targets: tuple[FileTarget, ...] = ()
    external_labels: Mapping[str, str] = field(default_factory=dict)
    alert_relabel_configs: tuple[Any, ...] = ()
    evaluation_interval_seconds: float = 60.0
    query_offset_seconds: float = 0.0
    rule_files: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    needless: tuple[str, ...] = ()


def read_prometheus(text: str) -> PrometheusFile:
    """Return what a prometheus.yml says; raises FileError for what Prometheus too would refuse."""
    root = load(text)
    if root is None:
        raise FileError(["the file is empty"])
    found = _File(Reader())
    made = found.read(root)
    found.reader.finish()
    return made


@dataclass(frozen=True)
class _Times:
    interval_seconds: float = 60.0
    timeout_seconds: float = 10.0


class _File:
    """One file being read."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.unsupported: list[str] = []
        self.needless: list[str] = []

    def read(self, root: Value) -> PrometheusFile:
        parts = self._known(root, ("global", "alerting", "scrape_configs"))
        general = self._known(parts.get("global"), _GLOBAL)
        alerting = self._known(parts.get("alerting"), ("alert_relabel_configs",))
        interval = self._seconds(general.get("scrape_interval"), 60.0)
        times = _Times(interval, self._seconds(general.get("scrape_timeout"), min(10.0, interval)))
        if times.timeout_seconds > interval:
            self.reader.complain(general["scrape_timeout"], "scrape_timeout is longer than scrape_interval")
        jobs = self.reader.items(parts.get("scrape_configs"))
        return PrometheusFile(
            targets=tuple(target for job in jobs for target in self._job(job, times)),
            external_labels=self.reader.texts(general.get("external_labels")),
            alert_relabel_configs=_plain_list(alerting.get("alert_relabel_configs")),
            evaluation_interval_seconds=self._seconds(general.get("evaluation_interval"), 60.0),
            query_offset_seconds=self._seconds(general.get("rule_query_offset"), 0.0),
            rule_files=tuple(self.reader.text(one) for one in self.reader.items(self._rule_files(root))),
            unsupported=tuple(self.unsupported),
            needless=tuple(self.needless),
        )

    def _rule_files(self, root: Value) -> Value | None:
        return self.reader.mapping(root).get("rule_files")

    def _known(self, value: Value | None, names: tuple[str, ...]) -> dict[str, Value]:
        """The parts of a mapping that are taken; the others are noted by their path."""
        found = self.reader.mapping(value)
        for name, part in found.items():
            if name in names or part.is_null:
                continue
            if part.path in _NEEDLESS:
                self.needless.append(f"{part.path}: {_NEEDLESS[part.path]}")
            else:
                self.unsupported.append(part.says("the portal has no such thing"))
        return {name: part for name, part in found.items() if name in names}

    def _job(self, value: Value, times: _Times) -> list[FileTarget]:
        parts, text = self._known(value, _SCRAPE), self.reader.text
        name = text(parts.get("job_name"))
        if not name:
            self.reader.complain(value, "the scrape config has no job_name")
        interval = self._seconds(parts.get("scrape_interval"), times.interval_seconds)
        timeout = self._seconds(parts.get("scrape_timeout"), min(times.timeout_seconds, interval))
        if timeout > interval:
            self.reader.complain(value, "scrape_timeout is longer than scrape_interval")
        common = {
            "interval_seconds": interval,
            "timeout_seconds": timeout,
            "honor_labels": self._flag(parts.get("honor_labels"), False),
            "honor_timestamps": self._flag(parts.get("honor_timestamps"), True),
            "sample_limit": self._whole(parts.get("sample_limit"), int),
            "body_limit_bytes": self._whole(parts.get("body_size_limit"), _bytes),
        }
        address = (text(parts.get("scheme")) or "http", text(parts.get("metrics_path")) or "/metrics")
        query = urlencode(self._params(parts.get("params")), doseq=True)
        found = []
        for block in self.reader.items(parts.get("static_configs")):
            own = self._known(block, ("targets", "labels"))
            labels = self.reader.texts(own.get("labels"))
            for one in self.reader.items(own.get("targets")):
                found.append(self._target(one, name, labels, address, query, common))
        return found

    def _target(
        self,
        value: Value,
        job: str,
        labels: Mapping[str, str],
        address: tuple[str, str],
        query: str,
        common: Mapping[str, Any],
    ) -> FileTarget:
        host = self.reader.text(value)
        if "/" in host or not host:
            self.reader.complain(value, f"{host!r} is no host:port")
        own = dict(labels)
        scheme, path = own.pop("__scheme__", address[0]), own.pop("__metrics_path__", address[1])
        for name in [name for name in own if name.startswith("__")]:
            self.unsupported.append(value.says(f"the portal does not know the label {name}"))
            del own[name]
        url = f"{scheme}://{host}{path}{'?' + query if query else ''}"
        job, instance = own.pop("job", job), own.pop("instance", host)
        return FileTarget(job=job, instance=instance, url=url, labels=own, line=value.line, **common)

    def _params(self, value: Value | None) -> dict[str, list[str]]:
        return {
            name: [self.reader.text(one) for one in self.reader.items(many)]
            for name, many in self.reader.mapping(value).items()
        }

    def _seconds(self, value: Value | None, default: float) -> float:
        return self._parsed(value, parse_duration, default)

    def _whole(self, value: Value | None, parse: Callable[[str], int]) -> int | None:
        return self._parsed(value, parse, None) or None  # 0 is no limit

    def _flag(self, value: Value | None, default: bool) -> bool:
        if value is None or value.is_null:
            return default
        text = self.reader.text(value)
        if text not in (*_TRUE, *_FALSE):
            self.reader.complain(value, f"{text!r} is neither true nor false")
        return text in _TRUE

    def _parsed(self, value: Value | None, parse: Callable[[str], Any], default: Any) -> Any:
        if value is None or value.is_null:
            return default
        try:
            return parse(self.reader.text(value))
        except ValueError as error:
            self.reader.complain(value, str(error))
            return default


def _bytes(text: str) -> int:
    number = text.rstrip("KMGiIbB")
    unit = text[len(number) :].upper() or "B"
    if not number.isdigit() or unit not in _SIZES:
        raise ValueError(f"{text!r} is no size; write for example 10MB")
    return int(number) * _SIZES[unit]


def _plain_list(value: Value | None) -> tuple[Any, ...]:
    """A list as YAML means it; alerts.engine.relabel checks it."""
    if value is None or value.is_null:
        return ()
    made = yaml.SafeLoader("").construct_document(value.node)
    return tuple(made) if isinstance(made, list) else (made,)
