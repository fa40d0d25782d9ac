"""Profit, Brinson effects and factor contributions sum to the whole: on invented frames by property, and on real back-tests to the cent."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import REPO
from test_tearsheet import Page

from qtnb.backtest.attribution import attribute
from qtnb.backtest.carry import BorrowFee, MarginInterest
from qtnb.backtest.costs import PerShare
from qtnb.backtest.custodian import AccountRules
from qtnb.backtest.engine import Backtest
from qtnb.backtest.slippage import BpsSlippage
from qtnb.core.bars import Bars
from qtnb.data.loader import get_bars
from qtnb.data.sample import sample_factors
from qtnb.evaluation.attribution import attribution_tables, profit_parts
from qtnb.evaluation.brinson import brinson, carino, sector_returns
from qtnb.evaluation.exposures import capacity, exposure_by_group, exposure_series, turnover_series
from qtnb.evaluation.factors import fit_factors, rolling_betas, style_weights
from qtnb.evaluation.report import report
from qtnb.evaluation.results import tearsheet
from qtnb.portfolio.allocators import InverseVolatilityShares
from qtnb.strategies.allocated import Allocated
from qtnb.strategies.trend import TrendFollowing
from qtnb.strategies.xmom_crosssec import CrossSectionalMomentum

NAMES = ["AIG", "BAC", "EEM", "GOOGL", "IBM", "USO"]
SECTORS = {"AIG": "finance", "BAC": "finance", "GOOGL": "technology", "IBM": "technology"}
CASH = 1_000_000.0


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars.from_frame(get_bars(NAMES, "2014-03-23", "2021-03-31", source="sample", adjust="all"))


@pytest.fixture(scope="module")
def book() -> Allocated:
    return Allocated({"trend": TrendFollowing(), "xmom": CrossSectionalMomentum(top=2)}, InverseVolatilityShares(126))


@pytest.fixture(scope="module")
def run(bars: Bars, book: Allocated):
    rules = AccountRules(carry=[BorrowFee(default=0.03), MarginInterest({"USD": 0.05})])
    return Backtest(book, bars, cash=CASH, costs=PerShare(0.005, minimum=1.0), slippage=BpsSlippage(2.0), account=rules).run()


# -- money ----------------------------------------------------------------------------------------------------------------


def test_every_grouping_sums_to_the_account_at_each_bar(run) -> None:
    found = profit_parts(run)
    gain = run.equity.diff().fillna(0.0)
    assert np.abs(found.unexplained).max() < 1e-6
    for by in ("part", "symbol", "side", SECTORS):
        assert np.abs(found.by(by).sum(axis=1) - gain).max() < 1e-6, by
        if by != "part":
            table = found.table(by)
            assert table.at["total", "net"] == pytest.approx(run.equity.iloc[-1] - CASH, abs=0.005)
            assert table.drop(index="total")["return"].sum() == pytest.approx(run.equity.iloc[-1] / CASH - 1.0, abs=1e-10)


def test_the_costs_are_those_of_the_table_of_costs(run) -> None:
    steps, costs = attribution_tables(run)["gross_to_net"]["amount"], run.costs["amount"]
    assert set(steps.index) == {"gross", "fees", "slippage", "borrow", "interest", "net"}
    for kind in ("fees", "slippage", "borrow", "interest"):
        assert -steps[kind] == pytest.approx(costs[kind], abs=0.005), kind
    assert steps["gross"] == pytest.approx(run.equity.iloc[-1] - CASH + costs["total"], abs=0.01)
    assert steps.drop("net").sum() == pytest.approx(steps["net"], abs=1e-6)


def test_symbols_agree_with_a_book_kept_by_average_cost(bars: Bars) -> None:
    """The same profit by another road: realised and open profit of each holding."""
    from qtnb.backtest.portfolio import contributions

    alone = Backtest(TrendFollowing(), bars, cash=CASH, costs=PerShare(0.005, minimum=1.0), slippage=BpsSlippage(2.0)).run()
    ours, theirs = profit_parts(alone).table("symbol")["net"], contributions(alone, bars)["net"]
    for symbol, net in theirs.items():
        assert ours[symbol] == pytest.approx(net, abs=0.01)


def test_raw_prices_with_splits_and_dividends_as_events() -> None:
    """GOOGL split in 2014, and IBM paid dividends: neither leaves anything unexplained."""
    raw = Bars.from_frame(get_bars(["AIG", "GOOGL", "IBM"], "2012-01-02", "2016-12-30", source="sample", adjust="none"))
    from qtnb.data.loader import get_events

    events = get_events(["AIG", "GOOGL", "IBM"], "2012-01-02", "2016-12-30", source="sample")
    result = Backtest(TrendFollowing(), raw, cash=CASH, costs=PerShare(0.005), events=events).run()
    found = profit_parts(result)
    assert len(result.cash_flows) > 10
    assert np.abs(found.by("symbol").sum(axis=1) - result.equity.diff().fillna(0.0)).max() < 1e-6
    assert np.abs(found.unexplained).max() < 500.0  # cash in place of fractions of a share, at most one share of each name


def test_strategies_sum_to_the_account_or_are_refused(run, bars: Bars, book: Allocated) -> None:
    profit = attribute(run, book.parts(bars), bars).profit
    table = attribution_tables(run, strategies=profit)["by_strategy"]
    assert list(table.index) == ["trend", "xmom", "book", "total"]
    assert table.at["total", "net"] == pytest.approx(run.equity.iloc[-1] - CASH, abs=0.005)
    with pytest.raises(ValueError, match="missed the profit"):
        attribution_tables(run, strategies=profit * 1.01)


def test_a_report_shows_strategies_sectors_and_betas(run, bars: Bars, book: Allocated) -> None:
    """All that only a reader can add to the attribution of a run: in the page and in a notebook, with the numbers of the functions behind them."""
    close = pd.DataFrame(bars.mark, bars.index, list(bars.symbols))
    earned = close.pct_change(fill_method=None).iloc[1:].fillna(0.0).assign(cash=0.0)
    held = run.weights.shift(1).iloc[1:].fillna(0.0)
    held["cash"] = 1.0 - held.sum(axis=1)
    even = pd.DataFrame({s: 0.0 if s == "cash" else 1.0 / len(bars.symbols) for s in held.columns}, held.index)
    groups = SECTORS | {"cash": "cash"}
    compared = brinson(*sector_returns(held, earned, groups), *sector_returns(even, earned, groups))
    market = pd.DataFrame({"market": earned.drop(columns="cash").mean(axis=1)})
    given = {"strategies": attribute(run, book.parts(bars), bars).profit, "sectors": SECTORS, "brinson": compared, "factors": market}
    shown = [Page(tearsheet(run, sections=["attribution"], **given)).words, Page(report(run, sections=["attribution"], **given)._repr_html_()).words]
    active = f"{compared.summary()['active']:.2%}".replace("-", "\u2212")
    net = f"{run.equity.iloc[-1] - CASH:,.2f}".replace("-", "\u2212")
    for words in shown:
        for caption in ("By strategy", "By sector", "Against the benchmark by sector", "Betas over time"):
            assert caption in words, caption
        assert active in words and net in words and "xmom" in words
    with pytest.raises(ValueError, match="missed the profit"):
        tearsheet(run, sections=["attribution"], strategies=given["strategies"] * 1.01)


def test_exposures_agree_with_the_account(run) -> None:
    found = exposure_series(run.weights)
    assert np.allclose(found["gross"], run.account["gross_exposure"], atol=1e-12)
    assert np.allclose(found["short"], run.account["short_exposure"], atol=1e-12)
    for side in ("net", "gross", "long", "short"):
        assert np.allclose(exposure_by_group(run.weights, SECTORS, side).sum(axis=1), found[side], atol=1e-12)
    assert (turnover_series(run.fills, run.equity) * run.equity).sum() == pytest.approx(run.fills["value_base"].sum())
    assert found["effective_names"].max() <= found["names"].max() + 1e-9


def test_capacity_does_not_depend_on_the_size_of_the_account(run, bars: Bars) -> None:
    """Twice the orders in twice the account: the same equity is the limit."""
    volume = pd.DataFrame(bars.volume, run.equity.index, bars.symbols)
    one = capacity(run.fills, run.equity, volume)
    double = run.fills.assign(quantity=2 * run.fills["quantity"], value_base=2 * run.fills["value_base"])
    two = capacity(double, 2 * run.equity, volume)
    assert two["capacity"] == pytest.approx(one["capacity"])
    assert two["participation_high"] == pytest.approx(2 * one["participation_high"])
    assert one["value_known"] == pytest.approx(1.0)


# -- Brinson --------------------------------------------------------------------------------------------------------------

RETURN = st.floats(-0.5, 0.8, allow_nan=False)
SHARE = st.floats(0.01, 1.0, allow_nan=False)


@st.composite
def cases(draw):
    periods, sectors = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    def table(values):
        return np.array(draw(st.lists(st.lists(values, min_size=sectors, max_size=sectors), min_size=periods, max_size=periods)))
    w, v = table(SHARE), table(SHARE)
    frames = (w / w.sum(axis=1, keepdims=True), table(RETURN), v / v.sum(axis=1, keepdims=True), table(RETURN))
    return [pd.DataFrame(f) for f in frames]


@settings(max_examples=80, deadline=None)
@given(cases())
def test_effects_sum_to_the_active_return_and_linked_to_the_compounded_one(frames) -> None:
    found = brinson(*frames)
    effects = found.effects
    assert np.allclose(effects[["allocation", "selection", "interaction"]].sum(axis=1), effects["active"], atol=1e-12)
    assert found.linked().at["total", "active"] == pytest.approx(found.summary()["active"], abs=1e-9)
    assert found.linked().drop(index="total")["active"].sum() == pytest.approx(found.summary()["active"], abs=1e-9)


@settings(max_examples=80, deadline=None)
@given(cases())
def test_who_holds_the_benchmark_has_no_effects(frames) -> None:
    found = brinson(frames[2], frames[3], frames[2], frames[3])
    assert np.abs(found.linked().to_numpy()).max() == 0.0


def test_carino_is_smooth_where_the_returns_meet() -> None:
    """The series near zero and the logarithms elsewhere agree at the seam."""
    base = np.full(2, 0.01)
    below, above = (carino(base + gap, base) for gap in (1.0099e-5, 1.0101e-5))
    assert np.allclose(below, above, rtol=1e-9)


def test_sectors_of_a_real_book_add_up(run, bars: Bars) -> None:
    weights = run.weights.shift(1).iloc[1:]
    returns = pd.DataFrame(bars.mark, run.weights.index, bars.symbols).pct_change().iloc[1:]
    size, earned = sector_returns(weights.fillna(0.0), returns.fillna(0.0), SECTORS)
    assert np.allclose((size * earned.fillna(0.0)).sum(axis=1), (weights * returns).fillna(0.0).sum(axis=1), atol=1e-12)


# -- factors --------------------------------------------------------------------------------------------------------------

FRENCH = REPO / "tests/references/data"


def french(name: str) -> pd.DataFrame:
    """The factors as decimals, on UTC stamps of the days or of the ends of the months."""
    table = pd.read_csv(FRENCH / f"french_{name}.csv.gz", index_col="date") / 100.0
    stamps = pd.to_datetime(table.index.astype(str), format="%Y%m%d" if name == "daily" else "%Y%m")
    return table.set_index((stamps if name == "daily" else stamps + pd.offsets.MonthEnd(0)).tz_localize("UTC"))


def managed_market() -> tuple[pd.Series, pd.DataFrame]:
    """Moreira and Muir's portfolio: the market over last month's realised variance, scaled to the market's deviation, 1926-08 to 2015-12."""
    daily = french("daily")["Mkt-RF"]
    variance = daily.groupby(daily.index.tz_localize(None).to_period("M")).var(ddof=0)
    market = french("monthly")["Mkt-RF 2018"].loc["1926-08":"2015-12"]
    raw = market / variance.shift(1).loc["1926-08":"2015-12"].to_numpy()
    return raw * (market.std() / raw.std()), market.to_frame("market")


