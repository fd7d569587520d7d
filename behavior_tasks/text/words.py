"""The words of the texts: a language's templates, checked when they are loaded.

In comes a YAML file, of `text/templates/` or the user's own; out comes a value whose every template is known to hold
exactly its placeholders. Every word that can appear in a text stands in that file, except the shop's own words: its
categories, product names, search words and genders.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from behavior_tasks.base.artifacts import hash_file
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.examples.feature_table import FEATURES

StyleName = Literal["sentence", "compact"]
TEMPLATES_FOLDER = Path(__file__).parent / "templates"
PLACEHOLDER = re.compile(r"\{(\w*)\}")
BRACKETED = re.compile(r"\[[^\[\]\s]+\]")
"""A word that is one token."""
ENDLESS = frozenset({"amount", "price", "count", "name", "names", "category", "categories", "query", "facts", "what"})
"""Placeholders with too many values for bracketed words."""


def _holding(*names: str) -> AfterValidator:
    """A check that a template holds exactly these placeholders; `a|b` is either of them."""

    def check(template: str) -> str:
        found, wanted = PLACEHOLDER.findall(template), [name.split("|") for name in names]
        allowed = [name for choice in wanted for name in choice]
        for name in found:
            if name not in allowed:
                close = nearest(name, allowed)
                raise ValueError(
                    f"unknown placeholder {{{name}}}"
                    + (f"; did you mean {{{close}}}?" if close else f"; expected {_listed(wanted)}")
                )
        if len(found) != len(wanted) or any(sum(found.count(name) for name in choice) != 1 for choice in wanted):
            raise ValueError(f"holds {_listed([[name] for name in found])}, expected {_listed(wanted)}")
        for word in BRACKETED.findall(template):
            if endless := ENDLESS.intersection(PLACEHOLDER.findall(word)):
                raise ValueError(f"{word} would be endlessly many words; {{{min(endless)}}} can't stand in brackets")
        return template

    return AfterValidator(check)


def _listed(choices: list[list[str]]) -> str:
    return " and ".join(" or ".join(f"{{{name}}}" for name in choice) for choice in choices) or "no placeholder"


class Band(BaseModel):
    """Words for a range of numbers, up to but without `below`; the last band has no end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    below: float | None = None
    unit: float | None = Field(None, gt=0)
    """Size of what `{count}` counts."""
    words: str

    @model_validator(mode="after")
    def _count_has_unit(self) -> Self:
        if PLACEHOLDER.findall(self.words) != (["count"] if self.unit is not None else []):
            raise ValueError(f'"{self.words}" needs {{count}} exactly when there is a `unit`')
        return self


def _rising(bands: list[Band]) -> list[Band]:
    ends = [band.below for band in bands]
    inner = [end for end in ends[:-1] if end is not None]
    if not bands or ends[-1] is not None or len(inner) != len(bands) - 1 or inner != sorted(set(inner)):
        raise ValueError("needs rising bands, of which only the last has no `below`")
    return bands


Bands = Annotated[list[Band], AfterValidator(_rising)]
Plain = Annotated[str, _holding()]


class Style(BaseModel):
    """One way of writing; what a template holds is written where it is used, in `compose.py`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Plain
    nothing: Plain
    joint: Plain
    """Between phrases and between facts."""
    list_joint: Plain
    """Between listed products, and between categories."""
    feature_joint: Plain
    end: Plain
    """After each of the text's sentences."""
    then: Plain
    """Before the last phrase where it follows without a gap."""
    later: Annotated[str, _holding("gap")]
    ago: Annotated[str, _holding("gap")]
    day: Annotated[str, _holding("day")]
    hour: Annotated[str, _holding("hour")]
    days: Annotated[list[Plain], Field(min_length=7, max_length=7)]
    """Monday first."""
    actions: dict[str, Annotated[str, _holding("what")]]
    query: Annotated[str, _holding("query")]
    amount: Annotated[str, _holding("amount|quantile")]
    price: Annotated[str, _holding("price|quantile")]
    product: Annotated[str, _holding("name")]
    products: Annotated[str, _holding("names")]
    many: Annotated[str, _holding("count|power")]
    among: Annotated[str, _holding("names")]
    """Some of many products."""
    once: Plain
    times: Annotated[str, _holding("count|power")]
    another: Plain
    """A product that is asked about and that the text does not name."""
    category: Annotated[str, _holding("category")]
    other: Plain
    """A category that is none of the popular ones."""
    gaps: Bands
    """Over hours."""
    older: Annotated[str, _holding("gap")]
    each: Annotated[str, _holding("amount|quantile")]
    mostly: Annotated[str, _holding("categories")]
    profile: Plain
    ages: Bands
    """Over years."""
    purchases: Bands
    """Over numbers of purchases."""
    features: Plain
    quantile: Annotated[str, _holding("feature", "number")]
    undefined: Annotated[str, _holding("feature")]
    question: Annotated[str, _holding("what")]

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _check_names("actions", self.actions, ACTIONS)
        return self


