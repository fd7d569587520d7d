"""Measure the encoding of texts against the Hugging Face fast tokenizer and print the result as a Markdown table.

    python benchmarks/encode.py                                    1M events, tokenizer from scratch
    python benchmarks/encode.py --rows 20 --checkpoints scratch path/to/a/bert

A big simulated log (`big_log.py`) is cleaned and told as texts, one a shopper and week, each with the last 40 phrases.
Ours reads these texts from Parquet and writes the tokens, with two processes; the Hugging Face tokenizer gets them from
memory, with two threads, and only its own call is timed. All tokens of both are compared.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from big_log import write_log
from fresh import run_step

from behavior_tasks.base.errors import UserError

SCRIPT = Path(__file__).with_name("encode_steps.py")
EVENTS_A_BUCKET = 300_000
THREADS = 2
VOCABULARY = 1500
HEADER = """\
| events | tokenizer | texts | tokens | who | tokens/s | tokens per CPU second | peak MiB |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def measure(rows: int, cutoffs: int, checkpoints: list[str], folder: Path) -> bool:
    """Print a line for each tokenizer; return whether all tokens were equal."""
    engine = {"buckets": max(1, round(rows / EVENTS_A_BUCKET)), "workers": THREADS, "memory_mb": 2048}
    given = {"home": folder / "home", "run_id": "benchmark"}
    log, texts = folder / "log.csv", folder / "texts"
    write_log(rows, log)
    run_step("prepare", log=log, engine=engine, **given)
    log.unlink()
    run_step("make_examples", script=SCRIPT, out=folder / "examples", cutoffs=cutoffs, **given)
    run_step("write_our_texts", examples=folder / "examples", out=texts, engine=engine, **given)
    equal = True
    for number, checkpoint in enumerate(checkpoints):
        tokenizer = folder / f"tokenizer-{number}"
        made = run_step(
            "make_tokenizer", script=SCRIPT, texts=texts, checkpoint=checkpoint, vocabulary=VOCABULARY, out=tokenizer
        )
        print(
            f"{Path(checkpoint).name}: {made.answer['parts']:,} different parts; "
            f"tokenizer in {made.seconds:.1f} s, {made.peak_mib:,.0f} MiB",
            file=sys.stderr,
        )
        out = folder / f"tokens-{number}"
        ours = run_step("encode_ours", script=SCRIPT, texts=texts, tokenizer=tokenizer, out=out, workers=THREADS)
        theirs = run_step("encode_theirs", script=SCRIPT, texts=texts, tokenizer=tokenizer, threads=THREADS)
        for who, step in (("ours", ours), ("Hugging Face", theirs)):
            tokens, cpu = step.answer["tokens"], step.answer["cpu_seconds"]
            print(
                f"| {rows:,} | {Path(checkpoint).name} | {ours.answer['texts']:,} | {tokens:,} | {who} "
                f"| {tokens / step.seconds:,.0f} | {tokens / cpu:,.0f} | {step.peak_mib:,.0f} |",
                flush=True,
            )
        same = ours.answer["hash"] == theirs.answer["hash"]
        equal = equal and same
        print(
            f"{Path(checkpoint).name}: {theirs.seconds / ours.seconds:.1f} times as fast, "
            f"{theirs.answer['cpu_seconds'] / ours.answer['cpu_seconds']:.1f} times by CPU time; "
            f"all tokens {'equal' if same else 'DIFFER'}",
            file=sys.stderr,
        )
    return equal


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Measure the encoding of texts.")
    parser.add_argument("--rows", type=float, default=1.0, help="size of the log, in millions of events")
    parser.add_argument("--cutoffs", type=int, default=6, help="texts of each shopper, a week apart")
    parser.add_argument("--checkpoints", nargs="+", default=["scratch"], help="scratch, or folders with a tokenizer")
    parser.add_argument("--folder", type=Path, help="where to work; in a temporary folder unless named")
    arguments = parser.parse_args()
    print(HEADER)
    try:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            rows = round(arguments.rows * 1_000_000)
            equal = measure(rows, arguments.cutoffs, arguments.checkpoints, Path(folder))
    except UserError as error:
        sys.exit(str(error))
    if not equal:
        sys.exit("the tokens differ")


if __name__ == "__main__":
    main()
