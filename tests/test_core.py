"""The smaller parts of the core: registry, errors, clock, bars and their windows, timers, and how a failing strategy is reported."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qtnb.core.bars import DAY_NS, FIELDS, Bars, BarsWindow
from qtnb.core.book import Book
from qtnb.core.clock import SimClock, SystemClock
from qtnb.core.engine import TradingEngine
from qtnb.core.errors import ConfigError, DataError, QtnbError, StateMismatch, StrategyError, UnknownNameError, unknown_name
from qtnb.core.events import (
    COMMAND_TYPES,
    EVENT_TYPES,
    Alert,
    BarsEvent,
    Control,
    ControlAction,
    CorporateAction,
    Halt,
    OrderEventKind,
    OrderUpdate,
    SetTimer,
    Submit,
    TimerEvent,
)
from qtnb.core.registry import Registry
from qtnb.enums import OrderStatus, Side
from qtnb.types import Fill, Instrument

# -- registry ----------------------------------------------------------------------------------------------------------------


def test_registry_finds_names_and_aliases() -> None:
    """A thing is found by its name and its aliases; names are sorted and aliases are not listed."""
    table: Registry[type] = Registry("number")
    assert table.register("int", int) is int
    table.register("fraction", "fractions:Fraction", aliases=("ratio", "quotient"))
    assert table.names() == list(table) == ["fraction", "int"]
    assert table.get("ratio") is table.get("quotient") is table.get("fraction")
    assert "ratio" in table and "real" not in table
    assert table.origin("fraction") == "fractions:Fraction" and table.origin("int") == "builtins:int"


def test_registry_imports_late() -> None:
    """A thing named by a string is imported when it is asked for, not when it is registered or listed."""
    table: Registry[type] = Registry("thing")
    table.register("broken", "a_module_that_does_not_exist:Thing")
    assert table.names() == ["broken"] and table.origin("broken").startswith("a_module")
    with pytest.raises(ImportError):
        table.get("broken")


def test_registry_names_the_nearest() -> None:
    """A mistyped name is answered with near matches, and the error is what callers of LookupError and ValueError expect."""
    table: Registry[type] = Registry("strategy")
    with pytest.raises(UnknownNameError, match="No strategy is known yet"):
        table.get("x")
    for name in ("sma_cross", "xmom_crosssec", "mr_pairs"):
        table.register(name, int)
    for wrong in ("sma_cros", "SMA_CROSS", "smacross"):
        with pytest.raises(UnknownNameError, match=f"strategy '{wrong}' is not known. Did you mean 'sma_cross'"):
            table.get(wrong)
        with pytest.raises(LookupError):
            table.origin(wrong)
    assert issubclass(UnknownNameError, ValueError) and UnknownNameError.exit_code == 2


def test_registry_refuses_two_meanings() -> None:
    """Another thing under a held name or alias is a mistake unless forced; the same one again is not."""
    table: Registry[type] = Registry("number")
    table.register("fraction", "fractions:Fraction", aliases=("ratio",))
    for name in ("fraction", "ratio"):
        with pytest.raises(ConfigError, match=f"number '{name}' is registered already"):
            table.register(name, float)
    with pytest.raises(ConfigError, match="registered already"):
        table.register("decimal", "decimal:Decimal", aliases=("ratio",))
    table.register("fraction", "fractions:Fraction", aliases=("ratio",))
    table.register("ratio", float, force=True)
    assert table.get("ratio") is float and table.get("fraction").__name__ == "Fraction"


def test_registry_lets_a_notebook_redefine_its_own() -> None:
    """The copy in `__main__` and the copy in the package are one thing; of both, the newer is used."""

    def copy(module: str) -> type:
        """A class of the same name from a module."""
        return type("Moving", (), {"__module__": module, "__qualname__": "Moving"})

    table: Registry[type] = Registry("strategy")
    table.register("moving", "qtnb.strategies.moving:Moving")
    edited = copy("__main__")
    table.register("moving", edited)
    assert table.get("moving") is edited
    exported = copy("qtnb.strategies.moving")
    table.register("moving", exported)
    assert table.get("moving") is exported
    with pytest.raises(ConfigError, match="as qtnb.strategies.moving:Moving"):
        table.register("moving", copy("somewhere.else"))


# -- errors ------------------------------------------------------------------------------------------------------------------


def test_unknown_name_lists_at_most_twenty() -> None:
    """A long list is cut and counted."""
    text = str(unknown_name("symbol", "zzz", [f"S{n:03d}" for n in range(100)]))
    assert text.count("S0") == 20 and "(100 in all)" in text


def test_every_error_has_an_exit_code_and_one_root() -> None:
    """Whatever is raised on purpose is a QtnbError and ends a command with 1 or 2."""

    def below(kind: type) -> set[type]:
        """A class and all that derive from it."""
        return {kind}.union(*(below(k) for k in kind.__subclasses__()))

    kinds = {k for k in below(QtnbError) if k.__module__ == "qtnb.core.errors"}
    assert len(kinds) >= 13
    assert all(k.exit_code in (1, 2) for k in kinds)
    assert {k.exit_code for k in kinds if issubclass(k, (ConfigError, DataError))} == {2}


# -- clock -------------------------------------------------------------------------------------------------------------------


def test_the_simulated_clock_only_moves_forward() -> None:
    """It stands, it moves, it refuses to go back and then stands where it was."""
    clock = SimClock(5)
    clock.move_to(5)
    clock.move_to(3_000_000_005)
    with pytest.raises(DataError, match="stood at 3000000005 and was to move back to 4"):
        clock.move_to(4)
    assert clock.now() == 3_000_000_005 and clock.monotonic() == 3.0


def test_the_system_clock_counts_nanoseconds() -> None:
    """Wall time lies between two readings of the machine's clock; the monotonic one does not run back."""
    clock = SystemClock()
    before, now, after = pd.Timestamp.now(tz="UTC"), pd.Timestamp(clock.now(), tz="UTC"), pd.Timestamp.now(tz="UTC")
    assert before - pd.Timedelta(seconds=1) <= now <= after + pd.Timedelta(seconds=1)
    assert clock.monotonic() <= clock.monotonic()


