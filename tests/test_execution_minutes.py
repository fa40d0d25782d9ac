"""Execution algorithms and the market around a fill on six real days of minute bars and quotes of three American stocks (October 2013)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.market import BarMarket
from qtnb.backtest.slippage import HalfSpread
from qtnb.core.bars import Bars, bars_from_frame
from qtnb.core.protocols import Execution
from qtnb.strategies.execution import Algorithm, ChildTerms, Pov, Twap, Vwap, WorkOrders
from qtnb.strategies.execution_report import execution_report, execution_timeline
from qtnb.strategies.slices import volume_curve
from qtnb.types import Instrument

FOLDER = Path(os.environ.get("QTNB_SHARED_DATA", "")) / "equities_minute"
pytestmark = pytest.mark.skipif(not (FOLDER / "lean_us_minute_trade.parquet").exists(), reason="QTNB_SHARED_DATA names no folder of data")
NEW_YORK = "America/New_York"
SYMBOLS = ["AIG", "BAC", "IBM"]


def regular(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of the regular session, stamped at the close of the minute."""
    begins = frame["time"].dt.tz_localize(NEW_YORK)
    inside = (begins.dt.time >= pd.Timestamp("09:30").time()) & (begins.dt.time < pd.Timestamp("16:00").time())
    ts = (begins + pd.Timedelta(minutes=1)).dt.tz_convert("UTC").astype("datetime64[ns, UTC]")
    return frame.assign(ts=ts)[inside].set_index(["ts", "symbol"]).sort_index()


@pytest.fixture(scope="module")
def bars() -> Bars:
    """The minutes of six sessions."""
    frame = regular(pd.read_parquet(FOLDER / "lean_us_minute_trade.parquet"))
    return bars_from_frame(frame[["open", "high", "low", "close", "volume"]].astype(float), interval="1m", symbols=SYMBOLS)


@pytest.fixture(scope="module")
def spreads(bars: Bars) -> np.ndarray:
    """Ask less bid at the close of each minute."""
    frame = regular(pd.read_parquet(FOLDER / "lean_us_minute_quote.parquet"))
    wide = (frame["ask_close"] - frame["bid_close"]).unstack("symbol")
    return wide.reindex(index=bars.index, columns=SYMBOLS).to_numpy()


def clock(text: str) -> pd.Timestamp:
    """A time of the last session."""
    return pd.Timestamp(f"2013-10-11 {text}", tz=NEW_YORK)


def work(parent: Algorithm, bars: Bars, participation: float | None = 0.1) -> Algorithm:
    """The parent after a run."""
    Backtest(WorkOrders(parent), bars, cash=1e9, fill=BarFill(participation=participation)).run()
    return parent


def test_the_volume_of_a_day_is_high_at_both_ends(bars: Bars) -> None:
    """Every stock trades more in the first and the last half hour than at noon, on the average of five sessions."""
    past = bars[: int(np.searchsorted(bars.ts, clock("09:30").value, side="right"))]
    for symbol in SYMBOLS:
        curve = volume_curve(past, symbol)
        assert curve.sum() == pytest.approx(1.0)
        assert min(curve[0], curve[-1]) > 1.3 * curve[5:8].mean()
        two = pd.Series(past.select([symbol]).volume[:, 0], index=past.index.tz_convert(NEW_YORK))
        shares = two.groupby(two.index.date).apply(lambda day: day[day.index.time <= pd.Timestamp("10:00").time()].sum() / day.sum())
        assert curve[0] == pytest.approx(shares.mean())


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("kind", ["twap", "vwap", "pov"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_parent_of_two_per_cent_of_the_day(bars: Bars, symbol: str, kind: str, sign: int) -> None:
    """It fills whole, near the VWAP, in the share of the volume that it is, and near its plan."""
    column = bars.symbols.index(symbol)
    today = bars.ts > clock("09:30").value
    quantity = sign * float(round(0.02 * np.nansum(bars.volume[today, column]), -2))
    past = bars[: int(np.flatnonzero(today)[0])]
    parent: Algorithm = {
        "twap": lambda: Twap(symbol, quantity, clock("09:35"), clock("15:55"), 38),
        "vwap": lambda: Vwap(symbol, quantity, clock("09:35"), clock("15:55"), volume_curve(past, symbol, hours=("09:35", "15:55"), slices=38)),
        "pov": lambda: Pov(symbol, quantity, 0.025, start=clock("09:35"), end=clock("16:00")),
    }[kind]()
    report = execution_report(work(parent, bars), None, bars)
    assert report.filled == abs(quantity)
    assert report.opportunity_cost == 0.0
    assert abs(report.vwap_cost_bps) < 25.0
    assert 0.018 < report.participation < 0.03
    assert report.schedule_error < 0.08  # a minute with a block in it puts a POV order behind at once
    timeline = execution_timeline(parent, None, bars)
    assert timeline["participation"].max() <= 0.1 + 1e-9
    assert timeline["filled"].iloc[-1] == abs(quantity)


def test_a_parent_too_large_for_its_cap_leaves_a_rest_and_says_what_it_cost(bars: Bars) -> None:
    """A third of a day's volume at a cap of 5 %: about that much fills, and the shortfall counts the rest at the last price."""
    quantity = float(round(np.nansum(bars.volume[bars.ts > clock("09:30").value, 2]) / 3, -2))
    parent = work(Twap("IBM", quantity, clock("09:35"), clock("15:55"), 38, terms=ChildTerms(participation=0.5)), bars, participation=0.05)
    report = execution_report(parent, None, bars)
    assert 0.045 < report.participation <= 0.05
    close = bars.mark[int(np.searchsorted(bars.ts, clock("15:55").value)), 2]
    assert report.opportunity_cost == pytest.approx((quantity - report.filled) * (close - report.arrival_price))


def test_quoted_spreads_and_what_highs_and_lows_make_of_them(bars: Bars, spreads: np.ndarray) -> None:
    """Liquid stocks trade at a spread of a cent or a few; the estimate from highs and lows is many times too high for them, as its page says."""
    market = BarMarket(bars, spreads=spreads)
    for column, symbol in enumerate(SYMBOLS):
        quoted = np.nanmedian(spreads[:, column])
        assert 0.009 < quoted < 0.06
        row = int(np.searchsorted(bars.ts, clock("12:00").value))
        market.at(row, column)
        price = HalfSpread().price(Execution(Instrument(symbol), +1, 100.0, market.close, int(bars.ts[row])), market)
        assert price == pytest.approx(market.close + market.spread / 2)
        assert market.high_low_spread(5) > 2 * quoted
        daily = pd.Series(bars.volume[:, column]).groupby(bars.session).sum()
        assert market.average_volume(5) == pytest.approx(daily.iloc[:5].mean())
