"""`python -m scripts.native`: start, look at, stop, restart the cluster; run a command as one of its tasks would.

In come `.env`, docker-compose.yaml and BEHAVIOR_HOME; what runs is written down in the state folder. One thing to
know: `up` stays in the foreground, and Ctrl-C there ends all of it.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from filelock import FileLock, Timeout

from behavior_tasks.base.errors import UserError, nearest
from behavior_tasks.base.home import Home, current_home, make_folder
from behavior_tasks.cli import airflow, processes, services
from behavior_tasks.cli.screen import console, errors
from scripts.backup import make_backup
from scripts.native import parts
from scripts.native.compose import read_secrets, read_services
from scripts.native.parts import Part, Places, make_parts
from scripts.native.supervise import LEADER, RESTART, STOP, Cluster, ask, lock_of
from scripts.restore import restore_backup

COMPOSE = airflow.PROJECT / "docker-compose.yaml"
ENVIRONMENT = airflow.PROJECT / ".env"
TRAIN_QUEUE, GPU_QUEUE = "BEHAVIOR_TRAIN_QUEUE", "gpu"
END_SECONDS = 90.0
app = typer.Typer(
    help="The cluster of docker-compose.yaml on this machine, without containers.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
Secrets = Annotated[Path, typer.Option("--env-file", help="The secrets; `make secrets` makes them.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A variable for every part, over docker-compose.yaml."),
]


@app.command()
def up(
    only: Annotated[list[str] | None, typer.Argument(metavar="[PART]…", help="These and what they wait for.")] = None,
    env_file: Secrets = ENVIRONMENT,
    schedulers: Annotated[int, typer.Option(min=1, max=2, help="How many schedulers share the work.")] = 1,
    set: Overrides = None,
) -> None:
    """Start Postgres, Redis, MLflow and all of Airflow; Ctrl-C stops all of it."""
    home, began = current_home(), time.monotonic()
    make_folder(home.services)
    with ExitStack() as stack:
        lock = FileLock(lock_of(home))
        try:
            stack.enter_context(lock.acquire(timeout=0))
        except Timeout:
            console.print("Running already:\n  " + "\n  ".join(services.running(home) or ["starting …"]))
            return
        values = read_secrets(env_file)
        os.environ |= {name: values[name] for name in (airflow.AIRFLOW_PORT, airflow.MLFLOW_PORT) if values.get(name)}
        services.clear_remains(home)
        services.check_ports("make native")
        everything = _parts(home, values, _new_places(home), _pairs(set), schedulers)
        wanted = with_what_they_wait_for([_known(name) for name in only or []], everything) or everything
        processes.adopt_orphans()
        stack.enter_context(processes.Interrupts())
        cluster = Cluster(home, everything, wanted, lambda text: console.print(text, markup=False, highlight=False))
        stack.callback(_stopped, cluster)
        cluster.start_all()
        pages = {parts.API_SERVER: ("Airflow", "AIRFLOW"), parts.MLFLOW: ("MLflow", "MLFLOW")}
        for name, (title, prefix) in pages.items():
            if name not in wanted:
                continue
            told = f"{title:<8} {everything[name].url}  user admin, password {prefix}_ADMIN_PASSWORD"
            console.print(told, highlight=False, soft_wrap=True)
        console.print(
            f"healthy after {time.monotonic() - began:.0f} s; Ctrl-C stops all of it.",
            highlight=False,
            soft_wrap=True,
        )
        cluster.watch()


@app.command()
def status() -> None:
    """Show what runs, with addresses."""
    running = services.running(current_home())
    console.print("\n".join(running) or "Nothing runs here. Next: make native", highlight=False, soft_wrap=True)


@app.command()
def stop(part: Annotated[str | None, typer.Argument(help="One part; everything when left out.")] = None) -> None:
    """End the cluster, or one part until it is restarted."""
    home = current_home()
    if part:
        ask(home, _known(part), STOP)
        console.print(f"{part} is stopped. Next: python -m scripts.native restart {part}")
        return
    leaders = [service.pid for service in processes.still_running(home) if service.name == LEADER]
    if leaders:
        os.kill(leaders[0], signal.SIGTERM)
        with FileLock(lock_of(home)).acquire(timeout=END_SECONDS):
            console.print("Stopped; nothing is left running.")
    else:
        console.print("Nothing runs here.")


@app.command()
def restart(part: Annotated[str, typer.Argument(help="The part, running or stopped.")]) -> None:
    """Stop a part and start it again; returns once it answers."""
    home = current_home()
    ask(home, _known(part), RESTART)
    console.print(f"{part} is back.")


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    command: Annotated[list[str], typer.Argument(help="E.g. `-- behavior status`.")], env_file: Secrets = ENVIRONMENT
) -> None:
    """Run a command with a worker's variables, as `docker compose exec worker` would."""
    home = current_home()
    part = _parts(home, read_secrets(env_file), running_places(home), {}, 1)[parts.WORKER]
    program = parts.PROGRAMS.get(command[0], (command[0],))
    os.execvpe(program[0], [*program, *command[1:]], dict(part.environment))  # noqa: S606 – a program and its words


