"""Secrets planted in exceptions, headers, form values and addresses, and looked for on the console, in the file and
on the page."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest
import structlog
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from alphaq_portal import logs, recent_log
from alphaq_portal.log_clean import HIDDEN, Cleaner
from tests.people import signed_in, superuser

KNOWN = "zebra-stripes-77"  # a secret of the portal's own settings: known by its value
#: Text that somebody logs or raises, and the secret in it.
PLANTED = {
    "Slack token": ("call failed with " + "xoxb-" + "9999-8888-PLANTED", "PLANTED"),
    "Slack webhook": ("POST https://hooks.slack.com/" + "services/T1/B1/PLANTED failed", "PLANTED"),
    "password in an address": ("cannot reach redis://default:PLANTED@cache:6379/0", "PLANTED"),
    "token in a query": ("GET https://api.example.com/v1?page=2&access_token=PLANTED&x=1 failed", "PLANTED"),
    "key in a query": ("GET https://api.example.com/v1?key=PLANTED failed", "PLANTED"),
    "bearer header": ("headers were Authorization: Bearer PLANTED.abc", "PLANTED"),
    "header in a dictionary": ("{'Authorization': 'Basic dXNlcjpQTEFOVEVE', 'Accept': '*/*'}", "dXNlcjpQTEFOVEVE"),
    "cookie header": ("Cookie: csrftoken=PLANTED; sessionid=PLANTED", "PLANTED"),
    "form": ("could not read username=ana&password=PLANTED&next=/", "PLANTED"),
    "form as a dictionary": ("<QueryDict: {'username': ['ana'], 'password': ['PLANTED']}>", "PLANTED"),
    "JSON": ('{"bot_token": "PLANTED", "channel": "#a"}', "PLANTED"),
    "row of Postgres": ("DETAIL:  Failing row contains (1, hook, PLANTED, 2026-01-01).", "PLANTED"),
    "key of Postgres": ("DETAIL:  Key (api_key)=(PLANTED) already exists.", "PLANTED"),
    "private key": ("-----BEGIN PRIVATE KEY-----\nPLANTED\n-----END PRIVATE KEY-----", "PLANTED"),
    "known value": (f"somebody printed {KNOWN} here", KNOWN),
}


@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_secret_is_taken_out_of_text(where: str):
    text, secret = PLANTED[where]
    cleaned = Cleaner([KNOWN]).text(text)
    assert secret not in cleaned
    assert HIDDEN in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "scrape of http://10.0.0.5:9100/metrics took 12 ms",
        "line 3, column 7: unexpected end of input",
        "GET /admin/monitoring/target/?q=ranker 200",
        "3 tokens a second",
        "the basic idea",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str):
    assert Cleaner([KNOWN]).text(text) == text


@pytest.mark.parametrize("shape", ["x", "a-", "token", "token=", "://", "://a:", "password ", "-----BEGIN ", "Cookie"])
def test_a_long_text_is_cleaned_in_no_time(shape: str):
    """A pattern that looks back and forth would take minutes for these; the test run's time limit is the judge."""
    for _ in range(20):
        assert Cleaner([KNOWN]).text(shape * 20_000)


@pytest.mark.parametrize("value", ["", "abc", None, 7, 1.5, True, [], {}])
def test_ordinary_values_stay_as_they_are(value: object):
    assert Cleaner(["abc"]).value({"x": value}) == {"x": value}


class _Broken:
    def __str__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize("value", [b"\xff\x00", "\udcff\ud800", _Broken(), {1: {2: _Broken()}}, object(), {b"\xff": 1}])
def test_anything_can_be_made_into_text(value: object):
    structlog.processors.JSONRenderer()(None, "", {"x": Cleaner().value(value)})


def test_a_request_is_named_without_its_query():
    request = RequestFactory().get("/alerts/", {"anything": "PLANTED"})
    assert Cleaner().value(request) == "GET /alerts/"


# --- through the portal


def _raises(request: HttpRequest) -> HttpResponse:
    form_password = request.POST.get("password", "")  # a local variable with a secret
    given = f"{request.get_full_path()} {dict(request.headers)} {dict(request.POST.items())}"
    raise ValueError(f"no luck with {given} {len(form_password)}")


urlpatterns = [path("planted/", _raises, name="planted")]


@pytest.fixture
def everywhere(services: dict[str, str], tmp_path: Path):
    """Logs to a console, a file and the page; returns a function that gives all three as text."""
    logs.configure("INFO", str(tmp_path), services["REDIS_URL"], [KNOWN])
    with recent_log.connect(services["REDIS_URL"]) as client:
        client.delete(recent_log.KEY)
    console = io.StringIO()
    handlers = {handler.name: handler for handler in logging.getLogger().handlers}
    handlers["console"].setStream(console)

    def read() -> dict[str, str]:
        handlers["recent"].flush()
        (written,) = tmp_path.glob("alpha_q-*.log")
        entries = recent_log.read(services["REDIS_URL"])
        return {"console": console.getvalue(), "file": written.read_text(), "page": str(entries)}

    yield read
    logs.configure("INFO")


@pytest.mark.django_db
def test_secrets_of_a_failing_request_are_nowhere(everywhere):
    client = Client(
        raise_request_exception=False, headers={"Authorization": "Bearer PLANTED-1", "X-Api-Key": "PLANTED-2"}
    )
    client.cookies["sessionid"] = "PLANTED-3"
    with override_settings(ROOT_URLCONF=__name__):
        answer = client.post(f"/planted/?token=PLANTED-4&note={KNOWN}", {"password": "PLANTED-5", "user": "ana"})
    assert answer.status_code == 500
    for place, text in everywhere().items():
        assert "Internal Server Error" in text and "ValueError" in text, f"the error itself is missing: {place}"
        assert "PLANTED" not in text, place
        assert KNOWN not in text, place


@pytest.mark.django_db
def test_secrets_of_a_refused_sign_in_are_nowhere(everywhere):
    superuser("ana")
    Client().post("/admin/login/", {"username": "ana", "password": "PLANTED-6"})
    structlog.get_logger("a").warning("sign_in_refused")
    for place, text in everywhere().items():
        assert "PLANTED" not in text and "sign_in_refused" in text, place


@pytest.mark.django_db
@pytest.mark.parametrize("where", PLANTED)
def test_a_planted_secret_is_not_on_the_page(everywhere, services, settings, where: str):
    text, secret = PLANTED[where]
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger("a").exception("it_broke", detail=text)
    everywhere()
    settings.REDIS_URL = services["REDIS_URL"]
    shown = signed_in(superuser()).get("/log/").content.decode()
    assert "it_broke" in shown
    assert secret not in shown


def test_a_failing_handler_does_not_print_the_record(capsys, tmp_path: Path):
    logs.configure("INFO", str(tmp_path))
    file = next(handler for handler in logging.getLogger().handlers if handler.name == "file")

    class Full:
        def write(self, text: str) -> None:
            raise OSError(28, "No space left on device", text)

    record = logging.LogRecord("a", logging.ERROR, "", 0, "PLANTED", None, None)
    try:
        Full().write("PLANTED")
    except OSError:
        file.handleError(record)
    told = capsys.readouterr().err
    assert "log_line_lost" in told and "No space left" in told
    assert "PLANTED" not in told
    logs.configure("INFO")
