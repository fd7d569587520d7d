"""What is kept of a watched day: its tables and what stands in; a folder a date with tables, plots and one page out.

`watch/date=2026-11-23/` is made whole or not at all; a day that is watched again replaces its folder once the new one
is there. The one thing to know: the page shows the days before, too, from their own folders.
"""

import base64
import json
import math
import shutil
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from behavior_tasks.base.artifacts import Artifact
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import Home, make_folder
from behavior_tasks.base.page import render_page
from behavior_tasks.base.workfolder import sweep, work_folder
from behavior_tasks.watch import plots
from behavior_tasks.watch.alerts import LEVELS, Day, Finding, keep_day, read_journal
from behavior_tasks.watch.figures import PROMISED
from behavior_tasks.watch.folders import alone, day_folder, kept_days
from behavior_tasks.watch.handed_out import newest
from behavior_tasks.watch.kept_day import ALERTS, Kept, find_kept
from behavior_tasks.watch.stage import FINDINGS, TABLES

PAGE = Path(__file__).with_name("report.html")
SHOWN_DAYS = 60
"""Days before whose columns and alerts the page shows."""
MEASURES = ("f1", "average_precision", "ece", "brier", "lift_10", PROMISED)
"""Figures of served days, and of the test, that MLflow shows."""
CAPTIONS: Mapping[str, str] = {
    "f1": "Each point is one served day, judged once its horizon was over; the dashed line is the version's own test.",
    "average_precision": "The same for average precision, which needs no threshold.",
    "ece": "How far probabilities and shares of buyers lie apart; lower is better.",
    "handed_out": "Bars are 95 % intervals by product or shopper. Of audiences, the six largest, a filled mark lies "
    "outside the interval that the scores gave.",
    "columns": "Darker is farther from what the champion was tested on; 0.25 and more has drifted.",
    "volume": "A line that falls away while the others go on is a tracking that fell out; grey: no event at all.",
}


def keep(home: Home, artifact: Artifact, *, further: Iterable[Finding] = ()) -> Kept:
    """Keep the artifact of the stage `watch`: the journal first, then the folder of its day.

    Args:
        home: the state folder.
        artifact: of the stage.
        further: findings that are no part of it, because they hang on when it was asked.
    """
    day = date.fromisoformat(artifact.facts["as_of"])
    findings = [Finding.model_validate(one) for one in json.loads((artifact.path / FINDINGS).read_bytes())]
    standing = keep_day(home, [*findings, *further], day)
    parent = make_folder(home.watch)
    sweep(parent)
    with alone(home), work_folder(parent, "new") as folder:
        for name in TABLES:
            shutil.copyfile(artifact.path / f"{name}.parquet", folder / f"{name}.parquet")
        told = {"artifact": artifact.uri, **standing.model_dump(mode="json")}
        (folder / ALERTS).write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        _draw(home, folder, day)
        page = render_page(PAGE, _values(home, folder, standing, artifact))
        (folder / PAGE.name).write_text(page, encoding="utf-8")
        place = day_folder(home, day)
        old = parent / f".old.{uuid4().hex[:8]}"  # named as `sweep` knows it, should this process die here
        if place.exists():
            place.rename(old)
        folder.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    return Kept(day=day, folder=place, standing=standing, artifact=artifact.uri)


def need_kept(home: Home, day: date | None = None) -> Kept:
    """Return a watched day, or the newest one.

    Raises:
        UserError: when there is none.
    """
    days = kept_days(home)
    found = find_kept(home, day or days[-1]) if days else None
    if found is None:
        raise UserError(
            f"{day} has not been watched." if day else "No day has been watched yet.",
            found=f"{days[0]} to {days[-1]}" if days else "nothing",
            next_step=f"behavior watch{f' --as-of {day}' if day else ''}",
        )
    return found


def metrics_of(kept: Kept) -> dict[str, float]:
    """Return the figures of a watched day as MLflow keeps them, by name; those that are undefined are left out."""
    found: dict[str, Any] = {}
    matured, drift, traffic = (kept.table(name) for name in ("matured", "drift", "traffic"))
    for what, name in (("pooled", "served"), ("test", "test")):
        for row in matured[matured["what"] == what].to_dict("records"):
            found |= {f"{name}.{row['unit']}.{measure}": row[measure] for measure in MEASURES}
    for row in newest(kept.table("handed_out")).to_dict("records"):
        name = ".".join(filter(None, (row["application"], row["about"], row["figure"])))
        found |= {name: row["value"], f"{name}.promised": row["promised"], f"{name}.naive": row["rival"]}
    for unit, rows in drift.groupby("unit"):
        found[f"columns.{unit}.drifted"] = int((rows["state"] == "drifted").sum())
        found[f"columns.{unit}.largest_psi"] = rows["psi"].max()
    for row in traffic.tail(1).drop(columns="day").to_dict("records"):
        found |= {f"traffic.{name}": value for name, value in row.items()}
    for level in LEVELS:
        found[f"alerts.{level}"] = sum(alert.level == level for alert in kept.standing.alerts)
    found["alerts.new"] = len(kept.standing.new)
    return {name: float(value) for name, value in found.items() if not pd.isna(value) and math.isfinite(value)}


