"""How much of what is known to be wrong does `check_quality` find, and how often does it cry for nothing?

    python tests/quality/measure.py DATA_FOLDER        # writes nbs/explanations/data_quality_measured.csv
    python tests/quality/measure.py DATA_FOLDER --show sp500_5yr   # lists what was missed and what was not explained

DATA_FOLDER holds the tables that `listed_defects.csv` names. That list was written by hand from the description of the data before the checks were
run, except for the lines whose source is "found by qtnb": these are findings that turned out to be true defects when they were looked at. They
explain findings, but they do not count as listed, because a check cannot be measured by its own words.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from qtnb.data.quality import DEFECTS, check_quality
from qtnb.data.reference import normalise_events
from qtnb.data.repair import propose_repairs, repair_events, repair_frame

HERE = Path(__file__).parent
LISTED = HERE / "listed_defects.csv"
MEASURED = HERE.parents[1] / "nbs" / "explanations" / "data_quality_measured.csv"
FOUND_BY_US = "found by qtnb"
REPAIRED = MEASURED.with_name("data_repair_measured.csv")
HELD_OUT = ("sp500_5yr", "pystock", "nse_raw")  # large enough to set thresholds on one half of the symbols and to report the other
SPLITS = ("split_missing", "split_early", "split_late", "split_twice", "split_partial")
NOTES = {  # what was missed, and why alarms were false
    ("lean_daily", "bad_print"): "missed: QQQ 2002-06-27, in a month of wide ranges; false: crises (AIG 2008-09), the first day after 2001-09-11, penny stocks",
    ("lean_daily", "jump"): "real moves: AIG 2009-07-09, and companies at a dollar or less",
    ("lean_daily", "split_missing"): "a price of 0.09 falling by one tick to 0.06",
    ("lean_daily_no_events", "split_missing"): "missed: AIG 1:20 on 2009-07-01, when it also fell by a fifth; a jump. False: a price of 0.09 falling by a tick",
    ("sp500_5yr", "bad_print"): "single days of single companies, not decidable without another source",
    ("sp500_5yr", "jump"): "earnings on less than four times the usual volume",
    ("pystock", "bad_print"): "single days of single companies, not decidable without another source",
    ("pystock", "jump"): "earnings, profit warnings and a bankruptcy on less than four times the usual volume",
    ("pystock", "dividend_error"): "BBD pays two dividends in one week",
    ("nse_raw", "bad_print"): "March 2020, and days on which the stock did fall and recover",
    ("skfolio_adjclose", "jump"): "real moves; closes alone give no volume to tell news by",
    ("vix", "bad_print"): "days on which the market did move",
    ("oanda_daily", "missing_session"): "26 December 2018, without a row in all three pairs: perhaps a holiday of the dealer",
    ("lean_hour", "missing_bar"): "the exchange opened late (2001-06-08, 2002-09-11), which the calendar does not know",
    ("lean_hour", "bad_print"): "market-wide shocks, and openings after news",
    ("lean_hour", "ticker_reuse"): "SPWR: the same company, named SPWRA in between",
    ("highfrequency_1min", "wrong_zone"): "missed: the dates are displaced as well (2001-08-04 was a Saturday); reported as off_session",
    ("yahoo_whole", "bad_print"): "ORCL on 2008-09-19, a day of panic, and the first day of YHOO",
    ("skfolio_adjclose", "stale_run"): "JPM, six equal closes in August 1991: perhaps true",
    ("vix", "jump"): "5 February 2018, the largest rise ever",
    ("coinbase_daily", "bad_print"): "4 November 2015, a real spike",
    ("freqtrade_alt_btc_5m", "bad_print"): "thin books: real trades far from the others",
    ("freqtrade_unittest_btc_1m", "bad_print"): "thin books: real trades far from the others",
    ("nzdusd_hour_right_zone", "bad_print"): "24 August 2015, when the market did fall and recover",
    ("lean_hour", "jump"): "SPWRA in November 2008",
    ("yahoo_defects", "missing_session"): "Hong Kong closed for a typhoon and a rainstorm, which the calendar does not know",
    ("yahoo_defects", "split_partial"): "missed: AV-L weekly, where a 0.76 consolidation and a special dividend of 19 % fall into one bar",
}
SLACK = pd.Timedelta(days=1)  # a listed day and an instant of it may lie on two dates


@dataclass(frozen=True)
class Case:
    """One table with what is known about it."""

    name: str
    bars: pd.DataFrame
    events: pd.DataFrame | None = None
    calendar: str = ""
    interval: str = "1d"
    kinds: tuple[str, ...] = tuple(DEFECTS)  # what the case is about: the same bars read in two ways are not counted twice


# -- the tables -----------------------------------------------------------------------------------------------------------


def _read(path: Path, **options: object) -> pd.DataFrame:
    return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, **options)


def _at(days: pd.Series, hours: float = 0.0) -> pd.Series:
    """Plain days as instants of UTC."""
    return pd.to_datetime(pd.to_datetime(days) + pd.Timedelta(hours=hours), utc=True)


def _closes(times: pd.Series, zone: str, length: str) -> pd.Series:
    """Starts of bars on a wall clock as the instants at which they close."""
    return (pd.to_datetime(times).dt.tz_localize(zone, ambiguous=False, nonexistent="shift_forward") + pd.Timedelta(length)).dt.tz_convert("UTC")


def _lean_events(folder: Path) -> pd.DataFrame:
    """Splits and dividends out of Lean's factor files; an event holds from the session after its row."""
    table = pd.read_csv(folder / "equities_daily/lean_us_factor_files.csv")
    parts = []
    for symbol, own in table.groupby("symbol"):
        own = own[own["date"] < 20500101].sort_values("date")
        nxt_price, nxt_split = own["price_factor"].shift(-1, fill_value=1.0), own["split_factor"].shift(-1, fill_value=1.0)
        cash = own["reference_price"] * (1 - own["price_factor"] / nxt_price)
        day = _at(own["date"].astype(str), 30)
        ratio = nxt_split / own["split_factor"]
        parts.append(pd.DataFrame({"symbol": symbol, "ts": day, "kind": "split", "value": ratio})[(ratio - 1).abs() > 1e-3])
        parts.append(pd.DataFrame({"symbol": symbol, "ts": day, "kind": "dividend", "value": cash})[cash > 1e-3])
    return normalise_events(pd.concat(parts, ignore_index=True))


