"""Fees and carry against numbers worked out elsewhere: brokers' own examples, hand calculations, recorded funding."""

from __future__ import annotations

import csv
import os
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.brokers import Alpaca, AlpacaCrypto, BinanceFutures, BinanceSpot, ByAssetClass, IbkrFixed, IbkrTiered, costs_by_name
from qtnb.backtest.carry import BorrowFee, BorrowRate, Funding, InterestRate, MarginInterest, fresh_carry
from qtnb.backtest.costs import Bps, MakerTaker, NoCosts, PerOrder, PerShare, Sum, fresh_costs, session_end_flows
from qtnb.backtest.fees import FeeRow, day_of, find_fee, read_fees, shipped_fees
from qtnb.core.book import Book
from qtnb.core.errors import DataError, ParameterError, SchemaError
from qtnb.core.protocols import Execution
from qtnb.enums import Side
from qtnb.types import Fill, Instrument

IBM = Instrument("IBM")
COIN = Instrument("BTC-USDT", currency="USDT", base="BTC", asset_class="crypto", lot_size=1e-6)
PERP = Instrument("BTC-USDT-PERP", currency="USDT", asset_class="perpetual", lot_size=1e-3)
DATA = os.environ.get("QTNB_SHARED_DATA", "")


def noon(day: str) -> int:
    """Midday in New York."""
    return pd.Timestamp(f"{day} 12:00", tz="America/New_York").value


def lines(model, quantity: float, price: float, day: str, sign: int = -1) -> dict[str, float]:
    """What a model asks for one order, line by line."""
    return model.lines(Execution(IBM, sign, quantity, price, noon(day)))


# -- the table ------------------------------------------------------------------------------------------------------------


def test_every_line_of_the_shipped_table_is_used_as_written() -> None:
    """As many rows as lines; days inside a fee do not overlap; what is not verified says why."""
    text = resources.files("qtnb.schedules").joinpath("fees.csv").read_text(encoding="utf-8")
    cells = list(csv.DictReader(text.splitlines()))
    assert len(cells) == len(shipped_fees())
    for row in shipped_fees():
        assert row.source
        assert row.verified or row.notes or row.tier, row
        assert (row.rate is None) == ("unknown" in text and any(c["rate"] == "unknown" and c["effective_from"] == row.effective_from for c in cells))


@pytest.mark.parametrize(
    ("fee", "day", "rate", "cap"),
    [
        ("SEC", "2024-05-22", 27.80e-6, None),
        ("SEC", "2025-05-13", 27.80e-6, None),
        ("SEC", "2025-05-14", 0.0, None),
        ("SEC", "2026-04-03", 0.0, None),
        ("SEC", "2026-04-04", 20.60e-6, None),
        ("TAF", "2024-01-01", 0.000166, 8.30),
        ("TAF", "2025-12-31", 0.000166, 8.30),
        ("TAF", "2026-01-01", 0.000195, 9.79),
        ("TAF", "2026-09-30", 0.000195, 9.79),
        ("TAF", "2026-10-01", 0.0, None),
        ("TAF", "2026-12-31", 0.0, None),
        ("TAF", "2027-01-01", 0.000195, 9.79),
        ("CAT", "2025-07-01", 0.0000265, None),
        ("CAT", "2026-09-01", 0.000003, None),
        ("CAT", "2026-09-17", 0.000003, None),
    ],
)
def test_rates_of_the_regulators(fee: str, day: str, rate: float, cap: float | None) -> None:
    """Both sides of every change."""
    row = find_fee("us_equity", fee, day)
    assert (row.rate, row.cap) == (rate, cap)


@pytest.mark.parametrize(
    ("fee", "day"), [("SEC", "2007-03-16"), ("SEC", "2026-10-10"), ("TAF", "2004-10-31"), ("TAF", "2029-01-01"), ("CAT", "2025-01-01"), ("CAT", "2025-06-30")]
)
def test_a_day_that_nobody_knows_is_an_error(fee: str, day: str) -> None:
    """Before the first line, after the last, and in a span that is marked as unknown; the message names all that one needs."""
    with pytest.raises(DataError) as refused:
        find_fee("us_equity", fee, day)
    for part in (repr(fee), "'us_equity'", day, "extra=", "without=", "outside='nearest'", "not 0"):
        assert part in str(refused.value)


