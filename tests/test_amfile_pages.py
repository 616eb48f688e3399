"""The pages that take and give an Alertmanager file."""

from __future__ import annotations

import re

import pytest
import yaml
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from alerts.models import Receiver, Route
from tests import build
from tests.people import member, signed_in

pytestmark = pytest.mark.django_db
TEXT = """
route: {receiver: ml-oncall, group_by: [alertname]}
receivers: [{name: ml-oncall, slack_configs: [{api_url: 'https://hooks.slack.com/SECRET', channel: '#ml'}]}]
"""


@pytest.fixture
def editor(services):
    return signed_in(member("Editor"))


def seen(response):
    return re.search(rb'name="seen" value="([^"]+)"', response.content)[1].decode()


def test_the_page_shows_what_would_change_and_changes_nothing(editor):
    response = editor.post("/routes/import/", {"text": TEXT})
    assert response.status_code == 200
    assert "receiver ml-oncall" in response.content.decode()
    assert not Receiver.objects.exists()


def test_what_was_shown_is_imported(editor):
    digest = seen(editor.post("/routes/import/", {"text": TEXT, "owner": "am.yml"}))
    response = editor.post("/routes/import/", {"text": TEXT, "owner": "am.yml", "seen": digest})
    assert response["Location"] == "/admin/alerts/route/"
    assert Route.objects.get().managed_by == "am.yml"


def test_an_uploaded_file_gives_its_name(editor):
    file = SimpleUploadedFile("prod.yml", TEXT.encode())
    assert "What prod.yml would change" in editor.post("/routes/import/", {"file": file}).content.decode()


def test_what_has_changed_meanwhile_is_shown_again(editor):
    digest = seen(editor.post("/routes/import/", {"text": TEXT}))
    build.route()
    response = editor.post("/routes/import/", {"text": TEXT, "seen": digest})
    assert response.status_code == 409
    assert Route.objects.get().managed_by == ""


def test_every_fault_is_shown_and_the_text_is_kept(editor):
    bad = TEXT.replace("[alertname]", "[a, a]").replace("channel", "chanel")
    response = editor.post("/routes/import/", {"text": bad})
    page = response.content.decode()
    assert response.status_code == 422
    assert "route.group_by: names a label twice" in page
    assert "slack_configs[0].chanel: unknown field" in page
    assert "group_by: [a, a]" in page


@pytest.mark.parametrize("fields", [{}, {"text": " "}, {"text": "x" * 1_000_001}, {"text": TEXT, "owner": "o" * 201}])
def test_a_form_without_a_usable_file_is_refused(editor, fields):
    assert editor.post("/routes/import/", fields).status_code == 422


def test_a_file_of_the_server_cannot_be_read_from_the_page(editor):
    text = TEXT.replace("api_url: 'https://hooks.slack.com/SECRET'", "api_url_file: /etc/passwd")
    page = editor.post("/routes/import/", {"text": text}).content.decode()
    assert "cannot be read here" in page
    assert "root:" not in page


def test_the_export_hides_secrets(editor):
    build.route(receiver=build.receiver("default"))
    build.integration(build.receiver("default"), kind="slack_webhook", url="https://hooks.slack.com/SECRET")
    response = editor.get("/routes/export.yml")
    assert "SECRET" not in response.content.decode()
    assert yaml.safe_load(response.content)["route"]["receiver"] == "default"
    assert "alertmanager.yml" in response["Content-Disposition"]


def test_the_list_of_routes_leads_to_both(editor):
    build.route()
    page = editor.get("/admin/alerts/route/").content.decode()
    assert "import-file" in page
    assert "export-file" in page


def test_who_may_not_change_routes_may_not_import(services):
    viewer = signed_in(member("Viewer"))
    assert viewer.post("/routes/import/", {"text": TEXT}).status_code == 403
    assert viewer.get("/routes/export.yml").status_code == 200
    assert Client().get("/routes/export.yml").status_code == 302
