"""Airflow's metadata database: whether it answers, what it is, and whether its tables are of this Airflow's version.

In come the address and the installed Airflow's migrations, which are read as text; out come findings, and a connection
for the checks that ask further. The one thing to know: Airflow is never imported for it.
"""

import importlib.util
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from behavior_tasks.pipeline.deployment.finding import Finding, UnseenError, fail, ok, warn
from behavior_tasks.pipeline.deployment.settings import ANSWER_SECONDS, CONNECT_SECONDS, DATABASE, Deployment, place_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

WHAT, TABLES = "Metadata database", "Airflow's tables"
OLDEST_POSTGRES = 13
"""Major version; Airflow 3 is tested with none that is older."""
SLOW_SECONDS = 0.05
"""For one small question; the scheduler asks thousands."""
REVISION = re.compile(r"^(down_)?revision\b[^=\n]*=\s*[\"']([^\"']+)", re.MULTILINE)
MIGRATE = "airflow db migrate, in the environment of the services (compose: docker compose up init)"


@contextmanager
def connected(deployment: Deployment) -> Iterator["Connection"]:
    """Give a connection to the metadata.

    Raises:
        UnseenError: when the database does not answer or holds no tables of Airflow; other checks say so.
    """
    from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

    try:
        with open_database(deployment.database) as connection:
            yield connection
    except ProgrammingError:
        raise UnseenError(f"the database lacks Airflow's tables: see {TABLES}") from None
    except SQLAlchemyError as error:
        lacks = "no such table" in str(error)
        raise UnseenError(
            f"the database lacks Airflow's tables: see {TABLES}" if lacks else f"no database: see {WHAT}"
        ) from None


@contextmanager
def open_database(address: str) -> Iterator["Connection"]:
    """Give a connection that waits seconds, not minutes, and writes nothing.

    Raises:
        SQLAlchemyError: as the driver says it.
    """
    from sqlalchemy import NullPool, create_engine
    from sqlalchemy.engine import make_url

    url = make_url(address)
    arguments: dict[str, object] = {}
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        wait = f"-c statement_timeout={ANSWER_SECONDS * 1000:.0f} -c default_transaction_read_only=on"
        arguments = {"connect_timeout": int(CONNECT_SECONDS), "options": wait}
    elif url.get_backend_name() == "sqlite":
        # Without this, a missing file would be made by looking at it.
        url = url.set(database=f"file:{url.database}", query={"mode": "ro", "uri": "true"})
    engine = create_engine(url, poolclass=NullPool, connect_args=arguments)
    with engine.connect() as connection:
        yield connection


def look_at_database(deployment: Deployment) -> list[Finding]:
    """Say whether the metadata database answers, how fast, and whether it fits the executor."""
    from sqlalchemy import text
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if not deployment.database:
        return [fail(WHAT, f"{DATABASE} is not set", "set it, e.g. in .env; make up does so for one machine")]
    if deployment.database.startswith("sqlite") and deployment.executor not in {"LocalExecutor", "SequentialExecutor"}:
        advice = f"give the services a Postgres database ({DATABASE}); SQLite serves one machine only"
        return [fail(WHAT, f"SQLite with {deployment.executor}", advice)]
    try:
        with open_database(deployment.database) as connection:
            kind, version = connection.dialect.name, connection.dialect.server_version_info or ()
            waits = []
            for _ in range(5):
                begun = time.perf_counter()
                connection.execute(text("SELECT 1"))
                waits.append(time.perf_counter() - begun)
    except ArgumentError:
        return [fail(WHAT, f"{DATABASE} is no database's address", "postgresql+psycopg2://user:password@host/airflow")]
    except SQLAlchemyError as error:
        return [_unreachable(error, deployment)]
    shown = ".".join(map(str, version))
    told = f"{kind} {shown} at {place_of(deployment.database)}, {median(waits) * 1000:.1f} ms an answer"
    if kind not in {"postgresql", "sqlite"}:
        return [warn(WHAT, told, "only Postgres (and SQLite on one machine) is tested")]
    if kind == "postgresql" and version and int(version[0]) < OLDEST_POSTGRES:
        return [warn(WHAT, told, f"upgrade to Postgres {OLDEST_POSTGRES} or newer")]
    if median(waits) > SLOW_SECONDS:
        return [warn(WHAT, told, "bring database and scheduler nearer together, or see what keeps the database busy")]
    return [ok(WHAT, told)]


def look_at_tables(deployment: Deployment) -> list[Finding]:
    """Say whether the tables are those of the installed Airflow, and its accounts' tables too."""
    from sqlalchemy import inspect, text

    expected = {"alembic_version": newest_revision("airflow", "migrations/versions")}
    if "Fab" in deployment.get("AIRFLOW__CORE__AUTH_MANAGER"):
        expected["alembic_version_fab"] = newest_revision("airflow", "providers/fab/migrations/versions")
    with connected(deployment) as connection:
        there = set(inspect(connection).get_table_names())
        now = {
            name: set(connection.execute(text(f"SELECT version_num FROM {name}")).scalars())
            for name in expected
            if name in there
        }
    for name, head in expected.items():
        if head is None:
            raise UnseenError("Airflow is not installed where this command runs; run it in one of the services")
        if name not in now:
            return [fail(TABLES, f"not made yet ({name} is missing)", MIGRATE)]
        if now[name] != {head}:
            found = f"{name} is at {', '.join(sorted(now[name])) or 'nothing'}, the installed Airflow wants {head}"
            return [fail(TABLES, found, f"{MIGRATE}; all services have to be of one version")]
    return [ok(TABLES, f"at the installed Airflow's newest migration ({', '.join(map(str, expected.values()))})")]


def newest_revision(package: str, folder: str) -> str | None:
    """Return the migration on which no other builds, from the text of a package's migrations; None without them."""
    spec = importlib.util.find_spec(package)
    files = [f for place in (spec.submodule_search_locations or [] if spec else []) for f in _scripts(place, folder)]
    revisions: set[str] = set()
    built_on: set[str] = set()
    for file in files:
        for down, name in REVISION.findall(file.read_text(encoding="utf-8")):
            (built_on if down else revisions).add(name)
    heads = revisions - built_on
    return heads.pop() if len(heads) == 1 else None


def _scripts(place: str, folder: str) -> list[Path]:
    return sorted((Path(place) / folder).glob("[0-9]*.py"))


def said_by(error: Exception) -> str:
    """Return what a driver said, in one line."""
    cause = str(getattr(error, "orig", None) or error)
    return " ".join(cause.split())[:300]


def _unreachable(error: Exception, deployment: Deployment) -> Finding:
    """Say why there is no connection; only a server that is not there (yet) may come by itself."""
    found, said = f"{place_of(deployment.database)}: {said_by(error)}", str(error)
    if deployment.database.startswith("sqlite"):
        return fail(WHAT, found, "make up, or make run: both make the database")
    if "password" in said or "authentication" in said:
        return fail(WHAT, found, f"the password in {DATABASE} is not the role's: see AIRFLOW_DB_PASSWORD in .env")
    if "does not exist" in said:
        advice = "make the role and the database: the first start of Postgres does so on an empty volume"
        return fail(WHAT, found, advice)
    if "resolve" in said or "translate host name" in said:
        advice = "no machine has this name here: run the command inside the services' network, or mend the host"
        return fail(WHAT, found, advice, passing=True)
    advice = "start Postgres, or mend host and port; `behavior wait database` waits until it answers"
    return fail(WHAT, found, advice, passing=True)
