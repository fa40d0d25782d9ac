"""Runs in an environment of its own that has ArcticDB (it cannot be installed beside pandas 3): write, read, print one JSON line.

arctic.py FOLDER daily|minutes SYMBOLS ROWS REPEATS
"""

import json
import os
import statistics
import sys
import time

import arcticdb
import pandas as pd
import prices

COLUMNS = ["open", "high", "low", "close", "volume"]


def median_ms(work, repeats: int) -> float:
    """Median wall time of a piece of work that was done once before."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def main() -> None:
    """Fill a library, one symbol a frame, and time the reads."""
    folder, what, symbols, rows, repeats = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
    ts, names, values = getattr(prices, what)(symbols, rows)
    library = arcticdb.Arctic(f"lmdb://{folder}?map_size=8GB").get_library("bench", create_if_missing=True)
    index = pd.DatetimeIndex(ts).tz_localize("UTC")
    begun = time.perf_counter()
    for i, name in enumerate(names):
        library.write(name, pd.DataFrame(values[:, :, i].T, index=index, columns=COLUMNS))
    written = time.perf_counter() - begun
    year = (index[-252], index[-1])

    def everybody() -> pd.DataFrame:
        answers = library.read_batch([arcticdb.ReadRequest(n, date_range=year) for n in names])
        return pd.concat([a.data for a in answers], keys=names)

    sizes = sum(os.stat(os.path.join(at, f)).st_blocks * 512 for at, _, files in os.walk(folder) for f in files)
    middle = names[len(names) // 2]
    found = {"version": arcticdb.__version__, "write_s": written, "mb": sizes / 1e6, "one_ms": median_ms(lambda: library.read(middle).data, repeats)}
    if what == "daily":
        found["year_ms"] = median_ms(everybody, max(3, repeats // 3))
    assert len(library.read(middle).data) == rows and (what != "daily" or len(everybody()) == 252 * symbols)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
