"""One host's readings turned into batches: all collectors together, named and ready to be packed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from monitoring import store
from monitoring.collect.batch import Batch
from monitoring.collect.facts import read_facts
from monitoring.collect.gpu import GpuCollector
from monitoring.collect.samples import Reading, Sample
from monitoring.collect.system import SystemCollector

# Facts hardly change; a portal that missed them hears them again within 20 intervals.
FACTS_EVERY = 20


class Collector(Protocol):
    """Reads one source."""

    def read(self, at_ms: int) -> Reading:
        """Return the samples of this moment."""


class HostReader:
    """Reads this machine for the portal; an instance belongs to one thread."""

    def __init__(self, host: str, interval_seconds: float, agent_version: str, gpu: GpuCollector | None = None) -> None:
        self.host = host
        self.interval_seconds = interval_seconds
        self._agent_version = agent_version
        self._gpu = gpu or GpuCollector()
        self._collectors: tuple[Collector, ...] = (SystemCollector(), self._gpu)
        self._readings = 0

    def read(self, at_ms: int, own: Iterable[Sample] = ()) -> Batch:
        """Return the batch of this moment with the samples of the caller's own, facts in the first and each 20th."""
        samples = [sample for collector in self._collectors for sample in collector.read(at_ms).samples]
        samples += own
        with_facts = self._readings % FACTS_EVERY == 0
        self._readings += 1
        # Two samples of one series would be refused as a whole; the later one counts.
        values = {store.sample_key(sample.name, sample.labels): sample.value for sample in samples}
        return Batch(
            host=self.host,
            at_ms=at_ms,
            interval_seconds=self.interval_seconds,
            agent_version=self._agent_version,
            keys=list(values),
            values=np.fromiter(values.values(), dtype=np.float64, count=len(values)),
            facts=self.facts() if with_facts else None,
        )

    def facts(self) -> dict[str, Any]:
        """Return the facts of this machine, GPUs included."""
        return read_facts(self._gpu.facts())

    def close(self) -> None:
        """Let go of the GPU driver."""
        self._gpu.close()
