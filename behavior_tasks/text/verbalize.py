"""Verbalize: examples become texts, the same way for training and for scoring.

In come examples with their features and the events by bucket; out comes one text an example: the most recent
phrases of its history ("User A browsed product B, clicked product C, 2 days later purchased product C for 12"),
then profile words, then features as quantile words; of the unit shopper_product last which product is asked about.
Products are letters, in the order in which the text first
names them, so no shopper and no product can be recognised, and a text depends on nothing at or after its cutoff.
"""

from dataclasses import dataclass
from pathlib import Path

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.schema import ACTION_RANK_SQL, ACTIONS
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import (
    bucket_file,
    bucket_files,
    combine_hashes,
    connect,
    hash_rows,
    quote,
    write_parquet,
)
from behavior_tasks.data.events import BucketEvents, open_events
from behavior_tasks.examples.feature_sql import SESSION_GAP, UNITS, UNKNOWN
from behavior_tasks.text.settings import TextSettings, fit_settings
from behavior_tasks.text.words import Templates, fill, in_band, literal

__all__ = ["LISTED_PRODUCTS", "TextSettings", "verbalize_stage", "write_texts"]

TEXT_COLUMNS = ("example", "shopper", "split", "cutoff", "label", "amount", "weight")
SETTINGS_FILE = "text.json"
LISTED_PRODUCTS = 3
"""A phrase names up to this many products; of more it says how many."""
HOUR = 3_600_000_000
"""Microseconds in an hour."""


@dataclass(frozen=True, kw_only=True)
class _Bucket:
    examples: Path
    events: BucketEvents
    out: Path
    settings: TextSettings
    memory_mb: int


def verbalize_stage(job: Job) -> Output:
    """Fit the text settings on train, save them, and write the texts of every bucket."""
    examples, events = job.inputs["features"].path / "examples", open_events(job.inputs["clean"])
    memory_mb = job.config.engine.memory_mb
    settings = fit_settings(
        examples,
        events,
        job.config.text,
        lookback_days=job.config.examples.lookback_days,
        unit=job.inputs["features"].facts["unit"],
        memory_mb=memory_mb,
    )
    settings.save(job.out / SETTINGS_FILE)
    folder = job.out / "texts"
    folder.mkdir()
    jobs = [
        _Bucket(
            examples=file,
            events=bucket,
            out=bucket_file(folder, number),
            settings=settings,
            memory_mb=memory_mb,
        )
        for number, (file, bucket) in enumerate(zip(bucket_files(examples), events, strict=True))
    ]
    done = run_buckets(_work_bucket, jobs, engine=job.config.engine, what="texts")
    total = sum(rows for rows, _ in done)
    return Output(
        rows=Rows(unit_in="examples", unit_out="examples", rows_in=total, rows_out=total),
        content_hash=combine_hashes(content_hash for _, content_hash in done),
        facts={"feature_words": len(settings.bins), "categories": len(settings.categories)},
    )


def write_texts(
    examples: Path, events: BucketEvents, out: Path, settings: TextSettings, *, memory_mb: int = 2048
) -> tuple[int, str]:
    """Write the texts of one bucket's examples, in their order of (cutoff, shopper, product).

    Args:
        examples: Parquet file of `features`.
        events: clean events of at least the same shoppers.
        out: Parquet file to write: TEXT_COLUMNS and parts, which joined are the text.

    Returns:
        The number of rows and the hash of the rows.
    """
    connection = connect(memory_mb=memory_mb)
    connection.execute(f"CREATE VIEW examples AS SELECT * FROM read_parquet({quote(examples)})")
    events.create_view(connection)
    connection.execute("CREATE TABLE popular (category VARCHAR, word VARCHAR)")
    connection.execute(
        f"INSERT INTO popular SELECT c, {_slug('c')} FROM unnest(CAST(? AS VARCHAR[])) AS t(c)", [settings.categories]
    )
    # Each step is a table: the next ones read it more than once.
    for name, query in (
        ("moments", _moments_sql(settings)),
        ("categories", _categories_sql(settings.templates)),
        ("numbered", _NUMBERED),
        ("touched", _touched_sql(settings)),
        ("phrases", _PHRASES),
        ("mentions", _MENTIONS),
        ("letters", _LETTERS),
        ("named", _named_sql(settings.templates)),
        ("asked", _asked_sql(settings)),
    ):
        connection.execute(f"CREATE TABLE {name} AS {query}")
    write_parquet(connection, _texts_sql(settings), out)
    row = connection.execute(f"SELECT count(*) FROM read_parquet({quote(out)})").fetchone()
    return (int(row[0]) if row else 0), hash_rows(connection, out)


