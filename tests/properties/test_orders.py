"""The life of an order: the declared graph against its rules in words, and the same end whatever order the messages come in."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterable

import pytest
from effort import EFFORT
from hypothesis import given
from hypothesis import strategies as st

from qtnb.core.errors import QtnbError, StateMismatch
from qtnb.core.events import OrderEventKind as Kind
from qtnb.core.events import OrderUpdate
from qtnb.core.orders import FILLABLE, TRANSITIONS, OrderState, client_order_id
from qtnb.enums import FINAL_STATUSES, OrderType, Side
from qtnb.enums import OrderStatus as Status
from qtnb.types import Fill, Order

Message = OrderUpdate | Fill

OURS = (Kind.SUBMIT, Kind.DENY, Kind.CANCEL_REQUEST, Kind.REPLACE_REQUEST)  # what we do ourselves
ENDS = {Kind.REJECT: Status.REJECTED, Kind.CANCEL: Status.CANCELED, Kind.EXPIRE: Status.EXPIRED}
WORKING_AGAIN = (Kind.CANCEL_REJECT, Kind.REPLACE, Kind.REPLACE_REJECT)
UNSENT = (Status.NEW, Status.DENIED)
PAIRS = list(itertools.product(Status, Kind))


def order(quantity: float = 100.0) -> Order:
    """A limit order to buy."""
    return Order("q1-a", 1, "IBM", Side.BUY, quantity, OrderType.LIMIT, limit_price=140.0)


def says(kind: Kind, ts: int = 2, **terms: float) -> OrderUpdate:
    """An update of that order."""
    return OrderUpdate(ts, "q1-a", kind, **terms)


def fill(quantity: float, exec_id: str, price: float = 140.0, fee: float = 1.0) -> Fill:
    """A fill of that order."""
    return Fill(5, exec_id, "q1-a", "IBM", Side.BUY, quantity, price, fee)


def tell(state: OrderState, *messages: Message) -> OrderState:
    """Send messages to an order."""
    for message in messages:
        state.apply_fill(message) if isinstance(message, Fill) else state.apply(message)
    return state


def sent(quantity: float = 100.0, *messages: Message) -> OrderState:
    """An order that was submitted and then heard `messages`."""
    return tell(OrderState(order(quantity)), says(Kind.SUBMIT), *messages)


def everything(state: OrderState) -> dict[str, object]:
    """All that an order remembers, copied."""
    values = {name: getattr(state, name) for kind in type(state).__mro__ for name in getattr(kind, "__slots__", ())}
    return {name: set(value) if isinstance(value, set) else value for name, value in values.items()}


# -- the graph, restated from the words of the page ---------------------------------------------------------------------------


def rule(status: Status, kind: Kind) -> Status | None:
    """Where an event leads by the rules in words; None where it is a contradiction.

    Written from the prose and the fault catalogue, not from the table: an order is sent or denied once; a denied order is dead;
    what the venue says about an order that has ended changes nothing; a missing answer makes an order unknown only while nothing
    else was heard of it; an unknown order is moved by a word about the order itself, not by a refused request; of two open
    requests, the end of the order outweighs new terms.
    """
    if status is Status.NEW:
        return {Kind.SUBMIT: Status.SUBMITTED, Kind.DENY: Status.DENIED}.get(kind)
    if status is Status.SUBMITTED and kind is Kind.DENY:
        return Status.DENIED  # withdrawn before it left: the code that wrote it failed
    if status is Status.DENIED or kind in (Kind.SUBMIT, Kind.DENY):
        return None
    if status in FINAL_STATUSES:
        return None if kind in OURS else status
    if kind in ENDS:
        return ENDS[kind]
    if kind in (Kind.ACCEPT, Kind.RELEASE):
        return Status.ACCEPTED if status in (Status.SUBMITTED, Status.UNKNOWN, Status.HELD) else status
    if kind is Kind.HOLD:
        return Status.HELD if status in (Status.SUBMITTED, Status.UNKNOWN) else status
    if kind is Kind.LOSE:
        return Status.UNKNOWN if status in (Status.SUBMITTED, Status.UNKNOWN) else status
    if status is Status.UNKNOWN:
        return Status.ACCEPTED if kind is Kind.REPLACE else Status.UNKNOWN
    if kind is Kind.CANCEL_REQUEST:
        return Status.PENDING_CANCEL
    if kind is Kind.REPLACE_REQUEST and status is not Status.HELD:
        return Status.PENDING_CANCEL if status is Status.PENDING_CANCEL else Status.PENDING_REPLACE
    if status is Status.HELD:
        return Status.HELD  # new terms or none, it sleeps until its parent has filled
    awaited = {Status.PENDING_CANCEL: Kind.CANCEL_REJECT, Status.PENDING_REPLACE: (Kind.REPLACE, Kind.REPLACE_REJECT)}.get(status, kind)
    return Status.ACCEPTED if kind in awaited or kind is awaited else status


@pytest.mark.parametrize(("status", "kind"), PAIRS, ids=[f"{s}-{k}" for s, k in PAIRS])
def test_the_table_says_what_the_rules_say(status: Status, kind: Kind) -> None:
    """Every cell of the table agrees with an independent restatement of its rules."""
    assert TRANSITIONS.get((status, kind)) == rule(status, kind)


def walks() -> dict[tuple[Status, bool], tuple[Message, ...]]:
    """The shortest way to each state that messages can reach, with and without something filled."""
    words = [says(k) for k in Kind] + [fill(40.0, "w1"), fill(60.0, "w2")]
    ways: dict[tuple[Status, bool], tuple[Message, ...]] = {(Status.NEW, False): ()}
    queue = deque(ways)
    while queue:
        here = queue.popleft()
        for word in words:
            way = (*ways[here], word)
            try:
                state = tell(OrderState(order()), *way)
            except StateMismatch:
                continue
            there = (state.status, state.filled_quantity > 0)
            if there not in ways:
                ways[there] = way
                queue.append(there)
    return ways


WAYS = walks()
STOPS = [(place, kind) for place in WAYS for kind in Kind]


def test_every_state_can_be_reached() -> None:
    """No state of the list is dead letters, and every state that may hold fills is seen with and without one."""
    assert {status for status, _ in WAYS} == set(Status)
    touched = {status for status, filled in WAYS if filled}
    assert touched >= set(Status) - {*UNSENT, Status.SUBMITTED, Status.UNKNOWN, Status.HELD, Status.ACCEPTED, Status.REJECTED}
    assert not touched & {*UNSENT, Status.SUBMITTED, Status.UNKNOWN, Status.HELD, Status.ACCEPTED}


@pytest.mark.parametrize(("place", "kind"), STOPS, ids=[f"{p[0]}-{'filled' if p[1] else 'empty'}-{k}" for p, k in STOPS])
def test_every_event_in_every_state(place: tuple[Status, bool], kind: Kind) -> None:
    """An event follows the table, or raises StateMismatch and leaves everything as it was."""
    state = tell(OrderState(order()), *WAYS[place])
    before = everything(state)
    following = TRANSITIONS.get((state.status, kind))
    if following is None:
        with pytest.raises(StateMismatch, match=r"'q1-a' was .*" + kind.value):
            state.apply(says(kind, ts=9))
        assert everything(state) == before
        return
    reached = state.apply(says(kind, ts=9))
    if following is Status.ACCEPTED and state.filled_quantity > 0:
        following = Status.PARTIALLY_FILLED
    assert reached is state.status is following
    kept = {"average_price", "exec_ids", "fees", "filled_quantity"}
    assert {n: before[n] for n in kept} == {n: getattr(state, n) for n in kept}


@pytest.mark.parametrize("place", list(WAYS), ids=[f"{s}-{'filled' if f else 'empty'}" for s, f in WAYS])
def test_a_fill_in_every_state(place: tuple[Status, bool]) -> None:
    """A fill counts in exactly the declared states, and elsewhere changes nothing."""
    state = tell(OrderState(order()), *WAYS[place])
    before = everything(state)
    if place[0] not in FILLABLE:
        with pytest.raises(StateMismatch):
            state.apply_fill(fill(10.0, "new"))
        assert everything(state) == before
        return
    assert state.apply_fill(fill(10.0, "new")) is True
    assert state.filled_quantity == before["filled_quantity"] + 10.0  # type: ignore[operator]
    assert "new" in state.exec_ids


def test_fills_are_believed_in_every_state_after_sending() -> None:
    """Money that moved is booked: only an order that never left, or has nothing left to fill, refuses a fill."""
    refusing = set(Status) - FILLABLE
    assert {Status.NEW, Status.DENIED} <= refusing <= {Status.NEW, Status.DENIED, Status.REJECTED, Status.FILLED}


# -- final is final -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES))
def test_no_message_leaves_a_final_state(status: Status) -> None:
    """However many messages come, only fills move an order that has ended, and only to FILLED."""
    seen, queue = {status}, deque([status])
    while queue:
        here = queue.popleft()
        for there in {t for (s, _), t in TRANSITIONS.items() if s is here} - seen:
            seen.add(there)
            queue.append(there)
    assert seen == {status}
    ended = tell(OrderState(order()), *WAYS[status, status is Status.FILLED])
    assert ended.leaves == 0.0
    if status in FILLABLE:
        assert tell(ended, fill(99.0, "late-1")).status is status
        assert tell(ended, fill(1.0, "late-2")).status in (Status.FILLED, status)
        assert ended.filled_quantity == 100.0 and ended.leaves == 0.0


@pytest.mark.parametrize("status", [s for s in Status if s.is_working])
def test_every_working_state_can_end(status: Status) -> None:
    """No trap: from every working state a word of the venue ends the order."""
    if status is not Status.NEW:
        assert {TRANSITIONS[status, k] for k in ENDS} == set(ENDS.values())


# -- any order of the messages ends alike -------------------------------------------------------------------------------------


def consistent_histories() -> dict[str, tuple[tuple[Kind, ...], tuple[Message, ...]]]:
    """Names to (our requests, the messages that may come in any order): at most six messages, none contradicting another."""
    accept, lose = says(Kind.ACCEPT), says(Kind.LOSE)
    third, rest = fill(30.0, "x1"), (fill(20.0, "x2"), fill(50.0, "x3"))
    whole = (third, *rest)
    cancel, expire, reject = says(Kind.CANCEL), says(Kind.EXPIRE), says(Kind.REJECT, reason="funds")
    kept, same = says(Kind.CANCEL_REJECT), says(Kind.REPLACE_REJECT)
    dearer = says(Kind.REPLACE, limit_price=150.0)
    less, smaller, larger = (says(Kind.REPLACE, quantity=q) for q in (50.0, 60.0, 150.0))
    stop, change = Kind.CANCEL_REQUEST, Kind.REPLACE_REQUEST
    return {
        "accepted": ((), (accept,)),
        "refused": ((), (reject,)),
        "refused after a time-out": ((), (reject, lose)),
        "one part": ((), (accept, third)),
        "all in three parts": ((), (accept, *whole)),
        "all, after a time-out": ((), (accept, lose, *whole)),
        "a time-out, then accepted": ((), (accept, lose)),
        "a time-out, then a part": ((), (accept, lose, third)),
        "cancelled by the venue": ((), (accept, third, cancel)),
        "expired after parts": ((), (accept, third, rest[0], expire)),
        "cancelled as asked": ((stop,), (accept, cancel)),
        "cancelled after a time-out": ((stop,), (accept, lose, third, cancel)),
        "cancel crosses the last fill": ((stop,), (accept, *whole, cancel)),
        "cancel refused, too late": ((stop,), (accept, *whole, kept)),
        "cancel refused, part filled": ((stop,), (accept, third, kept)),
        "cancel refused, nothing filled": ((stop,), (accept, kept)),
        "two cancels, one refused": ((stop, stop), (accept, third, cancel, kept)),
        "cancel unanswered": ((stop,), (accept, third)),
        "new price": ((change,), (accept, third, dearer)),
        "new price refused": ((change,), (accept, third, same)),
        "new price, all filled": ((change,), (accept, *whole, dearer)),
        "new price unanswered": ((change,), (accept, third, rest[0])),
        "new price, then the end": ((change, stop), (accept, third, dearer, cancel)),
        "new price, the end refused": ((change, stop), (accept, third, dearer, kept)),
        "less, and that much filled": ((change,), (accept, third, rest[0], less)),
        "less, then the end": ((change, stop), (accept, third, rest[0], smaller, cancel)),
        "less and filled, the end refused": ((change, stop), (accept, third, rest[0], less, kept)),
        "less and filled, the end unanswered": ((change, stop), (accept, third, rest[0], less)),
        "more, part filled": ((change,), (accept, third, rest[0], larger)),
        "more, expired": ((change,), (accept, third, larger, expire)),
    }


def end(requests: Iterable[Kind], messages: Iterable[Message]) -> tuple[object, ...]:
    """What is left of an order after our requests and these messages; the terms of an order that has ended do not matter any more."""
    state = sent(100.0, *(says(k) for k in requests), *messages)
    terms = (state.quantity, state.order) if state.status.is_working else ()
    return state.status, state.filled_quantity, state.leaves, state.fees, frozenset(state.exec_ids), terms


@pytest.mark.parametrize("name", list(consistent_histories()))
def test_the_end_is_the_same_whatever_order_the_messages_come_in(name: str) -> None:
    """All permutations of the venue's messages leave one state (status, quantities, fees, terms)."""
    requests, messages = consistent_histories()[name]
    assert len(messages) <= 6
    ends: dict[tuple[object, ...], tuple[Message, ...]] = {}
    for permuted in itertools.permutations(messages):
        ends.setdefault(end(requests, permuted), permuted)
    assert len(ends) == 1, f"{name}: {len(ends)} different ends, for example {list(ends.items())[:2]}"


