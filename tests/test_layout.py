"""The shape of the notebooks: where they lie, what they are called, how they begin, and how much prose stands beside the code."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from support import REPO, no_problems, project_files

NBS = REPO / "nbs"
NOTEBOOKS = sorted(path for path in NBS.rglob("*.ipynb") if not any(part.startswith(("_", ".")) for part in path.relative_to(NBS).parts))
NAME = re.compile(r"(?P<number>\d\d)(?P<letter>[a-z]?)_(?P<rest>[a-z][a-z0-9_]*)")
SUBPACKAGES = {"data": {"providers", "storage"}, "features": {"signals", "labeling"}, "live": {"adapters"}}
UNNUMBERED = {"explanations", "jobs"}  # folders whose pages carry no number
PROSE_FOLDERS = {"tutorials", "explanations", "jobs"}  # folders that export nothing

CELL_LINES = 60
MODULE_LINES = 400
WORDS_PER_LINE = 2
SMALL_MODULE = 20

DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(?P<name>[\w-]+)\s*:?\s*(?P<value>.*?)\s*$")


# -- reading a notebook ---------------------------------------------------------------------------------------------------


def name_of(notebook: Path) -> str:
    """`nbs/core/00_errors.ipynb` is called `core/00_errors`."""
    return notebook.relative_to(NBS).with_suffix("").as_posix()


def load(notebook: Path) -> dict:
    return json.loads(notebook.read_text(encoding="utf-8"))


def source(cell: dict) -> str:
    return "".join(cell["source"])


def directives(cell: dict) -> dict[str, str]:
    """The `#|` lines of a code cell."""
    if cell["cell_type"] != "code":
        return {}
    found = (DIRECTIVE.match(line) for line in source(cell).splitlines())
    return {match["name"]: match["value"] for match in found if match}


def exported_lines(cell: dict) -> int:
    """Lines of an export cell that hold something, directives aside."""
    if not {"export", "exporti", "exports"} & directives(cell).keys():
        return 0
    return sum(1 for line in source(cell).splitlines() if line.strip() and not DIRECTIVE.match(line))


def words(cell: dict) -> int:
    """Words of prose in a markdown cell: code fences, HTML tags and link targets do not count."""
    if cell["cell_type"] != "markdown":
        return 0
    text = re.sub(r"^(```|~~~).*?^\1", " ", source(cell), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"<[^>]+>|\]\([^)]*\)", " ", text)
    return len(re.findall(r"[^\W_][\w'-]*", text))


def expected_module(notebook: Path) -> str | None:
    """The module a notebook must export to, by its path; None for a page that exports nothing."""
    parts = notebook.relative_to(NBS).parts
    folder = parts[0] if len(parts) == 2 else ""
    if folder in PROSE_FOLDERS or notebook.stem == "index":
        return None
    match = NAME.fullmatch(notebook.stem)
    assert match, f"{name_of(notebook)}: a module notebook is called NN_name, two digits and perhaps a letter"
    rest = match["rest"]
    for sub in SUBPACKAGES.get(folder, ()):
        if rest.startswith(f"{sub}_"):
            rest = f"{sub}.{rest.removeprefix(f'{sub}_')}"
    return f"{folder}.{rest}" if folder else rest


def problems_of(notebook: Path, nb: dict) -> list[str]:
    """Everything that is wrong with the form of one notebook."""
    cells, found = nb["cells"], []
    folder = notebook.relative_to(NBS).parts[0] if len(notebook.relative_to(NBS).parts) == 2 else ""

    if nb.get("nbformat") != 4 or nb.get("nbformat_minor", 0) < 5:
        found.append("the format must be 4.5 or later, which has cell ids")
    if nb.get("metadata", {}).get("kernelspec", {}).get("name") != "python3":
        found.append("metadata.kernelspec must name the kernel python3; papermill stops without it")
    ids = [cell.get("id", "") for cell in cells]
    found += [f"cell id `{i}` is not 1 to 64 letters, digits, - or _" for i in ids if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", i)]
    found += [f"cell id `{i}` stands {n} times" for i, n in Counter(ids).items() if n > 1]

    title = source(cells[0]).splitlines() if cells and cells[0]["cell_type"] == "markdown" else []
    if not title or not re.match(r"# \S", title[0]):
        found.append("the first cell must be the title: `# Noun`")
    if not any(re.match(r"> \S", line) for line in title):
        found.append("the title cell must hold a one-line summary: `> ...`")

    for cell in cells:
        if cell["cell_type"] == "code" and (cell.get("outputs") or cell.get("execution_count") is not None):
            found.append(f"cell {cell['id']} has outputs; notebooks are committed without")
        lines = exported_lines(cell)
        if lines > CELL_LINES:
            found.append(f"cell {cell['id']} exports {lines} lines; at most {CELL_LINES}, better 15")
        for name in ("export", "exporti", "exports"):
            if directives(cell).get(name):
                found.append(f"cell {cell['id']} exports to another module; one notebook is one module")

    targets = [directives(cell)["default_exp"] for cell in cells if "default_exp" in directives(cell)]
    module = expected_module(notebook)
    if module is None:
        if targets:
            found.append(f"a page in {folder or 'nbs'} exports nothing, but has `#| default_exp {targets[0]}`")
    elif targets != [module]:
        found.append(f"`#| default_exp` must stand once and be `{module}`, by the notebook's path; it was {targets}")

    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if folder == "jobs":
        if len(tagged) != 1 or tagged[0]["cell_type"] != "code":
            found.append(f"a job has one code cell tagged `parameters`; this one has {len(tagged)}")
        for cell in cells:
            if cell["cell_type"] == "code" and re.search(r"^\s*(async )?(def|class) ", source(cell), re.MULTILINE):
                found.append(f"cell {cell['id']} defines a function or class; a job only calls qtnb")
    elif tagged:
        found.append("only the notebooks in nbs/jobs have a cell tagged `parameters`")

    lines, prose = sum(map(exported_lines, cells)), sum(map(words, cells))
    if lines > MODULE_LINES:
        found.append(f"the module has {lines} exported lines; at most {MODULE_LINES}")
    if lines >= SMALL_MODULE and prose < WORDS_PER_LINE * lines:
        found.append(f"{prose} words of prose for {lines} exported lines; at least {WORDS_PER_LINE} words a line")
    return found


# -- notebooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name_of)
def test_form_of_the_notebook(notebook: Path) -> None:
    """Format, ids, title, target module, tags, outputs and literate budgets."""
    no_problems(problems_of(notebook, load(notebook)), f"{name_of(notebook)} breaks the form of a notebook:")


def test_notebooks_lie_one_folder_deep_in_unnumbered_folders() -> None:
    """Numbered folders break the site's links, and deeper ones its grouping."""
    deep = [name_of(n) for n in NOTEBOOKS if len(n.relative_to(NBS).parts) > 2]
    numbered = sorted({n.parent.name for n in NOTEBOOKS if re.match(r"\d", n.parent.name)})
    no_problems(deep, "These notebooks lie deeper than one folder:")
    no_problems(numbered, "These folders begin with a digit:")


