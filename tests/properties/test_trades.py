"""Round trips against a slow restatement: one fill and one bar at a time, with the book's own arithmetic; and what they must add up to."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st
from scenarios import RandomTrader, random_panel

from qtnb.backtest.costs import Bps, PerShare
from qtnb.backtest.engine import Backtest
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.data.reference import normalise_events
from qtnb.evaluation.frames import TRADE_COLUMNS, fills_frame
from qtnb.evaluation.results import Result
from qtnb.evaluation.trades import round_trips


@dataclass
class Trip:
    """A trade being walked along."""

    side: float
    entry_row: int
    cash: float = 0.0
    held: float = 0.0
    largest: float = 0.0
    entry: float = 0.0  # value of what was added
    fees: float = 0.0
    slippage: float = 0.0
    adds: int = 0
    cuts: int = 0
    marks: list[float] = field(default_factory=list)  # every open profit that was certainly seen
    exit_row: int | None = None

    def see(self, price: float) -> None:
        """The open profit at a price."""
        if not math.isnan(price):
            self.marks.append(self.cash + self.held * price)


def slow_trips(bars: Bars, fills: list[dict], column: int) -> list[Trip]:
    """Walk over the bars; on each bar over its fills, in their order."""
    done: list[Trip] = []
    now: Trip | None = None
    for row in range(len(bars)):
        o, h, l, c = (getattr(bars, f)[row, column] for f in ("open", "high", "low", "close"))
        mine = [f for f in fills if f["row"] == row]
        if now is not None and mine:
            now.see(o)
            if all(f["place"] == 3.0 for f in mine):
                now.see(h), now.see(l)
        for f in mine:
            left, whole = f["change"], abs(f["change"])
            while left != 0.0:
                if now is None:
                    now = Trip(math.copysign(1.0, left), row)
                part = left if left * now.side > 0 else math.copysign(min(abs(left), abs(now.held)), left)
                share = abs(part) / whole
                now.cash -= part * f["price"]
                now.held += part
                now.largest = max(now.largest, abs(now.held))
                now.fees += f["fee"] * share
                now.slippage += (f["price"] - f["reference"]) * f["change"] * share
                if part * now.side > 0:
                    now.adds, now.entry = now.adds + 1, now.entry + abs(part) * f["price"]
                else:
                    now.cuts += 1
                now.see(f["price"])
                left -= part
                if now.held == 0.0:
                    now.exit_row = row
                    done.append(now)
                    now = None
        if now is None:
            continue
        if not mine or all(f["place"] == 0.0 for f in mine):
            now.see(h), now.see(l)
        if mine:
            now.see(c)
    return done + ([now] if now else [])


@st.composite
def stories(draw: st.DrawFn) -> tuple[Bars, list[dict], int]:
    """A panel with missing bars, and fills of one symbol in whole lots at the open, at the close or somewhere between."""
    bars = random_panel(draw(st.integers(0, 10_000)), rows=draw(st.integers(1, 25)), symbols=("AAA", "BBB"), gaps=0.2)
    column, fills = draw(st.integers(0, 1)), []
    for row in range(len(bars)):
        o, h, l, c = (getattr(bars, f)[row, column] for f in ("open", "high", "low", "close"))
        if math.isnan(c):
            continue
        places = sorted(draw(st.lists(st.sampled_from([0.0, 0.5, 1.7, 3.0]), max_size=draw(st.sampled_from([0, 0, 1, 3])))))
        for place in places:
            reference = {0.0: o, 3.0: c}.get(place, round(l + (h - l) * draw(st.floats(0, 1)), 2))
            change = float(draw(st.integers(-20, 20).filter(bool)))
            slip = draw(st.sampled_from([0.0, 0.01, 0.25])) * math.copysign(1, change)
            fee = draw(st.sampled_from([0.0, 1.5]))
            fills.append({"row": row, "place": place, "reference": reference, "price": reference + slip, "change": change, "fee": fee})
    return bars, fills, column


def frame_of(bars: Bars, fills: list[dict], column: int, told: bool = True) -> pd.DataFrame:
    """The frame of those fills."""
    names = [f"e{n}" for n in range(len(fills))]
    return fills_frame({
        "ts": [int(bars.ts[f["row"]]) for f in fills], "exec_id": names, "client_order_id": names, "symbol": [bars.symbols[column]] * len(fills),
        "side": ["buy" if f["change"] > 0 else "sell" for f in fills], "quantity": [abs(f["change"]) for f in fills], "currency": ["USD"] * len(fills),
        "rule": ["x"] * len(fills), **{k: [f[k] for f in fills] for k in ("price", "fee", "reference")},
        "place": [f["place"] if told else None for f in fills],
    })  # fmt: skip


@EFFORT
@given(stories())
def test_round_trips_are_what_a_walk_over_the_bars_gives(story: tuple[Bars, list[dict], int]) -> None:
    """Every figure of every trade."""
    bars, fills, column = story
    made, slow = round_trips(frame_of(bars, fills, column), bars), slow_trips(bars, fills, column)
    assert len(made) == len(slow) and list(made.columns) == list(TRADE_COLUMNS)
    known = ~np.isnan(bars.close[:, column])
    mark = bars.mark[-1, column]
    for row, trip in zip(made.itertuples(), slow, strict=True):
        paid = trip.cash + trip.held * mark if trip.exit_row is None else trip.cash
        end = len(bars) - 1 if trip.exit_row is None else trip.exit_row
        assert (row.side == "long") == (trip.side > 0) and row.is_open == (trip.exit_row is None)
        assert (row.quantity, row.entries, row.exits) == (trip.largest, trip.adds, trip.cuts)
        assert row.bars_held == known[trip.entry_row + 1 : end + 1].sum()
        near = pytest.approx
        assert row.pnl == near(paid - trip.fees, abs=1e-7) and row.fees == near(trip.fees) and row.slippage == near(trip.slippage, abs=1e-7)
        assert row.gross_pnl == near(paid + trip.slippage, abs=1e-7) and row.mae == near(min(0.0, *trip.marks), abs=1e-7)
        assert row.mfe == near(max(0.0, *trip.marks), abs=1e-7) and row.mae_pct == near(100 * row.mae / trip.entry, abs=1e-7)


@EFFORT
@given(stories(), st.integers(1, 4))
def test_splitting_fills_changes_nothing(story: tuple[Bars, list[dict], int], parts: int) -> None:
    """A fill in n equal parts at the same price makes the same trades, counts of fills aside."""
    bars, fills, column = story
    many = [{**f, "change": f["change"] / parts, "fee": f["fee"] / parts} for f in fills for _ in range(parts)]
    one, other = (round_trips(frame_of(bars, f, column), bars) for f in (fills, many))
    assert len(one) == len(other)
    for name in ("quantity", "entry_price", "exit_price", "pnl", "gross_pnl", "fees", "mae", "mfe", "bars_held"):
        assert one[name].tolist() == pytest.approx(other[name].tolist(), abs=1e-7, nan_ok=True)


@EFFORT
@given(st.integers(0, 10**6), st.booleans())
def test_trades_add_up_to_the_account(seed: int, costly: bool) -> None:
    """In a back-test of a random trader: the profits of all trades are what equity gained, their fees are the fees, open ones are the positions."""
    bars = random_panel(seed, rows=40)
    models = {"costs": PerShare(0.01, minimum=1.0), "slippage": BpsSlippage(20)} if costly else {"costs": Bps(0)}
    result = Backtest(RandomTrader(seed), bars, cash=100_000.0, **models).run()
    trades = result.trades
    scale = 1e-9 * 100_000.0
    assert trades["pnl"].sum() == pytest.approx(result.equity.iloc[-1] - 100_000.0, abs=scale)
    assert trades["fees"].sum() == pytest.approx(result.fills["fee"].sum(), abs=scale)
    assert trades["gross_pnl"].sum() - trades["slippage"].sum() - trades["fees"].sum() == pytest.approx(trades["pnl"].sum(), abs=scale)
    still = trades[trades["is_open"]]
    held = result.positions.iloc[-1]
    assert sorted(still["symbol"]) == sorted(held[held != 0.0].index)
    assert (trades["mae"] <= 0.0).all() and (trades["mfe"] >= 0.0).all()
    over = trades["gross_pnl"] - trades["slippage"]  # at the prices paid
    assert (trades["mae"] <= over + scale).all() and (trades["mfe"] >= over - scale).all()
    costs = result.costs["amount"]
    assert costs["fees"] == pytest.approx(trades["fees"].sum(), abs=scale) and costs["total"] == pytest.approx(np.nansum(costs.iloc[:-1]), abs=scale)


def test_a_result_of_the_first_format_still_loads(tmp_path) -> None:
    """Five frames with their old columns: cash flows are empty, trades come from the fills, and what is left out means what it meant."""
    import hashlib
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    bars = random_panel(3, rows=40)
    result = Backtest(RandomTrader(3), bars, cash=100_000.0, costs=Bps(5)).run()
    old = {"orders": result.orders.iloc[:, :13], "fills": result.fills.iloc[:, :10], "account": result.account.iloc[:, :4],
           "positions": result.positions, "weights": result.weights}  # fmt: skip
    for name, frame in old.items():
        pq.write_table(pa.Table.from_pandas(frame, preserve_index=frame.index.name == "ts"), tmp_path / f"{name}.parquet")
    (tmp_path / "metrics.json").write_text(json.dumps({"fees": 1.0}))
    sums = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(tmp_path.iterdir())}
    (tmp_path / "manifest.json").write_text("{}")
    (tmp_path / "checksums.json").write_text(json.dumps(sums))
    again = Result.load(tmp_path)
    for name, frame in old.items():
        pd.testing.assert_frame_equal(getattr(again, name)[list(frame.columns)], frame, check_freq=False)
    one, other = (r.trades[~r.trades["is_open"]] for r in (again, result))  # an open one is valued at the last price known
    assert len(again.cash_flows) == 0 and len(one) > 3 and one["pnl"].tolist() == pytest.approx(other["pnl"].tolist())
    assert again.trades["mae"].isna().all() and again.account["deposits"].isna().all()
    assert again.fills["fee_base"].tolist() == result.fills["fee"].tolist()
    assert Result.load(again.save(tmp_path / "new")).differences(again) == []


@EFFORT
@given(st.integers(0, 10**6))
def test_trades_and_payments_add_up_over_splits_and_dividends(seed: int) -> None:
    """Raw prices with events: profits of all trades and all dividends are what equity gained, and what is open is what is held."""
    bars, dice = random_panel(seed, rows=40), np.random.default_rng(seed)
    events = [{"symbol": s, "ts": bars.index[int(dice.integers(1, 40))], "kind": kind, "value": value}
              for s in bars.symbols for kind, value in (("split", 2.0), ("split", 3.0), ("dividend", 0.25), ("dividend", 1.0))]  # fmt: skip
    table = normalise_events(pd.DataFrame(events).drop_duplicates(["symbol", "ts", "kind"]))
    result = Backtest(RandomTrader(seed), bars, cash=100_000.0, costs=Bps(5), events=table).run()
    trades, flows = result.trades, result.cash_flows
    gained = trades["pnl"].sum() + flows["amount_base"].sum()
    assert gained == pytest.approx(result.equity.iloc[-1] - 100_000.0, abs=1e-4)
    assert set(flows["kind"]) <= {"dividend"} and result.costs.at["total", "amount"] == pytest.approx(trades["fees"].sum())
    held = result.positions.iloc[-1]
    assert sorted(trades.loc[trades["is_open"], "symbol"]) == sorted(held[held != 0.0].index)
