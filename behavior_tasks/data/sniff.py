"""Sniffing: a log that nobody has described becomes a proposal for its `source` settings, with reasons and a preview.

In comes a file; out comes a `Proposal` that can be written as YAML and loaded again. The one thing to know: what
can't be told is not guessed; it stands in the YAML as a comment, with what to fill in.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from behavior_tasks.base.config import PRESETS_FOLDER, SourceConfig, load_config, presets
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.schema import EVENT_COLUMNS, REQUIRED_COLUMNS
from behavior_tasks.data.codes import needs_year
from behavior_tasks.data.inputs import RawFile
from behavior_tasks.data.layout import SYNONYMS
from behavior_tasks.data.preview import Preview, preview
from behavior_tasks.data.sample import Sample, read_sample
from behavior_tasks.data.sniff_columns import NUMBER, Profile, Roles, find_roles, plain_word
from behavior_tasks.data.sniff_time import likely_offset, read_times

FITTING = 0.9
"""A preset fits when it reads so many of the sample's rows, or as many as the proposal does."""
GENDERS = {"f": "female", "m": "male", "w": "female", "female": "female", "male": "male", "女": "female", "男": "male"}
MOST_CODES = 12
NEGATIVE = 0.95


@dataclass(kw_only=True)
class Proposal:
    """What a log's settings could be."""

    sample: Sample
    source: dict[str, Any] = field(default_factory=dict)
    """The `source` section."""
    reasons: dict[str, str] = field(default_factory=dict)
    """Setting → why, in the order in which they were told."""
    unsure: list[str] = field(default_factory=list)
    """What can't be told from the file, and what to do."""
    preset: str | None = None
    """The preset that reads this log, when one does."""
    shown: Preview | None = None
    """What the proposal makes of the sample."""


def sniff(file: RawFile, *, today: date, use_presets: bool = True) -> Proposal:
    """Propose the settings of a log.

    Args:
        file: one file of it.
        today: the day of reading; later times are in the future.
        use_presets: whether a preset that fits is taken; else everything is told from the file.

    Raises:
        UserError: when the file is no table, or has no column of times.
    """
    sample = read_sample(file.path, shown=file.shown)
    proposal = Proposal(sample=sample)
    if use_presets and _take_preset(proposal, file, today):
        return proposal
    roles = find_roles(sample)
    _layout_settings(proposal, roles, file)
    _time_settings(proposal, roles, today)
    _action_settings(proposal, roles)
    _code_settings(proposal, roles)
    proposal.shown = preview(sample, SourceConfig.model_validate(proposal.source), today=today)
    return proposal


def _take_preset(proposal: Proposal, file: RawFile, today: date) -> bool:
    """Take the preset that reads most rows of the sample, if it reads nearly all."""
    best: tuple[float, str, Preview] | None = None
    for name in presets():
        config = load_config(name).source
        if not _could_fit(proposal.sample, config):
            continue
        shown = preview(proposal.sample, config, today=today)
        share = shown.good_share(config)
        if share >= FITTING and (best is None or share > best[0]):
            best = (share, name, shown)
    if best is None:
        return False
    share, name, proposal.shown = best
    raw = yaml.safe_load((PRESETS_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))["source"]
    proposal.preset = name
    proposal.source = _that_can_be_written(raw)
    for table in ("users", "products"):
        path = (proposal.source.get(table) or {}).get("path")
        if path and not (file.path.parent / path).is_file():
            del proposal.source[table]
            proposal.unsure.append(f"{path} is not beside the log, so events have nothing of it: put it there")
    proposal.reasons["preset"] = f"{share:.1%} of the sample's rows are read as expected"
    _preset_reasons(proposal, load_config(name).source)
    return True


def _preset_reasons(proposal: Proposal, config: SourceConfig) -> None:
    """Say of each column of a preset what the file itself shows."""
    names = list(config.header or proposal.sample.names)
    for column in EVENT_COLUMNS:
        wanted = config.columns.get(column.name, column.name)
        if wanted in names:
            counts = Counter(proposal.sample.column(names.index(wanted)))
            filled = sum(counts.values()) / max(len(proposal.sample.rows), 1)
            proposal.reasons[f"columns.{column.name}"] = f"{filled:.0%} filled, {len(counts):,} different values"
            if column.name == "action" and config.actions:
                proposal.reasons["actions"] = ", ".join(f"{word} {n:,}" for word, n in counts.most_common(8))
    shown = proposal.shown
    if shown is not None and shown.first and shown.last:
        proposal.reasons["time_format"] = f"from {shown.first:%Y-%m-%d %H:%M} to {shown.last:%Y-%m-%d %H:%M} UTC"


