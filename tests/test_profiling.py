"""Profiles: asked for by a superuser, chosen by a rate, looked at as a flame, a file and lines of memory."""

from __future__ import annotations

import dataclasses
import io
import marshal
import pstats
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from celery import Celery
from django.core.exceptions import ValidationError
from django.urls import reverse

from alphaq_portal import profile_hooks
from monitoring import profiling
from monitoring.instrument import profile_memory
from monitoring.models import Profile, ProfileRate
from monitoring.profiling import Recorder, Subject
from tests.people import member, signed_in, superuser
from tests.working import working

T0 = datetime(2026, 3, 4, 12, tzinfo=UTC)
HELD: list[list[bytes]] = []  # what a task leaves behind
TARGETS = "/admin/monitoring/target/"


@pytest.fixture(autouse=True)
def _on(settings):
    settings.ENV = dataclasses.replace(settings.ENV, profiles_kept=5)
    profiling.forget_rates()
    yield
    profiling.forget_rates()


def busy(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(100))


def recurse(depth: int) -> None:
    if depth:
        recurse(depth - 1)
    else:
        busy(0.03)


def recorded(work=lambda: recurse(4)):
    recorder = Recorder().start()
    work()
    return recorder.stop()


def names(flame: dict) -> set[str]:
    return {flame["n"]} | {name for child in flame.get("c", []) for name in names(child)}


# --- what a record becomes


def test_a_flame_has_the_functions_at_their_places():
    flame = profiling.flame_of(profiling.tree_of(recorded()))
    assert {"recurse", "busy"} <= names(flame)
    deepest, depth = flame, 0
    while deepest["n"] != "busy":
        deepest, depth = deepest["c"][0], depth + 1
    assert depth >= 5
    assert deepest["f"].startswith("tests/test_profiling.py:")
    assert deepest["k"] == "portal"


def test_the_file_is_one_that_pstats_reads():
    stats = marshal.dumps(profiling.stats_of(profiling.tree_of(recorded())))
    path = io.StringIO()

    class Source:
        def create_stats(self) -> None:
            self.stats = marshal.loads(stats)  # noqa: S302  (written three lines above)

    pstats.Stats(Source(), stream=path).sort_stats("cumulative").print_stats().print_callers()
    assert "recurse" in path.getvalue() and "busy" in path.getvalue()


def test_the_time_of_a_function_that_calls_itself_counts_once():
    root = profiling.tree_of(recorded())
    stats = profiling.stats_of(root)
    (whole,) = [entry[3] for key, entry in stats.items() if key[2] == "recurse"]
    assert whole <= root.seconds


def test_own_times_add_up_to_the_whole():
    root = profiling.tree_of(recorded())
    assert sum(entry[2] for entry in profiling.stats_of(root).values()) == pytest.approx(root.seconds, rel=0.02)


def test_a_large_tree_loses_its_smallest_frames_first():
    root = profiling.Node(("", 0, "root"), 100.0)
    for number in range(3 * profiling.MAX_FRAMES):
        key = ("x.py", number, f"f{number}")
        root.children[key] = profiling.Node(key, 1.0 if number < 10 else 0.06 + number / 1e6)
    flame = profiling.flame_of(root)
    assert len(flame["c"]) < profiling.MAX_FRAMES
    assert {f"f{number}" for number in range(10)} <= names(flame)


def test_a_recursion_without_end_is_cut_and_kept():
    flame = profiling.flame_of(profiling.tree_of(recorded(lambda: recurse(600))))
    depth, node = 0, flame
    while node.get("c"):
        node, depth = node["c"][0], depth + 1
    assert depth <= profiling.MAX_DEPTH


def test_a_record_of_nothing_is_a_flame_of_nothing():
    assert profiling.flame_of(profiling.tree_of(recorded(lambda: None)))["n"]


