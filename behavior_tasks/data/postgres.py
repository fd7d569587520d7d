"""A log in a Postgres database: one query, streamed by the server into a CSV file of the state folder.

In come an address and `source.query`; out comes the copy of the result. The one thing to know: the server writes the
CSV (`COPY … TO STDOUT`: UTF-8, RFC 4180, NULL as nothing), so no row is held in memory here, and an equal result in
equal order gives equal bytes. The order of rows is the query's; it changes the copy's hash but no event, because
events are sorted. Times with a zone come in UTC with `+00`, so that `source.time_format: iso` reads them.
"""

import re
from pathlib import Path
from urllib.parse import unquote

from behavior_tasks.base.addresses import POSTGRES, scheme_of, shown_address
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.rawstore import Writable, copy_name, keep_copy
from behavior_tasks.data.remote import Fetched, Place

CONNECT_SECONDS = 15
SUFFIX = ".csv"
SESSION = "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'"


def fetch_query(address: str, query: str, place: Place) -> Fetched:
    """Run the query once, in a read-only transaction, and return the copy of its result.

    Args:
        address: `postgresql://user@host:port/database`; a password may also come from PGPASSWORD or ~/.pgpass.
        query: a SELECT.

    Raises:
        UserError: without a query, when the server refuses, or when the query is wrong. No message holds a password.
    """
    shown = shown_address(address)
    statement = query.strip().rstrip(";").strip()
    if not statement:
        raise UserError(
            f"There is no query for the database {shown}.",
            expected="source.query: SELECT user_id, action, product_id, timestamp FROM …",
            next_step="--set 'source.query=SELECT user_id, action, product_id, timestamp FROM events'",
        )
    name = _name(shown)
    fixed = place.home.raw / copy_name(place.known.get(name, "-"), SUFFIX)
    if fixed.is_file():
        return Fetched(path=fixed, name=name, shown=shown, sha256=place.known[name])
    copy = keep_copy(
        place.home,
        lambda out: _stream(address, statement, out, shown),
        suffix=SUFFIX,
        shown=shown,
        min_free_mb=place.min_free_mb,
    )
    return Fetched(path=copy.path, name=name, shown=shown, sha256=copy.sha256)


def _name(shown: str) -> str:
    """Return the file name under which the result stands in facts: the database's name."""
    database = Path(shown.partition("?")[0].partition("://")[2]).name
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '_', database) or 'database'}-query{SUFFIX}"


def _stream(address: str, statement: str, out: Writable, shown: str) -> None:
    try:
        import psycopg
    except ImportError:
        raise UserError(
            f"Reading {shown} needs a driver that is not installed.", next_step="pip install 'psycopg[binary]'"
        ) from None
    # libpq knows neither SQLAlchemy's `postgresql+psycopg` nor capitals.
    plain = "postgresql" + address[len(scheme_of(address)) :] if scheme_of(address) in POSTGRES else address
    try:
        with psycopg.connect(plain, connect_timeout=CONNECT_SECONDS, application_name="behavior") as connection:
            connection.read_only = True
            connection.execute(SESSION.encode())
            text = f"COPY ({statement}\n) TO STDOUT (FORMAT csv, HEADER true, ENCODING 'UTF8')"
            with connection.cursor() as cursor, cursor.copy(text.encode()) as rows:
                for block in rows:
                    out.write(bytes(block))
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        raise UserError(
            f"The database {shown} can't be read.",
            found=_said(error, address),
            next_step="check host, port, database and user; the password comes from PGPASSWORD, ~/.pgpass or the URL",
        ) from None
    except psycopg.Error as error:
        raise UserError(
            f"The query on {shown} failed.",
            found=_said(error, address),
            expected="one SELECT that the database understands",
            next_step="try source.query in psql first",
        ) from None


def _said(error: Exception, address: str) -> str:
    """Return what the server said, without the statement and, should a driver repeat it, the password."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith(("LINE", " "))]
    text = "; ".join(lines[:2]) or type(error).__name__
    secret = re.search(r"://[^:@/]*:(.*)@", address)
    for word in {secret[1], unquote(secret[1])} - {""} if secret else ():
        text = text.replace(word, "***")
    return text