class Templates(BaseModel):
    """All words of one language."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    blank: Literal["", " "]
    """What parts words: nothing in Chinese."""
    numbered_product: Annotated[str, _holding("number")]
    """A popular product without a name of its own."""
    numbered_category: Annotated[str, _holding("number")]
    masked: Plain
    """What stands for an address or a number in search words."""
    feature_words: dict[str, Plain]
    sentence: Style | None = None
    compact: Style | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        _check_names("feature_words", self.feature_words, [f.name for f in FEATURES if f.in_text])
        if len(set(self.feature_words.values())) != len(self.feature_words):
            raise ValueError("feature_words: two features share a word")
        return self

    def style(self, name: StyleName) -> Style:
        """Return the words of a style.

        Raises:
            UserError: when the file does not have it.
        """
        style = self.sentence if name == "sentence" else self.compact
        if style is None:
            raise UserError(
                f"The templates have no words for text.style = {name}.",
                found=f"only {'compact' if name == 'sentence' else 'sentence'}",
                expected=f"a section `{name}:` as in text/templates/en.yaml",
                next_step=f"write one, or --set text.style={'compact' if name == 'sentence' else 'sentence'}",
            )
        return style

    @model_validator(mode="after")
    def _has_a_style(self) -> Self:
        if self.sentence is None and self.compact is None:
            raise ValueError("neither `sentence` nor `compact` is there")
        return self


def _check_names(what: str, found: dict[str, Any], expected: Any) -> None:
    problems = []
    for name in sorted(set(found) - set(expected)):
        close = nearest(name, expected)
        problems.append(f"unknown {name}" + (f"; did you mean {close}?" if close else ""))
    missing = sorted(set(expected) - set(found))
    if problems or missing:
        raise ValueError(f"{what}: " + "; ".join([*problems, *([f"missing {', '.join(missing)}"] if missing else [])]))


def load_templates(language: str, own: Path | None = None) -> Templates:
    """Return a language's templates, or the user's own.

    Args:
        language: names a file of `text/templates/`.
        own: a file of the same shape, read instead (text.templates).

    Raises:
        UserError: when it isn't there or isn't YAML, or naming everything that is wrong in it.
    """
    path = TEMPLATES_FOLDER / f"{language}.yaml" if own is None else own.expanduser()
    name = f"text/templates/{path.name}" if own is None else path.name
    again = "copy text/templates/en.yaml of the package and change its words"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise UserError(f"There is no file of templates {name} (text.templates).", next_step=again) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"The templates in {name} are not readable as YAML.", found=_without_paths(error, path), next_step=again
        ) from None
    if not isinstance(content, dict):
        raise UserError(
            f"The templates in {name} are not a table.",
            found=type(content).__name__,
            expected="keys such as `blank:`, `compact:`, `feature_words:`",
            next_step=again,
        )
    try:
        return Templates.model_validate(content)
    except ValidationError as error:
        problems = [_described(entry) for entry in error.errors()]
        raise UserError(
            f"The words in {name} can't be used: {len(problems)} mistake{'s' * (len(problems) > 1)}.",
            found="\n".join(problems),
            next_step=f"mend {name}; text/templates/en.yaml of the package shows every field",
        ) from None


def templates_identity(raw: Path | None, config: Any, home: Any) -> dict[str, str]:
    """Return the hash of the user's own templates, so that other words under the same name are another input.

    (The shape of a stage's `outside`.) A file that isn't there is told when it is read.
    """
    own = config.text.templates
    if own is None or not own.expanduser().is_file():
        return {}
    return {"templates": hash_file(own.expanduser())}


def _without_paths(error: Exception, path: Path) -> str:
    return str(error).replace(str(path), path.name)


def _described(entry: Any) -> str:
    where = [str(part) for part in entry["loc"]]
    key = ".".join(where)
    if entry["type"] == "extra_forbidden":
        model: type[BaseModel] = Templates if len(where) == 1 else Style if len(where) == 2 else Band
        close = nearest(where[-1], model.model_fields)
        return f"{key}: unknown field" + (f"; did you mean {close}?" if close else "")
    if entry["type"] == "missing":
        return f"{key}: is missing"
    message = str(entry["msg"]).removeprefix("Value error, ")
    return f"{key}: {message}" if key else message
