"""A person's yes: who is asked, what they are shown, and that only a yes about this very verdict promotes."""

import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.config import GateConfig
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import Run, StageRecord, answer, ask, open_run, promote, start_run
from behavior_tasks.pipeline.approval import approver, refused
from behavior_tasks.verdict.gate import judge
from tests.verdict.judged import CONFIG, evidence


def judged(home: Path, *, mistakes: dict[str, int], approval: str = "required", name: str = "a") -> tuple[Run, str]:
    """A run that has come as far as its gate, and the URI of the gate's artifact."""
    overrides = {"gate.approval": approval, "gate.approval_hours": 3, "engine.min_free_disk_mb": 0}
    run = open_run(start_run(name, day=date(2026, 1, 9), trigger="command line", overrides=overrides))
    run.home.artifacts.mkdir(parents=True, exist_ok=True)
    found = evidence(**mistakes)
    config = GateConfig.model_validate({**CONFIG.model_dump(), "approval": approval})
    documents = {
        "evaluate": {"metrics.json": found.measured},
        "gate": {"verdict.json": asdict(judge(found, config))},
    }
    for stage, files in documents.items():

        def work(out: Path, key: str, files: dict[str, object] = files) -> Output:
            for file, content in files.items():
                (out / file).write_text(json.dumps(content))
            return Output(rows=Rows(unit_in="examples", unit_out="files", rows_in=1, rows_out=1))

        built = run.store.build(stage=stage, code=name, settings={"m": mistakes}, inputs={}, work=work)
        run.keep(StageRecord(stage=stage, uri=built.artifact.uri, seconds=0.0, reused=False))
    gate = run.artifact("gate")
    assert gate is not None
    return run, gate.uri


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    return tmp_path


BETTER = {"candidate": 20, "champion": 30}


def test_the_question_shows_champion_and_candidate_with_their_difference(home: Path) -> None:
    run, gate = judged(home, mistakes=BETTER)
    question = ask(run.uri, gate)
    assert question is not None
    assert question.hours == 3
    assert "may the new language model become the champion (champion version 3)?" in question.subject
    assert "| | champion | new language model |" in question.body
    assert "| F1 | 0.700 | 0.800 |" in question.body
    assert "difference 0.100, 95 % interval" in question.body
    assert "400 test examples with 100 buyers" in question.body
    assert "Without an answer within 3 hours the champion is kept." in question.body


def test_boosting_is_asked_about_under_its_own_name(home: Path) -> None:
    run, gate = judged(home, mistakes={"candidate": 40, "boosting": 10})
    question = ask(run.uri, gate)
    assert question is not None
    assert "gradient boosting become the champion (no champion yet)" in question.subject
    assert "| | new gradient boosting |" in question.body
    assert "Advice: use the simpler one" in question.body


def test_nobody_is_asked_when_the_verdict_is_keep_or_approval_is_off(home: Path) -> None:
    run, gate = judged(home, mistakes={"candidate": 35, "champion": 30})
    assert ask(run.uri, gate) is None
    run, gate = judged(home, mistakes=BETTER, approval="off", name="b")
    assert ask(run.uri, gate) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, "nobody was asked"),
        ({"approved": False, "who": "Ada", "why": "holiday"}, "but Ada said no: holiday"),
        ({"approved": False, "who": None}, "nobody approved in time"),
        # A yes that nobody gave is none.
        ({"approved": True, "who": None}, "nobody approved in time"),
    ],
)
def test_without_a_yes_the_champion_is_kept(home: Path, given: dict[str, object] | None, words: str) -> None:
    run, gate = judged(home, mistakes=BETTER)
    if given is not None:
        answer(run.uri, gate, **given)  # type: ignore[arg-type]
    kept = promote(run.uri, "1", gate, "airflow")
    assert kept is not None
    assert kept.startswith("keep: the gate passed, but")
    assert words in kept
    assert approver(run, gate) is None
    assert run.noted("promotion") == {"promoted": False, "waits": False, "reason": kept}


def test_a_yes_is_about_one_verdict_alone(home: Path) -> None:
    run, gate = judged(home, mistakes=BETTER)
    answer(run.uri, "artifact://gate/another", approved=True, who="Ada")
    assert "nobody was asked" in str(refused(run, gate))
    answer(run.uri, gate, approved=True, who="Ada", why="looked at the report")
    assert refused(run, gate) is None
    assert approver(run, gate) == ("Ada", "looked at the report")


def test_a_run_that_starts_again_is_asked_again(home: Path) -> None:
    run, gate = judged(home, mistakes=BETTER)
    answer(run.uri, gate, approved=True, who="Ada")
    start_run("a", day=date(2026, 1, 9), trigger="command line", overrides={"gate.approval": "required"})
    assert "nobody was asked" in str(refused(open_run(run.uri), gate))
