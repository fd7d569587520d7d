"""Risk: today's clean events and a language model in; a ranked list of unusual shoppers, with reasons, out.

What is usual is learned from an earlier moment (`risk_scores`), and a shopper's reasons are broken rules and phrases
that surprised the model (`risk_words`). The one thing to know: the list is for people to look at; nothing here blocks
anybody, and nobody should be blocked for a place on it.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from behavior_tasks.base.application_config import RiskMethod
from behavior_tasks.base.artifacts import Artifact, Output, Rows
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, connect, hash_rows
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_table import UNITS
from behavior_tasks.model.surprise import SurpriseReader, reads_causally
from behavior_tasks.serve.banners import Banner, banner_facts
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.risk_list import LIST, LISTED, TABLE, listed, read_earlier, write_ranking
from behavior_tasks.serve.risk_measure import Language, measure_buckets
from behavior_tasks.serve.risk_page import write_page
from behavior_tasks.serve.risk_rules import FACTS, RULES, Window
from behavior_tasks.serve.risk_scores import METHODS, Reference
from behavior_tasks.serve.risk_words import phrase_words, rule_words
from behavior_tasks.serve.score import SCORES
from behavior_tasks.serve.served import FOLDER

REFERENCE_SHOPPERS = 20_000
"""Most shoppers of the reference, drawn evenly from the buckets."""
FEWEST_REFERENCE = 100
"""A reference of fewer tells nothing of what is rare."""
WITHOUT_LANGUAGE: dict[RiskMethod, RiskMethod] = {"surprise": "velocity", "combined": "velocity"}
"""What is served instead where there is no model to be surprised."""


def risk_stage(job: Job) -> Output:
    """Measure, score, rank and list; facts: `method`, `rows` (listed), `outcomes`, `limits`, `banners` and more."""
    moment, config = Moment.load(job.inputs["moment"]), job.config.risk
    events = open_events(job.inputs["clean"])
    language, banners = _language(job)
    method = config.method if language else WITHOUT_LANGUAGE.get(config.method, config.method)
    out = job.out / FOLDER
    out.mkdir()
    with temporary_folder(job.home, "risk") as scratch:
        table, earlier = _reference(job, events, language, scratch)
        reference = Reference.fit(table, config) if len(table) else None
        bar = reference.bar(method, config.unusual) if reference else math.inf
        files: list[Path] = []
        for number, judged in enumerate(_judge(job, events, language, reference, method)):
            files.append(bucket_file(scratch, number))
            judged.to_parquet(files[-1], index=False)
        before = read_earlier(job.home, moment.as_of, config, method=method)
        memory_mb = job.config.engine.memory_mb
        outcomes = write_ranking(files, before, out / TABLE, config, bar=bar, memory_mb=memory_mb)
    listed(out / TABLE).to_csv(out / LIST, index=False)
    banners += [*([] if earlier else [_no_reference(len(table))]), *_bots(job.inputs["clean"])]
    facts: dict[str, Any] = {
        "method": method,
        "rows": outcomes[LISTED],
        "outcomes": outcomes,
        "bar": bar if math.isfinite(bar) else None,
        "reference_shoppers": len(table),
        "limits": {name: round(float(limit), 4) for name, limit in reference.limits.items()} if reference else {},
        "days": config.days,
        "banners": banner_facts(banners, job.inputs["readiness"]),
    }
    write_page(out, facts, reference.scores[method] if reference else np.zeros(0), moment)
    total = sum(outcomes.values())
    with connect() as connection:
        content_hash = hash_rows(connection, out / TABLE)
    rows = Rows(unit_in="shoppers", unit_out="shoppers", rows_in=total, rows_out=total)
    return Output(rows=rows, content_hash=content_hash, facts=facts)


def _language(job: Job) -> tuple[Language | None, list[Banner]]:
    """Return the first champion that reads from left to right, of whichever unit, and what must be said of it."""
    champions = [Champion.load(job.inputs["champions"], unit) for unit in UNITS]
    for champion in champions:
        if champion is not None and reads_causally(champion.model) and champion.text is not None:
            train = job.config.train
            reader = SurpriseReader.load(champion.model, device=train.device, threads=train.threads)
            return Language(reader=reader, text=champion.text), []
    kinds = [f"{champion.name} version {champion.version}" for champion in champions if champion is not None]
    found = f"{' and '.join(kinds)} does not" if kinds else "there is no champion"
    banner = Banner(
        code="no_causal_model",
        level="notice",
        words=f"Surprise needs a language model that reads from left to right, and {found}: the list is made of rules.",
        next_step="train with model.architecture=gpt2; gate.allow_baseline_champion=false keeps it champion",
    )
    return None, [banner] if job.config.risk.method in WITHOUT_LANGUAGE else []


def _reference(
    job: Job, events: tuple[BucketEvents, ...], language: Language | None, scratch: Path
) -> tuple[pd.DataFrame, bool]:
    """Return what was measured of the reference, and whether it is an earlier moment than today."""
    moment, config = Moment.load(job.inputs["moment"]), job.config.risk
    most = -(-REFERENCE_SHOPPERS // len(events))
    table = pd.DataFrame()
    for name, then in (("before", moment.earlier(config.days)), ("today", moment)):
        (scratch / name).mkdir()
        measured = measure_buckets(
            events, Window.of(then, config, most=most), scratch / name, engine=job.config.engine, language=language
        )
        table = pd.concat(measured, ignore_index=True)
        if len(table) >= FEWEST_REFERENCE:
            return table, name == "before"
    return table, False


def _judge(
    job: Job,
    events: tuple[BucketEvents, ...],
    language: Language | None,
    reference: Reference | None,
    method: RiskMethod,
) -> Iterator[pd.DataFrame]:
    """Yield each bucket's shoppers with scores and reasons; one table of nobody where there is no reference."""
    if reference is None:
        yield _nobody()
        return
    moment, engine = Moment.load(job.inputs["moment"]), job.config.engine
    window, bar = Window.of(moment, job.config.risk), reference.bar(method, job.config.risk.unusual)
    with temporary_folder(job.home, "risk-now") as scratch:
        measured = measure_buckets(events, window, scratch, engine=engine, language=language)
        for number, (bucket, table) in enumerate(zip(events, measured, strict=True)):
            scores = reference.score(table)
            above = np.flatnonzero(scores[method].to_numpy() > bar)
            rules, phrases = np.full(len(table), "", dtype=object), np.full(len(table), "", dtype=object)
            fired = reference.fired(table.iloc[above])
            rules[above] = [rule_words(f, table.iloc[at]) for f, at in zip(fired, above.tolist(), strict=True)]
            if language is not None and len(above):
                whom = table["shopper"].iloc[above].tolist()
                own = bucket.until(moment.cutoff)
                phrases[above] = phrase_words(whom, own, language, window, memory_mb=engine.memory_mb)
            expected = _expected(job.inputs["shopper_scores"], number, table["shopper"])
            yield _told(table, scores, method, expected).assign(rules=rules, phrases=phrases)


