"""Spark gives what the local pool gives, in the same order, or says what is missing; slow tests start a real Spark."""

import gc
import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from behavior_tasks.base import progress, spark
from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.spark import spark_settings, start_spark, stop_spark
from tests.base.test_engine import refuse, slow_first

LOCAL = "local[2]"
SEPARATE = "local-cluster[2,1,2048]"
# pyspark leaves it to the garbage collector to close the sockets that it reads results from.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*<socket.socket fd:pytest.PytestUnraisableExceptionWarning"),
]


def engine(master: str = LOCAL, **conf: str) -> EngineConfig:
    return EngineConfig(runner="spark", spark_master=master, spark_conf=conf)


@pytest.fixture
def started() -> Iterator[None]:
    """Spark for one test; needs Java."""
    if shutil.which("java") is None:
        pytest.skip("there is no Java here")
    yield
    stop_spark()
    gc.collect()


def write_square(job: tuple[Path, int]) -> str:
    folder, number = job
    (folder / f"{number}.txt").write_text(str(number * number), encoding="utf-8")
    return f"{number} by {os.getppid()}"


def full(job: int) -> int:
    raise OSError(28, "No space left on device")


def broken(job: int) -> int:
    raise ZeroDivisionError(f"in bucket {job}")


def second_attempt(mark: Path) -> str:
    if mark.exists():
        return "done"
    mark.touch()
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


def half_a_second(job: int) -> int:
    time.sleep(0.5)
    return job


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_spark_gives_what_the_local_pool_gives(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupt = signal.getsignal(signal.SIGINT)
    jobs = [0, 3, 1, 2, 7]
    assert run_buckets(slow_first, jobs, engine=engine(), what="squares") == [0, 9, 1, 4, 49]
    assert signal.getsignal(signal.SIGINT) is interrupt
    assert run_buckets(slow_first, [], engine=engine(), what="nothing") == []
    session = start_spark(engine())
    assert start_spark(engine()) is session

    with pytest.raises(UserError) as refused:
        run_buckets(refuse, [1, 2], engine=engine(), what="refusals")
    assert str(refused.value) == str(UserError("bucket 1 is empty", found=0, expected=1, next_step="look"))
    with pytest.raises(OSError, match="No space left") as caught:
        run_buckets(full, [1], engine=engine(), what="full")
    assert caught.value.errno == 28
    with pytest.raises(Exception, match="ZeroDivisionError: in bucket 4"):
        run_buckets(broken, [4], engine=engine(), what="broken")

    caplog.set_level(logging.INFO, logger="behavior")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "LOG_EVERY_SECONDS", 0.2)
        assert run_buckets(half_a_second, list(range(8)), engine=engine(), what="halves", rows=800) == list(range(8))
    lines = [line for line in caplog.messages if line.startswith("halves: ")]
    assert any(" rows/s, about " in line for line in lines)
    assert not any(line.startswith(("halves: 9", "halves: 8 of 8, 0 ")) for line in lines)


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_executors_of_their_own_work_too(tmp_path: Path) -> None:
    jobs = [(tmp_path, number) for number in range(8)]
    done = run_buckets(write_square, jobs, engine=engine(SEPARATE), what="squares")
    assert [line.split()[0] for line in done] == [str(number) for number in range(8)]
    assert len({line.split()[-1] for line in done}) == 2, "two executors, each with Python processes of its own"
    assert [int(file.read_text()) for file in sorted(tmp_path.glob("*.txt"))] == [n * n for n in range(8)]
    with pytest.raises(UserError, match="bucket 1 is empty"):
        run_buckets(refuse, [1, 2], engine=engine(SEPARATE), what="refusals")
    # A lost process is Spark's to mend: the task is tried again.
    assert run_buckets(second_attempt, [tmp_path / "mark"], engine=engine(SEPARATE), what="again") == ["done"]


@pytest.mark.slow
@pytest.mark.usefixtures("started")
def test_a_master_that_is_not_there_is_the_users_to_mend() -> None:
    with pytest.raises(UserError, match=r"does not start with engine\.spark_master nonsense"):
        run_buckets(slow_first, [1], engine=engine("nonsense"), what="squares")
    assert run_buckets(slow_first, [2], engine=engine("local[1]"), what="squares") == [4], "and another one starts"


def test_without_java_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(spark, "_check_pyspark", lambda: None)
    with pytest.raises(UserError, match=r"no Java[\s\S]*Java 17 or newer[\s\S]*openjdk-17"):
        run_buckets(slow_first, [1], engine=engine(), what="squares")
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_392\"' >&2\n", encoding="utf-8")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"found: +Java 8\n"):
        run_buckets(slow_first, [1], engine=engine(), what="squares")


def test_without_pyspark_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(UserError, match=r"pyspark is not installed[\s\S]*behavior-tasks\[spark\]"):
        run_buckets(slow_first, [1], engine=engine(), what="squares")


def test_on_one_machine_only_that_machine_can_connect(tmp_path: Path) -> None:
    settings = spark_settings(engine(), tmp_path)
    assert settings["spark.driver.host"] == settings["spark.driver.bindAddress"] == "127.0.0.1"
    assert settings["spark.ui.enabled"] == "false"
    on_cluster = spark_settings(engine("yarn"), tmp_path)
    assert not {"spark.driver.host", "spark.driver.bindAddress", "spark.local.dir"} & set(on_cluster)


def test_the_configuration_wins_but_two_copies_of_a_task_never_run(tmp_path: Path) -> None:
    chosen = engine(**{"spark.ui.enabled": "true", "spark.executor.memory": "3g", "spark.speculation": "true"})
    settings = spark_settings(chosen, tmp_path)
    assert (settings["spark.ui.enabled"], settings["spark.executor.memory"]) == ("true", "3g")
    assert settings["spark.speculation"] == "false"
