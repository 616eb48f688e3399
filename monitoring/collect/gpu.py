"""NVIDIA GPUs of this machine, read through NVML.

Hides that a host may have no GPU or no driver, that a GPU may fall off the bus while it is read, and that every
model supports another set of calls. Whatever is missing gives no sample; `gpu_collector_up`, `gpu_up`,
`gpu_unsupported_calls` and `gpu_errors_total` say that and why, and once a minute everything is tried anew.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import psutil
import pynvml
import structlog

from monitoring.collect.gpu_calls import CALLS, Reader
from monitoring.collect.samples import Reading, Sample, plain

log = structlog.get_logger(__name__)
RETRY_MS = 60_000
# Largest first; a GPU shared by hundreds of small processes must not make hundreds of series.
MAX_PROCESSES = 16
MAX_NAME_CHARS = 64


@dataclass
class Gpu:
    """One GPU by its index; the labels are kept when it is lost, so that its alert can name it."""

    index: int
    uuid: str = ""
    name: str = ""
    handle: Any = None
    is_lost: bool = False
    unsupported: set[str] = field(default_factory=set)

    @property
    def labels(self) -> dict[str, str]:
        """The labels of every sample of this GPU."""
        return {"gpu": str(self.index), "uuid": self.uuid, "name": self.name}


class GpuCollector:
    """All GPUs of this machine; `nvml` is the pynvml module or one with the same names."""

    def __init__(self, nvml: Any = pynvml, process_name: Callable[[int], str] | None = None) -> None:
        self._nvml = nvml
        self._process_name = process_name or name_of_process
        self._gpus: list[Gpu] = []
        self._is_up = False
        self._retry_at_ms: int | None = None
        self._errors: Counter[str] = Counter()
        # Errors after which nothing of this GPU answers until it has been reset.
        self._gone = (nvml.NVMLError_GpuIsLost, nvml.NVMLError_ResetRequired)
        self._missing = (nvml.NVMLError_NotSupported, nvml.NVMLError_FunctionNotFound, nvml.NVMLError_NoData)

    def read(self, at_ms: int) -> Reading:
        """Return the samples of all GPUs; never raises for anything that NVML says."""
        self._connect(at_ms)
        samples: list[Sample] = []
        for gpu in self._gpus:
            samples += self._read_gpu(gpu)
        samples.append(plain("gpu_collector_up", self._is_up))
        samples.append(plain("gpu_count", len(self._gpus)))
        samples += (
            Sample("gpu_errors_total", {"reason": reason}, float(count)) for reason, count in self._errors.items()
        )
        return Reading(at_ms, samples)

    def facts(self) -> dict[str, Any]:
        """Return driver, CUDA version and the GPUs with their memory in bytes; empty without a GPU."""
        if not self._is_up:
            return {}
        cuda = self._ask(self._nvml.nvmlSystemGetCudaDriverVersion_v2)
        return {
            "driver": self._ask(self._nvml.nvmlSystemGetDriverVersion),
            "cuda": f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else None,
            "gpus": [
                {
                    "index": gpu.index,
                    "uuid": gpu.uuid,
                    "name": gpu.name,
                    "memory_bytes": getattr(self._ask(self._nvml.nvmlDeviceGetMemoryInfo, gpu.handle), "total", None),
                }
                for gpu in self._gpus
                if not gpu.is_lost
            ],
        }

    def close(self) -> None:
        """Let go of NVML; the collector may be read again afterwards."""
        if self._is_up:
            self._ask(self._nvml.nvmlShutdown)
        self._is_up = False

    def _connect(self, at_ms: int) -> None:
        is_whole = self._is_up and not any(gpu.is_lost for gpu in self._gpus)
        # The lower bound lets a clock that was set back by an hour not stop the retries for an hour.
        if is_whole or (self._retry_at_ms is not None and -RETRY_MS <= at_ms - self._retry_at_ms < 0):
            return
        self._retry_at_ms = at_ms + RETRY_MS
        # A GPU that was reset or came back is seen only by a new session with the driver.
        self.close()
        try:
            self._nvml.nvmlInit()
            self._is_up = True
            self._gpus = self._discover()
        except self._nvml.NVMLError as error:
            self._count(error)
            self._is_up = False

    def _discover(self) -> list[Gpu]:
        known = {gpu.index: gpu for gpu in self._gpus}
        return [self._find(index, known.get(index)) for index in range(self._nvml.nvmlDeviceGetCount())]

    def _find(self, index: int, before: Gpu | None) -> Gpu:
        gpu = Gpu(index, before.uuid, before.name) if before else Gpu(index)
        try:
            gpu.handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            gpu.uuid = self._nvml.nvmlDeviceGetUUID(gpu.handle)
            gpu.name = self._nvml.nvmlDeviceGetName(gpu.handle)
        except self._nvml.NVMLError as error:
            self._lose(gpu, error)
        return gpu

    def _read_gpu(self, gpu: Gpu) -> Iterator[Sample]:
        if self._is_up and not gpu.is_lost:
            gpu.unsupported.clear()
            for name, read in CALLS.items():
                yield from self._call(gpu, name, read)
            yield from self._call(gpu, "processes", self._processes)
            yield Sample("gpu_unsupported_calls", gpu.labels, float(len(gpu.unsupported)))
        yield Sample("gpu_up", gpu.labels, float(self._is_up and not gpu.is_lost))

    def _call(self, gpu: Gpu, name: str, read: Reader) -> list[Sample]:
        if gpu.is_lost or not self._is_up:
            return []
        try:
            return [sample._replace(labels={**gpu.labels, **sample.labels}) for sample in read(self._nvml, gpu.handle)]
        except self._missing:
            gpu.unsupported.add(name)
        except self._gone as error:
            self._lose(gpu, error)
        except self._nvml.NVMLError_Uninitialized as error:
            # The driver was unloaded under us; the next try starts over.
            self._count(error)
            self._is_up = False
        except self._nvml.NVMLError as error:
            self._count(error)
        return []

    def _processes(self, nvml: Any, handle: Any) -> Iterator[Sample]:
        processes = nvml.nvmlDeviceGetComputeRunningProcesses(handle)
        largest = sorted((p for p in processes if p.usedGpuMemory is not None), key=lambda p: -p.usedGpuMemory)
        yield plain("gpu_processes", len(processes))
        for process in largest[:MAX_PROCESSES]:
            labels = {"pid": str(process.pid), "process": self._process_name(process.pid)[:MAX_NAME_CHARS]}
            yield Sample("gpu_process_memory_usage_bytes", labels, float(process.usedGpuMemory))

    def _lose(self, gpu: Gpu, error: Exception) -> None:
        gpu.is_lost = True
        self._count(error)
        log.warning("gpu_lost", gpu=gpu.index, uuid=gpu.uuid, error=str(error))

    def _count(self, error: Exception) -> None:
        self._errors[reason_of(error)] += 1

    def _ask(self, call: Callable[..., Any], *args: Any) -> Any:
        try:
            return call(*args)
        except self._nvml.NVMLError as error:
            self._count(error)
            return None


def reason_of(error: Exception) -> str:
    """Return NVML's own name of an error in lower case, `gpu_is_lost`; `unknown` for a code without a name."""
    name = type(error).__name__.partition("_")[2]
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower() or "unknown"


def name_of_process(pid: int) -> str:
    """Return the name of a process, empty when it is gone or lives in another namespace."""
    try:
        return str(psutil.Process(pid).name())
    except (psutil.Error, OSError):
        return ""
