"""Cut the excerpts of this folder out of a checkout of QuantConnect/Lean: `python make_excerpts.py LEAN_CHECKOUT`."""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent / "data"
DAILY = {  # ticker to the dates that a reference needs and the bundled sample lacks
    "SPY": ("1998-01-01", "2018-01-31"),
    "AAPL": ("2014-06-05", "2014-06-11"),
    "AAPL ": ("2016-01-01", "2016-12-31"),
    "FB": ("2016-01-01", "2016-12-31"),
    "IWM": ("2016-01-01", "2016-12-31"),
    "WM": ("2016-01-01", "2016-12-31"),
}
FACTORS = ("AAPL", "AIG", "BAC", "BNO", "EEM", "FB", "GOOG", "GOOGL", "IBM", "IWM", "QQQ", "SPY", "USO", "WM")


def unzip(path: Path) -> io.BytesIO:
    """The only file of an archive."""
    with zipfile.ZipFile(path) as archive:
        return io.BytesIO(archive.read(archive.namelist()[0]))


def daily(lean: Path) -> pd.DataFrame:
    """Raw daily bars, prices as the source's integers (dollars times 10,000)."""
    parts = []
    for name, (first, last) in DAILY.items():
        ticker = name.strip()
        table = pd.read_csv(unzip(lean / f"Data/equity/usa/daily/{ticker.lower()}.zip"), header=None, names=["date", "open", "high", "low", "close", "volume"])
        table["date"] = pd.to_datetime(table["date"].str[:8], format="%Y%m%d").dt.strftime("%Y-%m-%d")
        parts.append(table[table["date"].between(first, last)].assign(symbol=ticker))
    return pd.concat(parts)[["symbol", "date", "open", "high", "low", "close", "volume"]]


def factors(lean: Path) -> pd.DataFrame:
    """The factor files as they are."""
    parts = []
    for ticker in FACTORS:
        path = lean / f"Data/equity/usa/factor_files/{ticker.lower()}.csv"
        table = pd.read_csv(path, header=None, names=["date", "price_factor", "split_factor", "reference"], dtype=str)
        table["date"] = pd.to_datetime(table["date"], format="%Y%m%d").dt.strftime("%Y-%m-%d")
        parts.append(table.assign(symbol=ticker))
    return pd.concat(parts)[["symbol", "date", "price_factor", "split_factor", "reference"]]


def seconds(lean: Path) -> pd.DataFrame:
    """Second bars of SPY in regular hours, 2013-10-07 to 11, thinned: of each clock hour the first and the last, and those with a new high or low in it."""
    parts = []
    for date in pd.bdate_range("2013-10-07", "2013-10-11"):
        path = lean / f"Data/equity/usa/second/spy/{date:%Y%m%d}_trade.zip"
        table = pd.read_csv(unzip(path), header=None, names=["second", "open", "high", "low", "close", "volume"])
        table["second"] //= 1000
        table = table[table["second"].between(34_200, 57_599)]
        hour = table["second"] // 3600
        keep = ~hour.duplicated() | ~hour.duplicated(keep="last")
        keep |= table["high"] > table.groupby(hour)["high"].transform(lambda h: h.cummax().shift())
        keep |= table["low"] < table.groupby(hour)["low"].transform(lambda low: low.cummin().shift())
        parts.append(table[keep].assign(date=f"{date:%Y-%m-%d}"))
    return pd.concat(parts)[["date", "second", "open", "high", "low", "close", "volume"]]


def hours(lean: Path) -> pd.DataFrame:
    """Hour bars of SPY, 2021-03-01 to 03."""
    table = pd.read_csv(unzip(lean / "Data/equity/usa/hour/spy.zip"), header=None, names=["start", "open", "high", "low", "close", "volume"])
    return table[table["start"].str[:8].between("20210301", "20210303")]


def perpetual(lean: Path) -> pd.DataFrame:
    """Hour bars of the perpetual ADAUSDT on 2022-12-13: trades, and the last bid of each hour."""
    folder = lean / "Data/cryptofuture/binance/hour"
    trades = pd.read_csv(unzip(folder / "adausdt_trade.zip"), header=None, names=["start", "open", "high", "low", "close", "volume"], dtype=str)
    quotes = pd.read_csv(unzip(folder / "adausdt_quote.zip"), header=None, usecols=[0, 4, 9], names=["start", "bid", "ask"], dtype=str)
    return trades.merge(quotes, on="start")


def main(lean: Path) -> None:
    """Write every excerpt."""
    HERE.mkdir(exist_ok=True)
    zipped = {"method": "gzip", "mtime": 0}
    daily(lean).to_csv(HERE / "lean_daily.csv.gz", index=False, compression=zipped)
    seconds(lean).to_csv(HERE / "lean_spy_seconds.csv.gz", index=False, compression=zipped)
    hours(lean).to_csv(HERE / "lean_spy_hours.csv", index=False)
    perpetual(lean).to_csv(HERE / "lean_adausdt_hours.csv", index=False)
    factors(lean).to_csv(HERE / "lean_factors.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