def test_the_regression_of_moreira_and_muir() -> None:
    """Table I of the paper (Journal of Finance 72(4), 2017), first column: alpha, its White error, beta and R squared in print."""
    fit = fit_factors(*managed_market(), lags=0, periods_per_year=12)
    assert len(fit.returns) == 1073
    assert 100 * fit.summary()["alpha"] == pytest.approx(4.86, abs=0.10)
    assert 1200 * fit.errors["alpha"] == pytest.approx(1.56, abs=0.05)
    assert fit.coefficients["market"] == pytest.approx(0.61, abs=0.01)
    assert fit.r_squared == pytest.approx(0.37, abs=0.01)


def test_a_fit_is_that_of_statsmodels() -> None:
    import statsmodels.api as sm

    table = french("monthly").loc["1963-07":"1993-12"]
    right = ["Mkt-RF", "SMB", "HML"]
    fit = fit_factors(table["Mom"], table[right], lags=6)
    theirs = sm.OLS(table["Mom"], sm.add_constant(table[right])).fit(cov_type="HAC", cov_kwds={"maxlags": 6, "use_correction": True}, use_t=True)
    assert np.allclose(fit.coefficients, theirs.params, rtol=1e-10)
    assert np.allclose(fit.errors, theirs.bse, rtol=1e-10)
    assert np.allclose(fit.table()[["low", "high"]], theirs.conf_int(), rtol=1e-8)
    assert np.allclose(fit.p_values, theirs.pvalues, rtol=1e-8)
    assert np.allclose(fit.contributions().sum(axis=1), table["Mom"], atol=1e-15)
    betas, errors = rolling_betas(table["Mom"], table[right], window=60, lags=3)
    for end in (60, 200, len(table)):
        part = table.iloc[end - 60 : end]
        window = sm.OLS(part["Mom"], sm.add_constant(part[right])).fit(cov_type="HAC", cov_kwds={"maxlags": 3, "use_correction": True})
        assert np.allclose(betas.iloc[end - 1], window.params, rtol=1e-8)
        assert np.allclose(errors.iloc[end - 1], window.bse, rtol=1e-8)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_style_weights_are_not_beaten(seed: int) -> None:
    """No other mix on the simplex tracks better."""
    rng = np.random.default_rng(seed)
    styles = pd.DataFrame(rng.normal(0.0, 0.03, (60, 4)))
    wanted = pd.Series(styles.to_numpy() @ rng.normal(0.3, 0.6, 4) + rng.normal(0.0, 0.01, 60))
    best = style_weights(wanted, styles)
    assert best.min() >= 0.0 and best.sum() == pytest.approx(1.0)
    error = (wanted - styles @ best).var()
    for other in rng.dirichlet(np.ones(4) * 0.5, 200):
        assert error <= (wanted - styles @ other).var() + 1e-12


def test_the_sample_factors_are_those_of_the_references() -> None:
    monthly, reference = sample_factors("monthly"), french("monthly")
    assert np.allclose(monthly[["Mkt-RF", "SMB", "HML", "RF", "Mom"]], reference[["Mkt-RF", "SMB", "HML", "RF", "Mom"]], atol=1e-12, equal_nan=True)
    daily = sample_factors("daily")
    same = french("daily")["Mkt-RF"].loc["1998-01-01":"2021-03-31"].to_numpy()
    assert np.allclose(daily["Mkt-RF"], same, atol=1e-12)
    assert len(daily) == len(same)
    with pytest.raises(ValueError, match="monthly"):
        sample_factors("weekly")


def test_a_back_test_on_the_factors(run) -> None:
    """The stamps of the daily factors are those of the sample's bars, so that a regression finds every session."""
    returns = run.equity.pct_change().dropna()
    factors = sample_factors("daily")
    fit = fit_factors(returns, factors[["Mkt-RF", "SMB", "HML"]], risk_free=factors["RF"])
    assert len(fit.returns) == len(returns)
    assert fit.periods_per_year == 252
    assert np.allclose(fit.contributions().sum(axis=1), returns, atol=1e-15)
