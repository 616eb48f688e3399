"""Tables of the alerts app."""

from alerts.models.alerts import Alert, Event, Mark
from alerts.models.backtests import Backtest
from alerts.models.escalation import (
    Escalation,
    EscalationPolicy,
    EscalationStep,
    Rota,
    RotaMember,
    RotaOverride,
    StepRun,
)
from alerts.models.globals import GlobalConfig
from alerts.models.ingest import Ingest, Posting
from alerts.models.notifications import Attempt, ChannelState, Group, GroupAlert, Notification, NotifyLog
from alerts.models.records import EvaluationRecord
from alerts.models.revisions import RuleRevision
from alerts.models.routing import Integration, Receiver, Route, SlackApp, TimeInterval
from alerts.models.rules import GroupClock, Rule, RuleGroup, RuleStatus, Severity, Threshold
from alerts.models.silences import Dependency, Flap, InhibitRule, Silence
from alerts.models.slack import SlackClick, SlackLink

__all__ = [
    "Alert", "Attempt", "Backtest", "ChannelState", "Dependency", "Escalation", "EscalationPolicy", "EscalationStep",
    "EvaluationRecord", "Event", "Flap", "GlobalConfig", "Group", "GroupAlert", "GroupClock", "Ingest", "InhibitRule",
    "Integration", "Mark", "Notification", "NotifyLog", "Posting", "Receiver", "Rota", "RotaMember", "RotaOverride",
    "Route", "Rule", "RuleGroup", "RuleRevision", "RuleStatus", "Severity", "Silence", "SlackApp", "SlackClick",
    "SlackLink", "StepRun", "Threshold", "TimeInterval",
]  # fmt: skip
