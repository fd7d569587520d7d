"""The layout of a log: which of its columns is which canonical one, and what is wrong with the header.

In come the first line of the file and the source's settings; out comes a `Layout`. The one thing to know: a
header that doesn't fit is met with a proposal, the preset or the setting that would fit, ready to be typed.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from behavior_tasks.base.config import SourceConfig, load_config, presets
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.schema import ACTIONS, EVENT_COLUMNS, REQUIRED_COLUMNS
from behavior_tasks.data.codes import needs_year
from behavior_tasks.data.consent_words import CONSENT
from behavior_tasks.data.reasons import REASONS

TIME_FORMATS = ("unix_seconds", "unix_milliseconds", "iso")
USER_COLUMNS = ("user_id", "age", "gender", "valid_from")
PRODUCT_COLUMNS = ("product_id", "category", "brand", "product_name", "price", "valid_from")
CONSENT_COLUMNS = ("user_id", CONSENT, "valid_from")
"""What a side table may hold; with `valid_from`, a value reaches no event before that instant."""
UNFIT_DELIMITERS = ('"', "\r", "\n")
LONGEST_FOUND = 400
DELIMITERS = (",", ";", "\t", "|")
TYPED = {"\t": '"\\t"'}
"""How a delimiter is typed in a setting, where its own character won't do."""
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "browse": ("browse", "view", "page_view", "pageview", "pv", "visit"),
    "search": ("search",),
    "click": ("click",),
    "favourite": ("favourite", "favorite", "fav", "like"),
    "add_to_cart": ("add_to_cart", "addtocart", "cart"),
    "purchase": ("purchase", "buy", "order", "transaction"),
    "return": ("return", "refund", "cancel"),
}
"""Words for the actions that need no setting; upper case, spaces and hyphens play no part."""
USUAL_NAMES: Mapping[str, tuple[str, ...]] = {
    "user_id": ("userid", "customerid", "visitorid", "clientid", "memberid", "user", "customer", "uid"),
    "action": ("event", "eventtype", "behavior", "behaviour", "behaviortype", "actiontype", "type"),
    "product_id": ("productid", "itemid", "stockcode", "sku", "product", "item", "goodsid"),
    "timestamp": ("eventtime", "time", "datetime", "ts", "date", "invoicedate", "createdat"),
}
"""Names, without case and punctuation, under which other shops keep the required columns."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where the canonical columns stand in a file."""

    names: tuple[str, ...]
    """The file's columns, as found."""
    places: Mapping[str, int]
    """Canonical column → place, from 0; without those that the file lacks."""
    has_header: bool
    absent: tuple[str, ...] = ()
    """Optional canonical columns that the settings map but this file lacks; another file of the log may have them."""

    @property
    def width(self) -> int:
        """Cells of every row."""
        return len(self.names)


class MissingColumnsError(UserError):
    """A file lacks required columns.

    Args:
        missing: the columns, as they are called in the settings.
        found: what the file has instead, fit to be shown.
    """

    def __init__(self, missing: Sequence[str], found: str, *, shown: str, expected: str, next_step: str) -> None:
        self.missing = tuple(missing)
        self.found_columns = found.removeprefix("columns ")
        what = "a column" if len(missing) == 1 else f"{len(missing)} columns"
        super().__init__(
            f"{shown} lacks {what}: {', '.join(missing)}.", found=found, expected=expected, next_step=next_step
        )


def check_settings(config: SourceConfig) -> None:
    """Check what the configuration model can't know: canonical names, actions, reasons, the time format.

    Raises:
        UserError: naming every mistake at once.
    """
    canonical = [c.name for c in EVENT_COLUMNS]
    problems = [_unknown("columns", name, [*canonical, CONSENT]) for name in config.columns]
    words = {"actions": config.actions, "action_prefixes": config.action_prefixes}
    problems += [_unknown(f"{key}.{word}", action, ACTIONS) for key, m in words.items() for word, action in m.items()]
    problems += [_unknown("default_action", config.default_action, ACTIONS)] if config.default_action else []
    problems += [_unknown("expected_reasons", reason, REASONS) for reason in config.expected_reasons]
    if config.delimiter in UNFIT_DELIMITERS:
        problems.append(f"source.delimiter: {config.delimiter!r} can't divide columns")
    unfit = _time_format_problems(config.time_format)
    problems += unfit
    problems += _side_table_problems(config)
    if not unfit and config.year is None and needs_year(config.time_format):
        problems.append(f'source.year: the time format "{config.time_format}" has no year, so it must be set')
    doubled = sorted({name for name in config.header or () if (config.header or []).count(name) > 1})
    problems += [f"source.header: {name} stands in it twice" for name in doubled]
    found = [problem for problem in problems if problem]
    if found:
        raise UserError(
            f"The source's settings have {len(found)} mistake{'s' * (len(found) > 1)}.",
            found="\n".join(found),
            next_step="`behavior settings` lists every key; `behavior sources` lists the presets to compare with",
        )


