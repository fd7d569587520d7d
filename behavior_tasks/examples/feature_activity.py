"""Features of a shopper's activity: how much, how recently, how regularly, and at what time of the day and week.

In comes nothing; out comes a part of the table of features. Counts of an action over a window are written by a
loop, so that every action has the same windows.
"""

from behavior_tasks.examples.feature_sql import (
    DAY,
    FADING_UNITS,
    SECOND,
    SESSION_GAP,
    Feature,
    count,
    in_days,
    number,
    only,
    ratio,
    share,
    spread,
    variation,
)

WINDOWS_DAYS = (1, 3, 7, 14, 30, 90)
NEW_SESSION = f"(gap IS NULL OR gap > {SESSION_GAP})"
SESSIONS = count(NEW_SESSION)
WITHIN_SESSIONS = f"coalesce(sum({only('gap', f'NOT {NEW_SESSION}')}), 0)"
WORDS = {
    "browses": "browse",
    "searches": "search",
    "clicks": "click",
    "favourites": "favourite",
    "carts": "add_to_cart",
    "returns": "return",
}
"""Feature → the action that it counts. Purchases are counted by instants, see `feature_buying`."""
COUNTS_IN_TEXT = frozenset({"searches", "clicks", "favourites", "carts", "returns"})


def windows(name: str, description: str, condition: str, *, in_text: tuple[int, ...] = ()) -> tuple[Feature, ...]:
    """Count what meets a condition over every window."""
    return tuple(
        Feature(
            name=f"{name}_{days}d",
            description=f"{description} in the last {'day' if days == 1 else f'{days} days'}",
            sql=count(condition, days),
            window_days=days,
            in_text=days in in_text,
        )
        for days in WINDOWS_DAYS
    )


def _actions() -> tuple[Feature, ...]:
    made: list[Feature] = []
    for name, action in WORDS.items():
        condition, described = f"action = '{action}'", f"events of the action {action}"
        made.append(
            Feature(name=name, description=described, sql=count(condition), in_text=name in COUNTS_IN_TEXT),
        )
        made += windows(name, described, condition)
    return tuple(made)


def _trend(days: int) -> str:
    recent, both = count("true", days), count("true", 2 * days)
    return f"({recent} + 1) / ({both} - {recent} + 1)"


ACTIVITY: tuple[Feature, ...] = (
    Feature(name="recency_days", description="days since the last event", sql=in_days("min(ago)"), in_text=True),
    Feature(name="tenure_days", description="days since the first event", sql=in_days("max(ago)"), in_text=True),
    Feature(name="events", description="number of events", sql=count("true"), in_text=True),
    Feature(name="events_1d", description="events in the last day", sql=count("true", 1), window_days=1, in_text=True),
    Feature(
        name="events_7d", description="events in the last 7 days", sql=count("true", 7), window_days=7, in_text=True
    ),
    Feature(name="events_30d", description="events in the last 30 days", sql=count("true", 30), window_days=30),
    Feature(
        name="events_fading",
        description="events, each counted half as much for every 30 days since",
        sql=f"coalesce({number('sum(fading)')} / {FADING_UNITS}, 0.0)",
    ),
    Feature(name="active_days", description="local days with an event", sql=count("same_day IS NULL"), in_text=True),
    Feature(
        name="active_days_30d",
        description="local days with an event in the last 30 days",
        sql=count(f"(same_day IS NULL OR same_day > {30 * DAY})", 30),
        window_days=30,
    ),
    Feature(
        name="trend",
        description="events in the last 7 days over those in the 7 days before, each plus one",
        sql=_trend(7),
        window_days=14,
        in_text=True,
    ),
    Feature(
        name="trend_30d",
        description="events in the last 30 days over those in the 30 days before, each plus one",
        sql=_trend(30),
        window_days=60,
    ),
    *_actions(),
    Feature(name="sessions", description="sessions (30 minutes of silence end one)", sql=SESSIONS),
    Feature(name="session_events", description="events per session", sql=ratio(count("true"), SESSIONS)),
    Feature(
        name="session_minutes",
        description="mean minutes from the first to the last event of a session",
        sql=ratio(f"{number(WITHIN_SESSIONS)} / {60 * SECOND}", SESSIONS),
    ),
    Feature(
        name="session_gap_days",
        description="mean days between the starts of the first and the last session, per session",
        sql=ratio(
            in_days(f"(max({only('ago', NEW_SESSION)}) - min({only('ago', NEW_SESSION)}))"),
            f"nullif({SESSIONS} - 1, -1.0)",
        ),
        in_text=True,
    ),
    Feature(
        name="session_gap_variation",
        description="standard deviation of the time between the starts of sessions over its mean",
        sql=variation(f"(session_gap // {SECOND})", NEW_SESSION),
    ),
    Feature(
        name="last_session_gap_days",
        description="days between the starts of the last two sessions",
        sql=in_days(f"arg_max(session_gap, {only('place', f'{NEW_SESSION} AND session_gap IS NOT NULL')})"),
    ),
    Feature(
        name="session_recency_days",
        description="days since the last session began",
        sql=in_days("arg_max(session_ago, place)"),
    ),
    Feature(
        name="last_session_events",
        description="events of the last session",
        sql=f"least({number('arg_max(session_place, place)')}, {count('true')})",
    ),
    Feature(
        name="last_session_minutes",
        description="minutes from the first to the last event of the last session",
        sql=number("arg_max(session_ago - ago, place)") + f" / {60 * SECOND}",
    ),
    Feature(name="weekend_share", description="share of events on local Saturdays and Sundays", sql=share("dow >= 6")),
    Feature(name="night_share", description="share of events from 0 to 6 local time", sql=share("hour < 6")),
    Feature(
        name="morning_share",
        description="share of events from 6 to 12 local time",
        sql=share("hour >= 6 AND hour < 12"),
    ),
    Feature(name="evening_share", description="share of events from 18 to 24 local time", sql=share("hour >= 18")),
    Feature(
        name="favourite_hour",
        description="local hour of the day with most events, the earliest of equals",
        over="hours",
        # Of equal counts the smaller hour has the larger key, so the answer never depends on the order of rows.
        sql=number("arg_max(hour, n * 24 - hour)"),
    ),
    Feature(
        name="hour_spread",
        description="effective number of hours of the day with events (inverse Simpson index)",
        over="hours",
        sql=spread("n"),
    ),
    Feature(
        name="favourite_weekday",
        description="local day of the week with most events, 1 is Monday, the earliest of equals",
        over="weekdays",
        sql=number("arg_max(dow, n * 8 - dow)"),
    ),
    Feature(
        name="weekday_spread",
        description="effective number of days of the week with events (inverse Simpson index)",
        over="weekdays",
        sql=spread("n"),
    ),
)
