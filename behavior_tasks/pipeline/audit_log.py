"""The log that is audited: the clean events of a real one, written out again, with and without canaries.

In comes an artifact of clean events; out come logs in the canonical columns: the base, one with canaries planted at
and after an instant, one with its rows in another order. The one thing to know: a canary is an event that any shop
could have logged, only unlike all others, so whatever it changes before its own instant has seen the future.

The base repeats one row in a hundred and leaves out all optional values of three in a hundred, so that duplicates,
derived amounts, fills and side tables are audited too, however tidy the log is.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config, SourceConfig
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.events import open_events

CANARY = "canary"
"""Begins every word that only a canary has: its products, categories, brands, genders, shoppers."""
COLUMNS = ("user_id", *(c.name for c in SHOPPER_COLUMNS if c.name != "shopper"))
OPTIONAL = tuple(c.name for c in SHOPPER_COLUMNS if not c.required)
UNKNOWN = "unknown"
CANARY_SHOPPERS, NEW_SHOPPERS, FRANTIC_EVENTS = 500, 100, 300
ABSURD_SHARE = 0.9
"""Of `source.max_amount`: absurd, and still legal."""
FILES = 3
LEFT_OUT_PER_MILLE, REPEATED_PER_MILLE = 30, 10


@dataclass(frozen=True, kw_only=True)
class Plant:
    """Canaries at one place in time."""

    name: str
    at: datetime
    """Instant of the first canary, naive UTC."""
    until: datetime
    """No canary is later."""
    loud: bool
    """Whether they bear prices, ages and genders, and stand in side tables: such canaries may rightly change what is
    fitted on their period."""


class AuditLog:
    """The base log in a database of its own, from which the audited files are written."""

    def __init__(self, clean: Artifact, config: Config, *, most_events: int) -> None:
        """Take the clean events, of as many shoppers as `most_events` (0: all) allows, drawn by a hash of the id."""
        self.connection = connect(memory_mb=config.engine.memory_mb)
        self._load(clean, most_events)
        self._untidy()
        self.max_amount = config.source.max_amount
        self.events, self.shoppers = self.connection.execute(
            "SELECT count(*), count(DISTINCT user_id) FROM log"
        ).fetchall()[0]

    def _load(self, clean: Artifact, most_events: int) -> None:
        names = ", ".join(name for name in COLUMNS if name != "user_id")
        columns = ", ".join(f"{c.name} {c.type}" for c in SHOPPER_COLUMNS if c.name != "shopper")
        self.connection.execute(f"CREATE TABLE log (user_id VARCHAR, {columns})")
        held = clean.manifest.rows.rows_out
        share = 1.0 if not most_events or held <= most_events else most_events / held
        for number, bucket in enumerate(open_events(clean)):
            view = f"bucket_{number}"
            bucket.create_view(self.connection, view)
            # Four hexadecimal digits of a hash: 65,536 equal slices of the shoppers.
            drawn = f"CAST('0x' || left(md5(shopper), 4) AS INTEGER) < {share * 65_536}"
            self.connection.execute(f"INSERT INTO log SELECT shopper, {names} FROM {view} WHERE {drawn}")
            self.connection.execute(f"DROP VIEW {view}")

    def _untidy(self) -> None:
        """Leave out values and repeat rows, told by a hash of the row."""
        words = ", ".join(f"nullif({c}, '{UNKNOWN}') AS {c}" for c in ("category", "gender"))
        chance = "hash(user_id, timestamp, action, product_id) % 1000"
        gone = ", ".join(f"CASE WHEN {chance} >= {LEFT_OUT_PER_MILLE} THEN {c} END AS {c}" for c in OPTIONAL)
        self.connection.execute(f"""
            CREATE TABLE tidy AS SELECT * REPLACE ({words}) FROM log;
            CREATE TABLE untidy AS SELECT * REPLACE ({gone}) FROM tidy;
            INSERT INTO untidy SELECT * FROM untidy WHERE {chance} >= {1000 - REPEATED_PER_MILLE};
            DROP TABLE log; DROP TABLE tidy; ALTER TABLE untidy RENAME TO log;
        """)

    def write(self, folder: Path) -> Path:
        """Write the base log as one file."""
        return self._write("SELECT * FROM log ORDER BY timestamp, hash(user_id, product_id, action)", folder)

    def write_shuffled(self, folder: Path) -> Path:
        """Write the base log's rows, in an order that has nothing to do with theirs, as a folder of FILES files."""
        parts = folder / "parts"
        order = "md5(user_id || product_id || timestamp || action)"
        for number in range(FILES):
            # By row and not by its content, so that copies of one row fall into different files.
            rows = f"SELECT * FROM log WHERE (rowid + hash(user_id)) % {FILES} = {number} ORDER BY {order} DESC"
            self._write(rows, parts, f"events-{number}.csv")
        return parts

    def write_planted(self, folder: Path, plant: Plant) -> Path:
        """Write the base log with canaries as one file."""
        self._make_canaries(plant)
        return self._write("SELECT * FROM log UNION ALL BY NAME SELECT * FROM canaries ORDER BY timestamp", folder)

    def _write(self, query: str, folder: Path, name: str = "events.csv") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        seconds = "CAST(epoch_us(timestamp) // 1000000 AS VARCHAR) || printf('.%06d', epoch_us(timestamp) % 1000000)"
        columns = ", ".join(f"{seconds} AS timestamp" if c == "timestamp" else c for c in COLUMNS)
        path = folder / name
        self.connection.execute(f"COPY (SELECT {columns} FROM ({query})) TO {quote(path)} (FORMAT csv, HEADER)")
        return path

    def _make_canaries(self, plant: Plant) -> None:
        at, until = (f"TIMESTAMP '{instant}'" for instant in (plant.at, plant.until))
        kept = ", ".join(self._known(column, plant) for column in OPTIONAL)
        self.connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE told AS
            SELECT user_id, arg_max(product_id, (timestamp, product_id)) AS product_id,
                   arg_max(category, (timestamp, product_id)) AS category,
                   arg_max(product_id, (timestamp, product_id)) FILTER (action = 'add_to_cart') AS in_cart,
                   row_number() OVER (ORDER BY md5(user_id)) - 1 AS number
            FROM log WHERE timestamp < {at} AND product_id <> '' GROUP BY user_id
            ORDER BY number
        """)
        # Shoppers without canaries remain, or nobody would be left who does not buy.
        told = self.connection.execute("SELECT count(*) FROM told").fetchall()[0][0]
        self.connection.execute(f"DELETE FROM told WHERE number >= {min(CANARY_SHOPPERS, (told + 1) // 2)}")
        # Which column the base log has at all before the instant: that a shop begins to record one is news, no leak.
        there = ", ".join(f"count({column}) > 0 AS has_{column}" for column in OPTIONAL)
        self.connection.execute(f"CREATE OR REPLACE TEMP TABLE known AS SELECT {there} FROM log WHERE timestamp < {at}")
        self.connection.execute(f"""
            CREATE OR REPLACE TEMP TABLE canaries AS
            SELECT user_id, least({at} + to_seconds(CAST(after AS BIGINT)), {until}) AS timestamp, action, product_id,
                   {kept}
            FROM ({_canary_sql(plant.until - plant.at, self.max_amount)}), known
        """)

    def _known(self, column: str, plant: Plant) -> str:
        heard = plant.loud or column in {"category", "brand", "product_name"}
        return f"CASE WHEN has_{column} THEN {column} END AS {column}" if heard else f"NULL AS {column}"


def filled_constants(config: Config) -> set[str]:
    """Return the columns in which `clean` writes a constant where there is no value."""
    return {column for column, rule in config.clean.missing.items() if rule.rule == "constant"}


def audit_config(config: Config) -> Config:
    """Return the settings under which the audited logs are read: the run's own, for a log in the canonical columns.

    How few shoppers are enough plays no part here.
    """
    kept = ("timezone", "max_amount")
    source = SourceConfig.model_validate({name: getattr(config.source, name) for name in kept})
    examples = config.examples.model_copy(update={"min_shoppers": 2, "min_buyers": 1})
    return config.model_copy(update={"source": source, "examples": examples})


def _canary_sql(length: timedelta, max_amount: float) -> str:
    """SQL of the canaries, each so many seconds `after` the instant: of shoppers that are known, new, and frantic.

    The first of each known shopper lie at the very instant: purchases of the product touched last and of that put into
    the cart last, which is what a feature that peeks would look for.
    """
    late = int(length.total_seconds())
    absurd, tiny = ABSURD_SHARE * max_amount, 0.01
    strange = f"""'{CANARY}-product-' || number % 7 AS product_id, '{CANARY}-category' AS category,
        '{CANARY}-brand' AS brand, '{CANARY} name' AS product_name, 99 AS age, '{CANARY}' AS gender"""
    usual = """product_id, category, NULL AS brand, NULL AS product_name, 98 AS age, 'female' AS gender"""

    def money(price: str) -> str:
        return f"1.0 AS quantity, {price} AS price, {price} AS amount"

    none = "NULL AS quantity, NULL AS price, NULL AS amount"
    extreme = f"CASE WHEN number % 2 = 0 THEN {absurd} ELSE {tiny} END"
    carted = usual.replace("product_id,", "coalesce(in_cart, product_id) AS product_id,")
    known = [
        ("purchase", "0", usual, money(extreme)),
        ("purchase", "1", carted, none),
        ("browse", "60 + number", strange, money(str(absurd))),
        ("add_to_cart", "1200 + number", strange, none),
        ("purchase", "2400 + number", strange, money(extreme)),
        ("return", "3600 + number", usual, money("1.0")),
        ("favourite", f"{late} - number", usual, none),
        ("click", f"{late}", strange, none),
    ]
    parts = [
        f"SELECT user_id, {after} AS after, '{action}' AS action, {what}, {price} FROM told"
        for action, after, what, price in known
    ]
    parts.append(f"""SELECT user_id, 4800 + number AS after, 'search' AS action, '' AS product_id, NULL AS category,
        NULL AS brand, NULL AS product_name, '{CANARY} words' AS query, 99 AS age, '{CANARY}' AS gender, {none}
        FROM told""")
    new = f"(SELECT '{CANARY}-shopper-' || range AS user_id, range AS number FROM range({NEW_SHOPPERS}))"
    parts += [
        f"SELECT user_id, 30 + number AS after, '{action}' AS action, {strange}, {money(extreme)} FROM {new}"
        for action in ("browse", "purchase")
    ]
    frantic = f"(SELECT user_id, range AS number FROM told, range({FRANTIC_EVENTS}) WHERE told.number = 0)"
    parts.append(f"SELECT user_id, 6000 + number % 60 AS after, 'browse' AS action, {strange}, {none} FROM {frantic}")
    return " UNION ALL BY NAME ".join(parts)


def count_canaries(connection: duckdb.DuckDBPyConnection) -> int:
    """Return how many canaries were planted last."""
    return int(connection.execute("SELECT count(*) FROM canaries").fetchall()[0][0])
