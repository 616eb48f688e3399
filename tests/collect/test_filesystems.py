"""Which mounts are watched, and what happens when one does not answer."""

from __future__ import annotations

import os
import threading

import pytest

from monitoring.collect.disks import is_disk
from monitoring.collect.filesystems import FilesystemCollector, parse_mountinfo, worth_watching

TABLE = r"""22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
24 22 0:5 / /dev rw - devtmpfs devtmpfs rw,size=1k
25 24 0:22 / /dev/shm rw - tmpfs tmpfs rw
26 22 0:23 / /run rw - tmpfs tmpfs rw
27 22 254:0 /var/data /srv/data rw - ext4 /dev/vda rw
28 22 8:1 / /mnt/model\040store ro,relatime shared:7 master:2 - xfs /dev/sda1 rw
29 22 7:3 / /snap/core/1 ro - squashfs /dev/loop3 ro
30 22 0:44 / /var/lib/docker/overlay2/abc/merged rw - overlay overlay rw
31 22 0:50 / /nfs rw - nfs4 server:/models rw,vers=4.2
broken line
"""


def mountpoints(table: str) -> list[str]:
    return [mount.mountpoint for mount in worth_watching(parse_mountinfo(table))]


def test_real_filesystems_are_watched_once_each():
    assert mountpoints(TABLE) == ["/", "/nfs", "/dev/shm", "/mnt/model store"]  # noqa: S108 (a line of the table)


def test_a_mount_keeps_its_device_type_and_whether_it_is_read_only():
    mount = parse_mountinfo(TABLE)[6]
    assert (mount.device, mount.fstype, mount.is_readonly) == ("/dev/sda1", "xfs", True)


def test_a_later_mount_hides_the_one_below_it():
    table = "1 0 8:1 / /mnt rw - ext4 /dev/sda1 rw\n2 0 8:2 / /mnt rw - ext4 /dev/sdb1 rw\n"
    assert [mount.device for mount in worth_watching(parse_mountinfo(table))] == ["/dev/sdb1"]


def test_the_root_of_a_container_is_watched():
    table = "1 0 0:99 / / rw - overlay overlay rw\n2 1 254:0 /containers/x/hosts /etc/hosts rw - ext4 /dev/vda rw\n"
    assert mountpoints(table) == ["/"]


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ("sda", True), ("sda1", False), ("nvme0n1", True), ("nvme0n1p2", False), ("vda", True), ("xvdf1", False),
        ("mmcblk0", True), ("mmcblk0p1", False), ("dm-0", True), ("md0", True), ("loop3", False), ("zram0", False),
        ("ram1", False), ("sr0", False),
    ],
)  # fmt: skip
def test_partitions_and_ram_disks_are_no_disks(device, expected):
    assert is_disk(device) is expected


@pytest.fixture
def collector(tmp_path):
    """Sees one NFS mount and hardly waits for it."""
    table = tmp_path / "mountinfo"
    table.write_text("31 22 0:50 / /nfs rw - nfs4 server:/models rw\n")
    return FilesystemCollector(table, remote_wait_seconds=0.01)


def read(collector: FilesystemCollector) -> dict[str, float]:
    return {sample.name: sample.value for sample in collector.read()}


def test_a_dead_file_server_neither_blocks_nor_collects_threads(collector, monkeypatch):
    answer, asked = threading.Event(), []

    def statvfs(path):
        asked.append(path)
        answer.wait(30)
        return os.statvfs_result((4096, 4096, 100, 50, 40, 10, 5, 5, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    for _ in range(3):
        assert read(collector) == {"filesystem_error": 1, "filesystem_readonly": 0}
    assert asked == ["/nfs"]
    answer.set()


def test_a_file_server_that_answers_again_is_told_again(collector, monkeypatch):
    answer = threading.Event()

    def statvfs(path):
        answer.wait(30)
        return os.statvfs_result((4096, 4096, 100, 50, 40, 10, 5, 5, 0, 255))

    monkeypatch.setattr(os, "statvfs", statvfs)
    read(collector)
    answer.set()
    for thread in threading.enumerate():
        if thread.name.startswith("statvfs"):
            thread.join(10)
    assert read(collector)["filesystem_avail_bytes"] == 40 * 4096


def test_a_filesystem_that_cannot_be_read_is_an_error_without_sizes(collector, monkeypatch):
    def statvfs(path):
        raise PermissionError(path)

    monkeypatch.setattr(os, "statvfs", statvfs)
    assert read(collector) == {"filesystem_error": 1, "filesystem_readonly": 0}
