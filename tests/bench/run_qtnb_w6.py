"""Workload W6 of the peer benchmark: a compiled market maker on two million quotes.

    python tests/bench/run_qtnb_w6.py --peers <folder of the peer benchmark> --work W6

The folder (or the environment variable QTNB_PEERS) holds the peers' common.py, with the timer and the constants, and gen.py, with the
data. `build` is what a runner of several workloads needs: `common.main("qtnb", version, {"W6": lambda: build(common, gen)})`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any


def make_maker(half: int, most: int, quantity: float) -> Any:
    """The strategy: quote `half` ticks outside the middle, at most `most` lots either way."""
    from numba import njit

    from qtnb.backtest.replay import BUY, SELL

    @njit(cache=True)
    def maker(market, orders, state):
        total = market.bid + market.ask
        if market.position < most:
            orders.quote(BUY, total // 2 - half, quantity)
        else:
            orders.withdraw(BUY)
        if market.position > -most:
            orders.quote(SELL, (total + 1) // 2 + half, quantity)
        else:
            orders.withdraw(SELL)

    return maker


def keep(common: Any) -> Any:
    """Compile the venue and the strategy, or read their kept machine code; returns the strategy."""
    from qtnb.backtest.replay_clock import TICKS, compile_strategy, drive_ticks, entry_of

    entry_of(drive_ticks, TICKS)
    return compile_strategy(make_maker(common.W6_HALF_TICKS, common.W6_MAX_POS, float(common.W6_QTY)))


def build(common: Any, gen: Any) -> tuple[Callable[[], dict[str, Any]], int]:
    """Load the quotes and return what is timed, and the number of rows.

    A fresh installation compiles the venue and the strategy once and keeps the machine code; a process of its own does that here, so
    that neither the time nor the memory of the compiler is counted as that of a replay.
    """
    subprocess.run([sys.executable, __file__, "--keep", "--peers", os.path.dirname(common.__file__)], check=True)
    maker = keep(common)

    from qtnb.backtest.replay import Quotes, Replay
    from qtnb.types import Instrument

    d = gen.load("W6")
    quotes = Quotes(Instrument("W6", tick_size=common.W6_TICK), d["time"], d["bid"], d["ask"], d["bid_size"], d["ask_size"])

    def run() -> dict[str, Any]:
        result = Replay(maker, quotes, every=common.W6_EVERY, cash=common.W6_CASH).run()
        return {"final_equity": result.final_equity, "n_trades": result.trades}

    return run, len(d["time"])


def main(argv: list[str]) -> None:
    """Run it by the peers' rules."""
    folder = os.environ.get("QTNB_PEERS", "")
    if "--peers" in argv:
        place = argv.index("--peers")
        folder = argv[place + 1]
        del argv[place : place + 2]
    if not folder:
        sys.exit("say where the peer benchmark is: --peers FOLDER, or QTNB_PEERS=FOLDER.")
    sys.path.insert(0, folder)
    import common

    if "--keep" in argv:
        keep(common)
        return
    import gen

    from qtnb import __version__

    common.main("qtnb", __version__, {"W6": lambda: build(common, gen)}, argv)


if __name__ == "__main__":
    main(sys.argv[1:])
