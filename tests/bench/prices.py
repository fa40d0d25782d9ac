"""Invented prices for the benchmarks of the data layer: cents, whole volumes, the same in every process. Needs numpy only."""

import numpy as np

MINUTE = 60_000_000_000


def daily(symbols: int = 500, days: int = 5_040) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Closes (ns UTC) of weekdays, names, and open/high/low/close/volume of shape (5, T, N)."""
    first = np.busday_offset("2000-01-03", np.arange(days)).astype("M8[ns]").astype(np.int64)
    return first + 21 * 60 * MINUTE, [f"S{i:03d}" for i in range(symbols)], draw(days, symbols, 0.02)


def minutes(symbols: int = 20, bars: int = 500_000) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Closes (ns UTC) of consecutive minutes, names, and open/high/low/close/volume of shape (5, T, N)."""
    start = np.datetime64("2010-01-01", "ns").astype(np.int64)
    return start + np.arange(1, bars + 1) * MINUTE, [f"M{i:02d}" for i in range(symbols)], draw(bars, symbols, 5e-4)


def draw(rows: int, symbols: int, volatility: float) -> np.ndarray:
    """Random walks around 50, rounded to cents, with a bar around each step; shape (5, T, N)."""
    rng = np.random.default_rng(rows + symbols)
    close = np.round(50 * np.exp(np.cumsum(rng.normal(0, volatility, (rows, symbols)), axis=0)), 2).clip(0.05)
    opened = np.round(close * (1 + rng.normal(0, volatility / 4, close.shape)), 2).clip(0.05)
    upper, lower = np.maximum(opened, close), np.minimum(opened, close)
    high = np.maximum(np.round(upper * (1 + abs(rng.normal(0, volatility / 4, close.shape))), 2), upper)
    low = np.minimum(np.round(lower * (1 - abs(rng.normal(0, volatility / 4, close.shape))), 2), lower).clip(0.01)
    return np.stack([opened, high, low, close, np.round(np.exp(rng.normal(13, 0.7, close.shape)))])
