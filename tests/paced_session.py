"""A paper session that takes its time, for tests that look at it from another process: `python paced_session.py FOLDER SECONDS_PER_BAR BARS`.

It trades on most bars, keeps a resting order and obeys limits, one of which the market breaks now and then; one symbol has gaps and a name that is HTML.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from qtnb.core.bars import Bars
from qtnb.core.book import Book
from qtnb.live.adapters.paper import PaperVenue
from qtnb.live.commands import Mailbox
from qtnb.live.data_streams import ReplayStream
from qtnb.live.exec_engine import LiveSession, SessionOptions
from qtnb.live.state_store import SqliteJournal
from qtnb.risk.limits import GrossLimit, NameLimit, NetLimit
from qtnb.risk.stops import LossStop
from qtnb.strategies.base import Strategy
from qtnb.types import Instrument

HOSTILE = "<img src=x onerror=window.hacked=1>"
SYMBOLS = ("AAA", "BBB", HOSTILE)
CASH = 100_000.0
CHECKS = [GrossLimit(1.5), NameLimit(0.45), NetLimit(-0.2, 1.2), LossStop(0.5)]


class Busy(Strategy):
    """Buy and sell in turns, and rest an order far away."""

    name = "busy"

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Trade on most bars."""
        if ctx.row == 0:
            ctx.order("BBB", 10.0, limit_price=1.0, time_in_force="gtc")
        if ctx.row % 40 < 20:
            ctx.order(SYMBOLS[ctx.row % 3], 60.0)
        elif ctx.position(SYMBOLS[ctx.row % 3]) >= 60.0:
            ctx.order(SYMBOLS[ctx.row % 3], -60.0)


def panel(rows: int) -> Bars:
    """Hourly bars by random walk; the last symbol misses every seventh bar."""
    rng = np.random.default_rng(5)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0003, 0.01, (rows, 3)), axis=0)).round(4)
    open_ = np.vstack([close[:1], close[:-1]])
    fields = {"open": open_, "high": np.maximum(open_, close) + 0.01, "low": np.minimum(open_, close) - 0.01, "close": close, "volume": np.full((rows, 3), 1e6)}
    fields = {name: values.round(2).copy() for name, values in fields.items()}
    for values in fields.values():
        values[6::7, 2] = np.nan
    begin = 1_704_067_200_000_000_000
    return Bars([begin + 3_600_000_000_000 * (i + 1) for i in range(rows)], list(SYMBOLS), interval="1h", **fields)


def session(folder: Path, pace: float | None, rows: int) -> LiveSession:
    """The session, with a journal and a command file in a folder."""
    known = {symbol: Instrument(symbol) for symbol in SYMBOLS}
    journal, mailbox = SqliteJournal(folder / "journal.sqlite", synchronous="NORMAL"), Mailbox(folder / "commands.sqlite")
    return LiveSession(Busy(), ReplayStream(panel(rows), pace=pace), venue=PaperVenue(known, symbols=SYMBOLS, interval="1h", cash=CASH),
                       book=Book(known, cash=CASH), journal=journal, run_id="paced", checks=CHECKS, mailbox=mailbox,
                       options=SessionOptions(max_seconds=300.0, look_seconds=0.05))


if __name__ == "__main__":
    paced = session(Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
    try:
        print("final", repr(float(paced.run().account["equity"].iloc[-1])))
    finally:
        paced.journal.close()
