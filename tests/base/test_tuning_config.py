"""What may be searched: within a setting's own bounds, never what trials are measured on, no contradiction passes."""

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from behavior_tasks.base.config import changed, load_config, tuned_presets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import PRESET, form_fields
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.tuning_config import OF_SCRATCH, SEARCH, Span, search_of


def refusal(overrides: dict[str, object]) -> str:
    with pytest.raises(UserError) as refused:
        load_config(overrides=overrides)
    return str(refused.value)


@pytest.mark.parametrize(
    ("key", "span", "words"),
    [
        ("train.learning_rat", {"low": 0.1, "high": 0.2}, "did you mean train.learning_rate?"),
        ("examples.horizon_days", [7, 14], "not a setting of text, model or train"),
        ("train.seed", [1, 2], "changes the luck"),
        ("train.threads", [1, 2], "changes how fast"),
        ("train.epochs", {"low": 0, "high": 3}, "0: input should be greater than or equal to 1"),
        ("model.dropout", {"low": 0.5, "high": 1.0}, "1.0: input should be less than 1"),
        ("model.size", ["tiny", "huge"], "'huge': input should be"),
        ("text.style", {"low": 0, "high": 1}, "0: input should be"),
        ("model.numbers", {"low": 0, "high": 1}, "not a number"),
        ("train.epochs", {"low": 1, "high": 5, "step": 0.5}, "whole step"),
        ("train.epochs", {"low": 3, "high": 3}, "not below"),
        ("train.epochs", {"low": 3}, "low and high"),
        ("train.epochs", {"low": 1, "high": 3, "choices": [1, 2]}, "not both"),
        ("train.epochs", [3], "at least two"),
        ("train.epochs", [3, 3], "each once"),
        ("train.next_token_weight", {"low": 0, "high": 1, "log": True}, "above 0"),
        ("train.learning_rate", {"low": 0.1, "high": 0.3, "log": True, "step": 0.1}, "one of them"),
    ],
)
def test_what_contradicts_is_refused_in_words(key: str, span: object, words: str) -> None:
    message = refusal({"tuning.search": {key: span}})
    assert words in message
    assert key in message


def test_all_mistakes_come_at_once() -> None:
    message = refusal({"tuning.search": {"train.seed": [1, 2], "train.epochs": [0, 1]}, "tuning.trial": 3})
    assert "3 mistakes" in message


def test_a_password_in_the_storage_is_refused_and_not_repeated() -> None:
    message = refusal({"tuning.storage": "postgresql://anna:hunter2@db:5432/tuning"})
    assert "BEHAVIOR_TUNING_PASSWORD" in message
    assert "hunter2" not in message
    assert load_config(overrides={"tuning.storage": "postgresql://anna@db:5432/tuning"}).tuning.storage
    assert "not the address of a Postgres" in refusal({"tuning.storage": "sqlite:///here.db"})


def test_every_setting_of_the_default_search_is_one_that_could_be_given() -> None:
    given_search = {key: span.model_dump(exclude_defaults=True) for key, span in SEARCH.items()}
    config = load_config(overrides={"tuning.search": given_search})
    assert search_of(config.tuning, config.model) == dict(SEARCH) == search_of(load_config().tuning, config.model)


def test_a_checkpoint_is_not_searched_for_what_it_has_itself() -> None:
    config = load_config(overrides={"model.checkpoint": "gpt2"})
    assert not set(search_of(config.tuning, config.model)) & set(OF_SCRATCH)
    sizes = {"model.size": ["tiny", "base"]}
    message = refusal({"model.checkpoint": "gpt2", "model.layers": 2, "tuning.search": sizes})
    assert "model.layers: 2, but model.checkpoint = gpt2" in message
    assert "tuning.search.model.size: only a model from scratch" in message


@given(st.integers(-5, 15))
def test_a_span_contains_what_lies_on_its_steps(value: int) -> None:
    span = Span(low=1, high=10, step=3)
    assert span.contains(value) == (value in (1, 4, 7, 10))
    assert not span.contains(True)
    assert Span(choices=(None, 2)).contains(None)


def test_changed_settings_are_checked_as_a_whole() -> None:
    config = changed(load_config(), {"model.layers": 5, "train.epochs": 2})
    assert (config.model.layers, config.train.epochs) == (5, 2)
    assert changed(config, {"model.layers": None}).model.layers is None
    with pytest.raises(UserError, match="2 mistakes"):
        changed(load_config(), {"train.epochs": 0, "model.dropout": 2})


def test_a_tuned_preset_goes_by_name_in_the_state_folder_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    home = Home(tmp_path)
    home.tuned.mkdir()
    settings: dict[str, Any] = {"model": {"layers": 1}, "train": {"learning_rate": 0.002}}
    (home.tuned / "shop.yaml").write_text("# study: shop\n" + yaml.safe_dump(settings), encoding="utf-8")
    assert tuned_presets(home) == ["tuned/shop"]
    config = load_config("tuned/shop", overrides={"train.epochs": 1})
    assert (config.model.layers, config.train.epochs) == (1, 1)
    assert math.isclose(config.train.learning_rate, 0.002)
    assert "tuned/shop" in form_fields()[PRESET]["enum"]
    with pytest.raises(UserError) as refused:
        load_config("tuned/shopp")
    assert refused.value.next_step == "use preset tuned/shop"
    with pytest.raises(UserError, match="no preset"):
        load_config("tuned/../../etc/passwd")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "other"))
    assert "tuned/shop" not in form_fields()[PRESET]["enum"]
