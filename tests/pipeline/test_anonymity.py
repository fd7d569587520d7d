"""k-anonymity: groups are counted by hand, and the words are those that the texts hold."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import bucket_files
from behavior_tasks.pipeline.privacy.anonymity import Anonymity, measure, measure_anonymity
from behavior_tasks.text.profiles import profile_words
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.verbalize import SETTINGS_FILE
from tests.cli.typing_in import exit_code
from tests.serve.world import ServedShop


@pytest.fixture
def settings(shop: ServedShop) -> TextSettings:
    return TextSettings.load(shop.run.need("verbalize").path / SETTINGS_FILE)


def people(*rows: tuple[float | None, str | None, float, int]) -> pd.DataFrame:
    """Return so many people of each age, gender and number of purchases."""
    each = [(age, gender, bought) for age, gender, bought, count in rows for _ in range(count)]
    return pd.DataFrame(each, columns=["age", "gender", "purchases"])


def test_groups_are_counted_as_by_hand(settings: TextSettings) -> None:
    # Both ages of the first line are in one band; the second line has one person of a band of its own.
    crowd = people(
        (31, "Female", 0, 6), (33, "female", 0, 6), (71, "female", 0, 1), (31, "male", 0, 8), (None, None, 0, 3)
    )
    found = measure(crowd, settings, run="r")
    assert (found.shoppers, found.spread.groups, found.sizes) == (24, 4, [1, 3, 8, 12])
    assert found.spread.smallest == 1
    assert found.spread.below == {5: pytest.approx(4 / 24), 10: pytest.approx(12 / 24), 20: 1.0}
    assert found.smallest_groups[0]["shoppers"] == 1
    ways = {way.words: way.spread for way in found.ways}
    assert ways["no age"].smallest == 3
    assert ways["no gender"].below[10] == pytest.approx(4 / 24)
    assert next(way.words for way in found.ways) == "no gender"
    assert "no words for the number of purchases" not in ways


def test_nobody_and_one_profile_need_no_division(settings: TextSettings) -> None:
    nobody = measure(people(), settings, run="r")
    assert (nobody.shoppers, nobody.spread.smallest, nobody.ways) == (0, 0, [])
    alike = measure(people((31, "male", 0, 30)), settings, run="r")
    assert (alike.spread.smallest, alike.ways, alike.spread.below[20]) == (30, [], 0.0)


def test_the_words_are_those_of_the_texts(shop: ServedShop, settings: TextSettings) -> None:
    texts = pq.read_table(bucket_files(shop.run.need("verbalize").path / "texts")[0]).to_pandas()
    examples = pq.read_table(bucket_files(shop.run.need("features").path / "examples")[0]).to_pandas()
    words = profile_words(settings, examples)
    told = dict(zip(texts["example"], map("".join, texts["parts"]), strict=True))
    for example, row in zip(examples["example"], words.to_dict("records"), strict=True):
        for word in row.values():
            assert word == "–" or word in told[example], (row, told[example])


@pytest.fixture
def home(shop: ServedShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(shop.home.root, tmp_path / "home", symlinks=True)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_command_tells_the_last_run_and_holds_nobody(
    home: Path, shop: ServedShop, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("privacy", "anonymity", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    found: Anonymity = measure_anonymity(shop.run)
    assert (told["shoppers"], told["spread"]["smallest"]) == (found.shoppers, found.spread.smallest)
    assert sum(told["sizes"]) == found.shoppers
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert page.count("<img") == 1
    shoppers = {
        shopper
        for file in bucket_files(shop.run.need("features").path / "examples")
        for shopper in pq.read_table(file, columns=["shopper"])["shopper"].to_pylist()
    }
    written = page + json.dumps(told)
    assert not any(shopper in written for shopper in shoppers)
    assert exit_code("privacy", "anonymity") == 0
    assert "below 20" in capsys.readouterr().out
