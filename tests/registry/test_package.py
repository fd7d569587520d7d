"""Packaged models: loaded in a fresh process, asked with raw events, served by MLflow, judged by the stage."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import load_model as load_pyfunc

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file
from behavior_tasks.model.predict import predict
from behavior_tasks.registry import package_stage as package_stage_module
from behavior_tasks.registry import tracking, versions
from behavior_tasks.registry.package import need_packaged, packaged_model
from behavior_tasks.registry.package_stage import package_stage
from behavior_tasks.text.tokens import TokenSet
from tests.registry.conftest import adopt
from tests.verdict.world import World, one, package_of

CONFIG = Config()


def raw(world: World) -> pd.DataFrame:
    """The world's events as somebody's application may hold them."""
    files = sorted((world.artifacts["clean"].path / "events").glob("*.parquet"))
    events = pd.concat(map(pd.read_parquet, files)).rename(columns={"shopper": "user_id"}).dropna(axis=1, how="all")
    return events.assign(timestamp=events["timestamp"].dt.tz_localize("UTC"))


def expected(world: World, model: Artifact) -> pd.DataFrame:
    """What the pipeline says of test: shopper, cutoff, probability, amount."""
    tokens = TokenSet.load(world.artifacts["encode"].path)
    rows = tokens.rows("test")
    told = predict(model.path / "model", tokens.sequences, rows, device="cpu", threads=2)
    table = tokens.index.iloc[rows][["example", "shopper", "cutoff", "label"]]
    return table.assign(probability=told.probability, amount=told.expected_amount)


def as_of(world: World) -> str:
    return world.artifacts["features"].facts["market"] + "Z"


SERVE = """
import json, sys
import mlflow, pandas as pd
from mlflow.exceptions import MlflowException
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/behavior@champion")
asked, params = pd.read_parquet(sys.argv[2]), {"as_of": sys.argv[3]}
answer = model.predict(asked, params=params)
assert answer.equals(model.predict(asked, params=params))
def refusal(table, **params):
    try:
        model.predict(table, params=params)
    except MlflowException as error:
        return [error.error_code, str(error)]
