"""The table of the peer benchmark is made from its lines as the page says."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

from support import REPO

sys.path.append(str(Path(__file__).parent / "bench"))

from record_peers import COLUMNS, OURS, TABLE, table


def line(work: str, peer: str, seconds: float, bars: int, **more: Any) -> dict[str, Any]:
    """A line as the benchmark writes it."""
    return {"work": work, "peer": peer, "version": "1", "run_s": seconds, "n_bars": bars, "rows": "all", "peak_rss_mb": 99.6, "diff_pct": 0.0} | more


def test_ratios_are_per_row_and_the_last_line_counts() -> None:
    """A peer that ran on a tenth of the rows in the same time takes ten times as long."""
    lines = [
        line("W4", OURS, 9.0, 1000), line("W4", "slow", 2.0, 100, rows=100, diff_pct=-1.4), line("W4", OURS, 2.0, 1000),
        line("W4", "fast", 1.0, 1000, diff_pct=-1e-9), {"work": "W4", "peer": "broken", "error": "over 600 s"},
        line("W9", OURS, 1.0, 1), line("W6", "alone", 1.0, 1),
    ]  # fmt: skip
    rows = table(lines)
    assert [(r["peer"], r["ratio to qtnb"], r["final equity difference"]) for r in rows] == [
        ("fast", "0.5", "0.0000%"), ("qtnb", "1", "0.0000%"), ("slow", "10", "-1.4000%"),
    ]  # fmt: skip
    assert rows[2]["rows"] == "100" and rows[2]["memory MB"] == "100" and tuple(rows[0]) == COLUMNS


def test_the_recorded_table_has_its_form() -> None:
    """Every workload in it has a row of qtnb, which the others are compared with."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and TABLE.parent == REPO / "nbs" / "explanations"
    assert {r["workload"] for r in rows} == {r["workload"] for r in rows if r["peer"] == OURS and r["ratio to qtnb"] == "1"}
