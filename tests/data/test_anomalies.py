"""Anomalies that are planted into a simulated log: who, what, when, and nothing else."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.base.config import ExamplesConfig, SimulateConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.data.anomalies import HELD_BACK, KINDS, TUNED, Planted, plant_anomalies, read_log
from behavior_tasks.data.simulate import simulate_shop


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    out = tmp_path_factory.mktemp("shop")
    simulate_shop(SimulateConfig(shoppers=150, days=70, products=80, rollouts=10), out, examples=ExamplesConfig())
    return read_log(out / "events.csv")


@pytest.fixture(scope="module")
def planted(log: pd.DataFrame) -> Planted:
    return plant_anomalies(log, shoppers=4, seed=3)


def _new_rows(log: pd.DataFrame, planted: Planted) -> pd.DataFrame:
    """The rows that were added, in order of shopper and time."""
    before, after = log.value_counts(), planted.log.value_counts()
    added = (after - before.reindex(after.index, fill_value=0)).loc[lambda counts: counts > 0]
    rows = added.index.to_frame(index=False).assign(n=added.to_numpy())
    rows = rows.assign(second=rows["timestamp"].astype(int), amount=pd.to_numeric(rows["amount"]))
    return rows.sort_values(["user_id", "second"], kind="stable")


def test_the_log_stays_as_it_was_but_for_rows_of_the_last_week_of_who_is_named(
    log: pd.DataFrame, planted: Planted
) -> None:
    assert len(planted.log) > len(log)
    assert (log.value_counts() <= planted.log.value_counts().reindex(log.value_counts().index)).all()
    added = _new_rows(log, planted)
    assert set(added["user_id"]) == set(planted.truth["user_id"])
    last = pd.to_numeric(log["timestamp"], errors="coerce").max()
    assert added["second"].min() >= (last // 86_400 + 1) * 86_400 - 7 * 86_400
    since = pd.to_datetime(added.groupby("user_id")["second"].min(), unit="s")
    told = planted.truth.set_index("user_id")["since"]
    assert (since == told.reindex(since.index).astype(since.dtype)).all()
    assert not planted.truth["user_id"].duplicated().any()
    times = pd.to_numeric(planted.log["timestamp"], errors="coerce").dropna().to_numpy()
    assert (np.diff(times) >= 0).all()


def test_the_same_seed_plants_the_same_and_another_one_something_else(log: pd.DataFrame, planted: Planted) -> None:
    again, other = (plant_anomalies(log, shoppers=4, seed=seed) for seed in (3, 4))
    pd.testing.assert_frame_equal(again.log, planted.log)
    pd.testing.assert_frame_equal(again.truth, planted.truth)
    assert len(other.log) != len(planted.log) or not other.log.equals(planted.log)


def test_every_kind_does_what_its_name_says(log: pd.DataFrame, planted: Planted) -> None:
    assert set(planted.truth["kind"]) == set(KINDS) == {*TUNED, *HELD_BACK}
    kinds = planted.truth.set_index("user_id")["kind"]
    old = set(log["user_id"])
    for shopper, rows in _new_rows(log, planted).groupby("user_id"):
        bought, returned = (rows[rows["action"] == action] for action in ("purchase", "return"))
        kind = kinds[shopper]
        if kind == "bot scraping":
            ids = rows["product_id"].tolist()
            assert ids == sorted(ids)
            assert len(ids) >= 20
            assert rows["second"].diff().max() <= 12
        if kind == "card testing":
            assert len(bought) >= 3
            assert bought["second"].max() - bought["second"].min() < 3 * 3600
        if kind == "refund abuse":
            assert len(returned) >= 1
            assert set(returned["product_id"]) <= set(bought["product_id"])
        if kind == "reselling":
            assert pd.to_numeric(bought["quantity"]).min() >= 4
        if kind == "account takeover":
            assert shopper in old
            assert len(rows) >= 3
        if kind == "credential stuffing":
            own = pd.to_numeric(log.loc[log["user_id"] == shopper, "timestamp"], errors="coerce")
            assert own.max() < rows["second"].min() - 7 * 86_400
    farm = _new_rows(log, planted).loc[lambda rows: rows["user_id"].map(kinds) == "coupon farm"]
    assert not set(farm["user_id"]) & old
    assert farm["product_id"].nunique() == 1
    assert farm["second"].max() - farm["second"].min() < 7 * 3600


def test_only_the_kinds_that_are_asked_for_are_planted(log: pd.DataFrame, tmp_path: Path) -> None:
    some = plant_anomalies(log, shoppers=2, seed=3, kinds=("card testing",))
    assert some.truth["kind"].tolist() == ["card testing"] * 2
    with pytest.raises(UserError, match="no such kind"):
        plant_anomalies(log, shoppers=2, seed=3, kinds=("arson",))
