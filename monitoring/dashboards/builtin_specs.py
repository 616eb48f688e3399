"""The built-in dashboards as values: the two of the monitoring guide, the fleet, one host, its GPUs, a model."""

from __future__ import annotations

from dataclasses import replace

from monitoring.dashboards.spec import DashboardSpec, PanelSpec, QuerySpec, Step, VariableSpec

HOST = VariableSpec("host", label="Host", query="label_values(host_up, host)")
HOSTS = VariableSpec(
    "host", label="Host", query="label_values(host_up, host)", is_multi=True, has_all=True, all_value=".+"
)
MODEL = VariableSpec("model", label="Model", query="label_values(model_inference_duration_seconds_count, model_name)")
VERSION = VariableSpec(
    "version", label="Version", is_multi=True, has_all=True, all_value=".*",
    query='label_values(model_inference_duration_seconds_count{model_name="$model"}, model_version)',
)  # fmt: skip


def _limits(warning: float, critical: float) -> tuple[Step, ...]:
    return Step(None, "ok"), Step(warning, "warning"), Step(critical, "critical")


#: The limits of the starter rules, so that a dashboard turns red where a rule speaks.
BUSY = _limits(85, 95)
HOT = _limits(83, 90)
FULL_GPU = _limits(92, 98)


def _panel(
    title: str, *queries: tuple[str, str] | str, kind: str = "timeseries", unit: str = "short", width: int = 12,
    section: str = "", minimum: float | None = None, maximum: float | None = None, is_stacked: bool = False,
    thresholds: tuple[Step, ...] = (), description: str = "", height: int = 8, calculation: str = "last",
) -> PanelSpec:  # fmt: skip
    """Return a panel; a query is its text, or its text and the legend of its series."""
    asked = tuple(QuerySpec(one) if isinstance(one, str) else QuerySpec(*one) for one in queries)
    return PanelSpec(
        0, title, kind, asked, description, section, width, height, unit, minimum, maximum, is_stacked, calculation,
        thresholds,
    )  # fmt: skip


def _dashboard(
    slug: str, title: str, description: str, panels: list[PanelSpec], variables: tuple[VariableSpec, ...] = (),
    tags: tuple[str, ...] = (),
) -> DashboardSpec:  # fmt: skip
    numbered = tuple(replace(panel, number=place) for place, panel in enumerate(panels, 1))
    return DashboardSpec(title, numbered, description, tags, variables, slug=slug)


OVERVIEW = _dashboard(
    "alpha-q-overview", "Alpha-Q Overview", "Requests and errors of the applications.",
    [
        _panel("Request Rate", ("rate(http_requests_total[5m])", "{{method}} {{endpoint}}"), unit="req/s"),
        _panel("Error Rate", ('rate(http_requests_total{status=~"5.."}[5m])', "{{endpoint}}"), unit="req/s"),
    ],
    tags=("application",),
)  # fmt: skip

RESOURCES = _dashboard(
    "resource-usage", "Resource Usage", "CPU and memory of every machine.",
    [
        _panel(
            "CPU Usage", ("cpu_usage_percent", "CPU"), kind="gauge", unit="percent", minimum=0, maximum=100,
            thresholds=BUSY,
        ),
        _panel(
            "Memory Usage", ("memory_usage_bytes / memory_total_bytes * 100", "Memory"), unit="percent", minimum=0,
            maximum=100,
        ),
    ],
    tags=("host",),
)  # fmt: skip

