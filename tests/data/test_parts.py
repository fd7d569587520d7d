"""Parts: a log of many files. No file is read twice, and how a log is cut into files changes no event."""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.data.events import hash_events, open_events
from tests.data.raw_files import RawRow, at, files_below, random_rows, raw, watch_opened, write_rows
from tests.data.stages import events, run_to, table

LENIENT: dict[str, object] = {"source.max_bad_fraction": 0.5}
Files = Mapping[str, Sequence[RawRow]]


def clean(log: Path, files: Files, home: Path, **overrides: object) -> Artifact:
    """Add files to a folder and clean all that is in it."""
    for name, rows in files.items():
        write_rows(log / name, rows)
    return run_to("clean", log, home, overrides={**LENIENT, **overrides})


def hashed(artifact: Artifact) -> str:
    return hash_events(open_events(artifact))


def parts(cleaned: Artifact) -> list[str]:
    """Return the artifact of each file's clean events."""
    index = open_events(cleaned)[0].index
    assert index is not None
    return index.parts


def days(first: int, last: int, rows: int = 30) -> dict[str, list[RawRow]]:
    """One file a day: each its own rows at its own time."""
    return {
        f"day-{day:02d}.csv": [raw(f"u{n % 7}", product=f"p{n}", time=at(day, 60 * n)) for n in range(rows)]
        for day in range(first, last)
    }


def test_tomorrows_file_adds_a_day_and_no_older_file_is_opened(tmp_path: Path) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    before = clean(log, days(0, 3), home)
    stages = [home / "artifacts" / name for name in ("ingest-part", "clean-part")]
    made = [files_below(folder) for folder in stages]
    write_rows(log / "day-03.csv", days(3, 4)["day-03.csv"])
    # `source` looks at the head of every file; from then on only the new one may be touched.
    assert run_to("source", log, home, overrides=LENIENT).manifest.rows.rows_out == 4
    with watch_opened(log) as opened:
        after = run_to("clean", log, home, overrides=LENIENT)
    assert opened == {"day-03.csv"}
    assert after.manifest.rows.rows_out == before.manifest.rows.rows_out + 30
    for folder, old in zip(stages, made, strict=True):
        new = files_below(folder)
        assert {name: new[name] for name in old} == old
        assert len({Path(name).parts[0] for name in new}) == 4
    assert set(parts(before)) < set(parts(after))
    assert hashed(after) == hashed(clean(tmp_path / "other", days(0, 4), tmp_path / "other home"))


def test_a_repeated_file_under_another_name_changes_nothing(tmp_path: Path) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    before = clean(log, days(0, 2), home)
    made = files_below(home / "artifacts" / "ingest-part")
    shutil.copy(log / "day-00.csv", log / "again.csv")
    after = run_to("clean", log, home, overrides=LENIENT)
    assert (hashed(after), after.manifest.rows) == (hashed(before), before.manifest.rows)
    assert parts(after) == parts(before)
    assert files_below(home / "artifacts" / "ingest-part") == made


def test_files_that_swap_their_names_are_not_cleaned_again(tmp_path: Path) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    rows = days(0, 1)["day-00.csv"]
    before = clean(log, {"a.csv": rows[:20], "b.csv": rows[10:]}, home)
    made = files_below(home / "artifacts" / "clean-part")
    (log / "a.csv").rename(log / "z.csv")
    after = run_to("clean", log, home, overrides=LENIENT)
    assert (parts(after), hashed(after)) == (parts(before), hashed(before))
    assert files_below(home / "artifacts" / "clean-part") == made


def test_a_late_file_with_older_days_leaves_the_files_of_other_days(tmp_path: Path) -> None:
    log, home = tmp_path / "log", tmp_path / "home"
    files = days(0, 5)
    late = {"late.csv": [*files["day-01.csv"][:10], *(raw("u9", product=f"late{n}", time=at(1, n)) for n in range(9))]}
    before = clean(log, {name: rows for name, rows in files.items() if name != "day-02.csv"}, home)
    after = clean(log, {"day-02.csv": files["day-02.csv"], **late}, home)
    # Only the day that the late file shares is cleaned again; another order of arrival gives the same.
    assert len(set(parts(before)) - set(parts(after))) == 1
    rows = after.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (169, 159, {"duplicate": 10})
    assert hashed(after) == hashed(clean(tmp_path / "other", {**late, **files}, tmp_path / "other home"))