@pytest.mark.parametrize("name", list(consistent_histories()))
def test_messages_that_come_twice_count_once(name: str) -> None:
    """A history in which every message is heard a second time ends like the history itself."""
    requests, messages = consistent_histories()[name]
    once = end(requests, messages)
    assert end(requests, [*messages, *(m for m in messages if isinstance(m, Fill))]) == once
    assert end(requests, [m for message in messages for m in ((message, message) if isinstance(message, Fill) else (message,))]) == once


def test_a_fill_and_a_refusal_agree_in_both_orders() -> None:
    """A part filled and a rejection: either a contradiction in both orders, or booked in both."""

    def outcome(*messages: Message) -> object:
        try:
            return end((), messages)
        except StateMismatch:
            return "contradiction"

    assert outcome(fill(10.0, "x"), says(Kind.REJECT)) == outcome(says(Kind.REJECT), fill(10.0, "x"))


def test_all_of_a_larger_replacement_fills_whatever_comes_first() -> None:
    """An order for 100 grows to 150 and fills 100 and 50: whether the word about the growth comes first or late, all 150 are booked."""
    messages = (says(Kind.ACCEPT), fill(100.0, "x1"), says(Kind.REPLACE, quantity=150.0))
    ends = {end((Kind.REPLACE_REQUEST,), (*permuted, fill(50.0, "x2"))) for permuted in itertools.permutations(messages)}
    assert {(e[0], e[1]) for e in ends} == {(Status.FILLED, 150.0)}


