"""Limits that are said in words: the same objects, the same run on every way in, and no limit that is mistyped and ignored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qtnb.api.cli import app
from qtnb.config.settings import load_settings, parse_model
from qtnb.core.errors import ConfigError
from qtnb.pipelines.runs import find_run
from qtnb.pipelines.tasks import BacktestConfig, LiveConfig, read_result, record_backtest, record_live, replay_run, run_backtest, summary_rows
from qtnb.risk.guard import Guard
from qtnb.risk.limit_names import LIMIT_NAMES, list_breaches, read_limits
from qtnb.risk.limits import Limit
from qtnb.risk.stops import PaceRule, StopRule

ASKED = {"symbols": ("IBM", "BAC"), "start": "2007-01-03", "end": "2009-12-31"}
LIMITS = {"max_weight": 0.3, "max_drawdown": 0.15}


def test_every_name_makes_a_rule_that_a_guard_takes() -> None:
    tables = {"groups": {"IBM": "tech", "BAC": "banks"}, "betas": {"IBM": 0.9, "BAC": 1.3}}
    for name in LIMIT_NAMES:
        more = {"groups": tables["groups"]} if name == "max_group" else {"betas": tables["betas"]} if name.endswith("_beta") else {}
        (rule,) = read_limits({name: 0.5, **more})
        assert isinstance(rule, (Limit, StopRule, PaceRule)) and Guard([rule]).rules
    every = read_limits({**dict.fromkeys(LIMIT_NAMES, 0.5), **tables})
    assert len(every) == len(LIMIT_NAMES) - 2  # a range is one rule


def test_limits_hold_in_a_back_test() -> None:
    free, held = (run_backtest(BacktestConfig(**ASKED, limits=limits)) for limits in ({}, {"max_weight": 0.3, "action": "reject"}))
    bought = held.orders[held.orders["filled_quantity"] > 0.0]
    assert held.manifest["result_id"] != free.manifest["result_id"] and len(bought) < len(free.orders)
    table = list_breaches(held)
    assert (table["action"] == "denied").sum() == (held.orders["status"] == "denied").sum() > 0 and list_breaches(free).empty
    assert dict(summary_rows(held))["breaches of limits"] == str(len(table)) and "breaches of limits" not in dict(summary_rows(free))
    assert "limits" not in free.manifest  # a request without limits is what it was


def test_a_drawdown_stops_the_run_and_is_told() -> None:
    table = list_breaches(run_backtest(BacktestConfig(**ASKED, limits={"max_drawdown": 0.1, "then": "flatten"})))
    (stop,) = table[table["action"] == "flatten"].itertuples()
    assert "drawdown" in stop.what and "above 0.1" in stop.what


def test_a_session_with_limits_is_the_back_test_and_replays(workspace: Path) -> None:
    config = LiveConfig(**ASKED, limits=LIMITS)
    result, run = record_live(config)
    twin = run_backtest(BacktestConfig(**ASKED, limits=LIMITS))
    assert result.differences(twin) == []
    assert list_breaches(result).equals(list_breaches(twin)) and len(list_breaches(result))
    again, report = replay_run(run.run_id)
    assert again.run_id == run.run_id and report.identical and report.commands > 0


def test_a_run_states_its_limits_and_keeps_its_breaches(workspace: Path) -> None:
    result, run = record_backtest(BacktestConfig(**ASKED, limits=LIMITS))
    kept = json.loads((run.folder / "manifest.json").read_text(encoding="utf-8"))
    assert kept["parameters"]["limits"] == LIMITS and "NameLimit(" in json.dumps(kept["assumptions"])
    assert list_breaches(read_result(find_run(run.run_id, settings=load_settings()))).equals(list_breaches(result))


@pytest.mark.parametrize(("limits", "words"), [
    ({"max_wieght": 0.1}, "Did you mean 'max_weight'"),
    ({"max_weight": "a tenth"}, "`max_weight` was 'a tenth'"),
    ({"max_drawdown": 1.5}, "limit `max_drawdown`"),
    ({"max_group": 0.3}, "needs the table `groups`"),
    ([0.1], "limits"),
])
def test_what_is_no_limit_is_refused_before_any_data_is_read(limits: object, words: str) -> None:
    for kind in (BacktestConfig, LiveConfig):
        with pytest.raises(ConfigError, match=words):
            parse_model(kind, {"limits": limits}, kind="parameter")


def test_the_command_line_takes_limits_and_a_file(workspace: Path) -> None:
    (workspace / "limits.yaml").write_text("symbols: [IBM, BAC]\nstart: '2007-01-03'\nend: '2009-12-31'\nlimits: {max_weight: 0.3, max_gross: 0.5}\n")
    done = CliRunner().invoke(app, ["backtest", "-f", str(workspace / "limits.yaml"), "--limit", "max_weight=0.2"])
    assert done.exit_code == 0, done.output
    assert "breaches of limits" in done.output and "weight of IBM" in done.output
    asked = find_run("latest", settings=load_settings()).manifest["parameters"]["limits"]
    assert asked == {"max_weight": 0.2, "max_gross": 0.5}  # an option wins over the file
