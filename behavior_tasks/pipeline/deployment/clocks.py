"""Clocks: how far those of the database, the broker and MLflow are from this machine's.

In come the servers, out comes a finding each. The one thing to know: tokens, heartbeats and nights are compared across
machines, so a clock that is half a minute off makes healthy services look dead.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from behavior_tasks.pipeline.deployment import broker, mlflow_server
from behavior_tasks.pipeline.deployment.airflow_state import clock_of
from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, warn
from behavior_tasks.pipeline.deployment.metadata import connected
from behavior_tasks.pipeline.deployment.settings import BROKER, Deployment

NOTICED_SECONDS, WRONG_SECONDS = 2.0, 30.0


def look_at_database_clock(deployment: Deployment) -> list[Finding]:
    """Compare the database's clock with this machine's."""
    with connected(deployment) as connection:
        clock_of(connection)  # connecting takes its time; the second question is answered at once
        return [_compared("Clock of the database", lambda: clock_of(connection).timestamp())]


def look_at_broker_clock(deployment: Deployment) -> list[Finding]:
    """Compare Redis's clock with this machine's."""
    import redis

    try:
        with broker.connect(deployment.get(BROKER)) as client:
            client.ping()
            return [_compared("Clock of the broker", lambda: float(client.time()[0]) + client.time()[1] / 1e6)]
    except (redis.RedisError, OSError, ValueError):
        raise UnseenError(f"no broker: see {broker.WHAT}") from None


def look_at_mlflow_clock(deployment: Deployment) -> list[Finding]:
    """Compare the clock of the MLflow server, which tells whole seconds, with this machine's."""

    def ask() -> float:
        told = mlflow_server.clock_of(deployment)
        if not told:
            raise UnseenError("the MLflow server does not tell its time")
        # On average, half a second has passed since a whole second began.
        return parsedate_to_datetime(told).timestamp() + 0.5

    return [_compared("Clock of MLflow", ask)]


def _compared(what: str, ask: Callable[[], float]) -> Finding:
    before = time.time()
    theirs = ask()
    after = time.time()
    # Theirs was read somewhere between; only what lies outside of that is a difference.
    apart = max(before - theirs, theirs - after, 0.0)
    word = "behind" if theirs < before else "ahead of"
    if apart <= NOTICED_SECONDS:
        return ok(what, f"within {max(apart, after - before):.1f} s of this machine's")
    here = datetime.fromtimestamp(after, tz=UTC)
    told = f"{apart:.0f} s {word} this machine's, which says {here:%Y-%m-%d %H:%M:%S} UTC"
    advice = "switch on time synchronisation on both machines (chrony, systemd-timesyncd): timedatectl shows it"
    return fail(what, told, advice) if apart > WRONG_SECONDS else warn(what, told, advice)
