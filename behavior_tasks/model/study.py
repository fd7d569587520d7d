"""A study: a search's settings in; trials to train one after the other, kept through every kill, out.

Optuna (Akiba et al. 2019) keeps the trials and proposes their settings; which of them a worker may begin is decided
here. The one thing to know: a running trial is held by a lock of the kernel below the state folder, which ends with its
process however that ends, so the next worker sees at once which trials have died, and repeats each of them once.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import sqlalchemy
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from behavior_tasks.base.config import Config, changed
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.tuning_config import PASSWORD_VARIABLE, Span, search_of
from behavior_tasks.model.trials import FINISHED, State, Tried

DATABASE = "studies.db"
MOST_DEATHS = 1
"""How often a trial whose process died is repeated."""
CONNECT_SECONDS = 15
SQLITE_SECONDS = 60.0
"""How long a process waits for the others' writing."""
AGREED, LOOKS, REPEATS, DEATHS, PROBLEM = "agreed", "looks", "repeats", "deaths", "problem"
"""Names of what is kept beside a study and a trial."""
STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
log = logging.getLogger("behavior")


class Study:
    """A study in its storage; made when it is not there yet.

    Args:
        home: the state folder; workers on several machines share it.
        config: `tuning` says what is searched and where trials are kept; the rest is what every trial begins from.

    Raises:
        UserError: when the database does not answer.
    """

    def __init__(self, home: Home, config: Config) -> None:
        self.config = config
        self.name = config.tuning.study
        self.folder = make_folder(home.tuning / self.name)
        self._claims = make_folder(self.folder / "claims")
        self._lock = FileLock(self.folder / "study.lock")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        make_folder(home.tuning)
        with FileLock(home.tuning / "storage.lock"):  # two processes must not make the tables at the same time
            self._study = _open(home, config)

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What is searched, in Optuna's terms."""
        search = search_of(self.config.tuning, self.config.model)
        return {key: _distribution(key, span, self.config) for key, span in search.items()}

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings before any search, of what is searched."""
        return {key: setting(self.config, key) for key in self.distributions}

    @property
    def optuna_study(self) -> optuna.Study:
        """For Optuna's own plots."""
        return self._study

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Keep facts that all trials share, or compare them with those that were kept.

        Args:
            facts: name → JSON-able value.

        Raises:
            UserError: naming what differs; trials under other circumstances can't be compared.
        """
        with self._lock:
            kept = self._study.user_attrs.get(AGREED, {})
            differ = [
                f"{name}: {kept[name]!r}, now {value!r}"
                for name, value in facts.items()
                if name in kept and kept[name] != value
            ]
            if differ:
                raise UserError(
                    f"The study {self.name} was begun under other circumstances.",
                    found="\n".join(differ),
                    expected="the same log and settings for all trials of a study",
                    next_step=f"give the new study a name of its own, e.g. --study {self.name}-2",
                )
            self._study.set_user_attr(AGREED, {**kept, **facts})

    def agreed(self) -> dict[str, Any]:
        """Return the facts that all trials share."""
        return dict(self._study.user_attrs.get(AGREED, {}))

    def begin_with_defaults(self) -> None:
        """Make the defaults the first trial, unless they lie outside of what is searched. Repeating changes nothing."""
        with self._lock:
            search = search_of(self.config.tuning, self.config.model)
            inside = all(span.contains(self.defaults[key]) for key, span in search.items())
            if inside and not self._study.get_trials(deepcopy=False):
                self._study.enqueue_trial(self.defaults)

    def trials(self) -> list[Tried]:
        """Return all trials, in order of their numbers."""
        found = self._study.get_trials(deepcopy=False)
        repeated = _repeated(found)
        return [_tried(trial, repeated) for trial in found]

    def look(self, model: str) -> list[str]:
        """Keep that a model was measured on test, and return all that were, in order; again changes nothing."""
        with self._lock:
            looks = list(self._study.user_attrs.get(LOOKS, []))
            if model not in looks:
                looks.append(model)
                self._study.set_user_attr(LOOKS, looks)
        return looks

    def left(self) -> int:
        """Return how many trials are still to be finished."""
        return max(self.config.tuning.trials - sum(trial.state in FINISHED for trial in self.trials()), 0)

    @contextmanager
    def next_trial(self) -> Iterator["Trial | None"]:
        """Give the next trial to train; None when those that are asked for are finished or being trained.

        A block that ends without an end of the trial gives its settings back for another attempt. So does the death of
        this process; the attempts after deaths are counted, those after a stop are not.
        """
        with self._lock:
            self._take_up_the_dead()
            trial, held = self._ask() or (None, None)
        if trial is None or held is None:
            yield None
            return
        mine = Trial(self._study, trial, is_default=trial.params == self.defaults)
        try:
            yield mine
        except Exception:
            mine.died = True
            raise
        finally:
            if not mine.ended:
                with self._lock:
                    self._give_back(self._frozen(trial.number), deaths=int(mine.died))
            held.release()

    def _ask(self) -> tuple[optuna.Trial, FileLock] | None:
        found = self._study.get_trials(deepcopy=False)
        repeated = _repeated(found)
        taken = sum(_state(trial, repeated) in (*FINISHED, "running") for trial in found)
        if taken >= self.config.tuning.trials:
            return None
        # Repeated trials don't count, so a study that was killed draws the same numbers as one that was not.
        drawn = sum(REPEATS not in trial.user_attrs for trial in found)
        self._study.sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence([self.config.tuning.seed, drawn]).generate_state(1)[0]),
            n_startup_trials=self.config.tuning.warmup_trials,
        )
        trial = self._study.ask(self.distributions)
        held = self._claim(trial.number)
        held.acquire(timeout=0)
        return trial, held

    def _claim(self, number: int) -> FileLock:
        return FileLock(self._claims / f"{number:05d}.lock")

    def _take_up_the_dead(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            try:
                with self._claim(trial.number).acquire(timeout=0):
                    # Who finishes a trial does so while holding its claim: only now is its state certain.
                    if self._frozen(trial.number).state == TrialState.RUNNING:
                        log.warning("Trial %d was left by a process that has died.", trial.number)
                        self._give_back(trial, deaths=1)
            except Timeout:
                continue

    def _give_back(self, trial: FrozenTrial, *, deaths: int) -> None:
        """End an attempt and queue its settings again, in an order in which a kill between the two loses neither."""
        deaths += trial.user_attrs.get(DEATHS, 0)
        queued = trial.number in _repeated(self._study.get_trials(deepcopy=False))
        if deaths <= MOST_DEATHS and not queued:
            self._study.enqueue_trial(trial.params, user_attrs={REPEATS: trial.number, DEATHS: deaths})
        self._study.tell(trial.number, state=TrialState.FAIL)

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


class Trial:
    """A trial that this process trains."""

    def __init__(self, study: optuna.Study, trial: optuna.Trial, *, is_default: bool) -> None:
        self._study = study
        self._trial = trial
        self.is_default = is_default
        self._kept: set[int] = set()
        self.number = trial.number
        self.settings: dict[str, Any] = dict(trial.params)
        self.ended = False
        self.died = False
        """Whether it ended by an error, not by a stop that somebody asked for."""

    def worth_going_on(self, value: float, epoch: int) -> bool:
        """Keep an epoch's validation AP, and say whether the pruner lets the trial go on. The defaults always may."""
        self.keep(value, epoch)
        return self.is_default or not self._trial.should_prune()

    def keep(self, value: float, epoch: int) -> None:
        """Keep an epoch's validation AP; once is enough."""
        if epoch not in self._kept:
            self._kept.add(epoch)
            self._trial.report(value, epoch)

    def complete(self, value: float) -> None:
        """End the trial with its validation AP."""
        self._tell(TrialState.COMPLETE, value)

    def prune(self) -> None:
        """End the trial as given up."""
        self._tell(TrialState.PRUNED)

    def fail(self, problem: str) -> None:
        """End the trial for good, with the reason."""
        self._trial.set_user_attr(PROBLEM, problem)
        self._tell(TrialState.FAIL)

    def _tell(self, state: TrialState, value: float | None = None) -> None:
        self._study.tell(self._trial, value, state=state)
        self.ended = True


