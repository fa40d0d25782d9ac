"""Figures of many strategies: recorded values of other libraries, the traps they fall into, properties, and bad input."""

from __future__ import annotations

import json
import math
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS
from support import REPO

from qtnb.core.errors import ConfigError, DataError
from qtnb.evaluation import performance as perf
from qtnb.evaluation.definitions import METRICS
from qtnb.evaluation.deflation import minimum_track_record_length, probabilistic_sharpe_ratio, sharpe_deviation
from qtnb.evaluation.returns import equity_from_returns

GOLDEN = json.loads((REPO / "tests/references/evaluation/golden.json").read_text(encoding="utf-8"))
SAMPLES = ("plain", "losing")


def sample(name: str) -> tuple[pd.Series, pd.Series]:
    """The seeded returns and benchmark that the other libraries were given."""
    sys.path.insert(0, str(REPO / "tests/references/evaluation"))
    try:
        from samples import sample as made
    finally:
        sys.path.pop(0)
    return made(name)


def figures(name: str) -> pd.Series:
    """All our figures of a sample, and the block lengths."""
    r, b = sample(name)
    found = perf.statistics(r, benchmark=b, periods_per_year=252)
    sticky = r.ewm(alpha=0.4, adjust=False).mean()
    for key, series in (("block_length", r), ("block_length_squares", r**2), ("block_length_sticky", sticky)):
        found[key] = perf.optimal_block_length(series)
    return found


def stamps(n: int, freq: str = "B", start: str = "2015-01-01T21:00") -> pd.DatetimeIndex:
    """Aware stamps in nanoseconds."""
    return pd.date_range(start, periods=n, freq=freq, tz="UTC").as_unit("ns")