def _work_bucket(bucket: _Bucket) -> tuple[int, str]:
    return write_texts(bucket.examples, bucket.events, bucket.out, bucket.settings, memory_mb=bucket.memory_mb)


def _moments_sql(settings: TextSettings) -> str:
    """SQL of the cutoffs of each shopper, numbered: a shopper's examples at one cutoff share a history, told once."""
    return f"""
        SELECT row_number() OVER (ORDER BY shopper, cutoff) AS moment, dense_rank() OVER (ORDER BY shopper) AS who,
               shopper, cutoff, epoch_us(cutoff) AS until,
               epoch_us(cutoff - INTERVAL {settings.lookback_days} DAY) AS since
        FROM (SELECT DISTINCT shopper, cutoff FROM examples)
    """


def _categories_sql(templates: Templates) -> str:
    """SQL of the categories, numbered in their order, each with what a text tells of it."""
    return f"""
        SELECT k.category, CAST(row_number() OVER (ORDER BY k.category) AS INTEGER) AS number,
               {_category(templates, "k.category")} AS told
        FROM (SELECT DISTINCT category FROM events WHERE category IS NOT NULL) AS k
        LEFT JOIN popular AS p ON p.category = k.category
    """


_ORDERED = f"""
    SELECT s.who, epoch_us(e.timestamp) AS us, CAST({ACTION_RANK_SQL} AS UTINYINT) AS rank,
           nullif(e.product_id, '') AS product_id, c.number AS category,
           CAST(round(e.amount * {UNITS}) AS BIGINT) AS amount_units
    FROM events AS e JOIN (SELECT DISTINCT shopper, who FROM moments) AS s ON s.shopper = e.shopper
    LEFT JOIN categories AS c ON c.category = e.category
    ORDER BY s.who, us, rank, e.product_id NULLS FIRST, e.quantity NULLS FIRST, e.price NULLS FIRST,
             e.amount NULLS FIRST, c.number NULLS FIRST
"""
"""SQL of the events of the examples' shoppers in their total order, as far as it can change a text.

What comes after the category in the order of events is in no text, so events that differ only in that may change
places. Words take long to sort by and to copy, so shoppers, actions and categories go by number.
"""

_NUMBERED = f"""
    SELECT *, sum(CAST(begins AS BIGINT)) OVER (ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS phrase
    FROM (
        SELECT *, before IS NULL OR rank <> rank_before OR us - before > {SESSION_GAP} AS begins
        FROM (
            -- Windows without an order go by the order of the rows, which a connection of one thread keeps.
            SELECT *, row_number() OVER () AS place, lag(rank) OVER () AS rank_before,
                   CASE WHEN lag(who) OVER () = who THEN lag(us) OVER () END AS before
            FROM ({_ORDERED})
        )
    )
"""
"""SQL of the events, each with its place, the instant of the event before it, and the number of its phrase.

A phrase is a run of events of one action with no silence longer than a session allows. Its number counts the phrases
up to the event, which depends on nothing later; a cutoff within a phrase cuts it.
"""


def _touched_sql(settings: TextSettings) -> str:
    """SQL of what each phrase of each text touches: one row per moment, phrase and product (or none)."""
    within = "n.who = x.who AND n.us < x.until AND n.us >= x.since"
    return f"""
        WITH latest AS (
            SELECT x.moment, any_value(x.who) AS who, any_value(x.until) AS until, any_value(x.since) AS since,
                   greatest(min(n.phrase), max(n.phrase) - {settings.last_events - 1}) AS first_phrase
            FROM moments AS x JOIN numbered AS n ON {within} GROUP BY x.moment
        )
        SELECT x.moment, n.phrase, n.product_id, any_value(n.rank) AS rank, count(*) AS events,
               min(n.place) AS place, arg_min(n.category, n.place) AS category, sum(n.amount_units) AS amount_units,
               min(x.until - n.us) AS ago,
               min(n.us - n.before) FILTER (n.begins AND n.phrase > x.first_phrase) AS silence
        FROM latest AS x JOIN numbered AS n ON {within} AND n.phrase >= x.first_phrase
        GROUP BY x.moment, n.phrase, n.product_id
    """


_PHRASES = """
    SELECT moment, phrase, any_value(rank) AS rank, sum(events) AS events, count(product_id) AS products,
           sum(amount_units) AS amount_units, min(ago) AS ago, any_value(silence) AS silence
    FROM touched GROUP BY moment, phrase
"""
"""SQL of one row per moment and phrase: its action, size, amount and the silence before it, in microseconds."""

