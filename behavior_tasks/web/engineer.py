"""The engineer's page as values: the state folder in; everything that its template shows out.

Each part is read by a module of its own. The one thing to know: a part that can't be read says why in its place, and
the rest of the page stands.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.pipeline import waiting
from behavior_tasks.pipeline.privacy.erase_models import retrain_notes
from behavior_tasks.pipeline.serving import last_scoring
from behavior_tasks.registry.budget import BudgetLedgerError
from behavior_tasks.registry.ledger import LedgerError
from behavior_tasks.serve.banners import Banner
from behavior_tasks.web import mlflow_state
from behavior_tasks.web.engineer_compare import challenger_of
from behavior_tasks.web.engineer_draw import draw_heat, draw_matured
from behavior_tasks.web.engineer_privacy import Spent, read_budget
from behavior_tasks.web.engineer_runs import STALE_HOURS, StageLine, read_gates, read_stages
from behavior_tasks.web.engineer_title import Title, read_titles
from behavior_tasks.web.engineer_watch import read_standing
from behavior_tasks.web.reports import OPEN_TO_ALL, RESTRICTED, served_pages


def engineer_values(home: Home, now: datetime) -> dict[str, Any]:
    """Return the values of `engineer.html`.

    Args:
        home: the state folder; it may be empty.
        now: the instant, with its zone; what is stale depends on it.
    """
    damaged: UserError | None = None
    titles: list[Title] = []
    try:
        titles = read_titles(home)
    except LedgerError as error:
        damaged = error
    budget: list[Spent] = []
    budget_damaged: UserError | None = None
    try:
        budget = read_budget(home)
    except BudgetLedgerError as error:
        budget_damaged = error
    standing, stages = read_standing(home), read_stages(home)
    server = mlflow_state.server_of(home)
    return {
        "titles": titles,
        "ledger_damage": damaged,
        "challengers": {title.model: challenger_of(home, title) for title in titles},
        "retrain_by": {(one.model, one.version): one.by for one in retrain_notes(home)},
        "gates": read_gates(home),
        "budget": budget,
        "budget_damage": budget_damaged,
        "stages": stages,
        "ages": {(line.group, line.stage): now - line.when for line in stages},
        "stale": timedelta(hours=STALE_HOURS),
        "most": {
            "seconds": max((line.seconds or 0 for line in stages), default=0),
            "memory": max((line.memory_mb or 0 for line in stages), default=0),
        },
        "longest": _longest(stages),
        "standing": standing,
        "watched_stale": standing is not None and _is_old(standing.day, now),
        "heat": draw_heat(standing.heat) if standing and standing.heat.columns else None,
        "matured": [(one, draw_matured(one) if one.days else None) for one in standing.matured] if standing else [],
        "scoring": _scoring(home),
        "pages": served_pages(home, OPEN_TO_ALL),
        "restricted_pages": served_pages(home, RESTRICTED),
        "mlflow": server,
        "mlflow_answers": server is None or mlflow_state.answers(server),
        "waiting": waiting(home),
    }


def _is_old(day: date, now: datetime) -> bool:
    ended = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return now - ended > timedelta(days=2)


def _longest(stages: list[StageLine]) -> StageLine | None:
    timed = [line for line in stages if line.seconds is not None]
    return max(timed, key=lambda line: line.seconds or 0.0) if timed else None


def _scoring(home: Home) -> dict[str, Any] | None:
    """Return how the last scoring ended: `as_of`, `served`, `failed` (application → why) and `banners`."""
    run = last_scoring(home)
    if run is None:
        return None
    scored, error = run.noted("scored"), run.noted("error")
    if scored is None:
        failed = {error["stage"]: error["message"]} if error else {}
        return {"name": run.record.name, "as_of": None, "served": [], "failed": failed, "banners": []}
    return {
        "name": run.record.name,
        "as_of": scored["as_of"],
        "served": scored["served"],
        "failed": scored["failed"],
        "banners": [Banner.model_validate(one) for one in scored["banners"]],
    }
