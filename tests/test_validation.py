"""Purged splitters: no leak, every row in the right number of tests, whole paths, and scikit-learn itself."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score

from qtnb.backtest import splits
from qtnb.core.errors import DataError, ParameterError
from qtnb.features.labeling.forward_returns import forward_labels
from qtnb.features.validation import CombinatorialPurgedCV, PurgedKFold


def _rows(n: int, horizon: int) -> pd.DataFrame:
    "A label in each row, all of one length."
    return pd.DataFrame({"t0": np.arange(n), "t1": np.arange(n) + horizon})


def _slow(labels: pd.DataFrame, groups: int, tested: tuple[int, ...], embargo: int) -> tuple[list[int], list[int]]:
    "One split by the definition: every training label against every test label, and the moments after each run of tests."
    begin, end, n = labels["t0"].tolist(), labels["t1"].tolist(), len(labels)
    cut = [k * n // groups for k in range(groups)]
    cut = [next(i for i in range(n) if begin[i] == begin[c]) for c in cut] + [n]
    test = [i for g in tested for i in range(cut[g], cut[g + 1])]
    moments, held = sorted(set(begin)), set(test)
    train = []
    for i in range(n):
        if i in held or any(begin[j] <= end[i] and begin[i] <= end[j] for j in test):
            continue
        embargoed = False
        for g in tested:
            last = max(end[j] for j in range(cut[g], cut[g + 1]))
            embargoed |= begin[i] in [m for m in moments if m > last][:embargo]
        if not embargoed:
            train.append(i)
    return train, test


@st.composite
def _cases(draw: Any) -> tuple[pd.DataFrame, int, int, int]:
    "Labels with equal begins, ends in any order, and splits of them."
    n = draw(st.integers(8, 60))
    steps = draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))
    lengths = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    begin = np.cumsum(steps)
    groups = draw(st.integers(2, 6))
    return pd.DataFrame({"t0": begin, "t1": begin + np.array(lengths)}), groups, draw(st.integers(1, groups - 1)), draw(st.integers(0, 5))


@settings(max_examples=200, deadline=None)
@given(_cases())
def test_splits_are_those_of_the_definition(case: tuple[pd.DataFrame, int, int, int]) -> None:
    """No training label touches a test label or begins in the embargo, and no other row is lost."""
    labels, groups, tested, embargo = case
    chosen = list(combinations(range(groups), tested))
    splitter = CombinatorialPurgedCV(labels, groups, tested, embargo=embargo)
    n = len(labels)
    starts = [labels["t0"].tolist().index(labels["t0"].iloc[k * n // groups]) for k in range(groups)]
    if len(set(starts)) < groups:
        with pytest.raises(DataError, match="too few different times"):
            list(splitter.split())
        return
    expected = [_slow(labels, groups, these, embargo) for these in chosen]
    if not all(train for train, _ in expected):
        with pytest.raises(DataError, match="no row to train on"):
            list(splitter.split())
        return
    found = list(splitter.split())
    assert [(train.tolist(), test.tolist()) for train, test in found] == expected
    counts = np.bincount(np.concatenate([test for _, test in found]), minlength=n)
    assert (counts == math.comb(groups - 1, tested - 1)).all()
    paths = splitter.assemble([test for _, test in found])
    assert paths.shape == (n, math.comb(groups, tested) * tested // groups) and (paths == np.arange(n)[:, None]).all()
    assert all(g in chosen[s] for path in splitter.paths for g, s in enumerate(path))
    assert all(len(set(splitter.paths[:, g])) == paths.shape[1] for g in range(groups))  # no test of a group serves twice


def test_rows_whose_label_reaches_into_the_test_are_purged() -> None:
    """103 rows, horizon 6, five folds: plain folds keep 24 rows that end inside a later test; mlfinpy 0.1.2 kept them all (mlfinlab issue 295)."""
    labels = _rows(103, 6)
    begin, end = labels["t0"].to_numpy(), labels["t1"].to_numpy()

    def leaking(found: Any) -> int:
        return sum(int(((begin[train] < test[0]) & (end[train] >= begin[test[0]])).sum()) for train, test in found)

    assert leaking(KFold(5).split(labels)) == 24
    assert leaking(PurgedKFold(labels, 5).split()) == 0


def test_ends_need_not_be_monotone() -> None:
    """An early label that lasts long is purged although its neighbours are not, and a long one in the test purges far ahead."""
    labels = _rows(50, 0)
    labels.loc[3, "t1"], labels.loc[22, "t1"] = 25, 44
    train, test = list(PurgedKFold(labels, 5).split())[2]
    assert test.tolist() == list(range(20, 30)) and 3 not in train and {2, 4, 19} <= set(train.tolist())
    assert [k for k in train if k > 29] == list(range(45, 50))
    after, _ = list(PurgedKFold(labels, 5, embargo=3).split())[2]
    assert [k for k in after if k > 29] == [48, 49]


@pytest.mark.parametrize(("rows", "folds", "reach", "embargo"), [(103, 5, 6, 0), (100, 4, 3, 5), (250, 10, 0, 7), (97, 3, 11, 2)])
def test_a_record_is_split_as_labels_of_one_length_are(rows: int, folds: int, reach: int, embargo: int) -> None:
    """The words purge and embargo mean one thing in the package: rows to purge on both sides, and rows more after the test."""
    edges = [k * rows // folds for k in range(folds + 1)]
    ours = PurgedKFold(_rows(rows, reach), folds, embargo=embargo).split()
    theirs = splits.PurgedKFold(folds, purge=reach, embargo=embargo).split(rows)
    for a, b, (train, test), other in zip(edges, edges[1:], ours, theirs, strict=False):
        expected = [k for k in range(rows) if k < a - reach or k >= b + reach + embargo]
        assert train.tolist() == expected == other.rows("train").tolist()
        assert test.tolist() == list(range(a, b)) == other.rows("test").tolist() and other.test == ((a, b),)
    assert len(theirs) == folds


def test_the_paths_of_the_book() -> None:
    """Lopez de Prado 2018, section 12.4.1, figures 12.1 and 12.2: N=6, k=2, 15 splits, 5 paths, counted from 1 there."""
    splitter = CombinatorialPurgedCV(_rows(60, 0), 6, 2)
    assert splitter.get_n_splits() == len(list(splitter.split())) == 15 and splitter.paths.shape == (5, 6)
    assert (splitter.paths + 1).tolist()[:2] == [[1, 1, 2, 3, 4, 5], [2, 6, 6, 7, 8, 9]]
    for groups, tested in [(5, 1), (8, 3), (10, 5), (16, 8)]:
        paths = CombinatorialPurgedCV(_rows(160, 0), groups, tested).paths
        assert len(paths) == math.comb(groups, tested) * tested / groups


# Training rows, as ranges, of skfolio 1.12.2, and its get_path_ids():
# CombinatorialPurgedCV(n_folds=6, n_test_folds=2, purged_size=3, embargo_size=2) on 60 rows
SKFOLIO_TRAIN = [
    [(25, 60)],
    [(15, 17), (35, 60)],
    [(15, 27), (45, 60)],
    [(15, 37), (55, 60)],
    [(15, 47)],
    [(0, 7), (35, 60)],
    [(0, 7), (25, 27), (45, 60)],
    [(0, 7), (25, 37), (55, 60)],
    [(0, 7), (25, 47)],
    [(0, 17), (45, 60)],
    [(0, 17), (35, 37), (55, 60)],
    [(0, 17), (35, 47)],
    [(0, 27), (55, 60)],
    [(0, 27), (45, 47)],
    [(0, 37)],
]
SKFOLIO_PATHS = [[0, 0], [1, 0], [2, 0], [3, 0], [4, 0], [1, 1], [2, 1], [3, 1], [4, 1], [2, 2], [3, 2], [4, 2], [3, 3], [4, 3], [4, 4]]


def test_another_library_makes_the_same_splits_and_paths() -> None:
    """skfolio purges by numbers of rows, which labels of one length make the same; its numbers were written down by a run of it."""
    splitter = CombinatorialPurgedCV(_rows(60, 3), 6, 2, embargo=2)
    for (train, _), ranges in zip(splitter.split(), SKFOLIO_TRAIN, strict=True):
        assert train.tolist() == [row for a, b in ranges for row in range(a, b)]
    chosen = list(combinations(range(6), 2))
    assert [[splitter.paths[:, g].tolist().index(s) for g in these] for s, these in enumerate(chosen)] == SKFOLIO_PATHS


def test_one_group_at_a_time_is_k_fold() -> None:
    """The combinatorial splitter with one test group is the k-fold one."""
    labels = _rows(77, 4)
    for (a, b), (c, d) in zip(CombinatorialPurgedCV(labels, 7, 1, embargo=2).split(), PurgedKFold(labels, 7, embargo=2).split(), strict=True):
        assert a.tolist() == c.tolist() and b.tolist() == d.tolist()


# -- with scikit-learn ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> tuple[pd.DataFrame, pd.DataFrame]:
    "Features and labels of two random walks, in order of time."
    rng = np.random.default_rng(1)
    days = pd.date_range("2024-01-01", periods=200, tz="UTC")
    prices = pd.DataFrame(np.exp(np.cumsum(rng.normal(0, 0.02, (200, 2)), axis=0)), days, ["A", "B"])
    labels = forward_labels(prices, 5).dropna()
    return pd.DataFrame(rng.normal(size=(len(labels), 3)), index=labels.index, columns=list("xyz")), labels


@pytest.mark.parametrize("embargo", [0, 4, pd.Timedelta(days=4)])
def test_scores_searches_and_predictions(table: tuple[pd.DataFrame, pd.DataFrame], embargo: Any) -> None:
    """cross_val_score, GridSearchCV, cross_val_predict and a search within folds take the splitters, by frame and by array."""
    X, labels = table
    y = labels["label"]
    for splitter, count in [(PurgedKFold(labels, 4, embargo=embargo), 4), (CombinatorialPurgedCV(labels, 5, 2, embargo=embargo), 10)]:
        scores = cross_val_score(LogisticRegression(), X, y, cv=splitter)
        assert len(scores) == count and np.isfinite(scores).all()
        np.testing.assert_array_equal(scores, cross_val_score(LogisticRegression(), X.to_numpy(), y.to_numpy(), cv=splitter, groups=labels["symbol"]))
    kfold = PurgedKFold(labels, 4, embargo=embargo)
    assert len(cross_val_predict(LogisticRegression(), X, y, cv=kfold)) == len(X)
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=kfold)
    assert search.fit(X, y).n_splits_ == 4 and clone(search).fit(X, y).best_score_ == search.best_score_
    assert len(cross_val_score(search, X, y, cv=PurgedKFold(labels, 3, embargo=embargo))) == 3


def test_each_fold_is_fitted_on_its_training_rows(table: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """What scikit-learn fits is what the splitter gave: the mean of the training labels decides."""
    X, labels = table
    y = labels["label"]
    splitter = PurgedKFold(labels, 4, embargo=3)
    scores = cross_val_score(DummyClassifier(strategy="most_frequent"), X, y, cv=splitter)
    expected = [float((y.iloc[test] == y.iloc[train].mode().iloc[0]).mean()) for train, test in splitter.split(X)]
    np.testing.assert_allclose(scores, expected)


def test_a_part_of_the_rows_is_found_by_its_index(table: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Splitting a part of X is splitting the part of the labels."""
    X, labels = table
    part = labels.index[40:200:2]
    for (a, b), (c, d) in zip(PurgedKFold(labels, 3).split(X.loc[part]), PurgedKFold(labels.loc[part], 3).split(), strict=True):
        assert a.tolist() == c.tolist() and b.tolist() == d.tolist()
    with pytest.raises(DataError, match="rows that the labels have not"):
        next(PurgedKFold(labels.loc[part], 3).split(X))
    with pytest.raises(DataError, match="`X` has 10 rows"):
        next(PurgedKFold(labels, 3).split(X.to_numpy()[:10]))
    with pytest.raises(DataError, match="`t0` falls"):
        next(PurgedKFold(labels, 3).split(X.iloc[::-1]))


