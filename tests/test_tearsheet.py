"""The tearsheet as a file: complete in itself, safe against hostile names, honest about poor runs, and stored runs that come back whole."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support import run_python

from qtnb.core.errors import DataError, SchemaError, StorageError
from qtnb.evaluation import results
from qtnb.evaluation.definitions import METRICS
from qtnb.evaluation.results import Result, make_result

HOSTILE = """</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">'"${7*7}{{ 7*7 }}$$x$$"""
LIMIT = 1_800_000  # bytes


def sample_run(days: int = 1000, *, trades: bool = True, name: str = "sample", symbols: tuple[str, ...] = ("AAA", "BBB", "CCC"), seed: int = 0) -> Result:
    """A seeded run with or without trades."""
    rng, n = np.random.default_rng(seed), len(symbols)
    ts = pd.date_range("2018-01-01T21:00", periods=days, freq="B", tz="UTC").as_unit("ns")
    equity = 100_000.0 * np.cumprod(1.0 + np.append(0.0, rng.normal(0.0005, 0.01, days - 1)))
    held = np.repeat(rng.normal(0.2, 0.3, (days // 20 + 1, n)), 20, axis=0)[:days] if trades else np.zeros((days, n))
    rows = range(0, days, 20) if trades else range(0)
    columns: dict[str, list] = {
        "ts": [ts[i] for i in rows], "exec_id": [f"e{i}" for i in rows], "client_order_id": [f"o{i}" for i in rows],
        "symbol": [symbols[i // 20 % n] for i in rows], "side": [("buy", "sell")[i // 20 % 2] for i in rows], "quantity": [10.0 + i % 7 for i in rows],
        "price": [50.0 + i / 100 for i in rows], "fee": [1.0 for _ in rows], "currency": ["USD" for _ in rows], "rule": ["open" for _ in rows]}
    orders = {"client_order_id": columns["client_order_id"], "ts": columns["ts"], "symbol": columns["symbol"], "side": columns["side"],
              "quantity": columns["quantity"], "order_type": ["market" for _ in rows], "limit_price": [math.nan for _ in rows],
              "stop_price": [math.nan for _ in rows], "time_in_force": ["day" for _ in rows], "status": ["filled" for _ in rows],
              "filled_quantity": columns["quantity"], "average_price": columns["price"], "reason": ["" for _ in rows]}
    account = results.account_frame(ts, equity, cash=equity, gross_exposure=np.abs(held).sum(axis=1), net_exposure=held.sum(axis=1))
    manifest = {"run_id": "20260102T030405Z-backtest-0a1b2c3d", "strategy": name, "symbols": list(symbols), "parameters": {"fast": 10, "note": name},
                "data": {"fingerprint": "ab" * 32}, "versions": {"qtnb": "0.1"}, "status": "completed"}
    return make_result(account, orders=results.orders_frame(orders), fills=results.fills_frame(columns),
                       positions=results.panel_frame(ts, symbols, values=held * 100), weights=results.panel_frame(ts, symbols, values=held), manifest=manifest)


def prices_of(run: Result) -> pd.DataFrame:
    """A price path per symbol of the run."""
    rng = np.random.default_rng(1)
    steps = 1.0 + rng.normal(0.0003, 0.01, run.weights.shape)
    return pd.DataFrame(50.0 * np.cumprod(steps, axis=0), index=run.weights.index, columns=list(run.weights.columns))


class Page(HTMLParser):
    """What a browser would make of the page: text, table cells, tags, addresses, and balance of the tags."""

    VOID = {"meta", "link", "br", "img", "input", "hr"}

    def __init__(self, html: str):
        """Parse the page."""
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        """Remember a tag."""
        self.tags.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href") and v]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Close the tag that is open, which must be this one."""
        assert self.open and self.open[-1] == tag, f"</{tag}> closes <{self.open[-1:]}>"
        self.open.pop()

    def handle_data(self, data):
        """Keep visible text."""
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self) -> str:
        """All visible text."""
        return " ".join(" ".join(self.text).split())


def test_one_file_under_the_limit(tmp_path: Path) -> None:
    """Written whole, below the limit with prices and benchmark, the same bytes each time, and asking for nothing."""
    run = sample_run(5000)
    prices = prices_of(run)
    path = run.tearsheet(tmp_path / "deep" / "tearsheet.html", benchmark=prices["AAA"], prices=prices)
    html = Path(path).read_text(encoding="utf-8")
    assert len(html.encode()) < LIMIT and [p.name for p in Path(path).parent.iterdir()] == ["tearsheet.html"]
    assert html == run.tearsheet(benchmark=prices["AAA"], prices=prices)
    page = Page(html)
    assert page.open == [] and {a for a in page.addresses if not a.startswith("#")} == {"data:,"} and page.handlers == []
    assert "<link rel=\"stylesheet\"" not in html and "@import" not in html.split("<body>")[0]


