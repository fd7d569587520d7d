"""Scores of every shopper and product at an instant."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from behavior_tasks.examples.feature_table import Unit
from behavior_tasks.model.predict import predict
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.score import score_at
from behavior_tasks.text.tokens import TokenSet
from tests.serve.world import SKIPPED, SMALL, ServedShop
from tests.shop import run_until


@pytest.mark.parametrize("unit", ["shopper", "shopper_product"])
def test_scores_are_those_of_the_evaluation_at_the_same_instant(
    shop: ServedShop, tmp_path: Path, unit: Unit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BEHAVIOR_HOME", str(shop.home.root))
    run = run_until("encode", f"again-{unit}", overrides={**SMALL, "examples.unit": unit}, without=SKIPPED)
    tokens = TokenSet.load(run.need("encode").path)
    rows = tokens.rows("test")
    expected = tokens.index.iloc[rows].reset_index(drop=True)
    champion = shop.champion(unit)
    told = predict(champion.model, tokens.sequences, rows, device="cpu", threads=1)
    day = pd.Timestamp(expected["cutoff"].iloc[0]).date()

    (tmp_path / "scores").mkdir()
    done = score_at(champion, shop.events, moment_at(day, "UTC"), tmp_path / "scores", place=shop.place, data_hash="d")
    scores = pd.concat(pd.read_parquet(bucket.file) for bucket in done)
    key = scores["shopper"] + "@" + scores["as_of"].astype(str)
    if unit == "shopper_product":
        key += "#" + scores["product_id"]
    found = scores.set_index(key).loc[expected["example"]]
    assert len(found) == len(scores) == len(expected)
    np.testing.assert_allclose(found["probability"], told.probability, atol=1e-6)
    np.testing.assert_allclose(found["expected_amount"], told.expected_amount, rtol=1e-5)
    assert found["decision"].tolist() == (found["probability"] >= 0.5).tolist()
