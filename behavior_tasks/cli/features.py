"""`behavior features`: the table of features, for people who do not read code."""

import json
from typing import Annotated

import typer
from rich.table import Table

from behavior_tasks.base.config import DEFAULT_PRESET, load_config
from behavior_tasks.cli.options import ConfigFile, Preset, Settings, parse_settings
from behavior_tasks.cli.screen import console
from behavior_tasks.examples.feature_table import Feature, FeatureSettings

LEVELS = {
    "events": "events",
    "products": "products",
    "categories": "categories",
    "brands": "brands",
    "hours": "hours of the day",
    "weekdays": "days of the week",
    "product": "the product asked about",
}
"""Level of a feature → what it is an aggregate over, for people."""


def features(
    preset: Preset = DEFAULT_PRESET,
    config: ConfigFile = None,
    settings: Settings = None,
    sql: Annotated[bool, typer.Option("--sql", help="Show the SQL of each feature too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """List the features that are computed for every example: name and description.

    Features whose window is as long as the lookback are left out, and those of one product belong to the unit
    shopper_product.

    Examples:

        behavior features

        behavior features --set examples.unit=shopper_product --sql
    """
    chosen = load_config(preset, file=config, overrides=parse_settings(settings))
    asked = FeatureSettings(
        lookback_days=chosen.examples.lookback_days,
        horizon_days=chosen.examples.horizon_days,
        timezone=chosen.source.timezone,
        unit=chosen.examples.unit,
    )
    listed = asked.features()
    if as_json:
        typer.echo(json.dumps([_as_json(feature) for feature in listed], indent=2))
        return
    words = sum(feature.in_text for feature in listed)
    title = f"{len(listed)} features of the unit {asked.unit}, {words} of them words of the text (•)"
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("feature", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what it says", overflow="fold")
    table.add_column("made of", no_wrap=True)
    for feature in listed:
        what = f"{feature.description}\n{feature.sql}" if sql else feature.description
        table.add_row(feature.name, "•" if feature.in_text else "", what, LEVELS[feature.over])
    console.print(table, markup=False, highlight=False)


def _as_json(feature: Feature) -> dict[str, object]:
    return {
        "name": feature.name,
        "description": feature.description,
        "over": feature.over,
        "in_text": feature.in_text,
        "categorical": feature.categorical,
        "sql": feature.sql,
    }
