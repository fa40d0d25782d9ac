"""Sweeps: the same bytes on every executor, after every interruption and loss; what fails is recorded, and nothing that was made is lost."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import REPO, run_python, wait_for
from sweep_cases import LEVELS, WINDOWS, Case, Nine, Worst, case_bars, case_sweep, files_of, longest_wait

from qtnb.api.cli import main
from qtnb.backtest import batches, trials
from qtnb.backtest.costs import Bps
from qtnb.backtest.engine import Backtest
from qtnb.backtest.fill_rules import BarFill
from qtnb.backtest.processes import WorkerLost
from qtnb.backtest.search import Between, Grid, LatinHypercube, RandomSearch
from qtnb.backtest.splits import PurgedKFold, WalkForward
from qtnb.backtest.sweep import Bayesian, Sweep, sweep
from qtnb.backtest.sweep_files import SweepFolder
from qtnb.backtest.trials import OF_RETURNS
from qtnb.core.bars import Bars
from qtnb.core.errors import ConfigError, DataError, StorageError
from qtnb.data.synthetic import synthetic_bars
from qtnb.strategies.sma_cross import SmaCross

TESTS = Path(__file__).parent
ALL = [(level, window) for level in [*LEVELS, 13] for window in WINDOWS]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """The sweep as one thread makes it, without any trouble."""
    return case_sweep(tmp_path_factory.mktemp("plain") / "sweep", workers=1)


def trials_in(path: Path) -> Counter[tuple[int, int]]:
    """Which trials the strategy was run for, and how often."""
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(tuple(map(int, line.split())) for line in lines)  # type: ignore[misc]


# -- what a sweep is ------------------------------------------------------------------------------------------------------


def test_a_trial_alone_is_the_trial_in_the_sweep(plain: Sweep) -> None:
    """Id, returns and figures of a row are those of one back-test."""
    for number in (0, 7, 35):
        alone = Backtest(Case(**plain.parameters(number)), case_bars()).run()
        equity = alone.equity.to_numpy()
        assert alone.manifest["result_id"].startswith(plain.table.loc[number, "id"])
        assert np.array_equal(plain.returns[number].to_numpy(), equity[1:] / equity[:-1] - 1.0)
        assert [plain.table.loc[number, m] for m in ("total_return", "sharpe", "max_drawdown")] == [
            alone.metrics[m] for m in ("total_return", "sharpe", "max_drawdown")]
        assert not plain.run(number).differences(alone)


def test_trials_that_raise_are_recorded_and_the_others_made(plain: Sweep) -> None:
    """Type, message and place of the error; no figures; and they count as tried."""
    assert len(plain.table) == len(ALL) and list(plain.failed["level"]) == [13] * 3
    row = plain.failed.iloc[0]
    assert row["error"] == "ZeroDivisionError" and "division by zero" in row["message"]
    assert re.fullmatch(r"sweep_cases\.py:\d+, weights", row["place"])
    wrong = plain.failed.index
    assert plain.table.loc[wrong, "sharpe"].isna().all() and not set(wrong) & set(plain.returns.columns)
    assert plain.report is not None and plain.report["trials"] == len(ALL)
    assert ("Failed trials", "3") in [line[:2] for line in plain.summary().lines]


def test_a_sweep_of_failures_says_so(tmp_path: Path) -> None:
    """There is nothing to deflate, and nothing is called good."""
    found = case_sweep(tmp_path / "sweep", axes={"level": [13], "window": WINDOWS})
    assert found.report is None and "cannot be deflated" in repr(found)
    assert len(found.failed) == 3 and found.returns.empty


def test_the_summary_leads_with_the_deflation(plain: Sweep) -> None:
    """Number of trials, effective number, deflated ratio, probability of overfitting and haircut come before the best trial."""
    for shown in (repr(plain), plain._repr_html_()):
        words = ("deflated Sharpe ratio", "Effective trials", "Probability of overfitting", "Haircut", "out of sample", "Best by")
        places = [shown.index(word) for word in words]
        assert places == sorted(places)
    assert list(plain.best(count=4).columns[:2]) == ["deflated_sharpe", "haircut_sharpe"]


# -- the same bytes -------------------------------------------------------------------------------------------------------


def test_processes_give_the_bytes_of_threads(plain: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And compute each average once per worker."""
    monkeypatch.setenv("SWEEP_AVERAGES", str(tmp_path / "averages"))
    found = case_sweep(tmp_path / "sweep", executor="processes", workers=2)
    assert files_of(found) == files_of(plain)
    computed = Counter(line for line in (tmp_path / "averages").read_text().splitlines())
    assert set(computed.values()) == {1} and 3 <= len(computed) <= 6
    assert {line.split()[1] for line in computed} == {"10", "20", "40"}


