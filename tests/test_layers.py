"""The import rule of the house: pure → models → deep modules → edges → project; imports point down only."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APPS = ("monitoring", "alerts", "alphaq_portal")
PURE = ("monitoring.promql", "monitoring.instrument", "alerts.engine")
EDGES = re.compile(
    r"^(monitoring|alerts)\.(tasks|(\w+_)?views|api|amapi(_\w+)?|admin|urls|bootstep|interactions|templatetags"
    r"|management|apps)(\.|$)"
)
LOW = re.compile(r"^(monitoring|alerts)\.(models|metrics|migrations)(\.|$)")
# What pure code may use: the standard library without I/O and clocks, and these.
PURE_LIBRARIES = {"numpy", "re2"}
# What model servers import speaks to their metrics registry and to nothing else.
INSTRUMENT_LIBRARIES = {"prometheus_client"}
IMPURE_STANDARD = {
    "os", "io", "socket", "subprocess", "random", "secrets", "logging", "asyncio", "pathlib", "tempfile",
    "shutil", "http", "urllib.request", "multiprocessing", "sqlite3", "ssl",
}  # fmt: skip
# Doors through which alerts enters monitoring. Health, heartbeats are told by edges alone.
DOORS = ("monitoring.query", "monitoring.store", "monitoring.models", "monitoring.promql")
# Modules that may read the clock although they are no edge, each with its reason.
CLOCK_ALLOWED = {
    "monitoring.promql.limits": "a deadline on a monotonic clock, passed as an argument",
}
STANDARD = set(__import__("sys").stdlib_module_names)


def modules() -> dict[str, Path]:
    found = {}
    for app in APPS:
        for path in (ROOT / app).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def level(name: str) -> int:
    """0 pure, 1 models and metrics, 2 deep modules, 3 edges, 4 the project."""
    if name.startswith("alphaq_portal"):
        return 4
    if any(name == pure or name.startswith(pure + ".") for pure in PURE):
        return 0
    if EDGES.match(name):
        return 3
    return 1 if LOW.match(name) else 2


def imports(name: str) -> list[tuple[str, int, bool]]:
    """(module, line, whether it is inside a function) for every import of a module."""
    tree, found = TREES[name], []
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    is_package = MODULES[name].name == "__init__.py"
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno, id(node) in inside) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")[: len(name.split(".")) - node.level + is_package]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                full = f"{base}.{alias.name}"
                found.append((full if full in MODULES else base, node.lineno, id(node) in inside))
    return found


OURS = [name for name in MODULES if ".migrations" not in name]


@pytest.mark.parametrize("name", OURS)
def test_imports_point_down(name: str):
    wrong = []
    for target, line, _ in imports(name):
        if target.split(".")[0] not in APPS or target in ("alphaq_portal.ui", "alphaq_portal.env"):
            continue
        same_edge = level(name) == 3 and level(target) == 3 and name.split(".")[0] == target.split(".")[0]
        if level(target) > level(name) or (level(target) == 3 and level(name) == 3 and not same_edge):
            wrong.append(f"line {line}: {name} (level {level(name)}) imports {target} (level {level(target)})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", OURS)
def test_imports_stand_at_the_top(name: str):
    hidden = [f"line {line}: {target}" for target, line, inside in imports(name) if inside]
    assert not hidden, f"{name} hides imports in functions: {hidden}"


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith("monitoring")])
def test_monitoring_never_imports_alerts(name: str):
    assert not [target for target, _, _ in imports(name) if target.split(".")[0] in ("alerts",)]


@pytest.mark.parametrize("name", [name for name in OURS if name.startswith("alerts") and level(name) < 3])
def test_alerts_enters_monitoring_by_its_doors(name: str):
    outside = [
        target
        for target, _, _ in imports(name)
        if target.startswith("monitoring.")
        and not any(target == door or target.startswith(door + ".") for door in DOORS)
    ]
    assert not outside, f"{name} goes round the doors: {outside}"


@pytest.mark.parametrize("name", [name for name in OURS if level(name) == 0])
def test_pure_code_stays_pure(name: str):
    wrong = []
    for target, line, _ in imports(name):
        top = target.split(".")[0]
        libraries = PURE_LIBRARIES | (INSTRUMENT_LIBRARIES if name.startswith("monitoring.instrument") else set())
        allowed = top in libraries or (top in STANDARD and target not in IMPURE_STANDARD and top not in IMPURE_STANDARD)
        ours = target in MODULES and level(target) == 0
        if not (allowed or ours or (top in APPS and level(target) == 0)):
            wrong.append(f"line {line}: {target}")
    assert not wrong, f"{name} is pure and imports {wrong}"


def calls(name: str) -> list[tuple[str, int]]:
    return [(ast.unparse(node.func), node.lineno) for node in ast.walk(TREES[name]) if isinstance(node, ast.Call)]


CLOCKS = re.compile(r"(^|\.)(datetime\.now|datetime\.utcnow|timezone\.now|time\.time|time\.time_ns|date\.today)$")


@pytest.mark.parametrize("name", [name for name in OURS if level(name) < 3 and name not in CLOCK_ALLOWED])
def test_only_edges_read_the_clock(name: str):
    if name == "monitoring.health":
        return  # an edge by nature: a probe that nobody imports but the project's address list
    read = [f"line {line}: {call}" for call, line in calls(name) if CLOCKS.search(call)]
    assert not read, f"{name} reads the clock: {read}"
    taken = [
        node.lineno
        for node in ast.walk(TREES[name])
        if isinstance(node, ast.ImportFrom) and {alias.name for alias in node.names} & {"now", "localdate", "time_ns"}
    ]
    assert not taken, f"{name} imports a clock: lines {taken}"


@pytest.mark.parametrize("name", [name for name in OURS if not name.endswith(".tasks")])
def test_only_tasks_enqueue(name: str):
    sent = [
        f"line {line}: {call}" for call, line in calls(name) if call.endswith((".delay", ".apply_async", ".send_task"))
    ]
    assert not sent, f"{name} enqueues: {sent}"


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("alphaq_portal")])
def test_there_are_no_signals_of_our_own(name: str):
    assert not [target for target, _, _ in imports(name) if target.startswith("django.dispatch")]
    assert "django.db.models.signals" not in {target for target, _, _ in imports(name)}


def test_only_one_module_imports_unfold():
    users = [name for name in OURS if any(target.startswith("unfold") for target, _, _ in imports(name))]
    assert users == ["alphaq_portal.ui"]
