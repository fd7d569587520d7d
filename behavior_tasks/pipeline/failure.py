"""Why a run failed: its folder in; which stage, why and what to do, out, in words that may leave this machine.

The one thing to know: it is asked by whoever sends the message, perhaps where the run's folder can't be seen; then it
says that much and where to look.
"""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from behavior_tasks.base.addresses import shareable
from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.runs import Run, open_run, safe_id
from behavior_tasks.pipeline.watching import watched_problems


class Failure(BaseModel):
    """What somebody must know of a failed run, without a secret, a raw id or an absolute path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dag: str
    run: str
    stage: str
    why: str
    what_to_do: str
    link: str
    """The run's page in Airflow."""

    @property
    def subject(self) -> str:
        """One line."""
        return f"{self.dag} failed in {self.stage}"

    @property
    def text(self) -> str:
        """The whole message, a line each."""
        lines = (f"{self.subject}: {self.why}", f"What to do: {self.what_to_do}", f"Run {self.run}: {self.link}")
        return "\n".join(lines)


UNKNOWN = ("a task", "a fault of the program, a killed process, or a run that took too long")
LOOK = "open the run and read the log of the red task; when that is mended, clear the task and the run goes on"


def why_it_failed(dag: str, run_id: str, *, link: str, check: Callable[[], object]) -> Failure:
    """Return what is to be said of a failed run.

    Args:
        dag: its DAG.
        run_id: Airflow's name of the run.
        link: the run's page.
        check: checks the settings that the run was asked for; called when it never began.
    """
    stage, why, next_step = _told(run_id, check)
    return Failure(
        dag=dag, run=run_id, stage=stage, why=shareable(why), what_to_do=shareable(next_step or LOOK), link=link
    )


def _told(run_id: str, check: Callable[[], object]) -> tuple[str, str, str | None]:
    try:
        run = open_run(safe_id(run_id))
    except UserError:
        try:
            check()
        except UserError as error:
            return "start", error.problem + (f" {error.found}" if error.found else ""), error.next_step
        return (*UNKNOWN, None)
    scored, stopped = run.noted("scored"), run.noted("error")
    if scored is not None:
        return _scoring(run, scored)
    if stopped is not None:
        return str(stopped["stage"]), str(stopped["problem"]), stopped["next_step"]
    severe = watched_problems(run.uri)
    if severe:
        return "look", " ".join(severe), "see the report of the day; each alert says what to do"
    return (*UNKNOWN, None)


def _scoring(run: Run, scored: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Of a scoring that came to its end: the applications that failed, else the banners to be looked at."""
    errors = {name: run.noted(f"error-{name}") for name in scored["failed"]}
    told = {name: error for name, error in errors.items() if error is not None}
    if scored["failed"]:
        why = " ".join(f"{name}: {error['problem']}" for name, error in told.items())
        steps = [str(error["next_step"]) for error in told.values() if error["next_step"]]
        kept = "What they gave before is still there."
        return ", ".join(scored["failed"]), f"{why} {kept}".strip(), "; ".join(dict.fromkeys(steps)) or None
    banners = [banner for banner in scored["banners"] if banner["level"] != "notice"]
    if not banners:
        return (*UNKNOWN, None)
    return "look", " ".join(one["words"] for one in banners), "; ".join(one["next_step"] for one in banners)
