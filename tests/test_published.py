"""Tables of published papers come out of qtnb's strategy and engine: near to what is printed by stated margins, and to the last digit what was recorded."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
from support import REPO

sys.path.insert(0, str(REPO / "tests/references"))

import published  # noqa: E402

from qtnb.backtest.honesty import check_lookahead  # noqa: E402

SWAPPED = {("IV", "volatility", q) for q in ("alpha", "alpha at 1 bp", "alpha at 10 bp", "alpha at 14 bp")}
DOUBTFUL = {("IV", "at most 1.5", q) for q in ("change of weight", "alpha at 1 bp", "alpha at 10 bp", "alpha at 14 bp")}
MARGINS = {  # how far ours may lie from the printed number
    "error": 0.10, "beta": 0.015, "R2": 0.01, "RMSE": 0.20, "months": 0.0, "change of weight": 0.006, "Sharpe": 0.006,
    "mean": 0.17, "deviation": 0.08, "t": 0.35,
    "P50": 0.02, "P75": 0.006, "P90": 0.006, "P99": 0.5,
    "alpha at 1 bp": 0.03, "alpha at 10 bp": 0.03, "alpha at 14 bp": 0.03,
}
MARKET = {"I": 0.005, "I B": 0.005, "IV": 0.03, "V": 0.03}  # alphas of the market, whose data have hardly been revised


def _error_of(row: pd.Series) -> float:
    """The standard error that the paper prints beside an alpha."""
    table = published.printed()
    found = table[(table["table"] == row["table"]) & (table["row"] == row["row"]) & (table["quantity"] == "error")]
    return float(found["printed"].iloc[0])


def _margin(row: pd.Series) -> float:
    """Alphas of the market by their last digits, others by a quarter of the printed standard error."""
    if row["quantity"] != "alpha":
        return MARGINS[row["quantity"]]
    if row["row"] == "Mkt-RF" or row["table"] in ("IV", "V"):
        return MARKET[row["table"]]
    return 0.25 * _error_of(row)


def test_ours_against_the_printed_numbers() -> None:
    """Every number lies within its margin, except those that contradict others in the paper, which must not."""
    table = published.compared()
    beyond = set()
    for _, row in table.iterrows():
        if abs(row["ours"] - row["printed"]) > _margin(row) + 1e-9:
            beyond.add((row["table"], row["row"], row["quantity"]))
    assert beyond == SWAPPED | DOUBTFUL


def test_the_means_within_their_own_errors() -> None:
    """Mean factor returns lie within a quarter of their standard error of what Carhart, and Fama and French, print."""
    table = published.compared().set_index(["paper", "table", "row", "quantity"])
    means = table.xs("mean", level="quantity").loc[[published.CARHART, published.FAMA]]
    errors = table["ours"].xs("mean", level="quantity") / table["ours"].xs("t", level="quantity")
    assert len(means) == 7
    assert ((means["ours"] - means["printed"]).abs() < 0.25 * errors.loc[means.index]).all()


def test_to_five_digits_what_was_recorded() -> None:
    """The recorded table (`python tests/references/published.py`) is what comes out now."""
    recorded = pd.read_csv(published.RECORDED)
    ours = published.compared()
    keys = ["paper", "table", "row", "quantity"]
    pd.testing.assert_frame_equal(recorded[keys], ours[keys].reset_index(drop=True))
    np.testing.assert_allclose(recorded["printed"], ours["printed"], rtol=0, atol=0)
    np.testing.assert_allclose(recorded["ours"], ours["ours"], rtol=0, atol=2e-6)


def test_the_account_earns_weight_times_factor() -> None:
    """Every month of the account is the weight decided before times the factor's return: nothing is lost between signal and money."""
    for name in ("Mkt-RF", "SMB monthly 2018"):
        months = published.managed(name).months
        np.testing.assert_allclose(months["managed"], months["weight"] * months["factor"], rtol=0, atol=1e-10)
        assert len(months) == 1_065


def test_against_a_plain_calculation() -> None:
    """The alpha from French's columns alone, without bars, strategy or engine."""
    daily, monthly = published.french("daily"), published.french("monthly")
    variance = daily["HML"].groupby(daily.index.to_period("M")).var().shift(1)
    factor = monthly["HML 2018"].loc[published.FIRST : published.LAST]
    scaled = factor / variance.loc[factor.index]
    managed = scaled * factor.std() / scaled.std()
    right = np.column_stack([np.ones(len(factor)), factor])
    (alpha, beta), *_ = np.linalg.lstsq(right, managed.to_numpy(), rcond=None)
    ours = published.regress(published.managed("HML monthly 2018").months)
    assert ours["alpha"] == pytest.approx(1200 * alpha, abs=0.01)  # the index knows no return of the first day
    assert ours["beta"] == pytest.approx(beta, abs=1e-3)


def test_the_strategy_does_not_look_ahead() -> None:
    """Weights of the past do not move when the future is cut off."""
    run = published.managed("Mkt-RF")
    assert check_lookahead(run.strategy, run.bars) == []


def test_the_months_are_whole() -> None:
    """The daily and the monthly file tell the same story of the market, and the older edition begins and ends where it says."""
    daily, monthly = published.french("daily"), published.french("monthly")
    compounded = (1 + daily["Mkt-RF"]).groupby(daily.index.to_period("M")).prod() - 1
    assert compounded.index.equals(monthly.index)
    assert (compounded - monthly["Mkt-RF"]).abs().max() < 0.005  # half a per cent, in a month of the thirties
    assert str(monthly["SMB 2018"].last_valid_index()) == "2018-11" and str(monthly["Mom"].first_valid_index()) == "1927-01"
