"""Kept answers: the same as the model's own, of whatever company, and never a reason to fail."""

import logging
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from behavior_tasks.base.home import Home
from behavior_tasks.model.predict import Scorer
from behavior_tasks.serve import answers
from behavior_tasks.serve.answers import Shelf, text_keys
from tests.serve.world import ServedShop

WORDS = ("[profile]", " browsed product A", ", clicked product B", " then purchased", " 2 days later", " recency-q1")


def texts(count: int, seed: int = 0) -> pa.ListArray:
    """Different texts of very different lengths."""
    generator = np.random.default_rng(seed)
    return pa.array(
        [
            [f"{seed} text {number}", *generator.choice(WORDS, size=int(generator.integers(0, 30)))]
            for number in range(count)
        ],
        type=pa.list_(pa.string()),
    )


@pytest.fixture(scope="module")
def scorer(shop: ServedShop) -> Scorer:
    return Scorer.load(shop.champion("shopper").model, device="cpu", threads=1)


def open_shelf(root: Path, scorer: Scorer, device: str = "cpu") -> Shelf:
    return Shelf.open(Home(root), scorer.folder, device, buckets=2)


def test_a_kept_answer_is_bit_for_bit_the_first_one(scorer: Scorer, tmp_path: Path) -> None:
    asked = texts(60)
    first = open_shelf(tmp_path, scorer).tell(scorer, asked, "0000")
    again = open_shelf(tmp_path, scorer).tell(scorer, asked, "0000")
    assert (first.asked, again.asked) == (60, 0)
    np.testing.assert_array_equal(first.told, again.told)
    np.testing.assert_array_equal(first.told, scorer.read_parts(asked))
    assert len(np.unique(first.told[:, 0])) > 50, "the texts are told apart"
    # Half of it new, in another order, and one text three times.
    mixed = pa.concat_arrays([texts(10, seed=1), asked.take(pa.array([41, 3, 3, 3, 17]))])
    some = open_shelf(tmp_path, scorer).tell(scorer, mixed, "0000")
    assert some.asked == 10
    np.testing.assert_array_equal(some.told[10:], first.told[[41, 3, 3, 3, 17]])
    assert open_shelf(tmp_path, scorer).tell(scorer, asked, "0001").asked == 60, "another bucket has another file"


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="these kernels are not here")
def test_what_a_text_tells_depends_on_no_company_and_no_threads(scorer: Scorer) -> None:
    asked = texts(400, seed=2)
    everything = scorer.read_parts(asked)
    for rows in ([7], [399, 0], list(range(0, 400, 3))):
        np.testing.assert_array_equal(scorer.read_parts(asked.take(pa.array(rows))), everything[rows])
    threads = Scorer.load(scorer.folder, device="cpu", threads=2)
    np.testing.assert_array_equal(threads.read_parts(asked), everything)


def test_a_text_is_known_however_it_is_cut_and_only_it(scorer: Scorer) -> None:
    cut = pa.array([["ab", "c"], ["a", "bc"], ["abc", ""], ["ab"], []], type=pa.list_(pa.string()))
    keys = text_keys(cut)
    assert keys[0] == keys[1] == keys[2]
    assert len(np.unique(keys)) == 3
    assert len(text_keys(cut[:0])) == 0


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "no file"])
def test_a_damaged_file_is_a_line_in_the_log(
    scorer: Scorer, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    shelf, asked = open_shelf(tmp_path, scorer), texts(5)
    expected = shelf.tell(scorer, asked, "0000").told
    file = shelf.folder / "0000"
    content = file.read_bytes()
    if damage == "no file":
        file.unlink()
        file.mkdir()
    else:
        flipped = content[:60] + bytes([content[60] ^ 1]) + content[61:]
        file.write_bytes({"cut": content[:-7], "flipped": flipped, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        found = shelf.tell(scorer, asked, "0000")
    assert found.asked == 5
    np.testing.assert_array_equal(found.told, expected)
    assert "Kept answers of bucket 0000" in caplog.text
    if damage != "no file":
        assert shelf.tell(scorer, asked, "0000").asked == 0, "the file is whole again"


def test_a_shelf_that_somebody_took_away_costs_no_answer(
    scorer: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = open_shelf(tmp_path, scorer)
    shutil.rmtree(shelf.folder)
    assert np.isfinite(shelf.tell(scorer, texts(3), "0000").told).all()
    assert "can't be kept" in caplog.text


def test_what_was_used_longest_ago_goes_first(scorer: Scorer, tmp_path: Path) -> None:
    shelf = Shelf(folder=open_shelf(tmp_path, scorer).folder, most=30)
    old, used, new = (texts(12, seed=seed) for seed in (3, 4, 5))
    for asked in (old, used, old, used, new):
        shelf.tell(scorer, asked, "0000")
    assert [shelf.tell(scorer, asked, "0000").asked for asked in (new, used)] == [0, 0]
    assert shelf.tell(scorer, old, "0000").asked == 6


def test_the_shelves_of_few_models_are_kept(scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_MODELS", 2)
    shelves = []
    for number, device in enumerate(("cpu", "cuda", "mps", "cuda")):
        shelves.append(open_shelf(tmp_path, scorer, device).folder)
        os.utime(shelves[-1], ns=(number, number))
    assert set((tmp_path / "cache" / "scores").iterdir()) == set(shelves[2:])


def test_nothing_of_a_text_stands_in_the_files(scorer: Scorer, tmp_path: Path) -> None:
    shelf = open_shelf(tmp_path, scorer)
    shelf.tell(scorer, texts(4), "0000")
    content = (shelf.folder / "0000").read_bytes()
    assert b"text" not in content
    assert b"product" not in content
    assert [file.name for file in shelf.folder.iterdir()] == ["0000"]


KEEPER = """
import sys
from pathlib import Path
from behavior_tasks.base.home import Home
from behavior_tasks.model.predict import Scorer
from behavior_tasks.serve.answers import Shelf
from tests.serve.test_score_answers import texts
scorer = Scorer.load(Path(sys.argv[1]), device="cpu", threads=1)
shelf = Shelf.open(Home(Path(sys.argv[2])), scorer.folder, "cpu", buckets=2)
for turn in range(int(sys.argv[3]), 100_000):
    shelf.tell(scorer, texts(40, seed=turn), "0000")
"""


@pytest.mark.slow
def test_killed_and_at_once_nothing_is_ever_half_there(
    scorer: Scorer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = open_shelf(tmp_path, scorer)
    expected = shelf.tell(scorer, texts(40, seed=7), "0000").told
    command = [sys.executable, "-c", KEEPER, str(scorer.folder), str(tmp_path)]
    running = [subprocess.Popen([*command, str(start)]) for start in (10, 10_000)]
    deadline = time.monotonic() + 120
    while (shelf.folder / "0000").stat().st_size < 20_000 and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in running:
        process.kill()
        process.wait()
    assert (shelf.folder / "0000").stat().st_size >= 20_000
    told = open_shelf(tmp_path, scorer).tell(scorer, texts(40, seed=7), "0000")
    np.testing.assert_array_equal(told.told, expected)
    # Whether a kill came in the middle of a write is chance; then its remains are swept, and nothing else is said.
    assert all("unfinished work" in line for line in caplog.messages)
    assert [file.name for file in shelf.folder.iterdir()] == ["0000"], "what the killed ones left is swept"