def test_threads_share_an_average_once(plain: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows, thirty-nine trials, three averages."""
    monkeypatch.setenv("SWEEP_AVERAGES", str(tmp_path / "averages"))
    found = case_sweep(tmp_path / "sweep", workers=4)
    assert files_of(found) == files_of(plain)
    assert len((tmp_path / "averages").read_text().splitlines()) == 3


def test_a_killed_worker_costs_nothing(plain: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that dies in the middle is replaced, and its batch made again."""
    monkeypatch.setenv("SWEEP_DEADLY", "6")
    monkeypatch.setenv("SWEEP_ONCE", str(tmp_path / "died"))
    found = case_sweep(tmp_path / "sweep", executor="processes", workers=2)
    assert (tmp_path / "died").exists() and files_of(found) == files_of(plain)


def test_a_trial_that_kills_every_worker_is_recorded(plain: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep goes on without it."""
    monkeypatch.setenv("SWEEP_DEADLY", "6")
    found = case_sweep(tmp_path / "sweep", executor="processes", workers=2, axes={"level": [5, 6, 7], "window": [10]})
    assert list(found.table["error"]) == ["", "WorkerLost", ""] and "3 worker processes died" in found.failed["message"].iloc[0]
    same = plain.table[plain.table["window"] == 10].set_index("level").loc[[5, 7], "sharpe"]
    assert list(found.table["sharpe"].dropna()) == list(same)


# -- many parameter sets in one call -------------------------------------------------------------------------------------


def one_after_another(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Sweep:
    """A sweep whose trials are run alone, on the event path, in one thread."""
    with monkeypatch.context() as patch:
        patch.setattr(batches, "rows_together", lambda plan, trials: [None] * len(trials))
        patch.setattr(trials, "obstacle", lambda test: "for the sake of the test")
        return sweep(**options, executor="threads", workers=1, progress=False)


RULED: dict[str, dict[str, Any]] = {
    "plain": {"strategy": SmaCross, "search": Grid(fast=range(3, 15), slow=[20, 40])},
    "with windows, costs and a cap": {
        "strategy": SmaCross(slow=30), "search": Grid(fast=range(3, 15), exposure=[0.3, 0.95]), "splits": WalkForward(train=80, test=40), "costs": Bps(7.0),
        "fill": BarFill(participation=0.1), "start": 50},
    "with all figures of returns": {
        "strategy": SmaCross, "search": Grid(fast=range(3, 15), slow=[20, 40]), "metrics": list(OF_RETURNS), "keep_equity": False},
    "with trials that raise": {"strategy": Worst, "search": Grid(fast=range(3, 15), slow=[20, 40])},
    "with a rule that raises": {"strategy": Nine, "search": Grid(row=range(3, 15))},
    "with runs that only the event path can tell": {
        "strategy": SmaCross, "search": Grid(fast=range(3, 15), slow=[20, 40]), "max_orders": 1},
}  # fmt: skip


@pytest.mark.parametrize("case", list(RULED))
def test_trials_made_together_have_the_bytes_of_trials_alone(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads, in processes and on a cluster of this machine: the table, the returns, the ids and the errors."""
    options = RULED[case] | {"bars": case_bars()}
    alone = one_after_another(monkeypatch, folder=tmp_path / "alone", **options)
    assert len(alone.table) > 10
    for executor in ("threads", "processes", *(["dask"] if case == "plain" else [])):
        found = sweep(**options, folder=tmp_path / executor, executor=executor, workers=2, progress=False)
        assert files_of(found) == files_of(alone), executor


def test_trials_of_a_rule_are_made_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them runs alone, but those that raise and those whose figures need fills; an event path that was asked for is taken."""
    seen: list[dict[str, Any]] = []
    real = batches.run_trial
    monkeypatch.setattr(batches, "run_trial", lambda plan, parameters: seen.append(dict(parameters)) or real(plan, parameters))

    def alone(**options: Any) -> int:
        seen.clear()
        sweep(**{**RULED["plain"], "bars": case_bars(), "progress": False, "workers": 1} | options)
        return len(seen)

    assert alone() == 0 and alone(metrics=["sharpe", "fills"]) == alone(path="event") == 24
    assert alone(**RULED["with trials that raise"]) == 2 and {p["fast"] for p in seen} == {7}
    assert alone(metrics=[longest_wait]) == 24


def test_the_errors_of_a_rule_are_those_of_its_own(tmp_path: Path) -> None:
    """What it raised, what it said and where, also when it was raised in machine code."""
    found = sweep(Worst, RULED["with trials that raise"]["search"], case_bars(), progress=False)
    assert set(found.failed["error"]) == {"ArithmeticError"} and found.failed["place"].str.fullmatch(r"sweep_cases\.py:\d+, rule").all()
    found = sweep(Nine, RULED["with a rule that raises"]["search"], case_bars(), progress=False)
    assert list(found.failed["row"]) == [9] and list(found.failed["message"]) == ["nine is refused"]


def test_a_figure_of_ones_own(tmp_path: Path) -> None:
    """It has a column, decides, is made anew when its source changes, and is the same in processes."""
    near, far = (sweep(Case, Grid(level=LEVELS, window=WINDOWS), case_bars(), metrics=["sharpe", longest_wait], folder=tmp_path / name, executor=name,
                       workers=2, progress=False) for name in ("threads", "processes"))
    assert files_of(near) == files_of(far) and near.description["metrics"][:2] == ["sharpe", "longest_wait"]
    for number in (0, 20):
        assert near.table.loc[number, "longest_wait"] == longest_wait(near.run(number))
        again = Sweep.load(tmp_path / "threads").run(number, strategy=Case, bars=case_bars())
        assert not again.differences(near.run(number))
    lines = repr(near.summary("longest_wait"))
    assert "Best by longest wait" in lines and lines.index("deflated") < lines.index("Best by")
    with pytest.raises(ConfigError, match="another sweep"):
        sweep(Case, Grid(level=LEVELS, window=WINDOWS), case_bars(), metrics=["sharpe"], folder=tmp_path / "threads", progress=False)


@pytest.mark.parametrize("executor", ["processes", "dask"])
def test_a_figure_that_cannot_be_sent_is_refused_before_anything_is_written(executor: str, tmp_path: Path) -> None:
    """One error that names it; threads take it."""
    numbers = (n for n in range(1_000))  # a generator cannot be pickled

    def counted(result: Any) -> float:
        return float(next(numbers))

    counted.__module__ = "__main__"  # as in a notebook: sent by value
    options = {"search": Grid(level=[1, 2], window=[10]), "metrics": [counted], "progress": False}
    with pytest.raises(ConfigError, match=r"metric 'counted' cannot be sent to a worker \(TypeError: .*pass executor='threads'"):
        sweep(Case, bars=case_bars(), folder=tmp_path / "sweep", executor=executor, **options)
    assert not (tmp_path / "sweep").exists()


def test_a_figure_that_raises_is_the_error_of_its_trial(tmp_path: Path) -> None:
    """The others have theirs."""

    def fragile(result: Any) -> float:
        return 1.0 / (len(result.fills) - 1)

    found = sweep(Nine, Grid(row=[1, 2, 100]), case_bars()[:50], metrics=[fragile], progress=False)
    assert list(found.table["error"]) == ["", "", "DataError"] and found.table["fragile"].notna().sum() == 2
    one = sweep(Nine, Grid(row=[1, 48]), Bars.from_frame(synthetic_bars("AAA", 50, seed=3)), metrics=[fragile], progress=False)
    assert list(one.table["error"]) == ["ZeroDivisionError"] * 2 and one.failed["place"].str.endswith("fragile").all()


# -- interrupted ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_killed_sweep_goes_on_where_it_was(plain: Sweep, tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 in the middle; what was written is not made again, and the table is the same."""
    folder, first, second = tmp_path / "sweep", tmp_path / "first", tmp_path / "second"
    environment = {**os.environ, "SWEEP_SLEEP": "0.15", "SWEEP_TRIALS": str(first), "PYTHONPATH": os.pathsep.join([str(REPO), str(TESTS)])}
    process = subprocess.Popen([sys.executable, str(TESTS / "sweep_cases.py"), str(folder), executor], env=environment, cwd=tmp_path)
    wait_for(lambda: list(folder.glob("parts/part-*.parquet")) or process.poll() is not None, "the first part")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list(folder.glob("parts/part-*.parquet")) and not (folder / "trials.parquet").exists()
    monkeypatch.setenv("SWEEP_TRIALS", str(second))
    found = case_sweep(folder)
    assert files_of(found) == files_of(plain)
    made = trials_in(second)
    assert 0 < len(made) < len(ALL) and set(made.values()) == {1}
    assert set(made) | set(trials_in(first)) == set(ALL)


def test_a_bayesian_search_is_the_same_after_an_interruption_and_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds that were written are asked again and not made again; the points, and so the bytes, are the same."""

    def hunt(folder: Path, **options: Any) -> Sweep:
        search = Bayesian(24, batch=6, seed=5, level=Between(1, 12), window=Between(5, 60))
        return sweep(Case, search, case_bars(), folder=folder, progress=False, **options)

    whole = hunt(tmp_path / "whole", workers=1)
    assert len(whole.table) == 24 and files_of(hunt(tmp_path / "processes", executor="processes", workers=2)) == files_of(whole)
    real, calls = SweepFolder.write, []

    def write(self: SweepFolder, rows: Any) -> None:
        calls.append(len(rows))
        if len(calls) > 2:
            raise KeyboardInterrupt
        real(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(SweepFolder, "write", write)
        with pytest.raises(KeyboardInterrupt):
            hunt(tmp_path / "stopped", workers=1)
    monkeypatch.setenv("SWEEP_TRIALS", str(tmp_path / "second"))
    assert files_of(hunt(tmp_path / "stopped", workers=2)) == files_of(whole)
    assert sum(trials_in(tmp_path / "second").values()) == 12  # two rounds of six were there


def test_a_full_disk_stops_the_sweep_and_loses_nothing(plain: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One clear error; then, with room again, the rest."""
    folder, real, calls = tmp_path / "sweep", os.fsync, []

    def fsync(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setenv("SWEEP_SLEEP", "0.1")
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(StorageError, match="No space left on device") as caught:
            case_sweep(folder, workers=1)
    assert len(list(folder.glob("parts/part-*.parquet"))) == 2 and re.match(r"\d+ of 39 trials are kept in ", caught.value.__notes__[0])
    with pytest.raises(StorageError, match="not finished"):
        Sweep.load(folder)
    monkeypatch.setenv("SWEEP_TRIALS", str(tmp_path / "second"))
    assert files_of(case_sweep(folder)) == files_of(plain)
    assert 0 < len(trials_in(tmp_path / "second")) < len(ALL)


# -- a cluster ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A Dask scheduler and two worker processes on loopback, and no nanny to start a dead worker again."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPO), str(TESTS)]), "SWEEP_SLEEP": "0.1"}
    dask = [sys.executable, "-m", "dask"]
    started: list[subprocess.Popen[str]] = []
    logs = [open(tmp_path / f"{name}.log", "w") for name in ("scheduler", "one", "two")]

    def start(*words: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen([*dask, *words], env=environment, cwd=tmp_path, stdout=logs[len(started)], stderr=subprocess.STDOUT, text=True))
        return started[-1]

    where = tmp_path / "scheduler.json"
    start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where))
    wait_for(where.exists, "the scheduler")
    workers = [start("worker", "--scheduler-file", str(where), "--host", "127.0.0.1", "--no-dashboard", "--no-nanny", "--nthreads", "1", "--local-directory",
                     str(tmp_path)) for _ in range(2)]
    address = re.search(r'"address": "(tcp://[^"]+)"', where.read_text())
    assert address is not None
    yield address[1], [*workers, started[0]]
    for process in started:
        process.kill()
        process.wait()
    for log in logs:
        log.close()


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_gives_the_same_bytes(
    plain: Sweep, workspace: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Scheduler and two workers on loopback, one killed in the middle of the sweep; then the command line, by address, on what is left."""
    from distributed import Client

    address, workers = cluster
    folder = tmp_path / "sweep"
    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
        seen: list[int] = []

        def kill_one() -> None:
            wait_for(lambda: list(folder.glob("parts/part-*.parquet")), "the first part")
            seen.append(len(client.nthreads()))
            workers[0].kill()

        killer = threading.Thread(target=kill_one)
        killer.start()
        found = case_sweep(folder, executor=client)
        killer.join()
        assert seen == [2] and workers[0].wait() == -signal.SIGKILL
        assert len(client.nthreads()) == 1 and client.status == "running"
    assert files_of(found) == files_of(plain)
    asked = "sweep sma_cross --symbols IBM --start 2018-01-02 --source sample --grid fast=5:15:5 --grid slow=20,40,60".split()
    assert main([*asked, "--executor", "dask", "--address", address, "--folder", str(tmp_path / "far")]) == 0
    assert main([*asked, "--executor", "threads", "--folder", str(tmp_path / "near")]) == 0
    far, near = capsys.readouterr().out.split("sma_cross: ")[1:]
    assert far.split("sweep  ")[0] == near.split("sweep  ")[0] and far.startswith("best of 9 trials")
    assert files_of(Sweep.load(tmp_path / "far")) == files_of(Sweep.load(tmp_path / "near"))


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "tcp://127.0.0.1", "nowhere://127.0.0.1:8786", "dead"])
def test_nobody_at_an_address_is_one_error_and_nothing_is_written(address: str, tmp_path: Path) -> None:
    """An address of nobody, half an address, a protocol that does not exist, and a scheduler that was there until just now."""
    if address == "dead":
        where = tmp_path / "scheduler.json"
        process = subprocess.Popen([sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file",
                                    str(where)], cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(where.exists, "the scheduler")
        process.kill()
        process.wait()
        address = re.findall(r'"address": "(tcp://[^"]+)"', where.read_text())[0]
    with pytest.raises(ConfigError, match=f"no Dask cluster with a worker was reached at '{address}'") as caught:
        case_sweep(tmp_path / "sweep", executor=address)
    assert "\n" not in str(caught.value) and not getattr(caught.value, "__notes__", []) and not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_scheduler_that_dies_ends_the_sweep_and_keeps_what_was_made(plain: Sweep, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[str]]]) -> None:
    """One error that says so; no half-written file; the same call goes on elsewhere."""
    address, processes = cluster
    folder = tmp_path / "sweep"

    def kill_scheduler() -> None:
        wait_for(lambda: list(folder.glob("parts/part-*.parquet")), "the first part")
        processes[2].kill()

    killer = threading.Thread(target=kill_scheduler)
    killer.start()
    with pytest.raises(WorkerLost, match="the Dask scheduler is gone") as caught:
        case_sweep(folder, executor=address)
    killer.join()
    assert re.match(r"\d+ of 39 trials are kept in ", caught.value.__notes__[0])
    assert not (folder / "trials.parquet").exists() and not list(folder.glob("**/*.tmp"))
    assert files_of(case_sweep(folder)) == files_of(plain)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sma_cross", "--grid", "fast=0:10:5"], "parameter 'fast' of 'sma_cross' was 0"),
        (["sma_cross", "--grid", "fast=5:"], "write a range as low:high"),
        (["sma_cross", "--grid", "fats=5"], "Did you mean 'fast'"),
        (["sma_cross", "--grid", "fast"], "must read name=value"),
        (["sma_cross", "--grid", "fast=5", "--metric", "sharp"], "Did you mean 'sharpe'"),
        (["sma_cross"], "axes"),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_ends_in_one_message(workspace: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and nothing printed but the message."""
    assert main(["sweep", "--symbols", "IBM", "--start", "2019-01-02", "--source", "sample", *words]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and "Traceback" not in shown.err and not shown.out


# -- light, and rules that hold for all numbers ---------------------------------------------------------------------------


def test_the_import_is_light() -> None:
    """Dask, Optuna, Bokeh and scipy are imported when they are needed."""
    heavy = "{'dask', 'distributed', 'optuna', 'bokeh', 'scipy'}"
    answer = run_python("-c", f"import sys, qtnb.backtest.sweep; print(sorted({heavy} & set(sys.modules)))", cwd=REPO)
    assert answer.returncode == 0 and answer.stdout.strip() == "[]", answer.stdout + answer.stderr


@given(train=st.integers(2, 60), test=st.integers(1, 40), gap=st.integers(0, 10), anchored=st.booleans(), rows=st.integers(1, 300))
@settings(max_examples=150, deadline=None)
def test_walk_forward_never_looks_ahead(train: int, test: int, gap: int, anchored: bool, rows: int) -> None:
    """Training ends before the gap, tests follow one another without hole or overlap, and the record's end is used to within half a test."""
    cut = WalkForward(train=train, test=test, gap=gap, anchored=anchored)
    try:
        splits = cut.split(rows)
    except DataError:
        assert train + gap + (test + 1) // 2 > rows
        return
    for split in splits:
        assert split.rows("train").max() + gap + 1 == split.test[0][0] and split.rows("test").max() < rows
        assert len(split.rows("train")) == (split.test[0][0] - gap if anchored else train)
    tested = np.concatenate([s.rows("test") for s in splits])
    assert np.array_equal(tested, np.arange(tested[0], tested[-1] + 1)) and rows - 1 - tested[-1] < (test + 1) / 2


@given(folds=st.integers(2, 8), purge=st.integers(0, 12), embargo=st.integers(0, 12), rows=st.integers(1, 300))
@settings(max_examples=150, deadline=None)
def test_purged_folds_keep_their_distance(folds: int, purge: int, embargo: int, rows: int) -> None:
    """Every row is tested once, and no training row is within the margin of its test."""
    try:
        splits = PurgedKFold(folds, purge=purge, embargo=embargo).split(rows)
    except DataError:
        assert rows < folds * (2 * purge + embargo + 3)
        return
    assert np.array_equal(np.concatenate([s.rows("test") for s in splits]), np.arange(rows))
    for split in splits:
        start, stop = split.test[0]
        train = split.rows("train")
        assert np.all((train < start - purge) | (train >= stop + purge + embargo))


@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_a_grid_numbers_each_combination_once(sizes: list[int]) -> None:
    """Numbers and combinations belong together one to one."""
    grid = Grid(**{f"p{k}": list(range(n)) for k, n in enumerate(sizes)})
    assert len({tuple(grid.point(n).items()) for n in range(len(grid))}) == len(grid) == int(np.prod(sizes))


@given(low=st.integers(-20, 20), width=st.integers(0, 30), trials=st.integers(1, 40), seed=st.integers(0, 9),
       kind=st.sampled_from([RandomSearch, LatinHypercube]))
@settings(max_examples=80, deadline=None)
def test_samplers_stay_inside_and_repeat(low: int, width: int, trials: int, seed: int, kind: type) -> None:
    """Values lie within their axis, integers are integers, and the same seed gives the same points."""
    axes = {"a": Between(low, low + width), "b": Between(0.5, 2.0, log=True), "c": ["x", "y"]}
    one, other = kind(trials, seed=seed, **axes), kind(trials, seed=seed, **axes)
    points = [one.point(n) for n in range(trials)]
    assert points == [other.point(n) for n in reversed(range(trials))][::-1]
    assert all(isinstance(p["a"], int) and low <= p["a"] <= low + width and 0.5 <= p["b"] <= 2.0 and p["c"] in "xy" for p in points)
