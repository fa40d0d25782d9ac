"""Loads every file of a data folder by its recipe, and counts: good rows, refused rows, and lines that are no rows.

    python tests/recipes/load_all.py FOLDER

FOLDER holds a README.md with a table of files and their rows, in the layout that `RECIPES` names. Without the folder the mappings are tested
on small excerpts (`tests/test_recipes.py`).
"""

from __future__ import annotations

import fnmatch
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from qtnb.data.providers.files_mapping import FileMapping, ReferenceMapping, SeriesMapping, TextRules, build_mapping, load_mapping
from qtnb.data.providers.files_reading import read_table_file
from qtnb.data.providers.files_reference import read_market_hours, read_reference_file, read_series_file
from qtnb.data.providers.files_stream import read_stream_file

MAPPINGS = Path(__file__).resolve().parents[2] / "configs/mappings"
READERS: dict[str, type[TextRules]] = {"prices": FileMapping, "series": SeriesMapping, "reference": ReferenceMapping}


@dataclass(frozen=True)
class Recipe:
    """One kind of file: where it lies, how it is read, and how its README counts."""

    files: str  # pattern of paths below the folder
    reader: str  # prices, series, reference, stream, hours
    mappings: tuple[str, ...] = ()  # names in configs/mappings; the tables of one file when there are several
    keys: dict[str, Any] = field(default_factory=dict)  # what differs from the mapping for this file
    lines: int = 0  # lines that the README counts and that are no rows: prose, headers
    columns: int = 1  # how many rows a line of a wide file makes
    headerless: bool = False  # the README takes the first row for a header


YAHOO = {"HK": ("XHKG", "Asia/Hong_Kong"), "T": ("XTKS", "Asia/Tokyo"), "DE": ("XETR", "Europe/Berlin"), "L": ("XLON", "Europe/London"),
         "PA": ("XPAR", "Europe/Paris"), "AX": ("XASX", "Australia/Sydney"), "MC": ("XMAD", "Europe/Madrid"), "IL": ("XLON", "Europe/London"),
         "MI": ("XMIL", "Europe/Rome"), "V": ("XTSE", "America/Toronto"), "TO": ("XTSE", "America/Toronto"), "ST": ("XSTO", "Europe/Stockholm"),
         "JO": ("XJSE", "Africa/Johannesburg")}
CALENDARS = {"xnys": "XNYS", "xlon": "XLON", "xtks": "XTKS", "xhkg": "XHKG", "cmes": "CMES", "24-5": "24/5", "24-7": "24/7", "xbom": "XBOM", "xtae": "XTAE"}

