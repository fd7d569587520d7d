"""Whatever the rows: none is lost, their order and their files play no part, and a second pass changes nothing."""

import csv
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from behavior_tasks.base.artifacts import Artifact, Rows
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.data.events import hash_events, open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from tests.data.raw_files import files_below
from tests.data.stages import events, run_to, seconds, table

NOON = seconds("2026-03-01T12:00:00")
TIMES = [str(NOON + step) for step in (0, 0, 1, 2, 43_199, 43_200, -86_400 * 30)]
CELLS = {
    "user_id": [
        "u1",
        "u1",
        "u2",
        "007",
        "7",
        "7.0",
        "顾客",
        "é",
        "e\u0301",
        "👩‍💻",
        "",
        "NULL",
        '"u,""1"""',
        "u\u2028x",
    ],
    "action": ["browse", "browse", "BUY", "cart", "return", "search", "wishlist", ""],
    "product_id": ["p1", "p1", "p2", "", "7.0", "0012", '"p,3"', '"two\nlines"', '"two\r\nlines"', "\u00a0p1\u3000"],
    "timestamp": [*TIMES, f"{NOON}.25", f"{NOON}000", "9e9", "1e400", "9" * 25, "-9e18", "NaN", "x", ""],
    "quantity": ["1", "2", "0", "-1", "", "x"],
    "price": ["2.5", "0", "-1", "", "1e9", "0.1"],
    "amount": ["5", "", "7", "-0.0", "1e-300"],
    "category": ["toys", "", "shoes", "toys > cars", '"a ""quoted"" word"', "a\tb", "c\ufeff"],
    "query": ["", "red shoes", '"two\nlines"'],
}
HEADER = ",".join(CELLS)
ROW = st.tuples(*map(st.sampled_from, CELLS.values())).map(",".join)
GOOD = st.sampled_from([f"u{n % 3},buy,p{n % 2},{NOON + n},1,,{n + 1},toys," for n in range(6)])
ODD = st.sampled_from(["", " ", "a,b", "\0,,,,,,,,", ",,,,,,,,", f"{',' * 30}", f"u1\0,browse,p1,{NOON},,,,,", HEADER])
OPEN = st.sampled_from(['"', f'u1,browse,"p1,{NOON},,,,,', f'u1,browse,p1,{NOON},,,,,"open', 'a"b,c"d'])
"""A quote left open binds the lines below it, so such rows stand at the end: their place is part of their meaning."""
LINE_END = st.sampled_from(["\n", "\n", "\r\n"])
LINES = st.lists(st.tuples(st.one_of(ROW, ROW, GOOD, ODD), LINE_END).map("".join), min_size=3, max_size=40)
OPEN_LINES = st.lists(st.tuples(OPEN, LINE_END).map("".join), max_size=2)
RULES: dict[str, object] = {"source.max_bad_fraction": 1, "clean.outlier_min_group": 3}
CONTEXT = st.sampled_from([{}, {"clean.bot_events_per_day": 3}, {"clean.double_click_seconds": 1}])
SURE = f"u9,browse,p9,{NOON},,,,,\n"
"""One good row, because a log without any is refused."""


def write(folder: Path, files: Sequence[Sequence[str]], *, mark: bool = False) -> Path:
    folder.mkdir()
    for number, lines in enumerate(files):
        text = f"{HEADER}\n{''.join(lines)}"
        # The last line of a file needs no end.
        text = text[:-1] if number % 2 == 0 and text.endswith("\n") and not text.endswith("\r\n") else text
        (folder / f"{number}.csv").write_bytes(text.encode("utf-8-sig" if mark else "utf-8"))
    return folder


def check_rows(log: Path, home: Path, overrides: dict[str, object]) -> tuple[Artifact, Counter[object]]:
    """Check that no row is lost; return the clean events and what stands in quarantine, without its lines."""
    ingested, cleaned = (run_to(stage, log, home, overrides=overrides) for stage in ("ingest", "clean"))
    quarantine = table(ingested, "quarantine.parquet", "reason, found, shopper")
    assert Counter(row[0] for row in quarantine) == Counter(ingested.manifest.rows.removed)
    assert ingested.manifest.rows.rows_in == ingested.manifest.rows.rows_out + len(quarantine)
    rows = cleaned.manifest.rows
    assert rows.rows_in == ingested.manifest.rows.rows_out
    assert rows.rows_in == rows.rows_out + sum(rows.removed.values())
    assert len(events(cleaned)) == rows.rows_out
    apart = Counter(str(row[0]) for row in table(cleaned, "apart.parquet", "reason"))
    assert apart == Counter({reason: n for reason, n in rows.removed.items() if reason != "duplicate"})
    return cleaned, Counter(quarantine)


