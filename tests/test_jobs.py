"""Jobs: checked before a kernel starts, believed only with a sentinel, and honest about how they failed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from qtnb.backtest.sweep_report import Sweep
from qtnb.config.settings import load_settings, read_yaml
from qtnb.core.errors import ConfigError, JobError, ParameterError, StorageError, UnknownNameError
from qtnb.data.loader import get_coverage
from qtnb.evaluation.results import Result
from qtnb.pipelines.jobs import CONFIGS, find_job, list_jobs, read_parameters, run_job
from qtnb.pipelines.runs import find_run, list_runs
from qtnb.pipelines.sweeping import SweepConfig, make_search, run_sweep
from qtnb.pipelines.tasks import BacktestConfig, LiveConfig, read_result, replay_run, run_backtest

REPORT = "from qtnb.pipelines.runs import open_run, report_outcome\n_ = report_outcome(open_run('own', {}), answer=42)"


def write_job(workspace: Path, *cells: str, name: str = "own", parameters: str = "n = 1", tags: tuple[str, ...] = ("parameters",)) -> Path:
    "A job notebook of the workspace's own."
    folder = workspace / "jobs"
    folder.mkdir(exist_ok=True)
    first = new_code_cell(parameters, metadata={"tags": list(tags)})
    path = folder / f"{name}.ipynb"
    nbformat.write(new_notebook(cells=[first, *(new_code_cell(c) for c in cells)]), path)
    return path


def outputs(notebook: Path) -> str:
    "Everything that an executed notebook shows."
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return json.dumps([c.get("outputs", []) for c in cells])


# -- the bundled jobs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["backtest", "fetch", "live", "quality"])
def test_the_parameters_of_a_job_are_those_of_its_request(name: str) -> None:
    defaults, fields = read_parameters(find_job(name).path), CONFIGS[name].model_fields
    assert set(defaults) == set(fields)
    assert CONFIGS[name](**defaults) == CONFIGS[name]()


def test_bundled_jobs_define_nothing() -> None:
    for job in list_jobs():
        cells = json.loads(job.path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
        assert "def " not in code and "class " not in code, f"{job.name} defines something; jobs call the library"


@pytest.mark.slow
def test_backtest_job_gives_the_same_bits_as_python(workspace: Path) -> None:
    run = run_job("backtest", {"symbols": ["IBM"], "parameters": {"fast": 10, "slow": 30}}, progress=False)
    config = BacktestConfig(symbols=("IBM",), parameters={"fast": 10, "slow": 30})
    assert run.status == "completed" and read_result(run).differences(run_backtest(config)) == []
    assert run.manifest["summary"]["final equity"] == repr(float(run_backtest(config).equity.iloc[-1]))
    assert Result.load(run.folder).manifest["run_id"] == run.run_id
    for entry in ("result_id", "data_fingerprint", "versions", "started", "finished", "seed"):
        assert run.manifest[entry] is not None, entry
    assert not list(run.folder.glob("*partial*"))


@pytest.mark.slow
def test_live_job_leaves_a_journal_that_replays(workspace: Path) -> None:
    run = run_job("live", {"symbols": ["IBM"], "start": "2019-06-03", "end": "2019-12-31"}, progress=False)
    again, report = replay_run(run.run_id)
    assert again.run_id == run.run_id and report.identical and report.commands > 0
    twin = BacktestConfig(**LiveConfig(symbols=("IBM",), start="2019-06-03", end="2019-12-31").model_dump(include=set(BacktestConfig.model_fields)))
    assert read_result(run).differences(run_backtest(twin)) == []


def test_the_parameters_of_the_sweep_are_those_of_its_request() -> None:
    """A request names its axes; those of the job are two, and everything else is the default."""
    defaults = read_parameters(find_job("sweep").path)
    assert set(defaults) == set(SweepConfig.model_fields)
    assert SweepConfig(**defaults) == SweepConfig(axes=defaults["axes"]) and set(defaults["axes"]) == {"fast", "slow"}


def test_the_example_of_a_sweep_is_a_request_for_a_hundred_trials() -> None:
    request = SweepConfig(**read_yaml(Path(__file__).parents[1] / "configs" / "sweep.yaml"))
    request.check()
    assert len(make_search(request)) == 100 and request.train == 1260


@pytest.mark.slow
def test_sweep_job_leads_with_the_deflation_and_goes_on(workspace: Path) -> None:
    """The first output after the request is the summary; the same request again makes no trial anew."""
    asked = {"axes": {"fast": "5,10", "slow": "40:80:20"}, "train": 1000, "test": 500, "executor": "threads", "start": "2010-01-04"}
    run = run_job("sweep", asked, progress=False)
    config = SweepConfig(**{**read_parameters(find_job("sweep").path), **asked})
    assert run.status == "completed" and run.manifest["summary"]["Trials"] == "6" and "deflated Sharpe ratio" in run.manifest["summary"]["verdict"]
    shown = [o for c in json.loads(run.notebook.read_text(encoding="utf-8"))["cells"] for o in c.get("outputs", []) if o["output_type"] != "stream"]
    assert "deflated Sharpe ratio" in "".join(shown[0]["data"]["text/plain"])
    kept = Sweep.load(run.manifest["folder"])
    before = (kept.folder / "trials.parquet").stat().st_mtime_ns
    assert run_sweep(config).table.equals(kept.table) and (kept.folder / "trials.parquet").stat().st_mtime_ns == before


@pytest.mark.slow
def test_tearsheet_job_reports_on_the_latest_run_and_needs_none(workspace: Path) -> None:
    run = run_job("tearsheet", progress=False)
    about = find_run(run.manifest["about"])
    assert about.job == "backtest" and run.tearsheet.is_file() and run.manifest["summary"]["about"] == about.run_id
    assert "<script src=" not in run.tearsheet.read_text(encoding="utf-8")


@pytest.mark.slow
def test_tearsheet_job_reports_on_a_file_of_returns(workspace: Path) -> None:
    """A file, a benchmark that is a symbol, chosen sections; the executed notebook shows the essentials itself."""
    file = workspace / "fund.csv"
    lines = [f"{day:%Y-%m-%d},{0.001 * (-1) ** i + 0.0004}" for i, day in enumerate(pd.date_range("2016-01-04", periods=300, freq="B"))]
    file.write_text("date,fund\n" + "\n".join(lines) + "\n")
    run = run_job("tearsheet", {"returns": str(file), "benchmark": "IBM", "sections": "headline,growth", "trials": 5}, progress=False)
    html = run.tearsheet.read_text(encoding="utf-8")
    assert run.status == "completed" and run.manifest["about"] == "fund.csv" and "IBM, same volatility" in html
    assert 'id="growth"' in html and 'id="stress"' not in html and "after 5 variants" in html
    assert "qtnb-report" in run.notebook.read_text(encoding="utf-8")


# -- before the kernel ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "given", "kind", "message"), [
    ("bakctest", {}, UnknownNameError, "Did you mean 'backtest'"),
    ("../backtest", {}, ConfigError, "no path"),
    ("backtest", {"symbls": ["IBM"]}, ParameterError, "Did you mean 'symbols'"),
    ("backtest", {"strategy": "sma_corss"}, UnknownNameError, "Did you mean 'sma_cross'"),
    ("backtest", {"parameters": {"fats": 3}}, ParameterError, "Did you mean 'fast'"),
    ("backtest", {"interval": "1day"}, ConfigError, "Did you mean '1d'"),
    ("tearsheet", {"sections": "headline,stres"}, ConfigError, "Did you mean 'stress'"),
    ("tearsheet", {"kind": "prices"}, ConfigError, "kind"),
    ("backtest", {"cash": float("nan")}, ConfigError, "finite"),
    ("backtest", {"cash": -5}, ConfigError, "greater than 0"),
    ("backtest", {"symbols": [False]}, ConfigError, "quote it"),
    ("backtest", {"start": "2020-01-01", "end": "2019-01-01"}, ConfigError, "run forward"),
    ("backtest", {"start": "2020-01-01 09:30"}, ConfigError, "without a zone"),
    ("backtest", {"parameters": {"api_key": "x"}}, ParameterError, "secret"),
    ("backtest", {"title": "Bearer: token=abcdef123456"}, ParameterError, "secret"),
    ("backtest", {"title": "aB3" * 12}, ParameterError, "secret"),
    ("live", {"venue": "binance"}, ConfigError, "`venue`"),
    ("sweep", {"axes": {}}, ConfigError, "axes"),
    ("sweep", {"axes": {"fats": "5,10"}}, ParameterError, "Did you mean 'fast'"),
    ("sweep", {"axes": {"fast": "5:"}}, ConfigError, "write a range as low:high"),
    ("sweep", {"search": "random"}, ConfigError, "a sampler needs a number of trials"),
    ("sweep", {"metrics": ["sharp"]}, UnknownNameError, "Did you mean 'sharpe'"),
])
def test_a_wrong_request_dies_before_a_kernel_starts(workspace: Path, monkeypatch, name: str, given: dict, kind: type, message: str) -> None:
    monkeypatch.setattr("qtnb.pipelines.jobs._execute", lambda *a, **k: pytest.fail("a kernel was started"))
    with pytest.raises(kind, match=message) as caught:
        run_job(name, given)
    assert caught.value.exit_code == 2 and list_runs() == []


@pytest.mark.parametrize(("parameters", "tags", "message"), [
    ("n = 1", (), "held 0 cells"),
    ("n = len('x')", ("parameters",), "each line must be"),
    ("import os", ("parameters",), "each line must be"),
    ("n = = 1", ("parameters",), "could not be read"),
])
def test_a_malformed_parameters_cell_is_named(workspace: Path, parameters: str, tags: tuple, message: str) -> None:
    write_job(workspace, REPORT, parameters=parameters, tags=tags)
    with pytest.raises(ConfigError, match=message):
        run_job("own")


def test_a_file_that_is_no_notebook_is_named(workspace: Path) -> None:
    (workspace / "jobs").mkdir()
    (workspace / "jobs" / "own.ipynb").write_text("not json")
    with pytest.raises(ConfigError, match="could not be read"):
        run_job("own")


def test_a_broken_notebook_does_not_hide_the_others(workspace: Path) -> None:
    (workspace / "jobs").mkdir()
    (workspace / "jobs" / "broken.ipynb").write_text("not json")
    assert find_job("backtest").name == "backtest"


@pytest.mark.parametrize(("default", "value"), [("1", "x"), ("1", True), ("'a'", 3), ("[]", "x"), ("1.5", None)])
def test_values_of_own_jobs_must_fit_their_defaults(workspace: Path, default: str, value: object) -> None:
    write_job(workspace, REPORT, parameters=f"n = {default}")
    with pytest.raises(ParameterError, match="`n` was"):
        run_job("own", {"n": value})


# -- in the kernel --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_kernel_is_this_interpreter_whatever_jupyter_finds(workspace: Path, tmp_path: Path, monkeypatch) -> None:
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(json.dumps({"argv": ["/bin/false"], "display_name": "wrong", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.setenv("VENDOR_SECRET_KEY", "not-for-the-kernel")
    write_job(workspace, "import os, sys\nprint(sys.executable)\nprint('VENDOR_SECRET_KEY' in os.environ, os.getcwd())", REPORT)
    run = run_job("own", progress=False)
    shown = outputs(run.notebook)
    assert sys.executable in shown and f"False {workspace.resolve()}" in shown and run.manifest["answer"] == 42


@pytest.mark.slow
def test_a_failing_cell_is_named_and_everything_is_kept(workspace: Path) -> None:
    write_job(workspace, "print('before')", "raise ValueError('the reason')", REPORT)
    with pytest.raises(JobError, match=r"cell 3 \(id \w+\): ValueError: the reason") as caught:
        run_job("own", progress=False)
    run = find_run()
    assert str(run.notebook) in str(caught.value) and caught.value.exit_code == 1
    assert run.status == "failed" and run.manifest["error"]["ename"] == "ValueError" and run.manifest["error"]["cell"] == 3
    assert "before" in outputs(run.notebook) and "the reason" in outputs(run.notebook)
    assert (workspace / "logs" / f"{run.run_id}.log").is_file() and not list(run.folder.glob("*partial*"))


@pytest.mark.slow
def test_a_mistake_of_the_user_keeps_its_exit_code(workspace: Path) -> None:
    with pytest.raises(JobError, match="Did you mean 'IBM'") as caught:
        run_job("backtest", {"symbols": ["IBN"]}, progress=False)
    assert caught.value.exit_code == 2


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "options", "ename"), [
    ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", {}, "DeadKernelError"),
    ("import threading; threading.Event().wait()", {"timeout_seconds": 2}, "CellTimeoutError"),
])
def test_a_dead_kernel_and_a_timeout_are_failures(workspace: Path, cell: str, options: dict, ename: str) -> None:
    write_job(workspace, "print('before')", cell, REPORT)
    with pytest.raises(JobError, match=f"cell 3 .*{ename}"):
        run_job("own", progress=False, **options)
    run = find_run()
    assert run.status == "failed" and run.manifest["error"]["ename"] == ename
    first = json.loads(run.notebook.read_text(encoding="utf-8"))["cells"][0]
    assert "This run failed" in "".join(first["source"])


@pytest.mark.slow
def test_success_needs_the_sentinel(workspace: Path) -> None:
    write_job(workspace, "print('all is well')")
    with pytest.raises(JobError, match="sentinel"):
        run_job("own", progress=False)
    assert find_run().status == "failed"


@pytest.mark.slow
def test_two_runs_never_share_a_folder(workspace: Path) -> None:
    write_job(workspace, REPORT)
    first = run_job("own", progress=False)
    before = {p: p.read_bytes() for p in first.folder.iterdir()}
    second = run_job("own", progress=False)
    assert first.folder != second.folder and {p: p.read_bytes() for p in first.folder.iterdir()} == before


def test_an_interrupt_closes_the_run(workspace: Path, monkeypatch) -> None:
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("qtnb.pipelines.jobs._execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_job("backtest", progress=False)
    assert find_run().status == "failed" and find_run().manifest["error"]["ename"] == "KeyboardInterrupt"


def test_a_full_disk_is_one_clear_error(workspace: Path, monkeypatch) -> None:
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qtnb.pipelines.jobs._execute", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        run_job("backtest", progress=False)
    assert caught.value.exit_code == 2 and find_run().status == "failed"


def test_a_file_in_place_of_the_artifacts_folder(workspace: Path) -> None:
    (workspace / "artifacts").write_text("in the way")
    with pytest.raises(StorageError, match="artifacts folder"):
        run_job("backtest", progress=False)
    assert (workspace / "artifacts").read_text() == "in the way"


@pytest.mark.slow
def test_an_own_job_wins_over_a_bundled_one(workspace: Path) -> None:
    write_job(workspace, REPORT, name="tearsheet")
    assert find_job("tearsheet", load_settings()).path.is_relative_to(workspace.resolve())
    assert run_job("tearsheet", progress=False).manifest["answer"] == 42


@pytest.mark.slow
def test_fetch_job_fills_the_lake_and_fails_with_the_vendor(workspace: Path) -> None:
    run = run_job("fetch", progress=False)
    assert run.status == "completed" and "43217 bars" in run.manifest["summary"]["what"]
    assert len(get_coverage(load_settings().lake)) == 14
    with pytest.raises(ConfigError, match="`symbols` and `start` must be given for binance"):
        run_job("fetch", {"provider": "binance"}, progress=False)


@pytest.mark.slow
def test_quality_job_reports_on_the_sample_and_changes_nothing(workspace: Path) -> None:
    run = run_job("quality", {"symbols": ["EEM", "QQQ"]}, progress=False)
    assert run.status == "completed" and "2 symbol(s) checked" in run.manifest["summary"]["what"]
    assert "missing_session" in (run.folder / "findings.csv").read_text() and not (workspace / "data").exists()
