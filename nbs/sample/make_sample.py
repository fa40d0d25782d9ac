"""Make the bundled sample from a folder with the Lean tables; the result is committed, so this runs only when the sample changes.

    python nbs/sample/make_sample.py SOURCE_FOLDER [REFERENCE_FOLDER]

SOURCE_FOLDER holds `lean_us_daily_raw.parquet` (symbol, time, open, high, low, close, volume; raw prices, New York dates),
`lean_us_factor_files.csv` (symbol, date, price_factor, split_factor, reference_price) and `lean_us_map_files.csv`.
A second folder may hold `sp500_membership_ticker_start_end.csv` (ticker, start_date, end_date); without it the members are left as they are.
Rows are neither dropped nor changed: bars get the instant of the session's close, and rows of another company under a reused ticker get a
symbol of their own.
"""

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd

from qtnb.data.calendars import describe_gaps, session_close, session_open, sessions
from qtnb.utils.time import to_index

CALENDAR = "XNYS"
HERE = Path(__file__).parent

# The ticker meant another company before this day. BAC, EEM, USO and BNO by the map files; BAC also by price: the factor file's reference prices of
# 1998 (NationsBank, the company that took the name and the ticker) differ from the bars by 7 to 9 dollars.
REUSED = {"BAC": "1998-10-01", "EEM": "2003-04-11", "USO": "2006-04-10", "BNO": "2010-06-02"}
# Class A of Alphabet traded as GOOG until this day and as GOOGL from it on; from it on GOOG is class C. By the map files.
RENAMED = ("GOOG", "GOOGL", "2014-04-03")

NAMES = {"AIG": "American International Group", "BAC": "Bank of America (NationsBank until 1998-09-30)", "BNO": "United States Brent Oil Fund",
         "EEM": "iShares MSCI Emerging Markets ETF", "GOOG": "Alphabet, class C", "GOOGL": "Alphabet, class A (Google until 2014-04-02)", "IBM": "IBM",
         "QQQ": "Invesco QQQ Trust (Nasdaq-100)", "USO": "United States Oil Fund", "WMI": "Waste Management (ticker WM afterwards)"}
PRINTS = [("AIG", "2003-11-04", "low 44.70"), ("AIG", "2009-05-05", "high 20.98 on a close of 1.72"), ("BAC.1998", "1998-04-24", "low 63.50"),
          ("BAC", "2000-02-29", "low 35.75"), ("BAC", "2001-11-12", "low 40.00"), ("GOOGL", "2007-12-18", "low 67.50 on a close of 673.35"),
          ("GOOGL", "2008-09-30", "low 0.01, and the close of 294.57 is from the same late prints"), ("IBM", "2000-07-20", "low 88.00"),
          ("IBM", "2002-08-26", "low 61.00"), ("IBM", "2002-11-07", "low 61.00"), ("IBM", "2002-12-23", "open and high 159.58 on a close of 80.46"),
          ("GOOGL", "2004-08-19", "open 135.91 and high 140.93 on a close of 100.37, the first day"), ("QQQ", "2002-06-27", "low 20.59"),
          ("QQQ", "2004-11-01", "low 27.05"), ("QQQ", "2004-11-17", "low 30.90")]


def bars(source: Path) -> pd.DataFrame:
    "Every row of the source, with the close of its session and the symbol of its company."
    raw = pd.read_parquet(source / "lean_us_daily_raw.parquet")
    day = raw["time"].dt.strftime("%Y-%m-%d")
    symbol = raw["symbol"].astype(object).copy()
    for ticker, first in REUSED.items():
        symbol[(symbol == ticker) & (day < first)] = f"{ticker}.1998"
    old, new, since = RENAMED
    symbol[(symbol == old) & (day < since)] = new
    table = raw.assign(symbol=symbol.astype("str"), ticker=raw["symbol"], session=day, ts=session_close(CALENDAR, day.to_numpy()),
                       volume=raw["volume"].astype(float))
    return table.sort_values(["symbol", "ts"], ignore_index=True)