def setting(config: Config, dotted: str) -> Any:
    """Return the value of a dotted setting."""
    section, _, key = dotted.partition(".")
    return getattr(getattr(config, section), key)


def _open(home: Home, config: Config) -> optuna.Study:
    url, options = storage_url(home, config)
    try:
        return optuna.create_study(
            study_name=config.tuning.study,
            storage=optuna.storages.RDBStorage(url, engine_kwargs=options),
            pruner=_pruner(config),
            direction="maximize",
            load_if_exists=True,
        )
    except sqlalchemy.exc.OperationalError as error:
        raise UserError(
            "The database of the trials does not answer.",
            found=str(error.orig).strip(),
            expected=config.tuning.storage or f"tuning/{DATABASE} in the state folder, writable by this user",
            next_step=f"look at tuning.storage, and at the password in {PASSWORD_VARIABLE}",
        ) from None


def storage_url(home: Home, config: Config) -> tuple[str, dict[str, Any]]:
    """Return SQLAlchemy's address of the trials' database, with the password, and the options of its engine."""
    if config.tuning.storage is None:
        return f"sqlite:///{home.tuning / DATABASE}", {"connect_args": {"timeout": SQLITE_SECONDS}}
    url = sqlalchemy.make_url(config.tuning.storage).set(drivername="postgresql+psycopg")
    password = os.environ.get(PASSWORD_VARIABLE)
    if password:
        url = url.set(password=password)
    # A worker asks seldom, and many workers would else hold many connections while they train.
    options = {"poolclass": sqlalchemy.NullPool, "connect_args": {"connect_timeout": CONNECT_SECONDS}}
    return url.render_as_string(hide_password=False), options


