"""Sections of a tearsheet by name, series and files instead of runs, several runs side by side, and what is said about luck."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_tearsheet import HOSTILE, LIMIT, Page, prices_of, sample_run

from qtnb.core.errors import ConfigError, DataError, UnknownNameError
from qtnb.evaluation.crises import CRISES, crisis_table, worst_windows
from qtnb.evaluation.deflation import deflated_sharpe_ratio, sharpe_deviation
from qtnb.evaluation.factors import fit_factors
from qtnb.evaluation.page import TOKENS
from qtnb.evaluation.performance import excess_kurtosis, skewness
from qtnb.evaluation.report import report
from qtnb.evaluation.results import result_from_equity, tearsheet
from qtnb.evaluation.sheet import ORDER, SECTIONS
from qtnb.evaluation.side_by_side import compare_tearsheet


def ids(html: str) -> list[str]:
    """Names of the sections of a page, in order."""
    return re.findall(r'<section id="([a-z]+)"', html)


def daily(values: np.ndarray, start: str = "2015-01-01") -> pd.Series:
    """Values on days of the calendar, without a zone."""
    return pd.Series(values, index=pd.date_range(start, periods=len(values), freq="B"))


@pytest.mark.parametrize("name", ORDER)
def test_each_section_stands_alone(name: str) -> None:
    """Every section makes a page of its own, for a full run, an idle one and one of a single day."""
    run = sample_run(400)
    for shown in (run, sample_run(60, trades=False), sample_run(1, trades=False), result_from_equity(run.equity), result_from_equity(run.equity * 0 + 1.0)):
        html = tearsheet(shown, sections=[name], trials=3)
        assert ids(html) == [name] and Page(html).open == [] and not re.search(r"\b(nan|NaT|inf)\b", Page(html).words)


def test_sections_in_the_order_of_the_caller() -> None:
    """Names as a list or as text, and a function; a mistyped one offers its neighbours."""
    run = sample_run(300)
    assert ids(tearsheet(run, sections=["stress", "headline"])) == ids(tearsheet(run, sections="stress, headline")) == ["stress", "headline"]
    assert ids(tearsheet(run)) == [n for n in ORDER]
    with pytest.raises(UnknownNameError, match="'headline'"):
        tearsheet(run, sections=["headlin"])
    with pytest.raises(ConfigError, match="was empty"):
        tearsheet(run, sections=[])
    assert set(SECTIONS.names()) == set(ORDER)


def test_returns_alone(tmp_path: Path) -> None:
    """A series and a file of the same returns give the same figures, and nothing is said about orders that nobody knows."""
    returns = daily(np.random.default_rng(3).normal(0.0005, 0.01, 600)).rename("fund")
    html = tearsheet(returns)
    returns.to_csv(tmp_path / "fund.csv")
    again = tearsheet(tmp_path / "fund.csv")
    assert Page(html).words == Page(again).words and "trades" not in ids(html) and "did not trade" not in html
    total = float((1 + returns).prod() - 1)
    assert f"{total:.2%}".replace("-", "\u2212") in Page(html).words
    assert "Only the returns of this run are known" in tearsheet(returns, sections=["trades"])


def test_numbers_are_never_guessed() -> None:
    """Prices passed as returns are compounded as returns, with a remark; said to be equity, they are equity."""
    prices = daily(100.0 * np.cumprod(1.0 + np.random.default_rng(5).normal(0, 0.01, 100)))
    assert "pass kind=&#39;equity&#39;" in tearsheet(prices, sections=["manifest"])
    good = daily(np.array([1.5, 0.0, 0.1]))  # all at or above zero, one above one: returns all the same
    assert "175.00%" in Page(tearsheet(good)).words
    with pytest.raises(UnknownNameError, match="equity, returns"):
        tearsheet(prices, kind="price")  # type: ignore[arg-type]


@pytest.mark.parametrize(("values", "said"), [
    (pd.Series([0.1]), "indexed by time"), (daily(np.array([])), "no number"), (daily(np.array([np.nan, np.nan])), "no number"),
    (daily(np.array([0.1, np.inf])), "finite"), (pd.concat([daily(np.array([0.1])), daily(np.array([0.1]))]), "twice"),
    (daily(np.array([0.1, 0.2])).astype(object).replace(0.2, "=cmd()"), "numbers are needed")])
def test_bad_series(values: pd.Series, said: str) -> None:
    """Empty, without a number, infinite, doubled, no numbers at all."""
    with pytest.raises(DataError, match=said):
        tearsheet(values)


def test_the_price_of_trials() -> None:
    """The probability on the page is the deflated Sharpe ratio of Bailey and Lopez de Prado, from the argument or from the manifest."""
    run = sample_run(800, seed=4)
    returns = run.equity.pct_change().dropna().to_numpy()
    ratio, n = returns.mean() / returns.std(ddof=1), len(returns)
    shape = {"skewness": skewness(returns), "excess_kurtosis": excess_kurtosis(returns)}
    wanted = deflated_sharpe_ratio(ratio, n, trials=25, variance=sharpe_deviation(0.0, n) ** 2, **shape)
    assert f"{wanted:.1%}" in Page(tearsheet(run, sections=["headline"], trials=25)).words
    told = result_from_equity(run.equity, manifest={"trials": 25})
    assert f"{wanted:.1%}" in Page(tearsheet(told, sections=["headline"])).words and "not stated" in tearsheet(run, sections=["headline"])
    spread = deflated_sharpe_ratio(ratio, n, trials=25, variance=0.002, **shape)
    assert f"{spread:.1%}" in Page(tearsheet(run, sections=["headline"], trials=25, trial_variance=0.002)).words
    with pytest.raises(ConfigError, match="at least 1 trial"):
        tearsheet(run, trials=0.5)


def test_crises_are_real_days() -> None:
    """Windows run forward; a record covers a window wholly or not at all; the return is the ratio of two values of the record."""
    days = pd.date_range("2019-12-31T21:00", "2020-12-31T21:00", freq="B", tz="UTC")
    equity = pd.Series(np.linspace(100.0, 200.0, len(days)), index=days)
    table = crisis_table(equity)
    assert table.index.tolist() == ["Pandemic 2020"] and all(a < b for a, b in CRISES.values())
    ends = equity[pd.Timestamp("2020-03-23T21:00", tz="UTC")] / equity[pd.Timestamp("2020-02-19T21:00", tz="UTC")] - 1
    assert math.isclose(table.loc["Pandemic 2020", "return"], ends) and table["benchmark"].isna().all()
    assert len(crisis_table(equity["2020-03-01":])) == 0


@pytest.mark.parametrize("seed", range(5))
def test_worst_stretches_against_a_search(seed: int) -> None:
    """The worst stretch of each length is the lowest of all, and no two of a length overlap."""
    equity = sample_run(300, trades=False, seed=seed).equity
    for length in (1, 5, 21):
        found = worst_windows(equity, lengths=(length,), top=3)
        assert math.isclose(found["return"].iloc[0], equity.pct_change(length).min())
        spans = sorted(zip(found["start"], found["end"], strict=True))
        assert all(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def test_benchmarks() -> None:
    """One that is given as returns is refused; one that starts late is compared from there; one in another zone is the same."""
    run = sample_run(300)
    level = prices_of(run)["AAA"]
    with pytest.raises(DataError, match="equity_from_returns"):
        tearsheet(run, benchmark=level.pct_change().dropna())
    assert "AAA, same volatility" in tearsheet(run, benchmark=level[100:], sections=["growth"])
    there = level.tz_convert("America/New_York")
    assert tearsheet(run, benchmark=there) == tearsheet(run, benchmark=level)


def contrast(one: str, other: str) -> float:
    """Contrast of two colours after WCAG 2."""
    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        return sum(w * (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4) for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_told_apart() -> None:
    """Text reaches 4.5 to 1, and lines and bars 3 to 1, on both papers (WCAG AA)."""
    from qtnb.evaluation.display import PALETTE, SERIES

    for theme in TOKENS.values():
        assert all(contrast(theme[text], theme[ground]) >= 4.5 for text in ("ink", "muted", "accent", "bad") for ground in ("paper", "card"))
        assert [c for c in {*PALETTE.values(), *SERIES} if contrast(c, theme["paper"]) < 3.0] == []


def test_every_chart_says_what_it_shows() -> None:
    """Charts have a role, a title and a sentence; tables have heads."""
    html = str(sample_run(800).tearsheet(benchmark=prices_of(sample_run(800))["AAA"], live_start="2020-01-02"))
    labels = re.findall(r'role="img" aria-label="([^"]*)"', html)
    assert len(labels) == html.count('class="qtnb-figure') and all(len(text.split(". ", 1)[-1]) > 15 for text in labels), labels
    assert html.count('scope="row"') > 100 and html.count('scope="col"') > 30


@pytest.mark.parametrize("count", [2, 3, 20, 60])
def test_runs_side_by_side(count: int) -> None:
    """Two have a difference, up to twenty a column each, more a row each; names stay text."""
    runs = {f"{HOSTILE} {i}": sample_run(300, trades=False, seed=i) for i in range(count)}
    html = str(compare_tearsheet(runs))
    page = Page(html)
    assert page.open == [] and "img" not in page.tags and len(html.encode()) < LIMIT and html == compare_tearsheet(runs)
    assert ("Difference" in page.words) == (count == 2) and (f"{count} runs by Sharpe ratio" in page.words) == (count > 20)


def test_what_cannot_be_compared() -> None:
    """One run, no common time, a run of two rows."""
    run = sample_run(300, trades=False)
    for runs, said in (([run], "at least two"), ([run.equity[:50], run.equity[100:]], "too little time"), ([run, run.equity[:2]], "at least three")):
        with pytest.raises(DataError, match=said):
            compare_tearsheet(runs, kind="equity")


def test_a_report_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures, cards and tables as one fragment, without a script of a name."""
    monkeypatch.delenv("IN_TEST", raising=False)
    run = sample_run(300, name=HOSTILE)
    bundle = report(run)._repr_mimebundle_()
    page = Page(bundle["text/html"])
    assert page.open == [] and "img" not in page.tags and bundle["text/plain"].startswith("<report of")
    assert '<svg viewBox="' in run._repr_html_() and len(run._repr_html_()) < 15_000


