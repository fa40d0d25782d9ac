"""Daily bars that were never traded: seeded random walks, for trying things out without a vendor."""

from collections.abc import Sequence

import pandas as pd

from qtnb.core.errors import unknown_name
from qtnb.data.reference import empty_events
from qtnb.data.synthetic import synthetic_bars
from qtnb.utils.time import index_to_ns

VOLATILITY = {"WALK1": 0.10, "WALK2": 0.20, "WALK3": 0.40}  # per year


class RandomWalk:
    "A provider of bars: all that it can give is asked for at once."

    name = "random_walk"  # its name in the registry
    calendar = "XNYS"  # calendar of its bars
    interval = "1d"  # length of a bar

    def symbols(self) -> list[str]:
        "Every symbol it can give, sorted."
        return sorted(VOLATILITY)

    def batches(
        self,
        symbols: Sequence[str] | None = None,  # None = all
    ) -> list[list[str]]:  # grouped as they are best fetched
        "The wanted symbols, one at a time; near matches for one that does not exist."
        for symbol in symbols or []:
            if symbol not in VOLATILITY:
                raise unknown_name("symbol of random_walk", symbol, VOLATILITY)
        return [[symbol] for symbol in symbols or self.symbols()]

    def fetch_bars(
        self,
        symbols: Sequence[str],  # some of `symbols()`
        start: int | None = None,  # first instant, ns UTC; None = the beginning of 2015
        end: int | None = None,  # last instant, inside, ns UTC; None = six years later
    ) -> pd.DataFrame:  # bar table, valid by the schema
        "Bars of some symbols; each symbol has its own seed, so it is the same walk whoever else is asked for."
        tables = [synthetic_bars(s, 1_510, seed=int(s[-1]), start="2015-01-02", calendar=self.calendar, volatility=VOLATILITY[s]) for s in symbols]
        bars = pd.concat(tables).sort_index()
        ts = index_to_ns(bars.index.get_level_values("ts"))
        return bars[(ts >= (ts.min() if start is None else start)) & (ts <= (ts.max() if end is None else end))]

    def fetch_events(
        self,
        symbols: Sequence[str] | None = None,  # None = all
    ) -> pd.DataFrame:  # canonical events
        "A random walk pays no dividend."
        return empty_events()