def many(columns: int = 7, n: int = 800, seed: int = 3) -> pd.DataFrame:
    """Strategies with fat tails, one constant, one with holes, one late."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(0.0004 + 0.01 * rng.standard_t(4, (n, columns)), index=stamps(n), columns=[f"s{k}" for k in range(columns)])
    frame["s0"] = 0.001
    frame.iloc[::9, 1] = np.nan
    frame.iloc[: n // 2, 2] = np.nan
    return frame


# -- other libraries --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLES)
def test_agreement_with_other_libraries(name: str) -> None:
    """Every recorded value without a note is ours to nine digits; a sample of at least fifty figures is compared."""
    ours, wrong, count = figures(name), [], 0
    for figure, libraries in GOLDEN[name].items():
        for library, theirs in libraries.items():
            if library in GOLDEN["notes"].get(figure, {}):
                continue
            count += 1
            if not ours[figure] == pytest.approx(theirs, rel=1e-9, abs=1e-14):
                wrong.append((figure, library, ours[figure], theirs))
    assert not wrong and count > 80


def test_two_sources_or_a_reason() -> None:
    """Each figure of the samples agrees with somebody, or every disagreement is named; notes are true on at least one sample."""
    ours = {name: figures(name) for name in SAMPLES}
    for figure, notes in GOLDEN["notes"].items():
        for library in notes:
            assert any(abs(ours[n][figure] - GOLDEN[n][figure][library]) > 1e-9 * abs(ours[n][figure]) for n in SAMPLES), (figure, library)
    compared = {f for f, libraries in GOLDEN["plain"].items() if len(libraries) >= 2 or f not in GOLDEN["notes"]}
    assert len(compared) > 50


@pytest.mark.parametrize("name", SAMPLES)
def test_reasons_by_formula(name: str) -> None:
    """What a note says turns our figure into theirs."""
    (r, b), ours, theirs = sample(name), figures(name), GOLDEN[name]
    n, total = len(r), ours["total_return"]
    rows = (1 + total) ** (252 / n) - 1
    depth = (1 + r).cumprod() / np.maximum((1 + r).cumprod().cummax(), 1.0) - 1
    ordered = np.sort(r)
    up, down = b > 0, b < 0
    expected = {
        ("cagr", "quantstats"): rows,
        ("calmar", "empyrical"): rows / -ours["max_drawdown"],
        ("ulcer", "quantstats"): ours["ulcer"] * math.sqrt(n / (n - 1)),
        ("martin", "quantstats"): total / theirs["ulcer"]["quantstats"],
        ("value_at_risk", "empyrical"): np.percentile(r, 5),
        ("value_at_risk", "skfolio"): ordered[65],
        ("tail_ratio", "quantstats"): abs(np.percentile(r, 95) / np.percentile(r, 5)),
        ("alpha", "empyrical"): (1 + ours["alpha"] / 252) ** 252 - 1,
        ("information_ratio", "quantstats"): ours["information_ratio"] / math.sqrt(252),
        ("treynor", "quantstats"): total / ours["beta"],
        ("recovery_factor", "quantstats"): abs(r.sum()) / -ours["max_drawdown"],
        ("up_capture", "empyrical"): (stats.gmean(1 + r[up]) ** 252 - 1) / (stats.gmean(1 + b[up]) ** 252 - 1),
        ("down_capture", "vectorbt"): (stats.gmean(1 + r[down]) ** 252 - 1) / (stats.gmean(1 + b[down]) ** 252 - 1),
        ("serenity", "quantstats"): r.sum() / (math.sqrt((depth**2).sum() / (n - 1)) * -_gaussian_shortfall(depth) / r.std()),
        ("autocorrelation", "pandas"): np.corrcoef(r[1:], r[:-1])[0, 1],
        ("common_sense", "vectorbt"): theirs["tail_ratio"]["vectorbt"] * (1 + rows),
    }
    for (figure, library), value in expected.items():
        assert theirs[figure][library] == pytest.approx(value, rel=1e-9), (figure, library)


def _gaussian_shortfall(values: pd.Series) -> float:
    return values.mean() - values.std() * stats.norm.pdf(stats.norm.ppf(0.05)) / 0.05


def test_round_trips_against_vectorbt() -> None:
    """Its random trades, with fees; the system quality is of money there and of returns here."""
    made = GOLDEN["trades"]
    frame = pd.DataFrame(
        {
            "pnl": made["pnl"],
            "return": made["return"],
            "is_open": made["is_open"],
            "fees": made["fees"],
            "bars_held": -1,
            "entry_ts": pd.to_datetime(made["entry"], utc=True),
            "exit_ts": pd.to_datetime(made["exit"], utc=True),
            "mae_pct": np.nan,
            "mfe_pct": np.nan,
        }
    )
    found, pnl = perf.trade_statistics(frame), np.array(made["pnl"])[~np.array(made["is_open"])]
    for figure, theirs in made["values"].items():
        if figure != "system_quality":
            assert found[figure] == pytest.approx(theirs, rel=1e-12), figure
    assert made["values"]["system_quality"] == pytest.approx(math.sqrt(len(pnl)) * pnl.mean() / pnl.std(ddof=1))
    assert found["open_trades"] == sum(made["is_open"]) and math.isnan(found["bars_held"]) and math.isnan(found["average_mae"])


def test_certainty_of_the_sharpe_ratio() -> None:
    """The error of any shape, the probability and the track record of `deflation` are one formula."""
    for name in SAMPLES:
        found, n = figures(name), len(sample(name)[0])
        shape = {"skewness": found["skew"], "excess_kurtosis": found["kurtosis"]}
        period = found["sharpe"] / math.sqrt(252)
        deviation = sharpe_deviation(period, n, **shape)
        assert found["sharpe_se_opdyke"] == pytest.approx(deviation * math.sqrt(252 * (n - 1) / n))
        assert found["sharpe_probability"] == pytest.approx(probabilistic_sharpe_ratio(period, n, **shape), rel=1e-12)
        if found["sharpe_probability"] > 0.5:
            assert minimum_track_record_length(period, confidence=found["sharpe_probability"], **shape) == pytest.approx(n, rel=1e-6)


def test_any_shape_error_against_simulation() -> None:
    """With skewed returns the formula of Mertens and Opdyke meets the scatter of the estimates, and Lo's does not."""
    rng = np.random.default_rng(12)
    draws = 0.08 - 0.1 * (rng.gamma(2.0, 1.0, (3000, 400)) - 2.0) / math.sqrt(2.0)
    found = perf.statistics(draws.T, periods_per_year=1, metrics=["sharpe", "sharpe_se", "sharpe_se_opdyke"])
    scatter = found["sharpe"].std()
    assert found["sharpe_se_opdyke"].mean() == pytest.approx(scatter, rel=0.05) and found["sharpe_se"].mean() < 0.8 * scatter


