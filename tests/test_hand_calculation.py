"""A back-test computed a second time without qtnb: seven bars by pencil, fill by fill, and twenty years of IBM by a plain loop."""

from __future__ import annotations

import math
from decimal import Decimal as D
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support import REPO

from qtnb.backtest.costs import Bps, PerShare, Sum
from qtnb.backtest.engine import Backtest
from qtnb.backtest.execution_sim import BarFill
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import DAY_NS, FIELDS, Bars
from qtnb.data.loader import get_bars
from qtnb.strategies.sma_cross import SmaCross

# -- seven bars of two symbols -----------------------------------------------------------------------------------------------------
#
#        AAA                                      BBB
#        open   high   low    close  volume       open   high   low    close  volume
SHEET = """
        50.00  51.00  49.00  50.00  10000        200    202    198    201    1000
        50.50  52.00  50.00  51.00  10000        201    203    200    202    1000
        51.00  53.00  49.99  52.00  10000        203    205    202    204    1000
        52.00  52.50  48.00  49.00  10000        204    206    203    205    1505
        45.00  46.00  44.00  45.50  10000        nan    nan    nan    nan    nan
        45.50  47.00  45.00  46.50  10000        208    210    207    209    5000
        46.00  47.50  45.50  47.00  10000        209    211    208    210    5000
"""
TIMES = [(18_262 + day) * DAY_NS + 21 * 3_600_000_000_000 for day in range(7)]

# Decided at the close of row 0 to 5:
#   0  buy 100 AAA at the market
#   1  buy 20 AAA, limit 50.00, for the day       and buy 250 BBB at the market, good till cancelled
#   2  buy 30 AAA, limit 48.00, for the day
#   3  sell 120 AAA, stop 47.00                   and sell 250 BBB at the market, good till cancelled
#   5  sell 40 AAA at the market: a short sale, for nothing is held any more
#
# Assumptions: slippage 10 bps on market and stop orders; fee 5 bps of the value plus 0.01 a share but at least 1.00; at most a tenth of a bar's volume.
#
#    row symbol side  quantity  price before slippage, after                         rule
FILLS = [
    (1, "AAA", "buy", D(100), D("50.50") * D("1.001"), "open"),  #                   the open of row 1
    (2, "BBB", "buy", D(100), D("203") * D("1.001"), "open"),  #                     a tenth of 1000; 150 are left
    (2, "AAA", "buy", D(20), D("50.00"), "limit_through"),  #                        the low of 49.99 is a tick beyond the limit
    (3, "BBB", "buy", D(150), D("204") * D("1.001"), "open"),  #                     a tenth of 1505 is 150 whole shares
    (4, "AAA", "sell", D(120), D("45.00") * D("0.999"), "stop_gap"),  #              opens below the stop of 47
    (5, "BBB", "sell", D(250), D("208") * D("0.999"), "open"),  #                    row 4 has no bar of BBB
    (6, "AAA", "sell", D(40), D("46.00") * D("0.999"), "open"),
]
PRICES = [D("50.5505"), D("203.203"), D("50.00"), D("204.204"), D("44.955"), D("207.792"), D("45.954")]

#        5 bps of the value             0.01 a share, at least 1.00
FEES = [
    D("5055.05") * D("0.0005") + D("1.00"),  #   100 shares: exactly the minimum
    D("20320.30") * D("0.0005") + D("1.00"),
    D("1000.00") * D("0.0005") + D("1.00"),  #   20 shares: 0.20, raised to the minimum
    D("30630.60") * D("0.0005") + D("1.50"),
    D("5394.60") * D("0.0005") + D("1.20"),
    D("51948.00") * D("0.0005") + D("2.50"),
    D("1838.16") * D("0.0005") + D("1.00"),
]

CASH = [
    D("100000"),
    D("100000") - D("5055.05") - D("3.527525"),  #                                          =  94941.422475
    D("94941.422475") - D("20320.30") - D("11.16015") - D("1000.00") - D("1.50"),  #        =  73608.462325
    D("73608.462325") - D("30630.60") - D("16.8153"),  #                                    =  42961.047025
    D("42961.047025") + D("5394.60") - D("3.8973"),  #                                      =  48351.749725
    D("48351.749725") + D("51948.00") - D("28.474"),  #                                     = 100271.275725
    D("100271.275725") + D("1838.16") - D("1.91908"),  #                                    = 102107.516645
]

EQUITY = [
    D("100000"),
    D("94941.422475") + 100 * D("51.00"),  #                        = 100041.422475
    D("73608.462325") + 120 * D("52.00") + 100 * D("204"),  #       = 100248.462325
    D("42961.047025") + 120 * D("49.00") + 250 * D("205"),  #       = 100091.047025
    D("48351.749725") + 250 * D("205"),  #                          =  99601.749725, BBB at its last close
    D("100271.275725"),  #                                          everything is sold
    D("102107.516645") - 40 * D("47.00"),  #                        = 100227.516645
]
FINAL_EQUITY = D("100227.516645")
POSITIONS = {"AAA": [0, 100, 120, 120, 0, 0, -40], "BBB": [0, 0, 100, 250, 250, 0, 0]}