@pytest.mark.parametrize("names", [("a.csv", "b.csv", "c.csv"), ("c.csv", "a.csv", "b.csv")])
def test_what_overlapping_exports_share_is_kept_once_whichever_came_first(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    rows = [raw(f"u{n % 5}", product=f"p{n}", time=at(n % 3, n)) for n in range(60)]
    exports = dict(zip(names, (rows[:40], rows[20:], rows[30:35]), strict=True))
    home = tmp_path / "home"
    for name, held in reversed(exports.items()):
        last = clean(tmp_path / "log", {name: held}, home)
    together = clean(tmp_path / "other", exports, tmp_path / "other home")
    alone = clean(tmp_path / "one", {"whole.csv": rows}, tmp_path / "one home")
    for cleaned in (last, together):
        counted = cleaned.manifest.rows
        assert (counted.rows_in, counted.rows_out, counted.removed) == (85, 60, {"duplicate": 25})
        assert hashed(cleaned) == hashed(alone)
        assert table(cleaned, "apart.parquet") == []


MIXED = ("00.csv", "01.csv.gz", "02.csv.zst", "03.parquet", "04.jsonl", "05.jsonl.gz", "06.jsonl.zst")


@pytest.mark.slow
def test_one_three_or_forty_files_of_any_kind_give_the_same_events(tmp_path: Path) -> None:
    rows = random_rows(seed=5, rows=600)
    settings = {"clean.outlier_min_group": 10, "clean.bot_events_per_day": 4, "clean.double_click_seconds": 3600}
    cuts = {
        "one": ["all.csv"],
        "three": ["a.csv.gz", "b.parquet", "c.jsonl"],
        "seven": MIXED,
        "forty": [f"{n:02d}.csv" for n in range(40)],
    }
    found = {}
    in_time = sorted(rows, key=lambda row: int(row["timestamp"]))
    for cut, names in cuts.items():
        # Every file holds every day, so all of them are neighbours; of forty, those that share a day.
        files = {name: rows[number :: len(names)] for number, name in enumerate(names)}
        if cut == "forty":
            files = {name: in_time[number * 15 : number * 15 + 15] for number, name in enumerate(names)}
        cleaned = clean(tmp_path / cut, files, tmp_path / f"{cut} home", **settings)
        found[cut] = (hashed(cleaned), cleaned.manifest.rows, table(cleaned, "apart.parquet"), cleaned.facts)
    assert found["one"][1].rows_out > 300
    assert set(found["one"][1].removed) == {"bot", "double_click", "duplicate"}
    for cut in cuts:
        assert found[cut] == found["one"], cut


def bots(cleaned: Artifact) -> list[tuple[object, ...]]:
    return table(cleaned, "apart.parquet", "reason, product_id, CAST(timestamp AS VARCHAR)", "timestamp")


def test_a_bots_day_is_local_and_counted_over_files_and_other_days_stay(tmp_path: Path) -> None:
    shanghai = {"clean.bot_events_per_day": 5, "source.timezone": "Asia/Shanghai"}
    # In Shanghai the day turns at 16:00 UTC: six events lie within one local day, but on two days of UTC.
    eve = [raw("bot", product=f"a{n}", time=at(0, 16 * 3600 + n)) for n in range(3)]
    day = [raw("bot", product=f"b{n}", time=at(1, n)) for n in range(3)]
    busy = [raw("busy", product=f"c{n}", time=at(1, 15 * 3600 + n)) for n in range(5)]
    next_day = [raw("bot", product=f"d{n}", time=at(1, 16 * 3600 + n)) for n in range(5)]
    log, home = tmp_path / "log", tmp_path / "home"
    # A repeated row is counted once, so five different events a day are no bot's.
    cleaned = clean(log, {"a.csv": [*eve, *busy, busy[0]], "b.csv": [*day, *next_day, *busy[:2]]}, home, **shanghai)
    rows = cleaned.manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (19, 10, {"bot": 6, "duplicate": 3})
    assert [row[:2] for row in bots(cleaned)] == [("bot", name) for name in ("a0", "a1", "a2", "b0", "b1", "b2")]
    assert bots(cleaned)[0][2] == "2026-03-01 16:00:00"
    later = [raw("busy", product=f"e{n}", time=at(3, n)) for n in range(10)]
    after = clean(log, {"c.csv": later}, home, **shanghai)
    assert set(parts(cleaned)) < set(parts(after))
    assert bots(after)[:6] == bots(cleaned)
    assert after.manifest.rows.removed == {"bot": 16, "duplicate": 3}
    off = clean(log, {}, home, **shanghai | {"clean.bot_events_per_day": 0})
    assert off.manifest.rows.removed == {"duplicate": 3}
    assert hashed(clean(log, {}, home, **shanghai | {"clean.bot_events_per_day": 10})) == hashed(off)


def test_double_clicks_within_and_across_files(tmp_path: Path) -> None:
    midnight = 86_400
    first = [raw(time=at(0, s)) for s in (0, 2, 3, 10)]
    second = [raw(time=at(0, 1)), raw(time=at(0, 11)), raw(action="click", time=at(0, 12)), raw("u2", time=at(0, 11))]
    # A twin before midnight does not count: a local day is judged by itself, however the log is cut.
    third = [raw(time=at(0, midnight - 1)), raw(time=at(0, midnight)), raw(time=at(0, midnight + 1))]
    files = {"a.csv": first, "b.csv": second, "c.csv": third[:1], "d.csv": third[1:]}
    settings: dict[str, object] = {"clean.double_click_seconds": 1}
    log, home = tmp_path / "log", tmp_path / "home"
    off = clean(log, files, home)
    assert (off.manifest.rows.rows_out, off.manifest.rows.removed) == (11, {"duplicate": 0})
    cleaned = clean(log, {}, home, **settings)
    seconds = "CAST(epoch(timestamp) AS BIGINT) - " + at(0)
    apart = table(cleaned, "apart.parquet", f"reason, action, {seconds}", "timestamp")
    assert apart == [("double_click", "browse", second) for second in (1, 2, 3, 11, midnight + 1)]
    kept = events(cleaned, f"user_id, action, {seconds} AS s", "s, user_id, action")
    assert [row[2] for row in kept] == [0, 10, 11, 12, midnight - 1, midnight]
    for number, cut in enumerate([{"all.csv": [row for rows in files.values() for row in rows]}, {"e.csv": second}]):
        whole = cut if number == 0 else {**files, **cut}
        again = clean(tmp_path / f"cut {number}", whole, tmp_path / f"home {number}", **settings)
        assert hashed(again) == hashed(cleaned)


def test_rows_are_conserved_from_file_to_clean_events(tmp_path: Path) -> None:
    rows = random_rows(seed=9, rows=500)
    files = {"a.csv": rows[:300], "b.jsonl": rows[200:400], "c.parquet": rows[350:], "d.csv": rows[:300]}
    settings = {
        "clean.bot_events_per_day": 6,
        "clean.double_click_seconds": 3600,
        "clean.missing": {"price": {"rule": "drop"}},
    }
    log, home = tmp_path / "log", tmp_path / "home"
    cleaned = clean(log, files, home, **settings)
    source, ingested = (run_to(name, log, home, overrides=LENIENT | settings) for name in ("source", "ingest"))
    assert source.manifest.rows.removed == {"repeated": 1}
    assert ingested.manifest.rows.rows_in == 300 + 200 + 150
    quarantined = table(ingested, "quarantine.parquet", "file, line", "file, line")
    assert len(quarantined) == len(set(quarantined)) == sum(ingested.manifest.rows.removed.values()) > 5
    assert ingested.manifest.rows.rows_out == cleaned.manifest.rows.rows_in == 650 - len(quarantined)
    removed = dict(cleaned.manifest.rows.removed)
    assert len(events(cleaned)) == cleaned.manifest.rows.rows_out
    assert cleaned.manifest.rows.rows_out + sum(removed.values()) == cleaned.manifest.rows.rows_in
    duplicates = removed.pop("duplicate")
    assert duplicates > 100
    assert Counter(row[0] for row in table(cleaned, "apart.parquet", "reason")) == removed
    assert set(removed) == {"bot", "double_click", "missing_price"}
