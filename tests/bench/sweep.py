"""Measure what a sweep costs per trial, per worker and per row kept, for the page that plans a large one.

    python tests/bench/sweep.py             # writes nbs/explanations/planning_a_sweep_measured.csv; some minutes on two cores

Costs are seconds of wall time of a whole sweep with a warm start taken off, divided by its trials; the smallest of three runs. Memory is the peak
of one worker process. Nothing is compared with a limit here: a machine's figures are its own.
"""

from __future__ import annotations

import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from qtnb.backtest.batches import run_batch
from qtnb.backtest.executors import make_executor
from qtnb.backtest.processes import load_shared, save_shared
from qtnb.backtest.search import Grid, numbers_of
from qtnb.backtest.sweep import sweep
from qtnb.backtest.sweep_files import SweepFolder, axis_columns, schema_of
from qtnb.backtest.trials import Row, Trial, make_plan
from qtnb.core.bars import Bars
from qtnb.data.synthetic import synthetic_bars
from qtnb.strategies.base import Decisions
from qtnb.strategies.sma_cross import SmaCross

TABLE = Path(__file__).resolve().parents[2] / "nbs" / "explanations" / "planning_a_sweep_measured.csv"
COLUMNS = ("quantity", "bars", "executor", "workers", "value", "unit")
SIZES = (1_000, 5_000, 20_000)
MEMORY = """
import resource, sys
from qtnb.backtest.processes import load_shared
from qtnb.backtest.batches import run_batch
from qtnb.backtest.trials import Trial
plan = load_shared(sys.argv[1])
run_batch(plan, [Trial(n, {"fast": 5 + n, "slow": 60, "exposure": 0.95}) for n in range(4)])
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


class Plain(SmaCross):
    """The same trades without a rule, so that every trial is run by itself."""

    name = "plain"

    def decisions(self, bars: Bars) -> Decisions:
        """Those of the rule."""
        return super().decisions(bars)


def some_trials(count: int) -> list[Trial]:
    """Pairs of averages, no two alike up to 40,000."""
    return [Trial(n, {"fast": 3 + n % 40, "slow": 60 + n // 40, "exposure": 0.95}) for n in range(count)]


def panel(count: int) -> Bars:
    """Bars of one symbol."""
    return Bars.from_frame(synthetic_bars("SYN", count, seed=1))


def smallest(work: Any, times: int = 3) -> float:
    """Seconds of the fastest of some runs."""
    found = []
    for _ in range(times):
        before = time.perf_counter()
        work()
        found.append(time.perf_counter() - before)
    return min(found)


def alone(count: int) -> list[dict[str, Any]]:
    """What one trial costs in one process, and what its row and its returns take on disk."""
    bars = panel(count)
    plan, plain = make_plan(SmaCross, bars, {"fast": 5}), make_plan(Plain, bars, {"fast": 5})
    trials, many = some_trials(max(4, 40_000 // count)), some_trials(10_000_000 // count)
    run_batch(plain, trials[:2])
    seconds = smallest(lambda: run_batch(plain, trials)) / len(trials)
    run_batch(plan, trials[:2])
    together = smallest(lambda: run_batch(plan, many)) / len(many)
    with tempfile.TemporaryDirectory() as box:
        path = save_shared(plan, Path(box, "plan"))
        size, opened = path.stat().st_size, smallest(lambda: load_shared(path))
        peak = subprocess.run([sys.executable, "-c", MEMORY, str(path)], capture_output=True, text=True, check=True).stdout
        found = sweep(SmaCross, Grid(fast=range(3, 13), slow=range(60, 70)), bars, folder=Path(box, "sweep"), keep_equity=True, progress=False)
        row, kept = ((found.folder / name).stat().st_size / len(found.table) for name in ("trials.parquet", "returns.parquet"))
    values = [("cost of a trial", seconds, "s"), ("cost of a trial of a rule", together, "s"),
              ("data sent to a worker", size, "bytes"), ("opening the data", opened, "s"),
              ("peak memory of a worker", int(peak) / 1024, "MB"), ("row on disk", row, "bytes"), ("returns on disk", kept, "bytes")]
    return [{"quantity": q, "bars": count, "executor": "none", "workers": 1, "value": v, "unit": u} for q, v, u in values]


def executors(count: int) -> list[dict[str, Any]]:
    """What a trial costs on each executor, start and end of the workers taken off, and what the start costs."""
    bars, rows = panel(count), []
    plans = {"cost of a trial": (make_plan(Plain, bars, {"fast": 5}), 400, 10),
             "cost of a trial of a rule": (make_plan(SmaCross, bars, {"fast": 5}), 16_000, 1_000)}
    for name, workers in (("threads", 1), ("threads", 2), ("processes", 1), ("processes", 2), ("dask", 2)):
        told = {"bars": count, "executor": name, "workers": workers}
        for quantity, (plan, trials, size) in plans.items():
            before = time.perf_counter()
            executor = make_executor(name, workers)
            handle = executor.put(plan)
            asked = some_trials(trials)
            batches = [asked[k : k + size] for k in range(0, trials, size)]
            for future in [executor.submit(run_batch, handle, batches[0][:1]) for _ in range(2 * workers)]:
                future.result()
            started = time.perf_counter() - before

            def work() -> None:
                for future in [executor.submit(run_batch, handle, b) for b in batches]:  # noqa: B023  (called before the loop goes on)
                    future.result()

            rows.append({"quantity": quantity, **told, "value": smallest(work, 2) / trials, "unit": "s"})
            executor.shutdown()
        rows.append({"quantity": "start", **told, "value": started, "unit": "s"})
    return rows


def overhead() -> list[dict[str, Any]]:
    """What a sweep adds to a trial: a batch sent, answered, written and put into the table, of trials that cost next to nothing."""
    rows = []
    for name in ("processes", "dask"):
        executor = make_executor(name, 2)
        handle = executor.put(np.zeros(10))
        executor.submit(_nothing, handle, [0]).result()
        batches = [list(range(10))] * 300
        seconds = smallest(lambda: [f.result() for f in [executor.submit(_nothing, handle, b) for b in batches]]) / len(batches)  # noqa: B023
        executor.shutdown()
        rows.append({"quantity": "way of a batch", "bars": 0, "executor": name, "workers": 2, "value": seconds, "unit": "s"})
    return rows


def keeping() -> list[dict[str, Any]]:
    """What the process that keeps the rows does for each: check the point, write the row, put it into the table."""
    plan, grid, count = make_plan(SmaCross, panel(300), {"fast": 5}), Grid(fast=range(1, 301), slow=range(400, 500)), 30_000
    checked = smallest(lambda: numbers_of(SmaCross, grid, {}), 1) / count
    rows = [Row(n, plan.trial_id({"n": n}), {**grid.point(n), "exposure": 0.95}, (0.1,) * len(plan.columns)) for n in range(count)]
    with tempfile.TemporaryDirectory() as box:
        before = time.perf_counter()
        folder = SweepFolder(box, {"sweep_id": "bench"}, schema_of(plan, ["fast", "slow"]), axis_columns(["fast", "slow"], plan.columns), returns=False)
        for start in range(0, count, 1_000):
            folder.write(rows[start : start + 1_000])
        folder.finish()
        kept = (time.perf_counter() - before) / count
        folder.close()
    told = {"bars": 0, "executor": "none", "workers": 1, "unit": "s"}
    return [{"quantity": "checking a point", "value": checked, **told}, {"quantity": "keeping a row", "value": kept, **told}]


def _nothing(value: np.ndarray, batch: list[int]) -> list[int]:
    """No work."""
    return batch


def main() -> None:
    """Measure, and write the table."""
    rows = [row for count in SIZES for row in alone(count)] + executors(5_000) + overhead() + keeping()
    rows += [{"quantity": "machine", "bars": 0, "executor": f"{platform.machine()}, Python {platform.python_version()}", "workers": os.cpu_count(), "value": 0,
              "unit": "cores"}]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow(row | {"value": f"{row['value']:.4g}" if row["value"] < 1e6 else f"{row['value']:.0f}"})
    print(f"{TABLE.name}: {len(rows)} rows; peak of this process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
