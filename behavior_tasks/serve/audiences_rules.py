"""Rules of audiences: a YAML file in; every audience, checked, with its conditions as a tree, out.

All problems of the file are found at once, each named with the place where it stands and the nearest valid name. The
one thing to know: a range that is asked of a value that a shopper does not have (days since a purchase, of who never
bought) is not met, so `not` around it is.
"""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from behavior_tasks.base.config import AUDIENCES_FILE, Config
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home
from behavior_tasks.base.section import Section
from behavior_tasks.data.keys import fingerprint, identity_key
from behavior_tasks.serve.audiences_conditions import Condition, can_match, read_condition

NAME = r"^[a-z0-9][a-z0-9_-]{0,39}$"


class Costs(Section):
    """What a contact costs and what a purchase brings, in the log's currency."""

    contact_cost: float = Field(0.0, ge=0, description="What it costs to contact one shopper.")
    margin: float | None = Field(None, gt=0, le=1, description="Share of a purchase's amount that the shop earns.")
    value_of_sale: float | None = Field(
        None, gt=0, description="What one purchase brings, where no amounts are predicted or known."
    )

    @model_validator(mode="after")
    def _one_value(self) -> Self:
        if self.margin is not None and self.value_of_sale is not None:
            raise ValueError("holds both `margin` and `value_of_sale`; give one")
        if self.contact_cost and self.margin is None and self.value_of_sale is None:
            raise ValueError(
                "holds `contact_cost` alone; what a purchase brings is needed too: `margin`, or `value_of_sale`"
            )
        return self


class Audience(Section):
    """One audience, as it stands in the file."""

    name: str = Field(pattern=NAME, description="Small letters, digits, - and _.")
    title: str = Field("", description="Its name for people; empty: the name.")
    about: str = Field("", description="One sentence for the page.")
    where: Any = Field(None, description="Conditions; without any, everybody who is scored.")
    exclude: list[str] = Field(default_factory=list, description="Audiences whose `where` nobody in this one may meet.")
    rank_by: Literal["probability", "expected_amount"] = Field("probability", description="Who comes first.")
    top: int | None = Field(None, ge=1, description="At most so many, the first.")
    top_share: float | None = Field(None, gt=0, le=1, description="At most this share of all who are scored.")
    contacts: int | None = Field(None, ge=1, description="A budget: at most so many are contacted, for most profit.")
    maximise_profit: bool = Field(False, description="Only who brings more than the contact costs, the best first.")
    costs: Costs | None = Field(None, description="In place of the file's.")
    contact: bool = Field(True, description="false: a list of whom to leave alone; nobody is contacted.")
    campaign: str | None = Field(
        None, pattern=NAME, description="What the control is drawn for; another word draws anew. None: the name."
    )
    holdout: float | None = Field(None, ge=0, le=0.5, description="In place of audiences.holdout.")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        if self.top is not None and self.top_share is not None:
            problems.append("holds both `top` and `top_share`; give one")
        if self.is_budget and (self.top is not None or self.top_share is not None):
            problems.append("holds a budget and a `top`; a budget decides by itself how many")
        if not self.contact and (self.is_budget or self.holdout or self.campaign):
            problems.append("is not contacted (`contact: false`), so a budget, a campaign or a holdout says nothing")
        if self.name in self.exclude:
            problems.append("excludes itself, so it can never match")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def is_budget(self) -> bool:
        """Whether the best are chosen by profit."""
        return self.contacts is not None or self.maximise_profit

    @property
    def heading(self) -> str:
        """Its name for people."""
        return self.title or self.name.replace("-", " ").replace("_", " ").capitalize()

    @property
    def drawn_for(self) -> str:
        """The campaign."""
        return self.campaign or self.name

    @property
    def condition(self) -> Condition:
        """What `where` says, as a tree."""
        return read_condition(self.where, "where", [])


class Audiences(Section):
    """A whole file."""

    overlap: Literal["first", "allow"] = Field(
        "first", description="first: who fits several stands in the first of them only. allow: in each."
    )
    costs: Costs = Field(default_factory=Costs, description="Those of every audience that names none of its own.")
    audiences: list[Audience] = Field(min_length=1)

    def costs_of(self, audience: Audience) -> Costs:
        """Return an audience's own costs, or the file's."""
        return audience.costs or self.costs

    def excluded_by(self, audience: Audience) -> list[Condition]:
        """Return the conditions that nobody in it may meet."""
        return [other.condition for other in self.audiences if other.name in audience.exclude]


def audiences_file(own: str) -> Path:
    """Return the file of audiences: the user's own, or the one that comes with the package."""
    return Path(own).expanduser() if own else AUDIENCES_FILE