_MENTIONS = f"""
    SELECT t.moment, t.phrase, t.product_id, t.place, t.category
    FROM touched AS t JOIN phrases AS p ON p.moment = t.moment AND p.phrase = t.phrase
    WHERE p.products <= {LISTED_PRODUCTS} AND t.product_id IS NOT NULL
"""
"""SQL of the products that each phrase names."""

_LETTERS = """
    SELECT moment, product_id, min(place) AS place, arg_min(category, place) AS category,
           row_number() OVER (PARTITION BY moment ORDER BY min(place)) AS number
    FROM mentions GROUP BY moment, product_id
"""
"""SQL of the products that a text names, numbered in the order in which it first does."""


def _named_sql(templates: Templates) -> str:
    """SQL of one row per moment and phrase that names its products: their letters, in order of appearance.

    A product's category is told where the text first names the product.
    """
    return f"""
        SELECT m.moment, m.phrase,
               -- Much faster than a string_agg with an order; there are no more than so many.
               array_to_string(
                   arg_min({_letter("f.number")} || CASE WHEN m.place = f.place THEN coalesce(k.told, '') ELSE '' END,
                           m.place, {LISTED_PRODUCTS}),
                   {literal(templates.joint + " ")}
               ) AS letters
        FROM mentions AS m
        JOIN letters AS f ON f.moment = m.moment AND f.product_id = m.product_id
        LEFT JOIN categories AS k ON k.number = f.category
        GROUP BY m.moment, m.phrase
    """


def _asked_sql(settings: TextSettings) -> str:
    """SQL of the question of each example about a product: its letter when the text names it, and its category."""
    t = settings.templates
    if settings.unit == "shopper":
        return "SELECT example, NULL::VARCHAR AS question FROM examples LIMIT 0"
    what = f"""
        CASE WHEN l.number IS NULL THEN {literal(t.unnamed_product)}
             ELSE {fill(t.product, {"letter": _letter("l.number")})} END || {_category(t, "k.category")}
    """
    return f"""
        WITH known AS (
            -- Of one instant's categories the last by name, so that no order of rows plays a part.
            SELECT x.example, arg_max(e.category, (e.timestamp, e.category)) AS category
            FROM examples AS x JOIN events AS e
                ON e.shopper = x.shopper AND e.product_id = x.product_id AND e.timestamp < x.cutoff
                AND e.timestamp >= x.cutoff - INTERVAL {settings.lookback_days} DAY
            WHERE e.category <> '{UNKNOWN}' GROUP BY x.example
        )
        SELECT x.example, {fill(t.question, {"what": what})} AS question
        FROM examples AS x JOIN moments AS w USING (shopper, cutoff)
        LEFT JOIN letters AS l ON l.moment = w.moment AND l.product_id = x.product_id
        LEFT JOIN known AS k ON k.example = x.example
        LEFT JOIN popular AS p ON p.category = k.category
    """


def _category(templates: Templates, category: str) -> str:
    """SQL of a category in brackets, empty when it is not known; `p` is its row of `popular`."""
    name = f"CASE WHEN p.category IS NULL THEN {literal(templates.other_category)} ELSE p.word END"
    named = f"coalesce({fill(templates.category, {'category': name})}, '')"
    return f"CASE WHEN {category} <> '{UNKNOWN}' THEN {named} ELSE '' END"


def _texts_sql(settings: TextSettings) -> str:
    """SQL of the texts: phrases, then profile, then features, then the question, each in parts that repeat."""
    t = settings.templates
    gap = in_band(t.gaps, f"(CAST(p.silence AS DOUBLE) / {HOUR})")
    now = in_band(t.gaps, f"(CAST(h.ago AS DOUBLE) / {HOUR})")
    before = f"""
        CASE WHEN p.silence IS NULL THEN NULL
             WHEN p.silence <= {SESSION_GAP} THEN {literal(t.joint)}
             ELSE {literal(t.joint)} || {fill(t.later, {"gap": gap})} END
    """
    facts = f"""concat_ws({literal(t.joint + " ")}, {_slug("x.gender")}, {in_band(t.ages, "x.age")},
                          {in_band(t.purchases, "x.purchases")})"""
    features = f"{literal(t.features)}, {_feature_words(settings)}, '.'," if settings.bins else ""
    ago = f"{literal(t.joint)} || {fill(t.ago, {'gap': now})}"
    return f"""
        WITH histories AS (
            SELECT p.moment, flatten(list([{before}, {_phrase(t)}, {_paid(t)}] ORDER BY p.phrase)) AS words,
                   min(p.ago) AS ago
            FROM phrases AS p LEFT JOIN named AS n ON n.moment = p.moment AND n.phrase = p.phrase
            GROUP BY p.moment
        )
        SELECT {", ".join(f"x.{name}" for name in TEXT_COLUMNS)},
               list_filter(
                   [{literal(t.start)}] || coalesce(h.words, [{literal(t.nothing + ".")}])
                   || [{ago}, {fill(t.profile, {"facts": facts})}, {features} a.question],
                   lambda part: part IS NOT NULL
               ) AS parts
        FROM examples AS x JOIN moments AS w USING (shopper, cutoff)
        LEFT JOIN histories AS h ON h.moment = w.moment LEFT JOIN asked AS a ON a.example = x.example
        ORDER BY x.cutoff, x.shopper, x.product_id
    """