def lean_daily(folder: Path) -> Iterator[Case]:
    bars = _read(folder / "equities_daily/lean_us_daily_raw.parquet").rename(columns={"time": "date"})
    yield Case("lean_daily", bars, _lean_events(folder), "XNYS")
    yield Case("lean_daily_no_events", bars, None, "XNYS", kinds=SPLITS)


def sp500_5yr(folder: Path) -> Iterator[Case]:
    bars = _read(folder / "equities_daily/sp500_5yr_half_a.parquet")
    bars.attrs["adjust"] = "splits"
    yield Case("sp500_5yr", bars, None, "XNYS")


def pystock(folder: Path) -> Iterator[Case]:
    bars = _read(folder / "equities_daily/pystock_us_top800_2015_2016.parquet").drop(columns=["adj_close", "collected"])
    table = _read(folder / "equities_daily/pystock_us_top800_2015_2016_adjust_events.csv.gz")
    is_split = (table["factor"] < 0.7) | (table["factor"] > 1.4)
    value = np.where(is_split, 1 / table["factor"], table["prev_close"] * (1 - table["factor"]))
    events = pd.DataFrame({"symbol": table["symbol"], "ts": _at(table["ex_date"], 6), "kind": np.where(is_split, "split", "dividend"), "value": value})
    yield Case("pystock", bars, normalise_events(events[events["value"] > 0].drop_duplicates(["symbol", "ts", "kind"])), "XNYS")


