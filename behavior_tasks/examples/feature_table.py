"""The table of features: everything that is known about a shopper (and a product) just before a cutoff.

In comes nothing; out comes one tuple with a row a feature: name, description and SQL. `behavior features` shows it;
`features` computes it; those marked `in_text` become words of the text too.
"""

from dataclasses import dataclass
from typing import Literal

from behavior_tasks.examples.feature_activity import ACTIVITY
from behavior_tasks.examples.feature_buying import BUYING
from behavior_tasks.examples.feature_product import PRODUCT
from behavior_tasks.examples.feature_sql import Feature
from behavior_tasks.examples.feature_taste import TASTE

Unit = Literal["shopper", "shopper_product"]
UNITS: tuple[Unit, ...] = ("shopper", "shopper_product")
FEATURES: tuple[Feature, ...] = (*ACTIVITY, *BUYING, *TASTE, *PRODUCT)


@dataclass(frozen=True, kw_only=True)
class FeatureSettings:
    """What the features depend on beside the events."""

    lookback_days: int
    horizon_days: int
    timezone: str
    unit: Unit = "shopper"

    def features(self) -> list[Feature]:
        """The features of this unit whose window is shorter than the lookback."""
        return [
            feature
            for feature in FEATURES
            if (feature.over != "product" or self.unit == "shopper_product")
            and (feature.window_days is None or feature.window_days < self.lookback_days)
        ]
