"""What the champions say of products: their language model's reading of the next purchase, and their product scores.

In come champions, events and an instant; out come shoppers x products. The one thing to know: a product that a text
can't name is read as one further letter and its category, and shares that with the popular products of the category.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_array, csr_array

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.tables import bucket_file
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.model.formats import is_boosting
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.recommend_log import Log
from behavior_tasks.serve.score import Place, score_at
from behavior_tasks.text.next_words import OpenTexts, open_texts

if TYPE_CHECKING:
    from behavior_tasks.model.next_product import NextReader

TAIL = 10
"""Most popular products that share what is read of a category, or of a further product without one."""
PAIRS = pa.schema([("shopper", pa.string()), ("product_id", pa.string())])


def find_reader(champions: Sequence[Champion | None], place: Place) -> "tuple[Champion, NextReader] | None":
    """Return the first champion whose model learned language, and its reader; None when there is none."""
    from behavior_tasks.model.next_product import NextReader  # torch takes seconds to import

    for champion in champions:
        if champion is not None and champion.text is not None and not is_boosting(champion.model):
            reader = NextReader.load(champion.model, device=place.device, threads=place.threads)
            if reader is not None:
                return champion, reader
    return None


@dataclass(frozen=True, kw_only=True)
class _Goods:
    """Where the products of a log are found."""

    log: Log
    place: dict[str, int]

    @classmethod
    def of(cls, log: Log) -> "_Goods":
        return cls(log=log, place={product: place for place, product in enumerate(log.products)})

    def tail(self, category: str | None, without: set[int]) -> tuple[np.ndarray, np.ndarray]:
        """Return the popular products of a category, or of all, that have no name, and the share of each."""
        log = self.log
        chosen = np.ones(len(log.products), dtype=bool)
        if category is not None:
            at = np.searchsorted(log.categories, category)
            known = at < len(log.categories) and log.categories[at] == category
            chosen = log.category == at if known else np.zeros(len(log.products), dtype=bool)
        chosen[list(without)] = False
        found = np.flatnonzero(chosen & (log.recent > 0))
        found = found[np.argsort(-log.recent[found], kind="stable")][:TAIL]
        return found, log.recent[found] / max(1e-9, log.recent[found].sum())


def read_next(
    champion: Champion,
    reader: "NextReader",
    events: Sequence[BucketEvents],
    log: Log,
    who: np.ndarray,
    *,
    memory_mb: int,
) -> csr_array:
    """Return how probable a champion's language model finds each product as the next purchase of some shoppers.

    Args:
        champion: whose texts are written.
        reader: of its model.
        events: all buckets of the clean events.
        log: read at the instant.
        who: places in the log; the others' rows are empty.

    Returns:
        Shoppers x products; the row of an asked shopper sums to one.
    """
    assert champion.text is not None
    goods, rows, columns, values = _Goods.of(log), [], [], []
    for number in np.unique(log.bucket[who]):
        shoppers = log.shoppers[who[log.bucket[who] == number]].tolist()
        bucket = events[number].until(log.cutoff)
        for texts in open_texts(shoppers, bucket, log.cutoff, champion.text, memory_mb=memory_mb):
            place = np.searchsorted(log.shoppers, np.array(texts.shoppers, dtype=object))
            for row, column, value in _read(reader, texts, goods):
                rows.append(place[row])
                columns.append(column)
                values.append(value)
    if not rows:
        return csr_array(log.shape, dtype=np.float32)
    entries = (np.concatenate(values).astype(np.float32), (np.concatenate(rows), np.concatenate(columns)))
    told = coo_array(entries, shape=log.shape).tocsr()
    # What goes to words that stand for no product is shared by the others.
    told.data /= np.repeat(np.maximum(np.asarray(told.sum(axis=1)).ravel(), 1e-9), np.diff(told.indptr))
    return told


def _read(reader: "NextReader", texts: OpenTexts, goods: _Goods) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return rows of texts, products and their probabilities, of the named, of the lettered and of all others."""
    log, n = goods.log, len(texts.texts)
    known = {product: word for product, word in texts.named.items() if product in goods.place}
    places = np.array([goods.place[product] for product in known], dtype=np.int64)
    words = [*known.values(), *texts.letters]
    weights = np.append(log.popularity[places] + 1e-6, np.ones(len(texts.letters)))
    told = reader.read(texts.texts, texts.lead, words, weights)
    # A letter that a text has not reached stands for nothing.
    beyond = np.arange(len(texts.letters)) > texts.next_letter[:, None]
    told[:, len(known) :][beyond] = 0
    named, lettered = told[:, : len(known)], told[:, len(known) :]
    every = np.arange(n)
    found = [(np.repeat(every, len(known)), np.tile(places, n), named.ravel())]
    of_letter = np.array([goods.place[product] for product in texts.product], dtype=np.int64)
    found.append((texts.row, of_letter, lettered[texts.row, texts.letter]))
    further, without = lettered[every, texts.next_letter], set(places.tolist())
    return found + _others(reader, texts, goods, further, without)