def test_bootstrap_covers() -> None:
    """A 90% interval of the mean holds the true one in about nine of ten records, also when returns stick together."""
    rng, inside = np.random.default_rng(21), 0
    for k in range(60):
        shocks = rng.normal(0.0, 0.01, 700)
        x = np.empty(700)
        x[0] = shocks[0]
        for t in range(1, 700):
            x[t] = 0.3 * x[t - 1] + shocks[t]
        low, high = perf.bootstrap_interval((x + 0.001)[:, None][:, 0], ["mean_return"], periods_per_year=252, confidence=0.9, draws=200, seed=k).loc[
            "mean_return", ["low", "high"]
        ]
        inside += low <= 0.001 <= high
    assert 46 <= inside <= 60


# -- one and many -----------------------------------------------------------------------------------------------------------


def test_alone_and_in_company() -> None:
    """A strategy has the same bits alone, among others, in another order, and in a frame of another memory layout."""
    frame = many(40)
    market = frame.mean(axis=1)
    table = perf.statistics(frame, benchmark=market, periods_per_year=252, risk_free=0.02)
    turned = perf.statistics(
        pd.DataFrame(np.asfortranarray(frame.to_numpy()[:, ::-1]), index=frame.index, columns=frame.columns[::-1]),
        benchmark=market,
        periods_per_year=252,
        risk_free=0.02,
    )
    pd.testing.assert_frame_equal(table, turned.loc[table.index], rtol=0, atol=0)
    for name in ("s0", "s1", "s2", "s39"):
        pd.testing.assert_series_equal(
            table.loc[name], perf.statistics(frame[name], benchmark=market, periods_per_year=252, risk_free=0.02), rtol=0, atol=0
        )


def test_scalar_functions_agree() -> None:
    """The functions for one figure and the columns of the table are the same numbers."""
    frame = many(12)
    table = perf.statistics(frame, periods_per_year=252, risk_free=0.03)
    for name, row in table.iterrows():
        r = frame[name]
        expected = {
            "total_return": perf.total_return(r),
            "annual_volatility": perf.annual_volatility(r, 252),
            "sharpe": perf.sharpe_ratio(r, 252, risk_free=0.03),
            "sharpe_se": perf.sharpe_standard_error(r, 252, risk_free=0.03),
            "sortino": perf.sortino_ratio(r, 252, target=0.03),
            "max_drawdown": perf.max_drawdown(r),
            "value_at_risk": perf.value_at_risk(r),
            "expected_shortfall": perf.expected_shortfall(r),
            "skew": perf.skewness(r),
            "kurtosis": perf.excess_kurtosis(r),
            "hit_rate": perf.hit_rate(r),
        }
        assert row[list(expected)].to_dict() == pytest.approx(expected, rel=1e-13, abs=1e-15, nan_ok=True)
        summary = perf.summary(equity_from_returns(r), periods_per_year=252, risk_free=0.03, more="all")
        shared = [n for n in table.columns if n in summary.values]
        assert set(shared) == set(table.columns)
        assert row[shared].astype(float).to_dict() == pytest.approx({n: float(summary[n]) for n in shared}, rel=1e-7, abs=1e-12, nan_ok=True)


def test_summary_takes_more() -> None:
    """Further figures keep the order of the definitions; a benchmark adds the comparison; the default is what it was."""
    r, b = sample("plain")
    equity = equity_from_returns(r)
    plain, full = perf.summary(equity), perf.summary(equity, more=["omega", "ulcer"], benchmark=b)
    assert (
        "omega" not in plain.values
        and {"omega", "ulcer", "beta"} <= set(full.values)
        and list(full.values) == [n for n in METRICS if n in full.values]
    )
    assert full["beta"] == pytest.approx(figures("plain")["beta"], rel=1e-9) and full.to_frame().loc["beta", "label"] == "Beta"
    assert perf.summary(equity, more=["sharpe"]).values == plain.values


