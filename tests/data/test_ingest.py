"""Ingest: every row is an event or stands aside with its line, its reason and whose it is."""

import os
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact, ArtifactStore
from behavior_tasks.base.schema import PARSED_COLUMNS
from behavior_tasks.base.tables import bucket_files, connect, quote
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import KEY_VARIABLE, fingerprint
from behavior_tasks.data.parts import read_parts
from tests.data.stages import HEADER, events, real_log, reasons, run_to, seconds, table, write_log

NOON = seconds("2026-03-01T12:00:00")
GOOD = f"u1,browse,p1,{NOON}"
LENIENT: dict[str, object] = {"source.max_bad_fraction": 1}
FULL = f"{HEADER},quantity,price,amount,category,query,age,gender"


def ingest(tmp_path: Path, rows: list[str], header: str = HEADER, **options: object) -> Artifact:
    overrides = {**LENIENT, **options}
    preset = str(overrides.pop("preset", "canonical"))
    log = write_log(tmp_path / "log.csv", rows, header)
    return run_to("ingest", log, tmp_path / "home", preset=preset, overrides=overrides)


def test_the_table_has_exactly_the_canonical_columns(tmp_path: Path) -> None:
    row = f"007,buy,p1,{NOON},2,3.50,7,Toys, two words ,33,FEMALE"
    ingested = ingest(tmp_path, [row], FULL)
    (part,) = read_parts(ingested.path)
    made = ArtifactStore(ingested.path.parents[1]).open(part.uri)
    runs = quote(made.path / "runs/*.parquet")
    described = connect().execute(f"DESCRIBE SELECT * FROM read_parquet({runs})").fetchall()
    assert [(r[0], r[1]) for r in described] == [(c.name, c.type) for c in PARSED_COLUMNS]
    noon = datetime(2026, 3, 1, 12)
    assert events(ingested, f"user_id, {', '.join(c.name for c in PARSED_COLUMNS[1:])}", "timestamp") == [
        ("007", noon, "purchase", "p1", 2.0, 3.5, 7.0, "Toys", None, None, "two words", 33, "female")
    ]
    assert set(ingested.manifest.files) == {"parts.json", "quarantine.parquet"}
    assert set(made.manifest.files) == {"runs/0000.parquet", "quarantine.parquet"}
    assert ingested.facts == {
        "files": {"log.csv": {"rows": 1, "events": 1}},
        "first": "2026-03-01T12:00:00",
        "last": "2026-03-01T12:00:00",
        "actions": {"purchase": 1},
        "present": ["quantity", "price", "amount", "category", "query", "age", "gender"],
        "set_missing": {},
        "key_fingerprint": fingerprint(bytes.fromhex(os.environ[KEY_VARIABLE])),
    }


BAD_ROWS = [
    (f",browse,p1,{NOON}", "missing_user_id", "nothing"),
    (f"NULL,browse,p1,{NOON}", "missing_user_id", "nothing"),
    (f"u1,wishlist,p1,{NOON}", "unknown_action", "wishlist"),
    (f"u1,,p1,{NOON}", "unknown_action", "nothing"),
    (f"u1,browse,,{NOON}", "missing_product_id", "nothing"),
    ("u1,browse,p1,yesterday", "bad_timestamp", "aaaaaaaaa"),
    ("u1,browse,p1,", "bad_timestamp", "nothing"),
    ("u1,browse,p1,0", "bad_timestamp", "1970-01-01"),
    ("u1,browse,p1,-1e300", "bad_timestamp", "-9a999"),
    (f"u1,browse,p1,{NOON}000", "milliseconds_for_seconds", f"{NOON}000"),
    (f"u1,browse,p1,{seconds('2026-11-24T00:00:00')}", "timestamp_in_future", "2026-11-24"),
    (f"u1,browse,p1,{NOON},extra", "wrong_column_count", "5 columns instead of 4"),
    ("u1,browse,p1", "wrong_column_count", "3 columns instead of 4"),
    (f"u1,browse,p\0,{NOON}", "bad_encoding", "a NUL byte"),
    (f"u1,browse,{'p' * 200_000},{NOON}", "cell_too_long", "200000 characters in one cell"),
]
"""Row, reason, what is found."""


