"""`behavior score`: what is finished is handed out whatever else fails, and the exit code says whether to look."""

import json
import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.stage import Job
from behavior_tasks.registry import champions, store
from behavior_tasks.serve import score
from behavior_tasks.serve.served import need_served, served_dates
from tests.cli.typing_in import exit_code
from tests.serve.world import SMALL, ServedShop
from tests.shop import TINY

SET = [word for key, value in {**TINY, **SMALL}.items() for word in ("--set", f"{key}={value}")]
SCORES = ["--only", "shopper_scores", "--only", "product_scores"]


@pytest.fixture
def home(shop: ServedShop, tmp_path: Path) -> Iterator[Home]:
    """A copy of the shop's state folder; no MLflow in it."""
    copy = Home(tmp_path / "home")
    shutil.copytree(shop.home.root, copy.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(copy.root))
        patch.delenv(store.URI_VARIABLE, raising=False)
        patch.setenv("COLUMNS", "160")
        yield copy


@pytest.fixture
def crown(shop: ServedShop, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Make the shop's models champions, of which a registry would say so; the word names another product champion."""

    def crowned(product_model: str) -> None:
        def stage(job: Job) -> Output:
            for unit in ("shopper", "shopper_product"):
                shutil.copytree(shop.champions.path / unit, job.out / unit)
            if product_model == "damaged":
                (job.out / "shopper_product" / "model" / "config.json").write_text("{")
            rows = Rows(unit_in="champions", unit_out="champions", rows_in=2, rows_out=2)
            return Output(rows=rows, facts=shop.champions.facts)

        monkeypatch.setattr(champions, "champions_identity", lambda *_: {"product": product_model})
        monkeypatch.setattr(champions, "champions_stage", stage)

    return crowned


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    assert exit_code("score", *SET, *words) == code
    told = capsys.readouterr()
    return told.out + told.err


@pytest.mark.slow
def test_a_good_night_a_night_to_look_at_and_one_with_a_failure(
    shop: ServedShop, home: Home, crown: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    today = shop.moment.as_of
    earlier = today - timedelta(days=20)
    crown("good")
    out = said(capsys, *SCORES)
    assert f"As of {today}, by behavior 1, behavior-products 2" in out
    assert f"served/shopper_scores/date={today}" in out
    assert "notice: The log begins" in out
    good = need_served(home, "product_scores")

    out = said(capsys, *SCORES, "--as-of", str(earlier), code=3)
    assert "severe: The champion behavior 1 was trained on what followed" in out
    assert served_dates(home, "shopper_scores") == [earlier, today]
    assert need_served(home, "shopper_scores", earlier).banners[0].code == "trained_on_later"
    lines = [line.split()[:2] for line in said(capsys, *SCORES, "--as-of", str(earlier), code=3).splitlines()]
    for stage in ("moment", "readiness", "shopper_scores", "product_scores"):
        assert [stage, "reused"] in lines
    exit_code("status")
    status = capsys.readouterr().out
    assert f"Last scoring: as of {earlier} by behavior 1, behavior-products 2: shopper_scores, product_scores" in status

    crown("damaged")
    other = today - timedelta(days=1)
    out = said(capsys, *SCORES, "--as-of", str(other), code=2)
    assert "product_scores failed." in out
    assert "config.json" in out
    assert served_dates(home, "shopper_scores") == [earlier, other, today]
    assert served_dates(home, "product_scores") == [earlier, today]
    assert need_served(home, "product_scores") == good
    exit_code("status")
    assert "product_scores failed:" in capsys.readouterr().out


def test_a_fault_of_the_program_comes_up_when_all_others_are_handed_out(
    home: Home, crown: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(job: Job) -> Output:
        raise KeyError("of the program")

    crown("good")
    monkeypatch.setattr(score, "shopper_scores_stage", fault)
    with pytest.raises(KeyError, match="of the program"):
        exit_code("score", *SET, *SCORES)
    assert len(served_dates(home, "product_scores")) == 1
    assert served_dates(home, "shopper_scores") == []
    record = next(path for path in home.runs.glob("*/scored.json"))
    assert list(json.loads(record.read_bytes())["failed"]) == ["shopper_scores"]


def test_without_a_champion_nothing_is_handed_out_or_lost(
    home: Home, crown: Callable[[str], None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    crown("good")
    said(capsys, "--only", "shopper_scores")
    monkeypatch.undo()
    before = need_served(home, "shopper_scores")
    out = said(capsys, *SCORES, code=2)
    assert "There is no champion yet" in out
    assert "behavior run" in out
    assert need_served(home, "shopper_scores") == before
    assert served_dates(home, "product_scores") == []
    exit_code("status")
    assert "stopped in champions" in capsys.readouterr().out


def test_what_is_asked_wrongly_is_refused_before_anything_starts(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = set(home.runs.iterdir())
    assert "not a date" in said(capsys, "--as-of", "yesterday", code=2)
    assert "behavior score --only audiences" in said(capsys, "--only", "audience", code=2)
    assert "leave out --only" in said(capsys, "--only", "risk", "--airflow", code=2)
    assert set(home.runs.iterdir()) == runs