def test_every_name_is_defined() -> None:
    """Each statistic has a definition and each definition that is no date or trading figure a statistic."""
    names = {*perf.STATISTICS, *perf.BENCHMARK_STATISTICS, *perf.TRADE_STATISTICS}
    others = {n for n in METRICS if n not in names}
    assert names <= set(METRICS) and all(
        METRICS[n][1] in ("date", "money")
        or n in {"periods_per_year", "risk_free", "fills", "fees_bps", "turnover", "gross_exposure", "net_exposure", "time_in_market"}
        for n in others
    )


def test_a_sweep_takes_any_figure() -> None:
    """A figure that a run does not record is worked out for each trial; what needs a benchmark is refused."""
    from qtnb.backtest.trials import check_metrics, figure_of
    from qtnb.evaluation.results import result_from_equity

    assert "ulcer" in check_metrics(["ulcer"])
    with pytest.raises(ConfigError, match="beta"):
        check_metrics(["beta"])
    r, _ = sample("plain")
    run = result_from_equity(equity_from_returns(r))
    assert figure_of(run, "ulcer") == pytest.approx(figures("plain")["ulcer"]) and figure_of(run, "sharpe") == run.metrics["sharpe"]


# -- what others get wrong --------------------------------------------------------------------------------------------------


def test_large_gains_are_returns() -> None:
    """Returns that are never negative, one above 1, are not taken for prices."""
    r = pd.Series([0.0, 0.5, 1.5, 0.1, 0.0, 0.2], index=stamps(6))
    found = perf.statistics(r, periods_per_year=252)
    assert found["total_return"] == pytest.approx(1.5 * 2.5 * 1.1 * 1.2 - 1) and found["max_drawdown"] == 0.0


def test_first_day_counts_everywhere() -> None:
    """Under water from row one: one episode, in every figure of drawdowns."""
    found = perf.statistics(pd.Series([-0.2, 0.05, 0.05], index=stamps(3)))
    assert (
        found["max_drawdown"] == pytest.approx(-0.2)
        and found["drawdowns"] == 1
        and found["under_water"] == 1.0
        and found["average_drawdown"] == pytest.approx(-0.2)
    )


def test_length_does_not_inflate() -> None:
    """The same returns twice: ratios of a year stay, the recovery factor alone grows."""
    r, b = sample("plain")
    twice = pd.Series(np.tile(r, 2), index=stamps(2 * len(r)))
    market = pd.Series(np.tile(b, 2), index=twice.index)
    one = perf.statistics(pd.Series(r.to_numpy(), index=stamps(len(r))), benchmark=market, periods_per_year=252)
    two = perf.statistics(twice, benchmark=market, periods_per_year=252)
    for figure in ("treynor", "martin", "information_ratio", "sharpe", "alpha", "omega", "up_capture", "tail_ratio"):
        assert two[figure] == pytest.approx(one[figure], rel=0.02), figure
    assert two["recovery_factor"] > 1.5 * one["recovery_factor"]


def test_signs() -> None:
    """A pure loser has a negative recovery factor; mean reversion raises the autocorrelated ratio of a winner."""
    assert figures("losing")["recovery_factor"] < 0
    turning = pd.Series(np.tile([0.02, -0.01], 200) + np.random.default_rng(0).normal(0, 0.003, 400), index=stamps(400))
    found = perf.statistics(turning, periods_per_year=252)
    assert found["autocorrelation"] < -0.5 and found["sharpe_autocorrelation"] > found["sharpe"]


def test_nothing_to_divide_by() -> None:
    """No drawdown, no losing period, no movement: NaN, neither an infinity nor an error."""
    for rate in (0.0, 0.001, 1e-4):
        found = perf.statistics(pd.Series(rate, index=stamps(600)), benchmark=pd.Series(0.0005, index=stamps(600)))
        for figure in (
            "sharpe",
            "sortino",
            "calmar",
            "martin",
            "omega",
            "payoff",
            "profit_factor",
            "tail_ratio",
            "gain_to_pain",
            "serenity",
            "kelly",
            "mean_t",
            "skew",
            "kurtosis",
            "beta",
            "alpha",
            "correlation",
            "information_ratio",
            "appraisal",
            "risk_of_halving",
        ):
            assert math.isnan(found[figure]), (rate, figure)
        assert not np.isinf(found).any() and found["max_drawdown"] == 0.0


