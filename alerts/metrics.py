"""Metrics of the alerting half about itself; right across processes by prometheus_client's multiprocess mode."""

from prometheus_client import Counter, Gauge, Histogram

EVALUATIONS = Counter("alphaq_rule_evaluations_total", "Rules evaluated.", ["outcome"])
EVALUATION_SECONDS = Histogram(
    "alphaq_rule_group_evaluation_seconds",
    "Duration of one evaluation of a rule group.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
EVALUATION_LAG_SECONDS = Gauge(
    "alphaq_rule_group_lag_seconds",
    "Time between a planned slot and its evaluation, of the last group evaluated.",
    multiprocess_mode="mostrecent",
)
MISSED_SLOTS = Counter("alphaq_rule_group_missed_slots_total", "Planned evaluations that were skipped.")
TRANSITIONS = Counter("alphaq_alert_transitions_total", "Changes of alerts.", ["kind"])
GROUPS_OVER_LIMIT = Counter(
    "alphaq_alert_groups_over_limit_total", "Groups that were not made because there are too many; told with others."
)
TICK_ERRORS = Counter("alphaq_tick_errors_total", "Ticks that failed as a whole.", ["tick"])