def audiences_identity(raw: Path | None, config: Config, home: Home) -> dict[str, str]:
    """Return what names the file of rules and the key of the lots; `raw` plays no part.

    Raises:
        UserError: naming everything that is wrong with the file of rules, or when the key can't be read.
    """
    path = audiences_file(config.audiences.file)
    load_audiences(path)
    return {
        "audiences": hashlib.sha256(path.read_bytes()).hexdigest(),
        "identity_key": fingerprint(identity_key(home)),
    }


def load_audiences(path: Path) -> Audiences:
    """Return the audiences of a YAML file.

    Raises:
        UserError: naming everything that is wrong with it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"The file of audiences {path.name} can't be read.",
            found=error.strerror,
            next_step="check audiences.file; empty means conf/audiences.yaml",
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"The file of audiences {path.name} is not readable as YAML.",
            found=str(error),
            next_step="compare it with conf/audiences.yaml",
        ) from None
    found, problems = read_audiences(content)
    if problems or found is None:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise UserError(
            f"The file of audiences {path.name} has {count}.",
            found="\n".join(problems),
            next_step="compare it with conf/audiences.yaml; docs/audiences.md explains every word",
        )
    return found


def read_audiences(content: Any) -> tuple[Audiences | None, list[str]]:
    """Return the audiences of a YAML's content, or None, and everything that is wrong with it, in words."""
    if not isinstance(content, dict):
        return None, [f"the file holds {_kind(content)}; expected `audiences:` with a list below it"]
    problems: list[str] = []
    listed = content.get("audiences")
    try:
        found = Audiences.model_validate(content)
    except ValidationError as error:
        found = None
        problems += [_describe(entry, listed) for entry in error.errors()]
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    names = [str(entry.get("name", "?")) for entry in entries]
    problems += [f"{name}: {times} audiences have this name" for name, times in Counter(names).items() if times > 1]
    conditions: dict[str, Condition] = {}
    for name, entry in zip(names, entries, strict=True):
        mistakes: list[str] = []
        conditions[name] = read_condition(entry.get("where"), f"{name}.where", mistakes)
        problems += mistakes
        if not mistakes and not can_match(conditions[name]):
            problems.append(f"{name}.where: contradicts itself, so it can never match anybody")
    for name, entry in zip(names, entries, strict=True):
        problems += _exclusion_problems(name, entry.get("exclude"), conditions)
    if found is not None and found.overlap == "first" and not problems:
        problems += _shadowed(found)
    return found, list(dict.fromkeys(problems))


def _exclusion_problems(name: str, excluded: Any, conditions: dict[str, Condition]) -> list[str]:
    if not isinstance(excluded, list):
        return []
    problems, others = [], [str(other) for other in excluded if str(other) != name]
    for other in others:
        if other not in conditions:
            close = nearest(other, conditions)
            problems.append(
                f"{name}.exclude: there is no audience {other}" + (f"; did you mean {close}?" if close else "")
            )
    known = [conditions[other] for other in others if other in conditions]
    if known and can_match(conditions[name]) and not can_match(conditions[name], without=known):
        problems.append(f"{name}.exclude: leaves nobody out of whom it asks for, so it can never match anybody")
    return problems


def _shadowed(found: Audiences) -> list[str]:
    """Return what is wrong where whoever fits an audience already stands in one above it."""
    above: list[Audience] = []
    problems = []
    for audience in found.audiences:
        taken = [other.condition for other in above]
        if above and not can_match(audience.condition, without=taken):
            problems.append(
                f"{audience.name}: whoever fits it stands in an audience above already, so it stays empty; put it "
                "further up, or set `overlap: allow`"
            )
        if not (audience.is_budget or audience.top or audience.top_share or audience.exclude):
            above.append(audience)
    return problems


def _describe(entry: Any, listed: Any) -> str:
    place = [str(part) for part in entry["loc"]]
    if len(place) > 1 and place[0] == "audiences" and isinstance(listed, list):
        audience = listed[int(place[1])]
        name = audience.get("name") if isinstance(audience, dict) else None
        place = [str(name or f"audience {int(place[1]) + 1}"), *place[2:]]
    key, message = ".".join(place) or "the file", str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] == "extra_forbidden":
        model = Costs if "costs" in place[:-1] else Audience if entry["loc"][0] == "audiences" else Audiences
        close = nearest(place[-1], model.model_fields)
        return f"{key}: unknown key" + (f"; did you mean {close}?" if close else "")
    if entry["type"] == "missing":
        return f"{key}: is missing"
    value = "" if isinstance(entry["input"], dict | list) else f"{entry['input']!r}: "
    return f"{key}: {value}{message[:1].lower()}{message[1:]}"


def _kind(content: Any) -> str:
    return "nothing" if content is None else f"a {type(content).__name__}"
