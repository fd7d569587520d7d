"""Ways to recommend that need no champion: what shoppers did before an instant in, a score of every product out.

A method is a function of some shoppers (places in the log) that returns a score of every product for each of them,
shape (shoppers, products), float32; zero is what it has nothing to say about. The one thing to know: each is fitted
on the events before the instant alone, so the same function serves a backtest and tonight.
"""

from collections.abc import Callable, Iterator

import numpy as np
from scipy.sparse import csr_array, vstack
from sklearn.decomposition import TruncatedSVD
from sklearn.preprocessing import normalize

from behavior_tasks.serve.recommend_log import Log

Method = Callable[[np.ndarray], np.ndarray]
NEIGHBOURS = 50
"""Most similar products that are kept of each."""
FACTORS = 64
SEED = 7
MOST_ITEMS = 300
"""Of a shopper who touched more products, those with the most interest are compared."""
BLOCK_CELLS = 4_000_000
"""Shoppers times products whose scores are in memory at a time, 4 bytes each, for every method."""


def blocks(who: np.ndarray, log: Log) -> Iterator[np.ndarray]:
    """Yield shoppers, so many at a time that their scores fit into memory."""
    step = max(1, BLOCK_CELLS // max(1, len(log.products)))
    for first in range(0, len(who), step):
        yield who[first : first + step]


def same_for_all(scores: np.ndarray) -> Method:
    """Recommend everybody the same: scores of products (products,)."""
    told = scores.astype(np.float32)

    def score(who: np.ndarray) -> np.ndarray:
        return np.tile(told, (len(who), 1))

    return score


def from_matrix(told: csr_array) -> Method:
    """Recommend by scores that are there for some products of some shoppers, shoppers x products."""

    def score(who: np.ndarray) -> np.ndarray:
        return np.asarray(told[who].toarray().astype(np.float32))

    return score


def own_products(log: Log) -> Method:
    """Recommend what a shopper touched: most, last and with the strongest actions first."""
    return from_matrix(log.matrix(log.interest.astype(np.float32)))


def category_popular(log: Log) -> Method:
    """Recommend what is popular lately in the categories that a shopper likes; what no category is known of, less."""
    known = log.category >= 0
    groups = int(log.category.max(initial=-1)) + 1
    recent = log.recent + 1e-6 * log.popularity / max(1.0, log.popularity.max(initial=0))
    total = np.bincount(log.category[known], weights=recent[known], minlength=groups)
    share = np.where(known, recent / np.maximum(total[log.category], 1e-9), 0.0) if groups else np.zeros(len(known))
    of_pair = log.category[log.product]
    there = of_pair >= 0
    taste = csr_array(
        (log.interest[there], (log.who[there], of_pair[there])), shape=(len(log.shoppers), max(1, groups))
    )
    place = np.where(known, log.category, 0)

    def score(who: np.ndarray) -> np.ndarray:
        liked = normalize(taste[who], norm="l1").toarray()
        return np.asarray((liked[:, place] * share).astype(np.float32))

    return score


def similar_products(log: Log) -> csr_array:
    """Return the cosine of products over shoppers, products x products, the NEIGHBOURS largest of each row and itself.

    Item-based neighbourhoods after Sarwar et al. (2001) and Deshpande and Karypis (2004): touched or not.
    """
    touched = _strongest(log)
    columns = normalize(touched.T.tocsr(), norm="l2")
    step = max(1, BLOCK_CELLS // max(1, len(log.products)))
    parts = [_largest(columns[first : first + step] @ columns.T) for first in range(0, len(log.products), step)]
    return csr_array(vstack(parts)) if parts else csr_array(touched.T @ touched)


def neighbours(log: Log, similar: csr_array) -> Method:
    """Recommend what is touched by those who touched what a shopper touched, weighted by their interest (item-kNN)."""
    interest = log.matrix(log.interest.astype(np.float32))

    def score(who: np.ndarray) -> np.ndarray:
        return np.asarray((interest[who] @ similar).toarray().astype(np.float32))

    return score


def factors(log: Log) -> Method:
    """Recommend by a matrix factorisation: a truncated SVD of shoppers x products (PureSVD, Cremonesi et al. 2010)."""
    strength = log.matrix(np.log1p(log.interest).astype(np.float32) + (log.interest > 0))
    count = min(FACTORS, *(side - 1 for side in log.shape))
    if count < 1 or not strength.nnz:
        return same_for_all(np.zeros(len(log.products)))
    products = TruncatedSVD(count, random_state=SEED, n_iter=5).fit(strength).components_.astype(np.float32)

    def score(who: np.ndarray) -> np.ndarray:
        return np.asarray((strength[who] @ products.T) @ products)

    return score


def _strongest(log: Log) -> csr_array:
    """Return who touched what, 1 or nothing, at most MOST_ITEMS of each shopper."""
    order = np.lexsort((-log.interest, log.who))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - log.rows[log.who[order]]
    matrix = log.matrix(np.where(rank < MOST_ITEMS, 1.0, 0.0).astype(np.float32)).copy()
    matrix.eliminate_zeros()
    return matrix


def _largest(similar: csr_array) -> csr_array:
    """Keep the NEIGHBOURS + 1 largest values of each row; of equals the product that comes first by id."""
    similar = csr_array(similar)
    similar.sort_indices()
    row = np.repeat(np.arange(similar.shape[0]), np.diff(similar.indptr))
    # Rounded, because equal cosines may differ in the last bit.
    order = np.lexsort((similar.indices, -np.round(similar.data, 6), row))
    rank = np.arange(len(order)) - similar.indptr[row[order]]
    kept = np.sort(order[rank <= NEIGHBOURS])
    return csr_array((similar.data[kept], (row[kept], similar.indices[kept])), shape=similar.shape)
