"""The broker and what hangs on it: Redis, the result backend, and the workers that take tasks from each queue.

In come the addresses, out come findings. The one thing to know: workers are asked over the broker as Airflow asks them,
so a worker that lives but takes from another queue is found out.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, warn
from behavior_tasks.pipeline.deployment.metadata import open_database, said_by
from behavior_tasks.pipeline.deployment.settings import (
    ANSWER_SECONDS,
    BROKER,
    CONNECT_SECONDS,
    Deployment,
    password_of,
    place_of,
)

if TYPE_CHECKING:
    from redis import Redis

WHAT, KEPT, BACKEND, WORKERS = "Broker", "Broker's memory", "Result backend", "Workers"
INSPECT_SECONDS = 2.5
"""How long workers have to call back; the broker does not know how many there are."""
FULL = 0.9
RESULTS = "AIRFLOW__CELERY__RESULT_BACKEND"


def queues_of(deployment: Deployment) -> dict[str, str]:
    """Return each queue that needs a worker, with what it is for."""
    default = deployment.get("AIRFLOW__OPERATORS__DEFAULT_QUEUE", "default")
    training = deployment.get("BEHAVIOR_TRAIN_QUEUE", default)
    return {default: "everything"} if training == default else {default: "everything else", training: "training"}


def look_at_broker(deployment: Deployment) -> list[Finding]:
    """Say whether Redis answers, takes the password, and lets nobody in without one."""
    import redis

    address = deployment.get(BROKER)
    if not address:
        return [fail(WHAT, f"{BROKER} is not set", "set it, e.g. redis://:PASSWORD@redis:6379/0")]
    place = place_of(address)
    try:
        begun = time.perf_counter()
        with connect(address) as client:
            version = client.info("server")["redis_version"]
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
        return [fail(WHAT, f"{place} refuses the login: {error}", f"REDIS_PASSWORD in .env and {BROKER} have to agree")]
    except ValueError as error:
        return [fail(WHAT, f"{BROKER} is no Redis address: {error}", "redis://:PASSWORD@host:6379/0")]
    except (redis.RedisError, OSError) as error:
        advice = "start Redis, or mend host and port; `behavior wait broker` waits until it answers"
        return [fail(WHAT, f"{place}: {error}", advice, passing=True)]
    told = f"Redis {version} at {place}, {(time.perf_counter() - begun) * 1000:.0f} ms to connect and ask"
    if not password_of(address) or _lets_in_anybody(address):
        return [fail(WHAT, f"{told}; it lets in anybody", "start Redis with --requirepass and REDIS_PASSWORD of .env")]
    return [ok(WHAT, told)]


def look_at_keeping(deployment: Deployment) -> list[Finding]:
    """Say whether Redis keeps waiting tasks over a restart, and never throws one away for want of memory."""
    import redis

    try:
        with connect(deployment.get(BROKER)) as client:
            kept, memory = client.info("persistence"), client.info("memory")
            saves = bool(kept.get("aof_enabled")) or _snapshots(client)
    except (redis.RedisError, OSError, ValueError):
        raise UnseenError(f"no broker: see {WHAT}") from None
    policy, most, used = str(memory["maxmemory_policy"]), int(memory["maxmemory"]), int(memory["used_memory"])
    told = f"{'kept on disk' if saves else 'in memory only'}, eviction {policy}, {used / 2**20:.0f} MB used"
    if most and policy != "noeviction":
        return [fail(KEPT, told, "set maxmemory-policy noeviction: a task thrown away is never run")]
    if most and used > FULL * most:
        return [fail(KEPT, f"{told} of {most / 2**20:.0f}", "raise maxmemory, or see what fills Redis (--bigkeys)")]
    failed = {kept.get("rdb_last_bgsave_status"), kept.get("aof_last_write_status")} - {"ok", None}
    if failed:
        return [fail(KEPT, f"{told}; the last write to its disk failed", "see the disk of Redis: full or read-only?")]
    if not saves:
        return [warn(KEPT, told, "start Redis with --appendonly yes: a restart loses the tasks that wait")]
    return [ok(KEPT, told)]


def look_at_backend(deployment: Deployment) -> list[Finding]:
    """Say whether the place where workers leave the outcome of tasks answers."""
    from sqlalchemy import text
    from sqlalchemy.exc import SQLAlchemyError

    address = deployment.get(RESULTS)
    if not address:
        # Airflow falls back to its own database.
        address = f"db+{deployment.database}"
    if not address.startswith("db+"):
        return [warn(BACKEND, f"{address.partition(':')[0]}, which is not tested", f"{RESULTS}=db+postgresql://…")]
    try:
        with open_database(address.removeprefix("db+")) as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError as error:
        return [
            fail(
                BACKEND,
                f"{place_of(address)}: {said_by(error)}",
                f"{RESULTS} has to name the same Postgres and password",
            )
        ]
    return [ok(BACKEND, place_of(address))]


def look_at_workers(deployment: Deployment) -> list[Finding]:
    """Say for each queue how many workers take from it, and how much waits in it."""
    import redis
    from celery import Celery
    from kombu.exceptions import OperationalError

    waits = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}
    app = Celery("behavior-doctor", broker=deployment.get(BROKER), set_as_current=False)
    app.conf.update(broker_transport_options=waits, broker_connection_retry=False)
    try:
        with connect(deployment.get(BROKER)) as client:
            waiting = {queue: int(client.llen(queue)) for queue in queues_of(deployment)}
        answered: Mapping[str, Any] = app.control.inspect(timeout=INSPECT_SECONDS).active_queues() or {}
    except (redis.RedisError, OperationalError, OSError, ValueError):
        raise UnseenError(f"no broker: see {WHAT}") from None
    finally:
        app.close()
    findings = []
    for queue, purpose in queues_of(deployment).items():
        workers = [name for name, queues in answered.items() if queue in {q["name"] for q in queues}]
        what = f"{WORKERS} of queue {queue}"
        told = f"{len(workers)} for {purpose}, {waiting[queue]} tasks wait"
        if not workers:
            others = f"; workers of other queues: {len(answered)}" if answered else ""
            advice = f"start one: airflow celery worker --queues {queue} (compose: docker compose up -d); see its log"
            findings.append(fail(what, f"{told}{others}", advice))
        else:
            findings.append(ok(what, told))
    return findings


def connect(address: str) -> "Redis":
    """Return a client that waits seconds, not minutes.

    Raises:
        ValueError: for something that is no address of a Redis.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    waits = {"socket_connect_timeout": CONNECT_SECONDS, "socket_timeout": ANSWER_SECONDS}
    return Redis.from_url(address, retry=Retry(NoBackoff(), 0), **waits)


def _lets_in_anybody(address: str) -> bool:
    """Whether Redis talks to somebody who names no password."""
    import redis

    scheme, _, rest = address.partition("://")
    try:
        with connect(f"{scheme}://{rest.rpartition('@')[2]}") as stranger:
            return bool(stranger.ping())
    except redis.RedisError:
        return False


def _snapshots(client: "Redis") -> bool:
    """Whether Redis writes snapshots; one that keeps its settings to itself is believed to."""
    import redis

    try:
        return bool(client.config_get("save").get("save"))
    except redis.ResponseError:
        return True