def test_notebook_names() -> None:
    """Pages are called NN_name, except the index, explanations and jobs, which are called name."""
    plain = re.compile(r"[a-z][a-z0-9_]*")
    wrong = []
    for notebook in NOTEBOOKS:
        rule = plain if notebook == NBS / "index.ipynb" or notebook.parent.name in UNNUMBERED else NAME
        if not rule.fullmatch(notebook.stem):
            wrong.append(name_of(notebook))
    no_problems(wrong, "A module notebook is called NN_name (two digits, perhaps a letter); index, explanations and jobs are called name:")


def test_names_are_unique_without_their_numbers() -> None:
    """The number is not part of a page's address, so two notebooks of a folder may not differ by it alone; nor share it."""
    pages = Counter((n.parent, re.sub(r"^\d\d[a-z]?_", "", n.stem)) for n in NOTEBOOKS)
    numbers = Counter((n.parent, n.stem.split("_")[0]) for n in NOTEBOOKS if NAME.fullmatch(n.stem))
    no_problems((f"{folder.name}/{page}" for (folder, page), count in pages.items() if count > 1), "Pages that share an address:")
    no_problems((f"{folder.name}/{number}" for (folder, number), count in numbers.items() if count > 1), "Numbers used twice:")


# -- the rules can fail ---------------------------------------------------------------------------------------------------