# -- bars --------------------------------------------------------------------------------------------------------------------


def some_bars(rows: int = 12, symbols: tuple[str, ...] = ("IBM", "QQQ", "SPY"), seed: int = 0, gaps: bool = True, **options: Any) -> Bars:
    """A random panel in which bars are missing, but no row and no symbol is empty."""
    random = np.random.default_rng(seed)
    arrays = {name: random.uniform(1, 100, (rows, len(symbols))) for name in FIELDS}
    if gaps:
        missing = random.random((rows, len(symbols))) < 0.3
        missing[np.arange(rows), np.arange(rows) % len(symbols)] = False
        missing[0] = False
        for array in arrays.values():
            array[missing] = np.nan
    return Bars((np.arange(rows) + 18_000) * DAY_NS + 75_600_000_000_000, symbols, **arrays, **options)


def same(a: Bars, b: Bars) -> bool:
    """Whether two panels hold the same, marks included."""
    fields = all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=True) for f in (*FIELDS, "mark", "ts"))
    return fields and (a.symbols, a.interval, a.adjust) == (b.symbols, b.interval, b.adjust)


@pytest.mark.parametrize("seed", range(5))
def test_a_frame_and_back_is_the_same_panel(seed: int) -> None:
    """Values, missing bars, interval and adjustment survive; time outside is datetime64[ns, UTC]."""
    bars = some_bars(seed=seed, adjust="splits", interval="1h")
    frame = bars.to_frame()
    assert str(frame.index.levels[0].dtype) == "datetime64[ns, UTC]" and frame.index.names == ["ts", "symbol"]
    assert list(frame.columns) == list(FIELDS) and frame.index.is_unique and frame.index.is_monotonic_increasing
    assert frame.attrs == {"interval": "1h", "adjust": "splits"}
    again = Bars.from_frame(frame)
    assert same(again, bars) and again.fingerprint() == bars.fingerprint()
    shuffled = frame.sample(frac=1.0, random_state=seed)
    shuffled.attrs = frame.attrs
    assert same(Bars.from_frame(shuffled, symbols=bars.symbols), bars)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_frame_in_another_unit_or_zone_means_the_same_instants(unit: str) -> None:
    """pandas makes microseconds by default and vendors give New York time: inside it is nanoseconds UTC."""
    frame = some_bars().to_frame()
    levels = frame.index.levels[0].as_unit(unit).tz_convert("America/New_York")
    frame.index = frame.index.set_levels(levels, level="ts")
    assert Bars.from_frame(frame, symbols=("IBM", "QQQ", "SPY")).ts.tolist() == some_bars().ts.tolist()


