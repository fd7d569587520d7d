"""Sniffing: the proposal for a log nobody has described reads that log, and guesses nothing it can't know."""

import gzip
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from behavior_tasks.base.config import Config, load_config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.data.inputs import resolve_inputs
from behavior_tasks.data.sniff import Proposal, proposal_yaml, sniff
from behavior_tasks.data.sniff_time import likely_offset, time_format_of
from tests.data.public_logs import write_tianchi, write_tmall
from tests.data.stages import TODAY, real_log, run_to, seconds, write_log

REAL = {
    "rees46": "rees46_2019_oct_17k.csv.gz",
    "retailrocket": "retailrocket_sample_events.csv.gz",
    "taobao": "taobao_userbehavior_100k.csv.gz",
    "online_retail": "uci_online_retail.csv.gz",
}
MADE: dict[str, Callable[[Path], Path]] = {"tmall": write_tmall, "tianchi_mobile": write_tianchi}


def look(log: Path, home: Path, *, use_presets: bool = True) -> tuple[Proposal, dict[str, object]]:
    """Sniff a log; return the proposal and its settings as they are read back from the YAML."""
    (file,) = resolve_inputs(str(log), Config(), Home(home))
    proposal = sniff(file, today=TODAY, use_presets=use_presets)
    path = home / "mine.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(proposal_yaml(proposal, file), encoding="utf-8")
    loaded = load_config(file=path).source.model_dump(mode="json")
    return proposal, {f"source.{key}": value for key, value in loaded.items()}


def part_of(preset: str, folder: Path) -> Path:
    """The log of a preset; of the real ones the first lines and the very last, which may be cut."""
    if preset in MADE:
        return MADE[preset](folder)
    with gzip.open(real_log(REAL[preset]), "rt", encoding="utf-8", newline="") as stream:
        lines = stream.readlines()
    log = folder / "log.csv"
    log.write_text("".join([*lines[:4000], lines[-1]]), encoding="utf-8")
    return log


@pytest.mark.parametrize("preset", [*REAL, *MADE])
def test_the_preset_that_fits_is_found_and_the_proposal_ingests_the_log(preset: str, tmp_path: Path) -> None:
    log = part_of(preset, tmp_path)
    proposal, settings = look(log, tmp_path / "home")
    assert proposal.preset == preset
    assert proposal.unsure == []
    proposed = run_to("ingest", log, tmp_path / "home", overrides=settings).manifest
    by_preset = run_to("ingest", log, tmp_path / "home", preset=preset).manifest
    assert proposed.content_hash == by_preset.content_hash
    assert proposed.rows == by_preset.rows


@pytest.mark.parametrize("preset", REAL)
def test_without_presets_everything_is_told_from_the_file(preset: str, tmp_path: Path) -> None:
    log = part_of(preset, tmp_path)
    proposal, settings = look(log, tmp_path / "home", use_presets=False)
    known = load_config(preset).source
    wanted = {name: column for name, column in known.columns.items() if column is not None}
    assert settings["source.columns"] == wanted or settings["source.header"] == known.header
    assert proposal.shown is not None
    lenient = {**settings, "source.expected_reasons": known.expected_reasons}
    by_preset = run_to("ingest", log, tmp_path / "home", preset=preset).manifest
    proposed = run_to("ingest", log, tmp_path / "home", overrides=lenient).manifest
    # Only the stated period and the zone can't be told from a file.
    outside = by_preset.rows.removed.get("outside_period", 0)
    assert proposed.rows.rows_out == by_preset.rows.rows_out + outside
    if preset != "online_retail" and not outside:
        assert proposed.content_hash == by_preset.content_hash


def test_the_canonical_log_of_the_shop(tmp_path: Path) -> None:
    rows = [f"u{n},{'buy' if n % 9 == 0 else 'browse'},p{n % 7},{1_628_751_662 + n}" for n in range(99)]
    log = write_log(tmp_path / "log.csv", rows)
    proposal, settings = look(log, tmp_path / "home")
    assert proposal.preset == "canonical"
    assert run_to("ingest", log, tmp_path / "home", overrides=settings).manifest.rows.rows_out == 99


def rows_of_a_shop(count: int = 300) -> list[dict[str, str]]:
    words = ["Angesehen", "In-Den-Korb", "Page View", "Buy"]
    return [
        {
            "Kunde": "x", "Customer No": f"{n % 40:05d}", "Event": words[n % 4], "SKU": f"S{n % 60}",
            "Created At": f"{1 + n % 28:02d}.{1 + n % 10:02d}.2026 {n % 24:02d}:{n % 60:02d}", "Sex": "FM"[n % 2],
            "Age group": str(n % 7), "Brand": "Größe & Söhne" if n % 5 else "", "Unit Price": f"{n % 50}.99",
        }
        for n in range(count)
    ]  # fmt: skip


