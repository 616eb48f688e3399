"""Where requests and tasks are profiled: a middleware and two of Celery's signals.

A superuser asks for one request by `?profile=1`; rates in the admin choose others by chance.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog
from celery import signals
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.request import QueryDict
from django.urls import Resolver404, resolve, reverse

from monitoring import profiling
from monitoring.instrument import profile_memory
from monitoring.instrument.memory import MemoryProfile
from monitoring.models import Profile, ProfileRate
from monitoring.profiling import Recorder, Subject

PARAMETER = "profile"
HEADER = "X-Profile"
#: They must answer when the database does not.
NEVER = frozenset({"health", "ready", "metrics"})


class ProfileMiddleware:
    """Profiles a request when it is asked for or chosen; the answer is the same, a header names the profile."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; an exception of the profiler's is logged and ends nothing."""
        if not (_is_asked_for(request) or _is_chosen(request)):
            return self.get_response(request)
        recorder = Recorder().start()
        try:
            response = self.get_response(request)
        finally:
            session = recorder.stop()
        profile = profiling.keep(session, _subject(request, response.status_code))
        if profile is not None:
            response[HEADER] = reverse("monitoring:profile", args=[profile.pk])
        return response


def _is_asked_for(request: HttpRequest) -> bool:
    """Whether a superuser added ?profile=1, which is taken out: the view must not see it, nor its links carry it."""
    query = request.META.get("QUERY_STRING", "")
    if PARAMETER not in query or not settings.ENV.profiles_kept:
        return False
    given = QueryDict(query, mutable=True)
    user = getattr(request, "user", None)
    if given.get(PARAMETER) != "1" or user is None or not (user.is_active and user.is_superuser):
        return False
    del given[PARAMETER]
    request.META["QUERY_STRING"] = given.urlencode()
    request.__dict__.pop("GET", None)  # a cached_property of WSGIRequest
    return True


def _is_chosen(request: HttpRequest) -> bool:
    if request.path_info.strip("/") in NEVER:
        return False
    kind = ProfileRate.Kind.REQUEST
    return profiling.is_wanted(kind, lambda: _route(request), datetime.now(UTC), random.random())  # noqa: S311


def _route(request: HttpRequest) -> str:
    try:
        return resolve(request.path_info).route
    except Resolver404:
        return ""


def _subject(request: HttpRequest, status: int) -> Subject:
    match = request.resolver_match
    return Subject(
        Profile.Kind.REQUEST,
        match.route if match else request.path_info,
        f"{request.method} {request.path}",
        status,
        request.user.get_username() if hasattr(request, "user") else "",
        str(structlog.contextvars.get_contextvars().get("request_id", "")),
    )


# --- tasks

# A process of a worker runs one task at a time, a thread pool several: kept by the task's id.
_running: dict[str, tuple[Recorder | None, profile_memory | None]] = {}


@signals.task_prerun.connect
def _begin(task_id: str = "", task: Any = None, **_: object) -> None:
    """Begin to profile a task that a rate chooses."""
    at, name = datetime.now(UTC), str(getattr(task, "name", ""))
    recorder = memory = None
    if profiling.is_wanted(ProfileRate.Kind.TASK_MEMORY, lambda: name, at, random.random()):  # noqa: S311
        memory = profile_memory(name, report=_MemoryReport(_task_subject(Profile.Kind.MEMORY, name, task_id)))
        memory.__enter__()
    elif profiling.is_wanted(ProfileRate.Kind.TASK, lambda: name, at, random.random()):  # noqa: S311
        recorder = Recorder().start()
    if recorder or memory:
        _running[task_id] = (recorder, memory)


@signals.task_postrun.connect
def _end(task_id: str = "", task: Any = None, **_: object) -> None:
    """Store the profile of a task that was chosen, whatever its outcome."""
    recorder, memory = _running.pop(task_id, (None, None))
    if memory is not None:
        memory.__exit__(None, None, None)
    if recorder is not None:
        name = str(getattr(task, "name", ""))
        profiling.keep(recorder.stop(), _task_subject(Profile.Kind.TASK, name, task_id))


def _task_subject(kind: str, name: str, task_id: str) -> Subject:
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return Subject(kind, name, f"task {task_id}", request_id=str(request_id))


class _MemoryReport:
    """Stores a task's memory profile under the task's own subject."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    def __call__(self, profile: MemoryProfile) -> None:
        """Take the finished profile."""
        profiling.keep_memory_of(self._subject, profile)
