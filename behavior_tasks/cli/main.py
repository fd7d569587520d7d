"""The command line: what a person types.

Every command is a thin face of the package. A user's mistake is shown on one screen and ends with exit code 2;
a traceback means a fault of this project.
"""

import logging
import os
import sys

import typer

from behavior_tasks import __version__
from behavior_tasks.base.errors import UserError
from behavior_tasks.cli import (
    audiences,
    audit,
    compare,
    data_report,
    demand,
    doctor,
    erase,
    export,
    features,
    gc,
    history,
    lift,
    privacy,
    quarantine,
    recommend,
    risk,
    rollback,
    run,
    score,
    services,
    settings,
    show,
    simulate,
    sources,
    status,
    sync,
    tune,
    wait,
    watch,
)
from behavior_tasks.cli.screen import errors

app = typer.Typer(
    name="behavior",
    help="Turn a shop's behaviour log into a language model that earns its promotion.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    add_completion=False,
)
app.command("run")(run.run)
app.command("score")(score.score)
app.command("watch")(watch.watch)
app.command("tune")(tune.tune)
app.command("simulate")(simulate.simulate)
app.command("doctor")(doctor.doctor)
app.command("demand")(demand.demand)
app.command("audit-leakage")(audit.audit)
app.command("report")(data_report.report)
app.command("quarantine")(quarantine.quarantine)
app.command("status")(status.status)
app.command("sync")(sync.sync)
app.command("settings")(settings.settings)
app.command("show")(show.show)
app.command("features")(features.features)
app.command("sources")(sources.sources)
app.command("history")(history.history)
app.command("rollback")(rollback.rollback)
app.command("promote")(rollback.promote)
app.command("compare")(compare.compare)
app.command("risk")(risk.risk)
app.command("gc")(gc.gc)
app.command("erase")(erase.erase)
app.command("audiences")(audiences.audiences)
app.command("lift")(lift.lift)
app.command("recommend")(recommend.recommend)
app.command("export")(export.export)
app.add_typer(privacy.privacy)
app.command("up")(services.up)
app.command("wait")(wait.wait)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"behavior {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show the version."),
) -> None:
    """Turn a shop's behaviour log into a language model that earns its promotion."""
    logging.getLogger("behavior").setLevel(logging.INFO)


def main() -> None:
    """Run the command line; the console script `behavior`."""
    # Threads that wait by spinning ruin each other as soon as anything else wants the cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UserError as error:
        errors.print(str(error), markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        errors.print("Stopped. What is finished is kept; the same command goes on from there.")
        sys.exit(130)


if __name__ == "__main__":
    main()
