"""What a new portal starts with, and that a second start changes nothing that people changed."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission, User

from alerts import prepared, starter
from alerts.models import Route, Rule, RuleGroup, Threshold
from alphaq_portal import bootstrap
from monitoring import promql
from monitoring.models import Dashboard
from tests.build import T0

pytestmark = pytest.mark.django_db


@pytest.fixture
def first(tmp_path: Path):
    return bootstrap.prepare(tmp_path, T0)


def test_the_first_admin_can_sign_in_with_the_told_password(first, tmp_path: Path):
    assert User.objects.get().check_password(first.password)
    assert first.password_file.read_text().strip() == first.password
    assert stat.S_IMODE(first.password_file.stat().st_mode) == 0o600
    assert first.password not in repr(first)


def test_a_second_start_makes_no_second_admin(first, tmp_path: Path):
    assert bootstrap.prepare(tmp_path, T0) is None
    assert User.objects.count() == 1


def test_a_portal_whose_rules_come_from_files_starts_without_ours(tmp_path: Path):
    bootstrap.prepare(tmp_path, T0, with_starter_rules=False)
    assert not Rule.objects.exists()
    assert Route.objects.get().receiver is not None


def test_viewers_only_view(first):
    codenames = Group.objects.get(name="Viewer").permissions.values_list("codename", flat=True)
    assert codenames
    assert all(name.startswith("view_") for name in codenames)


def test_responders_act_on_alerts_and_edit_no_rules(first):
    names = set(Group.objects.get(name="Responder").permissions.values_list("codename", flat=True))
    assert {"change_alert", "add_silence"} <= names
    assert "change_rule" not in names


def test_editors_edit_rules_and_no_users(first):
    names = set(Group.objects.get(name="Editor").permissions.values_list("codename", flat=True))
    assert "change_threshold" in names
    assert "change_user" not in names


def test_models_of_a_new_release_get_their_permissions(first, tmp_path: Path):
    silences = Permission.objects.filter(content_type__app_label="alerts", content_type__model="silence")
    for group in Group.objects.all():
        group.permissions.remove(*silences)
    bootstrap.prepare(tmp_path, T0)
    names = set(Group.objects.get(name="Responder").permissions.values_list("codename", flat=True))
    assert {"view_silence", "add_silence", "change_silence"} <= names
    assert "delete_silence" not in names


def test_a_right_that_staff_took_away_does_not_come_back(first, tmp_path: Path):
    viewer = Group.objects.get(name="Viewer")
    viewer.permissions.remove(Permission.objects.get(codename="view_silence"))
    bootstrap.prepare(tmp_path, T0)
    assert not viewer.permissions.filter(codename="view_silence").exists()


def test_the_starter_set_is_whole(first):
    names = set(Rule.objects.values_list("name", flat=True))
    assert names == {"HostCPUHigh", "HostMemoryHigh", "HostDiskFull", "HostDown", "GPUMemoryHigh", "GPUHot"}
    severities = set(Threshold.objects.filter(rule__name="HostCPUHigh").values_list("severity", flat=True))
    assert severities == {"warning", "critical"}


@pytest.mark.parametrize("one", starter.STARTER_RULES, ids=lambda one: one.name)
def test_each_starter_rule_is_a_sound_vector_expression(one: starter.StarterRule):
    assert promql.parse(one.expr).type == "vector"


def test_a_second_start_leaves_what_staff_changed(first, tmp_path: Path):
    Threshold.objects.filter(rule__name="HostCPUHigh", severity="warning").update(value=55)
    rule = Rule.objects.get(name="HostDown")
    rule.name = "MachineSilent"
    rule.save()
    bootstrap.prepare(tmp_path, T0 + timedelta(days=1))
    assert Threshold.objects.get(rule__name="HostCPUHigh", severity="warning").value == 55
    assert Rule.objects.count() == 6


def test_a_deleted_starter_rule_does_not_come_back(first, tmp_path: Path):
    Rule.objects.get(name="GPUHot").delete()
    bootstrap.prepare(tmp_path, T0 + timedelta(days=1))
    assert not Rule.objects.filter(name="GPUHot").exists()


def test_the_root_route_is_there_to_edit(first):
    root = Route.objects.get(parent=None)
    assert root.receiver is not None
    assert root.group_by == ["alertname"]


def test_the_group_of_the_starter_rules_can_be_prepared(first):
    group = prepared.prepare(RuleGroup.objects.get())
    assert [rule.problem for rule in group.rules] == [""] * 6


def test_the_built_in_dashboards_are_there(first):
    assert {"fleet-overview", "host", "gpu", "model"} <= set(Dashboard.objects.values_list("slug", flat=True))
