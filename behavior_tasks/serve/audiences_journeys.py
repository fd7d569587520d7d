"""Journeys in words: audiences in; what the first shoppers of each did, told in English and Chinese, out.

The one thing to know: products and categories are called as the champion's own texts call them, and whatever else a
name could give away stands there as a letter, so a journey holds no id.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import connect
from behavior_tasks.data.events import open_events
from behavior_tasks.serve.audiences_files import JOURNEY_COLUMNS, JOURNEYS, TOLD
from behavior_tasks.serve.audiences_pick import Picked
from behavior_tasks.serve.audiences_reasons import is_in
from behavior_tasks.serve.audiences_scores import Scored
from behavior_tasks.serve.moment import Moment
from behavior_tasks.text.phrases import tell_phrases
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.words import load_templates

LAST_EVENTS = 12
"""Newest events of a journey that are told one by one."""
LANGUAGES = ("en", "zh")


def write_journeys(job: Job, scored: Scored, moment: Moment, picked: Sequence[Picked], folder: Path) -> None:
    """Write JOURNEYS: JOURNEY_COLUMNS, the first shoppers of each audience, control left out."""
    first = {one.audience.name: _first(one) for one in picked}
    wanted = sorted({shopper for shoppers in first.values() for shopper in shoppers})
    told = _journeys(job, scored, moment, wanted) if wanted else {}
    rows = [
        (audience, shopper, language, told[language][shopper])
        for audience, shoppers in first.items()
        for shopper in shoppers
        for language in LANGUAGES
        if told[language].get(shopper)
    ]
    pd.DataFrame(rows, columns=list(JOURNEY_COLUMNS)).astype("string").to_parquet(folder / JOURNEYS, index=False)


def _first(one: Picked) -> list[str]:
    reached = one.of_group("contact" if one.audience.contact else "leave")
    return [str(shopper) for shopper in reached["shopper"].head(TOLD)]


def _journeys(job: Job, scored: Scored, moment: Moment, wanted: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return language → shopper → journey."""
    own = scored.champion.text if scored.champion else None
    days = scored.champion.examples.lookback_days if scored.champion else job.config.examples.lookback_days
    settings = {language: _settings(own, language, moment, days) for language in LANGUAGES}
    told: dict[str, dict[str, str]] = {language: {} for language in LANGUAGES}
    events = open_events(job.inputs["clean"])
    for bucket in scored.champion.as_trained(events) if scored.champion else events:
        mine = [shopper for shopper in wanted if is_in(bucket, shopper)]
        before = bucket.until(moment.cutoff)
        for language in LANGUAGES if mine else ():
            with connect(memory_mb=job.config.engine.memory_mb) as connection:
                for some in tell_phrases(connection, before, moment.cutoff, settings[language], shoppers=mine):
                    joined = ("".join(pieces).strip() for pieces in some.pieces)
                    told[language] |= dict(zip(some.shoppers, joined, strict=True))
    return told


def _settings(own: TextSettings | None, language: str, moment: Moment, lookback_days: int) -> TextSettings:
    """Return the settings of plain sentences in a language, with the champion's names where it has any."""
    is_own = own is not None and own.language == language and own.templates.sentence is not None
    templates = own.templates if own is not None and is_own else load_templates(language)
    plain = {"style": "sentence", "language": language, "templates": templates, "last_events": LAST_EVENTS}
    if own is not None:
        return own.model_copy(update=plain)
    nothing = {"lookback_days": lookback_days, "timezone": moment.timezone, "bins": {}, "categories": []}
    return TextSettings.model_validate(plain | nothing)
