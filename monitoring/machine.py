"""A host's facts in words, as pages show them."""

from __future__ import annotations

from typing import Any

from monitoring import units
from monitoring.models import Host

# A clock that is off by less is right for every purpose here.
RIGHT_WITHIN_SECONDS = 1.0


def machine_line(facts: dict[str, Any]) -> str:
    """Return cores, memory and GPUs in one line: "32 cores · 256 GiB · 4 × NVIDIA H200"."""
    parts = [f"{facts['cores']} cores" if facts.get("cores") else "", _memory(facts), _gpus(facts)]
    return " · ".join(part for part in parts if part) or "–"


def facts_of(host: Host) -> list[tuple[str, str]]:
    """Return what is known of a host as (name, words); unknown facts are left out."""
    told = host.facts
    driver = [told.get("driver"), f"CUDA {told['cuda']}" if told.get("cuda") else None]
    facts = [
        ("System", told.get("os")),
        ("Kernel", " ".join(str(told[name]) for name in ("kernel", "architecture") if told.get(name))),
        ("Processor", told.get("cpu")),
        ("Cores", told.get("cores")),
        ("Memory", _memory(told)),
        ("GPUs", _gpus(told)),
        ("Driver", " · ".join(str(part) for part in driver if part)),
        ("Agent", host.agent_version),
        ("Clock", clock_words(host.clock_skew_seconds)),
        ("First seen", f"{host.first_seen:%Y-%m-%d %H:%M} UTC"),
    ]
    return [(name, str(value)) for name, value in facts if value]


def clock_words(skew_seconds: float | None) -> str:
    """Return how right a clock is: "right", "12 s ahead", "3 min behind"; "" when nobody knows."""
    if skew_seconds is None:
        return ""
    if abs(skew_seconds) < RIGHT_WITHIN_SECONDS:
        return "right"
    return f"{units.span(abs(skew_seconds))} {'ahead' if skew_seconds > 0 else 'behind'}"


def _memory(facts: dict[str, Any]) -> str:
    size = facts.get("memory_bytes")
    return units.number(size, "bytes") if size else ""


def _gpus(facts: dict[str, Any]) -> str:
    names = [str(gpu.get("name") or "GPU") for gpu in facts.get("gpus") or []]
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
