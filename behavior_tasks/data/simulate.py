"""The simulated shop: writes a log as a shop would export it, and beside it how well anyone could predict from it.

In: `SimulateConfig` and the timeline that the pipeline will lay over the log. Out: `events.csv`, `oracle.parquet`
(each eligible shopper's true probability to buy) and `oracle.json` (the best possible scores). The one thing to know:
the mess of a real export (duplicates, broken rows, absurd amounts) is added last and never changes who bought.

Shoppers live in blocks, one after the other, so the memory stays flat however many there are.
"""

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from behavior_tasks.base.artifacts import Output, Rows, hash_file
from behavior_tasks.base.config import ExamplesConfig, SimulateConfig
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, bucket_files, connect, quote, write_parquet
from behavior_tasks.base.timeline import Timeline, plan
from behavior_tasks.data.oracle import Rules, best_possible, best_threshold, foresee
from behavior_tasks.data.sessions import FEMALE, GENDERS, MALE, PURCHASE, SEARCH, make_profile, simulate_block
from behavior_tasks.data.shop import CATEGORIES, make_calendar, make_catalogue, profile_effect

BLOCK_SHOPPERS = 20_000
LIVING, MESS, FUTURES = 1, 2, 3
"""Streams of random numbers: what one of them draws never shifts another."""
DUPLICATE_SHARE, BROKEN_SHARE, NO_CATEGORY_SHARE, OUTLIER_SHARE = 0.003, 0.002, 0.02, 0.001
OUTLIER_FACTOR = 100
BROKEN_TIMES = ("", "n/a", "31.02.2026 25:61")
COLUMNS = (
    "user_id",
    "action",
    "product_id",
    "timestamp",
    "quantity",
    "price",
    "amount",
    "category",
    "query",
    "age",
    "gender",
)
"""Header of events.csv."""
QUERY_WORDS = ("", " sale", " gift", " cheap", "best ")
log = logging.getLogger("behavior")


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """What `simulate_shop` wrote."""

    shoppers: int
    rows: int
    """Rows of events.csv, the broken ones included."""
    first: datetime
    """Instant of the first valid event, naive UTC."""
    last: datetime
    oracle: dict[str, Any]
    """Content of oracle.json."""


def simulate_stage(job: Job) -> Output:
    """Write the simulated shop of the job's configuration."""
    made = simulate_shop(
        job.config.simulate,
        job.out,
        examples=job.config.examples,
        timezone=job.config.source.timezone,
        memory_mb=job.config.engine.memory_mb,
    )
    return Output(
        rows=Rows(unit_in="shoppers", unit_out="rows", rows_in=made.shoppers, rows_out=made.rows),
        content_hash=hash_file(job.out / "events.csv"),
        facts={"first": made.first.isoformat(), "last": made.last.isoformat(), "best_possible": made.oracle["test"]},
    )


