"""`behavior show`: one example as the model sees it, and what moved its prediction."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from behavior_tasks.base.home import current_home
from behavior_tasks.cli.screen import console

if TYPE_CHECKING:
    from behavior_tasks.pipeline.show import Shown


def show(
    shopper: Annotated[
        str, typer.Option("--shopper", help="A pseudonym, or an id of the log (needs the identity key; never shown).")
    ],
    cutoff: Annotated[
        str | None, typer.Option("--cutoff", help="A date: what was known before that day. Default: the test cutoff.")
    ] = None,
    product: Annotated[
        str | None,
        typer.Option("--product", help="For the unit shopper_product; default: the most probable one."),
    ] = None,
    run: Annotated[
        str, typer.Option("--run", help="A run's id (`behavior status` lists them), or latest: the last that trained.")
    ] = "latest",
    preset: Annotated[str | None, typer.Option("--preset", "-p", help="Only runs of this preset.")] = None,
    champion: Annotated[bool, typer.Option("--champion", help="Ask the champion instead of the run's model.")] = False,
    top: Annotated[
        int,
        typer.Option("--top", min=0, max=1000, help="How many phrases, and how many numbers, that moved it; 0: none."),
    ] = 6,
    tokens: Annotated[bool, typer.Option("--tokens", help="Show every token.")] = False,
    features: Annotated[bool, typer.Option("--features", help="Show every feature.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show one example as the model sees it: text, tokens, features, label, prediction, and what moved it most.

    What moved it is measured by occlusion: each phrase is left out alone, each number alone made undefined.

    Examples:

        behavior show --shopper 4f0c1d2e3a4b5c6d7e8f

        behavior show --shopper ID --cutoff 2011-11-09 --top 20

        behavior show --shopper ID --champion --json
    """
    from behavior_tasks.cli.show_page import example_page
    from behavior_tasks.pipeline.show import show_example
    from behavior_tasks.pipeline.show_find import find_run

    found = show_example(
        find_run(current_home(), run, preset=preset),
        shopper,
        cutoff=cutoff,
        product=product,
        champion=champion,
        occlude=top > 0,
    )
    if as_json:
        typer.echo(json.dumps(_as_json(found, top), ensure_ascii=False, indent=2))
        return
    page = example_page(found, top=top, every_token=tokens, every_feature=features, width=console.width)
    console.print(page)


def _as_json(found: "Shown", top: int) -> dict[str, Any]:
    from behavior_tasks.model.explain import largest

    told, trace, moment = found.told, found.trace, found.moment
    return {
        "run": found.run_id,
        "model": found.model,
        "unit": found.unit,
        "shopper": found.shopper.pseudonym,
        "product": found.product,
        "cutoff": moment.day.isoformat(),
        "split": moment.split,
        "cutoffs": {other.day.isoformat(): other.split for other in found.cutoffs},
        "horizon_days": found.horizon_days,
        "label": found.label,
        "amount": found.amount,
        "prediction": {
            "probability": told.probability,
            "uncalibrated": told.uncalibrated,
            "threshold": told.decision.threshold,
            "purchase": told.buys,
            "calibration": told.decision.calibration,
            "expected_amount": told.expected_amount,
            "amount_10": told.low,
            "amount_90": told.high,
        },
        "text": "".join(trace.parts),
        "parts": trace.parts,
        "tokens": [
            {"id": int(token), "piece": piece, "part": int(part) if part >= 0 else None}
            for token, piece, part in zip(trace.ids, trace.pieces, trace.part_of, strict=True)
        ],
        "tokens_cut": trace.cut,
        "effects": [asdict(effect) for effect in largest(found.effects, top)],
        "features": {
            one.feature.name: {
                "value": one.value,
                "quantile": one.quantile,
                "quantiles": one.quantiles,
                "as_number": one.as_number,
            }
            for one in found.features
        },
        "candidates": [asdict(one) for one in found.candidates],
    }
