"""CPU, memory, load, disks, filesystems and network of this machine, read through psutil and /proc.

Hides which call gives which number, what is skipped because it would count twice, and that one broken source
must not take the others with it: a failed source gives no samples and one more in `host_collect_errors_total`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import structlog

from monitoring.collect.disks import disk_samples
from monitoring.collect.filesystems import FilesystemCollector
from monitoring.collect.samples import Reading, Sample, plain

log = structlog.get_logger(__name__)
# What psutil and /proc raise when a source is missing, forbidden or unreadable.
READ_ERRORS = (OSError, psutil.Error, RuntimeError, ValueError, LookupError)
# `guest` and `guest_nice` are left out: the kernel has already counted them in `user` and `nice`.
CPU_MODES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
# The kernel's idle and iowait may step back a little; more than this is a CPU that went off and on again
# (node_exporter 1.5, collector/cpu_linux.go jumpBackSeconds).
JUMP_BACK_SECONDS = 3.0
# Clock ticks are 10 ms: in a quarter of a second even one core gives a share that is right to a few percent.
PRIME_SECONDS = 0.25
# One pair of these comes and goes with every container; their traffic is on the bridge or the real card as well.
SKIPPED_INTERFACES = ("veth", "cali", "lxc", "ifb", "dummy")
MAX_INTERFACES = 64


class SystemCollector:
    """The resources of this machine; one instance keeps what is needed to compute shares between readings."""

    def __init__(self) -> None:
        self._cpu = CpuCollector()
        self._sources: dict[str, Callable[[], Iterator[Sample]]] = {
            "cpu": self._cpu.read,
            "memory": memory_samples,
            "swap": swap_samples,
            "load": load_samples,
            "disk": disk_samples,
            "filesystem": FilesystemCollector().read,
            "network": network_samples,
            "processes": process_samples,
        }
        self._errors = dict.fromkeys([*self._sources, "boot"], 0)

    def read(self, at_ms: int) -> Reading:
        """Return all samples of this moment; never raises because of one source, waits 0.25 s at most, once."""
        started = time.monotonic()
        samples = [plain("host_up", 1)]
        for source, read in self._sources.items():
            samples += self._try(source, read)
        samples += self._try("boot", lambda: boot_samples(at_ms))
        samples += (
            Sample("host_collect_errors_total", {"source": source}, float(count))
            for source, count in self._errors.items()
        )
        samples.append(plain("host_collect_duration_seconds", time.monotonic() - started))
        return Reading(at_ms, samples)

    def _try(self, source: str, read: Callable[[], Iterator[Sample]]) -> list[Sample]:
        try:
            return list(read())
        except READ_ERRORS as error:
            self._errors[source] += 1
            if self._errors[source] == 1:
                log.warning("host_source_unreadable", source=source, error=f"{type(error).__name__}: {error}")
            return []


class CpuCollector:
    """CPU time by core and mode, and the share of it that was busy since the reading before."""

    def __init__(self) -> None:
        self._last: list[dict[str, float]] = []
        self._before = busy_and_total(psutil.cpu_times())
        self._primed_at = time.monotonic() + PRIME_SECONDS

    def read(self) -> Iterator[Sample]:
        """Yield `cpu_seconds_total` a core and mode, `cpu_usage_percent` (0 to 100, all cores) and `cpu_count`."""
        # Only the first reading can come too early; after it, the readings themselves are the interval.
        time.sleep(max(0.0, self._primed_at - time.monotonic()))
        self._primed_at = 0.0
        yield from self._seconds()
        now = busy_and_total(psutil.cpu_times())
        usage = usage_percent(self._before, now)
        if usage is not None:
            yield plain("cpu_usage_percent", usage)
        self._before = now

    def _seconds(self) -> Iterator[Sample]:
        cores = [core._asdict() for core in psutil.cpu_times(percpu=True)]
        if len(cores) == len(self._last):
            cores = [without_small_steps_back(*pair) for pair in zip(self._last, cores, strict=True)]
        self._last = cores
        for index, core in enumerate(cores):
            for mode in CPU_MODES:
                if mode in core:
                    yield Sample("cpu_seconds_total", {"cpu": str(index), "mode": mode}, core[mode])
        yield plain("cpu_count", len(cores))


def busy_and_total(times: Any) -> tuple[float, float]:
    """Return (busy, total) seconds of psutil's cpu_times; waiting for I/O is not busy, stolen time is."""
    known = times._asdict()
    total = sum(known.get(mode, 0.0) for mode in CPU_MODES)
    return total - known["idle"] - known.get("iowait", 0.0), total