def test_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    """Ids of figures do not depend on what was drawn before or on hash seeds."""
    sample_run(300).save(tmp_path / "run")
    code = ("import sys; from bokeh.plotting import figure; figure()\nfrom qtnb.evaluation.results import Result\n"
            "sys.stdout.reconfigure(encoding='utf-8'); sys.stdout.write(Result.load(sys.argv[1]).tearsheet())")
    other = run_python("-c", code, tmp_path / "run", env={"PYTHONHASHSEED": "7", "PYTHONIOENCODING": "utf-8"})
    assert other.returncode == 0, other.stderr
    assert other.stdout == Result.load(tmp_path / "run").tearsheet()


def test_every_figure_is_on_the_page() -> None:
    """Each figure with its text and definition, the two tables, the run and its provenance."""
    run = sample_run()
    words = Page(run.tearsheet()).words.replace("\u2212", "-")
    frame = results.summary(run.equity, fills=run.fills, account=run.account).to_frame()
    assert list(frame.index) == list(METRICS)[: list(METRICS).index("time_in_market") + 1]
    missing = [n for n, row in frame.iterrows() if row["text"] not in words or row["definition"] not in words]
    assert missing == []
    for needed in ("20260102T030405Z-backtest-0a1b2c3d", "ab" * 32, "AAA, BBB, CCC", "2018-01-01 to", "fast", "Worst drawdowns", "Months, per cent",
                   "95% interval", "filled"):
        assert needed in words, needed


def test_hostile_names_stay_text() -> None:
    """A strategy, a symbol, a parameter, a title and a benchmark that hold HTML, templates and formulas."""
    run = sample_run(200, name=HOSTILE, symbols=(HOSTILE, "BBB"))
    html = run.tearsheet(title=HOSTILE, benchmark=run.equity.rename(HOSTILE), prices=prices_of(run))
    page = Page(html)
    assert page.open == [] and "img" not in page.tags and page.handlers == []
    assert page.tags.count("script") == 4 and "{{ 7*7 }}" in page.words and "${49}" not in html
    data = re.search(r'<script type="application/json" id="document">(.*?)</script>', html, re.S)
    assert data is not None and "<" not in data.group(1) and json.loads(data.group(1))["roots"]
    assert "$$x$$" not in data.group(1)  # no formula that would ask for a typesetter
    assert "<script>window" not in run._repr_html_() and "<img" not in run._repr_html_()


@pytest.mark.parametrize(("days", "said"), [(60, "The strategy did not trade."), (2, "there is nothing to draw yet"), (1, "there is nothing to draw yet")])
def test_poor_runs_say_so(days: int, said: str) -> None:
    """No trades, two days, one day."""
    page = Page(sample_run(days, trades=False).tearsheet())
    assert said in page.words and page.open == []


def test_flat_ruined_and_failed_runs() -> None:
    """An account that never moved, one that was lost, one whose job failed."""
    run = sample_run(80, trades=False)
    flat = results.result_from_equity(run.equity * 0 + 100.0)
    words = Page(flat.tearsheet()).words
    assert "returns do not vary" in words and not re.search(r"\b(nan|NaT|inf|None)\b", words)
    lost = run.equity.copy()
    lost.iloc[40:] = -5.0
    ruined = results.result_from_equity(lost, manifest={"status": "failed"})
    words = Page(ruined.tearsheet()).words
    assert "The account was ruined" in words and "This run is failed" in words
    with pytest.raises(DataError, match="0 rows"):
        make_result(run.account[:0], orders=run.orders, fills=run.fills, positions=run.positions[:0], weights=run.weights[:0], manifest={}).tearsheet()


def test_many_symbols_and_intraday_bars() -> None:
    """Two hundred symbols and twenty thousand five-minute bars still fit."""
    many = sample_run(400, symbols=tuple(f"S{i:03d}" for i in range(200)))
    html = many.tearsheet()
    assert len(html.encode()) < LIMIT and "and 190 more" in html and "others" in html
    ts = pd.date_range("2024-01-01", periods=20_000, freq="5min", tz="UTC").as_unit("ns")
    steps = np.random.default_rng(2).normal(0, 0.0005, 20_000)
    bars = results.result_from_equity(pd.Series(1e5 * np.cumprod(1 + steps), index=ts))
    assert bars.metrics["periods_per_year"] == 288 * 365 and len(bars.tearsheet().encode()) < LIMIT


