"""The stage `readiness`: log, champions and moment in; the banners of everything that is handed out tonight, out.

The scores are made without it, so they are asked anew only when log, champions or moment are others; it must have said
yes before. The one thing to know: the day of the run counts only where the log is late.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.stage import Job
from behavior_tasks.data.parts import read_parts
from behavior_tasks.examples.feature_table import UNITS
from behavior_tasks.serve import readiness
from behavior_tasks.serve.banners import banner_facts
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.log_days import count_days, unseen_products
from behavior_tasks.serve.moment import Moment, is_simulated, moment_at


def day_of_need(asked: date | None, today: date, config: Config, inputs: Mapping[str, Artifact]) -> date:
    """Return the day on which the log is needed; (the shape of a row's `day`).

    It is the day of the run where the log is late for it. Else it is the day that is looked at, from which the log is
    no more late, so that the same log gives the same banners on any day.
    """
    as_of = Moment.load(inputs["moment"]).as_of
    silent = (today - as_of).days + 1
    # Of a day that was asked for, or of a simulated shop, today's date says nothing.
    if asked or is_simulated(inputs["ingest"]) or silent <= config.serve.max_silent_days:
        return as_of
    return today


def readiness_stage(job: Job) -> Output:
    """Look whether log and champions are fit for the moment.

    Facts: `last_day` (the newest with an event before the moment) and `banners`.

    Raises:
        UserError: when nobody can be scored, or a champion needs a column that the log lacks.
    """
    assert job.day is not None
    clean, config, moment = job.inputs["clean"], job.config, Moment.load(job.inputs["moment"])
    found = (Champion.load(job.inputs["champions"], unit) for unit in UNITS)
    champions = [champion for champion in found if champion is not None]
    days = count_days(clean, read_parts(job.inputs["ingest"].path), moment.cutoff, moment.timezone)
    readiness.need_events(days, moment.as_of, champions)
    lookback_days = max(champion.examples.lookback_days for champion in champions)
    banners = [
        *readiness.about_lateness(days, job.day, config),
        *readiness.about_days(days, moment.as_of, config, lookback_days=lookback_days),
        *readiness.about_units(champions),
    ]
    for champion in champions:
        banners += readiness.about_columns(champion, clean.facts["present"], config.serve.missing_columns)
        banners += readiness.about_champion(champion, moment.as_of, moment.cutoff, config)
    banners += readiness.about_products(_unseen(champions, clean, days.last, moment), days.last, config)
    rows = Rows(unit_in="moments", unit_out="moments", rows_in=1, rows_out=1)
    return Output(rows=rows, facts={"last_day": days.last.isoformat(), "banners": banner_facts(banners)})


def _unseen(champions: Sequence[Champion], clean: Artifact, day: date, moment: Moment) -> list[readiness.NewProducts]:
    """Count the new products of the newest day, and of the days that each champion was tested on."""
    begin, end = moment_at(day, moment.timezone).cutoff, moment_at(day + timedelta(days=1), moment.timezone).cutoff
    spans = [
        (champion, [(begin, end), (champion.tested_from, champion.tested_from + champion.horizon)])
        for champion in champions
        if champion.tested_from < begin
    ]
    return [
        readiness.NewProducts(champion=champion, newest=newest, tested=tested)
        for (champion, _), (newest, tested) in zip(spans, unseen_products(clean, spans), strict=True)
    ]
