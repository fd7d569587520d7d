"""Settings of cleaning: what is set apart, filled, or replaced.

In comes YAML or a form, out comes a frozen section. The one thing to know: bounds and medians are fitted on the train
period and only applied afterwards.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from behavior_tasks.base.section import Section


class MissingRule(Section):
    """What happens to a missing value of one column."""

    rule: Literal["keep", "drop", "constant", "median", "forward_fill", "interpolate"] = Field(
        description="keep it missing; drop the event; fill a constant, the category's median on train, or the "
        "shopper's last known value (of the same product, for what belongs to a product); or interpolate between "
        "the shopper's neighbouring values in time, never across a cutoff."
    )
    value: str | float | None = Field(None, description="The constant.")

    @model_validator(mode="after")
    def _constant_has_value(self) -> Self:
        if (self.rule == "constant") != (self.value is not None):
            raise ValueError("needs `value` exactly when the rule is `constant`")
        return self


class CleanConfig(Section):
    """Duplicates, bots, missing values and outliers."""

    double_click_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="A repeat of the same action on the same product by the same shopper within so many seconds of one "
        "local day is set apart as a double-click; 0: off.",
    )
    bot_events_per_day: int = Field(
        5000,
        ge=0,
        description="A shopper's local day with more events than this is set apart whole, as a bot's; other days "
        "stay. 0: off.",
    )
    missing: dict[str, MissingRule] = Field(
        default_factory=lambda: {
            "category": MissingRule(rule="constant", value="unknown"),
            "gender": MissingRule(rule="constant", value="unknown"),
        },
        description="Column → rule. Amount, price and quantity are first derived from one another.",
    )
    outliers: Literal["iqr", "mad", "zscore", "off"] = Field(
        "iqr",
        description="How far is extreme, among the amounts of a category on train: interquartile ranges beyond the "
        "quartiles (iqr), median absolute deviations from the median (mad), standard deviations from the mean.",
    )
    outlier_scale: Literal["log", "linear"] = Field(
        "log", description="Scale on which amounts are compared; amounts grow by factors, so log is the right one."
    )
    outlier_factor: float | None = Field(
        None, gt=0, le=100, description="How many of them are allowed. None: iqr 3, mad 3.5, zscore 3."
    )
    outlier_min_group: int = Field(
        30,
        ge=2,
        description="A category with fewer amounts than this uses its parent's bounds (electronics.audio → "
        "electronics; also / and >), at last the whole log's.",
    )
    outlier_replace: Literal["median", "clip"] = Field(
        "median", description="An outlier becomes the median of its category, or the bound that it crossed (clip)."
    )
