"""Promotions that wait for a person: Airflow's own questions in, with an answer in the visitor's name out.

Both go through Airflow's REST API with the visitor's own token, so Airflow checks and records who answered. The one
thing to know: who is no op may see the question here and not answer it.
"""

import logging
from datetime import UTC, datetime
from typing import Annotated, Any

from behavior_page_access import DAG_ID, Door, OpForm
from behavior_page_answers import back
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import current_home
from behavior_tasks.registry.actions import log_action

router = APIRouter()
ANSWERS = {"Approve": "approved", "Reject": "rejected"}
WAITING = "/api/v2/dags/{dag}/dagRuns/~/hitlDetails"
QUESTION = "/api/v2/dags/{dag}/dagRuns/{run}/taskInstances/{task}/{index}/hitlDetails"
log = logging.getLogger("behavior.page")


async def waiting_questions(request: Request) -> list[dict[str, Any]]:
    """Return the questions that Airflow holds open: `run`, `task`, `index`, `subject`, `body`."""
    door: Door = request.app.state.door
    asked = {"response_received": "false", "limit": "20"}
    status, told = await door.ask_airflow(request, "GET", WAITING.format(dag=DAG_ID), params=asked)
    if status != 200:
        log.warning("Airflow says %s when it is asked which approvals wait", status)
        return []
    return [
        {
            "run": one["task_instance"]["dag_run_id"],
            "task": one["task_instance"]["task_id"],
            "index": one["task_instance"]["map_index"],
            "subject": one["subject"],
            "body": one["body"] or "",
        }
        for one in told["hitl_details"]
        if one["task_instance"]["state"] in ("awaiting_input", "deferred")
    ]


@router.post("/answer")
async def answer(
    request: Request,
    visitor: OpForm,
    run: Annotated[str, Form()] = "",
    answer: Annotated[str, Form()] = "",
    why: Annotated[str, Form(max_length=500)] = "",
) -> RedirectResponse:
    """Answer a question that waits."""
    door: Door = request.app.state.door
    questions = {one["run"]: one for one in await waiting_questions(request)}
    if answer not in ANSWERS or run not in questions:
        raise UserError(
            "This question does not wait any more; somebody has answered it, or its time is over.",
            next_step="open the page anew",
        )
    one = questions[run]
    path = QUESTION.format(dag=DAG_ID, run=run, task=one["task"], index=one["index"])
    said = {"chosen_options": [answer], "params_input": {"why": why}}
    status, told = await door.ask_airflow(request, "PATCH", path, json=said)
    outcome = "done" if status == 200 else f"Airflow says {status}"

    def keep() -> None:
        about = {"run": run, "answer": answer, "why": why}
        log_action(
            current_home(), when=datetime.now(UTC), who=visitor.name, action="approval", outcome=outcome, what=about
        )

    await run_in_threadpool(keep)
    if status != 200:
        raise UserError(
            "Airflow did not take the answer.", found=(told or {}).get("detail"), next_step="open the page anew"
        )
    return back(request, "/", ANSWERS[answer])