def spoiled(change: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """A good frame with one thing wrong."""
    return change(some_bars().to_frame())


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (spoiled(lambda f: f.tz_localize(None, level="ts")), "naive"),
        (spoiled(lambda f: f.drop(columns="close")), "close"),
        (spoiled(lambda f: f.reset_index()), "index"),
        (spoiled(lambda f: f.reorder_levels(["symbol", "ts"])), "index"),
        (spoiled(lambda f: pd.concat([f, f.iloc[:1]])), "twice"),
    ],
    ids=["naive", "column", "index", "levels", "duplicate"],
)
def test_a_frame_that_is_no_panel_is_refused(frame: pd.DataFrame, words: str) -> None:
    """One clear error that names what was wrong."""
    with pytest.raises(DataError, match=words):
        Bars.from_frame(frame)


def test_a_frame_without_a_symbol_is_refused() -> None:
    """A symbol that is asked for and not there is an error, not a column of NaN."""
    with pytest.raises(LookupError, match="Did you mean 'IBM'"):
        Bars.from_frame(some_bars().to_frame(), symbols=["IBN"])


@pytest.mark.parametrize("ts", [[1, 1], [2, 1]])
def test_time_must_move_forward(ts: list[int]) -> None:
    """Rows are instants in order, each once."""
    with pytest.raises(DataError, match="did not increase"):
        Bars(ts, ["A"], **{f: np.ones((2, 1)) for f in FIELDS})


def test_arrays_must_fit() -> None:
    """Every field has one row per instant and one column per symbol; symbols stand once; the adjustment is a known word."""
    good = {f: np.ones((2, 1)) for f in FIELDS}
    for name in FIELDS:
        with pytest.raises(DataError, match=f"`{name}` had shape"):
            Bars([1, 2], ["A"], **{**good, name: np.ones((1, 2))})
    with pytest.raises(DataError, match="once"):
        Bars([1, 2], ["A", "A"], **{f: np.ones((2, 2)) for f in FIELDS})
    with pytest.raises(UnknownNameError, match="adjustment 'al'"):
        Bars([1, 2], ["A"], **good, adjust="al")


def test_cutting_is_a_view_of_the_same_values() -> None:
    """A range of rows shares memory; marks of the piece begin with the piece; a step or a single row is refused."""
    bars = some_bars()
    piece = bars[3:9]
    assert len(piece) == 6 and np.shares_memory(piece.close, bars.close) and piece.ts.tolist() == bars.ts[3:9].tolist()
    assert len(bars[-2:]) == 2 and len(bars[5:5]) == 0 and len(bars[:99]) == 12
    for wrong in (3, slice(None, None, 2), "IBM"):
        with pytest.raises(TypeError, match=r"bars\[10:20\]"):
            bars[wrong]  # type: ignore[index]
    part = bars.select(["SPY", "IBM"])
    assert np.array_equal(part.close, bars.close[:, [2, 0]], equal_nan=True) and part.symbols == ("SPY", "IBM")


def test_marks_are_the_last_known_closes() -> None:
    """Carried forward over missing bars, never back, and close itself stays NaN."""
    close = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan], [3.0, 4.0]])
    bars = Bars([1, 2, 3, 4], ["A", "B"], open=close, high=close, low=close, close=close, volume=close)
    wanted = np.array([[np.nan, 1.0], [2.0, 1.0], [2.0, 1.0], [3.0, 4.0]])
    assert np.array_equal(bars.mark, wanted, equal_nan=True) and np.isnan(bars.close[2]).all()


