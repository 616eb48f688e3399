"""The starter set: six rules worth having on any host, editable, and never written over what staff changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from alerts.models import Receiver, Route, Rule, RuleGroup, Severity, Threshold

GROUP_NAME = "hosts"
RECEIVER_NAME = "slack"


@dataclass(frozen=True)
class StarterRule:
    """One rule of the set; `limits` are (severity, operator, limit)."""

    key: str
    name: str
    expr: str
    hold_seconds: float
    limits: tuple[tuple[Severity, str, float], ...]
    summary: str
    description: str
    no_data: Rule.NoData = Rule.NoData.KEEP
    labels: dict[str, str] = field(default_factory=dict)


STARTER_RULES = (
    StarterRule(
        "host-cpu", "HostCPUHigh", "avg_over_time(cpu_usage_percent[2m])", 120,
        ((Severity.WARNING, ">", 85), (Severity.CRITICAL, ">", 95)),
        "CPU of {{ $labels.host }} is at {{ printf \"%.0f\" $value }} %",
        "The mean of two minutes is above {{ $threshold }} %. Look for the busiest processes on the host page.",
    ),
    StarterRule(
        "host-memory", "HostMemoryHigh", "100 * memory_usage_bytes / memory_total_bytes", 300,
        ((Severity.WARNING, ">", 85), (Severity.CRITICAL, ">", 95)),
        "Memory of {{ $labels.host }} is {{ printf \"%.0f\" $value }} % full",
        "Beyond 95 % the kernel starts to kill processes; model servers are its first choice.",
    ),
    StarterRule(
        "host-disk", "HostDiskFull",
        # What is used now, or what will be used in four hours if it goes on like in the last hour, whichever is more;
        # the projection speaks only where little is left, so that a large download on an empty disk stays quiet.
        "100 * (1 - (clamp_min("
        "predict_linear(filesystem_avail_bytes[1h], 4 * 3600) < filesystem_avail_bytes"
        " and filesystem_avail_bytes < 0.25 * filesystem_size_bytes, 0)"
        " or filesystem_avail_bytes) / filesystem_size_bytes)",
        600,
        ((Severity.WARNING, ">", 90), (Severity.CRITICAL, ">", 97)),
        "{{ $labels.mountpoint }} on {{ $labels.host }} is filling up: {{ printf \"%.0f\" $value }} %",
        "Used now, or expected in four hours at the pace of the last hour.",
    ),
    StarterRule(
        "host-down", "HostDown",
        "host_up",
        0,
        ((Severity.CRITICAL, "<", 1),),
        "{{ $labels.host }} is silent",
        "Nothing has come from it for three of its intervals: the host, its worker or the way to the broker is down.",
        no_data=Rule.NoData.RESOLVE,
    ),
    StarterRule(
        "gpu-memory", "GPUMemoryHigh", "100 * gpu_memory_usage_bytes / gpu_memory_total_bytes", 300,
        ((Severity.WARNING, ">", 92), (Severity.CRITICAL, ">", 98)),
        "Memory of GPU {{ $labels.gpu }} on {{ $labels.host }} is {{ printf \"%.0f\" $value }} % full",
        "The next large batch may end in an out-of-memory error.",
    ),
    StarterRule(
        "gpu-hot", "GPUHot", "gpu_temperature_celsius", 120,
        ((Severity.WARNING, ">", 83), (Severity.CRITICAL, ">", 90)),
        "GPU {{ $labels.gpu }} on {{ $labels.host }} is at {{ printf \"%.0f\" $value }} °C",
        "It slows itself down when it gets hotter; check fans, air flow and power limit.",
    ),
)  # fmt: skip


def load(at: datetime) -> int:
    """Make what is missing of the starter set; rows that exist are left alone. Returns the number of rules made."""
    group, _ = RuleGroup.objects.get_or_create(name=GROUP_NAME, managed_by="", defaults={"interval_seconds": 15})
    known = set(Rule.history.exclude(starter_key="").values_list("starter_key", flat=True))
    made = 0
    for position, starter in enumerate(STARTER_RULES):
        # History remembers what staff deleted or renamed: it does not come back.
        if starter.key in known or group.rules.filter(name=starter.name).exists():
            continue
        _make(group, position, starter)
        made += 1
    return made


def _make(group: RuleGroup, position: int, starter: StarterRule) -> None:
    rule = Rule(
        group=group,
        position=position,
        name=starter.name,
        expr=starter.expr,
        hold_seconds=starter.hold_seconds,
        no_data=starter.no_data,
        labels=starter.labels,
        annotations={"summary": starter.summary, "description": starter.description},
        starter_key=starter.key,
    )
    rule.full_clean()
    rule.save()
    for severity, operator, limit in starter.limits:
        row = Threshold(rule=rule, severity=severity, operator=operator, value=limit)
        row.full_clean()
        row.save()


def root_receiver() -> Receiver:
    """The receiver of the root route; both are made when there is no route at all."""
    root = Route.objects.filter(parent__isnull=True).select_related("receiver").first()
    if root and root.receiver:
        return root.receiver
    receiver, _ = Receiver.objects.get_or_create(name=RECEIVER_NAME)
    Route.objects.update_or_create(
        parent=None,
        defaults={
            "receiver": receiver,
            "group_by": ["alertname"],
            "group_wait_seconds": 5,
            "group_interval_seconds": 30,
            "repeat_interval_seconds": 4 * 3600,
        },
    )
    return receiver
