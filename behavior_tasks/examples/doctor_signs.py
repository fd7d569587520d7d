"""The doctor on everything else: power, bad rows, amounts, ids that don't last, drift between the splits.

In come the counts and the survey of a log; out come findings with what there is, what is needed and what to do. The
one thing to know: too little power is a warning, because a model can still be much better than what it is compared
with; only where even a far better one could not be told apart does the doctor say no.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from behavior_tasks.base.artifacts import Rows
from behavior_tasks.base.config import Config, GateConfig
from behavior_tasks.examples.doctor import SPLITS, Finding, Level, LogCounts, SplitCounts
from behavior_tasks.examples.features import FEATURES
from behavior_tasks.examples.power import PASSES, Power, forecast
from behavior_tasks.examples.survey import Survey

Key = TypeVar("Key")
LOW_PRICE_COVERAGE = 0.9
"""Below this share of purchases with an amount, spending is known too poorly to say nothing about it."""
DRIFT_FACTOR = 2.0
"""Buyer rates of the splits further apart than this factor are worth a warning."""
PER_FEATURE = 10
"""Train examples with a purchase for each feature in the text (Peduzzi et al. 1996, for logistic regression)."""
HOPELESS = 0.2
"""A model whose F1 is better by so much must stand a chance, or the test split can't tell anything."""
MOST_ONE_DAY, MOST_NEW_BUYERS = 0.8, 0.5
PSI_SOME, PSI_LARGE = 0.1, 0.25
"""The usual levels of the population stability index: below the first no drift, above the second a large one."""
FEWEST_EXPECTED = 12
"""Returning shoppers, or buyers of a split, below which what is expected of them is lost in chance."""
RESET = 0.25
"""A day on which the share of returning shoppers falls below this part of what it was is one on which ids changed."""
RESET_DAYS = 7
WORTH_NAMING = 0.1


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """What the test split would hold under another horizon, really counted."""

    days: int
    test: SplitCounts


def power_findings(counts: LogCounts, config: Config, horizons: Sequence[Horizon]) -> list[Finding]:
    """Judge whether there is enough to learn from and enough to tell two models apart.

    Args:
        horizons: what other horizons would give, shortest first; for the advice.
    """
    findings = []
    train, test = counts.splits.get("train"), counts.splits.get("test")
    if train is not None:
        needed = PER_FEATURE * sum(feature.in_text for feature in FEATURES)
        missing = max(0, needed - train.positives)
        advice = f"about {missing:,} more: a longer log, or more cutoffs with --set examples.train_cutoffs=…"
        level: Level = "warn" if missing else "ok"
        what = "train: examples that end in a purchase"
        number, wanted = f"{train.positives:,}", f"{needed:,}, {PER_FEATURE} a feature"
        findings.append(
            Finding(
                level=level, what=what, number=number, needed=wanted, missing=missing, advice=advice if missing else ""
            )
        )
    power = _forecast(test, config.gate) if test is not None else None
    if test is not None and power is not None:
        findings.append(_power(test, power, config.gate, horizons))
    return findings


def is_weak(counts: LogCounts, config: Config) -> bool:
    """Say whether the test split can't do what the gate asks of it, so that other horizons are worth counting."""
    test = counts.splits.get("test")
    if test is None or test.buyers < config.examples.min_buyers:
        return bool(counts.purchases)
    power = _forecast(test, config.gate)
    return power is not None and power.needed_buyers > test.positives


def other_horizon_advice(horizons: Sequence[Horizon], config: Config) -> str:
    """Say which of the counted horizons has enough test buyers for a split; empty when none has."""
    enough = [h for h in horizons if h.test.buyers >= config.examples.min_buyers]
    return f"with a horizon of {_days(enough[0])} there are {enough[0].test.buyers:,} (counted)" if enough else ""


def log_findings(counts: LogCounts, survey: Survey, config: Config, read: Rows) -> list[Finding]:
    """Judge bad rows, amounts, ids and drift.

    Args:
        read: the rows of the stage `ingest`.
    """
    findings = [_bad_rows(read, config)]
    if counts.purchases:
        findings.append(_price_coverage(counts))
    findings += _short_lived(survey)
    drift = _buyer_drift(counts)
    if drift:
        findings.append(drift)
    busy = {split: Counter({_busy(power): n for power, n in there.items()}) for split, there in survey.activity.items()}
    shifts = (_shift("actions", survey.actions), _shift("events a shopper", busy))
    findings += [shift for shift in shifts if shift is not None]
    if survey.train_categories and survey.later_categories:
        findings.append(_new_categories(survey))
    return findings