def _unknown(key: str, value: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    if value in known:
        return ""
    close = nearest(value, known)
    return f'source.{key}: "{value}" is none of {", ".join(known)}' + (f"; did you mean {close}?" if close else "")


def _side_table_problems(config: SourceConfig) -> list[str]:
    found = []
    tables = (
        ("users", config.users, USER_COLUMNS),
        ("products", config.products, PRODUCT_COLUMNS),
        (CONSENT, config.consent, CONSENT_COLUMNS),
    )
    for name, table, known in tables:
        found += [_unknown(f"{name}.columns", column, known) for column in table.columns]
        found += [
            problem.replace("source.", f"source.{name}.", 1) for problem in _time_format_problems(table.time_format)
        ]
    return found


def _time_format_problems(time_format: str) -> list[str]:
    if time_format in TIME_FORMATS:
        return []
    if "%" not in time_format:
        close = nearest(time_format, TIME_FORMATS)
        hint = f"; did you mean {close}?" if close else ""
        return [f'source.time_format: "{time_format}" is none of {", ".join(TIME_FORMATS)}, nor a % format{hint}']
    try:
        duckdb.execute("SELECT try_strptime('', ?)", [time_format])
    except duckdb.InvalidInputException as error:
        return [f"source.time_format: {str(error).removeprefix('Invalid Input Error: ')}"]
    return []


def read_layout(first_line: str, config: SourceConfig, *, shown: str) -> Layout:
    """Return where the canonical columns stand in a CSV file.

    Args:
        first_line: the file's first line that is not blank.
        shown: the file's name for messages.

    Raises:
        UserError: for another delimiter, or a column that stands there twice.
        MissingColumnsError: when required columns are missing.
    """
    cells = split_line(first_line, config.delimiter)
    if len(cells) == 1:
        _refuse_delimiter(first_line, config.delimiter, shown)
    if config.header is not None and len(cells) != len(config.header):
        raise UserError(
            f"The rows of {shown} don't fit source.header.",
            found=f"{len(cells)} columns in the first row",
            expected=f"{len(config.header)} columns: {', '.join(config.header)}",
            next_step=_fitting_preset(cells, config) or "name the file's columns, in order, in source.header",
        )
    names = tuple(config.header) if config.header is not None else tuple(cells)
    return _lay_out(names, cells, config, shown=shown, has_header=config.header is None)


def layout_of_names(names: Sequence[str], config: SourceConfig, *, shown: str) -> Layout:
    """Return where the canonical columns stand in a file that names its columns itself: Parquet, JSON lines.

    Raises:
        UserError: for a column that stands there twice.
        MissingColumnsError: when required columns are missing.
    """
    return _lay_out(tuple(names), list(names), config, shown=shown, has_header=False)


def _lay_out(names: tuple[str, ...], cells: list[str], config: SourceConfig, *, shown: str, has_header: bool) -> Layout:
    places: dict[str, int] = {}
    missing: list[str] = []
    absent: list[str] = []
    for column in EVENT_COLUMNS:
        wanted = config.columns.get(column.name, column.name)
        place = _find(wanted, names, shown) if wanted is not None else None
        if place is not None:
            places[column.name] = place
        elif column.name in REQUIRED_COLUMNS and not (column.name == "action" and config.default_action):
            missing.append(column.name if wanted in {None, column.name} else f"{wanted} (the {column.name})")
        elif column.name in config.columns and wanted is not None:
            absent.append(column.name)
    if (wanted := config.columns.get(CONSENT)) is not None:
        place = _find(wanted, names, shown)
        if place is None:
            missing.append(f"{wanted} (the {CONSENT})")
        else:
            places[CONSENT] = place
    if missing:
        raise _missing_columns(missing, cells, config, shown)
    return Layout(names=names, places=places, has_header=has_header, absent=tuple(absent))


def check_together(layouts: Mapping[str, Layout | MissingColumnsError], config: SourceConfig) -> None:
    """Check that the files of one log agree: required columns in every file, any mapped one in at least one file.

    Args:
        layouts: the name of each file for messages → its layout, or what it lacks.

    Raises:
        UserError: naming two files that disagree, or the column that no file has.
    """
    good = {shown: layout for shown, layout in layouts.items() if isinstance(layout, Layout)}
    bad = {shown: error for shown, error in layouts.items() if isinstance(error, MissingColumnsError)}
    if bad and not good:
        raise next(iter(bad.values()))
    first, layout = next(iter(good.items()))
    if bad:
        shown, error = next(iter(bad.items()))
        more = f"; so do {len(bad) - 1} more files" if len(bad) > 1 else ""
        raise UserError(
            f"The files {first} and {shown} disagree on their columns: {shown} lacks {', '.join(error.missing)}.",
            found=f"{first}: {', '.join(layout.names)}\n{shown}: {error.found_columns}{more}",
            expected="the required columns in every file; their order, and optional ones, may differ",
            next_step="name only files of one kind in the input, or bring them to the same columns",
        )
    nowhere = [name for name in layout.absent if all(name in other.absent for other in good.values())]
    if nowhere:
        missing = [f"{config.columns[name]} (the {name})" for name in nowhere]
        raise _missing_columns(missing, list(layout.names), config, first)


def split_line(line: str, delimiter: str) -> list[str]:
    """Return the trimmed cells of one line.

    >>> split_line('user_id, "a;b" ;c', ";")
    ['user_id, "a', 'b"', 'c']
    """
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]


