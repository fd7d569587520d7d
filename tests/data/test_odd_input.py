"""Odd input: rows cut short, strange bytes, strange clocks and strange shops cost what they must and nothing else."""

import random
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.events import hash_events, open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.ingest import ingest_stage
from behavior_tasks.data.keys import identity_key
from behavior_tasks.data.parts import read_parts
from tests.data.raw_files import at, random_rows, raw, watch_opened, write_rows
from tests.data.stages import HEADER, events, reasons, run_to, seconds, table, write_log
from tests.data.walk import walk
from tests.shop import run_until

NOON = seconds("2026-03-01T12:00:00")
LENIENT: dict[str, object] = {"source.max_bad_fraction": 1}
GOOD = [f"u{n},browse,p{n},{NOON}" for n in range(3)]
QUERY = f"{HEADER},query"
BAD = "wrong_column_count"
TALL = "\n".join("y" * 100)

ODD_FILES: dict[str, tuple[str, list[object], list[tuple[int, str]]]] = {
    "cut in a row": (f"{HEADER}\n{GOOD[0]}\nu1,browse,p", ["p0"], [(3, BAD)]),
    "cut after a row": (f"{HEADER}\n{GOOD[0]}\n{GOOD[1]}", ["p0", "p1"], []),
    "cut within quotes": (
        f'{QUERY}\n{GOOD[0]},\nu1,search,p1,{NOON},"two words\nand',
        ["p0"],
        [(3, "broken_quotes"), (4, BAD)],
    ),
    "three kinds of line ends": (
        f"{HEADER}\r\n{GOOD[0]}\n{GOOD[1]}\r{GOOD[2]}\r\n\r\n\n{GOOD[0]}x\n",
        ["p0", "p1", "p2"],
        [(7, "bad_timestamp")],
    ),
    "a byte order mark": (f"\ufeff{HEADER}\n{GOOD[0]}\n", ["p0"], []),
    "a mark and a quoted header": (
        f'\ufeff"user_id","action",product_id,timestamp\n{GOOD[0]}\n\ufeff{GOOD[1]}\n',
        ["p0", "p1"],
        [],
    ),
    "NUL bytes": (
        f"{HEADER}\n{GOOD[0]}\nu\0,browse,p,{NOON}\n\0\0\0\n",
        ["p0"],
        [(3, "bad_encoding"), (4, "bad_encoding")],
    ),
    "a field of 10 MB": (
        f'{HEADER}\n{GOOD[0]}\nu1,browse,{"x" * 10_000_000},{NOON}\nu1,browse,"{TALL}",{NOON}\n{GOOD[1]}\n',
        ["p0", "p1", TALL],
        [(3, "cell_too_long")],
    ),
    "a header again": (f"{HEADER}\n{GOOD[0]}\n{HEADER}\n{GOOD[1]}\n", ["p0", "p1"], [(3, "unknown_action")]),
    "times that overflow": (
        "\n".join([HEADER, GOOD[0], *(f"u1,browse,p1,{time}" for time in ("9" * 19, "9" * 400, "1e308", "-1", "inf"))]),
        ["p0"],
        [(line, "bad_timestamp") for line in range(3, 8)],
    ),
}
"""Text of the file, products of its events, lines and reasons of the rows in quarantine."""


@pytest.mark.parametrize("case", ODD_FILES)
def test_what_is_odd_stands_aside_and_the_rest_does_not(case: str, tmp_path: Path) -> None:
    text, products, aside = ODD_FILES[case]
    log = tmp_path / "log.csv"
    log.write_bytes(text.encode())
    ingested = run_to("ingest", log, tmp_path / "home", overrides=LENIENT)
    assert [row[0] for row in events(ingested, "product_id", "product_id")] == products
    assert reasons(ingested) == aside
    assert (ingested.path / "quarantine.parquet").stat().st_size < 100_000


def test_ids_are_kept_as_they_are_written(tmp_path: Path) -> None:
    ids = ["007", "7", "0", "Ä", "A\u0308", "客户", "👩‍💻", "u v", "u\u200bv", "1e5", "+7", "0x1f", "true", "ß", "SS"]
    rows = [raw(user, product=user, time=at(0)) for user in ids]
    cleaned = run_to("clean", write_rows(tmp_path / "log.csv", rows), tmp_path / "home")
    assert sorted(str(row[0]) for row in events(cleaned, "product_id")) == sorted(ids)
    assert len({row[0] for row in events(cleaned, "shopper")}) == len(ids)


