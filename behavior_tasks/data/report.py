"""The data report: what the log holds, what was set apart and why, and what cleaning changed.

In come the artifacts of `ingest` and `clean`; out come `report.html` (one file that needs no network),
`report.json` with the same figures, and `plots/*.png`. The one thing to know: rows in = events + quarantined +
duplicates + set apart is checked here once more, and no raw id, nor any text of a quarantined row, is in it.
"""

import base64
import json
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from behavior_tasks.base.artifacts import Output, Rows
from behavior_tasks.base.engine import run_buckets
from behavior_tasks.base.page import render_page
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_file, full_disk, quote
from behavior_tasks.data.buckets import connect_spilling
from behavior_tasks.data.events import open_events
from behavior_tasks.data.report_counts import CountJob, count_bucket, merge_counts
from behavior_tasks.data.report_figures import figures_of
from behavior_tasks.data.report_plots import draw_plots

TEMPLATE = Path(__file__).with_name("report.html")
log = logging.getLogger("behavior")


@full_disk()
def report_stage(job: Job) -> Output:
    """Write `report.html`, `report.json` and `plots/`."""
    events = job.inputs["clean"]
    work = job.out / ".work"
    (work / "products").mkdir(parents=True)
    jobs = [
        CountJob(
            events=bucket,
            products=bucket_file(work / "products", number),
            spill=work / f"spill-{number}",
            memory_mb=job.config.engine.memory_mb,
            timezone=job.config.source.timezone,
        )
        for number, bucket in enumerate(open_events(events))
    ]
    rows = events.manifest.rows.rows_out
    counts = merge_counts(run_buckets(count_bucket, jobs, engine=job.config.engine, what="report", rows=rows))
    with connect_spilling(work / "spill", memory_mb=job.config.engine.memory_mb) as connection:
        files = ", ".join(quote(one.products) for one in jobs)
        query = f"SELECT count(DISTINCT product_id) FROM read_parquet([{files}])"
        products = int(connection.execute(query).fetchall()[0][0])
        figures = figures_of(job, counts, connection, products=products)
    shutil.rmtree(work)
    text = json.dumps(figures, indent=2, ensure_ascii=False)
    (job.out / "report.json").write_text(text + "\n", encoding="utf-8")
    plots = draw_plots(figures, job.out / "plots")
    (job.out / "report.html").write_text(render(figures, plots), encoding="utf-8")
    log.info("report: %s", figures["headline"]["equation"])
    return Output(
        rows=Rows(unit_in="events", unit_out="reports", rows_in=counts.events, rows_out=1),
        facts={"equation": figures["headline"]["equation"]},
    )


def render(figures: Mapping[str, Any], plots: Mapping[str, Mapping[str, bytes]]) -> str:
    """Return the report's page.

    Args:
        figures: what `report.json` holds.
        plots: name → `light` and `dark` → PNG bytes.
    """
    images = {
        name: {look: base64.b64encode(png).decode("ascii") for look, png in looks.items()}
        for name, looks in plots.items()
    }
    return render_page(TEMPLATE, {**figures, "images": images})
