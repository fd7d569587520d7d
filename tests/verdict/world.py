"""A small world for the tests of the verdict and the registry: real texts and tokens, models with random weights.

The events are made here, so that a test knows who buys; everything up to the tokens is made by the real stages.
The models are real bundles that nobody trained: evaluation and registry only need that they answer.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from behavior_tasks.base.artifacts import Artifact, ArtifactStore, Output, Rows
from behavior_tasks.base.config import Config
from behavior_tasks.base.home import Home
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, connect, write_parquet
from behavior_tasks.examples.cutoffs import cutoffs_stage
from behavior_tasks.examples.features import features_stage
from behavior_tasks.model.decision import Decision
from behavior_tasks.model.event_folder import save_event_folder
from behavior_tasks.model.network import Inputs, build_scratch, save_model
from behavior_tasks.model.numbers import fit_numbers
from behavior_tasks.registry.package import package_model
from behavior_tasks.text.encode import encode_stage
from behavior_tasks.text.tokens import TokenSet
from behavior_tasks.text.verbalize import verbalize_stage

CONFIG = Config.model_validate(
    {
        "examples": {"train_cutoffs": 2, "min_shoppers": 2, "min_buyers": 1},
        "text": {"last_events": 6},
        "model": {"size": "tiny", "vocabulary": 400, "max_tokens": 48},
        "train": {"device": "cpu", "threads": 1},
        "gate": {"bootstrap": 100},
        "engine": {"buckets": 2, "workers": 1, "min_free_disk_mb": 0},
    }
)
FIRST = datetime(2026, 1, 1)
DAYS, SHOPPERS = 50, 60
NAMES = ("prior", "logistic", "boosting")


@dataclass(frozen=True, kw_only=True)
class World:
    """A state folder with the artifacts from `clean` to `encode`."""

    home: Home
    store: ArtifactStore
    artifacts: Mapping[str, Artifact]

    def build(
        self,
        stage: str,
        work: Callable[[Job], Output],
        *inputs: Artifact,
        config: Config = CONFIG,
        name: str = "",
    ) -> Artifact:
        """Run a stage over finished artifacts; `name` parts artifacts that would else be the same."""

        def do(out: Path, key: str) -> Output:
            by_stage = {artifact.manifest.stage: artifact for artifact in inputs}
            return work(Job(config=config, inputs=by_stage, out=out, key=key, home=self.home, today=date(2026, 3, 1)))

        uris = {artifact.manifest.stage: artifact.uri for artifact in inputs}
        settings = config.model_dump(mode="json")
        return self.store.build(stage=stage, code=name, settings=settings, inputs=uris, work=do).artifact

    def model(
        self,
        seed: int,
        *,
        threshold: float = 0.5,
        verbalize: Artifact | None = None,
        amounts: bool = True,
        numbers: bool = True,
        architecture: Literal["gpt2", "bert"] = "gpt2",
    ) -> Artifact:
        """A train artifact whose weights are drawn with a seed."""
        text = verbalize or self.artifacts["verbalize"]

        def work(job: Job) -> Output:
            kind: dict[str, Any] = {"amounts": amounts, "numbers": numbers, "architecture": architecture}
            write_bundle(job.out / "model", self.artifacts["encode"], text, seed, **kind)
            calibration = {"calibration": "platt", "prior_offset": -0.1, "slope": 0.9, "intercept": 0.2}
            Decision.model_validate({"threshold": threshold, **calibration}).save(job.out / "model")
            epoch = {"epoch": 1, "step": 5, "train_loss": 0.7, "validation_average_precision": 0.3}
            (job.out / "metrics.jsonl").write_text(json.dumps(epoch) + "\n")
            return one("examples", "models")

        name = f"{seed} {threshold} {text.uri} {amounts} {numbers} {architecture}"
        return self.build("train", work, self.artifacts["encode"], self.artifacts["verbalize"], name=name)

    def baselines(self) -> Artifact:
        """Made-up predictions of the baselines for validation and test."""

        def work(job: Job) -> Output:
            index = pd.read_parquet(self.artifacts["encode"].path / "index.parquet")
            index = index[index["split"] != "train"]
            generator = np.random.default_rng(1)
            columns = {name: generator.random(len(index)) for name in NAMES[1:]}
            table = index[["example", "split"]].assign(prior=0.25, **columns)
            table.sample(frac=1, random_state=2).to_parquet(job.out / "predictions.parquet")
            facts = {"thresholds": {"prior": 0.25, "logistic": 0.5, "boosting": 0.6}}
            return Output(rows=one("examples", "models").rows, facts=facts)

        return self.build("baselines", work, self.artifacts["features"])

    def champion(self, model: Artifact | None, *, problem: str | None = None, version: str = "3") -> Artifact:
        """What `champion_stage` gives for a registered model, for none, or for one with a problem."""

        def work(job: Job) -> Output:
            if model is not None and problem is None:
                shutil.copytree(model.path / "model", job.out / "model")
            there = model is not None or problem is not None
            facts = {"version": version if there else None, "model": model and model.uri, "problem": problem}
            return Output(rows=one("champions", "champions").rows, facts=facts)

        return self.build("champion", work, name=f"{model and model.uri} {problem} {version}")


def package_of(model: Artifact) -> Artifact:
    """Package a world's model as the stage does, beside it in its store, once."""
    store = ArtifactStore(model.path.parents[1])
    clean, features = (store.find(name, next((store.root / name).iterdir()).name) for name in ("clean", "features"))

    def work(out: Path, key: str) -> Output:
        save_event_folder(
            out / "events", source=CONFIG.source, examples=CONFIG.examples, clean=clean, features=features
        )
        (out / "packages").mkdir()
        package_model(model.path / "model", out / "events", out / "packages" / "candidate", uri=model.uri)
        return one("models", "models")

    return store.build(stage="package", code="", settings={}, inputs={"train": model.uri}, work=work).artifact


