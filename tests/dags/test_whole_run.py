"""The real DAG through `airflow dags test` on a tiny shop: green with a verdict, the same twice, clear on a bad log."""

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.airflow import PROJECT, DagResult, run_dag
from behavior_tasks.pipeline import STAGES, Run
from behavior_tasks.registry import store
from tests.shop import TINY

NIGHT = datetime(2026, 11, 23, 2, tzinfo=UTC)
FIVE_ROWS = (
    "user_id,action,product_id,timestamp\n"
    "1,browse,1001,1628751662\n1,click,1001,1628751672\n1,purchase,1001,1628751762\n"
    "2,browse,1002,1628752662\n2,click,1003,1628752672\n"
)


@dataclass(frozen=True)
class Ended:
    """A DAG run that has ended, and what was seen of it on the way."""

    home: Home
    result: DagResult
    seen: list[tuple[str | None, int]]

    @property
    def run(self) -> Run:
        assert self.result.run_id is not None
        return Run(self.home, self.result.run_id)

    @property
    def states(self) -> dict[str, str]:
        with closing(sqlite3.connect(self.home.airflow / "airflow.db")) as database:
            rows = database.execute("SELECT run_id, task_id, state, try_number FROM task_instance").fetchall()
        mine = [row[1:] for row in rows if re.sub("[^A-Za-z0-9._-]+", "-", row[0]) == self.result.run_id]
        assert all(tries <= 1 for _, _, tries in mine)
        return {task.rpartition(".")[2]: state for task, state, _ in mine}

    @property
    def mlflow_status(self) -> str:
        with store.connect(self.home) as client:
            found = store.find_run(client, self.home, self.run.record.config, self.run.record.run_id)
        assert found is not None
        return str(found.info.status)

    @property
    def champions_announced(self) -> int:
        """How often the asset was updated, by whatever run."""
        with closing(sqlite3.connect(self.home.airflow / "airflow.db")) as database:
            query = (
                "SELECT count(*) FROM asset_event JOIN asset ON asset_id = asset.id WHERE name = 'behavior_champion'"
            )
            return int(database.execute(query).fetchone()[0])

    def log_of(self, task: str) -> str:
        return sorted((self.home.airflow / "logs").glob(f"dag_id=*/run_id=*/task_id={task}/attempt=1.log"))[
            0
        ].read_text()


def run_once(home: Home, conf: dict[str, object], when: datetime) -> Ended:
    seen: list[tuple[str | None, int]] = []

    def look(run_id: str | None) -> None:
        seen.append((run_id, len([*(home.runs / run_id / "stages").glob("*.json")]) if run_id else 0))

    return Ended(home, run_dag(home, PROJECT, conf, logical_date=when, on_tick=look), seen)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    made = Home(tmp_path_factory.mktemp("whole") / "var")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(made.root))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield made


@pytest.fixture(scope="module")
def first(home: Home) -> Ended:
    return run_once(home, TINY, NIGHT)


@pytest.mark.slow
def test_a_run_on_a_simulated_shop_is_green_with_a_verdict(first: Ended) -> None:
    assert first.result.returncode == 0, first.result.log
    assert [record.stage for record in first.run.stages()] == list(STAGES)
    assert first.run.record.day == NIGHT.date()
    assert first.mlflow_status == "FINISHED"
    gate = first.run.artifact("gate")
    assert gate is not None
    promoted = gate.facts["decision"] == "promote"
    others = set(first.states) - {"approval", "promote"}
    assert {first.states[task] for task in others} == {"success"}
    assert first.states["approval"] == "skipped", "nobody asked for it"
    assert first.states["promote"] == ("success" if promoted else "skipped")
    assert first.champions_announced == int(promoted), "the scoring is triggered by a real promotion alone"


@pytest.mark.slow
def test_the_stages_can_be_watched_while_it_runs(first: Ended) -> None:
    assert first.seen[0] == (None, 0)
    assert any(run_id == first.result.run_id and 0 < done < len(STAGES) for run_id, done in first.seen)
    assert first.seen[-1] == (first.result.run_id, len(STAGES))


@pytest.mark.slow
def test_every_task_leaves_the_log_that_the_page_shows(first: Ended) -> None:
    lines = [json.loads(line) for line in first.log_of("data.ingest").splitlines()]
    assert any("artifact://ingest/" in line["event"] for line in lines)


@pytest.mark.soak
def test_the_same_run_again_finds_everything_done(first: Ended, home: Home) -> None:
    again = run_once(home, TINY, NIGHT + timedelta(days=1))
    assert again.result.returncode == 0, again.result.log
    assert again.result.run_id != first.result.run_id
    # The first run may have changed the champion, so what reads it is done anew.
    reread = {"champion", "evaluate", "package", "gate", "model_report"}
    assert all(record.reused for record in again.run.stages() if record.stage not in reread)
    assert {r.stage: r.uri for r in again.run.stages() if r.stage not in reread} == {
        r.stage: r.uri for r in first.run.stages() if r.stage not in reread
    }
    assert again.mlflow_status == "FINISHED"
    assert again.states["promote"] == "skipped"
    assert again.champions_announced == first.champions_announced


@pytest.mark.slow
def test_a_log_that_cannot_be_learned_from_ends_in_one_clear_message(home: Home, tmp_path: Path) -> None:
    log = tmp_path / "five.csv"
    log.write_text(FIVE_ROWS, encoding="utf-8")
    ended = run_once(home, {"input": str(log)}, NIGHT + timedelta(days=2))
    assert ended.result.returncode == 1
    assert ended.mlflow_status == "FAILED"
    states = ended.states
    failed = [task for task, state in states.items() if state == "failed"]
    assert len(failed) == 1
    assert states["simulate"] == "skipped"
    assert states["close_tracking"] == "success"
    assert states["promote"] == "upstream_failed"
    error = ended.run.noted("error")
    assert error is not None
    assert error["stage"] == failed[0]
    assert ended.result.log is not None
    written = [json.loads(line) for line in ended.result.log.read_text().splitlines() if line[0] == "{"]
    said = [line["event"] for line in written if line.get("logger") == "behavior" and line["level"] == "error"]
    # The task's own message, and the one that a failed run sends to whoever is to know of it.
    assert said[0] == error["message"]
    assert [line.partition(":")[0] for line in said[1:]] == [f"behavior_training failed in {error['stage']}"]
    assert not any("exception" in line or "error_detail" in line for line in written)
