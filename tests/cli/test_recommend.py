"""`behavior recommend`: what was handed out, for one shopper, for all, and for somebody who is not there."""

import json
import stat
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from behavior_tasks.pipeline.export import read_exports
from behavior_tasks.pipeline.runs import keep_run
from behavior_tasks.serve.moment import moment_at
from behavior_tasks.serve.recommend_lists import ANYBODY, FILE, SCHEMA
from behavior_tasks.serve.served import publish
from tests.cli.typing_in import exit_code
from tests.pipeline.records import make_run

AS_OF = "2026-03-01"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    home = Home(tmp_path / "home")
    home.root.mkdir()
    known = pseudonym("17850", identity_key(home))

    def work(out: Path, key: str) -> Output:
        folder = out / "served"
        folder.mkdir()
        lists = pd.DataFrame(
            {
                "shopper": [known, known, "other"],
                "rank": [1, 2, 1],
                "product_id": ["mug", "bowl", "fork"],
                "product_name": ["", "=1+1", ""],
                "score": [0.5, 0.25, 0.1],
                "method": ["item-kNN", "recent popularity", "item-kNN"],
                "reason": ["in their cart", "popular in the shop lately", "looked at a day ago"],
            }
        )
        pq.write_table(pa.Table.from_pandas(lists, schema=SCHEMA, preserve_index=False), folder / FILE)
        (folder / ANYBODY).write_text("category,rank,product_id,product_name\n,1,spoon,\ncups,1,mug,\n")
        facts = {"why": "Use item-kNN: [it] is simple.", "shoppers": 2, "rows": 3, "products": 3, "fewer": 2, "top": 10}
        return Output(
            rows=Rows(unit_in="shoppers", unit_out="shoppers", rows_in=2, rows_out=2),
            facts={**facts, "study": {"reported": None}, "banners": []},
        )

    store = ArtifactStore(home.artifacts)
    built = store.build(stage="recommendations", code="", settings={}, inputs={}, work=work)
    publish(home, built.artifact, moment_at(pd.Timestamp(AS_OF).date(), "UTC").as_of)
    return home


def test_everybody_one_shopper_and_a_stranger(home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    tell_of_anybody(home)
    out = tmp_path / "all.csv"
    assert exit_code("recommend", "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "Use item-kNN: [it] is simple." in told
    assert pd.read_csv(out)["product_id"].tolist().count("fork") == 1
    assert pd.read_csv(out)["product_name"].tolist()[1] == "'=1+1"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    (line,) = read_exports(home)
    assert (line["shoppers"], line["as_of"]) == (2, AS_OF)
    assert exit_code("recommend", "--out", str(out), "--raw") == 0
    assert pd.read_csv(out)["product_name"].tolist()[1] == "=1+1"
    capsys.readouterr()

    assert exit_code("recommend", "--shopper", "17850") == 0
    told = capsys.readouterr().out
    assert "mug" in told
    assert "fork" not in told
    assert exit_code("recommend", "--shopper", "nobody", "--as-of", AS_OF) == 0
    told = capsys.readouterr().out
    assert "spoon" in told
    assert "somebody new" in told


def tell_of_anybody(home: Home) -> None:
    """Leave a scoring behind under which the smallest group may be told of."""
    run = make_run(home, "night", {}, privacy={"min_group": 1})
    keep_run(home, run.record.model_copy(update={"run_id": "score", "trigger": "scoring"}))


def test_no_file_holds_the_lists_of_a_few_and_no_count_tells_of_them(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "few.csv"
    for words in (("--out", str(out)), ("--shopper", "17850", "--out", str(out))):
        assert exit_code("recommend", *words) == 2
        assert "too few people" in capsys.readouterr().err
    assert not out.exists()
    assert read_exports(home) == []
    assert exit_code("recommend", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["shoppers"], told["fewer"], told["least_told"]) == (None, None, 20)


def test_a_day_of_which_there_is_nothing_is_named(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("recommend", "--as-of", "2026-03-02") == 2
    assert "behavior score --as-of 2026-03-02" in capsys.readouterr().err
