"""Whether a part answers: its name, address and secrets in, yes or no out; nothing here waits or retries.

One thing to know: Airflow's parts without a port are asked for at the api-server, which knows their heartbeats, and
the Celery workers through the broker.
"""

import socket
from collections.abc import Mapping

from behavior_tasks.base.errors import UserError
from behavior_tasks.cli.services import answer_of
from scripts.native import parts
from scripts.native.parts import Part

ASK_SECONDS = 5.0
AIRFLOW_NAMES = {
    parts.SCHEDULER: "scheduler",
    parts.SECOND: "scheduler",
    parts.DAG_PROCESSOR: "dag_processor",
    parts.TRIGGERER: "triggerer",
}
"""Part → its name in Airflow's health."""


def healthy(part: Part, everything: Mapping[str, Part]) -> bool:
    """Return whether a part answers.

    Args:
        part: the part.
        everything: all parts by name, for the address of whoever knows about this one.

    Raises:
        UserError: Postgres refuses the password: waiting would not help.
    """
    if part.name == parts.POSTGRES:
        return _postgres(everything[parts.INIT].environment)
    if part.name == parts.REDIS:
        return _redis(everything[parts.WORKER].environment["AIRFLOW__CELERY__BROKER_URL"])
    if part.name == parts.MLFLOW:
        return answer_of(f"{part.url}/health") is not None
    if part.name in (parts.WORKER, parts.GPU_WORKER):
        return _worker(part)
    health = answer_of(f"{everything[parts.API_SERVER].url}/api/v2/monitor/health")
    if part.name in AIRFLOW_NAMES:
        return health is not None and health.json()[AIRFLOW_NAMES[part.name]]["status"] == "healthy"
    return health is not None


def _postgres(environment: Mapping[str, str]) -> bool:
    import psycopg

    try:
        uri = environment["POSTGRES_SUPERUSER_URI"]
        psycopg.connect(f"{uri}/postgres", connect_timeout=int(ASK_SECONDS)).close()
    except psycopg.OperationalError as error:
        if "authentication failed" not in str(error):
            return False
        raise UserError(
            "Postgres refuses POSTGRES_PASSWORD.",
            expected="the password with which the data folder postgres/ in the state folder was made",
            next_step="bring back the .env of that day, or begin with another BEHAVIOR_HOME",
        ) from None
    return True


def _redis(url: str) -> bool:
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=ASK_SECONDS) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _worker(part: Part) -> bool:
    """Return whether the worker answers a ping through the broker."""
    from celery import Celery
    from kombu.exceptions import OperationalError

    # The same name that the worker makes of %h.
    name = f"{part.name}@{socket.gethostname()}"
    with Celery(broker=part.environment["AIRFLOW__CELERY__BROKER_URL"], set_as_current=False) as app:
        try:
            return bool(app.control.ping(destination=[name], timeout=ASK_SECONDS, limit=1))
        except (OperationalError, OSError):
            return False