def test_a_bad_row_stands_aside_with_line_reason_and_whose_it_is(tmp_path: Path) -> None:
    ingested = ingest(tmp_path, [GOOD, *(row for row, _, _ in BAD_ROWS), GOOD])
    key = bytes.fromhex(os.environ[KEY_VARIABLE])
    nobody = {"missing_user_id", "wrong_column_count", "bad_encoding", "cell_too_long"}
    expected = [
        ("log.csv", line, reason, found, None if reason in nobody else pseudonym("u1", key))
        for line, (_, reason, found) in enumerate(BAD_ROWS, start=3)
    ]
    assert table(ingested, "quarantine.parquet", order="line") == expected
    rows = ingested.manifest.rows
    assert (rows.rows_in, rows.rows_out) == (len(BAD_ROWS) + 2, 2)
    assert rows.removed == Counter(reason for _, reason, _ in BAD_ROWS)


BAD_NUMBERS = [
    ("-1,5,", "negative_amount"),
    ("1,-0.01,", "negative_amount"),
    (",,-3", "negative_amount"),
    (",,1000000.01", "absurd_amount"),
    (",1e7,", "absurd_amount"),
    ("1001,1000,", "absurd_amount"),
    (",,free", "bad_number"),
    (",inf,", "bad_number"),
    ('1,"1,000",', "bad_number"),
]


def test_bad_numbers(tmp_path: Path) -> None:
    edge = f"u1,buy,p1,{NOON},1,1000000,1000000"
    rows = [edge, *(f"u1,buy,p1,{NOON},{numbers}" for numbers, _ in BAD_NUMBERS)]
    ingested = ingest(tmp_path, rows, f"{HEADER},quantity,price,amount")
    assert reasons(ingested) == [(line, reason) for line, (_, reason) in enumerate(BAD_NUMBERS, start=3)]
    assert table(ingested, "quarantine.parquet", "found", "line")[0] == ("quantity=-1, price=5",)


def test_the_last_second_of_the_day_of_reading_is_not_the_future(tmp_path: Path) -> None:
    last = seconds("2026-11-23T23:59:59")
    ingested = ingest(tmp_path, [f"u1,browse,p1,{last}.5", f"u1,browse,p1,{last + 1}"])
    assert ingested.facts["last"] == "2026-11-23T23:59:59.500000"
    assert reasons(ingested) == [(3, "timestamp_in_future")]


def test_lines_are_physical_lines_and_a_lost_quote_swallows_one_row_only(tmp_path: Path) -> None:
    rows = [
        f'u1,search,,{NOON},"two\nlines"',
        f'u1,search,,{NOON},"never closed',
        f"u1,search,,{NOON},fine",
        "",
        f'u1,search,,{NOON},"a ""quoted"" word"',
        f'u1,search,,{NOON},"closed" too early',
        f"u1,nothing,,{NOON},last",
    ]
    ingested = ingest(tmp_path, rows, f"{HEADER},query")
    assert events(ingested, "query") == [('a "quoted" word',), ("fine",), ("two\nlines",)]
    assert table(ingested, "quarantine.parquet", "line, reason", "line") == [
        (4, "broken_quotes"),
        (8, "broken_quotes"),
        (9, "unknown_action"),
    ]


def test_an_open_quote_that_closes_in_another_row_swallows_neither(tmp_path: Path) -> None:
    rows = [f'u1,"search,p1,{NOON},x', f'u2,search,p",{NOON},y']
    ingested = ingest(tmp_path, rows, f"{HEADER},query")
    assert events(ingested, "user_id, product_id, query") == [("u2", 'p"', "y")]
    assert table(ingested, "quarantine.parquet", "line, reason, found") == [(2, "broken_quotes", "a quote left open")]


def test_the_longest_prefix_wins_and_a_word_before_any_prefix(tmp_path: Path) -> None:
    prefixes = {"source.action_prefixes": {"c": "return", "CL": "click", "cli": "search"}}
    rows = [f"u{n},{word},p,{NOON}" for n, word in enumerate(("C12", "cl7", "Clif", "click"))]
    actions = events(ingest(tmp_path, rows, **prefixes), "action", "user_id")
    assert actions == [("return",), ("click",), ("search",), ("click",)]


