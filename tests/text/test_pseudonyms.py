"""On the real logs: no raw id and no pseudonym in any text, and no bracketed word that the settings do not list."""

import re
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import EngineConfig, TextConfig
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.data.events import open_events
from behavior_tasks.text.counts import count_events
from behavior_tasks.text.parts import BLANK, BRACKET, part_edges
from behavior_tasks.text.settings import TextSettings, fit_settings
from behavior_tasks.text.verbalize import write_texts
from behavior_tasks.text.words import BRACKETED
from tests.data.golden_logs import LOGS, RealLog
from tests.data.stages import real_log, run_to

BIG = {"online_retail"}
NUMBERS = re.compile(r"(?:for|at) \d[\d.:]*")
"""Amounts, prices and hours of a sentence, which may happen to be some product's id."""
USERS: dict[str, str | int] = {
    "rees46": "user_id",
    "retailrocket": "visitorid",
    "taobao": 0,
    "online_retail": "CustomerID",
}
"""The raw column of user ids, by preset."""
SHORT = 4
"""Ids with fewer characters are found in ordinary words."""


@pytest.mark.parametrize(
    "log", [pytest.param(log, id=log.preset, marks=[pytest.mark.slow] * (log.preset in BIG)) for log in LOGS]
)
def test_texts_of_a_real_log_hold_pseudonyms_only(log: RealLog, tmp_path: Path) -> None:
    raw = real_log(log.file)
    clean = run_to("clean", raw, tmp_path, preset=log.preset)
    column = USERS[log.preset]
    rows = pd.read_csv(raw, dtype=str, header=None) if isinstance(column, int) else pd.read_csv(raw, dtype=str)
    raw_ids = rows[column].dropna()
    ids = {user.removesuffix(".0") for user in raw_ids if len(user) >= SHORT} | ids_in(clean)
    for config in (TextConfig(style="compact"), TextConfig(style="sentence"), TextConfig(language="zh")):
        settings, parts = texts_of(clean, tmp_path / f"{config.style}-{config.language}", config)
        assert len(parts) > 100
        texts = ["".join(some) for some in parts]
        words = {word.lower() for text in texts for word in re.findall(r"\w+", NUMBERS.sub("", text))}
        assert words & ids == set()
        special = settings.special_tokens()
        assert len(special) == len(set(special))
        assert {word for text in texts for word in BRACKETED.findall(text)} <= set(special)
        assert bool(special) is (config.style == "compact")
        for left, right in {pair for some in parts for pair in pairwise(some)}:
            begins, ends = part_edges(right)[0], part_edges(left)[1]
            assert begins == BLANK or ends == BRACKET or begins != ends, (left, right)


def ids_in(clean: Artifact) -> set[str]:
    """Pseudonyms and products."""
    found: set[str] = set()
    for bucket in open_events(clean):
        connection = connect()
        bucket.create_view(connection)
        for column in ("shopper", "product_id"):
            rows = connection.execute(f"SELECT DISTINCT lower({column}) FROM events").fetchall()
            found |= {word for (word,) in rows if word and len(word) >= SHORT}
    assert len(found) > 300
    return found


def texts_of(clean: Artifact, folder: Path, config: TextConfig) -> tuple[TextSettings, list[list[str]]]:
    """Settings and parts of the texts of all shoppers at the log's end, each asked about the product touched last."""
    for name in ("examples", "counts"):
        (folder / name).mkdir(parents=True)
    log = open_events(clean)
    for number, bucket in enumerate(log):
        connection = connect()
        bucket.create_view(connection)
        query = f"""
            SELECT shopper AS example, shopper, nullif(arg_max(product_id, timestamp), '') AS product_id,
                   CASE WHEN min(shopper) < '8' THEN 'train' ELSE 'test' END AS split,
                   TIMESTAMP '{clean.facts["last"]}' AS cutoff, 0 AS label, NULL::DOUBLE AS amount,
                   1.0::DOUBLE AS weight, max(gender) AS gender, max(age)::DOUBLE AS age,
                   count(*)::DOUBLE AS events, 1.0::DOUBLE AS purchases
            FROM events GROUP BY shopper ORDER BY shopper
        """
        write_parquet(connection, query, bucket_file(folder / "examples", number))
    last = connect().execute(f"SELECT TIMESTAMP '{clean.facts['last']}'").fetchall()[0][0]
    counts = count_events(log, last, folder / "counts", engine=EngineConfig(workers=1))
    settings = fit_settings(folder / "examples", counts, config, lookback_days=90, unit="shopper_product")
    parts: list[list[str]] = []
    for number, bucket in enumerate(log):
        out = folder / f"texts-{number}.parquet"
        write_texts(bucket_file(folder / "examples", number), bucket, out, settings)
        parts += [row[0] for row in connect().execute(f"SELECT parts FROM read_parquet('{out}')").fetchall()]
    return settings, parts
