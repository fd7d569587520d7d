"""Coarsening: what is less exact stays on its day, on its side of every cutoff, and nothing is lost by it."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import load_config
from behavior_tasks.base.tables import connect
from behavior_tasks.data.coarsen import Coarsening
from behavior_tasks.data.events import read_index
from behavior_tasks.data.request import Reader, ReaderSettings
from tests.data.stages import HEADER, events, run_to, seconds, write_log

ZONES = ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "America/Asuncion", "Australia/Lord_Howe"]
"""Among them half hours, clocks that skip midnight (Asuncion in October 2023), and half-hour changes of clocks."""
STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(hours=25)}


def coarse(instants: list[datetime], precision: str, zone: str) -> list[datetime]:
    sql = Coarsening.model_validate({"time_precision": precision}).columns(zone)["timestamp"]
    with connect() as connection:
        connection.execute("CREATE TABLE asked (n INTEGER, timestamp TIMESTAMP)")
        connection.executemany("INSERT INTO asked VALUES (?, ?)", list(enumerate(instants)))
        return [row[0] for row in connection.execute(f"SELECT {sql} FROM asked ORDER BY n").fetchall()]


def local(instant: datetime, zone: str) -> datetime:
    return instant.replace(tzinfo=UTC).astimezone(ZoneInfo(zone))


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("precision", list(STEPS))
def test_times_go_back_by_less_than_a_step_and_never_over_a_local_midnight(precision: str, zone: str) -> None:
    # Around both changes of the clocks, in steps that meet no round number.
    starts = [datetime(2023, 3, 10), datetime(2023, 3, 25), datetime(2023, 9, 30), datetime(2023, 10, 28)]
    starts += [datetime(2023, 11, 4), datetime(2023, 4, 1)]
    instants = sorted(start + timedelta(seconds=997 * n, microseconds=13) for start in starts for n in range(300))
    found = coarse(instants, precision, zone)
    assert found == sorted(found)
    for before, after in zip(instants, found, strict=True):
        assert timedelta() <= before - after < STEPS[precision]
        assert local(after, zone).date() == local(before, zone).date()
        if precision != "day":
            assert local(after, zone).replace(tzinfo=None).second == 0
    if precision == "day":
        assert len(set(found)) == len({local(instant, zone).date() for instant in instants})


DAYS = 40
ROWS = [
    f"u{n % 7},{action},p{n % 5},{seconds('2026-03-01T00:00:00') + day * 86_400 + n * 797},{20 + n % 50},F"
    for day in range(DAYS)
    for n, action in enumerate(["browse", "browse", "buy"] * 36)
]


def clean(tmp_path: Path, **privacy: object) -> Artifact:
    log = write_log(tmp_path / "log.csv", ROWS, f"{HEADER},age,gender")
    settings: dict[str, object] = {f"privacy.{name}": value for name, value in privacy.items()}
    return run_to("clean", log, tmp_path / "home", overrides={"examples.horizon_days": 5, **settings})


def test_a_day_as_the_only_time_loses_no_event_and_moves_no_window(tmp_path: Path) -> None:
    exact, daily = clean(tmp_path), clean(tmp_path, time_precision="day")
    assert daily.manifest.rows == exact.manifest.rows
    assert daily.facts["fit_until"] == exact.facts["fit_until"]
    assert daily.facts["last"][:13] == exact.facts["last"][:13]
    days = Counter((row[0], str(row[1])[:10]) for row in events(exact, "shopper, timestamp"))
    assert Counter((row[0], str(row[1])[:10]) for row in events(daily, "shopper, timestamp")) == days
    assert {str(row[0])[10:] for row in events(daily, "timestamp")} == {" 00:00:00"}
    # Orders are total still: the same log in another order of rows gives the same events.
    (tmp_path / "other").mkdir()
    log = write_log(tmp_path / "other" / "log.csv", ROWS[::-1], f"{HEADER},age,gender")
    overrides: dict[str, object] = {"examples.horizon_days": 5, "privacy.time_precision": "day"}
    turned = run_to("clean", log, tmp_path / "other" / "home", overrides=overrides)
    assert turned.manifest.content_hash == daily.manifest.content_hash


def test_ages_are_the_middle_of_their_band_and_genders_go(tmp_path: Path) -> None:
    done = clean(tmp_path, age_band_years=10, gender="drop")
    ages = {row[0] for row in events(done, "age")}
    assert ages == {25, 35, 45, 55, 65}
    assert {row[0] for row in events(done, "gender")} == {None}
    assert "gender" not in done.facts["present"]
    exact = clean(tmp_path)
    assert {row[0] for row in events(exact, "gender")} == {"f"}
    assert len({row[0] for row in events(exact, "age")}) > 40


def test_a_request_is_masked_and_coarsened_as_a_log_is(tmp_path: Path) -> None:
    header = f"{HEADER},age,gender,query,product_name"
    rows = [f"{row},mug jo@mail.org,for {n}: 13800138000" for n, row in enumerate(ROWS[:200])]
    log = write_log(tmp_path / "log.csv", rows, header)
    privacy = {"privacy.age_band_years": 20, "privacy.gender": "drop", "privacy.time_precision": "hour"}
    config = load_config("canonical", overrides=privacy)
    done = run_to("clean", log, tmp_path / "home", overrides=privacy)
    index = read_index(done)
    assert index is not None
    present = ["age", "gender", "query", "product_name"]
    reader = Reader.load(ReaderSettings.of(config.source, present, index, None), done.path)
    asked = pd.read_csv(log, dtype=str)
    with connect() as connection:
        reader.prepare(connection)
        request = reader.read(connection, asked, read_on=date(2026, 11, 23))
        reader.clean(connection, request, datetime(2026, 11, 1), "stored")
        columns = "timestamp, action, age, gender, query, product_name"
        served = connection.execute(f"SELECT {columns} FROM stored ORDER BY ALL").fetchall()
    assert served == events(done, columns)
    assert {row[4] for row in served} == {"mug *email"}
    assert served[0][5].endswith(": *phone")
