"""Configuration: one model, all problems at once, nearest names, the three real presets."""

from pathlib import Path

import pytest

from behavior_tasks.base.config import Config, changed, load_config, presets, setting_keys, setting_value
from behavior_tasks.base.errors import UserError


def test_three_mistakes_of_three_kinds_are_named_at_once() -> None:
    with pytest.raises(UserError) as caught:
        load_config(
            "taobao",
            overrides={"train.epoch": 3, "train.learning_rate": "fast", "source.period_start": "2018-01-01"},
        )
    message = str(caught.value)
    assert "3 mistakes" in message
    assert "train.epoch: unknown key; did you mean train.epochs?" in message
    assert "train.learning_rate" in message
    assert "'fast'" in message
    assert "2018-01-01 is after source.period_end 2017-12-03" in message


def test_a_wrong_section_name_gets_the_nearest_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("exampels: {horizon_days: 3}\ntrain: {epochs: 0}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_config(file=file)
    assert "exampels: unknown key; did you mean examples?" in str(caught.value)
    assert "train.epochs: 0: input should be greater than or equal to 1" in str(caught.value)


def test_later_faces_win_and_none_leaves_a_setting_alone(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("examples: {horizon_days: 14}\n", encoding="utf-8")
    config = load_config(
        "online_retail", file=file, overrides={"train.epochs": 2, "examples.lookback_days": None, "model.size": "tiny"}
    )
    assert config.examples.horizon_days == 14
    assert config.examples.lookback_days == 365
    assert config.examples.train_every_days == 14
    assert (config.train.epochs, config.model.size) == (2, "tiny")


@pytest.mark.parametrize("content", ["- a\n- b\n", "train: [1, 2\n", "train: 5\n"])
def test_a_yaml_of_another_shape_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UserError):
        load_config(file=file)


def test_a_missing_file_and_an_unknown_preset_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mine\.yaml"):
        load_config(file=tmp_path / "mine.yaml")
    with pytest.raises(UserError) as caught:
        load_config("taoboa")
    assert caught.value.next_step == "use preset taobao"


def test_adapters_need_a_checkpoint() -> None:
    with pytest.raises(UserError, match=r"model\.lora_rank: 8, but model\.checkpoint = scratch"):
        load_config(overrides={"model.lora_rank": 8})
    assert load_config(overrides={"model.lora_rank": 8, "model.checkpoint": "gpt2"}).model.lora_rank == 8


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"policy": "precision"}, ["decision.min_precision: None"]),
        ({"min_precision": 0.8}, ["decision.min_precision: 0.8, but decision.policy = f1"]),
        ({"policy": "cost"}, ["decision.cost_of_contact: not given", "decision.value_of_sale: not given"]),
        ({"policy": "cost", "value_of_sale": 9}, ["decision.cost_of_contact: not given, but decision.policy = cost"]),
        ({"cost_of_contact": 1}, ["decision.value_of_sale: not given, but one of the two costs"]),
        ({"policy": "cost", "cost_of_contact": 9, "value_of_sale": 9}, ["9 is not below decision.value_of_sale 9"]),
    ],
)
def test_a_decision_that_contradicts_itself_is_refused(settings: dict[str, object], named: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        load_config(overrides={f"decision.{key}": value for key, value in settings.items()})
    assert all(words in str(caught.value) for words in named)
    count = "1 mistake" if len(named) == 1 else f"{len(named)} mistakes"
    assert f"The configuration has {count}." in str(caught.value)


def test_costs_may_stand_beside_any_policy() -> None:
    costs = {"decision.cost_of_contact": 1, "decision.value_of_sale": 9}
    for policy in ({}, {"decision.policy": "cost"}, {"decision.policy": "precision", "decision.min_precision": 0.5}):
        assert load_config(overrides={**costs, **policy}).decision.value_of_sale == 9


def test_every_preset_is_valid_and_settings_never_change() -> None:
    assert {"canonical", "taobao", "online_retail"} <= set(presets())
    for preset in presets():
        config = load_config(preset)
        with pytest.raises(ValueError, match="frozen"):
            config.train.epochs = 9  # type: ignore[misc]


def test_every_key_can_be_set_from_its_dotted_name() -> None:
    for key in setting_keys():
        assert load_config(overrides={key: setting_value(Config(), key)}) is not None


def test_differential_privacy_is_set_by_dotted_names_a_file_or_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("privacy:\n  dp:\n    epsilon: 2\n    delta: 1e-6\n", encoding="utf-8")
    dotted = load_config(file=tmp_path / "mine.yaml", overrides={"privacy.dp.epsilon": 3}).privacy.dp
    whole = load_config(overrides={"privacy.dp": {"epsilon": 3, "delta": "1e-6"}}).privacy.dp
    assert dotted == whole
    assert dotted is not None
    assert (dotted.epsilon, dotted.delta, dotted.examples_per_shopper) == (3, 1e-6, 4)
    assert load_config().privacy.dp is None
    assert load_config().train.distillation == 1
    # What has read the shoppers without noise is off unless somebody asked for it.
    private = load_config(overrides={"privacy.dp.epsilon": 3})
    assert (private.train.distillation, private.train.number_epochs) == (0, 0)
    assert changed(private, {"privacy.dp.epsilon": 8}).privacy.dp.epsilon == 8  # type: ignore[union-attr]
    assert load_config(overrides={"source.users.path": "users.csv"}).source.users.path == "users.csv"


def test_all_that_contradicts_differential_privacy_is_told_at_once() -> None:
    wrong = {
        "privacy.dp.epsilon": 0,
        "privacy.dp.delta": 1,
        "privacy.dp.noise": 3,
        "train.distillation": 0.5,
        "train.number_epochs": 2,
        "train.negative_share": 0.5,
        "train.processes": 2,
        "train.compile": True,
    }
    with pytest.raises(UserError, match="8 mistakes") as caught:
        load_config(overrides=wrong)
    lines = str(caught.value.found).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == sorted(wrong)
    assert next(line for line in lines if "distillation" in line).endswith("expected 0")
    with pytest.raises(UserError, match="1 mistake") as caught:
        load_config(overrides={"privacy.dp.delta": 1e-6})
    assert "privacy.dp.epsilon: field required" in str(caught.value.found)
    with pytest.raises(UserError) as caught:
        load_config(overrides={"privacy.budget_epsilon": 8})
    assert "privacy.dp is off" in str(caught.value.found)
    with pytest.raises(UserError) as caught:
        load_config(overrides={"privacy.budget_epsilon": 8, "privacy.dp.epsilon": 9})
    assert "9 is more than privacy.budget_epsilon = 8" in str(caught.value.found)
    # These work with it.
    load_config(overrides={"privacy.dp.epsilon": 3, "train.positive_weight": 2, "model.architecture": "bert"})
    load_config(overrides={"privacy.dp.epsilon": 3, "model.checkpoint": "gpt2", "model.lora_rank": 4})
