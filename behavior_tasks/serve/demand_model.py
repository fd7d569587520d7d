"""What the champion says of products: clean events and origins in; its probabilities, added up by product, out.

The one thing to know: an origin on whose horizon the champion was trained is never asked, for its answer would be
remembered, not told.
"""

from collections.abc import Sequence
from pathlib import Path

from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.demand_log import History
from behavior_tasks.serve.demand_methods import Sums
from behavior_tasks.serve.score import Place, score_at


def honest_origins(champion: Champion, history: History, *, most: int) -> list[int]:
    """Return the newest past origins whose horizon the champion was not trained on, oldest first."""
    oldest = max(1, history.windows - most)
    return [o for o in range(oldest, history.windows) if history.starts[o].cutoff >= champion.tested_from]


def ask_champion(
    champion: Champion,
    events: Sequence[BucketEvents],
    history: History,
    origins: Sequence[int],
    folder: Path,
    *,
    place: Place,
    data_hash: str,
) -> dict[int, Sums]:
    """Ask the champion of shopper_product at some origins.

    Args:
        champion: whom to ask.
        events: what `open_events` gives for the clean events: all buckets.
        history: whose origins and products these are.
        origins: as `honest_origins` gives them.
        folder: for the scores, one folder an origin.
        place: where and with what it is computed.
        data_hash: names the events.
    """
    found = {}
    for origin in origins:
        scores = folder / f"scores-{origin}"
        scores.mkdir(parents=True)
        score_at(champion, events, history.starts[origin], scores, place=place, data_hash=data_hash)
        found[origin] = add_up(history, scores)
    return found


def add_up(history: History, scores: Path) -> Sums:
    """Add the probabilities in a folder of scores up by product.

    Args:
        history: whose products are wanted; scores of others are left out.
        scores: bucket files with the columns of `serve.score.SCHEMA`.
    """
    with connect() as connection:
        added = connection.execute(f"""
            SELECT product_id, sum(probability) AS probability, sum(probability * probability) AS squared
            FROM {parquet_sql(bucket_files(scores))} GROUP BY product_id
        """).df()
    wanted = added.set_index("product_id").reindex(history.products["product_id"]).fillna(0.0)
    return Sums(probability=wanted["probability"].to_numpy(), squared=wanted["squared"].to_numpy())
