"""The trigger form says the same as the configuration model."""

from typing import Any

import jsonschema
import pytest

from behavior_tasks.base.config import SECTIONS, load_config, presets, setting_keys
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form import CONFIG_FILE, INPUT, PRESET, form_fields, read_as_of, read_form
from behavior_tasks.base.form_words import CHOICES, EXAMPLES, FIRST, PRESETS, TITLES, in_order

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
    assert list(FIELDS) == [INPUT, PRESET, CONFIG_FILE, *in_order(setting_keys())]
    assert sorted(in_order(setting_keys())) == sorted(setting_keys())


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
        ("privacy.dp.epsilon", 3, 0),
    ],
)
def test_form_and_model_accept_and_refuse_the_same(name: str, good: object, bad: object) -> None:
    assert accepts(name, good)
    assert model_accepts(name, good)
    assert not accepts(name, bad)
    assert not model_accepts(name, bad)


def test_each_setting_says_what_it_is_its_section_and_its_default() -> None:
    headings: dict[str, set[str]] = {}
    for name in setting_keys():
        field: dict[str, Any] = FIELDS[name]
        assert field["title"] != name
        assert field["description"].endswith(f" ({name})"), "what a file or the command line calls it"
        assert ("section" in field) == (name not in FIRST)
        if name not in FIRST:
            headings.setdefault(field["section"], set()).add(name.partition(".")[0])
    assert [len(sections) for sections in headings.values()] == [1] * len(SECTIONS), "one heading for each section"
    assert set(FIRST) <= set(setting_keys())
    said = "Most passes over the train split. From 1 to 1000. Empty: the preset's value, else 3. (train.epochs)"
    assert FIELDS["train.epochs"]["description"] == said
    assert "Less than 1." not in FIELDS["model.dropout"]["description"]
    assert "From 0 to less than 1." in FIELDS["model.dropout"]["description"]
    assert "At least 0." in FIELDS["train.seed"]["description"]
    assert FIELDS["source.period_start"]["format"] == "date"
    assert FIELDS["source.period_end"]["description"].endswith("else nothing. (source.period_end)")


def test_every_choice_has_words_and_no_words_are_for_a_choice_that_there_is_not() -> None:
    for name, field in FIELDS.items():
        choices = {str(choice) for choice in field.get("enum", []) if choice is not None}
        labels = set(field.get("values_display", {})) - {"null", "None", "true", "false"}
        assert labels == choices, name
    assert FIELDS["text.feature_words"]["values_display"]["false"] == "no"
    assert FIELDS["model.size"]["values_display"]["null"] == "as the preset has it"
    for name in (*CHOICES, *EXAMPLES, *TITLES):
        assert name in FIELDS
    assert all(accepts(name, example) for name, examples in EXAMPLES.items() for example in examples)
    assert set(PRESETS) == set(presets())


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