def nse_raw(folder: Path) -> Iterator[Case]:
    text = pd.read_csv(folder / "equities_daily/nse_nifty50_raw_half_a.csv.gz", dtype="str")[["symbol", "date", "open", "high", "low", "close", "volume"]]
    numbers = {c: pd.to_numeric(text[c].str.replace(",", ""), errors="coerce") for c in ("open", "high", "low", "close", "volume")}
    yield Case("nse_raw", text.assign(**numbers), None, "XBOM")
    yield Case("nse_unparsed", text, None, "XBOM", kinds=("missing_value",))


def zipline_csvdir(folder: Path) -> Iterator[Case]:
    table = _read(folder / "equities_daily/zipline_csvdir_div_split_2012_2014.csv.gz")
    day = _at(table["date"], 6)
    splits = pd.DataFrame({"symbol": table["symbol"], "ts": day, "kind": "split", "value": table["split"]})[table["split"] != 1]
    cash = pd.DataFrame({"symbol": table["symbol"], "ts": day, "kind": "dividend", "value": table["dividend"]})[table["dividend"] > 0]
    yield Case("zipline_csvdir", table.drop(columns=["dividend", "split"]), normalise_events(pd.concat([splits, cash])), "XNYS")


def yahoo_whole(folder: Path) -> Iterator[Case]:
    for symbol, name in (("ORCL", "yahoo_orcl_1995_2014"), ("YHOO", "yahoo_yhoo_1996_2015"), ("KO", "ko_daily"), ("PEP", "pep_daily")):
        bars = _read(folder / f"equities_daily/{name}.csv.gz").assign(symbol=symbol)
        bars.attrs["adjust"] = "splits"
        yield Case("yahoo_whole", bars, None, "XNYS")


def closes_only(folder: Path) -> Iterator[Case]:
    wide = _read(folder / "equities_daily/skfolio_sp500_20_adjclose_1990_2022.csv.gz")
    long = wide.melt(id_vars="Date", var_name="symbol", value_name="close").rename(columns={"Date": "date"})
    long.attrs["adjust"] = "splits"
    yield Case("skfolio_adjclose", long, None, "XNYS")
    index = _read(folder / "index/skfolio_sp500_index_1990_2022.csv.gz").rename(columns={"Date": "date", "SP500": "close"}).assign(symbol="SP500")
    yield Case("index_daily", index, None, "XNYS")
    arch = _read(folder / "index/arch_sp500_1999_2018.csv.gz").assign(symbol="SPX")
    yield Case("index_daily", arch, None, "XNYS")


def vix(folder: Path) -> Iterator[Case]:
    yield Case("vix", _read(folder / "index/vix_daily_1990_2019.csv.gz").assign(symbol="VIX"), None, "XNYS")


def crypto(folder: Path) -> Iterator[Case]:
    yield Case("coinbase_daily", _read(folder / "crypto_daily/lean_coinbase_btcusd_daily_trade.csv.gz").rename(columns={"time": "date"}), None, "24/7")
    for word in ("trade", "quote"):
        table = _read(folder / f"crypto_minute/lean_coinbase_ethusd_ltcusd_minute_{word}.parquet")
        yield Case(f"coinbase_minute_{word}", table.assign(ts=_closes(table["time"], "UTC", "1min")), None, "24/7", "1m")
    for name, interval in (("freqtrade_alt_btc_5m", "5m"), ("freqtrade_unittest_btc_1m", "1m"), ("freqtrade_xrp_usdt_perp_5m", "5m")):
        table = _read(folder / f"crypto_minute/{name}.parquet")
        yield Case(name, table.assign(ts=table["date"] + pd.Timedelta(interval.replace("m", "min"))).drop(columns="date"), None, "24/7", interval)
    mark = _read(folder / "crypto_minute/freqtrade_xrp_usdt_perp_mark_1h.csv.gz")
    yield Case("freqtrade_mark_1h", mark.assign(ts=pd.to_datetime(mark["date"], utc=True) + pd.Timedelta("1h")).drop(columns="date"), None, "24/7", "1h")
    ftx = _read(folder / "crypto_minute/ftx_btc_perp_1m_20211231_20220201.parquet")
    yield Case("ftx_btc_1m", ftx.assign(symbol="BTC-PERP", ts=_closes(ftx["timestamp"], "UTC", "1min")), None, "24/7", "1m")


