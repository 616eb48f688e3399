"""Every field that Alertmanager's configuration may have, and what becomes of those that the portal does not take."""

from __future__ import annotations

_LOOKS = "the portal chooses how its messages look; write what you need into title and text"
_PROXY = "addresses are called as they are, without proxies, tokens or certificates of their own"
_APP_URL = "Slack is called at ALPHAQ_SLACK_API_BASE"
_MAIL = "mail goes out by the portal's own mail settings"
_OTHER = "there is no such way out here; use a webhook, or another service by its Apprise address"


def _all(words: str, *names: str) -> dict[str, str]:
    return dict.fromkeys(names, words)


TOP = frozenset((
    "global", "route", "receivers", "inhibit_rules", "time_intervals", "mute_time_intervals", "templates",
))  # fmt: skip
TOP_UNSUPPORTED = _all("traces are not exported", "tracing")
GLOBAL = frozenset((
    "resolve_timeout", "slack_api_url", "slack_api_url_file", "slack_app_token", "slack_app_token_file",
))  # fmt: skip
GLOBAL_UNSUPPORTED = _all(_PROXY, "http_config") | _all(_APP_URL, "slack_app_url")
#: Harmless: they only matter to ways out that would be refused themselves, or to mail.
GLOBAL_UNUSED = _all(
    _MAIL, "smtp_from", "smtp_hello", "smtp_smarthost", "smtp_auth_username", "smtp_auth_password",
    "smtp_auth_password_file", "smtp_auth_secret", "smtp_auth_secret_file", "smtp_auth_identity", "smtp_require_tls",
    "smtp_tls_config", "smtp_force_implicit_tls",
) | _all(
    "no receiver of this kind is taken", "pagerduty_url", "opsgenie_api_key", "opsgenie_api_key_file",
    "opsgenie_api_url", "victorops_api_url", "victorops_api_key", "victorops_api_key_file", "wechat_api_url",
    "wechat_api_secret", "wechat_api_secret_file", "wechat_api_corp_id", "telegram_api_url", "telegram_bot_token",
    "telegram_bot_token_file", "webex_api_url", "rocketchat_api_url", "rocketchat_token", "rocketchat_token_file",
    "rocketchat_token_id", "rocketchat_token_id_file", "jira_api_url", "mattermost_webhook_url",
    "mattermost_webhook_url_file",
)  # fmt: skip
RECEIVER = frozenset(("name", "slack_configs", "webhook_configs", "email_configs"))
RECEIVER_UNSUPPORTED = _all(
    _OTHER, "pagerduty_configs", "opsgenie_configs", "victorops_configs", "pushover_configs", "sns_configs",
    "wechat_configs", "telegram_configs", "discord_configs", "webex_configs", "msteams_configs", "msteamsv2_configs",
    "jira_configs", "rocketchat_configs", "incidentio_configs", "mattermost_configs",
)  # fmt: skip
SLACK = frozenset(("send_resolved", "api_url", "api_url_file", "channel", "title", "text"))
SLACK_UNSUPPORTED = _all(
    _LOOKS, "username", "color", "title_link", "pretext", "fields", "short_fields", "footer", "fallback",
    "callback_id", "icon_emoji", "icon_url", "image_url", "thumb_url", "link_names", "mrkdwn_in", "actions",
    "message_text", "update_message",
) | _all(_PROXY, "http_config") | _all(_APP_URL, "app_url") | _all(
    "the portal has time limits of its own", "timeout"
)  # fmt: skip
#: What else a Slack channel by bot token has.
SLACK_BOT = frozenset(("app_token", "app_token_file", "http_config"))
SLACK_HTTP_UNSUPPORTED = _all(
    _PROXY, "basic_auth", "oauth2", "tls_config", "proxy_url", "no_proxy", "proxy_from_environment",
    "proxy_connect_header", "follow_redirects", "enable_http2", "http_headers",
) | _all("give the token as authorization.credentials", "bearer_token", "bearer_token_file")  # fmt: skip
WEBHOOK = frozenset(("send_resolved", "url", "url_file", "max_alerts"))
WEBHOOK_UNSUPPORTED = _all(_PROXY, "http_config") | _all("the portal has time limits of its own", "timeout") | _all(
    "the body is Alertmanager's, version 4", "payload"
)  # fmt: skip
EMAIL = frozenset(("send_resolved", "to"))
EMAIL_UNSUPPORTED = _all(
    _MAIL, "from", "hello", "smarthost", "auth_username", "auth_password", "auth_password_file", "auth_secret",
    "auth_secret_file", "auth_identity", "require_tls", "tls_config", "force_implicit_tls", "threading",
) | _all(_LOOKS, "headers", "html", "text")  # fmt: skip
INHIBIT = frozenset((
    "name", "source_match", "source_match_re", "source_matchers", "target_match", "target_match_re", "target_matchers",
    "equal",
))  # fmt: skip
ROUTE = frozenset((
    "receiver", "group_by", "match", "match_re", "matchers", "continue", "group_wait", "group_interval",
    "repeat_interval", "mute_time_intervals", "active_time_intervals", "routes",
))  # fmt: skip
