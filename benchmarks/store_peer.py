"""A real Prometheus for the store's benchmarks: fed by remote write, asked over HTTP, measured by a snapshot."""

from __future__ import annotations

import json
import re
import shutil
import socket
import struct
import subprocess
import time
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import psutil

BINARY = "/usr/bin/prometheus"
PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SNAPPY_LITERAL = 60_000


def varint(number: int) -> bytes:
    """Return a protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """Return a length-delimited protobuf field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def series_head(key: str, labels: dict[str, str]) -> bytes:
    """Return the labels of a series as remote write has them."""
    name, _, rest = key.partition("{")
    pairs = {"__name__": name, **dict(PAIR.findall(rest)), **labels}
    return b"".join(field(1, field(1, k.encode()) + field(2, v.encode())) for k, v in sorted(pairs.items()))


def sample_bytes(ts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return samples (n, series) as protobuf, 18 bytes each: shape (series, n × 18). Times need six varint bytes."""
    count, series = values.shape
    out = np.empty((series, count, 18), np.uint8)
    out[:, :, :3] = (0x12, 16, 0x09)
    out[:, :, 3:11] = np.ascontiguousarray(values.T).view(np.uint8).reshape(series, count, 8)
    out[:, :, 11] = 0x10
    for place in range(6):
        more = 0x80 if place < 5 else 0
        out[:, :, 12 + place] = (ts >> (7 * place) & 0x7F | more)[None, :]
    return out.reshape(series, count * 18)


def snappy(data: bytes) -> bytes:
    """Return data as uncompressed snappy literals."""
    parts = [varint(len(data))]
    for start in range(0, len(data), SNAPPY_LITERAL):
        chunk = data[start : start + SNAPPY_LITERAL]
        parts += (bytes([61 << 2]) + struct.pack("<H", len(chunk) - 1), chunk)
    return b"".join(parts)


class Peer:
    """A Prometheus server with an empty database on a loopback port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = folder / "prometheus.yml"
        config.write_text("global: {scrape_interval: 1h}\n")
        self.process = subprocess.Popen(
            [
                BINARY, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}", "--web.enable-remote-write-receiver",
                "--web.enable-admin-api", "--storage.tsdb.retention.time=3650d", "--log.level=error",
                "--query.lookback-delta=5m",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.watched = psutil.Process(self.process.pid)
        for _ in range(200):
            try:
                self.get("/-/ready")
                return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("Prometheus does not answer")

    def get(self, path: str, **params: str) -> bytes:
        """Return the body of a GET."""
        url = f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(params)}"
        return urllib.request.urlopen(url, timeout=120).read()  # noqa: S310  (loopback)

    def write(self, heads: list[bytes], ts: np.ndarray, values: np.ndarray) -> None:
        """Send samples (n, series) of the series with these heads."""
        body = sample_bytes(ts, values)
        payload = b"".join(field(1, head + line.tobytes()) for head, line in zip(heads, body, strict=True))
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/write", snappy(payload),
            {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=120).read()  # noqa: S310  (loopback)

    def instant(self, expr: str, at_ms: int) -> list[dict]:
        """Return the result of an instant query."""
        body = self.get("/api/v1/query", query=expr, time=f"{at_ms / 1000:.3f}")
        return json.loads(body)["data"]["result"]

    def range_(self, expr: str, start_ms: int, end_ms: int, step: int) -> list[dict]:
        """Return the result of a range query."""
        times = {"start": f"{start_ms / 1000:.3f}", "end": f"{end_ms / 1000:.3f}", "step": str(step)}
        return json.loads(self.get("/api/v1/query_range", query=expr, **times))["data"]["result"]

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        times = self.watched.cpu_times()
        return times.user + times.system

    def rss_mib(self) -> float:
        """Return the resident memory in MiB."""
        return self.watched.memory_info().rss / 2**20

    def snapshot_bytes_per_sample(self) -> float:
        """Write everything into blocks, as it ends up on disk, and return bytes a sample, indexes included."""
        url = f"http://127.0.0.1:{self.port}/api/v1/admin/tsdb/snapshot"
        answer = urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=300).read()  # noqa: S310
        folder = self.folder / "data" / "snapshots" / json.loads(answer)["data"]["name"]
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        samples = sum(json.loads(meta.read_text())["stats"]["numSamples"] for meta in folder.glob("*/meta.json"))
        shutil.rmtree(folder)
        return size / samples

    def stop(self) -> None:
        """End the server."""
        self.process.terminate()
        self.process.wait()
