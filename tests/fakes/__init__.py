"""Other people's servers as loopback servers in threads: what the portal sends is judged at the wire."""

from tests.fakes.mail import FakeMail
from tests.fakes.server import LoopbackServer, Mode, Reply, Request
from tests.fakes.slack import FakeSlack, Message
from tests.fakes.webhook import FakeWebhook

__all__ = ["FakeMail", "FakeSlack", "FakeWebhook", "LoopbackServer", "Message", "Mode", "Reply", "Request"]
