"""Run the notebooks, each in a fresh kernel, and keep their outputs.

The outputs of a notebook are cached under a key made of its code, the source of every qtnb module that it can reach, and the versions of what draws
them. A second build therefore runs only what changed, and no picture can be older than the code behind it.
"""
import ast
import contextlib
import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from notebooks import NBS, ROOT, Notebook, directives

SKIP = {"slow", "network", "live"}  # cells with these flags are shown but not run, as in the tests
LIMIT = 180  # seconds that one cell may take: machine code may have to be compiled first, on a machine with other work
LIBRARIES = ("numpy", "pandas", "bokeh", "pydantic", "nbclient")


def runs(source: str) -> bool:
    "Whether a code cell is executed for the site."
    found = directives(source)
    return found.get("eval", "").lower() != "false" and not found.keys() & SKIP and "nbdev_export" not in source


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
    parts = [code, ids, sorted((m, sources.files[m]) for m in reached), sources.sample, versions, Path(__file__).read_text(encoding="utf-8")]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


class CellFailed(Exception):
    "A cell raised while the site was built."


class KernelStuck(CellFailed):
    "A kernel did not start, died, or did not answer in time; the notebook may be run again in a new one."


def run(notebook: Notebook) -> dict[str, list]:
    "Execute one notebook in its own kernel and folder; the outputs by cell id. A cell that takes too long is reported with the place where it stands."
    import nbformat
    from jupyter_client.kernelspec import KernelSpecManager
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    nb = nbformat.from_dict({**notebook.nb, "cells": [{**c, "outputs": [], "execution_count": None} if c["cell_type"] == "code" else c
                                                      for c in notebook.cells]})
    nb.cells = [c for c in nb.cells if c.cell_type == "code" and runs(c.source)]
    workspace = Path(tempfile.mkdtemp(prefix="qtnb-docs-"))
    for name in ("settings.ini", "pyproject.toml"):
        shutil.copy(ROOT / name, workspace / name)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("QTNB_") and k != "IN_TEST"}
    env = {**inherited, "QTNB_DOCS": "1", "QTNB_WORKSPACE": str(workspace), "IPYTHONDIR": str(workspace / ".ipython"),
           "PYDEVD_DISABLE_FILE_VALIDATION": "1", "COLUMNS": "100", "PYTHONHASHSEED": "0",
           "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", "")}
    this_python = KernelSpecManager(kernel_dirs=[])  # whatever other kernels are installed under the same name
    kernel = AsyncKernelManager(kernel_name="python3", kernel_spec_manager=this_python, transport="ipc", ip=str(workspace / "kernel"))
    client = NotebookClient(nb, km=kernel, timeout=LIMIT, kernel_name="python3",
                            resources={"metadata": {"path": str(notebook.path.parent)}}, record_timing=False, extra_arguments=["--log-level=40"])
    where, told = os.path.relpath(notebook.path, ROOT), workspace / "threads.txt"
    startup = workspace / ".ipython" / "profile_default" / "startup" / "00_threads.py"
    startup.parent.mkdir(parents=True)
    startup.write_text(f"__import__('faulthandler').enable(open({str(told)!r}, 'w'))\n", encoding="utf-8")
    try:
        with client.setup_kernel(cleanup_kc=True, env=env, cwd=str(notebook.path.parent)):  # a manager of one's own is not shut down otherwise
            for index, cell in enumerate(nb.cells):
                try:
                    client.execute_cell(cell, index)
                except CellExecutionError as error:
                    raise CellFailed(f"{where}, cell #{cell.id}: {error.ename}: {error.evalue}\n{indent(cell.source)}") from None
                except (CellTimeoutError, DeadKernelError) as error:
                    found = standing(kernel, told)
                    raise KernelStuck(f"{where}, cell #{cell.id}: {str(error).splitlines()[0]}\n{indent(cell.source)}\n{found}") from None
    except RuntimeError as error:  # no kernel
        raise KernelStuck(f"{where}: no kernel could be started: {error}") from None
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
    return {c.id: json.loads(json.dumps(c.outputs)) for c in nb.cells}


def standing(kernel, told: Path) -> str:
    "End a kernel that does not answer, and say in which lines its threads were, the one with the cell first."
    with contextlib.suppress(OSError, AttributeError):
        os.kill(kernel.provisioner.pid, signal.SIGABRT)
    text = ""
    for _ in range(100):
        text = told.read_text(encoding="utf-8") if told.exists() else ""
        if "Current thread" in text and text.endswith("\n"):
            break
        time.sleep(0.1)
    cell, others = text[text.find("Current thread"):], text[max(text.find("Fatal Python error"), 0):text.find("Current thread")]
    return indent(f"{cell[:3000]}\n{others[:3000]}", 80)


def indent(source: str, lines: int = 12) -> str:
    return "\n".join("    " + line for line in source.strip().splitlines()[:lines])


def outputs(notebooks: list[Notebook], cache: Path, workers: int = 2, say=print, keep_going: bool = False) -> dict[str, dict[str, list]]:
    "Outputs of all notebooks by page and cell id; what is not in `cache` is run."
    cache.mkdir(parents=True, exist_ok=True)
    sources, found, todo = Sources(), {}, []
    for n in notebooks:
        if not any(c["cell_type"] == "code" and runs(c["source"]) for c in n.cells):
            found[n.docname] = {}
            continue
        store, wanted = cache / (n.docname.replace("/", ".") + ".json"), key(n, sources)
        if store.exists() and (kept := json.loads(store.read_text(encoding="utf-8")))["key"] == wanted:
            found[n.docname] = kept["outputs"]
        else:
            todo.append((n, store, wanted))

    def one(job):
        n, store, wanted = job
        start = time.perf_counter()
        try:
            result = run(n)
        except KernelStuck as error:
            say(f"  again: {error}")
            result = run(n)
        part = store.with_suffix(".part")
        part.write_text(json.dumps({"key": wanted, "outputs": result}), encoding="utf-8")
        part.replace(store)
        return n, result, time.perf_counter() - start

    failures = []
    with ThreadPoolExecutor(workers) as pool:
        for done, future in enumerate(as_completed([pool.submit(one, job) for job in todo]), 1):
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
