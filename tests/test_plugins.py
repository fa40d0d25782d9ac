"""Plugins: the example package is built, installed beside qtnb and used by its names; broken ones are reported and disturb nobody."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
from built_site import SITE
from support import REPO, project_files, run, run_python

from qtnb.api.cli import main
from qtnb.core.errors import PluginError, UnknownNameError
from qtnb.features.signals.registry import SIGNALS, make_signal
from qtnb.strategies.registry import STRATEGIES, make_strategy
from qtnb.utils.entry_points import installed_plugins

sys.path.insert(0, str(SITE))

import execute  # noqa: E402
from notebooks import Notebook  # noqa: E402

EXAMPLE = REPO / "examples" / "example_plugin"
CALM = "from qtnb.strategies.base import WeightStrategy\n\nclass Calm(WeightStrategy):\n    def weights(self, bars):\n        return bars.close * 0\n"

# -- packages that lie on the path, as pip leaves them ----------------------------------------------------------------------

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put a package on the path of this process and of its children."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.syspath_prepend(str(shelf))
    monkeypatch.setenv("PYTHONPATH", str(shelf))

    def put(name: str, code: str, points: str, version: str = "1.0", requires: str = "qtnb") -> None:
        info = shelf / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nRequires-Dist: {requires}\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        (shelf / f"{name}.py").write_text(code, encoding="utf-8")
        installed_plugins(again=True)

    yield put
    for name in [path.stem for path in shelf.glob("*.py")]:
        sys.modules.pop(name, None)
    monkeypatch.undo()
    installed_plugins(again=True)


def test_a_strategy_of_a_package_is_known_at_once(install: Install) -> None:
    """No restart, and no word of the user, is needed after an installation; nothing is imported before the name is used."""
    with pytest.raises(UnknownNameError):
        make_strategy("pt_calm")
    install("pt_sound", CALM, "[qtnb.strategies]\npt_calm = pt_sound:Calm\n")
    assert "pt_calm" in STRATEGIES.names() and "pt_sound" not in sys.modules
    assert type(make_strategy("pt_calm")).__module__ == "pt_sound"


def test_a_backtest_by_name(install: Install, workspace: Path, capsys) -> None:
    install("pt_named", CALM, "[qtnb.strategies]\npt_named = pt_named:Calm\n")
    assert main("backtest --strategy pt_named --symbols IBM --start 2019-01-02 --source sample".split()) == 0
    assert "1000000.0" in capsys.readouterr().out


def test_a_broken_plugin_stops_nobody_else(install: Install, workspace: Path, capsys) -> None:
    """It is a line of the list, a reason in the check, and one clear error for who asks for it."""
    install("pt_broken", "import pt_library_that_is_gone\n", "[qtnb.strategies]\npt_broken = pt_broken:Calm\n")
    install("pt_thief", CALM, "[qtnb.strategies]\nsma_cross = pt_thief:Calm\n")
    install("pt_future", CALM, "[qtnb.strategies]\npt_future = pt_future:Calm\n", requires="qtnb>=99")
    install("pt_mess", CALM, "[qtnb.strategies]\nno equals sign\n")
    assert main("backtest --strategy sma_cross --symbols IBM --start 2019-01-02 --source sample".split()) == 0
    assert main(["plugins", "list", "--foreign"]) == 0
    shown = capsys.readouterr()
    assert re.search(r"^strategy +pt_broken +pt_broken +1\.0 +installed", shown.out, re.MULTILINE)
    assert "pt_library_that_is_gone" not in shown.err
    for words in ("its name stands for qtnb.strategies.sma_cross:SmaCross already", "asks for qtnb >=99", "cannot be read"):
        assert words in shown.err
    assert main(["plugins", "check", "pt_broken"]) == 1
    assert "No module named 'pt_library_that_is_gone'" in capsys.readouterr().err
    assert main(["plugins", "check", "pt_brokn"]) == 2
    assert "Did you mean 'pt_broken'" in capsys.readouterr().err
    assert main("backtest --strategy pt_broken --symbols IBM --source sample".split()) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: strategy 'pt_broken' of the package pt_broken 1.0 cannot be used") and "Traceback" not in err
    assert main("backtest --strategy pt_future --symbols IBM --source sample".split()) == 2
    assert "asks for qtnb >=99" in capsys.readouterr().err


def test_two_packages_with_one_name_are_both_left_out(install: Install) -> None:
    """Otherwise the order of installation would decide what a back-test means."""
    install("pt_left", CALM, "[qtnb.strategies]\npt_both = pt_left:Calm\n")
    assert type(make_strategy("pt_both")).__module__ == "pt_left"
    install("pt_right", CALM, "[qtnb.strategies]\npt_both = pt_right:Calm\n")
    assert "pt_both" not in STRATEGIES
    with pytest.raises(PluginError, match="pt_left 1.0 cannot be used: pt_right 1.0 brings a strategy of that name too"):
        make_strategy("pt_both")


def test_a_wrong_provider_is_refused_by_name(install: Install, workspace: Path, capsys) -> None:
    half = "class Half:\n    name = 'pt_half'\n    def symbols(self): ...\n    def batches(self, symbols=None): ...\n    def fetch_bars(self, *a): ...\n"
    install("pt_half", half, "[qtnb.providers]\npt_half = pt_half:Half\n")
    assert main("fetch from pt_half A --start 2020-01-02".split()) == 2
    assert "lacks `fetch_events`" in capsys.readouterr().err
    assert not (workspace / "data").exists()


def test_a_wrong_signal_is_refused_by_name_and_a_sound_one_made(install: Install) -> None:
    """The signature is the contract: a signal without a natural horizon is found out before it is called."""
    close = pd.DataFrame({"A": [1.0, 2.0], "B": [2.0, 1.0]})
    head = "from qtnb.features.signals.signal import Signal\n\n"
    install("pt_loose", head + "def loose(close): return Signal(close, 1)\n", "[qtnb.signals]\npt_loose = pt_loose:loose\n")
    install("pt_tight", head + "def tight(close, *, horizon=3): return Signal(-close, horizon)\n", "[qtnb.signals]\npt_tight = pt_tight:tight\n")
    assert {"pt_loose", "pt_tight", "momentum_12_1"} <= set(SIGNALS.names()) and "pt_loose" not in sys.modules
    with pytest.raises(PluginError, match="signal 'pt_loose' of the package pt_loose 1.0 cannot be used: .* and the horizon None"):
        make_signal("pt_loose", close=close)
    made = make_signal("pt_tight", close=close)
    assert made.horizon == 3 and made.values.equals(-close)


def test_nothing_is_imported_or_scanned_before_a_name_is_asked_for(install: Install) -> None:
    """`import qtnb` and a built-in strategy cost nothing more because of plugins."""
    install("pt_loud", "raise SystemExit('imported')\n", "[qtnb.strategies]\npt_loud = pt_loud:Calm\n")
    code = "\n".join([
        "import sys, qtnb, qtnb.api.cli, qtnb.utils.entry_points as points",
        "scanned, walk = [], points.read_plugins",
        "points.read_plugins = lambda: scanned.append(1) or walk()",
        "from qtnb.strategies.registry import STRATEGIES, make_strategy",
        "make_strategy('sma_cross')",
        "print(len(scanned), 'pt_loud' in sys.modules)",
        "print('pt_loud' in STRATEGIES.names(), len(scanned), 'pt_loud' in sys.modules)",
    ])
    ended = run_python("-c", code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split("\n")[:2] == ["0 False", "True 1 False"]


# -- qt new strategy --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_new_strategy_is_green_from_the_start(workspace: Path, capsys) -> None:
    """Run as the notebooks of this project are, and in a fresh kernel."""
    import nbformat
    from nbclient import NotebookClient

    assert main(["new", "strategy", "break_out", "--folder", "nbs"]) == 0
    shown = capsys.readouterr()
    assert "break_out.ipynb" in shown.out and "qt backtest --strategy break_out" in shown.out and shown.err == ""
    project = '[project]\nname = "toy"\nversion = "0"\nrequires-python = ">=3.11"\n[tool.nbdev]\n'
    (workspace / "pyproject.toml").write_text(project, encoding="utf-8")
    notebook = workspace / "nbs" / "break_out.ipynb"
    execute.run(Notebook(notebook))
    NotebookClient(nbformat.read(notebook, as_version=4), timeout=120, kernel_name="python3", resources={"metadata": {"path": str(workspace)}}).execute()

    broken = notebook.with_name("broken.ipynb")
    broken.write_text(notebook.read_text(encoding="utf-8").replace("close[t] > top", "close[t] < top"), encoding="utf-8")
    with pytest.raises(execute.CellFailed, match="by_hand"):  # its tests see a wrong rule
        execute.run(Notebook(broken))


WRONG_NAMES = [("class", "a word of Python"), ("my-rule", "take 'my_rule'"), ("sma_cross", "registered already"), ("bars", "called Bars")]


@pytest.mark.parametrize(("name", "words"), WRONG_NAMES)
def test_a_name_that_cannot_be_used(workspace: Path, capsys, name: str, words: str) -> None:
    before = sorted(workspace.rglob("*"))
    assert main(["new", "strategy", name]) == 2
    assert words in capsys.readouterr().err and sorted(workspace.rglob("*")) == before


def test_a_new_strategy_overwrites_nothing(workspace: Path, capsys) -> None:
    (workspace / "mine.ipynb").write_text("mine", encoding="utf-8")
    assert main(["new", "strategy", "mine"]) == 2
    assert "nothing is overwritten" in capsys.readouterr().err and (workspace / "mine.ipynb").read_text() == "mine"


# -- the example package ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that holds the wheels of qtnb and of the example; the libraries are those of this process, so that no network is used."""
    folder = tmp_path_factory.mktemp("plugin")
    for path in project_files():
        place = folder / "tree" / path.relative_to(REPO)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    for source in (folder / "tree", folder / "tree" / EXAMPLE.relative_to(REPO)):
        ended = run_python("-m", "build", "--wheel", "--no-isolation", "--outdir", folder / "dist", cwd=source)
        assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    shutil.rmtree(folder / "tree")
    environment = folder / "env"
    assert run_python("-m", "venv", "--without-pip", environment).returncode == 0
    python = environment / "bin" / "python"
    wheels = sorted((folder / "dist").glob("*.whl"))
    assert [wheel.name.split("-")[0] for wheel in wheels] == ["qtnb", "qtnb_example_plugin"]
    ended = run_python("-m", "pip", "--python", python, "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", *wheels)
    assert ended.returncode == 0, ended.stderr
    (site,) = (environment / "lib").glob("python*/site-packages")
    libraries = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")  # plain folders: the .pth files in them are not read
    return environment / "bin"


