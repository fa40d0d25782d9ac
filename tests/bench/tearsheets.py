"""A tearsheet beside quantstats and pyfolio: the same daily returns and benchmark of ten years, one after the other, in one run.

    python tests/bench/tearsheets.py                                    # ours alone
    QTNB_EVALUATION_PEERS=/path/to/python python tests/bench/tearsheets.py   # and those that this interpreter can import

Prints medians of CPU seconds, which a shared machine disturbs less than the clock on the wall, sizes, and how many times longer the others take. Each
is asked as its users ask it: qtnb and quantstats write one HTML file; pyfolio has none, so its returns tear sheet is drawn and saved as a PNG. The
first of each is a warm-up that is not counted: it loads libraries and fonts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

DAYS = 2500
Work = Callable[[Path], object]


def series() -> tuple[pd.Series, pd.Series]:
    """Returns of a strategy and of its benchmark, on days without a zone."""
    rng = np.random.default_rng(0)
    days = pd.date_range("2014-01-02", periods=DAYS, freq="B")
    market = pd.Series(rng.normal(0.0004, 0.011, DAYS), index=days, name="market")
    return (0.5 * market + rng.normal(0.0003, 0.006, DAYS)).rename("strategy"), market


def qtnb_works() -> dict[str, Work]:
    """The page with every section, and the one with the sections that come nearest to quantstats'."""
    from qtnb.evaluation.results import tearsheet
    from qtnb.evaluation.returns import equity_from_returns

    own, market = series()
    level = equity_from_returns(market.tz_localize("UTC") + 0.0, 100.0)
    level.index = level.index + pd.Timedelta(hours=23, minutes=59)
    near = ["headline", "growth", "months", "rolling", "distribution", "figures"]
    return {"qtnb, all sections": lambda path: tearsheet(own, path, benchmark=level, trials=10),
            "qtnb, quantstats' sections": lambda path: tearsheet(own, path, benchmark=level, sections=near)}


def peer_works() -> dict[str, Work]:
    """Those of the other libraries that can be imported."""
    own, market = series()
    works: dict[str, Work] = {}
    try:
        import quantstats

        works["quantstats html"] = lambda path: quantstats.reports.html(own, benchmark=market, output=str(path), title="bench")
    except ImportError:
        pass
    try:
        import matplotlib.pyplot as plt
        import pyfolio

        def draw(path: Path) -> None:
            pyfolio.create_returns_tear_sheet(own.tz_localize("UTC"), benchmark_rets=market.tz_localize("UTC"))
            for number in plt.get_fignums():
                plt.figure(number).savefig(path, format="png")
            plt.close("all")

        works["pyfolio returns sheet, PNG"] = draw
    except ImportError:
        pass
    return works


def measure(works: dict[str, Work], repeats: int) -> dict[str, list[float]]:
    """Median CPU seconds and bytes written."""
    found = {}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, work in works.items():
            path, spent = Path(folder) / "sheet.html", []
            for _ in range(repeats + 1):
                start = time.process_time()
                work(path)
                spent.append(time.process_time() - start)
            found[name] = [statistics.median(spent[1:]), path.stat().st_size]
    return found


def main() -> None:
    """Measure, or answer the interpreter that asks."""
    if "--peers" in sys.argv:
        sys.stdout.flush()
        kept, sys.stdout = sys.stdout, sys.stderr  # libraries print
        found = measure(peer_works(), 3)
        print(json.dumps(found), file=kept)
        return
    found = measure(qtnb_works(), 5)
    python = os.environ.get("QTNB_EVALUATION_PEERS")
    if python:
        answer = subprocess.run([python, __file__, "--peers"], capture_output=True, text=True, check=True)
        found |= json.loads(answer.stdout.strip().splitlines()[-1])
    ours = found["qtnb, all sections"][0]
    print(f"a tearsheet of {DAYS:,} days with a benchmark: CPU seconds, times ours, megabytes")
    for name, (seconds, size) in found.items():
        print(f"  {name:<28} {seconds:7.2f} {seconds / ours:6.1f}x {size / 1e6:6.2f}")


if __name__ == "__main__":
    main()
