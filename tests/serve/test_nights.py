"""Nights: the same one twice, and one of the past, asked for when more of the log is there."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.data.events import open_events
from behavior_tasks.data.regimes import local_days, read_log, write_log
from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.score import score_at
from tests.serve.world import SMALL, ServedShop
from tests.shop import run_until

DAYS_BACK = 12


@pytest.fixture(scope="module")
def past(shop: ServedShop) -> Moment:
    return shop.moment.earlier(DAYS_BACK)


@pytest.fixture(scope="module")
def logs(shop: ServedShop, past: Moment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Artifact]]:
    """The clean events of the log as it stood at the past moment, and of the whole one; some amounts are absurd."""
    folder = tmp_path_factory.mktemp("nights")
    (folder / "home").mkdir()
    (folder / "home" / "secrets").symlink_to(shop.home.secrets)
    log = read_log(shop.run.need("simulate").path / "events.csv")
    paid = log.index[pd.to_numeric(log["amount"]) > 0][::20]
    log.loc[paid, "amount"] = (pd.to_numeric(log.loc[paid, "amount"]) * 100).map("{:.2f}".format)
    days = local_days(log)
    cut = {"then": log[days < past.as_of], "later": log}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "home"))
        found = {}
        for name, rows in cut.items():
            write_log(rows, folder / f"{name}.csv")
            run = run_until("clean", name, log=folder / f"{name}.csv", overrides=SMALL)
            found[name] = run.need("clean")
        yield found


def scores(shop: ServedShop, clean: Artifact, moment: Moment, unit: Unit, folder: Path) -> pd.DataFrame:
    folder.mkdir(parents=True)
    done = score_at(
        shop.champion(unit), open_events(clean), moment, folder, place=shop.place, data_hash="of the same log"
    )
    return pd.concat([pd.read_parquet(bucket.file) for bucket in done], ignore_index=True)


def events_before(clean: Artifact, moment: Moment) -> pd.DataFrame:
    import duckdb

    with duckdb.connect() as connection:
        bucket = " UNION ALL ".join(f"SELECT * FROM ({b.sql()})" for b in open_events(clean))
        query = f"SELECT * FROM ({bucket}) WHERE timestamp < TIMESTAMP '{moment.cutoff}' ORDER BY ALL"
        return connection.execute(query).df()


@pytest.mark.parametrize("unit", ["shopper", pytest.param("shopper_product", marks=pytest.mark.slow)])
def test_a_night_of_the_past_gives_to_the_bit_what_it_gave_then(
    shop: ServedShop, logs: dict[str, Artifact], past: Moment, unit: Unit, tmp_path: Path
) -> None:
    then = scores(shop, logs["then"], past, unit, tmp_path / "then")
    later = scores(shop, logs["later"], past, unit, tmp_path / "later")
    assert len(then) > 50
    pd.testing.assert_frame_equal(later, then, check_exact=True)


def test_only_replaced_amounts_depend_on_how_much_of_the_log_there_is(logs: dict[str, Artifact], past: Moment) -> None:
    then, later = (events_before(logs[name], past) for name in ("then", "later"))
    keys = [column for column in then.columns if column != "amount"]
    other = then.merge(later, on=keys, how="outer", suffixes=("", "_later"), indicator=True)
    assert set(other["_merge"]) == {"both"}
    moved = other[other["amount"].notna() & (other["amount"] != other["amount_later"])]
    assert 0 < len(moved) < 0.02 * len(other), "today's medians stand in for absurd amounts"
    assert (moved["amount"] != moved["quantity"] * moved["price"]).all()
