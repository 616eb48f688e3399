"""Any other service by one Apprise address, such as ntfy://, msteams://, discord:// or telegram's tgram://.

Hides the library: it answers yes or no and tells the rest to its log, from which only the status of the answer is
taken, since its lines repeat addresses with their secrets.
"""

from __future__ import annotations

import importlib
import ipaddress
import logging
import re
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from alerts.channels import wire
from alerts.channels.base import CheckResult, DeliveryError, Permanent, Receipt, Transient

TIMEOUT_SECONDS = 10
# Ways to the screen or the log of this machine: nobody sits in front of a server.
_LOCAL = frozenset({"dbus", "glib", "gio", "gnome", "kde", "qt", "macosx", "windows", "syslog", "notify", "apprise"})
_STATUS = re.compile(r"\berror=(\d{3})\b")
_KINDS = {"critical": "failure", "warning": "warning", "resolved": "success"}
_BUSY = (408, 425, 429)


@dataclass(frozen=True)
class AppriseConfig:
    """One service and where it lies; the address holds its secrets."""

    url: str = field(repr=False)


# Its words hold addresses: they reach no log of ours.
_log = logging.getLogger("apprise")
_log.propagate = False
_log.addHandler(logging.NullHandler())


class _Status(logging.Handler):
    """Keeps the last status of an HTTP answer that the library told of in this thread, and nothing else of it."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._thread = threading.get_ident()
        self.status: int | None = None
        self.is_lost = False

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread != self._thread:
            return
        text = record.getMessage()
        found = _STATUS.search(text)
        if found:
            self.status = int(found[1])
        self.is_lost = self.is_lost or "connection error" in text.lower() or "timed out" in text.lower()


def problem(url: str) -> str | None:
    """Why an address cannot be used, in words that do not repeat it, or None."""
    scheme = url.partition("://")[0].strip().lower()
    if "://" not in url:
        return "it starts with the name of a service, such as ntfy:// or msteams://"
    if scheme.rstrip("s") in _LOCAL or scheme in _LOCAL:
        return f"{scheme}:// speaks to this machine only"
    service = _service(url)
    if service is None:
        return f"no service of this kind, or a part of its address is missing: {scheme}://"
    return _host_problem(service)


def send(config: AppriseConfig, title: str, body: str, severity: str = "") -> Receipt:
    """A receipt once the service has taken the message; raises a DeliveryError.

    severity: critical, warning, or resolved; chooses the service's own colour or sign.
    """
    wrong = problem(config.url)
    if wrong:
        raise Permanent(f"The address cannot be used: {wrong}.", code="bad_url")
    service, heard = _service(config.url), _Status()
    assert service is not None  # noqa: S101  (problem() looked)
    _log.addHandler(heard)
    try:
        is_sent = service.notify(title=title, body=body, notify_type=_KINDS.get(severity, "info"))
    except (OSError, TypeError, ValueError) as error:
        raise Transient(f"The service could not be told: {type(error).__name__}.", code="not_sent") from None
    finally:
        _log.removeHandler(heard)
    if is_sent:
        return Receipt(detail=f"taken by {name_of(config.url)}")
    raise _failure(heard)


def check(config: AppriseConfig) -> list[CheckResult]:
    """Whether the address is complete; nothing is sent."""
    wrong = problem(config.url)
    text = f"The address cannot be used: {wrong}." if wrong else f"The address is one of {name_of(config.url)}."
    return [CheckResult("address", wrong is None, text, "See the Apprise wiki for the service's address.")]


def name_of(url: str) -> str:
    """The service's name, such as ntfy; "" for an address of none."""
    service = _service(url)
    return str(service.service_name) if service is not None else ""


def _failure(heard: _Status) -> DeliveryError:
    status = heard.status
    if status is None:
        words = "it could not be reached" if heard.is_lost else "it did not take the message"
        return Transient(f"The service was not told: {words}.", code="not_sent")
    text = f"The service answered HTTP {status}."
    if status in _BUSY or status >= 500:
        return Transient(text, code=f"http_{status}", http_status=status)
    if status in (400, 413):
        return Permanent(text, scope="message", code=f"http_{status}", http_status=status)
    return Permanent(text, scope="destination", code=f"http_{status}", http_status=status)


def _service(url: str) -> Any | None:
    """The library's object for an address; it keeps nothing on disk, tries once and follows no redirect."""
    service = _library().Apprise.instantiate(url, asset=_asset(), suppress_exceptions=True)
    if service is None:
        return None
    service.retry = 0
    service.redirects = False
    service.socket_connect_timeout = min(float(service.socket_connect_timeout or 4), 4.0)
    service.socket_read_timeout = min(float(service.socket_read_timeout or 4), 4.0)
    return service


@cache
def _library() -> Any:
    # Loading it takes half a second and 30 MB, which a portal without such a way out should not pay.
    return importlib.import_module("apprise")


@cache
def _asset() -> Any:
    return _library().AppriseAsset(
        app_id="Alpha-Q", app_desc="Alpha-Q Portal", app_url="", storage_mode="memory", plugin_paths=None,
        service_timeout=TIMEOUT_SECONDS, async_mode=False,
    )  # fmt: skip


def _host_problem(service: Any) -> str | None:
    try:
        return wire.address_problem(ipaddress.ip_address(str(getattr(service, "host", "") or "").strip("[]")))
    except ValueError:
        return None
