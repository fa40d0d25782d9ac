"""Figures of returns beside the libraries that people use: the same figures of the same returns, in one run, on one thread.

    python tests/bench/evaluation.py                                        # ours, and plain numpy
    QTNB_EVALUATION_PEERS=/path/to/python python tests/bench/evaluation.py  # and those that this interpreter can import

One strategy of 2,500 days and 1,000 of them, with a benchmark. Each library is asked for the figures that it has, as its users ask it,
and ours for the same ones; the ratio is of the medians of the two. What takes longer than a minute for 1,000 strategies is measured on
fewer and multiplied, and marked so. Plain numpy is the same arithmetic on whole matrices without names, checks, holes or dates.
Compilation and imports are not counted.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

for _threads in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

ROWS, MANY = 2_500, 1_000
Work = Callable[[pd.DataFrame, pd.Series], Any]
RATIOS = (
    "total_return",
    "cagr",
    "annual_volatility",
    "sharpe",
    "sortino",
    "calmar",
    "omega",
    "max_drawdown",
    "downside_deviation",
    "tail_ratio",
    "value_at_risk",
)
VECTORBT = (*RATIOS, "expected_shortfall", "common_sense", "ulcer", "martin", "alpha", "beta", "information_ratio", "up_capture", "down_capture")
PEERS = ("vectorbt", "empyrical", "pyfolio", "ffn", "quantstats")


def returns_of(columns: int) -> tuple[pd.DataFrame, pd.Series]:
    """Daily returns with fat tails, and a benchmark."""
    rng = np.random.default_rng(columns)
    index = pd.date_range("2014-01-02", periods=ROWS, freq="B")
    market = pd.Series(0.0003 + 0.008 * rng.standard_t(4, ROWS), index=index, name="market")
    own = 0.5 * market.to_numpy()[:, None] + 0.0002 + 0.006 * rng.standard_t(4, (ROWS, columns))
    return pd.DataFrame(own, index=index, columns=[f"s{k}" for k in range(columns)]), market


def by_vectorbt() -> tuple[Work, tuple[str, ...], int]:
    """All columns at once, by its compiled functions."""
    import vectorbt as vbt

    def work(r: pd.DataFrame, b: pd.Series) -> Any:
        market = pd.concat([b] * r.shape[1], axis=1, keys=r.columns)
        v = vbt.returns.accessors.ReturnsDFAccessor(r, benchmark_rets=market, freq="1D", year_freq="252D")
        return [
            v.total(),
            v.annualized(),
            v.annualized_volatility(),
            v.sharpe_ratio(),
            v.sortino_ratio(),
            v.calmar_ratio(),
            v.omega_ratio(),
            v.max_drawdown(),
            v.downside_risk(),
            v.tail_ratio(),
            v.value_at_risk(),
            v.cond_value_at_risk(),
            v.common_sense_ratio(),
            v.ulcer_index(),
            v.martin_ratio(),
            v.alpha(),
            v.beta(),
            v.information_ratio(),
            v.up_capture(),
            v.down_capture(),
        ]

    return work, VECTORBT, MANY


def by_empyrical() -> tuple[Work, tuple[str, ...], int]:
    """One column after the other."""
    import empyrical as ep

    plain = (
        ep.cum_returns_final,
        ep.annual_return,
        ep.annual_volatility,
        ep.sharpe_ratio,
        ep.sortino_ratio,
        ep.calmar_ratio,
        ep.omega_ratio,
        ep.max_drawdown,
        ep.downside_risk,
        ep.tail_ratio,
        ep.value_at_risk,
        ep.conditional_value_at_risk,
        ep.stability_of_timeseries,
    )
    paired = (ep.alpha, ep.beta, ep.excess_sharpe, ep.up_capture, ep.down_capture)

    def work(r: pd.DataFrame, b: pd.Series) -> Any:
        return [[f(r[c]) for f in plain] + [f(r[c], b) for f in paired] for c in r]

    return work, (*RATIOS, "expected_shortfall", "stability", "alpha", "beta", "information_ratio", "up_capture", "down_capture"), 50


def by_pyfolio() -> tuple[Work, tuple[str, ...], int]:
    """Its table of performance."""
    from pyfolio.timeseries import perf_stats

    names = (
        "total_return",
        "cagr",
        "annual_volatility",
        "sharpe",
        "calmar",
        "stability",
        "max_drawdown",
        "omega",
        "sortino",
        "skew",
        "kurtosis",
        "tail_ratio",
        "value_at_risk",
        "alpha",
        "beta",
    )
    return lambda r, b: [perf_stats(r[c], factor_returns=b) for c in r], names, 50


def by_ffn() -> tuple[Work, tuple[str, ...], int]:
    """Its table of performance, of prices."""
    import ffn

    names = (
        "total_return",
        "cagr",
        "max_drawdown",
        "calmar",
        "mtd",
        "last_3m",
        "last_6m",
        "ytd",
        "last_1y",
        "last_3y",
        "last_5y",
        "last_10y",
        "sharpe",
        "sortino",
        "annual_return",
        "annual_volatility",
        "skew",
        "kurtosis",
        "best",
        "worst",
        "best_month",
        "worst_month",
        "best_year",
        "worst_year",
        "average_drawdown",
        "average_drawdown_days",
        "positive_years",
    )
    return lambda r, b: [ffn.PerformanceStats((1.0 + r[c]).cumprod()) for c in r], names, 50


def by_quantstats() -> tuple[Work, tuple[str, ...], int]:
    """Its full table of metrics, without printing it."""
    from quantstats.reports import metrics

    names = (
        "total_return",
        "cagr",
        "sharpe",
        "sharpe_probability",
        "sharpe_autocorrelation",
        "sortino",
        "omega",
        "max_drawdown",
        "longest_drawdown_days",
        "annual_volatility",
        "r_squared",
        "information_ratio",
        "calmar",
        "skew",
        "kurtosis",
        "mean_return",
        "kelly_odds",
        "value_at_risk_normal",
        "expected_shortfall_normal",
        "gain_streak",
        "loss_streak",
        "gain_to_pain",
        "payoff",
        "profit_factor",
        "common_sense",
        "cpc",
        "tail_ratio",
        "mtd",
        "last_3m",
        "last_6m",
        "ytd",
        "last_1y",
        "last_3y",
        "last_5y",
        "last_10y",
        "best",
        "worst",
        "best_month",
        "worst_month",
        "best_year",
        "worst_year",
        "average_drawdown",
        "average_drawdown_days",
        "recovery_factor",
        "ulcer",
        "serenity",
        "average_gain",
        "average_loss",
        "hit_rate",
        "positive_months",
        "positive_years",
        "beta",
        "alpha",
        "correlation",
        "treynor",
        "moved",
    )
    return lambda r, b: [metrics(r[c], benchmark=b, mode="full", display=False) for c in r], names, 4


def by_numpy() -> tuple[Work, tuple[str, ...], int]:
    """The figures of vectorbt as matrix arithmetic."""

    def work(r: pd.DataFrame, b: pd.Series) -> Any:
        x, m, n, year = r.to_numpy(), b.to_numpy()[:, None], len(r), math.sqrt(252.0)
        curve = np.vstack([np.ones(x.shape[1]), np.cumprod(1.0 + x, axis=0)])
        depth = curve / np.maximum.accumulate(curve, axis=0) - 1.0
        mean, std, growth = x.mean(axis=0), x.std(axis=0, ddof=1), curve[-1] ** (252.0 / n) - 1.0
        down = np.sqrt((np.minimum(x, 0.0) ** 2).mean(axis=0))
        ordered = np.sort(x, axis=0)
        k, gain, loss = int(0.05 * n), np.maximum(x, 0.0).sum(axis=0), -np.minimum(x, 0.0).sum(axis=0)
        tail, ulcer, active = ordered[-k] / -ordered[k - 1], np.sqrt((depth[1:] ** 2).mean(axis=0)), x - m
        beta = ((x - mean) * (m - m.mean())).sum(axis=0) / ((m - m.mean()) ** 2).sum()
        up, fall = m[:, 0] > 0, m[:, 0] < 0
        captures = [np.expm1(np.log1p(x[w]).mean(axis=0)) / np.expm1(np.log1p(m[w]).mean()) for w in (up, fall)]
        return [
            curve[-1] - 1.0,
            growth,
            std * year,
            mean / std * year,
            mean / down * year,
            growth / -depth.min(axis=0),
            gain / loss,
            depth.min(axis=0),
            down * year,
            tail,
            ordered[k - 1],
            ordered[:k].mean(axis=0),
            gain / loss * tail,
            ulcer,
            growth / ulcer,
            (mean - beta * m.mean()) * 252,
            beta,
            active.mean(axis=0) / active.std(axis=0, ddof=1) * year,
            *captures,
        ]

    return work, VECTORBT, MANY


def median_of(work: Callable[[], Any], repeats: int) -> float:
    """Median milliseconds of CPU time, which other work on the machine disturbs least, after one run that is not counted; slow work is run fewer times."""
    begun = time.process_time()
    work()
    first, times = time.process_time() - begun, []
    for _ in range(repeats if first < 1.0 else 3):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
        if first > 20.0:
            break
    return 1000.0 * statistics.median(times)


def measure(library: str) -> dict[str, Any]:
    """Milliseconds of one and of many strategies."""
    warnings.simplefilter("ignore")
    work, names, columns = globals()[f"by_{library}"]()
    one, (some, market) = returns_of(1), returns_of(columns)
    return {
        "names": names,
        "columns": columns,
        "one": median_of(lambda: work(*one), 15),
        "many": median_of(lambda: work(some, market), 5) * MANY / columns,
    }


def ours(names: Sequence[str] | None) -> tuple[float, float]:
    """Milliseconds of one and of many strategies; None = every figure."""
    from qtnb.evaluation.performance import statistics as figures

    def work(r: pd.DataFrame, b: pd.Series) -> Any:
        return figures(r, benchmark=b, metrics=names)

    (one, one_b), (many, many_b) = (tuple(part.set_axis(part.index.tz_localize("UTC")) for part in returns_of(columns)) for columns in (1, MANY))
    return median_of(lambda: work(one["s0"], one_b), 31), median_of(lambda: work(many, many_b), 5)


def import_seconds(interpreter: str, module: str) -> float:
    """CPU seconds that an import takes beyond pandas, best of three."""
    code = f"import time, pandas; a = time.process_time(); import {module}; print(time.process_time() - a)"
    runs = [subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False).stdout.split() for _ in range(3)]
    return min((float(run[-1]) for run in runs if run), default=math.nan)


def main() -> None:
    """Measure and print."""
    peers = os.environ.get("QTNB_EVALUATION_PEERS")
    table = {"numpy": measure("numpy")}
    for library in PEERS if peers else ():
        done = subprocess.run([str(peers), __file__, library], capture_output=True, text=True, check=False)
        if done.returncode:
            print(f"{library} is not in the table: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no reason given'}")
        else:
            table[library] = json.loads(done.stdout.splitlines()[-1])
    everything = ours(None)
    print(f"every figure of ours: one strategy {everything[0]:.2f} ms, {MANY:,} strategies {everything[1]:,.0f} ms")
    print(f"{'library':<14}{'figures':>8}{'1 x 2,500: theirs':>20}{'ours':>9}{'ratio':>8}{'1,000 x 2,500: theirs':>24}{'ours':>9}{'ratio':>8}")
    for library, found in table.items():
        one, many = ours(found["names"])
        mark, ratio_one, ratio_many = "*" if found["columns"] < MANY else " ", found["one"] / one, found["many"] / many
        print(f"{library:<14}{len(found['names']):>8}{found['one']:>17.2f} ms{one:>9.2f}{ratio_one:>8.1f}"
              f"{found['many']:>20,.0f}{mark} ms{many:>9.0f}{ratio_many:>8.1f}")
    print("* measured on fewer strategies and multiplied")
    imports = {"qtnb.evaluation.performance": import_seconds(sys.executable, "qtnb.evaluation.performance")}
    imports |= {name: import_seconds(str(peers), name) for name in PEERS} if peers else {}
    print("import beyond pandas, seconds: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in imports.items()))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
