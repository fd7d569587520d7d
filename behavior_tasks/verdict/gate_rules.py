"""The gate's rules: one list that says of each what it reads, when it is asked at all, and how it judges.

In comes a case (`gate_evidence`), out comes an outcome for each rule, with its figures and a clause in words. The one
thing to know: a rule is only called with the figures that it declares. When one of them is missing or not a finite
number the rule has failed before it is called, and its words name the figure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

import pandas as pd

from behavior_tasks.verdict.gate_evidence import FILES, NAMES, Case, Figure, Judged, in_figures, mapping, text
from behavior_tasks.verdict.gate_slices import slice_f1s

Numbers = dict[str, float | int | str | None]
Told = Mapping[str, Any]
"""The figures that a rule declared, by their names; none is missing."""
SAME_SCORES_WITHIN = 1e-6
"""A served probability and the pipeline's may differ by rounding, not more."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One rule's outcome. `words` is a clause without a full stop."""

    name: str
    passed: bool
    figures: Mapping[str, float | int | str | None]
    words: str


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What a rule's own judgement gives."""

    passed: bool
    words: str
    figures: Mapping[str, float | int | str | None]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One rule of the gate."""

    name: str
    reads: tuple[Figure, ...]
    judge: Callable[[Case, Told], Ruling]
    off: Callable[[Case], str | None] = lambda case: None
    """Why the rule is not asked in this case, or None; then nothing is read and it passes."""
    models: frozenset[Judged] = frozenset({"candidate", "boosting"})
    """Which models it judges."""


def apply(rule: Rule, case: Case) -> Outcome:
    """Return a rule's outcome; a figure that it needs and that is not there fails it."""
    off = rule.off(case)
    if off is not None:
        return Outcome(name=rule.name, passed=True, figures={}, words=off)
    figure = undefined(rule, case)
    if figure is not None:
        words = _not_told(figure, case)
        return Outcome(name=rule.name, passed=False, figures={figure.name: None}, words=words)
    ruling = rule.judge(case, {figure.name: case.value(figure) for figure in rule.reads})
    return Outcome(name=rule.name, passed=ruling.passed, figures=ruling.figures, words=ruling.words)


def undefined(rule: Rule, case: Case) -> Figure | None:
    """Return the first figure that a rule reads and that is not there; None when the rule is off or has all."""
    if rule.off(case) is not None:
        return None
    return next((figure for figure in rule.reads if case.value(figure) is None), None)


def _not_told(figure: Figure, case: Case) -> str:
    what = {"number": "missing or not a finite number", "list": "missing or not a list"}
    path = figure.path.format(model=case.model)
    return f"{path} of {FILES[figure.document]} is {what.get(figure.kind, f'missing or no {figure.kind}')}"


def _off_without(key: str, what: str) -> Callable[[Case], str | None]:
    """Return what says that a rule is off because its setting is empty."""

    def off(case: Case) -> str | None:
        return f"{what} (gate.{key} is empty)" if getattr(case.config, key) is None else None

    return off


def _clock(case: Case, told: Told) -> Ruling:
    """The days stand in their order: the test cutoff, the run, and never a run for a day before the champion's."""
    try:
        day = date.fromisoformat(told["day"])
        champion = text(mapping(case.evidence.run.get("champion")).get("day"))
        champion_day = date.fromisoformat(champion) if champion else None
    except ValueError as error:
        return Ruling(passed=False, words=f"a day can't be read: {error}", figures={})
    last = case.table["cutoff"].max() if "cutoff" in case.table.columns else None
    cutoff = last.date() if isinstance(last, datetime) and pd.notna(last) else None
    figures: Numbers = {"day": str(day), "cutoff": str(cutoff), "champion_day": champion}
    known = text(case.champion.get("version")) is not None
    if cutoff is None or (known and champion_day is None):
        what = "the test cutoff" if cutoff is None else "the champion's day"
        return Ruling(passed=False, words=f"{what} is not known", figures=figures)
    if cutoff > day:
        words = f"the test cutoff {cutoff} lies after the day of the run, {day}: a clock is wrong"
    elif champion_day is not None and day < champion_day:
        words = f"this run is for {day}, before the champion's {champion_day}: a clock is wrong, or an old day is rerun"
    else:
        return Ruling(passed=True, words=f"test cutoff {cutoff} and run {day} stand in their order", figures=figures)
    return Ruling(passed=False, words=words, figures=figures)


