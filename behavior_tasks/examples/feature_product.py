"""Features of one product for one shopper, for the unit shopper_product.

In comes nothing; out comes the last part of the table of features. Each is a plain expression over one row a
shopper, product and cutoff (the level `product` of `history`), whose product lies in the shopper's history.
"""

from behavior_tasks.examples.feature_sql import Feature, in_days, money, number, ratio


def _of(name: str, description: str, sql: str, *, in_text: bool = False) -> Feature:
    return Feature(name=name, description=description, sql=sql, over="product", in_text=in_text)


PRODUCT: tuple[Feature, ...] = (
    _of("this_events", "the shopper's events with this product", number("n"), in_text=True),
    _of("this_recency_days", "days since the shopper's last event with it", in_days("last"), in_text=True),
    _of("this_tenure_days", "days since the shopper's first event with it", in_days("first")),
    _of("this_place", "place of it among the shopper's products, the one touched last is 1", number("recency_place")),
    _of("this_later_events", "the shopper's events after the last one with it", number("later")),
    _of("this_in_last_session", "1 when it was touched in the shopper's last session, else 0", number("in_session")),
    _of("this_share", "share of the shopper's events on products that it has", ratio(number("n"), number("all_n"))),
    _of("this_clicks", "how often the shopper clicked it", number("clicks")),
    _of("this_favourites", "how often the shopper marked it as a favourite", number("favourites")),
    _of("this_carts", "how often the shopper put it into the cart", number("carts")),
    _of(
        "this_open_carts",
        "how often the shopper put it into the cart without buying it by the cutoff",
        number("open_carts"),
        in_text=True,
    ),
    _of("this_purchases", "lines of the shopper's purchases with it", number("buys"), in_text=True),
    _of("this_purchase_recency_days", "days since the shopper last bought it", in_days("bought_last")),
    _of("this_returns", "how often the shopper returned it", number("returned")),
    _of("this_price", "price of one piece that the shopper saw last", money("price_last")),
    _of(
        "this_price_in_category",
        "that price over the mean price of its category in the whole shop before the cutoff",
        ratio(number("price_last"), number("market_price")),
    ),
    _of(
        "this_price_to_usual",
        "that price over the mean price of what the shopper touched",
        ratio(f"{number('price_last')} * prices_known", number("prices_sum")),
    ),
    _of(
        "this_popularity",
        "its popularity before the cutoff: 1 is the shop's average product",
        ratio(f"{number('popularity')} * market_size", number("market_events")),
    ),
    _of("this_popularity_place", "its place among the shop's products by popularity", number("popularity_place")),
    _of(
        "this_shop_conversion",
        "purchases per event that the whole shop had on it before the cutoff",
        ratio(number("popularity_buys"), number("popularity")),
    ),
    _of(
        "this_category_share",
        "share of the shopper's events with a known category that its category has",
        ratio(number("category_n"), number("category_all")),
    ),
    _of("this_category_purchases", "lines of the shopper's purchases in its category", number("category_buys")),
)
