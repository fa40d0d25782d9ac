"""qtnb beside other engines: run the peer benchmark and record what it measured in the table of the documentation.

    QTNB_PEERS=<folder of the peer benchmark> python tests/bench/peers.py [workloads, as W1,W4]

`make bench` calls it. The peer benchmark is no part of this repository: a folder with `bench.py`, one runner per engine, and an environment for
each of them under $PEER_VENVS. Only engines whose environment is there are run. Without QTNB_PEERS nothing happens.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import record_peers

FAST = {  # engines that finish within minutes, and the environment of each
    "limit": "limit", "limit-2core": "limit", "limit-python": "limit", "vectorbt-rust": "vectorbt", "raptorbt": "raptorbt", "hftbacktest": "hftbacktest",
}  # fmt: skip


def main(argv: list[str]) -> None:
    """Run and record."""
    folder, venvs = os.environ.get("QTNB_PEERS", ""), Path(os.environ.get("PEER_VENVS") or Path(tempfile.gettempdir(), "venvs"))
    if not folder:
        print("other engines: set QTNB_PEERS to the folder of the peer benchmark to measure them too")
        return
    limit = venvs / "limit" / "bin" / "python"
    if not (Path(folder) / "bench.py").is_file() or not limit.is_file():
        sys.exit(f"`QTNB_PEERS` was {folder!r} and PEER_VENVS {str(venvs)!r}; the one needs a bench.py and the other an environment called 'limit'.")
    there = [name for name, venv in FAST.items() if (venvs / venv / "bin" / "python").is_file()]
    works = argv[0] if argv else ",".join(record_peers.WORKS)
    with tempfile.TemporaryDirectory() as scratch:
        lines, ours = Path(scratch) / "results.jsonl", Path(__file__).with_name("run_qtnb.py")
        asked = ["--works", works, "--peers", ",".join(there), "--budget", "40", "--extra", f"qtnb={sys.executable},{ours}", "--out", str(lines)]
        subprocess.run([str(limit), "bench.py", *asked], cwd=folder, check=True)
        record_peers.main([str(lines)])


if __name__ == "__main__":
    main(sys.argv[1:])
