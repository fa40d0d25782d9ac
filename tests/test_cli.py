"""The command line: the same digits as Python, one clear message per mistake, and nothing changed by a mistake."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import run

from qtnb.api.cli import main, show_table
from qtnb.pipelines.runs import find_run, list_runs
from qtnb.pipelines.tasks import BacktestConfig, LiveConfig, run_backtest

QT = Path(sys.executable).with_name("qt")
EXAMPLE = "backtest --strategy sma_cross --symbols IBM --start 2000-01-03 --end 2020-12-31 --param fast=10 --param slow=30".split()
HEADER = "date,open,high,low,close,volume\n"
GOOD = HEADER + "2020-01-02,10,11,9,10.5,100\n2020-01-03,10.5,11,10,10.8,100\n"


def digest(folder: Path) -> dict[str, bytes]:
    "Every file below a folder."
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# -- results --------------------------------------------------------------------------------------------------------------


def test_the_example_prints_the_digits_of_python(workspace: Path, capsys) -> None:
    assert main(EXAMPLE) == 0 and main(EXAMPLE) == 0
    printed = re.findall(r"^final equity +(\S+)$", capsys.readouterr().out, re.MULTILINE)
    config = BacktestConfig(strategy="sma_cross", symbols=("IBM",), start="2000-01-03", end="2020-12-31", parameters={"fast": 10, "slow": 30})
    assert printed == [repr(float(run_backtest(config).equity.iloc[-1]))] * 2


def test_lake_and_sample_give_the_same_result(workspace: Path, capsys) -> None:
    assert main(EXAMPLE) == 0
    assert main(["fetch", "sample"]) == 0
    lake = digest(workspace / "data")
    assert main([*EXAMPLE, "--source", "lake"]) == 0
    runs = list_runs(job="backtest")
    assert runs[0].manifest["result_id"] == runs[1].manifest["result_id"]
    assert (runs[0].folder / "fills.parquet").read_bytes() == (runs[1].folder / "fills.parquet").read_bytes()
    assert main(["fetch", "sample"]) == 0 and "0 new" in capsys.readouterr().out
    assert {k: v for k, v in digest(workspace / "data").items() if k in lake} == lake


def test_a_yaml_file_fills_what_options_leave_out(workspace: Path, capsys) -> None:
    (workspace / "mine.yaml").write_text("job: backtest\nsymbols: [BAC]\nparameters: {fast: 5, slow: 20}\nstart: 2010-01-04\n")
    assert main(["backtest", "-f", "mine.yaml", "--symbols", "IBM", "--param", "fast=6"]) == 0
    asked = find_run().manifest["parameters"]
    assert asked["symbols"] == ["IBM"] and asked["parameters"] == {"fast": 6, "slow": 20} and asked["start"] == "2010-01-04"


def test_a_session_and_its_replay(workspace: Path, capsys) -> None:
    assert main(["live", "--symbols", "IBM", "--start", "2019-06-03"]) == 0
    assert main(["replay"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"commands identical +yes", out) and re.search(r"result identical +yes", out)
    config = LiveConfig(symbols=("IBM",), start="2019-06-03")
    twin = BacktestConfig(**config.model_dump(include=set(BacktestConfig.model_fields)))
    assert f"{float(run_backtest(twin).equity.iloc[-1])!r}" in out


def test_a_journal_that_was_touched_is_noticed(workspace: Path, capsys) -> None:
    import sqlite3

    assert main(["live", "--symbols", "IBM", "--start", "2020-06-01"]) == 0
    with contextlib.closing(sqlite3.connect(find_run().journal)) as database:
        database.execute("DROP TRIGGER journal_keeps")
        database.execute("UPDATE journal SET payload = replace(payload, '1', '2') WHERE seq = (SELECT max(seq) FROM journal WHERE kind = 'command')")
        database.commit()
    assert main(["replay"]) == 2
    assert "not as it was written" in capsys.readouterr().err


def test_raw_prices_come_with_their_events(workspace: Path, capsys) -> None:
    asked = ["--symbols", "AIG", "--start", "2009-05-01", "--end", "2009-12-31", "--adjust", "none", "--param", "fast=2", "--param", "slow=5"]
    assert main(["backtest", *asked]) == 0 and main(["live", *asked]) == 0 and main(["replay"]) == 0
    out = capsys.readouterr().out
    assert len(set(re.findall(r"^final equity +(\S+)$", out, re.MULTILINE))) == 1
    assert "split" in str(find_run(job="backtest").manifest["assumptions"]["events"])


def test_a_session_that_was_cut_short_says_so(workspace: Path, capsys) -> None:
    assert main(["live", "--symbols", "IBM", "--max-bars", "50"]) == 0
    assert "ended after 50 of 505 instants" in capsys.readouterr().err


def test_runs_are_listed_and_shown(workspace: Path, capsys) -> None:
    assert main(["backtest", "--start", "2019-01-02"]) == 0
    run_id = find_run().run_id
    assert main(["runs", "list"]) == 0 and main(["runs", "show", run_id[:20]]) == 0 and main(["runs", "show"]) == 0
    out = capsys.readouterr().out
    assert out.count(run_id) > 4 and "completed" in out and "fills.parquet" in out


@pytest.mark.slow
def test_job_runs_from_the_command_line(workspace: Path, capsys) -> None:
    assert main(["job", "run", "backtest", "-q", "-p", "parameters.fast=10", "-p", "parameters.slow=30", "-p", "symbols=IBM"]) == 0
    assert main(["job", "run", "tearsheet", "-q"]) == 0
    assert main(EXAMPLE) == 0
    out = capsys.readouterr().out
    assert len(set(re.findall(r"^final equity +(\S+)$", out, re.MULTILINE))) == 1
    page = re.findall(r"^tearsheet +(\S+)$", out, re.MULTILINE)[-1]
    assert (workspace / page).is_file()


def test_output_into_a_pipe_is_plain(workspace: Path) -> None:
    answer = run(QT, "backtest", "--start", "2019-01-02", cwd=workspace)
    assert answer.returncode == 0 and "\x1b" not in answer.stdout and not re.search("[─-╿]", answer.stdout)
    assert answer.stdout.splitlines()[0].split() == ["measure", "value"]


def test_tables_on_a_terminal_keep_brackets(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    show_table(["name", "value"], [["a", "[bold]x"], ["b", "1"]])
    assert "[bold]x" in capsys.readouterr().out


def test_help_of_every_command(capsys) -> None:
    commands = ["backtest", "live", "replay", "fetch", "fetch sample", "fetch filesystem", "job", "job run", "job list", "job show", "runs list", "runs show",
                "config show", "init", "version", "fetch from", "plugins list", "plugins check", "new strategy"]
    for command in commands:
        assert main([*command.split(), "--help"]) == 0, command
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().splitlines()[-1].startswith("qtnb ")


def test_the_defaults_of_a_job_are_shown_with_their_meanings(workspace: Path, capsys) -> None:
    assert main(["job", "show", "backtest"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^cash +1000000.0 +cash at the start", out, re.MULTILINE)
    assert all(re.search(rf"^{name} +", out, re.MULTILINE) for name in BacktestConfig.model_fields)


def test_a_new_workspace_runs_at_once(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("QTNB_WORKSPACE", raising=False)
    assert main(["init", "desk"]) == 0
    monkeypatch.chdir(tmp_path / "desk")
    assert main(["backtest", "-f", "configs/backtest.yaml"]) == 0
    assert (tmp_path / "desk" / "artifacts" / "runs").is_dir()
    assert main(["init", "."]) == 2
    assert "not empty" in capsys.readouterr().err


# -- tearsheets -----------------------------------------------------------------------------------------------------------


def test_a_tearsheet_of_the_latest_run_and_of_a_file(workspace: Path, capsys) -> None:
    """Written beside the run or the file, or where `--out` says; the page is about the numbers that were kept."""
    assert main(EXAMPLE) == 0 and main(["tearsheet", "--sections", "headline,manifest", "--trials", "12"]) == 0
    page = Path(re.findall(r"^tearsheet +(\S+)$", capsys.readouterr().out, re.MULTILINE)[-1])
    html, run_of = (workspace / page).read_text(encoding="utf-8"), find_run()
    assert (workspace / page).parent == run_of.folder and run_of.run_id in html and "skill after 12 variants" in html
    assert 'id="headline"' in html and 'id="months"' not in html

    (workspace / "fund.csv").write_text("date,fund\n" + "".join(f"2021-{1 + k // 28:02d}-{1 + k % 28:02d},{0.01 * (-1) ** k + 0.001}\n" for k in range(56)))
    assert main(["tearsheet", "fund.csv", "--out", "made/report.html", "--title", "A fund", "--benchmark", "IBM"]) == 0
    assert "A fund" in (workspace / "made" / "report.html").read_text(encoding="utf-8")
    assert main(["tearsheet", "fund.csv"]) == 0 and (workspace / "fund.html").is_file()


@pytest.mark.parametrize(("arguments", "said"), [
    (["nothing.csv"], "file 'nothing.csv' does not exist"), (["2019"], "2019"), (["fund.csv", "--sections", "stres"], "Did you mean 'stress'"),
    (["fund.csv", "--kind", "prices"], "kind"), (["fund.csv", "--trials", "0"], "trials"),
    (["fund.csv", "--benchmark", "index.csv"], "'index.csv' does not exist"),
])
def test_a_wrong_tearsheet_is_refused_in_one_line(workspace: Path, capsys, arguments: list[str], said: str) -> None:
    """What was wrong is named, and no page is left."""
    (workspace / "fund.csv").write_text("date,fund\n2021-01-04,0.01\n2021-01-05,-0.01\n2021-01-06,0.02\n")
    assert main(["tearsheet", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error and not list(workspace.rglob("*.html"))


# -- mistakes -------------------------------------------------------------------------------------------------------------

MISTAKES = [
    ("backtest --symbols IBN", "Did you mean 'IBM'"),
    ("backtest --strategy sma_corss", "Did you mean 'sma_cross'"),
    ("backtest --param fats=3", "Did you mean 'fast'"),
    ("backtest --param fast=thirty", "'thirty'"),
    ("backtest --param fast=30 --param slow=10", "fast must be smaller than slow"),
    ("backtest --param fast", "name=value"),
    ("backtest --param fast=1 --param fast=2", "twice"),
    ("backtest --interval 1day", "Did you mean '1d'"),
    ("backtest --interval 1m", "1m"),
    ("backtest --adjust al", "`adjust` was 'al'"),
    ("backtest --calendar XNYZ", "XNYZ"),
    ("backtest --start 2020-12-31 --end 2000-01-03", "run forward"),
    ("backtest --start 1900-01-01 --end 1910-12-31", "outside the data"),
    ("backtest --start 2020-01-02T09:30:00", "without a zone"),
    ("backtest --start yesterday-ish", "cannot be read"),
    ("backtest --cash nan", "finite"),
    ("backtest --cash -1", "greater than 0"),
    ("backtest --fee-bps inf", "finite"),
    ("backtest --seed -1", "`seed` was '-1'"),
    ("backtest --symbols IBM,IBM", "named once"),
    ("backtest --symbols ,", "`symbols`"),
    ("backtest --source lake", "qt fetch sample"),
    ("backtest --source attic", "`source` was 'attic'"),
    ("backtest -f nowhere.yaml", "nowhere.yaml"),
    ("backtest --cash much", "much"),
    ("backtset", "backtset"),
    ("live --max-bars 0", "`max_bars` was '0'"),
    ("live --pace fast", "`pace` was 'fast'"),
    ("replay", "no live run was found"),
    ("job run bakctest", "Did you mean 'backtest'"),
    ("job run ../backtest", "no path"),
    ("job run backtest -p cahs=5", "Did you mean 'cash'"),
    ("runs show 1999", "1999"),
    ("runs show", "no run was found"),
    ("fetch filesystem nowhere.csv", "nowhere.csv"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[m[0].replace(" ", "_") for m in MISTAKES])
def test_a_mistake_is_one_message_and_exit_code_2(workspace: Path, capsys, words: str, message: str) -> None:
    before = digest(workspace)
    assert main(words.split()) == 2
    shown = capsys.readouterr()
    assert message in shown.err and "Traceback" not in shown.err and shown.out == ""
    assert shown.err.lower().count("error:") <= 1
    assert digest(workspace) == before


FILES = {
    "nan": (HEADER + "2020-01-02,10,11,9,,100\n", "close"),
    "negative": (HEADER + "2020-01-02,10,11,-9,10,100\n", "low"),
    "high_below_low": (HEADER + "2020-01-02,10,8,9,10,100\n", "high"),
    "duplicated": (GOOD + "2020-01-03,10.5,11,10,10.8,100\n", "2020-01-03"),
    "unsorted": (HEADER + "2020-01-03,10,11,9,10,1\n2020-01-02,10,11,9,10,1\n", "sort"),
    "empty": ("", "empty"),
    "not_what_it_says": ("PAR1\x00\x01", "IBM.csv"),
    "missing_column": ("date,open,high,low,volume\n2020-01-02,10,11,9,100\n", "close"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_bad_file_leaves_the_lake_as_it_was(workspace: Path, capsys, case: str) -> None:
    content, message = FILES[case]
    (workspace / "mapping.yaml").write_text("calendar: XNYS\n")
    (workspace / "good").mkdir()
    (workspace / "good" / "IBM.csv").write_text(GOOD)
    assert main(["fetch", "filesystem", "good", "--mapping", "mapping.yaml"]) == 0
    before = digest(workspace / "data")
    (workspace / "bad").mkdir()
    (workspace / "bad" / "BAC.csv").write_text(GOOD)
    (workspace / "bad" / "IBM.csv").write_text(content)
    capsys.readouterr()
    assert main(["fetch", "filesystem", "bad", "--mapping", "mapping.yaml"]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and "Traceback" not in shown.err
    assert digest(workspace / "data") == before


def test_plain_dates_are_read_by_the_calendar_of_the_workspace(workspace: Path, capsys) -> None:
    """No mapping is needed for files of plain dates; a mapping that names a calendar wins."""
    (workspace / "prices").mkdir()
    (workspace / "prices" / "IBM.csv").write_text(GOOD)
    assert main(["fetch", "filesystem", "prices"]) == 0
    assert "2020-01-02T21:00:00Z" in capsys.readouterr().out  # the close in New York
    (workspace / "london.yaml").write_text("calendar: XLON\n")
    assert main(["fetch", "filesystem", "prices", "--mapping", "london.yaml"]) == 0
    assert "2020-01-02T16:30:00Z" in capsys.readouterr().out


def test_a_file_in_place_of_the_artifacts_folder(workspace: Path, capsys) -> None:
    (workspace / "artifacts").write_text("in the way")
    assert main(["backtest", "--start", "2019-01-02"]) == 2
    assert "artifacts folder" in capsys.readouterr().err and (workspace / "artifacts").read_text() == "in the way"


def test_a_full_disk_leaves_earlier_runs_as_they_were(workspace: Path) -> None:
    assert main(["backtest", "--start", "2019-01-02"]) == 0
    first = find_run().folder
    before = digest(first)

    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    command = [str(QT), *EXAMPLE]
    answer = subprocess.run(command, cwd=workspace, capture_output=True, text=True, timeout=120, preexec_fn=little_room, check=False)
    assert answer.returncode == 2, answer.stderr
    assert "could not be written" in answer.stderr and "Traceback" not in answer.stderr
    assert digest(first) == before and find_run().status == "failed"
    assert [p.name for p in find_run().folder.iterdir()] == ["manifest.json"]


def test_a_fault_of_the_program_points_to_its_traceback(workspace: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("QTNB_ALPACA_SECRET_KEY", "canary-in-a-fault")

    def broken(*arguments, **options):
        raise RuntimeError("nobody expected canary-in-a-fault")

    monkeypatch.setattr("qtnb.pipelines.tasks.load_bars", broken)
    assert main(["backtest"]) == 1
    shown = capsys.readouterr()
    log = (workspace / "logs" / "qtnb.log").read_text()
    assert "RuntimeError" in shown.err and "qtnb.log" in shown.err and "Traceback" not in shown.err and "Traceback" in log
    assert "canary" not in shown.err + log
    assert main(["--debug", "backtest"]) == 1
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.delenv("QTNB_DEBUG", raising=False)


def test_an_interrupt_ends_with_130_and_closes_the_run(workspace: Path, monkeypatch) -> None:
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("qtnb.backtest.engine.Backtest.run", interrupted)
    assert main(["backtest", "--start", "2019-01-02"]) == 130
    assert find_run().status == "failed" and find_run().manifest["error"]["ename"] == "KeyboardInterrupt"


def test_a_paced_session_stops_cleanly_on_ctrl_c(workspace: Path) -> None:
    command = [str(QT), "live", "--symbols", "IBM", "--start", "2020-01-02", "--pace", "0.01", "--max-seconds", "60"]
    with subprocess.Popen(command, cwd=workspace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(workspace.glob("artifacts/runs/*/journal.sqlite-wal")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert find_run().status == "completed" and find_run().manifest["stopped"] == "SIGINT" and "final equity" in out


def test_the_environment_is_left_alone(workspace: Path) -> None:
    before = dict(os.environ)
    assert main(["config", "show"]) == 0
    assert dict(os.environ) == before
