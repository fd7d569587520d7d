"""Recommendations: products for every active shopper, by the method that past days show to be best.

In come clean events, the champions, the moment and tonight's product scores; out come the lists as Parquet and CSV,
what to show somebody new, and a page that says which method serves and why. The one thing to know: a champion that
does not beat a simple method is not used, and the page says so.
"""

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from behavior_tasks.base.artifacts import Output, Rows, hash_file
from behavior_tasks.base.errors import UserError
from behavior_tasks.base.home import temporary_folder
from behavior_tasks.base.stage import Job
from behavior_tasks.base.tables import bucket_files, connect, hash_rows
from behavior_tasks.data.events import open_events
from behavior_tasks.serve.banners import Banner, banner_facts
from behavior_tasks.serve.champions import Champion
from behavior_tasks.serve.demand_stock import read_stock
from behavior_tasks.serve.moment import Moment
from behavior_tasks.serve.recommend_champion import find_reader, read_scores
from behavior_tasks.serve.recommend_facts import reasons_for_method, told_study
from behavior_tasks.serve.recommend_lists import FILE, Serving, Written, write_for_new_shoppers, write_lists
from behavior_tasks.serve.recommend_log import Log
from behavior_tasks.serve.recommend_methods import from_matrix
from behavior_tasks.serve.recommend_page import write_page
from behavior_tasks.serve.recommend_study import Rules, Study, hold_study
from behavior_tasks.serve.recommend_world import COMBINATION, LANGUAGE, SCORES, Sources, make_world
from behavior_tasks.serve.score import SCORES as SCORE_FILES
from behavior_tasks.serve.score import Place
from behavior_tasks.serve.served import FOLDER

TRAIN = "behavior run --set examples.unit=shopper_product --set registry.model_name={name}"


def recommendations_stage(job: Job) -> Output:
    """Recommend `recommend.top` products to everybody with an event in the lookback.

    Facts: `method` that serves and `why`, `study` (figures of all methods), `shoppers`, `rows`, `fewer`, `banners`.

    Raises:
        UserError: when the stock file is wrong.
    """
    settings, moment, out = job.config.recommend, Moment.load(job.inputs["moment"]), job.out / FOLDER
    out.mkdir()
    sources = _sources(job)
    rules = Rules(bought=settings.bought, per_category=settings.per_category)
    study = hold_study(sources, moment, rules, datetime.fromisoformat(job.inputs["clean"].facts["first"]))
    log = sources.read(moment)
    in_stock = _in_stock(job, log)
    serving = _serving(job, study, moment, log, rules, in_stock)
    written = write_lists(serving, out, as_of=moment.as_of.isoformat())
    write_for_new_shoppers(log, in_stock, out, top=settings.top)
    facts = _facts(job, sources, study, written, in_stock)
    write_page(out / "page.html", facts, study, out)
    with connect() as connection:
        content = hash_rows(connection, out / FILE)
    active = int(log.active.sum())
    rows = Rows(unit_in="shoppers", unit_out="shoppers", rows_in=active, rows_out=written.shoppers)
    return Output(rows=rows, content_hash=content, facts=facts)


def _sources(job: Job) -> Sources:
    champions = [Champion.load(job.inputs["champions"], unit) for unit in ("shopper", "shopper_product")]
    asked = next((one for one in champions[::-1] if one is not None), None)
    place = Place.of(job.home, job.config)
    examples = asked.examples if asked else job.config.examples
    return Sources(
        events=open_events(job.inputs["clean"]),
        place=place,
        horizon_days=examples.horizon_days,
        lookback_days=examples.lookback_days,
        reading=find_reader(champions, place),
        products=champions[1],
    )


def _serving(job: Job, study: Study, moment: Moment, log: Log, rules: Rules, in_stock: np.ndarray) -> Serving:
    """Make tonight's world, with what the champions say only where the method that serves reads it."""
    sources, who, scores = study.sources, np.flatnonzero(log.active), None
    if study.method not in {LANGUAGE, SCORES, COMBINATION}:
        sources = sources.without_champions()
    if sources.products is not None:
        files = bucket_files(job.inputs["product_scores"].path / SCORE_FILES)
        scores = from_matrix(read_scores(files, log))
    return Serving(
        world=make_world(sources, moment, log, who, rate=study.rate, scores=scores),
        method=study.method,
        combination=study.combination,
        rules=rules,
        top=job.config.recommend.top,
        in_stock=in_stock,
    )


def _in_stock(job: Job, log: Log) -> np.ndarray:
    """Return whether each product may be recommended: of what a stock file says nothing, yes."""
    may = np.ones(len(log.products), dtype=bool)
    if not job.config.demand.stock_file:
        return may
    path = Path(job.config.demand.stock_file).expanduser()
    places = {product: place for place, product in enumerate(log.products)}
    with temporary_folder(job.home, "stock") as scratch:
        stock = read_stock(path, places, scratch / "unknown.csv", lead_time_days=0.0).rows
    if hash_file(path) != job.outside["stock"]:
        raise UserError(
            f"The stock file {path.name} changed while it was read.", next_step="run again when its export is finished"
        )
    may[[places[product] for product in stock.loc[stock["stock"] <= 0, "product_id"]]] = False
    return may


def _facts(job: Job, sources: Sources, study: Study, written: Written, in_stock: np.ndarray) -> dict[str, Any]:
    settings = job.config.recommend
    return {
        "as_of": job.inputs["moment"].facts["as_of"],
        "horizon_days": sources.horizon_days,
        "lookback_days": sources.lookback_days,
        "top": settings.top,
        "bought": settings.bought,
        "per_category": settings.per_category,
        "out_of_stock": int((~in_stock).sum()),
        "method": study.method,
        "why": reasons_for_method(study),
        "study": told_study(study),
        "shoppers": written.shoppers,
        "rows": written.rows,
        "fewer": written.fewer,
        "products": written.products,
        "filled": written.filled,
        "banners": banner_facts(_banners(job, sources, study), job.inputs["readiness"]),
    }


def _banners(job: Job, sources: Sources, study: Study) -> list[Banner]:
    found = []
    name = job.config.serve.product_model
    if sources.products is None:
        words = "There is no champion that scores products, so only the language model and simple methods are compared."
        if sources.reading is None:
            words = "There is no champion that says anything of products, so only simple methods are compared."
        found.append(_notice("no_product_champion", words, TRAIN.format(name=name)))
    measured = (study.sources.reading, study.sources.products)
    if (sources.reading, sources.products) != measured:
        words = (
            "A champion learned from the newest finished horizon, so nothing can be told of its recommendations yet."
        )
        found.append(_notice("champion_not_measurable", words, "score again when a horizon after its training is over"))
    if study.chosen_on is None:
        words = (
            f"The log holds no two finished horizons with enough buyers, so no method could be chosen on past days: "
            f"{study.method} serves."
        )
        found.append(_notice("no_choice", words, "give a longer log, or read the figures as a first impression"))
    elif study.reported is None:
        words = "In the newest finished horizon too few shoppers bought anything to measure the method that serves."
        found.append(_notice("not_measured", words, "score again when more was bought"))
    return found


def _notice(code: str, words: str, next_step: str) -> Banner:
    return Banner(code=code, level="notice", words=words, next_step=next_step)
