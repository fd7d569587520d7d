"""Profiles: the words that a text says of who somebody is, for whoever asks how many others they fit.

In come ages, genders and numbers of purchases; out come the words of each, as `compose` writes them. The one thing to
know: these are what could tell a person apart in a text without any name; what they did stands there too.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from behavior_tasks.examples.feature_sql import UNKNOWN
from behavior_tasks.text.bands import band_table
from behavior_tasks.text.names import slug
from behavior_tasks.text.settings import TextSettings
from behavior_tasks.text.words import Band

PROFILE = ("age", "gender", "purchases")
NOTHING = "–"
"""Where a text says nothing."""


def profile_words(settings: TextSettings, people: pd.DataFrame) -> pd.DataFrame:
    """Return the words of each profile, a column each of PROFILE.

    Args:
        settings: how texts are written.
        people: `age` and `purchases` (NaN where unknown) and `gender`, a row a person.
    """
    genders = {
        word: slug(word) or NOTHING if isinstance(word, str) and word != UNKNOWN else NOTHING
        for word in people["gender"].unique()
    }
    return pd.DataFrame(
        {
            "age": _banded(people["age"], settings.words.ages),
            "gender": people["gender"].map(genders).fillna(NOTHING),
            "purchases": _banded(people["purchases"], settings.words.purchases),
        },
        index=people.index,
    )


def _banded(numbers: pd.Series, bands: Sequence[Band]) -> np.ndarray:
    values = numbers.astype("float64").to_numpy()
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    edges, words = band_table(bands, most=max(most, 200.0))
    named = np.array([*words, NOTHING], dtype=object)
    return named[np.where(np.isnan(values), len(words), np.searchsorted(edges, values, side="right"))]
