"""Canonical JSON: what is written comes back, to the bit and with its type, and equal values give equal bytes."""

import dataclasses
import json
import math
import random
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import Enum, StrEnum

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtnb.core.errors import DataError, QtnbError
from qtnb.utils.serialization import from_json, sha256_of, to_json
from qtnb.utils.time import format_ns, parse_bound, to_index, to_ns


class Word(StrEnum):
    ONE = "one"
    TWO = "two"


class Number(Enum):
    PI = 3.14
    NAN = "nan"


@dataclass(frozen=True)
class Leaf:
    name: str
    value: float
    word: Word = Word.ONE


@dataclass(frozen=True)
class Branch:
    leaves: tuple[Leaf, ...]
    extra: object = None


TYPES = (Word, Number, Leaf, Branch)
INSTANTS = st.integers(min_value=-(2**62), max_value=2**62)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=20),
    st.sampled_from([*Word, *Number]),
    st.decimals(allow_nan=False),
    st.dates().filter(lambda d: type(d) is date),
    st.binary(max_size=8),
    INSTANTS.map(lambda n: to_index([n])[0]),
)
KEYS = st.one_of(st.text(max_size=8), st.integers(), st.sampled_from(list(Word)), st.tuples(st.integers(), st.text(max_size=3)))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=8), inner, max_size=4),
        st.dictionaries(KEYS, inner, max_size=4),
        st.frozensets(st.one_of(st.integers(), st.text(max_size=4)), max_size=4),
        st.builds(Leaf, st.text(max_size=5), st.floats(), st.sampled_from(list(Word))),
        st.builds(Branch, st.lists(st.builds(Leaf, st.text(max_size=5), st.floats()), max_size=3).map(tuple), inner),
    ),
    max_leaves=12,
)


def same(a: object, b: object) -> bool:
    "Equal value and equal type, all the way down; NaN equals NaN, -0.0 differs from 0.0."
    if type(a) is not type(b):
        return False
    if isinstance(a, float) and not isinstance(a, Enum):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict):
        return len(a) == len(b) and all(k in b and same(v, b[k]) for k, v in a.items())
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return a == b


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_what_is_written_comes_back(value):
    text = to_json(value)
    again = from_json(text, TYPES)
    assert same(again, value)
    assert to_json(again) == text


@settings(max_examples=200, deadline=None)
@given(VALUES)
def test_the_text_is_plain_json_in_ascii(value):
    text = to_json(value)
    assert text.isascii() and "\n" not in text
    json.loads(text, parse_constant=lambda word: pytest.fail(f"not JSON: {word}"))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, SCALARS, max_size=6), st.randoms(use_true_random=False))
def test_order_of_insertion_does_not_count(table, chance: random.Random):
    items = list(table.items())
    chance.shuffle(items)
    assert to_json(dict(items)) == to_json(table)
    assert sha256_of(dict(items)) == sha256_of(table)


@given(st.floats())
def test_numpy_floats_are_written_like_floats(value):
    assert to_json(np.float64(value)) == to_json(value)
    with np.errstate(over="ignore"):
        narrow = np.float32(value)
    assert from_json(to_json(narrow)) == float(narrow) or math.isnan(value)


@given(st.integers(min_value=-(2**63), max_value=2**63 - 1))
def test_numpy_integers_are_written_like_integers(value):
    assert to_json(np.int64(value)) == to_json(value) == str(value)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(), max_size=12), st.sampled_from(["float64", "float32", "int64", "bool"]))
def test_arrays_come_back_with_type_and_shape(values, dtype):
    array = np.nan_to_num(np.array(values)).clip(-1e9, 1e9).astype(dtype).reshape(1, -1)
    again = from_json(to_json(array))
    assert again.dtype == array.dtype and again.shape == array.shape and np.array_equal(again, array)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_any_other_text_is_refused_with_one_kind_of_error(text):
    try:
        value = from_json(text, TYPES)
    except QtnbError:
        return
    assert to_json(value) is not None


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[1,]", '{"$tuple":1}', '{"$type":"Leaf"}', '{"$enum":"Word","value":"three"}', "[" * 100_000])
def test_broken_text_is_a_data_error(text):
    with pytest.raises(DataError):
        from_json(text, TYPES)


def test_a_class_that_was_not_offered_is_not_built():
    with pytest.raises(LookupError):
        from_json('{"$type":"Popen","args":["true"]}', TYPES)


@pytest.mark.parametrize("value", [object(), lambda: None, 1j, np.array(["a"]), Leaf])
def test_values_without_a_form_are_refused(value):
    with pytest.raises(DataError):
        to_json(value)


def test_decimal_digits_are_kept():
    assert str(from_json(to_json(Decimal("1.100")))) == "1.100"


@given(INSTANTS)
def test_instants_survive_their_text(ns):
    assert to_ns(format_ns(ns)) == ns
    assert to_index([ns])[0].value == ns


@given(st.dates(min_value=date(1700, 1, 1), max_value=date(2200, 1, 1)))
def test_a_day_holds_its_own_instants(day):
    first, last = parse_bound(day, "start"), parse_bound(day, "end")
    assert first == parse_bound(day.isoformat(), "start") and last - first == 86_400_000_000_000 - 1
    assert pd.Timestamp(first, tz="UTC").date() == pd.Timestamp(last, tz="UTC").date() == day
