"""What a host is, in contrast to how it does: cores, memory, system, versions."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import psutil

CPUINFO = Path("/proc/cpuinfo")


def read_facts(gpu_facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the facts of this machine as JSON values; memory in bytes, unknown ones None."""
    return {
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
