"""The words of the texts: a language's templates, checked when they are loaded.

In comes a YAML file of `text/templates/`, out comes a value whose every template is known to hold exactly its
placeholders, and functions that turn templates into SQL. Every word that can appear in a text stands in that
file, except category and gender, which are the shop's own words.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError, model_validator

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.examples.feature_table import FEATURES

TEMPLATES_FOLDER = Path(__file__).parent / "templates"
PLACEHOLDER = re.compile(r"\{(\w+)\}")


def _holding(*names: str) -> AfterValidator:
    """A check that a template holds exactly these placeholders."""

    def check(template: str) -> str:
        found = sorted(PLACEHOLDER.findall(template))
        if found != sorted(names):
            raise ValueError(f"holds the placeholders {found}, expected {sorted(names)}")
        return template

    return AfterValidator(check)


class Band(BaseModel):
    """Words for a range of numbers, up to but without `below`; the last band has no end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    below: float | None = None
    unit: float | None = None
    """Size of what `{count}` counts."""
    words: str

    @model_validator(mode="after")
    def _count_has_unit(self) -> Self:
        if (PLACEHOLDER.findall(self.words) == ["count"]) != (self.unit is not None):
            raise ValueError(f'"{self.words}" needs {{count}} exactly when there is a `unit`')
        return self


def _rising(bands: list[Band]) -> list[Band]:
    ends = [band.below for band in bands]
    inner = [end for end in ends[:-1] if end is not None]
    if not bands or ends[-1] is not None or len(inner) != len(bands) - 1 or inner != sorted(set(inner)):
        raise ValueError("needs rising bands, of which only the last has no `below`")
    return bands


Bands = Annotated[list[Band], AfterValidator(_rising)]


class Templates(BaseModel):
    """All words of one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Annotated[str, _holding()]
    nothing: Annotated[str, _holding()]
    joint: Annotated[str, _holding()]
    later: Annotated[str, _holding("gap")]
    ago: Annotated[str, _holding("gap")]
    actions: dict[str, Annotated[str, _holding("what")]]
    amount: Annotated[str, _holding("amount")]
    product: Annotated[str, _holding("letter")]
    products: Annotated[str, _holding("letters")]
    many: Annotated[str, _holding("count")]
    once: Annotated[str, _holding()]
    times: Annotated[str, _holding("count")]
    unnamed_product: Annotated[str, _holding()]
    """A product that is asked about and that the text does not name."""
    question: Annotated[str, _holding("what")]
    category: Annotated[str, _holding("category")]
    other_category: Annotated[str, _holding()]
    gaps: Bands
    """Over hours."""
    profile: Annotated[str, _holding("facts")]
    ages: Bands
    """Over years."""
    purchases: Bands
    """Over numbers of purchases."""
    features: Annotated[str, _holding()]
    quantile: Annotated[str, _holding("feature", "number")]
    undefined: Annotated[str, _holding("feature")]
    feature_words: dict[str, Annotated[str, _holding()]]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        for name, found, expected in (
            ("actions", self.actions, set(ACTIONS)),
            ("feature_words", self.feature_words, {f.name for f in FEATURES if f.in_text}),
        ):
            if set(found) != expected:
                raise ValueError(f"{name}: missing or unknown: {sorted(set(found) ^ expected)}")
        if len(set(self.feature_words.values())) != len(self.feature_words):
            raise ValueError("feature_words: two features share a word")
        return self


def load_templates(language: str, folder: Path = TEMPLATES_FOLDER) -> Templates:
    """Return a language's templates.

    Raises:
        UserError: naming what is wrong with the file.
    """
    name = f"templates/{language}.yaml"
    try:
        return Templates.model_validate(yaml.safe_load((folder / f"{language}.yaml").read_text(encoding="utf-8")))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()]
        raise UserError(
            f"The words in {name} can't be used.",
            found="\n".join(problems),
            next_step=f"mend {name}, or take it from the package again",
        ) from None


def literal(text: str) -> str:
    """Return a text as a SQL string literal.

    >>> print(literal("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the SQL that puts SQL expressions into a template's placeholders.

    >>> print(fill("{count} products", {"count": "n"}))
    (CAST(n AS VARCHAR) || ' products')
    """
    parts = []
    for index, part in enumerate(PLACEHOLDER.split(template)):
        if index % 2:
            parts.append(f"CAST({values[part]} AS VARCHAR)")
        elif part:
            parts.append(literal(part))
    return "(" + " || ".join(parts) + ")"


def in_band(bands: list[Band], number: str) -> str:
    """Return the SQL of a number's words; NULL has none.

    >>> print(in_band([Band(below=2, words="few"), Band(words="many")], "n"))
    CASE WHEN n IS NULL THEN NULL WHEN n < 2.0 THEN ('few') ELSE ('many') END
    """
    cases = [f"WHEN {number} IS NULL THEN NULL"]
    for band in bands:
        count = f"CAST(floor({number} / {band.unit}) AS BIGINT)"
        words = fill(band.words, {"count": count})
        cases.append(f"ELSE {words}" if band.below is None else f"WHEN {number} < {band.below} THEN {words}")
    return f"CASE {' '.join(cases)} END"
