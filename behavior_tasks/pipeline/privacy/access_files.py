"""The files of an access request: what is held about a person in; a folder that only its owner may read out.

`index.html` is for the person, `data.json` and a CSV a topic for whoever wants to use the data elsewhere. The one thing
to know: the folder is new or empty, and the export is logged before anything is written into it.
"""

import io
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks import __version__
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.page import render_page
from behavior_tasks.base.privacy_config import KeptKind, PrivacyConfig
from behavior_tasks.pipeline.export import log_export
from behavior_tasks.pipeline.privacy.access import Access, Section
from behavior_tasks.pipeline.privacy.scan import grouped
from behavior_tasks.serve.audiences_files import write_private

TEMPLATE = Path(__file__).with_name("access.html")
KEPT: Mapping[KeptKind, str] = {
    "raw": "Copies of the log",
    "events": "Events",
    "examples": "Features and examples",
    "texts": "Texts",
    "models": "Models that were trained with them",
    "scores": "Scores, recommendations, audiences and the list of unusual behaviour",
    "campaigns": "Campaigns",
    "logs": "Logs of the programs",
}
"""Kinds of what is kept, in words."""
SHOWN, MOST_COLUMNS = 100, 14
"""Rows of a topic that the page shows; and columns from which on a row is shown as a list."""
OWNER_ONLY = 0o700


def write_access(home: Home, access: Access, out: Path, *, who: str, kept: list[dict[str, str]]) -> list[Path]:
    """Write the folder, and log that it was written.

    Args:
        home: the state folder, whose log of exports takes a line without the id.
        access: what is held.
        out: a folder that is new or empty.
        who: the person who asks for it.
        kept: what is kept how long, for the page.

    Raises:
        UserError: when there is something in the folder already.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out.name} is there already.", next_step="choose another place for --out")
    log_export(home, when=access.when, who=who, what={"what": "access request", "rows": access.rows})
    out.mkdir(mode=OWNER_ONLY, parents=True, exist_ok=True)
    out.chmod(OWNER_ONLY)
    content = as_json(access, kept)
    files = {"data.json": json.dumps(content, ensure_ascii=False, indent=2)}
    for section in access.sections:
        files[f"{section.name}.csv"] = _csv(section)
    files["index.html"] = render_page(
        TEMPLATE,
        {
            "access": access,
            "sections": [_shown(section) for section in access.sections],
            "places": grouped(access.places),
            "kept": kept,
            "version": __version__,
        },
    )
    for name, text in files.items():
        write_private(out / name, text)
    return [out / name for name in files]


def kept_until(access: Access, config: PrivacyConfig) -> list[dict[str, str]]:
    """Return what is kept how long, and until when what the person has now is.

    Args:
        access: whose newest data decides.
        config: `privacy.keep`.
    """
    told = []
    for kind, what in KEPT.items():
        days = config.keep_days(kind)
        until = access.when + timedelta(days=days)
        told.append({"what": what, "how_long": f"{days:,} days; what was made today goes by {until:%Y-%m-%d}"})
    return told


def as_json(access: Access, kept: list[dict[str, str]]) -> dict[str, Any]:
    """Return everything as JSON."""
    return {
        "version": __version__,
        "when": access.when.isoformat(timespec="seconds"),
        "shopper": access.raw_id,
        "pseudonym": access.pseudonym,
        **{section.name: section.rows for section in access.sections},
        "models": access.models,
        "exports": access.exports,
        "places": [{"place": one.place, "column": one.column, "times": one.count} for one in access.places],
        "kept": kept,
        "not_seen": access.found.unseen,
    }


def _csv(section: Section) -> str:
    text = io.StringIO()
    pd.DataFrame(section.rows, columns=section.columns).to_csv(text, index=False, lineterminator="\n")
    return text.getvalue()


def _shown(section: Section) -> dict[str, Any]:
    columns = section.columns
    rows = [[row.get(name) for name in columns] for row in section.rows[:SHOWN]]
    wide = len(columns) > MOST_COLUMNS
    return {
        "name": section.name,
        "title": section.title,
        "about": section.about,
        "total": len(section.rows),
        "columns": columns,
        "rows": rows[:3] if wide else rows,
        "wide": wide,
    }
