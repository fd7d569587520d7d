"""The settings of a source: how a shop's log is written, and which side tables stand beside it.

In comes the `source` section of a YAML file; out comes a checked `SourceConfig`. The one thing to know: words and
codes may be typed as YAML numbers (`1: browse`), they are compared as text.
"""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, field_validator, model_validator

from behavior_tasks.base.section import Section


def _with_text_keys(value: Any) -> Any:
    """Return a mapping whose numeric keys are text: YAML reads `1: browse` as a number."""
    if not isinstance(value, Mapping):
        return value
    return {str(key) if isinstance(key, int | float) else key: held for key, held in value.items()}


Words = Annotated[dict[str, str], BeforeValidator(_with_text_keys)]
Codes = Annotated[dict[str, str | None], BeforeValidator(_with_text_keys)]
AgeCodes = Annotated[
    dict[str, Annotated[int, Field(ge=0, le=120)] | None],
    BeforeValidator(_with_text_keys),
]


def _as_text(value: Any) -> Any:
    """Return the words of a list as text: YAML reads `yes` as a truth value and `1` as a number."""
    if not isinstance(value, list):
        return value
    return [str(word).lower() if isinstance(word, bool) else str(word) for word in value]


TextWords = Annotated[list[str], BeforeValidator(_as_text)]


def known_encoding(value: str) -> str:
    """Return the name of a text encoding that Python knows.

    Raises:
        ValueError: for any other word.
    """
    try:
        "".encode(value)
    except LookupError as error:
        raise ValueError("is not a text encoding such as utf-8 or gb18030") from error
    return value


class SideTable(Section):
    """A table beside the log that says more about its users or products."""

    path: str = Field(
        "", description="File or URL; a relative path is looked for beside the log, then in the working folder."
    )
    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="Canonical column (or valid_from) → the table's column. The same name needs no entry.",
    )
    time_format: str = Field("iso", description="How valid_from is written; the same words as source.time_format.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="One character between columns.")
    encoding: str = Field("utf-8", description="Text encoding of the table.")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        return known_encoding(value)


class ConsentTable(SideTable):
    """A table beside the log that says who agreed to the use of their data."""

    yes: TextWords = Field(
        ["yes", "true", "1", "y", "t", "granted", "given", "opt_in", "optin", "accepted", "是", "同意", "已同意"],
        description="Words that mean consent, also in a column of the log that source.columns.consent names.",
    )
    no: TextWords = Field(
        ["no", "false", "0", "n", "f", "denied", "withdrawn", "opt_out", "optout", "否", "不同意", "未同意", "撤回"],
        description="Words that mean none. Any other word means none, too, and is counted as odd.",
    )

    @model_validator(mode="after")
    def _words_differ(self) -> Self:
        both = {word.strip().lower() for word in self.yes} & {word.strip().lower() for word in self.no}
        if both:
            raise ValueError(f"names {', '.join(sorted(both))} as yes and as no")
        return self


class SourceConfig(Section):
    """How to read the log: which columns, words, time format and file format it has."""

    format: Literal["auto", "csv", "parquet", "jsonl"] = Field(
        "auto", description="File format; auto tells it from the first bytes. gzip and zstd are always recognised."
    )
    query: str = Field(
        "", description="SQL that selects the log when the input is a database, e.g. SELECT … FROM events."
    )
    columns: dict[str, str | None] = Field(
        default_factory=dict,
        description="Canonical column → the file's column. Columns of the same name need no entry; null: ignore.",
    )
    header: list[str] | None = Field(
        None, description="Column names, in order, of a file that has no header line; empty: the file has one."
    )
    actions: Words = Field(default_factory=dict, description="The file's action word → one of the canonical actions.")
    action_prefixes: Words = Field(
        default_factory=dict,
        description="For files without an action column: start of the action column's value → canonical action.",
    )
    default_action: str | None = Field(
        None, description="Action of every row that no word or prefix matches; empty: such rows are refused."
    )
    ignored_actions: list[str] = Field(
        default_factory=list,
        description="Action words that stand aside as `ignored_action`; they never count as bad.",
    )
    time_format: str = Field(
        "unix_seconds",
        description="unix_seconds, unix_milliseconds, iso, or a strptime format such as %Y-%m-%d %H:%M:%S.",
    )
    year: int | None = Field(
        None, ge=1990, le=2200, description="The year of dates that name none, e.g. with time_format %m%d."
    )
    timezone: str = Field("UTC", description="Zone of local timestamps and of midnight, e.g. Europe/London.")
    delimiter: str = Field(",", min_length=1, max_length=1, description="One character between columns.")
    encoding: str = Field("utf-8", description="Text encoding of the file, e.g. utf-8 or gb18030.")
    age_codes: AgeCodes = Field(
        default_factory=dict,
        description="Code → age in years, null: unknown. With codes given, any other value is unknown too.",
    )
    gender_codes: Codes = Field(
        default_factory=dict,
        description="Code → word, null: unknown. With codes given, any other value is unknown too.",
    )
    users: SideTable = Field(
        default_factory=SideTable, description="Side table by user_id: age, gender; without a path: none."
    )
    products: SideTable = Field(
        default_factory=SideTable,
        description="Side table by product_id: category, brand, product_name, price; without a path: none.",
    )
    consent: ConsentTable = Field(
        default_factory=ConsentTable,
        description="Side table by user_id: consent, and since when. With one, whoever is not in it has not consented.",
    )
    period_start: date | None = Field(
        None, description="First local day of the log (YYYY-MM-DD); earlier rows go to quarantine."
    )
    period_end: date | None = Field(
        None, description="Last local day of the log (YYYY-MM-DD); later rows go to quarantine."
    )
    max_amount: float = Field(
        1_000_000, gt=0, description="A price or amount above this is absurd and goes to quarantine."
    )
    max_bad_fraction: float = Field(
        0.05, ge=0, le=1, description="The run fails when more than this share of the rows is bad."
    )
    expected_reasons: list[str] = Field(
        default_factory=list,
        description="Quarantine reasons that this kind of log is known for; they do not count as bad.",
    )

    @property
    def reasons_that_are_not_bad(self) -> frozenset[str]:
        """Reasons of rows that stand aside without counting as bad."""
        return frozenset(self.expected_reasons) | {"ignored_action", "no_consent", "erased"}

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("is not a time zone such as UTC or Asia/Shanghai") from error
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        return known_encoding(value)
