"""A process of its own that loads a packaged model, asks it and serves it: what somebody does who has nothing else.

In come the folder of the model, a Parquet file of raw events and an instant; out come the answers as Parquet and what
was measured as JSON. The one thing to know: this file is run by its path and imports nothing of this package, so what
it loads is the code that the model brought along.
"""

import argparse
import json
import time
from pathlib import Path

WARM_UP = 2


def main() -> None:
    """Load, ask, serve; write `answers.parquet` first and `measured.json` last."""
    parser = argparse.ArgumentParser()
    for name in ("model", "events", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("as_of")
    parser.add_argument("single", type=int, help="shoppers that are asked about one by one")
    asked = parser.parse_args()
    started = time.perf_counter()
    import mlflow.pyfunc
    import pandas as pd

    model = mlflow.pyfunc.load_model(str(asked.model))
    events, params = pd.read_parquet(asked.events), {"as_of": asked.as_of}
    loaded = time.perf_counter() - started
    answers = model.predict(events, params=params)
    answers.to_parquet(asked.out / "answers.parquet")
    example = model.predict(model.input_example, params=model.metadata.load_input_example_params(str(asked.model)))
    by_shopper = [rows for _, rows in events.groupby("user_id", sort=True)][: asked.single + WARM_UP]
    took = []
    for rows in by_shopper:
        began = time.perf_counter()
        model.predict(rows, params=params)
        took.append(1000 * (time.perf_counter() - began))
    timed = pd.Series(took[WARM_UP:] or took)
    measured = {
        "load_seconds": round(loaded, 3),
        "latency_ms": {"median": round(float(timed.median()), 1), "p95": round(float(timed.quantile(0.95)), 1)},
        "example_rows": len(example),
        "served_difference": _serve(model, by_shopper[0], params),
    }
    (asked.out / "measured.json").write_text(json.dumps(measured), encoding="utf-8")


def _serve(model, rows, params) -> float:  # type: ignore[no-untyped-def]  # mlflow's and pandas' types come with main
    """Ask through MLflow's own scoring server; return the largest difference from the model's answer."""
    from fastapi.testclient import TestClient
    from mlflow.pyfunc import scoring_server

    body = {
        "dataframe_split": json.loads(rows.to_json(orient="split", date_format="iso", index=False)),
        "params": params,
    }
    with TestClient(scoring_server.init(model)) as client:
        response = client.post("/invocations", json=body)
    if response.status_code != 200:
        raise SystemExit(f"the scoring server says {response.status_code}: {response.text[:500]}")
    told = [row["probability"] for row in response.json()["predictions"]]
    expected = model.predict(rows, params=params)["probability"].tolist()
    if len(told) != len(expected):
        raise SystemExit(f"the scoring server gives {len(told)} rows instead of {len(expected)}")
    return max((abs(one - other) for one, other in zip(told, expected, strict=True)), default=0.0)


if __name__ == "__main__":
    main()
