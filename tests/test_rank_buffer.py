"""Sectors and rank buffers of the momentum strategy, against sets and loops over random prices with holes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.costs import Bps
from qtnb.backtest.honesty import check_warmup
from qtnb.backtest.sweep import sweep
from qtnb.core.bars import Bars
from qtnb.core.errors import ParameterError
from qtnb.core.rebalance import rebalance_rows
from qtnb.data.loader import get_bars
from qtnb.strategies.base import check_lookahead
from qtnb.strategies.xmom_crosssec import CrossSectionalMomentum

NAMES = [f"S{n}" for n in range(9)]
SECTORS = {name: "abc"[n % 3] for n, name in enumerate(NAMES)}


def panel(seed: int) -> Bars:
    """Random walks of different pace; one in fifty bars is missing, and one symbol ends early."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, (500, 9)), axis=0))
    close[rng.random(close.shape) < 0.02] = np.nan
    close[300:, 4] = np.nan
    day = pd.date_range("2020-01-01 21:00", periods=500, freq="B", tz="UTC").as_unit("ns")
    return Bars(day.asi8, NAMES, open=close, high=close, low=close, close=close, volume=np.where(np.isnan(close), np.nan, 1e6))


def by_hand(bars: Bars, top: int, buffer: int, short: bool, sectors: dict[str, str], exposure: float) -> dict[int, dict[str, float]]:
    """Wanted weights by row, with sets of names and no arrays."""
    closes = pd.DataFrame(bars.close, columns=bars.symbols)
    known = closes.ffill(limit=5)
    score = (known.shift(5) / known.shift(60) - 1).where(closes.notna())
    groups = sorted(set(sectors.values())) or [""]
    sides, long, less, found = 1 + short, set(), set(), {}
    for t in rebalance_rows("month", bars, 0)[1:]:
        row, bought, sold = dict.fromkeys(bars.symbols, 0.0), set(), set()
        for group in groups:
            inside = [s for s in score.iloc[t].dropna().sort_values(ascending=False, kind="stable").index if sectors.get(s, "") == group]
            half = len(inside) // sides
            first, last = min(top, half), min(top + buffer, half)
            up = set(inside[:first]) | (set(inside[:last]) & long)
            down = (set(inside[len(inside) - first :]) | (set(inside[len(inside) - last :]) & less)) if short else set()
            for sign, chosen in ((1, up), (-1, down)):
                row |= {s: sign * exposure / max(len(chosen), top) / sides / len(groups) for s in chosen}
            bought, sold = bought | up, sold | down
        if bought:
            long, less, found[t] = bought, sold, row
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("sectors", [{}, SECTORS])
@pytest.mark.parametrize(("top", "buffer"), [(1, 0), (2, 0), (1, 1), (2, 3), (3, 20)])
def test_it_is_what_sets_and_loops_say(seed: int, short: bool, sectors: dict[str, str], top: int, buffer: int) -> None:
    bars = panel(seed)
    strategy = CrossSectionalMomentum(lookback=60, skip=5, top=top, buffer=buffer, short=short, sectors=sectors, exposure=0.9)
    expected, made = by_hand(bars, top, buffer, short, sectors, 0.9), strategy.decisions(bars)
    assert made.rows.tolist() == list(expected) and len(expected) > 15
    np.testing.assert_allclose(made.weights, pd.DataFrame(expected).T[NAMES], rtol=1e-12, atol=0)
    if short:  # each sector by itself is worth nothing, as long as both of its sides are full
        for group in sorted(set(sectors.values())) or [""]:
            mine = made.weights[:, [sectors.get(s, "") == group for s in bars.symbols]]
            full = ((mine > 0).sum(axis=1) >= top) & ((mine < 0).sum(axis=1) >= top)
            np.testing.assert_allclose(mine[full].sum(axis=1), 0.0, atol=1e-15)


def test_a_buffer_does_not_look_ahead_and_trades_less() -> None:
    bars, traded = panel(7), {}
    for buffer in (0, 2):
        strategy = CrossSectionalMomentum(lookback=60, skip=5, top=2, buffer=buffer)
        assert check_lookahead(strategy, bars) == []
        traded[buffer] = np.abs(np.diff(strategy.decisions(bars).weights, axis=0)).sum()
    assert traded[2] < 0.7 * traded[0]


def test_sectors_are_an_axis_of_a_sweep_as_text() -> None:
    """With and without them in one sweep, each as a run by itself; what cannot be read is told."""
    bars, text = panel(3), json.dumps(SECTORS)
    found = sweep(CrossSectionalMomentum, {"sectors": ["", text], "lookback": [60], "skip": [5], "top": [1]}, bars, progress=False)
    made = CrossSectionalMomentum(sectors=text)
    assert len(found.table) == 2 and found.table["sharpe"].nunique() == 2
    assert made.parameters.sectors == SECTORS and repr(made) == repr(CrossSectionalMomentum(sectors=SECTORS))
    wrong: list[Any] = ["IBM=technology", [("A", "b")], {"A": 1}, None]
    for each in wrong:
        with pytest.raises(ParameterError, match="parameter 'sectors' of 'xmom_crosssec' was"):
            CrossSectionalMomentum(sectors=each)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
def test_a_buffer_settles_within_two_years_of_history() -> None:
    """What is held depends on what was held; a session that starts later wants the same after enough history."""
    bars = Bars.from_frame(get_bars(["AIG", "BAC", "IBM", "USO"], "2003-01-02", "2008-12-31", source="sample"))
    found = check_warmup(lambda: CrossSectionalMomentum(top=1, buffer=1, lookback=120, skip=10), bars, "2005-06-01", rows=250, costs=Bps(2))
    assert found.is_enough and found.needed <= 500, str(found)