def _doctor(case: Case, told: Told) -> Ruling:
    passed = told["passed"]
    words = "the doctor found the log fit to learn from" if passed else "the doctor did not find the log fit"
    return Ruling(passed=passed, words=words, figures={"passed": int(passed)})


def _no_audit(case: Case) -> str | None:
    return "not audited for leakage (gate.audit_events is 0)" if case.config.audit_events == 0 else None


def _audit(case: Case, told: Told) -> Ruling:
    failed, problem = told["failed"], mapping(case.evidence.audit).get("problem")
    passed = told["clean"] and told["checks"] > 0 and not failed and not problem
    if passed:
        words = f"the leakage audit found nothing in {told['checks']:,} checks of {told['events']:,} events"
    elif failed:
        words = f"the leakage audit failed {len(failed)} of {told['checks']:,} checks, first {failed[0]}"
    else:
        words = f"the log could not be audited for leakage: {problem or 'nothing was checked'}"
    return Ruling(passed=passed, words=words, figures={"checks": told["checks"], "failed": len(failed)})


def _positives(case: Case, told: Told) -> Ruling:
    buyers, needed = int(told["buyers"]), case.config.min_positives
    passed = buyers >= needed
    words = f"{buyers:,} buyers in test {'are enough' if passed else 'are too few'} (gate.min_positives {needed:,})"
    return Ruling(passed=passed, words=words, figures={"buyers": buyers, "min_positives": needed})


def _f1_floor(case: Case, told: Told) -> Ruling:
    f1, floor = float(told["f1"]), case.config.min_f1
    passed = f1 >= floor
    words = f"F1 {f1:.3f} {'reaches' if passed else 'is below'} the floor of {floor:.3f} (gate.min_f1)"
    return Ruling(passed=passed, words=words, figures={"f1": f1, "min_f1": floor})


def _better_than_prior(case: Case, told: Told) -> Ruling:
    """Average precision is above the prior's, beyond chance.

    Average precision and not F1, because the prior gives every shopper the same probability: it has no ranking,
    its F1 is that of calling everybody a buyer, and only a ranking better than a random one shows that the
    model learned anything about a single shopper. The prior's average precision is the share of buyers.
    """
    difference = case.ranking_against("prior")
    passed = difference.lower > 0
    ap, base = float(told["average_precision"]), float(told["prior"])
    words = (
        f"AP {ap:.3f} is {'' if passed else 'not reliably '}above the prior's {base:.3f}; {case.interval(difference)}"
    )
    return Ruling(passed=passed, words=words, figures={case.model: ap, "prior": base, **in_figures(difference)})


def _against(other: str) -> Callable[[Case, Told], Ruling]:
    """F1 is above a baseline's, or not behind it by more than the margin, within noise, as `gate.comparison` asks."""

    def judge(case: Case, told: Told) -> Ruling:
        difference, margin = case.f1_against(other), case.config.margin
        f1, theirs = float(told["f1"]), float(told["other"])
        if case.config.comparison == "superior":
            passed = difference.lower > 0
            how = f"{'is' if passed else 'is not reliably'} above"
        else:
            passed = difference.lower >= -margin
            how = f"{'is not' if passed else 'may be'} more than {margin:g} behind"
        words = f"F1 {f1:.3f} {how} that of {NAMES[other]}, {theirs:.3f}; {case.interval(difference)}"
        figures = {case.model: f1, other: theirs, "margin": margin, **in_figures(difference)}
        return Ruling(passed=passed, words=words, figures=figures)

    return judge


def _above_language_model(case: Case, told: Told) -> Ruling:
    f1, theirs, difference = float(told["f1"]), float(told["other"]), case.f1_against("candidate")
    passed = f1 > theirs
    words = f"F1 {f1:.3f} is {'' if passed else 'not '}above the language model's {theirs:.3f}"
    figures = {"boosting": f1, "candidate": theirs, **in_figures(difference)}
    return Ruling(passed=passed, words=f"{words}; {case.interval(difference)}", figures=figures)


def _calibration(case: Case, told: Told) -> Ruling:
    ece, most = float(told["ece"]), float(case.config.max_ece or 0.0)
    passed = ece <= most
    words = f"ECE {ece:.3f} is {'within' if passed else 'above'} the ceiling of {most:.3f} (gate.max_ece)"
    return Ruling(passed=passed, words=words, figures={"ece": ece, "max_ece": most})


