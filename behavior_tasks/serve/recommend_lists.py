"""The lists: a world, the method that serves and the rules in; a row for each shopper and recommended product out.

Everybody with an event in the lookback gets a list. The one thing to know: where the method has nothing more to say,
a list goes on with what is popular lately, and the column `method` says so on that row.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.serve.products_files import RECOMMENDED_FILE
from behavior_tasks.serve.recommend_log import Log
from behavior_tasks.serve.recommend_measure import NOBODY
from behavior_tasks.serve.recommend_methods import similar_products
from behavior_tasks.serve.recommend_rank import EACH, Allowed, Candidates, Combination, each_block, facts
from behavior_tasks.serve.recommend_reasons import Reasons
from behavior_tasks.serve.recommend_study import Rules
from behavior_tasks.serve.recommend_world import RECENT, World

FILE, CSV, FEWER, ANYBODY = "recommendations.parquet", "recommendations.csv", "fewer.csv", "new_shoppers.csv"
SCHEMA = pa.schema(
    [
        ("shopper", pa.string()),
        ("rank", pa.int32()),
        ("product_id", pa.string()),
        ("product_name", pa.string()),
        ("score", pa.float64()),
        ("method", pa.string()),
        ("reason", pa.string()),
    ]
)
"""Columns of the recommendations; `score` compares products of one shopper and nothing else."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written."""

    shoppers: int
    rows: int
    fewer: int
    """Shoppers with fewer products than asked for."""
    products: int
    """Different products that are recommended to anybody."""
    filled: int
    """Rows that the method had nothing to say about."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How lists are made."""

    world: World
    method: str
    combination: Combination | None
    """Where the method is the combination."""
    rules: Rules
    top: int
    in_stock: np.ndarray
    """Whether each product may be recommended, (products,)."""

    def allowed(self) -> Allowed:
        """Return who may get what."""
        before = self.world.allowed("unbought" if self.rules.bought == "drop" else "all")
        return lambda who: before(who) & self.in_stock

    def lists(self, who: np.ndarray) -> Iterator[tuple[Candidates, np.ndarray, np.ndarray]]:
        """Yield candidates of a few shoppers at a time, their scores, and their best products."""
        log, methods = self.world.log, self.world.methods
        wanted = methods if self.combination is not None else {self.method: methods[self.method]}
        for candidates in each_block(log, who, wanted, self.allowed(), max(EACH, 2 * self.top)):
            if self.combination is not None:
                score = self.combination.score(facts(log, candidates))
            else:
                score = candidates.scores[self.method]
            best = candidates.lists(score, self.top, category=log.category, per_category=self.rules.per_category)
            yield candidates, score, best


def write_lists(serving: Serving, folder: Path, *, as_of: str) -> Written:
    """Write the recommendations of every active shopper, in order of shopper and rank, and who got fewer and why."""
    log = serving.world.log
    who, reasons = np.flatnonzero(log.active), Reasons(log, similar_products(log))
    rows = filled = 0
    few: list[tuple[str, int]] = []
    products: Counter[tuple[str, str]] = Counter()
    firsts: Counter[str] = Counter()
    with (
        pq.ParquetWriter(folder / FILE, SCHEMA, compression="zstd") as parquet,
        (folder / CSV).open("w", encoding="utf-8", newline="") as stream,
    ):
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["as_of", *SCHEMA.names])
        for candidates, score, lists in serving.lists(who):
            table = _table(serving, candidates, score, lists, reasons)
            parquet.write_table(pa.Table.from_pandas(table, schema=SCHEMA, preserve_index=False))
            lines.writerows([as_of, *row] for row in table.itertuples(index=False))
            counts = (lists != NOBODY).sum(axis=1)
            short = np.flatnonzero(counts < serving.top)
            few += zip(log.shoppers[candidates.who[short]], counts[short].tolist(), strict=True)
            products.update(zip(table["product_id"], table["product_name"].fillna(""), strict=True))
            firsts.update(table.loc[table["rank"] == 1, "product_id"])
            rows, filled = rows + len(table), filled + int((table["method"] != serving.method).sum())
    _write_products(products, firsts, folder / RECOMMENDED_FILE)
    why = _why_fewer(serving)
    fewer = pd.DataFrame(few, columns=["shopper", "products"]).assign(why=why)
    fewer.to_csv(folder / FEWER, index=False)
    return Written(shoppers=len(who), rows=rows, fewer=len(fewer), products=len(products), filled=filled)


def _write_products(products: Counter[tuple[str, str]], firsts: Counter[str], path: Path) -> None:
    """Write each recommended product and its lists, the one of most lists first."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(["product_id", "product_name", "lists", "first"])
        for (product, name), lists in sorted(products.items(), key=lambda one: (-one[1], one[0])):
            lines.writerow([product, name, lists, firsts[product]])


def _table(
    serving: Serving, candidates: Candidates, score: np.ndarray, lists: np.ndarray, reasons: Reasons
) -> pd.DataFrame:
    log = serving.world.log
    row, place = np.nonzero(lists != NOBODY)
    product, who = lists[row, place], candidates.who[row]
    keys = candidates.row * np.int64(len(log.products)) + candidates.product
    found = np.round(score[np.searchsorted(keys, row * np.int64(len(log.products)) + product)], 9)
    return pd.DataFrame(
        {
            "shopper": log.shoppers[who],
            "rank": (place + 1).astype(np.int32),
            "product_id": log.products[product],
            "product_name": log.names[product],
            "score": found,
            "method": np.where(found > 0, serving.method, RECENT).astype(object),
            "reason": [reasons.of(int(one), int(other)) for one, other in zip(who, product, strict=True)],
        }
    )


def _why_fewer(serving: Serving) -> str:
    rules = []
    if serving.rules.bought == "drop":
        rules.append("products bought before are left out (recommend.bought)")
    if serving.rules.per_category:
        rules.append(f"at most {serving.rules.per_category} of one category (recommend.per_category)")
    if not serving.in_stock.all():
        rules.append("products out of stock are left out")
    told = f"; {', '.join(rules)}" if rules else ""
    return f"no more products were touched by anybody lately or speak to what they did{told}"


def write_for_new_shoppers(log: Log, in_stock: np.ndarray, folder: Path, *, top: int) -> int:
    """Write what to show somebody of whom nothing is known, or only a category; return the number of rows."""
    popular = np.flatnonzero((log.recent > 0) & in_stock)
    popular = popular[np.lexsort((popular, -log.recent[popular]))]
    groups: list[tuple[str, np.ndarray]] = [("", popular)]
    groups += [(str(name), popular[log.category[popular] == place]) for place, name in enumerate(log.categories)]
    rows = [
        {"category": name, "rank": rank, "product_id": log.products[product], "product_name": log.names[product]}
        for name, products in groups
        for rank, product in enumerate(products[:top], start=1)
    ]
    pd.DataFrame(rows, columns=["category", "rank", "product_id", "product_name"]).to_csv(folder / ANYBODY, index=False)
    return len(rows)
