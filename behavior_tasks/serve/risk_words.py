"""Reasons of risk, in words: unusual shoppers in; the rules that they break and the phrases that surprised most, out.

The one thing to know: a phrase is told in sentences, whatever style the model reads, with the shop's own names of
categories and popular products and letters for the others, so no id stands in it.
"""

from collections.abc import Sequence
from datetime import datetime

import pandas as pd

from behavior_tasks.base.application_config import RuleName
from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import BucketEvents
from behavior_tasks.serve.risk_measure import TOP_PHRASES, Language, read_phrases
from behavior_tasks.serve.risk_rules import RULES, Window
from behavior_tasks.text.phrases import Told, tell_phrases
from behavior_tasks.text.settings import TextSettings

BETWEEN = "; "


def rule_words(fired: Sequence[RuleName], values: pd.Series) -> str:
    """Return what is said of a shopper's broken rules.

    >>> rule_words(["returns"], pd.Series({"returns": 3.0}))
    '3 returns'
    """
    return BETWEEN.join(RULES[name].words.format(value=shown(values[name])) for name in fired)


def shown(value: float) -> str:
    """Return a value with about three digits.

    >>> shown(3.0), shown(24.53), shown(168469.6)
    ('3', '24.5', '168,470')
    """
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def phrase_words(
    shoppers: Sequence[str], events: BucketEvents, language: Language, window: Window, *, memory_mb: int
) -> list[str]:
    """Return the most surprising phrases of each shopper; empty where nothing was more surprising than expected.

    Args:
        shoppers: of one bucket.
        events: that bucket.
        language: the model that is surprised.
        window: when.
    """
    cutoff = window.moment.cutoff
    told = [_tell(shoppers, events, settings, cutoff, memory_mb) for settings in (language.text, _plain(language.text))]
    words: list[str] = []
    for read, plain in zip(*told, strict=True):
        phrases = read_phrases(read, language.reader, window.since)
        phrases = phrases[phrases["read"] & (phrases["excess"] > 0)]
        top = phrases.sort_values("excess", ascending=False, kind="stable").groupby("who").head(TOP_PHRASES)
        chosen: dict[int, list[str]] = {}
        for who, place in zip(top["who"].tolist(), top["place"].tolist(), strict=True):
            chosen.setdefault(who, []).append(plain.pieces[who][1 + place].lstrip(" ,"))
        words += [BETWEEN.join(chosen.get(who, [])) for who in range(len(read.shoppers))]
    return words


def _tell(
    shoppers: Sequence[str], events: BucketEvents, settings: TextSettings, cutoff: datetime, memory_mb: int
) -> list[Told]:
    with connect(memory_mb=memory_mb) as connection:
        return list(tell_phrases(connection, events, cutoff, settings, shoppers=shoppers))


def _plain(text: TextSettings) -> TextSettings:
    """Return the settings with sentences, where the templates have them."""
    return text.model_copy(update={"style": "sentence"}) if text.templates.sentence is not None else text
