"""Kinds of artifacts: a stage's name and a file in it in, what an erasure does with that file out.

The one thing to know: nothing is left alone because nobody thought of it. A stage, or a file of one, that stands in no
row of the table stops an erasure before it has changed anything, and a test makes every stage that there is.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from behavior_tasks.base.errors import UserError
from behavior_tasks.pipeline.privacy.erase_files import How

ENCODED = "encode"
"""Its arrays hold an example a row, in the order of its index, and are cut together (`erase_arrays`)."""
AUDIENCES = "audiences"
"""Its curves hold a running total a shopper, and are added up anew (`erase_arrays`)."""
NOBODY: Mapping[str, How] = {"*": "keep"}
"""Counts, fitted values, settings, plots and models: none names a shopper. What a model has learned from somebody is
dealt with apart: the model is marked, trained anew and deleted (`erase_models`)."""
KINDS: Mapping[str, Mapping[str, How]] = {
    "simulate": {"events.csv": "keep", "oracle.parquet": "rows", "oracle.json": "keep"},
    "source": NOBODY,
    "ingest-part": {"runs/*.parquet": "rows", "quarantine.parquet": "unnamed"},
    "ingest": {"quarantine.parquet": "unnamed", "parts.json": "keep"},
    "clean-part": {"*/*.parquet": "rows"},
    "clean": {
        "apart.parquet": "rows",
        "replaced.parquet": "rows",
        "bounds.parquet": "keep",
        "median-*.parquet": "keep",
        "*.json": "keep",
    },
    "report": NOBODY,
    "cutoffs": {"examples/*.parquet": "rows"},
    "doctor": NOBODY,
    "features": {"examples/*.parquet": "rows", "market/*.parquet": "keep"},
    "verbalize": {"texts/*.parquet": "rows", "text.json": "keep"},
    ENCODED: {"index.parquet": "rows", "*.npy": "keep", "encoding.json": "keep", "tokenizer/*": "keep"},
    "baselines": {"predictions.parquet": "rows", "teacher.parquet": "rows", "model/*": "keep"},
    "train": NOBODY,
    "champion": NOBODY,
    "champions": NOBODY,
    "evaluate": {"predictions.parquet": "rows", "metrics.json": "keep", "plots/*": "keep"},
    "audit": NOBODY,
    "package": NOBODY,
    "gate": NOBODY,
    "model_report": NOBODY,
    "moment": NOBODY,
    "readiness": NOBODY,
    "shopper_scores": {"served/scores/*.parquet": "rows"},
    "product_scores": {"served/scores/*.parquet": "rows"},
    AUDIENCES: {
        "served/*.parquet": "rows",
        "served/*.csv": "lines",
        "served/page.html": "page",
        "served/budget-*.npy": "keep",
    },
    "recommendations": {"served/*.parquet": "rows", "served/*.csv": "lines", "served/page.html": "page"},
    "demand": {"served/*.parquet": "rows", "served/*.csv": "lines", "served/page.html": "page"},
    "risk": {"served/*.parquet": "rows", "served/*.csv": "lines", "served/page.html": "page"},
    "watch": {"*.parquet": "rows", "*.json": "told"},
}
"""Stage → pattern of a file below its artifact → what is done with it; the first pattern that fits counts."""
BY_ENDING: Mapping[str, How] = {
    ".parquet": "rows",
    ".csv": "lines",
    ".html": "page",
    ".json": "told",
    ".jsonl": "text",
    ".txt": "text",
    ".md": "text",
    ".yaml": "text",
}
"""What is done with files that are no artifacts, by their ending; every other one (plots, weights) names nobody."""


def how_of(stage: str, file: str) -> How:
    """Return what is done with a file of an artifact.

    Args:
        stage: a folder of the artifact store.
        file: its place in the artifact, with `/`.

    Raises:
        UserError: when the table knows no such stage, or no such file of it.
    """
    require_known(stage)
    for pattern, how in KINDS[stage].items():
        if fnmatchcase(file, pattern):
            return how
    raise _unknown(f"the file {file} of artifacts/{stage}", f"a file that fits {', '.join(KINDS[stage])}")


def require_known(stage: str) -> None:
    """Check that the table knows a stage.

    Raises:
        UserError: when it does not.
    """
    if stage not in KINDS:
        raise _unknown(f"artifacts/{stage}", f"one of {', '.join(KINDS)}")


def _unknown(what: str, expected: str) -> UserError:
    return UserError(
        f"An erasure does not know {what}, so nothing was erased: nobody can say whether it holds a shopper.",
        expected=expected,
        next_step="if a newer version has made it, erase with that version; else move that folder out of the state "
        "folder and look what it is",
    )


def how_by_ending(name: str) -> How:
    """Return what is done with a file that is no artifact's.

    >>> how_by_ending("matured.parquet"), how_by_ending("loss.png")
    ('rows', 'keep')
    """
    return next((how for ending, how in BY_ENDING.items() if name.endswith(ending)), "keep")
