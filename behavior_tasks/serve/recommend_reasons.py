"""Reasons: one sentence beside each recommended product, from what the shopper did.

In come a log, shoppers and products; out come words that a merchandiser can show. The one thing to know: a reason
tells what in the log speaks for the product; it does not explain the arithmetic of the method.
"""

import numpy as np
from scipy.sparse import csr_array

from behavior_tasks.serve.recommend_log import NEVER, Log

DAY = 86_400_000_000


class Reasons:
    """Says why, for any shopper and product of a log."""

    def __init__(self, log: Log, similar: csr_array) -> None:
        """Prepare.

        Args:
            log: read at the instant.
            similar: products x products, as `similar_products` gives it.
        """
        self._log = log
        self._towards = csr_array(similar.T.tocsr())
        """Row p: the products that lead to p."""
        self._until = int(np.datetime64(log.cutoff, "us").astype(np.int64))
        born_lately = log.touched_lately & (log.first == log.born[log.product])
        self._liked = self._categories_of()
        self._is_new = np.zeros(len(log.products), dtype=bool)
        self._is_new[log.product[born_lately]] = True

    def of(self, who: int, product: int) -> str:
        """Return the reason for one shopper (place in the log) and one product."""
        log = self._log
        begin, end = log.rows[who], log.rows[who + 1]
        at = begin + int(np.searchsorted(log.product[begin:end], product))
        if at < end and log.product[at] == product:
            return self._touched(at)
        other = self._companion(begin, end, product)
        if other is not None:
            return f"often chosen together with {self.name(other)}"
        category = int(log.category[product])
        if category >= 0 and (who, category) in self._liked:
            new = "new" if self._is_new[product] else "popular"
            return f"{new} in {log.categories[category]}, which they looked at"
        return "popular in the shop lately" if log.recent[product] > 0 else "popular in the shop"

    def name(self, product: int) -> str:
        """Return what a product is called."""
        log = self._log
        return str(log.names[product] or log.products[product])

    def _touched(self, pair: int) -> str:
        log = self._log
        if log.carted[pair] != NEVER and log.carted[pair] > log.bought[pair]:
            return f"in their cart, put there {self._ago(log.carted[pair])}"
        if log.times[pair]:
            times = {1: "once", 2: "twice"}.get(int(log.times[pair]), f"{log.times[pair]} times")
            return f"bought {times}, last {self._ago(log.bought[pair])}"
        return f"looked at {self._ago(log.last[pair])}"

    def _ago(self, instant: int) -> str:
        days = (self._until - int(instant)) // DAY
        return {0: "within the last day", 1: "a day ago"}.get(days, f"{days} days ago")

    def _companion(self, begin: int, end: int, product: int) -> int | None:
        """Return which of a shopper's products speaks most for another one."""
        log, row = self._log, slice(self._towards.indptr[product], self._towards.indptr[product + 1])
        leads, strength = self._towards.indices[row], self._towards.data[row]
        own = log.product[begin:end]
        if not len(leads) or not len(own):
            return None
        at = np.minimum(np.searchsorted(own, leads), len(own) - 1)
        weight = np.where(own[at] == leads, strength * log.interest[begin:end][at], 0)
        return int(leads[int(weight.argmax())]) if weight.max() > 0 else None

    def _categories_of(self) -> set[tuple[int, int]]:
        log = self._log
        category = log.category[log.product]
        known = category >= 0
        return set(zip(log.who[known].tolist(), category[known].tolist(), strict=True))
