"""A person at a web form, without a browser: follows pages, keeps cookies, fills in what the page offers."""

from __future__ import annotations

import http.cookiejar
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser


class _Inputs(HTMLParser):
    """Collects the values a browser would send for the first form that holds `wanted`."""

    def __init__(self) -> None:
        super().__init__()
        self.forms: list[list[tuple[str, str]]] = []
        self.buttons: list[list[tuple[str, str]]] = []
        self._select: str | None = None
        self._area: tuple[str, list[str]] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append([])
            self.buttons.append([])
        if not self.forms or ("name" not in given and tag not in ("option",)):
            return
        if tag == "input" and given.get("type") not in ("submit", "button", "file", "image", "reset"):
            is_box = given.get("type") in ("checkbox", "radio")
            if not is_box or "checked" in given:
                self.forms[-1].append((given["name"], given.get("value", "on" if is_box else "")))
        elif tag == "button":
            self.buttons[-1].append((given["name"], given.get("value", "")))
        elif tag == "select":
            self._select = given["name"]
        elif tag == "option" and self._select and "selected" in given:
            self.forms[-1].append((self._select, given.get("value", "")))
        elif tag == "textarea":
            self._area = (given["name"], [])

    def handle_data(self, data: str) -> None:
        if self._area:
            self._area[1].append(data)

    def handle_endtag(self, tag: str) -> None:
        if tag == "select":
            self._select = None
        elif tag == "textarea" and self._area:
            name, parts = self._area
            self.forms[-1].append((name, "".join(parts).removeprefix("\n").removeprefix("\r\n")))
            self._area = None


@dataclass
class Page:
    """What came back."""

    status: int
    url: str
    text: str

    def form(self, wanted: str) -> dict[str, str]:
        """What a browser sends for the form that has a field `wanted`, or when its button `wanted` is pressed."""
        parser = _Inputs()
        parser.feed(self.text)
        for fields, buttons in zip(parser.forms, parser.buttons, strict=True):
            pressed = [(name, value) for name, value in buttons if name == wanted][:1]
            if pressed or any(name == wanted for name, _ in fields):
                return dict([*fields, *pressed])
        raise AssertionError(f"no form with a field {wanted!r} on {self.url}")


@dataclass
class Visitor:
    """Cookies and a base address."""

    base: str
    jar: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def __post_init__(self) -> None:
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))

    def get(self, path: str) -> Page:
        """Open a page, following redirects."""
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.base, path)))  # noqa: S310

    def send(self, page: Page, wanted: str, **changes: str) -> Page:
        """Fill in the form of `page` that has `wanted` and send it to the same address."""
        fields = {**page.form(wanted), **changes}
        data = urllib.parse.urlencode(fields).encode()
        return self._open(urllib.request.Request(page.url, data, {"Referer": page.url}))  # noqa: S310

    def sign_in(self, name: str, password: str) -> Page:
        """Go through the admin's sign-in page."""
        page = self.get("/admin/login/?next=/admin/")
        return self.send(page, "password", username=name, password=password)

    def _open(self, request: urllib.request.Request) -> Page:
        try:
            with self._opener.open(request, timeout=20) as response:
                return Page(response.status, response.url, response.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            return Page(error.code, request.full_url, error.read().decode("utf-8", "replace"))
