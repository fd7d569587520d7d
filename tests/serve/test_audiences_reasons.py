"""Reasons: an effect is the change of the prediction when a theme is left out, for both kinds of models."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from behavior_tasks.examples.feature_table import FEATURES
from behavior_tasks.model.predict import open_scorer
from behavior_tasks.model.reasons import THEMES, _Reading, reasons_of, theme_of
from behavior_tasks.text.settings import TextSettings
from tests.serve.world import ServedShop


def test_every_feature_has_a_theme_that_its_name_speaks_of() -> None:
    of = {feature.name: theme_of(feature.name) for feature in FEATURES}
    assert set(of.values()) == {theme.name for theme in THEMES}
    for name, theme in {
        "open_carts_7d": "carts",
        "cart_abandonment": "carts",
        "carts_30d": "carts",
        "purchase_gap_days": "purchases",
        "rebought_share": "purchases",
        "bought_price_level": "purchases",
        "clicks_1d": "looking at products",
        "searches": "searches",
        "session_gap_days": "visits",
        "weekend_share": "visits",
        "price_level": "taste and prices",
        "top_category_share": "taste and prices",
        "age_band": "who they are",
    }.items():
        assert of[name] == theme, name


def test_phrases_go_to_the_theme_of_their_action(shop: ServedShop) -> None:
    settings = TextSettings.load(shop.run.need("verbalize").path / "text.json")
    reading = _Reading.of(settings)
    parts = [
        *("[older][2-months]", "[buy][x2]", " toys", "[wed]", "[15h]", "[browse]", " B", " toys", "[price-q4]"),
        *("[cart]", " B", "[1-day]", "[buy]", " top-1", "[amount-q4]", "[now][1-day]", "[profile]", " male"),
        *("[recency-q4]", "[purchases-q3]", "[open-carts-q2]"),
    ]
    themes = dict(zip(parts, reading.themes(parts), strict=True))
    assert themes["[browse]"] == "looking at products"
    assert themes["[cart]"] == "carts"
    assert themes["[buy]"] == themes["[amount-q4]"] == "purchases"
    assert themes["[profile]"] is themes[" male"] is themes["[now][1-day]"] is None
    assert [themes[part] for part in parts[-3:]] == ["visits", "purchases", "carts"]
    told = reading.last_phrases(parts, reading.themes(parts))
    assert told == {"looking at products": "browse B toys", "carts": "cart B", "purchases": "buy top-1"}


@pytest.mark.parametrize("top", [1, 8])
def test_an_effect_is_what_the_prediction_loses(shop: ServedShop, top: int) -> None:
    champion = shop.champion("shopper")
    features = pd.read_parquet(next((shop.run.need("features").path / "examples").glob("*"))).head(6)
    texts: Path = next((shop.run.need("verbalize").path / "texts").glob("*"))
    parts = pq.read_table(texts, columns=["parts"])["parts"].to_pylist()[:6]
    found = reasons_of(champion.model, parts, features, settings=champion.text, top=top, device="cpu", threads=1)
    assert all(len(reasons) <= top for reasons in found)
    assert any(reasons for reasons in found)
    scorer = open_scorer(champion.model, device="cpu", threads=1)
    whole = scorer.score_parts(parts, features).probability
    reading = _Reading.of(champion.text)
    for row, reasons in enumerate(found):
        sizes = [abs(reason.change) for reason in reasons]
        assert sizes == sorted(sizes, reverse=True)
        for reason in reasons:
            kept = [p for p, of in zip(parts[row], reading.themes(parts[row]), strict=True) if of != reason.theme]
            numbers = features.iloc[[row]].copy()
            for name in (name for name in scorer.numbers if theme_of(name) == reason.theme):
                numbers[name] = np.nan
            without = scorer.score_parts([kept], numbers).probability[0]
            assert reason.change == pytest.approx(whole[row] - without, abs=1e-5)
            assert reason.words.startswith(reason.theme)
