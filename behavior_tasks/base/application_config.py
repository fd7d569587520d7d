"""Settings of the applications: what the shop takes away from the scores.

In comes YAML or a form, out come frozen sections, one an application. The one thing to know: none of them changes a
score; they only decide what is made of it.
"""

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
