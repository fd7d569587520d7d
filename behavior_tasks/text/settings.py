"""Text settings: everything that must be known to write the same text again.

In come the train examples' features and the events before the last train cutoff; out come the quantile bins, the
popular categories and products, and the templates, as one value that is saved as `text.json` beside every model. It
is fitted on train only and applied to every split, so nothing in it can know the future.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from behavior_tasks.base.artifacts import write_durably
from behavior_tasks.base.config import TextConfig
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.model_config import PART_ORDER
from behavior_tasks.base.tables import bucket_files, connect, parquet_sql
from behavior_tasks.examples.feature_table import FEATURES, Unit
from behavior_tasks.text.bands import band_words
from behavior_tasks.text.counts import Counts
from behavior_tasks.text.names import POWERS, slug
from behavior_tasks.text.words import BRACKETED, PLACEHOLDER, Style, StyleName, Templates, load_templates

POPULAR_CATEGORIES = 40
"""Categories with a name of their own in the text; the others are called the same."""
POPULAR_WORDS = 1000
MIN_SHOPPERS = 5
"""A search word that fewer shoppers used on train may tell who they are, and is in no text."""
HOURS_A_DAY = 24


class TextSettings(BaseModel):
    """How texts are written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: StyleName
    language: str
    templates: Templates
    order: tuple[str, ...] = PART_ORDER
    last_events: int
    lookback_days: int
    timezone: str = "UTC"
    """Zone of the weekdays and hours."""
    bins: dict[str, list[float]]
    """Feature → rising inner edges of its quantile words; empty when features are not written."""
    amount_edges: list[float] = []
    """Rising inner edges of the quantiles of what a shopper pays in a day."""
    price_edges: list[float] = []
    """The same of the prices in the log."""
    categories: list[str]
    """Those with a word of their own, most frequent first."""
    products: dict[str, str] = {}
    """Product → its word in the text, of the products that have one."""
    query_words: list[str] = []
    """Search words that a text may hold."""
    unit: Unit = "shopper"
    """What a text asks about; shopper asks nothing."""

    @property
    def words(self) -> Style:
        """The words of the style."""
        return self.templates.style(self.style)

    def category_words(self) -> list[str]:
        """Return the word of each of `categories`: its name, or its place where the name is no more than a number.

        A log's numbers of categories say nothing to a reader and cost tokens.
        """
        words = []
        for place, name in enumerate(self.categories, start=1):
            word = slug(name)
            numbered = self.templates.numbered_category.format(number=place)
            words.append(word if any(character.isalpha() for character in word) else numbered)
        return words

    def special_tokens(self) -> list[str]:
        """Return every bracketed word that a text of these settings can hold, each once; none in plain sentences."""
        words, templates = self.words, self.templates
        gaps = band_words(words.gaps, most=max(self.lookback_days, 1) * HOURS_A_DAY)
        values: dict[str, Sequence[object]] = {
            "gap": gaps,
            "day": words.days,
            "hour": range(HOURS_A_DAY),
            "power": [1 << power for power in range(POWERS)],
        }
        written = [*gaps, *words.days, *band_words(words.ages, most=200), *band_words(words.purchases, most=1000)]
        for name, template in _templates_of(words):
            edges = self.price_edges if name == "price" else self.amount_edges
            values["quantile"] = range(1, len(edges) + 2)
            written += _filled(template, values)
        for feature, edges in self.bins.items():
            word = templates.feature_words[feature]
            numbers = range(1, len(edges) + 2)
            written += [words.quantile.format(feature=word, number=number) for number in numbers]
            written.append(words.undefined.format(feature=word))
        return list(dict.fromkeys(found for text in written for found in BRACKETED.findall(text)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings saved by `save`.

        Raises:
            UserError: when they are missing or not of this version.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"The text settings {path.name} are missing.", next_step="train the model again") from None
        except ValidationError as error:
            raise UserError(
                f"The text settings {path.name} can't be read.",
                found="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:3]),
                next_step="train the model again",
            ) from None

    def save(self, path: Path) -> None:
        """Write the settings as JSON."""
        write_durably(path, self.model_dump_json(indent=2).encode())


def _templates_of(words: Style) -> list[tuple[str, str]]:
    """Return the templates that stand by themselves, and their names; features are told apart by their edges."""
    alone = {name: value for name, value in words if isinstance(value, str) and name not in {"quantile", "undefined"}}
    return [*alone.items(), *words.actions.items()]


def _filled(template: str, values: dict[str, Sequence[object]]) -> list[str]:
    """Return a template with each value of its placeholder; what has endlessly many values is left empty."""
    names = PLACEHOLDER.findall(template)
    known = [name for name in names if name in values]
    empty = dict.fromkeys(names, "")
    if not known:
        return [template.format(**empty)]
    return [template.format(**{**empty, known[0]: value}) for value in values[known[0]]]


def fit_settings(
    examples: Path,
    counts: Counts,
    config: TextConfig,
    *,
    lookback_days: int,
    min_product_shoppers: int = 0,
    unit: Unit = "shopper",
    timezone: str = "UTC",
    memory_mb: int = 2048,
) -> TextSettings:
    """Fit bins, categories and products on the train split.

    Args:
        examples: folder of the buckets of `features`.
        counts: what `count_events` gives for the clean events before the last train cutoff.
        lookback_days: as for the features.
        min_product_shoppers: a product that fewer shoppers touched on train is not called by name.
        unit: what an example is.

    Raises:
        UserError: when the templates are wrong.
    """
    templates = load_templates(config.language, config.templates)
    templates.style(config.style)
    files = bucket_files(examples)
    return TextSettings(
        style=config.style,
        language=config.language,
        templates=templates,
        order=config.order,
        last_events=config.last_events,
        lookback_days=lookback_days,
        timezone=timezone,
        bins=_fit_bins(files, config.quantiles, memory_mb) if config.feature_words else {},
        amount_edges=counts.quantiles("amount", config.quantiles),
        price_edges=counts.quantiles("price", config.quantiles),
        categories=counts.most("category", POPULAR_CATEGORIES),
        products=_name_products(
            counts, counts.most_products(config.named_products, of_shoppers=min_product_shoppers), templates
        ),
        query_words=counts.common_words(POPULAR_WORDS, of_shoppers=MIN_SHOPPERS),
        unit=unit,
    )


def _name_products(counts: Counts, products: Sequence[str], templates: Templates) -> dict[str, str]:
    """Return the word of each of the products, those with the most events first: its name, or else its place.

    A name that another product has, or that holds the product's own id, is not used.
    """
    words: dict[str, str] = {}
    names = counts.product_names(products)
    for place, product in enumerate(products, start=1):
        word, own = slug(names.get(product, "")), slug(product)
        taken = word in words.values() or not any(character.isalpha() for character in word)
        if taken or (own and own in word):
            word = templates.numbered_product.format(number=place)
        words[product] = word
    return words


def _fit_bins(examples: Sequence[Path], quantiles: int, memory_mb: int) -> dict[str, list[float]]:
    """Quantile edges of each feature of the text over the train examples.

    Equal edges are one, and an edge at the largest value parts nothing. A feature with fewer than two
    different known values on train tells nothing and gets no bins, hence no word.
    """
    connection = connect(memory_mb=memory_mb)
    source = parquet_sql(examples)
    connection.execute(f"CREATE VIEW train AS SELECT * FROM {source} WHERE split = 'train'")
    there = {row[0] for row in connection.execute("DESCRIBE train").fetchall()}
    shares = [step / quantiles for step in range(1, quantiles)]
    bins = {}
    for feature in FEATURES:
        if not feature.in_text or feature.name not in there:
            continue
        # One column at a time: exact quantiles need a column in memory, never the whole table.
        row = connection.execute(
            f"SELECT quantile_disc({feature.name}, {shares}), min({feature.name}), max({feature.name}) FROM train"
        ).fetchone()
        if row is None or row[1] is None or row[1] == row[2]:
            continue
        # Where nearly all values are the largest, every quantile lies there; the smallest value then parts them.
        bins[feature.name] = sorted({edge for edge in row[0] if edge < row[2]}) or [row[1]]
    return bins
