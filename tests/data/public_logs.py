"""Files as two public data sets have them, made up: right columns, codes, dates and quirks, small."""

import random
from datetime import date, timedelta
from pathlib import Path

TMALL_HEADER = "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type"
TIANCHI_HEADER = "user_id,item_id,behavior_type,user_geohash,item_category,time"
GEOHASHES = ("94ek6ke", "94qsmhk", "9q1bh0e")


def write_tmall(folder: Path, *, seed: int = 1, shoppers: int = 60, rows: int = 1500) -> Path:
    """Write user_log_format1.csv and user_info_format1.csv; return the log.

    Days stand as numbers without the leading zero, brands as `2661.0`, some brands, ages and genders are missing.
    """
    chance = random.Random(seed)
    users = [str(chance.randrange(1, 424_171)) for _ in range(shoppers)]
    days = [date(2014, 5, 11) + timedelta(days=n) for n in range(186)]
    lines = [TMALL_HEADER]
    for _ in range(rows):
        day = chance.choice([*days, date(2014, 11, 11)] if chance.random() < 0.7 else [date(2014, 11, 11)])
        item = chance.randrange(1, 900)
        brand = "" if chance.random() < 0.002 else f"{item * 7 % 8477}.0"
        action = chance.choices("0123", (88, 1, 6, 5))[0]
        lines.append(f"{chance.choice(users)},{item},{item % 90},{item % 300},{brand},{int(f'{day:%m%d}')},{action}")
    log = folder / "user_log_format1.csv"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ages = [*"012345678", ""]
    info = [f"{user},{chance.choice(ages)},{chance.choice(['0', '1', '2', ''])}" for user in sorted(set(users))]
    (folder / "user_info_format1.csv").write_text(
        "\n".join(["user_id,age_range,gender", *info]) + "\n", encoding="utf-8"
    )
    return log


def write_tianchi(folder: Path, *, seed: int = 1, shoppers: int = 50, rows: int = 1500) -> Path:
    """Write tianchi_fresh_comp_train_user.csv: times end with the hour, most geohashes are empty."""
    chance = random.Random(seed)
    users = [str(chance.randrange(4_913, 142_450_275)) for _ in range(shoppers)]
    lines = [TIANCHI_HEADER]
    for _ in range(rows):
        day = date(2014, 11, 18) + timedelta(days=chance.randrange(31))
        hour = chance.choice([*range(24), *range(19, 24)])
        item = chance.randrange(37, 404_562_488) if chance.random() < 0.3 else chance.randrange(37, 300)
        place = chance.choice(GEOHASHES) if chance.random() < 0.32 else ""
        action = chance.choices("1234", (94, 2, 3, 1))[0]
        lines.append(f"{chance.choice(users)},{item},{action},{place},{item % 9557},{day} {hour:02d}")
    log = folder / "tianchi_fresh_comp_train_user.csv"
    log.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return log
