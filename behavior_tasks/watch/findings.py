"""Findings: the tables of what was served and of the columns in; what somebody should hear of it, in plain words, out.

The one thing to know: a figure alarms only with its whole interval, and a column only with a difference that is large
and sure, so that a quiet shop is told nothing.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from behavior_tasks.base.application_config import WatchConfig
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.champions import Champion
from behavior_tasks.watch.alerts import Finding
from behavior_tasks.watch.figures import PROMISED, difference
from behavior_tasks.watch.matured import POOLED_DAYS

SAME = {
    "empty_day": "empty_day",
    "missing_day": "empty_day",
    "thin_day": "volume",
    "unknown_products": "new_products",
}
"""Banner of the moment → the watch's own word for the same."""
DEVIATIONS = 2.58
"""Half an interval's width: 99 %, because it is looked at every night."""
LEAST_BUYERS = 30
OFF_PROMISE = 1.3
"""Times as many, or as few, buyers as promised, from which on the scores are no probabilities any more."""
TOLD = 3
UNIT_WORDS = {"shopper": "shoppers", "shopper_product": "products of shoppers"}


def find_in_figures(matured: pd.DataFrame, champion: Champion, settings: WatchConfig) -> Iterator[Finding]:
    """Yield what the figures of the champion that serves say, against those of its test.

    Args:
        matured: the table of `watch.matured`, of the champion's unit.
        champion: that serves now.
        settings: how far F1 may fall.
    """
    mine = matured[matured["version"] == champion.version]
    pooled, test = (mine[mine["what"] == what] for what in ("pooled", "test"))
    if not len(pooled) or pooled.iloc[-1]["buyers"] < LEAST_BUYERS:
        return
    now: dict[str, Any] = {str(name): value for name, value in pooled.iloc[-1].items()}
    about = f"{champion.unit} {champion.version}"
    days = min(POOLED_DAYS, int(((mine["what"] == "day") & (mine["state"] == "judged")).sum()))
    told = f"version {champion.version} ({UNIT_WORDS[champion.unit]}), over {_days(days)} up to {now['as_of']}"
    if len(test):
        then = {str(name): value for name, value in test.iloc[-1].items()}
        ends = difference(now, then, "f1", deviations=DEVIATIONS)
        if ends is not None and ends[1] < 0 and now["f1"] - then["f1"] < -settings.max_f1_drop:
            yield Finding(
                code="f1_fell",
                about=about,
                level="severe",
                words=f"F1 of {told}, is {now['f1']:.3f}; at its test it was {then['f1']:.3f}, and chance does not "
                "explain the difference.",
                next_step=_train_anew(champion),
                training=True,
            )
    lower, upper = now[f"{PROMISED}_lower"], now[f"{PROMISED}_upper"]
    if lower is not None and (lower > OFF_PROMISE or upper < 1 / OFF_PROMISE):
        yield Finding(
            code="calibration",
            about=about,
            level="warning",
            words=f"The scores of {told}, promised {now['promised']:.0f} buyers, and {now['buyers']:.0f} came.",
            next_step=f"read audiences and demand with that in mind; {_train_anew(champion)}",
            training=True,
        )


def find_in_columns(drift: pd.DataFrame, champion: Champion, settings: WatchConfig) -> Iterator[Finding]:
    """Yield what the columns of one champion say: scores that moved, a share of columns too large, or a few.

    Args:
        drift: the table of `watch.drift`, of the champion.
        champion: that serves now.
        settings: which share of drifted columns calls for a training.
    """
    judged = drift[drift["state"].isin(["steady", "shifted", "drifted"])]
    if not len(judged):
        return
    row = judged.iloc[0]
    about, day = f"{row['unit']} {row['version']}", row["day"]
    drifted = judged[judged["state"] == "drifted"].sort_values("excess", ascending=False)
    scores, read = (drifted[(drifted["kind"] == "score") == is_score] for is_score in (True, False))
    if len(scores):
        worst = scores.iloc[0]
        yield Finding(
            code="scores_moved",
            about=about,
            level="severe",
            words=f"The scores of version {row['version']} ({UNIT_WORDS[row['unit']]}) on {day} are others than at its "
            f"test: {worst['column'].replace('_', ' ')} has a stability index of {worst['psi']:.2f} and went from "
            f"{worst['reference_mean']:.3g} to {worst['mean']:.3g} on average.",
            next_step=_train_anew(champion),
            training=True,
        )
    if not len(read):
        return
    share = len(read) / max(1, int((judged["kind"] != "score").sum()))
    many = share > settings.max_drifted
    named = ", ".join(f"{one['column']} ({one['psi']:.2f})" for _, one in read.head(TOLD).iterrows())
    count = "1 column has" if len(read) == 1 else f"{len(read)} columns have"
    yield Finding(
        code="columns_moved",
        about=about,
        level="severe" if many else "warning",
        words=f"{count} moved of the {len(judged)} that version {row['version']} ({UNIT_WORDS[row['unit']]}) reads, on "
        f"{day} against {row['reference_day']} (stability index): {named}.",
        next_step=_train_anew(champion) if many else "look at the report whether the shop changed or its log did",
        training=many,
    )


