"""What the leakage auditor compares: the artifacts of the base log with those of a planted or shuffled one.

In come two sets of artifacts and an instant; out come checks: how much was compared, what differs, by name and with
one example. The one thing to know: everything here is about examples whose cutoff is not after the instant, events
before it, and what was fitted; each of them must be the same to the last bit.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.schema import SHOPPER_COLUMNS
from behavior_tasks.base.tables import connect, quote
from behavior_tasks.data.events import open_events
from behavior_tasks.pipeline.audit_log import CANARY

Artifacts = Mapping[str, Artifact]
MOST_NAMED = 8
EXAMPLE_LENGTH = 120


@dataclass(frozen=True, kw_only=True)
class Check:
    """One comparison."""

    where: str
    """What was done to the log."""
    what: str
    """What was compared."""
    compared: int
    differing: int
    names: tuple[str, ...] = ()
    """What differs: features, bins, categories, tokens; at most MOST_NAMED."""
    example: str = ""
    """One difference: base → other."""
    void: str = ""
    """Why the check proves nothing; such a check fails."""

    @property
    def clean(self) -> bool:
        """Whether nothing differs and there was something to compare."""
        return not self.differing and not self.void


class Comparison:
    """Two sets of artifacts side by side, up to an instant."""

    def __init__(
        self, where: str, base: Artifacts, other: Artifacts, until: datetime, *, memory_mb: int, drawn: bool = False
    ) -> None:
        """Open the tables of both.

        Args:
            where: name for the checks.
            until: examples with a later cutoff, and events from then on, may differ.
            drawn: labels that may differ decide which negatives of train were drawn, so only those drawn both times
                can be compared.
        """
        self.drawn = drawn
        self.where, self.base, self.other, self.until = where, base, other, until
        self.connection = connect(memory_mb=memory_mb)
        for name, artifacts in (("base", base), ("other", other)):
            _make_events(self.connection, name, artifacts["clean"])
            for table, stage, folder in (
                ("examples", "cutoffs", "examples"),
                ("features", "features", "examples"),
                ("texts", "verbalize", "texts"),
            ):
                if stage not in artifacts:
                    continue
                files = quote(artifacts[stage].path / folder / "*.parquet")
                self.connection.execute(f"CREATE VIEW {name}_{table} AS SELECT * FROM read_parquet({files})")

    def all_checks(self) -> list[Check]:
        """Compare everything that was built: of artifacts up to the features, neither texts nor what was fitted."""
        checks = [self.windows(), self.events()]
        if not self.drawn:
            checks.append(self.examples())
        checks += [*self.labels(), self.features()]
        if "verbalize" in self.base and "verbalize" in self.other:
            checks += [self.texts(), *self.fits()]
        return checks

    def windows(self) -> Check:
        """The label windows lie where they lay."""
        one, other = ([*a["cutoffs"].facts["windows"]] for a in (self.base, self.other))
        differing = [(x, y) for x, y in zip(one, other, strict=False) if x != y]
        return self._check("label windows", len(one), len(differing) + abs(len(one) - len(other)), pairs=differing)

    def events(self) -> Check:
        """Clean events before the instant: none is gone, none is new, no amount is cleaned in another way."""
        before = f"WHERE timestamp < {self._instant}"
        names = ", ".join(c.name for c in SHOPPER_COLUMNS)
        rows = self._rows(f"""
            (SELECT 'only base' AS side, * FROM (SELECT {names} FROM base_events {before}
                EXCEPT ALL SELECT {names} FROM other_events {before}))
            UNION ALL
            (SELECT 'only other' AS side, * FROM (SELECT {names} FROM other_events {before}
                EXCEPT ALL SELECT {names} FROM base_events {before})) ORDER BY ALL
        """)
        compared = self._number(f"SELECT count(*) FROM base_events {before}")
        return self._check("clean events", compared, len(rows), example=str(rows[0]) if rows else "")

    def examples(self) -> Check:
        """The same examples."""
        rows = self._rows(f"""
            SELECT coalesce(b.example, o.example) AS example, b.example IS NULL FROM base_examples AS b
            FULL JOIN other_examples AS o ON o.example = b.example
            WHERE coalesce(b.cutoff, o.cutoff) <= {self._instant} AND (b.example IS NULL OR o.example IS NULL)
            ORDER BY example
        """)
        example = f"{rows[0][0]} is {'new' if rows[0][1] else 'gone'}" if rows else ""
        return self._check("examples", self._count_examples(), len(rows), example=example)

    def labels(self) -> list[Check]:
        """Labels and amounts of windows that end before the instant; no check where there is none yet."""
        ended = [w["cutoff"] for w in self.base["cutoffs"].facts["windows"] if w["end"] <= self.until.isoformat()]
        if not ended:
            return []
        which = f"b.cutoff IN ({', '.join(f'TIMESTAMP {cutoff!r}' for cutoff in ended)})"
        weight = ["weight"] if "weight" in self._columns("base_examples") and not self.drawn else []
        compared, differing = self._joined("examples", which, ["label", "amount", *weight])
        return [self._check("labels of windows that had ended", compared, **differing)]

    def changed_labels(self) -> int:
        """Return how many labels of windows that had not ended differ, as they may and should."""
        query = f"""SELECT count(*) FROM base_examples AS b JOIN other_examples AS o USING (example)
            WHERE b.label <> o.label AND b.cutoff <= {self._instant}"""
        return self._number(query)

    def features(self) -> Check:
        """Every feature of every example."""
        told = self._columns("base_examples")
        columns, others = ([c for c in self._columns(f"{n}_features") if c not in told] for n in ("base", "other"))
        gone = sorted(set(columns) ^ set(others))
        if gone:
            return self._check("features", len(columns), len(gone), names=tuple(gone))
        compared, differing = self._joined("features", f"b.cutoff <= {self._instant}", columns)
        return self._check("features", compared * len(columns), **differing)

    def texts(self) -> Check:
        """Every text."""
        compared, differing = self._joined("texts", f"b.cutoff <= {self._instant}", ("parts",))
        return self._check("texts", compared, **differing)

    def fits(self) -> list[Check]:
        """What was fitted: bounds and medians of `clean`, bins and categories of the texts, the vocabulary."""
        checks = [self._json("what clean reports as fitted", "clean", "report.json", _fitted_bounds)]
        for path in sorted(self.base["clean"].path.glob("*.parquet")):
            if path.name.startswith(("bounds", "median")):
                checks.append(self._fitted_table(path.name))
        checks += [
            self._json("text bins", "verbalize", "text.json", lambda content: content["bins"]),
            self._json("named categories", "verbalize", "text.json", lambda content: content["categories"]),
            self._json("named products", "verbalize", "text.json", lambda content: list(content["products"])),
            self._json("search words", "verbalize", "text.json", lambda content: content["query_words"]),
            self._json("bins of prices", "verbalize", "text.json", lambda content: content["price_edges"]),
            self._json("bins of amounts", "verbalize", "text.json", lambda content: content["amount_edges"]),
        ]
        if "encode" in self.base:
            named = "tokenizer/tokenizer.json"
            checks.append(self._json("vocabulary", "encode", named, lambda content: content["model"]))
        return checks

    def _fitted_table(self, name: str) -> Check:
        """Fitted values by category; those of the canaries' own categories follow from the others."""
        one, other = (f"read_parquet({quote(a['clean'].path / name)})" for a in (self.base, self.other))
        ours = f"WHERE category IS NULL OR category NOT LIKE '{CANARY}%'"
        rows = self._rows(f"""
            (SELECT * FROM {one} {ours} EXCEPT ALL SELECT * FROM {other} {ours})
            UNION ALL (SELECT * FROM {other} {ours} EXCEPT ALL SELECT * FROM {one} {ours}) ORDER BY ALL
        """)
        compared = self._number(f"SELECT count(*) FROM {one} {ours}")
        return self._check(
            f"{name.removesuffix('.parquet')} by category", compared, len(rows), example=str(rows[0]) if rows else ""
        )

    def _json(self, what: str, stage: str, file: str, part: Any) -> Check:
        """Compare a part of a JSON file, value by value."""
        one, other = (dict(_flat(part(_read(a[stage].path / file)))) for a in (self.base, self.other))
        keys = [key for key in sorted({*one, *other}) if one.get(key) != other.get(key)]
        names = tuple(dict.fromkeys(key.partition("[")[0].strip(".") for key in keys))
        pairs = [(one.get(key), other.get(key)) for key in keys]
        return self._check(what, len(one), len(keys), names=names, pairs=pairs)

    def _joined(self, table: str, condition: str, columns: Sequence[str]) -> tuple[int, dict[str, Any]]:
        """Compare columns of the examples that both have; return how many, and what differs."""
        source = f"base_{table} AS b JOIN other_{table} AS o ON o.example = b.example WHERE {condition}"
        differs = {name: f'b."{name}" IS DISTINCT FROM o."{name}"' for name in columns}
        counts = ", ".join(f"count(*) FILTER ({sql})" for sql in differs.values())
        compared, *changed = self.connection.execute(f"SELECT count(*), {counts} FROM {source}").fetchall()[0]
        names = [name for name, n in zip(columns, changed, strict=True) if n]
        example = ""
        if names:
            first = names[0]
            rows = self._rows(f"""SELECT b.example, b."{first}", o."{first}" FROM {source} AND {differs[first]}
                ORDER BY b.example LIMIT 1""")
            example = f"{first} of {rows[0][0]}: {_difference(*rows[0][1:])}"
        return compared, {"differing": sum(changed), "names": tuple(names), "example": example}

    def _check(
        self,
        what: str,
        compared: int,
        differing: int,
        *,
        names: tuple[str, ...] = (),
        example: str = "",
        pairs: Sequence[tuple[object, object]] = (),
    ) -> Check:
        example = example or (_difference(*pairs[0]) if pairs else "")
        return Check(
            where=self.where,
            what=what,
            compared=compared,
            differing=differing,
            names=names[:MOST_NAMED],
            example=example,
        )

    @property
    def _instant(self) -> str:
        return f"TIMESTAMP '{self.until}'"

    def _count_examples(self) -> int:
        return self._number(f"SELECT count(*) FROM base_examples WHERE cutoff <= {self._instant}")

    def _columns(self, view: str) -> list[str]:
        return [row[0] for row in self._rows(f"DESCRIBE {view}")]

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def _number(self, query: str) -> int:
        return int(self._rows(query)[0][0])


