"""What a private training's guarantee leaves out is told from its settings."""

from behavior_tasks.base.config import load_config
from behavior_tasks.model.outside_guarantee import outside_guarantee


def names(**settings: object) -> set[str]:
    told = {key.replace("__", "."): value for key, value in settings.items()}
    return {one.name for one in outside_guarantee(load_config(overrides={"privacy.dp.epsilon": 3, **told}))}


def test_without_differential_privacy_there_is_nothing_to_leave_out() -> None:
    assert outside_guarantee(load_config()) == []


def test_everything_that_is_fitted_on_shoppers_is_named_until_its_setting_takes_it_away() -> None:
    closed: dict[str, dict[str, object]] = {
        "tokenizer": {"model__checkpoint": "gpt2"},
        "named products": {"text__named_products": 0},
        "number bins": {"model__numbers": False},
        "calibration": {"model__calibration": "off"},
        "threshold": {"decision__policy": "cost", "decision__cost_of_contact": 1, "decision__value_of_sale": 9},
        "gradient boosting": {"gate__max_epsilon": 3},
    }
    everything = names()
    assert set(closed) < everything
    for name, settings in closed.items():
        assert everything - names(**settings) == {name}
    left = names(**{key: value for settings in closed.values() for key, value in settings.items()})
    assert {"text bins", "market", "share of buyers", "amounts", "shopper count", "figures", "gate"} <= left
