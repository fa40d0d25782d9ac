"""Strategies and a small sweep for the tests of sweeps, in a module that workers can import."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from qtnb.backtest.splits import WalkForward
from qtnb.backtest.sweep import Grid, Sweep, sweep
from qtnb.core.bars import Bars
from qtnb.data.synthetic import synthetic_bars
from qtnb.evaluation.results import Result
from qtnb.strategies.base import Columns, Rule, StrategyParameters, WeightStrategy
from qtnb.strategies.sma_cross import SmaCross
from qtnb.utils.memo import shared

LEVELS, WINDOWS = list(range(1, 13)), [10, 20, 40]


def case_bars() -> Bars:
    """Two hundred bars of two symbols."""
    return Bars.from_frame(synthetic_bars(["AAA", "BBB"], 200, seed=3))


def note(name: str, text: str) -> None:
    """Append a line to the file that a variable of the environment names; the workers inherit it."""
    if path := os.environ.get(name):
        with open(path, "a") as file:
            file.write(text + "\n")


class Case(WeightStrategy):
    """Above or below an average; trials of level 13 fail, and some may be made slow or deadly from outside."""

    class Parameters(StrategyParameters):
        """A level and a window."""

        level: int = Field(1, ge=1, le=50)
        window: int = Field(10, ge=2, le=100)

    def weights(self, bars: Bars) -> np.ndarray:
        """Weights by level where the close is above its average."""
        p = self.parameters
        note("SWEEP_TRIALS", f"{p.level} {p.window}")
        time.sleep(float(os.environ.get("SWEEP_SLEEP", "0")))
        if p.level == int(os.environ.get("SWEEP_DEADLY", "-1")):
            once = os.environ.get("SWEEP_ONCE")
            if once is None or not Path(once).exists():
                Path(once or os.devnull).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        average = shared(bars, ("average", p.window), lambda: self._average(bars))
        return np.where(bars.close > average, 0.5 / (13 - p.level), 0.0)

    def _average(self, bars: Bars) -> np.ndarray:
        """Moving averages of all symbols, the first rows of what there is."""
        note("SWEEP_AVERAGES", f"{os.getpid()} {self.parameters.window}")
        total = np.cumsum(np.vstack([np.zeros((1, bars.close.shape[1])), bars.close]), axis=0)
        ends = np.arange(1, len(total))
        starts = np.maximum(ends - self.parameters.window, 0)
        return (total[ends] - total[starts]) / (ends - starts)[:, None]


class Worst(SmaCross):
    """Moving averages whose rule cannot be made for a fast average of 7 bars."""

    name = "worst"

    def rule(self, width: int) -> Rule:
        """That of moving averages, but for two."""
        note("SWEEP_RULES", f"{self.parameters.fast} {self.parameters.slow}")
        made = super().rule(width)
        if self.parameters.fast == 7:
            raise ArithmeticError("seven is refused")
        return made


def stop_at_nine(columns: Columns, start: int, stop: int, parameters: np.ndarray, state: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> int:
    """Decide once, unless the first parameter is 9."""
    if parameters[0] == 9.0:
        raise ValueError("nine is refused")
    rows[0] = int(parameters[0])
    for n in range(weights.shape[1]):
        weights[0, n] = 0.25
    return 1


class Nine(WeightStrategy):
    """Buys at one row; raises at row nine, in machine code as in Python."""

    class Parameters(StrategyParameters):
        """Which row."""

        row: int = Field(1, ge=0, le=100)

    def rule(self, width: int) -> Rule:
        """Its row."""
        return Rule(stop_at_nine, np.array([float(self.parameters.row)]), np.zeros(1))


def longest_wait(result: Result) -> float:
    """Bars between two fills, at most: a figure of one's own."""
    rows = np.unique(result.fills["row"].to_numpy())
    return float(np.diff(rows).max()) if len(rows) > 1 else 0.0


def case_sweep(folder: Path | None, **options: Any) -> Sweep:
    """The sweep that all tests make: 39 trials, of which those of level 13 fail."""
    axes = options.pop("axes", {"level": [*LEVELS, 13], "window": WINDOWS})
    return sweep(Case, Grid(**axes), case_bars(), folder=folder, splits=WalkForward(train=80, test=40), progress=False, **options)


def files_of(found: Sweep) -> dict[str, bytes]:
    """The bytes of a finished sweep."""
    return {p.name: p.read_bytes() for p in sorted(found.folder.glob("*")) if not p.name.startswith(".")}


if __name__ == "__main__":
    case_sweep(Path(sys.argv[1]), executor=sys.argv[2], workers=2)
