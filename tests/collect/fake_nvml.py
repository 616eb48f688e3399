"""NVML without a GPU: the names, constants and error classes of pynvml, the answers of the tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

GIB = 1 << 30


def process(pid: int, used_bytes: int | None) -> SimpleNamespace:
    """One entry of the process list."""
    return SimpleNamespace(pid=pid, usedGpuMemory=used_bytes)


@dataclass
class FakeGpu:
    """One GPU: `answers` by the end of the call's name (`PowerUsage`); an exception is raised instead of returned."""

    uuid: str = "GPU-0a"
    name: str = "NVIDIA H200"
    answers: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None

    def answer(self, call: str, *args: Any) -> Any:
        """Return or raise what this GPU says to a call; a GPU with an error says only that."""
        value = self.error or self.answers.get(call, DEFAULTS.get(call, NOT_SUPPORTED))
        if isinstance(value, Exception):
            raise value
        return value(*args) if callable(value) else value


NOT_SUPPORTED = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
DEFAULTS: dict[str, Any] = {
    "UtilizationRates": SimpleNamespace(gpu=87, memory=41),
    "MemoryInfo": SimpleNamespace(total=141 * GIB, free=41 * GIB, used=100 * GIB),
    "Temperature": 66,
    "TemperatureThreshold": 90,
    "PowerUsage": 412_345,
    "EnforcedPowerLimit": 700_000,
    "TotalEnergyConsumption": 9_000_500,
    "ClockInfo": lambda kind: 1980 - kind,
    "MaxClockInfo": lambda kind: 1980,
    "CurrentClocksEventReasons": 0x4 | 0x1,
    "TotalEccErrors": lambda kind, counter: 10 * kind + counter,
    "RemappedRows": (1, 2, 0, 1),
    "FanSpeed": 30,
    "PcieThroughput": lambda counter: 100 + counter,
    "CurrPcieLinkGeneration": 5,
    "CurrPcieLinkWidth": 16,
    "PcieReplayCounter": 3,
    "EncoderUtilization": [1, 1000],
    "DecoderUtilization": [2, 1000],
    "MigMode": [0, 0],
    "ComputeRunningProcesses": [],
}


class FakeNvml:
    """Stands where the pynvml module stands; what it does not know (constants, errors) it takes from there."""

    def __init__(self, *gpus: FakeGpu, init_error: Exception | None = None) -> None:
        self.gpus = list(gpus)
        self.init_error = init_error
        self.inits = 0
        self.is_open = False

    def nvmlInit(self) -> None:
        self.inits += 1
        if self.init_error:
            raise self.init_error
        self.is_open = True

    def nvmlShutdown(self) -> None:
        self.is_open = False

    def nvmlSystemGetDriverVersion(self) -> str:
        return "570.86.15"

    def nvmlSystemGetCudaDriverVersion_v2(self) -> int:
        return 12080

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeGpu:
        gpu = self.gpus[index]
        if gpu.error:
            raise gpu.error
        return gpu

    def nvmlDeviceGetUUID(self, gpu: FakeGpu) -> str:
        return gpu.uuid

    def nvmlDeviceGetName(self, gpu: FakeGpu) -> str:
        return gpu.name

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("nvmlDeviceGet"):
            return getattr(pynvml, name)

        def call(gpu: FakeGpu, *args: Any) -> Any:
            if not self.is_open:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
            getattr(pynvml, name)  # a call that NVML does not have must fail here too
            return gpu.answer(name.removeprefix("nvmlDeviceGet"), *args)

        return call


def error(code: int) -> Exception:
    """The exception that pynvml raises for an error code."""
    made: Exception = pynvml.NVMLError(code)
    return made
