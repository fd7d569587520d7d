"""A deployment's health: what `behavior doctor --deployment` looks at, and what `behavior wait` waits for.

In comes the environment of the services, out come findings, one line a check, with what to do. The one thing to know:
nothing here imports Airflow or MLflow; they are seen from outside, as another machine would see them.
"""

from behavior_tasks.pipeline.deployment.finding import Finding, worst
from behavior_tasks.pipeline.deployment.look import look_at_deployment
from behavior_tasks.pipeline.deployment.settings import Deployment
from behavior_tasks.pipeline.deployment.waiting import SERVICES, wait_for

__all__ = ["SERVICES", "Deployment", "Finding", "look_at_deployment", "wait_for", "worst"]