example = model.predict(model.input_example)
signature = model.metadata.signature
print(json.dumps({
    "answer": answer.to_dict("list"), "types": [str(kind) for kind in answer.dtypes],
    "example": example.to_dict("list"), "example in": list(model.input_example.columns),
    "no column": refusal(asked.drop(columns="product_id")), "no time": refusal(asked.assign(timestamp="soon")),
    "no instant": refusal(asked, as_of="soon"),
    "signature": signature.to_dict(), "code": sys.modules["behavior_tasks"].__file__,
    "training": "behavior_tasks.model.calibration" in sys.modules,
}))
"""


@pytest.mark.slow
def test_a_fresh_process_serves_the_champion_with_the_pipelines_answers(
    home: Home, world: World, tmp_path: Path
) -> None:
    told = expected(world, world.model(1))
    threshold = float(np.median(told["probability"]))
    model = adopt(world.model(1, threshold=threshold), home)
    tracking.start_tracking(home, CONFIG, run_id="night-1", name="night-1", tags={})
    versions.register(home, CONFIG, run_id="night-1", model=model, tags={})
    verdict = {"decision": "promote", "reason": "promote", "champion_version": None, "test_hash": "abc"}
    versions.promote(
        home,
        CONFIG,
        version="1",
        verdict=verdict | {"candidate": model.uri},
        run_id="night-1",
        who="nightly",
        when=datetime(2026, 11, 23, tzinfo=UTC),
    )
    shutil.rmtree(home.artifacts)
    raw(world).to_parquet(tmp_path / "asked.parquet")
    command = [sys.executable, "-c", SERVE, tracking.tracking_uri(home), str(tmp_path / "asked.parquet"), as_of(world)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    served = json.loads(found.stdout.splitlines()[-1])
    answer = pd.DataFrame(served["answer"])
    assert list(answer) == ["user_id", "probability", "expected_amount", "decision", "version"]
    assert served["types"][1:] == ["float64", "float64", "bool", served["types"][-1]]
    both = told.merge(answer, left_on="shopper", right_on="user_id", suffixes=("", "_served"), validate="one_to_one")
    assert len(both) == len(told) > 20
    np.testing.assert_allclose(both["probability_served"], both["probability"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(both["expected_amount"], both["amount"], rtol=1e-5)
    assert (answer["decision"] == (answer["probability"] >= threshold)).all()
    assert 0 < answer["decision"].sum() < len(answer)
    assert set(answer["version"]) == {"1"}
    # The example is made up and has no column that the log lacks.
    assert served["example in"] == ["user_id", "timestamp", "action", "product_id", "amount", "age", "gender"]
    assert served["example"]["user_id"] == ["a", "b"]
    assert served["no column"][0] == served["no time"][0] == served["no instant"][0] == "INVALID_PARAMETER_VALUE"
    assert "product_id" in served["no column"][1]
    assert "row 0: bad_timestamp, aaaa" in served["no time"][1]
    assert "as_of is no instant" in served["no instant"][1]
    inputs = json.loads(served["signature"]["inputs"])
    assert [c["name"] for c in inputs if c["required"]] == ["user_id", "timestamp", "action", "product_id"]
    assert json.loads(served["signature"]["params"])[0]["name"] == "as_of"
    assert [c["name"] for c in json.loads(served["signature"]["outputs"])] == list(answer)
    # The registered model brings its own code along, and nothing that only a training needs.
    assert Path(served["code"]).is_relative_to(home.mlflow / "artifacts")
    assert served["training"] is False


def test_a_model_without_numbers_and_amounts_is_packaged_as_such(world: World) -> None:
    train = world.model(1, amounts=False, numbers=False)
    served = load_pyfunc(str(packaged_model(package_of(train).path)))
    answer = served.predict(raw(world), params={"as_of": as_of(world)})
    assert answer["expected_amount"].isna().all()
    assert answer["probability"].between(0, 1).all()
    # Not loaded from a registry, it is called by its own key.
    assert set(answer["version"]) == {train.key[:12]}


def test_a_packaged_model_names_no_shopper_and_no_path(world: World) -> None:
    folder = packaged_model(package_of(world.model(1)).path)
    assert folder is not None
    held = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert not [path for path, content in held.items() if str(world.home.root).encode() in content]
    assert not [path for path, content in held.items() if b"p007" in content and path.suffix != ".py"]
    assert not [path for path in held if path.suffix in {".pkl", ".pyc"}]


def test_a_model_that_is_not_packaged_is_not_registered(world: World, home: Home) -> None:
    model = adopt(world.model(1), home)
    shutil.rmtree(home.artifacts / "package")
    with pytest.raises(UserError, match="not packaged"):
        need_packaged(model)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask about few shoppers one by one."""
    monkeypatch.setattr(package_stage_module, "SINGLE", 3)


# --- the stage -------------------------------------------------------------------------------------------------


def run_stage(world: World, model: Artifact, told: pd.DataFrame, **changes: Artifact) -> dict[str, Any]:
    """Run the stage with predictions as the evaluation would leave them; return its facts."""

    def ingest(job: Job) -> Any:
        (job.out / "runs").mkdir()
        files = sorted((world.artifacts["clean"].path / "events").glob("*.parquet"))
        for number, file in enumerate(files):
            shutil.copyfile(file, bucket_file(job.out / "runs", number))
        part = {"file": "log.csv", "rows_in": 1, "rows": 1, "first": None, "last": None, "days": {}, "present": []}
        uri = f"artifact://ingest/{job.key}"
        (job.out / "parts.json").write_text(json.dumps([{**part, "uri": uri}]))
        return one("rows", "rows")

    def evaluate(job: Job) -> Any:
        table = told.assign(candidate=told["probability"], candidate_amount=told["amount"], boosting=0.5)
        table.to_parquet(job.out / "predictions.parquet")
        return one("examples", "examples")

    inputs = {
        "train": model,
        "baselines": world.baselines(),
        "features": world.artifacts["features"],
        "clean": world.artifacts["clean"],
        "ingest": world.build("ingest", ingest),
        "evaluate": world.build("evaluate", evaluate, model, name=str(told["probability"].sum())),
        **changes,
    }
    artifact = world.build("package", package_stage, *inputs.values(), name=f"stage {sorted(changes)}")
    facts = json.loads((artifact.path / "package.json").read_bytes())["models"]
    assert artifact.facts["models"] == facts
    return facts