RECIPES = [
    Recipe("equities_daily/lean_us_daily_raw.parquet", "prices", ("lean_daily",)),
    Recipe("equities_daily/lean_us_factor_files.csv", "reference", ("lean_factor_files",)),
    Recipe("equities_daily/lean_us_map_files.csv", "reference", ("lean_map_files",)),
    Recipe("equities_daily/sp500_5yr_half_a.parquet", "prices", ("sp500_daily",)),
    Recipe("equities_daily/pystock_us_top800_2015_2016.parquet", "prices", ("pystock_daily",)),
    Recipe("equities_daily/pystock_us_top800_2015_2016_adjust_events.csv.gz", "reference", ("pystock_adjustments",)),
    Recipe("equities_daily/nse_nifty50_raw_half_a.csv.gz", "prices", ("nse_bhavcopy",)),
    Recipe("equities_daily/yahoo_*.csv.gz", "prices", ("yahoo_download",)),
    Recipe("equities_daily/ko_daily.csv.gz", "prices", ("yahoo_download_raw",)),
    Recipe("equities_daily/pep_daily.csv.gz", "prices", ("yahoo_download_raw",)),
    Recipe("equities_daily/zipline_csvdir_div_split_2012_2014.csv.gz", "prices", ("zipline_csvdir",)),
    Recipe("equities_daily/skfolio_sp500_20_adjclose_1990_2022.csv.gz", "prices", ("wide_adjusted_closes",), columns=20),
    Recipe("equities_daily/vega_stocks_monthly_2000_2010.csv", "series", ("vega_monthly",)),
    Recipe("equities_hour/lean_us_hour_raw.parquet", "prices", ("lean_hour",)),
    Recipe("equities_minute/lean_us_minute_trade.parquet", "prices", ("lean_minute",)),
    Recipe("equities_minute/lean_us_minute_quote.parquet", "prices", ("lean_minute_quote",)),
    Recipe("equities_minute/highfrequency_stock_market_1min_2001.parquet", "prices", ("minute_prices_wide",), columns=2),
    Recipe("equities_second/lean_ibm_second_trade_20131007_1008.parquet", "prices", ("lean_second",)),
    Recipe("ticks/lean_ibm_trades_20131007_1009.parquet", "prices", ("lean_trade_ticks",)),
    Recipe("ticks/lean_ibm_quotes_20131007_1008.parquet", "prices", ("lean_quote_ticks",)),
    Recipe("ticks/taq_xxx_trades_raw_20180102_0103.parquet", "prices", ("taq_trades",)),
    Recipe("ticks/taq_xxx_quotes_raw_20180102_0103.parquet", "prices", ("taq_quotes",)),
    Recipe("fx_daily/lean_oanda_daily.parquet", "prices", ("lean_fx_daily",)),
    Recipe("fx_hour/lean_nzdusd_hour.parquet", "prices", ("lean_fx_hour",)),
    Recipe("fx_hour/backtesting_eurusd_1h_2017_2018.csv.gz", "prices", ("hourly_without_zone",)),
    Recipe("fx_minute/lean_nzdusd_minute.parquet", "prices", ("lean_fx_minute",)),
    Recipe("fx_minute/fxcm_gbpusd_m1_bidask_2012.parquet", "prices", ("fxcm_minute",)),
    Recipe("ticks/lean_nzdusd_fxcm_oanda_quotes_20140504_0507.parquet", "prices", ("lean_fx_ticks",)),
    Recipe("ticks/truefx_usdjpy_quotes.csv.gz", "prices", ("truefx_ticks",)),
    Recipe("ticks/nautilus_quote_tick_data.csv.gz", "prices", ("histdata_ticks",), headerless=True),
    Recipe("crypto_daily/lean_coinbase_btcusd_daily_trade.csv.gz", "prices", ("lean_crypto_daily",)),
    Recipe("crypto_minute/lean_coinbase_ethusd_ltcusd_minute_trade.parquet", "prices", ("lean_crypto_minute",)),
    Recipe("crypto_minute/lean_coinbase_ethusd_ltcusd_minute_quote.parquet", "prices", ("lean_crypto_minute_quote",)),
    Recipe("crypto_minute/freqtrade_alt_btc_5m.parquet", "prices", ("freqtrade_5m",)),
    Recipe("crypto_minute/freqtrade_unittest_btc_1m.parquet", "prices", ("freqtrade_1m",)),
    Recipe("crypto_minute/freqtrade_xrp_usdt_perp_5m.parquet", "prices", ("freqtrade_5m",)),
    Recipe("crypto_minute/freqtrade_xrp_usdt_perp_funding_8h.csv.gz", "series", ("freqtrade_funding",)),
    Recipe("crypto_minute/freqtrade_xrp_usdt_perp_mark_1h.csv.gz", "prices", ("freqtrade_mark_1h",)),
    Recipe("crypto_minute/ftx_btc_perp_1m_20211231_20220201.parquet", "prices", ("ftx_minute",)),
    Recipe("crypto_minute/binance_adabtc_1m_2021-11-27.csv", "prices", ("binance_klines",), headerless=True),
    Recipe("ticks/binance_btcusdt_trades.parquet", "prices", ("binance_trades",)),
    Recipe("ticks/binance_btcusdt_quotes.parquet", "prices", ("binance_quotes",)),
    Recipe("ticks/freqtrade_public_trades_list.csv.gz", "prices", ("ccxt_trades",)),
    Recipe("orderbook/hftbacktest_binance_usdm_btcusdt_20240808.gz", "stream"),
    Recipe("orderbook/binance_btcusdt_depth-*.csv", "reference", ("depth_levels",)),
    Recipe("orderbook/tardis_binance-futures_book_snapshot_25_BTCUSDT.csv", "prices", ("tardis_top_of_book",)),
    Recipe("orderbook/tardis_binance-futures_book_snapshot_5_BTCUSDT.csv", "reference", ("tardis_book_5",)),
    Recipe("orderbook/tardis_bitmex_trades_XBTUSD.csv", "prices", ("tardis_trades",)),
    Recipe("vendor_payloads/kraken/*_trades_export.csv", "prices", ("kraken_trades",)),
    Recipe("factors/ff3_us_daily_192607_202111.csv.gz", "series", ("french_daily",), lines=7),
    Recipe("factors/ff3_us_monthly_192607_202111.csv.gz", "series", ("french_monthly", "french_annual"), lines=9),
    Recipe("factors/mom_us_monthly_192701_202111.csv.gz", "series", ("french_momentum_monthly", "french_momentum_annual"), lines=20),
    Recipe("factors/arch_frenchdata_ff3_monthly_1926_2018.csv.gz", "series", ("french_clean",)),
    Recipe("index/arch_sp500_1999_2018.csv.gz", "prices", ("sp500_index_daily",)),
    Recipe("index/skfolio_sp500_index_1990_2022.csv.gz", "series", ("index_levels",)),
    Recipe("index/zipline_spy_benchmark_returns_1993_2018.csv.gz", "series", ("daily_returns",)),
    Recipe("index/shiller_sp500_monthly_1871_2026.csv.gz", "series", ("shiller_monthly",)),
    Recipe("index/vix_daily_1990_2019.csv.gz", "prices", ("vix_daily",)),
    Recipe("index/lean_index_minute.parquet", "prices", ("lean_index_minute",)),
    Recipe("index/eurostoxx_like_5min_2006_01.csv.gz", "prices", ("index_5m_local",)),
    Recipe("index/eurostoxx_like_daily_2005_2006.csv.gz", "prices", ("index_daily_local",)),
    Recipe("rates/zipline_treasury_curves_1990_2017.csv.gz", "series", ("treasury_yields",)),
    Recipe("rates/oecd_short_term_interest.csv.gz", "series", ("oecd_rates_annual", "oecd_rates_quarterly", "oecd_rates_monthly")),
    Recipe("reference/lean_usa_interest_rate.csv", "series", ("policy_rate",)),
    Recipe("reference/lean_market_hours_database.json.gz", "hours"),
    Recipe("reference/lean_symbol_properties_database.csv.gz", "reference", ("lean_symbol_properties",), lines=8),
    Recipe("reference/lean_coarse_universe_20140324_0328.parquet", "reference", ("coarse_universe",)),
    Recipe("reference/lean_etf_constituents.csv.gz", "reference", ("etf_holdings",)),
    Recipe("reference/sp500_membership_ticker_start_end.csv", "reference", ("sp500_members",)),
    Recipe("reference/sp500_current_constituents.csv", "reference", ("sp500_constituents",)),
    Recipe("reference/investpy_us_stock_master.csv.gz", "reference", ("stock_master",)),
    *(Recipe(f"calendars/{name}_sessions.csv.gz", "reference", ("exchange_sessions",), {"take": {"calendar": code}}) for name, code in CALENDARS.items()),
    Recipe("defects_yahoo/AV-L-1wk-*.csv.gz", "series", ("yahoo_history_weekly",)),
    Recipe("defects_yahoo/EA-15m-*.csv.gz", "prices", ("yahoo_history_15m",)),
    Recipe("defects_yahoo/EWG-1d-*.csv.gz", "prices", ("yahoo_history",)),
    *(Recipe(f"defects_yahoo/*-{end}-1d-*.csv.gz", "prices", ("yahoo_history",), {"calendar": code, "timezone": zone}) for end, (code, zone) in YAHOO.items()),
]


