"""The doctor on clocks and calendars: whether the log's times can be believed.

In come the survey of a log, the rows set aside for their times, and the shop's zone; out come findings on each of
them. The one thing to know: these only ever warn, for a log with a strange clock can still be learned from; what the
clock hides (a missing week, a shifted zone) is said with the days and hours in question.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from behavior_tasks.base.config import Config
from behavior_tasks.base.timeline import Timeline, local_day
from behavior_tasks.examples.doctor import Finding, Level
from behavior_tasks.examples.survey import Survey

TIME_REASONS = (
    "bad_timestamp",
    "milliseconds_for_seconds",
    "seconds_for_milliseconds",
    "outside_period",
    "timestamp_in_future",
)
"""Reasons of the quarantine that speak of a clock or of its format."""
MOST_BAD_TIMES = 0.001
UNITS = ("day", "hour", "minute", "second")
"""From coarse to fine."""
ALL_BUT_FEW = 0.99
"""Share of times that are whole units of some length from which on the log is taken to know no finer ones."""
CROWD, CROWD_SHARE = 20, 0.01
"""So many shoppers, and this share of all, in one instant are no chance but a default time or a batch job."""
WAKING = (9.0, 21.0)
"""Local hours between which the middle of a shop's day is expected."""
USUAL_MIDDLE = 15
FEWEST_DAYS = 3
"""A log of fewer days shows no daily rhythm, only when it was cut off."""
RHYTHM = 0.15
"""Below this strength (0: all hours alike, 1: one hour only) the log has no time of day."""
CLOSED = 0.02
"""A weekday with less than this share of its days open is one on which the shop is closed."""
THIN = 0.2
"""A day with less than this share of what its weekday usually has is cut short."""
MOST_NAMED = 3


def clock_findings(
    survey: Survey, removed: Mapping[str, int], timeline: Timeline | None, config: Config
) -> list[Finding]:
    """Judge a log's times.

    Args:
        removed: rows that `ingest` set aside, by reason.
        timeline: the label windows, to say which of them a gap falls into.
    """
    zone = ZoneInfo(config.source.timezone)
    findings = [_bad_times(survey, removed, config)]
    if not survey.events:
        return findings
    findings += [_resolution(survey), _crowded(survey)]
    if not _whole(survey, "hour") and len(survey.days) >= FEWEST_DAYS:
        findings.append(_rhythm(survey, config.source.timezone))
    changes = _clock_changes(survey, zone)
    if changes and _local_times(config.source.time_format):
        findings.append(_ambiguous(survey, changes))
    return [*findings, _gaps(survey, timeline, zone), _thin_days(survey), _last_day(survey)]


def _finding(what: str, number: str, needed: str, advice: str = "") -> Finding:
    level: Level = "warn" if advice else "ok"
    return Finding(level=level, what=what, number=number, needed=needed, advice=advice)


def _bad_times(survey: Survey, removed: Mapping[str, int], config: Config) -> Finding:
    reasons = [r for r in TIME_REASONS if removed.get(r) and r not in config.source.reasons_that_are_not_bad]
    rows = sum(removed[reason] for reason in reasons)
    total = survey.events + sum(removed.values())
    share = rows / total if total else 0.0
    named = ", ".join(f"{reason} {removed[reason]:,}" for reason in reasons)
    return _finding(
        "rows set aside for their time",
        f"{rows:,} ({share:.2%})",
        f"at most {MOST_BAD_TIMES:.1%}",
        f"{named}: check source.time_format, source.timezone and the shop's clock" if share > MOST_BAD_TIMES else "",
    )


def _whole(survey: Survey, unit: str) -> bool:
    return survey.coarse[unit] >= ALL_BUT_FEW * survey.events


def _resolution(survey: Survey) -> Finding:
    unit = next((unit for unit in UNITS if _whole(survey, unit)), "second")
    advice = {
        "day": "without a time of day, sessions and silences mean nothing; export the full time if the shop has it",
        "hour": "within an hour events are ordered by their action; export the full time if the shop has it",
    }.get(unit, "")
    return _finding("finest time", f"one {unit}", "one minute or finer", advice)


def _crowded(survey: Survey) -> Finding:
    instant, shoppers = min(survey.instants.items(), key=lambda item: (-item[1], item[0]))
    limit = max(CROWD, math.ceil(CROWD_SHARE * survey.ids["shoppers"]))
    # Where a log knows days or hours only, whoever came on one of them shares its instant.
    crowded = shoppers > limit and not _whole(survey, "hour")
    return _finding(
        "shoppers in one instant",
        f"{shoppers:,} at {instant} UTC",
        f"at most {limit:,}",
        "a default time or a batch job? Look at the rows of that instant in the log" if crowded else "",
    )


def _rhythm(survey: Survey, timezone: str) -> Finding:
    """Find the middle of the day: the direction of the sum of all events' hours on the dial of 24."""
    hours: Counter[int] = Counter()
    for hour, events in survey.hours.items():
        hours[hour.hour] += events
    turns = {hour: 2 * math.pi * (hour + 0.5) / 24 for hour in hours}
    across = sum(n * math.cos(turns[hour]) for hour, n in hours.items()) / survey.events
    along = sum(n * math.sin(turns[hour]) for hour, n in hours.items()) / survey.events
    strength, middle = math.hypot(across, along), math.atan2(along, across) / (2 * math.pi) * 24 % 24
    needed = f"between {WAKING[0]:g}:00 and {WAKING[1]:g}:00 in {timezone}"
    if strength < RHYTHM:
        advice = "the hours are nearly all alike: made-up times, machines, or shoppers all over the world"
        return _finding("middle of the day", f"none (strength {strength:.2f})", needed, advice)
    shown = f"{int(middle):02d}:{int(middle % 1 * 60):02d}"
    shift = round((USUAL_MIDDLE - middle + 12) % 24 - 12)
    advice = f"as if the clock were {abs(shift)} hours {'behind' if shift > 0 else 'ahead'}: is source.timezone right?"
    return _finding("middle of the day", shown, needed, "" if WAKING[0] <= middle <= WAKING[1] else advice)