def test_the_fingerprint_notices_everything() -> None:
    """Any value, time, name, order of columns, interval or adjustment changes it; a copy does not."""
    bars = some_bars()
    prints = {bars.fingerprint(), bars.select(["QQQ", "IBM", "SPY"]).fingerprint(), bars[1:].fingerprint()}
    for name in FIELDS:
        arrays = {f: np.array(getattr(bars, f)) for f in FIELDS}
        arrays[name][0, 0] = np.nextafter(arrays[name][0, 0], np.inf)
        prints.add(Bars(bars.ts, bars.symbols, **arrays).fingerprint())
    arrays = {f: np.array(getattr(bars, f)) for f in FIELDS}
    for options in ({"interval": "1h"}, {"adjust": "all"}):
        prints.add(Bars(bars.ts, bars.symbols, **arrays, **options).fingerprint())
    prints.add(Bars(bars.ts + 1, bars.symbols, **arrays).fingerprint())
    prints.add(Bars(bars.ts, ("IBM", "QQQ", "SPX"), **arrays).fingerprint())
    assert len(prints) == 3 + len(FIELDS) + 4
    assert Bars(bars.ts.copy(), list(bars.symbols), **arrays).fingerprint() == bars.fingerprint()


def test_the_session_of_midnight_is_the_day_before() -> None:
    """A bar that ends at midnight belongs to the day that ends; one nanosecond later, to the next."""
    close = np.ones((3, 1))
    bars = Bars([DAY_NS - 1, DAY_NS, DAY_NS + 1], ["A"], open=close, high=close, low=close, close=close, volume=close)
    assert bars.session.tolist() == [0, 0, 1]


@pytest.mark.parametrize("capacity", [1, 2, 5, 64])
def test_a_window_grows_into_the_panel(capacity: int) -> None:
    """After each row the window equals the panel cut at that row, marks and fingerprint included; old views keep their values."""
    bars = some_bars(rows=20, interval="1m", adjust="all")
    window = BarsWindow(bars.symbols, interval="1m", adjust="all", capacity=capacity)
    assert len(window) == 0 and "empty" in repr(window)
    kept: list[tuple[np.ndarray, np.ndarray]] = []
    for row in range(len(bars)):
        assert window.append(int(bars.ts[row]), [getattr(bars, f)[row] for f in FIELDS]) == row
        assert same(window, bars[: row + 1]) and window.fingerprint() == bars[: row + 1].fingerprint()
        assert window.row(row) == bars.row(row)
        kept.append((window.close, np.array(window.close)))
    assert all(np.array_equal(view, copy, equal_nan=True) for view, copy in kept)


@pytest.mark.parametrize("values", [[[1.0]] * 5, [[1.0, 2.0, 3.0]] * 4, [[1.0, 2.0, 3.0]] * 4 + [[1.0]], [], [[]] * 5])
def test_a_window_takes_whole_rows_only(values: list[list[float]]) -> None:
    """A row with too few or too many numbers is refused, never stretched, and leaves the window as it was."""
    bars = some_bars(rows=3, gaps=False)
    window = BarsWindow(bars.symbols)
    window.append(10, [bars.open[0]] * 5)
    before = window.fingerprint()
    with pytest.raises(DataError):
        window.append(20, values)
    assert window.fingerprint() == before and len(window) == 1
    with pytest.raises(DataError, match="forward in time"):
        window.append(10, [bars.open[0]] * 5)
    assert window.append(20, [bars.open[0]] * 5) == 1


# -- events ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*EVENT_TYPES, *COMMAND_TYPES], ids=lambda k: k.__name__)
def test_events_and_commands_are_frozen_values(kind: type) -> None:
    """They compare by content, cannot be changed, and survive being copied."""
    fields = kind.__dataclass_fields__  # type: ignore[attr-defined]
    values = {
        "ts": 1, "name": "n", "symbol": "A", "kind": "split", "value": 2.0, "client_order_id": "q1-a", "action": ControlAction.HALT,
        "order": None, "level": "info", "message": "m", "reason": "r", "exec_id": "x", "side": Side.BUY, "quantity": 1.0, "price": 1.0,
        "bid": 1.0, "ask": 1.1, "amount": 5.0, "currency": "EUR", "rate": 1.1,
        **dict.fromkeys(FIELDS, (1.0,)),
    }  # fmt: skip
    needed = {n: values[n] for n in fields if n in values}
    one, two = kind(**needed), kind(**needed)
    assert one == two and hash(one) == hash(two) and pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(AttributeError):
        setattr(one, next(iter(fields)), 2)
    assert not hasattr(one, "__dict__")


