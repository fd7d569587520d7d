"""Audiences: scores, clean events and a file of rules in; who is to be contacted, who is the control, and a page, out.

`served/NAME/contact.csv` is the list to send, `control.csv` beside it the shoppers who must not be contacted, so that
`behavior lift` can tell what the contact brought. The one thing to know: shoppers stand there under their pseudonyms;
`behavior audiences NAME --real-ids` gives the ids back to who holds the key and the log.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import combine_hashes, connect, hash_rows
from behavior_tasks.data.keys import fingerprint, identity_key
from behavior_tasks.serve.audiences_backtest import check_audience, in_words
from behavior_tasks.serve.audiences_curve import write_curves
from behavior_tasks.serve.audiences_files import LIST_FILES, MEMBER_COLUMNS, MEMBERS, PAGE, TABLE, write_list
from behavior_tasks.serve.audiences_holdout import Holdout
from behavior_tasks.serve.audiences_journeys import write_journeys
from behavior_tasks.serve.audiences_page import write_page
from behavior_tasks.serve.audiences_pick import Picked, pick_all
from behavior_tasks.serve.audiences_reasons import add_reasons
from behavior_tasks.serve.audiences_rules import Audiences, audiences_file, load_audiences
from behavior_tasks.serve.audiences_scores import Scored, score_everybody
from behavior_tasks.serve.audiences_tell import tell
from behavior_tasks.serve.banners import banner_facts, banners_of
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import FOLDER


def audiences_stage(job: Job) -> Output:
    """Fill the audiences and write the lists as Parquet and CSV, what any budget buys, some journeys, and `page.html`.

    Raises:
        UserError: naming everything that is wrong with the file of rules.
    """
    rules, moment = load_audiences(audiences_file(job.config.audiences.file)), Moment.load(job.inputs["moment"])
    scored, key = score_everybody(job), identity_key(job.home)
    picked = pick_all(rules, scored.table, holdout=job.config.audiences.holdout, draw=Holdout(key).drawn)
    add_reasons(job, scored, moment, picked)
    before = _one_horizon_ago(rules, scored)
    told = [tell(one, rules.costs_of(one.audience), before.get(one.audience.name)) for one in picked]
    folder = job.out / FOLDER
    folder.mkdir()
    hashes = _write_lists(folder, picked, scored.table)
    write_curves(folder, scored.table, holdout=job.config.audiences.holdout, draw=Holdout(key).drawn)
    write_journeys(job, scored, moment, picked, folder)
    on_lists = len({shopper for one in picked for shopper in one.members["shopper"]})
    facts: dict[str, Any] = {
        **moment.model_dump(mode="json"),
        "horizon_days": scored.horizon.days,
        "end": (moment.cutoff + scored.horizon).isoformat(),
        "method": scored.method,
        "way": scored.way.model_dump() if scored.way else None,
        "version": scored.champion.version if scored.champion and scored.method == "champion" else None,
        "identity_key": fingerprint(key),
        "holdout": job.config.audiences.holdout,
        "overlap": rules.overlap,
        "scored": len(scored.table),
        "on_lists": on_lists,
        "compared": scored.compared,
        "compared_at": scored.tested_at.as_of.isoformat() if scored.tested_at else None,
        "in_words": in_words(scored.compared) if scored.compared else None,
        "audiences": told,
        "banners": banner_facts(scored.banners, job.inputs["readiness"]),
    }
    write_page(folder / PAGE, facts, banners_of(facts), least=job.config.privacy.min_group)
    rows = Rows(
        unit_in="shoppers",
        unit_out="shoppers",
        rows_in=len(scored.table),
        rows_out=on_lists,
        removed={"on no list": len(scored.table) - on_lists} if len(scored.table) > on_lists else {},
    )
    return Output(rows=rows, content_hash=combine_hashes(hashes), facts=facts)


def _one_horizon_ago(rules: Audiences, scored: Scored) -> dict[str, dict[str, Any]]:
    """Return what each audience, filled one horizon ago without a control, was expected to bring and brought."""
    if scored.then is None:
        return {}
    filled = pick_all(rules, scored.then, holdout=0.0, draw=_nobody)
    return {one.audience.name: check_audience(one) for one in filled}


def _nobody(campaign: str, shoppers: Sequence[str], share: float) -> np.ndarray:
    """Draw no control."""
    return np.zeros(len(shoppers), dtype=bool)


def _write_lists(folder: Path, picked: list[Picked], table: pd.DataFrame) -> list[str]:
    """Write the lists, for machines and for people; return the hashes of what is for machines."""
    frames = [
        one.members.assign(audience=one.audience.name, campaign=one.audience.drawn_for)[list(MEMBER_COLUMNS)]
        for one in picked
    ]
    members = pd.concat(frames, ignore_index=True).astype({"reason": "string", "group": "string"})
    for name, frame in ((MEMBERS, members), (TABLE, table)):
        pq.write_table(
            pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(),
            folder / name,
            compression="zstd",
        )
    for one in picked:
        place = folder / one.audience.name
        place.mkdir()
        for group in ("contact", "control") if one.audience.contact else ("leave",):
            write_list(place / LIST_FILES[group], one.members[one.members["group"] == group])
    with connect() as connection:
        return [hash_rows(connection, folder / name) for name in (MEMBERS, TABLE)]
