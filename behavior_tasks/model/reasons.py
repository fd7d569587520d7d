"""Reasons: a model and a list of examples in; for each, in words, what moved its prediction most, out.

It is occlusion (see `explain`), made affordable for a list: what says the same thing — the phrases of one kind of
action, the quantile words and the numbers about it — is left out together, so eight questions an example are enough,
and all of them are asked in one batch. The one thing to know: effects do not add up, and a text that is longer than the
model reads shows a little of its older end where something newer is left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from behavior_tasks.model.device import DeviceName
from behavior_tasks.model.predict import open_scorer
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.words import BRACKETED, PLACEHOLDER

EXAMPLES_AT_ONCE = 500
MOST_LETTERS = 60
PUNCTUATION = " ,.，。"
LEAST_CHANGE = 0.005
"""Changes of the probability below this are no reason."""


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Things that are left out together."""

    name: str
    actions: tuple[str, ...] = ()
    """Actions whose phrases belong to it."""
    features: str
    """Regular expression of the names of its features."""
    told: tuple[tuple[str, str], ...] = ()
    """Feature → words with its value, told of those that have one; `n` is whole, `x` has one decimal."""


THEMES: tuple[Theme, ...] = (
    Theme(
        name="carts",
        actions=("add_to_cart",),
        features=r"cart",
        told=(("open_carts", "{n} left in the cart"), ("cart_recency_days", "the last {x} days ago")),
    ),
    Theme(
        name="purchases",
        actions=("purchase", "return"),
        features=r"purchase|bought|spend|basket|largest_line|overdue|habit|^conversion|return",
        told=(("purchases", "{n} so far"), ("purchase_recency_days", "the last {x} days ago")),
    ),
    Theme(
        name="looking at products",
        actions=("browse", "click"),
        features=r"browses|clicks|^products$|product_events|top_product",
        told=(("browses_7d", "{n} looks"), ("clicks_7d", "{n} clicks in 7 days")),
    ),
    Theme(name="searches", actions=("search",), features=r"searches", told=(("searches_7d", "{n} in 7 days"),)),
    Theme(name="favourites", actions=("favourite",), features=r"favourites", told=(("favourites", "{n} so far"),)),
    Theme(
        name="taste and prices",
        features=r"categor|brand|price|popularity|hit_share|shop_conversion",
        told=(("price_level", "at about {x} a piece"),),
    ),
    Theme(name="who they are", features=r"^age|gender"),
    Theme(
        name="visits",
        features=r"",
        told=(("recency_days", "last seen {x} days ago"), ("active_days", "{n} days with a visit")),
    ),
)
"""In order: a feature belongs to the first theme whose expression is found in its name; the last takes all others."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What one theme did to one prediction."""

    theme: str
    words: str
    """E.g. `carts: 2 left in the cart, the last 1.2 days ago, “cart B toys”`."""
    change: float
    """The probability with it less the probability without it: above 0, it speaks for a purchase."""

    def __str__(self) -> str:
        points = f"{100 * self.change:+.1f}".replace("-", "−")
        return f"{self.words} ({points})"


@dataclass(frozen=True)
class _Reading:
    """How a model's texts are taken apart."""

    starts: Mapping[str, str] = field(default_factory=dict)
    """Opening words of an action's phrase → theme."""
    words: Mapping[str, str] = field(default_factory=dict)
    """A feature's word in the text → theme."""
    unquoted: frozenset[str] = frozenset()
    """Openings of phrases that are left out with their theme, but say the opposite of it."""
    stops: tuple[str, ...] = ()
    """Openings of what follows the last phrase."""
    older: str = ""
    """Opening of the summary of what came before the phrases that are told one by one."""
    days: tuple[str, ...] = ()
    """Words of the weekdays; the first one stands before the first phrase."""

    @classmethod
    def of(cls, settings: TextSettings | None) -> "_Reading":
        if settings is None:
            return cls()
        style, starts, words = settings.words, {}, {}
        themes = {action: theme.name for theme in THEMES for action in theme.actions}
        for action, template in style.actions.items():
            starts[_opening(template)] = themes[action]
        for feature, edges in settings.bins.items():
            told = settings.templates.feature_words[feature]
            every = [style.quantile.format(feature=told, number=number) for number in range(1, len(edges) + 2)]
            for word in (*every, style.undefined.format(feature=told)):
                words[word.strip()] = theme_of(feature)
        after = (style.profile, style.features, PLACEHOLDER.split(style.ago)[0])
        stops = tuple(text.strip() for text in after if text.strip())
        days = tuple(style.day.format(day=day).strip() for day in style.days)
        unquoted = frozenset({_opening(style.actions["return"])})
        return cls(starts, words, unquoted, stops, PLACEHOLDER.split(style.older)[0].strip(), days)

    def themes(self, parts: Sequence[str]) -> list[str | None]:
        """Return the theme of each part; None: what is never left out."""
        found: list[str | None] = []
        running: str | None = None
        for part in parts:
            bare = part.strip(PUNCTUATION)
            feature = self.words.get(bare)
            start = next((theme for opening, theme in self.starts.items() if _opens(bare, opening)), None)
            if feature is not None:
                found.append(feature)
                running = None
                continue
            if bare.startswith(self.stops):
                running = None
            running = start or running
            found.append(running)
        return found

    def last_phrases(self, parts: Sequence[str], themes: Sequence[str | None]) -> dict[str, str]:
        """Return the last phrase of each theme as words, without the bracketed words of time and price."""
        begin = 0
        if self.older and parts and parts[0].strip().startswith(self.older):
            at = (place for place, part in enumerate(parts) if any(day in part for day in self.days))
            begin = next(at, len(parts))
        found: dict[str, str] = {}
        for place in range(begin, len(parts)):
            theme, bare = themes[place], parts[place].strip(PUNCTUATION)
            opening = next((opening for opening in self.starts if _opens(bare, opening)), None)
            if theme is None or opening is None or opening in self.unquoted:
                continue
            end = place + 1
            while end < len(parts) and themes[end] == theme and not self._starts(parts[end]):
                end += 1
            told = "".join(parts[place:end]).replace(opening, f" {opening.strip('[]')} ", 1)
            found[theme] = " ".join(BRACKETED.sub(" ", told).split()).strip(PUNCTUATION)[:MOST_LETTERS]
        return found

    def _starts(self, part: str) -> bool:
        return any(_opens(part.strip(PUNCTUATION), opening) for opening in self.starts)