@app.command()
def backup(folder: Path, env_file: Secrets = ENVIRONMENT) -> None:
    """Back up the running cluster into a folder that is not there yet."""
    home = current_home()
    places = running_places(home)
    init = _parts(home, read_secrets(env_file), places, {}, 1)[parts.INIT]
    count = make_backup(folder, places.mlflow_folder / "artifacts", init.environment)
    console.print(f"Backed up {count} files into {folder.name}; {env_file.name} is not among them and belongs to it.")


@app.command()
def restore(folder: Path, env_file: Secrets = ENVIRONMENT) -> None:
    """Put a backup into an empty state folder; `up` then goes on from there."""
    home, places = current_home(), _new_places(current_home())
    make_folder(home.services)
    everything = _parts(home, read_secrets(env_file), places, {}, 1)
    with FileLock(lock_of(home)), ExitStack() as stack:
        processes.adopt_orphans()
        stack.enter_context(processes.Interrupts())
        cluster = Cluster(home, everything, {parts.POSTGRES: everything[parts.POSTGRES]}, console.print)
        stack.callback(cluster.stop_all)
        cluster.start_all()
        count = restore_backup(folder, places.mlflow_folder / "artifacts", everything[parts.INIT].environment)
    console.print(f"Restored {count} files from {folder.name}. Next: make native (it upgrades what is older).")


def with_what_they_wait_for(names: list[str], everything: Mapping[str, Part]) -> dict[str, Part]:
    """Return the named parts and all that must run before them."""
    found: dict[str, Part] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        found[name] = everything[name]
        waiting += [before for before in everything[name].after if before not in found]
    return {name: part for name, part in everything.items() if name in found}


def running_places(home: Home) -> Places:
    """Return where the parts of the cluster that runs on a state folder are; a port of none that is down is 0.

    Raises:
        UserError: when not even Postgres runs.
    """
    ports = {s.name: int(s.url.rpartition(":")[2]) for s in processes.still_running(home) if s.url}
    if parts.POSTGRES not in ports:
        raise UserError("No cluster runs on this state folder.", found=home.root.name, next_step="make native")
    postgres, redis, mlflow, api_server = (
        ports.get(name, 0) for name in (parts.POSTGRES, parts.REDIS, parts.MLFLOW, parts.API_SERVER)
    )
    return Places(home=home, postgres=postgres, redis=redis, mlflow=mlflow, airflow=api_server)


def _new_places(home: Home) -> Places:
    return Places(
        home=home,
        postgres=services.free_port(),
        redis=services.free_port(),
        mlflow=airflow.port_of(airflow.MLFLOW_PORT),
        airflow=airflow.port_of(airflow.AIRFLOW_PORT),
    )


def _parts(
    home: Home, values: dict[str, str], places: Places, overrides: dict[str, str], schedulers: int
) -> dict[str, Part]:
    ports = {airflow.AIRFLOW_PORT: str(places.airflow), airflow.MLFLOW_PORT: str(places.mlflow)}
    # As for docker compose, a variable of the shell wins over the file.
    shell = {name: value for name, value in os.environ.items() if name.startswith("BEHAVIOR_")}
    # The worker for the GPU always runs here, so trainings go to it unless somebody says otherwise.
    described = read_services(COMPOSE, {TRAIN_QUEUE: GPU_QUEUE} | values | shell | ports)
    return make_parts(described, places, overrides=overrides, schedulers=schedulers)


def _pairs(words: list[str] | None) -> dict[str, str]:
    pairs = dict(word.partition("=")[::2] for word in words or [])
    if "" in pairs:
        raise UserError("A variable has no name.", expected="--set NAME=VALUE", next_step="see --help")
    return pairs


def _known(name: str) -> str:
    known = [*parts.NAMES, parts.SECOND]
    if name not in known or name == parts.INIT:
        close = nearest(name, known)
        raise UserError(
            f"There is no part {name}.",
            expected=", ".join(known),
            next_step=f"did you mean {close}?" if close else None,
        )
    return name


def _stopped(cluster: Cluster) -> None:
    with console.status("stopping"):
        cluster.stop_all()
    console.print("Stopped; nothing is left running.")


def main() -> None:
    """Run the command line."""
    try:
        app()
    except UserError as error:
        errors.print(str(error), markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
