"""Measure how well unusual shoppers are found, on planted anomalies whose truth is known; print the result as Markdown.

    python benchmarks/risk.py --out /tmp/risk                      a simulated shop of 3,000, trained, planted, measured
    python benchmarks/risk.py --out /tmp/uci --data uci --input-folder data        no truth: the head of the list
    python benchmarks/risk.py --out /tmp/taobao --data taobao --input-folder data  the same, without prices

The model is trained on the log as it was, the anomalies are planted into its last week, and every method ranks the
same shoppers of that week, held against the week before. The one thing to know: the method that is served was chosen
on the kinds TUNED, in other shops; of HELD_BACK nothing was looked at before.
"""

import argparse
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from behavior_tasks.base.application_config import RiskConfig
from behavior_tasks.base.home import HOME_VARIABLE, Home
from behavior_tasks.cli.options import parse_settings
from behavior_tasks.data.anomalies import HELD_BACK, TUNED, plant_anomalies, read_log
from behavior_tasks.data.events import open_events
from behavior_tasks.data.identities import pseudonym
from behavior_tasks.data.keys import identity_key
from behavior_tasks.model.surprise import SurpriseReader
from behavior_tasks.pipeline import Run, open_run, run_stages, start_run
from behavior_tasks.serve.moment import Moment, moment_at
from behavior_tasks.serve.risk import FEWEST_REFERENCE
from behavior_tasks.serve.risk_measure import Language, measure_buckets
from behavior_tasks.serve.risk_rules import Window
from behavior_tasks.serve.risk_scores import METHODS, Reference
from behavior_tasks.serve.risk_words import phrase_words, rule_words
from behavior_tasks.text.settings import TextSettings

DAY = date(2026, 11, 25)
SKIPPED = ("report",)
SETTINGS: Mapping[str, object] = {"train.epochs": 2}
FILES = {
    "uci": ("online_retail", "uci_online_retail.csv.gz", {"examples.train_cutoffs": 2, "model.size": "tiny"}),
    "taobao": ("taobao", "taobao_userbehavior_100k.csv.gz", {"model.size": "tiny"}),
}
HEAD = 10
"""Shoppers shown of a log without truth."""