def make_world(root: Path) -> World:
    """Make events of shoppers in two buckets and run the real stages up to `encode` over them."""
    home = Home(root)
    store = ArtifactStore(home.artifacts)
    home.artifacts.mkdir(parents=True)
    world = World(home=home, store=store, artifacts={})
    clean = world.build("clean", _write_events)
    cutoffs = world.build("cutoffs", cutoffs_stage, clean)
    features = world.build("features", features_stage, cutoffs, clean)
    verbalize = world.build("verbalize", verbalize_stage, features, clean)
    encode = world.build("encode", encode_stage, verbalize, features)
    made = (clean, cutoffs, features, verbalize, encode)
    return World(home=home, store=store, artifacts={artifact.manifest.stage: artifact for artifact in made})


def write_bundle(
    folder: Path,
    encode: Artifact,
    verbalize: Artifact,
    seed: int,
    *,
    amounts: bool,
    numbers: bool,
    architecture: Literal["gpt2", "bert"],
) -> None:
    """Write a self-contained model folder with random weights, large enough for answers that differ."""
    folder.mkdir(parents=True)
    shutil.copytree(encode.path / "tokenizer", folder / "tokenizer")
    shutil.copy(verbalize.path / "text.json", folder / "text.json")
    torch.manual_seed(seed)
    tokens = TokenSet.load(encode.path)
    fitted = fit_numbers(tokens.sequences.numbers[tokens.rows("train")], tokens.sequences.number_names)
    inputs = Inputs(numbers=fitted if numbers else None, amounts=amounts)
    settings = CONFIG.model.model_copy(update={"architecture": architecture})
    model = build_scratch(settings, vocabulary=tokens.encoding.vocabulary, inputs=inputs)
    torch.nn.init.normal_(model.purchase.weight, std=0.5)
    if numbers:
        torch.nn.init.normal_(model.fusion.wide.weight, std=0.2)
    save_model(model, folder, max_tokens=CONFIG.model.max_tokens)


def one(unit_in: str, unit_out: str) -> Output:
    """The output of a stage that makes one thing of one."""
    return Output(rows=Rows(unit_in=unit_in, unit_out=unit_out, rows_in=1, rows_out=1))


def _write_events(job: Job) -> Output:
    generator = np.random.default_rng(4)
    folder = job.out / "events"
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for shopper in range(SHOPPERS):
        for day in range(DAYS):
            if generator.random() < 0.4:
                action = generator.choice(["browse", "click", "purchase"], p=[0.5, 0.4, 0.1])
                rows.append(
                    {
                        "shopper": f"p{shopper:03d}",
                        "timestamp": FIRST + timedelta(days=day, hours=23 if day == DAYS - 1 else 9),
                        "action": action,
                        "product_id": f"product{generator.integers(8)}",
                        "amount": 10.0 if action == "purchase" else None,
                        "gender": "female" if shopper % 2 else "male",
                        "age": 30 + shopper % 20,
                    }
                )
    table = pd.DataFrame(rows)
    for column in SHOPPER_COLUMNS:
        if column.name not in table:
            table[column.name] = None
    with connect() as connection:
        connection.register("made", table)
        columns = ", ".join(f"CAST({c.name} AS {c.type}) AS {c.name}" for c in SHOPPER_COLUMNS)
        for bucket in range(2):
            mine = f"CAST(substr(shopper, 2) AS INTEGER) % 2 = {bucket}"
            query = f"SELECT {columns} FROM made WHERE {mine} ORDER BY ALL"
            write_parquet(connection, query, bucket_file(folder, bucket))
    facts = {
        "first": table["timestamp"].min().isoformat(),
        "last": table["timestamp"].max().isoformat(),
        "actions": {str(k): int(n) for k, n in table["action"].value_counts().items()},
        "present": ["amount", "gender", "age"],
        "key_fingerprint": "none",
    }
    rows_out = len(table)
    return Output(rows=Rows(unit_in="rows", unit_out="rows", rows_in=rows_out, rows_out=rows_out), facts=facts)
