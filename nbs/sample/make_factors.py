"""Cut the factors of the sample out of K. R. French's files: `python make_factors.py DAILY MONTHLY MOMENTUM`, the text files of his data library."""

from __future__ import annotations

import gzip
import io
import sys
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
FACTORS = ["Mkt-RF", "SMB", "HML", "RF"]


def read(path: str, columns: list[str], digits: int) -> pd.DataFrame:
    """The rows of a text file whose stamp has so many digits; annual blocks, headings and notices are left out."""
    raw = Path(path).read_bytes()
    text = (gzip.decompress(raw) if path.endswith(".gz") else raw).decode("latin-1")
    rows = [line for line in text.splitlines() if line[:digits].isdigit() and line[digits : digits + 1] == ","]
    return pd.read_csv(io.StringIO("\n".join(rows)), header=None, names=["date", *columns], index_col="date")


def write(table: pd.DataFrame, name: str, form: str) -> None:
    """A compressed table whose bytes depend on its values alone."""
    (HERE / name).write_bytes(gzip.compress(table.to_csv(float_format=form, lineterminator="\n").encode(), 9, mtime=0))


if __name__ == "__main__":
    daily, monthly, momentum = sys.argv[1:]
    write(read(monthly, FACTORS, 6).join(read(momentum, ["Mom"], 6)), "factors_monthly.csv.gz", "%.2f")
    write(read(daily, FACTORS, 8).loc[19980101:20210331], "factors_daily.csv.gz", "%.3f")
