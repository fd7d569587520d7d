"""Set up everything that a cluster needs before its services start, and again after every change of `.env`.

In come the environment of Airflow and MLflow and the passwords of `.env`; out come roles and databases, tables of this
version, Airflow's permissions, account `admin` and pool `training`, and MLflow's accounts `admin` and `behavior`. The
one thing to know: every step asks first what is there, so running it again changes only what differs, and `.env` wins.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home, make_folder
from behavior_tasks.pipeline.schedules import TRAINING_POOL

ADMIN, TASKS = "admin", "behavior"
ROLES = {"airflow": "AIRFLOW_DB_PASSWORD", "mlflow": "MLFLOW_DB_PASSWORD"}
"""Role of Postgres, which owns the database of the same name → variable with its password."""
POOL_SLOTS = 1
POOL_ABOUT = "Trainings that may run at the same time: one for each GPU."
WAIT_SECONDS = 120
POLL_SECONDS = 2
Environment = Mapping[str, str]


def main() -> int:
    """Do every step; return the exit status."""
    started = time.monotonic()
    try:
        for tell, step in STEPS.items():
            print(f"{tell} …", flush=True)
            step(os.environ)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"ready after {time.monotonic() - started:.0f} s", flush=True)
    return 0


def make_state_folder(environment: Environment) -> None:
    """Make the folder that every part shares, and Airflow's in it."""
    make_folder(current_home().root)
    make_folder(current_home().airflow)


def make_databases(environment: Environment) -> None:
    """Make a role and a database for Airflow and for MLflow, each closed to the other, with the passwords of `.env`."""
    import psycopg
    from psycopg.sql import SQL, Identifier, Literal

    passwords = {role: _needed(variable, environment) for role, variable in ROLES.items()}
    with _superuser(environment) as connection:
        for role, password in passwords.items():
            names = {"role": Identifier(role), "password": Literal(password)}
            known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).fetchone() is not None
            # A statement with a password is never to stand in the server's log.
            connection.execute("SET log_statement = 'none'")
            connection.execute("SET log_min_error_statement = 'panic'")
            verb = SQL("ALTER" if known else "CREATE")
            connection.execute(verb + SQL(" ROLE {role} LOGIN PASSWORD {password}").format(**names))
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [role]).fetchone() is None:
                with suppress(psycopg.errors.DuplicateDatabase):  # another set-up was faster
                    connection.execute(SQL("CREATE DATABASE {role} OWNER {role}").format(**names))
            connection.execute(SQL("REVOKE ALL ON DATABASE {role} FROM PUBLIC").format(**names))


def migrate_airflow(environment: Environment) -> None:
    """Make or upgrade the tables of Airflow and of its accounts."""
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise UserError(
            "Airflow's tables could not be made.",
            found="\n".join((done.stdout + done.stderr).splitlines()[-5:]),
            expected="the database that AIRFLOW__DATABASE__SQL_ALCHEMY_CONN names, of this version or an older one",
            next_step="mend what is named above, then run this script again",
        )


def set_up_airflow(environment: Environment) -> None:
    """Bring permissions and roles up to date; make the account admin and the pool `training`.

    The admin's password becomes that of `.env`; a pool that is there keeps the slots that somebody has given it.
    """
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.utils.providers_configuration_loader import providers_configuration_loaded
    from werkzeug.security import check_password_hash

    password = _needed("AIRFLOW_ADMIN_PASSWORD", environment)

    @providers_configuration_loaded
    def accounts() -> None:
        with get_application_builder() as builder:
            builder.add_permissions(update_perms=True)
            security: Any = builder.sm
            security.sync_roles()
            user = security.find_user(ADMIN)
            if user is None:
                role = security.find_role("Admin")
                security.add_user(ADMIN, "Behavior", "Admin", f"{ADMIN}@localhost", role, password)
            elif not check_password_hash(user.password, password):
                security.reset_password(user.id, password)

    accounts()
    _make_pool()


def _make_pool() -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    with create_session() as session:
        if Pool.get_pool(TRAINING_POOL, session=session) is None:
            Pool.create_or_update_pool(TRAINING_POOL, POOL_SLOTS, POOL_ABOUT, include_deferred=False, session=session)