def sheet() -> Bars:
    """The panel above."""
    table = np.array([[float(x) for x in line.split()] for line in SHEET.strip().splitlines()]).reshape(7, 2, 5)
    return Bars(TIMES, ("AAA", "BBB"), **{name: table[:, :, n] for n, name in enumerate(FIELDS)})


class Pencil:
    """The decisions above."""

    name = "pencil"

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Order by row."""
        if ctx.row == 0:
            ctx.order("AAA", 100.0)
        elif ctx.row == 1:
            ctx.order("AAA", 20.0, limit_price=50.0)
            ctx.order("BBB", 250.0, time_in_force="gtc")
        elif ctx.row == 2:
            ctx.order("AAA", 30.0, limit_price=48.0)
        elif ctx.row == 3:
            ctx.order("AAA", -120.0, stop_price=47.0, time_in_force="gtc")
            ctx.order("BBB", -250.0, time_in_force="gtc")
        elif ctx.row == 5:
            ctx.order("AAA", -40.0)


@pytest.fixture(scope="module")
def pencil() -> Any:
    """The back-test of the sheet."""
    costs = Sum(Bps(5), PerShare(0.01, minimum=1.0))
    return Backtest(Pencil(), sheet(), cash=100_000.0, costs=costs, slippage=BpsSlippage(10), fill=BarFill(participation=0.1)).run()


def same(number: float, exact: D) -> bool:
    """Whether a number is the exact one to twelve digits."""
    return math.isclose(float(number), float(exact), rel_tol=1e-12, abs_tol=1e-12)


def test_the_sheet_itself_adds_up() -> None:
    """The numbers written out agree with each other: prices, fees, cash, equity."""
    assert [price for *_, price, _ in FILLS] == PRICES
    cash, held = D("100000"), {"AAA": 0, "BBB": 0}
    for (_, symbol, side, quantity, price, _), fee in zip(FILLS, FEES, strict=True):
        sign = 1 if side == "buy" else -1
        cash -= sign * quantity * price + fee
        held[symbol] += sign * int(quantity)
    assert cash == CASH[-1] == D("102107.516645") and held == {"AAA": -40, "BBB": 0}
    assert EQUITY[-1] == FINAL_EQUITY


def test_every_fill(pencil: Any) -> None:
    """Row, symbol, side, quantity, price, fee and rule of each fill are the ones worked out by hand."""
    fills = pencil.fills
    assert len(fills) == len(FILLS)
    for (row, symbol, side, quantity, price, rule), fee, (_, fill) in zip(FILLS, FEES, fills.iterrows(), strict=True):
        assert (fill["ts"].value, fill["symbol"], fill["side"], fill["rule"]) == (TIMES[row], symbol, side, rule)
        assert fill["quantity"] == float(quantity) and fill["currency"] == "USD"
        assert same(fill["price"], price) and same(fill["fee"], fee)


def test_cash_and_equity_of_every_bar(pencil: Any) -> None:
    """The account at each of the seven closes."""
    assert [t.value for t in pencil.equity.index] == TIMES and pencil.equity.name == "equity"
    assert all(same(a, b) for a, b in zip(pencil.account["cash"], CASH, strict=True)), pencil.account["cash"].tolist()
    assert all(same(a, b) for a, b in zip(pencil.equity, EQUITY, strict=True)), pencil.equity.tolist()
    assert same(pencil.equity.iloc[-1], FINAL_EQUITY)


def test_positions_and_exposures_of_every_bar(pencil: Any) -> None:
    """Holdings in shares, and what they are worth as a share of equity."""
    for symbol, held in POSITIONS.items():
        assert pencil.positions[symbol].tolist() == held
    marks = {"AAA": D("49.00"), "BBB": D("205")}
    net = (120 * marks["AAA"] + 250 * marks["BBB"]) / EQUITY[3]
    assert same(pencil.account["net_exposure"].iloc[3], net) and same(pencil.account["gross_exposure"].iloc[3], net)
    assert same(pencil.account["net_exposure"].iloc[6], -40 * D("47.00") / FINAL_EQUITY)
    assert same(pencil.account["gross_exposure"].iloc[6], 40 * D("47.00") / FINAL_EQUITY)
    assert same(pencil.weights["BBB"].iloc[4], 250 * D("205") / EQUITY[4])


def test_how_every_order_ended(pencil: Any) -> None:
    """Seven orders: six filled, and the limit that was only touched expired."""
    orders = pencil.orders
    assert orders["status"].tolist() == ["filled", "filled", "filled", "expired", "filled", "filled", "filled"]
    assert orders["filled_quantity"].tolist() == [100.0, 20.0, 250.0, 0.0, 120.0, 250.0, 40.0]
    assert orders["order_type"].tolist() == ["market", "limit", "market", "limit", "stop", "market", "market"]
    partly = orders.iloc[2]
    assert same(partly["average_price"], (100 * D("203.203") + 150 * D("204.204")) / 250)


def test_profit_by_another_road(pencil: Any) -> None:
    """The gain is what each position earned between its prices, less all fees."""
    aaa = 120 * D("44.955") - 100 * D("50.5505") - 20 * D("50.00")  # bought, stopped out
    short = 40 * (D("45.954") - D("47.00"))  # still open
    bbb = 250 * D("207.792") - 100 * D("203.203") - 150 * D("204.204")
    assert D("100000") + aaa + short + bbb - sum(FEES) == FINAL_EQUITY
    assert same(pencil.equity.iloc[-1] - pencil.equity.iloc[0], aaa + short + bbb - sum(FEES))


# -- twenty years of IBM by a plain loop -------------------------------------------------------------------------------------------


def plain_loop(
    rows: list[tuple[float, float]], *, fast: int, slow: int, cash: float, exposure: float, fee_bps: float, slippage_bps: float
) -> tuple[float, int]:
    """Final equity and number of trades of a moving-average cross on (open, close) rows; nothing here comes from qtnb."""
    held, trades, order, long = 0.0, 0, 0.0, False
    closes: list[float] = []
    equity = cash
    for open_, close in rows:
        if order:
            price = open_ * (1 + (slippage_bps if order > 0 else -slippage_bps) / 10_000)
            cash -= order * price + abs(order) * price * fee_bps / 10_000
            held, trades, order = held + order, trades + 1, 0.0
        closes.append(close)
        equity = cash + held * close
        if len(closes) >= slow:
            above = sum(closes[-fast:]) / fast > sum(closes[-slow:]) / slow
            if above and not long:
                order = float(math.floor(exposure * equity / close))
            elif long and not above:
                order = -held
            long = above
    return equity, trades


@pytest.fixture(scope="module")
def ibm() -> pd.DataFrame:
    """The rows of the shipped table, read with pandas alone."""
    table = pd.read_parquet(REPO / "nbs" / "sample" / "bars.parquet")
    own = table[(table["symbol"] == "IBM") & (table["ts"] >= "2000-01-03") & (table["ts"] < "2021-01-01")]
    return own.sort_values("ts").reset_index(drop=True)


def adjusted_by_hand(own: pd.DataFrame) -> pd.DataFrame:
    """Every price before a dividend times (1 - dividend / last close before it), every price before a split divided by its ratio."""
    events = pd.read_csv(REPO / "nbs" / "sample" / "events.csv")
    events = events[events["symbol"] == "IBM"].assign(ts=lambda e: pd.to_datetime(e["ts"], utc=True))
    factor = np.ones(len(own))
    for event in events.itertuples():
        before = (own["ts"] < event.ts).to_numpy()
        factor[before] *= 1 / event.value if event.kind == "split" else 1 - event.value / event.reference
    return own.assign(**{name: own[name] * factor for name in ("open", "high", "low", "close")})


@pytest.mark.parametrize("adjust", ["none", "all"])
@pytest.mark.parametrize(("fee_bps", "slippage_bps"), [(0.0, 0.0), (5.0, 3.0)])
def test_a_moving_average_cross_by_a_plain_loop(ibm: pd.DataFrame, adjust: str, fee_bps: float, slippage_bps: float) -> None:
    """The bundled strategy on the bundled IBM bars ends with the equity, and after the trades, of twenty lines without qtnb."""
    own = adjusted_by_hand(ibm) if adjust == "all" else ibm
    rows = list(own[["open", "close"]].itertuples(index=False, name=None))
    options = {"fast": 10, "slow": 30, "exposure": 0.95}
    equity, trades = plain_loop(rows, cash=1_000_000.0, fee_bps=fee_bps, slippage_bps=slippage_bps, **options)
    bars = get_bars("IBM", "2000-01-03", "2020-12-31", adjust=adjust, source="sample")
    result = Backtest(SmaCross(**options), bars, costs=Bps(fee_bps), slippage=BpsSlippage(slippage_bps)).run()
    assert len(bars) == len(own) and trades == len(result.fills) > 100
    assert math.isclose(result.equity.iloc[-1], equity, rel_tol=1e-11)
    if adjust == "none" and not fee_bps:
        assert result.equity.iloc[-1] == equity  # whole shares at quoted prices: not a bit of difference
