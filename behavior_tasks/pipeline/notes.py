"""Notes: a finished stage, or a whole run, in; one line with its key figures, for people, out.

They stand on Airflow's page beside each task and each run. The one thing to know: a note may be read by anybody who
may see the page, so it holds figures and names, never a path, a secret or a shopper's id.
"""

from collections.abc import Callable, Mapping
from typing import Any

from behavior_tasks.base.addresses import shareable
from behavior_tasks.base.artifacts import Rows
from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.runs import Run, open_run

MODELS = {"candidate": "language model", "boosting": "gradient boosting", "logistic": "logistic regression"}
MOST_REASONS = 4


def stage_note(run_uri: str, stage: str) -> str:
    """Return what a stage of a run did: its key figure, rows in and out with the reasons, and how long it took."""
    run = open_run(run_uri)
    record = next(one for one in run.stages() if one.stage == stage)
    manifest = run.need(stage).manifest
    figure = FIGURES.get(stage, lambda _: "")(manifest.facts)
    took = "found finished, nothing was computed" if record.reused else f"{record.seconds:,.1f} s"
    return shareable("; ".join(part for part in (figure, _rows(manifest.rows), took) if part))


def run_note(run_uri: str, *, broken: bool = False) -> str:
    """Return how a run stands, in one line: the verdict with its figures, what was handed out, or what went wrong.

    Args:
        run_uri: what `start_run` gave.
        broken: whether the run has ended without its results.
    """
    run = open_run(run_uri)
    fault = "failed: a fault of the program or a killed process; the log of the red task says more" if broken else ""
    return shareable(_failed(run) or fault or _watched(run) or _scored(run) or _verdict(run) or run.record.name)


def refusal_note(error: UserError, *, whole: bool = False) -> str:
    """Return a user's mistake as a note: the problem and what to do, or (`whole`) all that was found too."""
    if whole:
        return shareable(str(error))
    return shareable(error.problem + (f" Next: {error.next_step}" if error.next_step else ""))


def _rows(rows: Rows) -> str:
    if rows.rows_out <= 1:  # a report, a verdict: how much it stands on says more
        return f"{rows.rows_in:,} {rows.unit_in}" if rows.rows_in > 1 else ""
    told = f"{rows.rows_in:,} {rows.unit_in} → {rows.rows_out:,} {rows.unit_out}"
    if not rows.removed or rows.unit_in != rows.unit_out:
        return told
    most = sorted(rows.removed.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{reason} {count:,}" for reason, count in most[:MOST_REASONS]]
    return f"{told} ({', '.join(named)}{', …' if len(most) > MOST_REASONS else ''})"


def _failed(run: Run) -> str:
    error = run.noted("error")
    # One red application of a scoring is told by `scored`, with what the others gave.
    if error is None or run.noted("scored") or run.noted("watched"):
        return ""
    return f"failed in {error['stage']}: {str(error['message']).partition(chr(10))[0]}"


def _verdict(run: Run) -> str:
    gate, promotion = run.artifact("gate"), run.noted("promotion")
    if gate is None:
        return ""
    reason = str(gate.facts["reason"])
    if promotion and promotion["promoted"]:
        version = (run.noted("registered") or {}).get("version")
        why = reason.removeprefix("promote").lstrip(": ")
        return f"promoted{f' as version {version}' if version else ''}: {why}"
    return f"keep: {promotion['reason']}" if promotion and promotion["reason"] else reason


def _scored(run: Run) -> str:
    scored = run.noted("scored")
    if scored is None:
        return ""
    told = [f"{scored['as_of']}: handed out {', '.join(scored['served']) or 'nothing'}"]
    if scored["failed"]:
        told.append(f"failed: {', '.join(scored['failed'])}")
    told += [banner["words"] for banner in scored["banners"] if banner["level"] != "notice"]
    return "; ".join(told)


def _watched(run: Run) -> str:
    artifact = run.artifact("watch")
    if artifact is None:
        return ""
    found = artifact.facts["findings"]
    told = ", ".join(f"{found[level]} {level}" for level in ("severe", "warning", "notice") if level in found)
    return f"{artifact.facts['as_of']}: {told or 'nothing to look at'}"


def _f1(facts: Mapping[str, Any]) -> str:
    f1 = facts["f1"]
    named = [f"{words} {f1[name]:.3f}" for name, words in MODELS.items() if isinstance(f1.get(name), float)]
    return f"F1 on test: {', '.join(named)}"


def _champion(facts: Mapping[str, Any]) -> str:
    if facts["version"] is None:
        return "no champion yet"
    return f"champion: version {facts['version']}" + (f"; {facts['problem']}" if facts["problem"] else "")


def _champions(facts: Mapping[str, Any]) -> str:
    named = [f"{fact['name']} version {fact['version']}" for fact in facts.values() if fact]
    return f"champions: {', '.join(named) or 'none'}"


def _training(facts: Mapping[str, Any]) -> str:
    return (
        f"best epoch {facts['best_epoch']} of {facts['epochs']}, validation average precision "
        f"{facts['validation_average_precision']:.3f}, {facts['examples_per_second']:,.0f} examples/s"
    )


def _doctor(facts: Mapping[str, Any]) -> str:
    warned = facts.get("warned") or []
    return f"look at: {', '.join(warned)}" if warned else "nothing to worry about"


def _audit(facts: Mapping[str, Any]) -> str:
    if facts["clean"]:
        return "no leakage found"
    return str(facts["problem"] or f"{facts['failed']} checks for leakage failed")


def _banners(facts: Mapping[str, Any]) -> str:
    return " ".join(str(banner["words"]) for banner in facts["banners"]) or "nothing speaks against handing it out"


FIGURES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "ingest": lambda facts: f"{facts['first'][:10]} to {facts['last'][:10]}",
    "features": lambda facts: f"{len(facts['features'])} features",
    "encode": lambda facts: f"{facts['mean_tokens']:.0f} tokens a text on average",
    "train": _training,
    "champion": _champion,
    "champions": _champions,
    "doctor": _doctor,
    "audit": _audit,
    "evaluate": _f1,
    "gate": lambda facts: str(facts["reason"]),
    "moment": lambda facts: f"as of {facts['as_of']}",
    "readiness": _banners,
    "watch": lambda facts: ", ".join(f"{n} {level}" for level, n in facts["findings"].items()) or "no finding",
}
"""Stage → its key figure, from its facts."""
