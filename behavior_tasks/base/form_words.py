"""The words of the trigger form: a setting's dotted name and its choices in; titles, labels, examples and order out.

The one thing to know: nothing here changes what a form accepts. Bounds and help come from the configuration model.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

FIRST = (
    "examples.horizon_days",
    "train.epochs",
    "model.size",
    "gate.min_f1",
    "gate.approval",
    "serve.max_champion_days",
    "watch.max_f1_drop",
    "watch.max_psi",
    "tuning.study",
    "tuning.trials",
    "tuning.workers",
)
"""Settings that people change most, above all sections; of these a form shows what its DAG reads."""
SECTION_TITLES: Mapping[str, str] = {
    "source": "The log",
    "clean": "Cleaning",
    "examples": "What is predicted",
    "text": "Texts",
    "model": "Language model",
    "train": "Training",
    "decision": "Who is called a buyer",
    "gate": "The gate",
    "tuning": "The search",
    "serve": "Serving",
    "audiences": "Audiences",
    "recommend": "Recommendations",
    "demand": "Demand",
    "risk": "Risk",
    "watch": "Monitoring",
    "privacy": "Privacy",
    "simulate": "Simulated shop",
    "registry": "MLflow",
    "engine": "Machine",
}
"""Section → its heading; the form shows them in this order."""
TITLES: Mapping[str, str] = {
    "examples.unit": "Predict for",
    "examples.horizon_days": "Horizon (days)",
    "gate.min_f1": "F1 floor",
    "gate.approval": "Ask a person before a promotion",
    "gate.comparison": "Beside the baselines",
    "train.epochs": "Epochs, at most",
    "train.device": "Device",
    "model.size": "Model size",
    "tuning.study": "Name of the study",
    "tuning.trials": "Trials in all",
    "tuning.workers": "Trials at the same time",
    "serve.max_champion_days": "A champion is stale after (days)",
    "serve.max_silent_days": "A log is late after (days)",
    "watch.max_f1_drop": "F1 may fall by",
    "privacy.retrain": "After an erasure, train anew",
    "privacy.retrain_days": "Train anew within (days)",
    "clean.double_click_seconds": "A double click is within (seconds)",
    "train.number_epochs": "Passes over the numbers alone",
    "train.stall_seconds": "Stalled after (seconds)",
    "gate.approval_hours": "Time to approve (hours)",
    "gate.seed": "Seed of the bootstrap",
    "privacy.age_band_years": "Ages in bands of (years)",
    "privacy.gender": "Genders",
    "privacy.time_precision": "Times, exact to",
    "privacy.min_product_shoppers": "A product is named from (shoppers)",
    "privacy.dp.epsilon": "Differential privacy: ε of a training",
    "privacy.dp.delta": "Differential privacy: δ",
    "privacy.dp.max_grad_norm": "Differential privacy: longest gradient of a shopper",
    "privacy.dp.examples_per_shopper": "Differential privacy: examples of a shopper, at most",
    "privacy.dp.shoppers_per_step": "Differential privacy: shoppers in a step",
    "privacy.budget_epsilon": "Privacy budget of all trainings (ε)",
    "privacy.budget_delta": "δ of the privacy budget",
}
CHOICES: Mapping[str, Mapping[str, str]] = {
    "examples.unit": {"shopper": "each shopper", "shopper_product": "each shopper and product"},
    "text.style": {"sentence": "sentences, as people write", "compact": "compact, one token each"},
    "text.language": {"en": "English", "zh": "Chinese"},
    "model.architecture": {"gpt2": "GPT-2", "bert": "BERT"},
    "model.size": {
        "tiny": "tiny: seconds, to try things",
        "compact": "compact: minutes on a CPU",
        "base": "base: for a GPU",
    },
    "model.calibration": {"platt": "Platt's sigmoid", "isotonic": "isotonic", "off": "off"},
    "decision.policy": {"f1": "best F1", "precision": "a precision to be reached", "cost": "costs and values"},
    "gate.comparison": {"non_inferior": "not worse, within the margin", "superior": "better"},
    "gate.approval": {"off": "no", "required": "yes, a person must approve"},
    "train.device": {"auto": "a GPU where there is one", "cpu": "CPU", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)"},
    "train.precision": {"auto": "as the device has it", "fp32": "32 bits", "bf16": "16 bits (bfloat16)"},
    "engine.runner": {"local": "processes of this machine", "spark": "Spark"},
    "tuning.pruner": {"median": "below the median", "hyperband": "successive halving", "off": "none"},
    "privacy.retrain": {
        "now": "at once",
        "next_night": "with the next night's training",
        "within_days": "within the days below",
    },
    "privacy.gender": {"keep": "as in the log", "drop": "left out"},
    "privacy.time_precision": {
        "second": "as in the log",
        "minute": "the minute",
        "hour": "the hour",
        "day": "the day",
    },
    "serve.missing_columns": {"refuse": "hand out nothing", "serve": "hand out, with a severe banner"},
}
"""Setting → its choices in words."""
PRESETS: Mapping[str, str] = {
    "canonical": "canonical columns: user_id, action, product_id, timestamp",
    "online_retail": "Online Retail (UCI)",
    "rees46": "REES46 eCommerce",
    "retailrocket": "Retailrocket",
    "taobao": "Taobao UserBehavior (Tianchi)",
    "tianchi_mobile": "Mobile recommendation (Tianchi)",
    "tmall": "Tmall repeat buyers (IJCAI-15)",
}
"""Preset → what kind of log it is for; those of studies speak for themselves."""
SWITCH: Mapping[str, str] = {"True": "yes", "true": "yes", "False": "no", "false": "no"}
UNTOUCHED = "as the preset has it"
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "model.checkpoint": ("scratch", "gpt2", "bert-base-uncased"),
    "source.timezone": ("UTC", "Asia/Shanghai", "Europe/Berlin", "America/New_York"),
    "source.encoding": ("utf-8", "gb18030", "latin-1"),
    "engine.spark_master": ("local[2]", "yarn", "spark://host:7077"),
}
"""Setting → values to choose from, beside any other."""
UNITS: Mapping[str, str] = {
    "days": "days",
    "hours": "hours",
    "minutes": "minutes",
    "seconds": "seconds",
    "mb": "MB",
    "ms": "ms",
}
SPELLED: Mapping[str, str] = {
    "f1": "F1",
    "ece": "ECE",
    "psi": "PSI",
    "ks": "KS statistic",
    "conf": "settings",
    "lora": "LoRA",
    "gpu": "GPU",
    "id": "ID",
}
BOUND: Mapping[str, str] = {"min": "at least", "max": "at most"}


def title_of(dotted: str) -> str:
    """Return a setting's name in words, with its unit.

    >>> title_of("train.learning_rate"), title_of("gate.max_latency_ms"), title_of("gate.min_slice_f1")
    ('Learning rate', 'Latency (ms), at most', 'Slice F1, at least')
    """
    if dotted in TITLES:
        return TITLES[dotted]
    words = dotted.rpartition(".")[2].split("_")
    bound = BOUND.get(words[0]) if len(words) > 1 else None
    unit = UNITS.get(words[-1]) if len(words) > 1 + bool(bound) else None
    words = words[bool(bound) : len(words) - bool(unit)]
    spelled = [SPELLED.get(word, word) for word in words]
    spelled[0] = spelled[0][:1].upper() + spelled[0][1:]
    return " ".join(spelled) + (f" ({unit})" if unit else "") + (f", {bound}" if bound else "")


def heading_of(section: str, about: str) -> str:
    """Return the heading of a section of the form, from the first line of its docstring.

    >>> heading_of("train", "Fine-tuning."), heading_of("risk", "Risk: shoppers whose behaviour is unusual.")
    ('Training · Fine-tuning', 'Risk · shoppers whose behaviour is unusual')
    >>> heading_of("model", "The language model.")
    'Language model'
    """
    title, about = SECTION_TITLES[section], about.rstrip(".")
    told = re.split("[:;]", about.removeprefix(f"{title}: "))[0]
    return title if told.lower().endswith(title.lower()) else f"{title} · {told}"


def labels_of(dotted: str, choices: Collection[Any]) -> dict[str, str]:
    """Return the words for each of a setting's choices, by the choice as text; `None` is the untouched field."""
    words = CHOICES.get(dotted, {})
    named = {str(one): words.get(str(one), str(one)) for one in choices if one is not None}
    if any(isinstance(one, bool) for one in choices):
        named = dict(SWITCH)
    # Airflow's page looks an empty choice up under "null", and "None" where it finds nothing else.
    return {**named, "null": UNTOUCHED, "None": UNTOUCHED}


def in_order(names: Collection[str]) -> list[str]:
    """Return dotted settings in the form's order: those of FIRST, then section by section."""
    sections = list(SECTION_TITLES)
    later = sorted((n for n in names if n not in FIRST), key=lambda n: sections.index(n.partition(".")[0]))
    return [name for name in FIRST if name in names] + later
