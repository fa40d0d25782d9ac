"""The same inputs give the same bytes: in one process, in fresh ones whatever their hash seed, and in whatever order equal inputs come.

    python tests/test_determinism.py        # prints the digests of all cases
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.append(str(Path(__file__).parent / "properties"))

from scenarios import RandomTrader, random_panel
from support import REPO, run_python

from qtnb.backtest.costs import Bps, PerShare, Sum
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.errors import DataWarning
from qtnb.data.loader import get_bars, get_events
from qtnb.data.reference import normalise_events
from qtnb.evaluation.results import Result
from qtnb.strategies.sma_cross import SmaCross
from qtnb.strategies.xmom_crosssec import CrossSectionalMomentum
from qtnb.types import Instrument

Inputs = dict[str, Any]
COSTLY = {"costs": Sum(Bps(2.0), PerShare(0.005, minimum=1.0)), "slippage": BpsSlippage(5.0)}


def stocks(symbols: list[str], start: str, end: str, adjust: str) -> pd.DataFrame:
    """Bars of the bundled sample."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return get_bars(symbols, start, end, adjust=adjust, source="sample")


def trend() -> Inputs:
    """Weights, one symbol that begins late, instruments that are described."""
    symbols = ["AIG", "BAC", "GOOGL", "IBM"]
    described = {s: Instrument(s, tick_size=0.01) for s in symbols}
    frame = stocks(symbols, "2003-01-02", "2008-12-31", "all")
    strategy = SmaCross(fast=10, slow=40, exposure=0.9)
    return {"strategy": strategy, "bars": frame, "instruments": described, "fill": BarFill(participation=0.01), **COSTLY}


def raw() -> Inputs:
    """Raw prices of several symbols, with splits and dividends as events, some of them on one day."""
    symbols = ["IBM", "BAC", "AIG"]
    frame, events = stocks(symbols, "1999-01-04", "2004-12-31", "none"), get_events(symbols, "1999-01-04", "2004-12-31", source="sample")
    return {"strategy": CrossSectionalMomentum(top=2), "bars": frame, "events": events, **COSTLY}


def dice() -> Inputs:
    """A strategy that does everything a strategy may do, on bars with holes; two currencies; many dividends at one instant."""
    panel = random_panel(11, rows=250)
    symbols = list(panel.symbols)
    instruments = {s: Instrument(s, currency="EUR" if s == "BBB" else "USD", multiplier=2.0 if s == "CCC" else 1.0) for s in symbols}
    days = panel.index[20:240:20]
    paid = normalise_events(pd.DataFrame([{"symbol": s, "ts": t, "kind": "dividend", "value": 0.1 + n / 7} for t in days for n, s in enumerate(symbols)]))
    return {"strategy": RandomTrader(5), "bars": panel.to_frame(), "instruments": instruments, "fx": {"EUR": 1.1, "GBP": 1.3}, "events": paid,
            "fill": BarFill(participation=0.2), "seed": 3, **COSTLY}  # fmt: skip


CASES: dict[str, Callable[[], Inputs]] = {"trend": trend, "raw": raw, "dice": dice}


def digests(inputs: Inputs) -> dict[str, str]:
    """Run it, save it, and hash every file that was saved, and orders, fills and equity as text."""
    result = Backtest(**inputs).run()
    with tempfile.TemporaryDirectory() as folder:
        saved = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in sorted(result.save(Path(folder) / "run").iterdir())}
    return saved | {f"{name}.csv": hashlib.sha256(frame.to_csv().encode()).hexdigest()[:16] for name, frame in tables(result).items()}


def tables(result: Result) -> dict[str, pd.DataFrame]:
    """What must agree, as tables."""
    return {"orders": result.orders, "fills": result.fills, "equity": result.account[["equity"]]}


@functools.cache
def expected(case: str) -> dict[str, str]:
    """The digests of a case in this process, once."""
    return digests(CASES[case]())


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The rows of a frame in another order."""
    order = np.random.default_rng(seed).permutation(len(frame))
    mixed = frame.iloc[order]
    mixed.attrs = dict(frame.attrs)
    return mixed


@pytest.mark.parametrize("case", CASES)
def test_twice_in_one_process(case: str) -> None:
    """Nothing is left over from the first run."""
    assert digests(CASES[case]()) == expected(case)


def test_the_cases_do_something() -> None:
    """Each case trades, and no two end alike."""
    ends = [expected(case)["fills.parquet"] for case in CASES]
    assert len(set(ends)) == len(CASES)
    for case in CASES:
        result = Backtest(**CASES[case]()).run()
        assert len(result.fills) > 60 and len(result.orders) >= 60, case
        assert case == "trend" or len(result.cash_flows) > 10, case


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_in_a_fresh_process_with_another_hash_seed(seed: str) -> None:
    """The order in which sets and hashes come changes with PYTHONHASHSEED; no result may."""
    ended = run_python(str(Path(__file__)), cwd=REPO, env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPO / "tests")})
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {case: expected(case) for case in CASES}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_equal_inputs_does_not_matter(case: str, seed: int) -> None:
    """Rows of the bars, instruments, exchange rates and events of one instant come in another order."""
    inputs = CASES[case]()
    inputs["bars"] = shuffled(inputs["bars"], seed)
    for name in ("instruments", "fx"):
        if name in inputs:
            inputs[name] = dict(reversed(inputs[name].items()))
    if "events" in inputs:
        inputs["events"] = shuffled(inputs["events"], seed)
    assert digests(inputs) == expected(case)


def test_another_seed_of_the_bars_gives_other_bytes() -> None:
    """The digests are sensitive: one price that differs in its last bit is seen."""
    inputs = trend()
    frame = inputs["bars"].copy()
    frame.attrs = dict(inputs["bars"].attrs)
    place = (len(frame) // 2, list(frame.columns).index("open"))
    frame.iloc[place] = np.nextafter(frame.iloc[place], np.inf)
    assert digests({**inputs, "bars": frame})["manifest.json"] != expected("trend")["manifest.json"]


if __name__ == "__main__":
    print(json.dumps({name: digests(make()) for name, make in CASES.items()}))