def test_gaps_are_neither_zero_months_nor_rows() -> None:
    """A month without data is absent; rows without a value change nothing but calendar figures that rest on their stamps."""
    r, _ = sample("plain")
    holes = r.copy()
    holes.iloc[::7] = np.nan
    pd.testing.assert_series_equal(
        perf.statistics(holes, periods_per_year=252), perf.statistics(holes.dropna(), periods_per_year=252), rtol=0, atol=0
    )
    gap = pd.Series([0.1, 0.1], index=pd.DatetimeIndex(["2024-01-15T21:00Z", "2024-06-14T21:00Z"]))
    assert perf.statistics(gap, periods_per_year=252)["worst_month"] == pytest.approx(0.1)


def test_young_funds_have_no_old_returns() -> None:
    """Four months of record have a return over three months and none over six."""
    r = pd.Series(0.001, index=stamps(90, "B", "2024-01-02T21:00"))
    found = perf.statistics(r)
    assert found["last_3m"] > 0 and found[["last_6m", "last_1y", "last_3y", "last_5y", "last_10y"]].isna().all()


def test_rolling_beta_against_regressions() -> None:
    """Windows hold exactly their number of rows, the warm-up is empty, and slopes and intercepts are those of least squares."""
    r, b = sample("plain")
    beta, alpha = (f(r, b, 100, periods_per_year=252) for f in (perf.rolling_beta, perf.rolling_alpha))
    assert beta.isna().sum() == 99
    for end in (100, 517, len(r)):
        fit = OLS(r.to_numpy()[end - 100 : end], np.column_stack([np.ones(100), b.to_numpy()[end - 100 : end]])).fit()
        assert beta.iloc[end - 1] == pytest.approx(fit.params[1], rel=1e-9) and alpha.iloc[end - 1] == pytest.approx(fit.params[0] * 252, rel=1e-8)


# -- bad input --------------------------------------------------------------------------------------------------------------


def test_what_is_refused() -> None:
    """Each with the value, the rule and a remedy."""
    good = pd.Series([0.01, -0.01, 0.02], index=stamps(3))
    cases = [
        (lambda: perf.statistics([0.1, 0.2]), DataError, "list"),
        (lambda: perf.statistics(np.zeros((2, 2, 2)), periods_per_year=252), DataError, "shape"),
        (lambda: perf.statistics(np.zeros(3)), ConfigError, "periods_per_year"),
        (lambda: perf.statistics(good.set_axis([1, 2, 3])), DataError, "not by time"),
        (lambda: perf.statistics(good.set_axis(good.index.tz_localize(None))), DataError, "without a zone"),
        (lambda: perf.statistics(good.iloc[::-1]), DataError, "out of order"),
        (lambda: perf.statistics(good.iloc[[0, 0, 1]]), DataError, "doubled"),
        (lambda: perf.statistics(good.replace(0.02, np.inf)), DataError, "finite"),
        (lambda: perf.statistics(good.astype(object).replace(0.02, "x")), DataError, "no number"),
        (lambda: perf.statistics(good, level=1.0), DataError, "level"),
        (lambda: perf.statistics(good, periods_per_year=0), ConfigError, "above 0"),
        (lambda: perf.statistics(good, risk_free=np.nan), ConfigError, "risk_free"),
        (lambda: perf.statistics(good, metrics=["sharpe", "omgea"]), ConfigError, "omega"),
        (lambda: perf.statistics(good, metrics="sharpe"), ConfigError, "list"),
        (
            lambda: perf.statistics(good, benchmark=good.set_axis(good.index.tz_convert(None).tz_localize("America/New_York"))),
            DataError,
            "no stamp was common",
        ),
        (lambda: perf.statistics(good, benchmark=good.iloc[:0]), DataError, "common"),
        (lambda: perf.statistics(good, benchmark=np.zeros(3)), DataError, "times"),
        (lambda: perf.statistics(good, benchmark=pd.concat([good, good], axis=1)), DataError, "one series"),
        (lambda: perf.bootstrap_interval(good, confidence=2.0), ConfigError, "confidence"),
        (lambda: perf.bootstrap_interval(good, block=0.5), ConfigError, "block"),
        (lambda: perf.sharpe_interval(good, method="jobson"), ConfigError, "opdyke"),
        (lambda: perf.rolling_statistic(good, 2.5, "sharpe"), DataError, "whole number"),
    ]
    for call, error, words in cases:
        with pytest.raises(error, match=words):
            call()