def test_the_models_pass_the_error_on_and_offer_three_ways_on() -> None:
    """Leave the fee out, bring a row, take the nearest; each shows in the description."""
    sale = Execution(IBM, -1, 100.0, 250.0, noon("2026-11-16"))
    with pytest.raises(DataError, match="'SEC' of 'us_equity' on 2026-11-16 is not known"):
        Alpaca(outside="error", extra=(FeeRow("alpaca", "commission", "2026-10-10", "2026-12-31", 0.0, notes="mine"),)).fee(sale)
    own = tuple(FeeRow("us_equity", fee, "2026-10-10", "2027-06-30", rate, per=per) for fee, rate, per in (("SEC", 20.6e-6, "value"), ("CAT", 3e-6, "share")))
    own += (FeeRow("alpaca", "commission", "2026-10-10", "2027-06-30", 0.0),)
    assert Alpaca(extra=own).fee(sale) == pytest.approx(0.52 + 0.0 + 0.01)
    assert Alpaca(outside="nearest").fee(sale) == pytest.approx(0.52 + 0.0 + 0.01)
    assert "2027-06-30" in repr(Alpaca(extra=own))
    with pytest.raises(ParameterError, match="`outside` was 'zero'"):
        Alpaca(outside="zero")


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    """Rows that are read from a file count before the shipped ones."""
    head = "schedule,fee,tier,effective_from,effective_to,side,per,rate,minimum,cap,cap_of_value,rounding,source,verified,notes"
    path = tmp_path / "mine.csv"
    path.write_text(f"{head}\nus_equity,SEC,0,2026-01-01,2026-12-31,sell,value,0.00003,,,,none,contract,yes,\n", encoding="utf-8")
    assert lines(Alpaca(extra=read_fees(path)), 100, 250.0, "2026-09-08")["SEC"] == pytest.approx(0.75)
    path.write_text(f"{head}\nus_equity,SEC,0,2026-13-01,2026-12-31,sell,value,0.00003,,,,none,contract,yes,\n", encoding="utf-8")
    with pytest.raises(SchemaError, match="line 2.*2026-13-01"):
        read_fees(path)


def test_days_are_those_of_new_york() -> None:
    """An execution in the evening of the last day belongs to it, although it is the next day in UTC."""
    late = pd.Timestamp("2025-05-13 19:59", tz="America/New_York").value
    assert day_of(late) == "2025-05-13" == str(pd.Timestamp(late, tz="UTC").date())
    later = pd.Timestamp("2025-05-13 21:00", tz="America/New_York").value
    assert (day_of(later), str(pd.Timestamp(later, tz="UTC").date())) == ("2025-05-13", "2025-05-14")


# -- US stocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("quantity", "price", "commission", "clearing"),
    [(100, 50.0, 0.35, 0.02), (1_000, 50.0, 3.50, 0.20), (10, 2.0, 0.20, 0.002), (1, 5.0, 0.05, 0.0002), (400_000, 10.0, 1_250.00, 80.00)],
)
def test_ibkr_tiered(quantity: float, price: float, commission: float, clearing: float) -> None:
    """Minimum, rate, cap over minimum, and the border of the first tier."""
    found = lines(IbkrTiered(), quantity, price, "2026-09-08", +1)
    assert (found["commission"], found["clearing"]) == (pytest.approx(commission), pytest.approx(clearing))
    assert found["nyse"] == pytest.approx(commission * 0.000175)
    assert found["finra"] == pytest.approx(commission * 0.00056)
    assert found["venue_taker"] == pytest.approx(0.0030 * quantity)
    assert set(found) == {"commission", "clearing", "nyse", "finra", "venue_taker", "CAT"}


@pytest.mark.parametrize(("quantity", "price", "commission"), [(100, 25.0, 1.00), (1_000, 25.0, 5.00), (1_000, 0.25, 2.50)])
def test_ibkr_fixed_as_on_its_page(quantity: float, price: float, commission: float) -> None:
    """The three examples under the price list: minimum, rate, maximum."""
    assert lines(IbkrFixed(), quantity, price, "2026-09-08", +1)["commission"] == pytest.approx(commission)


@pytest.mark.parametrize(("quantity", "tiered", "fixed"), [(200_000, 1_355.78, 1_015.27), (30_000_000, 139_188.10, 151_207.27)])
def test_ibkr_comparison_examples_of_2023(quantity: float, tiered: float, fixed: float) -> None:
    """Totals of the page 'Fixed vs. Tiered Pricing Comparison Examples', sales at 5 that remove liquidity."""
    sale = Execution(IBM, -1, quantity, 5.0, noon("2023-06-01"))
    assert round(IbkrTiered().fee(sale), 2) == tiered
    assert round(IbkrFixed().fee(sale), 2) == fixed


