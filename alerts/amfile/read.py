"""From the text of an Alertmanager file to a Config, or to everything that is wrong with it.

Source of the rules: Alertmanager 0.25, config/config.go (Load, UnmarshalYAML, checkReceiver, checkTimeInterval).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

from alerts.amfile import fields
from alerts.amfile.config import Config, ConfigError, InhibitSpec, ReceiverSpec, RouteSpec, Way
from alerts.amfile.nodes import Node, Problems, parse
from alerts.engine import notify_template
from alerts.engine.intervals import IntervalError, parse_interval, to_mapping
from alerts.engine.matching import MatcherError, checked_matcher, format_matchers, parse_alertmanager_matchers
from alerts.models import Integration
from monitoring.promql import Matcher

_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_DEFAULT_TEXT = re.compile(r'\{\{-?\s*template\s+"slack\.default\.(title|text|fallback)"\s+\.\s*-?\}\}')
_CALL = re.compile(r'\{\{-?\s*template\s+"')
_HIDDEN = "<secret>"
POST_MESSAGE = "https://slack.com/api/chat.postMessage"


@dataclass(frozen=True)
class Files:
    """How to read what a configuration points to: one file, and all that a pattern names; both raise OSError."""

    text: Callable[[str], str]
    matching: Callable[[str], Iterable[str]]


def no_files() -> Files:
    """For a configuration without a place in a file system: whatever it points to cannot be read."""

    def refuse(path: str) -> str:
        raise OSError(f"{path} cannot be read here; import the file by the command, or put the value in its place")

    return Files(refuse, lambda pattern: [refuse(pattern)])


def read(text: str, files: Files | None = None, *, skips_unsupported: bool = False) -> Config:
    """The configuration that `text` spells; raises ConfigError with every fault, each with its path.

    skips_unsupported: leave out what the portal cannot do instead of refusing the file.
    """
    problems = Problems(skips_unsupported)
    top = Node.of(parse(text), "", problems)
    top.check_names(fields.TOP, fields.TOP_UNSUPPORTED)
    reader = _Reader(top, problems, files or no_files())
    config = reader.config()
    if problems.faults:
        raise ConfigError(problems.faults)
    return config


class _Reader:
    """One file being read."""

    def __init__(self, top: Node, problems: Problems, files: Files) -> None:
        self.top, self.problems, self.files = top, problems, files
        self.globals = Node.of(top.values.get("global"), "global", problems)
        self.definitions = ""

    def config(self) -> Config:
        self._check_globals()
        self._read_templates()
        receivers = self._receivers()
        intervals = self._intervals()
        root = self._route(Node.of(self.top.values.get("route"), "route", self.problems), is_root=True)
        self._check_names(root, {one.name for one in receivers}, set(intervals))
        resolve_timeout = self.globals.seconds("resolve_timeout")
        if resolve_timeout == 0:
            self.globals.fault("resolve_timeout", "must be longer than nothing")
        return Config(
            root, receivers, tuple(self._inhibit(node) for node in self.top.nodes("inhibit_rules")), intervals,
            resolve_timeout or 300.0, tuple(self.problems.notes),
        )  # fmt: skip

    def _check_globals(self) -> None:
        self.globals.check_names(fields.GLOBAL | fields.GLOBAL_UNUSED.keys(), fields.GLOBAL_UNSUPPORTED)
        for name in self.globals.values:
            if name in fields.GLOBAL_UNUSED:
                self.problems.notes.append(f"global.{name}: not used: {fields.GLOBAL_UNUSED[name]}")
        if self.globals.has("slack_api_url") and self.globals.has("slack_api_url_file"):
            self.globals.fault("slack_api_url_file", "at most one of slack_api_url and slack_api_url_file")

    def _read_templates(self) -> None:
        """The definitions of template files; a text that calls one gets them in front."""
        for place, pattern in enumerate(self.top.texts("templates")):
            try:
                texts = list(self.files.matching(pattern))
            except OSError as error:
                self.problems.faults.append(f"templates[{place}]: {error}")
                continue
            if not texts:
                self.problems.notes.append(f"templates[{place}]: no file matches {pattern}")
            self.definitions += "".join(texts)

    # Receivers.

    def _receivers(self) -> tuple[ReceiverSpec, ...]:
        found: dict[str, ReceiverSpec] = {}
        for node in self.top.nodes("receivers"):
            node.check_names(fields.RECEIVER, fields.RECEIVER_UNSUPPORTED)
            name = node.text("name")
            if not name:
                node.fault("name", "a receiver needs a name")
            elif len(name) > 200:
                node.fault("name", "at most 200 characters")
            elif name in found:
                node.fault("name", f"{name!r} is given twice")
            ways = [
                *(self._slack(one) for one in node.nodes("slack_configs")),
                *(self._webhook(one) for one in node.nodes("webhook_configs")),
                *(self._email(one) for one in node.nodes("email_configs")),
            ]
            found[name] = ReceiverSpec(name, tuple(ways))
        return tuple(found.values())

    def _slack(self, node: Node) -> Way:
        if bot := self._bot(node):
            return bot
        node.check_names(fields.SLACK, fields.SLACK_UNSUPPORTED)
        url = self._address(node, "api_url", "api_url_file") or self._address(
            self.globals, "slack_api_url", "slack_api_url_file"
        )
        if not url and not node.has("api_url_file") and not self.globals.has("slack_api_url_file"):
            node.fault("api_url", "no Slack address: give api_url here or global.slack_api_url")
        return Way(
            Integration.Kind.SLACK_WEBHOOK, url, node.text("channel"), node.flag("send_resolved", False),
            self._template(node, "title"), self._template(node, "text"),
        )  # fmt: skip

    def _bot(self, node: Node) -> Way | None:
        """A Slack channel by bot token; None for an incoming webhook.

        Alertmanager takes the token as app_token since 0.29, and before as authorization of calls to chat.postMessage.
        """
        holder, name = next(((one, name) for one, name in self._token_places(node) if one.has(name)
                             or one.has(f"{name}_file")), (None, ""))  # fmt: skip
        if holder is None:
            return None
        unsupported = {key: why for key, why in fields.SLACK_UNSUPPORTED.items() if key not in fields.SLACK_BOT}
        node.check_names(fields.SLACK | fields.SLACK_BOT, unsupported)
        if not node.text("channel"):
            node.fault("channel", "a bot needs the channel to post to")
        token = self._secret(holder, name)
        if token and token != _HIDDEN and not token.startswith("xoxb-"):
            holder.fault(name, "must be a bot token, which starts with xoxb-")
        return Way(
            Integration.Kind.SLACK, "", node.text("channel"), node.flag("send_resolved", False),
            self._template(node, "title"), self._template(node, "text"), token=token,
        )  # fmt: skip

    def _token_places(self, node: Node) -> Iterable[tuple[Node, str]]:
        """Where a bot's token may stand, the nearest first; a webhook's own address goes before the global token."""
        yield node, "app_token"
        if node.text("api_url") == POST_MESSAGE:
            http = Node.of(node.values.get("http_config"), node.at("http_config"), self.problems)
            http.check_names({"authorization"}, fields.SLACK_HTTP_UNSUPPORTED)
            authorization = Node.of(http.values.get("authorization"), http.at("authorization"), self.problems)
            authorization.check_names({"type", "credentials", "credentials_file"})
            yield authorization, "credentials"
        if not node.has("api_url") and not node.has("api_url_file"):
            yield self.globals, "slack_app_token"

    def _secret(self, node: Node, name: str) -> str:
        """A secret, given or in a file; "" when it is at fault."""
        if node.has(name) and node.has(f"{name}_file"):
            node.fault(f"{name}_file", f"at most one of {name} and {name}_file")
        if not node.has(f"{name}_file"):
            return node.text(name).strip()
        try:
            return self.files.text(node.text(f"{name}_file")).strip()
        except (OSError, UnicodeDecodeError) as error:
            node.fault(f"{name}_file", str(error))
            return ""

    def _webhook(self, node: Node) -> Way:
        node.check_names(fields.WEBHOOK, fields.WEBHOOK_UNSUPPORTED)
        url = self._address(node, "url", "url_file")
        if not url and not node.has("url_file"):
            node.fault("url", "a webhook needs the address to post to")
        return Way(
            Integration.Kind.WEBHOOK, url, send_resolved=node.flag("send_resolved", True),
            max_alerts=node.number("max_alerts"),
        )  # fmt: skip

    def _email(self, node: Node) -> Way:
        node.check_names(fields.EMAIL, fields.EMAIL_UNSUPPORTED)
        target = node.text("to")
        if "@" not in target:
            node.fault("to", "give an address to send to")
        return Way(Integration.Kind.EMAIL, "", target, node.flag("send_resolved", False))

    def _address(self, node: Node, name: str, file_name: str) -> str:
        """An http address, given or in a file; "" when there is none, or when it is at fault."""
        if node.has(name) and node.has(file_name):
            node.fault(file_name, f"at most one of {name} and {file_name}")
        where, url = name, node.text(name)
        if not url and node.has(file_name):
            where = file_name
            try:
                url = self.files.text(node.text(file_name)).strip()
            except (OSError, UnicodeDecodeError) as error:
                node.fault(file_name, str(error))
                return ""
        if url == _HIDDEN:
            return url  # an exported file; the rows keep the address they have
        try:
            is_sound = not url or (urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname))
        except ValueError:
            is_sound = False
        if not is_sound or len(url) > 2000:
            node.fault(where, "must be an http:// or https:// address")  # which is a secret, so it is not repeated
            return ""
        return url

    def _template(self, node: Node, name: str) -> str:
        text = node.text(name)
        if not text or _DEFAULT_TEXT.fullmatch(text.strip()):
            return ""  # upstream's own words: ours take their place
        whole = self.definitions + text if _CALL.search(text) else text
        node.checked(name, lambda: notify_template.check(whole), notify_template.TemplateError)
        return whole

    # Times, inhibition, routes.

    def _intervals(self) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = {}
        for node in (*self.top.nodes("time_intervals"), *self.top.nodes("mute_time_intervals")):
            node.check_names({"name", "time_intervals"})
            name = node.text("name")
            if not name or name in found:
                node.fault("name", f"{name!r} is given twice" if name else "a time interval needs a name")
            found[name] = []
            for one in node.nodes("time_intervals"):
                try:
                    found[name].append(to_mapping(parse_interval(one.values)))
                except IntervalError as error:
                    self.problems.faults.append(f"{one.path}: {error}")
        return found

    def _inhibit(self, node: Node) -> InhibitSpec:
        node.check_names(fields.INHIBIT)
        equal = node.texts("equal")
        for name in equal:
            if not _LABEL_NAME.fullmatch(name):
                node.fault("equal", f"{name!r} is no label name")
        return InhibitSpec(_matchers(node, "source_"), _matchers(node, "target_"), equal)

    def _route(self, node: Node, *, is_root: bool = False) -> RouteSpec:
        node.check_names(fields.ROUTE)
        if is_root:
            self._check_root(node)
        return RouteSpec(
            matchers=_matchers(node),
            receiver=node.text("receiver") or None,
            group_by=_group_by(node),
            continues=node.flag("continue", False),
            group_wait_seconds=node.seconds("group_wait"),
            group_interval_seconds=_not_zero(node, "group_interval"),
            repeat_interval_seconds=_not_zero(node, "repeat_interval"),
            mute_intervals=node.texts("mute_time_intervals"),
            active_intervals=node.texts("active_time_intervals"),
            routes=tuple(self._route(child) for child in node.nodes("routes")),
        )

    def _check_root(self, node: Node) -> None:
        if not node.values:
            self.problems.faults.append("route: a file needs a root route")
        elif not node.has("receiver"):
            node.fault("receiver", "the root route must name a receiver")
        for name in ("match", "match_re", "matchers"):
            if node.has(name):
                node.fault(name, "the root route must not have matchers: it takes every alert")
        for name in ("mute_time_intervals", "active_time_intervals"):
            if node.has(name):
                node.fault(name, "the root route must not have time intervals")
        if node.flag("continue", False):
            node.fault("continue", "the root route has no siblings to continue with")

    def _check_names(self, root: RouteSpec, receivers: set[str], intervals: set[str]) -> None:
        for route in root.walk():
            where = format_matchers(_parsed(route.matchers)) if route.matchers else "route"
            if route.receiver is not None and route.receiver not in receivers:
                self.problems.faults.append(f"{where}: undefined receiver {route.receiver!r} used in route")
            for name in (*route.mute_intervals, *route.active_intervals):
                if name not in intervals:
                    self.problems.faults.append(f"{where}: undefined time interval {name!r} used in route")


def _parsed(texts: Iterable[str]) -> list[Matcher]:
    return [one for text in texts for one in parse_alertmanager_matchers(text)]


def _matchers(node: Node, prefix: str = "") -> tuple[str, ...]:
    """All matchers of a route or of one side of an inhibit rule, each as one text (AR-6)."""
    found: list[Matcher] = []
    for name, op in ((f"{prefix}match", "="), (f"{prefix}match_re", "=~")):
        for label, value in node.pairs(name).items():
            if not _LABEL_NAME.fullmatch(label):
                node.fault(name, f"{label!r} is no label name")
                continue
            one = node.checked(name, partial(checked_matcher, op, label, value), MatcherError)
            found += [one] if one else []
    for text in node.texts(f"{prefix}matchers"):
        found += node.checked(f"{prefix}matchers", partial(parse_alertmanager_matchers, text), MatcherError) or ()
    return tuple(format_matchers([one])[1:-1] for one in found)


def _group_by(node: Node) -> tuple[str, ...] | None:
    names = node.texts("group_by")
    if len(set(names)) != len(names):
        node.fault("group_by", "names a label twice")
    if "..." in names and len(names) > 1:
        node.fault("group_by", '"..." stands for all labels and must be alone')
    for name in names:
        if name != "..." and not _LABEL_NAME.fullmatch(name):
            node.fault("group_by", f"{name!r} is no label name")
    return names or None  # an empty list inherits, as in 0.25 (AG-2)


def _not_zero(node: Node, name: str) -> float | None:
    seconds = node.seconds(name)
    if seconds == 0:
        node.fault(name, f"{name} cannot be zero")
    return seconds
