"""Traffic of the block devices of this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator

import psutil

from monitoring.collect.samples import Sample

# Partitions would count every byte twice, RAM disks and loops are no disks
# (node_exporter 1.5, collector/diskstats_common.go, and optical drives).
SKIPPED_DEVICES = re.compile(r"(z?ram|loop|fd|sr)\d+|(h|s|v|xv)d[a-z]+\d+|(nvme\d+n\d+|mmcblk\d+|nbd\d+)p\d+")


def is_disk(device: str) -> bool:
    """Return whether a block device is a disk of its own, not a part of one."""
    return not SKIPPED_DEVICES.fullmatch(device)


def disk_samples() -> Iterator[Sample]:
    """Yield bytes, operations and seconds of each disk, all counters since boot."""
    for device, count in (psutil.disk_io_counters(perdisk=True, nowrap=False) or {}).items():
        if not is_disk(device):
            continue
        labels = {"device": device}
        yield Sample("disk_read_bytes_total", labels, float(count.read_bytes))
        yield Sample("disk_written_bytes_total", labels, float(count.write_bytes))
        yield Sample("disk_reads_completed_total", labels, float(count.read_count))
        yield Sample("disk_writes_completed_total", labels, float(count.write_count))
        yield Sample("disk_read_seconds_total", labels, count.read_time / 1000)
        yield Sample("disk_write_seconds_total", labels, count.write_time / 1000)
        if hasattr(count, "busy_time"):
            yield Sample("disk_io_busy_seconds_total", labels, count.busy_time / 1000)
