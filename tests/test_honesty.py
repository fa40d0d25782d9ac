"""The honesty checks catch planted cheats of every kind, pass honest twins of them, and pass every bundled strategy on real bars."""

from __future__ import annotations

import functools
import sys
import warnings
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.honesty import Peek, check_lookahead, check_warmup
from qtnb.backtest.metrics import execution_warnings, volume_shares
from qtnb.backtest.outside_data import spoilt
from qtnb.core.bars import Bars
from qtnb.core.errors import DataError, DataWarning, QtnbError
from qtnb.data.loader import get_bars
from qtnb.strategies.base import Strategy, WeightStrategy
from qtnb.strategies.base import check_lookahead as check_table
from qtnb.strategies.machine_learning import MachineLearning
from qtnb.strategies.market_maker import MarketMaker
from qtnb.strategies.mr_pairs import PairsTrading
from qtnb.strategies.optimized import OptimizedPortfolio
from qtnb.strategies.registry import STRATEGIES
from qtnb.strategies.sma_cross import SmaCross
from qtnb.strategies.trend import TrendFollowing
from qtnb.strategies.xmom_crosssec import CrossSectionalMomentum

DAY = 86_400_000_000_000
ROWS = 120


def panel(seed: int = 1, rows: int = ROWS) -> Bars:
    """Two symbols that walk at random."""
    random = np.random.default_rng(seed)
    close = np.round(40.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, (rows, 2)), axis=0)), 2)
    return Bars((18_000 + np.arange(rows)) * DAY, ["AAA", "BBB"], open=close, high=close * 1.01, low=close * 0.99, close=close, volume=np.full((rows, 2), 1e6))


BARS = panel()
CLOSES = BARS.close[:, 0]  # a global that a strategy may reach
FRAME = pd.DataFrame(BARS.close, index=BARS.index, columns=["AAA", "BBB"])


def tomorrow(row: int) -> float:
    """A helper that reads the global one row ahead."""
    return float(CLOSES[min(row + 1, len(CLOSES) - 1)])


