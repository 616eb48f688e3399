"""Whether Slack saw of a plan what it must: nothing lost, nothing twice, nothing invented."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from tests.fakes.server import Request
from tests.fakes.slack import Message
from tests.killing import Plan

# From a message's arrival to the moment when a kill can no longer have lost its answer: the call and its receipt.
ANSWER_SECONDS = 15.0
# As long a worker keeps a receipt for a database that was killed as well.
RECEIPT_SECONDS = 45.0
REPEAT = "may be a repeat"
State = frozenset[str]
OVER: State = frozenset()


@dataclass(frozen=True)
class Telling:
    """One message or edit that arrived: of which problem, what fires by it, and which message of the channel it is."""

    at: float
    problem: str
    firing: State
    outbox_id: str
    message: str = ""  # ts; an edit has that of the message it edits; none for a webhook
    is_repeat: bool = False


@dataclass
class Seen:
    """What arrived on the two ways out, in order."""

    bot: list[Telling] = field(default_factory=list)
    hook: list[Telling] = field(default_factory=list)
    posts: list[str] = field(default_factory=list)  # outbox ids of all the bot posted, lines in threads included

    def last(self, problem: str) -> tuple[State | None, State | None]:
        """What was told last about a problem, by the bot and by the webhook."""
        told = [[one.firing for one in way if one.problem == problem] for way in (self.bot, self.hook)]
        return told[0][-1] if told[0] else None, told[1][-1] if told[1] else None


def read(accepted: Sequence[tuple[float, Request]], messages: Iterable[Message]) -> Seen:
    """Sort what Slack accepted; messages: what lies in the channels now, which tells the ts of each post."""
    ts_of = {_first(message).get("outbox_id"): message.ts for message in messages if not message.thread_ts}
    seen = Seen()
    for at, request in accepted:
        event = (request.data.get("metadata") or {}).get("event_payload") or {}
        outbox_id = str(event.get("outbox_id"))
        if request.method == "chat.postMessage":
            seen.posts.append(outbox_id)
        if request.data.get("thread_ts") or request.method not in ("chat.postMessage", "chat.update", "webhook"):
            continue
        is_hook = request.method == "webhook"
        ts = "" if is_hook else str(request.data.get("ts") or ts_of.get(outbox_id))
        firing = frozenset(key.rpartition("/")[2] for key in event.get("firing") or ())
        problem = str((event.get("group") or {}).get("problem", "?"))
        (seen.hook if is_hook else seen.bot).append(
            Telling(at, problem, firing, outbox_id, ts, REPEAT in str(request.data))
        )
    return seen


def _first(message: Message) -> dict[str, object]:
    payload = (message.edits or [message.payload])[0]
    return dict((payload.get("metadata") or {}).get("event_payload") or {})


@dataclass(frozen=True)
class Kills:
    """When processes that send, and when the database was killed."""

    senders: Sequence[float] = ()
    databases: Sequence[float] = ()

    def can_have_lost(self, arrived: float) -> bool:
        """Whether the answer to a message that arrived then can have been lost."""
        has_waited = any(-1 < at - arrived < ANSWER_SECONDS for at in self.databases)
        return any(-1 < at - arrived < (RECEIPT_SECONDS if has_waited else ANSWER_SECONDS) for at in self.senders)


def faults(plan: Plan, seen: Seen, kills: Kills) -> list[str]:
    """What Slack saw that it should not have, or did not see."""
    found = [f"{problem} is not in the plan" for problem in {one.problem for one in [*seen.bot, *seen.hook]}
             - set(plan.problems)]  # fmt: skip
    found += [f"the bot posted {one} {seen.posts.count(one)} times" for one in sorted(set(seen.posts))
              if seen.posts.count(one) > 1]  # fmt: skip
    found += _needless_repeats(seen.hook, kills)
    for problem in plan.problems:
        bot = _once([one for one in seen.bot if one.problem == problem])
        hook = _once([one for one in seen.hook if one.problem == problem])
        judge = _judge_calm if problem in plan.calm else _judge_hasty
        found += [f"{problem}: {fault}" for fault in judge(plan.states(problem), bot, hook)]
    return found


def _once(tellings: Sequence[Telling]) -> list[Telling]:
    """Without what is told again: an edit made twice looks like one, doubles of webhooks are judged for themselves."""
    return [next(same) for _, same in groupby(tellings, key=lambda one: one.outbox_id)]


def _needless_repeats(hook: Sequence[Telling], kills: Kills) -> list[str]:
    """A webhook may post again only what says so, after a kill that can have lost the first answer."""
    found, first = [], dict[str, Telling]()
    for one in hook:
        earlier = first.setdefault(one.outbox_id, one)
        if earlier is one:
            continue
        if not one.is_repeat:
            found.append(f"{one.problem}: posted again without a word, {one.at - earlier.at:.1f} s later")
        if not kills.can_have_lost(earlier.at):
            found.append(f"{one.problem}: posted again although no answer was lost")
    return found


def _episodes(states: Iterable[State]) -> list[list[State]]:
    """The states of each problem from its first alert to the end of its last."""
    found: list[list[State]] = [[]]
    for state in states:
        found[-1].append(state)
        if state == OVER:
            found.append([])
    return [episode for episode in found if episode]


def _messages(bot: Sequence[Telling]) -> list[list[State]]:
    """The states of each message in the channel, in the order of the first."""
    found: dict[str, list[State]] = {}
    for one in bot:
        found.setdefault(one.message, []).append(one.firing)
    return list(found.values())


def _judge_calm(states: Sequence[State], bot: Sequence[Telling], hook: Sequence[Telling]) -> list[str]:
    """Each episode is one message of the bot, edited at each change; the webhook posts each change."""
    found = []
    if _messages(bot) != _episodes(states):
        found.append(f"the bot told {_words(_messages(bot))}, not {_words(_episodes(states))}")
    if [one.firing for one in hook] != list(states):
        found.append(f"the webhook told {_words([[one.firing for one in hook]])}, not {_words([states])}")
    return found


def _judge_hasty(states: Sequence[State], bot: Sequence[Telling], hook: Sequence[Telling]) -> list[str]:
    """Changes may be told together, but in their order, and the last one is told."""
    found = []
    for name, told in (("bot", [one.firing for one in bot]), ("webhook", [one.firing for one in hook])):
        left = iter(states)
        if not all(any(state == one for one in left) for state in told):
            found.append(f"the {name} told {_words([told])}, which did not happen in this order: {_words([states])}")
        if told[-1:] != [OVER]:
            found.append(f"the {name} did not tell the end")
    if len(_messages(bot)) > len(_episodes(states)):
        found.append(f"{len(_messages(bot))} messages of the bot about {len(_episodes(states))} problems")
    for message in _messages(bot):
        if OVER in message[:-1] or message[-1] != OVER:
            found.append(f"one message of the bot says {_words([message])}")
    return found


def _words(rows: Iterable[Sequence[State]]) -> str:
    return " | ".join(" ".join("".join(sorted(state)) or "-" for state in row) for row in rows) or "nothing"
