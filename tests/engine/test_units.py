"""Units told by metric names and arithmetic, and numbers written in them."""

import pytest

from alerts.engine.units import Quantity, Unit, format_value, in_words, number, unit_of, unit_of_metric
from monitoring.promql import parse

BYTES, SECONDS, RATIO = Unit(Quantity.BYTES), Unit(Quantity.SECONDS), Unit(Quantity.RATIO)
PERCENT, COUNT, PLAIN = Unit(Quantity.PERCENT), Unit(Quantity.COUNT), Unit()


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("node_memory_free_bytes", BYTES),
        ("network_receive_bytes_total", BYTES),
        ("request_duration_seconds_bucket", SECONDS),
        ("request_duration_seconds_count", COUNT),
        ("process_start_time_seconds", Unit(Quantity.TIMESTAMP)),
        ("cpu_usage_percent", PERCENT),
        ("gpu_memory_used_ratio", RATIO),
        ("http_requests_total", COUNT),
        ("queue_size", PLAIN),
    ],
)
def test_a_metric_name_tells_its_unit(name: str, unit: Unit) -> None:
    assert unit_of_metric(name) == unit


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        ("max by (host) (disk_used_bytes)", BYTES),
        ("rate(network_receive_bytes_total[5m])", Unit(Quantity.BYTES, True)),
        ("rate(http_requests_total[5m])", Unit(Quantity.COUNT, True)),
        ("increase(http_requests_total[5m])", COUNT),
        ("histogram_quantile(0.9, sum by (le) (rate(x_seconds_bucket[5m])))", SECONDS),
        ("rate(x_seconds_sum[5m]) / rate(x_seconds_count[5m])", SECONDS),
        ("memory_used_bytes / memory_total_bytes", RATIO),
        ("memory_used_bytes / memory_total_bytes * 100", PERCENT),
        ("cpu_percent / 100", RATIO),
        ("1 - disk_free_ratio", RATIO),
        ("time() - last_run_timestamp_seconds", SECONDS),
        ("disk_used_bytes / 1024", PLAIN),
        ("count(disk_used_bytes)", COUNT),
        ("avg_over_time(cpu_percent[10m])", PERCENT),
        ("cpu_percent and on () up", PERCENT),
        ("cpu_percent or disk_used_bytes", PLAIN),
        ("disk_used_bytes > 5", BYTES),
        ("-(disk_used_bytes)", BYTES),
    ],
)
def test_an_expression_tells_the_unit_of_its_value(expr: str, unit: Unit) -> None:
    assert unit_of(parse(expr)) == unit


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1_610_612_736, BYTES, "1.5 GiB"),
        (512, BYTES, "512 B"),
        (-2048, BYTES, "-2 KiB"),
        (1_048_576, Unit(Quantity.BYTES, True), "1 MiB/s"),
        (0.35, SECONDS, "350 ms"),
        (0.0000012, SECONDS, "1.2 µs"),
        (2.5, SECONDS, "2.5 s"),
        (0, SECONDS, "0 s"),
        (5400, SECONDS, "1h 30m"),
        (0.125, RATIO, "12.5%"),
        (95, PERCENT, "95%"),
        (3, Unit(Quantity.COUNT, True), "3 per second"),
        (0.5, Unit(Quantity.SECONDS, True), "0.5"),
        (71.5, Unit(Quantity.CELSIUS), "71.5 °C"),
        (float("nan"), BYTES, "NaN"),
        (float("-inf"), PERCENT, "-Inf"),
        (95.25, PLAIN, "95.25"),
    ],
)
def test_a_value_is_written_in_its_unit(value: float, unit: Unit, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234567, "1,234,567"), (12345.678, "12,345.7"), (0.00001, "1e-05"), (0, "0"), (-3, "-3"), (1e18, "1e+18")],
)
def test_a_number_is_written_as_people_do(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "1 second"), (0.5, "0.5 seconds"), (300, "5 minutes"), (5400, "1 hour 30 minutes"), (86_400, "1 day")],
)
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert in_words(seconds) == text
