"""What the package brings does what it says, by itself and by its names; run `pytest` here once the package is installed."""

from pathlib import Path

import numpy as np
import pytest
from qtnb_example_plugin.flat_fee import FlatFee
from qtnb_example_plugin.inverse_volatility import InverseVolatility
from qtnb_example_plugin.notice_board import NoticeBoard
from qtnb_example_plugin.overnight_gap import overnight_gap
from qtnb_example_plugin.random_walk import RandomWalk

from qtnb.backtest.brokers import costs_by_name
from qtnb.backtest.engine import Backtest
from qtnb.core.bars import Bars
from qtnb.core.errors import ParameterError
from qtnb.data.schema import validate_table
from qtnb.features.signals.registry import bar_panels, future_rows, make_signal
from qtnb.plugins.discovery import check_things
from qtnb.reporting.messages import Message
from qtnb.reporting.posting import DeliveryError
from qtnb.reporting.reporters import make_reporter
from qtnb.strategies.base import check_lookahead
from qtnb.strategies.registry import make_strategy


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Bars.from_frame(RandomWalk().fetch_bars(["WALK1", "WALK2", "WALK3"]))


def test_the_walks_are_valid_bars_and_the_same_whoever_is_asked_for() -> None:
    walk = RandomWalk()
    together, alone = validate_table(walk.fetch_bars(walk.symbols())), walk.fetch_bars(["WALK2"])
    assert len(together) == 3 * len(alone) > 4_000
    assert together.xs("WALK2", level="symbol").equals(alone.xs("WALK2", level="symbol"))
    with pytest.raises(LookupError, match="'WALK' is not known. Did you mean"):
        walk.batches(["WALK"])


def test_calm_symbols_get_more(bars: Bars) -> None:
    strategy = InverseVolatility(lookback=250)
    last = strategy.decisions(bars).weights[-1]
    assert last.sum() == pytest.approx(0.95) and last[0] > last[1] > last[2]
    assert last[0] / last[2] == pytest.approx(4, rel=0.25)  # their volatilities are 10 and 40 per cent
    assert np.isnan(strategy.weights(bars)[:250]).all()
    assert check_lookahead(strategy, bars) == []


def test_the_fee_is_flat(bars: Bars) -> None:
    result = Backtest(InverseVolatility(), bars, cash=100_000, costs=FlatFee(3.0)).run()
    assert set(result.fills["fee"]) == {3.0}
    with pytest.raises(ParameterError, match="0 or more"):
        FlatFee(-1)


def test_the_gaps_of_the_last_nights_are_added_up_and_turned_round() -> None:
    panels = bar_panels(RandomWalk().fetch_bars(["WALK1", "WALK2"]))
    made = overnight_gap(panels["open"], panels["close"], window=2)
    nights = [panels["open"].iloc[t] / panels["close"].iloc[t - 1] - 1 for t in (1, 2)]
    assert np.allclose(made.values.iloc[2], -(nights[0] + nights[1]), rtol=0, atol=1e-12) and made.values.iloc[:2].isna().all(axis=None)
    assert future_rows("overnight_gap", **panels).empty


def test_the_board_keeps_the_latest_messages(tmp_path: Path) -> None:
    board = NoticeBoard(path=tmp_path / "board.html", lines=2)
    for title in ("one", "two", "<script>three</script>"):
        assert "board.html" in board.deliver(Message(title, "warning"))
    shown = board.path.read_text(encoding="utf-8").splitlines()
    assert len(shown) == 2 and "&lt;script&gt;three" in shown[0] and "two" in shown[1]
    (tmp_path / "file").write_text("")
    with pytest.raises(DeliveryError, match="could not be written"):
        NoticeBoard(path=tmp_path / "file" / "board.html").deliver(Message("four", "warning"))


def test_qtnb_finds_all_by_name() -> None:
    assert isinstance(make_strategy("inverse_volatility", {"every": 5}), InverseVolatility)
    assert costs_by_name("flat_fee", amount=2) == FlatFee(2)
    panels = bar_panels(RandomWalk().fetch_bars(["WALK1", "WALK2"]))
    assert make_signal("overnight_gap", **panels).values.equals(overnight_gap(panels["open"], panels["close"]).values)
    assert isinstance(make_reporter("notice_board", path="board.html"), NoticeBoard)
    things = check_things(["qtnb-example-plugin"])
    assert [(t.kind, t.name, t.state) for t in things] == [
        ("strategy", "inverse_volatility", "works"), ("signal", "overnight_gap", "works"),
        ("provider", "random_walk", "works"), ("cost model", "flat_fee", "works"), ("reporter", "notice_board", "works")]
