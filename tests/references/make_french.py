"""Cut the factors of this folder out of K. R. French's files: `python make_french.py DAILY MONTHLY MOMENTUM OLDER`.

The first three are the text files of his data library (here those of November 2021), the last the table that the package `arch` carries (2018).
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pandas as pd
from qtnb.sample.make_factors import FACTORS, read

HERE = Path(__file__).parent / "data"


def write(table: pd.DataFrame, name: str) -> None:
    """A compressed table whose bytes depend on its values alone."""
    text = table.to_csv(float_format="%.2f", lineterminator="\n").encode()
    (HERE / name).write_bytes(gzip.compress(text, 9, mtime=0))


if __name__ == "__main__":
    daily, monthly, momentum, older = sys.argv[1:]
    write(read(daily, FACTORS, 8)[["Mkt-RF", "SMB", "HML"]], "french_daily.csv.gz")
    table = read(monthly, FACTORS, 6).join(read(momentum, ["Mom"], 6))
    before = pd.read_csv(older).set_index("Date")[["Mkt-RF", "SMB", "HML"]].add_suffix(" 2018")
    write(table.join(before), "french_monthly.csv.gz")
