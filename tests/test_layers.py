"""The import graph of qtnb points down: layers, order within a folder, third parties, and no clock or dice in the engine."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support import REPO, no_problems

PACKAGE = REPO / "qtnb"

LAYERS = [
    {"enums", "types", "utils", "config", "core"},
    {"data", "features", "portfolio", "risk", "evaluation"},
    {"strategies", "reporting"},
    {"backtest", "live"},
    {"pipelines"},
    {"api", "plugins"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

# Edges between neighbours of one layer that are wanted: (importing module, imported module), each a prefix.
SIDEWAYS = {
    ("features", "data.schema"),
    ("live.adapters.paper", "backtest.execution_sim"),
    ("api.plugin_commands", "plugins"),
}
# Contracts may use each other, except that the core knows no configuration.
NEVER = {("core", "config")}

PLAIN = {"numpy", "pandas", "pydantic"}
THIRD_PARTY = {
    "enums": set(),
    "types": PLAIN,
    "core": PLAIN,
    "utils": PLAIN | {"bokeh", "numba", "packaging", "rich", "yaml"},
    "config": PLAIN | {"pydantic_settings", "yaml"},
    "data": PLAIN | {"bokeh", "duckdb", "exchange_calendars", "httpx", "psycopg", "pyarrow", "tqdm", "yaml"},
    "features": PLAIN | {"numba", "scipy", "statsmodels"},
    "portfolio": PLAIN | {"arch", "bokeh", "clarabel", "daqp", "scipy"},
    "risk": PLAIN | {"bokeh", "scipy"},
    "evaluation": PLAIN | {"bokeh", "IPython", "jinja2", "markupsafe", "pyarrow", "scipy", "statsmodels"},
    "strategies": PLAIN | {"numba", "sklearn", "statsmodels", "threadpoolctl"},
    "reporting": PLAIN | {"bokeh", "fastapi", "IPython", "ipywidgets", "jinja2", "uvicorn"},
    "backtest": PLAIN | {"bokeh", "cloudpickle", "distributed", "numba", "optuna", "pyarrow", "scipy", "tqdm"},
    "live": PLAIN | {"tqdm"},
    "pipelines": PLAIN | {"ipykernel", "jupyter_client", "nbclient", "nbformat", "papermill", "pyarrow", "tqdm", "yaml", "zmq"},
    "api": PLAIN | {"rich", "typer", "yaml"},
    "plugins": PLAIN,
}

CLOCKS_AND_DICE = re.compile(
    r"(?:time\.(?:time|time_ns|localtime|gmtime)|(?:\w+\.)?datetime\.(?:now|utcnow|today)|(?:\w+\.)?date\.today"
    r"|(?:\w+\.)?Timestamp\.(?:now|utcnow|today)|uuid\.uuid[14]|os\.urandom"
    r"|(?:np|numpy)\.random\.(?!default_rng$|Generator$|SeedSequence$|PCG64$|Philox$|BitGenerator$)\w+)"
)
CLOCK_MODULES = {"random", "secrets"}
INPUT_OUTPUT = set(
    "asyncio http io multiprocessing os pathlib shutil socket sqlite3 subprocess tempfile threading urllib".split()
)
WITH_A_CLOCK = {"core.clock"}


# -- reading the graph ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """One file of the package: its dotted name below qtnb, the notebook it came from, and its syntax tree."""

    name: str
    path: Path
    notebook: str
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.split(".")[0]


@dataclass(frozen=True)
class Edge:
    """An import, at a line, of a dotted name."""

    module: Module
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.module.path.name}:{self.line}: {self.module.name} imports {self.target}"


def read(package: Path) -> dict[str, Module]:
    """The modules of a package folder; its own __init__ is called the empty string."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        if path.name == "_modidx.py":
            continue
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        origin = re.search(r"File to edit: (?:\.\./)*(nbs/\S+\.ipynb)", text)
        found[name] = Module(name, path, origin[1] if origin else "", ast.parse(text))
    return found


