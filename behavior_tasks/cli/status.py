"""`behavior status`: the last runs, the champion, the last scoring, and what is running."""

import json
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table

from behavior_tasks.base.home import Home, current_home
from behavior_tasks.cli import services
from behavior_tasks.cli.erase import retrain_lines
from behavior_tasks.cli.screen import LEVEL_STYLES, console
from behavior_tasks.cli.sync import waiting_line
from behavior_tasks.pipeline import Run, close_dead_runs, last_runs
from behavior_tasks.pipeline.privacy.erase_models import retrain_notes
from behavior_tasks.pipeline.serving import last_scoring
from behavior_tasks.serve.banners import Banner


def status() -> None:
    """Show the last ten runs with their verdicts, the champion, the last scoring, and which services are running."""
    home = current_home()
    for run_id in close_dead_runs(home):
        console.print(f"Nobody worked on {run_id} any more: it is ended as FAILED in MLflow.", markup=False)
    runs = last_runs(home, most=10)
    if not runs:
        console.print("No run yet. Next: make run")
    else:
        console.print(_table(runs))
        error = runs[0].noted("error")
        if error:
            console.print(
                f"The last run stopped in {error['stage']}:\n{error['message']}",
                markup=False,
                style="red",
                soft_wrap=True,
            )
    console.print(_champion_line(home), markup=False, highlight=False)
    for line in retrain_lines(retrain_notes(home)):
        console.print(line, markup=False, highlight=False, style="yellow", soft_wrap=True)
    for line, style in _scoring_lines(home):
        console.print(line, markup=False, highlight=False, style=style, soft_wrap=True)
    waits = waiting_line(home)
    if waits:
        console.print(waits, markup=False, highlight=False, style="yellow")
    running = services.running(home)
    console.print("Running: " + ("; ".join(running) if running else "nothing (make up starts Airflow and MLflow)"))


def _table(runs: list[Run]) -> Table:
    table = Table(title="Last runs", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("run", "log", "preset", "verdict", "version"):
        table.add_column(name, overflow="fold")
    for run in runs:
        gate, error = run.artifact("gate"), run.noted("error")
        stages = run.stages()
        reached = f"stopped after {stages[-1].stage}" if stages else "not begun"
        verdict = f"failed in {error['stage']}" if error else reached if gate is None else str(gate.facts["decision"])
        table.add_row(
            run.record.name,
            Path(run.record.input).name if run.record.input else "simulated shop",
            run.record.preset,
            verdict,
            str((run.noted("registered") or {}).get("version") or ""),
        )
    return table


def _scoring_lines(home: Home) -> list[tuple[str, str]]:
    """Return what the last scoring gave, line by line with its style; nothing when there was none."""
    run = last_scoring(home)
    if run is None:
        return []
    scored, error = run.noted("scored"), run.noted("error")
    if scored is None:
        what = f"stopped in {error['stage']}:\n{error['message']}" if error else "has not ended"
        return [(f"Last scoring: {run.record.name} {what}", "red" if error else "")]
    champions = ", ".join(version for version in scored["champions"].values() if version)
    lines = [(f"Last scoring: as of {scored['as_of']} by {champions}: {', '.join(scored['served'])}", "")]
    lines += [(f"  {name} failed: {why}", "red") for name, why in scored["failed"].items()]
    for banner in map(Banner.model_validate, scored["banners"]):
        lines.append((f"  {banner.level}: {banner.words}", LEVEL_STYLES[banner.level]))
    return lines


def _champion_line(home: Home) -> str:
    from behavior_tasks.registry import ledger

    try:
        entries = ledger.read(home)
    except ledger.LedgerError as error:
        return f"Champion: not shown. {error.problem} `behavior history --verify` says more."
    if not entries:
        return "Champion: none yet; the first model that passes the gate becomes it."
    last = entries[-1]
    if last["version"] is None:
        return f"Champion: none since {last['when']}: {last['why']}"
    why = json.dumps(last["why"], ensure_ascii=False)
    how = "noticed; " if last.get("kind") == "noticed" else ""
    return f"Champion: version {last['version']} since {last['when']}, {how}by {last['who']}: {why}"
