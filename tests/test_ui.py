"""The frame of the admin: every page opens for those who may, refuses the rest, and carries the bar."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import AnonymousUser, Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.views.generic import TemplateView

from alerts import policy
from alerts.models import Event, InhibitRule, Notification, Route, Silence, TimeInterval
from alphaq_portal.ui import PortalPageMixin, admin_url, dialog_done
from monitoring import charts
from monitoring.models import Host
from tests import build
from tests.build import T0
from tests.people import member, signed_in, superuser

pytestmark = pytest.mark.django_db


def page_of(model: Any, page: str, *arguments: Any) -> str | None:
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=arguments)
    except NoReverseMatch:
        return None


def registered() -> list[Any]:
    """Every model in the admin."""
    return sorted(admin.site._registry, key=lambda model: model._meta.label)


@pytest.fixture
def viewer() -> Client:
    """A signed-in member of the group Viewer."""
    return signed_in(member("Viewer"))


@pytest.fixture
def rows() -> None:
    """Something to look at in the tables of the portal."""
    rule = build.rule()
    build.threshold(rule)
    build.integration()
    alert = build.alert(severity="critical")
    Event.objects.create(alert=alert, at=T0, kind=Event.Kind.FIRING)
    Host.objects.create(name="ana", first_seen=T0, last_seen=T0)
    InhibitRule.objects.create(source_matchers=['severity="critical"'], target_matchers=['severity="warning"'])
    Notification.objects.create(
        dedup_key="one", message={}, status="firing", not_before=T0, flushed_at=T0, created_at=T0,
    )  # fmt: skip
    Route.objects.create(receiver=build.receiver())
    Silence.objects.create(
        matchers=['a="b"'], starts_at=T0, ends_at=T0 + timedelta(hours=1), created_by="a", comment="c"
    )
    TimeInterval.objects.create(name="nights")


@pytest.fixture
def root() -> Client:
    """A signed-in superuser."""
    return signed_in(superuser())


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_list_opens_for_a_superuser(root: Client, rows: None, model: Any) -> None:
    assert root.get(page_of(model, "changelist")).status_code == 200


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_list_needs_at_most_15_queries(
    root: Client, rows: None, model: Any, django_assert_max_num_queries: Any
) -> None:
    charts.latest(timezone.now())  # a process reads the store's catalogue once
    policy.routing()  # and the tree of routes until it changes
    with django_assert_max_num_queries(15):
        root.get(page_of(model, "changelist"))


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_form_to_add_opens_or_refuses_a_superuser(root: Client, model: Any) -> None:
    expected = {200} if admin.site._registry[model].has_add_permission(_request()) else {403}
    assert root.get(page_of(model, "add")).status_code in expected


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_form_and_history_of_a_row_opens_for_a_superuser(root: Client, rows: None, model: Any) -> None:
    row = model._default_manager.first()
    if row is None:
        pytest.skip(f"no row of {model._meta.label}")
    assert root.get(page_of(model, "change", row.pk)).status_code == 200
    # A rule's history is a page of its own, with its thresholds.
    assert root.get(page_of(model, "history", row.pk), follow=True).status_code == 200


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_list_opens_for_a_viewer_or_refuses(viewer: Client, rows: None, model: Any) -> None:
    may = User.objects.get(username="vera").has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")
    answer = viewer.get(page_of(model, "changelist"))
    assert answer.status_code == (200 if may else 403)


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_every_row_a_viewer_may_see_opens_for_reading(viewer: Client, rows: None, model: Any) -> None:
    row = model._default_manager.first()
    if row is None:
        pytest.skip(f"no row of {model._meta.label}")
    may = User.objects.get(username="vera").has_perm(f"{model._meta.app_label}.view_{model._meta.model_name}")
    answer = viewer.get(page_of(model, "change", row.pk))
    assert answer.status_code == (200 if may else 403)
    assert 'name="_save"' not in answer.content.decode()


@pytest.mark.parametrize("model", registered(), ids=lambda model: model._meta.label)
def test_no_form_lets_a_viewer_save(viewer: Client, rows: None, model: Any) -> None:
    row = model._default_manager.first()
    if row is None:
        pytest.skip(f"no row of {model._meta.label}")
    assert viewer.post(page_of(model, "change", row.pk), {}).status_code == 403


@pytest.mark.parametrize("label", ["alerts", "monitoring", "auth"])
def test_the_page_of_an_app_opens(root: Client, label: str) -> None:
    if not any(model._meta.app_label == label for model in admin.site._registry):
        pytest.skip(f"{label} has nothing in the admin")
    assert root.get(reverse("admin:app_list", args=[label])).status_code == 200


def test_the_bar_is_on_lists_and_forms_alike(root: Client) -> None:
    for url in (reverse("admin:index"), reverse("admin:auth_user_changelist"), reverse("admin:auth_user_add")):
        assert 'data-fragment="bar"' in root.get(url).content.decode()


def test_no_page_has_an_inline_script(root: Client) -> None:
    page = root.get(reverse("admin:index")).content.decode()
    assert page.count("<script") == page.count("<script src=")


def test_the_sign_in_page_leads_home(client: Client) -> None:
    User.objects.create_superuser("root", password="secret-secret")
    answer = client.post(reverse("admin:login"), {"username": "root", "password": "secret-secret"})
    assert answer["Location"] == reverse("admin:index")


def test_the_sign_in_page_tells_strangers_nothing_of_the_state(client: Client) -> None:
    build.alert("GPUHot", severity="critical")
    page = client.get(reverse("admin:login")).content.decode()
    assert "data-fragment" not in page


# -- pages outside ModelAdmin ------------------------------------------------------------------------------------------


class Page(PortalPageMixin, TemplateView):
    template_name = "portal/page.html"
    title = "A page of ours"
    permission = "monitoring.view_host"
    trail = [("Back", "/back/")]


def ask(user: Any, rf: Any) -> HttpResponse:
    request = rf.get("/page/?a=1")
    request.user = user
    answer = Page.as_view()(request)
    return answer.render() if hasattr(answer, "render") else answer


def test_a_page_of_ours_is_drawn_in_the_frame(rf: Any) -> None:
    text = ask(User.objects.create_superuser("root"), rf).content.decode()
    for part in ("A page of ours", "nav-sidebar", 'href="/back/"', "Alpha-Q Portal"):
        assert part in text


def test_a_page_of_ours_sends_strangers_to_sign_in_and_back(rf: Any) -> None:
    assert ask(AnonymousUser(), rf)["Location"] == f"{reverse('admin:login')}?next=%2Fpage%2F%3Fa%3D1"


def test_a_page_of_ours_refuses_who_lacks_the_permission(rf: Any) -> None:
    with pytest.raises(PermissionDenied):
        ask(User.objects.create_user("new", is_staff=True), rf)


def test_a_dialog_that_is_done_goes_on_to_a_page() -> None:
    assert dialog_done("/next/")["HX-Redirect"] == "/next/"


def test_the_address_of_a_row_and_of_its_list() -> None:
    user = User.objects.create_user("ana")
    assert admin_url(user) == reverse("admin:auth_user_change", args=[user.pk])
    assert admin_url(User, q="ana") == reverse("admin:auth_user_changelist") + "?q=ana"


# -- users -------------------------------------------------------------------------------------------------------------


def test_a_new_user_is_staff(root: Client) -> None:
    data = {"username": "ana", "password1": "long-enough-7", "password2": "long-enough-7", "usable_password": "true"}
    root.post(reverse("admin:auth_user_add"), data)
    assert User.objects.get(username="ana").is_staff


def test_nobody_but_a_superuser_changes_a_superuser(client: Client) -> None:
    boss = User.objects.create_superuser("boss")
    client.force_login(member("Admin", "ana"))
    assert client.post(reverse("admin:auth_user_change", args=[boss.pk]), {}).status_code == 403


def test_nobody_but_a_superuser_makes_a_superuser(client: Client) -> None:
    ana = member("Admin", "ana")
    client.force_login(ana)
    client.post(
        reverse("admin:auth_user_change", args=[ana.pk]),
        {"username": "ana", "is_active": "on", "is_superuser": "on", "groups": [Group.objects.get(name="Admin").pk]},
    )
    ana.refresh_from_db()
    assert not ana.is_superuser


def _request() -> HttpRequest:
    request = HttpRequest()
    request.user = User.objects.get(username="root")
    return request
