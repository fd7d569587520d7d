"""What `behavior show` is asked about: words that a person types in; the run, the shopper and the instant out.

The one thing to know: a raw id is turned into its pseudonym here and goes no further. No message repeats it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home
from behavior_tasks.base.tables import connect
from behavior_tasks.base.timeline import Split, local_day, local_midnight
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.data.identities import PSEUDONYM_LENGTH, pseudonym
from behavior_tasks.data.keys import KEY_FILE, KEY_VARIABLE, fingerprint, identity_key, key_exists
from behavior_tasks.data.parse import plain_user_sql
from behavior_tasks.data.ranges import Range
from behavior_tasks.examples.cutoffs import plan_windows
from behavior_tasks.pipeline.runs import Run, last_runs, open_run

NEEDED = ("ingest", "clean", "cutoffs", "features", "verbalize", "train")
LATEST = "latest"
MOST_RUNS = 100
LISTED = 7
"""Cutoffs that are named one by one."""
PSEUDONYM = re.compile(rf"[0-9a-f]{{{PSEUDONYM_LENGTH}}}")


@dataclass(frozen=True, kw_only=True)
class Shopper:
    """A shopper of the log."""

    pseudonym: str
    bucket: int
    """Place of their bucket."""
    events: BucketEvents
    """Theirs alone."""
    instants: tuple[datetime, ...]
    """Of their events, rising, naive UTC."""

    def has_history(self, cutoff: datetime, lookback_days: int) -> bool:
        """Whether they have an event in the lookback before an instant."""
        return any(cutoff - timedelta(days=lookback_days) <= at < cutoff for at in self.instants)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """An instant at which a shopper is looked at."""

    day: date
    """The local day that begins there."""
    cutoff: datetime
    """Naive UTC."""
    end: datetime
    """Of the label window."""
    split: Split | None
    """None: no cutoff of the run."""
    known: bool
    """Whether the log reaches to the end of the label window."""
    in_train: bool
    """Whether it lies before the end of the train period, so that the model has learned from what followed."""


def find_run(home: Home, name: str = LATEST, *, preset: str | None = None) -> Run:
    """Return a run with a trained model: by its id, or the newest one, of a preset if one is named.

    Raises:
        UserError: when there is none.
    """
    if name != LATEST:
        run = open_run(name)
        if preset is not None and run.record.preset != preset:
            raise UserError(
                f"The run {run.record.run_id} is of another preset.",
                found=run.record.preset,
                expected=preset,
                next_step=f"behavior show --run {run.record.run_id} without --preset",
            )
        return _need_trained(run)
    runs = last_runs(home, most=MOST_RUNS)
    chosen = [run for run in runs if preset is None or run.record.preset == preset]
    for run in chosen:
        if is_trained(run):
            return run
    if chosen:
        return _need_trained(chosen[0])
    raise UserError(
        "There is no run yet." if not runs else f"There is no run of the preset {preset} yet.",
        found=None if not runs else "runs of " + ", ".join(sorted({run.record.preset for run in runs})),
        expected="a run that trained a model",
        next_step="behavior run --input log.csv" + (f" --preset {preset}" if preset else ""),
    )


def is_trained(run: Run) -> bool:
    """Whether a run has come as far as a trained model."""
    return set(NEEDED) <= {record.stage for record in run.stages()}


def _need_trained(run: Run) -> Run:
    """Return the run.

    Raises:
        UserError: when it has no trained model.
    """
    if is_trained(run):
        return run
    stages, error = run.stages(), run.noted("error")
    came = f"it came as far as {stages[-1].stage}" if stages else "it has not begun"
    raise UserError(
        f"The run {run.record.run_id} has no trained model.",
        found=f"{came}: {error['message']}" if error else came,
        expected="a run that trained a model",
        next_step="mend what stopped it and run again; `behavior status` lists the runs",
    )


def find_shopper(run: Run, asked: str) -> Shopper:
    """Return a shopper of a run's log by pseudonym or raw id.

    Raises:
        UserError: when nobody in the log is called that; it does not repeat what was asked.
    """
    if PSEUDONYM.fullmatch(asked) and (found := _look_up(run, asked)) is not None:
        return found
    key = _key_of(run)
    found = _look_up(run, pseudonym(_plain(asked), key)) if key is not None else None
    if found is not None:
        return found
    tried = "neither as a pseudonym nor as a raw id" if key is not None else "as a pseudonym"
    raise UserError(
        "There is no such shopper in the clean events of this run.",
        found=f"nobody, {tried}" + ("" if key is not None else "; raw ids can't be looked up without their key"),
        expected=f"a pseudonym ({PSEUDONYM_LENGTH} hexadecimal digits), or an id exactly as it stands in the log",
        next_step="look whether the id's rows stand aside: behavior quarantine"
        if key is not None
        else f"set {KEY_VARIABLE}, or bring back secrets/{KEY_FILE} in the state folder",
    )


def _key_of(run: Run) -> bytes | None:
    """Return the key of a run's pseudonyms; None when it is not here, in which case none is made.

    Raises:
        UserError: when the key that is here is another one, or can't be read.
    """
    if not key_exists(run.home):
        return None
    key = identity_key(run.home)
    made_with = run.need("ingest").manifest.inputs.get("identity_key")
    if made_with not in (None, fingerprint(key)):
        raise UserError(
            "The identity key that is set is not the one of this run's pseudonyms, so a raw id can't be looked up.",
            found=f"a key with the fingerprint {fingerprint(key)}",
            expected=str(made_with),
            next_step=f"give the pseudonym instead, or set {KEY_VARIABLE} to the key of the run",
        )
    return key


def _plain(asked: str) -> str:
    """Return a raw id as ingest reads it."""
    with connect() as connection:
        row = connection.execute(f"SELECT {plain_user_sql('CAST(? AS VARCHAR)')}", [asked.strip()]).fetchone()
    assert row is not None  # a query without a table gives one row
    return str(row[0])


def _look_up(run: Run, name: str) -> Shopper | None:
    """Return the shopper of a pseudonym, or None."""
    alone = Range(low=name, high=name + "0")
    for number, bucket in enumerate(open_events(run.need("clean"))):
        if not alone.meets(bucket.range):
            continue
        events = replace(bucket, range=alone)
        with connect(memory_mb=run.record.config.engine.memory_mb) as connection:
            rows = connection.execute(
                f"SELECT timestamp FROM ({events.stored_sql()}) WHERE shopper = ? ORDER BY timestamp", [name]
            ).fetchall()
        if rows:
            return Shopper(pseudonym=name, bucket=number, events=events, instants=tuple(row[0] for row in rows))
    return None


def moments_of(run: Run) -> list[Moment]:
    """Return the cutoffs of a run, in order of time."""
    zone = ZoneInfo(run.record.config.source.timezone)
    return [
        Moment(
            day=local_day(datetime.fromisoformat(window["cutoff"]), zone),
            cutoff=datetime.fromisoformat(window["cutoff"]),
            end=datetime.fromisoformat(window["end"]),
            split=window["split"],
            known=True,
            in_train=window["split"] == "train",
        )
        for window in run.need("cutoffs").facts["windows"]
    ]


def choose_moment(run: Run, asked: str | None) -> Moment:
    """Return the instant that a date names; without one, the run's test cutoff.

    Any other date is the beginning of that local day, with a label window of one horizon.

    Raises:
        UserError: when it is no date.
    """
    moments = moments_of(run)
    if asked is None:
        return moments[-1]
    try:
        day = date.fromisoformat(asked)
    except ValueError:
        close = nearest(asked, [moment.day.isoformat() for moment in moments]) or moments[-1].day.isoformat()
        raise UserError(
            "The cutoff is no date.",
            found=asked,
            expected=f"YYYY-MM-DD; this run's cutoffs are {describe(moments)}",
            next_step=f"--cutoff {close}",
        ) from None
    for moment in moments:
        if moment.day == day:
            return moment
    config = run.record.config
    zone, timeline = ZoneInfo(config.source.timezone), plan_windows(run.need("clean").facts, config)
    assert timeline is not None  # a log without a timeline was refused by the stage cutoffs
    end = local_midnight(day + timedelta(days=config.examples.horizon_days), zone)
    cutoff = local_midnight(day, zone)
    return Moment(
        day=day,
        cutoff=cutoff,
        end=end,
        split=None,
        known=end <= timeline.test.end,
        in_train=cutoff < timeline.fit_until,
    )


def need_history(run: Run, shopper: Shopper, moment: Moment) -> None:
    """Refuse a shopper without any event in the lookback before the instant: they are no example.

    Raises:
        UserError: with a cutoff at which they are one.
    """
    config = run.record.config
    lookback_days, zone = config.examples.lookback_days, ZoneInfo(config.source.timezone)
    if shopper.has_history(moment.cutoff, lookback_days):
        return
    moments = [other for other in moments_of(run) if shopper.has_history(other.cutoff, lookback_days)]
    days = [local_day(at, zone) for at in (shopper.instants[0], shopper.instants[-1])]
    near = min((other.day for other in moments), key=lambda day: abs(day - moment.day), default=None)
    raise UserError(
        f"The shopper {shopper.pseudonym} is in the log, but has no event in the {lookback_days} days before "
        f"{moment.day}, so there is nothing to predict from.",
        found=f"{len(shopper.instants):,} events, from {days[0]} to {days[1]}",
        expected=f"an event in the lookback; so it is at {describe(moments)}" if moments else None,
        next_step=f"--cutoff {near or days[1] + timedelta(days=1)}",
    )


def describe(moments: Sequence[Moment]) -> str:
    """Return cutoffs as words, e.g. `2026-02-20 (validation), 2026-02-27 (test)`; of many the first and the last."""
    words = [f"{moment.day} ({moment.split})" for moment in moments]
    if len(words) > LISTED:
        words[2:-3] = [f"{len(words) - 5} more"]
    return ", ".join(words)
