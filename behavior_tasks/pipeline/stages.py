"""The table of stages: what does the work, what it reads, and in which order the data walks.

A stage's key is made from exactly what its row declares: the settings, the inputs, and what it reads from
outside the store. A stage sees no other setting, so the table can't lie about what a result depends on.
"""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.application_config import WatchConfig


class Stage(BaseModel):
    """One row of the table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    work: str
    """`module:function` below `behavior_tasks`, called with a Job; loaded only when the stage runs."""
    also: tuple[str, ...] = ()
    """Modules that the work starts by name instead of importing; their code is part of the key too."""
    around: str | None = None
    """`module:function` that is called with the run, the Job and the work, and does the work: what it adds must not
    change the result, as it is no part of the key."""
    sections: tuple[str, ...] = ()
    """What the work reads of the configuration: sections (`clean`) or single keys (`source.timezone`)."""
    inputs: tuple[str, ...] = ()
    """Stages whose artifacts it takes; a trailing `?` marks one that may be absent."""
    after: tuple[str, ...] = ()
    """Stages that must have said yes before, though nothing of theirs is read."""
    dated: bool = False
    """Whether the work reads the day of the run; the day is then part of the key."""
    day: str | None = None
    """`module:function` that says which day the work is about (`Job.day`), called with the day that was asked for (or
    None), the day of the run, the configuration and the opened inputs; its answer is part of the key, so that another
    day of the run makes nothing anew where it changes nothing."""
    outside: str | None = None
    """`module:function` that names what the stage reads from outside the store, called with the raw log's path
    (or None), the configuration and the state folder; its answer, name → hash, is part of the key."""
    earlier: str | None = None
    """`module:function` that names what the stage reads of what was served on earlier days, or what has become of its
    inputs since they were made, called with the state folder and the opened inputs; its answer, name → hash, is part of
    the key."""


TIMELINE = (
    "source.timezone",
    "examples.horizon_days",
    "examples.train_cutoffs",
    "examples.train_every_days",
)
COARSENING = ("privacy.age_band_years", "privacy.gender", "privacy.time_precision")
READING: dict[str, Stage] = {
    "simulate": Stage(work="data.simulate:simulate_stage", sections=("simulate", "examples.lookback_days", *TIMELINE)),
    "source": Stage(
        work="data.sources:source_stage",
        sections=("source",),
        inputs=("simulate?",),
        outside="data.sources:hash_raw_files",
    ),
    "ingest": Stage(
        work="data.ingest:ingest_stage",
        sections=("source",),
        inputs=("source", "simulate?"),
        outside="data.identities:key_fingerprint",
    ),
    "clean": Stage(
        work="data.clean:clean_stage",
        sections=("clean", "engine.buckets", *COARSENING, *TIMELINE),
        inputs=("ingest",),
    ),
    "report": Stage(
        work="data.report:report_stage",
        sections=("source.expected_reasons", *TIMELINE),
        inputs=("ingest", "clean"),
    ),
    "cutoffs": Stage(
        work="examples.cutoffs:cutoffs_stage", sections=("examples", "source.timezone"), inputs=("clean",)
    ),
    "doctor": Stage(
        work="examples.diagnosis:doctor_stage",
        sections=("examples", "source", "gate.margin", "gate.confidence"),
        inputs=("cutoffs", "ingest", "clean"),
    ),
    "features": Stage(
        work="examples.features:features_stage",
        sections=("examples.unit", "examples.horizon_days", "examples.lookback_days", "source.timezone"),
        inputs=("cutoffs", "clean"),
    ),
    "verbalize": Stage(
        work="text.verbalize:verbalize_stage",
        sections=("text", "examples.lookback_days", "source.timezone", "privacy.min_product_shoppers"),
        inputs=("features", "clean"),
        outside="text.words:templates_identity",
    ),
    "encode": Stage(
        work="text.encode:encode_stage",
        sections=("model.checkpoint", "model.vocabulary", "model.max_tokens", "model.numbers"),
        inputs=("verbalize", "features"),
        outside="text.encode:checkpoint_identity",
    ),
}
"""From the raw log to tokens."""
AUDITED = [READING[name] for name in ("source", "ingest", "clean", "cutoffs", "features", "verbalize", "encode")]
"""What the leakage audit goes through again."""
STAGES: dict[str, Stage] = {
    **READING,
    "baselines": Stage(
        work="model.baselines:baselines_stage",
        sections=(
            "train.seed",
            "train.distillation",
            "model.calibration",
            "decision",
            "examples.horizon_days",
            "examples.lookback_days",
            "source.timezone",
        ),
        inputs=("features",),
        after=("doctor",),
        earlier="data.tombstones:erasures_of",
    ),
    "train": Stage(
        work="model.train:train_stage",
        also=("model.train_process",),
        around="pipeline.privacy.budget:charged",
        sections=("model", "train", "decision", "privacy.dp"),
        inputs=("encode", "verbalize", "baselines"),
        after=("doctor",),
        earlier="data.tombstones:erasures_of",
    ),
    "champion": Stage(
        work="registry.versions:champion_stage",
        sections=("registry.model_name",),
        outside="registry.versions:champion_identity",
    ),
    "evaluate": Stage(
        work="verdict.evaluate:evaluate_stage",
        sections=("train.device", "train.threads", "gate.bootstrap", "gate.confidence", "gate.seed"),
        inputs=("train", "encode", "baselines", "features", "clean", "champion", "simulate?"),
    ),
    "audit": Stage(
        work="pipeline.audit:audit_stage",
        also=tuple(row.work.partition(":")[0] for row in AUDITED),
        sections=(*dict.fromkeys(name for row in AUDITED for name in row.sections), "gate.audit_events"),
        inputs=("clean",),
        outside="text.words:templates_identity",
    ),
    "package": Stage(
        work="registry.package_stage:package_stage",
        also=("registry.serving", "registry.fresh_process"),
        sections=("source", "examples"),
        inputs=("train", "baselines", "features", "clean", "ingest", "evaluate"),
    ),
    "gate": Stage(
        work="verdict.gate:gate_stage",
        sections=("gate",),
        inputs=("evaluate", "audit", "package", "doctor", "train", "baselines", "champion"),
        dated=True,
    ),
    "model_report": Stage(
        work="verdict.report:report_stage",
        # It tells every setting that is not at its default; the engine's change no result.
        sections=(
            *("simulate", "source", "clean", "examples", "text", "model", "train", "decision", "gate", "registry"),
            "privacy.min_group",
            *("privacy.dp", "privacy.budget_epsilon", "privacy.budget_delta"),
        ),
        inputs=("clean", "cutoffs", "doctor", "features", "verbalize", "baselines", "train", "evaluate", "gate"),
    ),
}
SERVING: dict[str, Stage] = {
    **{name: READING[name] for name in ("simulate", "source", "ingest", "clean")},
    "champions": Stage(
        work="registry.champions:champions_stage",
        sections=("serve.shopper_model", "serve.product_model"),
        outside="registry.champions:champions_identity",
    ),
    "moment": Stage(
        work="serve.moment:moment_stage",
        sections=("source.timezone",),
        inputs=("clean", "ingest"),
        day="serve.moment:day_looked_at",
    ),
    "readiness": Stage(
        work="serve.readiness_stage:readiness_stage",
        sections=(
            "serve.max_champion_days",
            "serve.max_silent_days",
            "serve.min_day_share",
            "serve.max_unknown_share",
            "serve.missing_columns",
            "source.timezone",
            "examples.horizon_days",
            "examples.lookback_days",
        ),
        inputs=("clean", "ingest", "champions", "moment"),
        day="serve.readiness_stage:day_of_need",
    ),
    "shopper_scores": Stage(
        work="serve.score:shopper_scores_stage",
        sections=("train.device", "train.threads", "source.timezone"),
        inputs=("clean", "champions", "moment"),
        after=("readiness",),
    ),
    "product_scores": Stage(
        work="serve.score:product_scores_stage",
        sections=("train.device", "train.threads", "source.timezone"),
        inputs=("clean", "champions", "moment"),
        after=("readiness",),
    ),
    "audiences": Stage(
        work="serve.audiences:audiences_stage",
        sections=("audiences", "privacy.min_group", "train.device", "train.threads", "source.timezone"),
        inputs=("clean", "champions", "moment", "readiness", "shopper_scores"),
        outside="serve.audiences_rules:audiences_identity",
        earlier="serve.audiences_way:earlier_way",
    ),
    "recommendations": Stage(
        work="serve.recommend:recommendations_stage",
        sections=(
            *("recommend", "demand.stock_file", "train.device", "train.threads", "source.timezone"),
            *("examples.horizon_days", "examples.lookback_days", "serve.product_model"),
        ),
        inputs=("clean", "champions", "moment", "readiness", "product_scores"),
        outside="serve.demand:stock_identity",
    ),
    "demand": Stage(
        work="serve.demand:demand_stage",
        sections=("demand", "train.device", "train.threads"),
        inputs=("clean", "champions", "moment", "readiness", "product_scores"),
        outside="serve.demand:stock_identity",
    ),
    "risk": Stage(
        work="serve.risk:risk_stage",
        sections=("risk", "train.device", "train.threads", "source.timezone"),
        inputs=("clean", "champions", "moment", "readiness", "shopper_scores"),
        earlier="serve.risk_list:earlier_lists",
    ),
}
"""From the raw log and the champions to what the shop takes away."""
JUDGING = tuple(f"watch.{name}" for name in WatchConfig.model_fields if name != "keep_days")
"""What the watch judges by; how long its days are kept changes nothing that it finds."""
WATCHING: dict[str, Stage] = {
    **{name: SERVING[name] for name in ("simulate", "source", "ingest", "clean", "champions", "moment", "readiness")},
    "watch": Stage(
        work="watch.stage:watch_stage",
        sections=(*JUDGING, "train.device", "train.threads"),
        inputs=("clean", "ingest", "champions", "moment", "readiness"),
        outside="watch.stage:served_identity",
    ),
}
"""From the raw log and what was served to whether the champions are still right."""
EVERY = {**STAGES, **SERVING, **WATCHING}


def settings_of(rows: Mapping[str, Stage]) -> set[str]:
    """Return the sections and single settings that some stages read; the engine says who does the work of any."""
    return {"engine"}.union(*(row.sections for row in rows.values()))


def needed_for(name: str) -> set[str]:
    """Return a stage, with all stages that must be done before it."""
    row = EVERY[name]
    before = [*(stage.removesuffix("?") for stage in row.inputs), *row.after]
    return {name}.union(*(needed_for(stage) for stage in before))