def _opening(template: str) -> str:
    """Return the words of a template that come first; its last ones where the placeholder stands in front."""
    before, *after = PLACEHOLDER.split(template)
    return before.strip() or after[-1].strip()


def _opens(part: str, opening: str) -> bool:
    return part.startswith(opening) or f" {opening} " in f" {part} "


def theme_of(feature: str) -> str:
    """Return the theme that a feature belongs to.

    >>> theme_of("cart_recency_days"), theme_of("purchases_30d"), theme_of("recency_days"), theme_of("gender")
    ('carts', 'purchases', 'visits', 'who they are')
    """
    name = feature.removeprefix("this_")
    return next(theme.name for theme in THEMES if re.search(theme.features, name))


def reasons_of(
    model_folder: Path,
    parts: Sequence[Sequence[str]],
    features: pd.DataFrame,
    *,
    settings: TextSettings | None,
    top: int = 3,
    device: DeviceName = "auto",
    threads: int = 2,
) -> list[list[Reason]]:
    """Return for each example the themes that moved its prediction most, whatever their sign, the largest first.

    Args:
        model_folder: a model folder of either kind.
        parts: the texts of n examples; empty lists for a model that reads none.
        features: n rows with every feature that the model reads.
        settings: how its texts are written; None: it reads none.
        top: most reasons of an example.
        device: where to compute.
        threads: CPU threads.
    """
    scorer, reading = open_scorer(model_folder, device=device, threads=threads), _Reading.of(settings)
    of_theme: dict[str, list[str]] = {theme.name: [] for theme in THEMES}
    for name in (*scorer.numbers, *scorer.words):
        of_theme[theme_of(name)].append(name)
    found: list[list[Reason]] = []
    for first in range(0, len(parts), EXAMPLES_AT_ONCE):
        some = slice(first, first + EXAMPLES_AT_ONCE)
        chosen, table = [list(of) for of in parts[some]], features.iloc[some].reset_index(drop=True)
        read = [reading.themes(of) for of in chosen]
        texts, tables = list(chosen), [table]
        for theme in THEMES:
            texts += [
                [part for part, of in zip(text, themes, strict=True) if of != theme.name]
                for text, themes in zip(chosen, read, strict=True)
            ]
            tables.append(table.assign(**dict.fromkeys(of_theme[theme.name], np.nan)))
        asked = pd.concat([one.astype(object) for one in tables], ignore_index=True)
        told = scorer.score_parts(texts, asked).probability.reshape(len(tables), len(chosen))
        changes = told[0] - told[1:]
        for row, (text, themes) in enumerate(zip(chosen, read, strict=True)):
            phrases = reading.last_phrases(text, themes)
            found.append(_largest(table.iloc[row], phrases, changes[:, row], top))
    return found


def _largest(features: pd.Series, phrases: Mapping[str, str], changes: np.ndarray, top: int) -> list[Reason]:
    order = [at for at in np.argsort(-np.abs(changes), kind="stable")[:top] if abs(changes[at]) >= LEAST_CHANGE]
    return [
        Reason(
            theme=THEMES[at].name,
            words=_words(THEMES[at], features, phrases.get(THEMES[at].name)),
            change=float(changes[at]),
        )
        for at in order
    ]


def _words(theme: Theme, features: pd.Series, phrase: str | None) -> str:
    told = []
    for name, template in theme.told:
        value = features.get(name)
        if value is not None and not pd.isna(value):
            told.append(template.format(n=round(float(value)), x=_short(float(value))))
    if phrase:
        told.append(f"“{phrase}”")
    return theme.name + (": " + ", ".join(told) if told else "")


def _short(value: float) -> str:
    """Return a number without more digits than a reader wants.

    >>> _short(0.507), _short(9.26), _short(0)
    ('0.5', '9', '0')
    """
    return f"{value:.0f}" if value >= 2 or value < 0.05 else f"{value:.1f}"
