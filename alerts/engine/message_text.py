"""A message as plain text, and as an email with a subject, a text and an HTML part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from alerts.engine.message import AlertLine, Message, parts, rest_of_labels, subject
from alerts.engine.message_words import clean, cut, join_shown, moment, more, one_line, safe_url, span

_ALERTS_SHOWN = 50
_SUBJECT_CHARS = 200
_COLORS = {"critical": "#d32f2f", "warning": "#f57c00", "info": "#1976d2"}
_RESOLVED_COLOR, _OTHER_COLOR = "#2e7d32", "#757575"


@dataclass(frozen=True, slots=True)
class EmailText:
    """What an email consists of; the channel adds sender and recipients."""

    subject: str
    text: str
    html: str


def plain_text(message: Message, alerts_shown: int = _ALERTS_SHOWN) -> str:
    """The message as lines of plain text; at most `alerts_shown` alerts one by one, the rest counted."""
    if message.custom.text:
        title = one_line(message.custom.title) or one_line(message.headline)
        return "\n".join([title, "", clean(message.custom.text).strip()])
    lines = [one_line(message.headline), ""]
    left = alerts_shown
    for heading, alerts in parts(message):
        if len(message.alerts) > 1:
            lines.append(f"{heading} ({len(alerts)}):")
        for alert in alerts[:left]:
            lines += _alert_lines(message, alert)
        left -= len(alerts[:left])
    if len(message.alerts) > alerts_shown:
        lines += [more(len(message.alerts) - alerts_shown), ""]
    return "\n".join([*lines, *_foot(message)]).rstrip() + "\n"


def email(message: Message) -> EmailText:
    """The message as an email: a subject on one line, text and HTML with the same content."""
    title = one_line(message.custom.title) or one_line(message.headline)
    return EmailText(cut(title, _SUBJECT_CHARS), plain_text(message), _html(message, title))


def _alert_lines(message: Message, alert: AlertLine) -> Iterator[str]:
    """Up to seven lines about one alert and an empty one."""
    yield one_line(join_shown((alert.name, subject(alert.labels))))
    if alert.measure():
        yield "  " + one_line(join_shown((alert.measure(), alert.limit_reason)))
    yield "  " + one_line(join_shown((_when(message, alert), alert.state)))
    for text in (alert.summary, alert.description):
        if text:
            yield "  " + clean(text).strip().replace("\n", "\n  ")
    rest = rest_of_labels(alert.labels)
    if rest:
        yield "  " + ", ".join(one_line(f"{name}={value}") for name, value in rest)
    for word, url in _urls(alert):
        yield f"  {word}: {url}"
    yield ""


def _when(message: Message, alert: AlertLine) -> str:
    duration = span(alert.duration_seconds(message.at))
    if alert.ends_at is not None:
        return f"from {moment(alert.starts_at)} to {moment(alert.ends_at)}, lasted {duration}"
    return f"since {moment(alert.starts_at)}, for {duration}"


def _urls(alert: AlertLine) -> list[tuple[str, str]]:
    urls = [("Graph", safe_url(alert.graph_url or alert.generator_url)), ("Runbook", safe_url(alert.runbook_url))]
    return [(word, url) for word, url in urls if url]


def _foot(message: Message) -> Iterator[str]:
    for note in message.notes:
        yield one_line(note)
    about = (("owner", message.owner), ("route", message.route), ("receiver", message.receiver))
    yield one_line(join_shown([f"{word} {value}" for word, value in about if value]))
    url = safe_url(message.group_url or message.external_url)
    if url:
        yield url


def _html(message: Message, title: str) -> str:
    """One page with a coloured edge; styles stand in the tags because mail readers drop style sheets."""
    color = _RESOLVED_COLOR if message.status == "resolved" else _COLORS.get(message.severity, _OTHER_COLOR)
    if message.custom.text:
        body = f"<pre>{escape(clean(message.custom.text).strip())}</pre>"
    else:
        body = "".join(_html_parts(message))
    foot = "".join(f"<p>{_html_foot(line)}</p>" for line in _foot(message))
    return (
        f'<!doctype html><html><head><meta charset="utf-8"><title>{escape(title)}</title></head>'
        f'<body style="font-family:sans-serif"><div style="border-left:4px solid {color};padding-left:12px">'
        f"<h2>{escape(title)}</h2>{body}</div>{foot}</body></html>"
    )


def _html_parts(message: Message) -> Iterator[str]:
    left = _ALERTS_SHOWN
    for heading, alerts in parts(message):
        if len(message.alerts) > 1:
            yield f"<h3>{heading} ({len(alerts)})</h3>"
        for alert in alerts[:left]:
            yield _html_alert(message, alert)
        left -= len(alerts[:left])
    if len(message.alerts) > _ALERTS_SHOWN:
        yield f"<p>{more(len(message.alerts) - _ALERTS_SHOWN)}</p>"


def _html_alert(message: Message, alert: AlertLine) -> str:
    about = escape(one_line(join_shown((alert.name, subject(alert.labels)))))
    rows = [
        ("Value", join_shown((alert.measure(), alert.limit_reason))),
        ("When", join_shown((_when(message, alert), alert.state))),
        *((name, value) for name, value in rest_of_labels(alert.labels)),
    ]
    cells = "".join(
        f'<tr><th align="left">{escape(one_line(name))}</th><td>{escape(one_line(value))}</td></tr>'
        for name, value in rows
        if value
    )
    texts = "".join(f"<p>{escape(clean(text).strip())}</p>" for text in (alert.summary, alert.description) if text)
    links = " ".join(f'<a href="{escape(url)}">{word}</a>' for word, url in _urls(alert))
    return f"<p><b>{about}</b></p>{texts}<table>{cells}</table>" + (f"<p>{links}</p>" if links else "")


def _html_foot(line: str) -> str:
    return f'<a href="{escape(line)}">{escape(line)}</a>' if safe_url(line) else escape(line)
