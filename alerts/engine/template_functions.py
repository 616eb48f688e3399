"""The functions a template may call besides Go's builtins (Prometheus 2.42 and main, template/template.go)."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote_plus

import re2

from alerts.engine.durations import parse_duration
from alerts.engine.go_time import Duration, Time
from alerts.engine.go_values import QueryResult, SafeHtml, Struct, format_float, four_digits, is_true, type_name
from alerts.engine.template_builtins import BUILTINS, MAX_OUTPUT_CHARS, Function, FunctionError


def to_float(value: object) -> float:
    """Return a number or numeric text as a float (template.go convertToFloat)."""
    match value:
        case bool() | None:
            pass
        case int() | float():
            return float(value)
        case Duration():
            return value.ns / 1e9
        case str():
            return _parse_float(value)
    raise FunctionError(f"can't convert {type_name(value)} to float")


def _parse_float(text: str) -> float:
    # Python's float() also takes white space around the number, Go's does not.
    if text == text.strip():
        try:
            return float(text)
        except ValueError:
            pass
    raise FunctionError(f'strconv.ParseFloat: parsing "{text}": invalid syntax')


_LARGE = ("k", "M", "G", "T", "P", "E", "Z", "Y")
_SMALL = ("m", "u", "n", "p", "f", "a", "z", "y")


def _scaled_up(value: float, step: float, prefixes: Sequence[str]) -> str:
    prefix = ""
    for larger in prefixes:
        if abs(value) < step:
            break
        prefix, value = larger, value / step
    return four_digits(value) + prefix


def _scaled_down(value: float) -> str:
    prefix = ""
    for smaller in _SMALL:
        if abs(value) >= 1:
            break
        prefix, value = smaller, value * 1000
    return four_digits(value) + prefix


def humanize(number: object) -> str:
    """Return a number with an SI prefix and four digits: 1.235M."""
    value = to_float(number)
    if value == 0 or not math.isfinite(value):
        return four_digits(value)
    return _scaled_up(value, 1000, _LARGE) if abs(value) >= 1 else _scaled_down(value)


def humanize_1024(number: object) -> str:
    """Return a number with a binary prefix and four digits: 1.5Gi."""
    value = to_float(number)
    if abs(value) <= 1 or not math.isfinite(value):
        return four_digits(value)
    return _scaled_up(value, 1024, [f"{prefix}i" for prefix in _LARGE])


def humanize_duration(number: object) -> str:
    """Return seconds as people read them: 1d 2h 3m 4s, 899.9ms."""
    value = to_float(number)
    if not math.isfinite(value):
        return four_digits(value)
    if value == 0:
        return "0s"
    if abs(value) < 1:
        return _scaled_down(value) + "s"
    sign = "-" if value < 0 else ""
    minutes, seconds = divmod(int(abs(value)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{sign}{days}d {hours}h {minutes}m {seconds}s"
    if hours:
        return f"{sign}{hours}h {minutes}m {seconds}s"
    if minutes:
        return f"{sign}{minutes}m {seconds}s"
    return f"{sign}{four_digits(abs(value))}s"


def humanize_percentage(number: object) -> str:
    """Return a ratio as a percentage with four digits: 12.35%."""
    return four_digits(to_float(number) * 100) + "%"


def humanize_timestamp(number: object) -> str:
    """Return seconds since 1970 as a time in UTC."""
    value = to_float(number)
    return str(_time(value)) if math.isfinite(value) else four_digits(value)


def to_time(number: object) -> Time:
    """Return seconds since 1970 as a time."""
    return _time(to_float(number))


def _time(seconds: float) -> Time:
    if not math.isfinite(seconds):
        raise FunctionError("value is NaN or Inf")
    nanoseconds = seconds * 1e9
    if abs(nanoseconds) > 2**63:
        text = f"{format_float(seconds)} cannot be represented as a nanoseconds timestamp since it overflows int64"
        raise FunctionError(text)
    whole = abs(int(nanoseconds)) // 1_000_000  # Go divides towards zero
    return Time(-whole if nanoseconds < 0 else whole)


def to_duration(number: object) -> Duration:
    """Return seconds as a duration."""
    value = to_float(number)
    if not math.isfinite(value) or abs(value) * 1e9 > 2**63:
        raise FunctionError(f"{format_float(value)} cannot be represented as a duration")
    return Duration(int(value * 1e9))


def signed_duration(text: str) -> float:
    """Return the seconds of a Prometheus duration, which may have a minus sign here."""
    sign = -1 if text.startswith("-") else 1
    try:
        return sign * parse_duration(text.removeprefix("-"))
    except ValueError as error:
        # The words of prometheus/common 0.39, model/time.go, which people search for.
        words = "empty duration string" if not text else f'not a valid duration string: "{text}"'
        raise FunctionError("duration out of range" if "out of range" in str(error) else words) from error


def _split_host_port(address: str) -> tuple[str, str] | None:
    """Return host and port, None when the address is not of that form (Go, net.SplitHostPort)."""
    colon = address.rfind(":")
    if colon < 0:
        return None
    if address.startswith("["):
        end = address.find("]")
        if end < 0 or end + 1 != colon:
            return None
        host = address[1:end]
    else:
        host = address[:colon]
        if ":" in host:
            return None
    rest = host + address[colon:]
    return None if "[" in rest or "]" in rest else (host, address[colon + 1 :])


def strip_port(address: str) -> str:
    """Return the host of host:port, or the text as it is."""
    parts = _split_host_port(address)
    return address if parts is None else parts[0]


def strip_domain(address: str) -> str:
    """Return the first part of a host name, with its port; an IP address as it is."""
    host, port = _split_host_port(address) or (address, "")
    try:
        ip_address(host)
    except ValueError:
        short = host.split(".")[0]
        shown = f"[{short}]" if ":" in short and port else short
        return f"{shown}:{port}" if port else short
    return address


def to_upper(text: str) -> str:
    """Letter by letter as Go maps them: ß stays, where Python would write SS."""
    return "".join(upper if len(upper := char.upper()) == 1 else char for char in text)


def to_lower(text: str) -> str:
    """Letter by letter as Go maps them: Σ is σ also at the end of a word, and İ is i."""
    return "".join(char.lower()[0] for char in text)


def title(text: str) -> str:
    """Return the text with the first letter of each word in upper case (Go, strings.Title)."""
    parts = []
    is_start = True
    for char in text:
        parts.append(titled if is_start and len(titled := char.title()) == 1 else char)
        is_start = not (char.isalnum() or char == "_") if char.isascii() else char.isspace()
    return "".join(parts)


@lru_cache(maxsize=512)
def _regex(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        raise FunctionError(f"error parsing regexp: {pattern}") from error


def re_replace_all(pattern: str, replacement: str, text: str) -> str:
    """Return text with every match replaced; $1 and ${name} stand for groups (Go, regexp.ReplaceAllString)."""
    compiled = _regex(pattern)
    parts: list[str] = []
    size = done = 0
    for match in compiled.finditer(text):
        if match.end() <= done and match.start():
            continue  # Go replaces no empty match that touches the match before it
        parts += [text[done : match.start()], _expand(replacement, match, compiled.groups, compiled.groupindex)]
        size += len(parts[-1])
        if size > MAX_OUTPUT_CHARS:
            raise FunctionError(f"result is longer than {MAX_OUTPUT_CHARS:,} characters")
        done = match.end()
    return "".join([*parts, text[done:]])


_REFERENCE = re2.compile(r"\$(?:\$|\{(\w+)\}|(\w+))")


def _expand(replacement: str, match: Any, groups: int, names: Mapping[str, int]) -> str:
    def group(reference: Any) -> str:
        if reference.group() == "$$":
            return "$"
        name = reference.group(1) or reference.group(2)
        number = int(name) if name.isdecimal() else names.get(name, -1)
        return (match.group(number) or "") if 0 <= number <= groups else ""

    return str(_REFERENCE.sub(group, replacement))


def _matches(pattern: str, text: str) -> bool:
    return _regex(pattern).search(text) is not None


def _first(result: QueryResult) -> Struct:
    if not result:
        raise FunctionError("first() called on vector with no elements")
    return result[0]


def _fields(element: Struct | None) -> Mapping[str, Any]:
    if element is None:
        raise FunctionError("runtime error: invalid memory address or nil pointer dereference")
    return element.fields


def _label(name: str, element: Struct | None) -> str:
    return str(_fields(element)["Labels"].get(name, ""))


def _sort_by_label(name: str, result: QueryResult) -> QueryResult:
    return QueryResult(sorted(result, key=lambda element: _label(name, element)))


def _args(*values: object) -> dict[str, object]:
    return {f"arg{position}": value for position, value in enumerate(values)}


def _link(tab: int) -> Callable[[str], str]:
    return lambda expr: f"/graph?g0.expr={quote_plus(expr)}&g0.tab={tab}"


_ANY = ("any",)
_TEXT = ("string",)

_PROMETHEUS: dict[str, Function] = {
    "first": Function(_first, ("queryResult",)),
    "label": Function(_label, ("string", "sample")),
    "value": Function(lambda element: _fields(element)["Value"], ("sample",)),
    "strvalue": Function(lambda element: _label("__value__", element), ("sample",)),
    "sortByLabel": Function(_sort_by_label, ("string", "queryResult")),
    "args": Function(_args, _ANY, is_variadic=True),
    "reReplaceAll": Function(re_replace_all, ("string", "string", "string")),
    "match": Function(_matches, ("string", "string")),
    "title": Function(title, _TEXT),
    "toUpper": Function(to_upper, _TEXT),
    "toLower": Function(to_lower, _TEXT),
    "safeHtml": Function(SafeHtml, _TEXT),
    "graphLink": Function(_link(0), _TEXT),
    "tableLink": Function(_link(1), _TEXT),
    "stripPort": Function(strip_port, _TEXT),
    "stripDomain": Function(strip_domain, _TEXT),
    "humanize": Function(humanize, _ANY),
    "humanize1024": Function(humanize_1024, _ANY),
    "humanizeDuration": Function(humanize_duration, _ANY),
    "humanizePercentage": Function(humanize_percentage, _ANY),
    "humanizeTimestamp": Function(humanize_timestamp, _ANY),
    "toTime": Function(to_time, _ANY),
    "toDuration": Function(to_duration, _ANY),
    "parseDuration": Function(signed_duration, _TEXT),
    "urlQueryEscape": Function(quote_plus, _TEXT),
}

FUNCTIONS = {**BUILTINS, **_PROMETHEUS}
# These need more than their arguments: the executor itself carries them out.
SPECIAL: dict[str, Function] = {
    "and": Function(is_true, _ANY, is_variadic=True),
    "or": Function(is_true, _ANY, is_variadic=True),
    "query": Function(is_true, _TEXT),
    "externalURL": Function(is_true, ()),
    "pathPrefix": Function(is_true, ()),
    "now": Function(is_true, ()),
    "tmpl": Function(is_true, ("string", "any")),
}
NAMES = frozenset(FUNCTIONS) | frozenset(SPECIAL)