CLOCKS = [
    # 01:30 is twice in London on that day, and both lie on it; 01:30 in March never was.
    ("Europe/London", ["2026-10-25 00:59:59", "2026-10-25 01:30:00", "2026-10-25 23:59:59"], {"2026-10-25": 3}),
    ("Europe/London", ["2026-03-29 00:00:00", "2026-03-29 01:30:00", "2026-03-29 23:59:59"], {"2026-03-29": 3}),
    # In São Paulo it was midnight itself that never was.
    ("America/Sao_Paulo", ["2018-11-03 23:59:59", "2018-11-04 00:30:00"], {"2018-11-03": 1, "2018-11-04": 1}),
    # Samoa left out a whole day when it moved over the date line.
    ("Pacific/Apia", ["2011-12-29 23:00:00", "2011-12-31 00:00:00"], {"2011-12-29": 1, "2011-12-31": 1}),
    ("Australia/Lord_Howe", ["2026-04-05 01:45:00", "2026-04-05 23:59:59"], {"2026-04-05": 2}),
]


@pytest.mark.parametrize(("zone", "times", "days"), CLOCKS)
@pytest.mark.parametrize("time_format", ["iso", "%Y-%m-%d %H:%M:%S"])
def test_days_are_local_over_every_change_of_clocks(
    time_format: str, zone: str, times: list[str], days: dict[str, int], tmp_path: Path
) -> None:
    log = write_log(tmp_path / "log.csv", [f"u1,browse,p{n},{time}" for n, time in enumerate(times)])
    settings = {"source.timezone": zone, "source.time_format": time_format}
    ingested = run_to("ingest", log, tmp_path / "home", overrides=settings)
    (part,) = read_parts(ingested.path)
    assert part.days == days
    instants = [row[0] for row in events(ingested, "timestamp", "product_id")]
    assert instants == sorted(instants)


def test_a_clock_that_jumps_back_and_forth_is_sorted_out(tmp_path: Path) -> None:
    rows = [raw(product=f"p{n}", time=at(n * 7 % 10, -n * n)) for n in range(10)]
    files = {"a.csv": rows, "b.csv": rows[::-1]}
    hashes = {
        hash_events(open_events(run_to("clean", write_rows(tmp_path / name, held), tmp_path / f"{name} home")))
        for name, held in files.items()
    }
    assert len(hashes) == 1


def test_a_file_that_grows_while_it_is_read_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = write_log(tmp_path / "log.csv", GOOD)
    read = []

    def read_and_grow(*given: object, **named: object) -> object:
        read.extend(original(*given, **named))
        with log.open("a", encoding="utf-8") as stream:
            stream.write("u99,browse,p1,1628751662\n")
        return read

    from behavior_tasks.data import ingest_part

    original = ingest_part.run_buckets
    with monkeypatch.context() as patch:
        patch.setattr(ingest_part, "run_buckets", read_and_grow)
        with pytest.raises(UserError, match=r"log\.csv changed while the run was reading it"):
            run_to("ingest", log, tmp_path / "home")
    assert read
    assert list((tmp_path / "home" / "artifacts" / "ingest-part").iterdir()) == []
    assert run_to("ingest", log, tmp_path / "home").manifest.rows.rows_out == 4