def _phrase(t: Templates) -> str:
    """SQL of one phrase, e.g. ` purchased 12 products`."""
    what = f"""
        CASE WHEN p.products = 0 AND p.events = 1 THEN {literal(t.once)}
             WHEN p.products = 0 THEN {fill(t.times, {"count": "p.events"})}
             WHEN p.products = 1 THEN {fill(t.product, {"letter": "n.letters"})}
             WHEN p.products <= {LISTED_PRODUCTS} THEN {fill(t.products, {"letters": "n.letters"})}
             ELSE {fill(t.many, {"count": "p.products"})} END
    """
    action = " ".join(
        f"WHEN {ACTIONS.index(name)} THEN {fill(words, {'what': what})}" for name, words in t.actions.items()
    )
    return f"CASE p.rank {action} END"


def _paid(t: Templates) -> str:
    """SQL of what a phrase's purchases came to, e.g. ` for 250`; NULL when that is not known."""
    paid = ", ".join(str(ACTIONS.index(name)) for name in ("purchase", "return"))
    amount = fill(t.amount, {"amount": _rounded(f"(CAST(p.amount_units AS DOUBLE) / {UNITS})")})
    return f"CASE WHEN p.rank IN ({paid}) AND p.amount_units IS NOT NULL THEN {amount} END"


def _feature_words(settings: TextSettings) -> str:
    """SQL of one part a feature: the number of its quantile, or that it is undefined."""
    t = settings.templates
    words = []
    for name, edges in settings.bins.items():
        cases = [f"WHEN x.{name} IS NULL THEN {literal(t.undefined.format(feature=t.feature_words[name]))}"]
        for number, edge in enumerate((*edges, None), start=1):
            word = literal(t.quantile.format(feature=t.feature_words[name], number=number))
            # As a string, so that the edge is read as exactly the double that it is.
            cases.append(f"ELSE {word}" if edge is None else f"WHEN x.{name} <= CAST('{edge!r}' AS DOUBLE) THEN {word}")
        words.append(f"CASE {' '.join(cases)} END")
    return ", ".join(words)


def _letter(number: str) -> str:
    """SQL of a product's letters: 1 is B (A is the shopper), 25 is Z, 26 is AA, as the columns of a spreadsheet."""
    one = f"chr(CAST(65 + {number} AS INTEGER))"
    two = f"chr(CAST(65 + ({number} - 26) // 26 AS INTEGER)) || chr(CAST(65 + ({number} - 26) % 26 AS INTEGER))"
    n = f"({number} - 702)"
    three = (
        f"chr(CAST(65 + {n} // 676 AS INTEGER)) || chr(CAST(65 + {n} // 26 % 26 AS INTEGER))"
        f" || chr(CAST(65 + {n} % 26 AS INTEGER))"
    )
    return f"CASE WHEN {number} < 26 THEN {one} WHEN {number} < 702 THEN {two} ELSE {three} END"


def _rounded(amount: str) -> str:
    """SQL of an amount in two significant digits, without a trailing zero: 0.85, 2.5, 12, 250."""
    small = f"rtrim(rtrim(printf('%.2f', round({amount}, 2)), '0'), '.')"
    middle = f"rtrim(rtrim(printf('%.1f', round({amount}, 1)), '0'), '.')"
    # All branches may be computed for every row, so this one must stand small amounts too.
    power = f"CAST(pow(10, floor(log10(greatest({amount}, 10))) - 1) AS BIGINT)"
    large = f"CAST(CAST(round({amount} / {power}) AS BIGINT) * {power} AS VARCHAR)"
    return f"CASE WHEN {amount} < 0.995 THEN {small} WHEN {amount} < 9.95 THEN {middle} ELSE {large} END"


def _slug(name: str) -> str:
    """SQL of a shop's own word as one short word: lower case, no blanks and none of the texts' punctuation."""
    return f"nullif(left(trim(regexp_replace(lower({name}), '[\\s,.:;()]+', '-', 'g'), '-'), 24), '')"
