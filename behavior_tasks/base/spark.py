"""Spark as the engine: the jobs travel as rows, one job a task, and are worked in Python by `mapInArrow`.

In comes what `base.engine` was asked to run; out come the results in the order of the jobs. The one thing to know:
only jobs and results travel through Spark, so the files that a job names must lie on storage that every executor sees.
"""

import atexit
import itertools
import logging
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from behavior_tasks.base.config import EngineConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.progress import Meter, measure

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

Job = TypeVar("Job")
Result = TypeVar("Result")
JAVA_VERSION = 17
"""The oldest Java that Spark 4 runs on."""
POLL_SECONDS = 0.5
JOB_COLUMNS = "number bigint, job binary"
OUTCOME_COLUMNS = "number bigint, outcome binary"
_groups = itertools.count()


@dataclass(frozen=True, kw_only=True)
class _Started:
    """The session of this process, and what it was started with."""

    master: str
    conf: dict[str, str]
    folder: Path
    session: "SparkSession"


_started: _Started | None = None


def run_on_spark(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    engine: EngineConfig,
    what: str,
    rows: int | None = None,
) -> list[Result]:
    """Call a top-level function once a job, on Spark, and return the results in the order of the jobs.

    A failed task is tried again by Spark's own rules; a `UserError` or an `OSError` (a full disk) is an answer, not a
    failed task, and is raised here as it was raised there.

    Args:
        function: importable by name on every executor; reads and writes only what its job names.
        engine: master and further settings.
        what: description for the progress bar.
        rows: rows of all jobs together, where they are known.

    Raises:
        UserError: when pyspark or Java is missing, or Spark does not start.
    """
    if not jobs:
        return []
    session = start_spark(engine)
    context = session.sparkContext
    group = f"behavior-{next(_groups)}"
    # One job a partition, so that Spark can hand out, count and repeat each on its own.
    payloads = [(number, pickle.dumps((function, job))) for number, job in enumerate(jobs)]
    context.setJobGroup(group, what)
    try:
        with (
            measure(what=what, total=len(jobs), unit="rows", amount=rows) as meter,
            _watch(session, group, meter, rows),
        ):
            frame = session.createDataFrame(
                context.parallelize(payloads, numSlices=len(jobs)), JOB_COLUMNS, verifySchema=False
            )
            outcomes = frame.mapInArrow(_work, OUTCOME_COLUMNS).collect()
    except BaseException:
        # Nobody waits for the others any more, also after Ctrl-C.
        context.cancelJobGroup(group)
        raise
    results = []
    for row in sorted(outcomes, key=lambda row: row["number"]):
        fine, value = pickle.loads(row["outcome"])  # noqa: S301  # written by our own executors
        if not fine:
            raise value
        results.append(value)
    assert len(results) == len(jobs), f"{len(jobs)} jobs gave {len(results)} results"
    return results


