"Bundled sample: real daily bars of US tickers 1998-2021, raw, with their splits and dividends as events. See PROVENANCE.md."
