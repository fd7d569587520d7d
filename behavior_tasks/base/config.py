"""The one configuration model: what can be set, within which bounds, and in which words it is refused.

Presets in `conf/`, the command line's `--set` and Airflow's trigger form are three faces of it. All problems
are found at once, each named with the nearest valid key, and reported in a single `UserError`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError
from pydantic.fields import FieldInfo

from behavior_tasks.base.application_config import (
    AudiencesConfig,
    DemandConfig,
    RecommendConfig,
    RiskConfig,
    WatchConfig,
)
from behavior_tasks.base.clean_config import CleanConfig, MissingRule
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.gate_config import GateConfig
from behavior_tasks.base.home import Home, current_home
from behavior_tasks.base.model_config import DecisionConfig, ModelConfig, TextConfig, TrainConfig, decision_problems
from behavior_tasks.base.privacy_config import PrivacyConfig, asks_for_dp, privacy_problems, with_dp_defaults
from behavior_tasks.base.section import Section, fields_in, path_in, put
from behavior_tasks.base.serve_config import ServeConfig
from behavior_tasks.base.source_config import SideTable, SourceConfig
from behavior_tasks.base.tuning_config import TuningConfig, tuning_problems

__all__ = [
    "CleanConfig",
    "Config",
    "DecisionConfig",
    "GateConfig",
    "MissingRule",
    "ModelConfig",
    "Section",
    "SideTable",
    "SourceConfig",
    "TextConfig",
    "TrainConfig",
    "TuningConfig",
    "load_config",
    "presets",
]

PRESETS_FOLDER = Path(__file__).resolve().parents[2] / "conf"
AUDIENCES_FILE = PRESETS_FOLDER / "audiences.yaml"
"""The one file there that is no preset: it says which audiences there are."""


class SimulateConfig(Section):
    """The simulated shop that stands in when no log is given."""

    shoppers: int = Field(3000, ge=50, le=50_000_000, description="Number of shoppers.")
    days: int = Field(120, ge=30, le=3650, description="Length of the log in days.")
    products: int = Field(400, ge=10, le=1_000_000, description="Number of products.")
    seed: int = Field(7, ge=0, description="Random seed; the same seed writes the same bytes.")
    rollouts: int = Field(
        200, ge=10, le=100_000, description="Futures simulated per shopper to know the best possible score."
    )


class ExamplesConfig(Section):
    """What is predicted, for whom, and where time splits the log."""

    unit: Literal["shopper", "shopper_product"] = Field(
        "shopper",
        description="shopper: will they buy anything? shopper_product: will they buy this product? "
        "Asked of the products that they touched in the lookback.",
    )
    horizon_days: int = Field(7, ge=1, le=365, description="Days after the cutoff in which a purchase counts.")
    lookback_days: int = Field(
        365, ge=1, le=3650, description="Days before the cutoff that are read; a shopper needs an event in them."
    )
    candidates: int = Field(
        200,
        ge=1,
        le=100_000,
        description="For shopper_product: most products per shopper and cutoff, those touched last.",
    )
    negatives_per_positive: float = Field(
        10.0,
        gt=0,
        le=1_000_000,
        description="For shopper_product: negatives kept per positive on train; each weighs as many as it stands for.",
    )
    train_cutoffs: int = Field(4, ge=1, le=200, description="Number of train cutoffs.")
    train_every_days: int = Field(7, ge=1, le=365, description="Days between train cutoffs.")
    min_shoppers: int = Field(50, ge=2, description="Fewest shoppers each split needs.")
    min_buyers: int = Field(10, ge=1, description="Fewest buyers, and fewest non-buyers, each split needs.")


class EngineConfig(Section):
    """Who does the work, and with how much."""

    buckets: int | None = Field(
        None, ge=1, le=100_000, description="Shopper buckets; empty: one for every 300,000 events."
    )
    runner: Literal["local", "spark"] = Field(
        "local", description="Who works on the buckets: processes of this machine, or Spark. Both write the same."
    )
    workers: int = Field(2, ge=1, le=256, description="Processes that work on buckets at the same time (local).")
    spark_master: str = Field(
        "local[2]", min_length=1, description="Spark's master, e.g. local[2], yarn or spark://host:7077."
    )
    spark_conf: dict[str, str] = Field(
        default_factory=dict, description="Further settings of Spark, e.g. spark.executor.instances → 40."
    )
    memory_mb: int = Field(1024, ge=256, description="DuckDB memory limit of each process, in MB.")
    min_free_disk_mb: int = Field(
        500, ge=0, description="Free space, in MB, that must remain before a stage starts to write."
    )


class RegistryConfig(Section):
    """Where runs and versions stand in MLflow."""

    experiment: str = Field("behavior", min_length=1, description="MLflow experiment.")
    model_name: str = Field("behavior", min_length=1, description="Registered model.")
    keep_versions: int = Field(
        10, ge=0, description="`behavior gc` keeps so many of the newest versions, whatever their age."
    )
    keep_days: int = Field(30, ge=0, description="`behavior gc` touches nothing that is younger than so many days.")
    keep_runs: int = Field(
        30, ge=1, description="`behavior gc` keeps what the last so many runs made, whatever their age."
    )


class Config(Section):
    """All settings of one run."""

    simulate: SimulateConfig = Field(default_factory=SimulateConfig)
    source: SourceConfig = Field(default_factory=SourceConfig)
    clean: CleanConfig = Field(default_factory=CleanConfig)
    examples: ExamplesConfig = Field(default_factory=ExamplesConfig)
    text: TextConfig = Field(default_factory=TextConfig)
    model: ModelConfig = Field(default_factory=ModelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    decision: DecisionConfig = Field(default_factory=DecisionConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    engine: EngineConfig = Field(default_factory=EngineConfig)
    registry: RegistryConfig = Field(default_factory=RegistryConfig)
    tuning: TuningConfig = Field(default_factory=TuningConfig)
    serve: ServeConfig = Field(default_factory=ServeConfig)
    audiences: AudiencesConfig = Field(default_factory=AudiencesConfig)
    recommend: RecommendConfig = Field(default_factory=RecommendConfig)
    demand: DemandConfig = Field(default_factory=DemandConfig)
    risk: RiskConfig = Field(default_factory=RiskConfig)
    watch: WatchConfig = Field(default_factory=WatchConfig)
    privacy: PrivacyConfig = Field(default_factory=PrivacyConfig)


SECTIONS: dict[str, type[Section]] = {
    name: field.annotation  # type: ignore[misc]  # every field of Config is a section
    for name, field in Config.model_fields.items()
}
SERVING_SECTIONS = ("serve", "audiences", "recommend", "demand", "risk", "watch")
"""Sections of which a training reads nothing."""
DEFAULT_PRESET = "canonical"
TUNED = "tuned/"
"""What the name of a preset begins with that a study has written."""


def presets() -> list[str]:
    """Return the names of the presets in `conf/`, sorted."""
    return sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml") if path != AUDIENCES_FILE)


def tuned_presets(home: Home) -> list[str]:
    """Return the names of the presets that studies have written below a state folder, sorted: `tuned/NAME`.

    Who may not look into the state folder has none; what they may not do there is said where they try to.
    """
    try:
        return sorted(f"{TUNED}{path.stem}" for path in home.tuned.glob("*.yaml"))
    except PermissionError:
        return []


def changed(config: Config, values: Mapping[str, Any]) -> Config:
    """Return a configuration with other values of some settings, checked as a whole.

    Args:
        config: all the others.
        values: dotted setting → value; unlike in `load_config` None is a value.

    Raises:
        UserError: naming all that is wrong then.
    """
    dumped = config.model_dump()
    for dotted, value in values.items():
        dumped = put(dumped, setting_path(dotted), value)
    return _validate(dumped, [])


def load_config(
    preset: str = DEFAULT_PRESET,
    *,
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Config:
    """Merge defaults, a preset, a YAML file and dotted overrides, in that order, and check the whole.

    Args:
        preset: name of a file in `conf/`, or `tuned/NAME` for what a study wrote below the state folder.
        file: the user's own YAML, same shape as a preset.
        overrides: dotted key → value, e.g. {"train.epochs": 1}; a value of None means "as it stands".

    Raises:
        UserError: naming every unknown key, wrong type and contradiction at once.
    """
    merged = _read_yaml(_preset_file(preset, current_home()))
    if file is not None:
        merged = _merge(merged, _read_yaml(file))
    problems: list[str] = []
    for dotted, value in (overrides or {}).items():
        if value is None:
            continue
        path = setting_path(dotted)
        if len(path) < 2:
            problems.append(f"{dotted}: not a setting; expected section.key{_did_you_mean(dotted)}")
            continue
        merged = put(merged, path, value)
    return _validate(with_dp_defaults(merged), problems)


def setting_fields() -> dict[str, FieldInfo]:
    """Return every dotted key, e.g. `train.epochs` or `privacy.dp.epsilon`, with its field, in the model's order."""
    return fields_in(SECTIONS)


