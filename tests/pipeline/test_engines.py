"""The same hashes of ordered rows, stage by stage, from local processes and from Spark, on every kind of log."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.spark import stop_spark
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.pipeline import STAGES, open_run, run_stage, start_run
from tests.data.stages import real_log
from tests.shop import TINY, content_hashes

LAST = "verbalize"
LOGS = {
    "taobao": ("taobao_userbehavior_100k.csv.gz", "taobao"),
    "uci": ("uci_online_retail.csv.gz", "online_retail"),
    "rees46": ("rees46_2019_oct_17k.csv.gz", "rees46"),
    "retailrocket": ("retailrocket_sample_events.csv.gz", "retailrocket"),
    "simulated": (None, "canonical"),
}
FEW = {
    "examples.min_shoppers": 2,
    "examples.min_buyers": 1,
    "examples.train_cutoffs": 1,
    "examples.train_every_days": 1,
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*<socket.socket fd:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    if shutil.which("java") is None:
        pytest.skip("there is no Java here")
    yield
    stop_spark()


def prepared(home: Path, log: Path | None, preset: str, **engine: object) -> dict[str, str | None]:
    """Run every stage up to the texts in a state folder of its own; return its hashes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        patch.setenv(KEY_VARIABLE, "ab" * 32)
        overrides = {**TINY, **FEW, "engine.buckets": 3, **{f"engine.{key}": value for key, value in engine.items()}}
        # A sample of some days has room for a short horizon only.
        overrides |= {"examples.horizon_days": 1} if log is not None and "uci" not in log.name else {}
        uri = start_run(
            "run",
            day=date(2026, 11, 23),
            trigger="command line",
            input_path=str(log) if log else None,
            preset=preset,
            overrides=overrides,
        )
        uris: dict[str, str] = {}
        for name, stage in STAGES.items():
            if name == "simulate" and log is not None:
                continue
            uris[name] = run_stage(name, uri, *(uris.get(i.removesuffix("?")) for i in stage.inputs))
            if name == LAST:
                break
        return content_hashes(open_run(uri))


@pytest.mark.parametrize("name", LOGS)
def test_both_engines_write_the_same(name: str, tmp_path: Path) -> None:
    file, preset = LOGS[name]
    log = real_log(file) if file else None
    local = prepared(tmp_path / "local", log, preset)
    spark = prepared(tmp_path / "spark", log, preset, runner="spark", spark_master="local[2]")
    assert LAST in local
    assert all(local[stage] for stage in ("ingest", "clean", "features", LAST))
    assert spark == local


def test_executors_of_their_own_write_the_same(tmp_path: Path) -> None:
    log = real_log("retailrocket_sample_events.csv.gz")
    local = prepared(tmp_path / "local", log, "retailrocket")
    spark = prepared(tmp_path / "spark", log, "retailrocket", runner="spark", spark_master="local-cluster[2,1,2048]")
    assert spark == local
