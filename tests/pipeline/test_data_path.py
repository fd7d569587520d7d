"""The path from log to tokens: rows conserved, the future unseen, the order of rows without effect."""

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.events import open_events
from behavior_tasks.pipeline import Run
from tests.shop import content_hashes, run_until

AFTER_IDENTITIES = ("clean", "cutoffs", "features", "verbalize", "encode")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(path))
        yield path


@pytest.fixture(scope="module")
def simulated(home: Path) -> Run:
    return run_until("encode", "simulated")


@pytest.fixture(scope="module")
def log(simulated: Run) -> Path:
    return artifact(simulated, "simulate").path / "events.csv"


def artifact(run: Run, stage: str) -> Artifact:
    found = run.artifact(stage)
    assert found is not None
    return found


def rows(run: Run, stage: str, folder: str) -> list[tuple[object, ...]]:
    files = quote(artifact(run, stage).path / folder / "*.parquet")
    return connect().execute(f"SELECT * FROM read_parquet({files}) ORDER BY ALL").fetchall()


def clean_events(run: Run) -> list[tuple[object, ...]]:
    connection = connect()
    queries = [f"({bucket.sql()})" for bucket in open_events(artifact(run, "clean"))]
    return connection.execute(" UNION ALL ".join(queries)).fetchall()


def test_every_raw_row_is_an_event_or_stands_aside_with_a_reason(simulated: Run, log: Path) -> None:
    raw = len(log.read_text(encoding="utf-8").splitlines()) - 1
    ingest, clean = (artifact(simulated, s).manifest.rows for s in ("ingest", "clean"))
    assert ingest.rows_in == raw
    assert sum(ingest.removed.values()) > 0
    assert clean.removed["duplicate"] > 0
    assert ingest.rows_out == clean.rows_in
    quarantine = quote(artifact(simulated, "ingest").path / "quarantine.parquet")
    counted = connect().execute(f"SELECT reason, count(*) FROM read_parquet({quarantine}) GROUP BY 1").fetchall()
    assert dict(counted) == ingest.removed
    assert len(clean_events(simulated)) == clean.rows_out


def test_the_order_of_rows_and_the_simulator_play_no_part(simulated: Run, log: Path, tmp_path: Path) -> None:
    header, *lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    random.Random(1).shuffle(lines)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text(header + "".join(lines), encoding="utf-8")
    again = content_hashes(run_until("encode", "shuffled", log=shuffled))
    first = content_hashes(simulated)
    for stage in AFTER_IDENTITIES:
        assert again[stage] == first[stage], stage


def test_a_planted_future_changes_nothing_before_the_cutoff(simulated: Run, log: Path, tmp_path: Path) -> None:
    test = datetime.fromisoformat(artifact(simulated, "cutoffs").facts["windows"][-1]["cutoff"])
    shopper = log.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    planted = tmp_path / "planted.csv"
    seconds = int((test - datetime(1970, 1, 1)).total_seconds())
    canaries = "".join(
        f"{shopper},purchase,canary-{n},{seconds + n},1,{price},{price},canary,,33,female\n"
        for n, price in enumerate((7.0, 99999.0, 0.01))
    )
    planted.write_text(log.read_text(encoding="utf-8") + canaries, encoding="utf-8")
    run = run_until("verbalize", "planted", log=planted)

    columns = artifact(simulated, "features").facts["features"]
    query = f"SELECT example, {', '.join(columns)} FROM read_parquet({{}}) ORDER BY example"
    before, after = (
        connect().execute(query.format(quote(artifact(r, "features").path / "examples" / "*.parquet"))).fetchall()
        for r in (simulated, run)
    )
    assert before == after
    texts = [[(r[0], r[-1]) for r in rows(r_, "verbalize", "texts")] for r_ in (simulated, run)]
    assert texts[0] == texts[1]
    assert "canary" not in str(texts[1])
    labels = [{(r[0], r[4]) for r in rows(r_, "cutoffs", "examples")} for r_ in (simulated, run)]
    changed = labels[0] ^ labels[1]
    assert {example for example, _ in changed} <= {e for e, _ in labels[1] if str(e).endswith(str(test.date()))}


def test_the_same_event_a_moment_before_the_cutoff_is_seen(simulated: Run, log: Path, tmp_path: Path) -> None:
    test = datetime.fromisoformat(artifact(simulated, "cutoffs").facts["windows"][-1]["cutoff"])
    seconds = int((test - timedelta(seconds=1) - datetime(1970, 1, 1)).total_seconds())
    shopper = log.read_text(encoding="utf-8").splitlines()[1].split(",")[0]
    seen = tmp_path / "seen.csv"
    line = f"{shopper},browse,canary,{seconds},,,,,,33,female\n"
    seen.write_text(log.read_text(encoding="utf-8") + line, encoding="utf-8")
    run = run_until("features", "seen", log=seen)
    assert content_hashes(run)["features"] != content_hashes(simulated)["features"]


def test_nothing_after_identities_holds_a_raw_id(simulated: Run, log: Path, home: Path) -> None:
    ids = {line.split(",")[0] for line in log.read_text(encoding="utf-8").splitlines()[1:]} - {""}
    pseudonyms = {str(r[0]) for r in clean_events(simulated)}
    assert pseudonyms
    assert not ids & pseudonyms
    key = (home / "secrets" / "identity.key").read_text().strip()
    for stage in AFTER_IDENTITIES:
        folder = artifact(simulated, stage).path
        for file in folder.rglob("*.parquet"):
            names = [r[0] for r in connect().execute(f"DESCRIBE SELECT * FROM read_parquet({quote(file)})").fetchall()]
            assert "user_id" not in names
            if "query" in names:
                unmasked = (
                    f"SELECT count(*) FROM read_parquet({quote(file)}) WHERE query SIMILAR TO '.*(@|[0-9]{{4}}).*'"
                )
                assert connect().execute(unmasked).fetchall() == [(0,)]
            texts = connect().execute(f"SELECT * FROM read_parquet({quote(file)})").fetchall()
            assert not ids & {str(value) for row in texts for value in row}
        for file in folder.rglob("*.json"):
            content = file.read_text(encoding="utf-8")
            assert key not in content
            assert str(home) not in content
