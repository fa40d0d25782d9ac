"""`qt fetch` from end to end: the command line, the job notebook and Python against vendors on this machine, interrupted and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from vendors import fakes, loopback
from vendors.loopback import LoopbackVendor, SyntheticExchange, binance_routes

from qtnb.api.cli import main
from qtnb.config.settings import load_settings
from qtnb.core.errors import VendorRefused
from qtnb.data.loader import get_bars, get_coverage
from qtnb.data.pipelines import backfill, refresh
from qtnb.data.providers.binance import BinanceVendor
from qtnb.data.storage.memory import MemoryStore
from qtnb.data.storage.parquet import ParquetStore
from qtnb.pipelines.fetching import FetchConfig, run_fetch

DAY, HOUR, MINUTE = 86_400_000, 3_600_000, 60_000  # ms
NS = 1_000_000
ALL = (-(2**62), 2**62)


@pytest.fixture
def exchange() -> SyntheticExchange:
    return SyntheticExchange()


@pytest.fixture
def server(exchange):
    with LoopbackVendor(binance_routes(exchange)) as running:
        yield running


def fetch(server: LoopbackVendor, *words: str) -> int:
    return main(["fetch", "binance", *words, "--base-url", server.url])


def lake() -> ParquetStore:
    return ParquetStore(load_settings().lake)


WORDS = ("BTCUSDT", "ETHUSDT", "--interval", "1m", "--start", "2025-01-15")


def test_the_command_line_brings_a_day_of_minutes(workspace, server, exchange, capsys):
    assert fetch(server, *WORDS) == 0
    said = capsys.readouterr().out
    assert "BTCUSDT: asked for 1 window(s): 1440 new" in said and "instruments: 2 new" in said
    assert get_coverage(interval="1m")["rows"].tolist() == [1440, 1440] and get_coverage(interval="1m")["calendar"].tolist() == ["24/7"] * 2
    bars = get_bars("BTCUSDT", interval="1m", adjust="none")
    first = exchange.kline("BTCUSDT", "1m", exchange.listed)
    assert bars.iloc[0].tolist() == [float(x) for x in first[1:6]] and bars.index[0][0].value == (exchange.listed + MINUTE) * NS
    assert lake().read_instruments()["tick_size"].tolist() == [0.01, 0.01]


def test_again_asks_for_nothing(workspace, server, capsys):
    fetch(server, *WORDS)
    capsys.readouterr()
    before, asked = lake()._row_sums("bars/1m"), len(server.asked("/klines"))
    assert fetch(server, *WORDS) == 0
    assert lake()._row_sums("bars/1m") == before and len(server.asked("/klines")) - asked <= 2  # what was open at the end of the day, at most
    assert "1440 new" not in capsys.readouterr().out


def test_a_dry_run_asks_and_writes_nothing(workspace, server, capsys):
    assert fetch(server, *WORDS, "--dry-run") == 0
    assert "would ask for 1 window(s)" in capsys.readouterr().out
    assert server.calls == [] and get_or_none() is None


def get_or_none():
    "The datasets of the lake, or None while there are none."
    return lake().intervals() or None


def test_a_vendor_that_throttles_truncates_and_breaks_off_is_outlasted(workspace, server, exchange):
    whole = MemoryStore()
    backfill(vendor(server), whole, ["BTCUSDT"], "2025-01-15", interval="1m", progress=False, clock=lambda: exchange.now * NS)
    server.twist(loopback.throttle(0.01), loopback.cut_json, loopback.promise_more, loopback.status(503), loopback.hang_up, path="/klines")
    store = MemoryStore()
    report = backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15", interval="1m", progress=False, clock=lambda: exchange.now * NS)
    assert report.failed == [] and store.fingerprint() == whole.fingerprint() and len(server.upcoming) == 1


def vendor(server: LoopbackVendor, **more) -> BinanceVendor:
    from qtnb.data.providers.transport import HttpPolicy

    policy = HttpPolicy(connect_seconds=2, read_seconds=2, total_seconds=5, backoff_seconds=0.001, backoff_cap_seconds=0.01, per_second=10_000)
    return BinanceVendor(base_url=server.url, policy=policy, **more)


@pytest.mark.parametrize(
    "twist, times, why", [(loopback.html, 1, "HTML"), (loopback.from_the_future, 1, "when it was asked for"), (loopback.stall, 2, "could not be read")]
)
def test_a_vendor_that_lies_costs_one_symbol_and_says_why(workspace, server, exchange, twist, times, why):
    from qtnb.data.providers.transport import HttpPolicy

    policy = HttpPolicy(connect_seconds=0.3, read_seconds=0.3, total_seconds=0.5, attempts=2, backoff_seconds=0.001, per_second=10_000)
    server.twist(*[twist] * times, path="/klines")
    store = MemoryStore()
    report = backfill(BinanceVendor(base_url=server.url, policy=policy), store, ["BTCUSDT", "ETHUSDT"], "2025-01-15", interval="1h", together=1,
                      progress=False, clock=lambda: exchange.now * NS)
    bad = report.frame().set_index("symbol")
    assert report.failed == ["BTCUSDT"] and bad.loc["ETHUSDT", "new"] == 24
    assert why in bad.loc["BTCUSDT", "error"]
    repaired = backfill(vendor(server), store, ["BTCUSDT", "ETHUSDT"], "2025-01-15", interval="1h", progress=False, clock=lambda: exchange.now * NS)
    assert repaired.failed == [] and store.coverage("1h")["rows"].tolist() == [24, 24]


def test_an_unknown_symbol_is_refused_before_anything_is_stored(workspace, server, capsys):
    assert fetch(server, "DOGEUSD", "--interval", "1h", "--start", "2025-01-15") != 0
    assert "Invalid symbol" in "".join(capsys.readouterr()) and get_or_none() is None


def test_a_refused_key_stops_the_run(workspace, server, monkeypatch, capsys):
    monkeypatch.setenv("QTNB_BINANCE_API_KEY", "canary-key-0123456789")
    server.always(loopback.echo(401))
    assert fetch(server, *WORDS) == 2
    said = "".join(capsys.readouterr())
    assert "check the key" in said and "canary" not in said
    with pytest.raises(VendorRefused):
        run_fetch(FetchConfig(provider="binance", symbols="BTCUSDT", interval="1h", start="2025-01-15", base_url=server.url), progress=False)


def test_a_refresh_brings_the_next_hours_and_the_corrections(workspace, server, exchange):
    store, at = MemoryStore(), [exchange.listed + 6 * HOUR]
    exchange.now = at[0]
    clock = lambda: at[0] * NS  # noqa: E731
    backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15", interval="1m", progress=False, clock=clock)
    assert store.coverage("1m").loc["BTCUSDT", "rows"] == 360
    exchange.now = at[0] = exchange.listed + 9 * HOUR
    honest = exchange.kline

    def corrected(symbol, interval, opened):
        row = honest(symbol, interval, opened)
        return [*row[:5], "77.0", *row[6:]] if opened == exchange.listed + 5 * HOUR else row

    exchange.kline = corrected  # type: ignore[method-assign]
    report = refresh(vendor(server), store, interval="1m", overlap_days=0.1, progress=False, clock=clock)
    (line,) = report.symbols
    assert (line.new, line.revised) == (180, 1) and line.gaps == []
    assert store.coverage("1m").loc["BTCUSDT", "rows"] == 540
    now = store.read_bars(["BTCUSDT"], 0, 2**62, interval="1m")["volume"]
    then = store.read_bars(["BTCUSDT"], 0, 2**62, interval="1m", as_of=(exchange.listed + 5 * HOUR + MINUTE) * NS)["volume"]
    assert (now == 77.0).sum() == 1 and (then == 77.0).sum() == 0  # the correction is not known earlier


def test_holes_of_the_vendor_are_asked_for_twice_and_reported(workspace, server, exchange):
    hole = range(exchange.listed + 100 * MINUTE, exchange.listed + 107 * MINUTE, MINUTE)
    lossy = loopback.rows(lambda page: [r for r in page if r[0] not in hole])
    server.always(lambda call, reply: lossy(call, reply) if "klines" in call.path else reply)
    store = MemoryStore()
    report = backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15", "2025-01-15", interval="1m", progress=False, clock=lambda: exchange.now * NS)
    (line,) = report.symbols
    assert sum(g[2] for g in line.gaps) == 7 and line.windows == 2 and "7 expected bar(s) missing in 1 gap(s)" in report.summary()
    server.always(loopback.honest)
    mended = backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15", "2025-01-15", interval="1m", again=True, progress=False,
                      clock=lambda: exchange.now * NS)
    assert mended.symbols[0].new == 7 and mended.symbols[0].gaps == []


def test_trades_come_with_their_numbers(workspace, server, exchange):
    store = MemoryStore()
    report = backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15T00:00:00Z", "2025-01-15T00:10:00Z", kind="trades", interval="tick", progress=False,
                      clock=lambda: exchange.now * NS)
    table = store.read("trades", ["BTCUSDT"], 0, 2**62)
    assert report.symbols[0].new == len(table) == (600_000 // exchange.trade_every + 1) * exchange.at_once
    assert np.array_equal(table["seq"], np.arange(len(table)))


@pytest.mark.slow
def test_a_killed_download_goes_on_where_it_was(workspace, server, exchange, tmp_path):
    code = f"""