def imports(module: Module, modules: dict[str, Module]) -> Iterator[Edge]:
    """Every import of a module, inside functions and under TYPE_CHECKING too; those of qtnb begin with `qtnb`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Edge(module, alias.name, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ["qtnb", *module.name.split(".")] if module.name else ["qtnb"]
                if module.path.name != "__init__.py":
                    package = package[:-1]
                package = package[: len(package) - node.level + 1]
                base = ".".join([*package, *filter(None, [base])])
            below = {f"{base}.{alias.name}" for alias in node.names}
            submodules = {name for name in below if name.startswith("qtnb.") and name.removeprefix("qtnb.") in modules}
            for target in sorted(submodules | ({base} if below - submodules else set())):
                yield Edge(module, target, node.lineno)


def inside(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def own_edges(modules: dict[str, Module]) -> Iterator[tuple[Edge, str]]:
    """Edges from a module to another part of qtnb, with the dotted name below qtnb; the version in `qtnb` itself is free to all."""
    for module in modules.values():
        for edge in imports(module, modules):
            if edge.target.startswith("qtnb."):
                yield edge, edge.target.removeprefix("qtnb.")


def foreign_edges(modules: dict[str, Module]) -> Iterator[tuple[Edge, str]]:
    """Edges to other distributions, with the top-level name."""
    for module in modules.values():
        for edge in imports(module, modules):
            top = edge.target.split(".")[0]
            if top not in sys.stdlib_module_names and top not in {"qtnb", "__future__"}:
                yield edge, top


# -- the rules, as functions of a graph -----------------------------------------------------------------------------------


def upward_edges(modules: dict[str, Module]) -> list[str]:
    found = []
    for edge, target in own_edges(modules):
        source, goal = edge.module.part, target.split(".")[0]
        if not source or source == goal:
            continue
        if goal not in RANK or source not in RANK:
            found.append(f"{edge}: no layer is given for `{goal if goal not in RANK else source}`")
        elif RANK[goal] > RANK[source]:
            found.append(f"{edge}: upward")
        elif (source, goal) in NEVER:
            found.append(f"{edge}: never")
        elif RANK[goal] == RANK[source] > 0 and not any(inside(edge.module.name, a) and inside(target, b) for a, b in SIDEWAYS):
            found.append(f"{edge}: sideways")
    return found


def order_of(notebook: str) -> tuple[int, str]:
    match = re.match(r"(\d+)([a-z]?)_", notebook.rsplit("/", 1)[-1])
    assert match, f"{notebook} has no number"
    return int(match[1]), match[2]


def later_edges(modules: dict[str, Module]) -> list[str]:
    """Edges to the same or a later notebook of the same folder."""
    found = []
    for edge, target in own_edges(modules):
        here, there = edge.module.notebook, modules[target].notebook if target in modules else ""
        if here and there and here.rsplit("/", 1)[0] == there.rsplit("/", 1)[0] and order_of(there) >= order_of(here):
            found.append(f"{edge}: {there} does not come before {here}")
    return found


def cycles(modules: dict[str, Module]) -> list[str]:
    """Rings of modules that import each other."""
    graph: dict[str, set[str]] = {name: set() for name in modules}
    for edge, target in own_edges(modules):
        if target in modules and target != edge.module.name:
            graph[edge.module.name].add(target)
    found, done = [], set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            found.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for target in sorted(graph[name]):
                visit(target, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return found


def foreign_names(modules: dict[str, Module]) -> list[str]:
    return [
        f"{edge}: `{top}` is not among the libraries of `{edge.module.part or 'qtnb'}`"
        for edge, top in foreign_edges(modules)
        if top not in THIRD_PARTY.get(edge.module.part, set())
    ]


def chance_and_time(modules: dict[str, Module]) -> list[str]:
    """Wall clocks and unseeded dice in core and backtest; files, sockets and threads in core."""
    found = []
    for module in modules.values():
        if module.part not in {"core", "backtest"} or module.name in WITH_A_CLOCK:
            continue
        for edge in imports(module, modules):
            top = edge.target.split(".")[0]
            if top in CLOCK_MODULES or (module.part == "core" and top in INPUT_OUTPUT | {"time"}):
                found.append(f"{edge}: no clock, chance, file, socket or thread here")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and CLOCKS_AND_DICE.fullmatch(ast.unparse(node)):
                found.append(f"{module.path.name}:{node.lineno}: {module.name} uses {ast.unparse(node)}")
            elif isinstance(node, ast.ImportFrom) and node.module in {"time", "uuid"} and not node.level:
                names = {alias.name for alias in node.names} & {"time", "time_ns", "uuid1", "uuid4"}
                found += [f"{module.path.name}:{node.lineno}: {module.name} imports {node.module}.{name}" for name in sorted(names)]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("random.default_rng") and not (node.args or node.keywords):
                found.append(f"{module.path.name}:{node.lineno}: {module.name} makes an unseeded generator")
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "open" and module.part == "core":
                found.append(f"{module.path.name}:{node.lineno}: {module.name} opens a file")
    return found


def module_state(modules: dict[str, Module]) -> list[str]:
    """Variables of a module that change: `global` statements, and containers bound to a name that is not a CONSTANT."""
    containers = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
    found = []
    for module in modules.values():
        place = module.path.name
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Global):
                found.append(f"{place}:{node.lineno}: {module.name} has `global {', '.join(node.names)}`")
        for node in module.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
            for target in targets:
                if isinstance(target, ast.Name) and isinstance(node.value, containers):
                    if target.id not in {"__all__", "_all_"} and not target.id.lstrip("_").isupper():
                        found.append(f"{place}:{node.lineno}: {module.name} binds `{target.id}` to a container")
    return found


# -- the rules hold -------------------------------------------------------------------------------------------------------

MODULES = read(PACKAGE)


def test_imports_point_down() -> None:
    """A module imports lower layers; neighbours of a layer do not know each other, apart from the edges listed above."""
    no_problems(upward_edges(MODULES), "Imports go down only:")


def test_a_notebook_imports_only_earlier_ones_of_its_folder() -> None:
    """Otherwise a notebook would meet its own classes twice: its copy and the package's."""
    no_problems(later_edges(MODULES), "Within a folder a notebook imports only lower numbers:")


