"""Write what the peer benchmark measured into the table that the documentation shows.

    python bench.py --extra qtnb=<python>,<run_qtnb.py> --out results.jsonl      # in the folder of the peer benchmark
    python tests/bench/record_peers.py results.jsonl                                             # writes nbs/explanations/where_the_time_goes_measured.csv

Of several lines of one peer and workload the last counts. A peer that ran on the first rows only is compared by the time of a row, and its
`rows` says so; the `final equity difference` is to the reference loop over the same rows.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parents[2] / "nbs" / "explanations" / "where_the_time_goes_measured.csv"
COLUMNS = ("workload", "peer", "version", "rows", "run s", "ratio to qtnb", "memory MB", "final equity difference")
OURS, WORKS = "qtnb", ("W1", "W2", "W3", "W4", "W5", "W6")
Line = dict[str, Any]


def latest(lines: list[Line]) -> dict[tuple[str, str], Line]:
    """The last line of each workload and peer that has a time; a run that ended in an error has none."""
    return {(line["work"], line["peer"]): line for line in lines if line["work"] in WORKS and "run_s" in line}


def row(line: Line, ours: Line) -> dict[str, str]:
    """One row of the table: the ratio is of seconds per row of data, so that a shorter run is no faster one."""
    ratio = (line["run_s"] / line["n_bars"]) / (ours["run_s"] / ours["n_bars"])
    difference = f"{line['diff_pct'] + 0.0:.4f}%".replace("-0.0000", "0.0000") if "diff_pct" in line else ""
    values = (line["work"], line["peer"], line["version"], str(line["rows"]), f"{line['run_s']:.3g}", f"{ratio:.3g}", f"{line['peak_rss_mb']:.0f}")
    return dict(zip(COLUMNS, (*values, difference), strict=True))


def table(lines: list[Line]) -> list[dict[str, str]]:
    """The rows, the fastest of each workload first; workloads that qtnb did not run are left out."""
    found = latest(lines)
    rows = [row(line, found[work, OURS]) for (work, _), line in found.items() if (work, OURS) in found]
    return sorted(rows, key=lambda r: (r["workload"], float(r["ratio to qtnb"])))


def main(argv: list[str]) -> None:
    """Read the lines, write the table."""
    if not argv:
        sys.exit("say where the results are: record_peers.py results.jsonl")
    lines = [json.loads(text) for name in argv for text in Path(name).read_text(encoding="utf-8").splitlines() if text.strip()]
    rows = table(lines)
    if not rows:
        sys.exit(f"no result of {OURS} for {', '.join(WORKS)} was found in {', '.join(argv)}; give it to bench.py by --extra.")
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{TABLE.name}: {len(rows)} rows")


if __name__ == "__main__":
    main(sys.argv[1:])
