"""Tables of the alerts app."""

from alerts.models.alerts import Alert, Event, Mark
from alerts.models.globals import GlobalConfig
from alerts.models.ingest import Ingest, Posting
from alerts.models.notifications import Attempt, ChannelState, Group, GroupAlert, Notification, NotifyLog
from alerts.models.records import EvaluationRecord
from alerts.models.routing import Integration, Receiver, Route, SlackApp, TimeInterval
from alerts.models.rules import GroupClock, Rule, RuleGroup, RuleStatus, Severity, Threshold
from alerts.models.silences import InhibitRule, Silence
from alerts.models.slack import SlackClick, SlackLink

__all__ = [
    "Alert", "Attempt", "ChannelState", "EvaluationRecord", "Event", "Group", "GlobalConfig", "GroupAlert", "GroupClock",
    "Ingest", "InhibitRule", "Integration", "Mark", "Notification", "NotifyLog", "Posting", "Receiver", "Route", "Rule", "RuleGroup",
    "RuleStatus", "Severity", "Silence", "SlackApp", "SlackClick", "SlackLink", "Threshold", "TimeInterval",
]  # fmt: skip
