"""The canonical event table: its columns, its actions, and the one total order of events.

Every source is brought to this shape by `data.ingest`. Two events in the same second are ordinary, so events
are ordered by every column, never by file or line: the order of rows in the input can change nothing.
"""

from dataclasses import dataclass, replace

ACTIONS: tuple[str, ...] = ("browse", "search", "click", "favourite", "add_to_cart", "purchase", "return")
"""All actions, in the order in which they sort within one instant. A `return` is a cancelled or refunded
purchase; its amount is positive, as the purchase's was."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of the canonical event table."""

    name: str
    type: str
    """DuckDB type."""
    required: bool
    description: str


EVENT_COLUMNS: tuple[Column, ...] = (
    Column(name="user_id", type="VARCHAR", required=True, description="the shop's own id of the shopper"),
    Column(name="timestamp", type="TIMESTAMP", required=True, description="instant of the event, UTC"),
    Column(name="action", type="VARCHAR", required=True, description="one of ACTIONS"),
    Column(name="product_id", type="VARCHAR", required=True, description="product; may be empty for a search"),
    Column(name="quantity", type="DOUBLE", required=False, description="pieces, > 0"),
    Column(name="price", type="DOUBLE", required=False, description="price of one piece, >= 0"),
    Column(name="amount", type="DOUBLE", required=False, description="price x quantity of a purchase, >= 0"),
    Column(name="category", type="VARCHAR", required=False, description="product category"),
    Column(name="brand", type="VARCHAR", required=False, description="product brand"),
    Column(name="product_name", type="VARCHAR", required=False, description="what the shop calls the product"),
    Column(name="query", type="VARCHAR", required=False, description="search words"),
    Column(name="age", type="INTEGER", required=False, description="age in years, 0 to 120"),
    Column(name="gender", type="VARCHAR", required=False, description="lower-case word, e.g. female or male"),
)

REQUIRED_COLUMNS: tuple[str, ...] = tuple(c.name for c in EVENT_COLUMNS if c.required)
OPTIONAL_COLUMNS: tuple[str, ...] = tuple(c.name for c in EVENT_COLUMNS if not c.required)

PARSED_COLUMNS: tuple[Column, ...] = (
    Column(name="shopper", type="VARCHAR", required=True, description="keyed pseudonym of the user_id"),
    *(c for c in EVENT_COLUMNS if c.name != "user_id"),
)
"""Events as `data.ingest` writes them: the id is a pseudonym from the first file on."""

SHOPPER_COLUMNS: tuple[Column, ...] = tuple(
    replace(c, description="search words in lower case, addresses and numbers masked") if c.name == "query" else c
    for c in PARSED_COLUMNS
)
"""Clean events: of the free text of searches only words are left, without what looks like an address or a number."""

ACTION_RANK_SQL: str = (
    "CASE action " + " ".join(f"WHEN '{word}' THEN {rank}" for rank, word in enumerate(ACTIONS)) + " END"
)
"""SQL expression: an action's place in ACTIONS."""


def order_sql(columns: tuple[Column, ...] = EVENT_COLUMNS) -> str:
    """Return the `ORDER BY` list that makes the order of events total: id, timestamp, action, every other column.

    >>> order_sql(SHOPPER_COLUMNS).startswith("shopper NULLS FIRST, timestamp NULLS FIRST, CASE action")
    True
    """
    names = [c.name for c in columns]
    parts = [ACTION_RANK_SQL if name == "action" else name for name in names]
    return ", ".join(f"{part} NULLS FIRST" for part in parts)