def _that_can_be_written(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, date) else value for key, value in raw.items()}


def _could_fit(sample: Sample, config: SourceConfig) -> bool:
    if config.header is not None:
        return not sample.has_header and len(sample.names) == len(config.header)
    names = {name.casefold() for name in sample.names}
    wanted = {(config.columns.get(name) or name).casefold() for name in REQUIRED_COLUMNS}
    return sample.has_header and wanted <= names and sample.delimiter == config.delimiter


def _layout_settings(proposal: Proposal, roles: Roles, file: RawFile) -> None:
    sample = proposal.sample
    reasons = {key: why for key, _, why in sample.reasons}
    if sample.format == "csv" and sample.delimiter != ",":
        proposal.source["delimiter"] = sample.delimiter
        proposal.reasons["delimiter"] = reasons["delimiter"]
    if sample.encoding != "utf-8":
        proposal.source["encoding"] = sample.encoding
        proposal.reasons["encoding"] = reasons["encoding"]
    missing = [name for name in ("user_id", "product_id", "timestamp") if name not in roles.places]
    if missing:
        raise UserError(
            f"{file.shown} has no column that could be the {' or the '.join(missing)}.",
            found=f"columns {', '.join(sample.names)}" if sample.has_header else f"{len(sample.names)} columns",
            expected="one row an event: who did what to which product, when",
            next_step="map them by hand: --set 'source.columns={user_id: your_column, …}'",
        )
    order = [c.name for c in EVENT_COLUMNS if c.name in roles.places]
    if not sample.has_header:
        by_place = {roles.places[name].place: name for name in order}
        proposal.source["header"] = [by_place.get(n, f"column_{n + 1}") for n in range(len(sample.names))]
        proposal.reasons["header"] = reasons["header"]
    else:
        proposal.source["columns"] = {name: sample.names[roles.places[name].place] for name in order}
    for name in order:
        proposal.reasons[f"columns.{name}"] = f"{sample.names[roles.places[name].place]}: {roles.places[name].why}"


def _time_settings(proposal: Proposal, roles: Roles, today: date) -> None:
    assert roles.time is not None
    proposal.source["time_format"] = roles.time.time_format
    proposal.source["timezone"] = "UTC"
    cells = proposal.sample.column(roles.places["timestamp"].place)
    year = None
    if needs_year(roles.time.time_format):
        proposal.source["year"] = year = _latest_year(cells, today)
        proposal.reasons["year"] = "the latest in which no day lies in the future"
        proposal.unsure.append(f"source.year: the dates name none; {year} is only a guess")
    elif roles.time.unsure:
        proposal.unsure.append(f"source.time_format: {roles.time.unsure}")
    config = SourceConfig(time_format=roles.time.time_format, year=year)
    instants = [instant for instant in read_times(cells, config) if instant is not None]
    proposal.reasons["time_format"] = (
        f"{roles.time.why}; from {min(instants):%Y-%m-%d %H:%M} to {max(instants):%Y-%m-%d %H:%M}"
    )
    hint = likely_offset(instants)
    if roles.time.zoned:
        why = "the times are instants; the zone says when a day begins, and the file doesn't tell it"
    else:
        why = "the times name no zone: set the shop's"
        proposal.unsure.append("source.timezone: the times name no zone; UTC is only a default")
    proposal.reasons["timezone"] = f"{why}; {hint}" if hint else why


def _latest_year(cells: Sequence[str], today: date) -> int:
    """The latest year in which none of these days (MMDD) lies in the future."""
    last = max(int(cell) for cell in cells if cell.isdigit())
    return today.year if last <= today.month * 100 + today.day else today.year - 1


def _action_settings(proposal: Proposal, roles: Roles) -> None:
    role = roles.places.get("action")
    if role is None:
        _sales_only(proposal, roles)
        return
    words = {plain_word(word): action for action, known in SYNONYMS.items() for word in known}
    counts = Counter(proposal.sample.column(role.place))
    told = {word: words[plain_word(word)] for word, _ in counts.most_common() if plain_word(word) in words}
    if told:
        proposal.source["actions"] = told
    proposal.reasons["actions"] = ", ".join(f"{word} {counts[word]:,}" for word, _ in counts.most_common(8))
    unknown = [f"{word} ({number:,} rows)" for word, number in counts.most_common() if word not in told]
    if unknown:
        hint = ", ".join(f"{word}: …" for word in counts if word not in told)
        proposal.unsure.append(f"source.actions: what {', '.join(unknown)} mean; add {{{hint}}}, or ignored_actions")


