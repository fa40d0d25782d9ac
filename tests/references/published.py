"""Tables of three papers made again: factor means, and volatility-managed factors, by a strategy of qtnb on K. R. French's factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from qtnb.backtest.costs import Bps, NoCosts
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.evaluation.performance import sharpe_ratio
from qtnb.evaluation.results import Result
from qtnb.features.returns import simple_returns
from qtnb.features.rolling import rolling_volatility
from qtnb.strategies.base import StrategyParameters, WeightStrategy
from qtnb.types import Instrument

DATA = Path(__file__).parent / "data"
RECORDED = Path(__file__).parents[2] / "nbs/explanations/published_results_recorded.csv"
FACTORS = ("Mkt-RF", "SMB", "HML")
FIRST, LAST = "1926-08", "2015-04"  # months of Moreira and Muir: 1,065 of them
PAPER, CARHART, FAMA = "Moreira and Muir 2017", "Carhart 1997", "Fama and French 1993"
VARIANTS: dict[str, dict[str, Any]] = {
    "variance": {}, "volatility": {"power": 0.5}, "at most 1": {"limit": 1.0}, "at most 1.5": {"limit": 1.5},
}


# -- data --------------------------------------------------------------------------------------------------------------------------


@cache
def french(name: str) -> pd.DataFrame:
    """Factors in decimals, `name` being "daily" or "monthly"."""
    table = pd.read_csv(DATA / f"french_{name}.csv.gz", index_col="date") / 100.0
    stamps = pd.to_datetime(table.index.astype(str), format="%Y%m%d" if name == "daily" else "%Y%m")
    return table.set_index(stamps if name == "daily" else stamps.to_period("M"))


def _index(symbol: str, days: pd.DatetimeIndex) -> np.ndarray:
    """What one dollar in a factor has become after each day; `SMB monthly` moves on the last day of a month only, by the monthly file."""
    if " monthly" not in symbol:
        return (1.0 + french("daily").loc[days, symbol]).cumprod().to_numpy()
    month = days.to_period("M")
    by_month = french("monthly").loc[month.unique(), symbol.replace(" monthly", "")]
    last = np.r_[month[1:] != month[:-1], True]
    return np.cumprod(np.where(last, 1.0 + by_month.reindex(month).to_numpy(), 1.0))


@cache
def panel(symbols: tuple[str, ...], start: str, end: str) -> Bars:
    """Bars of factor indices from the first day of one month to the last of another: a day opens where the day before it closed."""
    days = french("daily").loc[start:end].index
    close = 100.0 * np.column_stack([_index(symbol, days) for symbol in symbols])
    first = np.vstack([np.full(len(symbols), 100.0), close[:-1]])
    ts = (days + pd.Timedelta(hours=16)).tz_localize("America/New_York").as_unit("ns").asi8
    return Bars(ts, symbols, open=first, high=np.maximum(first, close), low=np.minimum(first, close), close=close, volume=np.full_like(close, 1e12))


def month_of(ts: np.ndarray) -> np.ndarray:
    """The month, in New York, of each stamp."""
    return pd.DatetimeIndex(ts, tz="UTC").tz_convert("America/New_York").tz_localize(None).to_numpy().astype("datetime64[M]")


def month_ends(bars: Bars) -> tuple[int, ...]:
    """The last session of each month, which the exchange's calendar tells in advance."""
    month = month_of(bars.ts)
    return tuple(bars.ts[np.r_[month[1:] != month[:-1], True]].tolist())


# -- strategy ----------------------------------------------------------------------------------------------------------------------


class ManagedParameters(StrategyParameters):
    """What may be set."""

    measure: str = Field(description="symbol whose daily returns give the variance")
    trade: str = Field(description="symbol that is held")
    ends: tuple[int, ...] = Field(description="stamps of the last session of each month")
    scale: float = Field(1.0, gt=0.0, description="c of the paper: weight times variance")
    power: float = Field(1.0, ge=0.0, le=1.0, description="1 = by variance, 0.5 = by volatility, 0 = always the same weight")
    limit: float = Field(1e12, gt=0.0, description="largest weight")
    window: int = Field(0, ge=0, description="sessions of the variance; 0 = those of the month")


class VolatilityManaged(WeightStrategy):
    """At the end of each month, hold a factor in inverse proportion to the variance of the month; Moreira and Muir (2017), equations 1 and 2."""

    name = "volatility_managed"
    Parameters = ManagedParameters

    def weights(self, bars: Bars) -> np.ndarray:
        """A weight for the traded symbol on the last session of each month."""
        p = self.parameters
        returns = simple_returns(pd.Series(bars.close[:, bars.symbols.index(p.measure)]))
        if p.window:
            variance = rolling_volatility(returns, p.window).to_numpy() ** 2
        else:
            variance = returns.groupby(month_of(bars.ts)).transform("var").to_numpy()
        weight = np.minimum(p.scale / variance**p.power, p.limit)
        wanted = np.full(bars.close.shape, np.nan)
        wanted[:, bars.symbols.index(p.trade)] = np.where(np.isin(bars.ts, p.ends), weight, np.nan)
        return wanted


# -- runs --------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A back-test and its months."""

    result: Result
    strategy: VolatilityManaged
    bars: Bars
    months: pd.DataFrame  # by month: `factor` and `managed` returns, decimal, and the `weight` held


def _by_month(bars: Bars, values: np.ndarray) -> pd.Series:
    """The last value of each month."""
    series = pd.Series(values, index=pd.PeriodIndex(month_of(bars.ts), freq="M"))
    return series.groupby(level=0).last()


