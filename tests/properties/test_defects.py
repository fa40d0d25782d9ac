"""Properties of the quality checks: what is planted is found where it is, clean data is left in peace, and what can be derived is restored to the bit."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
from effort import EFFORT
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.data.quality import check_quality
from qtnb.data.reference import empty_events, normalise_events
from qtnb.data.repair import apply_repairs, propose_repairs, repair_frame, undo_repairs
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.synthetic import synthetic_bars

SIZE = 250
SYMBOLS = ["A", "B", "C"]
PRICES = ["open", "high", "low", "close"]
DAY = 86_400_000_000_000

seeds = st.integers(0, 40)
places = st.integers(60, SIZE - 60)
which = st.sampled_from(SYMBOLS)


@cache
def _clean(seed: int) -> pd.DataFrame:
    frame = synthetic_bars(SYMBOLS, SIZE, seed=seed, calendar="XNYS", start="2018-01-02", volatility=0.15 + 0.002 * seed)
    return frame.round({c: 2 for c in PRICES})


def clean(seed: int) -> pd.DataFrame:
    """Three symbols, a year, prices in cents; a copy that may be spoilt."""
    return _clean(seed).copy()


def rows(frame: pd.DataFrame, symbol: str) -> np.ndarray:
    """Positions of the rows of a symbol."""
    return np.flatnonzero(frame.index.get_level_values("symbol") == symbol)


def split_events(frame: pd.DataFrame, symbol: str, place: int, value: float) -> pd.DataFrame:
    """One split that takes effect before a bar."""
    ts = frame.index[rows(frame, symbol)[place]][0] - pd.Timedelta(hours=6)
    return normalise_events(pd.DataFrame({"symbol": [symbol], "ts": [ts], "kind": ["split"], "value": [value]}))


def stamp(frame: pd.DataFrame, symbol: str, place: int) -> pd.Timestamp:
    """Instant of a bar of a symbol."""
    return frame.index[rows(frame, symbol)[place]][0]


@settings(EFFORT)
@given(seeds)
def test_clean_data_gives_no_findings(seed):
    """Nothing planted, nothing found, of any severity but information."""
    findings = check_quality(clean(seed), events=empty_events(), calendar="XNYS")
    assert findings[findings["severity"] != "info"].empty, findings[["defect", "text"]].to_string()


# -- planting -------------------------------------------------------------------------------------------------------------


def gap(frame, at):
    return frame.drop(frame.index[at[:2]]), 0


def copied(frame, at):
    return pd.concat([frame, frame.iloc[at[:1]]]), 0


def contradicted(frame, at):
    return pd.concat([frame, frame.iloc[at[:1]] * 1.01]), 0


def without_close(frame, at):
    frame.iloc[at[0], 3] = np.nan
    return frame, 0


def outside(frame, at):
    frame.iloc[at[0], 0] = frame.iloc[at[0], 1] * 1.02
    return frame, 0


def low_print(frame, at):
    frame.iloc[at[0], 2] *= 0.6
    return frame, 0


def filled(frame, at):
    frame.iloc[at[:9]] = frame.iloc[at[0]].to_numpy()
    return frame, 0


def untraded(frame, at):
    frame.iloc[at[0], 4] = 0.0
    return frame, 0


def pence(frame, at):
    frame.iloc[at[:7], :4] *= 100
    return frame, 0


def slip(frame, at):
    frame.iloc[at[0], :4] *= 1.6
    return frame, 0


def unadjusted(frame, at):
    frame.iloc[at, :4] /= 3
    frame.iloc[at, 4] *= 3
    return frame, 0


def on_sunday(frame, at):
    extra = frame.iloc[at[:1]]
    monday = next(t for t in frame.index[at].get_level_values("ts") if t.day_of_week == 0)
    extra.index = pd.MultiIndex.from_tuples([(monday - pd.Timedelta(days=1), extra.index[0][1])], names=["ts", "symbol"])
    return pd.concat([frame, extra]), None


PLANTS = {
    "missing_session": gap, "duplicate": copied, "duplicate ": contradicted, "missing_value": without_close, "out_of_range": outside, "bad_print": low_print,
    "stale_run": filled, "zero_volume": untraded, "unit_error": pence, "jump": slip, "split_missing": unadjusted, "off_session": on_sunday,
}


@settings(EFFORT)
@given(st.sampled_from(sorted(PLANTS)), seeds, which, places)
def test_what_is_planted_is_found_and_located(kind, seed, symbol, place):
    """The kind, the symbol and the first instant of a finding are those of the defect; other symbols are not blamed."""
    frame = clean(seed)
    at = rows(frame, symbol)[place:]
    where = stamp(frame, symbol, place)
    spoilt, offset = PLANTS[kind](frame, at)
    findings = check_quality(spoilt, events=empty_events(), calendar="XNYS")
    loud = findings[findings["severity"] != "info"]
    mine = loud[loud["defect"] == kind.strip()]
    assert len(mine), (kind, loud[["defect", "text"]].to_string())
    assert set(loud["symbol"]) == {symbol}
    if offset is not None:
        early = where - mine["first"].iloc[0]  # a bar before the block may fit it by chance, such as an equal close
        assert pd.Timedelta(0) <= early <= pd.Timedelta(days=4) and mine["last"].iloc[0] >= where


@settings(EFFORT)
@given(seeds, st.permutations(SYMBOLS), st.integers(0, 2**31))
def test_names_and_order_do_not_matter(seed, names, shuffle):
    """Symbols under other names, and rows in another order, give the same findings under those names."""
    frame = clean(seed)
    frame.iloc[rows(frame, "A")[100:110], :4] *= 100
    frame = frame.drop(frame.index[rows(frame, "B")[50:52]])
    renamed = frame.reset_index().assign(symbol=lambda f: f["symbol"].map(dict(zip(SYMBOLS, names, strict=True))))
    renamed = renamed.sample(frac=1.0, random_state=shuffle)
    here, there = check_quality(frame, calendar="XNYS"), check_quality(renamed, calendar="XNYS")
    key = ["defect", "symbol", "first", "last", "rows", "severity"]
    wanted = here.assign(symbol=here["symbol"].map(dict(zip(SYMBOLS, names, strict=True)) | {"": ""}))[key]
    pd.testing.assert_frame_equal(wanted.sort_values(key, ignore_index=True), there[key].sort_values(key, ignore_index=True), check_dtype=False)


# -- repairing ------------------------------------------------------------------------------------------------------------


@settings(EFFORT)
@given(seeds, which, places, st.integers(1, 25), st.sampled_from([100.0, 1000.0]))
def test_units_are_restored_to_the_bit(seed, symbol, place, length, unit):
    """A block in pence becomes the pounds it was."""
    right = clean(seed)
    wrong = right.copy()
    at = rows(wrong, symbol)[place:place + length]
    wrong.iloc[at, :4] *= unit
    proposals = propose_repairs(wrong, None, check_quality(wrong, calendar="XNYS"), calendar="XNYS")
    pd.testing.assert_frame_equal(repair_frame(wrong, proposals, calendar="XNYS"), right, check_exact=True)


@settings(EFFORT)
@given(seeds, which, places, st.integers(1, 20), st.sampled_from([2.0, 3.0, 10.0, 0.1]), st.sampled_from(["late", "early", "partial"]))
def test_splits_are_restored_to_the_bit(seed, symbol, place, length, value, word):
    """A split that is late, early, or in some rows only, is put where the events say."""
    right = clean(seed)
    own = rows(right, symbol)
    right.iloc[own[:place], :4] = (right.iloc[own[:place], :4] * value).round(4)
    if word == "partial":  # prices that claim to be adjusted: the split shows nowhere, but in some rows
        right = clean(seed)
    right.attrs["adjust"] = "splits" if word == "partial" else "none"
    wrong, events = right.copy(), split_events(right, symbol, place, value)
    block = {"late": own[place:place + length], "early": own[place - length:place], "partial": own[place + 3:place + 3 + length]}[word]
    wrong.iloc[block, :4] = (wrong.iloc[block, :4] * (1 / value if word == "early" else value)).round(8)
    wrong.attrs = dict(right.attrs)
    findings = check_quality(wrong, events=events, calendar="XNYS")
    assert f"split_{word}" in set(findings["defect"]), findings[["defect", "text"]].to_string()
    proposals = propose_repairs(wrong, events, findings, calendar="XNYS")
    mended = repair_frame(wrong, proposals[proposals["column"] != "volume"], calendar="XNYS")
    pd.testing.assert_frame_equal(mended, right, check_exact=value in (2.0, 10.0, 0.1), rtol=1e-9)


@settings(EFFORT)
@given(seeds, which, places, st.integers(1, 25))
def test_a_repair_is_a_revision(seed, symbol, place, length):
    """Applying gives the right values, twice is once, undoing gives the wrong ones back, and the past is as it was."""
    right = clean(seed)
    wrong = right.copy()
    wrong.iloc[rows(wrong, symbol)[place:place + length], :4] *= 100
    first, last = right.index[0][0].value, right.index[-1][0].value
    store = MemoryStore(clock=lambda: last)
    store.upsert_bars(wrong, calendar="XNYS")
    proposals = propose_repairs(wrong, None, check_quality(wrong, calendar="XNYS"), calendar="XNYS")
    assert set(apply_repairs(store, proposals, known_at=last + DAY)["outcome"]) == {"applied"}
    assert store.read_bars(SYMBOLS, first, last).equals(right)
    print_ = store.fingerprint()
    assert set(apply_repairs(store, proposals, known_at=last + 2 * DAY)["outcome"]) == {"unchanged"}
    assert store.fingerprint() == print_
    undo_repairs(store, known_at=last + 3 * DAY)
    assert store.read_bars(SYMBOLS, first, last).equals(wrong)
    assert store.read_bars(SYMBOLS, first, last, as_of=last).equals(wrong)
    assert store.read_bars(SYMBOLS, first, last, as_of=last + DAY).equals(right)
    assert set(apply_repairs(store, proposals, known_at=last + 4 * DAY)["outcome"]) == {"applied"}
    assert len(store.read_table("repairs")) == 3 * len(proposals)