def test_ibkr_comparison_example_of_2013() -> None:
    """The older page: 17.40 per million, a TAF of 5.95 at most. The rest of the list is not known for that year, and says so."""
    sale = Execution(IBM, -1, 200_000.0, 5.0, noon("2013-10-01"))
    with pytest.raises(DataError, match="'commission' of 'ibkr_tiered' on 2013-10-01 is not known"):
        IbkrTiered().fee(sale)
    found = IbkrTiered(outside="nearest").lines(sale)
    page = {"commission": 700.0, "venue_taker": 600.0, "clearing": 40.0, "SEC": 17.40, "finra": 0.39, "nyse": 0.12, "TAF": 5.95}
    assert {name: round(found[name], 2) for name in page} == page
    assert round(sum(found.values()), 2) == 1_363.86


def test_alpaca_golden_day() -> None:
    """8 September 2026: 100 sold at 250."""
    found = lines(Alpaca(), 100, 250.0, "2026-09-08")
    assert (found["SEC"], found["TAF"], found["CAT"]) == (pytest.approx(0.515), pytest.approx(0.0195), pytest.approx(0.0003))
    meter = fresh_costs(Alpaca())
    assert meter.fee(Execution(IBM, -1, 100.0, 250.0, noon("2026-09-08"))) == 0.0
    flows = session_end_flows(meter, noon("2026-09-08") + 1)
    assert [f.amount for f in flows] == [-0.52, -0.02, -0.01]
    assert sum(f.amount for f in flows) == pytest.approx(-0.55)
    assert all(f.kind == "fee" and f.currency == "USD" and f.symbol == "" for f in flows)


def test_alpaca_same_sale_in_2025() -> None:
    """2 June 2025: the SEC took nothing, FINRA 0.0166; the audit trail's rate of those months is not known."""
    found = lines(Alpaca(without=("CAT",)), 100, 250.0, "2025-06-02")
    assert found == {"commission": 0.0, "SEC": 0.0, "TAF": pytest.approx(0.0166)}
    with pytest.raises(DataError, match="'CAT'"):
        lines(Alpaca(), 100, 250.0, "2025-06-02")


def test_the_cap_of_the_taf_binds_from_50206_shares() -> None:
    """0.000195 x 50,205 = 9.789975; one share more would be 9.79017."""
    assert lines(Alpaca(), 50_205, 10.0, "2026-09-08")["TAF"] == pytest.approx(9.789975)
    assert lines(Alpaca(), 50_206, 10.0, "2026-09-08")["TAF"] == 9.79
    assert lines(IbkrTiered(), 1_000_000, 10.0, "2026-09-08")["TAF"] == 9.79


def test_purchases_pay_no_sales_fees() -> None:
    """SEC and TAF are for sales; the audit trail is for both."""
    assert set(lines(Alpaca(), 100, 250.0, "2026-09-08", +1)) == {"commission", "CAT"}


def test_alpaca_charges_days_separately() -> None:
    """Two sales of one day are summed before rounding; two days are rounded each; a missed session end loses nothing."""
    meter = fresh_costs(Alpaca())
    for day in ("2026-09-08", "2026-09-08", "2026-09-09"):
        meter.fee(Execution(IBM, -1, 10.0, 20.0, noon(day)))
    flows = meter.session_end(noon("2026-09-10"))
    by_day = {day: round(sum(f.amount for f in flows if day in f.note), 10) for day in ("2026-09-08", "2026-09-09")}
    assert by_day == {"2026-09-08": -0.03, "2026-09-09": -0.03}
    assert meter.session_end(noon("2026-09-11")) == []


def test_a_meter_belongs_to_one_run() -> None:
    """Two runs of one description do not see each other's volume."""
    model = IbkrTiered()
    first, second = fresh_costs(model), fresh_costs(model)
    big = Execution(IBM, +1, 300_000.0, 10.0, noon("2026-09-08"))
    assert first.fee(big) == second.fee(big) > 2 * (first.fee(big) - second.fee(big)) == 0.0
    assert fresh_costs(model).fee(big) == model.fee(big)


# -- crypto ---------------------------------------------------------------------------------------------------------------