class Trader(Strategy):
    """Buys one when `wish` is above the close of today, sells one when it is below."""

    def wish(self, ctx: Any, bars: Any) -> float:
        """What the price will be, in the strategy's opinion."""
        raise NotImplementedError

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Trade on it."""
        ctx.target_quantity("AAA", 10 if self.wish(ctx, bars) > bars["AAA"].close else -10)


class ByGlobalHelper(Trader):
    """Reaches the future by a function that reads a global array."""

    def wish(self, ctx: Any, bars: Any) -> float:
        """Ask the helper."""
        return tomorrow(ctx.row)


class ByDefault(Trader):
    """Reaches it by the default value of an argument."""

    def wish(self, ctx: Any, bars: Any, rows: np.ndarray = CLOSES) -> float:
        """Read it."""
        return float(rows[min(ctx.row + 1, len(rows) - 1)])


class ByClass(Trader):
    """Reaches it by an attribute of the class, in a dictionary."""

    known: ClassVar[dict[str, Any]] = {"prices": {"AAA": FRAME["AAA"]}}

    def wish(self, ctx: Any, bars: Any) -> float:
        """By time instead of by row."""
        later = self.known["prices"]["AAA"].loc[ctx.now + pd.Timedelta(days=1) :]
        return float(later.iloc[0]) if len(later) else 0.0


class Holding(Trader):
    """Keeps something that it was given."""

    def __init__(self, kept: Any):
        """Keep it."""
        super().__init__()
        self.kept = kept


class ByAttribute(Holding):
    """Reaches it by an attribute that is a panel of bars."""

    def wish(self, ctx: Any, bars: Any) -> float:
        """The next close."""
        return float(self.kept.close[min(ctx.row + 1, len(self.kept) - 1), 0])


class Precomputed(Holding):
    """Computes a centred mean when it is made, out of a frame that it was given."""

    def __init__(self, kept: pd.DataFrame):
        """Smooth it, both ways."""
        super().__init__(kept["AAA"].rolling(5, center=True, min_periods=1).mean().to_numpy())

    def wish(self, ctx: Any, bars: Any) -> float:
        """Where the smooth line is."""
        return float(self.kept[min(ctx.row, len(self.kept) - 1)])


class FittedOnce(Holding):
    """Takes the mean of the whole sample when it is made."""

    def __init__(self, kept: pd.Series):
        """One number of everything."""
        super().__init__(float(kept.mean()))

    def wish(self, ctx: Any, bars: Any) -> float:
        """Back to the mean."""
        return self.kept


class FullPanel(Trader):
    """Fits on the panel that `prepare` is shown, the future included."""

    def prepare(self, bars: Bars | None) -> None:
        """Fit."""
        self.level = 0.0 if bars is None else float(np.median(bars.close[:, 0]))

    def wish(self, ctx: Any, bars: Any) -> float:
        """Back to the median."""
        return self.level


class Inside(Trader):
    """Takes the next close out of the engine, and is careful at the end."""

    def wish(self, ctx: Any, bars: Any) -> float:
        """Look into the window behind the view."""
        window = ctx._engine.window
        return float(window.close[min(ctx.row + 1, len(window) - 1), 0])


class Resting(Strategy):
    """Moves a limit order to where the low of tomorrow will be: the cheat is in a replacement, not in an order."""

    def __init__(self, kept: np.ndarray):
        """Keep the lows."""
        super().__init__()
        self.kept, self.order = kept, ""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """One order, moved every day."""
        price = round(float(self.kept[min(ctx.row + 1, len(self.kept) - 1)]) * 0.5, 2)
        if not self.order:
            self.order = ctx.order("AAA", 1, limit_price=1.0, time_in_force="gtc")
        else:
            ctx.replace(self.order, limit_price=price)


class CentredWeights(WeightStrategy):
    """A centred rolling mean."""

    def weights(self, bars: Bars) -> np.ndarray:
        """Above the mean of the days around it."""
        frame = pd.DataFrame(bars.close)
        return np.where(frame > frame.rolling(3, center=True, min_periods=1).mean(), 0.5, 0.0)


class ScaledWeights(WeightStrategy):
    """A scale of the full sample."""

    def weights(self, bars: Bars) -> np.ndarray:
        """Divide by a deviation that nobody knew."""
        return (bars.close - bars.close.mean(axis=0)) / bars.close.std(axis=0) / 10.0


class FrameWeights(WeightStrategy):
    """Reads a global frame one row ahead: whatever panel it is shown, cut or not, its table is the same."""

    def weights(self, bars: Bars) -> np.ndarray:
        """Tomorrow's move."""
        moves = FRAME.pct_change().shift(-1).reindex(bars.index).fillna(0.0).to_numpy()
        return np.sign(moves) / 2.0


def captured() -> Any:
    """A factory with a frame in its closure."""
    prices = FRAME["AAA"].copy()

    class ByClosure(Trader):
        """Reads a captured variable."""

        def wish(self, ctx: Any, bars: Any) -> float:
            """The next one."""
            return float(prices.iloc[min(ctx.row + 1, len(prices) - 1)])

    return ByClosure


CHEATS: dict[str, Any] = {
    "a closure": captured(), "a global through a helper": ByGlobalHelper, "a default value": ByDefault, "a class attribute": ByClass,
    "a panel in an attribute": lambda: ByAttribute(BARS), "the same in an object": ByAttribute(BARS), "a partial": functools.partial(ByAttribute, BARS),
    "a named partial": functools.partial(ByAttribute, kept=BARS), "computed when made": lambda: Precomputed(FRAME),
    "fitted when made": lambda: FittedOnce(FRAME["AAA"]), "fitted on the panel": FullPanel, "the engine's window": Inside,
    "a replacement": lambda: Resting(BARS.low[:, 0]), "centred weights": CentredWeights, "scaled weights": ScaledWeights(), "weights by a frame": FrameWeights,
}  # fmt: skip


@pytest.mark.parametrize("name", CHEATS)
def test_a_planted_cheat_is_caught(name: str) -> None:
    """Each is found, with the place and what changed; and its data are afterwards what they were."""
    before = (CLOSES.tobytes(), FRAME.to_numpy().tobytes(), BARS.fingerprint())
    found = check_lookahead(CHEATS[name], BARS)
    assert found and all(isinstance(peek, Peek) and peek.decided != peek.otherwise for peek in found)
    assert str(found[0]).startswith("with the future after 2019-") and "became" in str(found[0])
    assert (CLOSES.tobytes(), FRAME.to_numpy().tobytes(), BARS.fingerprint()) == before
    assert ByDefault.wish.__defaults__ is not None and ByDefault.wish.__defaults__[0] is CLOSES
    assert ByClass.known["prices"]["AAA"].equals(FRAME["AAA"])


