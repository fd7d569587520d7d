"""A model that is asked with raw events: a table of events in; a row for each shopper, or each of their products, out.

The way is that of the pipeline, by its own functions: parse, clean, features, text, tokens, scores. What the pipeline
knew of the whole log travels along as a folder (`event_folder`). The one thing to know: requests share one database in
memory, in which each has a schema of its own for as long as it is answered, so they never see one another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Self
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import pandas as pd

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.request import Reader
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.examples.features import EXAMPLE_COLUMNS, compute_features
from behavior_tasks.examples.market import FrozenMarket
from behavior_tasks.model.boosting_bundle import BoostingScorer
from behavior_tasks.model.device import DeviceName
from behavior_tasks.model.event_folder import MARKET_FILES, EventSettings
from behavior_tasks.model.predict import Scorer, open_scorer
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import SETTINGS_FILE as TEXT_FILE
from behavior_tasks.text.verbalize import make_texts

MEMORY_MB = 2048


@dataclass(frozen=True, kw_only=True)
class RawModel:
    """A model and what it must know of the log, loaded once and asked often, from any number of threads."""

    settings: EventSettings
    reader: Reader
    scorer: Scorer | BoostingScorer
    text: TextSettings | None
    """None: the model reads no text."""
    base: duckdb.DuckDBPyConnection
    """Holds what all requests share; each has a schema of its own in it while it is answered."""
    numbers: Iterator[int] = field(default_factory=count)
    lock: Lock = field(default_factory=Lock)

    @classmethod
    def load(cls, model: Path, events: Path, *, device: DeviceName = "auto", threads: int = 2) -> Self:
        """Load a model folder and the folder that `save_event_folder` wrote beside it.

        Raises:
            UserError: when the model folder can't be read.
        """
        settings = EventSettings.load(events)
        reader, base = Reader.load(settings.reader, events), connect(memory_mb=MEMORY_MB)
        reader.prepare(base)
        for name, file in zip(("shop_products", "shop_categories"), MARKET_FILES, strict=True):
            base.execute(f"CREATE TABLE {name} AS SELECT * FROM read_parquet({quote(events / file)})")
        text = model / TEXT_FILE
        return cls(
            settings=settings,
            reader=reader,
            scorer=open_scorer(model, device=device, threads=threads),
            text=TextSettings.load(text) if text.is_file() else None,
            base=base,
        )

    def score(self, rows: pd.DataFrame, *, today: date, as_of: str = "", version: str = "") -> pd.DataFrame:
        """Return what the model says of the shoppers whose events these are.

        Args:
            rows: events of whole histories, by the canonical names; see `Reader.read`.
            today: events of later days are set aside.
            as_of: the instant to look at; only events before it count. Empty: just after the last event.
            version: comes back in every row.

        Returns:
            A row a shopper in the order in which they first come up (of the unit shopper_product a row for each
            product touched in the lookback, by id): `user_id` as it was given, `product_id`, `probability`,
            `expected_amount` (NaN without amount head), `decision`, `version`.

        Raises:
            UserError: when the table or the instant can't be used.
        """
        asked = read_instant(as_of, self.settings.reader.source.timezone) if as_of else None
        with self._workspace() as connection:
            # An event of today or before counts whatever the instant; so does one before an instant yet to come.
            request = self.reader.read(connection, rows, read_on=max(today, asked.date()) if asked else today)
            last = request.last
            until = asked or (
                last + timedelta(microseconds=1) if last else datetime.combine(today, datetime.min.time())
            )
            self.reader.clean(connection, request, until, "stored")
            self._choose(connection, list(request.users), until)
            features = self._features(connection)
            parts = self._texts(connection, len(features))
        place = {name: number for number, name in enumerate(request.users)}
        order = np.argsort(features["shopper"].map(place).to_numpy(), kind="stable")
        answers = {
            "user_id": pd.Series(list(request.users.values())).iloc[features["shopper"].map(place)].to_list(),
            **({"product_id": features["product_id"].to_list()} if self.settings.examples.unit != "shopper" else {}),
            **self._scores(parts, features),
            "version": version,
        }
        return pd.DataFrame(answers, index=features.index).iloc[order].reset_index(drop=True)

    @contextmanager
    def _workspace(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Give a cursor whose tables are nobody else's and go away afterwards."""
        with self.lock:
            schema, cursor = f"request_{next(self.numbers)}", self.base.cursor()
        with cursor as connection:
            connection.execute(f"CREATE SCHEMA {schema}; CREATE SCHEMA {schema}_texts")
            connection.execute(f"SET TimeZone = 'UTC'; SET search_path = '{schema},main'")
            try:
                yield connection
            finally:
                connection.execute("SET search_path = 'main'")
                connection.execute(f"DROP SCHEMA {schema}_texts CASCADE; DROP SCHEMA {schema} CASCADE")

    def _choose(self, connection: duckdb.DuckDBPyConnection, shoppers: list[str], until: datetime) -> None:
        """Make the table `examples`; who has no event in the lookback is asked about too, of the unit shopper."""
        settings = self.settings
        connection.execute("CREATE VIEW events AS SELECT * FROM stored")
        query = examples_sql(
            [Window(split="test", cutoff=until, end=until)],
            settings.examples,
            timezone=settings.reader.source.timezone,
            has_amounts="amount" in settings.reader.present,
        )
        connection.execute(f"CREATE TABLE examples AS {query}")
        if settings.examples.unit == "shopper":
            connection.execute(
                f"""INSERT INTO examples ({", ".join(EXAMPLE_COLUMNS)})
                SELECT shopper, shopper, NULL, 'test', TIMESTAMP '{until}', 0, NULL, 1.0
                FROM (SELECT unnest(CAST(? AS VARCHAR[])) AS shopper) ANTI JOIN examples USING (shopper)""",
                [shoppers],
            )
        connection.execute("DROP VIEW events")

    def _features(self, connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
        """Make the table `result` of the examples with their features, and return it in its order."""
        connection.execute("CREATE TABLE events AS SELECT * FROM stored")
        market = FrozenMarket(products="shop_products", categories="shop_categories")
        compute_features(connection, self.settings.features, market)
        return connection.sql("SELECT * FROM result ORDER BY cutoff, shopper, product_id").df()

    def _texts(self, connection: duckdb.DuckDBPyConnection, examples: int) -> list[list[str]]:
        """Return the parts of the examples' texts, in the order of the features."""
        if self.text is None or not examples:
            return [[] for _ in range(examples)]
        schema = connection.execute("SELECT current_schema()").fetchall()[0][0]
        connection.execute(f"SET search_path = '{schema}_texts'")
        connection.execute(f"CREATE VIEW examples AS SELECT * FROM {schema}.result")
        connection.execute(f"CREATE VIEW events AS SELECT * FROM {schema}.stored")
        return make_texts(connection, self.text)

    def _scores(self, parts: list[list[str]], features: pd.DataFrame) -> dict[str, np.ndarray]:
        if not parts:
            return {"probability": np.zeros(0), "expected_amount": np.zeros(0), "decision": np.zeros(0, dtype=bool)}
        found = self.scorer.score_parts(parts, features)
        amounts = found.expected_amount
        return {
            "probability": found.probability,
            "expected_amount": np.full(len(parts), np.nan) if amounts is None else amounts,
            "decision": found.probability >= self.scorer.decision.threshold,
        }


def read_instant(text: str, timezone: str) -> datetime:
    """Return an instant, naive UTC, from ISO text (without an offset: the shop's time) or seconds since 1970.

    Raises:
        UserError: when it is neither.

    >>> read_instant("2026-02-20", "Asia/Shanghai"), read_instant("1771545600", "UTC")
    (datetime.datetime(2026, 2, 19, 16, 0), datetime.datetime(2026, 2, 20, 0, 0))
    """
    try:
        if text.replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(text), UTC).replace(tzinfo=None)
        instant = datetime.fromisoformat(text)
        local = instant if instant.tzinfo else instant.replace(tzinfo=ZoneInfo(timezone))
        return local.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        raise UserError(
            "The parameter as_of is no instant.",
            found=text,
            expected="ISO text such as 2026-02-20 or 2026-02-20T09:30:00+01:00, or seconds since 1970",
        ) from None
