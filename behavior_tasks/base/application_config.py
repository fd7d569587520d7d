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


class RecommendConfig(Section):
    """Recommendations: products for every shopper."""

    top: int = Field(10, ge=1, le=1000, description="Products recommended to each shopper.")


class DemandConfig(Section):
    """Demand: how many pieces of each product the horizon will need."""

    stock_file: str = Field(
        "", description="CSV with product_id and stock, for the days that stock will last; empty: no stock is judged."
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

    max_psi: float = Field(
        0.25, gt=0, le=10, description="Population stability index above which a column has drifted."
    )
