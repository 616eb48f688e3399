"""Beat's half of the Celery app: broker and schedule, without Django, so that beat stays small.

A tick only says "look what is due": intervals live in rows, a late tick skips, nothing waits in a queue for long.
"""

from __future__ import annotations

from typing import Any

from celery import Celery, signals
from celery.beat import Scheduler as CeleryScheduler

from alphaq_portal import env as portal_env
from alphaq_portal import logs

ENV = portal_env.read()


def _tick(task: str, seconds: float, queue: str = "portal") -> dict[str, Any]:
    """A beat entry whose message is thrown away when nobody took it before the next one."""
    return {"task": task, "schedule": seconds, "options": {"expires": max(2 * seconds, 5), "queue": queue}}


class Scheduler(CeleryScheduler):
    """Celery's own in memory, without its last 10 ms before each tick, in which it asks hundreds of times for the time.

    Nothing of it need outlive beat: what is due stands in rows.
    """

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """The seconds until an entry is due, as they are."""
        return n


BEAT_SCHEDULE = {
    "tick": _tick("alerts.tasks.tick", ENV.tick_seconds),
    # The tick asks for it when there is something to send; this one sees that somebody serves its queue.
    "deliver": _tick("alerts.tasks.deliver_due", 15, queue="deliver"),
    "watch-hosts": _tick("monitoring.tasks.watch_hosts", 15),
    "house": _tick("monitoring.tasks.keep_house", 60),
    "alerts-house": _tick("alerts.tasks.keep_house", 30),
    **({"forward": _tick("monitoring.tasks.forward", 1)} if ENV.metrics_url else {}),
}

app = Celery("alphaq_portal")
app.conf.update(
    broker_url=ENV.redis.celery_url,
    broker_connection_retry_on_startup=True,
    # The defaults leave a send hanging for minutes when the broker is gone.
    broker_transport_options={"socket_timeout": 10, "socket_connect_timeout": 5, "health_check_interval": 25},
    result_backend=None,
    task_ignore_result=True,
    task_default_queue="portal",
    task_time_limit=120,
    task_soft_time_limit=90,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    timezone="UTC",
    beat_schedule=BEAT_SCHEDULE,
    beat_scheduler="alphaq_portal.schedule:Scheduler",
    beat_max_loop_interval=1,
)


@signals.setup_logging.connect
def _keep_our_logging(**_: object) -> None:
    """Celery would replace the handlers; ours write JSON and hide secrets."""
    logs.configure(ENV.log_level, ENV.log_dir, ENV.redis.url, portal_env.secret_values(ENV))