def events(source: Path) -> pd.DataFrame:
    "Splits and dividends out of the cumulative factors: a factor row holds up to and including its date."
    factors = pd.read_csv(source / "lean_us_factor_files.csv", dtype={"date": str})
    calendar = sessions(CALENDAR, "1998-01-01", "2021-12-31")["session"].to_numpy().astype("M8[D]")
    found = []
    for symbol, own in factors.groupby("symbol"):
        rows = list(own.itertuples())
        for row, after in zip(rows[1:], rows[2:], strict=False):  # the first row carries no event of its own
            last = np.datetime64(pd.Timestamp(row.date), "D")
            ex_date = calendar[np.searchsorted(calendar, last, side="right")]
            if row.split_factor != after.split_factor:
                ratio = after.split_factor / row.split_factor  # rounded in the file; near a small fraction it is that fraction
                neat = Fraction(ratio).limit_denominator(20)
                value = float(neat) if abs(float(neat) / ratio - 1) < 2e-5 else round(ratio, 6)
                found.append((symbol, str(ex_date), "split", value, row.reference_price))
            if row.price_factor != after.price_factor:
                cash = round(row.reference_price * (1 - row.price_factor / after.price_factor), 4)
                found.append((symbol, str(ex_date), "dividend", cash, row.reference_price))
    table = pd.DataFrame(found, columns=["symbol", "ex_date", "kind", "value", "reference"])
    table.insert(1, "ts", to_index(session_open(CALENDAR, table["ex_date"].to_numpy())).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return table.sort_values(["ts", "symbol", "kind"], ignore_index=True)


def instruments(table: pd.DataFrame) -> pd.DataFrame:
    "One row per symbol and ticker, with the first and the last session of that ticker."
    last_day = table["session"].max()
    rows = []
    for (symbol, ticker), own in table.groupby(["symbol", "ticker"], sort=False):
        first, last = own["session"].min(), own["session"].max()
        note, events_from = "", "1998-01-02"
        if symbol.endswith(".1998"):
            note, events_from = f"another company under the ticker {ticker}, which was reused on {REUSED[ticker]}; no events in the source", ""
        if symbol == "WMI":
            note, events_from = "no events in the source: dividends are missing from adjusted prices", ""
        if symbol == "GOOGL" and ticker == "GOOG":
            note = "class A traded as GOOG until 2014-04-02"
        open_end = "" if last == last_day else last
        name = NAMES.get(symbol, f"unnamed company, ticker {ticker} until reused")
        rows.append((symbol, ticker, name, CALENDAR, "USD", first, open_end, events_from, note))
    gap = ("QQQ", "QQQQ", NAMES["QQQ"], CALENDAR, "USD", "2004-12-01", "2011-03-22", "1998-01-02",
           "traded as QQQQ; these bars are not in the source, its events are")
    whole = next(r for r in rows if r[0] == "QQQ")
    rows.remove(whole)
    rows += [(*whole[:6], "2004-11-30", *whole[7:]), gap, (*whole[:5], "2011-03-23", *whole[6:])]
    rows.append(("BAC", "NB", NAMES["BAC"], CALENDAR, "USD", "1998-01-02", "1998-09-30", "1998-01-02",
                 "NationsBank, ticker NB; these bars are not in the source, its events are"))
    columns = ["symbol", "ticker", "name", "calendar", "currency", "valid_from", "valid_to", "events_from", "note"]
    return pd.DataFrame(rows, columns=columns).sort_values(["symbol", "valid_from"], ignore_index=True)


def defects(table: pd.DataFrame) -> pd.DataFrame:
    "What is wrong with the source, found again from the rows, and what was done about it."
    calendar = sessions(CALENDAR, "1998-01-01", "2021-12-31")["session"].to_numpy().astype("M8[D]")
    rows = []
    for ticker, first in REUSED.items():
        own = table[table["symbol"] == f"{ticker}.1998"]
        rows.append((f"{ticker}.1998", "ticker reuse", own["session"].min(), own["session"].max(), len(own),
                     f"ticker {ticker} meant another company before {first}", f"kept under its own symbol {ticker}.1998"))
    rows.append(("GOOGL", "ticker change", "2004-08-19", "2014-04-02", int((table["symbol"].eq("GOOGL") & table["ticker"].eq("GOOG")).sum()),
                 "class A traded as GOOG before class C was distributed", "joined to GOOGL; GOOG begins 2014-04-03"))
    for symbol, own in table.groupby("symbol"):
        have = own["session"].to_numpy().astype("M8[D]")
        every = calendar[(calendar >= have[0]) & (calendar <= have[-1])]
        missing = np.setdiff1d(every, have)
        if len(missing):
            gaps = describe_gaps(missing, every)
            why = f"{len(gaps)} gap(s), the longest of {max(g[2] for g in gaps)} session(s)"
            why = "traded as QQQQ, which is not in the source" if symbol == "QQQ" else why
            rows.append((symbol, "missing sessions", str(missing[0]), str(missing[-1]), len(missing), why,
                         "left missing; `get_bars` warns with the numbers"))
        zero = own[own["volume"] == 0]
        if len(zero):
            rows.append((symbol, "zero volume", zero["session"].min(), zero["session"].max(), len(zero),
                         "no shares traded on a session with a bar", "kept as in the source"))
    for symbol, day, what in PRINTS:
        rows.append((symbol, "bad print", day, day, 1, what, "kept as in the source"))
    for symbol in sorted({s for s in table["symbol"] if s.endswith(".1998")} | {"WMI"}):
        own = table[table["symbol"] == symbol]
        rows.append((symbol, "no events", own["session"].min(), own["session"].max(), len(own),
                     "the source has no splits or dividends", "adjusted prices equal raw ones; `get_bars` warns"))
    table = pd.DataFrame(rows, columns=["symbol", "kind", "first", "last", "sessions", "what", "handled"])
    return table.sort_values(["kind", "symbol", "first"], ignore_index=True)


def members(source: Path) -> pd.DataFrame:
    "Spells of the S&P 500: the source's end is the first day outside, ours the last day inside."
    spells = pd.read_csv(source / "sp500_membership_ticker_start_end.csv", dtype="str", keep_default_na=False)
    last = pd.to_datetime(spells["end_date"]).sub(pd.Timedelta(days=1)).dt.strftime("%Y-%m-%d").fillna("")
    table = pd.DataFrame({"universe": "sp500", "symbol": spells["ticker"], "start": spells["start_date"], "end": last})
    return table.sort_values(["symbol", "start"], ignore_index=True)


def main(source: Path, reference: Path | None = None, target: Path = HERE) -> None:
    "Write the tables of the sample."
    table = bars(source)
    keep = table[["symbol", "ts", "open", "high", "low", "close", "volume"]].assign(ts=to_index(table["ts"].to_numpy()))
    keep.to_parquet(target / "bars.parquet", index=False, compression="zstd", compression_level=19)
    for name, frame in (("events", events(source)), ("instruments", instruments(table)), ("defects", defects(table))):
        frame.to_csv(target / f"{name}.csv", index=False, lineterminator="\n")
    if reference is not None:
        members(reference).to_csv(target / "members.csv", index=False, lineterminator="\n")
    open_days = sessions(CALENDAR, table["session"].min(), table["session"].max())
    open_days.assign(calendar=CALENDAR).to_parquet(target / "sessions.parquet", index=False, compression="zstd", compression_level=19)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