def _told(table: pd.DataFrame, scores: pd.DataFrame, method: RiskMethod, expected: pd.Series) -> pd.DataFrame:
    """Return the columns that are handed out; reasons are still empty."""
    known = table["spent"].notna() | expected.notna()
    return pd.DataFrame(
        {
            "shopper": table["shopper"],
            "score": scores[method],
            "rules": "",
            "phrases": "",
            **{str(name): table[name] for name in FACTS},
            "expected_amount": expected,
            "at_stake": (table["spent"].fillna(0) + expected.fillna(0)).where(known),
            **{f"by_{name}": scores[str(name)] for name in METHODS},
            **{str(name): table[name] for name in RULES},
        }
    )


def _nobody() -> pd.DataFrame:
    """Return the table of a window in which nobody did anything."""
    names = ["shopper", *FACTS, "phrases", "surprise_mean", "surprise_peak", *RULES]
    table = pd.DataFrame(columns=names, dtype=float).astype({"shopper": str})
    scores = pd.DataFrame(columns=list(METHODS), dtype=float)
    return _told(table, scores, "velocity", pd.Series(dtype=float)).astype({"rules": str, "phrases": str})


def _expected(scores: Artifact, bucket: int, shoppers: pd.Series) -> pd.Series:
    """Return what each shopper is expected to pay within the horizon; empty where nobody knows."""
    file = bucket_file(scores.path / SCORES, bucket)
    if not file.is_file():
        return pd.Series(np.nan, index=shoppers.index)
    told = pd.read_parquet(file, columns=["shopper", "expected_amount"]).set_index("shopper")["expected_amount"]
    return pd.Series(told.reindex(shoppers).to_numpy(dtype=float), index=shoppers.index)


def _no_reference(shoppers: int) -> Banner:
    return Banner(
        code="no_earlier_reference",
        level="notice",
        words=f"The days before had fewer than {FEWEST_REFERENCE} active shoppers, so today's {shoppers:,} are held "
        "against one another: what many do today counts as usual.",
        next_step="wait until the log holds more days, or lower risk.days",
    )


def _bots(clean: Artifact) -> list[Banner]:
    """Return what must be said of events that never come here."""
    removed = clean.manifest.rows.removed.get("bot", 0)
    if not removed:
        return []
    words = f"{removed:,} events of days too busy for a person stand in quarantine and are not judged here."
    return [Banner(code="bots_in_quarantine", level="notice", words=words, next_step="behavior quarantine shows them")]
