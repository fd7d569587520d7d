"""Everything that `behavior doctor --deployment` looks at, in the order in which it is shown.

In comes a deployment, out come its findings. The one thing to know: what a deployment does not have (a broker on one
machine, an MLflow server where the store is in the state folder) is left out.
"""

from behavior_tasks.pipeline.deployment import (
    airflow_state,
    api_server,
    broker,
    clocks,
    keys,
    machine,
    metadata,
    mlflow_server,
)
from behavior_tasks.pipeline.deployment.checks import LIMIT_SECONDS, Check, run_checks
from behavior_tasks.pipeline.deployment.finding import Finding
from behavior_tasks.pipeline.deployment.settings import Deployment
from behavior_tasks.pipeline.schedules import TRAINING_POOL


def look_at_deployment(deployment: Deployment, *, limit_seconds: float = LIMIT_SECONDS) -> list[Finding]:
    """Look at all of a deployment at once and return the findings, within `limit_seconds`."""
    return run_checks(deployment, checks_of(deployment), limit_seconds=limit_seconds)


def checks_of(deployment: Deployment) -> dict[str, Check]:
    """Return the checks that make sense for a deployment, by the name that a check without an answer is shown under."""
    checks: dict[str, Check] = {
        metadata.WHAT: metadata.look_at_database,
        metadata.TABLES: metadata.look_at_tables,
    }
    if deployment.celery:
        checks |= {
            broker.WHAT: broker.look_at_broker,
            broker.KEPT: broker.look_at_keeping,
            broker.BACKEND: broker.look_at_backend,
            broker.WORKERS: broker.look_at_workers,
        }
    checks |= {
        f"Pool {TRAINING_POOL}": airflow_state.look_at_pool,
        "Heartbeats": airflow_state.look_at_heartbeats,
        api_server.WHAT: api_server.look_at_server,
        api_server.TOKENS: api_server.look_at_tokens,
        api_server.ADMIN: api_server.look_at_logins,
        api_server.PUBLIC: api_server.look_at_public_address,
        "DAGs": airflow_state.look_at_dags,
        "Runs under way": airflow_state.look_at_runs,
        "Token lifetime": airflow_state.look_at_lifetimes,
    }
    if deployment.mlflow:
        checks |= {
            mlflow_server.WHAT: mlflow_server.look_at_server,
            mlflow_server.LOGIN: mlflow_server.look_at_logins,
            mlflow_server.HOSTS: mlflow_server.look_at_hosts,
            mlflow_server.FILES: mlflow_server.look_at_files,
        }
    else:
        checks[mlflow_server.WHAT] = mlflow_server.look_at_embedded
    checks |= {
        keys.KEYS: keys.look_at_keys,
        keys.FERNET: keys.look_at_fernet,
        keys.PASSWORDS: keys.look_at_passwords,
        keys.PSEUDONYMS: keys.look_at_pseudonyms,
        machine.FOLDER: machine.look_at_folder,
        machine.SECRETS: machine.look_at_secrets,
        machine.ENV: machine.look_at_env,
        machine.OWNER: machine.look_at_owner,
        machine.DISK: machine.look_at_disks,
        machine.PORTS: machine.look_at_ports,
        machine.LOG: machine.look_at_log,
        machine.ZONE: machine.look_at_zone,
        "Clock of the database": clocks.look_at_database_clock,
    }
    if deployment.celery:
        checks["Clock of the broker"] = clocks.look_at_broker_clock
    if deployment.mlflow:
        checks["Clock of MLflow"] = clocks.look_at_mlflow_clock
    return checks
