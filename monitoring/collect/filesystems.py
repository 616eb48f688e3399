"""Room in the mounted filesystems: which mounts count, and how to ask one that may never answer.

Hides the choice of mounts (no pseudo filesystems, each filesystem once however often it is bound) and the
watch over network filesystems: `statvfs` on a dead NFS server blocks for ever and cannot be interrupted.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from monitoring.collect.samples import Sample

MOUNTINFO = Path("/proc/self/mountinfo")
# Types without room of their own, and images that are full by nature
# (node_exporter 1.5, collector/filesystem_linux.go, plus image and container types).
PSEUDO_TYPES = frozenset(
    [
        "autofs",
        "binfmt_misc",
        "bpf",
        "cgroup",
        "cgroup2",
        "configfs",
        "debugfs",
        "devpts",
        "devtmpfs",
        "efivarfs",
        "fusectl",
        "fuse.lxcfs",
        "fuse.portal",
        "fuse.gvfsd-fuse",
        "hugetlbfs",
        "iso9660",
        "erofs",
        "mqueue",
        "nsfs",
        "proc",
        "procfs",
        "pstore",
        "ramfs",
        "rpc_pipefs",
        "securityfs",
        "selinuxfs",
        "squashfs",
        "sysfs",
        "tracefs",
    ]
)
REMOTE_TYPES = frozenset(
    [
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "ceph",
        "glusterfs",
        "fuse.glusterfs",
        "lustre",
        "beegfs",
        "gpfs",
        "afs",
        "9p",
        "fuse.sshfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.juicefs",
        "fuse.rclone",
    ]
)
# Small private RAM disks of the system; /dev/shm stays, model servers share tensors through it.
SKIPPED_MOUNTS = re.compile(
    r"/(proc|sys|dev(?!/shm$)|run|var/run|var/lib/(docker|containerd|kubelet|containers))(/.*)?"
)
MAX_FILESYSTEMS = 100
REMOTE_WAIT_SECONDS = 1.0


@dataclass(frozen=True)
class Mount:
    """One line of the mount table."""

    device_id: str
    root: str
    mountpoint: str
    fstype: str
    device: str
    is_readonly: bool

    @property
    def labels(self) -> dict[str, str]:
        """The labels that name this filesystem in samples."""
        return {"device": self.device, "mountpoint": self.mountpoint, "fstype": self.fstype}


@dataclass(frozen=True)
class Space:
    """Sizes of one filesystem in bytes and in files; `avail` is what an ordinary user may still take."""

    size: int
    free: int
    avail: int
    files: int
    files_free: int


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts of a /proc/self/mountinfo text (proc(5)) in the order they were mounted."""
    mounts = []
    for line in text.splitlines():
        fields = line.split(" ")
        if "-" not in fields[6:]:
            continue
        dash = fields.index("-", 6)
        fstype, source = fields[dash + 1 : dash + 3]
        options = (fields[5] + "," + (fields[dash + 3] if len(fields) > dash + 3 else "")).split(",")
        mounts.append(
            Mount(fields[2], _unescape(fields[3]), _unescape(fields[4]), fstype, _unescape(source), "ro" in options)
        )
    return mounts


def _unescape(text: str) -> str:
    # The kernel writes blank, tab, newline and backslash as three octal digits.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), text)


def worth_watching(mounts: Iterable[Mount]) -> list[Mount]:
    """Return one mount for each real filesystem: its own root where mounted, else the shortest path to it."""
    # A later mount hides an earlier one at the same place.
    visible = {mount.mountpoint: mount for mount in mounts}
    chosen: dict[str, Mount] = {}
    for mount in sorted(visible.values(), key=lambda m: (m.root != "/", len(m.mountpoint), m.mountpoint)):
        if _is_real(mount):
            chosen.setdefault(mount.device_id, mount)
    return list(chosen.values())[:MAX_FILESYSTEMS]


def _is_real(mount: Mount) -> bool:
    if mount.fstype in PSEUDO_TYPES or SKIPPED_MOUNTS.fullmatch(mount.mountpoint):
        return False
    if mount.fstype == "overlay":
        return mount.mountpoint == "/"
    # Containers bind single files (/etc/hosts); asking a remote one whether it is a folder could block.
    return mount.fstype in REMOTE_TYPES or mount.root == "/" or os.path.isdir(mount.mountpoint)


def read_mounts(mountinfo: Path = MOUNTINFO) -> list[Mount]:
    """Return the mount table of this process, from psutil where there is no /proc."""
    if mountinfo.exists():
        return parse_mountinfo(mountinfo.read_text(encoding="utf-8", errors="replace"))
    return [
        Mount(part.device, "/", part.mountpoint, part.fstype, part.device, "ro" in part.opts.split(","))
        for part in psutil.disk_partitions(all=False)
    ]


def read_space(mountpoint: str) -> Space:
    """Return the sizes of the filesystem mounted there; raises OSError, and may block on a dead file server."""
    stat = os.statvfs(mountpoint)
    block = stat.f_frsize
    return Space(stat.f_blocks * block, stat.f_bfree * block, stat.f_bavail * block, stat.f_files, stat.f_ffree)


class FilesystemCollector:
    """Room in the filesystems; remembers which remote ones have not answered yet."""

    def __init__(self, mountinfo: Path = MOUNTINFO, remote_wait_seconds: float = REMOTE_WAIT_SECONDS) -> None:
        self._mountinfo, self._remote_wait_seconds = mountinfo, remote_wait_seconds
        self._asked: dict[str, _Question] = {}

    def read(self) -> Iterator[Sample]:
        """Yield sizes in bytes and files; a filesystem that cannot be read gives `filesystem_error` 1 and no size."""
        for mount in worth_watching(read_mounts(self._mountinfo)):
            space = self._space(mount)
            yield Sample("filesystem_error", mount.labels, float(space is None))
            yield Sample("filesystem_readonly", mount.labels, float(mount.is_readonly))
            if space is None or not space.size:
                continue
            for name, value in (
                ("filesystem_size_bytes", space.size),
                ("filesystem_free_bytes", space.free),
                ("filesystem_avail_bytes", space.avail),
                ("filesystem_files", space.files),
                ("filesystem_files_free", space.files_free),
            ):
                yield Sample(name, mount.labels, float(value))

    def _space(self, mount: Mount) -> Space | None:
        if mount.fstype in REMOTE_TYPES:
            return self._ask(mount.mountpoint)
        try:
            return read_space(mount.mountpoint)
        except OSError:
            return None

    def _ask(self, mountpoint: str) -> Space | None:
        # While a question hangs no second one is asked: one lost thread a dead mount, not one a reading.
        question = self._asked.get(mountpoint)
        waited = question is not None
        if question is None:
            question = self._asked[mountpoint] = _Question(mountpoint)
        if not question.answered.wait(0 if waited else self._remote_wait_seconds):
            return None
        del self._asked[mountpoint]
        return question.space


class _Question:
    """One statvfs in a thread of its own."""

    def __init__(self, mountpoint: str) -> None:
        self.mountpoint = mountpoint
        self.answered = threading.Event()
        self.space: Space | None = None
        threading.Thread(target=self._ask, name=f"statvfs {mountpoint}", daemon=True).start()

    def _ask(self) -> None:
        try:
            self.space = read_space(self.mountpoint)
        except OSError:
            self.space = None
        finally:
            self.answered.set()
