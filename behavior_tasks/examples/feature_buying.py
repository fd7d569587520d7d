"""Features of a shopper's purchases: recency, frequency and money, their rhythm, carts and returns.

In comes nothing; out comes a part of the table of features. Lines of the same instant are one purchase.
"""

from behavior_tasks.examples.feature_activity import SESSIONS, windows
from behavior_tasks.examples.feature_sql import (
    FADING_UNITS,
    SECOND,
    UNITS,
    Feature,
    count,
    in_days,
    money,
    number,
    only,
    ratio,
    share,
    total,
    variation,
)

BUY = "action = 'purchase'"
NEW_BUY = "opens_purchase"
"""First line of a purchase: lines of the same instant are one purchase."""
PURCHASES = count(NEW_BUY)
CART = "action = 'add_to_cart'"
OPEN_CART = f"{CART} AND (bought_after IS NULL OR bought_after <= 0)"
SINCE_PURCHASE = f"min({only('ago', BUY)})"
FIRST_PURCHASE = f"max({only('ago', BUY)})"
FADED_BUYS = f"sum({only('fading', NEW_BUY)})"
FADED_CENTS = f"sum({only('amount_units // 100 * fading', BUY)})"
FADED_SPEND = f"{number(FADED_CENTS)} / {UNITS // 100 * FADING_UNITS}"
PURCHASE_GAP = ratio(in_days(f"({FIRST_PURCHASE} - {SINCE_PURCHASE})"), f"nullif({PURCHASES} - 1, -1.0)")

BUYING: tuple[Feature, ...] = (
    Feature(
        name="purchase_recency_days",
        description="days since the last purchase",
        sql=in_days(SINCE_PURCHASE),
        in_text=True,
    ),
    Feature(name="purchase_tenure_days", description="days since the first purchase", sql=in_days(FIRST_PURCHASE)),
    Feature(name="purchases", description="purchases (different instants)", sql=PURCHASES, in_text=True),
    *windows("purchases", "purchases", NEW_BUY, in_text=(30, 90)),
    Feature(
        name="purchases_fading",
        description="purchases, each counted half as much for every 30 days since: recency and frequency in one",
        sql=f"coalesce({number(FADED_BUYS)} / {FADING_UNITS}, 0.0)",
    ),
    Feature(
        name="purchase_rate",
        description="purchases per 30 days since the first event",
        sql=ratio(f"{PURCHASES} * 30", in_days("max(ago)")),
    ),
    Feature(name="spend", description="amount of all purchases", sql=total("amount_units", BUY), in_text=True),
    Feature(
        name="spend_7d",
        description="amount of the purchases in the last 7 days",
        sql=total("amount_units", BUY, 7),
        window_days=7,
    ),
    Feature(
        name="spend_30d",
        description="amount of the purchases in the last 30 days",
        sql=total("amount_units", BUY, 30),
        window_days=30,
    ),
    Feature(
        name="spend_90d",
        description="amount of the purchases in the last 90 days",
        sql=total("amount_units", BUY, 90),
        window_days=90,
    ),
    Feature(
        name="spend_fading",
        description="amount of all purchases, each counted half as much for every 30 days since: RFM in one number",
        sql=f"CASE WHEN {count(BUY)} = 0 THEN 0.0 ELSE {FADED_SPEND} END",
    ),
    Feature(
        name="basket_spend",
        description="mean amount of a purchase",
        sql=ratio(total("amount_units", BUY), PURCHASES),
        in_text=True,
    ),
    Feature(
        name="largest_line",
        description="largest amount of one line of a purchase",
        sql=money(f"max({only('amount_units', BUY)})"),
    ),
    Feature(name="basket_lines", description="mean lines of a purchase", sql=ratio(count(BUY), PURCHASES)),
    Feature(name="purchase_gap_days", description="mean days between purchases", sql=PURCHASE_GAP, in_text=True),
    Feature(
        name="purchase_gap_variation",
        description="standard deviation of the time between purchases over its mean",
        sql=variation(f"(buy_gap // {SECOND})", NEW_BUY),
    ),
    Feature(
        name="last_purchase_gap_days",
        description="days between the last two purchases",
        sql=in_days(f"arg_min(buy_gap, {only('ago', f'{NEW_BUY} AND buy_gap IS NOT NULL')})"),
    ),
    Feature(
        name="overdue",
        description="days since the last purchase over the mean days between purchases",
        sql=ratio(in_days(SINCE_PURCHASE), PURCHASE_GAP),
        in_text=True,
    ),
    Feature(
        name="habit",
        description="share of the horizon-long periods since the first event that hold a purchase",
        sql=ratio(number(f"count(DISTINCT {only('period', BUY)})"), number("max(period) + 1")),
        in_text=True,
    ),
    Feature(name="conversion", description="purchases per session", sql=ratio(PURCHASES, SESSIONS), in_text=True),
    Feature(
        name="return_rate",
        description="events of the action return per line of a purchase",
        sql=ratio(count("action = 'return'"), count(BUY)),
    ),
    Feature(
        name="open_carts_7d",
        description="products put into the cart in the last 7 days and not bought by the cutoff, counted per event",
        sql=count(OPEN_CART, 7),
        window_days=7,
        in_text=True,
    ),
    Feature(
        name="open_carts",
        description="products put into the cart and not bought by the cutoff, counted per event",
        sql=count(OPEN_CART),
        in_text=True,
    ),
    Feature(
        name="cart_recency_days",
        description="days since a product was put into the cart that was not bought by the cutoff",
        sql=in_days(f"min({only('ago', OPEN_CART)})"),
    ),
    Feature(
        name="open_cart_value",
        description="prices of the products put into the cart and not bought by the cutoff, added per event",
        sql=total("price_units", OPEN_CART),
    ),
    Feature(
        name="cart_abandonment",
        description="share of the events of the action add_to_cart whose product was not bought by the cutoff",
        sql=share(OPEN_CART, of=CART),
    ),
)
