from pathlib import Path

import pytest

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import connect
from behavior_tasks.text.words import TEMPLATES_FOLDER, Band, fill, in_band, load_templates

ENGLISH = (TEMPLATES_FOLDER / "en.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("product {letter}", "product", "product"),
        ('browse: " browsed {what}"', 'browse: " browsed {thing}"', "actions.browse"),
        ('  click: " clicked {what}"\n', "", "click"),
        ("once: once", "ones: once", "ones"),
        ("  recency_days: recency\n", "", "recency_days"),
        ("tenure_days: tenure", "tenure_days: recency", "two features share a word"),
        ("{below: 48, words: 1 day}", "{below: 12, words: 1 day}", "rising"),
        ("{unit: 730, words", "{below: 9999, unit: 730, words", "rising"),
        ("unit: 24, ", "", "unit"),
    ],
)
def test_mistakes_in_the_words_are_named(tmp_path: Path, old: str, new: str, named: str) -> None:
    assert old in ENGLISH
    (tmp_path / "en.yaml").write_text(ENGLISH.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=r"templates/en\.yaml can't be used") as caught:
        load_templates("en", tmp_path)
    assert named in str(caught.value)


def test_quotes_and_bands_survive_sql() -> None:
    bands = [Band(below=1, words="it's less"), Band(below=10, unit=2, words="{count} pairs"), Band(words="many")]
    query = f"SELECT {in_band(bands, 'n')} FROM (VALUES (0.5), (1), (9.9), (10), (NULL)) AS t(n)"
    assert [row[0] for row in connect().execute(query).fetchall()] == ["it's less", "0 pairs", "4 pairs", "many", None]
    filled = fill("{a}'{b}", {"a": "1", "b": "2"})
    assert connect().execute(f"SELECT {filled}").fetchone() == ("1'2",)
