"""Alphalens-reloaded 0.5.1 on invented prices and a signal: `python make_alphalens.py` in an environment with it (and numpy, pandas)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import alphalens
import numpy as np
import pandas as pd
from alphalens.performance import factor_information_coefficient, factor_rank_autocorrelation, mean_return_by_quantile
from alphalens.utils import get_clean_factor_and_forward_returns

warnings.filterwarnings("ignore")
rng = np.random.default_rng(17)
days = pd.bdate_range("2020-01-01", periods=80, tz="UTC")
names = [f"N{i:02d}" for i in range(20)]
signal = pd.DataFrame(rng.normal(size=(80, 20)), days, names)
drift = 0.004 * signal.shift(1).fillna(0.0)
prices = 100.0 * (1.0 + drift + rng.normal(0.0, 0.01, (80, 20))).cumprod()
factor = signal.stack().rename_axis(["date", "asset"])
data = get_clean_factor_and_forward_returns(factor, prices, quantiles=5, periods=(1, 5), max_loss=0.5)
ic = factor_information_coefficient(data)
means, _ = mean_return_by_quantile(data, by_date=True, demeaned=True)
out = {"seed": 17, "version": alphalens.__version__}
for p in ("1D", "5D"):
    wide = means[p].unstack("factor_quantile")
    out[p] = {"rows": len(ic), "ic": [round(float(v), 12) for v in ic[p]], "quantiles": [round(float(v), 12) for v in wide.mean()]}
out["autocorrelation"] = [None if np.isnan(v) else round(float(v), 12) for v in factor_rank_autocorrelation(data, 1)]
(Path(__file__).parent / "data" / "alphalens.json").write_text(json.dumps(out, indent=0) + "\n")
