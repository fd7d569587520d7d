"""Whose chances the audiences read: the champion's, or a simple method's where that is as good or there is no champion.

In come the scores of the day, clean events and the moment; out come one table of scores and facts, and what the last
horizon that is over says about them. The one thing to know: the choice is made on outcomes that the champion has not
seen, one horizon ago, and it is told on the page whatever it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.serve.audiences_backtest import best_simple, champion_wins, choose_way, compare_methods
from behavior_tasks.serve.audiences_facts import facts_at, outcomes_at, with_outcomes
from behavior_tasks.serve.audiences_pick import TABLE_COLUMNS, with_ranks
from behavior_tasks.serve.audiences_simple import SIMPLE, simple_scores
from behavior_tasks.serve.audiences_way import Method, Way, way_before
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment, backtest_moment
from behavior_tasks.serve.score import SCORES, Place, score_at

FEWEST_SHOPPERS, FEWEST_BUYERS = 50, 10
"""Below these a comparison says nothing."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Everybody who is scored, and what is known about the scores."""

    table: pd.DataFrame
    """What `with_ranks` gives, now."""
    then: pd.DataFrame | None
    """The same one horizon ago, with `bought` and `amount`; None: the scores can't be put to the test."""
    tested_at: Moment | None
    """Where the champion was put to the test; None: it has learned from the last horizon that is over."""
    compared: dict[str, Any] | None
    """What `compare_methods` gives; None: there was nothing to compare."""
    method: Method
    way: Way | None
    """The method, where the comparison chose it."""
    champion: Champion | None
    horizon: timedelta
    banners: list[Banner]


def score_everybody(job: Job) -> Scored:
    """Return the table that audiences are filled from, by the method that `audiences.method` and the test ask for."""
    moment, clean = Moment.load(job.inputs["moment"]), job.inputs["clean"]
    champion = Champion.load(job.inputs["champions"], "shopper")
    guide = champion or Champion.load(job.inputs["champions"], "shopper_product")
    assert guide is not None  # the stage `champions` refuses a shop without any
    has_amounts = "amount" in clean.facts["present"]
    look = _Look(job=job, events=open_events(clean), lookback_days=guide.examples.lookback_days, amounts=has_amounts)
    now = look.facts(moment)
    tested_at = None if champion is None else backtest_moment(moment, champion)
    champions_own = None
    if champion is not None and tested_at is not None:
        champions_own = _tested(look, champion, tested_at)
    compared = None if champions_own is None else _compare(champions_own, has_amounts)
    wanted = job.config.audiences.method
    way = None
    if champion is not None and compared is not None and wanted == "auto":
        before = way_before(job.home, moment.as_of)
        way = choose_way(compared, f"{champion.name} {champion.version}", before)
    method = _method(champion, compared, way, wanted)
    if method == "champion":
        scores = _read(bucket_files(job.inputs["shopper_scores"].path / SCORES))
        then, banners = champions_own, _of_champion(compared, way)
    else:
        known = look.known(moment.earlier(guide.examples.horizon_days), guide.horizon)
        scores = simple_scores(method, known, now, has_amounts=has_amounts)
        # The simple chances were fitted on that very horizon, so it is no test of them.
        then, banners = None, [_simple(method, champion, wanted, compared)]
    return Scored(
        table=with_ranks(scores, now),
        then=then,
        tested_at=tested_at,
        compared=compared,
        method=method,
        way=way,
        champion=champion,
        horizon=guide.horizon,
        banners=banners,
    )


def _method(champion: Champion | None, compared: dict[str, Any] | None, way: Way | None, wanted: str) -> Method:
    if way is not None:
        return way.method
    if champion is not None and wanted != "simple":
        return "champion"
    return "rfm" if compared is None or best_simple(compared) == "rfm" else "recency"