def _no_slices(case: Case) -> str | None:
    off = case.config.slice_drop is None and case.config.min_slice_f1 is None
    return "no floor is asked of slices (gate.slice_drop and gate.min_slice_f1 are empty)" if off else None


def _slices(case: Case, told: Told) -> Ruling:
    """F1 of every slice with enough buyers reaches the floors; a slice is below one only beyond noise."""
    judged, problem = slice_f1s(case, told["slices"])
    if problem:
        return Ruling(passed=False, words=problem, figures={})
    overall, drop = float(told["f1"]), case.config.slice_drop
    floors = [case.config.min_slice_f1 or 0.0, *([overall - drop] if drop is not None else [])]
    floor = max(floors)
    if not judged:
        words = f"no slice has {case.config.slice_buyers} buyers (gate.slice_buyers), so none is judged"
        return Ruling(passed=True, words=words, figures={"slices": 0, "floor": floor})
    below = [found for found in judged if not found.upper >= floor]
    worst = min(below or judged, key=lambda found: found.f1)
    figures: Numbers = {
        "slices": len(judged),
        "floor": floor,
        "worst": worst.name,
        "f1": worst.f1,
        "upper": worst.upper,
    }
    what = f"{worst.name} (F1 {worst.f1:.3f} on {worst.buyers:,} buyers, at most {worst.upper:.3f} within noise)"
    if below:
        words = f"{len(below)} of {len(judged)} slices fall below the floor of {floor:.3f}, worst {what}"
    else:
        words = f"none of {len(judged)} slices falls below the floor of {floor:.3f}; the lowest is {what}"
    return Ruling(passed=not below, words=words, figures=figures)


def _first_model(case: Case) -> str | None:
    nothing = not case.champion.get("problem") and not case.same_as_champion
    first = "version" in case.champion and case.champion["version"] is None and nothing
    return "there is no champion yet: this is the first model" if first else None


def _champion(case: Case, told: Told) -> Ruling:
    """F1 is above the champion's on the same examples, and not behind it by more than the margin within noise."""
    version = text(case.champion.get("version"))
    figures: Numbers = {"version": version}
    if case.same_as_champion:
        words = f"this model is already the champion (version {version}): nothing changed"
        return Ruling(passed=False, words=words, figures=figures)
    if case.champion.get("problem"):
        named = f"the champion (version {version})" if version else "the champion"
        words = f"{named} can't be compared: {case.champion['problem']}"
        return Ruling(passed=False, words=words.rstrip("."), figures=figures)
    if version is None:
        words = "champion.version of metrics.json is missing or no text"
        return Ruling(passed=False, words=words, figures=figures)
    theirs, difference = float(case.metrics("champion")["f1"]), case.f1_against("champion")
    f1, margin = float(told["f1"]), case.config.margin
    passed = f1 > theirs and difference.lower >= -margin
    words = f"the champion scores {theirs:.3f} on the same {len(case.table):,} examples; {case.interval(difference)}"
    if f1 == theirs:
        words += "; a tie keeps the champion"
    elif f1 > theirs and not passed:
        words += f"; better by chance can't be told apart from more than {margin:g} worse"
    figures |= {case.model: f1, "champion": theirs, "margin": margin, **in_figures(difference)}
    return Ruling(passed=passed, words=words, figures=figures)


def _privacy(case: Case, told: Told) -> Ruling:
    epsilon, most = float(told["epsilon"]), float(case.config.max_epsilon or 0.0)
    passed = 0 <= epsilon <= most
    words = f"privacy loss epsilon {epsilon:g} is {'within' if passed else 'not within'} the budget of {most:g}"
    return Ruling(passed=passed, words=f"{words} (gate.max_epsilon)", figures={"epsilon": epsilon, "max_epsilon": most})


def _ceiling(what: str, unit: str, key: str) -> Callable[[Case, Told], Ruling]:
    def judge(case: Case, told: Told) -> Ruling:
        value, most = float(told[key]), float(getattr(case.config, key))
        passed = value <= most
        words = f"{what} {value:,.1f} {unit} is {'within' if passed else 'above'} {most:g} (gate.{key})"
        return Ruling(passed=passed, words=words, figures={"value": value, key: most})

    return judge


