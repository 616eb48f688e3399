"""GPUs through NVML: every number, and every way in which a GPU may not answer."""

from __future__ import annotations

import os

import pynvml
import pytest

from monitoring.collect.gpu import MAX_PROCESSES, RETRY_MS, GpuCollector, reason_of
from monitoring.collect.samples import Reading
from tests.collect.fake_nvml import GIB, FakeGpu, FakeNvml, error, process

AT = 1_790_000_000_000
LABELS = {"gpu": "0", "uuid": "GPU-0a", "name": "NVIDIA H200"}


def values(reading: Reading, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    return {tuple(sorted(s.labels.items())): s.value for s in reading.samples if s.name == name}


def value(reading: Reading, metric: str, /, **labels: str) -> float | None:
    wanted = labels.items()
    found = [s.value for s in reading.samples if s.name == metric and wanted <= dict(s.labels).items()]
    assert len(found) <= 1, f"{metric}{labels} is not one series"
    return found[0] if found else None


@pytest.mark.parametrize(
    ("metric", "labels", "expected"),
    [
        ("gpu_usage_percent", {}, 87),
        ("gpu_memory_activity_percent", {}, 41),
        ("gpu_memory_usage_bytes", {}, 100 * GIB),
        ("gpu_memory_total_bytes", {}, 141 * GIB),
        ("gpu_temperature_celsius", {}, 66),
        ("gpu_temperature_slowdown_celsius", {}, 90),
        ("gpu_power_watts", {}, 412.345),
        ("gpu_power_limit_watts", {}, 700),
        ("gpu_energy_joules_total", {}, 9000.5),
        ("gpu_clock_hertz", {"clock": "graphics"}, 1.98e9),
        ("gpu_clock_hertz", {"clock": "memory"}, 1.978e9),
        ("gpu_throttle_active", {"reason": "sw_power_cap"}, 1),
        ("gpu_throttle_active", {"reason": "hw_thermal_slowdown"}, 0),
        ("gpu_ecc_errors_total", {"kind": "uncorrected", "counter": "aggregate"}, 11),
        ("gpu_remapped_rows_total", {"kind": "uncorrected"}, 2),
        ("gpu_row_remap_failed", {}, 1),
        ("gpu_fan_speed_percent", {}, 30),
        ("gpu_pcie_receive_bytes_per_second", {}, 101 * 1024),
        ("gpu_pcie_transmit_bytes_per_second", {}, 100 * 1024),
        ("gpu_pcie_link_width", {}, 16),
        ("gpu_pcie_replays_total", {}, 3),
        ("gpu_encoder_usage_percent", {}, 1),
        ("gpu_mig_enabled", {}, 0),
        ("gpu_processes", {}, 0),
        ("gpu_unsupported_calls", {}, 0),
        ("gpu_up", {}, 1),
    ],
)
def test_a_gpu_tells_its_numbers_in_base_units(metric, labels, expected):
    reading = GpuCollector(FakeNvml(FakeGpu())).read(AT)
    assert value(reading, metric, **LABELS, **labels) == pytest.approx(expected)


def test_each_gpu_is_its_own_series():
    reading = GpuCollector(FakeNvml(FakeGpu(), FakeGpu(uuid="GPU-1b"))).read(AT)
    assert {dict(labels)["uuid"] for labels in values(reading, "gpu_usage_percent")} == {"GPU-0a", "GPU-1b"}
    assert value(reading, "gpu_count") == 2


def test_a_machine_without_the_library_says_why_and_has_no_gpu_samples():
    nvml = FakeNvml(init_error=error(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    reading = GpuCollector(nvml).read(AT)
    assert value(reading, "gpu_collector_up") == 0
    assert value(reading, "gpu_errors_total", reason="library_not_found") == 1
    assert not values(reading, "gpu_up")


def test_the_library_is_tried_again_only_after_a_minute():
    nvml = FakeNvml(FakeGpu(), init_error=error(pynvml.NVML_ERROR_DRIVER_NOT_LOADED))
    collector = GpuCollector(nvml)
    for later in (0, 1000, RETRY_MS - 1):
        collector.read(AT + later)
    assert nvml.inits == 1
    nvml.init_error = None
    assert value(collector.read(AT + RETRY_MS), "gpu_collector_up") == 1


def test_a_clock_set_back_does_not_stop_the_retries():
    nvml = FakeNvml(init_error=error(pynvml.NVML_ERROR_DRIVER_NOT_LOADED))
    collector = GpuCollector(nvml)
    collector.read(AT)
    collector.read(AT - 3_600_000)
    assert nvml.inits == 2


def test_an_unsupported_call_gives_no_sample_and_is_counted():
    gpu = FakeGpu(answers={"FanSpeed": error(pynvml.NVML_ERROR_NOT_SUPPORTED)})
    reading = GpuCollector(FakeNvml(gpu)).read(AT)
    assert value(reading, "gpu_fan_speed_percent") is None
    assert value(reading, "gpu_unsupported_calls", **LABELS) == 1
    assert value(reading, "gpu_usage_percent") == 87


def test_a_forbidden_call_is_an_error_and_not_the_end():
    gpu = FakeGpu(answers={"ComputeRunningProcesses": error(pynvml.NVML_ERROR_NO_PERMISSION)})
    reading = GpuCollector(FakeNvml(gpu)).read(AT)
    assert value(reading, "gpu_errors_total", reason="no_permission") == 1
    assert value(reading, "gpu_up", **LABELS) == 1


def test_a_gpu_lost_in_the_middle_of_a_reading_is_down_under_its_own_name():
    gpu = FakeGpu(answers={"PowerUsage": error(pynvml.NVML_ERROR_GPU_IS_LOST)})
    reading = GpuCollector(FakeNvml(gpu)).read(AT)
    assert value(reading, "gpu_up", **LABELS) == 0
    assert value(reading, "gpu_errors_total", reason="gpu_is_lost") == 1
    assert value(reading, "gpu_fan_speed_percent") is None


def test_a_lost_gpu_leaves_the_others_alone():
    lost = FakeGpu(uuid="GPU-1b", answers={"UtilizationRates": error(pynvml.NVML_ERROR_RESET_REQUIRED)})
    reading = GpuCollector(FakeNvml(FakeGpu(), lost)).read(AT)
    assert value(reading, "gpu_usage_percent", gpu="0") == 87
    assert value(reading, "gpu_up", gpu="1") == 0


def test_a_lost_gpu_that_was_reset_comes_back_within_a_minute():
    gpu = FakeGpu()
    collector = GpuCollector(FakeNvml(gpu))
    collector.read(AT)
    gpu.error = error(pynvml.NVML_ERROR_GPU_IS_LOST)
    assert value(collector.read(AT + 15_000), "gpu_up", **LABELS) == 0
    gpu.error = None
    assert value(collector.read(AT + 15_000 + RETRY_MS), "gpu_up", **LABELS) == 1


def test_a_gpu_that_stays_lost_keeps_its_labels_over_a_new_session():
    gpu = FakeGpu()
    collector = GpuCollector(FakeNvml(gpu))
    collector.read(AT)
    gpu.error = error(pynvml.NVML_ERROR_GPU_IS_LOST)
    collector.read(AT + 15_000)
    assert value(collector.read(AT + 15_000 + RETRY_MS), "gpu_up", **LABELS) == 0


def test_an_unloaded_driver_takes_all_gpus_down_until_it_is_back():
    nvml = FakeNvml(FakeGpu())
    collector = GpuCollector(nvml)
    collector.read(AT)
    nvml.is_open = False
    reading = collector.read(AT + 15_000)
    assert value(reading, "gpu_collector_up") == 0
    assert value(reading, "gpu_up", **LABELS) == 0
    assert value(reading, "gpu_errors_total", reason="uninitialized") == 1
    assert value(collector.read(AT + RETRY_MS), "gpu_up", **LABELS) == 1


def test_process_memory_is_told_by_pid_and_name():
    gpu = FakeGpu(answers={"ComputeRunningProcesses": [process(7, 3 * GIB)]})
    reading = GpuCollector(FakeNvml(gpu), lambda pid: f"server-{pid}").read(AT)
    assert value(reading, "gpu_process_memory_usage_bytes", **LABELS, pid="7", process="server-7") == 3 * GIB


def test_only_the_largest_processes_become_series():
    many = [process(pid, pid * 1000) for pid in range(1, 100)]
    gpu = FakeGpu(answers={"ComputeRunningProcesses": many})
    found = values(GpuCollector(FakeNvml(gpu), str).read(AT), "gpu_process_memory_usage_bytes")
    assert len(found) == MAX_PROCESSES
    assert min(found.values()) == (100 - MAX_PROCESSES) * 1000


def test_a_process_whose_memory_nobody_knows_has_no_sample():
    gpu = FakeGpu(answers={"ComputeRunningProcesses": [process(7, None)]})
    reading = GpuCollector(FakeNvml(gpu), str).read(AT)
    assert not values(reading, "gpu_process_memory_usage_bytes")
    assert value(reading, "gpu_processes") == 1


def test_a_process_that_is_gone_has_an_empty_name():
    gpu = FakeGpu(answers={"ComputeRunningProcesses": [process(2**22 + 1, GIB)]})
    assert value(GpuCollector(FakeNvml(gpu)).read(AT), "gpu_process_memory_usage_bytes", process="") == GIB


def test_the_facts_name_driver_and_gpus():
    collector = GpuCollector(FakeNvml(FakeGpu()))
    collector.read(AT)
    facts = collector.facts()
    assert (facts["driver"], facts["cuda"]) == ("570.86.15", "12.8")
    assert facts["gpus"] == [{"index": 0, "uuid": "GPU-0a", "name": "NVIDIA H200", "memory_bytes": 141 * GIB}]


def test_a_machine_without_gpu_has_no_gpu_facts():
    collector = GpuCollector(FakeNvml(init_error=error(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)))
    collector.read(AT)
    assert collector.facts() == {}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (pynvml.NVML_ERROR_GPU_IS_LOST, "gpu_is_lost"),
        (pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, "lib_rm_version_mismatch"),
        (12345, "unknown"),
    ],
)
def test_an_error_is_called_as_nvml_calls_it(code, reason):
    assert reason_of(error(code)) == reason


def test_a_real_gpu_answers():
    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as reason:
        pytest.skip(f"no NVIDIA GPU here: {reason}")
    pynvml.nvmlShutdown()
    collector = GpuCollector()
    reading = collector.read(AT)
    if os.environ.get("ALPHAQ_SHOW_GPU"):
        print("\n".join(f"{s.name}{dict(s.labels)} {s.value}" for s in reading.samples), collector.facts())  # noqa: T201
    assert value(reading, "gpu_count") == count
    for index in range(count):
        total = value(reading, "gpu_memory_total_bytes", gpu=str(index)) or 0
        assert 0 <= (value(reading, "gpu_memory_usage_bytes", gpu=str(index)) or 0) <= total
        assert value(reading, "gpu_up", gpu=str(index)) == 1