def in_desk(desk: Path, folder: Path, program: str, *arguments: str) -> tuple[int, str, str]:
    """Run a program of the environment in a folder, without a way back to the repository."""
    none = {name: "" for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    ended = run(desk / program, *arguments, cwd=folder, env={**none, "QTNB_WORKSPACE": str(folder)})
    return ended.returncode, ended.stdout, ended.stderr


@pytest.mark.slow
def test_the_example_is_installed_and_used_by_name(desk: Path, workspace: Path) -> None:
    """Listed with its origin, checked, its bars fetched, its strategy run by the command line, in a job, and in Python: with the same digits."""
    code, out, err = in_desk(desk, workspace, "python", "-c", "import qtnb, qtnb_example_plugin as p; print(qtnb.__file__, p.__file__)")
    assert code == 0 and str(REPO) not in out and out.count(str(desk.parent)) == 2, out + err
    code, out, err = in_desk(desk, workspace, "qt", "plugins", "list", "--foreign")
    assert code == 0, err
    for kind, name in (("strategy", "inverse_volatility"), ("signal", "overnight_gap"), ("provider", "random_walk"), ("cost model", "flat_fee"),
                       ("reporter", "notice_board")):
        assert re.search(rf"^{kind} +{name} +qtnb-example-plugin +1\.0\.0 +installed$", out, re.MULTILINE), out
    code, out, err = in_desk(desk, workspace, "qt", "plugins", "check")
    assert code == 0 and "broken" not in out, out + err

    code, out, err = in_desk(desk, workspace, "qt", "fetch", "from", "random_walk", "WALK1", "WALK2", "WALK3", "--start", "2015-01-02", "--end", "2019-12-31")
    assert code == 0 and "3774 new" in out, out + err
    asked = ["--symbols", "WALK1,WALK2,WALK3", "--start", "2015-01-02", "--end", "2019-12-31", "--source", "lake"]
    code, by_command, err = in_desk(desk, workspace, "qt", "backtest", "--strategy", "inverse_volatility", "--param", "every=5", *asked)
    assert code == 0, err
    parameters = ["strategy=inverse_volatility", "parameters.every=5", "symbols=WALK1,WALK2,WALK3", "start=2015-01-02", "end=2019-12-31", "source=lake"]
    code, by_job, err = in_desk(desk, workspace, "qt", "job", "run", "backtest", "-q", *[word for p in parameters for word in ("-p", p)])
    assert code == 0, err
    equities = [re.findall(r"^final equity +(\S+)$", text, re.MULTILINE) for text in (by_command, by_job)]
    assert equities[0] == equities[1] and len(equities[0]) == 1 and float(equities[0][0]) != 1_000_000.0
    code, out, err = in_desk(desk, workspace, "qt", "backtest", "--strategy", "inverse_volatilty", *asked)
    assert code == 2 and "Did you mean 'inverse_volatility'" in err


@pytest.mark.slow
def test_the_tests_of_the_example_hold(desk: Path, tmp_path: Path) -> None:
    """The package has tests of its own; they run against the installed wheels."""
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    code, out, err = in_desk(desk, tmp_path, "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert code == 0, out + err
    assert "6 passed" in out