# -- the engine: timers, failures, answers inside hooks ------------------------------------------------------------------------


class Scripted:
    """A strategy whose hooks are given as functions."""

    name = "scripted"

    def __init__(self, **hooks: Callable[..., None]) -> None:
        """Take the hooks."""
        self.told: list[tuple[str, Any]] = []
        self.hooks = hooks

    def _do(self, hook: str, ctx: Any, thing: Any = None) -> None:
        self.told.append((hook, thing))
        self.hooks.get(hook, lambda ctx, thing: None)(ctx, thing)

    def on_start(self, ctx: Any) -> None:
        """Pass on."""
        self._do("start", ctx)

    def on_data(self, ctx: Any, bars: Any) -> None:
        """Pass on."""
        self._do("data", ctx, bars.ts)

    def on_fill(self, ctx: Any, fill: Any) -> None:
        """Pass on."""
        self._do("fill", ctx, fill)

    def on_order(self, ctx: Any, state: Any) -> None:
        """Pass on the status and the name."""
        self._do("order", ctx, (state.status, state.order.client_order_id))

    def on_timer(self, ctx: Any, name: str) -> None:
        """Pass on."""
        self._do("timer", ctx, name)

    def on_stop(self, ctx: Any) -> None:
        """Pass on."""
        self._do("stop", ctx)


def engine_of(strategy: Any, *, symbols: tuple[str, ...] = ("IBM",), cash: float = 1_000.0, window: Bars | None = None) -> TradingEngine:
    """An engine over a growing window."""
    book = Book([Instrument(s) for s in symbols], cash=cash)
    return TradingEngine(strategy, BarsWindow(symbols) if window is None else window, book=book, run_id="r")


def bar(ts: int, *prices: float) -> BarsEvent:
    """Bars at one price per symbol."""
    return BarsEvent(ts, prices, prices, prices, prices, tuple(100.0 for _ in prices))


def test_a_timer_is_a_command_and_comes_back_as_an_event() -> None:
    """Numbers and zoned timestamps are taken; the past, the present and naive time are not."""

    def set_them(ctx: Any, _: Any) -> None:
        ctx.set_timer("a", 20)
        ctx.set_timer("b", np.int64(21))
        ctx.set_timer("c", pd.Timestamp(22, unit="ns", tz="UTC"))
        ctx.set_timer("d", pd.Timestamp(1_000, unit="us", tz="America/New_York"))
        for wrong in (10, 9, pd.Timestamp(99, unit="ns"), "tomorrow", 20.5, None):
            with pytest.raises(DataError):
                ctx.set_timer("e", wrong)

    strategy = Scripted(data=set_them, timer=lambda ctx, name: ctx.order("IBM", 1.0, tag=f"{name} at {ctx.ts}"))
    engine = engine_of(strategy)
    commands = engine.process(bar(10, 5.0))
    assert list(commands) == [SetTimer(20, "a"), SetTimer(21, "b"), SetTimer(22, "c"), SetTimer(1_000_000, "d")]
    (submit,) = engine.process(TimerEvent(20, "a"))
    assert submit.order.tag == "a at 20" and submit.order.ts == 20


