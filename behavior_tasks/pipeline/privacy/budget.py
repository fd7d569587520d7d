"""The budget around a training: a run and its training's work in; the same work, paid for, out.

Before the first step the whole cost is reserved in the budget ledger, or the training refused; afterwards what it did
cost is settled. The one thing to know: whatever else happens, a kill or a fault, leaves the reservation standing, and
the attempt that goes on from the checkpoint finds it again by the key of its noise.
"""

import hashlib
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from behavior_tasks.base.artifacts import ArtifactStore, Output
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.model.accounting import plan_dp
from behavior_tasks.model.shoppers import train_shoppers
from behavior_tasks.model.work_folder import WorkFolder, alone_with_training
from behavior_tasks.pipeline.runs import Run
from behavior_tasks.registry.budget import Reservation, population_of, reserve, settle

ID_DIGITS = 20


def charged(run: Run, job: Job, work: Callable[[Job], Output]) -> Output:
    """Do a training's work within the privacy budget; one without differential privacy is simply done.

    Raises:
        UserError: δ is too large for so few shoppers, or all trainings together would cost more than the budget.
    """
    if job.config.privacy.dp is None:
        return work(job)
    lock = FileLock(make_folder(run.home.work / "train") / f"{job.key}.charge", timeout=0)
    with alone_with_training(lock):
        output = _pay(run, job, work)
        Path(lock.lock_file).unlink(missing_ok=True)
    return output


def _pay(run: Run, job: Job, work: Callable[[Job], Output]) -> Output:
    reservation = _reservation(run, job)
    reserve(run.home, reservation)
    with ExitStack() as when_it_fails:
        when_it_fails.callback(_give_back_if_unused, run, job, reservation.id)
        output = work(job)
        when_it_fails.pop_all()
    steps = int((output.facts or {})["privacy"]["steps"])
    settle(run.home, reservation.id, steps=steps, why="finished", when=datetime.now(UTC))
    return output


def _give_back_if_unused(run: Run, job: Job, training: str) -> None:
    """Give a reservation back where no step can have been taken, because there is no checkpoint.

    A training that was given up on the way has no folder any more: it counts in full.
    """
    folder = run.home.work / "train" / job.key
    if folder.is_dir() and not WorkFolder(folder).last.is_file():
        settle(run.home, training, steps=0, why="ended before its first step", when=datetime.now(UTC))


def _reservation(run: Run, job: Job) -> Reservation:
    from behavior_tasks.model.private import noise_key

    dp, privacy = job.config.privacy.dp, run.record.config.privacy
    assert dp is not None
    who = train_shoppers(job.inputs["encode"].path)
    plan = plan_dp(dp, epochs=job.config.train.epochs, shoppers=who.count)
    # The key is the training's own: as long as it is there, the same steps cost nothing more.
    key = noise_key(WorkFolder(make_folder(run.home.work / "train" / job.key)))
    return Reservation(
        id=hashlib.sha256(f"budget {key:x}".encode()).hexdigest()[:ID_DIGITS],
        when=datetime.now(UTC),
        run=run.record.run_id,
        train=job.key,
        population=population_of(run.record.input),
        shoppers=who.count,
        shoppers_hash=who.digest,
        epsilon=dp.epsilon,
        delta=dp.delta,
        mechanism=plan.mechanism,
        budget_epsilon=privacy.budget_epsilon,
        budget_delta=privacy.budget_delta,
    )


def trained_without_privacy(home: Home) -> int:
    """Return how many language models in the state folder no ε bounds."""
    store, count = ArtifactStore(home.artifacts), 0
    for folder in (home.artifacts / "train").glob("[0-9a-f]*"):
        # One that is damaged is for whoever runs next to name.
        with suppress(UserError):
            artifact = store.find("train", folder.name)
            count += artifact is not None and artifact.facts.get("epsilon") is None
    return count
