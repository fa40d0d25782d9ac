"""Run the notebooks, each in a fresh process, and keep their outputs.

The outputs of a notebook are cached under a key made of its code, the source of every qtnb module that it can reach, and the versions of what draws
them. A second build therefore runs only what changed, and no picture can be older than the code behind it.
"""
import ast
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from notebooks import NBS, ROOT, Notebook, runs

LIMIT = 180  # seconds that one cell may take: machine code may have to be compiled first, on a machine with other work
LIBRARIES = ("numpy", "pandas", "bokeh", "pydantic", "execnb")


def imported(tree: ast.AST, package: str) -> set[str]:
    "Dotted names below qtnb that some code imports; relative imports are counted from `package`."
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[:len(parts) - node.level + 1], *([base] if base else [])])
            names |= {base} | {f"{base}.{a.name}" for a in node.names}
    return {n for n in names if n.split(".")[0] == "qtnb"}


class Sources:
    "The modules of the package, and what each can reach."

    def __init__(self, package: Path = ROOT / "qtnb"):
        self.files, self.needs = {}, {}
        for path in sorted(package.rglob("*.py")):
            parts = [*path.relative_to(package.parent).with_suffix("").parts]
            module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            inside = ".".join(parts[:-1])
            text = path.read_text(encoding="utf-8")
            self.files[module] = hashlib.sha256(text.encode()).hexdigest()
            self.needs[module] = imported(ast.parse(text), inside)
        data = sorted(p for folder in ("sample", "schedules") for p in (NBS / folder).glob("*") if p.suffix in (".parquet", ".csv"))
        self.sample = hashlib.sha256(b"".join(p.read_bytes() for p in data)).hexdigest()

    def closure(self, names: set[str]) -> set[str]:
        "Every module that `names` reach."
        todo, seen = list(names), set()
        while todo:
            name = todo.pop()
            while name and name not in self.files:
                name = name.rpartition(".")[0]
            if name and name not in seen:
                seen.add(name)
                todo += self.needs[name]
        return seen