def test_orders_inside_hooks_leave_with_the_event_that_caused_them() -> None:
    """An order in on_fill and one in on_order leave in the answer to the fill and to the update, with their time."""
    strategy = Scripted(
        start=lambda ctx, _: ctx.order("IBM", 2.0),
        order=lambda ctx, told: ctx.order("IBM", 3.0, limit_price=4.0) if told[0] is OrderStatus.ACCEPTED and len(strategy.told) < 4 else None,
        fill=lambda ctx, fill: ctx.order("IBM", -2.0, limit_price=9.0),
    )
    engine = engine_of(strategy)
    (first,) = engine.start(0)
    name = first.order.client_order_id
    (second,) = engine.process(OrderUpdate(1, name, OrderEventKind.ACCEPT))
    (third,) = engine.process(Fill(2, "x", name, "IBM", Side.BUY, 2.0, 5.0))
    assert [c.order.signed_quantity for c in (first, second, third)] == [2.0, 3.0, -2.0]
    assert [c.order.ts for c in (first, second, third)] == [0, 1, 2]
    assert engine.process(Fill(2, "x", name, "IBM", Side.BUY, 2.0, 5.0)) == []  # the same execution again: nobody is told
    assert [hook for hook, _ in strategy.told] == ["start", "order", "fill"]


def test_a_denial_comes_after_the_hook_and_may_be_answered() -> None:
    """The strategy is told of a denied order once its hook has returned; an endless answer to denials is stopped."""
    inside: list[str] = []

    def order_twice(ctx: Any, _: Any) -> None:
        inside.append("in")
        ctx.order("IBM", 0.5)
        assert strategy.told[-1][0] == "data"
        inside.append("out")

    strategy = Scripted(data=order_twice, order=lambda ctx, told: inside.append("told"))
    commands = engine_of(strategy).process(bar(10, 5.0))
    assert inside == ["in", "out", "told"] and [type(c) for c in commands] == [Alert]
    stubborn = Scripted(data=lambda ctx, _: ctx.order("IBM", 0.5), order=lambda ctx, _: ctx.order("IBM", 0.5))
    with pytest.raises(StrategyError, match="1000 orders in a row were denied"):
        engine_of(stubborn).process(bar(10, 5.0))


HOOKS = {
    "on_start": lambda engine, name: engine.start(7),
    "on_data": lambda engine, name: engine.process(bar(20, 6.0)),
    "on_fill": lambda engine, name: engine.process(Fill(20, "x", name, "IBM", Side.BUY, 1.0, 5.0)),
    "on_order": lambda engine, name: engine.process(OrderUpdate(20, name, OrderEventKind.EXPIRE)),
    "on_timer": lambda engine, name: engine.process(TimerEvent(20, "t")),
    "on_stop": lambda engine, name: engine.stop(20),
}


def prepared(hook: str) -> tuple[TradingEngine, str]:
    """An engine with one working order whose strategy orders and then fails in a hook, once."""
    calls = iter([False, True] if hook == "on_data" else [True])

    def fail(ctx: Any, _: Any) -> None:
        if next(calls, False):
            ctx.order("IBM", 77.0)
            ctx.order("IBM", 0.5)
            raise KeyError("slip")

    engine = engine_of(Scripted(**{hook.removeprefix("on_"): fail}))
    engine.process(bar(10, 5.0))
    name = engine.context.order("IBM", 1.0)
    engine.process(Control(11, ControlAction.RESUME))
    return engine, name


@pytest.mark.parametrize("hook", list(HOOKS))
def test_a_failing_hook_is_reported_with_its_place(hook: str) -> None:
    """Which strategy, which hook, which bar, when, and the cause; whatever the failed code had ordered never leaves."""
    engine, name = prepared(hook)
    with pytest.raises(StrategyError, match=rf"strategy 'scripted' raised KeyError in `{hook}` at bar \d+ \(1970-01-01T.*'slip'") as caught:
        HOOKS[hook](engine, name)
    assert isinstance(caught.value.__cause__, KeyError)
    commands = engine.process(Control(30, ControlAction.HALT, "the strategy failed"))
    assert not [c for c in commands if isinstance(c, Submit)] and commands[-1] == Halt(30, "the strategy failed")
    dropped = [s for s in engine.orders.values() if s.order.quantity == 77.0]
    assert [s.status for s in dropped] == [OrderStatus.DENIED] and engine.working.keys() <= {name}
    if hook == "on_fill":
        assert engine.context.position("IBM") == 1.0  # the fill itself is booked all the same


