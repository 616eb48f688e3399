"""One probe: does a model server say that it is well, in its own way of saying so?

Hides which address and which words each kind of server uses. A status of 200 alone proves little: a proxy's error page,
a sign-in form and a server without the model all answer 200, so the answer is read where the kind has words of its own.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from .scrape import Reply, Requester, ScrapeFailed

#: The list of models of a large Ollama is some 100 KB; nothing that is well says more.
BODY_LIMIT_BYTES = 1_000_000
EXCERPT_CHARS = 120
#: Open Inference Protocol: KServe and Triton, rest_predict_v2.yaml.
_V2 = re.compile(r"(?P<root>.*?)(?:/v2/health/(?:ready|live)|/v2/models/(?P<model>[^/]+)(?:/versions/[^/]+)?/ready)?/?")
_MODEL_STATUS = re.compile(r".*/models/[^/]+(?:/[^/]+)?/?")


@dataclass(frozen=True, slots=True)
class Question:
    """What to ask: the kind of server, where, for which model ("" for none), and how long to wait in all."""

    kind: str
    url: str
    model: str = ""
    timeout_seconds: float = 5.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of it; `http_status` is 0 without an HTTP answer, `error` empty when all is well."""

    is_ok: bool
    http_status: int
    duration_seconds: float
    error: str = ""


Judge = Callable[[Reply], str]
Step = tuple[str, Judge]


def ask(question: Question) -> Verdict:
    """Ask a server, in one or two requests within the timeout; raises nothing that a server can cause."""
    started = time.perf_counter()
    deadline = time.monotonic() + question.timeout_seconds
    status, error = 0, ""
    for url, judge in _steps(question):
        requester = Requester(url, question.timeout_seconds, BODY_LIMIT_BYTES)
        try:
            reply = requester.reply(deadline=deadline)
            status = reply.status
            error = judge(reply)
        except ScrapeFailed as problem:
            status, error = 0, str(problem).replace("the limit of this target", "the limit of a probe")
        finally:
            requester.close()
        if error:
            break
    return Verdict(not error, status, time.perf_counter() - started, error)


def _steps(question: Question) -> list[Step]:
    """Return the addresses to ask in turn, each with what makes its answer a good one."""
    if question.kind in ("kserve", "triton"):
        return _v2_steps(question)
    if question.kind == "vllm":
        return _vllm_steps(question)
    if question.kind == "torchserve":
        path = urlsplit(question.url).path
        if _MODEL_STATUS.fullmatch(path):
            return [(question.url, _has_ready_worker)]
        return [(_under(question.url, "/ping"), _says_healthy)]
    if question.kind == "ollama":
        return [(_under(question.url, "/api/tags"), lambda reply: _holds_model(reply, question.model))]
    return [(question.url, _any_2xx)]


def _v2_steps(question: Question) -> list[Step]:
    found = _V2.fullmatch(urlsplit(question.url).path)
    root, named = (found["root"], found["model"]) if found else ("", None)
    steps: list[Step] = [(_at(question.url, f"{root}/v2/health/ready"), _is_ready)]
    if named:
        steps.append((question.url, lambda reply: _model_is_ready(reply, named)))
    elif question.model:
        place = f"{root}/v2/models/{quote(question.model, safe='')}/ready"
        steps.append((_at(question.url, place), lambda reply: _model_is_ready(reply, question.model)))
    return steps


def _vllm_steps(question: Question) -> list[Step]:
    steps: list[Step] = [(_under(question.url, "/health"), _is_good)]
    if question.model:
        root = urlsplit(question.url).path.rstrip("/").removesuffix("/health")
        steps.append((_at(question.url, f"{root}/v1/models"), lambda reply: _lists_model(reply, question.model)))
    return steps


def _at(url: str, path: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=path))


def _under(url: str, path: str) -> str:
    """Return the address of a server's own path, whether the URL holds it already or only the root."""
    given = urlsplit(url).path.rstrip("/")
    return url if given.endswith(path) else _at(url, given + path)