def simulate_shop(
    config: SimulateConfig,
    out: Path,
    *,
    examples: ExamplesConfig,
    timezone: str = "UTC",
    memory_mb: int = 2048,
) -> Simulated:
    """Write `events.csv`, `oracle.parquet` and `oracle.json` into an existing folder.

    Args:
        examples: horizon, cutoffs and lookback for which the best possible scores hold.
        timezone: zone of the shop's midnights; the days of the log are local ones.

    Returns:
        What was written. `oracle["test"]` is None when the log is too short for the timeline.
    """
    work = out / ".blocks"
    for name in ("events", "mess"):
        (work / name).mkdir(parents=True)
    catalogue = make_catalogue(config.products, _stream(config, 0))
    rules = Rules(
        catalogue=catalogue,
        calendar=make_calendar(config.days, timezone),
        lookback_days=examples.lookback_days,
        rollouts=config.rollouts,
    )
    with connect(memory_mb=memory_mb) as connection:
        connection.execute(f"SET temp_directory = {quote(work / 'spill')}")
        _register_words(connection, rules)
        for block, shoppers in enumerate(_blocks(config.shoppers)):
            _live(block, shoppers, config, rules, connection=connection, work=work)
        rows = _write_csv(connection, work, out / "events.csv", width=len(str(config.shoppers)))
        first, last = _span(connection, work)
        timeline = plan(
            first,
            last,
            horizon_days=examples.horizon_days,
            train_cutoffs=examples.train_cutoffs,
            train_every_days=examples.train_every_days,
            timezone=timezone,
        )
        foreseen = _foresee(config, rules, timeline, work / "events")
        _write_oracle(connection, foreseen, out / "oracle.parquet", width=len(str(config.shoppers)))
    oracle = _score(foreseen, config)
    (out / "oracle.json").write_text(json.dumps(oracle, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(work)
    log.info("simulated %d shoppers: %d rows; best possible on test: %s", config.shoppers, rows, oracle["test"])
    return Simulated(shoppers=config.shoppers, rows=rows, first=first, last=last, oracle=oracle)


def _blocks(shoppers: int) -> Iterator[int]:
    """Yield the sizes of the blocks."""
    for begin in range(0, shoppers, BLOCK_SHOPPERS):
        yield min(BLOCK_SHOPPERS, shoppers - begin)


def _stream(config: SimulateConfig, *path: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=path))


def _live(
    block: int,
    shoppers: int,
    config: SimulateConfig,
    rules: Rules,
    *,
    connection: duckdb.DuckDBPyConnection,
    work: Path,
) -> None:
    """Simulate one block, and write its events and its mess as coded Parquet files."""
    profile = make_profile(shoppers, rules.catalogue, rules.calendar, _stream(config, LIVING, block))
    seeds = np.random.SeedSequence(config.seed, spawn_key=(LIVING, block, 0))
    events, _ = simulate_block(profile, rules.catalogue, rules.calendar, seeds)
    rng = _stream(config, MESS, block)
    events = events.assign(
        number=1 + block * BLOCK_SHOPPERS + events["shopper"],
        age=profile.age[events["shopper"]],
        gender=profile.gender[events["shopper"]],
        words=rng.integers(0, len(QUERY_WORDS), len(events)),
        no_category=rng.random(len(events)) < NO_CATEGORY_SHARE,
        factor=_factors(events, rng),
    )
    _keep(connection, events, bucket_file(work / "events", block))
    _keep(connection, _mess(events, rng), bucket_file(work / "mess", block))


def _keep(connection: duckdb.DuckDBPyConnection, table: pd.DataFrame, path: Path) -> None:
    connection.register("table_to_keep", table)
    write_parquet(connection, "SELECT * FROM table_to_keep", path)
    connection.unregister("table_to_keep")


def _factors(events: pd.DataFrame, rng: np.random.Generator) -> np.ndarray:
    """Return what to multiply each amount with: 1, and a slip of two digits for a few purchases."""
    factor = np.ones(len(events), dtype=np.int64)
    purchases = np.flatnonzero(events["action"] == PURCHASE)
    slips = min(len(purchases), max(1, round(OUTLIER_SHARE * len(purchases))))
    factor[rng.choice(purchases, slips, replace=False)] = OUTLIER_FACTOR
    return factor


def _mess(events: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return extra rows: exact duplicates (`broken` 0) and copies with one field broken in one of four ways."""
    copies = rng.choice(len(events), max(1, round(DUPLICATE_SHARE * len(events))), replace=False)
    broken = rng.choice(len(events), max(4, round(BROKEN_SHARE * len(events))))
    mess = events.iloc[np.concatenate([copies, broken])].reset_index(drop=True)
    kind = np.concatenate([np.zeros(len(copies), dtype=np.int64), 1 + np.arange(len(broken)) % 4])
    return mess.assign(broken=kind, variant=rng.integers(0, len(BROKEN_TIMES), len(mess)))


def _register_words(connection: duckdb.DuckDBPyConnection, rules: Rules) -> None:
    """Make the tables that turn codes into words."""
    labels = rules.catalogue.label
    width = max(4, len(str(len(labels))))
    tables = {
        "actions": pd.DataFrame({"code": range(len(ACTIONS)), "word": ACTIONS}),
        "genders": pd.DataFrame({"code": range(1, len(GENDERS)), "word": GENDERS[1:]}),
        "categories": pd.DataFrame({"code": range(len(CATEGORIES)), "word": [c.name for c in CATEGORIES]}),
        "labels": pd.DataFrame({"code": range(len(labels)), "word": [f"p{n:0{width}d}" for n in labels]}),
        "query_words": pd.DataFrame({"code": range(len(QUERY_WORDS)), "word": QUERY_WORDS}),
        "broken_times": pd.DataFrame({"code": range(len(BROKEN_TIMES)), "word": BROKEN_TIMES}),
    }
    for name, table in tables.items():
        connection.register("words_to_keep", table)
        connection.execute(f"CREATE TABLE {name} AS SELECT * FROM words_to_keep")
        connection.unregister("words_to_keep")


def _user_id_sql(number: str, width: int) -> str:
    return f"'u' || lpad(CAST({number} AS VARCHAR), {max(5, width)}, '0')"


def _write_csv(connection: duckdb.DuckDBPyConnection, work: Path, path: Path, *, width: int) -> int:
    """Write all rows in order of time, and of every column where the instant is the same; return how many."""
    amount = "quantity * cents * factor"
    query = f"""
        WITH coded AS (
            SELECT *, -1 AS broken, 0 AS variant FROM read_parquet({quote(work / "events" / "*.parquet")})
            UNION ALL BY NAME SELECT * FROM read_parquet({quote(work / "mess" / "*.parquet")})
        ), written AS (
            SELECT second,
                CASE WHEN broken = 1 THEN '' ELSE {_user_id_sql("number", width)} END AS user_id,
                CASE WHEN broken = 2 THEN 'wishlist' WHEN broken = 4 THEN 'purchase' ELSE actions.word END AS action,
                labels.word AS product_id,
                CASE WHEN broken = 3 THEN broken_times.word ELSE CAST(second AS VARCHAR) END AS timestamp,
                CASE WHEN quantity > 0 THEN quantity END AS quantity,
                CASE WHEN cents >= 0 THEN CAST(cents / 100 AS DECIMAL(18, 2)) END AS price,
                CASE WHEN broken = 4 THEN -9.9 WHEN quantity > 0 THEN CAST({amount} / 100 AS DECIMAL(18, 2)) END
                    AS amount,
                CASE WHEN action <> {SEARCH} AND NOT no_category THEN categories.word END AS category,
                CASE WHEN action <> {SEARCH} THEN NULL WHEN query_words.word LIKE '% ' THEN
                    query_words.word || categories.word ELSE categories.word || query_words.word END AS query,
                CASE WHEN age >= 0 THEN age END AS age,
                genders.word AS gender
            FROM coded JOIN actions ON action = actions.code JOIN categories ON coded.category = categories.code
                JOIN query_words ON words = query_words.code JOIN broken_times ON variant = broken_times.code
                LEFT JOIN labels ON product = labels.code LEFT JOIN genders ON coded.gender = genders.code
        )
        SELECT {", ".join(COLUMNS)} FROM written ORDER BY second, {", ".join(f"{c} NULLS FIRST" for c in COLUMNS)}
    """
    written = connection.execute(f"COPY ({query}) TO {quote(path)} (FORMAT csv, HEADER)").fetchall()
    return int(written[0][0])


def _span(connection: duckdb.DuckDBPyConnection, work: Path) -> tuple[datetime, datetime]:
    """Return the instants of the first and the last valid event, naive UTC."""
    query = f"SELECT min(second), max(second) FROM read_parquet({quote(work / 'events' / '*.parquet')})"
    first, last = connection.execute(query).fetchall()[0]
    return datetime.fromtimestamp(first, UTC).replace(tzinfo=None), datetime.fromtimestamp(last, UTC).replace(
        tzinfo=None
    )


def _foresee(config: SimulateConfig, rules: Rules, timeline: Timeline | None, folder: Path) -> pd.DataFrame:
    """Return the oracle's view of the validation and the test window, in order of (cutoff, shopper)."""
    windows = (timeline.validation, timeline.test) if timeline else ()
    columns = ["number", "split", "cutoff", "probability", "error", "bought"]
    tables = []
    for place, window in enumerate(windows):
        for block, path in enumerate(bucket_files(folder)):
            events = pd.read_parquet(path)
            # Everyone has an event, and what each has told of age and gender stands on all of theirs.
            told = events.drop_duplicates("shopper").sort_values("shopper")
            gender = told["gender"].to_numpy()
            effect = profile_effect(told["age"].to_numpy(), gender == FEMALE, gender == MALE)
            rng = _stream(config, FUTURES, block, place)
            table = foresee(events, effect, rules, window, rng)
            tables.append(table.assign(number=1 + block * BLOCK_SHOPPERS + table["shopper"])[columns])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def _write_oracle(connection: duckdb.DuckDBPyConnection, foreseen: pd.DataFrame, path: Path, *, width: int) -> None:
    query = f"""
        SELECT {_user_id_sql("number", width)} AS user_id, CAST(split AS VARCHAR) AS split,
            CAST(cutoff AS TIMESTAMP) AS cutoff, CAST(probability AS DOUBLE) AS probability,
            CAST(bought AS BOOLEAN) AS bought
        FROM foreseen_rows ORDER BY cutoff, user_id
    """
    connection.register("foreseen_rows", foreseen)
    write_parquet(connection, query, path)
    connection.unregister("foreseen_rows")


def _score(foreseen: pd.DataFrame, config: SimulateConfig) -> dict[str, Any]:
    """Return the content of oracle.json; the threshold is chosen on validation."""
    if foreseen.empty:
        return {"test": None, "validation": None, "rollouts": config.rollouts, "mean_standard_error": None}
    by_split = dict(tuple(foreseen.groupby("split")))
    threshold = best_threshold(by_split["validation"])
    return {
        **{split: best_possible(by_split[split], threshold=threshold) for split in ("test", "validation")},
        "rollouts": config.rollouts,
        "mean_standard_error": float(by_split["test"]["error"].mean()),
    }
