"""Champion and challenger side by side: the titles and runs in; what differs between the two out.

The challenger is the newest version that was registered after the champion's run and is not champion. The one thing to
know: both come from the state folder, so MLflow is not asked; what is gone from there can't be compared here.
"""

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.model.formats import BOOSTING, LANGUAGE_MODEL
from behavior_tasks.pipeline import Run, last_runs
from behavior_tasks.pipeline.compare import Comparison, compare
from behavior_tasks.web.engineer_runs import LOOKED_AT, run_files
from behavior_tasks.web.engineer_title import KINDS_OF_BOOSTING, Title
from behavior_tasks.web.remember import remembered


def challenger_of(home: Home, title: Title) -> Run | None:
    """Return the run of the newest other version of a champion's model, or None."""
    for run in last_runs(home, most=LOOKED_AT):
        version = (run.noted("registered") or {}).get("version")
        mine = run.record.config.registry.model_name == title.model
        if mine and run.record.run_id == title.run_id:
            return None
        if mine and version is not None and str(version) != title.version:
            return run
    return None


def compare_with_challenger(home: Home, title: Title) -> Comparison:
    """Return in what the newest other version differs from the champion; kept until a run changes.

    Raises:
        UserError: when there is no such version, or what is needed of one of the two is gone.
    """
    run = challenger_of(home, title)
    if run is None or title.run_id is None:
        raise UserError(
            f"No version of {title.model} was registered after the champion.",
            next_step="the next training brings one, unless its model is the same",
        )
    kind = "promotion"
    for line in reversed(title.lines):
        kind = str(line.get("kind", kind)) if line["version"] == title.version else kind
    champion = BOOSTING if kind in KINDS_OF_BOOSTING else LANGUAGE_MODEL
    one, other, config = title.run_id, run.record.run_id, run.record.config
    return remembered(
        ("comparison", str(home.root), title.model),
        [*run_files(home), home.runs / one],
        lambda: compare(home, config, one, other, kinds=(champion, LANGUAGE_MODEL)),
    )