def _work(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Work the jobs of one partition; runs on an executor."""
    for batch in batches:
        for number, payload in zip(batch.column("number").to_pylist(), batch.column("job").to_pylist(), strict=True):
            function, job = pickle.loads(payload)  # noqa: S301  # written by our own driver
            try:
                outcome = (True, function(job))
            except (UserError, OSError) as error:
                outcome = (False, error)
            numbers, outcomes = pa.array([number], pa.int64()), pa.array([pickle.dumps(outcome)], pa.binary())
            yield pa.RecordBatch.from_arrays([numbers, outcomes], names=["number", "outcome"])


@contextmanager
def _watch(session: "SparkSession", group: str, meter: Meter, rows: int | None) -> Iterator[None]:
    """Tell the meter, from a thread, how many tasks of a job group are done, until the block ends."""
    over = threading.Event()
    tracker = session.sparkContext.statusTracker()

    def look() -> None:
        while not over.wait(POLL_SECONDS):
            stages = [s for job in tracker.getJobIdsForGroup(group) for s in _stages(tracker.getJobInfo(job))]
            infos = [info for info in map(tracker.getStageInfo, stages) if info is not None]
            total = sum(info.numTasks for info in infos)
            if total:
                done = sum(info.numCompletedTasks for info in infos)
                meter(done, None if rows is None else rows * done / total)

    thread = threading.Thread(target=look, name=f"watch of {group}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _stages(job: object) -> list[int]:
    return list(getattr(job, "stageIds", ()))


def start_spark(engine: EngineConfig) -> "SparkSession":
    """Return this process's session for a master, starting it when there is none; another master's is stopped first.

    Raises:
        UserError: when pyspark or Java is missing, or Spark does not start.
    """
    global _started
    if _started is not None:
        if (_started.master, _started.conf) == (engine.spark_master, engine.spark_conf):
            return _started.session
        stop_spark()
    _check_pyspark()
    _check_java()
    folder = Path(tempfile.mkdtemp(prefix="behavior-spark-"))
    try:
        session = _start(engine, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    _started = _Started(master=engine.spark_master, conf=dict(engine.spark_conf), folder=folder, session=session)
    atexit.register(stop_spark)
    return session


def stop_spark() -> None:
    """Stop this process's session; nothing happens when there is none."""
    global _started
    atexit.unregister(stop_spark)
    if _started is not None:
        _started.session.stop()
        shutil.rmtree(_started.folder, ignore_errors=True)
        _started = None


def spark_settings(engine: EngineConfig, folder: Path) -> dict[str, str]:
    """Return the settings of a session: ours, then the configuration's, which win but for one.

    Args:
        folder: for Spark's own scratch files.
    """
    settings = {
        "spark.master": engine.spark_master,
        "spark.app.name": "behavior",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        # As local worker processes get it, so that the executors import the same modules.
        "spark.executorEnv.PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "spark.sql.execution.arrow.maxRecordsPerBatch": "1",
    }
    if engine.spark_master.startswith("local"):
        # Everything is on this machine, so nobody outside it can connect.
        settings |= {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.local.dir": str(folder / "scratch"),
        }
    # Two copies of one task would write the same file at the same time.
    return settings | engine.spark_conf | {"spark.speculation": "false"}


def _start(engine: EngineConfig, folder: Path) -> "SparkSession":
    from py4j.protocol import Py4JJavaError
    from pyspark import SparkConf, SparkContext
    from pyspark.errors import PySparkRuntimeError
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    settings = spark_settings(engine, folder)
    python = settings.get("spark.pyspark.python", sys.executable)
    os.environ |= {"PYSPARK_PYTHON": python, "PYSPARK_DRIVER_PYTHON": sys.executable}
    # Executors of `local-cluster` would otherwise work inside the installed package.
    os.environ["SPARK_WORKER_DIR"] = str(folder / "executors")
    conf = SparkConf().setAll(list(settings.items()))
    logging.getLogger("py4j").setLevel(logging.WARNING)
    interrupt = signal.getsignal(signal.SIGINT)
    spoken = folder / "spark.log"
    try:
        # Spark's own words go to a file: what matters of them comes back as an exception.
        with spoken.open("wb") as log:
            gateway = SparkContext._gateway or launch_gateway(conf, {"stderr": log, "stdout": log})
        return SparkSession(SparkContext(conf=conf, gateway=gateway))
    except (PySparkRuntimeError, Py4JJavaError) as error:
        words = spoken.read_text(encoding="utf-8", errors="replace").splitlines()
        said = [line for line in words if "WARN" not in line and line.strip()][-3:]
        raise UserError(
            f"Spark does not start with engine.spark_master {engine.spark_master}.",
            found="\n".join([str(error).splitlines()[0], *said]),
            expected="a master such as local[2], yarn or spark://host:7077 that can be reached from here",
            next_step="check engine.spark_master and engine.spark_conf, or set engine.runner to local",
        ) from error
    finally:
        # pyspark puts its own handler there; an interrupt that was ignored must stay ignored.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt)


def _check_pyspark() -> None:
    try:
        import pyspark  # noqa: F401
    except ImportError:
        raise UserError(
            "The engine is Spark, but pyspark is not installed.",
            expected="pyspark in this environment",
            next_step="pip install 'behavior-tasks[spark]', or set engine.runner to local",
        ) from None


def _check_java() -> None:
    found = _java_version()
    if found is None or found < JAVA_VERSION:
        raise UserError(
            "The engine is Spark, but there is no Java that it can run on.",
            found="no java in JAVA_HOME or on the PATH" if found is None else f"Java {found}",
            expected=f"Java {JAVA_VERSION} or newer",
            next_step=f"install it (Debian: apt-get install openjdk-{JAVA_VERSION}-jre-headless) and set JAVA_HOME, "
            "or set engine.runner to local",
        )


def _java_version() -> int | None:
    """Return the major version of the Java that Spark would take, or None."""
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=False).stderr
        if match := re.search(r'version "(?:1\.)?(\d+)', told):
            return int(match[1])
    return None