def honest(kept: Any) -> dict[str, Any]:
    """Twins of the cheats that read up to the present only, with the same data within reach."""

    class Behind(Holding):
        def wish(self, ctx: Any, bars: Any) -> float:
            return float(self.kept[max(ctx.row - 1, 0)]) + 0.0 * tomorrow(-1) + 0.0 * len(FRAME)

    class ByTime(Holding):
        def wish(self, ctx: Any, bars: Any) -> float:
            return float(FRAME["AAA"].loc[: ctx.now].tail(20).mean())

    class Smoothed(Holding):
        def __init__(self, kept: Any):
            super().__init__(FRAME["AAA"].rolling(10, min_periods=1).mean().to_numpy())

        def wish(self, ctx: Any, bars: Any) -> float:
            return float(self.kept[ctx.row])

    class Random(Trader):
        def wish(self, ctx: Any, bars: Any) -> float:
            return bars["AAA"].close + ctx.random.normal()

    return {"one row behind": lambda: Behind(kept), "up to now": lambda: ByTime(kept), "smoothed backwards": lambda: Smoothed(kept), "dice": Random}


@pytest.mark.parametrize("name", ["one row behind", "up to now", "smoothed backwards", "dice"])
def test_an_honest_twin_passes(name: str) -> None:
    """No false alarm for reading the past of the same data."""
    assert check_lookahead(honest(CLOSES)[name], BARS, costs=Bps(3)) == []


def test_a_cheat_that_dies_with_its_bars_says_so() -> None:
    """Reading over the end raises in every run; the check does not hide it."""

    class Careless(Trader):
        def wish(self, ctx: Any, bars: Any) -> float:
            return float(ctx._engine.window.close[ctx.row + 1, 0])

    with pytest.raises(QtnbError, match="out of bounds|on_data"):
        check_lookahead(Careless, BARS)

    class OnlyCut(Trader):
        def wish(self, ctx: Any, bars: Any) -> float:
            return float(ctx._engine.window.close[min(ctx.row + 1, ROWS - 1), 0])

    found = check_lookahead(OnlyCut, BARS)
    assert found and found[0].how == "cut off" and "StrategyError" in found[0].otherwise


def test_spoilt_data_are_put_back_after_an_error() -> None:
    """Whatever happens inside the block."""
    with pytest.raises(ZeroDivisionError), spoilt(ByGlobalHelper, BARS, 60) as count:
        assert count >= 1 and sys.modules[__name__].__dict__["CLOSES"] is not CLOSES_BEFORE
        raise ZeroDivisionError
    assert sys.modules[__name__].__dict__["CLOSES"] is CLOSES_BEFORE
    with spoilt(SmaCross(fast=2, slow=3), BARS, 60) as count:
        assert count == 0  # nothing within its reach has a future


CLOSES_BEFORE = CLOSES

# -- the bundled strategies -----------------------------------------------------------------------------------------------------------

SYMBOLS = ["AIG", "BAC", "IBM", "USO"]