def cell(kind: str, text: str, number: int, **metadata) -> dict:
    """A cell of a notebook."""
    code = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"cell_type": kind, "id": f"cell{number}", "metadata": metadata, "source": text.splitlines(keepends=True), **code}


def good_notebook(module: str | None = "core.book") -> dict:
    """A notebook without a fault."""
    cells = [cell("markdown", "# Book\n\n> Where fills become positions.", 1)]
    if module is None:
        cells.append(cell("code", "start = '2020-01-02'", 2, tags=["parameters"]))
    else:
        cells += [cell("code", f"#| default_exp {module}", 2), cell("code", "#| export\ndef f():\n    return 1", 3)]
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3"}}, "nbformat": 4, "nbformat_minor": 5}


def replaced(number: int, **changes):
    """A damage: the cell gets other contents."""
    return lambda nb: nb["cells"][number].update(changes)


def added(kind: str, text: str, **metadata):
    """A damage: one more cell."""
    return lambda nb: nb["cells"].append(cell(kind, text, 9, **metadata))


LONG = "#| export\n" + "x = 1\n" * 61
MODULE_DAMAGES = [
    (lambda nb: nb.update(nbformat_minor=4), "4.5"),
    (lambda nb: nb["metadata"].clear(), "kernelspec"),
    (replaced(1, id="cell1"), "stands 2 times"),
    (replaced(1, id="not an id"), "is not 1 to 64"),
    (replaced(0, source=["Book"]), "must be the title"),
    (replaced(0, source=["# Book"]), "one-line summary"),
    (replaced(2, outputs=[{"output_type": "stream", "name": "stdout", "text": ["1"]}]), "has outputs"),
    (replaced(2, execution_count=3), "has outputs"),
    (replaced(2, source=LONG.splitlines(keepends=True)), "exports 61 lines"),
    (replaced(2, source=["#| export other.module\n", "x = 1"]), "another module"),
    (replaced(1, source=["#| default_exp core.books"]), "must stand once and be `core.book`"),
    (replaced(1, source=["x = 1"]), "must stand once"),
    (added("code", "#| default_exp core.book"), "must stand once"),
    (added("code", "x = 1", tags=["parameters"]), "only the notebooks in nbs/jobs"),
    (added("code", "#| export\n" + "x = 1\n" * 20), "words of prose"),
    (lambda nb: nb["cells"].extend(cell("code", "#| export\n" + "x = 1\n" * 51, n) for n in range(10, 18)), "at most 400"),
]
JOB_DAMAGES = [
    (replaced(1, metadata={}), "one code cell tagged"),
    (added("code", "y = 1", tags=["parameters"]), "one code cell tagged"),
    (added("code", "def helper():\n    pass"), "a job only calls qtnb"),
    (added("code", "#| default_exp jobs.backtest"), "exports nothing"),
]
DAMAGES = [("core/05_book", "core.book", *pair) for pair in MODULE_DAMAGES] + [("jobs/backtest", None, *pair) for pair in JOB_DAMAGES]