def count_canary_events(artifact: Artifact) -> int:
    """Return how many clean events bear a canary's word."""
    connection = connect()
    _make_events(connection, "planted", artifact)
    condition = f"product_id LIKE '{CANARY}%' OR category LIKE '{CANARY}%' OR gender = '{CANARY}'"
    return int(connection.execute(f"SELECT count(*) FROM planted_events WHERE {condition}").fetchall()[0][0])


def _make_events(connection: duckdb.DuckDBPyConnection, name: str, artifact: Artifact) -> None:
    """Make the view of all clean events of an artifact."""
    views = []
    for number, bucket in enumerate(open_events(artifact)):
        views.append(f"{name}_bucket_{number}")
        bucket.create_view(connection, views[-1])
    union = " UNION ALL ".join(f"SELECT * FROM {view}" for view in views)
    connection.execute(f"CREATE VIEW {name}_events AS {union}")


def _fitted_bounds(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `clean` says it fitted: of the whole log, of each category with a replaced amount.

    A category of canaries alone must have no fit of its own, so it stands in the comparison with what it was given.
    """
    outliers = report.get("outliers", {})
    by_category = outliers.get("by_category", {})
    own = {name: told["fit"] for name, told in by_category.items() if isinstance(told["fit"], dict)}
    return {
        "whole log": outliers.get("whole_log"),
        "fitted before": outliers.get("fitted_before"),
        # Other categories come and go with what is replaced, not with what is fitted.
        "canaries": {name: fit for name, fit in own.items() if name.startswith(CANARY)},
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_bytes())


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every leaf of JSON under its path; an empty list or table is a leaf."""
    children: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        children = [(f"{key}.{name}", child) for name, child in value.items()]
    elif isinstance(value, list):
        children = [(f"{key}[{place}]", child) for place, child in enumerate(value)]
    if not children:
        yield key, value if not isinstance(value, dict | list) else None
    for name, child in children:
        yield from _flat(child, name)


def _difference(one: object, other: object) -> str:
    """Return two values; long ones from shortly before the place where they part."""
    texts = [str(one), str(other)]
    if max(map(len, texts)) > EXAMPLE_LENGTH:
        parts = next((n for n, (x, y) in enumerate(zip(*texts, strict=False)) if x != y), 0)
        start = max(0, parts - EXAMPLE_LENGTH // 3)
        texts = [f"…{text[start : start + EXAMPLE_LENGTH]}…" for text in texts]
    return " → ".join(texts)