@dataclass(frozen=True, kw_only=True)
class _Look:
    job: Job
    events: Sequence[BucketEvents]
    lookback_days: int
    amounts: bool

    def facts(self, moment: Moment) -> pd.DataFrame:
        return facts_at(
            [bucket.until(moment.cutoff) for bucket in self.events],
            moment,
            self.lookback_days,
            has_amounts=self.amounts,
            memory_mb=self.job.config.engine.memory_mb,
        )

    def known(self, moment: Moment, horizon: timedelta) -> pd.DataFrame:
        """Return the facts at a moment whose horizon is over, with what followed."""
        followed = outcomes_at(
            self.events, moment.cutoff, moment.cutoff + horizon, memory_mb=self.job.config.engine.memory_mb
        )
        return with_outcomes(self.facts(moment), followed)


def _tested(look: _Look, champion: Champion, earlier: Moment) -> pd.DataFrame:
    """Return the champion's table at a moment whose horizon is over, with what followed."""
    job = look.job
    place = Place.of(job.home, job.config)
    with temporary_folder(job.home, "backtest") as folder:
        (folder / "scores").mkdir()
        data_hash = str(job.inputs["clean"].manifest.content_hash)
        done = score_at(champion, look.events, earlier, folder / "scores", place=place, data_hash=data_hash)
        scores = _read([bucket.file for bucket in done])
    known = look.known(earlier, champion.horizon)
    table = with_ranks(scores, known.drop(columns=["bought", "amount"]))
    return table.merge(known[["shopper", "bought", "amount"]], on="shopper")


def _compare(then: pd.DataFrame, has_amounts: bool) -> dict[str, Any] | None:
    if len(then) < FEWEST_SHOPPERS or then["bought"].sum() < FEWEST_BUYERS:
        return None
    return compare_methods(then, has_amounts=has_amounts)


def _read(files: Sequence[Path]) -> pd.DataFrame:
    return pd.concat([pd.read_parquet(file, columns=list(TABLE_COLUMNS)) for file in files], ignore_index=True)


def _of_champion(compared: dict[str, Any] | None, way: Way | None) -> list[Banner]:
    """Return what must be known of lists that rest on the champion."""
    if compared is None:
        return [
            Banner(
                code="audiences_untested",
                level="notice",
                words="The champion's scores could not be put to the test beside RFM and recency: it has learned from "
                "the last horizon that is over, or too few bought in it.",
                next_step="nothing: once a horizon has passed since its test, the comparison appears by itself",
            )
        ]
    if way is None or champion_wins(compared):
        return []
    return [
        Banner(
            code="audiences_champion_kept",
            level="notice",
            words=f"{SIMPLE[best_simple(compared)]} found as many buyers as the champion one horizon ago, within "
            "chance; the lists rest on the champion as on the night before.",
            next_step="the comparison stands on the page; --set audiences.method=simple uses the simple way",
        )
    ]


def _simple(name: str, champion: Champion | None, wanted: str, compared: dict[str, Any] | None) -> Banner:
    told = "RFM (how lately, how often and for how much they bought)" if name == "rfm" else "how lately they came"
    if champion is None:
        return Banner(
            code="audiences_without_champion",
            level="warning",
            words=f"There is no champion for shoppers, so the audiences rest on {told} alone.",
            next_step="behavior run --input log.csv; if the gate keeps the candidate, its report says why",
        )
    if wanted == "simple":
        return Banner(
            code="audiences_simple_wanted",
            level="notice",
            words=f"audiences.method = simple, so the audiences rest on {told}.",
            next_step="--set audiences.method=auto lets the better one decide",
        )
    wins = compared is not None and champion_wins(compared)
    chance, stays = (", beyond chance,", ", as on the night before") if wins else ("", "")
    return Banner(
        code="audiences_simple_better",
        level="notice",
        words=f"The champion found no more buyers{chance} than a simple way one horizon ago, so the audiences rest on "
        f"{told}{stays}.",
        next_step="the comparison stands on the page; --set audiences.method=champion uses the champion all the same",
    )