def set_up_mlflow(environment: Environment) -> None:
    """Make or upgrade MLflow's tables and those of its accounts; make the accounts admin and behavior."""
    from mlflow.db import upgrade
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    address = _needed("MLFLOW_BACKEND_STORE_URI", environment)
    passwords = {name: _needed(f"MLFLOW_{name.upper()}_PASSWORD", environment) for name in (ADMIN, TASKS)}
    # Called in this process: as a command, the address with its password would stand in the list of processes.
    upgrade.main([address], standalone_mode=False)
    accounts = SqlAlchemyStore()
    accounts.init_db(address)
    for name, password in passwords.items():
        if not accounts.has_user(name):
            accounts.create_user(name, password, is_admin=name == ADMIN)
        elif not accounts.authenticate_user(name, password):
            accounts.update_user(name, password=password)


def make_bucket(environment: Environment) -> None:
    """Make the bucket of MLflow's artifacts, where they are to lie in an S3-compatible store."""
    destination = environment.get("MLFLOW_ARTIFACTS_DESTINATION", "")
    if not destination.startswith("s3://"):
        return
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    bucket = destination.removeprefix("s3://").partition("/")[0]
    # Where the store stands and who we are comes from AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    client = boto3.client("s3")
    try:
        if bucket not in {known["Name"] for known in client.list_buckets()["Buckets"]}:
            client.create_bucket(Bucket=bucket)
    except (BotoCoreError, ClientError) as error:
        raise UserError(
            f"The bucket {bucket} could not be made.",
            found=error,
            expected="an S3-compatible store at AWS_ENDPOINT_URL_S3 that takes this key",
            next_step="start it (profile s3), or check BEHAVIOR_S3_ENDPOINT, S3_ACCESS_KEY and S3_SECRET_KEY in .env",
        ) from None


def write_spark_settings(environment: Environment) -> None:
    """Write what every part of Spark reads from SPARK_CONF_DIR: who does not know the secret may not take part.

    Jobs carry the key of the pseudonyms, so what travels between Spark's parts is encrypted too.
    """
    secret = environment.get("SPARK_AUTH_SECRET")
    if not secret:
        return
    folder = current_home().secrets / "spark"
    make_folder(folder.parent).chmod(0o700)
    folder.mkdir(mode=0o700, exist_ok=True)
    settings = {
        "spark.authenticate": "true",
        "spark.authenticate.secret": secret,
        "spark.network.crypto.enabled": "true",
    }
    path = folder / "spark-defaults.conf"
    write_durably(path, "".join(f"{name} {value}\n" for name, value in settings.items()).encode())
    path.chmod(0o600)


STEPS: Mapping[str, Callable[[Environment], None]] = {
    "State folder": make_state_folder,
    "Roles and databases of Postgres": make_databases,
    "Tables of Airflow": migrate_airflow,
    "Permissions, account admin and pool of Airflow": set_up_airflow,
    "Tables and accounts of MLflow": set_up_mlflow,
    "Settings of Spark": write_spark_settings,
    "Bucket of MLflow's artifacts": make_bucket,
}


def _superuser(environment: Environment) -> Any:
    """Return a connection that commits every statement; waits for a server that is just starting."""
    import psycopg

    address = _needed("POSTGRES_SUPERUSER_URI", environment)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return psycopg.connect(address, dbname="postgres", autocommit=True, connect_timeout=5)
        except psycopg.OperationalError as error:
            # A server that answers with a refusal is there: a wrong password gets no better by waiting.
            refused = "authentication failed" in str(error)
            if refused or time.monotonic() > deadline:
                raise UserError(
                    "Postgres refuses the superuser's password." if refused else "Postgres does not answer.",
                    found=str(error).strip().splitlines()[-1],
                    expected="the server of POSTGRES_SUPERUSER_URI, with the password that it was first started with",
                    next_step="bring back the .env of that start" if refused else "start Postgres, then again",
                ) from None
        time.sleep(POLL_SECONDS)


def _needed(variable: str, environment: Environment) -> str:
    if not environment.get(variable):
        raise UserError(f"The variable {variable} is not set.", next_step="make secrets, which writes .env")
    return environment[variable]


if __name__ == "__main__":
    sys.exit(main())