@pytest.mark.parametrize(("name", "module", "damage", "message"), DAMAGES, ids=[f"{name}: {message}" for name, _, _, message in DAMAGES])
def test_a_planted_fault_is_found(name: str, module: str | None, damage, message: str) -> None:
    """Each rule of form sees its fault."""
    path, nb = NBS / f"{name}.ipynb", good_notebook(module)
    assert problems_of(path, nb) == []
    damage(nb)
    found = problems_of(path, nb)
    assert any(message in problem for problem in found), found


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("00_enums", "enums"),
        ("core/00a_events", "core.events"),
        ("data/11_providers_filesystem", "data.providers.filesystem"),
        ("data/21_storage_parquet", "data.storage.parquet"),
        ("live/11_adapters_paper", "live.adapters.paper"),
        ("live/00_state_store", "live.state_store"),
        ("features/01_signals_momentum", "features.signals.momentum"),
        ("backtest/02_execution_sim", "backtest.execution_sim"),
        ("index", None),
        ("tutorials/00_quickstart", None),
        ("jobs/backtest", None),
    ],
)
def test_the_module_follows_from_the_path(name: str, module: str | None) -> None:
    """The rule of names, by example."""
    assert expected_module(NBS / f"{name}.ipynb") == module


# -- every file -----------------------------------------------------------------------------------------------------------

SUFFIXES = {".py", ".ipynb", ".md", ".toml", ".ini", ".yaml", ".yml", ".txt", ".json", ".css", ".html", ".js", ".sh", ".cfg", ""}
FOREIGN = {
    "a path of somebody's machine": re.compile(r"(?<![\w.:~/$})-])/(?:home|Users|root|work|tmp|mnt|private)/[\w.]"),
    "a package index, which belongs in the user's pip configuration": re.compile(r"--(?:extra-)?index-url|--find-links|/simple/?[\s\"']"),
    "unfinished work": re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b"),
}


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("see /home/ann/qtnb", True),
        ("cd '/Users/ann/qtnb'", True),
        ("open('/tmp/x')", True),
        ("/mnt/disk/x", True),
        ("pip install --index-url https://example.org/simple qtnb", True),
        ("# TODO later", True),
        ("https://example.org/home/ann", False),
        ("the folder data/tmp/x", False),
        ("./mnt/disk", False),
        ("$(CURDIR)/tmp/x", False),
    ],
)
def test_what_counts_as_foreign(line: str, found: bool) -> None:
    """The search finds what it should and leaves the rest."""
    assert any(rule.search(line) for rule in FOREIGN.values()) is found


def test_no_file_names_a_machine_an_index_or_unfinished_work() -> None:
    """What is committed works anywhere and is finished."""
    found = []
    for path in project_files():
        if path == Path(__file__) or path.name == "LICENSE" or path.suffix not in SUFFIXES or path.stat().st_size > 2_000_000:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            place = f"{path.relative_to(REPO)}:{number}"
            found += [f"{place}: {what}: {line.strip()[:120]}" for what, rule in FOREIGN.items() if rule.search(line)]
    no_problems(found, "What is committed works on any machine and is finished:")


def test_exported_code_does_not_need_nbdev() -> None:
    """nbdev and fastcore are tools of development: a user of the package does not have them."""
    found = []
    for path in sorted((REPO / "qtnb").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong = [name for name in names if name.split(".")[0] in {"nbdev", "fastcore", "execnb"}]
            found += [f"{path.relative_to(REPO)}:{node.lineno} imports {name}" for name in wrong]
    no_problems(found, "Exported code may not import the development tools:")


def test_the_top_level_is_the_one_in_the_contributing_guide() -> None:
    """A new top-level entry is a decision, so it needs a line here."""
    known = set(
        ".ci .env.example .gitattributes .github .gitignore CHANGELOG.md CONTRIBUTING.md LICENSE Makefile README.md _proc configs"
        " docker-compose.yml examples nbs pyproject.toml qtnb settings.ini tests".split()
    )
    present = {path.relative_to(REPO).parts[0] for path in project_files()}
    no_problems(sorted(present - known), "Top-level entries that are not in the plan:")
    no_problems(sorted(known - present), "Top-level entries that are missing:")