def _pruner(config: Config) -> optuna.pruners.BasePruner:
    tuning = config.tuning
    if tuning.pruner == "off":
        return optuna.pruners.NopPruner()
    if tuning.pruner == "hyperband":
        least = max(tuning.warmup_epochs, 1)
        return optuna.pruners.HyperbandPruner(min_resource=least, max_resource=max(_most_epochs(config), least))
    return optuna.pruners.MedianPruner(n_startup_trials=tuning.warmup_trials, n_warmup_steps=tuning.warmup_epochs)


def _most_epochs(config: Config) -> int:
    span = search_of(config.tuning, config.model).get("train.epochs")
    return int(max(span.ends)) if span else config.train.epochs


def _distribution(key: str, span: Span, config: Config) -> BaseDistribution:
    if span.choices is not None:
        return CategoricalDistribution(span.choices)
    assert span.low is not None
    assert span.high is not None
    if isinstance(setting(changed(config, {key: span.low}), key), int):
        return IntDistribution(int(span.low), int(span.high), log=span.log, step=int(span.step or 1))
    return FloatDistribution(float(span.low), float(span.high), log=span.log, step=span.step)


def _repeated(trials: Sequence[FrozenTrial]) -> set[int]:
    """Return the numbers of the trials whose settings another one took over."""
    return {trial.user_attrs[REPEATS] for trial in trials if REPEATS in trial.user_attrs}


def _state(trial: FrozenTrial, repeated: set[int]) -> State:
    return "repeated" if trial.number in repeated else STATES[trial.state]


def _tried(trial: FrozenTrial, repeated: set[int]) -> Tried:
    epochs = trial.intermediate_values
    value = trial.value if trial.state == TrialState.COMPLETE else epochs[max(epochs)] if epochs else None
    return Tried(
        number=trial.number,
        state=_state(trial, repeated),
        settings=trial.params,
        value=value,
        epochs=epochs,
        seconds=trial.duration.total_seconds() if trial.duration else None,
        problem=trial.user_attrs.get(PROBLEM),
    )