def _infra(case: Case, told: Told) -> Ruling:
    """The packaged model was loaded and asked in a fresh process, and said what the pipeline said."""
    difference, examples = float(told["largest_difference"]), int(told["examples"])
    figures = {"examples": examples, "largest_difference": difference}
    problem = mapping(mapping(mapping(case.evidence.package).get("models")).get(case.model)).get("problem")
    if not (told["loads"] and told["serves"]) or problem:
        verb = "loaded" if not told["loads"] else "served"
        words = f"the packaged model can't be {verb} in a fresh process: {problem or 'no reason is given'}"
    elif examples < 1:
        words = "the packaged model was asked about no example"
    elif not 0 <= difference <= SAME_SCORES_WITHIN:
        words = f"the packaged model's scores differ from the pipeline's by up to {difference:.2g}"
    else:
        words = f"packaged, it loads and serves in a fresh process with the same scores on {examples:,} examples"
        return Ruling(passed=True, words=words, figures=figures)
    return Ruling(passed=False, words=words, figures=figures)


def _measured(name: str, model: str, key: str) -> Figure:
    return Figure(name=name, document="metrics", path=f"models.{model}.{key}")


def _packaged(name: str, key: str, kind: Literal["number", "yes or no"] = "number") -> Figure:
    return Figure(name=name, document="package", path=f"models.{{model}}.{key}", kind=kind)


F1 = _measured("f1", "{model}", "f1")
CANDIDATE, BOOSTING = frozenset[Judged]({"candidate"}), frozenset[Judged]({"boosting"})

RULES: tuple[Rule, ...] = (
    Rule(name="clock", reads=(Figure(name="day", document="run", path="day", kind="text"),), judge=_clock),
    Rule(
        name="doctor",
        reads=(Figure(name="passed", document="run", path="doctor", kind="yes or no"),),
        judge=_doctor,
    ),
    Rule(
        name="audit",
        reads=(
            Figure(name="clean", document="audit", path="clean", kind="yes or no"),
            Figure(name="checks", document="audit", path="checks"),
            Figure(name="events", document="audit", path="events"),
            Figure(name="failed", document="audit", path="failed", kind="list"),
        ),
        judge=_audit,
        off=_no_audit,
    ),
    Rule(name="positives", reads=(Figure(name="buyers", document="metrics", path="buyers"),), judge=_positives),
    Rule(name="f1_floor", reads=(F1,), judge=_f1_floor),
    Rule(
        name="better_than_prior",
        reads=(
            _measured("average_precision", "{model}", "average_precision"),
            _measured("prior", "prior", "average_precision"),
        ),
        judge=_better_than_prior,
    ),
    Rule(name="against_logistic", reads=(F1, _measured("other", "logistic", "f1")), judge=_against("logistic")),
    Rule(
        name="against_boosting",
        reads=(F1, _measured("other", "boosting", "f1")),
        judge=_against("boosting"),
        models=CANDIDATE,
    ),
    Rule(
        name="above_language_model",
        reads=(F1, _measured("other", "candidate", "f1")),
        judge=_above_language_model,
        models=BOOSTING,
    ),
    Rule(
        name="calibration",
        reads=(_measured("ece", "{model}", "ece"),),
        judge=_calibration,
        off=_off_without("max_ece", "no ceiling is set for the calibration error"),
    ),
    Rule(
        name="slices",
        reads=(F1, Figure(name="slices", document="metrics", path="slices", kind="list")),
        judge=_slices,
        off=_no_slices,
    ),
    Rule(name="champion", reads=(F1,), judge=_champion, off=_first_model),
    Rule(
        name="privacy",
        reads=(Figure(name="epsilon", document="run", path="models.{model}.epsilon"),),
        judge=_privacy,
        off=_off_without("max_epsilon", "no privacy budget is set"),
    ),
    Rule(
        name="latency",
        reads=(_packaged("max_latency_ms", "latency_ms.p95"),),
        judge=_ceiling("an answer (95th percentile) takes", "ms, which", "max_latency_ms"),
        off=_off_without("max_latency_ms", "no ceiling is set for the latency"),
    ),
    Rule(
        name="size",
        reads=(_packaged("max_size_mb", "size_mb"),),
        judge=_ceiling("the packaged model has", "MB, which", "max_size_mb"),
        off=_off_without("max_size_mb", "no ceiling is set for the size"),
    ),
    Rule(
        name="infra",
        reads=(
            _packaged("loads", "loads", "yes or no"),
            _packaged("serves", "serves", "yes or no"),
            _packaged("examples", "examples"),
            _packaged("largest_difference", "largest_difference"),
        ),
        judge=_infra,
    ),
)
"""What a model must pass once its metrics and predictions are complete; order is the order of the report."""