def _sales_only(proposal: Proposal, roles: Roles) -> None:
    """A log without actions is one of sales; a letter before some invoice numbers may mark cancellations."""
    proposal.source["default_action"] = "purchase"
    proposal.reasons["default_action"] = "no column holds words for actions, so every row is taken as a sale"
    proposal.unsure.append("source.default_action: that every row is a purchase is only a guess")
    quantity = roles.places.get("quantity")
    taken = {role.place for role in roles.places.values()}
    for place in range(len(proposal.sample.names)) if quantity else ():
        assert quantity is not None
        letter = _letter_of_negatives(proposal.sample, place, quantity.place) if place not in taken else None
        if letter is not None:
            name = proposal.sample.names[place]
            columns = proposal.source.get("columns")
            if columns is not None:
                columns["action"] = name
            else:
                proposal.source["header"][place] = "action"
            proposal.source["action_prefixes"] = {letter: "return"}
            proposal.reasons["action_prefixes"] = f"{name} starts with {letter} where quantities are negative"
            return


def _letter_of_negatives(sample: Sample, place: int, quantity: int) -> str | None:
    rows = [(row[place].strip(), row[quantity].strip()) for row in sample.rows]
    lettered = [(cell[0], number) for cell, number in rows if cell[:1].isalpha() and NUMBER.fullmatch(number)]
    plain = sum(cell[:1].isdigit() for cell, _ in rows)
    if not lettered or plain < len(rows) / 2:
        return None
    for letter, number in Counter(cell for cell, _ in lettered).most_common():
        if sum(q.startswith("-") for cell, q in lettered if cell == letter) >= NEGATIVE * number:
            return letter
    return None


def _code_settings(proposal: Proposal, roles: Roles) -> None:
    gender, age = roles.places.get("gender"), roles.places.get("age")
    if gender is not None:
        counts = Profile(proposal.sample.column(gender.place)).counts
        told = {word: GENDERS[word.lower()] for word in counts if word.lower() in GENDERS}
        if told and set(counts) == set(told) and any(word != told[word] for word in told):
            proposal.source["gender_codes"] = told
            proposal.reasons["gender_codes"] = ", ".join(f"{word} {counts[word]:,}" for word in told)
        elif not told and len(counts) <= MOST_CODES:
            codes = ", ".join(sorted(counts))
            proposal.unsure.append(f"source.gender_codes: what {codes} mean: {{0: female, 1: male, 2: null}} or so")
    if age is not None:
        profile = Profile(proposal.sample.column(age.place))
        if len(profile.counts) <= MOST_CODES and profile.numeric == 1 and max(map(float, profile.counts)) <= MOST_CODES:
            codes = ", ".join(sorted(profile.counts))
            proposal.unsure.append(f"source.age_codes: {codes} look like codes, not years: {{1: 16, 2: 21}} or so")


def proposal_yaml(proposal: Proposal, file: RawFile) -> str:
    """Return the proposal as YAML that `load_config` reads: each setting below its reason, the unsure as comments."""
    lines = [f"# Proposed from {Path(file.name).name} ({len(proposal.sample.rows):,} rows looked at)."]
    if proposal.preset:
        lines.append(f"# The same as the preset {proposal.preset}: {proposal.reasons['preset']}.")
    lines.append("source:")
    for key, value in proposal.source.items():
        why = {k: w for k, w in proposal.reasons.items() if k == key or k.startswith(f"{key}.")}
        lines += [f"  # {k.removeprefix(key).lstrip('.') or key}: {w}" for k, w in why.items()]
        flow = None if isinstance(value, dict | list) else False
        options: dict[str, Any] = {"allow_unicode": True, "sort_keys": False, "width": 110, "default_flow_style": flow}
        dumped = yaml.safe_dump({key: value}, **options)
        lines += [f"  {line}" for line in dumped.splitlines()]
    if proposal.unsure:
        lines += ["# To be checked by somebody who knows the shop:", *(f"#   {line}" for line in proposal.unsure)]
    return "\n".join(lines) + "\n"