# -- random histories against a model without states ----------------------------------------------------------------------------

VENUE_WORDS = [Kind.ACCEPT, Kind.LOSE, Kind.CANCEL, Kind.EXPIRE]


@EFFORT
@given(
    words=st.lists(st.sampled_from(VENUE_WORDS), max_size=6),
    parts=st.lists(st.integers(1, 40), max_size=6),
    order_of=st.randoms(use_true_random=False),
    repeats=st.integers(0, 4),
)
def test_the_state_is_a_function_of_the_facts(words: list[Kind], parts: list[int], order_of, repeats: int) -> None:
    """Without requests, the state follows from what was heard as a set of facts: filled all, ended by the first end, and so on."""
    total, quantity = sum(parts), 100.0
    parts = parts if total <= quantity else []
    fills: list[Message] = [fill(float(p), f"x{i}", price=100.0 + i) for i, p in enumerate(parts)]
    messages: list[Message] = [*fills, *(says(w) for w in words)]
    order_of.shuffle(messages)
    messages += [order_of.choice(fills) for _ in range(repeats if fills else 0)]
    state = sent(quantity, *messages)
    filled = float(sum(parts))
    first_end = next((ENDS[m.kind] for m in messages if isinstance(m, OrderUpdate) and m.kind in ENDS), None)
    if filled == quantity:
        expected = Status.FILLED
    elif first_end:
        expected = first_end
    elif filled:
        expected = Status.PARTIALLY_FILLED
    else:
        expected = Status.ACCEPTED if Kind.ACCEPT in words else Status.UNKNOWN if Kind.LOSE in words else Status.SUBMITTED
    assert state.status is expected
    assert state.filled_quantity == filled and state.fees == float(len(parts))
    assert state.leaves == (0.0 if expected.is_final else quantity - filled)
    if parts:
        mean = sum(f.quantity * f.price for f in fills if isinstance(f, Fill)) / filled
        assert math.isclose(state.average_price, mean, rel_tol=1e-12)