def _local_times(time_format: str) -> bool:
    """Whether the file states local times, so that a change of the clock makes some of them ambiguous."""
    return not (time_format.startswith("unix_") or "%z" in time_format or "%Z" in time_format)


def _clock_changes(survey: Survey, zone: ZoneInfo) -> list[tuple[datetime, timedelta]]:
    """Return, for each change of the clock within the log, the local hour skipped or doubled, and by how much."""
    changes = []
    for day in _calendar(survey):
        for hour in range(24):
            instant = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            before, after = (i.astimezone(zone).utcoffset() for i in (instant, instant + timedelta(hours=1)))
            if before is not None and after is not None and before != after:
                local = (instant + timedelta(hours=1) + min(before, after)).replace(tzinfo=None)
                changes.append((local, after - before))
    return changes


def _ambiguous(survey: Survey, changes: Sequence[tuple[datetime, timedelta]]) -> Finding:
    doubled = [hour for hour, by in changes if by < timedelta()]
    events = sum(survey.hours[hour] for hour in doubled)
    days = ", ".join(str(hour.date()) for hour, _ in changes[:MOST_NAMED])
    more = ", …" if len(changes) > MOST_NAMED else ""
    limit = max(1, round(0.001 * survey.events))
    return _finding(
        "times that occur twice",
        f"{events:,} events; the clock changes {len(changes)} times ({days}{more})",
        f"at most {limit:,}",
        "each is read as the later one: export times in UTC or with an offset" if events > limit else "",
    )


def _calendar(survey: Survey) -> Iterator[date]:
    days = survey.days
    day, last = min(days), max(days)
    while day <= last:
        yield day
        day += timedelta(days=1)


def _usual(survey: Survey) -> dict[int, float]:
    """Return the median events of each weekday over its days with any, without weekdays on which the shop is closed."""
    calendar, days = Counter(day.weekday() for day in _calendar(survey)), survey.days
    there: dict[int, list[int]] = {}
    for day, events in days.items():
        there.setdefault(day.weekday(), []).append(events)
    return {w: median(events) for w, events in there.items() if len(events) > CLOSED * calendar[w]}


def _gaps(survey: Survey, timeline: Timeline | None, zone: ZoneInfo) -> Finding:
    """Find runs of days without any event; days of a weekday that never has one neither count nor end a run."""
    days, usual = survey.days, _usual(survey)
    runs: list[list[date]] = [[]]
    for day in _calendar(survey):
        if days[day]:
            runs.append([])
        elif day.weekday() in usual:
            runs[-1].append(day)
    gaps = sorted((run for run in runs if run), key=lambda run: (-len(run), run[0]))
    if not gaps:
        return _finding("days without any event", "0", "0")
    named = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in gaps[:MOST_NAMED])
    return _finding(
        "days without any event",
        f"{sum(map(len, gaps)):,} ({named}{', …' if len(gaps) > MOST_NAMED else ''})",
        "0",
        f"a missing file, or closed? {_windows_hit(gaps, timeline, zone)}",
    )


def _windows_hit(gaps: Sequence[Sequence[date]], timeline: Timeline | None, zone: ZoneInfo) -> str:
    hit = set()
    for window in timeline.windows if timeline else ():
        start, end = (local_day(instant, zone) for instant in (window.cutoff, window.end))
        if any(start <= day < end for run in gaps for day in run):
            hit.add(window.split)
    if not hit:
        return "None of them lies in a label window."
    return f"Some lie in a label window of {', '.join(sorted(hit))}, where they hide purchases."


def _thin_days(survey: Survey) -> Finding:
    """Find days with far fewer events than their weekday usually has; the first and the last day may be cut."""
    days, usual = survey.days, _usual(survey)
    thin = sorted(day for day, n in days.items() if day.weekday() in usual and n < THIN * usual[day.weekday()])
    thin = [day for day in thin if min(days) < day < max(days)]
    named = ", ".join(map(str, thin[:MOST_NAMED])) + (", …" if len(thin) > MOST_NAMED else "")
    return _finding(
        "days with few events",
        f"{len(thin)}{f' ({named})' if thin else ''}",
        f"none below {THIN:.0%} of its weekday's median",
        "an export cut short, or an outage?" if thin else "",
    )


def _last_day(survey: Survey) -> Finding:
    """Find whether the last day, counted as whole when it reaches into its last hour, is as full as it should be."""
    days, usual, last = survey.days, _usual(survey), max(survey.hours)
    day = last.date()
    if last.hour < 23:
        return _finding(
            "last day", f"{day}, cut off after {last.hour:02d}:00, left out of the labels", "whole, or left out"
        )
    share = days[day] / usual[day.weekday()] if day.weekday() in usual else 1.0
    advice = "it is labelled as a whole day: is the export complete?" if share < THIN else ""
    return _finding("last day", f"{day}, {share:.0%} of its weekday's median", f"at least {THIN:.0%}", advice)
