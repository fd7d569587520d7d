"""Settings of serving: which champions answer, and when an answer carries a banner.

In comes YAML or a form, out comes a frozen section. The one thing to know: what a champion reads and how far it looks
ahead travels with the champion, so none of that is asked for here.
"""

from typing import Literal

from pydantic import Field

from behavior_tasks.base.section import Section


class ServeConfig(Section):
    """Which champions serve, and when what they say carries a banner."""

    shopper_model: str = Field(
        "behavior", min_length=1, description="Registered model whose champion says who will buy (unit shopper)."
    )
    product_model: str = Field(
        "behavior-products",
        min_length=1,
        description="Registered model whose champion says who will buy which product (unit shopper_product). Train it "
        "with examples.unit=shopper_product and registry.model_name set to this name.",
    )
    max_champion_days: int = Field(
        30,
        ge=1,
        le=3650,
        description="A champion is stale when the days that it was tested on ended longer ago: banner and exit code 3.",
    )
    max_silent_days: int = Field(
        2, ge=1, le=3650, description="A log whose last event is longer ago than this is late: banner and exit code 3."
    )
    min_day_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="A newest day with fewer events than this share of what is usual on its weekday is thin: banner "
        "and exit code 3.",
    )
    max_unknown_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="When, of the events about products that the champion should know by its test, a larger share is "
        "about products that it has never seen: banner and exit code 3.",
    )
    missing_columns: Literal["refuse", "serve"] = Field(
        "refuse",
        description="What happens when today's log lacks a column that the champion reads: nothing is handed out, or "
        "all of it with a severe banner.",
    )
    keep_days: int = Field(
        400,
        ge=1,
        le=36500,
        description="`behavior gc` lets go what was handed out longer ago than this; the newest date always stays.",
    )
