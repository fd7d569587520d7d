"""Serving a day: the run's applications in; what they made, handed out by date, out.

The one thing to know: only what is finished is handed out, one application after the other, so one that fails takes
nothing away that another has made.
"""

from behavior_tasks.pipeline.runs import open_run
from behavior_tasks.serve.banners import Banner
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.served import FOLDER, publish


def hand_out(run_uri: str) -> list[Banner]:
    """Hand out every application that a scoring has finished, and return the banners above them, each once."""
    run = open_run(run_uri)
    artifact = run.artifact("moment")
    if artifact is None:
        return []
    moment, banners = Moment.load(artifact), []
    for record in run.stages():
        made = run.artifact(record.stage)
        if made is not None and (made.path / FOLDER).is_dir():
            banners += publish(run.home, made, moment.as_of).banners
    return list(dict.fromkeys(banners))
