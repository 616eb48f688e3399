"""What comes in from Slack: presses and sent dialogues by a signed request, and the page that links a member.

A request counts only with a fresh signature over its raw bytes (SL-7). Presses are written down and answered at once;
a worker does them. Dialogues are done here, since their errors belong into the answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

import structlog
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import IntegrityError, OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST
from django.views.generic import TemplateView

from alerts import actions, clicks, slack_dialogues, slack_links, tasks
from alerts.channels.slack import verify_signature
from alerts.engine import message_views
from alerts.models import Alert, SlackApp, SlackClick
from alphaq_portal.ui import PortalPageMixin

log = structlog.get_logger(__name__)
# Slack waits 3 s; whoever holds an alert longer than this is not waited for.
_LOCK_PATIENCE_MS = 1500
_BUSY = "Somebody is changing this very alert. Press again."


@csrf_exempt
@require_POST
def receive(request: HttpRequest) -> HttpResponse:
    """Slack's request URL for interactivity: 401 without a right signature, 400 for what is no payload, else 200."""
    at = timezone.now()
    try:
        body = request.body
    except RequestDataTooBig:
        return HttpResponse("The request is too large.", status=413)
    trusted, app = _signer(request, body, at)
    if not trusted:
        return HttpResponse("The signature cannot be trusted.", status=401)
    payload = _payload(body)
    if payload is None:
        return HttpResponse("There is no payload.", status=400)
    answer = take(payload, at, app)
    return JsonResponse(answer) if answer else HttpResponse()


def take(payload: Mapping[str, Any], at: datetime, app: SlackApp | None) -> dict[str, Any] | None:
    """Write presses down or do a sent dialogue; returns what Slack is answered, None for nothing."""
    if payload.get("type") == "block_actions":
        with transaction.atomic():
            if clicks.record(payload, at, app):
                tasks.enqueue_clicks()
        return None
    if payload.get("type") == "view_submission":
        return _submitted(payload, at, app)
    return None


def _submitted(payload: Mapping[str, Any], at: datetime, app: SlackApp | None) -> dict[str, Any] | None:
    """Do a sent dialogue with the rights of the linked user; sent twice it is done once."""
    view, member = payload.get("view") or {}, clicks.member_of(payload)
    view = view if isinstance(view, Mapping) else {}
    first = "reason"  # both dialogues have this field, and an error must stand at one
    link = slack_links.find(member, None)
    if link is None:
        return message_views.errors(**{first: "The portal does not know which user you are. Press a button first."})
    try:
        with transaction.atomic():
            _wait_briefly()
            row = SlackClick.objects.create(
                key=clicks.key_of(member.team_id, member.user_id, view.get("id"), "sent"), at=at, user=link.user,
                team_id=member.team_id, slack_user_id=member.user_id, slack_user_name=member.name,
                action=f"view.{view.get('callback_id', '')}"[:60], done_at=at,
            )  # fmt: skip
            row.outcome = slack_dialogues.submit(view, link.user, link.time_zone, at)
            row.save(update_fields=["outcome"])
    except slack_dialogues.NotUnderstood as error:
        return error.answer
    except IntegrityError:
        return None  # it was sent before, and done
    except PermissionDenied:
        return message_views.errors(**{first: clicks.NO_RIGHT.format(user=link.user.get_username())})
    except OperationalError:
        return message_views.errors(**{first: _BUSY})
    except (actions.Refused, Alert.DoesNotExist) as error:
        return message_views.errors(**{first: str(error) or "It is over."})
    return None


def _wait_briefly() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [str(_LOCK_PATIENCE_MS)])


def _signer(request: HttpRequest, body: bytes, at: datetime) -> tuple[bool, SlackApp | None]:
    """Whether the request is Slack's, and whose secret says so; None for the secret of the environment."""
    stamp = request.headers.get("X-Slack-Request-Timestamp", "")
    signature = request.headers.get("X-Slack-Signature", "")
    problem = "no signing secret is set"
    for secret, app in _secrets():
        found = verify_signature(secret, stamp, body, signature, at)
        if found is None:
            return True, app
        problem = found
    log.warning("slack_request_refused", reason=problem)
    return False, None


def _secrets() -> Iterator[tuple[str, SlackApp | None]]:
    for app in SlackApp.objects.exclude(signing_secret="").order_by("id"):
        yield app.signing_secret, app
    if settings.ENV.slack_signing_secret:
        yield settings.ENV.slack_signing_secret, None


def _payload(body: bytes) -> dict[str, Any] | None:
    try:
        fields = parse_qs(body.decode("utf-8"), max_num_fields=20)
        payload = json.loads(fields["payload"][0])
    except (ValueError, LookupError, RecursionError):
        return None
    return payload if isinstance(payload, dict) else None


class LinkSlack(PortalPageMixin, TemplateView):
    """Asks a signed-in user whether a member of the Slack workspace is them, and links both."""

    template_name = "alerts/link_slack.html"
    title = "Link Slack"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Who the code of the address speaks of, or what is wrong with it."""
        code = self.request.POST.get("code") or self.request.GET.get("code", "")
        member, problem = None, ""
        try:
            member = slack_links.member_of(code)
        except slack_links.BadCode as error:
            problem = str(error) if code else "Press a button under a message in Slack: it shows the address to open."
        links = self.request.user.slack_links.all()  # type: ignore[union-attr]
        given = {"code": code, "member": member, "problem": problem, "links": links}
        return super().get_context_data(**given | kwargs)

    def post(self, request: HttpRequest) -> HttpResponse:
        """Link, or say why not."""
        app = SlackApp.objects.exclude(bot_token="").order_by("id").first()
        try:
            link = slack_links.confirm(request.POST.get("code", ""), request.user, clicks.config_of(app))
        except slack_links.BadCode as error:
            return self.render_to_response(self.get_context_data(problem=str(error)), status=422)
        messages.success(request, f"Linked: what {link.slack_user_id} presses in Slack is done with your rights.")
        return redirect("alerts:slack_link")