FLEET = _dashboard(
    "fleet-overview", "Fleet overview", "All machines at a glance: who is up, who is busy, what is failing.",
    [
        _panel("Hosts up", ("sum(host_up)", "up"), ("count(host_up)", "known"), kind="stat", width=6, height=5),
        _panel(
            "Alerts firing", ('count(ALERTS{alertstate="firing"}) or vector(0)', "firing"), kind="stat", width=6,
            height=5, thresholds=_limits(1, 5),
        ),
        _panel(
            "Busiest CPU", ("max(cpu_usage_percent)", "highest"), kind="gauge", unit="percent", width=6, height=5,
            minimum=0, maximum=100, thresholds=BUSY,
        ),
        _panel(
            "Fullest memory", ("max(100 * memory_usage_bytes / memory_total_bytes)", "highest"), kind="gauge",
            unit="percent", width=6, height=5, minimum=0, maximum=100, thresholds=BUSY,
        ),
        _panel("CPU", ("cpu_usage_percent", "{{host}}"), unit="percent", minimum=0, maximum=100),
        _panel(
            "Memory in use", ("100 * memory_usage_bytes / memory_total_bytes", "{{host}}"), unit="percent", minimum=0,
            maximum=100,
        ),
        _panel("GPU", ("avg by (host) (gpu_usage_percent)", "{{host}}"), unit="percent", minimum=0, maximum=100),
        _panel(
            "Network",
            ('sum by (host) (rate(network_receive_bytes_total{device!="lo"}[$__rate_interval]))', "{{host}} in"),
            ('sum by (host) (rate(network_transmit_bytes_total{device!="lo"}[$__rate_interval]))', "{{host}} out"),
            unit="bytes/s",
        ),
        _panel(
            "Fullest disks",
            "topk(20, max by (host, mountpoint) (100 * (1 - filesystem_avail_bytes / filesystem_size_bytes)))",
            kind="table", unit="percent", width=24, thresholds=_limits(90, 97),
        ),
    ],
    tags=("host",),
)  # fmt: skip

HOST_PAGE = _dashboard(
    "host", "Host", "One machine: processor, memory, disks, network.",
    [
        _panel(
            "CPU", ('cpu_usage_percent{host="$host"}', "CPU"), kind="gauge", unit="percent", width=6, height=5,
            minimum=0, maximum=100, thresholds=BUSY,
        ),
        _panel(
            "Memory", ('100 * memory_usage_bytes{host="$host"} / memory_total_bytes{host="$host"}', "memory"),
            kind="gauge", unit="percent", width=6, height=5, minimum=0, maximum=100, thresholds=BUSY,
        ),
        _panel(
            "Up since", ('host_uptime_seconds{host="$host"}', "uptime"), kind="stat", unit="seconds", width=6, height=5
        ),
        _panel("Cores", ('cpu_count{host="$host"}', "cores"), kind="stat", width=6, height=5),
        _panel(
            "CPU by mode",
            ('100 * sum by (mode) (rate(cpu_seconds_total{host="$host",mode!="idle"}[$__rate_interval]))'
             ' / scalar(cpu_count{host="$host"})', "{{mode}}"),
            unit="percent", minimum=0, maximum=100, is_stacked=True,
        ),
        _panel(
            "Load", ('load_average_1m{host="$host"}', "1 min"), ('load_average_5m{host="$host"}', "5 min"),
            ('load_average_15m{host="$host"}', "15 min"), ('cpu_count{host="$host"}', "cores"),
        ),
        _panel(
            "Memory", ('memory_usage_bytes{host="$host"}', "in use"), ('memory_total_bytes{host="$host"}', "total"),
            ('swap_usage_bytes{host="$host"}', "swap in use"), unit="bytes", minimum=0,
        ),
        _panel(
            "Disk space in use",
            ('100 * (1 - filesystem_avail_bytes{host="$host"} / filesystem_size_bytes{host="$host"})',
             "{{mountpoint}}"),
            unit="percent", minimum=0, maximum=100, thresholds=_limits(90, 97),
        ),
        _panel(
            "Disk traffic", ('rate(disk_read_bytes_total{host="$host"}[$__rate_interval])', "{{device}} read"),
            ('rate(disk_written_bytes_total{host="$host"}[$__rate_interval])', "{{device}} written"), unit="bytes/s",
        ),
        _panel(
            "Network",
            ('rate(network_receive_bytes_total{host="$host",device!="lo"}[$__rate_interval])', "{{device}} in"),
            ('rate(network_transmit_bytes_total{host="$host",device!="lo"}[$__rate_interval])', "{{device}} out"),
            unit="bytes/s",
        ),
    ],
    (HOST,), ("host",),
)  # fmt: skip

