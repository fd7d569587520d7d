"""What is told of the study: its figures with their intervals as JSON, and why the method serves, in one sentence.

The one thing to know: the sentence names the figures of the newest finished horizon, in which nothing was chosen.
"""

from typing import Any

from behavior_tasks.serve.recommend_measure import Ahead, Measured, ahead, intervals
from behavior_tasks.serve.recommend_study import DRAWING, Exam, Study
from behavior_tasks.serve.recommend_world import KNN


def told_study(study: Study) -> dict[str, Any]:
    """Return every figure of a study, as JSON."""
    return {
        "chosen_on": _told_exam(study.chosen_on, study.method),
        "reported": _told_exam(study.reported, study.method),
        "discovery": _told_exam(study.discovery, study.method),
        "ndcg_without_bought": None if study.dropped is None else round(study.dropped.mean("ndcg"), 6),
        "repeats": None if study.repeats is None else round(study.repeats, 6),
    }


def _told_exam(exam: Exam | None, method: str) -> dict[str, Any] | None:
    if exam is None:
        return None
    bounds = intervals(exam.measured, DRAWING)
    return {
        "as_of": exam.moment.as_of.isoformat(),
        "view": exam.view,
        "shoppers": exam.shoppers,
        "purchases": exam.purchases,
        "found": round(exam.hits / max(1, exam.purchases), 6),
        "methods": [
            {
                "method": name,
                "served": name == method,
                **{
                    figure: {"value": round(found.mean(figure), 6), "lower": round(low, 6), "upper": round(high, 6)}
                    for figure, (low, high) in bounds[name].items()
                },
                "coverage": round(found.coverage, 6),
                "novelty": round(found.novelty, 6),
                "above_knn": _told_gap(ahead(found, exam.measured[KNN], DRAWING)),
            }
            for name, found in exam.measured.items()
        ],
    }


def _told_gap(gap: Ahead) -> dict[str, float]:
    return {"value": round(gap.difference, 6), "lower": round(gap.lower, 6), "upper": round(gap.upper, 6)}


def reasons_for_method(study: Study) -> str:
    """Say which method serves and why, with its figures."""
    method = study.method
    if study.chosen_on is None:
        told = _figure(study.reported, method)
        return f"{method} serves: the log holds no two finished horizons to choose on.{f' {told}' if told else ''}"
    measured = study.chosen_on.measured
    best = max(measured, key=lambda name: measured[name].mean("ndcg"))
    day = study.chosen_on.moment.as_of
    if best == method:
        others = [name for name in measured if name != method]
        next_best = max(others, key=lambda name: measured[name].mean("ndcg"))
        gap = ahead(measured[method], measured[next_best], DRAWING)
        how = f"it had the best NDCG@10, {_ndcg(measured[method])} against {_ndcg(measured[next_best])} of {next_best}"
        how += f" (ahead by {gap.difference:.3f}, {gap.lower:.3f} to {gap.upper:.3f})"
    else:
        gap = ahead(measured[best], measured[method], DRAWING)
        how = (
            f"it is the simplest whose NDCG@10, {_ndcg(measured[method])}, the best, {best} with "
            f"{_ndcg(measured[best])}, is not shown to beat (ahead by {gap.difference:.3f}, {gap.lower:.3f} to "
            f"{gap.upper:.3f})"
        )
    return f"Use {method}: in the horizon from {day} {how}. {_figure(study.reported, method)}".strip()


def _figure(exam: Exam | None, method: str) -> str:
    """Say how good a method was where nothing was chosen."""
    if exam is None:
        return ""
    measured, low_high = exam.measured[method], intervals({method: exam.measured[method]}, DRAWING)[method]["ndcg"]
    told = f"In the horizon from {exam.moment.as_of}, which took no part in that, its NDCG@10 was {_ndcg(measured)} "
    told += f"({low_high[0]:.3f} to {low_high[1]:.3f})"
    if method == KNN:
        return f"{told}."
    gap = ahead(measured, exam.measured[KNN], DRAWING)
    word = "above" if gap.lower > 0 else "below" if gap.upper < 0 else "not shown to differ from"
    return f"{told}, {word} item-kNN's {_ndcg(exam.measured[KNN])}."


def _ndcg(measured: Measured) -> str:
    return f"{measured.mean('ndcg'):.3f}"