def test_binance_spot_takes_the_fee_from_what_is_received() -> None:
    """After a buy one holds quantity x (1 - rate)."""
    ts = pd.Timestamp("2026-03-02 12:00", tz="UTC").value
    buy = Execution(COIN, +1, 2.0, 30_000.0, ts)
    assert (BinanceSpot().fee(buy), BinanceSpot().fee_currency(buy)) == (pytest.approx(0.002), "BTC")
    sale = buy._replace(sign=-1)
    assert (BinanceSpot().fee(sale), BinanceSpot().fee_currency(sale)) == (pytest.approx(60.0), "")
    assert BinanceSpot(pay_in_bnb=True).fee(sale) == pytest.approx(45.0)


@pytest.mark.parametrize(("vip", "maker", "taker"), [(0, 0.0200, 0.0500), (1, 0.016, 0.040), (6, 0.006, 0.025)])
def test_binance_futures(vip: int, maker: float, taker: float) -> None:
    """Per cent of the notional value."""
    ts = pd.Timestamp("2026-03-02 12:00", tz="UTC").value
    for side, rate in (("maker", maker), ("taker", taker)):
        trade = Execution(PERP, +1, 0.5, 40_000.0, ts, side)
        assert BinanceFutures(vip=vip).fee(trade) == pytest.approx(20_000 * rate / 100)
        assert BinanceFutures(vip=vip, pay_in_bnb=True).fee(trade) == pytest.approx(18_000 * rate / 100)
        assert BinanceFutures(vip=vip).fee_currency(trade) == ""


def test_alpaca_crypto_tier_1() -> None:
    """0.15 % for makers, 0.25 % for takers."""
    buy = Execution(COIN, +1, 1.0, 40_000.0, pd.Timestamp("2025-03-02 12:00", tz="UTC").value)
    assert (AlpacaCrypto().fee(buy), AlpacaCrypto().fee_currency(buy)) == (pytest.approx(0.0025), "BTC")
    assert AlpacaCrypto().fee(buy._replace(sign=-1, liquidity="maker")) == pytest.approx(60.0)


@pytest.mark.parametrize(
    "model",
    [
        costs_by_name("ibkr_tiered", without=["venue_taker"]),
        costs_by_name("alpaca", outside="nearest"),
        costs_by_name("binance_spot", vip=1, pay_in_bnb=True),
        costs_by_name("maker_taker", maker_bps=2, taker_bps=5),
        ByAssetClass(equity=Sum(IbkrFixed(), Bps(1)), crypto=NoCosts(), perpetual=BinanceFutures()),
        PerOrder(PerShare(0.005, minimum=1.0, maximum_bps=100.0)),
    ],
)
def test_descriptions_rebuild_models(model) -> None:
    """What the manifest says is what was charged."""
    kinds = (Alpaca, BinanceFutures, BinanceSpot, ByAssetClass, Bps, IbkrFixed, IbkrTiered, MakerTaker, NoCosts, PerOrder, PerShare, Sum)
    assert eval(repr(model), {kind.__name__: kind for kind in kinds}) == model


# -- carry ----------------------------------------------------------------------------------------------------------------


def fill(symbol: str, quantity: float, price: float, ts: int, currency: str = "USD") -> Fill:
    """A fill without a fee."""
    side = Side.BUY if quantity > 0 else Side.SELL
    return Fill(ts, f"{symbol}{ts}", "o", symbol, side, abs(quantity), price, currency=currency)


def test_borrow_runs_from_settlement_to_settlement() -> None:
    """Sold on Thursday, bought back on Friday, T+1: Friday, Saturday and Sunday are paid, whatever the trade dates say."""
    days = ["2026-03-05", "2026-03-06", "2026-03-09", "2026-03-10"]  # Thursday to Tuesday
    settled = {days[0]: 0.0, days[1]: -100.0, days[2]: 0.0, days[3]: 0.0}
    traded = {days[0]: -100.0, days[1]: 0.0, days[2]: 0.0, days[3]: 0.0}
    meter, flows, last = fresh_carry(BorrowFee(default=0.36)), [], noon(days[0]) - 1
    for day in days:
        holding = SimpleNamespace(instrument=IBM, quantity=traded[day])
        book = SimpleNamespace(holdings={"IBM": holding}, settled_quantity=lambda symbol, day=day: settled[day])
        flows += list(meter.flows(book, {"IBM": 49.0}, last, noon(day)))
        last = noon(day)
    assert [f.amount for f in flows] == pytest.approx([-100 * 50.0 * 0.36 * 3 / 360])
    assert "3 nights from 2026-03-06" in flows[0].note


