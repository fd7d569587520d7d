"""The commands in the documentation that only look are run as they stand there, in a state folder with two versions."""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.registry import ledger
from tests.cli.typing_in import exit_code
from tests.docs.commands import PROJECT, every_command
from tests.docs.elsewhere import missing_tests, run_elsewhere
from tests.shop import TINY

ENDINGS = {
    **{"doctor": {0, 1}, "score": {0, 3}, "watch": {0, 3}},
    **{"privacy": {0, 1, 3}, "export": {0, 1}, "erase": {0, 1}},
}
"""Exit codes that the pages name beside 0."""
REFUSED = (
    r"doctor --input five-rows\.csv",  # too little, says the page
    r"history --repair .*",  # the ledger is what was written
)
LAST = ("gc", "rollback", "promote")
"""They change what the others look at."""
READ_A_LOG = ("doctor", "score", "watch")
EASY = {
    **{"gate.margin": 1, "gate.min_f1": 0, "gate.max_ece": 1, "gate.slice_drop": 1, "gate.min_positives": 1},
    # Boosting says no amounts, and a margin needs them.
    "gate.allow_baseline_champion": False,
}


def typed() -> list[tuple[str, ...]]:
    """Return every whole command of `behavior` that is run here, each once, those that change something last."""
    found = {
        command.words[1:]: None
        for command in every_command()
        if command.program == "behavior" and run_elsewhere(command) is None and not command.is_cut
    }
    bare = {"rollback", "promote", "show", "simulate", "erase", "export"}  # named in a sentence, without what they need
    kept = [words for words in found if words not in {(name,) for name in bare}]
    return sorted(kept, key=lambda words: LAST.index(words[0]) if words[0] in LAST else -1)


def test_every_command_is_run_by_some_test() -> None:
    checked_only = re.compile(r"(cd|git|export|pip) |airflow |docker |python -m json\.tool|curl ")
    left = [
        command
        for command in every_command()
        if command.program != "behavior"
        and run_elsewhere(command) is None
        and not checked_only.match(" ".join(command.words))
    ]
    assert [str(command) for command in left] == []
    assert missing_tests() == []
    assert len(typed()) > 40


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A folder with a log and a state folder: two versions, the newer champion, and a scored day."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(folder / "var"))
        patch.chdir(folder)
        settings = [word for key, value in {**TINY, **EASY}.items() for word in ("--set", f"{key}={value}")]
        assert exit_code("simulate", "--out", "shop", *settings) == 0
        (folder / "shop" / "events.csv").rename("log.csv")
        rows = (folder / "log.csv").read_text(encoding="utf-8").splitlines()
        (folder / "five-rows.csv").write_text("\n".join(rows[:6]) + "\n", encoding="utf-8")
        assert exit_code("run", "--input", "log.csv", *settings) == 0
        assert exit_code("run", "--input", "log.csv", *settings, "--set", "train.learning_rate=0.002") == 0
        who = {line["version"] for line in ledger.read(Home(folder / "var"))}
        if "2" not in who:
            assert exit_code("promote", "--version", "2", "--who", "ann", "--reason", "to have two champions") == 0
        assert exit_code("score", "--input", "log.csv", "--set", "privacy.min_group=1") in (0, 3)
        product = pd.read_csv("log.csv", dtype=str)["product_id"].dropna().iloc[0]
        (folder / "moved.csv").write_bytes((folder / "log.csv").read_bytes())
        (folder / "stock.csv").write_text(f"product_id,stock\n{product},3\n", encoding="utf-8")
        yield Home(folder / "var")


@pytest.fixture(scope="module")
def stand_for(place: Home) -> Mapping[str, str]:
    """What the pages show of a shop of their own → what is there in this one."""
    scores = sorted(place.served.glob("shopper_scores/date=*/scores/*.parquet"))
    day = scores[-1].parent.parent.name.removeprefix("date=")
    shopper = str(pd.read_parquet(scores[-1], columns=["shopper"])["shopper"].iloc[0])
    judged = max(place.served.glob("risk/date=*/risk.parquet"))
    active = str(pd.read_parquet(judged, columns=["shopper"])["shopper"].iloc[0])
    log = pd.read_csv(place.root.parent / "log.csv", dtype=str)
    user, category = log["user_id"].dropna().iloc[0], log["category"].dropna().iloc[0]
    run = next(path.name for path in sorted(place.runs.iterdir()) if (path / "stages" / "train.json").is_file())
    return {
        **dict.fromkeys(("ID", "6c118899a70b6bd3859e"), shopper),
        "0a1b2c3d4e5f60718293": active,
        **dict.fromkeys(("17850", "u00043"), str(user)),
        **dict.fromkeys(("DATE", "2026-11-01", "2026-05-04", "2026-11-24"), day),
        **{"cups": str(category), "V": "1", "7": "1", "name": "canonical", "taobao": "canonical"},
        **{"2026-11-27T094536-98e8": run, "../shared/data/taobao_userbehavior_100k.csv.gz": "log.csv"},
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)  # the first of them makes the state folder
@pytest.mark.parametrize("words", typed(), ids=" ".join)
def test_a_command_ends_as_its_page_says(
    words: tuple[str, ...], stand_for: Mapping[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [stand_for.get(word, word) for word in words]
    if words[0] in READ_A_LOG and not {"--input", "--device"} & set(words):
        asked += ["--input", "log.csv"]  # a page that leaves the log out means the reader's
    if words[0] == "score":
        asked += ["--set", "privacy.min_group=1"]  # its lists would be refused in so small a shop
    if "--sniff" in words:
        Path("mine.yaml").unlink(missing_ok=True)
    refused = any(re.fullmatch(pattern, " ".join(words)) for pattern in REFUSED)
    ending = exit_code(*asked)
    told = capsys.readouterr()
    assert ending in ({2} if refused else ENDINGS.get(words[0], {0})), told.out + told.err


UNTESTED = tuple(
    script
    for script in ("training", "sizes", "recommend", "risk", "privacy", "erasure", "masking")
    if any(command.words[1:2] == (f"benchmarks/{script}.py",) for command in every_command())
)


@pytest.mark.slow
@pytest.mark.parametrize("script", UNTESTED)
def test_a_benchmark_knows_the_options_that_the_docs_give_it(script: str) -> None:
    command = [sys.executable, f"benchmarks/{script}.py", "--help"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=True)
    for shown in every_command():
        if shown.words[:2] == ("python", f"benchmarks/{script}.py"):
            options = [word for word in shown.words if word.startswith("--")]
            assert [option for option in options if option not in done.stdout] == []
