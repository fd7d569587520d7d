"""Identities: every raw id becomes a keyed pseudonym; nothing after this stage has seen a raw one.

In come the clean events; out come the same events with `shopper` (HMAC-SHA256 of the user_id, 20 hexadecimal
digits) for `user_id`, and without the free text of searches. The one thing to know: the key lives outside all
artifacts, and whoever holds it and the log can tell who a shopper is; nobody else can.
"""

import hmac
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow as pa

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, combine_hashes, connect, full_disk, quote
from behavior_tasks.data.buckets import Summary, connect_spilling, event_facts, summarise, write_sorted
from behavior_tasks.data.keys import fingerprint, identity_key

PSEUDONYM_LENGTH = 20
"""Hexadecimal digits: 80 bits, so that among a hundred million shoppers no two are expected to be the same."""
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    """One bucket's work."""

    source: Path
    out: Path
    spill: Path
    memory_mb: int
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Replaced:
    """What one bucket gave."""

    summary: Summary
    rows_in: int
    users: int


def key_fingerprint(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return the fingerprint of the identity key, making the key when there is none yet.

    Raises:
        UserError: when the key is damaged or others may read it.
    """
    return {"identity_key": fingerprint(identity_key(home))}


def pseudonym(user_id: str, key: bytes) -> str:
    """Return the pseudonym of a raw id.

    >>> pseudonym("17850", bytes(32)) == pseudonym("17850", bytes(32)) != pseudonym("17850", bytes(31) + b"x")
    True
    """
    return hmac.digest(key, user_id.encode(), "sha256").hex()[:PSEUDONYM_LENGTH]


@full_disk()
def identities_stage(job: Job) -> Output:
    """Write `events/` with pseudonyms.

    Raises:
        UserError: when the key is damaged or others may read it.
    """
    cleaned = job.inputs["clean"]
    key = identity_key(job.home)
    work = job.out / ".work"
    for folder in (work, job.out / "events"):
        folder.mkdir()
    jobs = [
        _Bucket(
            source=source,
            out=job.out / "events" / source.name,
            spill=work / f"spill-{source.stem}",
            memory_mb=job.config.engine.memory_mb,
            key=key,
        )
        for source in bucket_files(cleaned.path / "events")
    ]
    rows = cleaned.manifest.rows.rows_out
    done = run_buckets(_replace_ids, jobs, engine=job.config.engine, what="identities", rows=rows)
    shutil.rmtree(work)
    users = sum(part.users for part in done)
    assert _count_shoppers([bucket.out for bucket in jobs]) == users, "two users got the same pseudonym"
    rows_out = sum(part.summary.rows for part in done)
    log.info("identities: %d users in %d rows", users, rows_out)
    return Output(
        rows=Rows(
            unit_in="rows", unit_out="rows", rows_in=sum(part.rows_in for part in done), rows_out=rows_out, removed={}
        ),
        content_hash=combine_hashes(part.summary.content_hash for part in done),
        facts={
            **event_facts((part.summary for part in done), SHOPPER_COLUMNS),
            "shoppers": users,
            "key_fingerprint": fingerprint(key),
        },
    )


def _replace_ids(bucket: _Bucket) -> _Replaced:
    """Write one bucket with pseudonyms."""
    with connect_spilling(bucket.spill, memory_mb=bucket.memory_mb) as connection:
        source = f"read_parquet({quote(bucket.source)})"
        users = [row[0] for row in connection.execute(f"SELECT DISTINCT user_id FROM {source}").fetchall()]
        _keep_pseudonyms(connection, users, bucket.key)
        write_sorted(connection, f"{source} JOIN pseudonyms USING (user_id)", bucket.out, SHOPPER_COLUMNS)
        rows_in = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
        summary = summarise(connection, bucket.out, SHOPPER_COLUMNS)
    return _Replaced(summary=summary, rows_in=rows_in, users=len(users))


def _keep_pseudonyms(connection: duckdb.DuckDBPyConnection, users: Sequence[str], key: bytes) -> None:
    """Make the table pseudonyms (user_id, shopper)."""
    shoppers = [pseudonym(user, key) for user in users]
    table = pa.table({"user_id": pa.array(users, pa.string()), "shopper": pa.array(shoppers, pa.string())})
    connection.register("pseudonyms_to_keep", table)
    connection.execute("CREATE TEMP TABLE pseudonyms AS SELECT * FROM pseudonyms_to_keep")
    connection.unregister("pseudonyms_to_keep")


def _count_shoppers(files: Sequence[Path]) -> int:
    """Return how many different shoppers there are in all buckets together."""
    with connect() as connection:
        query = f"SELECT count(DISTINCT shopper) FROM read_parquet([{', '.join(map(quote, files))}])"
        return int(connection.execute(query).fetchall()[0][0])
