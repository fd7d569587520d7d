"""The stage `package`: finished models in; each as MLflow serves it, and whether that really works, out.

Every model is packaged, then loaded in a fresh process, asked with the raw events of test shoppers, compared with what
the evaluation says of them, timed, and asked once through MLflow's scoring server. The one thing to know: whatever
fails there is a fact (`problem` in `package.json`) for the gate to judge, no failure of the run.
"""

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from behavior_tasks.base.artifacts import ArtifactStore, Output, Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files
from behavior_tasks.data.parts import read_parts
from behavior_tasks.data.request import raw_rows
from behavior_tasks.data.side_tables import LoadedTable, load_side_tables, side_files
from behavior_tasks.model.event_folder import save_event_folder
from behavior_tasks.registry import store
from behavior_tasks.registry.package import PACKAGES, package_model

FACTS_FILE = "package.json"
SHOPPERS = 200
"""Test shoppers that are asked about."""
SINGLE = 10
"""Shoppers that are asked about one by one, to know how long an answer takes."""
TOLERANCE = 1e-6
"""Most by which a served probability may differ from the evaluation's."""
LIMIT_SECONDS = 600
FRESH_PROCESS = Path(__file__).with_name("fresh_process.py")
NOTHING_KNOWN: Mapping[str, Any] = {
    **{"loads": False, "serves": False, "problem": None, "examples": 0, "largest_difference": None},
    **{"latency_ms": None, "size_mb": None, "load_seconds": None},
}
log = logging.getLogger("behavior")


def package_stage(job: Job) -> Output:
    """Write `packages/candidate`, `packages/boosting` where there is one, and `package.json`."""
    models = {"candidate": job.inputs["train"], "boosting": job.inputs["baselines"]}
    models = {name: artifact for name, artifact in models.items() if (artifact.path / "model").is_dir()}
    told = pd.read_parquet(job.inputs["evaluate"].path / "predictions.parquet")
    sample = _sample(told)
    (job.out / PACKAGES).mkdir()
    with temporary_folder(job.home, "package") as folder:
        problem = _write_inputs(job, folder, sample)
        folders = {name: job.out / PACKAGES / name for name in models}
        problems = {
            name: problem or _package(artifact.path / "model", folder / "events", folders[name], artifact.uri)
            for name, artifact in models.items()
        }

        def check(name: str) -> dict[str, Any]:
            if problems[name] is not None:
                return {**NOTHING_KNOWN, "problem": problems[name]}
            return _check(folders[name], folder, sample, name) | {"size_mb": _size_mb(folders[name])}

        # Most of a check is the loading of libraries in a process of its own; the models' checks share that time.
        with ThreadPoolExecutor() as pool:
            facts = dict(zip(models, pool.map(check, models), strict=True))
    for name, fact in facts.items():
        if fact["problem"]:
            log.warning("package: the model %s can't be served as it is: %s", name, fact["problem"])
    (job.out / FACTS_FILE).write_text(json.dumps({"models": facts}, indent=2) + "\n", encoding="utf-8")
    good = sum(fact["problem"] is None for fact in facts.values())
    removed = {"unusable": len(facts) - good} if good < len(facts) else {}
    rows = Rows(unit_in="models", unit_out="models", rows_in=len(facts), rows_out=good, removed=removed)
    return Output(rows=rows, facts={"models": facts})


def _sample(told: pd.DataFrame) -> pd.DataFrame:
    """Return the test examples of some shoppers, the first by pseudonym, which is drawn by lot."""
    shoppers = sorted(told["shopper"].unique())[:SHOPPERS]
    return told[told["shopper"].isin(shoppers)]


