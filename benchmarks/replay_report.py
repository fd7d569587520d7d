"""What a replay showed: its nights, its changes and the candidates' later figures in; Markdown out.

A change counts as noticed by a new alert, one that was not there in the week before it, that names such a change or, as
long as nothing else has changed, names no other. The one thing to know: a night is quiet when no change is under way,
and none has ended, or begun to stay, in the two weeks before; only an alert on such a night is a false one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from replay_truth import Met

BEFORE_DAYS, AFTER_DAYS = 7, 14
"""An alert of the week before a change is not its; two weeks after it a change is no news any more."""
MONTH_NIGHTS = 30

OWN: Mapping[str, frozenset[str]] = {
    "new_season": frozenset({"categories"}),
    "price_shock": frozenset({"prices"}),
    "renamed_products": frozenset({"new_products", "unknown_products"}),
    "outage": frozenset({"outage", "empty_day", "missing_day", "thin_day", "volume"}),
    "milliseconds": frozenset({"milliseconds"}),
    "doubled_day": frozenset({"volume", "doubled_day"}),
}
"""Codes of alerts that name what a kind of change is; the others only say that something is different."""
WORTH = ("severe", "warning")
"""Levels of alerts that somebody is called for; a notice is none."""

Night = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Noticed:
    """When a change was noticed."""

    nights: int
    """Nights after the first one whose log holds a day of the change; 0: that night itself."""
    alerts: list[Mapping[str, str]]
    """What was new that night; what names the change first."""


def notice(change: Mapping[str, Any], nights: Sequence[Night], until: date) -> Noticed | None:
    """Return by which new alert a change was noticed first, or None.

    Args:
        change: a row of the truth table.
        nights: in order.
        until: the first night whose log holds the next change; from then on, and at most for AFTER_DAYS, only an alert
            that names the change counts.
    """
    first = date.fromisoformat(change["first"][:10])
    seen_from = first + timedelta(days=1)
    known = {
        _subject(alert)
        for night in nights
        if seen_from - timedelta(days=BEFORE_DAYS) <= date.fromisoformat(night["as_of"]) < seen_from
        for alert in night["alerts"]
    }
    own, others = OWN[change["kind"]], frozenset[str]().union(*OWN.values())
    for night in nights:
        as_of = date.fromisoformat(night["as_of"])
        if not seen_from <= as_of < seen_from + timedelta(days=AFTER_DAYS):
            continue
        new = [
            alert
            for alert in night["alerts"]
            if alert["level"] in WORTH
            and _subject(alert) not in known
            and (alert["code"] in own or (alert["code"] not in others and as_of < until))
        ]
        if new:
            new.sort(key=lambda alert: (alert["code"] not in own, alert["level"] != "severe"))
            return Noticed(nights=(as_of - seen_from).days, alerts=new)
    return None


def quiet_nights(nights: Sequence[Night], changes: Sequence[Mapping[str, Any]], last_night: date) -> list[Night]:
    """Return the nights on which nothing has changed for two weeks."""
    loud: set[date] = set()
    for change in changes:
        first, last = (date.fromisoformat(change[end][:10]) for end in ("first", "last"))
        ends = first if last >= last_night else last
        loud |= {first + timedelta(days=n) for n in range(1, (ends - first).days + 1 + AFTER_DAYS)}
    return [night for night in nights if date.fromisoformat(night["as_of"]) not in loud]


def _subject(alert: Mapping[str, str]) -> tuple[str, str]:
    return alert["code"], alert["about"]


def as_markdown(nights: Sequence[Night], changes: Sequence[Mapping[str, Any]], met: Mapping[str, Met | None]) -> str:
    """Return the tables of a replay.

    Args:
        nights: what `live` told, in order.
        changes: rows of the truth table.
        met: day of a training → how its candidate did afterwards beside the champion of that day.
    """
    return "\n\n".join(
        ["\n".join(_changes(nights, changes)), "\n".join(_quiet(nights, changes)), _trainings(nights, met)]
    )


def _changes(nights: Sequence[Night], changes: Sequence[Mapping[str, Any]]) -> list[str]:
    if not changes:
        return ["Nothing was changed."]
    ordered = sorted(changes, key=lambda change: str(change["first"]))
    firsts = [date.fromisoformat(change["first"][:10]) for change in ordered]
    end = date.fromisoformat(nights[-1]["as_of"])
    lines = [
        "| change | first day | last day | noticed after | by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for place, change in enumerate(ordered):
        found = notice(change, nights, min((day + timedelta(days=1) for day in firsts[place + 1 :]), default=date.max))
        last = date.fromisoformat(change["last"][:10])
        told = f"{change['kind'].replace('_', ' ')}: {change['words']}"
        when = "not noticed" if found is None else "the first night" if found.nights == 0 else f"{found.nights} nights"
        why = "" if found is None else "; ".join(f"{a['level']}: {a['words']}" for a in found.alerts[:2])
        more = "" if found is None or len(found.alerts) <= 2 else f" (and {len(found.alerts) - 2} more)"
        lines.append(f"| {told} | {firsts[place]} | {'stays' if last > end else last} | {when} | {why}{more} |")
    return lines


def _quiet(nights: Sequence[Night], changes: Sequence[Mapping[str, Any]]) -> list[str]:
    quiet = quiet_nights(nights, changes, date.fromisoformat(nights[-1]["as_of"]))
    lines = [f"{len(nights)} nights, {len(quiet)} of them quiet.", ""]
    if quiet:
        lines += ["| alerts that began on quiet nights | how many | a month | which |", "| --- | --- | --- | --- |"]
    for level in WORTH if quiet else ():
        begun = [
            (night["as_of"], alert)
            for night in quiet
            for alert in night["alerts"]
            if alert["level"] == level and alert["since"] == night["as_of"]
        ]
        told = "; ".join(f"{day}: {alert['words']}" for day, alert in begun)
        lines.append(f"| {level} | {len(begun)} | {MONTH_NIGHTS * len(begun) / len(quiet):.1f} | {told} |")
    problems = [f"{night['as_of']}: {problem}" for night in nights for problem in night["problems"]]
    return [*lines, "", f"Nights on which something failed: {len(problems)}.", *(f"- {line}" for line in problems)]


def _trainings(nights: Sequence[Night], met: Mapping[str, Met | None]) -> str:
    trained = [night for night in nights if night["training"]]
    lines = [
        "| trained on | version | gate | examples later | AP: candidate - champion | F1 | shown |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for night in trained:
        told, found = night["training"], met.get(night["as_of"])
        gate = "kept, champion by hand" if told["by_hand"] else "promoted" if told["promoted"] else "kept"
        if found is None:
            cells = ["", _why_not(told), "", ""]
        else:
            shown = "worse" if found.shown_worse else "better" if found.shown_better else "no difference"
            cells = [f"{found.examples:,}", _interval(found.average_precision), _interval(found.f1), shown]
        kind = "" if told["kind"] == "language_model" else f" ({told['kind']})"
        lines.append(f"| {night['as_of']} | {told['version']}{kind} | {gate} | {' | '.join(cells)} |")
    judged = [(night["training"]["promoted"], met[night["as_of"]]) for night in trained if met.get(night["as_of"])]
    promoted = [found for was, found in judged if was and found is not None]
    kept = [found for was, found in judged if not was and found is not None]
    lines += [
        "",
        f"Promoted over a champion and measured afterwards: {len(promoted)}; "
        f"shown worse: {sum(found.shown_worse for found in promoted)}, "
        f"shown better: {sum(found.shown_better for found in promoted)}. "
        f"Kept out and measured: {len(kept)}; shown worse: {sum(found.shown_worse for found in kept)}, "
        f"shown better: {sum(found.shown_better for found in kept)}.",
    ]
    return "\n".join(lines)


def _why_not(training: Mapping[str, Any]) -> str:
    if training["champion"] is None:
        return "no champion yet"
    return "it is the champion" if training["candidate"] == training["champion"] else "days not over"


def _interval(difference: Any) -> str:
    return f"{difference.difference:+.3f} ({difference.lower:+.3f} to {difference.upper:+.3f})"
