"""Settings of the applications: what the shop takes away from the scores.

In comes YAML or a form, out come frozen sections, one an application. The one thing to know: none of them changes a
score; they only decide what is made of it.
"""

from typing import Literal

from pydantic import Field, PositiveFloat

from behavior_tasks.base.section import Section

RuleName = Literal[
    "events_per_minute",
    "events_per_hour",
    "products_per_minute",
    "session_events",
    "products_in_order",
    "purchases_per_hour",
    "small_before_large",
    "largest_purchase",
    "spend_against_own",
    "basket_against_own",
    "carts_without_views",
    "returns",
    "returns_against_purchases",
    "night_events",
    "odd_hours",
    "strange_categories",
    "price_against_own",
]
"""The velocity rules of risk; what each means stands in `serve/risk_rules.py`."""
RiskMethod = Literal["surprise", "velocity", "forest", "combined"]


class AudiencesConfig(Section):
    """Audiences: whom to contact, and whom to leave alone for comparison."""

    file: str = Field(
        "", description="Your own YAML of audiences, shaped like conf/audiences.yaml; empty: that file itself."
    )
    holdout: float = Field(
        0.1,
        ge=0,
        le=0.5,
        description="Share of every audience that is drawn by lot and not contacted, so that `behavior lift` can "
        "compare; the same shopper is always drawn for the same campaign.",
    )
    reasons: int = Field(
        50,
        ge=0,
        le=100_000,
        description="Shoppers of each audience, the first ones, beside whom a reason in words stands; each costs "
        "some twenty to thirty questions to the model.",
    )
    method: Literal["auto", "champion", "simple"] = Field(
        "auto",
        description="Who says how likely a purchase is. auto: the champion where it found more buyers than the best "
        "simple method (recency, RFM) when both were last put to the test, else that one; what the night before rested "
        "on stays until another is better beyond chance.",
    )


class RecommendConfig(Section):
    """Recommendations: products for every shopper."""

    top: int = Field(10, ge=1, le=1000, description="Products recommended to each shopper.")
    bought: Literal["keep", "drop"] = Field(
        "keep",
        description="Whether a product that a shopper has bought before may be recommended again. The page tells which "
        "share of what people buy they had bought before.",
    )
    per_category: int = Field(
        0, ge=0, le=1000, description="Most products of one category in a shopper's list; 0: any number."
    )


class DemandConfig(Section):
    """Demand: how many pieces of each product the horizon will need."""

    stock_file: str = Field(
        "",
        description="CSV with product_id and stock (and, if you like, lead_time_days and on_order), for the days that "
        "stock will last and the list of what to order; empty: no stock is judged.",
    )
    returns: Literal["gross", "net"] = Field(
        "gross",
        description="gross counts every piece sold; net takes off what the same shopper gives back of the same product "
        "within the same horizon, e.g. a cancelled order.",
    )
    interval: float = Field(
        0.8, ge=0.5, le=0.98, description="How often the demand that comes shall lie in its interval."
    )
    service_level: float = Field(
        0.95,
        ge=0.5,
        le=0.999,
        description="How often the stock of a product shall last until what was ordered is there.",
    )
    lead_time_days: float = Field(
        7, ge=0, le=365, description="Days until an order is there, for products of which the stock file says nothing."
    )
    average_horizons: int = Field(4, ge=1, le=100, description="Horizons in the moving average.")
    past_horizons: int = Field(
        26, ge=2, le=200, description="Most horizons before the day that are read: forecasts are tried on each of them."
    )
    model_horizons: int = Field(
        4,
        ge=0,
        le=200,
        description="Most of these horizons on which the language model is tried, each asked once more; only those "
        "that it was not trained on count.",
    )


class RiskConfig(Section):
    """Risk: shoppers whose behaviour is unusual."""

    alerts: int = Field(50, ge=1, le=1_000_000, description="Most shoppers on a day's list.")
    repeat_days: int = Field(
        7,
        ge=0,
        le=365,
        description="A shopper who was on a list is not listed again within so many days, unless it got worse.",
    )
    worse: float = Field(
        1.2, ge=1, le=100, description="It got worse when the score is above so many times that of the earlier list."
    )
    days: int = Field(7, ge=1, le=90, description="Days before the day of scoring whose events are judged.")
    history_days: int = Field(
        90, ge=2, le=3650, description="Days before the day of scoring that tell what is usual for a shopper."
    )
    method: RiskMethod = Field(
        "combined",
        description="What the list is ranked by: the language model's surprise, the velocity rules, an isolation "
        "forest, or surprise and rules combined. docs/risk.md says how each does.",
    )
    unusual: float = Field(
        0.99,
        ge=0,
        lt=1,
        description="A shopper can be listed whose score is above that of this share of the shoppers of the reference, "
        "an earlier moment.",
    )
    quantile: float = Field(
        0.999,
        gt=0.5,
        lt=1,
        description="A velocity rule fires above this quantile of the shoppers of the reference.",
    )
    limits: dict[RuleName, PositiveFloat] = Field(
        default_factory=dict,
        description="Velocity rule → the number above which it fires, in place of the quantile.",
    )
    off: list[RuleName] = Field(default_factory=list, description="Velocity rules that are not asked.")


class WatchConfig(Section):
    """The watch: when a difference between then and now is worth an alert."""

    days: int = Field(
        90, ge=1, le=3650, description="How many days back served dates, and the days' traffic, are shown."
    )
    min_rows: int = Field(
        100, ge=10, le=1_000_000, description="Below so many rows, then or now, nothing is said of a column."
    )
    max_psi: float = Field(
        0.25,
        gt=0,
        le=10,
        description="Population stability index, less what chance gives, above which a column has drifted.",
    )
    max_ks: float = Field(
        0.2, gt=0, le=1, description="Kolmogorov-Smirnov distance above which a column has drifted, too."
    )
    max_drifted: float = Field(
        0.2, gt=0, le=1, description="Share of drifted columns above which the champion should be trained anew."
    )
    max_f1_drop: float = Field(
        0.05,
        gt=0,
        le=1,
        description="How far F1 may fall below that of the test before the champion should be trained.",
    )
    false_alarms: float = Field(
        0.01,
        gt=0,
        le=0.2,
        description="Chance per day that any column of a champion is called drifted though nothing has changed.",
    )
    keep_days: int = Field(
        400,
        ge=1,
        le=36500,
        description="`behavior gc` lets go the page and tables of a day that was watched longer ago than this; the "
        "newest day and the journal of alerts always stay.",
    )
