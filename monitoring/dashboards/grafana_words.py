"""Words of Grafana's JSON and what they are here: units, panel types, colours, calculations.

After Grafana 11: packages/grafana-data valueFormats/categories.ts and transformations/fieldReducer.ts.
"""

from __future__ import annotations

#: Newest classic schema that has been read; later ones may mean something else by the same names.
NEWEST_SCHEMA = 42
WRITTEN_SCHEMA = 39

#: Grafana's unit: (ours, what is lost; empty when nothing).
UNITS: dict[str, tuple[str, str]] = {
    "": ("short", ""), "none": ("short", ""), "short": ("short", ""), "locale": ("short", ""), "sishort": ("short", ""),
    "percent": ("percent", ""), "percentunit": ("ratio", ""),
    "bytes": ("bytes", ""), "decbytes": ("bytes", "decimal bytes are shown as binary ones"),
    "binBps": ("bytes/s", ""), "Bps": ("bytes/s", "decimal bytes are shown as binary ones"),
    "bps": ("bit/s", ""), "binbps": ("bit/s", ""), "bits": ("bit", ""), "decbits": ("bit", ""),
    "s": ("seconds", ""), "dtdurations": ("seconds", ""), "clocks": ("seconds", ""),
    "ms": ("ms", ""), "µs": ("µs", ""), "ns": ("ns", ""), "m": ("min", ""), "h": ("h", ""), "d": ("d", ""),
    "reqps": ("req/s", ""), "ops": ("ops/s", ""), "rps": ("reads/s", ""), "wps": ("writes/s", ""),
    "iops": ("IO/s", ""), "cps": ("/s", ""), "pps": ("packets/s", ""), "hertz": ("Hz", ""),
    "celsius": ("°C", ""), "watt": ("W", ""), "joule": ("J", ""), "volt": ("V", ""), "amp": ("A", ""),
    "rotrpm": ("rpm", ""), "MiB": ("MiB", ""), "mbytes": ("MiB", ""), "gbytes": ("GiB", ""), "kbytes": ("KiB", ""),
}  # fmt: skip
#: Ours, written so that Grafana shows the same; any other word becomes "suffix:word".
WRITTEN_UNITS = {
    "short": "short", "percent": "percent", "ratio": "percentunit", "bytes": "bytes", "bytes/s": "binBps",
    "seconds": "s", "ms": "ms", "µs": "µs", "ns": "ns", "bit/s": "bps", "req/s": "reqps", "ops/s": "ops",
    "°C": "celsius", "W": "watt", "J": "joule", "Hz": "hertz", "packets/s": "pps", "/s": "cps", "bit": "bits",
}  # fmt: skip

#: Grafana's panel type: (ours, what is lost; empty when nothing).
KINDS: dict[str, tuple[str, str]] = {
    "graph": ("timeseries", ""), "timeseries": ("timeseries", ""), "stat": ("stat", ""), "singlestat": ("stat", ""),
    "gauge": ("gauge", ""), "table": ("table", ""), "table-old": ("table", ""),
    "bargauge": ("gauge", "a bar gauge is drawn as gauges"),
    "heatmap": ("timeseries", "a heat map is drawn as lines, one a bucket"),
    "state-timeline": ("timeseries", "a state timeline is drawn as lines"),
    "status-history": ("timeseries", "a status history is drawn as lines"),
    "barchart": ("timeseries", "bars are drawn as lines"),
    "trend": ("timeseries", "a trend is drawn over time"),
    "xychart": ("timeseries", "an XY chart is drawn over time"),
    "histogram": ("timeseries", "a histogram is drawn as lines, one a series"),
    "piechart": ("table", "a pie chart is shown as a table"),
    "grafana-piechart-panel": ("table", "a pie chart is shown as a table"),
    "grafana-polystat-panel": ("stat", "polygons are shown as numbers"),
}  # fmt: skip
#: Types that show no series: nothing is lost that could be measured.
WITHOUT_SERIES = {
    "text": "a text, no query", "news": "news, no query", "dashlist": "a list of dashboards",
    "alertlist": "a list of alerts; the portal has a page for them", "annolist": "a list of annotations",
    "welcome": "a welcome text", "logs": "logs are not held here", "traces": "traces are not held here",
    "nodeGraph": "a node graph has no counterpart", "geomap": "a map has no counterpart",
    "canvas": "a canvas has no counterpart", "flamegraph": "profiles are on their own page",
}  # fmt: skip

CALCULATIONS = {
    "last": "last", "lastNotNull": "last", "current": "last", "first": "last", "firstNotNull": "last",
    "mean": "mean", "avg": "mean", "min": "min", "max": "max", "sum": "sum", "total": "sum",
}  # fmt: skip
WRITTEN_CALCULATIONS = {"last": "lastNotNull", "mean": "mean", "min": "min", "max": "max", "sum": "sum"}

COLOURS = {"critical": "red", "warning": "orange", "info": "blue", "ok": "green"}
_CHANNELS = 3


def severity_of_colour(colour: str) -> str:
    """Return what a colour means to a reader: red is critical, orange and yellow warn, green is well, the rest tells.

    Names such as "semi-dark-red", "#rrggbb" and "rgba(r, g, b, a)".
    """
    text = colour.strip().lower()
    for word, severity in (
        ("red", "critical"), ("orange", "warning"), ("yellow", "warning"), ("green", "ok"), ("transparent", "ok"),
    ):  # fmt: skip
        if text.endswith(word):
            return severity
    channels = _channels(text)
    if channels is None:
        return "info"
    red, green, blue = channels
    if red > 1.4 * green and red > 1.4 * blue:
        # Orange has half the green of red at most; what has more is yellow; both warn.
        return "warning" if green > 0.35 * red else "critical"
    if red > 1.4 * blue and green > 1.4 * blue and red >= 0.8 * green:
        return "warning"
    return "ok" if green > red and green > blue else "info"


def _channels(text: str) -> tuple[float, ...] | None:
    try:
        if text.startswith("#") and len(text) in (4, 7, 9):
            wide = text[1:] if len(text) > 4 else "".join(char * 2 for char in text[1:])
            return tuple(int(wide[at : at + 2], 16) for at in (0, 2, 4))
        if text.startswith("rgb"):
            parts = text.partition("(")[2].rstrip(")").split(",")
            return tuple(float(part) for part in parts[:_CHANNELS]) if len(parts) >= _CHANNELS else None
    except ValueError:
        return None
    return None