def write_events(cleaned: Artifact, path: Path) -> Path:
    """Write clean events as a log of the canonical columns."""
    names = [c.name for c in SHOPPER_COLUMNS]
    columns = ", ".join("epoch_us(timestamp) / 1e6" if name == "timestamp" else name for name in names)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow("user_id" if name == "shopper" else name for name in names)
        writer.writerows(
            [repr(cell) if isinstance(cell, float) else cell for cell in row] for row in events(cleaned, columns)
        )
    return path


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What must not depend on the order of rows, nor on the files they lie in."""

    events: str
    quarantine: Counter[object]
    rows: Rows
    facts: dict[str, Any]


def clean(log: Path, home: Path, overrides: dict[str, object]) -> Outcome:
    cleaned, quarantine = check_rows(log, home, overrides)
    hashed = hash_events(open_events(cleaned))
    return Outcome(events=hashed, quarantine=quarantine, rows=cleaned.manifest.rows, facts=cleaned.facts)


def clean_twice(log: Path, home: Path, overrides: dict[str, object]) -> tuple[set[object], set[object]]:
    """Clean a log, write the clean events as a log and clean that; return the events of both, under one pseudonym."""
    # Bounds that are fitted on the replacements are narrower than those before, so nothing is replaced here.
    plain = {**overrides, "clean.outliers": "off"}
    once = run_to("clean", log, home, overrides=plain)
    twice, nothing = check_rows(write_events(once, home / "clean.csv"), home, plain)
    assert not nothing
    key = identity_key(Home(home))
    # As sets: rows that were told apart by the words of a search, or by what cleaning filled, have become the same.
    return set(events(twice)), {(pseudonym(str(row[0]), key), *row[1:]) for row in events(once)}


def outcomes(
    lines: list[str], open_lines: list[str], context: dict[str, object], seed: int, folder: Path
) -> tuple[Outcome, Outcome]:
    """Check a log as one file, then its rows in another order in one to four files; return what both gave."""
    chance = random.Random(seed)
    overrides, home = {**RULES, **context}, folder / "home"
    free = [SURE, *lines]
    log = write(folder / "whole", [[*free, *open_lines]], mark=seed % 2 == 0)
    whole = clean(log, home, overrides)
    if not open_lines:
        ingested = run_to("ingest", log, home, overrides=overrides)
        assert ingested.manifest.rows.rows_in == sum(bool(line.strip()) for line in free)
    made = files_below(home / "artifacts")
    assert clean(log, home, overrides) == whole
    assert files_below(home / "artifacts") == made
    second, first = clean_twice(log, home, overrides)
    assert second == first
    split: list[list[str]] = [[] for _ in range(chance.randint(1, 4))]
    for line in chance.sample(free, len(free)):
        chance.choice(split).append(line)
    split[-1] += open_lines
    return whole, clean(write(folder / "split", split), folder / "split home", overrides)


ANY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    # To look for a smaller example takes minutes, as each try runs the stages five times.
    phases=[Phase.explicit, Phase.generate],
)


@given(lines=LINES, open_lines=OPEN_LINES, context=CONTEXT, seed=st.integers(0, 99))
@settings(ANY, max_examples=5)
def test_any_messy_table(
    lines: list[str],
    open_lines: list[str],
    context: dict[str, object],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    whole, split = outcomes(lines, open_lines, context, seed, tmp_path_factory.mktemp("messy"))
    assert split == whole


@pytest.mark.soak
@given(lines=LINES, open_lines=OPEN_LINES, context=CONTEXT, seed=st.integers(0, 10**6))
@settings(ANY, max_examples=30)
def test_any_messy_table_at_length(
    lines: list[str],
    open_lines: list[str],
    context: dict[str, object],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    whole, split = outcomes(lines, open_lines, context, seed, tmp_path_factory.mktemp("messy"))
    assert split == whole