@EFFORT
@given(words=st.lists(st.one_of(st.sampled_from(list(Kind)), st.integers(1, 60)), max_size=25))
def test_random_walks_never_break_the_rules(words: list[Kind | int]) -> None:
    """Whatever is thrown at an order: refused messages change nothing, fills only add up, an ended order never works again."""
    state, seen = OrderState(order()), 0.0
    for n, word in enumerate(words):
        before, ended = everything(state), state.status.is_final
        try:
            tell(state, fill(float(word), f"x{n}") if isinstance(word, int) else says(word, ts=n))
        except StateMismatch:
            assert everything(state) == before
            continue
        assert state.filled_quantity >= seen and state.ts >= before["ts"]  # type: ignore[operator]
        assert state.filled_quantity <= state.quantity and 0.0 <= state.leaves <= state.quantity
        assert not ended or state.status.is_final
        assert not ended or state.status in (before["status"], Status.FILLED)
        seen = state.filled_quantity


# -- quantities ----------------------------------------------------------------------------------------------------------------


@EFFORT
@given(
    lots=st.lists(st.integers(1, 50), min_size=1, max_size=20),
    lot=st.sampled_from([1.0, 0.1, 0.01, 0.001, 1e-8, 0.3]),
    order_of=st.randoms(use_true_random=False),
)
def test_an_order_filled_in_parts_is_filled(lots: list[int], lot: float, order_of) -> None:
    """Parts that add up to the quantity fill the order, whatever the rounding of their sum and in every order."""
    quantity = sum(lots) * lot
    parts: list[Message] = [fill(n * lot, f"x{i}") for i, n in enumerate(lots)]
    order_of.shuffle(parts)
    state = sent(quantity, says(Kind.ACCEPT), *parts)
    assert state.status is Status.FILLED and state.leaves == 0.0
    assert math.isclose(state.filled_quantity, quantity, rel_tol=1e-9)
    with pytest.raises(StateMismatch):
        tell(state, fill(lot, "one too many"))


