"""A training that is judged: told after every epoch; given up, its process ends and nothing of it is left behind."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from behavior_tasks.base.stage import AbandonedError, Job
from behavior_tasks.model.train import train_stage
from tests.model.test_train import job_on
from tests.model.toy import Toy


def trained_under(judge_says: list[bool], toy: Toy, folder: Path) -> tuple[Job, list[tuple[int, float]]]:
    """Train six epochs under a judge that gives these answers, then yes; return the job and what the judge was told."""
    told: list[tuple[int, float]] = []

    def judge(figures: Mapping[str, float], epoch: int) -> bool:
        told.append((epoch, figures["validation_average_precision"]))
        return judge_says[epoch - 1] if epoch <= len(judge_says) else True

    # Slow enough to be caught at it: an epoch takes longer than the watching process looks away.
    job = replace(job_on(toy, folder, epochs=60, patience=60, batch_size=4), judge=judge)
    try:
        train_stage(job)
    except AbandonedError:
        return job, told
    raise AssertionError("it went on to its end")


def test_a_training_that_is_given_up_leaves_no_process_and_no_checkpoint(toy: Toy, tmp_path: Path) -> None:
    job, told = trained_under([True, False], toy, tmp_path)
    assert [epoch for epoch, _ in told] == [1, 2]
    assert all(0 <= value <= 1 for _, value in told)
    assert list((job.home.work / "train").iterdir()) == []
    assert list(job.out.iterdir()) == []
    children = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    assert not any("train_process" in " ".join(p.cmdline()) for p in children)


@pytest.mark.slow
def test_a_training_that_is_worth_it_ends_as_any_other(toy: Toy, tmp_path: Path) -> None:
    told: dict[int, float] = {}

    def judge(figures: Mapping[str, float], epoch: int) -> bool:
        assert epoch not in told
        told[epoch] = figures["validation_average_precision"]
        return True

    job = replace(job_on(toy, tmp_path, epochs=4, patience=4), judge=judge)
    output = train_stage(job)
    lines = [json.loads(line) for line in (job.out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    # The last epoch may end together with the process, before anybody is asked about it.
    assert told == {line["epoch"]: line["validation_average_precision"] for line in lines[: len(told)]}
    assert output.facts is not None
    assert output.facts["epochs"] == 4