def test_threads_record_side_by_side():
    found: dict[str, set[str]] = {}

    def work(name: str, function) -> None:
        found[name] = names(profiling.flame_of(profiling.tree_of(recorded(function))))

    threads = [
        threading.Thread(target=work, args=("one", lambda: recurse(2))),
        threading.Thread(target=work, args=("two", lambda: busy(0.05))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "recurse" in found["one"]
    assert "recurse" not in found["two"] and "busy" in found["two"]


# --- requests


@pytest.mark.django_db
def test_a_superuser_profiles_a_request_and_gets_the_same_page():
    client = signed_in(superuser())
    plain = client.get(TARGETS)
    profiled = client.get(TARGETS, {"profile": "1"})
    profile = Profile.objects.get()
    assert profiled["X-Profile"] == reverse("monitoring:profile", args=[profile.pk])
    assert (profiled.status_code, "X-Profile" in plain) == (200, False)
    assert "profile=1" not in profiled.content.decode()
    assert abs(len(profiled.content) - len(plain.content)) < 200  # the masked CSRF token, ages
    assert (profile.name, profile.detail, profile.status, profile.user_name) == (
        "admin/monitoring/target/", f"GET {TARGETS}", 200, "root",
    )  # fmt: skip
    assert profile.request_id == profiled["X-Request-ID"]
    assert "changelist_view" in names(profile.tree)


@pytest.mark.django_db
@pytest.mark.parametrize("group", ["Admin", "Viewer", None])
def test_nobody_else_profiles_a_request(client, group: str | None):
    visitor = signed_in(member(group)) if group else client
    assert "X-Profile" not in visitor.get("/health", {"profile": "1"})
    visitor.get(TARGETS, {"profile": "1"})
    assert not Profile.objects.exists()


@pytest.mark.django_db
def test_a_request_that_fails_is_profiled_too():
    client = signed_in(superuser())
    assert client.get("/no/such/page", {"profile": "1", "secret": "hunter2"}).status_code == 404
    profile = Profile.objects.get()
    assert (profile.status, profile.detail) == (404, "GET /no/such/page")
    assert "hunter2" not in str(profile.__dict__)


@pytest.mark.django_db
def test_the_oldest_profiles_make_room():
    pks = [profiling.keep(recorded(lambda: None), Subject("request", f"r{n}")).pk for n in range(8)]
    assert sorted(Profile.objects.values_list("pk", flat=True)) == pks[-5:]


@pytest.mark.django_db
def test_a_profile_that_cannot_be_stored_ends_nothing():
    assert profiling.keep(recorded(lambda: None), Subject("request", "\x00")) is None


@pytest.mark.django_db
def test_a_rate_chooses_requests_of_its_route():
    ProfileRate.objects.create(name="admin/monitoring/target/", ratio=1)
    client = signed_in(superuser())
    assert "X-Profile" in client.get(TARGETS)
    assert "X-Profile" not in client.get("/admin/monitoring/host/")


@pytest.mark.django_db
def test_probes_are_never_profiled():
    ProfileRate.objects.create(name="*", ratio=1)
    assert "X-Profile" not in signed_in(superuser()).get("/health")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "roll", "wanted"),
    [
        ({"name": "a/", "ratio": 0.25}, 0.24, True),
        ({"name": "a/", "ratio": 0.25}, 0.25, False),
        ({"name": "*", "ratio": 0.5}, 0.4, True),
        ({"name": "b/", "ratio": 1}, 0.0, False),
        ({"name": "a/", "ratio": 1, "is_enabled": False}, 0.0, False),
        ({"name": "a/", "ratio": 1, "until": T0}, 0.0, False),
        ({"name": "a/", "ratio": 1, "until": T0 + timedelta(hours=1)}, 0.5, True),
        ({"name": "a/", "ratio": 1, "kind": "task"}, 0.5, False),
    ],
)
def test_a_rate_says_how_many(fields: dict, roll: float, wanted: bool):
    ProfileRate.objects.create(**fields)
    assert profiling.is_wanted("request", lambda: "a/", T0, roll) is wanted


@pytest.mark.django_db
def test_a_routes_own_rate_wins_over_that_of_all():
    ProfileRate.objects.create(name="*", ratio=1)
    ProfileRate.objects.create(name="a/", ratio=0.1)
    assert not profiling.is_wanted("request", lambda: "a/", T0, 0.5)
    assert profiling.is_wanted("request", lambda: "b/", T0, 0.5)


@pytest.mark.django_db
def test_rates_are_asked_for_once_in_ten_seconds(django_assert_num_queries):
    with django_assert_num_queries(2):
        for second in range(19):
            profiling.is_wanted("request", lambda: "a/", T0 + timedelta(seconds=second), 0.5)


@pytest.mark.django_db
@pytest.mark.parametrize("ratio", [-0.1, 1.5, float("nan")])
def test_a_rate_outside_0_to_1_is_refused(ratio: float):
    with pytest.raises(ValidationError):
        ProfileRate(name="a/", ratio=ratio).full_clean()


# --- tasks