def test_a_file_that_comes_between_source_and_ingest_waits_for_the_next_run(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rows(log / "a.csv", [raw()])

    def late(job: Job) -> object:
        write_rows(log / "b.csv", [raw("u2")])
        with watch_opened(log) as opened:
            made = ingest_stage(job)
        assert opened == {"a.csv"}
        return made

    assert run_to("ingest", log, tmp_path / "home", work=late).manifest.rows.rows_in == 1  # type: ignore[arg-type]
    assert run_to("ingest", log, tmp_path / "home").manifest.rows.rows_in == 2


def test_files_that_disagree_are_named_and_another_order_is_no_disagreement(tmp_path: Path) -> None:
    log = tmp_path / "log"
    write_rows(log / "a.csv", [raw(price="5")])
    write_rows(log / "b.csv", [raw("u2", time=at(1))], ("timestamp", "product_id", "user_id", "action"))
    cleaned = run_to("clean", log, tmp_path / "home")
    assert events(cleaned, "user_id, price", "user_id") == [("u1", 5.0), ("u2", None)]
    write_rows(log / "c.csv", [raw()], ("user_id", "action", "product_id"))
    with pytest.raises(UserError, match=r"a\.csv and .*c\.csv disagree on their columns: .*c\.csv lacks timestamp"):
        run_to("clean", log, tmp_path / "home")


def write_one_shopper(path: Path, rows: int) -> Path:
    """One shopper's events, each on its own second of a year and with long search words, and a few others'."""
    query = f"""SELECT CASE WHEN range % 1000 = 0 THEN 'u' || range ELSE 'heavy' END AS user_id, 'browse' AS action,
        'p' || hash(range) % 5000 AS product_id, {NOON} - hash(range) % 31536000 AS timestamp,
        md5(range::VARCHAR) || md5((range + 1)::VARCHAR) || md5((range + 2)::VARCHAR) AS query FROM range({rows})"""
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute(f"COPY ({query}) TO {quote(path)} (FORMAT csv, HEADER)")
    return path


def clean_one_shopper(tmp_path: Path, rows: int) -> Artifact:
    log = write_one_shopper(tmp_path / "log.csv", rows)
    settings = {"engine.memory_mb": 256, "engine.buckets": 4, "clean.bot_events_per_day": 0}
    return run_to("clean", log, tmp_path / "home", overrides=settings)


def heaviest(cleaned: Artifact) -> int:
    """Return the events of the shopper with most, and check that no spilled file stayed in an artifact."""
    store = ArtifactStore(cleaned.path.parents[1])
    index = open_events(cleaned)[0].index
    assert index is not None
    assert not [name for a in (cleaned, *map(store.open, index.parts)) for name in a.manifest.files if ".work" in name]
    return int(str(events(cleaned, "shopper, count(*) OVER (PARTITION BY shopper)", "2 DESC LIMIT 1")[0][1]))


@pytest.mark.slow
def test_one_shopper_with_more_events_than_a_range_fits_into_little_memory(tmp_path: Path) -> None:
    cleaned = clean_one_shopper(tmp_path, 650_000)
    rows = cleaned.manifest.rows
    assert rows.rows_in == 650_000
    assert heaviest(cleaned) == rows.rows_out - 650


@pytest.mark.soak
def test_one_shopper_with_two_million_events(tmp_path: Path) -> None:
    cleaned = clean_one_shopper(tmp_path, 2_000_000)
    rows = cleaned.manifest.rows
    assert rows.rows_in == 2_000_000
    assert heaviest(cleaned) == rows.rows_out - 2000


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    return tmp_path / "home"


def test_one_product_for_all_goes_as_far_as_features(home: Path, tmp_path: Path) -> None:
    chance = random.Random(3)
    rows = [
        dict(row, product_id="only", action=chance.choice(("browse", "buy")))
        for row in random_rows(3, 3000, shoppers=200, days=60)
    ]
    made = walk(str(write_rows(tmp_path / "log.csv", rows)), "features", 1).artifact("features")
    assert made is not None
    assert made.manifest.rows.rows_out > 100
    assert made.manifest.content_hash


def test_a_log_of_bad_rows_only_is_kept_to_be_looked_at_until_it_is_accepted(home: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", [f"u{n},wishlist,p,{NOON}" for n in range(30)])
    with pytest.raises(UserError, match="30 of 30 rows") as caught:
        run_until("ingest", "bad", log=log)
    assert "behavior quarantine" in str(caught.value)
    rejects = home / "runs" / "bad" / "quarantine.parquet"
    aside = (
        connect()
        .execute(f"SELECT line, reason, found, shopper FROM read_parquet({quote(rejects)}) ORDER BY line")
        .fetchall()
    )
    key = identity_key(Home(home))
    assert aside == [(n + 2, "unknown_action", "wishlist", pseudonym(f"u{n}", key)) for n in range(30)]
    mapped = {"source.actions": {"wishlist": "browse"}}
    run_until("ingest", "other", log=log, overrides=mapped)
    # The other run has made what this one needs, so nothing is read when it is started again.
    assert run_until("ingest", "bad", log=log, overrides=mapped).record.run_id == "bad"
    assert not rejects.exists()


def test_local_days_of_the_whole_year_are_those_of_the_calendar(tmp_path: Path) -> None:
    hours = [datetime(2026, 1, 1, tzinfo=UTC).timestamp() + 3600 * n for n in range(24 * 300)]
    log = write_log(tmp_path / "log.csv", [f"u1,browse,p1,{int(hour)}" for hour in hours])
    ingested = run_to("ingest", log, tmp_path / "home", overrides={"source.timezone": "Europe/London"})
    (part,) = read_parts(ingested.path)
    # 24 hours a day, but 23 and 25 on the days of the clocks' change.
    assert {day: n for day, n in part.days.items() if n != 24} == {"2026-03-29": 23, "2026-10-25": 25}
    assert table(ingested, "quarantine.parquet") == []