import sys
from qtnb.data.pipelines import backfill
from qtnb.data.providers.binance import BinanceVendor
from qtnb.data.providers.transport import HttpPolicy
from qtnb.data.storage.parquet import ParquetStore
import qtnb.data.pipelines as pipelines
policy = HttpPolicy(per_second=10_000)
hold = pipelines._Holder.__init__
pipelines._Holder.__init__ = lambda self, *a, **k: hold(self, *a[:4], rows=1_000)
backfill(BinanceVendor(base_url={server.url!r}, policy=policy), ParquetStore(sys.argv[1]), ["BTCUSDT", "ETHUSDT"], "2025-01-15", interval="1m",
         progress=False, together=1, clock=lambda: {exchange.now * NS})
"""
    whole = tmp_path / "whole"
    subprocess.run([sys.executable, "-c", code, str(whole)], check=True, timeout=120)
    broken, killed = tmp_path / "broken", 0
    for pages in (1, 2, 3):
        begun = len(server.asked("/klines"))
        child = subprocess.Popen([sys.executable, "-c", code, str(broken)])
        while child.poll() is None and len(server.asked("/klines")) - begun < pages:
            try:
                child.wait(0.005)
            except subprocess.TimeoutExpired:
                continue
        if child.poll() is None:
            os.kill(child.pid, signal.SIGKILL)
            killed += 1
        child.wait()
    assert killed > 0
    subprocess.run([sys.executable, "-c", code, str(broken)], check=True, timeout=120)
    one, other = ParquetStore(whole), ParquetStore(broken)
    all_time = (["BTCUSDT", "ETHUSDT"], 0, 2**62)
    assert one.read_bars(*all_time, interval="1m").equals(other.read_bars(*all_time, interval="1m"))
    assert one._row_sums("bars/1m") == other._row_sums("bars/1m")


@pytest.mark.slow
def test_the_job_notebook_asks_a_vendor(workspace: Path, server):
    from qtnb.pipelines.jobs import run_job

    run = run_job("fetch", {"provider": "binance", "symbols": ["BTCUSDT"], "interval": "1h", "start": "2025-01-15", "base_url": server.url}, progress=False)
    assert run.status == "completed" and "bars/1h of 1 symbol(s)" in run.manifest["summary"]["what"]
    assert get_coverage(interval="1h").loc["BTCUSDT", "rows"] == 24


def test_spot_and_futures_do_not_overwrite_each_other(workspace, server, exchange):
    store = MemoryStore()
    how = dict(interval="1h", progress=False, clock=lambda: exchange.now * NS)
    with LoopbackVendor(binance_routes(SyntheticExchange(seed=8), "/fapi/v1")) as futures:
        backfill(vendor(server), store, ["BTCUSDT"], "2025-01-15", **how)
        backfill(vendor(futures, market="usdm"), store, ["BTCUSDT"], "2025-01-15", **how)
        again = backfill(vendor(futures, market="usdm"), store, ["BTCUSDT"], "2025-01-15", "2025-01-15T12:00:00Z", **how)
    assert again.complete == 1 and store.coverage("1h")["rows"].to_dict() == {"BTCUSDT": 24, "BTCUSDT.USDM": 24}
    instruments = store.read_instruments()
    assert instruments["symbol"].tolist() == ["BTCUSDT", "BTCUSDT.USDM"] and set(instruments["ticker"]) == {"BTCUSDT"}


@pytest.mark.parametrize("name", ["polygon", "quandl"])
def test_stocks_come_with_their_splits_and_dividends(workspace, serve, monkeypatch, capsys, name):
    fake = fakes.FAKES["polygon" if name == "polygon" else "quandl table"]
    truth = fake.truth["bars/1d"]()
    days = truth.index.get_level_values("ts")
    words = ["fetch", name, "AAPL", "--start", f"{days[0]:%Y-%m-%d}", "--end", f"{days[-1]:%Y-%m-%d}", "--base-url", serve(fake.answer).url]
    monkeypatch.setenv(f"QTNB_{name.upper()}_API_KEY", fakes.KEY)
    assert main(words) == 0 and main(words) == 0
    said = "".join(capsys.readouterr())
    assert f"{len(truth)} new" in said and "1 symbol(s) had everything already" in said and fakes.KEY not in said
    fakes.same(lake().read_bars(["AAPL"], *ALL), truth)
    assert len(lake().read_events(["AAPL"])) == fake.events and "AAPL" in set(lake().read_instruments()["symbol"])
    kept = b"".join(p.read_bytes() for p in Path(workspace).rglob("*") if p.is_file())
    assert fakes.KEY.encode() not in kept