def usage_percent(before: tuple[float, float], now: tuple[float, float]) -> float | None:
    """Return the busy share in between, 0 to 100; None when no tick has passed."""
    total = now[1] - before[1]
    return min(100.0, max(0.0, 100.0 * (now[0] - before[0]) / total)) if total > 0 else None


def without_small_steps_back(last: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Return `now` with values that stepped back less than JUMP_BACK_SECONDS held, so that rate() sees no reset."""
    return {
        mode: last[mode] if 0 < last.get(mode, 0.0) - value < JUMP_BACK_SECONDS else value
        for mode, value in now.items()
    }


def memory_samples() -> Iterator[Sample]:
    """Yield memory in bytes; usage is total minus available, that is without what the kernel can give back."""
    memory = psutil.virtual_memory()
    yield plain("memory_usage_bytes", memory.total - memory.available)
    yield plain("memory_total_bytes", memory.total)
    yield plain("memory_available_bytes", memory.available)
    yield plain("memory_free_bytes", memory.free)
    for name in ("cached", "buffers"):
        if hasattr(memory, name):
            yield plain(f"memory_{name}_bytes", getattr(memory, name))


def swap_samples() -> Iterator[Sample]:
    """Yield swap space in bytes and the bytes moved in and out since boot."""
    swap = psutil.swap_memory()
    yield plain("swap_usage_bytes", swap.used)
    yield plain("swap_total_bytes", swap.total)
    yield plain("swap_in_bytes_total", swap.sin)
    yield plain("swap_out_bytes_total", swap.sout)


def load_samples() -> Iterator[Sample]:
    """Yield the three load averages: tasks that run, wait for a core or for I/O."""
    for minutes, load in zip((1, 5, 15), psutil.getloadavg(), strict=True):
        yield plain(f"load_average_{minutes}m", load)


def network_samples() -> Iterator[Sample]:
    """Yield bytes, packets, errors and drops of each interface in both directions, since boot."""
    # nowrap=False: a counter that restarts is PromQL's business; psutil would hide it behind a sum of its own.
    interfaces = psutil.net_io_counters(pernic=True, nowrap=False)
    kept = [name for name in interfaces if not name.startswith(SKIPPED_INTERFACES)][:MAX_INTERFACES]
    for name in kept:
        count = interfaces[name]
        labels = {"device": name}
        for direction, values in (
            ("receive", (count.bytes_recv, count.packets_recv, count.errin, count.dropin)),
            ("transmit", (count.bytes_sent, count.packets_sent, count.errout, count.dropout)),
        ):
            for what, value in zip(("bytes", "packets", "errors", "drops"), values, strict=True):
                yield Sample(f"network_{direction}_{what}_total", labels, float(value))


def process_samples() -> Iterator[Sample]:
    """Yield how many processes there are."""
    yield plain("host_processes", len(psutil.pids()))


def boot_samples(at_ms: int) -> Iterator[Sample]:
    """Yield the time of boot in seconds since 1970 and the uptime at `at_ms`."""
    boot = psutil.boot_time()
    yield plain("boot_time_seconds", boot)
    yield plain("host_uptime_seconds", max(0.0, at_ms / 1000 - boot))
