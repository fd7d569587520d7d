"""A person's yes before a promotion, asked with Airflow's own human-in-the-loop operator.

In comes a gate's verdict, out comes an answer in the run's folder, which `promote` reads. The one thing to know:
whether somebody is asked at all is the run's setting (`gate.approval`), so the DAG is the same for all runs.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import Param
from airflow.sdk.definitions.param import ParamsDict
from behavior_dag_faults import explained
from behavior_dag_notes import note, skip

from behavior_tasks import pipeline


class Approval(HITLOperator):
    """Ask a person whether the new model may become the champion, where the run's settings want that.

    Otherwise the task is skipped, which stops nothing. Who does not answer in time has said no.
    """

    APPROVE, REJECT = "Approve", "Reject"
    template_fields = ("subject", "body", "run", "gate_uri")

    def __init__(self, *, run: str, gate_uri: Any, **options: Any) -> None:
        super().__init__(
            subject="May the new model become the champion?",
            options=[self.APPROVE, self.REJECT],
            defaults=self.REJECT,
            response_timeout=timedelta(hours=1),  # replaced by the run's own setting
            **options,
        )
        # Airflow hands every task the trigger form's fields; the question has one field of its own.
        self.params = ParamsDict({"why": Param("", type="string", title="Why", description="Kept in the ledger.")})
        self.run, self.gate_uri = run, gate_uri

    def execute(self, context: Any) -> Any:
        """Put the question on Airflow's page and wait; skip when nobody has to be asked."""
        question = explained(pipeline.ask, self.run, self.gate_uri)
        if question is None:
            skip("nobody has to approve: the verdict is to keep, or gate.approval is off")
        self.subject, self.body, self.response_timeout = (
            question.subject,
            question.body,
            timedelta(hours=question.hours),
        )
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> str:
        """Keep the answer in the run's folder, where `promote` reads it."""
        response = super().execute_complete(context, event)
        person = response.get("responded_by_user")
        approved = response["chosen_options"] == [self.APPROVE]
        who, why = (person["name"] if person else None), str(response["params_input"].get("why") or "")
        explained(pipeline.answer, self.run, self.gate_uri, approved=approved, who=who, why=why)
        told = f"{'yes' if approved else 'no'}, from {who}" if who else "nobody answered in time"
        note(told)
        return told
