"""Write a big simulated log: a CSV of as many events as asked for, at the speed of the disk, the same bytes every time.

    python benchmarks/big_log.py --rows 20000000 --out /tmp/log.csv
    python benchmarks/big_log.py --rows 20000000 --out /tmp/log --daily      one file a day, 2026-01-05.csv and on

Nobody's habits are in it (`behavior simulate` has those); it has what costs time: 90 days of sessions, a few shoppers
and products with most of the events, 11 columns of which many are empty, 0.3 % repeated and 0.2 % bad rows.
"""

import argparse
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path

import duckdb

from behavior_tasks.base.errors import UserError
from behavior_tasks.base.tables import quote

FIRST_DAY = date(2026, 1, 5)
DAYS = 90
PIECE_ROWS = 2_000_000
"""Written by one thread at a time, then put together."""
BYTES_A_ROW = 64
"""Of the CSV, on average."""
EVENTS_A_SHOPPER = 50
EVENTS_A_SESSION = 5
SLOTS_A_DAY = 72
"""A session lies within one slot of 20 minutes."""
REPEATED = 0.003
DAY_SECONDS = 86_400


def write_log(rows: int, out: Path, *, daily: bool = False, days: int = DAYS, threads: int = 2) -> list[Path]:
    """Write the log in order of time.

    Args:
        rows: in all files together, repeated and bad ones included.
        out: the CSV, or with `daily` a folder that gets one file a day.
        days: length of the log; of the same rate a day when `rows` grows with it.

    Returns:
        The files, in order.

    Raises:
        UserError: when the disk has less than twice the space that the log takes.
    """
    (out if daily else out.parent).mkdir(parents=True, exist_ok=True)
    refuse_full_disk(out.parent, 2 * rows * BYTES_A_ROW, what=f"a log of {rows:,} rows")
    pieces = days if daily else max(1, rows // PIECE_ROWS)
    files = [out / f"{FIRST_DAY + timedelta(days=n)}.csv" if daily else _piece(out, n) for n in range(pieces)]

    def write(number: int) -> None:
        bounds = {"first": number * rows // pieces, "end": (number + 1) * rows // pieces}
        with duckdb.connect(config={"threads": 1, "memory_limit": "500MB"}) as connection:
            header = "true" if daily or number == 0 else "false"
            query = _rows_sql(rows, days, **bounds)
            connection.execute(f"COPY ({query}) TO {quote(files[number])} (FORMAT csv, HEADER {header})")

    with ThreadPoolExecutor(max_workers=threads) as pool:
        for number, _ in enumerate(pool.map(write, range(pieces))):
            if not daily and number > 0:
                with files[0].open("ab") as whole, files[number].open("rb") as piece:
                    shutil.copyfileobj(piece, whole, 2**22)
                files[number].unlink()
    if daily:
        return files
    files[0].rename(out)
    return [out]


def _piece(out: Path, number: int) -> Path:
    return out.with_name(f"{out.name}.{number}")


def refuse_full_disk(folder: Path, needed: int, *, what: str) -> None:
    """Raise a UserError when the disk of a folder has fewer free bytes than needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"There is too little space on the disk for {what}.",
            found=f"{free / 2**30:.1f} GiB free at {folder}",
            expected=f"{needed / 2**30:.1f} GiB",
            next_step="name a folder on another disk, or fewer rows",
        )


def _rows_sql(rows: int, days: int, *, first: int, end: int) -> str:
    """SQL of the rows from `first` to `end` (excluded): every value is a function of the row's number alone."""
    shoppers = max(20, rows // EVENTS_A_SHOPPER)
    products = max(50, min(200_000, rows // 200))
    slot_rows = max(EVENTS_A_SESSION, rows // days // SLOTS_A_DAY)
    return f"""
        WITH numbered AS (
            -- A few neighbours get the same number: exact duplicates.
            SELECT range AS row, CAST(floor(range * {1 - REPEATED}) AS BIGINT) AS n FROM range({first}, {end})
        ),
        timed AS (
            SELECT *, CAST(floor(n * {days * DAY_SECONDS / (rows * (1 - REPEATED))}) AS BIGINT) AS second,
                   n // {slot_rows} * 1000003 + hash(n) % {max(1, slot_rows // EVENTS_A_SESSION)} AS session,
                   {_uniform("n", 1)} AS what
            FROM numbered
        ),
        chosen AS (
            SELECT *, CAST(floor({shoppers} * pow({_uniform("session", 2)}, 2)) AS BIGINT) AS shopper,
                   CAST(floor({products} * pow({_uniform("n", 3)}, 3)) AS BIGINT) AS product,
                   CASE WHEN what < 0.70 THEN 'browse' WHEN what < 0.82 THEN 'click' WHEN what < 0.85 THEN 'favourite'
                        WHEN what < 0.92 THEN 'add_to_cart' WHEN what < 0.965 THEN 'purchase'
                        WHEN what < 0.97 THEN 'return' ELSE 'search' END AS action,
                   CASE WHEN hash(row + 7) % 500 = 0 THEN hash(row + 8) % 4 ELSE -1 END AS broken
            FROM timed
        ),
        priced AS (
            SELECT *, 100 + CAST(floor(20000 * pow({_uniform("product", 4)}, 3)) AS BIGINT) AS cents,
                   CASE WHEN action IN ('purchase', 'return') THEN 1 + hash(n + 5) % 3 END AS pieces,
                   CASE WHEN hash(n + 6) % 2000 = 0 THEN 50 ELSE 1 END AS factor
            FROM chosen
        )
        SELECT CASE WHEN broken = 0 THEN '' ELSE printf('u%07d', shopper) END AS user_id,
               CASE WHEN broken = 1 THEN 'wishlist' ELSE action END AS action,
               CASE WHEN action = 'search' THEN '' ELSE printf('p%06d', product) END AS product_id,
               CASE WHEN broken = 2 THEN 'yesterday' ELSE CAST({_epoch()} + second AS VARCHAR) END AS timestamp,
               pieces AS quantity,
               CASE WHEN action <> 'search' THEN CAST(cents / 100 AS DECIMAL(12, 2)) END AS price,
               CASE WHEN broken = 3 THEN -1 ELSE CAST(pieces * cents * factor / 100 AS DECIMAL(12, 2)) END AS amount,
               CASE WHEN action <> 'search' THEN 'category ' || hash(product + 9) % 30 END AS category,
               CASE WHEN action = 'search' THEN 'words ' || hash(n + 10) % 1000 END AS query,
               CASE WHEN hash(shopper + 11) % 10 < 6 THEN 16 + hash(shopper + 12) % 60 END AS age,
               CASE hash(shopper + 13) % 5 WHEN 0 THEN 'male' WHEN 1 THEN 'female' WHEN 2 THEN 'female' END AS gender
        FROM priced
    """


def _uniform(column: str, salt: int) -> str:
    """SQL of a number in [0, 1) that depends on a column's value alone."""
    return f"(hash({column}, {salt}) % 1000003 / 1000003.0)"


def _epoch() -> int:
    return (FIRST_DAY - date(1970, 1, 1)).days * DAY_SECONDS


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description="Write a big simulated log.")
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the CSV, or with --daily a folder")
    parser.add_argument("--daily", action="store_true", help="one file a day")
    parser.add_argument("--days", type=int, default=DAYS)
    arguments = parser.parse_args()
    started = time.monotonic()
    files = write_log(arguments.rows, arguments.out, daily=arguments.daily, days=arguments.days)
    size = sum(file.stat().st_size for file in files)
    print(f"{len(files)} files, {size:,} bytes ({size / arguments.rows:.1f} a row), {time.monotonic() - started:.1f} s")


if __name__ == "__main__":
    main()
