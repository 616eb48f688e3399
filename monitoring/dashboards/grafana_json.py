"""Reading strangers' JSON: whatever stands where a text, a number or a list should, the reader gets one."""

from __future__ import annotations

import json
import math
from typing import Any

#: The largest dashboards in the wild have some hundred kilobytes.
MAX_BYTES = 5_000_000


class GrafanaError(ValueError):
    """A file that is no dashboard this portal can read; the text says why and what to do."""


def loads(text: str | bytes) -> dict[str, Any]:
    """Return the object that a file holds; raises GrafanaError for anything that is none."""
    if len(text) > MAX_BYTES:
        raise GrafanaError(f"The file has {len(text):,} bytes; {MAX_BYTES:,} are allowed.")
    try:
        found = json.loads(text.decode("utf-8-sig") if isinstance(text, bytes) else text)
    except UnicodeDecodeError as error:
        raise GrafanaError("The file is no UTF-8 text; export the dashboard as JSON.") from error
    except json.JSONDecodeError as error:
        raise GrafanaError(f"The file is no JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except (RecursionError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise GrafanaError("The file is nested too deeply, or holds a number too long, to be a dashboard.") from error
    if not isinstance(found, dict):
        raise GrafanaError("The file holds no JSON object; export the dashboard as JSON.")
    return found


def mapping(value: Any) -> dict[str, Any]:
    """Return the value where it is an object, an empty one otherwise."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a list; empty where it is none."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def deep(value: Any, *path: str) -> Any:
    """Return what stands at a path of keys, None where it ends before."""
    for key in path:
        value = mapping(value).get(key)
    return value


def text(value: Any, longest: int = 100_000) -> str:
    """Return a text that a database takes: no NUL, no half of a surrogate pair, not longer than `longest`."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\0", "").encode("utf-8", "replace").decode()[:longest]


def number(value: Any) -> float | None:
    """Return a finite number, also from a text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def whole(value: Any, lowest: int, highest: int, default: int) -> int:
    """Return a whole number between two bounds; the default where the value is no number."""
    found = number(value)
    return default if found is None else round(max(lowest, min(highest, found)))
