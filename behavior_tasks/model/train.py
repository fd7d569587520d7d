"""The train stage: encoded texts and settings in, a model bundle and its metrics out.

Training is a process of its own, started with `accelerate launch`; this stage starts it, shows how far it is,
passes stop signals on and copies the finished bundle. The work folder outlives a kill of either, so the next
attempt goes on from the last checkpoint to the same weights.
"""

import logging
import shutil
from pathlib import Path
from typing import Any

from filelock import FileLock

from behavior_tasks.base.artifacts import Output, Rows, write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import make_folder
from behavior_tasks.base.stage import AbandonedError, Job
from behavior_tasks.model.accounting import plan_dp
from behavior_tasks.model.baselines import TEACHER_FILE
from behavior_tasks.model.curves import plot_learning_curve, plot_loss
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.launch import check_hardware, launch_command, launch_environment
from behavior_tasks.model.live import judging, reporting, showing
from behavior_tasks.model.shoppers import train_shoppers
from behavior_tasks.model.supervise import Limits, TrainingStoppedError, run_process
from behavior_tasks.model.work_folder import Outcome, TrainingJob, WorkFolder, alone_with_training, best_epoch
from behavior_tasks.text.tokens import TokenSet

__all__ = ["TrainingStoppedError", "train_stage"]

LOG_LINES = 15
log = logging.getLogger("behavior")


def train_stage(job: Job) -> Output:
    """Fine-tune the language model in its own process and keep its bundle.

    Writes `model/` (the self-contained bundle), `metrics.jsonl` (one line an epoch) and `plots/`.

    Raises:
        UserError: the settings ask for what can't be had, e.g. a GPU or a checkpoint, or the training diverged.
        TrainingStoppedError: the process was killed, crashed or stalled; a later attempt resumes it.
        AbandonedError: `job.judge` found it hopeless; the process was stopped as by SIGTERM, its checkpoint deleted.
    """
    for slow in check_hardware(job.config.train):
        log.warning("%s", slow)
    folder = make_folder(job.home.work / "train" / job.key)
    lock = FileLock(folder.with_suffix(".lock"), timeout=0)
    with alone_with_training(lock):
        try:
            output = _train_in(WorkFolder(folder), job)
        except AbandonedError:
            shutil.rmtree(folder)
            Path(lock.lock_file).unlink(missing_ok=True)
            raise
        shutil.rmtree(folder)
        Path(lock.lock_file).unlink(missing_ok=True)
    return output


def _train_in(work: WorkFolder, job: Job) -> Output:
    teacher = job.inputs["baselines"].path / TEACHER_FILE
    training = TrainingJob(
        tokens=job.inputs["encode"].path,
        text_settings=job.inputs["verbalize"].path / "text.json",
        teacher=teacher if teacher.is_file() else None,
        model=job.config.model,
        train=job.config.train,
        decision=job.config.decision,
        dp=job.config.privacy.dp,
    )
    write_durably(work.job, training.model_dump_json(indent=2).encode())
    outcome = _run_process(work, job)
    if outcome is None or outcome.status == "stopped":
        what = "was stopped" if outcome else "ended without finishing"
        raise TrainingStoppedError(
            f"The training process {what}; run again to go on from its last checkpoint.\n{_last_words(work, job)}"
        )
    if outcome.status == "refused":
        raise UserError(
            str(outcome.problem), found=outcome.found, expected=outcome.expected, next_step=outcome.next_step
        )
    shutil.copytree(work.bundle, job.out / "model")
    shutil.copyfile(work.metrics, job.out / "metrics.jsonl")
    (job.out / "plots").mkdir()
    plot_loss(job.out / "plots" / "loss.png", work.read_metrics())
    plot_learning_curve(job.out / "plots" / "learning_curve.png", work.read_metrics())
    return _describe(work, job)


def _describe(work: WorkFolder, job: Job) -> Output:
    epochs = work.read_metrics()
    best = best_epoch(epochs)
    tokens = TokenSet.load(job.inputs["encode"].path)
    examples = len(tokens.rows("train")) + len(tokens.rows("validation"))
    return Output(
        rows=Rows(unit_in="examples", unit_out="models", rows_in=examples, rows_out=1),
        facts={
            "epochs": len(epochs),
            "best_epoch": best.epoch,
            "validation_average_precision": best.validation_average_precision,
            "threshold": Decision.load(work.bundle).threshold,
            "examples_per_second": round(best.examples_per_second, 1),
            **_privacy(job, best.epsilon, best.step),
        },
    )


def _privacy(job: Job, epsilon: float | None, steps: int) -> dict[str, Any]:
    """Return what a private training cost and for whom; nothing of one that is not private."""
    dp = job.config.privacy.dp
    if dp is None:
        return {}
    plan = plan_dp(dp, epochs=job.config.train.epochs, shoppers=train_shoppers(job.inputs["encode"].path).count)
    return {
        "epsilon": epsilon,
        "delta": dp.delta,
        "privacy": {
            "unit": "shopper",
            "shoppers": plan.shoppers,
            "examples_per_shopper": dp.examples_per_shopper,
            "max_grad_norm": dp.max_grad_norm,
            **plan.mechanism.model_copy(update={"steps": steps}).model_dump(),
        },
    }


def _run_process(work: WorkFolder, job: Job) -> Outcome | None:
    """Start the process, show and report its progress until it ends, and return how it ended."""
    work.outcome.unlink(missing_ok=True)
    settings = job.config.train
    with showing(work) as show, reporting(work, job.report):
        run_process(
            launch_command(work, settings),
            work,
            environment=launch_environment(),
            limits=Limits(stall_seconds=settings.stall_seconds),
            show=judging(work, job.judge, show),
        )
    return work.read_outcome()


def _last_words(work: WorkFolder, job: Job) -> str:
    """Return the end of the process's log, without the state folder's place on this machine."""
    lines = work.log.read_text(encoding="utf-8", errors="replace").replace(str(job.home.root), "BEHAVIOR_HOME")
    return "\n".join(lines.splitlines()[-LOG_LINES:])
