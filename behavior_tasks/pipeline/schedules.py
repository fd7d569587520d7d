"""When Airflow runs what, and where it trains: names that its DAG files, its set-up and the doctor have to share.

The one thing to know: DAG files import this while they are read, so it imports nothing.
"""

NIGHTS: dict[str, tuple[str, str]] = {
    "training": ("BEHAVIOR_SCHEDULE", "0 2 * * *"),
    "scoring": ("BEHAVIOR_SCORING_SCHEDULE", "0 5 * * *"),
    "monitoring": ("BEHAVIOR_MONITORING_SCHEDULE", "0 7 * * *"),
    "erasure": ("BEHAVIOR_ERASURE_SCHEDULE", "0 8 * * *"),
}
"""What runs every night, by the DAG `behavior_…` → the variable with its schedule (cron), and the default."""
TRAINING_POOL = "training"
"""Airflow's pool in which trainings run: as many at the same time as it has slots. Without it none ever starts."""
