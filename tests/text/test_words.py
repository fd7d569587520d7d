from pathlib import Path

import pytest
import yaml

from behavior_tasks.base.config import load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.text.words import (
    BRACKETED,
    TEMPLATES_FOLDER,
    StyleName,
    Templates,
    load_templates,
    templates_identity,
)

ENGLISH = (TEMPLATES_FOLDER / "en.yaml").read_text(encoding="utf-8")


def own(folder: Path, text: str) -> Templates:
    (folder / "mine.yaml").write_text(text, encoding="utf-8")
    return load_templates("en", folder / "mine.yaml")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("product: product {name}", "product: product", "sentence.product: holds no placeholder, expected {name}"),
        (
            "browse: browsed {what}",
            "browse: browsed {waht}",
            "sentence.actions.browse: unknown placeholder {waht}; did",
        ),
        ("    click: clicked {what}\n", "", "sentence: actions: missing click"),
        (
            "    click: clicked",
            "    clik: clicked",
            "sentence: actions: unknown clik; did you mean click?; missing click",
        ),
        ("once: once", "ones: once", "sentence.ones: unknown field; did you mean once?"),
        ("once: once", "ones: once", "sentence.once: is missing"),
        ("blank:", "blnk:", "blnk: unknown field; did you mean blank?"),
        ('blank: " "', "blank: x", "blank: "),
        ("  recency_days: recency\n", "", "feature_words: missing recency_days"),
        ("tenure_days: tenure", "tenure_days: recency", "two features share a word"),
        ("{below: 48, words: 1 day}", "{below: 12, words: 1 day}", "sentence.gaps: needs rising bands"),
        (
            "{below: 48, words: 1 day}",
            "{belwo: 48, words: 1 day}",
            "sentence.gaps.2.belwo: unknown field; did you mean b",
        ),
        ("{unit: 730, words", "{below: 9999, unit: 730, words", "rising"),
        ("unit: 24, ", "", "needs {count} exactly when there is a `unit`"),
        ("[Monday, ", "[", "sentence.days"),
        ('"[amount-q{quantile}]"', '"[{amount}]"', "compact.amount: [{amount}] would be endlessly many words"),
        ('"[x{power}]"', '"[x{power}{count}]"', "compact.many: holds {power} and {count}, expected {count} or {power}"),
    ],
)
def test_mistakes_in_the_words_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in ENGLISH
    with pytest.raises(UserError, match=r"The words in mine\.yaml can't be used") as caught:
        own(tmp_path, ENGLISH.replace(old, new, 1))
    assert named in str(caught.value)


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    text = ENGLISH.replace("ago: ", "agoo: ").replace("masked: ", "maskd: ").replace("for {query}", "for {q}")
    with pytest.raises(UserError, match="7 mistakes") as caught:
        own(tmp_path, text)
    told = str(caught.value)
    for named in ("sentence.agoo", "compact.agoo", "sentence.ago: is missing", "maskd", "sentence.query", "{query}"):
        assert named in told


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: [", "not readable as YAML"),
        ("- a\n- b\n", "not a table"),
        ("", "not a table"),
        ("blank: ' '\n", "numbered_product: is missing"),
    ],
)
def test_a_file_that_holds_no_templates_is_refused(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as caught:
        own(tmp_path, text)
    assert "mine.yaml" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_file_without_a_style_and_one_without_actions(tmp_path: Path) -> None:
    content = yaml.safe_load(ENGLISH)
    for style in ("sentence", "compact"):
        del content[style]["actions"]
    with pytest.raises(UserError) as caught:
        own(tmp_path, yaml.safe_dump(content))
    assert "sentence.actions: is missing" in str(caught.value)
    assert "compact.actions: is missing" in str(caught.value)
    del content["sentence"], content["compact"]
    with pytest.raises(UserError, match="can't be used") as caught:
        own(tmp_path, yaml.safe_dump(content))
    assert "neither `sentence` nor `compact` is there" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no file of templates mine\.yaml \(text\.templates\)") as caught:
        load_templates("en", tmp_path / "mine.yaml")
    assert "en.yaml" in str(caught.value)


def test_a_file_may_have_one_style_alone(tmp_path: Path) -> None:
    content = yaml.safe_load(ENGLISH)
    del content["sentence"]
    templates = own(tmp_path, yaml.safe_dump(content))
    assert templates.style("compact").actions["purchase"] == "[buy]{what}"
    with pytest.raises(UserError, match=r"no words for text\.style = sentence") as caught:
        templates.style("sentence")
    assert "--set text.style=compact" in str(caught.value)


@pytest.mark.parametrize("style", ["sentence", "compact"])
def test_both_languages_have_words_of_their_own(style: StyleName) -> None:
    english, chinese = (
        "|".join(_texts(load_templates(language).style(style).model_dump())) for language in ("en", "zh")
    )
    assert english.isascii()
    assert not set(" ,.:;?()") & set(chinese)
    assert bool(BRACKETED.search(english)) is bool(BRACKETED.search(chinese)) is (style == "compact")


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_the_content_of_the_users_file_is_part_of_the_stages_key(tmp_path: Path) -> None:
    one, other = tmp_path / "a.yaml", tmp_path / "b.yaml"
    one.write_text(ENGLISH, encoding="utf-8")
    other.write_text(ENGLISH, encoding="utf-8")

    def identity(path: Path | None) -> dict[str, str]:
        return templates_identity(None, load_config(overrides={"text.templates": path}), None)

    assert identity(None) == {}
    assert identity(one) == identity(other) != {}
    before = identity(one)
    one.write_text(ENGLISH.replace("User A", "Someone"), encoding="utf-8")
    assert identity(one) != before
    assert identity(tmp_path / "gone.yaml") == {}