def written(rows: list[dict[str, str]], kind: str, path: Path) -> Path:
    log = path / f"shop.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), log)
    elif kind == "jsonl":
        log.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        lines = [";".join(rows[0]), *(";".join(row.values()) for row in rows)]
        content = "\r\n".join(lines).encode("cp1252")
        log.write_bytes(gzip.compress(content) if kind.endswith("gz") else content)
    return log


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "jsonl"])
def test_an_unknown_shop(kind: str, tmp_path: Path) -> None:
    log = written(rows_of_a_shop(), kind, tmp_path)
    proposal, settings = look(log, tmp_path / "home")
    assert proposal.preset is None
    assert settings["source.columns"] == {
        "user_id": "Customer No", "timestamp": "Created At", "action": "Event", "product_id": "SKU",
        "price": "Unit Price", "brand": "Brand", "age": "Age group", "gender": "Sex",
    }  # fmt: skip
    assert settings["source.time_format"] == "%d.%m.%Y %H:%M"
    assert settings["source.gender_codes"] == {"F": "female", "M": "male"}
    assert settings["source.actions"] == {"Page View": "browse", "Buy": "purchase"}
    if kind.startswith("csv"):
        assert (settings["source.delimiter"], settings["source.encoding"]) == (";", "cp1252")
    doubts = "\n".join(proposal.unsure)
    for said in ("Angesehen (75 rows)", "In-Den-Korb (75 rows)", "age_codes: 0, 1, 2, 3, 4, 5, 6", "timezone"):
        assert said in doubts
    assert proposal.shown is not None
    assert proposal.shown.removed == {"unknown_action": 150}
    settings["source.actions"] = {**settings["source.actions"], "angesehen": "click", "in den korb": "add_to_cart"}  # type: ignore[dict-item]
    assert run_to("ingest", log, tmp_path / "home", overrides=settings).manifest.rows.rows_out == 300


def test_ids_and_searches_are_masked_in_the_preview(tmp_path: Path) -> None:
    rows = [f"anna-{n % 3},search,,{1_628_751_662 + n},anna's address" for n in range(20)]
    proposal, _ = look(
        write_log(tmp_path / "log.csv", rows, "user_id,action,product_id,timestamp,query"), tmp_path / "h"
    )
    assert proposal.shown is not None
    assert [event["user_id"] for event in proposal.shown.events][:4] == [
        "shopper 1", "shopper 2", "shopper 3", "shopper 1",
    ]  # fmt: skip
    assert "anna" not in str(proposal.shown)


def test_a_headerless_file_is_told_by_the_shape_of_its_columns(tmp_path: Path) -> None:
    lines = [
        f"2026-03-{1 + n % 28:02d}T{n % 24:02d}:00:00Z|{'view' if n % 3 else 'order'}|{n % 50}|{n // 12:04d}|{n % 5}"
        for n in range(600)
    ]
    log = tmp_path / "log.txt"
    log.write_text("\n".join(lines), encoding="utf-8")
    _, settings = look(log, tmp_path / "home")
    assert settings["source.header"] == ["timestamp", "action", "product_id", "user_id", "category"]
    assert settings["source.delimiter"] == "|"
    assert run_to("ingest", log, tmp_path / "home", overrides=settings).manifest.rows.rows_out == 600


def test_days_without_a_year_get_the_latest_that_is_past(tmp_path: Path) -> None:
    rows = [f"u{n % 9},buy,p{n},{day}" for n, day in enumerate([829, 1101, 1122, 511] * 9)]
    proposal, settings = look(write_log(tmp_path / "log.csv", rows), tmp_path / "home")
    assert (settings["source.time_format"], settings["source.year"]) == ("%m%d", 2026)
    assert any("2026 is only a guess" in doubt for doubt in proposal.unsure)
    rows.append("u1,buy,p1,1224")
    assert look(write_log(tmp_path / "log.csv", rows), tmp_path / "home")[1]["source.year"] == 2025


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("hello\nworld\n", "is no table"),
        ("a,b\nx,y\nz,w\n", "no column that could be the timestamp"),
        ("{\nnothing\n", "is no table"),
    ],
)
def test_what_is_no_log_is_refused(content: str, problem: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=problem):
        look(log, tmp_path / "home")


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1511544070", "1511561733.25"], "unix_seconds"),
        (["1433193132535"], "unix_milliseconds"),
        (["2019-10-01 00:00:00 UTC", "2019-10-01T00:00:01Z"], "iso"),
        (["2014-12-06 02", "2014-12-31 23"], "%Y-%m-%d %H"),
        (["31/12/2025 23:59", "01/02/2026 00:00"], "%d/%m/%Y %H:%M"),
        (["12/31/2025 11:59 PM", "01/02/2026 01:00 AM"], "%m/%d/%Y %I:%M %p"),
        (["20251231", "20260102"], "%Y%m%d"),
        (["20251231235959"], "%Y%m%d%H%M%S"),
        (["1", "22", "333"], None),
        (["blue", "red"], None),
        ([], None),
    ],
)
def test_time_formats(cells: list[str], expected: str | None) -> None:
    told = time_format_of(cells)
    assert (told.time_format if told else None) == expected


def test_day_and_month_that_cannot_be_told_apart_are_said() -> None:
    told = time_format_of(["01/02/2026", "03/04/2026"])
    assert told is not None
    assert "no day above 12" in told.unsure


def test_the_zone_is_hinted_at_by_the_quiet_hours() -> None:
    day = seconds("2026-03-01T00:00:00")
    busy = [datetime(1970, 1, 1) + timedelta(seconds=day + 3600 * h + m) for h in range(24 * 4) for m in range(20)]
    busy += [t for t in busy if not 19 <= t.hour <= 21] * 5
    assert "20:00, as 4:00 would be at UTC+8" in likely_offset(busy)
    assert likely_offset(busy[:100]) == ""


def test_the_yaml_has_a_reason_for_every_column(tmp_path: Path) -> None:
    (file,) = resolve_inputs(str(written(rows_of_a_shop(), "csv", tmp_path)), Config(), Home(tmp_path / "home"))
    text = proposal_yaml(sniff(file, today=date(2026, 11, 23)), file)
    assert set(yaml.safe_load(text)) == {"source"}
    for name in yaml.safe_load(text)["source"]["columns"]:
        assert f"# {name}: " in text
