"""Pages and answers for addresses that lead nowhere, are not theirs who ask, or break."""

from __future__ import annotations

import pytest
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import path

from alphaq_portal import errors
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db


def test_staff_find_the_way_back_from_a_wrong_address() -> None:
    answer = signed_in(member("Viewer")).get("/nowhere/")
    text = answer.content.decode()
    assert answer.status_code == 404 and "There is nothing at this address." in text
    assert 'id="nav-sidebar' in text and 'href="/alerts/"' in text


def test_a_row_that_is_gone_is_told_the_same_way() -> None:
    answer = signed_in(member("Viewer")).get("/alerts/999999/")
    assert answer.status_code == 404 and "There is nothing at this address." in answer.content.decode()


def test_a_stranger_sees_nothing_of_the_portal() -> None:
    answer = Client().get("/nowhere/")
    assert answer.status_code == 404 and "nav-sidebar" not in answer.content.decode()


def test_who_lacks_a_right_is_told_who_can_give_it() -> None:
    answer = signed_in(member("Viewer")).get("/setup/slack/")
    assert answer.status_code == 403 and "Responder, Editor or Admin" in answer.content.decode()


@pytest.mark.parametrize(
    ("path", "body"),
    [("/api/v1/nowhere", {"status": "error", "errorType": "not_found"}), ("/api/v2/nowhere", {"code": 404})],
)
def test_programs_get_json(path: str, body: dict[str, object]) -> None:
    answer = Client().get(path)
    assert answer.status_code == 404 and body.items() <= answer.json().items()


def breaks(request: HttpRequest) -> HttpResponse:
    """A view with a mistake."""
    raise ZeroDivisionError


urlpatterns = [path("breaks/", breaks), path("api/v1/breaks", breaks)]
handler500 = errors.broken


@pytest.mark.urls(__name__)
def test_a_mistake_of_the_portal_is_told_with_the_id_of_the_request() -> None:
    client = Client(raise_request_exception=False)
    answer = client.get("/breaks/", headers={"X-Request-ID": "abcdef0123456789"})
    text = answer.content.decode()
    assert answer.status_code == 500 and "The portal made a mistake." in text and "abcdef0123456789" in text


@pytest.mark.urls(__name__)
def test_a_mistake_in_an_api_is_told_as_json() -> None:
    answer = Client(raise_request_exception=False).get("/api/v1/breaks")
    assert (answer.status_code, answer.json()["errorType"]) == (500, "internal")


def test_without_a_database_the_plain_page_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Away:
        is_active = True

        @property
        def is_staff(self) -> bool:
            raise DatabaseError

    request = RequestFactory().get("/nowhere/")
    request.user = Away()  # type: ignore[assignment]
    answer = errors.not_found(request, Exception())
    assert answer.status_code == 404 and b"nav-sidebar" not in answer.content