@cache
def managed(
    trade: str, *, measure: str = "", power: float = 1.0, limit: float = 1e12, window: int = 0, bps: float = 0.0, lot: float = 1e-6,
    first: str = FIRST, last: str = LAST, until: str = "",
) -> Run:
    """Run the strategy; `scale` makes the managed factor as volatile as the factor from `first` to `last`, before the limit, as the paper does."""
    measure = measure or trade.split(" monthly")[0]
    bars = panel((measure,) if trade == measure else (measure, trade), str(pd.Period(first) - 1), until or last)
    free = VolatilityManaged(measure=measure, trade=trade, ends=month_ends(bars), power=power, window=window)
    column = bars.symbols.index(trade)
    factor = _by_month(bars, bars.close[:, column]).pct_change()
    weight = _by_month(bars, free.table(bars)[:, column]).shift(1)
    scale = 1.0 if power == 0.0 else float(factor.loc[first:last].std() / (weight * factor).loc[first:last].std())
    strategy = VolatilityManaged(measure=measure, trade=trade, ends=month_ends(bars), power=power, window=window, scale=scale, limit=limit)
    instruments = {symbol: Instrument(symbol, tick_size=1e-9, lot_size=lot) for symbol in bars.symbols}
    result = Backtest(strategy, bars, cash=1e6, costs=Bps(bps) if bps else NoCosts(), instruments=instruments).run()
    equity = _by_month(bars, result.equity.to_numpy())
    months = pd.DataFrame({"factor": factor, "managed": equity.pct_change(), "weight": np.minimum(weight * scale, limit)})
    return Run(result, strategy, bars, months.loc[first:])


def regress(months: pd.DataFrame, controls: pd.DataFrame | None = None) -> dict[str, float]:
    """Managed on factor, per cent a year (months times twelve), errors that allow for heteroskedasticity (HC1)."""
    import statsmodels.api as sm

    others = [] if controls is None else [1200.0 * controls.loc[months.index].to_numpy()]
    right = sm.add_constant(np.column_stack([1200.0 * months["factor"].to_numpy(), *others]))
    fit = sm.OLS(1200.0 * months["managed"].to_numpy(), right).fit(cov_type="HC1")
    return {"alpha": fit.params[0], "error": fit.bse[0], "beta": fit.params[1], "R2": fit.rsquared, "RMSE": math.sqrt(fit.mse_resid), "months": fit.nobs}


def means(months: pd.Series) -> dict[str, float]:
    """Mean and standard deviation in per cent a month, and the t-statistic of the mean."""
    mean, deviation = float(months.mean()), float(months.std())
    return {"mean": 100.0 * mean, "deviation": 100.0 * deviation, "t": mean / deviation * math.sqrt(len(months))}


# -- tables ------------------------------------------------------------------------------------------------------------------------


def factor_table(last: str, *, edition: str = "") -> dict[str, dict[str, float]]:
    """Each factor held with all the money from July 1963: the returns of the account are those of the factor."""
    names = [*FACTORS, *([] if edition else ["Mom"])]
    runs = {f: managed(f"{f} monthly{edition}", measure="Mkt-RF", power=0.0, first="1963-07", last=last) for f in names}
    return {f: means(run.months["managed"]) for f, run in runs.items()}


def alpha_table(edition: str = " monthly 2018", **options: Any) -> dict[str, dict[str, float]]:
    """Table I, panel A."""
    return {factor: regress(managed(f"{factor}{edition}", **options).months) for factor in FACTORS}


def controlled_table(edition: str = " monthly 2018") -> dict[str, dict[str, float]]:
    """Table I, panel B: the other two factors on the right as well."""
    runs = {factor: managed(f"{factor}{edition}").months for factor in FACTORS}
    table = pd.DataFrame({factor: run["factor"] for factor, run in runs.items()})
    return {factor: regress(run, table.drop(columns=factor)) for factor, run in runs.items()}


def thirds_table() -> dict[str, dict[str, float]]:
    """Table II, panel B, first column: the market in three parts, at the scale of the whole."""
    months = managed("Mkt-RF").months
    return {f"{a}-{b}": regress(months.loc[f"{a}-01" : f"{b}-12"]) for a, b in ((1926, 1955), (1956, 1985), (1986, 2015))}


def cost_table() -> dict[str, dict[str, float]]:
    """Tables IV and V: the market by other rules, with costs of the engine."""
    table = {}
    for name, options in VARIANTS.items():
        months = managed("Mkt-RF", **options).months
        row = {"change of weight": months["weight"].diff().abs().mean(), "mean": 1200.0 * months["managed"].mean()}
        row |= {"Sharpe": sharpe_ratio(months["managed"], 12.0)} | regress(months)
        row |= {f"alpha at {bps} bp": regress(managed("Mkt-RF", bps=float(bps), **options).months)["alpha"] for bps in (1, 10, 14)}
        row |= {f"P{q}": float(np.percentile(months["weight"], q)) for q in (50, 75, 90, 99)}
        table[name] = row
    return table


@cache
def printed() -> pd.DataFrame:
    """What the papers print."""
    return pd.read_csv(DATA / "printed.csv")


@cache
def compared() -> pd.DataFrame:
    """Every printed number with ours."""
    costs = cost_table()
    ours = {
        (CARHART, "II"): factor_table("1993-12"), (FAMA, "text to 2"): factor_table("1991-12"),
        (PAPER, "I"): alpha_table(), (PAPER, "I B"): controlled_table(), (PAPER, "II B"): thirds_table(), (PAPER, "IV"): costs, (PAPER, "V"): costs,
    }
    table = printed().copy()
    table["ours"] = [ours[row.paper, row.table][row.row][row.quantity] for row in table.itertuples()]
    return table


if __name__ == "__main__":
    compared().to_csv(RECORDED, index=False, float_format="%.6f", lineterminator="\n")
    print(f"{len(compared())} numbers in {RECORDED.name}")