# --- judges: "" for a good answer, else what is wrong with it


def _any_2xx(reply: Reply) -> str:
    if not 200 <= reply.status < 300:
        return _status_words(reply)
    if _is_page(reply) and reply.redirects:
        return f"redirected to {reply.url[:200]}, a web page: is it a sign-in form?"
    return ""


def _is_good(reply: Reply) -> str:
    if reply.status != 200:
        return _status_words(reply)
    return "answers with a web page (HTML): this is no model server's health address" if _is_page(reply) else ""


def _is_ready(reply: Reply) -> str:
    if problem := _is_good(reply):
        return problem
    answer = _json(reply)
    if isinstance(answer, dict) and any(answer.get(name) is False for name in ("ready", "live")):
        return "says that it is not ready"
    return ""


def _model_is_ready(reply: Reply, model: str) -> str:
    if reply.status in (400, 404):
        return f"HTTP {reply.status}: no model {model!r} is ready at this server; has it another name there?"
    problem = _is_ready(reply)
    return f"the model {model!r} is not ready: {problem}" if problem else ""


def _says_healthy(reply: Reply) -> str:
    answer, problem = _object(reply)
    if problem:
        return problem
    status = answer.get("status")
    return "" if str(status).lower() == "healthy" else f"says {json.dumps(status)[:EXCERPT_CHARS]} instead of Healthy"


def _has_ready_worker(reply: Reply) -> str:
    if problem := _is_good(reply):
        return problem
    answer = _json(reply)
    if not isinstance(answer, list) or not all(isinstance(one, dict) for one in answer):
        return f"no model status of TorchServe but {_excerpt(reply)}"
    workers = [worker for one in answer for worker in one.get("workers") or [] if isinstance(worker, dict)]
    ready = sum(worker.get("status") == "READY" for worker in workers)
    return "" if ready else f"none of {len(workers)} workers of the model is READY"


def _holds_model(reply: Reply, model: str) -> str:
    return _names_model(reply, "models", ("name", "model"), model)


def _lists_model(reply: Reply, model: str) -> str:
    return _names_model(reply, "data", ("id",), model)


def _names_model(reply: Reply, where: str, keys: tuple[str, ...], model: str) -> str:
    """Look for a model in a list of models; "llama3" is also "llama3:latest", as Ollama itself reads it."""
    answer, problem = _object(reply)
    if problem:
        return problem
    rows = answer.get(where)
    if not isinstance(rows, list):
        return f"no list of models but {_excerpt(reply)}"
    names = [row.get(key) for row in rows if isinstance(row, dict) for key in keys]
    if not model or model in names or f"{model}:latest" in names:
        return ""
    known = ", ".join(sorted({str(name) for name in names if name})) or "none"
    return f"has no model {model!r}; it has {known}"[:500]


def _object(reply: Reply) -> tuple[dict[str, Any], str]:
    """Return the JSON object of an answer, or what it is instead."""
    if problem := _is_good(reply):
        return {}, problem
    answer = _json(reply)
    return (answer, "") if isinstance(answer, dict) else ({}, f"no JSON object but {_excerpt(reply)}")


def _json(reply: Reply) -> Any:
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _is_page(reply: Reply) -> bool:
    return reply.kind in ("text/html", "application/xhtml+xml") or reply.body[:200].lstrip()[:1] == b"<"


def _status_words(reply: Reply) -> str:
    said = "" if _is_page(reply) else _excerpt(reply)
    return f"HTTP {reply.status} {reply.reason}".rstrip() + (f": {said}" if said and said != "nothing" else "")


def _excerpt(reply: Reply) -> str:
    text = " ".join(reply.body[: 4 * EXCERPT_CHARS].decode("utf-8", "replace").split())
    shown = "".join(char for char in text if char.isprintable())
    return repr(shown[:EXCERPT_CHARS]) if shown else "nothing"
