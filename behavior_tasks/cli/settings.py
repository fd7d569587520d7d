"""`behavior settings`: every setting with its value, default, range and meaning."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from behavior_tasks.base.config import (
    DEFAULT_PRESET,
    SECTIONS,
    Config,
    load_config,
    setting_fields,
    setting_path,
    setting_value,
)
from behavior_tasks.base.form import schema_of
from behavior_tasks.cli.options import ConfigFile, Preset
from behavior_tasks.cli.screen import console


def settings(preset: Preset = DEFAULT_PRESET, config: ConfigFile = None) -> None:
    """List every setting: its value under a preset, its default, and what it means.

    Examples:

        behavior settings

        behavior settings --preset online_retail
    """
    chosen = load_config(preset, file=config)
    table = Table(title=f"Settings under the preset {preset}", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("setting", no_wrap=True)
    table.add_column("value", max_width=24, overflow="fold")
    table.add_column("what it means", overflow="fold")
    defaults = Config()
    definitions = Config.model_json_schema()["$defs"]
    for section in SECTIONS:
        for dotted, field in setting_fields().items():
            if setting_path(dotted)[0] != section:
                continue
            value, default = setting_value(chosen, dotted), setting_value(defaults, dotted)
            changed = value != default
            allowed = _allowed(schema_of(definitions, dotted))
            notes = [allowed, f"default {_show(default) or 'nothing'}" if changed else ""]
            meaning = f"{field.description} {'; '.join(note for note in notes if note)}"
            table.add_row(dotted, _show(value), meaning, style="bold" if changed else "")
        table.add_section()
    console.print(table)


def _show(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k}: {v.rule if hasattr(v, 'rule') else v}" for k, v in value.items())
    return "" if value is None else str(value)


def _allowed(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return ", ".join(str(value) for value in schema["enum"])
    if "const" in schema:
        return str(schema["const"])
    signs = {"minimum": "≥ ", "exclusiveMinimum": "> ", "maximum": "≤ ", "exclusiveMaximum": "< "}
    return ", ".join(f"{sign}{schema[key]:g}" for key, sign in signs.items() if key in schema)
