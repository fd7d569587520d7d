"""The scan: the state folder, databases and the logs' own words in; where any of those words stands out.

`behavior privacy scan` searches everything but the source itself for every raw id of the last logs, for addresses and
numbers of people in their texts, and for the keys. The one thing to know: what is looked for is never written or
shown, and what could not be looked at, or not told, is said.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from behavior_tasks import __version__
from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.page import render_page
from behavior_tasks.pipeline.privacy.search import Found, Hit
from behavior_tasks.pipeline.privacy.search_all import Elsewhere, search_everything, short_ids
from behavior_tasks.pipeline.privacy.search_source import logs_of, secret_words, words_of
from behavior_tasks.pipeline.privacy.search_words import SECRET, want
from behavior_tasks.pipeline.runs import Run, last_runs

TEMPLATE = Path(__file__).with_name("scan.html")


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan found."""

    when: datetime
    seconds: float
    asked: Mapping[str, int]
    """Kind of word → how many different ones."""
    short: tuple[str, ...]
    """What could not be told of ids that are short, or a word of something else too, in words."""
    logs: int
    """Files of the source that were read."""
    found: Found

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.found.hits

    def as_json(self) -> dict[str, object]:
        """Everything, without a single word that was searched for."""
        return {
            "version": __version__,
            "when": self.when.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 1),
            "clean": self.clean,
            "logs": self.logs,
            "asked": dict(self.asked),
            "short_ids": list(self.short),
            "found": [asdict(hit) for hit in self.found.hits],
            "searched": {kind: asdict(tally) for kind, tally in sorted(self.found.searched.items())},
            "skipped": self.found.skipped,
            "not_seen": self.found.unseen,
        }


def scan(home: Home, elsewhere: Elsewhere, *, now: datetime, input_path: str | None = None) -> Scan:
    """Search everything but the source for the source's own words.

    Args:
        home: the state folder.
        elsewhere: databases and files outside it.
        now: the time, with its zone.
        input_path: the log; None: those of all runs that are still there.

    Raises:
        UserError: when there is no log to take the words from, or a database does not answer.
    """
    begun = time.monotonic()
    unseen: list[str] = []
    logs = logs_to_read(home, input_path, unseen)
    source = words_of(home, logs)
    wanted = want(
        {**source.words, SECRET: secret_words(home)},
        used_otherwise=source.used_otherwise,
        person_columns=source.person_columns,
    )
    found = search_everything(home, wanted, elsewhere)
    found.unseen[:0] = unseen
    return Scan(
        when=now,
        seconds=time.monotonic() - begun,
        asked=wanted.asked,
        short=tuple(short_ids(wanted)),
        logs=source.files,
        found=found,
    )


def logs_to_read(home: Home, input_path: str | None, unseen: list[str]) -> Iterable[tuple[Run, str]]:
    """Return the logs of the runs, each once, with the newest run that read it.

    Raises:
        UserError: when there is none.
    """
    runs = last_runs(home, most=1, inspections=True)
    if not runs:
        raise UserError("Nothing was run in this state folder, so nothing can be held.", next_step="behavior run")
    if input_path is not None:
        return [(runs[0], input_path)]
    there = logs_of(home, unseen)
    if not there:
        raise UserError(
            "The log that the runs have read is gone, so its ids can't be searched for.",
            found="; ".join(unseen) or "no log",
            next_step="behavior privacy scan --input log.csv, with the log",
        )
    return there


def write_report(home: Home, found: Scan) -> Path:
    """Keep a scan below `privacy/`, as JSON and as a page, and return the page."""
    folder = make_folder(home.privacy)
    name = f"scan-{found.when:%Y%m%dT%H%M%S}"
    content = found.as_json()
    write_durably(folder / f"{name}.json", json.dumps(content, ensure_ascii=False, indent=2).encode())
    page = folder / f"{name}.html"
    write_durably(page, render_page(TEMPLATE, {"scan": content, "hits": grouped(found.found.hits)}).encode())
    return page


def grouped(hits: list[Hit]) -> list[Hit]:
    """Return hits with those of one kind of file, column and word together: of many buckets one line."""
    together: dict[tuple[str, str, str], tuple[str, int, int]] = {}
    for hit in hits:
        key = (hit.kind, hit.column, hit.what)
        first, places, count = together.get(key, (hit.place, 0, 0))
        together[key] = (first, places + 1, count + hit.count)
    return [
        Hit(
            place=first if places == 1 else f"{first} and {places - 1:,} more",
            kind=kind,
            column=column,
            what=what,
            count=count,
        )
        for (kind, column, what), (first, places, count) in together.items()
    ]
