"""Settings of the applications: what the shop takes away from the scores.

In comes YAML or a form, out come frozen sections, one an application. The one thing to know: none of them changes a
score; they only decide what is made of it.
"""

from typing import Literal

from pydantic import Field

from behavior_tasks.base.section import Section


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
        "simple method (recency, RFM) when both were last put to the test, else that one.",
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


class WatchConfig(Section):
    """The watch: when a difference between then and now is worth an alert."""

    max_psi: float = Field(
        0.25, gt=0, le=10, description="Population stability index above which a column has drifted."
    )
