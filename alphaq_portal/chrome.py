"""Look of the admin as data: title, colours, sidebar. The callbacks it names live in alphaq_portal.bar and .home.

Read by settings, so nothing here may import models or Unfold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.templatetags.static import static


@dataclass(frozen=True)
class Entry:
    """One line of the sidebar; it shows when one of `pages` exists and the user has the permission."""

    title: str
    icon: str
    pages: tuple[str, ...]  # names of addresses, the best first
    permission: str = ""  # empty: every user
    badge: str = ""  # a count of the portal's status, such as "firing"
    under: str = ""  # where the pages of single rows begin, when not below one of `pages`


NAVIGATION: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "",
        (
            Entry("Home", "home", ("admin:index",)),
            Entry(
                "Alerts",
                "notifications_active",
                ("alerts:alerts", "admin:alerts_alert_changelist"),
                "alerts.view_alert",
                "firing",
            ),
            Entry("Hosts", "dns", ("admin:monitoring_host_changelist",), "monitoring.view_host", under="/hosts/"),
            Entry(
                "Models",
                "model_training",
                ("admin:monitoring_servedmodel_changelist",),
                "monitoring.view_servedmodel",
                under="/models/",
            ),
            Entry(
                "Targets",
                "hub",
                ("admin:monitoring_target_changelist",),
                "monitoring.view_target",
                under="/targets/",
            ),
            Entry("Probes", "ecg_heart", ("admin:monitoring_probe_changelist",), "monitoring.view_probe"),
            Entry("Explore", "query_stats", ("monitoring:explore",), "monitoring.view_dashboard"),
            Entry(
                "Dashboards",
                "dashboard",
                ("monitoring:dashboards", "admin:monitoring_dashboard_changelist"),
                "monitoring.view_dashboard",
            ),
        ),
    ),
    (
        "When to speak",
        (
            Entry("Rules", "rule", ("admin:alerts_rule_changelist",), "alerts.view_rule"),
            Entry("Rule groups", "stacks", ("admin:alerts_rulegroup_changelist",), "alerts.view_rulegroup"),
            Entry("Global labels", "public", ("admin:alerts_globalconfig_changelist",), "alerts.view_globalconfig"),
            Entry("Backtests", "history", ("alerts:backtests",), "alerts.view_rule", under="/backtests/"),
            Entry("Why?", "troubleshoot", ("alerts:why",), "alerts.view_alert"),
            Entry("Silences", "notifications_paused", ("admin:alerts_silence_changelist",), "alerts.view_silence"),
            Entry("Inhibition", "layers_clear", ("admin:alerts_inhibitrule_changelist",), "alerts.view_inhibitrule"),
            Entry("Dependencies", "account_tree", ("admin:alerts_dependency_changelist",), "alerts.view_dependency"),
        ),
    ),
    (
        "Whom to tell",
        (
            Entry("Receivers", "campaign", ("admin:alerts_receiver_changelist",), "alerts.view_receiver"),
            Entry("Routes", "alt_route", ("alerts:routes", "admin:alerts_route_changelist"), "alerts.view_route"),
            Entry(
                "Escalation",
                "trending_up",
                ("admin:alerts_escalationpolicy_changelist",),
                "alerts.view_escalationpolicy",
            ),
            Entry("Escalated", "stairs", ("admin:alerts_escalation_changelist",), "alerts.view_escalation"),
            Entry("Rotas", "event_repeat", ("admin:alerts_rota_changelist",), "alerts.view_rota"),
            Entry("Times", "calendar_clock", ("admin:alerts_timeinterval_changelist",), "alerts.view_timeinterval"),
            Entry(
                "Notifications", "outgoing_mail", ("admin:alerts_notification_changelist",), "alerts.view_notification"
            ),
        ),
    ),
    (
        "Portal",
        (
            Entry("System", "monitor_heart", ("monitoring:system",), "monitoring.view_host"),
            Entry("Log", "receipt_long", ("log",), "monitoring.read_log"),
            Entry(
                "Profiles",
                "local_fire_department",
                ("admin:monitoring_profile_changelist",),
                "monitoring.view_profile",
                under="/profiles/",
            ),
            Entry(
                "Profile rates", "percent", ("admin:monitoring_profilerate_changelist",), "monitoring.view_profilerate"
            ),
            Entry("API tokens", "key", ("admin:monitoring_apitoken_changelist",), "monitoring.add_apitoken"),
            Entry("Users", "group", ("admin:auth_user_changelist",), "auth.view_user"),
        ),
    ),
)

UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Alpha-Q Portal",
    "SITE_HEADER": "Alpha-Q Portal",
    "SITE_URL": None,
    "SITE_ICON": lambda request: static("favicon.svg"),
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")},
    ],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": True,
    "BORDER_RADIUS": "8px",
    "STYLES": [lambda request: static("css/portal.css")],
    "SCRIPTS": [lambda request: static("js/portal.js")],
    "LOGIN": {"image": lambda request: static("img/login.svg")},
    "GLOBAL_CALLBACK": "alphaq_portal.bar.page_context",
    "DASHBOARD_CALLBACK": "alphaq_portal.home.dashboard",
    "COMMAND": {"search_models": ["monitoring.host", "alerts.rule", "alerts.receiver"]},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": "alphaq_portal.bar.navigation",
    },
    "COLORS": {
        # Indigo: away from the red, amber, blue and green that mean something here.
        "primary": {
            "50": "oklch(96.2% .018 272.314)",
            "100": "oklch(93% .034 272.788)",
            "200": "oklch(87% .065 274.039)",
            "300": "oklch(78.5% .115 274.713)",
            "400": "oklch(70.2% .165 277.117)",
            "500": "oklch(62.3% .214 277.5)",
            "600": "oklch(51.1% .262 276.966)",
            "700": "oklch(45.7% .24 277.023)",
            "800": "oklch(39.8% .195 277.366)",
            "900": "oklch(35.9% .144 278.697)",
            "950": "oklch(25.7% .09 281.288)",
        },
    },
}
