"""What a host is, in contrast to how it does: cores, memory, system, versions."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path
from typing import Any

import psutil

CPUINFO = Path("/proc/cpuinfo")
MACHINE_ID = Path("/etc/machine-id")


def read_facts(gpu_facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the facts of this machine as JSON values; memory in bytes, unknown ones None."""
    return {
        "machine": machine_of(MACHINE_ID.read_text() if MACHINE_ID.exists() else ""),
        "cores": psutil.cpu_count(logical=True),
        "physical_cores": psutil.cpu_count(logical=False),
        "cpu": cpu_name(CPUINFO.read_text(errors="replace") if CPUINFO.exists() else "") or platform.processor(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": os_name(),
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **(gpu_facts or {}),
    }


def machine_of(machine_id: str) -> str | None:
    """Return a short name for a machine id that does not give the id away, as machine-id(5) asks; None without one."""
    text = machine_id.strip()
    return hashlib.blake2b(text.encode(), digest_size=6, person=b"alphaq").hexdigest() if text else None


def os_name() -> str:
    """Return the name of the system as it calls itself, "Debian GNU/Linux 12 (bookworm)"."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return f"{platform.system()} {platform.release()}".strip()
    return release.get("PRETTY_NAME") or release.get("NAME", "Linux")


def cpu_name(cpuinfo: str) -> str:
    """Return the model name in a /proc/cpuinfo text, empty when it has none (as on many ARM machines)."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return ""