def _write_inputs(job: Job, folder: Path, sample: pd.DataFrame) -> str | None:
    """Write the folder `events` and the sample's raw events; return why that is not possible, or None."""
    source = job.config.source
    try:
        products = _products(job)
        save_event_folder(
            folder / "events",
            source=source,
            examples=job.config.examples,
            clean=job.inputs["clean"],
            features=job.inputs["features"],
            products=products,
        )
    except UserError as error:
        return _one_line(error)
    artifacts = ArtifactStore(job.home.artifacts)
    parts = read_parts(job.inputs["ingest"].path)
    files = [file for part in parts for file in bucket_files(artifacts.open(part.uri).path / "runs")]
    raw_rows(files, sample["shopper"].unique().tolist(), source).to_parquet(folder / "raw.parquet")
    return None


def _products(job: Job) -> LoadedTable | None:
    if job.raw is None or not job.config.source.products.path:
        return None
    files = side_files(job.raw, job.config, job.home)
    return load_side_tables({"products": files["products"]}, job.config.source)["products"]


def _package(model: Path, events: Path, out: Path, uri: str) -> str | None:
    """Package a model; return why that is not possible, or None."""
    try:
        package_model(model, events, out, uri=uri)
    except UserError as error:
        return _one_line(error)
    except store.failures() as error:
        return str(error).splitlines()[0]
    return None


def _check(out: Path, folder: Path, sample: pd.DataFrame, name: str) -> dict[str, Any]:
    """Load, ask and serve a packaged model in a fresh process."""
    answers = folder / name
    answers.mkdir()
    as_of = pd.Timestamp(sample["cutoff"].iloc[0]).isoformat() + "Z"
    command = [
        sys.executable,
        "-P",
        str(FRESH_PROCESS),
        *map(str, (out, folder / "raw.parquet", answers)),
        as_of,
        str(SINGLE),
    ]
    hidden = ("PYTHONPATH", "BEHAVIOR_", "MLFLOW_")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1"}  # nothing is written into what it loads
    try:
        done = subprocess.run(
            command, env=environment, cwd=answers, capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS
        )
        problem = None if done.returncode == 0 else _last_words(done.stderr) or f"it ended with {done.returncode}"
    except subprocess.TimeoutExpired:
        problem = f"it did not answer within {LIMIT_SECONDS} seconds"
    facts: dict[str, Any] = {**NOTHING_KNOWN}
    if (answers / "answers.parquet").is_file():
        difference, lacking = _compare(pd.read_parquet(answers / "answers.parquet"), sample, name)
        facts |= {"loads": True, "examples": len(sample), "largest_difference": difference}
        if lacking:
            problem = problem or lacking
    if (answers / "measured.json").is_file():
        measured = json.loads((answers / "measured.json").read_bytes())
        served = measured.pop("served_difference") <= TOLERANCE
        facts |= {"serves": served, "latency_ms": measured["latency_ms"], "load_seconds": measured["load_seconds"]}
        problem = problem or (None if served else "the scoring server gives other answers than the model")
    return facts | {"problem": problem}


def _compare(answers: pd.DataFrame, sample: pd.DataFrame, name: str) -> tuple[float | None, str | None]:
    """Return the largest difference from the evaluation's probabilities, and what is wrong, if anything is."""
    keys = ["shopper", "product_id"] if "product_id" in answers else ["shopper"]
    expected = sample.assign(product_id=sample["example"].str.partition("#")[2])[[*keys, name]]
    joined = answers.rename(columns={"user_id": "shopper"})[[*keys, "probability"]].merge(expected, on=keys)
    if len(joined) != len(sample) or len(answers) != len(sample):
        return None, f"{len(answers)} answers for {len(sample)} examples, of which {len(joined)} agree on who is asked"
    difference = float((joined["probability"] - joined[name]).abs().max())
    if not difference <= TOLERANCE:
        return difference, f"its probabilities differ from the evaluation's by up to {difference:.2g}"
    return difference, None


def _size_mb(folder: Path) -> float:
    return round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20, 2)


def _last_words(text: str) -> str:
    """Return what a process said last: the error at the end of its traceback, or its last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if re.match(r"[\w.]+(Error|Exception): ", line)]
    return " ".join(" ".join(lines[errors[-1] if errors else -1 :]).split())[:500]


def _one_line(error: UserError) -> str:
    return " ".join(str(error).split())