GPU = _dashboard(
    "gpu", "GPU", "The GPUs of one host or all of them.",
    [
        _panel(
            "Memory in use now", ('100 * gpu_memory_usage_bytes{host=~"$host"} / gpu_memory_total_bytes{host=~"$host"}',
                                  "{{host}} GPU {{gpu}}"),
            kind="gauge", unit="percent", width=24, height=6, minimum=0, maximum=100, thresholds=FULL_GPU,
        ),
        _panel("Utilisation", ('gpu_usage_percent{host=~"$host"}', "{{host}} GPU {{gpu}}"), unit="percent", minimum=0,
               maximum=100),
        _panel(
            "Memory in use", ('gpu_memory_usage_bytes{host=~"$host"}', "{{host}} GPU {{gpu}}"), unit="bytes", minimum=0,
        ),
        _panel("Temperature", ('gpu_temperature_celsius{host=~"$host"}', "{{host}} GPU {{gpu}}"), unit="°C",
               thresholds=HOT),
        _panel("Power", ('gpu_power_watts{host=~"$host"}', "{{host}} GPU {{gpu}}"), unit="W", minimum=0),
        _panel("Clock", ('gpu_clock_hertz{host=~"$host"}', "{{host}} GPU {{gpu}}"), unit="Hz"),
        _panel(
            "Errors in the last hour",
            ('increase(gpu_ecc_errors_total{host=~"$host"}[1h])', "{{host}} GPU {{gpu}} ECC"),
            ('increase(gpu_errors_total{host=~"$host"}[1h])', "{{host}} {{reason}}"),
        ),
    ],
    (HOSTS,), ("gpu", "host"),
)  # fmt: skip

_OF = 'model_name="$model",model_version=~"$version"'
_BUCKETS = f"rate(model_inference_duration_seconds_bucket{{{_OF}}}[$__rate_interval])"


def _latency(quantile: float) -> str:
    return f"histogram_quantile({quantile}, sum by (le) ({_BUCKETS}))"


MODEL_PAGE = _dashboard(
    "model", "Model", "One model: speed, errors, accuracy, queue and batches, by version.",
    [
        _panel(
            "Inferences", (f"sum(rate(model_inference_duration_seconds_count{{{_OF}}}[$__rate_interval]))", "all"),
            kind="stat", unit="/s", width=6, height=4,
        ),
        _panel(
            "p90 latency", (_latency(0.9), "p90"), kind="stat", unit="seconds", width=6, height=4,
            thresholds=_limits(1, 5),
        ),
        _panel("Accuracy", (f"min(model_accuracy{{{_OF}}})", "lowest"), kind="stat", unit="ratio", width=6, height=4),
        _panel("Queue", (f"sum(model_queue_size{{{_OF}}})", "waiting"), kind="stat", width=6, height=4),
        _panel(
            "Latency", *((_latency(share), f"p{share * 100:.0f}") for share in (0.5, 0.9, 0.99)),
            unit="seconds", minimum=0,
        ),
        _panel(
            "Inferences by version",
            (f"sum by (model_version) (rate(model_inference_duration_seconds_count{{{_OF}}}[$__rate_interval]))",
             "{{model_version}}"), unit="/s", minimum=0,
        ),
        _panel(
            "Errors", (f"sum by (model_version) (rate(model_inference_errors_total{{{_OF}}}[$__rate_interval]))",
                       "{{model_version}}"), unit="/s", minimum=0,
        ),
        _panel("Accuracy by version", (f"model_accuracy{{{_OF}}}", "{{model_version}}"), unit="ratio"),
        _panel("Queue by instance", (f"model_queue_size{{{_OF}}}", "{{instance}}"), minimum=0),
        _panel("Batch size", (f"model_batch_size{{{_OF}}}", "{{instance}}"), minimum=0),
    ],
    (MODEL, VERSION), ("model",),
)  # fmt: skip

BUILTINS: dict[str, DashboardSpec] = {
    one.slug: one for one in (FLEET, OVERVIEW, RESOURCES, HOST_PAGE, GPU, MODEL_PAGE)
}  # fmt: skip
