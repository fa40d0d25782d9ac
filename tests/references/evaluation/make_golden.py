"""Record what other libraries say about the seeded returns of `samples.py`; run in an environment that has them.

    python -m venv peers
    peers/bin/pip install quantstats==0.0.86 empyrical-reloaded==0.7.1 ffn==1.4.1 skfolio==1.12.2 vectorbt==1.2.0 arch==8.0.0 statsmodels
    peers/bin/python tests/references/evaluation/make_golden.py

Writes `golden.json` beside itself, values by sample, figure and library, and the table of nbs/explanations/metrics_compared.ipynb.
Nothing of qtnb is imported. Returns go to the libraries without a zone and by date, as their users have them; prices, where one is
needed, begin with a base of 1 on the day before.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from samples import sample

warnings.simplefilter("ignore")

import empyrical as ep  # noqa: E402
import ffn  # noqa: E402
import quantstats.stats as qs  # noqa: E402
import skfolio.measures as sk  # noqa: E402
import statsmodels.api as sm  # noqa: E402
import vectorbt as vbt  # noqa: E402
from arch.bootstrap import optimal_block_length  # noqa: E402
from scipy import stats  # noqa: E402
from statsmodels.tsa.stattools import acf  # noqa: E402

NOTES = {  # figure -> library -> why it is different; a pair without a note must agree
    "cagr": dict.fromkeys(("quantstats", "empyrical", "vectorbt"), "a year is 252 rows instead of calendar time"),
    "calmar": dict.fromkeys(("quantstats", "empyrical", "vectorbt"), "a year is 252 rows instead of calendar time"),
    "average_drawdown_days": {"ffn": "an episode begins at the first stamp below the peak instead of at the peak"},
    "ulcer": {
        "quantstats": "divides the squares by n - 1 instead of n",
        "vectorbt": "the first peak is the equity after the first return: a loss on the first day is lost",
    },
    "martin": {
        "vectorbt": "a year is 252 rows instead of calendar time",
        "quantstats": "total return over the ulcer index: it grows with the length of the record",
    },
    "value_at_risk": dict.fromkeys(("empyrical", "vectorbt"), "interpolates between two returns")
    | {"skfolio": "the order statistic one further when n(1 - c) is a whole number"},
    "tail_ratio": dict.fromkeys(("quantstats", "empyrical", "vectorbt"), "interpolates both quantiles"),
    "common_sense": {
        "quantstats": "interpolates the quantiles of the tail ratio",
        "vectorbt": "tail ratio times one plus the annual return instead of the profit factor",
    },
    "best_year": {"ffn": "the year in which the record begins does not count"},
    "worst_year": {"ffn": "the year in which the record begins does not count"},
    "gain_to_pain": {"quantstats": "adds the returns of a month instead of compounding them"},
    "last_3y": {"ffn": "the three years are counted in days of 1/365.25 of a year"},
    "recovery_factor": {"quantstats": "the size of the sum of the returns instead of the total return: a record that lost has a positive one"},
    "serenity": {
        "quantstats": "sum of the returns, not of a year, and the shortfall of drawdowns by a normal distribution over the deviation of a day"
    },
    "sharpe_autocorrelation": {
        "quantstats": "the size of the correlation, so that mean reversion is punished too, and weights over the whole record"
    },
    "sharpe_probability": {"skfolio": "moments of the population instead of the bias-corrected ones"},
    "autocorrelation": {"pandas": "a correlation of the two overlapping parts, each with its own mean and deviation"},
    "alpha": dict.fromkeys(("empyrical", "vectorbt"), "compounds the alpha of a day instead of multiplying it"),
    "treynor": {"quantstats": "total return over beta: it grows with the length of the record"},
    "information_ratio": dict.fromkeys(("quantstats", "empyrical", "vectorbt"), "of one day: not annualised"),
    "up_capture": dict.fromkeys(("empyrical", "vectorbt"), "compounds each side to a year of days that rose before dividing"),
    "down_capture": dict.fromkeys(("empyrical", "vectorbt"), "compounds each side to a year of days that fell before dividing"),
    "block_length": {"arch": "may answer less than one period"},
    "block_length_squares": {"arch": "may answer less than one period"},
}
LIBRARIES = ("quantstats", "empyrical-reloaded", "ffn", "skfolio", "vectorbt", "arch", "statsmodels", "scipy", "pandas", "numpy")


def values_of(r: pd.Series, b: pd.Series) -> dict[str, dict[str, Callable[[], float]]]:
    """Figure -> library -> a call."""
    p = pd.Series(np.r_[1.0, (1 + r).cumprod()], index=r.index.insert(0, r.index[0] - pd.Timedelta(days=1)))
    f = ffn.PerformanceStats(p).stats
    v = vbt.returns.accessors.ReturnsSRAccessor(r, benchmark_rets=b, freq="1D", year_freq="252D")
    drawdowns = sk.get_drawdowns(r.to_numpy(), compounded=True)
    market = sm.OLS(r.to_numpy(), sm.add_constant(b.to_numpy())).fit()
    lags = int(4 * (len(r) / 100) ** (2 / 9))
    hac = sm.OLS(r.to_numpy(), np.ones(len(r))).fit(cov_type="HAC", cov_kwds={"maxlags": lags})
    y, t = np.log((1 + r).cumprod()), np.arange(len(r))
    return {
        "total_return": {"quantstats": lambda: qs.comp(r), "empyrical": lambda: ep.cum_returns_final(r), "vectorbt": v.total},
        "cagr": {"ffn": lambda: f["cagr"], "quantstats": lambda: qs.cagr(r), "empyrical": lambda: ep.annual_return(r), "vectorbt": v.annualized},
        "annual_volatility": {
            "quantstats": lambda: qs.volatility(r),
            "empyrical": lambda: ep.annual_volatility(r),
            "ffn": lambda: f["daily_vol"],
            "vectorbt": v.annualized_volatility,
        },
        "annual_return": {"ffn": lambda: f["daily_mean"]},
        "sharpe": {
            "quantstats": lambda: qs.sharpe(r),
            "empyrical": lambda: ep.sharpe_ratio(r),
            "ffn": lambda: f["daily_sharpe"],
            "vectorbt": v.sharpe_ratio,
        },
        "sortino": {
            "quantstats": lambda: qs.sortino(r),
            "empyrical": lambda: ep.sortino_ratio(r),
            "vectorbt": v.sortino_ratio,
            "ffn": lambda: f["daily_sortino"],
        },
        "downside_deviation": {"empyrical": lambda: ep.downside_risk(r), "vectorbt": v.downside_risk},
        "calmar": {
            "ffn": lambda: f["calmar"],
            "quantstats": lambda: qs.calmar(r),
            "empyrical": lambda: ep.calmar_ratio(r),
            "vectorbt": v.calmar_ratio,
        },
        "max_drawdown": {
            "quantstats": lambda: qs.max_drawdown(r),
            "empyrical": lambda: ep.max_drawdown(r),
            "ffn": lambda: f["max_drawdown"],
            "skfolio": lambda: -sk.max_drawdown(drawdowns),
            "vectorbt": v.max_drawdown,
        },
        "average_drawdown": {"ffn": lambda: f["avg_drawdown"]},
        "average_drawdown_days": {"ffn": lambda: f["avg_drawdown_days"]},
        "pain": {"skfolio": lambda: sk.average_drawdown(drawdowns)},
        "ulcer": {"skfolio": lambda: sk.ulcer_index(drawdowns), "quantstats": lambda: qs.ulcer_index(r), "vectorbt": v.ulcer_index},
        "martin": {"vectorbt": v.martin_ratio, "quantstats": lambda: qs.ulcer_performance_index(r)},
        "drawdown_at_risk": {"skfolio": lambda: -sk.cdar(drawdowns)},
        "entropic_drawdown": {"skfolio": lambda: -sk.edar(drawdowns)},
        "entropic_value_at_risk": {"skfolio": lambda: -sk.evar(r.to_numpy())},
        "expected_shortfall": {
            "skfolio": lambda: -sk.cvar(r.to_numpy()),
            "empyrical": lambda: ep.conditional_value_at_risk(r),
            "vectorbt": v.cond_value_at_risk,
        },
        "value_at_risk": {
            "skfolio": lambda: -sk.value_at_risk(r.to_numpy()),
            "numpy": lambda: np.quantile(r, 0.05, method="inverted_cdf"),
            "empyrical": lambda: ep.value_at_risk(r),
            "vectorbt": v.value_at_risk,
        },
        "value_at_risk_normal": {"quantstats": lambda: qs.value_at_risk(r), "scipy": lambda: stats.norm.ppf(0.05, r.mean(), r.std())},
        "expected_shortfall_normal": {
            "quantstats": lambda: qs.cvar(r),
            "scipy": lambda: r.mean() - r.std() * stats.norm.pdf(stats.norm.ppf(0.05)) / 0.05,
        },
        "skew": {"quantstats": lambda: qs.skew(r), "scipy": lambda: stats.skew(r, bias=False), "ffn": lambda: f["daily_skew"]},
        "kurtosis": {"quantstats": lambda: qs.kurtosis(r), "scipy": lambda: stats.kurtosis(r, bias=False), "ffn": lambda: f["daily_kurt"]},
        "omega": {"quantstats": lambda: qs.omega(r), "empyrical": lambda: ep.omega_ratio(r), "vectorbt": v.omega_ratio},
        "tail_ratio": {"quantstats": lambda: qs.tail_ratio(r), "empyrical": lambda: ep.tail_ratio(r), "vectorbt": v.tail_ratio},
        "common_sense": {"quantstats": lambda: qs.common_sense_ratio(r), "vectorbt": v.common_sense_ratio},
        "stability": {"empyrical": lambda: ep.stability_of_timeseries(r), "scipy": lambda: stats.linregress(t, y).rvalue ** 2},
        "hit_rate": {"quantstats": lambda: qs.win_rate(r)},
        "average_gain": {"quantstats": lambda: qs.avg_win(r), "pandas": lambda: r[r > 0].mean()},
        "average_loss": {"quantstats": lambda: qs.avg_loss(r), "pandas": lambda: r[r < 0].mean()},
        "payoff": {"quantstats": lambda: qs.payoff_ratio(r)},
        "profit_factor": {"quantstats": lambda: qs.profit_factor(r)},
        "cpc": {"quantstats": lambda: qs.cpc_index(r)},
        "kelly_odds": {"quantstats": lambda: qs.kelly_criterion(r)},
        "gain_streak": {"quantstats": lambda: qs.consecutive_wins(r)},
        "loss_streak": {"quantstats": lambda: qs.consecutive_losses(r)},
        "best": {"quantstats": lambda: qs.best(r), "ffn": lambda: f["best_day"]},
        "worst": {"quantstats": lambda: qs.worst(r), "ffn": lambda: f["worst_day"]},
        "best_month": {"ffn": lambda: f["best_month"], "quantstats": lambda: qs.best(r, "ME")},
        "worst_month": {"ffn": lambda: f["worst_month"], "quantstats": lambda: qs.worst(r, "ME")},
        "best_year": {"ffn": lambda: f["best_year"], "quantstats": lambda: qs.best(r, "YE")},
        "worst_year": {"ffn": lambda: f["worst_year"], "quantstats": lambda: qs.worst(r, "YE")},
        "gain_to_pain": {"quantstats": lambda: qs.gain_to_pain_ratio(r, resolution="ME"), "pandas": lambda: _gain_to_pain(p)},
        "positive_months": {"pandas": lambda: (_months(p) > 0).mean()},
        "mtd": {"ffn": lambda: f["mtd"]},
        "ytd": {"ffn": lambda: f["ytd"]},
        "last_3m": {"ffn": lambda: f["three_month"]},
        "last_6m": {"ffn": lambda: f["six_month"]},
        "last_1y": {"ffn": lambda: f["one_year"]},
        "last_3y": {"ffn": lambda: f["three_year"]},
        "recovery_factor": {"quantstats": lambda: qs.recovery_factor(r)},
        "serenity": {"quantstats": lambda: qs.serenity_index(r)},
        "sharpe_autocorrelation": {"quantstats": lambda: qs.smart_sharpe(r)},
        "sharpe_probability": {
            "quantstats": lambda: qs.probabilistic_sharpe_ratio(r),
            "skfolio": lambda: sk.probabilistic_sharpe_ratio(r.to_numpy()),
        },
        "autocorrelation": {"statsmodels": lambda: acf(r, nlags=1)[1], "pandas": lambda: r.autocorr()},
        "mean_t": {"statsmodels": lambda: hac.tvalues[0]},
        "alpha": {
            "statsmodels": lambda: market.params[0] * 252,
            "quantstats": lambda: qs.greeks(r, b)["alpha"],
            "empyrical": lambda: ep.alpha(r, b),
            "vectorbt": v.alpha,
        },
        "beta": {
            "statsmodels": lambda: market.params[1],
            "quantstats": lambda: qs.greeks(r, b)["beta"],
            "empyrical": lambda: ep.beta(r, b),
            "vectorbt": v.beta,
        },
        "correlation": {"pandas": lambda: r.corr(b), "scipy": lambda: stats.pearsonr(r, b)[0]},
        "r_squared": {"statsmodels": lambda: market.rsquared, "quantstats": lambda: qs.r_squared(r, b)},
        "appraisal": {"statsmodels": lambda: market.params[0] / math.sqrt(market.mse_resid) * math.sqrt(252)},
        "treynor": {"quantstats": lambda: qs.treynor_ratio(r, b)},
        "information_ratio": {
            "quantstats": lambda: qs.information_ratio(r, b),
            "empyrical": lambda: ep.excess_sharpe(r, b),
            "vectorbt": v.information_ratio,
        },
        "tracking_error": {"pandas": lambda: (r - b).std() * math.sqrt(252)},
        "up_capture": {"empyrical": lambda: ep.up_capture(r, b), "vectorbt": v.up_capture, "scipy": lambda: _capture(r, b, b > 0)},
        "down_capture": {"empyrical": lambda: ep.down_capture(r, b), "vectorbt": v.down_capture, "scipy": lambda: _capture(r, b, b < 0)},
        "batting_average": {"empyrical": lambda: ep.batting_average(r, b)["batting average"]},
        "block_length": {"arch": lambda: optimal_block_length(r).loc["strategy", "stationary"]},
        "block_length_squares": {"arch": lambda: optimal_block_length((r**2).rename("strategy")).loc["strategy", "stationary"]},
        "block_length_sticky": {"arch": lambda: optimal_block_length(_sticky(r)).iloc[0]["stationary"]},
    }


def _sticky(r: pd.Series) -> pd.Series:
    """The returns smoothed, so that they have the autocorrelation of an appraised asset."""
    return r.ewm(alpha=0.4, adjust=False).mean()


def _months(p: pd.Series) -> pd.Series:
    ends = p.iloc[1:].resample("ME").last()
    return ends / ends.shift(fill_value=1.0) - 1


def _gain_to_pain(p: pd.Series) -> float:
    months = _months(p)
    return months.sum() / -months[months < 0].sum()


def _capture(r: pd.Series, b: pd.Series, where: pd.Series) -> float:
    return (stats.gmean(1 + r[where]) - 1) / (stats.gmean(1 + b[where]) - 1)


def trades() -> dict[str, object]:
    """Round trips of a seeded price with random entries and exits, as vectorbt makes and describes them."""
    rng = np.random.default_rng(7)
    close = pd.Series(100 * np.cumprod(1 + 0.01 * rng.normal(size=800)), index=pd.date_range("2020-01-01", periods=800, freq="D"))
    entries, exits = pd.Series(rng.random(800) < 0.1, close.index), pd.Series(rng.random(800) < 0.1, close.index)
    made = vbt.Portfolio.from_signals(close, entries, exits, fees=0.001, freq="1D").trades
    frame, closed = made.records_readable, made.closed
    return {
        "pnl": frame["PnL"].tolist(),
        "return": frame["Return"].tolist(),
        "is_open": (frame["Status"] == "Open").tolist(),
        "entry": frame["Entry Timestamp"].astype(str).tolist(),
        "exit": frame["Exit Timestamp"].astype(str).tolist(),
        "fees": (frame["Entry Fees"] + frame["Exit Fees"]).tolist(),
        "values": {
            "trades": closed.count(),
            "win_rate": closed.win_rate(),
            "trade_profit_factor": closed.profit_factor(),
            "expectancy": closed.expectancy(),
            "system_quality": closed.sqn(),
            "win_streak": closed.winning_streak.max(),
            "loss_run": closed.losing_streak.max(),
            "days_held": closed.duration.mean(),
            "best_trade": closed.pnl.max(),
            "worst_trade": closed.pnl.min(),
        },
    }


def main() -> None:
    """Write the file."""
    found: dict[str, object] = {"versions": {name: importlib.metadata.version(name) for name in LIBRARIES}, "trades": trades()}
    for name in ("plain", "losing"):
        r, b = (series.set_axis(series.index.tz_localize(None).normalize()) for series in sample(name))
        found[name] = {figure: {library: float(call()) for library, call in calls.items()} for figure, calls in values_of(r, b).items()}
    rows = [
        (figure, library, found["plain"][figure][library], found["losing"][figure][library], NOTES.get(figure, {}).get(library, ""))  # type: ignore[index]
        for figure, libraries in found["plain"].items()
        for library in libraries
    ]  # type: ignore[attr-defined]
    page = Path(__file__).parents[3] / "nbs" / "explanations" / "metrics_compared_recorded.csv"
    pd.DataFrame(rows, columns=["figure", "library", "plain", "losing", "reason"]).to_csv(page, index=False, lineterminator="\n")
    found["notes"] = NOTES
    text = json.dumps(found, indent=1, default=float)
    (Path(__file__).parent / "golden.json").write_text(text.replace("NaN", "null") + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