def _others(
    reader: "NextReader", texts: OpenTexts, goods: _Goods, further: np.ndarray, without: set[int]
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Share the probability of one further product, (n,), among those that its category makes likely."""
    categories = {name: word for name, word in texts.categories.items() if len(goods.tail(name, without)[0])}
    found = []
    if not categories:
        product, share = goods.tail(None, without)
        row = np.repeat(np.arange(len(further)), len(product))
        return [(row, np.tile(product, len(further)), np.outer(further, share).ravel())]
    tails = [goods.tail(name, without) for name in categories]
    for letter in np.unique(texts.next_letter):
        rows = np.flatnonzero(texts.next_letter == letter)
        lead = texts.lead + texts.letters[letter]
        told = reader.read([texts.texts[row] for row in rows], lead, [*categories.values()], np.ones(len(categories)))
        for place, (product, share) in enumerate(tails):
            value = np.outer(further[rows] * told[:, place], share).ravel()
            found.append((np.repeat(rows, len(product)), np.tile(product, len(rows)), value))
    return found


def read_scores(files: Sequence[Path], log: Log) -> csr_array:
    """Return product scores that were written for an instant, shoppers x products; others are empty."""
    columns = ["shopper", "product_id", "probability"]
    table = pd.concat([pd.read_parquet(file, columns=columns) for file in files], ignore_index=True)
    return _matrix(table, log)


def score_touched(
    champion: Champion, events: Sequence[BucketEvents], moment: Moment, log: Log, who: np.ndarray, *, place: Place
) -> csr_array:
    """Return a product champion's probabilities of the products that some shoppers touched within its lookback.

    Args:
        champion: of the unit shopper_product; it learned from touched products, so it is asked about no others.
        events: all buckets of the clean events.
        moment: that of the log.
        log: read at the moment.
        who: places in the log.
        place: where it is computed.
    """
    begin = int(np.datetime64(log.cutoff, "us").astype(np.int64)) - champion.examples.lookback_days * 86_400_000_000
    asked = np.zeros(len(log.shoppers), dtype=bool)
    asked[who] = True
    chosen = np.flatnonzero(asked[log.who] & (log.last >= begin))
    order = np.lexsort((log.product[chosen], -log.last[chosen], log.who[chosen]))
    newest = chosen[order]
    rank = np.arange(len(newest)) - np.searchsorted(log.who[newest], log.who[newest])
    chosen = np.sort(newest[rank < champion.examples.candidates])
    with temporary_folder(place.home, "pairs") as folder:
        (folder / "scores").mkdir()
        files = []
        for number in range(len(events)):
            mine = chosen[log.bucket[log.who[chosen]] == number]
            pairs = {"shopper": log.shoppers[log.who[mine]], "product_id": log.products[log.product[mine]]}
            files.append(bucket_file(folder, number))
            pq.write_table(pa.table(pairs, schema=PAIRS), files[-1])
        told = score_at(champion, events, moment, folder / "scores", place=place, data_hash="", pairs=files)
        return read_scores([bucket.file for bucket in told], log)


def _matrix(table: pd.DataFrame, log: Log) -> csr_array:
    who = np.searchsorted(log.shoppers, table["shopper"].to_numpy(dtype=object))
    product = np.searchsorted(log.products, table["product_id"].to_numpy(dtype=object))
    return coo_array((table["probability"].to_numpy(dtype=np.float32), (who, product)), shape=log.shape).tocsr()
