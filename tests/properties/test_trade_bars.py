"""Bars out of trades hold every trade once, agree with a plain loop over them, and do not change with the future."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.core.errors import SchemaError
from qtnb.data.schema import table_frame
from qtnb.features.trade_bars import dollar_bars, imbalance_bars, tick_bars, volume_bars


def _tape(seed: int, size: int = 600) -> pd.DataFrame:
    """Two symbols, instants that repeat, quantities of zero, sides that are known or not."""
    rng = np.random.default_rng(seed)
    ts = np.sort(rng.integers(0, 400, size))
    values = np.column_stack([np.round(20 + np.cumsum(rng.normal(0, 0.02, size)), 2), rng.integers(0, 5, size) / 10, rng.choice([-1.0, 0.0, 1.0], size)])
    codes = rng.integers(0, 2, size)
    order = np.lexsort((codes, ts))
    return table_frame("trades", ts[order], codes[order], ["A.X", "B.X"], values[order], seq=np.arange(size))


CUTS: list[Callable[[pd.DataFrame], pd.DataFrame]] = [
    lambda tape: tick_bars(tape, 7),
    lambda tape: volume_bars(tape, 2.5),
    lambda tape: dollar_bars(tape, 40),
    lambda tape: imbalance_bars(tape, 9),
    lambda tape: imbalance_bars(tape, 9, by="trades", chance=0, shortest=2, longest=20),
    lambda tape: imbalance_bars(tape, 9, by="value", halflife_bars=3, halflife_trades=30),
]


def _trades_of(tape: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """The trades of one symbol, with instants as numbers."""
    rows = tape[tape.index.get_level_values("symbol") == symbol]
    return rows.assign(ts=rows.index.get_level_values("ts").as_unit("ns").asi8).reset_index(drop=True)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("seed", range(4))
def test_every_bar_is_made_of_its_trades_and_each_trade_is_in_one(cut: Callable[[pd.DataFrame], pd.DataFrame], seed: int) -> None:
    tape = _tape(seed)
    bars = cut(tape)
    assert bars.index.is_monotonic_increasing and bars.index.is_unique
    for symbol in ("A.X", "B.X"):
        trades, own = _trades_of(tape, symbol), bars.xs(symbol, level="symbol")
        ends, opened = own.index.as_unit("ns").asi8, pd.DatetimeIndex(own["opened"]).as_unit("ns").asi8
        assert len(own) > 3 and opened[0] == trades["ts"][0] and (opened[1:] >= ends[:-1]).all()
        place = np.searchsorted(ends, trades["ts"], side="right")
        done = trades[place < len(own)]
        groups = done.groupby(place[place < len(own)])
        assert own["volume"].sum() == pytest.approx(done["quantity"].sum(), rel=1e-12) and own["trades"].sum() == len(done)
        for column, how in {"open": "first", "high": "max", "low": "min", "close": "last"}.items():
            np.testing.assert_array_equal(own[column], getattr(groups["price"], how)())
        np.testing.assert_allclose(own["volume"], groups["quantity"].sum(), rtol=1e-12)
        value = (done["price"] * done["quantity"]).groupby(place[place < len(own)]).sum()
        np.testing.assert_allclose(own["vwap"], value / groups["quantity"].sum(), rtol=1e-12)


@pytest.mark.parametrize("cut", CUTS)
def test_cutting_the_future_only_returns_fewer_bars(cut: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    tape = _tape(9)
    whole = cut(tape)
    for instant in (1, 50, 222, 399):
        until = pd.Timestamp(instant, tz="UTC")
        part = cut(tape[tape.index.get_level_values("ts") < until])
        pd.testing.assert_frame_equal(part, whole[whole.index.get_level_values("ts") <= until], check_exact=True)


def _sides(trades: pd.DataFrame) -> np.ndarray:
    """The tick rule, trade after trade."""
    sides: list[float] = []
    for i, (price, given) in enumerate(zip(trades["price"], trades["aggressor"], strict=True)):
        move = 0.0 if i == 0 else float(np.sign(price - trades["price"][i - 1]))
        sides.append(given or move or (sides[-1] if sides else 0.0))
    return np.array(sides)


def _ends(trades: pd.DataFrame, size: float, amount: np.ndarray) -> list[int]:
    """Where bars of a size end, in exact hundredths."""
    ends, held = [], 0
    for i in range(len(trades)):
        held += round(amount[i] * 1000)
        last = i + 1 == len(trades) or trades["ts"][i + 1] != trades["ts"][i]
        if held >= round(size * 1000) and last:
            ends.append(i + 1)
            held = 0
    return ends


@pytest.mark.parametrize("seed", range(4))
def test_bars_of_a_size_end_where_a_plain_loop_ends_them(seed: int) -> None:
    tape = _tape(seed)
    cases: list[tuple[Any, float, Callable[[pd.DataFrame], Any]]] = [
        (tick_bars, 7, lambda t: np.ones(len(t))),
        (volume_bars, 2.5, lambda t: t["quantity"].to_numpy()),
        (dollar_bars, 40, lambda t: (t["price"] * t["quantity"]).to_numpy()),
    ]
    for make, size, amount in cases:
        bars = make(tape, size)
        for symbol in ("A.X", "B.X"):
            trades = _trades_of(tape, symbol)
            ends = _ends(trades, size, amount(trades))
            own = bars.xs(symbol, level="symbol")
            np.testing.assert_array_equal(own.index.as_unit("ns").asi8, trades["ts"].to_numpy()[np.array(ends) - 1] + 1)
            sides = _sides(trades)
            for b, (first, last) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
                quantity, side = trades["quantity"].to_numpy()[first:last], sides[first:last]
                known = quantity[side != 0].sum()
                assert known == 0 and np.isnan(own["buy_share"].iloc[b]) or own["buy_share"].iloc[b] == pytest.approx(quantity[side > 0].sum() / known)


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_imbalance_bars_end_where_a_plain_loop_ends_them(chance: float) -> None:
    """The same rule with sums over all the past at every bar, instead of a recursion."""
    tape, expected, life, bar_life = _tape(5, 900), 8, 25.0, 4.0
    bars = imbalance_bars(tape, expected, by="volume", chance=chance, halflife_trades=life, halflife_bars=bar_life, shortest=3, longest=30)
    for symbol in ("A.X", "B.X"):
        trades = _trades_of(tape, symbol)
        signed = _sides(trades) * trades["quantity"].to_numpy()
        lengths: list[int] = []
        ends, first, limit = [], 0, None
        for i in range(len(trades)):
            size, held = i + 1 - first, abs(signed[first : i + 1].sum())
            due = size >= expected if limit is None else (held >= limit - 1e-12 and size >= 3) or size >= 30
            if due and (i + 1 == len(trades) or trades["ts"][i + 1] != trades["ts"][i]):
                if limit is not None:
                    lengths.append(size)
                weights = 0.5 ** (np.arange(i, -1, -1) / life)
                mean, square = (np.average(x[: i + 1], weights=weights) for x in (signed, signed**2))
                kept = 0.5 ** (1 / bar_life)
                length = kept ** len(lengths) * expected + sum((1 - kept) * kept ** (len(lengths) - 1 - k) * n for k, n in enumerate(lengths))
                limit = max(length * abs(mean), chance * np.sqrt(expected * square))
                ends.append(i + 1)
                first = i + 1
        own = bars.xs(symbol, level="symbol")
        assert len(ends) > 20
        np.testing.assert_array_equal(own.index.as_unit("ns").asi8, trades["ts"].to_numpy()[np.array(ends) - 1] + 1)


def test_a_table_that_breaks_a_rule_is_refused() -> None:
    tape = _tape(1)
    for column, value in (("price", np.nan), ("price", 0.0), ("quantity", -1.0), ("aggressor", 2.0)):
        bad = tape.copy()
        bad.iloc[3, bad.columns.get_loc(column)] = value  # type: ignore[index]
        with pytest.raises(SchemaError, match="trade schema"):
            tick_bars(bad, 5)
    with pytest.raises(SchemaError, match="refused"):
        tick_bars(tape[["price", "quantity"]], 5)