@pytest.fixture
def worker(transactional_db):
    app = Celery("profiled", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_always_eager = False

    @app.task(name="tests.work", shared=False)
    def work() -> str:
        busy(0.03)
        HELD.append([bytes(1000) for _ in range(500)])
        return "done"

    with working(app):
        yield work
    HELD.clear()


@pytest.mark.parametrize(("kind", "shown"), [("task", "task"), ("task memory", "memory")])
def test_a_rate_chooses_tasks(worker, kind: str, shown: str):
    ProfileRate.objects.create(kind=kind, name="tests.work", ratio=1)
    worker.delay().get(timeout=20)
    for _ in range(100):  # the task's end is told before its profile is stored
        if Profile.objects.exists():
            break
        time.sleep(0.05)
    profile = Profile.objects.get()
    assert (profile.kind, profile.name) == (shown, "tests.work")
    assert profile.detail.startswith("task ")
    if kind == "task":
        assert "busy" in names(profile.tree)
    else:
        assert profile.peak_bytes > 400_000
        assert any("test_profiling.py" in line["file"] for line in profile.lines)


def test_no_profile_of_a_task_is_left_open(worker):
    worker.delay().get(timeout=20)
    assert profile_hooks._running == {}


# --- memory


@pytest.mark.django_db
def test_the_memory_of_a_batch_is_listed():
    @profile_memory(report=profiling.keep_memory)
    def batch() -> list[bytes]:
        return [bytes(1000) for _ in range(2000)]

    held = batch()
    profile = Profile.objects.get()
    assert len(held) == 2000 and profile.name.endswith("batch")
    assert profile.peak_bytes >= 2_000_000
    page = signed_in(superuser()).get(reverse("monitoring:profile", args=[profile.pk])).content.decode()
    assert "test_profiling.py" in page and "Peak memory" in page


# --- pages


@pytest.fixture
def profile(db) -> Profile:
    return profiling.keep(recorded(), Subject("request", "admin/x/<script>", "GET /admin/x/", 200, "root", "abc12345"))


def test_the_page_of_a_profile_reads_without_a_script(profile: Profile):
    page = signed_in(member("Viewer")).get(reverse("monitoring:profile", args=[profile.pk])).content.decode()
    assert "busy" in page and "test_profiling.py" in page
    assert "<script>" not in page.partition("<main")[2].replace('<script id="aq-flame-data"', "")
    assert "admin/x/&lt;script&gt;" in page


def test_the_file_of_a_profile_is_downloaded(profile: Profile, tmp_path: Path):
    answer = signed_in(member("Viewer")).get(reverse("monitoring:profile_file", args=[profile.pk]))
    assert f'filename="profile_admin_x_script_{profile.pk}.prof"' in answer["Content-Disposition"]
    path = tmp_path / "a.prof"
    path.write_bytes(answer.content)
    assert any(key[2] == "busy" for key in pstats.Stats(str(path)).stats)


def test_a_profile_of_memory_has_no_file(db):
    row = Profile.objects.create(kind="memory", name="batch", seconds=1)
    assert signed_in(superuser()).get(reverse("monitoring:profile_file", args=[row.pk])).status_code == 404


@pytest.mark.parametrize("name", ["monitoring:profile", "monitoring:profile_file"])
def test_profiles_are_for_those_who_may_see_them(client, profile: Profile, name: str):
    url = reverse(name, args=[profile.pk])
    assert client.get(url).status_code == 302
    stranger = superuser("stranger")
    stranger.is_superuser = False
    stranger.save()
    assert signed_in(stranger).get(url).status_code == 403


def test_the_list_shows_profiles_and_leads_to_their_pages(profile: Profile, django_assert_max_num_queries):
    client = signed_in(superuser())
    with django_assert_max_num_queries(15):
        page = client.get(reverse("admin:monitoring_profile_changelist")).content.decode()
    assert "GET /admin/x/" in page
    answer = client.get(reverse("admin:monitoring_profile_change", args=[profile.pk]))
    assert answer["Location"] == reverse("monitoring:profile", args=[profile.pk])


def test_rates_are_made_in_the_admin(db):
    client = signed_in(superuser())
    form = {"kind": "request", "name": "log/", "ratio": "0.5", "until_0": "", "until_1": "", "is_enabled": "on"}
    assert client.post(reverse("admin:monitoring_profilerate_add"), form).status_code == 302
    assert ProfileRate.objects.get().ratio == 0.5
    assert "log/" in client.get(reverse("admin:monitoring_profilerate_changelist")).content.decode()