def stability_index(one: Counter[Key], other: Counter[Key]) -> float:
    """Return the population stability index of two counts: sum of (q - p) ln(q / p) over their shares.

    Half a count is added to each, so that what only one of them has stays finite.

    >>> round(stability_index(Counter(a=500, b=500), Counter(a=700, b=300)), 2)
    0.17
    """
    keys = one.keys() | other.keys()
    totals = (one.total() + len(keys) / 2, other.total() + len(keys) / 2)
    shares = [((one[key] + 0.5) / totals[0], (other[key] + 0.5) / totals[1]) for key in keys]
    return math.fsum(sorted((q - p) * math.log(q / p) for p, q in shares))


def _forecast(test: SplitCounts, gate: GateConfig) -> Power | None:
    return forecast(shoppers=test.examples, buyers=test.positives, margin=gate.margin, confidence=gate.confidence)


def _power(test: SplitCounts, power: Power, gate: GateConfig, horizons: Sequence[Horizon]) -> Finding:
    missing = max(0, power.needed_buyers - test.positives)
    level: Level = "ok"
    if missing:
        level = "fail" if power.half_width > HOPELESS + gate.margin else "warn"
    return Finding(
        level=level,
        what="test: buyers for the gate",
        number=f"{test.positives:,}: F1 differences known to ±{power.half_width:.3f}, so a model exactly as good "
        f"passes in {power.passes:.0%} of cases",
        needed=f"about {power.needed_buyers:,} for {PASSES:.0%} at gate.margin {gate.margin:g}",
        missing=missing,
        advice=_power_advice(test, power, gate, horizons, missing) if missing else "",
    )


def _power_advice(test: SplitCounts, power: Power, gate: GateConfig, horizons: Sequence[Horizon], missing: int) -> str:
    times = power.needed_buyers / test.positives
    choices = [f"you need about {missing:,} more buyers (a log of {times:.1f} times the shoppers)"]
    known = [(horizon, _forecast(horizon.test, gate)) for horizon in horizons]
    counted = [(horizon, there) for horizon, there in known if there is not None]
    enough = [pair for pair in counted if pair[1].needed_buyers <= pair[0].test.positives]
    # The shortest horizon that is enough, else the one that tells models apart best.
    best = enough[0] if enough else min(counted, key=lambda pair: pair[1].half_width, default=None)
    if best and (enough or best[1].half_width < (1 - WORTH_NAMING) * power.half_width):
        horizon, there = best
        so = "enough" if enough else f"±{there.half_width:.3f}, not yet enough"
        choices.append(f"a horizon of {_days(horizon)}, which has {horizon.test.positives:,} (counted): {so}")
    margin = math.ceil(100 * gate.margin * math.sqrt(times)) / 100
    choices.append(f"a wider margin: --set gate.margin={margin:g}")
    advice = ", or ".join(choices)
    if power.half_width > HOPELESS + gate.margin:
        return f"hopeless: not even a model better by {HOPELESS:g} would pass in half of all cases; {advice}"
    return advice


def _days(horizon: Horizon) -> str:
    return f"{horizon.days} day{'s' * (horizon.days != 1)}"


def _bad_rows(read: Rows, config: Config) -> Finding:
    """Judge quarantined rows; reasons that this kind of log is known for do not count."""
    expected = config.source.reasons_that_are_not_bad
    bad = {reason: number for reason, number in read.removed.items() if reason not in expected}
    total = sum(bad.values())
    share = total / read.rows_in if read.rows_in else 0.0
    limit = config.source.max_bad_fraction
    level: Level = "fail" if share > limit else "warn" if share > limit / 5 else "ok"
    worst_reason = max(sorted(bad), key=lambda reason: bad[reason]) if bad else ""
    return Finding(
        level=level,
        what="bad rows",
        number=f"{share:.1%} ({total:,} of {read.rows_in:,})",
        needed=f"at most {limit:.1%}",
        advice="" if level == "ok" else f'most often "{worst_reason}"; quarantine.parquet of ingest lists each row',
    )


def _price_coverage(counts: LogCounts) -> Finding:
    share = counts.priced_purchases / counts.purchases
    fine = share >= LOW_PRICE_COVERAGE
    return Finding(
        level="ok" if fine else "warn",
        what="purchases with an amount",
        number=f"{share:.1%}",
        needed=f"{LOW_PRICE_COVERAGE:.0%} to know what shoppers spend",
        advice="" if fine else "spending is left out or patchy; add an amount, or price and quantity, to the log",
    )


