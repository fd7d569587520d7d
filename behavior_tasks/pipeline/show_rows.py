"""The examples of one shopper at one instant, with features and text, for `behavior show`.

In come a run, a shopper and a cutoff; out comes a row an example, taken from the run's artifacts where it stands in
them. Any other is made by the functions that made those: `examples_sql`, `write_features` and `write_texts`. The one
thing to know: for a date that is no cutoff of the run, the whole log is counted once (`count_market`), since some
features tell how popular a product is.
"""

from pathlib import Path

import duckdb
import pandas as pd

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.tables import bucket_file, connect, quote, write_parquet
from behavior_tasks.base.timeline import Window
from behavior_tasks.data.events import open_events
from behavior_tasks.examples.candidates import examples_sql
from behavior_tasks.examples.feature_table import FeatureSettings
from behavior_tasks.examples.features import write_features
from behavior_tasks.examples.market import count_market
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.pipeline.show_find import Moment, Shopper
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import write_texts

PARTS = "parts"


def find_rows(run: Run, shopper: Shopper, moment: Moment, settings: TextSettings | None = None) -> pd.DataFrame:
    """Return the shopper's examples at the instant: the columns of `features` and `parts`, sorted by product.

    Args:
        run: a run with a trained model.
        shopper: with an event in the lookback.
        moment: a cutoff of the run or any other.
        settings: how to write the texts; None: as the run did.

    Returns:
        Label and amount are as the log has them, also where the label window is not over.
    """
    # Train keeps a sample of the candidates only; all of them are asked for here.
    sampled = moment.split == "train" and run.record.config.examples.unit == "shopper_product"
    if moment.split is None or sampled:
        return make_rows(run, shopper, moment, settings)
    features = bucket_file(run.need("features").path / "examples", shopper.bucket)
    texts = bucket_file(run.need("verbalize").path / "texts", shopper.bucket)
    where = f"shopper = '{shopper.pseudonym}' AND cutoff = TIMESTAMP '{moment.cutoff}'"
    with temporary_folder(run.home, "show") as folder, connect() as connection:
        examples = folder / "examples.parquet"
        _keep(connection, features, where, examples)
        if settings is None:
            _keep(connection, texts, where, folder / "texts.parquet")
            return _join(folder)
        write_texts(examples, shopper.events, folder / "texts.parquet", settings)
        return _join(folder)


def make_rows(run: Run, shopper: Shopper, moment: Moment, settings: TextSettings | None = None) -> pd.DataFrame:
    """Return what `find_rows` does, made anew whatever stands in the artifacts."""
    config = run.record.config
    clean, engine = run.need("clean"), config.engine
    settings = settings or TextSettings.load(run.need("verbalize").path / "text.json")
    own = shopper.events.until(moment.cutoff)
    query = examples_sql(
        [Window(split=moment.split or "test", cutoff=moment.cutoff, end=moment.end)],
        config.examples,
        timezone=config.source.timezone,
        has_amounts="amount" in clean.facts["present"],
    )
    with temporary_folder(run.home, "show") as here, connect(memory_mb=engine.memory_mb) as connection:
        own.create_view(connection)
        write_parquet(connection, query, here / "chosen.parquet")
        (here / "market").mkdir()
        market = count_market(
            [bucket.until(moment.cutoff) for bucket in open_events(clean)],
            [moment.cutoff],
            here / "market",
            lookback_days=config.examples.lookback_days,
            engine=engine,
        )
        asked = FeatureSettings(
            lookback_days=config.examples.lookback_days,
            horizon_days=config.examples.horizon_days,
            timezone=config.source.timezone,
            unit=config.examples.unit,
        )
        write_features(here / "chosen.parquet", own, market, here / "examples.parquet", asked)
        write_texts(here / "examples.parquet", own, here / "texts.parquet", settings)
        return _join(here)


def _keep(connection: duckdb.DuckDBPyConnection, source: Path, where: str, out: Path) -> None:
    query = f"SELECT * FROM read_parquet({quote(source)}, file_row_number = true) WHERE {where}"
    write_parquet(connection, f"SELECT * EXCLUDE (file_row_number) FROM ({query}) ORDER BY file_row_number", out)


def _join(folder: Path) -> pd.DataFrame:
    examples, texts = (pd.read_parquet(folder / f"{name}.parquet") for name in ("examples", "texts"))
    return examples.merge(texts[["example", PARTS]], on="example", validate="one_to_one")