def fx(folder: Path) -> Iterator[Case]:
    yield Case("oanda_daily", _read(folder / "fx_daily/lean_oanda_daily.parquet").rename(columns={"time": "date"}), None, "24/5")
    for name, file, interval in (("nzdusd_hour", "fx_hour/lean_nzdusd_hour.parquet", "1h"), ("nzdusd_minute", "fx_minute/lean_nzdusd_minute.parquet", "1min")):
        table = _read(folder / file)
        table["symbol"] = table["symbol"] + "." + table["venue"]
        word = interval.replace("min", "m")
        yield Case(f"{name}_as_utc", table.assign(ts=_closes(table["time"], "UTC", interval)), None, "24/5", word, ("wrong_zone",))
        zone = pd.to_timedelta(np.where(table["venue"] == "fxcm", 5, 0), unit="h")
        yield Case(f"{name}_right_zone", table.assign(ts=_closes(table["time"] + zone, "UTC", interval)), None, "24/5", word)
    gbp = _read(folder / "fx_minute/fxcm_gbpusd_m1_bidask_2012.parquet")
    names = {f"{c}_{s}": f"{s}_{c}" for c in ("open", "high", "low", "close") for s in ("bid", "ask")}
    gbp = gbp.rename(columns=names).assign(ts=pd.to_datetime(gbp["timestamp"], utc=True) + pd.Timedelta("1min"))
    yield Case("fxcm_gbpusd_minute", gbp, None, "24/5", "1m")
    ticks = _read(folder / "ticks/lean_nzdusd_fxcm_oanda_quotes_20140504_0507.parquet")
    zone = np.where(ticks["venue"] == "fxcm", 5, 0)
    ticks = ticks.assign(symbol=ticks["symbol"] + "." + ticks["venue"], ts=pd.to_datetime(ticks["time"] + pd.to_timedelta(zone, unit="h"), utc=True))
    yield Case("nzdusd_ticks", ticks, None, "", "tick")


def quotes(folder: Path) -> Iterator[Case]:
    taq = _read(folder / "ticks/taq_xxx_quotes_raw_20180102_0103.parquet")
    taq = pd.DataFrame({"ts": taq["DT"], "symbol": "TAQ", "bid": taq["BID"], "ask": taq["OFR"], "seq": np.arange(len(taq))})
    yield Case("taq_quotes", taq, None, "", "tick")
    ibm = _read(folder / "ticks/lean_ibm_quotes_20131007_1008.parquet")
    ibm = pd.DataFrame({"ts": _closes(ibm["time"], "America/New_York", "0s"), "symbol": "IBM", "bid": ibm["bid_price"], "ask": ibm["ask_price"],
                        "seq": np.arange(len(ibm))})
    yield Case("lean_ibm_quotes", ibm, None, "", "tick")


