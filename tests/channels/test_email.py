"""Mail goes through Django's backend to a mail server on loopback; its replies decide what the outbox does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import override_settings

from alerts.channels import email
from alerts.channels.base import DeliveryError, Permanent, Transient
from alerts.channels.email import EmailConfig
from tests.fakes import FakeMail

CONFIG = EmailConfig(("ada@example.org", "bob@example.org"), sender="Portal <portal@example.org>", timeout_seconds=5)
PAYLOAD = {"subject": "[FIRING] CPU", "text": "CPU is high", "html": "<p>CPU is high</p>", "outbox_id": 41}


@pytest.fixture
def server() -> Iterator[FakeMail]:
    """A mail server that the site's settings point at."""
    with (
        FakeMail() as fake,
        override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=fake.port
        ),
    ):
        yield fake


def failure_of(config: EmailConfig = CONFIG) -> DeliveryError:
    """What sending raises."""
    with pytest.raises(DeliveryError) as failure:
        email.send(config, PAYLOAD)
    return failure.value


def test_a_mail_has_text_and_html(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD)
    [mail] = server.mails
    parts = {part.get_content_type(): part.get_content().strip() for part in mail.message.iter_parts()}
    assert parts == {"text/plain": "CPU is high", "text/html": "<p>CPU is high</p>"}


def test_a_mail_reaches_every_recipient_in_one_message(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD)
    assert (server.mails[0].recipients, server.mails[0].sender) == (list(CONFIG.recipients), "portal@example.org")


def test_a_repeated_send_carries_the_same_message_id(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD)
    email.send(CONFIG, PAYLOAD)
    assert {mail.message["Message-ID"] for mail in server.mails} == {"<notification-41@example.org>"}


def test_mails_of_one_problem_lie_in_one_thread(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD | {"thread_id": "g/7"})
    assert server.mails[0].message["References"] == "<alert-g-7@example.org>"


def test_a_mail_asks_for_no_automatic_answers(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD)
    assert server.mails[0].message["Auto-Submitted"] == "auto-generated"


def test_a_line_break_in_the_subject_adds_no_header(server: FakeMail) -> None:
    email.send(CONFIG, PAYLOAD | {"subject": "CPU\r\nBcc: eve@example.org"})
    assert (server.mails[0].message["Subject"], server.mails[0].message["Bcc"]) == ("CPU Bcc: eve@example.org", None)


def test_a_line_break_in_a_recipient_is_refused(server: FakeMail) -> None:
    failure = failure_of(EmailConfig(("ada@example.org\nBcc: eve@example.org",)))
    assert isinstance(failure, Permanent) and server.mails == []


def test_no_recipient_is_said_so() -> None:
    assert failure_of(EmailConfig(())).text == "No recipient is set."


@pytest.mark.parametrize(
    ("verb", "reply", "kind", "scope"),
    [
        ("MAIL", "530 log in first", Permanent, "account"),
        ("MAIL", "451 later", Transient, ""),
        ("RCPT", "550 no such user", Permanent, "destination"),
        ("RCPT", "450 mailbox busy", Transient, ""),
        ("END", "552 too large", Permanent, "message"),
        ("END", "451 later", Transient, ""),
        ("END", "554 looks like spam", Permanent, "message"),
    ],
)
def test_the_servers_reply_code_decides(
    server: FakeMail, verb: str, reply: str, kind: type[DeliveryError], scope: str
) -> None:
    server.answers[verb] = reply
    failure = failure_of()
    assert (type(failure), getattr(failure, "scope", "")) == (kind, scope)
    assert server.mails == []


def test_one_refused_recipient_does_not_stop_the_others(server: FakeMail) -> None:
    server.recipient_answers["bob@example.org"] = "550 no such user"
    email.send(CONFIG, PAYLOAD)
    assert server.mails[0].recipients == ["ada@example.org"]


def test_a_mail_whose_answer_is_lost_is_ambiguous(server: FakeMail) -> None:
    server.answers["END"] = "drop"
    failure = failure_of()
    assert isinstance(failure, Transient) and failure.ambiguous and len(server.mails) == 1


def test_a_server_that_is_gone_is_tried_again(server: FakeMail) -> None:
    server.stop()
    failure = failure_of()
    assert isinstance(failure, Transient) and not failure.ambiguous and "connection refused" in failure.text


def test_the_check_opens_a_connection_and_sends_nothing(server: FakeMail) -> None:
    assert [result.ok for result in email.check(CONFIG)] == [True, True]
    assert server.mails == []


def test_the_check_says_that_the_server_is_gone(server: FakeMail) -> None:
    server.stop()
    result = email.check(CONFIG)[1]
    assert result.ok is False and "settings" in result.fix


def test_a_password_that_the_server_repeats_is_hidden(server: FakeMail) -> None:
    server.answers["MAIL"] = "530 the password PLANTED is wrong"
    with override_settings(EMAIL_HOST_PASSWORD="PLANTED"):
        assert "PLANTED" not in failure_of().text
