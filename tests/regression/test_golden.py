"""The bundled strategies on the bundled sample end where they ended before, to the last bit; how to renew it: golden.py."""

from __future__ import annotations

import json

import pytest
from golden import CASES, FILE, summary

from qtnb.strategies.registry import STRATEGIES

RECORDED = json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(CASES))
def test_nothing_has_moved(name: str) -> None:
    """The summary equals the recorded one; if it was meant to move, run `python tests/regression/golden.py` and commit the difference."""
    assert summary(name) == RECORDED[name]


def test_every_bundled_strategy_is_here() -> None:
    """A new strategy gets a case, and no recorded case is left without one."""
    bundled = {name for name in STRATEGIES.names() if STRATEGIES.origin(name).startswith("qtnb.")}
    assert {name.split(",")[0] for name in CASES} == bundled
    assert RECORDED.keys() == CASES.keys()
