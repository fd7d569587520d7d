"""Waiting for servers that start at the same time: the metadata database, the broker, MLflow, Airflow.

In come their names and a limit, out comes nothing once all of them answer. The one thing to know: a login that is
refused is not waited for, because no time mends it.
"""

import time
from collections.abc import Callable, Collection, Mapping

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.pipeline.deployment import api_server, broker, metadata, mlflow_server
from behavior_tasks.pipeline.deployment.checks import Check, run_checks
from behavior_tasks.pipeline.deployment.finding import Finding
from behavior_tasks.pipeline.deployment.settings import MLFLOW, Deployment

POLL_SECONDS = 2.0
SERVICES: Mapping[str, Check] = {
    "database": metadata.look_at_database,
    "broker": broker.look_at_broker,
    "mlflow": mlflow_server.look_at_server,
    "airflow": api_server.look_at_server,
}


def wait_for(
    deployment: Deployment,
    names: Collection[str],
    *,
    seconds: float,
    on_wait: Callable[[str], None] = lambda _: None,
    poll_seconds: float = POLL_SECONDS,
) -> None:
    """Return as soon as all servers answer.

    Args:
        deployment: where they are.
        names: keys of `SERVICES`.
        seconds: longest wait.
        on_wait: called with a line about who is waited for, each time that this changes.
        poll_seconds: pause between two looks.

    Raises:
        UserError: a server does not answer in time, or answers what waiting can't mend; it says what to do.
    """
    for name in names:
        if name not in SERVICES:
            near = nearest(name, SERVICES)
            raise UserError(
                f"There is no service {name} to wait for.",
                expected=", ".join(SERVICES),
                next_step=f"behavior wait {near or 'database'}",
            )
    if "mlflow" in names and not deployment.mlflow:
        raise UserError(
            "There is no MLflow server to wait for.",
            found=f"{MLFLOW} names none",
            next_step=f"{MLFLOW}=http://mlflow:5000",
        )
    deadline, said = time.monotonic() + seconds, ""
    waited_for = list(names)
    while waited_for:
        looks = {name: SERVICES[name] for name in waited_for}
        findings = dict(zip(waited_for, run_checks(deployment, looks), strict=True))
        bad = {name: finding for name, finding in findings.items() if finding.level == "fail"}
        lasting = not all(finding.passing for finding in bad.values())
        if bad and (lasting or time.monotonic() + poll_seconds > deadline):
            _give_up(bad, seconds)
        waited_for = list(bad)
        line = "; ".join(f"{finding.what}: {finding.found}" for finding in bad.values())
        if bad and line != said:
            on_wait(line)
            said = line
        if waited_for:
            time.sleep(poll_seconds)


def _give_up(bad: Mapping[str, Finding], seconds: float) -> None:
    late = all(finding.passing for finding in bad.values())
    reason = f"did not answer within {seconds:.0f} seconds" if late else "is not as it has to be"
    raise UserError(
        f"{' and '.join(finding.what for finding in bad.values())} {reason}.",
        found="\n".join(finding.found for finding in bad.values()),
        next_step="\n".join(finding.advice for finding in bad.values()),
    )