def setting_keys() -> list[str]:
    """Return every dotted key, in the order of the model."""
    return list(setting_fields())


def setting_path(dotted: str) -> tuple[str, ...]:
    """Return where a dotted setting stands: section, key and, of a section within it, its key.

    >>> setting_path("privacy.dp.epsilon"), setting_path("train.epochs")
    (('privacy', 'dp', 'epsilon'), ('train', 'epochs'))
    """
    return path_in(SECTIONS, dotted)


def setting_value(config: Config, dotted: str) -> Any:
    """Return a setting's value; None where the part that it belongs to is off."""
    value: Any = config
    for key in setting_path(dotted):
        value = getattr(value, key, None)
    return value


def _preset_file(preset: str, home: Home) -> Path:
    tuned = tuned_presets(home)
    if preset in tuned:
        return home.tuned / f"{preset.removeprefix(TUNED)}.yaml"
    if preset in presets():
        return PRESETS_FOLDER / f"{preset}.yaml"
    known = [*presets(), *tuned]
    raise UserError(
        f'There is no preset "{preset}".',
        found=preset,
        expected=", ".join(known),
        next_step=f"use preset {nearest(preset, known) or DEFAULT_PRESET}",
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no configuration file {path}.", next_step="check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"The configuration file {path} is not readable as YAML.",
            found=str(error),
            next_step="compare it with conf/canonical.yaml",
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(
            f"The configuration file {path} is not a table of sections.",
            found=type(content).__name__,
            expected="sections such as `train:` with keys below them",
            next_step="compare it with conf/canonical.yaml",
        )
    return content


def _merge(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    merged = dict(low)
    for key, value in high.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _validate(raw: dict[str, Any], problems: list[str]) -> Config:
    """Validate again and again without the keys already found wrong, so that one mistake hides no other."""
    remaining = {k: dict(v) if isinstance(v, dict) else v for k, v in raw.items()}
    private = asks_for_dp(raw)
    while True:
        try:
            config = Config.model_validate(remaining)
            problems += _contradictions(config)
            problems += privacy_problems(config.privacy, config.train, private=private)
            break
        except ValidationError as error:
            for entry in error.errors():
                location = entry["loc"]
                problems.append(_describe(location, entry, remaining))
                _drop(remaining, location)
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise UserError(
            f"The configuration has {count}.",
            found="\n".join(problems),
            next_step="`behavior settings` lists every key with its range and default",
        )
    return config


def _contradictions(config: Config) -> list[str]:
    found = []
    if config.simulate.days < 3 * config.examples.horizon_days + 14 and config.simulate != SimulateConfig():
        found.append(
            f"simulate.days: {config.simulate.days} days are too few for examples.horizon_days = "
            f"{config.examples.horizon_days}; expected at least {3 * config.examples.horizon_days + 14}"
        )
    start, end = config.source.period_start, config.source.period_end
    if start and end and start > end:
        found.append(f"source.period_start: {start} is after source.period_end {end}")
    if config.model.lora_rank and config.model.checkpoint == "scratch":
        found.append(
            f"model.lora_rank: {config.model.lora_rank}, but model.checkpoint = scratch has no weights worth keeping; "
            "expected 0, or a checkpoint"
        )
    if config.model.layers and config.model.checkpoint != "scratch":
        found.append(
            f"model.layers: {config.model.layers}, but model.checkpoint = {config.model.checkpoint} has its own; "
            "expected nothing, or model.checkpoint = scratch"
        )
    found += tuning_problems(config.tuning, text=config.text, model=config.model, train=config.train)
    return found + decision_problems(config.decision)


def _describe(location: tuple[int | str, ...], entry: Mapping[str, Any], raw: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in location)
    if entry["type"] == "extra_forbidden":
        return f"{key}: unknown key{_did_you_mean(key)}"
    message = str(entry["msg"]).removeprefix("Value error, ")
    value = entry["input"]
    shown = "" if isinstance(value, dict) else f"{value!r}: "
    return f"{key}: {shown}{message[:1].lower()}{message[1:]}"


def _did_you_mean(dotted: str) -> str:
    # A section's own name first: a short key in it would look as much like a misspelled section.
    close = (None if "." in dotted else nearest(dotted, SECTIONS)) or nearest(dotted, setting_keys())
    last = dotted.rpartition(".")[2]
    if close is None:
        by_last = nearest(last, [k.rpartition(".")[2] for k in setting_keys()])
        close = next((k for k in setting_keys() if k.endswith(f".{by_last}")), None) if by_last else None
    if close is None:
        close = nearest(dotted, SECTIONS)
    return f"; did you mean {close}?" if close else ""


def _drop(raw: dict[str, Any], location: tuple[int | str, ...]) -> None:
    """Remove the setting (section.key) that an error points at; the whole section when that is what is wrong."""
    section = str(location[0])
    inner = raw.get(section)
    if len(location) > 1 and isinstance(inner, dict) and location[1] in inner:
        del inner[str(location[1])]
    else:
        raw.pop(section, None)