def us_intraday(folder: Path) -> Iterator[Case]:
    hour = _read(folder / "equities_hour/lean_us_hour_raw.parquet")
    yield Case("lean_hour", hour.assign(ts=_closes(hour["time"], "America/New_York", "1h")), _lean_events(folder), "XNYS", "1h")
    minute = _read(folder / "equities_minute/lean_us_minute_trade.parquet")
    yield Case("lean_minute", minute.assign(ts=_closes(minute["time"], "America/New_York", "1min")), None, "XNYS", "1m")
    yield Case("lean_minute_as_utc", minute.assign(ts=_closes(minute["time"], "UTC", "1min")), None, "XNYS", "1m", ("wrong_zone",))
    sample = _read(folder / "equities_minute/highfrequency_stock_market_1min_2001.parquet")
    long = sample.melt(id_vars="DT", var_name="symbol", value_name="close").rename(columns={"DT": "ts"})
    yield Case("highfrequency_1min", long, None, "XNYS", "1m")
    index = _read(folder / "index/lean_index_minute.parquet")
    for symbol, calendar, zone in (("SX5E", "XETR", "Europe/Berlin"), ("NIFTY50", "XBOM", "Asia/Kolkata"), ("N225", "XTKS", "Asia/Tokyo"),
                                   ("SPX", "XNYS", "America/Chicago")):
        own = index[index["symbol"] == symbol]
        yield Case("index_minute_as_utc", own.assign(ts=_closes(own["time"], "UTC", "1min")), None, calendar, "1m", ("wrong_zone",))
        yield Case("index_minute", own.assign(ts=_closes(own["time"], zone, "1min")), None, calendar, "1m")


YAHOO_CALENDARS = {"HK": "XHKG", "T": "XTKS", "DE": "XETR", "L": "XLON", "PA": "XPAR", "AX": "XASX", "IL": "XLON", "MI": "XMIL", "V": "XTSE", "ST": "XSTO",
                   "TO": "XTSE", "JO": "XJSE", "MC": "XMAD", "": "XNYS"}


def yahoo_case(path: Path) -> Case:
    """A recorded Yahoo table: prices claim to be adjusted for splits, dividends and splits stand in columns."""
    table = pd.read_csv(path)
    table.columns = ["ts", *table.columns[1:]]
    stem = path.name.removesuffix(".csv.gz")
    symbol = next(stem[:stem.index(f"-{i}-")] for i in ("1d", "1wk", "15m") if f"-{i}-" in stem)
    interval = next(i for i in ("1d", "1wk", "15m") if f"-{i}-" in stem)
    plain = pd.to_datetime(table["ts"].str[:19])
    stamps = pd.to_datetime(table["ts"], utc=True)
    bars = table.drop(columns=[c for c in ("Dividends", "Stock Splits", "Capital Gains", "Repaired?", "ts") if c in table]).assign(symbol=symbol)
    bars = bars.assign(ts=stamps + pd.Timedelta("15min")) if interval == "15m" else bars.assign(date=plain.dt.normalize())
    bars.attrs["adjust"] = "splits"
    when = stamps if interval == "15m" else _at(plain.dt.normalize())
    events = [pd.DataFrame({"symbol": symbol, "ts": when, "kind": kind, "value": table[c].astype(float)})[table[c].astype(float) > 0]
              for kind, c in (("dividend", "Dividends"), ("split", "Stock Splits"))]
    suffix = symbol.split("-")[1] if "-" in symbol else ""
    return Case("yahoo_defects", bars, normalise_events(pd.concat(events, ignore_index=True)), YAHOO_CALENDARS[suffix], interval)


def yahoo_defects(folder: Path) -> Iterator[Case]:
    for path in sorted((folder / "defects_yahoo").glob("*.csv.gz")):
        if not path.name.endswith("-fixed.csv.gz"):
            yield yahoo_case(path)


LOADERS: tuple[Callable[[Path], Iterator[Case]], ...] = (
    lean_daily, sp500_5yr, pystock, nse_raw, zipline_csvdir, yahoo_whole, closes_only, vix, crypto, fx, quotes, us_intraday, yahoo_defects)


# -- matching -------------------------------------------------------------------------------------------------------------