def real() -> Bars:
    """Six years of real bars; one symbol begins later."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return Bars.from_frame(get_bars(SYMBOLS, "2003-01-02", "2008-12-31", source="sample"))


BUNDLED: dict[str, tuple[Any, str, int]] = {  # made how, a start, rows of history that the rule can need
    "optimized_portfolio": (lambda: OptimizedPortfolio(window=120, most=0.5), "2004-06-01", 160),
    "mr_pairs": (lambda: PairsTrading(formation=120, candidates=3, level=0.5, correction="none", entry=1.0), "2004-06-01", 185),
    "machine_learning": (  # the history of a fit, the label, the embargo, a year of features, and a month since the last fit
        lambda: MachineLearning(year=60, history=90, horizon=10, embargo=2, least=60, top=1, refit="month"), "2004-06-01", 90 + 60 + 23,
    ),
    "market_maker": (lambda: MarketMaker(gamma=1e-4, kappa=0.02, horizon=86_400.0, window=20), "2004-06-01", 21),  # on bars: closes are the middle
    "sma_cross": (lambda: SmaCross(fast=10, slow=50), "2004-06-01", 51),
    "trend": (lambda: TrendFollowing(lookback=60, centre=5.0), "2004-06-01", 61),
    "xmom_crosssec": (lambda: CrossSectionalMomentum(top=2, lookback=120, skip=10), "2004-06-01", 160),
}


def test_every_bundled_strategy_is_checked() -> None:
    """A new one gets its lines here."""
    assert {name for name in STRATEGIES.names() if STRATEGIES.origin(name).startswith("qtnb.")} == set(BUNDLED)


@pytest.mark.filterwarnings("ignore::qtnb.core.errors.DataWarning")
@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_strategies_do_not_look_ahead(name: str) -> None:
    """By what they decide; those that state a table of weights also by the table."""
    make, bars = BUNDLED[name][0], real()
    assert check_lookahead(make, bars) == []
    assert not isinstance(make(), WeightStrategy) or check_table(make(), bars) == []


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_strategies_need_no_more_history_than_their_rule_says(name: str) -> None:
    """A year and a half before the start is enough, and the need is within the window of the rule."""
    make, start, most = BUNDLED[name]
    found = check_warmup(make, real(), start, rows=250, costs=Bps(2))
    assert found.is_enough and found.available > 300 and found.needed <= most, str(found)


# -- warm-up ----------------------------------------------------------------------------------------------------------------------------


class Exponential(Strategy):
    """Holds the distance of the price from its exponential average, in hundredths."""

    def __init__(self, span: float):
        """The length of the average."""
        super().__init__()
        self.span, self.average = span, None

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Update and aim."""
        price = bars["AAA"].close
        self.average = price if self.average is None else self.average + (price - self.average) * 2.0 / (self.span + 1.0)
        ctx.target_quantity("AAA", round(100.0 * (price - self.average)))


@pytest.mark.parametrize("start", [40, 60, 80])
def test_an_average_with_too_little_history_is_caught(start: int) -> None:
    """An average over 150 bars depends on its first one for much longer than these starts; one over 4 does not."""
    slow, quick = check_warmup(lambda: Exponential(150.0), BARS, start), check_warmup(lambda: Exponential(4.0), BARS, start)
    assert not slow.is_enough and slow.needed > 0.9 * start and "not enough" in str(slow) and "became" in str(slow)
    assert quick.is_enough and quick.needed < 35 and "are enough" in str(quick)


@pytest.mark.parametrize("window", [3, 17])
def test_the_need_of_a_window_is_its_length(window: int) -> None:
    """A mean over the last n closes that trades every day needs n - 1 rows before the first one that counts."""

    class Mean(Strategy):
        def on_data(self, ctx: Any, bars: Any) -> None:
            ctx.target_quantity("AAA", round(1e4 * float(ctx.history("close", window, symbol="AAA").mean())))

    found = check_warmup(Mean, BARS, 50, cash=1e9)
    assert found.is_enough and found.needed == window - 1


def test_what_cannot_be_checked_is_refused() -> None:
    """No history, a start beyond the bars, a panel without a future."""
    with pytest.raises(DataError, match="no history before it"):
        check_warmup(ByGlobalHelper, BARS, 0)
    with pytest.raises(DataError, match="must lie within the bars"):
        check_warmup(ByGlobalHelper, BARS, "2050-01-01")
    with pytest.raises(DataError, match="at least 3"):
        check_lookahead(ByGlobalHelper, BARS[:2])


# -- volume -----------------------------------------------------------------------------------------------------------------------------


class Whale(Strategy):
    """Takes more than there is, on one day."""

    def on_data(self, ctx: Any, bars: Any) -> None:
        """A small order every day, a huge one once."""
        ctx.order("BBB", 300_000 if ctx.row == 7 else 1_000)


def test_the_volume_warning_names_the_order() -> None:
    """Symbol, day, quantity, volume and share of the worst order."""
    result = Backtest(Whale(), BARS, cash=1e9).run()
    shares = volume_shares(result, BARS)
    worst = shares.iloc[0]
    assert (worst["symbol"], worst["quantity"], worst["volume"], worst["share"], worst["ts"]) == ("BBB", 300_000.0, 1e6, 0.3, BARS.index[8])
    line = next(w for w in result.manifest["warnings"] if "volume" in w)
    assert "an order took 30% of its bar's volume" in line and f"300,000 BBB of 1,000,000 on {BARS.index[8]:%Y-%m-%d}" in line and "1 of 119 did" in line
    assert execution_warnings(result.manifest["execution"], volume_share=0.5) == []
