"""qtnb in the peer benchmark: W1 to W3 through the compiled path, W4 and W5 through the event engine, W6 through the compiled order book.

    cd <folder of the peer benchmark>
    python bench.py --works W1,W2,W3,W4,W5,W6 --peers limit,limit-python,raptorbt,hftbacktest --extra qtnb=<python>,<this file>

The folder holds `common.py` (constants, timer, one line of JSON) and `gen.py` (the data); it is the working directory, or $QTNB_PEERS.
Each workload imports what it needs and no more, so that its memory is its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

sys.path[:0] = [os.environ.get("QTNB_PEERS", os.getcwd()), os.path.dirname(os.path.abspath(__file__))]

import common  # type: ignore[import-not-found]  # noqa: E402

from qtnb import __version__  # noqa: E402

Build = tuple[Callable[[], dict[str, Any]], int]


def on_weights(work: str) -> Build:
    """A workload of the compiled path."""
    import run_qtnb_weights

    return run_qtnb_weights.WORKS[work]()


def on_bars(work: str) -> Build:
    """A workload of the event engine."""
    import run_qtnb_bars

    return run_qtnb_bars.WORKS[work]()


def on_quotes() -> Build:
    """The workload of the compiled order book."""
    import gen  # type: ignore[import-not-found]
    import run_qtnb_w6

    return run_qtnb_w6.build(common, gen)


if __name__ == "__main__":
    works: dict[str, Callable[[], Build]] = {name: lambda name=name: on_weights(name) for name in ("W1", "W2", "W3")}
    works |= {name: lambda name=name: on_bars(name) for name in ("W4", "W5")}
    common.main("qtnb", __version__, works | {"W6": on_quotes})