def read_listed(path: Path = LISTED) -> pd.DataFrame:
    """The list of known defects: dataset, symbol ("*" = any), defect ("a|b" = either word fits), first, last, rows, source."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    times = {c: pd.to_datetime(table[c], utc=True) for c in ("first", "last")}
    return table.assign(rows=pd.to_numeric(table["rows"]), **times)


def half_of(symbol: str) -> str:
    """Which half a symbol belongs to: "tuned" (with what concerns the whole market) or "held out"."""
    return "tuned" if not symbol or zlib.crc32(symbol.encode()) % 2 == 0 else "held out"


def match(findings: pd.DataFrame, listed: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Rows found for each listed line, and whether each finding is explained by some line; both of one data set."""
    rows, explained = np.zeros(len(listed)), np.zeros(len(findings), bool)
    day_after = pd.Timedelta(days=1)
    for k, line in enumerate(listed.itertuples()):
        fits = findings["defect"].isin(line.defect.split("|")) & (findings["first"] <= line.last + day_after + SLACK) & (findings["last"] >= line.first - SLACK)
        if line.symbol != "*":
            fits &= findings["symbol"].isin([line.symbol, ""])
        rows[k] = findings.loc[fits, "rows"].sum()
        explained |= fits.to_numpy()
    return rows, explained


def check_cases(cases: Iterator[Case]) -> dict[str, tuple[pd.DataFrame, int]]:
    """Findings and number of symbol-sessions of each data set."""
    found: dict[str, list[pd.DataFrame]] = {}
    sizes: dict[str, int] = {}
    for case in cases:
        findings = check_quality(case.bars, events=case.events, calendar=case.calendar, interval=case.interval)
        found.setdefault(case.name, []).append(findings[findings["defect"].isin(case.kinds)])
        stamp = case.bars.columns[[str(c).lower() in ("ts", "date") for c in case.bars.columns]][0]
        days = pd.to_datetime(case.bars[stamp], utc=True, format="mixed").dt.date
        sizes[case.name] = sizes.get(case.name, 0) + len(set(zip(case.bars["symbol"], days, strict=True)))
    return {name: (pd.concat(parts, ignore_index=True), sizes[name]) for name, parts in found.items()}


