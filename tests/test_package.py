"""The wheel holds everything, installs cleanly outside the repository with no extras, and works from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from support import REPO, no_problems, project_files, run_python

pytestmark = pytest.mark.slow

SETUPTOOLS = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
MAPPED = {package: folder for package, folder in SETUPTOOLS["package-dir"].items() if package != "qtnb"}
HEAVY = "bokeh papermill prefect statsmodels exchange_calendars pyarrow scipy sklearn IPython nbclient jupyter_client ipywidgets".split()


def expected_members() -> set[str]:
    """What a wheel must hold, by the files that would be committed."""
    members = set()
    for path in project_files():
        name = path.relative_to(REPO).as_posix()
        if name.startswith("qtnb/") and path.suffix == ".py":
            members.add(name)
        for package, folder in MAPPED.items():
            if name.startswith(f"{folder}/"):
                members.add(f"{package.replace('.', '/')}/{name.removeprefix(f'{folder}/')}")
    return members


def packages_on_disk() -> set[str]:
    """The sub-packages that the export has made, and the mapped ones."""
    folders = {path.parent.relative_to(REPO) for path in project_files() if path.suffix == ".py" and path.is_relative_to(REPO / "qtnb")}
    return {".".join(folder.parts) for folder in folders} | MAPPED.keys()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, and the wheel made from it, of what would be committed; no network is used."""
    folder = tmp_path_factory.mktemp("build")
    tree, dist = folder / "tree", folder / "dist"
    for path in project_files():
        place = tree / path.relative_to(REPO)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    ended = run_python("-m", "build", "--no-isolation", "--outdir", dist, cwd=tree)
    assert ended.returncode == 0, f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"
    return dist


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    """The built wheel."""
    (found,) = built.glob("*.whl")
    return found


class Installed:
    """A fresh virtual environment that holds the wheel and what it asks for, nothing else."""

    def __init__(self, folder: Path, wheel: Path):
        self.home = folder / "home"
        self.home.mkdir()
        self.bin = folder / "env" / "bin"
        venv = run_python("-m", "venv", folder / "env", cwd=folder)
        assert venv.returncode == 0, venv.stderr
        command = [self.bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel)]
        ended = subprocess.run(command, cwd=self.home, env=self.environment, capture_output=True, text=True, timeout=900, check=False)
        assert ended.returncode == 0, f"pip could not install the wheel:\n{ended.stderr[-3000:]}"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without what would lead Python or qtnb back to the repository."""
        leads = ("QTNB_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "JUPYTER_", "IPYTHONDIR", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(leads)}
        return {**kept, "PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]])}

    def __call__(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        """Run a program of the environment; return what it prints, standard error included."""
        command = [self.bin / program, *arguments]
        ended = subprocess.run(
            command,
            cwd=cwd or self.home,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert ended.returncode == 0, f"{program} {' '.join(arguments)} ended with exit code {ended.returncode}:\n{ended.stdout[-4000:]}"
        return ended.stdout


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a clean environment outside the repository."""
    return Installed(tmp_path_factory.mktemp("clean-install"), wheel)


# -- what is in it --------------------------------------------------------------------------------------------------------


def test_the_package_list_is_complete() -> None:
    """setuptools takes only what pyproject.toml lists, and stops at what is not there."""
    listed = set(SETUPTOOLS["packages"])
    no_problems(sorted(packages_on_disk() - listed), "Packages missing from [tool.setuptools] packages:")
    no_problems(sorted(listed - packages_on_disk()), "Packages in [tool.setuptools] packages that do not exist:")


