"""The notebooks of the project: where they are, what their pages are called, in which order a reader meets them."""
import ast
import json
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NBS = ROOT / "nbs"

# The side bar from top to bottom: (heading, folders). Folders that do not exist yet are left out.
GROUPS = [
    ("Tutorials", ["tutorials"]),
    ("Explanations", ["explanations"]),
    ("Jobs", ["jobs"]),
    ("Reference", ["contracts", "core", "config", "utils", "data", "features", "strategies", "portfolio", "risk", "backtest", "live", "evaluation",
                   "reporting", "pipelines", "api", "plugins"]),
]
TITLES = {"contracts": "Contracts", "api": "API", "utils": "Utilities", "config": "Configuration", "backtest": "Back-test"}
# The folders whose reading order is an argument rather than a number.
READING_ORDER = {
    "explanations": ["when_orders_fill", "execution_algorithms", "timing_and_lookahead", "accounting", "where_the_time_goes", "planning_a_sweep",
                     "reference_results", "published_results", "optimisers_compared", "metrics_compared", "backtest_live_parity", "data_recipes", "data_quality", "literate_workflow", "glossary"],
    "jobs": ["backtest", "live", "sweep", "tearsheet"],
}
SKIP = {"slow", "network", "live"}  # cells with these flags are shown but not run: `tst_flags` of pyproject.toml
_NUMBER = re.compile(r"^\d+[a-z]?_")
_FENCE = re.compile(r"^(`{3,}|~{3,})")


@dataclass(frozen=True)
class Notebook:
    "One notebook and the page it becomes."

    path: Path = field(compare=True)

    @cached_property
    def nb(self) -> dict:
        return json.loads(self.path.read_text(encoding="utf-8"))

    @property
    def rel(self) -> Path:
        "Path below nbs/: core/00_errors.ipynb."
        return self.path.relative_to(NBS)

    @property
    def docname(self) -> str:
        "Address of the page without its suffix and without numbers: core/errors."
        return (self.rel.parent / _NUMBER.sub("", self.rel.stem)).as_posix()

    @property
    def folder(self) -> str:
        "The folder it is listed under; notebooks at the top are the contracts."
        return self.rel.parent.as_posix() if len(self.rel.parts) > 1 else "contracts"

    @cached_property
    def cells(self) -> list[dict]:
        return [{**c, "source": "".join(c["source"])} for c in self.nb["cells"]]

    @cached_property
    def title(self) -> str:
        return first_match(r"^# +(.+)$", self.cells) or self.rel.stem

    @cached_property
    def summary(self) -> str:
        "The one line below the title."
        first = next((c["source"] for c in self.cells if c["cell_type"] == "markdown"), "")
        lines = re.findall(r"^> ?(.*)$", first.split("\n\n", 2)[1] if "\n\n" in first else "", re.M)
        return " ".join(lines).strip()

    @cached_property
    def module(self) -> str | None:
        "The module it is exported to: core.errors."
        return first_match(r"^#\| *default_exp +(\S+)", self.cells, "code")


def first_match(pattern: str, cells: list[dict], kind: str = "markdown") -> str | None:
    "First group of the first match in the cells of one kind."
    for c in cells:
        if c["cell_type"] == kind and (m := re.search(pattern, c["source"], re.M)):
            return m.group(1).strip()
    return None


def directives(source: str) -> dict[str, str]:
    "The `#|` lines at the head of a code cell: {'export': '', 'eval': 'false'}."
    found = re.findall(r"^#\| *([\w-]+):? *(.*)$", source, re.M)
    return {name: value.strip() for name, value in found}


def runs(source: str) -> bool:
    "Whether a code cell is executed, for the tests and for the site."
    found = directives(source)
    return found.get("eval", "").lower() != "false" and not found.keys() & SKIP and "nbdev_export" not in source


def without_directives(source: str) -> str:
    "The code that a reader sees."
    lines = [line for line in source.splitlines() if not re.match(r"^#\| *[\w-]+", line) and not re.search(r"#\| *hide_line\s*$", line)]
    return "\n".join(lines).strip("\n")


def all_notebooks(root: Path = NBS) -> list[Notebook]:
    "Every notebook under nbs/, in the order of the site: index, then group by group."
    found = [Notebook(p) for p in sorted(root.rglob("*.ipynb"))
             if not any(part.startswith((".", "_")) for part in p.relative_to(root).parts)]
    folders = [f for _, fs in GROUPS for f in fs]
    unknown = sorted({n.folder for n in found} - set(folders))
    if unknown:
        raise SystemExit(f"nbs/{unknown[0]}/ is not in the side bar; add it to GROUPS in nbs/site/notebooks.py.")

    def place(n: Notebook) -> tuple:
        order = READING_ORDER.get(n.folder, [])
        name = _NUMBER.sub("", n.rel.stem)
        return (n.docname != "index", folders.index(n.folder), order.index(name) if name in order else len(order), n.rel.as_posix())

    return sorted(found, key=place)


def folder_title(folder: str) -> str:
    return TITLES.get(folder, folder.replace("_", " ").capitalize())


def fenced(markdown: str):
    "Lines of markdown with a flag: is the line inside (or a border of) a fenced block?"
    fence = None
    for line in markdown.splitlines():
        m = _FENCE.match(line.lstrip())
        if fence is None and m:
            fence = m.group(1)
            yield line, True
        elif fence is not None:
            yield line, True
            if m and m.group(1)[0] == fence[0] and len(m.group(1)) >= len(fence) and line.strip() == m.group(1):
                fence = None
        else:
            yield line, False


def exported_names(notebook: Notebook) -> dict[str, str]:
    "Public names that a notebook defines, and their anchors: {'Book': 'Book', 'Book.equity': 'Book.equity'}."
    names: dict[str, str] = {}
    for cell in notebook.cells:
        if cell["cell_type"] != "code" or not directives(cell["source"]).keys() & {"export", "exports"}:
            continue
        for node in ast.parse(cell["source"]).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                names[node.name] = node.name
                if isinstance(node, ast.ClassDef):
                    for item in node.body:
                        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_"):
                            names[f"{node.name}.{item.name}"] = f"{node.name}.{item.name}"
    return names