def test_there_are_no_cycles() -> None:
    """The contracts may use each other; this keeps them apart."""
    no_problems(cycles(MODULES), "Modules that import each other:")


def test_each_layer_has_its_libraries() -> None:
    """The core is numpy, pandas and pydantic; every other part has a list."""
    no_problems(foreign_names(MODULES), "A third-party import that is not planned:")


def test_every_library_is_declared() -> None:
    """What is imported is a dependency in pyproject.toml, not a guest of somebody else's."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"], *(r for extra, rs in project["optional-dependencies"].items() if extra != "dev" for r in rs)]
    declared = {re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-") for requirement in requirements}
    owners = importlib.metadata.packages_distributions()
    found = []
    for edge, top in foreign_edges(MODULES):
        distributions = {name.lower().replace("_", "-") for name in owners.get(top, [top])}
        if not distributions & declared:
            found.append(f"{edge}: {' or '.join(sorted(distributions))} is not in pyproject.toml")
    no_problems(found, "Imports of undeclared distributions:")


def test_the_core_and_the_backtest_have_neither_clock_nor_dice() -> None:
    """The same inputs give the same bytes, because nothing else is read."""
    no_problems(chance_and_time(MODULES), "A result depends on its inputs alone:")


def test_modules_hold_no_changing_state() -> None:
    """State lives in objects that are passed; registries are objects too."""
    no_problems(module_state(MODULES), "Module-level state:")


def test_the_package_was_read() -> None:
    """A wrong path would make every rule hold."""
    assert {"core.book", "core.engine", "backtest.engine", "live.exec_engine", "api.cli"} <= MODULES.keys()
    assert all(module.notebook for name, module in MODULES.items() if module.path.name != "__init__.py")


# -- the rules can fail ---------------------------------------------------------------------------------------------------

PLANTED = [
    (upward_edges, "core/book.py", "from ..backtest.engine import Backtest", "upward"),
    (upward_edges, "core/book.py", "def f():\n    import qtnb.data.loader", "upward"),
    (upward_edges, "core/book.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from qtnb.api import cli", "upward"),
    (upward_edges, "core/book.py", "from ..config.settings import load", "never"),
    (upward_edges, "backtest/engine.py", "from ..live.replay import replay", "sideways"),
    (upward_edges, "live/exec_engine.py", "from qtnb.backtest.execution_sim import fill", "sideways"),
    (upward_edges, "risk/limits.py", "from ..portfolio import optimizers", "sideways"),
    (upward_edges, "misc/things.py", "from ..core.book import Book", "no layer"),
    (later_edges, "core/book.py", "from .engine import TradingEngine", "does not come before"),
    (cycles, "core/engine.py", "from .book import Book\nfrom . import engine, extra", "core.engine -> core.extra -> core.engine"),
    (foreign_names, "core/book.py", "import bokeh.plotting", "`bokeh`"),
    (foreign_names, "data/loader.py", "def f():\n    from prefect import flow", "`prefect`"),
    (module_state, "core/book.py", "cache = {}", "`cache`"),
    (module_state, "core/book.py", "def f():\n    global count", "`global count`"),
    (chance_and_time, "core/book.py", "import time", "no clock"),
    (chance_and_time, "core/book.py", "import sqlite3", "no clock"),
    (chance_and_time, "core/book.py", "text = open('x').read()", "opens a file"),
    (chance_and_time, "backtest/engine.py", "import time\nx = time.time()", "time.time"),
    (chance_and_time, "backtest/engine.py", "from datetime import datetime\nx = datetime.now()", "datetime.now"),
    (chance_and_time, "backtest/engine.py", "import pandas as pd\nx = pd.Timestamp.now()", "pd.Timestamp.now"),
    (chance_and_time, "backtest/engine.py", "import numpy as np\nx = np.random.normal()", "np.random.normal"),
    (chance_and_time, "backtest/engine.py", "import numpy as np\nx = np.random.default_rng()", "unseeded"),
    (chance_and_time, "backtest/engine.py", "from uuid import uuid4", "uuid4"),
    (chance_and_time, "backtest/engine.py", "import random", "no clock"),
]


PLANTED_NAMES = [f"{rule.__name__}-{code.splitlines()[-1].strip()}" for rule, _, code, _ in PLANTED]


@pytest.mark.parametrize(("rule", "place", "code", "message"), PLANTED, ids=PLANTED_NAMES)
def test_a_planted_violation_is_found(rule, place: str, code: str, message: str, tmp_path: Path) -> None:
    """Each rule sees its kind of wrong import, and only that one."""
    package = tmp_path / "qtnb"
    header = "# AUTOGENERATED! DO NOT EDIT! File to edit: ../../nbs/{folder}/{number}_{name}.ipynb.\n"
    toy = {
        "__init__.py": "__all__ = []\nFIELDS = ['open']",
        "core/book.py": "import numpy as np\nfrom qtnb import __version__",
        "core/engine.py": "from .book import Book",
        "core/extra.py": "from . import engine",
        "live/adapters/paper.py": "from ...backtest.execution_sim import fill",
        "backtest/execution_sim.py": "import time\nimport numpy as np\nx = np.random.default_rng(7)\ny = time.perf_counter()",
        "features/engineering.py": "from ..data.schema import validate",
    }
    numbers = {"book": "05", "engine": "06", "extra": "07"}

    def write(name: str, text: str) -> None:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        origin = header.format(folder=path.parent.name, number=numbers.get(path.stem, "01"), name=path.stem)
        path.write_text(origin + text, encoding="utf-8")

    for name, text in toy.items():
        write(name, text)
    assert rule(read(package)) == []
    write(place, code)
    found = rule(read(package))
    assert found
    assert message in found[0]