def test_factors_explain_excess_returns_and_the_rate_is_no_factor() -> None:
    """The table is the regression of the returns less the rate, alpha by the year; without a rate among the factors the run's own is taken."""
    rng = np.random.default_rng(5)
    stamps = pd.date_range("2015-01-01", periods=800, freq="B", tz="UTC")
    factors = pd.DataFrame({"MKT": rng.normal(0.0004, 0.01, 800), "<b>HML": rng.normal(0, 0.005, 800), "RF": np.full(800, 0.0002)}, index=stamps)
    own = pd.Series(0.0003 + 0.0002 + 0.8 * factors["MKT"] + rng.normal(0, 0.002, 800), index=stamps, name="fund")
    html = tearsheet(own, sections=["attribution"], factors=factors)
    words = Page(html).words
    fit = fit_factors(own, factors[["MKT", "<b>HML"]], risk_free=factors["RF"], periods_per_year=252)
    alpha = fit.coefficients["alpha"] * 252
    assert f"Alpha a year {alpha:.2%}" in words.replace("\u2212", "-") and abs(alpha - 0.0003 * 252) < 0.02
    assert f"MKT {fit.coefficients['MKT']:.2f}" in words and "<b>HML" in words and "<b>HML" not in html
    assert not re.search(r"\bRF\b", words)
    bare = Page(tearsheet(own, sections=["attribution"], factors=factors[["MKT"]])).words
    total = fit_factors(own, factors[["MKT"]], periods_per_year=252).coefficients["alpha"] * 252
    assert f"Alpha a year {total:.2%}" in bare.replace("\u2212", "-") and total > alpha + 0.03


def test_sectors_sum_to_the_whole() -> None:
    """The split by sector ends with the total of the split by symbol; a symbol without a sector is not lost."""
    run = sample_run(300)
    html = tearsheet(run, sections=["attribution"], sectors={str(run.positions.columns[0]): "Energy"})
    words = Page(html).words
    assert "By sector" in words and "Energy" in words