def test_a_benchmark_of_another_zone_and_another_length() -> None:
    """The same instants match whatever zone they are written in; only common rows count."""
    r, b = sample("plain")
    tokyo = b.tz_convert("Asia/Tokyo").iloc[100:]
    found, plain = perf.statistics(r, benchmark=tokyo, periods_per_year=252), perf.statistics(r.iloc[100:], benchmark=b, periods_per_year=252)
    assert found["benchmark_periods"] == len(r) - 100
    assert found[list(perf.BENCHMARK_STATISTICS)].to_numpy() == pytest.approx(plain[list(perf.BENCHMARK_STATISTICS)].to_numpy(), rel=1e-12)


def test_nothing_at_all() -> None:
    """An empty series and an empty frame have no figures and are no error."""
    empty = pd.Series([], dtype=float, index=stamps(0))
    found = perf.statistics(empty)
    assert found["periods"] == 0 and found.drop("periods").isna().all() and perf.statistics(empty.to_frame()).shape == (1, len(perf.STATISTICS))
    assert perf.sharpe_interval(empty).isna().all() and perf.bootstrap_interval(empty).isna().all(axis=None)
    assert len(perf.rolling_statistic(empty, 5, "sharpe")) == 0 and perf.optimal_block_length(empty) == 1.0


def test_names_are_carried() -> None:
    """Strategies and symbols may be called anything, twice too."""
    frame = many(3)
    frame.columns = ["<script>alert(1)</script>", "=cmd()", "=cmd()"]
    assert list(perf.statistics(frame).index) == list(frame.columns)
    assert "<script>" not in perf.summary(equity_from_returns(frame.iloc[:, 0]), more="all")._repr_html_()


def test_no_heavy_import() -> None:
    """Neither compilers nor statistics packages come with the door."""
    import subprocess

    code = "import sys, qtnb.evaluation.performance; print([m for m in ('numba', 'scipy', 'statsmodels', 'bokeh', 'matplotlib') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPO).stdout.strip() == "[]"


# -- properties -------------------------------------------------------------------------------------------------------------

RETURN = st.floats(-0.9, 2.0, allow_nan=False).map(lambda x: round(x, 6)) | st.just(float("nan")) | st.just(0.0)
TABLES = st.integers(1, 4).flatmap(lambda k: st.lists(st.lists(RETURN, min_size=k, max_size=k), min_size=1, max_size=40))


