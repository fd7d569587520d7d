"""The layout of a log: which of its columns is which canonical one, and what is wrong with the header.

In come the first line of the file and the source's settings; out comes a `Layout`. The one thing to know: a
header that doesn't fit is met with a proposal, the preset or the setting that would fit, ready to be typed.
"""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from behavior_tasks.base.config import SourceConfig, load_config, presets
from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.schema import ACTIONS, EVENT_COLUMNS, REQUIRED_COLUMNS
from behavior_tasks.data.reasons import REASONS

TIME_FORMATS = ("unix_seconds", "unix_milliseconds", "iso")
UNFIT_DELIMITERS = ('"', "\r", "\n")
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

    @property
    def width(self) -> int:
        """Cells of every row."""
        return len(self.names)


def check_settings(config: SourceConfig) -> None:
    """Check what the configuration model can't know: canonical names, actions, reasons, the time format.

    Raises:
        UserError: naming every mistake at once.
    """
    canonical = [c.name for c in EVENT_COLUMNS]
    problems = [_unknown("columns", name, canonical) for name in config.columns]
    words = {"actions": config.actions, "action_prefixes": config.action_prefixes}
    problems += [_unknown(f"{key}.{word}", action, ACTIONS) for key, m in words.items() for word, action in m.items()]
    problems += [_unknown("default_action", config.default_action, ACTIONS)] if config.default_action else []
    problems += [_unknown("expected_reasons", reason, REASONS) for reason in config.expected_reasons]
    if config.delimiter in UNFIT_DELIMITERS:
        problems.append(f"source.delimiter: {config.delimiter!r} can't divide columns")
    problems += _time_format_problems(config.time_format)
    doubled = sorted({name for name in config.header or () if (config.header or []).count(name) > 1})
    problems += [f"source.header: {name} stands in it twice" for name in doubled]
    found = [problem for problem in problems if problem]
    if found:
        raise UserError(
            f"The source's settings have {len(found)} mistake{'s' * (len(found) > 1)}.",
            found="\n".join(found),
            next_step="`behavior settings` lists every key; conf/ holds three presets to compare with",
        )


def _unknown(key: str, value: str, known: Mapping[str, object] | tuple[str, ...] | list[str]) -> str:
    if value in known:
        return ""
    close = nearest(value, known)
    return f'source.{key}: "{value}" is none of {", ".join(known)}' + (f"; did you mean {close}?" if close else "")


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
    """Return where the canonical columns stand.

    Args:
        first_line: the file's first line that is not blank.
        shown: the file's name for messages.

    Raises:
        UserError: for another delimiter, missing columns or a column that stands there twice.
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
    places: dict[str, int] = {}
    missing: list[str] = []
    for column in EVENT_COLUMNS:
        wanted = config.columns.get(column.name, column.name)
        place = _find(wanted, names, shown) if wanted is not None else None
        if place is not None:
            places[column.name] = place
        elif column.name in config.columns and wanted is not None:
            missing.append(f"{wanted} (the {column.name})")
        elif column.name in REQUIRED_COLUMNS and not (column.name == "action" and config.default_action):
            missing.append(column.name)
    if missing:
        _refuse_missing(missing, cells, config, shown)
    return Layout(names=names, places=places, has_header=config.header is None)


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


def _refuse_missing(missing: list[str], cells: list[str], config: SourceConfig, shown: str) -> None:
    preset = _fitting_preset(cells, config)
    step = preset or _guessed_header(cells) or _guessed_columns(cells, config)
    # A first line of values may hold somebody's id, so it is not shown.
    values = any(re.fullmatch(r"[\d.:-]+", cell) for cell in cells)
    found = "a first line of values, not of names" if values else f"columns {', '.join(cells)}"
    raise UserError(
        f"{shown} lacks {'a column' if len(missing) == 1 else f'{len(missing)} columns'}: {', '.join(missing)}.",
        found=found if len(found) < 400 else f"{found[:400]}…",
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
            fits = len(cells) == len(source.header) and cells[source.header.index("action")] in source.actions
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


def layout_of(file, config):
    import gzip
    with file.path.open("rb") as raw:
        head=raw.read(2)
    op = gzip.open if head==b"\x1f\x8b" else open
    with op(file.path,"rt",encoding=config.encoding,errors="surrogateescape") as f:
        for line in f:
            line=line.removeprefix("\ufeff").rstrip("\r\n")
            if line.strip(): break
    return read_layout(line, config, shown=file.shown)
