"""The same hashes of ordered rows, stage by stage, from local processes and from Spark, on every kind of log."""

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.base.spark import stop_spark
from behavior_tasks.data.keys import KEY_VARIABLE
from behavior_tasks.pipeline import open_run, run_stages, start_run
from tests.data.stages import real_log
from tests.shop import TINY, content_hashes

LOGS = {
    "taobao": ("taobao_userbehavior_100k.csv.gz", "taobao", "verbalize"),
    "uci": ("uci_online_retail.csv.gz", "online_retail", "verbalize"),
    "simulated": (None, "canonical", "verbalize"),
    # These two are samples of few days or buyers: there is nothing to learn from them, but enough to clean.
    "rees46": ("rees46_2019_oct_17k.csv.gz", "rees46", "clean"),
    "retailrocket": ("retailrocket_sample_events.csv.gz", "retailrocket", "clean"),
}
FEW = {"examples.min_shoppers": 2, "examples.min_buyers": 1, "examples.train_cutoffs": 1}
LONG = ("taobao", "uci")
"""Logs that take minutes."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*<socket.socket fd:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module", autouse=True)
def java() -> Iterator[None]:
    if shutil.which("java") is None:
        pytest.skip("there is no Java here")
    yield
    stop_spark()


def prepared(home: Path, name: str, **engine: object) -> dict[str, str | None]:
    """Run every stage up to the log's last one in a state folder of its own; return the hashes of their rows."""
    file, preset, last = LOGS[name]
    log = real_log(file) if file else None
    overrides = {**({} if log else TINY), **FEW, "engine.buckets": 3}
    if name == "taobao":
        overrides |= {"examples.horizon_days": 1, "examples.train_every_days": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(home))
        patch.setenv(KEY_VARIABLE, "ab" * 32)
        uri = start_run(
            "run",
            day=date(2026, 11, 23),
            trigger="command line",
            input_path=str(log) if log else None,
            preset=preset,
            overrides={**overrides, **{f"engine.{key}": value for key, value in engine.items()}},
        )
        run_stages(uri, until=last)
        hashes = content_hashes(open_run(uri))
    assert hashes[last]
    return hashes


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.soak if name in LONG else pytest.mark.slow) for name in LOGS]
)
def test_both_engines_write_the_same(name: str, tmp_path: Path) -> None:
    local = prepared(tmp_path / "local", name)
    spark = prepared(tmp_path / "spark", name, runner="spark", spark_master="local[2]")
    assert spark == local


@pytest.mark.soak
def test_executors_of_their_own_write_the_same(tmp_path: Path) -> None:
    local = prepared(tmp_path / "local", "retailrocket")
    spark = prepared(tmp_path / "spark", "retailrocket", runner="spark", spark_master="local-cluster[2,1,2048]")
    assert spark == local