@dataclass(frozen=True)
class Loaded:
    """What became of one file."""

    path: str
    good: int
    refused: int
    expected: int | None  # rows by the README; None where it gives none
    reasons: dict[str, int]  # rule -> refused rows

    @property
    def fits(self) -> bool:
        """Whether every row is accounted for."""
        return self.expected is None or self.good + self.refused == self.expected


def listed_rows(folder: Path) -> dict[str, int]:
    """The rows of every file by the README: `path` and a number in its table; the tables of defects name files of their folder."""
    rows: dict[str, int] = {}
    for line in (folder / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`([^`]+)`", cells[0])
        count = next((c for c in cells[1:3] if re.fullmatch(r"\d+", c)), None)
        if name and count and not name[1].endswith("/"):
            path = name[1] if "/" in name[1] else f"defects_yahoo/{name[1]}"
            rows[path] = int(count)
            twin = path.replace(".csv.gz", "-fixed.csv.gz")
            if path.startswith("defects_yahoo/") and (folder / twin).exists():
                rows[twin] = int(count)
    return rows


def find_recipe(path: str) -> Recipe:
    """The recipe of a file; LookupError when there is none."""
    for recipe in RECIPES:
        if fnmatch.fnmatch(path, recipe.files):
            return recipe
    raise LookupError(f"{path} has no recipe")


def recipe_mapping(recipe: Recipe, name: str) -> TextRules:
    """A mapping of the repository, with what differs for a file."""
    keys = yaml.safe_load((MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8"))
    for key, value in recipe.keys.items():
        keys[key] = keys[key] | value if isinstance(value, dict) else value
    return build_mapping(keys, READERS[recipe.reader])


def load(folder: Path, path: str, expected: int | None) -> Loaded:
    """Load one file by its recipe."""
    recipe, file = find_recipe(path), folder / path
    if recipe.reader == "stream":
        stream = read_stream_file(file, quarantine=True)
        bad = stream.refused["row"].nunique()
        return Loaded(path, sum(stream.messages.values()) - bad, bad, expected, dict(stream.refused["rule"].value_counts()))
    if recipe.reader == "hours":
        return Loaded(path, len(read_market_hours(file)), 0, None, {})
    good, bad, reasons, numbers = 0, 0, {}, recipe.columns
    for name in recipe.mappings:
        mapping = recipe_mapping(recipe, name)
        if isinstance(mapping, SeriesMapping):
            frame = read_series_file(file, mapping)
            good += int(frame.notna().to_numpy().sum()) if mapping.pivot else len(frame)
            continue
        if isinstance(mapping, ReferenceMapping):
            table, refused = read_reference_file(file, mapping)
            good += len(table)
        else:
            read = read_table_file(file, load_mapping(mapping))
            refused, good = read.refused, good + read.rows
        bad += len(refused.drop_duplicates(["row"]))
        reasons |= dict(refused.groupby("rule")["row"].nunique())
    if expected is not None:
        expected = (expected + recipe.headerless - recipe.lines) * numbers
    return Loaded(path, good, bad, expected, reasons)


def main(folder: Path) -> int:
    """Load everything and print a table; 1 when a row is not accounted for."""
    wrong = 0
    for path, rows in listed_rows(folder).items():
        try:
            found = load(folder, path, rows)
        except Exception as error:  # a table of everything is wanted, the broken ones included
            wrong += 1
            print(f"| {path} | {type(error).__name__}: {str(error).splitlines()[0]} |")
            continue
        wrong += not found.fits
        why = "; ".join(f"{rule} ({n})" for rule, n in found.reasons.items())
        print(f"| {path} | {rows} | {found.good} | {found.refused} | {'' if found.fits else f'EXPECTED {found.expected}'} {why} |")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