def main() -> None:
    """Train, plant, measure, print."""
    arguments = _arguments()
    os.environ[HOME_VARIABLE] = str(arguments.out / "home")
    own = parse_settings(arguments.set)
    if arguments.data != "simulated":
        preset, file, settings = FILES[arguments.data]
        run = _train(arguments.data, preset, {**SETTINGS, **settings, **own}, str(arguments.input_folder / file))
        _show_head(run, _language(run))
        return
    simulated = {"simulate.shoppers": arguments.shoppers, "simulate.seed": arguments.seed, **SETTINGS, **own}
    run = _train("trained", "canonical", simulated, None)
    log = arguments.out / "planted.csv"
    made = run.artifact("simulate")
    assert made is not None
    planted = plant_anomalies(read_log(made.path / "events.csv"), shoppers=arguments.planted, seed=arguments.seed)
    planted.log.to_csv(log, index=False)
    uri = start_run(f"planted-{arguments.seed}", day=DAY, trigger="inspection", input_path=str(log), overrides=own)
    run_stages(uri, until="clean", without=SKIPPED)
    key = identity_key(Home(arguments.out / "home"))
    kinds = pd.Series(planted.truth["kind"].to_numpy(), [pseudonym(user, key) for user in planted.truth["user_id"]])
    measured = _score(open_run(uri), _language(run), RiskConfig())[1]
    _print_figures(measured.set_index("shopper")[list(METHODS)], kinds, arguments.seed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the state folder and the planted log")
    parser.add_argument("--data", choices=("simulated", *FILES), default="simulated")
    parser.add_argument("--input-folder", type=Path, default=Path("data"))
    parser.add_argument("--shoppers", type=int, default=3000)
    parser.add_argument("--planted", type=int, default=15, help="shoppers of each kind")
    parser.add_argument("--seed", type=int, default=11, help="of the shop and of the planting")
    parser.add_argument("--set", action="append", help="a setting, key=value")
    return parser.parse_args()


def _train(name: str, preset: str, settings: Mapping[str, object], log: str | None) -> Run:
    uri = start_run(name, day=DAY, trigger="inspection", preset=preset, input_path=log, overrides=settings)
    run_stages(
        uri, until="train", without=SKIPPED, on_end=lambda record: print(record.stage, f"{record.seconds:.0f} s")
    )
    return open_run(uri)


def _language(run: Run) -> Language:
    trained = run.artifact("train")
    assert trained is not None
    folder = trained.path / "model"
    reader = SurpriseReader.load(folder, device="cpu", threads=run.record.config.train.threads)
    return Language(reader=reader, text=TextSettings.load(folder / "text.json"))


def _moment(run: Run) -> Moment:
    clean, zone = run.artifact("clean"), run.record.config.source.timezone
    assert clean is not None
    last = pd.Timestamp(clean.facts["last"], tz="UTC").tz_convert(zone)
    return moment_at((last + pd.Timedelta(days=1)).date(), zone)


def _score(run: Run, language: Language, config: RiskConfig) -> tuple[Reference, pd.DataFrame]:
    """Return the reference, and what was measured of everybody with all methods' scores."""
    clean, moment = run.artifact("clean"), _moment(run)
    assert clean is not None
    events, engine = open_events(clean), run.record.config.engine
    tables = []
    for then in (moment.earlier(config.days), moment):
        with tempfile.TemporaryDirectory() as folder:
            window = Window.of(then, config)
            found = measure_buckets(events, window, Path(folder), engine=engine, language=language)
            tables.append(pd.concat(found, ignore_index=True))
    before, now = tables
    reference = Reference.fit(before if len(before) >= FEWEST_REFERENCE else now, config)
    return reference, now.join(reference.score(now))


def _print_figures(scores: pd.DataFrame, kinds: pd.Series, seed: int) -> None:
    kind = kinds.reindex(scores.index)
    print(f"\n{len(scores):,} shoppers active in the last week, {int(kind.notna().sum())} of them planted.\n")
    for title, wanted in (("tuned kinds", TUNED), ("held-back kinds", HELD_BACK)):
        kept = kind.isna() | kind.isin(wanted)
        labels, some = kind[kept].notna().to_numpy(), scores[kept]
        print(f"### {title}: {', '.join(wanted)} ({int(labels.sum())} of {len(labels):,})\n")
        print("| method | AP | precision at 100 | AP less the forest's |" + "".join(f" {name} |" for name in wanted))
        print("| --- | --- | --- | --- |" + " --- |" * len(wanted))
        draws = _resampled(labels, some, seed)
        for method in METHODS:
            figures = _figures(labels, some[method].to_numpy())
            ahead = draws[method][:, 0] - draws["forest"][:, 0]
            cells = [_with_interval(figures[place], draws[method][:, place]) for place in (0, 1)]
            forest = _figures(labels, some["forest"].to_numpy())[0]
            cells.append("–" if method == "forest" else _with_interval(figures[0] - forest, ahead))
            for name in wanted:
                alone = kind.isna() | (kind == name)
                cells.append(f"{_figures(kind[alone].notna().to_numpy(), scores[alone][method].to_numpy())[0]:.3f}")
            print(f"| {method} | " + " | ".join(cells) + " |")
        print()


def _figures(labels: np.ndarray, scores: np.ndarray) -> tuple[float, float]:
    """Return average precision, and precision among the 100 highest."""
    top = np.argsort(-scores, kind="stable")[:100]
    return float(average_precision_score(labels, scores)), float(labels[top].mean())


def _resampled(labels: np.ndarray, scores: pd.DataFrame, seed: int, times: int = 1000) -> dict[str, np.ndarray]:
    """Return both figures of every method on the same bootstrap samples of shoppers, shape (times, 2)."""
    random = np.random.default_rng(seed)
    drawn = [random.integers(0, len(labels), len(labels)) for _ in range(times)]
    return {
        method: np.array(
            [_figures(labels[rows], scores[method].to_numpy()[rows]) for rows in drawn if labels[rows].any()]
        )
        for method in METHODS
    }


def _with_interval(value: float, draws: np.ndarray) -> str:
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{value:.3f} ({low:.3f} to {high:.3f})".replace("-", "−")


def _show_head(run: Run, language: Language) -> None:
    """Print the most unusual shoppers of a log whose truth nobody knows."""
    config, moment = RiskConfig(), _moment(run)
    reference, table = _score(run, language, config)
    table = table.sort_values("combined", ascending=False).head(HEAD).reset_index(drop=True)
    clean = run.artifact("clean")
    assert clean is not None
    window, phrases = Window.of(moment, config), {}
    for bucket in open_events(clean):
        words = phrase_words(table["shopper"].tolist(), bucket, language, window, memory_mb=2048)
        phrases |= {shopper: told for shopper, told in zip(table["shopper"], words, strict=True) if told}
    print(f"\nThe week before {moment.as_of}, {len(reference.scores['combined']):,} shoppers in the reference.\n")
    print("| rank | shopper | score | paid | broken rules | surprising |\n| --- | --- | --- | --- | --- | --- |")
    for place, fired in enumerate(reference.fired(table)):
        row = table.iloc[place]
        told = rule_words(fired, row), phrases.get(row["shopper"], "")
        paid = "–" if pd.isna(row["spent"]) else f"{row['spent']:,.0f}"
        print(f"| {place + 1} | {row['shopper'][:6]} | {row['combined']:.1f} | {paid} | {' | '.join(told)} |")


if __name__ == "__main__":
    main()
