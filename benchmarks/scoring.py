"""Score every shopper of a simulated shop, and score them with `transformers.pipeline` and the same network.

    python benchmarks/scoring.py                     9,000 shoppers: about a million events
    python benchmarks/scoring.py --shoppers 100 --repeats 1

Both sides have the same backbone, tokenizer, texts and threads; the weights are random, on which no time depends. The
pipeline's network is a GPT2ForSequenceClassification, which has the purchase head alone, so its probabilities are
compared with those of a bundle that has that head alone too; the line "with all heads" is the full network with its
numbers and amounts. Each line is the best of some repeats, each in a process of its own.
"""

import argparse
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from fresh import Measured, run_step

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.config import Config, ModelConfig
from behavior_tasks.base.home import HOME_VARIABLE
from behavior_tasks.pipeline import open_run, run_stages, start_run
from behavior_tasks.text.tokens import TokenSet

STEPS = Path(__file__).with_name("scoring_steps.py")
UNTIL = "encode"
NOT_NEEDED = ("report", "doctor")
SCORE_STD = 0.5
"""Spread of the purchase head's random weights: enough for probabilities that differ."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is scored: folders and files below a temporary folder."""

    root: Path
    encoded: Path
    settings: ModelConfig

    @property
    def inputs(self) -> Path:
        """Parts and numbers of the test examples."""
        return self.root / "inputs.parquet"


def prepare(root: Path, shoppers: int) -> Case:
    """Make the shop and its tokens, the two bundles and the checkpoint for the pipeline."""
    os.environ[HOME_VARIABLE] = str(root / "state")
    overrides = {"simulate.shoppers": shoppers, "simulate.rollouts": 10}
    uri = start_run("benchmark-scoring", day=date(2026, 11, 24), trigger="inspection", overrides=overrides)
    run, made = open_run(uri), run_stages(uri, until=UNTIL, without=NOT_NEEDED)
    artifacts = {name: run.store.open(of) for name, of in made.items()}
    case = Case(root=root, encoded=artifacts["encode"].path, settings=Config().model)
    _write_inputs(case, artifacts)
    write_bundle(case, "purchase", all_heads=False)
    write_bundle(case, "all", all_heads=True)
    _write_checkpoint(case)
    return case


def _write_inputs(case: Case, artifacts: dict[str, Artifact]) -> None:
    tokens = TokenSet.load(case.encoded)
    examples = tokens.index["example"].iloc[tokens.rows("test")]
    texts = pd.read_parquet(artifacts["verbalize"].path / "texts", columns=["example", "parts"]).set_index("example")
    names = list(tokens.sequences.number_names)
    features = pd.read_parquet(artifacts["features"].path / "examples", columns=["example", *names])
    features = features.set_index("example").astype("float64")
    texts.loc[examples].join(features).reset_index(drop=True).to_parquet(case.inputs)


def write_bundle(case: Case, name: str, *, all_heads: bool) -> None:
    """Write a bundle with random weights into the case's folder."""
    import torch

    from behavior_tasks.model.decision import Decision
    from behavior_tasks.model.network import Inputs, build_scratch, save_model
    from behavior_tasks.model.numbers import fit_numbers

    folder, tokens = case.root / name, TokenSet.load(case.encoded)
    shutil.copytree(case.encoded / "tokenizer", folder / "tokenizer")
    numbers = fit_numbers(tokens.sequences.numbers[tokens.rows("train")], tokens.sequences.number_names)
    torch.manual_seed(7)
    inputs = Inputs(numbers=numbers if all_heads else None, amounts=all_heads)
    model = build_scratch(case.settings, vocabulary=tokens.encoding.vocabulary, inputs=inputs)
    torch.nn.init.normal_(model.purchase.weight, std=SCORE_STD)
    save_model(model, folder, max_tokens=case.settings.max_tokens)
    Decision(threshold=0.5).save(folder)


def _write_checkpoint(case: Case) -> None:
    """Write the bundle with the purchase head alone in the form that `transformers.pipeline` reads."""
    from transformers import AutoTokenizer, GPT2ForSequenceClassification

    from behavior_tasks.model.network import load_model

    model = load_model(case.root / "purchase")
    tokenizer = AutoTokenizer.from_pretrained(case.root / "purchase" / "tokenizer", truncation_side="left")
    config = model.backbone.config
    config.num_labels, config.pad_token_id = 1, tokenizer.pad_token_id
    same = GPT2ForSequenceClassification(config)
    same.transformer.load_state_dict(model.backbone.state_dict())
    same.score.weight.data = model.purchase.weight.data
    same.save_pretrained(case.root / "checkpoint")
    tokenizer.save_pretrained(case.root / "checkpoint")


def lines(case: Case, threads: int) -> list[tuple[str, str, dict[str, Any]]]:
    """Return what is measured: the words of its line, the step and its arguments."""
    common = {"threads": threads}
    pipe = {**common, "checkpoint": case.root / "checkpoint", "inputs": case.inputs}
    pipe["max_tokens"] = case.settings.max_tokens
    texts = {**common, "bundle": case.root / "purchase", "inputs": case.inputs}
    tokens = {**common, "encoded": case.encoded}
    return [
        ("transformers.pipeline, default settings", "from_pipeline", {**pipe, "batch_size": 1}),
        ("transformers.pipeline, batch_size=32", "from_pipeline", {**pipe, "batch_size": 32}),
        ("whole texts", "from_texts", texts),
        ("texts in parts", "from_parts", texts),
        ("tokens", "from_tokens", {**tokens, "bundle": case.root / "purchase"}),
        ("texts in parts, with all heads", "from_parts", {**texts, "bundle": case.root / "all"}),
        ("tokens, with all heads", "from_tokens", {**tokens, "bundle": case.root / "all"}),
    ]


def measure(case: Case, threads: int, repeats: int) -> None:
    """Measure the lines in turn, and print a Markdown table of the best of each."""
    told: dict[str, list[Measured]] = {}
    answers: dict[str, np.ndarray] = {}
    for _ in range(repeats):
        for words, step, arguments in lines(case, threads):
            out = case.root / "probabilities.npy"
            told.setdefault(words, []).append(run_step(step, script=STEPS, out=out, **arguments))
            answers[words] = np.load(out)
    base = next(iter(told))
    seconds = {words: min(measured.seconds for measured in runs) for words, runs in told.items()}
    print("| way | seconds | CPU seconds | examples/s | times the default pipeline | peak MB | largest difference |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for words, runs in told.items():
        same_heads = "all heads" not in words
        difference = f"{np.abs(answers[words] - answers[base]).max():.1e}" if same_heads else "other heads"
        print(
            f"| {words} | {seconds[words]:.2f} | {min(run.answer['cpu_seconds'] for run in runs):.2f} "
            f"| {len(answers[words]) / seconds[words]:,.0f} "
            f"| {seconds[base] / seconds[words]:.1f} | {max(run.peak_mib for run in runs):,.0f} | {difference} |"
        )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Score every shopper of a shop, beside transformers.pipeline.")
    parser.add_argument("--shoppers", type=int, default=9000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of every line; the best counts")
    arguments = parser.parse_args()
    # For both sides, as every command here does: threads that spin while they wait ruin each other.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with tempfile.TemporaryDirectory() as folder:
        measure(prepare(Path(folder), arguments.shoppers), arguments.threads, arguments.repeats)


if __name__ == "__main__":
    main()
