"""Benchmarks of labels and splitters: seconds, and ratios to a bare compiled loop and to numpy.

    python tests/bench/labels.py            # `--small` shrinks the data a hundredfold for a trial

The bare loop of the triple barrier walks the same paths over the same arrays and returns a number for each label: no checks, no table. The floor of
the splitters is what any splitter must do at least, that is to make the arrays of row numbers. A median of some runs; machine code is loaded before.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from numba import njit

from qtnb.features.labeling.forward_returns import forward_labels
from qtnb.features.labeling.trend_scanning import trend_scanning
from qtnb.features.labeling.triple_barrier import Barriers, triple_barrier
from qtnb.features.labeling.uniqueness import average_uniqueness
from qtnb.features.labeling.weights import return_attribution
from qtnb.features.validation import CombinatorialPurgedCV, PurgedKFold

SMALL = "--small" in sys.argv
T, N = (500, 20) if SMALL else (5_000, 200)
HORIZON = 20


def seconds(work: Callable[[], object], times: int = 5) -> float:
    """Median wall time of some runs after one that does not count."""
    work()
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return statistics.median(found)


@njit(error_model="numpy")
def bare(close: np.ndarray, scale: np.ndarray, horizon: int) -> np.ndarray:
    """The walk alone, N x T, every place an event."""
    columns, rows = close.shape
    result = np.full(columns * rows, np.nan)
    for c in range(columns):
        for r in range(rows):
            up, down = close[c, r] * (1 + 2 * scale[c, r]), close[c, r] * (1 - 2 * scale[c, r])
            for t in range(r + 1, min(r + horizon, rows - 1) + 1):
                if close[c, t] >= up or close[c, t] <= down or t == r + horizon:
                    result[c * rows + r] = close[c, t] / close[c, r] - 1
                    break
    return result


def numpy_kfold(begin: np.ndarray, end: np.ndarray, folds: int) -> list[np.ndarray]:
    """Purged k-fold in plain numpy, for labels in order of begin: a mask over all rows for each fold."""
    edges = np.arange(folds + 1) * len(begin) // folds
    return [np.flatnonzero((end < begin[a]) | (begin > end[a:b].max())) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def main() -> None:
    """Measure and print."""
    dice = np.random.default_rng(7)
    index = pd.date_range("2000-01-03", periods=T, freq="D")
    prices = pd.DataFrame(100 * np.exp(np.cumsum(dice.normal(0, 0.01, (T, N)), axis=0)), index, [f"S{n:03}" for n in range(N)])
    scale = prices * 0 + 0.02
    rule = Barriers(2.0, 2.0, HORIZON)
    close, wide = np.ascontiguousarray(prices.to_numpy().T), np.ascontiguousarray(scale.to_numpy().T)
    floor = seconds(lambda: bare(close, wide, HORIZON))
    labels = triple_barrier(prices, rule, scale=scale)
    known = labels.dropna()
    events = T * N
    pairs = pd.DataFrame({"ts": known["t0"], "symbol": known["symbol"]})
    rows = [
        ("triple barrier, closes", seconds(lambda: triple_barrier(prices, rule, scale=scale)), floor, "bare loop"),
        ("triple barrier, highs and lows", seconds(lambda: triple_barrier(prices, rule, scale=scale, high=prices, low=prices)), floor, "bare loop"),
        ("triple barrier, events in a table", seconds(lambda: triple_barrier(prices, rule, events=pairs, scale=scale)), floor, "bare loop"),
        ("forward labels", seconds(lambda: forward_labels(prices, HORIZON)), seconds(lambda: np.sign(close[:, HORIZON:] / close[:, :-HORIZON] - 1)), "numpy"),
        ("trend scanning, 5 to 20", seconds(lambda: trend_scanning(prices, 5, 20)), None, ""),
        ("average uniqueness", seconds(lambda: average_uniqueness(known, prices)), None, ""),
        ("return attribution", seconds(lambda: return_attribution(known, prices)), None, ""),
    ]
    begin, end = (known[name].to_numpy().view(np.int64) for name in ("t0", "t1"))
    single = pd.DataFrame({"t0": np.arange(events), "t1": np.arange(events) + dice.integers(0, 50, events)})
    ones, ends = single["t0"].to_numpy(), single["t1"].to_numpy()
    rows += [
        ("purged 5-fold, one label a row", seconds(lambda: list(PurgedKFold(single, 5, embargo=100).split())),
         seconds(lambda: numpy_kfold(ones, ends, 5)), "numpy"),
        ("purged 5-fold, labels of the panel", seconds(lambda: list(PurgedKFold(known, 5, embargo=10).split())),
         seconds(lambda: numpy_kfold(begin, end, 5)), "numpy"),
        *((f"combinatorial, {n} groups by 2", seconds(lambda n=n: [len(a) for a, _ in CombinatorialPurgedCV(single, n, 2, embargo=100).split()]), None, "")
          for n in (6, 10)),
    ]
    print(f"{events:,} events: {T:,} rows, {N} symbols, horizon {HORIZON}; {len(known):,} labels")
    for name, taken, reference, what in rows:
        ratio = f"  {taken / reference:5.1f} times {what} ({reference:.4f} s)" if reference else ""
        print(f"{name:36}{taken:8.4f} s{ratio}")


if __name__ == "__main__":
    main()
