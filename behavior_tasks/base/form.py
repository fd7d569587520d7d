"""The trigger form: the configuration model as typed form fields, and a filled-in form back as a run's settings.

In comes the JSON schema of `Config`, out come plain dictionaries, one a field, which the DAG hands to Airflow.
An empty field means "as the preset has it", so a form that nobody touched changes nothing.
"""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from pydantic_core import to_jsonable_python

from behavior_tasks.base.config import (
    DEFAULT_PRESET,
    SECTIONS,
    Config,
    presets,
    setting_fields,
    setting_keys,
    setting_path,
    tuned_presets,
)
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.form_words import EXAMPLES, FIRST, PRESETS, heading_of, in_order, labels_of, title_of
from behavior_tasks.base.home import current_home

INPUT, PRESET, CONFIG_FILE, AS_OF = "input", "preset", "config_file", "as_of"
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "format")


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What somebody asked for by filling in the form."""

    input_path: str | None
    """The log; None: the simulated shop."""
    preset: str
    config_file: str | None
    overrides: dict[str, Any]
    """Dotted setting → value; unknown names are kept here, so that `load_config` refuses them with the rest."""


def form_fields(
    *,
    input_path: str | None = None,
    preset: str = DEFAULT_PRESET,
    without: Collection[str] = (),
    only: Collection[str] | None = None,
    placed: bool = False,
) -> dict[str, dict[str, Any]]:
    """Return the form: name → JSON-schema keywords with `default`, `title`, `description` and, for settings, `section`.

    Args:
        input_path: the log that a run reads when the field is left as it is, e.g. every night; None: simulate.
        preset: the preset chosen when the field is left as it is.
        without: sections that the form leaves out, because what it starts reads nothing of them.
        only: the sections and single settings that the form holds; None: all.
        placed: whether the form asks for a day, `as_of`.

    >>> field = form_fields()["train.epochs"]
    >>> field["type"], field["minimum"], field["default"]
    (['integer', 'null'], 1, None)
    """
    fields = _own_fields(input_path, preset, placed=placed)
    wanted = set(setting_keys()) if only is None else {n for n in setting_keys() if _beginnings(n) & set(only)}
    definitions = Config.model_json_schema()["$defs"]
    told = setting_fields()
    for dotted in in_order([n for n in setting_keys() if n in wanted and n.partition(".")[0] not in without]):
        name = dotted.partition(".")[0]
        section = SECTIONS[name]
        field = _field(schema_of(definitions, dotted))
        field["title"] = title_of(dotted)
        default = told[dotted]
        usual = None if default.is_required() else to_jsonable_python(default.get_default(call_default_factory=True))
        field["description"] = " ".join(
            (field["description"], _range(field), f"Empty: the preset's value, else {_shown(usual)}.")
        ).replace("  ", " ")
        field["description"] += f" ({dotted})"
        if "enum" in field:
            field["values_display"] = labels_of(dotted, field["enum"])
        if dotted in EXAMPLES:
            field["examples"] = list(EXAMPLES[dotted])
        if dotted not in FIRST:
            field["section"] = heading_of(name, (section.__doc__ or name).partition("\n")[0])
        fields[dotted] = field
    return fields


def read_form(values: Mapping[str, Any]) -> Filled:
    """Return what a filled-in form asks for. Empty fields are left out; nothing else is judged here.

    >>> read_form({"input": "", "preset": "taobao", "train.epochs": 1, "model.size": None})
    Filled(input_path=None, preset='taobao', config_file=None, overrides={'train.epochs': 1})
    """
    own = (INPUT, PRESET, CONFIG_FILE)
    return Filled(
        input_path=values.get(INPUT) or None,
        preset=values.get(PRESET) or DEFAULT_PRESET,
        config_file=values.get(CONFIG_FILE) or None,
        overrides={name: value for name, value in values.items() if name not in own and value not in (None, "")},
    )


def read_as_of(text: str | None) -> date | None:
    """Return the day that was asked for; None or nothing: none was.

    Raises:
        UserError: when it is not a day.

    >>> read_as_of("2026-11-23"), read_as_of("")
    (datetime.date(2026, 11, 23), None)
    """
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise UserError(
            "The day to score is not a date.",
            found=text,
            expected="year-month-day, for example 2026-11-23",
            next_step="behavior score --as-of 2026-11-23",
        ) from None


def _own_fields(input_path: str | None, preset: str, *, placed: bool) -> dict[str, dict[str, Any]]:
    """Return the fields that are no settings: what is read, and as of which day."""
    every = [*presets(), *tuned_presets(current_home())]
    fields: dict[str, dict[str, Any]] = {
        INPUT: {
            "default": input_path,
            "type": ["string", "null"],
            "title": "Log",
            "description": "Path of the log on the machine that runs the tasks, a URL, or a database; empty: a "
            "simulated shop.",
        },
        PRESET: {
            "default": preset,
            "type": "string",
            "enum": every,
            "values_display": {name: PRESETS.get(name, name) for name in every},
            "title": "Preset",
            "description": "What kind of log it is: a file in conf/, or tuned/NAME: the best settings of a study.",
        },
        CONFIG_FILE: {
            "default": None,
            "type": ["string", "null"],
            "title": "Configuration file",
            "description": "Path of your own YAML, laid over the preset; same shape as a file in conf/.",
        },
    }
    if placed:
        fields[AS_OF] = {
            "default": None,
            "type": ["string", "null"],
            "format": "date",
            "title": "As of",
            "description": "The day, in the log's time zone, at whose beginning the shop is looked at; empty: the day "
            "after the log's last event, but no later than the day that the run is for.",
        }
    return fields


def _beginnings(dotted: str) -> set[str]:
    """Return a setting's name and all that it is part of.

    >>> sorted(_beginnings("privacy.dp.epsilon"))
    ['privacy', 'privacy.dp', 'privacy.dp.epsilon']
    """
    parts = dotted.split(".")
    return {".".join(parts[: end + 1]) for end in range(len(parts))}


def schema_of(definitions: Mapping[str, Any], dotted: str) -> Mapping[str, Any]:
    """Return what the schema says of a setting, through the sections that it stands in."""
    name, *path = setting_path(dotted)
    schema: Mapping[str, Any] = definitions[SECTIONS[name].__name__]
    for key in path:
        found = schema["properties"][key]
        inner = [variant["$ref"] for variant in (found, *found.get("anyOf", ())) if "$ref" in variant]
        schema = definitions[inner[0].rpartition("/")[2]] if inner and key != path[-1] else found
    return schema


def _field(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return one setting's field. Tables and lists stay JSON; what is inside them the start of the run checks."""
    variants = [schema, *schema.get("anyOf", ())]
    # A section within a section stands in the schema as a reference.
    types = list(dict.fromkeys(_type(v) for v in variants if _type(v) != "null"))
    field: dict[str, Any] = {"default": None, "type": [*types, "null"], "description": schema["description"]}
    for variant in variants:
        field |= {word: variant[word] for word in BOUNDS if word in variant}
        if "enum" in variant:
            field["enum"] = [*variant["enum"], None]
        elif "const" in variant:
            field["enum"] = [variant["const"], None]
        elif variant.get("type") == "boolean":
            # A switch knows two states; an untouched field is a third.
            field["enum"] = [True, False, None]
    return field


def _type(variant: Mapping[str, Any]) -> str:
    return "object" if "$ref" in variant else str(variant.get("type", "null"))


def _range(field: Mapping[str, Any]) -> str:
    """Return a number's bounds in words, or nothing."""
    told = []
    for word, among, alone in (
        ("minimum", "from", "at least"),
        ("exclusiveMinimum", "more than", "more than"),
        ("maximum", "to", "at most"),
        ("exclusiveMaximum", "to less than", "less than"),
    ):
        if word in field:
            bounded = sum(bound in field for bound in BOUNDS[:4]) > 1
            told.append(f"{among if bounded else alone} {field[word]:g}")
    return " ".join(told).capitalize() + "." * bool(told)


def _shown(default: object) -> str:
    if default in (None, [], {}, "") or (isinstance(default, dict) and default.get("path") == ""):
        return "nothing"
    return default if isinstance(default, str) and len(default) > 1 else json.dumps(default, ensure_ascii=False)
