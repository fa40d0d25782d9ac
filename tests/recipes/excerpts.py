# ruff: noqa: E501  (rows of files are as long as they are)
"""A few rows in the format of every kind of file that has a mapping. The rows are invented; the formats are the sources'."""

from __future__ import annotations

from typing import Any, NamedTuple


class Excerpt(NamedTuple):
    """A small file, and what is in it."""

    file: str  # its name
    text: str
    good: int  # rows (of a wide or long file: values)
    refused: int = 0
    first: Any = None  # first instant of prices, first number of a series, first cell of a reference table
    keys: dict[str, Any] = {}  # what differs from the mapping


BARS = "open,high,low,close,volume"
DAYS = "10,11,9,10.5,100"
SIDES = "bid_open,bid_high,bid_low,bid_close,ask_open,ask_high,ask_low,ask_close"
SIDE_ROW = "1.1,1.3,1.0,1.2,1.11,1.31,1.01,1.21"
FF = "Made by hand.\nIn percent.\n"
YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume"
HISTORY = YAHOO + ",Dividends,Stock Splits\n"

EXCERPTS: dict[str, Excerpt] = {
    "lean_daily": Excerpt("d.csv", f"symbol,time,{BARS}\nKO,2020-01-02,{DAYS}\nPEP,2020-01-02,{DAYS}\n", 2, first="2020-01-02T21:00Z"),
    "sp500_daily": Excerpt("d.csv", f"symbol,date,{BARS}\nKO,2014-05-19,{DAYS}\nKO,2014-05-20,12,11,9,10,5\nKO,2014-05-21,,11,9,10,5\n", 1, 2, "2014-05-19T20:00Z"),
    "pystock_daily": Excerpt("d.csv", f"symbol,date,{BARS},adj_close,collected\nKO,2015-07-02,{DAYS},9,20150702\nKO,2015-07-02,{DAYS},9,20150706\n", 2,
                             first="2015-07-02T20:00Z"),
    "nse_bhavcopy": Excerpt("d.csv", f'symbol,date,series,{BARS},value\nTCS,2015-01-01,EQ,"1,145.25","1,150.00","1,140.00",1145,100,"46,54,40,831.85"\n'
                            f"TCS,2015-02-28,EQ,{DAYS},1\n", 1, 1, "2015-01-01T10:00Z"),
    "yahoo_download": Excerpt("ORCL.csv", f"{YAHOO}\n1995-01-03,2.1,2.2,2.0,2.1,1.8,36301200\n", 1, first="1995-01-03T21:00Z"),
    "yahoo_download_raw": Excerpt("KO.csv", f"Date,Open,High,Low,Close,Volume,Adj Close\n1997-01-02,{DAYS},7.2\n", 1, first="1997-01-02T21:00Z"),
    "yahoo_history": Excerpt("EWG.csv", HISTORY + "2022-03-14 00:00:00-04:00,10,11,9,10,9.5,100,0.5,0\n2022-03-11 00:00:00-05:00,10,11,9,10,9.5,100,0,0\n"
                             "2022-03-10 00:00:00-05:00,,,,,,,0,0\n", 2, 1, "2022-03-11T21:00Z"),
    "yahoo_history_15m": Excerpt("EA.csv", HISTORY + "2022-05-26 04:00:00-04:00,10,11,9,10,9.5,100,0,0\n", 1, first="2022-05-26T08:15Z"),
    "yahoo_history_weekly": Excerpt("AV.csv", HISTORY + "2021-12-13 00:00:00+00:00,518,535,515,530,383,100,0,0\n", 1, first=518.0),
    "zipline_csvdir": Excerpt("d.csv", f"symbol,date,{BARS},dividend,split\nAAPL,2014-06-06,{DAYS},0,1\nAAPL,2014-06-09,{DAYS},0,7\n", 2, first="2014-06-06T20:00Z"),
    "wide_adjusted_closes": Excerpt("d.csv", "Date,AAPL,AMD\r\n1990-01-02,0.264,4.125\r\n1990-01-03,,4.0\r\n", 3, first="1990-01-02T21:00Z"),
    "vega_monthly": Excerpt("d.csv", "symbol,date,price\nMSFT,Jan 1 2000,39.81\nMSFT,Feb 1 2000,36.35\nIBM,Jan 1 2000,100\n", 3, first=100.0),
    "lean_hour": Excerpt("d.csv", f"symbol,time,{BARS}\nIBM,2020-01-02 09:00:00,{DAYS}\n", 1, first="2020-01-02T15:00Z"),
    "lean_minute": Excerpt("d.csv", f"symbol,time,{BARS}\nIBM,2013-10-04 06:59:00,{DAYS}\n", 1, first="2013-10-04T11:00Z"),
    "lean_second": Excerpt("d.csv", f"symbol,time,{BARS}\nIBM,2013-10-07 04:00:30,{DAYS}\n", 1, first="2013-10-07T08:00:31Z"),
    "lean_minute_quote": Excerpt("d.csv", f"symbol,time,{SIDES},bid_size,ask_size\nAIG,2013-10-04 04:00:00,{SIDE_ROW},100,200\n", 1, first="2013-10-04T08:01Z"),
    "minute_prices_wide": Excerpt("d.csv", "DT,STOCK,MARKET\n2001-08-06 09:30:00+00:00,96.05,246.02\n", 2, first="2001-08-06T13:30Z"),
    "lean_trade_ticks": Excerpt("d.csv", "symbol,time,price,quantity,exchange,sale_condition,suspicious\nIBM,2013-10-07 04:00:30.270,181.52,283,P,20002020,0\n", 1,
                                first="2013-10-07T08:00:30.270Z"),
    "lean_quote_ticks": Excerpt("d.csv", "symbol,time,bid_price,bid_size,ask_price,ask_size,exchange,quote_condition,suspicious\n"
                                "IBM,2013-10-07 04:00:00.054,0,0,183.63,100,Q,1,0\nIBM,2013-10-07 04:00:00.241,180,300,0,0,Q,1,0\n", 2,
                                first="2013-10-07T08:00:00.054Z"),
    "taq_trades": Excerpt("d.csv", "DT,EX,SYMBOL,COND,SIZE,PRICE,CORR\n2018-01-02 10:01:21.479+00:00,P,ABC,FTI,2,157.8,0\n", 1, first="2018-01-02T10:01:21.479Z"),
    "taq_quotes": Excerpt("d.csv", "DT,EX,BID,BIDSIZ,OFR,OFRSIZ,SYMBOL\n2018-01-02 09:04:13.125+00:00,P,0,0,158.85,1,ABC\n2018-01-02 09:04:14+00:00,P,0,0,0,0,ABC\n", 1, 1,
                          "2018-01-02T09:04:13.125Z"),
    "lean_fx_daily": Excerpt("d.csv", f"venue,symbol,time,{SIDES}\noanda,GBPUSD,2007-01-01,{SIDE_ROW}\n", 1, first="2007-01-02T00:00Z"),
    "lean_fx_hour": Excerpt("d.csv", f"venue,symbol,time,{SIDES}\noanda,NZDUSD,2014-05-02 12:00:00,{SIDE_ROW}\nfxcm,NZDUSD,2014-05-02 07:00:00,{SIDE_ROW}\n", 2,
                            first="2014-05-02T13:00Z"),
    "lean_fx_minute": Excerpt("d.csv", f"venue,symbol,time,{SIDES}\nfxcm,NZDUSD,2014-05-02 07:30:00,{SIDE_ROW}\n", 1, first="2014-05-02T12:31Z"),
    "lean_fx_ticks": Excerpt("d.csv", "venue,symbol,time,bid,ask\nfxcm,NZDUSD,2014-05-04 14:01:18.180,0.86,0.87\noanda,NZDUSD,2014-05-04 19:01:18.180,0.86,0.87\n", 2,
                             first="2014-05-04T19:01:18.180Z"),
    "fxcm_minute": Excerpt("d.csv", "symbol,timestamp,open_bid,high_bid,low_bid,close_bid,open_ask,high_ask,low_ask,close_ask\n"
                           f"GBPUSD,2012-02-01 00:00:00+00:00,{SIDE_ROW}\n", 1, first="2012-02-01T00:01Z"),
    "hourly_without_zone": Excerpt("d.csv", f",Open,High,Low,Close,Volume\n2017-04-19 09:00:00,{DAYS}\n", 1, first="2017-04-19T10:00Z"),
    "truefx_ticks": Excerpt("d.csv", "timestamp,bid,ask\n2013-01-01 22:00:00.295000+00:00,86.6,86.7\n", 1, first="2013-01-01T22:00:00.295Z"),
    "histdata_ticks": Excerpt("d.csv", "20200101 170000065,1.1212,1.1217,0\n", 1, first="2020-01-01T22:00:00.065Z"),
    "lean_crypto_daily": Excerpt("d.csv", f"symbol,time,{BARS}\nBTCUSD,2014-12-06,{DAYS}\n", 1, first="2014-12-07T00:00Z"),
    "lean_crypto_minute": Excerpt("d.csv", f"venue,symbol,time,{BARS}\ncoinbase,ETHUSD,2017-09-03 00:00:00,{DAYS}\n", 1, first="2017-09-03T00:01Z"),
    "lean_crypto_minute_quote": Excerpt("d.csv", f"venue,symbol,time,{SIDES}\ncoinbase,ETHUSD,2017-09-03 00:00:00,{SIDE_ROW}\n", 1, first="2017-09-03T00:01Z"),
    "freqtrade_1m": Excerpt("d.csv", f"symbol,date,{BARS}\nETH/BTC,2017-11-04 23:02:00+00:00,{DAYS}\n", 1, first="2017-11-04T23:03Z"),
    "freqtrade_5m": Excerpt("d.csv", f"symbol,date,{BARS}\nETH/BTC,2018-01-10 04:55:00+00:00,{DAYS}\n", 1, first="2018-01-10T05:00Z"),
    "freqtrade_mark_1h": Excerpt("d.csv", f"symbol,date,{BARS}\nXRP/USDT:USDT,2021-11-15 06:00:00+00:00,10,11,9,10,\n", 1, first="2021-11-15T07:00Z"),
    "freqtrade_funding": Excerpt("d.csv", f"symbol,date,{BARS}\nXRP/USDT:USDT,2021-11-18 00:00:00.017+00:00,0.0001,0,0,0,0\n", 1, first=0.0001),
    "ftx_minute": Excerpt("d.csv", f"timestamp,{BARS}\n2021-12-31 23:01:00.000000,{DAYS}\n", 1, first="2021-12-31T23:02Z"),
    "binance_klines": Excerpt("d.csv", "1637971200000,0.2,0.3,0.1,0.2,36304.2,1637971259999,1.03,79,19523.0,0.55,0\n", 1, first="2021-11-27T00:01Z"),
    "binance_trades": Excerpt("d.csv", "index,timestamp,trade_id,price,quantity,buyer_maker\n0,2021-01-08 00:00:00.278+00:00,553,39432.48,0.1,True\n", 1,
                              first="2021-01-08T00:00:00.278Z"),
    "binance_quotes": Excerpt("d.csv", "index,timestamp,symbol,ask_size,ask,bid_size,bid\n0,2021-01-08 00:00:01.076+00:00,BTC/USDT,0.06,39433,0.1,39432\n", 1,
                              first="2021-01-08T00:00:01.076Z"),
    "ccxt_trades": Excerpt("d.csv", ",timestamp,id,type,side,price,amount,cost,date\n0,1675329600138,1206,,buy,1666.8,26,43440,2023-02-02 09:20:00.138000+00:00\n", 1,
                           first="2023-02-02T09:20:00.138Z"),
    "depth_levels": Excerpt("d.csv", "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu\n"
                            "BTCUSDT,1667346579146,2098021528332,2098021528332,b,snap,20377.00,1.770,-1\n", 1, first="BTCUSDT"),
    "tardis_top_of_book": Excerpt("d.csv", "exchange,symbol,timestamp,local_timestamp,asks[0].price,asks[0].amount,bids[0].price,bids[0].amount\n"
                                  "binance-futures,BTCUSDT,1598918403696000,1598918403810979,11657.08,1.7,11657.07,10.8\n", 1, first="2020-09-01T00:00:03.696Z"),
    "tardis_book_5": Excerpt("d.csv", "exchange,symbol,timestamp,local_timestamp," + ",".join(
        f"asks[{i}].price,asks[{i}].amount,bids[{i}].price,bids[{i}].amount" for i in range(5)) + "\nbinance-futures,BTCUSDT,1598918403696000,1598918403810979"
        + ",101,1,100,2" * 5 + "\n", 1, first="binance-futures"),
    "tardis_trades": Excerpt("d.csv", "exchange,symbol,timestamp,local_timestamp,id,side,price,amount\nbitmex,XBTUSD,1583020803145000,1583020803307160,ab-1,sell,8531.5,2\n",
                             1, first="2020-03-01T00:00:03.145Z"),
    "kraken_trades": Excerpt("BCHEUR.csv", "1616662680,435.1,0.5\n1616662680.5,435.2,0.1\n", 2, first="2021-03-25T08:58Z"),
    "french_daily": Excerpt("f.csv", f"{FF}The rate is simple.\n\n,Mkt-RF,SMB\n19260701,    0.10,   -0.23\n19260702,    0.45,  -99.99\n\nCopyright\n", 2, first=0.001),
    "french_monthly": Excerpt("f.csv", f"{FF}\n,Mkt-RF,SMB\n192607,    2.96,   -2.38\n\n Annual Factors\n,Mkt-RF,SMB\n  1927,   29.47,   -2.83\n\nCopyright\n", 1,
                              first=0.0296),
    "french_annual": Excerpt("f.csv", f"{FF}\n,Mkt-RF,SMB\n192607,    2.96,   -2.38\n\n Annual Factors\n,Mkt-RF,SMB\n  1927,   29.47,   -2.83\n\nCopyright\n", 1,
                             first=0.2947, keys={"skiprows": 7}),
    "french_momentum_monthly": Excerpt("f.csv", "Prose\n" * 13 + ",Mom   \n192701,   0.36\n\nAnnual Factors:\n\n,Mom\n  1927,  23.84\n", 1, first=0.0036),
    "french_momentum_annual": Excerpt("f.csv", "Prose\n" * 13 + ",Mom   \n192701,   0.36\n\nAnnual Factors:\n\n,Mom\n  1927,  23.84\n\nCopyright\n", 1,
                                      first=0.2384, keys={"skiprows": 18}),
    "french_clean": Excerpt("f.csv", "Date,Mkt-RF,SMB,HML,RF\r\n192607,2.96,-2.3,-2.87,0.22\r\n", 1, first=0.0296),
    "sp500_index_daily": Excerpt("d.csv", f"{YAHOO}\r\n1/4/1999,10,11,9,10,10,877000000\r\n", 1, first="1999-01-04T21:00Z"),
    "index_levels": Excerpt("d.csv", "Date,SP500\r\n1990-01-02,359.69\r\n", 1, first=359.69),
    "daily_returns": Excerpt("d.csv", "date,return\n1993-02-01 00:00:00+00:00,0.007\n", 1, first=0.007),
    "shiller_monthly": Excerpt("d.csv", "Date,SP500,Dividend,PE10\n1871-01-01,4.44,0.26,0.0\n", 1, first=4.44),
    "vix_daily": Excerpt("d.csv", "DATE,OPEN,HIGH,LOW,CLOSE\n1990-01-02,17.24,17.24,17.24,17.24\n1992-02-11,30,17,16,16.5\n2004-06-11,17,17,17,17\n", 1, 2,
                         "1990-01-02T21:00Z"),
    "lean_index_minute": Excerpt("d.csv", f"market,symbol,time,{BARS}\neurex,SX5E,2024-07-29 09:02:00,{DAYS}\nose,N225,2021-01-14 09:00:00,{DAYS}\n", 2,
                                 first="2021-01-14T00:01Z"),
    "index_5m_local": Excerpt("SX5E.csv", f"Date,Time,Open,High,Low,Close,Volume,OpenInterest\n2006-01-02,09:05:00,{DAYS},0\n", 1, first="2006-01-02T08:05Z"),
    "index_daily_local": Excerpt("SX5E.csv", f"Date,Open,High,Low,Close,Volume,OpenInterest\n2005-01-03,{DAYS},0\n", 1, first="2005-01-03T16:30Z"),
    "treasury_yields": Excerpt("r.csv", "Time Period,1month,3month\n1990-01-02 00:00:00+00:00,,0.0783\n", 1, first=None),
    "oecd_rates_annual": Excerpt("r.csv", '"LOCATION","FREQUENCY","TIME","Value"\n"CHE","A","1974",10.5\n"CHE","Q","1974-Q1",10.8\n', 1, first=10.5),
    "oecd_rates_quarterly": Excerpt("r.csv", '"LOCATION","FREQUENCY","TIME","Value"\n"CHE","A","1974",10.5\n"CHE","Q","1974-Q1",10.8\n', 1, first=10.8),
    "oecd_rates_monthly": Excerpt("r.csv", '"LOCATION","FREQUENCY","TIME","Value"\n"IND","M","2020-05",6.37\n"CHE","Q","1974-Q1",10.8\n', 1, first=6.37),
    "policy_rate": Excerpt("r.csv", "DATE,PCREDIT8\n2003-01-09,2.25\n2003-06-26,2.00\n", 2, first=2.25),
    "lean_factor_files": Excerpt("f.csv", "symbol,date,price_factor,split_factor,reference_price\nAIG,19980102,0.6578214,7.11111022,1.0\n", 1, first="AIG"),
    "lean_map_files": Excerpt("f.csv", "map_file,date,ticker,exchange\nBAC,19980930,NB,N\nGOOAV,20140327,GOOAV,\n", 2, first="BAC"),
    "pystock_adjustments": Excerpt("f.csv", "symbol,ex_date,prev_date,prev_close,prev_adj_close,factor,collected\nKO,2015-03-24,2015-03-23,40,39.6,0.99,20150324\n", 1,
                                   first="KO"),
    "coarse_universe": Excerpt("f.csv", "date,security_id,ticker,close,volume,dollar_volume,has_fundamental,price_factor,split_factor\n"
                               "20140324,A RPTMYV3VC57P,A,55.26,1983802,109624898,True,0.66,1.0\n", 1),
    "etf_holdings": Excerpt("f.csv", "etf,file_date,ticker,security_id,holdings_date,weight,shares,market_value\nSPY,20201201,ZTS,ZTS V,20201130,0.0025,5115756.0,\n", 1,
                            first="SPY"),
    "sp500_members": Excerpt("f.csv", "ticker,start_date,end_date\nA,2000-06-05,\nAABA,1999-12-08,2017-06-19\n", 2, first="sp500"),
    "sp500_constituents": Excerpt("f.csv", 'Symbol,Security,GICS Sector,GICS Sub-Industry,Headquarters Location,Date added,CIK,Founded\nMMM,3M,Industrials,Conglomerates,'
                                  '"Saint Paul, Minnesota",1957-03-04,66740,1902\n', 1, first="MMM"),
    "stock_master": Excerpt("f.csv", "country,name,full_name,tag,isin,id,currency,symbol\nunited states,Boeing,Boeing Co,boeing-co,US0970231058,238,USD,BA\n"
                            "united states,Boeing,Boeing Co,boeing-co,US0970231058,239,USD,BA\n", 1, 1, "BA"),
    "lean_symbol_properties": Excerpt("f.csv", "market,symbol,type,description,quote_currency,contract_multiplier,minimum_price_variation,lot_size,market_ticker,"
                                      "minimum_order_size,price_magnifier,strike_multiplier\n\n# Futures\n#\n\neurex,FDAX,future,DAX Futures,EUR,25,1,1,,1,,\n", 1,
                                      first="FDAX.eurex.future"),
    "exchange_sessions": Excerpt("f.csv", ",open,close,break_start,break_end\n1990-01-02T00:00:00Z,1990-01-02T14:30:00Z,1990-01-02T21:00:00Z,,\n", 1, first="XNYS"),
}