def _short_lived(survey: Survey) -> list[Finding]:
    """Judge whether ids last long enough to have a history: cookies that are reset, visitors who never come back."""
    findings = []
    ids = survey.ids
    if ids["shoppers"]:
        one_day, one_event = ids["one_day"] / ids["shoppers"], ids["one_event"] / ids["shoppers"]
        advice = "cookies that are reset? Take ids that last, such as a login's, or learn from those who come back"
        findings.append(
            _share("shoppers of one day only", one_day, MOST_ONE_DAY, advice, f"; {one_event:.1%} have one event")
        )
    if ids["test_buyers"]:
        new = ids["new_test_buyers"] / ids["test_buyers"]
        advice = "nobody can foresee those: give a longer log, or ids that last"
        findings.append(_share("test buyers never seen before the cutoff", new, MOST_NEW_BUYERS, advice))
    resets = _resets(survey)
    if resets is not None:
        day = resets[0] if resets else None
        findings.append(
            Finding(
                level="warn" if day else "ok",
                what="days on which ids change",
                number=f"{len(resets)}{f' ({day})' if day else ''}",
                needed="0",
                advice=f"from {day} nearly nobody had been there before: were the ids reset?" if day else "",
            )
        )
    return findings


def _share(what: str, share: float, most: float, advice: str, more: str = "") -> Finding:
    fine = share <= most
    return Finding(
        level="ok" if fine else "warn",
        what=what,
        number=f"{share:.1%}{more}",
        needed=f"at most {most:.0%}",
        advice="" if fine else advice,
    )


def _resets(survey: Survey) -> list[str] | None:
    """Return the days on which the share of returning shoppers collapsed; None when no day could show it."""
    shares = {day: survey.returning[day] / n for day, n in sorted(survey.active.items()) if n}
    days = list(shares)
    found: list[str] | None = None
    for place in range(RESET_DAYS, len(days)):
        usual = sorted(shares[day] for day in days[place - RESET_DAYS : place])[RESET_DAYS // 2]
        if usual * survey.active[days[place]] < FEWEST_EXPECTED:
            continue
        found = found or []
        if shares[days[place]] < RESET * usual:
            found.append(str(days[place]))
    return found


def _buyer_drift(counts: LogCounts) -> Finding | None:
    rates = {name: counts.splits[name].buyer_rate for name in SPLITS if name in counts.splits}
    known = {name: rate for name, rate in rates.items() if rate is not None}
    if len(known) < len(SPLITS):
        return None
    splits = [counts.splits[name] for name in SPLITS]
    overall = sum(split.positives for split in splits) / sum(split.examples for split in splits)
    if min(split.examples for split in splits) * overall < FEWEST_EXPECTED:
        return None
    low, high = min(known.values()), max(known.values())
    fine = high <= DRIFT_FACTOR * low
    return Finding(
        level="ok" if fine else "warn",
        what="share of buyers",
        number=", ".join(f"{name} {rate:.1%}" for name, rate in known.items()),
        needed=f"within a factor of {DRIFT_FACTOR:g}",
        advice=""
        if fine
        else "the splits differ (a season, a campaign, a change in logging?); read the verdict with care",
    )


def _busy(power: int) -> str:
    return "1 event" if power == 0 else f"{2**power} to {2 ** (power + 1) - 1} events"


def _shift(what: str, by_split: Mapping[str, Counter[str]]) -> Finding | None:
    """Compare train and test by the stability index; what chance alone would give is allowed on top."""
    train, test = by_split.get("train", Counter()), by_split.get("test", Counter())
    if not train or not test:
        return None
    index = stability_index(train, test)
    # Between two samples of one population the index is about (1/n + 1/m) times a chi-square; two deviations above it.
    free = len(train.keys() | test.keys()) - 1
    chance = (free + 2 * math.sqrt(2 * free)) * (1 / train.total() + 1 / test.total())
    large = "a large drift" if index > PSI_LARGE + chance else "some drift"
    fine = index <= PSI_SOME + chance
    moved = max(sorted({*train, *test}), key=lambda key: _moved(key, train, test))
    words = f"{train[moved] / train.total():.1%} of train, {test[moved] / test.total():.1%} of test"
    return Finding(
        level="ok" if fine else "warn",
        what=f"drift in {what}",
        number=f"PSI {index:.3f}",
        needed=f"below {PSI_SOME:g} (above {PSI_LARGE:g} is large)",
        advice="" if fine else f"{large}, most in {moved}: {words}; was the log written otherwise then?",
    )


def _moved(key: str, train: Counter[str], test: Counter[str]) -> float:
    return abs(train[key] / train.total() - test[key] / test.total())


def _new_categories(survey: Survey) -> Finding:
    new = {name: n for name, n in survey.later_categories.items() if name not in survey.train_categories}
    share = sum(new.values()) / survey.later_categories.total()
    fine = share <= WORTH_NAMING
    return Finding(
        level="ok" if fine else "warn",
        what="events in categories that train never saw",
        number=f"{share:.1%} ({len(new):,} categories)",
        needed=f"at most {WORTH_NAMING:.0%}",
        advice="" if fine else "were the categories renamed? Map the old names to the new ones in the log",
    )
