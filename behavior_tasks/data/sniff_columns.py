"""Which column is which: roles told from names, the shape of the values, and how many different ones there are.

In comes a sample; out comes, for each canonical column that can be told, the file's column and the evidence. The one
thing to know: names come first; without a header only the time, the action and the ids are told, by their shape.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from behavior_tasks.data.layout import SYNONYMS, USUAL_NAMES
from behavior_tasks.data.sample import Sample
from behavior_tasks.data.sniff_time import TimeFormat, month_day_format, time_format_of

ONE_EACH = 1.02
"""Pairs of product and category for each product, where every product has one: a few change it."""
MOST_WORDS = 40
"""An action column has no more different words than this."""
MORE_NAMES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("customerno", "customernumber", "buyerid", "shopperid", "accountid", "memberno", "userno", "cid"),
    "action": ("actionname", "eventname", "activity", "operation", "verb"),
    "product_id": ("productcode", "itemcode", "articleid", "article", "offerid", "productno", "goods", "asin"),
    "timestamp": (
        "timestamp",
        "eventtimestamp",
        "createdon",
        "occurredat",
        "timest",
        "eventdate",
        "orderdate",
        "logtime",
    ),
    "quantity": ("quantity", "qty", "pieces", "count", "units", "amountofitems"),
    "price": ("price", "unitprice", "itemprice", "saleprice", "listprice", "cost"),
    "amount": ("amount", "total", "totalprice", "revenue", "sales", "linetotal", "value"),
    "category": (
        "category",
        "categorycode",
        "categoryname",
        "itemcategory",
        "cat",
        "catid",
        "categoryid",
        "department",
    ),
    "brand": ("brand", "brandname", "brandid", "manufacturer", "vendor"),
    "product_name": ("productname", "itemname", "description", "producttitle", "title", "goodsname"),
    "query": ("query", "searchterm", "searchquery", "keyword", "keywords", "searchwords"),
    "age": ("age", "userage", "agerange", "agegroup"),
    "gender": ("gender", "sex"),
}
NUMBER = re.compile(r"[-+]?\d+(\.\d+)?")


@dataclass(frozen=True)
class Profile:
    """What the cells of a column look like."""

    cells: list[str]
    """Trimmed, without the empty ones."""

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each cell occurs."""
        return Counter(self.cells)

    @cached_property
    def numeric(self) -> float:
        """Share of the cells that are plain numbers."""
        return sum(bool(NUMBER.fullmatch(cell)) for cell in self.cells) / max(len(self.cells), 1)

    @cached_property
    def run_length(self) -> float:
        """Mean length of runs of one value; a log grouped by shopper has long ones in their column."""
        changes = sum(a != b for a, b in zip(self.cells, self.cells[1:], strict=False))
        return len(self.cells) / (changes + 1)

    @cached_property
    def known_words(self) -> float:
        """Share of the cells that are usual words for actions."""
        known = {word for words in SYNONYMS.values() for word in words}
        held = sum(n for word, n in self.counts.items() if plain_word(word) in known)
        return held / max(len(self.cells), 1)


@dataclass(frozen=True, kw_only=True)
class Role:
    """The column that plays a part."""

    place: int
    why: str


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which column is which."""

    places: Mapping[str, Role]
    """Canonical column → the file's column."""
    time: TimeFormat | None


def plain_word(word: str) -> str:
    """Return an action word without case, with underscores for spaces and hyphens."""
    return re.sub(r"[\s-]+", "_", word.strip().lower())


def plain_name(name: str) -> str:
    """Return a column's name without case and punctuation.

    >>> plain_name("Customer ID"), plain_name("用户id")
    ('customerid', '用户id')
    """
    return re.sub(r"[\W_]+", "", name.lower())


def find_roles(sample: Sample) -> Roles:
    """Return which column is which, as far as it can be told."""
    profiles = [Profile(sample.column(place)) for place in range(len(sample.names))]
    found: dict[str, Role] = {}
    time = _find_time(sample, profiles, found)
    _find_action(sample, profiles, found)
    if sample.has_header:
        for name in MORE_NAMES:
            if name not in found and name not in {"timestamp", "action"}:
                _find_by_name(name, sample, profiles, found)
    _find_ids(sample, profiles, found)
    return Roles(places=found, time=time)


def _usual(name: str) -> list[str]:
    return [plain_name(name), *map(plain_name, USUAL_NAMES.get(name, ())), *map(plain_name, MORE_NAMES[name])]


def _rank(column: str, name: str) -> int:
    """Return the place of a column's name among the usual ones; a large number when it is none of them."""
    usual = _usual(name)
    return usual.index(plain_name(column)) if plain_name(column) in usual else len(usual) + 1000