def test_the_stage_finds_that_a_good_model_loads_serves_and_says_the_same(world: World) -> None:
    model = world.model(1)
    facts = run_stage(world, model, expected(world, model))
    assert list(facts) == ["candidate"]  # the world's baselines hold no model folder
    told = facts["candidate"]
    assert (told["loads"], told["serves"], told["problem"]) == (True, True, None)
    assert told["largest_difference"] < 1e-6
    assert told["examples"] == len(expected(world, model))
    assert 0 < told["latency_ms"]["median"] <= told["latency_ms"]["p95"]
    assert told["load_seconds"] > 0
    assert 0.5 < told["size_mb"] < 50


@pytest.mark.slow
def test_the_stage_tells_of_other_scores(world: World) -> None:
    model = world.model(1)
    told = expected(world, model)
    facts = run_stage(world, model, told.assign(probability=told["probability"] + 0.001))["candidate"]
    assert facts["loads"]
    assert facts["largest_difference"] == pytest.approx(0.001, abs=1e-5)
    assert "differ from the evaluation's by up to 0.001" in facts["problem"]


@pytest.mark.slow
def test_a_model_that_does_not_load_is_a_fact_and_no_failure(world: World) -> None:
    def broken(job: Job) -> Any:
        shutil.copytree(world.model(1).path / "model", job.out / "model")
        (job.out / "model" / "model.safetensors").write_bytes(b"nothing")
        return one("examples", "models")

    model = world.build("train", broken, name="broken")
    facts = run_stage(world, model, expected(world, world.model(1)), train=model)["candidate"]
    assert (facts["loads"], facts["serves"]) == (False, False)
    assert "model.safetensors" in facts["problem"] or "can't be read" in facts["problem"]
    assert facts["latency_ms"] is None


# --- `mlflow models serve` -------------------------------------------------------------------------------------


@pytest.fixture
def served(world: World, tmp_path: Path) -> Iterator[str]:
    """The address of a packaged model that `mlflow models serve` serves."""
    folder = packaged_model(package_of(world.model(1)).path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
    log = tmp_path / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "-h", "127.0.0.1", "-p", str(port), "-w", "1"],
            stdout=stream,
            stderr=stream,
            cwd=tmp_path,
            # MLflow starts its server by name, which is found only where this Python's programs lie.
            env={**os.environ, "PATH": os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))},
            start_new_session=True,
        )
    try:
        limit = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
                break
            except (urllib.error.URLError, TimeoutError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < limit, log.read_text()
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        os.killpg(process.pid, 15)
        process.wait(timeout=30)


@pytest.mark.slow
def test_mlflow_serves_it_to_whoever_sends_json(served: str, world: World) -> None:
    def post(rows: pd.DataFrame, **params: str) -> tuple[int, Any]:
        body = {"dataframe_split": json.loads(rows.to_json(orient="split", date_format="iso", index=False))}
        request = urllib.request.Request(
            served,
            data=json.dumps({**body, "params": params}).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, json.load(response)["predictions"]
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    told = expected(world, world.model(1)).set_index("shopper")["probability"]
    events = raw(world)
    users = told.index[:3]
    status, answers = post(events[events["user_id"].isin(users)], as_of=as_of(world))
    assert status == 200
    assert {row["user_id"]: row["probability"] for row in answers} == pytest.approx(told[users].to_dict(), abs=1e-6)
    status, refused = post(events.head(3).assign(timestamp="soon"))
    assert status == 400
    assert "row 0: bad_timestamp, aaaa" in refused["message"]
