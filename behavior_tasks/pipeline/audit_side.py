"""Side tables of the audited log: what the shop knows of its users and products, with canaries in its future.

In comes the base log in a database; out come `users.csv` (no dates: always true) and `products.csv` (dated), and the
settings that name them. The one thing to know: they fill the values that the base log leaves out, so a row of them
that reaches back before its date, or to somebody else's events, changes events that must not change.
"""

from pathlib import Path

import duckdb

from behavior_tasks.base.config import Config, SideTable
from behavior_tasks.base.tables import quote
from behavior_tasks.pipeline.audit_log import ABSURD_SHARE, CANARY, NEW_SHOPPERS, Plant, filled_constants

USERS, PRODUCTS = ("age", "gender"), ("category", "brand", "product_name", "price")


def write_side_tables(
    connection: duckdb.DuckDBPyConnection, folder: Path, config: Config, plant: Plant | None
) -> Config:
    """Write the side tables into a folder and return the settings that name them.

    A column of which the log holds no value is left out, and with its last column a table.

    Args:
        connection: with the table `log`.
        plant: adds rows of users and products that only its future knows, and new values of known products, valid
            from its instant on; only when it is loud.
    """
    loud = plant if plant is not None and plant.loud else None
    tables = {
        "users": ("user_id", USERS, _users_sql(loud), ""),
        "products": ("product_id", PRODUCTS, _products_sql(loud, config.source.max_amount), ", valid_from"),
    }
    # A price from here and a quantity from a rule make an amount, which canaries in the train period must not have.
    silent = {"price"} if "quantity" in filled_constants(config) else set[str]()
    found = {}
    for name, (key, known, query, dated) in tables.items():
        held = connection.execute(f"SELECT {', '.join(f'count({c})' for c in known)} FROM log").fetchall()[0]
        columns = [column for column, values in zip(known, held, strict=True) if values and column not in silent]
        if columns:
            path = folder / f"{name}.csv"
            chosen = f"SELECT {key}, {', '.join(columns)}{dated} FROM ({query}) ORDER BY ALL"
            connection.execute(f"COPY ({chosen}) TO {quote(path)} (FORMAT csv, HEADER)")
            found[name] = SideTable(path=str(path), time_format="unix_seconds")
    return config.model_copy(update={"source": config.source.model_copy(update=found)})


def _users_sql(plant: Plant | None) -> str:
    """SQL of the first known age and gender of every user; of users that only the future knows, a canary's."""
    first = "arg_min(age, timestamp) AS age, arg_min(gender, timestamp) AS gender"
    if plant is None:
        return f"SELECT user_id, {first} FROM log GROUP BY user_id"
    future = f"min(timestamp) >= TIMESTAMP '{plant.at}'"
    return f"""
        SELECT user_id, CASE WHEN {future} THEN 97 ELSE arg_min(age, timestamp) END AS age,
               CASE WHEN {future} THEN '{CANARY}' ELSE arg_min(gender, timestamp) END AS gender
        FROM log GROUP BY user_id
        UNION ALL SELECT '{CANARY}-shopper-' || range, 97, '{CANARY}' FROM range({NEW_SHOPPERS})
    """


def _products_sql(plant: Plant | None, max_amount: float) -> str:
    """SQL of the first known values of every product, valid from the log's beginning, then a canary's."""
    values = ", ".join(f"arg_min({c}, timestamp) AS {c}" for c in PRODUCTS)
    base = f"""
        SELECT product_id, {values}, (SELECT min(epoch_us(timestamp)) // 1000000 FROM log) AS valid_from
        FROM log WHERE product_id <> '' GROUP BY product_id
    """
    if plant is None:
        return base
    strange = f"'{CANARY}-category' AS category, '{CANARY}-brand' AS brand, '{CANARY} name' AS product_name"
    # The instant is a local midnight, hence a whole second.
    valid = f"{ABSURD_SHARE * max_amount} AS price, epoch_us(TIMESTAMP '{plant.at}') // 1000000 AS valid_from"
    return f"""{base}
        UNION ALL BY NAME SELECT DISTINCT product_id, {strange}, {valid} FROM log WHERE product_id <> ''
        UNION ALL BY NAME SELECT '{CANARY}-product-' || range AS product_id, {strange}, {valid} FROM range(7)
    """