def _is_usual(column: str, name: str) -> bool:
    return plain_name(column) in _usual(name)


def _free(sample: Sample, found: Mapping[str, Role]) -> list[int]:
    taken = {role.place for role in found.values()}
    return [place for place in range(len(sample.names)) if place not in taken]


def _find_time(sample: Sample, profiles: list[Profile], found: dict[str, Role]) -> TimeFormat | None:
    candidates: list[tuple[tuple[bool, int, int], int, TimeFormat]] = []
    for place, profile in enumerate(profiles):
        speaks = sample.has_header and (
            _is_usual(sample.names[place], "timestamp") or "time" in sample.names[place].lower()
        )
        told = time_format_of(profile.cells) or (month_day_format(profile.cells) if speaks else None)
        if told is not None and (speaks or len(profile.counts) > 1 or len(profile.cells) == 1):
            candidates.append(((not speaks, _rank(sample.names[place], "timestamp"), place), place, told))
    if not candidates:
        return None
    _, place, told = min(candidates, key=lambda candidate: candidate[0])
    found["timestamp"] = Role(place=place, why=told.why)
    return told


def _find_action(sample: Sample, profiles: list[Profile], found: dict[str, Role]) -> None:
    ranked = []
    for place in _free(sample, found):
        profile, named = profiles[place], sample.has_header and _is_usual(sample.names[place], "action")
        if not 1 <= len(profile.counts) <= MOST_WORDS:
            continue
        if profile.known_words >= 0.5:
            why = f"{profile.known_words:.0%} of its cells are usual words for actions"
            ranked.append((2 + named + profile.known_words, place, why))
        elif named:
            words = ", ".join(word for word, _ in profile.counts.most_common(5))
            ranked.append((1.0, place, f"its name, and {len(profile.counts)} different values: {words}"))
    if ranked:
        _, place, why = max(ranked, key=lambda item: (item[0], -item[1]))
        found["action"] = Role(place=place, why=why)


def _find_by_name(name: str, sample: Sample, profiles: list[Profile], found: dict[str, Role]) -> None:
    fits = [place for place in _free(sample, found) if _is_usual(sample.names[place], name)]
    if name in {"price", "quantity", "amount"}:
        fits = [place for place in fits if profiles[place].numeric >= 0.5]
    # Nothing can be learned from a column without a cell.
    fits = [place for place in fits if profiles[place].cells]
    if fits:
        place = min(fits, key=lambda place: _rank(sample.names[place], name))
        share = len(profiles[place].cells) / max(len(sample.rows), 1)
        different = f"{len(profiles[place].counts):,} different values"
        found[name] = Role(place=place, why=f"its name; {share:.0%} filled, {different}")


def _find_ids(sample: Sample, profiles: list[Profile], found: dict[str, Role]) -> None:
    """Tell the ids, and in a file without a header the category, from how many different values there are."""
    missing = [name for name in ("user_id", "product_id") if name not in found]
    free = [p for p in _free(sample, found) if len(profiles[p].cells) >= 0.5 * len(sample.rows)]
    free = [p for p in free if len(profiles[p].counts) > 1 or len(sample.rows) == 1]
    if "user_id" in missing and free:
        # A log grouped by shopper has runs of their id; else the first column is the usual place.
        place = max(free, key=lambda p: (profiles[p].run_length > 2 and profiles[p].run_length, -p))
        grouped = profiles[place].run_length > 2
        why = (
            f"rows are grouped by it, {profiles[place].run_length:.0f} in a row"
            if grouped
            else "the first that is left"
        )
        found["user_id"] = Role(place=place, why=f"{why}; {len(profiles[place].counts):,} different values")
        free.remove(place)
    if "product_id" in missing and free:
        place = max(free, key=lambda p: (len(profiles[p].counts), -p))
        why = f"most different values of what is left: {len(profiles[place].counts):,}"
        found["product_id"] = Role(place=place, why=why)
        free.remove(place)
        if not sample.has_header and free:
            _find_category(profiles, found, free, product=place)


def _find_category(profiles: list[Profile], found: dict[str, Role], free: list[int], *, product: int) -> None:
    """A column of which every product has one value is its category."""
    for place in free:
        pairs = set(zip(profiles[product].cells, profiles[place].cells, strict=False))
        same_length = len(profiles[product].cells) == len(profiles[place].cells)
        if (
            same_length
            and len(pairs) <= ONE_EACH * len(profiles[product].counts)
            and len(pairs) > len(profiles[place].counts)
        ):
            why = f"every product has one; {len(profiles[place].counts):,} different values"
            found["category"] = Role(place=place, why=why)
            return