def test_mistakes_in_a_strategy_name_the_remedy() -> None:
    """A symbol, a field or a number of bars that does not exist is named, with what there is."""
    cases: dict[str, Callable[[Any, Any], Any]] = {
        "Did you mean 'IBM'": lambda ctx, _: ctx.order("IBN", 1.0),
        "symbol 'QQQ' is not known": lambda ctx, _: ctx.position("QQQ"),
        "Did you mean 'close'": lambda ctx, _: ctx.history("clos", 3),
        "`n` was 0": lambda ctx, _: ctx.history("close", 0),
        "is not one of ours": lambda ctx, _: ctx.cancel("q1-x"),
        "of a replacement was nan": lambda ctx, _: ctx.replace(ctx.order("IBM", 1.0), quantity=math.nan),
    }
    for words, slip in cases.items():
        with pytest.raises(StrategyError, match=words):
            engine_of(Scripted(data=slip)).process(bar(10, 5.0))


def test_what_the_engine_does_not_understand_is_refused() -> None:
    """An event of no known type, a bar for a fixed panel, a message about an order that is not ours: nothing happens."""
    engine = engine_of(Scripted())
    with pytest.raises(StateMismatch, match="does not know"):
        engine.process("hello")  # type: ignore[arg-type]
    for stranger in (Fill(1, "x", "q1-x", "IBM", Side.BUY, 1.0, 1.0), OrderUpdate(1, "q1-x", OrderEventKind.ACCEPT)):
        with pytest.raises(StateMismatch, match="not one of ours"):
            engine.process(stranger)
    fixed = engine_of(Scripted(), symbols=("IBM", "QQQ", "SPY"), window=some_bars())
    with pytest.raises(StateMismatch, match="step"):
        fixed.process(bar(10, 5.0, 5.0, 5.0))
    assert engine.context.cash == 1_000.0 and not engine.orders
    with pytest.raises(LookupError):
        TradingEngine(Scripted(), BarsWindow(["IBM", "QQQ"]), book=Book([Instrument("IBM")]))


def test_a_refused_fill_can_be_mended() -> None:
    """A fill with a number that is none leaves order and book alone; the same execution, mended, is booked once."""
    engine = engine_of(Scripted(data=lambda ctx, _: ctx.order("IBM", 10.0)))
    (submit,) = engine.process(bar(10, 5.0))
    name = submit.order.client_order_id
    for price, currency in ((math.nan, "USD"), (5.0, "EUR")):
        with pytest.raises(QtnbError):
            engine.process(Fill(11, "x", name, "IBM", Side.BUY, 10.0, price, currency=currency))
        state = engine.order_state(name)
        assert (state.status, state.filled_quantity, engine.context.position("IBM")) == (OrderStatus.SUBMITTED, 0.0, 0.0)
    for _ in range(2):
        engine.process(Fill(11, "x", name, "IBM", Side.BUY, 10.0, 5.0))
    assert engine.context.position("IBM") == 10.0 and engine.order_state(name).status is OrderStatus.FILLED


def test_actions_are_booked_on_raw_prices_only() -> None:
    """A split on raw prices changes the holding; on prices that contain it already it would count twice and is refused."""
    for adjust, kind, fine in (
        ("none", "split", True), ("none", "dividend", True), ("splits", "dividend", True),
        ("splits", "split", False), ("all", "split", False), ("all", "dividend", False),
    ):  # fmt: skip
        engine = engine_of(Scripted(), window=BarsWindow(["IBM"], adjust=adjust))
        engine.process(bar(10, 5.0))
        action = CorporateAction(11, "IBM", kind, 2.0)
        if fine:
            engine.process(action)
        else:
            with pytest.raises(QtnbError, match="twice"):
                engine.process(action)


def test_time_never_runs_back_inside_the_engine() -> None:
    """A message that was stamped before the last one is handled at the later time."""
    engine = engine_of(Scripted(data=lambda ctx, _: ctx.order("IBM", 1.0)))
    (submit,) = engine.process(bar(10, 5.0))
    engine.process(OrderUpdate(15, submit.order.client_order_id, OrderEventKind.ACCEPT))
    engine.process(Fill(12, "x", submit.order.client_order_id, "IBM", Side.BUY, 1.0, 5.0))
    assert engine.ts == 15