def test_the_wheel_holds_the_package_the_jobs_and_the_sample(wheel: Path) -> None:
    """Every module, every job notebook and the sample data are in the wheel, and nothing else is."""
    with zipfile.ZipFile(wheel) as archive:
        members = {name for name in archive.namelist() if ".dist-info/" not in name}
    expected = expected_members()
    no_problems(sorted(expected - members), "Files missing from the wheel:")
    no_problems(sorted(members - expected), "Files in the wheel that should not be:")
    for job in ("backtest", "live", "sweep", "tearsheet"):
        assert f"qtnb/jobs/{job}.ipynb" in members
    assert [name for name in members if name.startswith("qtnb/sample/") and not name.endswith(".py")]


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    """Version, licence, Python, command and extras are in the metadata."""
    version = re.search(r'__version__ = "([^"]+)"', (REPO / "qtnb/__init__.py").read_text(encoding="utf-8"))
    assert version
    with zipfile.ZipFile(wheel) as archive:
        folder = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = archive.read(f"{folder}/METADATA").decode()
        assert "qt = qtnb.api.cli:main" in archive.read(f"{folder}/entry_points.txt").decode()
        assert "Apache License" in archive.read(f"{folder}/licenses/LICENSE").decode()
    for line in (f"Version: {version[1]}", "License-Expression: Apache-2.0", "Requires-Python: >=3.11", "Provides-Extra: docs"):
        assert line in metadata.splitlines()
    assert wheel.stat().st_size < 6_000_000


def test_the_source_distribution_holds_the_sources(built: Path) -> None:
    """The wheel above was built from it; licence and README travel along."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        members = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"LICENSE", "README.md", "pyproject.toml", "nbs/jobs/backtest.ipynb", "qtnb/core/book.py"} <= members


# -- a clean install ------------------------------------------------------------------------------------------------------


def test_clean_install_has_the_command(installed: Installed) -> None:
    """`qt version` and `qt --help` answer."""
    version = installed("python", "-c", "import qtnb; print(qtnb.__version__)").strip()
    assert version in installed("qt", "version")
    text = installed("qt", "--help")
    for command in ("backtest", "live", "replay", "fetch", "job", "runs", "config", "init"):
        assert command in text


def test_clean_install_is_not_the_repository(installed: Installed) -> None:
    """The tests below test the wheel."""
    assert str(REPO) not in installed("python", "-c", "import qtnb, sys; print(qtnb.__file__, sys.path)")


def test_clean_install_imports_every_module(installed: Installed) -> None:
    """With no extra installed every module can be imported; what needs an extra asks for it when it is used."""
    code = "\n".join(
        [
            "import importlib, pkgutil, traceback, qtnb",
            "def broken(name): print('NOT IMPORTED', name)",
            "names = [m.name for m in pkgutil.walk_packages(qtnb.__path__, 'qtnb.', onerror=broken)]",
            "for name in names:",
            "    try: importlib.import_module(name)",
            "    except Exception: print('NOT IMPORTED', name, traceback.format_exc())",
            "print(len(names), 'modules')",
        ]
    )
    answer = installed("python", "-W", "error::DeprecationWarning:qtnb", "-c", code)
    assert "NOT IMPORTED" not in answer, answer
    match = re.search(r"(\d+) modules", answer)
    assert match
    assert int(match[1]) > 40


def test_clean_install_runs_a_backtest(installed: Installed, tmp_path: Path) -> None:
    """From an empty folder: the packaged sample, a back-test from the command line, the job notebooks, the tearsheet."""
    installed("qt", "fetch", "sample", cwd=tmp_path)
    span = ["--start", "2000-01-03", "--end", "2003-12-31", "--param", "fast=10", "--param", "slow=30"]
    assert "equity" in installed("qt", "backtest", "--strategy", "sma_cross", "--symbols", "IBM", *span, cwd=tmp_path).lower()
    installed("qt", "job", "run", "backtest", cwd=tmp_path)
    installed("qt", "job", "run", "tearsheet", cwd=tmp_path)
    pages = [path for path in tmp_path.rglob("*.html") if "tearsheet" in path.name]
    assert pages
    assert "</html>" in pages[0].read_text(encoding="utf-8")


# -- lightness ------------------------------------------------------------------------------------------------------------


def test_importing_qtnb_stays_light() -> None:
    """`import qtnb` and the command line load no plotting, no notebooks, no calendars, no vendors."""
    code = f"import sys, qtnb, qtnb.api.cli; print([name for name in {HEAVY!r} if name in sys.modules])"
    ended = run_python("-c", code)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip() == "[]", f"loaded by `import qtnb, qtnb.api.cli`: {ended.stdout}"
