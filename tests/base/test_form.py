"""The trigger form says the same as the configuration model."""

from typing import Any

import jsonschema
import pytest

from behavior_tasks.base.config import load_config, setting_keys
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import CONFIG_FILE, INPUT, PRESET, form_fields, read_as_of, read_form

FIELDS = form_fields()


def accepts(name: str, value: object) -> bool:
    schema = {word: what for word, what in FIELDS[name].items() if word != "default"}
    return bool(jsonschema.Draft202012Validator(schema).is_valid(value))


def model_accepts(name: str, value: object) -> bool:
    try:
        load_config(overrides={name: value})
    except UserError:
        return False
    return True


def test_there_is_a_field_for_the_log_the_preset_and_every_setting() -> None:
    assert list(FIELDS) == [INPUT, PRESET, CONFIG_FILE, *setting_keys()]


def test_a_form_that_nobody_touched_asks_for_nothing() -> None:
    asked = read_form({name: field["default"] for name, field in FIELDS.items()})
    assert (asked.input_path, asked.preset, asked.config_file, asked.overrides) == (None, "canonical", None, {})
    assert all(accepts(name, field["default"]) for name, field in FIELDS.items())


def test_the_log_and_preset_of_every_night_are_the_defaults_when_named() -> None:
    fields = form_fields(input_path="night.csv", preset="taobao")
    asked = read_form({name: field["default"] for name, field in fields.items()})
    assert (asked.input_path, asked.preset) == ("night.csv", "taobao")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("train.epochs", 1, 0),
        ("train.epochs", 1000, 1001),
        ("train.epochs", 2, "two"),
        ("train.learning_rate", 1e-6, 0),
        ("model.dropout", 0, 1),
        ("gate.confidence", 0.9, 0.5),
        ("model.size", "tiny", "huge"),
        ("text.language", "en", "klingon"),
        ("text.feature_words", False, "maybe"),
        ("source.delimiter", ";", ";;"),
        ("source.actions", {"pv": "browse"}, ["pv"]),
        ("source.header", ["user_id"], "user_id"),
        ("registry.experiment", "mine", 3),
    ],
)
def test_form_and_model_accept_and_refuse_the_same(name: str, good: object, bad: object) -> None:
    assert accepts(name, good)
    assert model_accepts(name, good)
    assert not accepts(name, bad)
    assert not model_accepts(name, bad)


def test_each_setting_says_what_it_is_its_section_and_its_default() -> None:
    for name in setting_keys():
        field: dict[str, Any] = FIELDS[name]
        assert field["title"] == name
        assert field["section"].startswith(name.partition(".")[0] + " · ")
    assert FIELDS["train.epochs"]["description"].endswith("Empty: the preset's value, else 3.")
    assert FIELDS["source.period_start"]["format"] == "date"
    assert FIELDS["source.period_end"]["description"].endswith("else nothing.")


def test_a_preset_is_chosen_from_a_list() -> None:
    assert accepts(PRESET, "taobao")
    assert not accepts(PRESET, "toabao")


def test_unknown_names_stay_so_that_they_are_refused_with_the_rest() -> None:
    asked = read_form({"train.epoch": 1, "foo": 2, "gate.min_f1": 7})
    with pytest.raises(UserError) as refused:
        load_config(asked.preset, overrides=asked.overrides)
    assert "3 mistakes" in str(refused.value)
    assert all(name in str(refused.value) for name in ("train.epoch", "foo", "gate.min_f1"))


def test_a_form_may_ask_for_a_day_and_hold_only_what_is_read() -> None:
    fields = form_fields(only=["serve", "train.threads"], placed=True)
    assert list(fields)[:4] == ["input", "preset", "config_file", "as_of"]
    assert {name for name in fields if name.startswith("train.")} == {"train.threads"}
    assert "serve.keep_days" in fields
    assert not any(name.startswith("model.") for name in fields)
    assert fields["as_of"]["format"] == "date"
    assert "as_of" not in form_fields()


@pytest.mark.parametrize("text", ["2026-13-01", "yesterday", "23.11.2026"])
def test_a_day_that_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UserError, match="not a date") as caught:
        read_as_of(text)
    assert caught.value.found == text
    assert caught.value.next_step == "behavior score --as-of 2026-11-23"
