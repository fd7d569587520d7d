"""What `behavior audiences` shows: all audiences of a date, one list, and what was written of it."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import yaml
from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.few import told_count
from behavior_tasks.cli.screen import console, count
from behavior_tasks.serve.audiences_small import shown_audience

if TYPE_CHECKING:
    from behavior_tasks.pipeline.take_away import TakenAway
    from behavior_tasks.serve.audiences_lists import ChosenList
    from behavior_tasks.serve.served import Served

SHOWN_ROWS = 10


def line(text: str) -> None:
    """Write a line as it stands, wrapped by the screen alone."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def everything(served: "Served", least: int) -> None:
    """Show all audiences of a date; of those with fewer people than `least` nothing but that they are small."""
    facts = served.facts
    title = f"Audiences of {served.as_of}, for {facts['horizon_days']} days; {count(facts['scored'])} shoppers scored"
    told = [shown_audience(one, least) for one in facts["audiences"]]
    console.print(_table(title, told, least))
    for one in facts["audiences"]:
        if one["note"]:
            console.print(f"{one['name']} is empty: {one['note']}.", markup=False, highlight=False)
    if facts["in_words"]:
        console.print(f"\nPut to the test as of {facts['compared_at'] or '–'}. {facts['in_words']}", highlight=False)
    first = next((one["name"] for one in told if one["contacts"] and one["contact"]), "NAME")
    line(f"\nThe page: {served.folder / 'page.html'}")
    for words in (
        f"behavior audiences {first} --out list.csv",
        "behavior audiences --budget 5000 --contact-cost 0.05 --margin 0.3",
        f"behavior lift {first}    once the {facts['horizon_days']} days are over",
    ):
        console.print(f"Next: {words}", markup=False, highlight=False)


def one_list(chosen: "ChosenList", least: int) -> None:
    """Show one list: its size and worth, the first shoppers, and why they stand on it; nothing of a small one."""
    told = shown_audience(chosen.told, least)
    console.print(_table(f"{told['heading']}, {chosen.as_of}", [told], least))
    if told["is_small"]:
        line(f"Of fewer than {least} people nothing is told (privacy.min_group).")
        return
    if told["note"]:
        console.print(f"It is empty: {told['note']}.", markup=False, highlight=False)
        return
    console.print(
        f"The intervals hold at 95 % if the scores are right and shoppers decide independently; every purchase within "
        f"{chosen.facts['horizon_days']} days counts, also of who would have bought anyway.",
        highlight=False,
    )
    listed = chosen.members[chosen.members["group"] != "control"].head(SHOWN_ROWS)
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("shopper", "probability", "why (percentage points)"):
        table.add_column(column, overflow="fold")
    for row in listed.to_dict("records"):
        reason = row["reason"]
        table.add_row(row["shopper"], f"{row['probability']:.1%}", reason if isinstance(reason, str) else "–")
    console.print(table)


def rule(told: Mapping[str, Any]) -> None:
    """Show what makes a budget's list an audience of every night."""
    costs = {key: value for key, value in told["costs"].items() if value}
    audience: dict[str, Any] = {"name": told["campaign"], **yaml.safe_load(told["rule"])}
    text = yaml.safe_dump([audience | ({"costs": costs} if costs else {})], sort_keys=False)
    console.print(
        f"\nTo have it every night, put this into your file of audiences (audiences.file):\n{text.rstrip()}",
        markup=False,
        highlight=False,
    )


def taken_away(written: "TakenAway", least: int) -> None:
    """Say which files were written, and what is kept."""
    for (path, shoppers), words in zip(written.files.items(), ("", " not to be contacted"), strict=True):
        line(f"{told_count(shoppers, least)} shoppers{words}: {path}")
    if written.kept is None:
        return
    record = written.kept.record
    said = "Kept as it is" if written.is_new else f"The same list that {written.kept.words}"
    number = f", the list number {record.number} of this date" if record.number > 1 else ""
    if not record.told["control"]:
        line(f"{said}{number}; nobody was drawn as control, so its lift can't be measured (audiences.holdout).")
        return
    over = record.as_of + timedelta(days=record.facts["horizon_days"])
    line(f"{said}{number}. From {over}: behavior lift {record.audience} --as-of {record.as_of}")


def _table(title: str, told: Sequence[Mapping[str, Any]], least: int) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("audience", overflow="fold")
    for column in ("contact", "control", "buyers", "amount", "profit"):
        table.add_column(column, justify="right")
    for one in told:
        figures = [_figure(one[key]) if one["contacts"] else "–" for key in ("buyers", "amount", "profit")]
        people = told_count(one["contacts"], least)
        contacts = people if one["contact"] else f"leave {people}"
        table.add_row(one["name"], contacts, told_count(one["control"], least), *figures)
    return table


def _figure(estimate: Mapping[str, float] | None) -> str:
    if estimate is None:
        return "–"
    return f"{estimate['expected']:,.0f} ({estimate['lower']:,.0f} to {estimate['upper']:,.0f})"