def test_borrow_with_a_dated_rate_per_symbol() -> None:
    """The rate of the day on which the nights begin."""
    rates = (BorrowRate("IBM", 0.01), BorrowRate("IBM", 0.90, "2026-03-06"))
    book, meter, flows = Book([IBM], cash=1e6), fresh_carry(BorrowFee(rates=rates)), []
    book.apply_fill(fill("IBM", -100.0, 49.0, noon("2026-03-04")))
    last = noon("2026-03-04") - 1
    for day in ("2026-03-04", "2026-03-05", "2026-03-06", "2026-03-09"):
        flows += list(meter.flows(book, {"IBM": 49.0}, last, noon(day)))
        last = noon(day)
    assert [f.amount for f in flows] == pytest.approx([-5_000 * r * n / 360 for r, n in ((0.01, 1), (0.01, 1), (0.90, 3))])


def test_interest_uses_settled_cash_when_the_book_knows_it() -> None:
    """A purchase that has not settled costs no interest yet."""
    days, flows = ["2026-03-04", "2026-03-05", "2026-03-06"], []
    meter, last = fresh_carry(MarginInterest((InterestRate("USD", 0.0625),))), noon(days[0]) - 1
    for day, settled in zip(days, (0.0, -7_200.0, -7_200.0), strict=True):
        book = SimpleNamespace(holdings={}, cash={"USD": -7_200.0}, settled_cash=lambda currency, settled=settled: settled)
        flows += list(meter.flows(book, {}, last, noon(day)))
        last = noon(day)
    assert [f.amount for f in flows] == pytest.approx([-7_200 * 0.0625 / 360])


def test_an_empty_balance_asks_for_no_rate() -> None:
    """Float dust of a paid position is no debt."""
    meter = fresh_carry(MarginInterest((InterestRate("USD", 0.0625),)))
    book = SimpleNamespace(holdings={}, cash={"USD": 5.0, "EUR": -1e-10})
    assert [*meter.flows(book, {}, 0, noon("2026-03-04")), *meter.flows(book, {}, noon("2026-03-04"), noon("2026-03-05"))] == []


@pytest.mark.skipif(not (Path(DATA) / "crypto_minute").is_dir() or not DATA, reason="QTNB_SHARED_DATA names no folder of data")
def test_recorded_funding_of_xrp() -> None:
    """A long and a short through 30 days of recorded payments; the sum is worked out apart from the model."""
    folder = Path(DATA) / "crypto_minute"
    rates = pd.read_csv(folder / "freqtrade_xrp_usdt_perp_funding_8h.csv.gz", parse_dates=["date"])
    marks = pd.read_csv(folder / "freqtrade_xrp_usdt_perp_mark_1h.csv.gz", parse_dates=["date"]).set_index("date")["open"]
    stamps = rates["date"].dt.floor("1min")
    frame = pd.DataFrame({"ts": rates["date"], "symbol": "XRP", "rate": rates["open"], "mark": marks.reindex(pd.DatetimeIndex(stamps)).to_numpy()})
    known = frame.dropna(subset="mark")
    assert (len(frame), len(known)) == (91, 5)
    model = Funding(frame, floor="1min")
    xrp = Instrument("XRP", currency="USDT", asset_class="perpetual")
    hours = pd.date_range("2021-11-18", "2021-12-18", freq="1h", tz="UTC")
    prices = marks.reindex(hours).ffill().to_numpy()
    totals = {}
    for quantity in (1_000.0, -1_000.0):
        book, meter, last = Book([xrp], cash=1e6, base_currency="USDT"), fresh_carry(model), hours[0].value - 1
        book.apply_fill(fill("XRP", quantity, 1.05, hours[0].value, "USDT"))
        flows = []
        for hour, price in zip(hours, prices, strict=True):
            flows += list(meter.flows(book, {"XRP": price}, last, hour.value))
            last = hour.value
        totals[quantity] = sum(f.amount for f in flows)
        assert len(flows) == 91
    at_stamp = marks.reindex(hours).ffill().reindex(pd.DatetimeIndex(stamps)).to_numpy()
    assert totals[1_000.0] == pytest.approx(-1_000 * float(np.sum(at_stamp * rates["open"].to_numpy())))
    assert totals[1_000.0] == pytest.approx(-totals[-1_000.0])
    assert totals[1_000.0] < 0.0  # rates were positive: the long paid
    book.apply_fill(fill("XRP", 500.0, 1.05, hours[-1].value, "USDT"))
    with pytest.raises(DataError, match="was held at 2021-12-21"):
        list(meter.flows(book, {"XRP": 1.05}, last, pd.Timestamp("2021-12-21", tz="UTC").value))