def borrowed(notebook: Notebook, code: list[str]) -> list[Path]:
    "Files outside the package that a page uses: tables beside it, and a folder of tests that it puts on its path."
    text = "\n".join(code)
    beside = [path for path in sorted(notebook.path.parent.glob("*.csv")) if path.name in text]
    folders = sorted(set(re.findall(r"[\"'](?:\.\./)+(tests/\w+)[\"']", text)))
    return beside + [path for folder in folders for path in sorted((ROOT / folder).rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def key(notebook: Notebook, sources: Sources) -> str:
    "Hash of everything that can change the outputs of a notebook."
    code = [c["source"] for c in notebook.cells if c["cell_type"] == "code"]
    files = borrowed(notebook, code)
    code += [path.read_text(encoding="utf-8") for path in files if path.suffix == ".py"]
    code += [f"# {path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files if path.suffix != ".py"]
    names = set()
    for source in code:
        try:
            names |= imported(ast.parse(source), "qtnb")
        except SyntaxError:  # magics
            names |= {"qtnb"} if "qtnb" in source else set()
    reached = sources.closure(names)
    if any(m.startswith(("qtnb.pipelines", "qtnb.jobs", "qtnb.api")) for m in reached) or "qt " in "".join(code):
        reached = set(sources.files)  # a job runs other notebooks: anything may matter
        code += [p.read_text(encoding="utf-8") for p in sorted((NBS / "jobs").glob("*.ipynb"))]
    versions = [sys.version.split()[0]] + [importlib.metadata.version(name) for name in LIBRARIES]
    ids = [c["id"] for c in notebook.cells if c["cell_type"] == "code"]  # outputs are kept by cell id
    parts = [code, ids, sorted((m, sources.files[m]) for m in reached), sources.sample, versions, *(Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("execute.py", "cells.py"))]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class CellFailed(Exception):
    "A cell raised while the site was built."


class Stuck(CellFailed):
    "A notebook's process died, or did not answer in time; the notebook may be run again in a new one."


def run(notebook: Notebook) -> dict[str, list]:
    "Execute one notebook in its own process and workspace; the outputs by cell id. A cell that takes too long is reported with the place where it stands."
    workspace = Path(tempfile.mkdtemp(prefix="qtnb-docs-"))
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, workspace / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QTNB_") and k != "IN_TEST"}
    env = {**inherited, "QTNB_DOCS": "1", "QTNB_WORKSPACE": str(workspace), "IPYTHONDIR": str(workspace / ".ipython"), "COLUMNS": "100",
           "JUPYTER_CONFIG_DIR": str(workspace / ".jupyter"), "PYTHONHASHSEED": "0",
           "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")}
    told, where = workspace / "cells.json", os.path.relpath(notebook.path, ROOT)
    command = [sys.executable, str(Path(__file__).with_name("cells.py")), str(notebook.path), str(told), str(LIMIT)]
    try:
        ended = subprocess.run(command, cwd=notebook.path.parent, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                               errors="replace", check=False)
        found = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {"cell": "", "source": "", "error": "", "traceback": ""}
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    if "outputs" in found:
        return found["outputs"]
    place = f"{where}, cell #{found['cell']}" if found["cell"] else where
    if found["error"]:
        raise CellFailed(f"{place}: {found['error']}\n{indent(found['source'], 40)}\n{found['traceback']}")
    late = "Timeout (" in ended.stderr
    problem = f"the cell did not end within {LIMIT:g} s" if late else f"the notebook's process ended with exit code {ended.returncode}"
    raise Stuck(f"{place}: {problem}\n{indent(found['source'])}\n{indent(ended.stderr, 160)}")


def indent(source: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in source.strip().splitlines()[:lines])


def run_and_keep(notebook: Notebook, cache: Path, sources: Sources, say=print) -> dict[str, list]:
    "Outputs of one notebook, run now, and kept in `cache`; a notebook whose process was stuck has one second chance."
    try:
        result = run(notebook)
    except Stuck as error:
        say(f"  again: {error}")
        result = run(notebook)
    store = cache / (notebook.docname.replace("/", ".") + ".json")
    part = store.with_suffix(f".{os.getpid()}.part")
    part.write_text(json.dumps({"key": key(notebook, sources), "outputs": result}), encoding="utf-8")
    part.replace(store)
    return result


def outputs(notebooks: list[Notebook], cache: Path, workers: int = 2, say=print, keep_going: bool = False) -> dict[str, dict[str, list]]:
    "Outputs of all notebooks by page and cell id; what is not in `cache` is run."
    cache.mkdir(parents=True, exist_ok=True)
    sources, found, todo = Sources(), {}, []
    for n in notebooks:
        store = cache / (n.docname.replace("/", ".") + ".json")
        if not any(c["cell_type"] == "code" and runs(c["source"]) for c in n.cells):
            found[n.docname] = {}
        elif store.exists() and (kept := json.loads(store.read_text(encoding="utf-8")))["key"] == key(n, sources):
            found[n.docname] = kept["outputs"]
        else:
            todo.append(n)

    def timed(n: Notebook):
        start = time.perf_counter()
        return n, run_and_keep(n, cache, sources, say), time.perf_counter() - start

    failures = []
    with ThreadPoolExecutor(workers) as pool:
        for done, future in enumerate(as_completed([pool.submit(timed, n) for n in todo]), 1):
            try:
                n, result, seconds = future.result()
                found[n.docname] = result
                say(f"  [{done}/{len(todo)}] {n.rel.as_posix()} {seconds:.1f} s")
            except CellFailed as error:
                failures.append(str(error))
                say(f"  [{done}/{len(todo)}] failed: {str(error).splitlines()[0]}")
    if failures and not keep_going:
        raise CellFailed("\n\n".join(failures))
    return found