def test_single_undecodable_rows_stand_aside_and_are_shown_in_bytes(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    good = "".join(f"u{n},browse,p1,{NOON}\n" for n in range(40)).encode()
    log.write_bytes(HEADER.encode() + b"\n" + good + f"u1,browse,caf\xe9,{NOON}\n".encode("latin-1"))
    ingested = run_to("ingest", log, tmp_path / "home")
    assert table(ingested, "quarantine.parquet") == [("log.csv", 42, "bad_encoding", "the byte \\xe9", None)]


WORDS = [
    ("Browse", "browse"),
    ("VIEW", "browse"),
    ("add-to-cart", "add_to_cart"),
    ("addtocart", "add_to_cart"),
    ("Add To Cart", "add_to_cart"),
    ("favorite", "favourite"),
    ("fav", "favourite"),
    ("buy", "purchase"),
    ("transaction", "purchase"),
    ("refund", "return"),
    ("look", "click"),
    ("order", "add_to_cart"),
]


def test_action_words(tmp_path: Path) -> None:
    own = {"source.actions": {"LOOK": "click", "order": "add_to_cart"}}
    rows = [f"u{n:02d},{word},p1,{NOON}" for n, (word, _) in enumerate(WORDS)]
    assert events(ingest(tmp_path, rows, **own), "action", "user_id") == [(action,) for _, action in WORDS]


@pytest.mark.parametrize(
    ("time_format", "timezone", "text", "instant"),
    [
        ("unix_seconds", "Asia/Shanghai", f"{NOON}", "2026-03-01T12:00:00"),
        ("unix_milliseconds", "UTC", f"{NOON}250", "2026-03-01T12:00:00.250000"),
        ("iso", "Asia/Shanghai", "2026-03-01 12:00:00", "2026-03-01T04:00:00"),
        ("iso", "Asia/Shanghai", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00"),
        ("iso", "UTC", "2026-03-01 12:00:00 UTC", "2026-03-01T12:00:00"),
        ("iso", "UTC", "2026-03-01T12:00:00+02:00", "2026-03-01T10:00:00"),
        ("%d.%m.%Y %H:%M", "Europe/Berlin", "01.07.2026 12:00", "2026-07-01T10:00:00"),
        ("%Y-%m-%d %H:%M:%S %z", "Europe/Berlin", "2026-03-01 12:00:00 +0800", "2026-03-01T04:00:00"),
        # Clocks go forward: 01:30 never was in London, and is read as 02:30 summer time.
        ("%Y-%m-%d %H:%M:%S", "Europe/London", "2026-03-29 01:30:00", "2026-03-29T01:30:00"),
        # Clocks go back: of the two 01:30 in London the second is meant.
        ("%Y-%m-%d %H:%M:%S", "Europe/London", "2026-10-25 01:30:00", "2026-10-25T01:30:00"),
        ("iso", "Europe/London", "2026-10-25 01:30:00", "2026-10-25T01:30:00"),
        ("%Y-%m-%d %H:%M:%S", "Europe/London", "2026-10-25 00:30:00", "2026-10-24T23:30:00"),
    ],
)
def test_times_become_utc(time_format: str, timezone: str, text: str, instant: str, tmp_path: Path) -> None:
    options = {"source.time_format": time_format, "source.timezone": timezone}
    assert ingest(tmp_path, [f"u1,browse,p1,{text}"], **options).facts["first"] == instant


def test_seconds_where_milliseconds_are_expected(tmp_path: Path) -> None:
    rows = [f"u1,browse,p1,{NOON}", f"u1,browse,p1,{NOON}000"]
    assert reasons(ingest(tmp_path, rows, **{"source.time_format": "unix_milliseconds"})) == [
        (2, "seconds_for_milliseconds")
    ]


def test_the_period_is_of_local_days(tmp_path: Path) -> None:
    times = ("2017-11-24T15:59:59", "2017-11-24T16:00:00", "2017-12-03T15:59:59", "2017-12-03T16:00:00")
    log = tmp_path / "log.csv"
    log.write_text("".join(f"1,2,3,pv,{seconds(t)}\n" for t in (*times, "2037-01-01T00:00:00")), encoding="utf-8")
    ingested = run_to("ingest", log, tmp_path / "home", preset="taobao")
    assert reasons(ingested) == [(1, "outside_period"), (4, "outside_period"), (5, "outside_period")]
    assert (ingested.facts["first"], ingested.facts["last"]) == times[1:3]


def test_ids_stay_text_and_only_a_whole_number_with_a_gap_loses_its_zero(tmp_path: Path) -> None:
    users = ("007", "17850.0", "17850", "0.0", "1.50", "a.0")
    rows = [f" {user} ,browse,{user},{NOON}" for user in users]
    got = events(ingest(tmp_path, rows), "user_id, product_id")
    kept = ("007", "17850", "17850", "0.0", "1.50", "a.0")
    assert got == sorted(zip(kept, users, strict=True))


def test_an_impossible_age_or_a_zero_quantity_costs_no_event(tmp_path: Path) -> None:
    values = [("0", 0), ("120", 120), ("33.0", 33), ("121", None), ("-1", None), ("old", None), ("", None)]
    rows = [f"u{n},buy,p1,{NOON},{age},{n % 2}" for n, (age, _) in enumerate(values)]
    ingested = ingest(tmp_path, [*rows, f"u1,nothing,p,{NOON},999,0"], f"{HEADER},age,quantity")
    assert events(ingested, "age, quantity", "user_id") == [(age, n % 2 or None) for n, (_, age) in enumerate(values)]
    assert ingested.facts["set_missing"] == {"age": 3, "quantity": 4}


RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def test_online_retail_invoices(tmp_path: Path) -> None:
    rows = [
        "536365,85123A,LIGHT,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom",
        "C536379,D,Discount,-1,2011-07-01 09:41:00,27.5,14527.0,United Kingdom",
        "A563186,B,Adjust bad debt,1,2011-08-12 14:51:00,-11062.06,17850.0,United Kingdom",
        "536414,22139,,-56,2010-12-01 11:52:00,0.0,17850.0,United Kingdom",
        "536415,22139,,56,2010-12-01 11:52:00,0.0,,United Kingdom",
    ]
    ingested = ingest(tmp_path, rows, RETAIL, preset="online_retail")
    assert events(ingested, "user_id, timestamp, action, product_id, quantity, price, amount", "timestamp") == [
        ("17850", datetime(2010, 12, 1, 8, 26), "purchase", "85123A", 6, 2.55, None),
        ("14527", datetime(2011, 7, 1, 8, 41), "return", "D", 1, 27.5, None),
    ]
    assert reasons(ingested) == [(4, "negative_amount"), (5, "negative_amount"), (6, "missing_user_id")]


def test_worker_processes_and_small_pieces_write_the_same_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [f"u{n % 7},browse,p{n},{NOON + n}" for n in range(200)]
    rows[50] = f'u50,search,"p, ""of""\ntwo lines",{NOON}'
    alone = ingest(tmp_path, [*rows, "u1,nothing,p,1"])
    monkeypatch.setattr("behavior_tasks.base.engine.ROWS_PER_WORKER", 1)
    monkeypatch.setattr("behavior_tasks.data.ingest_part.BYTES_A_ROW", 1)
    monkeypatch.setattr("behavior_tasks.data.ingest_part.PIECE_BYTES", 1000)
    other = tmp_path / "other"
    together = run_to("ingest", tmp_path / "log.csv", other, overrides={**LENIENT, "engine.workers": 2})
    (part,) = read_parts(together.path)
    assert len(bucket_files(ArtifactStore(other / "artifacts").open(part.uri).path / "runs")) > 3
    assert events(together) == events(alone)
    assert len(events(together)) == 200
    assert reasons(together) == reasons(alone) == [(203, "unknown_action")]


def test_taobao(tmp_path: Path) -> None:
    rows = run_to("ingest", real_log("taobao_userbehavior_100k.csv.gz"), tmp_path, preset="taobao").manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (100_001, 99_957, {"outside_period": 44})


@pytest.mark.slow
def test_online_retail(tmp_path: Path) -> None:
    rows = run_to("ingest", real_log("uci_online_retail.csv.gz"), tmp_path, preset="online_retail").manifest.rows
    assert (rows.rows_in, rows.rows_out, rows.removed) == (541_909, 406_829, {"missing_user_id": 135_080})