def _draw(home: Home, folder: Path, day: date) -> None:
    made = folder / "plots"
    made.mkdir()
    matured = pd.read_parquet(folder / "matured.parquet")
    for measure in plots.MEASURES:
        plots.plot_figure(made / f"{measure}.png", matured, measure)
    plots.plot_handed_out(made / "handed_out.png", pd.read_parquet(folder / "handed_out.parquet"))
    before = [d for d in kept_days(home) if day - timedelta(days=SHOWN_DAYS) <= d < day]
    places = [*(day_folder(home, d) for d in before), folder]
    tables = [pd.read_parquet(place / "drift.parquet") for place in places]
    filled = [table for table in tables if len(table)]
    plots.plot_columns(made / "columns.png", pd.concat(filled, ignore_index=True) if filled else tables[-1])
    plots.plot_volume(made / "volume.png", pd.read_parquet(folder / "traffic.parquet"))


def _values(home: Home, folder: Path, standing: Day, artifact: Artifact) -> dict[str, Any]:
    """Return what the page's template asks for."""
    matured, drift, traffic, handed_out = (
        pd.read_parquet(folder / f"{name}.parquet") for name in ("matured", "drift", "traffic", "handed_out")
    )
    images = {n: base64.b64encode((folder / "plots" / f"{n}.png").read_bytes()).decode("ascii") for n in CAPTIONS}
    earlier = [
        {"day": day, "alert": alert}
        for day, stood in reversed(read_journal(home).items())
        if standing.day - timedelta(days=SHOWN_DAYS) <= day < standing.day
        for alert in stood.new
    ]
    worst = drift.sort_values("excess", ascending=False, kind="stable")
    waiting = matured[(matured["what"] == "day") & (matured["state"] == "not matured")]
    return {
        "day": standing.day,
        "alerts": standing.alerts,
        "earlier": earlier,
        "champions": artifact.facts["champions"],
        "versions": _plain(version_rows(matured)),
        "days": _plain(matured[matured["what"] == "day"].iloc[::-1]),
        "next_matured": waiting["until"].min().date() if len(waiting) else None,
        "waiting": len(waiting),
        "handed_out": outputs_of(handed_out),
        "columns": _plain(worst[worst["state"].isin(["drifted", "shifted", "grows"])]),
        "compared": int((drift["state"] != "too few").sum()),
        "states": drift["state"].value_counts().to_dict(),
        "last": _plain(traffic.tail(1)),
        "images": images,
        "captions": CAPTIONS,
    }


def version_rows(matured: pd.DataFrame) -> pd.DataFrame:
    """Return a row a unit and version that was judged: its newest days together, with `test_f1` and its interval."""
    pooled = matured[matured["what"] == "pooled"]
    test = matured[matured["what"] == "test"][["unit", "version", "f1", "f1_lower", "f1_upper"]]
    renamed = test.rename(columns={name: f"test_{name}" for name in ("f1", "f1_lower", "f1_upper")})
    joined = pooled.merge(renamed, on=["unit", "version"], how="left")
    judged = matured[(matured["what"] == "day") & (matured["state"] == "judged")]
    counts = judged.groupby(["unit", "version"]).size().rename("days").reset_index()
    return joined.merge(counts, on=["unit", "version"], how="left")


def outputs_of(table: pd.DataFrame) -> dict[str, list[dict[str, Any]]]:
    """Return what was handed out by application, newest first: of each output its state and, by name, its figures."""
    found: dict[str, list[dict[str, Any]]] = {}
    for (application, _), rows in table.groupby(["application", "as_of"], sort=True):
        plain = _plain(rows)
        parts = {name: [row for row in plain if row["about"] == name] for name in dict.fromkeys(rows["about"])}
        output = {
            **{name: plain[0][name] for name in ("as_of", "until", "state", "method", "count")},
            "parts": {name: {row["figure"]: row for row in mine} for name, mine in parts.items()},
        }
        found.setdefault(str(application), []).insert(0, output)
    return found


def _plain(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return rows whose missing values are None and whose instants are days."""

    def plain(value: Any) -> Any:
        if isinstance(value, pd.Timestamp):
            return value.date()
        if value is pd.NaT or (isinstance(value, float) and not math.isfinite(value)):
            return None
        return value

    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]