@settings(max_examples=80, deadline=None)
@given(TABLES)
def test_properties_of_any_returns(rows: list[list[float]]) -> None:
    """Ranges and orders that hold for whatever comes; never an infinity."""
    values = np.array(rows)
    table = perf.statistics(
        pd.DataFrame(values, index=stamps(len(values))),
        benchmark=pd.Series(np.sin(np.arange(len(values))) / 50, index=stamps(len(values))),
        periods_per_year=252,
    )
    assert not np.isinf(table.drop(columns=["last_3m", "last_6m"]).to_numpy()).any()
    for _, row in table.iterrows():
        if row["periods"] == 0:
            assert row.drop(["periods", "benchmark_periods"]).isna().all()
            continue
        tail = [row[n] for n in ("worst", "entropic_value_at_risk", "expected_shortfall", "value_at_risk", "best")]
        assert all(a <= b + 1e-9 * (1 + abs(b)) for a, b in zip(tail, tail[1:], strict=False))
        water = [row[n] for n in ("max_drawdown", "entropic_drawdown", "drawdown_at_risk")]
        assert all(a <= b + 1e-9 for a, b in zip(water, water[1:], strict=False)) and -1.0 <= row["max_drawdown"] <= row["current_drawdown"] <= 0.0
        assert -row["max_drawdown"] + 1e-12 >= row["ulcer"] >= row["pain"] - 1e-12 >= -1e-12
        assert 0.0 <= row["under_water"] <= 1.0 and row["gain_streak"] + row["loss_streak"] <= row["periods"]
        for share in ("hit_rate", "sharpe_probability", "r_squared", "batting_average", "positive_months", "risk_of_halving", "moved"):
            assert math.isnan(row[share]) or -1e-12 <= row[share] <= 1.0 + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5, allow_nan=False).map(lambda x: round(x, 6)), min_size=3, max_size=40), st.floats(0.1, 0.9))
def test_scaling(values: list[float], scale: float) -> None:
    """Smaller positions scale deviation and tails and leave the ratios of the mean alone."""
    r = np.array(values)
    one, part = (perf.statistics(x, periods_per_year=252) for x in (r, scale * r))
    for figure in (
        "annual_volatility",
        "value_at_risk",
        "expected_shortfall",
        "entropic_value_at_risk",
        "annual_return",
        "downside_deviation",
        "average_gain",
    ):
        assert part[figure] == pytest.approx(scale * one[figure], rel=1e-6, abs=1e-10, nan_ok=True)
    if one["annual_volatility"] > 1e-6:
        for figure in ("sharpe", "sortino", "omega", "skew", "kurtosis", "payoff", "tail_ratio", "autocorrelation"):
            assert (
                part[figure] == pytest.approx(one[figure], rel=1e-6, abs=1e-6, nan_ok=True) or math.isnan(part[figure]) or abs(one[figure]) > 1e6
            ), figure


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(-5, 5), st.booleans(), st.integers(0, 20)), max_size=30))
def test_trades_by_symbol_against_pandas(rows: list[tuple[str, int, bool, int]]) -> None:
    """Every group of round trips has what a loop over its own trades finds."""
    start = pd.Timestamp("2024-01-01T15:00Z").as_unit("ns")
    frame = pd.DataFrame(rows, columns=["symbol", "pnl", "is_open", "bars_held"]).astype({"pnl": float, "is_open": bool, "bars_held": "int64"})
    entry = pd.DatetimeIndex([start + pd.Timedelta(hours=k) for k in range(len(frame))], tz="UTC").as_unit("ns")
    frame = frame.assign(fees=1.0, mae_pct=-1.0, mfe_pct=2.0, entry_ts=entry, exit_ts=entry + pd.Timedelta(days=1), **{"return": frame["pnl"] / 100})
    found = perf.trade_statistics(frame, by="symbol")
    assert list(found.index) == sorted(set(frame["symbol"]))
    for symbol, row in found.iterrows():
        part = frame[frame["symbol"] == symbol]
        pnl = part.loc[~part["is_open"], "pnl"]
        won, lost = pnl[pnl > 0], pnl[pnl < 0]
        assert [row["trades"], row["open_trades"], row["trade_pnl"]] == [len(pnl), part["is_open"].sum(), pnl.sum()]
        expected = [pnl.mean(), won.mean(), lost.mean(), won.sum() / -lost.sum() if len(lost) else math.nan, pnl.max(), pnl.min(), pnl.std() / 100]
        spread = row["trade_return"] / row["system_quality"] * math.sqrt(len(pnl)) if row["system_quality"] else pnl.std() / 100
        got = [row[n] for n in ("expectancy", "average_win", "average_trade_loss", "trade_profit_factor", "best_trade", "worst_trade")]
        assert got == pytest.approx(expected[:-1], nan_ok=True) and (math.isnan(spread) or spread == pytest.approx(expected[-1]))
        streak = best = 0
        for value in pnl:
            streak = streak + 1 if value > 0 else 0
            best = max(best, streak)
        assert row["win_streak"] == best