def test_ten_tenths_fill_one() -> None:
    """0.1 ten times is 0.9999999999999999 in floating point, and a whole order all the same."""
    state = sent(1.0, says(Kind.ACCEPT), *(fill(0.1, f"x{i}") for i in range(10)))
    assert state.status is Status.FILLED and state.leaves == 0.0


@pytest.mark.parametrize("excess", [1.0, 1e-3, 1e-6])
def test_an_overfill_is_a_contradiction(excess: float) -> None:
    """More than was ordered is never booked silently."""
    state = sent(100.0, fill(60.0, "x1"))
    with pytest.raises(StateMismatch, match="overfilled"):
        tell(state, fill(40.0 + excess, "x2"))
    assert state.filled_quantity == 60.0 and set(state.exec_ids) == {"x1"}


@pytest.mark.parametrize("field", ["quantity", "price", "fee"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_fill_that_is_no_number_changes_nothing(field: str, value: float) -> None:
    """A fill with a number that is none is refused before anything has moved, and its execution can be reported again, mended."""
    state = sent()
    before = everything(state)
    numbers = {"quantity": 10.0, "price": 140.0, "fee": 1.0, field: value}
    with pytest.raises(QtnbError):
        tell(state, Fill(5, "x", "q1-a", "IBM", Side.BUY, numbers["quantity"], numbers["price"], numbers["fee"]))
    assert everything(state) == before
    assert state.apply_fill(fill(10.0, "x")) is True


@pytest.mark.parametrize("quantity", [0.0, -5.0])
def test_a_fill_of_nothing_or_less_is_refused(quantity: float) -> None:
    """Quantities of fills are positive; the side says the direction."""
    state = sent(100.0, fill(50.0, "x0"))
    with pytest.raises(QtnbError):
        tell(state, fill(quantity, "x"))
    assert state.filled_quantity == 50.0


@pytest.mark.parametrize(
    "stranger",
    [
        Fill(5, "x", "q1-a", "QQQ", Side.BUY, 10.0, 140.0),
        Fill(5, "x", "q1-a", "IBM", Side.SELL, 10.0, 140.0),
        Fill(5, "x", "q1-b", "IBM", Side.BUY, 10.0, 140.0),
    ],
    ids=["symbol", "side", "order"],
)
def test_a_fill_of_something_else_is_refused(stranger: Fill) -> None:
    """A fill must name the order's own symbol, side and id."""
    state = sent()
    before = everything(state)
    with pytest.raises(StateMismatch):
        state.apply_fill(stranger)
    assert everything(state) == before


# -- replacements --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filled", "quantity", "status", "leaves"),
    [
        (0.0, 50.0, Status.ACCEPTED, 50.0),
        (0.0, 150.0, Status.ACCEPTED, 150.0),
        (60.0, 150.0, Status.PARTIALLY_FILLED, 90.0),
        (60.0, 61.0, Status.PARTIALLY_FILLED, 1.0),
        (60.0, 60.0, Status.FILLED, 0.0),
    ],
)
def test_a_replaced_quantity(filled: float, quantity: float, status: Status, leaves: float) -> None:
    """The new quantity counts what has filled already: what is left is the difference."""
    state = sent(100.0, says(Kind.ACCEPT), *([fill(filled, "x1")] if filled else []), says(Kind.REPLACE_REQUEST))
    assert state.status is Status.PENDING_REPLACE and state.quantity == 100.0
    tell(state, says(Kind.REPLACE, quantity=quantity))
    assert (state.status, state.leaves, state.quantity, state.order.quantity) == (status, leaves, quantity, quantity)


def test_a_replacement_keeps_the_terms_it_does_not_name() -> None:
    """Only what is given changes; name, symbol, side, type, time in force and tag stay."""
    state = sent(100.0, says(Kind.ACCEPT), says(Kind.REPLACE_REQUEST), says(Kind.REPLACE, limit_price=151.0))
    wanted = order()
    assert state.order == Order("q1-a", 1, "IBM", Side.BUY, 100.0, wanted.order_type, 151.0, None, wanted.time_in_force)


def test_a_refused_replacement_keeps_all_terms() -> None:
    """The order works on as it was."""
    state = sent(100.0, says(Kind.ACCEPT), says(Kind.REPLACE_REQUEST), says(Kind.REPLACE_REJECT, quantity=10.0, limit_price=1.0))
    assert state.order == order() and state.quantity == 100.0 and state.status is Status.ACCEPTED


def test_a_replacement_of_an_ended_order_changes_nothing() -> None:
    """A word about new terms that comes after the end is late, not news."""
    state = sent(100.0, says(Kind.REPLACE_REQUEST), says(Kind.CANCEL), says(Kind.REPLACE, quantity=10.0, limit_price=1.0))
    assert state.status is Status.CANCELED and state.order == order() and state.quantity == 100.0


@pytest.mark.parametrize("quantity", [math.nan, math.inf, 0.0, -1.0])
def test_a_replacement_by_no_number_is_refused(quantity: float) -> None:
    """A quantity that is none would switch off the check for overfills."""
    state = sent(100.0, says(Kind.ACCEPT), says(Kind.REPLACE_REQUEST))
    before = everything(state)
    with pytest.raises(QtnbError):
        state.apply(says(Kind.REPLACE, quantity=quantity))
    assert everything(state) == before


def test_overfill_is_measured_against_the_replaced_quantity() -> None:
    """After the order has shrunk to 50, a 51st unit is a contradiction."""
    state = sent(100.0, says(Kind.ACCEPT), says(Kind.REPLACE_REQUEST), says(Kind.REPLACE, quantity=50.0), fill(50.0, "x1"))
    assert state.status is Status.FILLED
    with pytest.raises(StateMismatch):
        tell(state, fill(1.0, "x2"))


# -- names ---------------------------------------------------------------------------------------------------------------------


@EFFORT
@given(run=st.text(max_size=40), strategy=st.text(max_size=40), number=st.integers(1, 10**9))
def test_names_of_orders_fit_every_venue(run: str, strategy: str, number: int) -> None:
    """29 characters of lower-case letters, digits and a dash, the same for the same arguments."""
    name = client_order_id(run, strategy, number)
    assert len(name) == 29 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert name == client_order_id(run, strategy, number)


def test_names_of_orders_are_unique() -> None:
    """Neither the next order, nor another strategy, nor another run shares a name; nor does a slash move between two of them."""
    names = {client_order_id(r, s, n) for r in ("r", "r/s", "") for s in ("s", "s/s", "") for n in range(1, 500)}
    assert len(names) == 3 * 3 * 499