def find_in_dates(matured: pd.DataFrame) -> Iterator[Finding]:
    """Yield what is wrong with the served dates themselves: versions that nobody knows, shoppers that are gone."""
    days = matured[matured["what"] == "day"]
    unknown = days[days["state"] == "unknown version"]
    for (unit, version), rows in unknown.groupby(["unit", "version"]):
        yield Finding(
            code="unknown_version",
            about=f"{unit} {version}",
            level="notice",
            words=f"{_days(len(rows))} served by version {version} ({UNIT_WORDS[str(unit)]}) can't be judged: nothing "
            "is left that says how far it looked ahead.",
            next_step="nothing; keep the artifacts of versions that served (registry.keep_days) to judge them later",
        )
    for unit, rows in days[days["state"] == "damaged"].groupby("unit"):
        yield Finding(
            code="damaged",
            about=str(unit),
            level="warning",
            words=f"What was handed out on {rows['as_of'].iloc[-1]} ({UNIT_WORDS[str(unit)]}) is damaged, so it can't "
            "be judged.",
            next_step=f"behavior score --as-of {rows['as_of'].iloc[-1]}",
        )
    judged = days[days["state"] == "judged"]
    gone = judged[(judged["changed"] > 0.05 * judged["served"])]
    if len(gone):
        worst = gone.iloc[-1]
        yield Finding(
            code="log_rewritten",
            about=str(worst["unit"]),
            level="warning",
            words=f"{int(worst['changed']):,} of {int(worst['served']):,} answers of {worst['as_of']} can't be judged, "
            "because the log no longer holds the events that they stand on.",
            next_step="look whether days were taken out of the log, or ids renamed",
        )


def missing_dates(matured: pd.DataFrame) -> Iterator[Finding]:
    """Yield the days between the first and the last served one on which nothing was served."""
    for unit, rows in matured[matured["what"] == "day"].groupby("unit"):
        served = sorted(set(rows["as_of"]))
        every = pd.date_range(served[0], served[-1]).date
        lost = [day for day in every if day not in served]
        if lost and len(lost) <= len(served):
            told = ", ".join(map(str, lost[-TOLD:]))
            more = f" and {len(lost) - TOLD} days before" if len(lost) > TOLD else ""
            yield Finding(
                code="not_served",
                about=str(unit),
                level="notice",
                words=f"Nothing was served ({UNIT_WORDS[str(unit)]}) on {told}{more}.",
                next_step=f"behavior score --as-of {lost[-1]}",
            )


def find_in_banners(banners: Iterable[Banner], found: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the banners of the moment that are no mere notice, unless the watch has found the same by itself.

    Args:
        banners: of the moment: a stale champion, a late log, a day that came twice.
        found: what the watch has found.
    """
    codes, before = {finding.code for finding in found}, Counter[str]()
    for banner in banners:
        if banner.level == "notice" or SAME.get(banner.code) in codes:
            continue
        before[banner.code] += 1
        about = f"moment {before[banner.code]}"  # one of each champion may say the same
        yield Finding(code=banner.code, about=about, level=banner.level, words=banner.words, next_step=banner.next_step)


def _train_anew(champion: Champion) -> str:
    unit = "" if champion.unit == "shopper" else f" --set examples.unit={champion.unit}"
    name = "" if champion.name == "behavior" else f" --set registry.model_name={champion.name}"
    return f"train anew, the gate decides whether the new model serves: behavior run{unit}{name}"


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"
