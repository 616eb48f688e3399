"""Tables of the alerts app."""

from alerts.models.alerts import Alert, Event
from alerts.models.notifications import Attempt, ChannelState, Group, GroupAlert, Notification, NotifyLog
from alerts.models.routing import Integration, Receiver, Route, SlackApp, TimeInterval
from alerts.models.rules import GroupClock, Rule, RuleGroup, RuleStatus, Severity, Threshold
from alerts.models.silences import InhibitRule, Silence

__all__ = [
    "Alert", "Attempt", "ChannelState", "Event", "Group", "GroupAlert", "GroupClock", "InhibitRule", "Integration",
    "Notification", "NotifyLog", "Receiver", "Route", "Rule", "RuleGroup", "RuleStatus", "Severity", "Silence",
    "SlackApp", "Threshold", "TimeInterval",
]  # fmt: skip