def test_times_of_any_unit_and_zone(table: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Seconds, nanoseconds, zones and naive times give the same folds; datetimes and numbers together do not fit."""
    _, labels = table
    expected = [train.tolist() for train, _ in PurgedKFold(labels, 4, embargo=pd.Timedelta(days=2)).split()]
    for change in (lambda s: s.dt.as_unit("s"), lambda s: s.dt.as_unit("ns"), lambda s: s.dt.tz_convert("Asia/Tokyo"), lambda s: s.dt.tz_localize(None)):
        other = labels.assign(t0=change(labels["t0"]), t1=change(labels["t1"]))
        assert [train.tolist() for train, _ in PurgedKFold(other, 4, embargo=pd.Timedelta(days=2)).split()] == expected
    with pytest.raises(DataError, match="one of `t0` and `t1` holds datetimes"):
        PurgedKFold(labels.assign(t1=np.arange(len(labels))))
    with pytest.raises(DataError, match="pass a number of moments"):
        PurgedKFold(_rows(9, 0), 3, embargo=pd.Timedelta(days=1))


def test_a_splitter_survives_a_copy(table: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """Searches in several processes send it to them."""
    _, labels = table
    splitter = CombinatorialPurgedCV(labels, 5, 2, embargo=1)
    again = pickle.loads(pickle.dumps(splitter))
    assert all((a == c).all() and (b == d).all() for (a, b), (c, d) in zip(splitter.split(), again.split(), strict=True))


@pytest.mark.parametrize("wrong", [{"folds": 1}, {"folds": 2.0}, {"embargo": -1}, {"embargo": 0.01}, {"embargo": True}, {"embargo": pd.Timedelta(days=-1)}])
def test_parameters_out_of_bounds(wrong: dict[str, Any], table: tuple[pd.DataFrame, pd.DataFrame]) -> None:
    """A ParameterError names them when the splitter is made, not when it splits."""
    with pytest.raises(ParameterError):
        PurgedKFold(table[1], **wrong)


def test_the_package_does_not_import_scikit_learn() -> None:
    """It is an extra."""
    code = "import sys, qtnb.features.validation, qtnb.features.labeling.weights; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
