"""Names of the files about products that are handed out: nothing in; their names out.

The one thing to know: who only shows these files needs nothing of what made them.
"""

DEMAND_FILE = "demand.parquet"
"""A row a product, a category and the shop."""
REORDER_FILE = "reorder.csv"
"""What to order, the most urgent first; only with a stock file."""
RECOMMENDED_FILE = "products.csv"
"""Each recommended product: on how many lists it stands, and on how many in the first place."""
