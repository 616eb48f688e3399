"""What is asked of one GPU: a table of readers, each taking the NVML module and a device handle.

Every reader raises what NVML raises; the collector decides what a missing answer means. Units are turned into
base units here: NVML speaks milliwatts, millijoules, megahertz and kilobytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from monitoring.collect.samples import Sample, plain

Reader = Callable[[Any, Any], Iterator[Sample]]
# Bits of nvmlClocksEventReasons (nvml.h). Idle is left out: it says that nothing runs, not that something is held back.
THROTTLE_REASONS: Mapping[str, int] = {
    "applications_clocks_setting": 0x2,
    "sw_power_cap": 0x4,
    "hw_slowdown": 0x8,
    "sync_boost": 0x10,
    "sw_thermal_slowdown": 0x20,
    "hw_thermal_slowdown": 0x40,
    "hw_power_brake_slowdown": 0x80,
    "display_clock_setting": 0x100,
}
CLOCKS = ("graphics", "sm", "memory", "video")  # in the order of NVML_CLOCK_*
ECC_KINDS = ("corrected", "uncorrected")  # in the order of NVML_MEMORY_ERROR_TYPE_*
ECC_COUNTERS = ("volatile", "aggregate")  # since the driver was loaded; over the life of the board


def _utilisation(nvml: Any, handle: Any) -> Iterator[Sample]:
    rates = nvml.nvmlDeviceGetUtilizationRates(handle)
    yield plain("gpu_usage_percent", rates.gpu)
    # Share of time in which the memory was read or written; how full it is comes from _memory.
    yield plain("gpu_memory_activity_percent", rates.memory)


def _memory(nvml: Any, handle: Any) -> Iterator[Sample]:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    # As with the host's memory: whatever nobody can take any more, the driver's own share included.
    yield plain("gpu_memory_usage_bytes", memory.total - memory.free)
    yield plain("gpu_memory_total_bytes", memory.total)
    yield plain("gpu_memory_free_bytes", memory.free)


def _temperature(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_temperature_celsius", nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


def _temperature_limit(nvml: Any, handle: Any) -> Iterator[Sample]:
    slowdown = nvml.nvmlDeviceGetTemperatureThreshold(handle, nvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN)
    yield plain("gpu_temperature_slowdown_celsius", slowdown)


def _power(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_power_watts", nvml.nvmlDeviceGetPowerUsage(handle) / 1000)


def _power_limit(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_power_limit_watts", nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000)


def _energy(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_energy_joules_total", nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1000)


def _clock(kind: int) -> Reader:
    def read(nvml: Any, handle: Any) -> Iterator[Sample]:
        labels = {"clock": CLOCKS[kind]}
        yield Sample("gpu_clock_hertz", labels, nvml.nvmlDeviceGetClockInfo(handle, kind) * 1e6)
        yield Sample("gpu_clock_max_hertz", labels, nvml.nvmlDeviceGetMaxClockInfo(handle, kind) * 1e6)

    return read


def _throttle(nvml: Any, handle: Any) -> Iterator[Sample]:
    active = nvml.nvmlDeviceGetCurrentClocksEventReasons(handle)
    for reason, bit in THROTTLE_REASONS.items():
        yield Sample("gpu_throttle_active", {"reason": reason}, float(bool(active & bit)))


def _ecc(kind: int, counter: int) -> Reader:
    def read(nvml: Any, handle: Any) -> Iterator[Sample]:
        count = nvml.nvmlDeviceGetTotalEccErrors(handle, kind, counter)
        yield Sample("gpu_ecc_errors_total", {"kind": ECC_KINDS[kind], "counter": ECC_COUNTERS[counter]}, float(count))

    return read


def _remapped_rows(nvml: Any, handle: Any) -> Iterator[Sample]:
    corrected, uncorrected, is_pending, has_failed = nvml.nvmlDeviceGetRemappedRows(handle)
    yield Sample("gpu_remapped_rows_total", {"kind": "corrected"}, float(corrected))
    yield Sample("gpu_remapped_rows_total", {"kind": "uncorrected"}, float(uncorrected))
    yield plain("gpu_row_remap_pending", is_pending)
    yield plain("gpu_row_remap_failed", has_failed)


def _fan(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_fan_speed_percent", nvml.nvmlDeviceGetFanSpeed(handle))


def _pcie_throughput(nvml: Any, handle: Any) -> Iterator[Sample]:
    # Each call measures for 20 ms (nvml.h), which is most of the time that reading a GPU takes.
    for direction, counter in (("receive", nvml.NVML_PCIE_UTIL_RX_BYTES), ("transmit", nvml.NVML_PCIE_UTIL_TX_BYTES)):
        kilobytes = nvml.nvmlDeviceGetPcieThroughput(handle, counter)
        yield plain(f"gpu_pcie_{direction}_bytes_per_second", kilobytes * 1024)


def _pcie_link(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_pcie_link_generation", nvml.nvmlDeviceGetCurrPcieLinkGeneration(handle))
    yield plain("gpu_pcie_link_width", nvml.nvmlDeviceGetCurrPcieLinkWidth(handle))


def _pcie_replays(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_pcie_replays_total", nvml.nvmlDeviceGetPcieReplayCounter(handle))


def _encoder(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_encoder_usage_percent", nvml.nvmlDeviceGetEncoderUtilization(handle)[0])


def _decoder(nvml: Any, handle: Any) -> Iterator[Sample]:
    yield plain("gpu_decoder_usage_percent", nvml.nvmlDeviceGetDecoderUtilization(handle)[0])


def _mig(nvml: Any, handle: Any) -> Iterator[Sample]:
    # With MIG on, the whole GPU has no utilisation: this sample says why the other one is missing.
    yield plain("gpu_mig_enabled", nvml.nvmlDeviceGetMigMode(handle)[0])


CALLS: Mapping[str, Reader] = {
    "utilisation": _utilisation,
    "memory": _memory,
    "temperature": _temperature,
    "temperature_limit": _temperature_limit,
    "power": _power,
    "power_limit": _power_limit,
    "energy": _energy,
    **{f"clock_{name}": _clock(kind) for kind, name in enumerate(CLOCKS)},
    **{
        f"ecc_{kind}_{counter}": _ecc(k, c)
        for k, kind in enumerate(ECC_KINDS)
        for c, counter in enumerate(ECC_COUNTERS)
    },
    "throttle": _throttle,
    "remapped_rows": _remapped_rows,
    "fan": _fan,
    "pcie_throughput": _pcie_throughput,
    "pcie_link": _pcie_link,
    "pcie_replays": _pcie_replays,
    "encoder": _encoder,
    "decoder": _decoder,
    "mig": _mig,
}