def measure(found: dict[str, tuple[pd.DataFrame, int]], listed: pd.DataFrame) -> pd.DataFrame:
    """One row per data set, half and kind."""
    rows = []
    for name, (findings, size) in found.items():
        for half in (("tuned", "held out") if name in HELD_OUT else ("all",)):
            own, known = findings, listed[listed["dataset"] == name]
            if half != "all":
                own = own[[half_of(s) == half for s in own["symbol"]]]
                known = known[[half_of(s) == half or s == "*" for s in known["symbol"]]]
            counted, explained = match(own, known)
            counted = np.where(known["symbol"] == "*", match(findings, known)[0], counted)  # a line about all symbols is not halved
            theirs = ((known["source"] != FOUND_BY_US) & ((known["symbol"] != "*") | (half != "held out"))).to_numpy()
            hit = (counted > 0) & ~(counted < 0.9 * known["rows"].fillna(0).to_numpy())
            loud = (own["severity"] != "info").to_numpy()
            for kind in DEFECTS:
                lines = theirs & known["defect"].str.split("|").str[0].eq(kind).to_numpy()
                here = (own["defect"] == kind).to_numpy()
                if not lines.any() and not here.any():
                    continue
                false = int((here & loud & ~explained).sum())
                rows.append({"dataset": name, "half": half, "kind": kind, "listed": int(lines.sum()), "found": int((lines & hit).sum()),
                             "findings": int((here & loud).sum()), "explained": int((here & loud & explained).sum()), "false_alarms": false,
                             "info": int((here & ~loud).sum()), "symbol_sessions": size if half == "all" else size // 2})
    table = pd.DataFrame(rows)
    recall = (table["found"] / table["listed"].where(table["listed"] > 0)).round(4)
    odd = (table["false_alarms"] > 0) | (table["found"] < table["listed"])
    notes = [NOTES.get(k, "") if o else "" for k, o in zip(zip(table["dataset"], table["kind"], strict=True), odd, strict=True)]
    return table.assign(recall=recall, per_1000=(1000 * table["false_alarms"] / table["symbol_sessions"]).round(4), note=notes)


# -- repairs --------------------------------------------------------------------------------------------------------------


def _wrong_cells(case: Case, bars: pd.DataFrame, dividends: pd.DataFrame, twin: Case) -> int:
    """Prices, adjusted closes and dividends that differ from the twin by more than one per cent."""
    here, there = (b.set_index("date").sort_index() for b in (bars, twin.bars))
    columns = [c for c in ("Open", "High", "Low", "Close", "Adj Close") if c in here]
    with np.errstate(all="ignore"):
        prices = int((np.abs(here[columns].to_numpy(float) / there[columns].to_numpy(float) - 1) > 0.01).sum())
    cash = [dict(zip(e["ts"], e["value"], strict=True)) for e in (dividends[dividends["kind"] == "dividend"], twin.events[twin.events["kind"] == "dividend"])]
    return prices + sum(abs(cash[0].get(t, 0.0) - cash[1].get(t, 0.0)) > 0.01 * cash[1].get(t, 0.0) for t in set(cash[0]) | set(cash[1]))


def measure_repairs(folder: Path) -> pd.DataFrame:
    """Cells of the recorded tables that are wrong by their repaired twins, before and after the proposals."""
    rows = []
    for path in sorted((folder / "defects_yahoo").glob("*-fixed.csv.gz")):
        case, twin = yahoo_case(path.with_name(path.name.replace("-fixed", ""))), yahoo_case(path)
        if len(case.bars) != len(twin.bars):
            continue
        findings = check_quality(case.bars, events=case.events, calendar=case.calendar, interval=case.interval)
        proposals = propose_repairs(case.bars, case.events, findings, calendar=case.calendar, interval=case.interval)
        after = repair_frame(case.bars, proposals, calendar=case.calendar)
        rows.append({"table": path.name.removesuffix("-fixed.csv.gz"), "wrong_before": _wrong_cells(case, case.bars, case.events, twin),
                     "wrong_after": _wrong_cells(case, after, repair_events(case.events, proposals), twin), "proposals": len(proposals)})
    return pd.DataFrame(rows)


def show(name: str, found: dict[str, tuple[pd.DataFrame, int]], listed: pd.DataFrame) -> None:
    """Print what was missed and what is not explained."""
    findings, known = found[name][0], listed[listed["dataset"] == name]
    counted, explained = match(findings, known)
    hit = (counted > 0) & ~(counted < 0.9 * known["rows"].fillna(0).to_numpy())
    print(known.assign(counted=counted)[~hit].to_string())
    rest = findings[~explained & (findings["severity"] != "info")]
    print(rest["defect"].value_counts().to_string())
    for row in rest.itertuples():
        print(f"{row.defect:16} {row.severity:8} {row.first:%Y-%m-%d %H:%M} {row.text}  [{half_of(row.symbol)}]")


def main(arguments: list[str]) -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description="Measure check_quality on tables with known defects.")
    parser.add_argument("folder", type=Path, help="folder with the tables")
    parser.add_argument("--show", default="", help="name of a data set: print what was missed, write nothing")
    parser.add_argument("--only", default="", help="loader to run")
    given = parser.parse_args(arguments)
    loaders = [f for f in LOADERS if given.only in ("", f.__name__)]
    found = check_cases(case for load in loaders for case in load(given.folder))
    listed = read_listed()
    if given.show:
        show(given.show, found, listed)
        return
    table = measure(found, listed)
    if not given.only:
        table.to_csv(MEASURED, index=False, lineterminator="\n")
        measure_repairs(given.folder).to_csv(REPAIRED, index=False, lineterminator="\n")
    print(table.groupby("kind", sort=False)[["listed", "found", "findings", "explained", "false_alarms", "info"]].sum().to_string())


if __name__ == "__main__":
    main(sys.argv[1:])
