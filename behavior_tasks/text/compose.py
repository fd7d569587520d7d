"""Composition: the facts of histories, profiles and features become parts, in the words of a style.

In come arrays of small numbers, out come rows of parts. Every number becomes a word through a table with one entry for
each value that occurs, so the words of a template are put together once, not once a row.
"""

from functools import partial

import numpy as np

from behavior_tasks.base.schema import ACTIONS
from behavior_tasks.examples.feature_sql import SESSION_GAP, UNITS
from behavior_tasks.text.bands import band_table, quantile_numbers
from behavior_tasks.text.history import LISTED_PRODUCTS, NONE, PAID, Events, Older, Phrases, number_by_appearance
from behavior_tasks.text.names import amount_keys, amount_word, letters, power_of_two, query_words
from behavior_tasks.text.parts import PartTable, Ragged, side_by_side, spaced
from behavior_tasks.text.settings import HOURS_A_DAY, TextSettings

HOUR = 3_600_000_000
"""Microseconds in an hour."""
ONE, FEW, MANY, ONCE, TIMES = range(5)
"""What an action was done to: one product, a few, many, or none that is known, once or several times."""


class Composer:
    """Writes the texts of one bucket."""

    def __init__(self, settings: TextSettings, parts: PartTable, events: Events) -> None:
        """Learn a bucket's own numbers of products and categories."""
        categories = events.categories
        self.settings, self.words, self.parts = settings, settings.words, parts
        self._gap_edges, self._gaps = band_table(self.words.gaps, most=settings.lookback_days * HOURS_A_DAY)
        self._product_words = {place: settings.products[product] for product, place in events.named.items()}
        # The last place answers for NONE.
        self._has_name = np.zeros(events.products + 1, dtype=bool)
        self._has_name[list(self._product_words)] = True
        self.named = self._has_name[:-1]
        told = dict(zip(settings.categories, settings.category_words(), strict=True))
        self._category_words = [told.get(category) or self.words.other for category in categories]
        self._query_words = frozenset(settings.query_words)
        places = {category: place for place, category in enumerate(categories)}
        self.popular = np.array([places[name] for name in settings.categories if name in places], dtype=np.int64)

    def _write(self, text: str) -> str:
        return spaced(text, self.settings.templates.blank)

    def _cut(self, template: str, name: str) -> tuple[str, str]:
        """Return a template's text before and after its placeholder."""
        before, after = template.split(f"{{{name}}}")
        return before.rstrip(), after.strip()

    # --- phrases -----------------------------------------------------------------------------------------------

    def phrases(self, told: Phrases, local_hours: np.ndarray, queries: list[str]) -> tuple[Ragged, np.ndarray]:
        """Write phrases.

        Args:
            told: of some moments.
            local_hours: whole hours since Monday 0:00 of any week of each phrase's begin, local time, shape (phrases,).
            queries: the bucket's search words.

        Returns:
            The parts of each phrase, and the letter of each listed product, shape (phrases, LISTED_PRODUCTS), from 1;
            NONE for one with a name.
        """
        codes, words = self.parts.codes, self.words
        pauses = (told.silence > SESSION_GAP) | (told.silence == NONE)
        kinds = self._kinds(told)
        letter, is_first = self._letters(told)
        clock = np.where(pauses, local_hours, NONE)
        slots = [
            *self._before(told),
            codes(np.where(pauses, clock // HOURS_A_DAY % 7, NONE), lambda day: self._write(self._day(day))),
            codes(np.where(pauses, clock % HOURS_A_DAY, NONE), lambda hour: self._write(words.hour.format(hour=hour))),
            codes(told.rank * 5 + kinds, self._action),
            self._counted(told, kinds),
            codes(told.category, self._category),
            codes(np.where((kinds == MANY) & (told.listed[:, 0] >= 0), 0, NONE), self._among),
        ]
        for column in range(LISTED_PRODUCTS):
            slots += self._product(told.listed[:, column], letter[:, column], column > 0)
            shown = np.where(is_first[:, column], told.listed_category[:, column], NONE)
            slots.append(codes(shown, self._category))
        slots += [
            codes(told.rank.astype(np.int64), self._after),
            codes(told.query, lambda query: self._query(queries[query])),
            self._money(told.amount, words.amount, self.settings.amount_edges),
            self._money(told.price, words.price, self.settings.price_edges),
        ]
        return Ragged.of_table(np.stack(slots, axis=1)), letter

    def _kinds(self, told: Phrases) -> np.ndarray:
        nothing = np.where(told.events == 1, ONCE, TIMES)
        some = np.where(told.products == 1, ONE, np.where(told.products <= LISTED_PRODUCTS, FEW, MANY))
        return np.where(told.products == 0, nothing, some)

    def _letters(self, told: Phrases) -> tuple[np.ndarray, np.ndarray]:
        """Return the letter of each listed product without a name, and whether the text names it there first."""
        there = told.listed >= 0
        letter, is_first = np.full(told.listed.shape, NONE, dtype=np.int64), np.zeros(told.listed.shape, dtype=bool)
        product = told.listed[there]
        moment = np.broadcast_to(told.moment[:, None], told.listed.shape)[there]
        back, first = number_by_appearance(moment * len(self._has_name) + product)
        place = np.flatnonzero(first)
        nameless = ~self._has_name[product]
        number = np.cumsum(first & nameless)
        # Numbers start anew with each moment.
        starts = np.flatnonzero(np.diff(moment, prepend=-1))
        base = np.repeat(number[starts] - (first & nameless)[starts], np.diff(np.append(starts, len(moment))))
        letter[there] = np.where(nameless, (number - base)[place][back], NONE)
        is_first[there] = first
        return letter, is_first

    def _before(self, told: Phrases) -> list[np.ndarray]:
        """What stands before a phrase: how long after the one before it, or only that it comes next."""
        words, codes = self.words, self.parts.codes
        follows = told.silence >= 0
        long = told.silence > SESSION_GAP
        gap = codes(
            np.where(long, self._gap(told.silence), NONE),
            lambda place: words.joint + self._write(words.later.format(gap=self._gaps[place])),
        )
        near = codes(
            np.where(follows & ~long, told.last.astype(np.int64), NONE),
            lambda last: words.joint + (self._write(words.then) if last else ""),
        )
        return [gap, near]

    def _gap(self, silence: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._gap_edges, silence / HOUR, side="right")

    def _day(self, day: int) -> str:
        return self.words.day.format(day=self.words.days[day])

    def _action(self, key: int) -> str:
        rank, kind = divmod(key, 5)
        words = self.words
        before = self._cut(words.actions[ACTIONS[rank]], "what")[0]
        what = {
            ONE: self._cut(words.product, "name")[0],
            FEW: self._cut(words.products, "names")[0],
            ONCE: words.once if ACTIONS[rank] != "search" else "",
        }
        return self._write(before) + self._write(what.get(kind, ""))

    def _among(self, _: int) -> str:
        return self._write(self._cut(self.words.among, "names")[0])

    def _counted(self, told: Phrases, kinds: np.ndarray) -> np.ndarray:
        """How many products, or how often."""
        words, codes = self.words, self.parts.codes
        many = codes(np.where(kinds == MANY, told.products, NONE), lambda n: self._write(_counting(words.many, n)))
        times = codes(np.where(kinds == TIMES, told.events, NONE), lambda n: self._write(_counting(words.times, n)))
        return np.where(kinds == MANY, many, times)

    def _product(self, product: np.ndarray, letter: np.ndarray, follows: bool) -> list[np.ndarray]:
        joint = self.words.list_joint if follows else ""
        named = np.where(self._has_name[product], product, NONE)
        return [
            self.parts.codes(named, lambda place: joint + self._write(self._product_words[place])),
            self.parts.codes(letter, lambda number: joint + self._write(letters(number))),
        ]

    def _category(self, place: int) -> str:
        return self._write(self.words.category.format(category=self._category_words[place]))

    def _after(self, rank: int) -> str:
        return self._write(self._cut(self.words.actions[ACTIONS[rank]], "what")[1])

    def _query(self, query: str) -> str:
        templates = self.settings.templates
        joint = templates.blank or self.words.list_joint
        words = query_words(query, self._query_words, templates.masked, joint)
        return self._write(self.words.query.format(query=words)) if words else ""

    def _money(self, units: np.ndarray, template: str, edges: list[float]) -> np.ndarray:
        """An amount or a price: as a number or as the quantile that it lies in, as the template wants it."""
        amounts = np.where(units < 0, -1.0, units / UNITS)
        if "{quantile}" not in template:
            name = "price" if "{price}" in template else "amount"
            return self.parts.codes(
                amount_keys(amounts), lambda key: self._write(template.format(**{name: amount_word(key)}))
            )
        keys = np.where(units < 0, NONE, quantile_numbers(edges, amounts))
        return self.parts.codes(keys, lambda number: self._write(template.format(quantile=number)))

    # --- blocks ------------------------------------------------------------------------------------------------

    def events(self, told: Ragged, phrases: Phrases, ago: np.ndarray, *, goes_on: bool = False) -> Ragged:
        """Write the block of the last phrases of each moment, how long ago they ended last.

        Args:
            told: what `phrases` gave.
            phrases: of the moments.
            ago: microseconds from the last event to the cutoff, (moments,).
            goes_on: leave the block open, so that a further phrase can follow (`next_purchase`).
        """
        words, codes = self.words, self.parts.codes
        moments = len(ago)
        is_empty = np.bincount(phrases.moment, minlength=moments) == 0
        start = codes(np.zeros(moments, dtype=np.int64), lambda _: self._write(words.start))
        nothing = codes(np.where(is_empty, 0, NONE), lambda _: self._write(words.nothing) + words.end)
        ends = codes(
            np.where(is_empty, NONE, self._gap(ago)),
            lambda place: words.joint + self._write(words.ago.format(gap=self._gaps[place])) + words.end,
        )
        grouped = told.grouped(phrases.moment, moments)
        if goes_on:
            return side_by_side([_one(start), grouped])
        return side_by_side([Ragged.of_table(np.stack([start, nothing], axis=1)), grouped, _one(ends)])

    def next_purchase(self) -> str:
        """Return how a phrase begins that comes next and tells of the purchase of one product, up to its name."""
        words = self.words
        joint = words.joint + (self._write(words.then) if words.then else "")
        return joint + self._action(ACTIONS.index("purchase") * 5 + ONE)

    def product_words(self) -> dict[str, str]:
        """Return the word of each product that has one, as it stands behind `next_purchase`."""
        return {product: self._write(word) for product, word in self.settings.products.items()}

    def letter_word(self, number: int) -> str:
        """Return a product's letters, as they stand behind `next_purchase`."""
        return self._write(letters(number))

    def category_words(self) -> dict[str, str]:
        """Return the word of each category that has one, as it stands behind a product that is named first."""
        told = zip(self.settings.categories, self.settings.category_words(), strict=True)
        return {name: self._write(self.words.category.format(category=word)) for name, word in told}

    def older(self, older: Older) -> Ragged:
        """Write the block of what came before the last phrases; nothing where there is nothing."""
        words, codes = self.words, self.parts.codes
        span = np.where(older.there, self._gap(older.span), NONE)
        slots = [codes(span, lambda place: self._write(words.older.format(gap=self._gaps[place])))]
        opened = np.zeros(len(older.there), dtype=bool)
        for rank in range(len(ACTIONS)):
            count = older.counts[:, rank]
            key = np.where(older.there & (count > 0), count * 2 + opened, NONE)
            slots.append(codes(key, partial(self._often, rank)))
            opened |= count > 0
            if rank == PAID[0]:
                slots.append(self._money(older.amount, words.each, self.settings.amount_edges))
        before, after = self._cut(words.mostly, "categories")
        first, second = older.favourites[:, 0], older.favourites[:, 1]
        lead = words.joint + self._write(before)
        slots += [
            codes(first, lambda place: lead + self._write(self._category_words[place])),
            codes(second, lambda place: words.list_joint + self._write(self._category_words[place])),
            codes(np.where(first >= 0, 0, NONE), lambda _: self._write(after)),
            codes(np.where(older.there, 0, NONE), lambda _: words.end),
        ]
        return Ragged.of_table(np.stack(slots, axis=1))

    def _often(self, rank: int, key: int) -> str:
        count, opened = divmod(key, 2)
        before, after = self._cut(self.words.actions[ACTIONS[rank]], "what")
        # Once, twice, and so on by number: `once` alone may be left out where an action is told, not here.
        times = self.words.once or _counting(self.words.times, 1)
        what = times if count == 1 else _counting(self.words.times, count)
        joint = self.words.joint if opened else ""
        return joint + self._write(before) + self._write(what) + self._write(after)

    def profile(self, gender: list[str], genders: np.ndarray, age: np.ndarray, purchases: np.ndarray) -> Ragged:
        """Write the block of the profile.

        Args:
            gender: the words for gender, as short words.
            genders: place in `gender` or NONE, shape (examples,).
            age: years, NaN where unknown.
            purchases: number of purchases in the history.
        """
        words, codes = self.words, self.parts.codes
        age_edges, ages = band_table(words.ages, most=200)
        many_edges, many = band_table(words.purchases, most=1e9)
        ages_at = np.where(np.isnan(age), NONE, np.searchsorted(age_edges, age, side="right"))
        many_at = np.where(np.isnan(purchases), NONE, np.searchsorted(many_edges, purchases, side="right"))
        slots = [codes(np.zeros(len(age), dtype=np.int64), lambda _: self._write(words.profile))]
        opened = np.zeros(len(age), dtype=np.int64)
        for places, texts in ((genders, gender), (ages_at, ages), (many_at, many)):
            key = np.where(places < 0, NONE, places * 2 + opened)
            slots.append(codes(key, partial(self._fact, texts)))
            opened |= places >= 0
        slots.append(codes(np.zeros(len(age), dtype=np.int64), lambda _: words.end))
        return Ragged.of_table(np.stack(slots, axis=1))

    def _fact(self, texts: list[str], key: int) -> str:
        place, follows = divmod(key, 2)
        return (self.words.joint if follows else "") + self._write(texts[place])

    def features(self, values: dict[str, np.ndarray], rows: int) -> Ragged:
        """Write the block of the features.

        Args:
            values: each feature with bins, shape (rows,), float; NaN where it is undefined.
        """
        words, codes = self.words, self.parts.codes
        bins = self.settings.bins
        if not bins:
            return Ragged(counts=np.zeros(rows, dtype=np.int64), codes=np.zeros(0, dtype=np.int32))
        same = np.zeros(rows, dtype=np.int64)
        slots = [codes(same, lambda _: self._write(words.features))]
        for place, (name, edges) in enumerate(bins.items()):
            key = np.where(np.isnan(values[name]), 0, quantile_numbers(edges, values[name]))
            slots.append(codes(key, partial(self._feature, name, words.feature_joint if place else "")))
        slots.append(codes(same, lambda _: words.end))
        return Ragged.of_table(np.stack(slots, axis=1))

    def _feature(self, name: str, joint: str, number: int) -> str:
        word = self.settings.templates.feature_words[name]
        if number == 0:
            return joint + self._write(self.words.undefined.format(feature=word))
        return joint + self._write(self.words.quantile.format(feature=word, number=number))

    def question(self, product: np.ndarray, letter: np.ndarray, category: np.ndarray) -> Ragged:
        """Write which product is asked about: its name, or else its letter in the text, or else only its category."""
        words, codes = self.words, self.parts.codes
        before, after = self._cut(words.question, "what")
        same = np.zeros(len(product), dtype=np.int64)
        is_known = self._has_name[product] | (letter >= 0)
        lead = self._cut(words.product, "name")[0]
        letter = np.where(self._has_name[product], NONE, letter)
        return Ragged.of_table(
            np.stack(
                [
                    codes(same, lambda _: self._write(before)),
                    codes(np.where(is_known, 0, NONE), lambda _: self._write(lead)),
                    *self._product(product, letter, False),
                    codes(np.where(is_known, NONE, 0), lambda _: self._write(words.another)),
                    codes(category, self._category),
                    codes(same, lambda _: self._write(after)),
                ],
                axis=1,
            )
        )


def _counting(template: str, count: int) -> str:
    return template.format(count=count, power=power_of_two(max(count, 1)))


def _one(codes: np.ndarray) -> Ragged:
    return Ragged.of_table(codes[:, None])
