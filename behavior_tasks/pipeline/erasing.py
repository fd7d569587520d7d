"""Erasures in Airflow: a form's settings in; the requests that wait worked off, and a training asked for, out.

The one thing to know: requests lie as files in the state folder's `privacy/requests/`, with pseudonyms and tombstones
only, so that no raw id ever stands in Airflow's database, in a form or in a log.
"""

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from behavior_tasks.base.home import current_home
from behavior_tasks.pipeline.runs import check_settings


def erase_waiting(
    *, preset: str, config_file: str | None = None, overrides: Mapping[str, Any] | None = None, **_: Any
) -> str:
    """Work off the requests that wait, and bring the marks of models up to date; waits for runs at work.

    Returns:
        What was done, in one sentence for a note: counts, no id.

    Raises:
        UserError: when the settings, a request or the ledger of erasures is not what it should be.
    """
    config, home = check_settings(preset=preset, config_file=config_file, overrides=overrides), current_home()
    from behavior_tasks.pipeline.privacy.erase import work_off  # what it needs takes seconds to import
    from behavior_tasks.pipeline.privacy.erase_models import retrain_notes

    done = work_off(home, config, now=datetime.now(UTC), wait=True)
    shoppers, rows = sum(one.shoppers for one in done), sum(sum(one.rows.values()) for one in done)
    words = f"{len(done)} requests, {shoppers:,} shoppers erased, {rows:,} rows gone." if done else "No request waited."
    return " ".join([words, *(one.words for one in retrain_notes(home))])


def ask_for_retraining(
    run_id: str,
    *,
    day: date,
    preset: str,
    config_file: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    **_: Any,
) -> str | None:
    """Ask for a training when a champion that was trained with erased shoppers is due; at most once a calendar day.

    Returns:
        None when a training is to be started now, else why not.
    """
    config = check_settings(preset=preset, config_file=config_file, overrides=overrides)
    from behavior_tasks.pipeline.privacy.erase_models import ask_for_retraining as ask

    return ask(current_home(), config, today=day, run_id=run_id)
