"""Write down what every reference gives, for the page: `QTNB_SHARED_DATA=... QTNB_REFERENCE_DATA=... python tests/references/record.py`."""

from __future__ import annotations

import csv
from pathlib import Path

import peers
from cases import BACKTRADER, CASES, OPTIMISED

FILE = Path(__file__).parents[2] / "nbs/explanations/reference_results_recorded.csv"


def _row(name: str, published: float, ours: float, named: float, fills: int, why: str) -> dict[str, object]:
    """One line of the table, amounts to the cent."""
    return {"name": name, "published": f"{published:.2f}", "ours": f"{ours:.2f}", "named": f"{named:.2f}", "fills": fills, "why": why}


def rows() -> list[dict[str, object]]:
    """One row per published result that needs data which cannot be shipped."""
    found = []
    for case in CASES:
        if not case.needs:
            continue
        result = case.run()
        named = sum(case.lines(result).values()) if case.lines else 0.0
        why = "; ".join(case.lines(result)) if case.lines else ""
        ours = float(result.equity.iloc[-1])
        found.append(_row(case.name, case.published, ours, named, len(result.fills), why))
    for period, published in zip(range(5, 45), OPTIMISED, strict=True):
        result = peers.backtrader(period, futures=True, hold=True)
        ours = float(result.equity.iloc[-1])
        found.append(_row(f"backtrader, optimised, period {period}", published, ours, 0.0, len(result.fills), ""))
    return found


if __name__ == "__main__":
    table = rows()
    with FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    print(f"{len(table)} rows, {BACKTRADER} and others, in {FILE.name}")