def _find(wanted: str, names: tuple[str, ...], shown: str) -> int | None:
    """Return the place of a column: by its exact name, else by its name without case."""
    for key in (str, str.casefold):
        places = [place for place, name in enumerate(names) if key(name) == key(wanted)]
        if len(places) > 1:
            raise UserError(
                f"The column {wanted} stands {len(places)} times in the header of {shown}.",
                found=", ".join(names),
                next_step="rename one of them in the file",
            )
        if places:
            return places[0]
    return None


def _refuse_delimiter(line: str, delimiter: str, shown: str) -> None:
    counts = {other: len(split_line(line, other)) for other in DELIMITERS if other != delimiter}
    likely = max(counts, key=lambda other: counts[other])
    if counts[likely] > 1:
        name = "a tab" if likely == "\t" else f'"{likely}"'
        typed = TYPED.get(likely, f'"{likely}"')
        raise UserError(
            f"The columns of {shown} are not divided by {delimiter!r}: its first line is one column.",
            found=f"{counts[likely]} columns when divided by {name}",
            expected=f"columns divided by source.delimiter = {delimiter!r}",
            next_step=f"--set 'source.delimiter={typed}'",
        )
    raise UserError(
        f"The first line of {shown} is one column.",
        found=f"{len(line)} characters without any of , ; | or a tab",
        expected="a header such as user_id,action,product_id,timestamp",
        next_step="check that this is the log, or name its delimiter: --set 'source.delimiter=…'",
    )


def _missing_columns(missing: list[str], cells: list[str], config: SourceConfig, shown: str) -> MissingColumnsError:
    step = _fitting_preset(cells, config) or _guessed_header(cells) or _guessed_columns(cells, config)
    # A first line of values may hold somebody's id, so it is not shown.
    values = any(re.fullmatch(r"[\d.:-]+", cell) for cell in cells)
    found = "a first line of values, not of names" if values else f"columns {', '.join(cells)}"
    return MissingColumnsError(
        missing,
        found if len(found) < LONGEST_FOUND else f"{found[:LONGEST_FOUND]}…",
        shown=shown,
        expected=", ".join(config.columns.get(name) or name for name in REQUIRED_COLUMNS),
        next_step=step or "map them: --set 'source.columns={user_id: your_column, …}'",
    )


def _fitting_preset(cells: list[str], config: SourceConfig) -> str | None:
    """Return how to choose the preset whose columns, or whose action words, the first line holds."""
    names = {cell.casefold() for cell in cells}
    for preset in presets():
        source = load_config(preset).source
        if source == config:
            continue
        if source.header is not None:
            place = source.header.index("action")
            fits = len(cells) == len(source.header) and cells[place] in source.actions
        else:
            fits = {(source.columns.get(c) or c).casefold() for c in REQUIRED_COLUMNS} <= names
        if fits:
            return f"this looks like the preset {preset}: --preset {preset}"
    return None


def _guessed_header(cells: list[str]) -> str | None:
    """Return the setting for a file whose first line is a row, recognised by its action word and its time."""
    known = {word for words in SYNONYMS.values() for word in words}
    actions = [n for n, cell in enumerate(cells) if re.sub(r"[\s-]+", "_", cell.lower()) in known]
    times = [n for n, cell in enumerate(cells) if re.fullmatch(r"1\d{9}(\d{3})?|\d{4}-\d\d-\d\d.*", cell)]
    if len(actions) != 1 or len(times) != 1 or len(cells) < len(REQUIRED_COLUMNS):
        return None
    names = {actions[0]: "action", times[0]: "timestamp"}
    free = [n for n in range(len(cells)) if n not in names]
    names |= dict(zip(free, ("user_id", "product_id"), strict=False))
    header = ", ".join(names.get(n, f"column_{n + 1}") for n in range(len(cells)))
    return f"if it has no header line: --set 'source.header=[{header}]'"


def _guessed_columns(cells: list[str], config: SourceConfig) -> str | None:
    """Return the setting that maps columns known under other names."""
    plain = {re.sub(r"[^a-z0-9]", "", cell.lower()): cell for cell in reversed(cells)}
    exact = {cell.casefold() for cell in cells}
    pairs = []
    for name in REQUIRED_COLUMNS:
        if (config.columns.get(name) or name).casefold() in exact:
            continue
        match = next((plain[usual] for usual in USUAL_NAMES[name] if usual in plain), None)
        if match is None:
            return None
        pairs.append(f"{name}: {match}")
    return f"map them: --set 'source.columns={{{', '.join(pairs)}}}'" if pairs else None
