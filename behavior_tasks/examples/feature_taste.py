"""Features of a shopper's taste: products, categories, brands, prices, popularity of what they touch, and the person.

In comes nothing; out comes a part of the table of features. What the whole shop did (popularity, mean prices) comes
from before the same cutoff, see `market`.
"""

from behavior_tasks.examples.feature_sql import (
    Feature,
    money,
    number,
    only,
    ratio,
    share_of_rows,
    spread,
    top_share,
)

RELATIVE = "CAST(max(market_size) AS DOUBLE) / nullif(max(market_events), 0)"
"""One over the events of the shop's average product."""

AGE = f"arg_max(age, {only('place', 'age IS NOT NULL')})"
BOUGHT_PRICE = only("price_units", "action = 'purchase'")
AGE_EDGES = (18, 25, 35, 45, 55, 65)


def _known(expression: str, what: str) -> str:
    """A count that is undefined where nothing of its kind is known, as in a log without such a column."""
    return f"CASE WHEN count({what}) > 0 THEN {number(expression)} END"


TASTE: tuple[Feature, ...] = (
    Feature(name="products", description="different products", over="products", sql=number("count(p)")),
    Feature(
        name="product_events",
        description="events per product",
        over="products",
        sql=ratio(number("sum(n)"), number("count(p)")),
    ),
    Feature(
        name="top_product_share",
        description="share of the events on products that the most touched product has",
        over="products",
        sql=top_share("n"),
    ),
    Feature(
        name="bought_products",
        description="different products bought",
        over="products",
        sql=number(f"count({only('p', 'buys > 0')})"),
    ),
    Feature(
        name="rebought_share",
        description="share of the bought products that stand in more than one line of purchases",
        over="products",
        sql=share_of_rows("CAST(buys > 0 AS INTEGER)", "buys > 1"),
    ),
    Feature(
        name="categories",
        description="different categories",
        over="categories",
        sql=_known("count(c)", "c"),
        in_text=True,
    ),
    Feature(
        name="top_category_share",
        description="share of the events with a known category that the most frequent category has",
        over="categories",
        sql=top_share("n"),
    ),
    Feature(
        name="category_spread",
        description="effective number of categories (inverse Simpson index)",
        over="categories",
        sql=spread("n"),
    ),
    Feature(
        name="bought_categories",
        description="different categories bought",
        over="categories",
        sql=_known(f"count({only('c', 'buys > 0')})", "c"),
    ),
    Feature(name="brands", description="different brands", over="brands", sql=_known("count(b)", "b")),
    Feature(
        name="top_brand_share",
        description="share of the events with a known brand that the most frequent brand has",
        over="brands",
        sql=top_share("n"),
    ),
    Feature(
        name="brand_spread",
        description="effective number of brands (inverse Simpson index)",
        over="brands",
        sql=spread("n"),
    ),
    Feature(
        name="price_level",
        description="mean price of one piece over the events that state one",
        sql=f"{money('sum(price_units)')} / nullif(count(price_units), 0)",
        in_text=True,
    ),
    Feature(
        name="price_max",
        description="highest price of one piece over the events that state one",
        sql=money("max(price_units)"),
    ),
    Feature(
        name="bought_price_level",
        description="mean price of one piece over the lines of purchases that state one",
        sql=f"{money(f'sum({BOUGHT_PRICE})')} / nullif(count({BOUGHT_PRICE}), 0)",
    ),
    Feature(
        name="price_in_category",
        description="prices over the mean prices of their categories in the whole shop before the cutoff",
        over="categories",
        sql=ratio(
            number(f"sum({only('price_units', 'market_price > 0')})"),
            number(f"sum({only('prices * market_price', 'market_price > 0')})"),
        ),
    ),
    Feature(
        name="popularity",
        description="mean popularity of the touched products, per event: 1 is the shop's average product",
        over="products",
        sql=ratio(f"{number('sum(n * popularity)')} * {RELATIVE}", number("sum(n)")),
    ),
    Feature(
        name="last_popularity",
        description="popularity of the product touched last: 1 is the shop's average product",
        over="products",
        # Of products touched at the same instant the least popular one, so that no order of rows plays a part.
        sql=f"{number('arg_min(popularity, (last, popularity))')} * {RELATIVE}",
    ),
    Feature(
        name="bought_popularity",
        description="mean popularity of the bought products, per line: 1 is the shop's average product",
        over="products",
        sql=ratio(f"{number('sum(buys * popularity)')} * {RELATIVE}", number("sum(buys)")),
    ),
    Feature(
        name="hit_share",
        description="share of the events on products that lie on the shop's hundred most popular products",
        over="products",
        sql=share_of_rows("n", "popularity_place <= 100"),
    ),
    Feature(
        name="shop_conversion",
        description="purchases per event that the whole shop had on the touched products before the cutoff",
        over="products",
        sql=ratio(number("sum(n * popularity_buys)"), number("sum(n * popularity)")),
    ),
    Feature(
        name="age",
        description="latest known age in years",
        sql=number(AGE),
    ),
    Feature(
        name="age_band",
        description="band of the latest known age: 0 below 18, then 18, 25, 35, 45, 55, and 6 from 65 on",
        sql=number(" + ".join(f"CAST({AGE} >= {edge} AS INTEGER)" for edge in AGE_EDGES)),
    ),
    Feature(
        name="gender",
        description="latest known gender",
        sql=f"arg_max(gender, {only('place', 'gender IS NOT NULL')})",
        categorical=True,
    ),
)