# -- results ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trades", [True, False], ids=["trades", "no trades"])
def test_a_result_comes_back_whole(tmp_path: Path, trades: bool) -> None:
    """Frames, types, names, figures (NaN among them) and manifest survive; saving again gives the same bytes."""
    run = sample_run(60, trades=trades)
    again = Result.load(run.save(tmp_path / "a"))
    assert run.differences(again, [*results.FRAMES, "metrics", "manifest"]) == []
    for name in results.FRAMES:
        pd.testing.assert_frame_equal(getattr(run, name), getattr(again, name), check_freq=False)
    again.save(tmp_path / "b")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / d).iterdir()} for d in "ab")
    assert first == second and set(first) == {*(f"{n}.parquet" for n in (*results.FRAMES, "trades")), "metrics.json", "manifest.json", "checksums.json"}
    json.loads(first["metrics.json"], parse_constant=lambda text: pytest.fail(f"{text} is not JSON"))


def test_saving_keeps_other_files_and_replaces_its_own(tmp_path: Path) -> None:
    """A run folder may hold an executed notebook already."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "backtest.ipynb").write_text("{}")
    sample_run(30).save(tmp_path / "run")
    sample_run(40).save(tmp_path / "run")
    assert len(Result.load(tmp_path / "run").account) == 40 and (tmp_path / "run" / "backtest.ipynb").read_text() == "{}"
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_failed_save_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up half way."""
    sample_run(30).save(tmp_path / "run")
    real, calls = results._write_frame, []

    def full(frame, path):
        calls.append(path)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        real(frame, path)

    monkeypatch.setattr(results, "_write_frame", full)
    with pytest.raises(StorageError, match="No space left.*make room"):
        sample_run(50).save(tmp_path / "run")
    assert len(Result.load(tmp_path / "run").account) == 30 and [p.name for p in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize(("name", "damage", "message"), [
    ("fills.parquet", b"nothing", "did not match its checksum"), ("metrics.json", b"{}", "did not match its checksum"),
    ("manifest.json", b"{", "could not be read"), ("checksums.json", b"[", "could not be read"), ("checksums.json", None, "no complete result"),
    ("weights.parquet", None, "could not be read")])
def test_damage_is_refused(tmp_path: Path, name: str, damage: bytes | None, message: str) -> None:
    """Changed, truncated and missing files."""
    folder = sample_run(30).save(tmp_path / "run")
    (folder / name).write_bytes(damage) if damage is not None else (folder / name).unlink()
    with pytest.raises(StorageError, match=message):
        Result.load(folder)


def test_differences_name_the_place() -> None:
    """One last bit, one missing row, one renamed symbol."""
    run = sample_run(60)
    account = run.account.copy()
    account.iloc[7, 0] = np.nextafter(account.iloc[7, 0], np.inf)
    other = Result(run.orders, run.fills.iloc[:-1], account, run.positions, run.weights.rename(columns={"AAA": "AAB"}), run.metrics, run.manifest)
    found = run.differences(other)
    assert [line.split(":")[0] for line in found] == ["fills", "account", "weights"]
    assert found[0] == "fills: 3 rows against 2" and "row 7" in found[1] and "`equity`" in found[1] and "columns" in found[2]
    assert run.differences(sample_run(60)) == [] and run.differences(sample_run(60, seed=1)) != []


def test_frames_are_strict() -> None:
    """Another column, another type, naive stamps."""
    with pytest.raises(SchemaError, match="unknown columns"):
        results.fills_frame({**{c: [] for c in results.FILL_COLUMNS}, "pnl": []})
    with pytest.raises(DataError, match="zone"):
        results.account_frame(pd.DatetimeIndex(["2020-01-01"]), [1.0], cash=[1.0], gross_exposure=[0.0], net_exposure=[0.0])
    run = sample_run(30)
    with pytest.raises(SchemaError, match="`positions` was indexed by 29 rows"):
        make_result(run.account, orders=run.orders, fills=run.fills, positions=run.positions[1:], weights=run.weights, manifest={})


def test_the_benchmark_has_no_figures_of_its_own_trading() -> None:
    """The benchmark's column holds its own figures, and stays away where it has none."""
    run = sample_run(300)
    html = run.tearsheet(benchmark=prices_of(run)["BBB"])
    tables = dict(re.findall(r"<caption>([^<]*)</caption>\s*<thead>(.*?)</thead>", html, re.S))
    assert "Benchmark" in tables["Return and risk"] and "Benchmark" not in tables["Trading"]
    row = re.search(r'<th scope="row">Total return</th>\s*<td>([^<]*)</td>\s*<td>([^<]*)</td>', html)
    assert row is not None and row.group(1) != row.group(2)


def test_execution_and_notes_are_shown() -> None:
    """What the engine says about costs has its own table; warnings stand above the figures."""
    run = sample_run(100)
    told = Result(run.orders, run.fills, run.account, run.positions, run.weights, run.metrics,
                  {**run.manifest, "execution": {"slippage": 60661.07, "fill_rate": 1.0}, "warnings": ["3 sessions were missing"]})
    words = Page(told.tearsheet()).words
    assert "Slippage 60,661.07" in words and "Note: 3 sessions were missing" in words and words.index("Note:") < words.index("Growth")
