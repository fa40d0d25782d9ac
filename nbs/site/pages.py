"""Turn notebooks into the source folder that Sphinx reads: one page per notebook, executed outputs in place, nothing that only tools need.

A page is the notebook in its own order. What nbdev's processors decided stands: cells they dropped from `_proc/` (hidden, housekeeping) are dropped here
too. An exported cell becomes a reference entry (`api.py`), a Mermaid block becomes a drawing (`diagrams.py`), links between notebooks become links
between pages.
"""
import json
import os
import re
import tempfile
from pathlib import Path

import api
import diagrams
from notebooks import GROUPS, NBS, ROOT, Notebook, directives, fenced, folder_title, without_directives

ASSETS = {".png", ".svg", ".jpg", ".jpeg", ".gif", ".webp"}
_MERMAID = re.compile(r"^```\{?mermaid\}? *\n(.*?)^``` *$", re.M | re.S)
_LINK = re.compile(r"(\]\()([^)\s#]+\.ipynb)(#[^)\s]*)?(\))")
_NBDEV_LINK = re.compile(r"\[(`[^`\]]+`)\]\((?:https?://[^)\s]*|/[^)\s]*|[^)\s:]*)\.html(?:#[^)\s]*)?\)")


class PageError(Exception):
    "A notebook holds something that the site cannot show."


def markdown(text: str, where: str) -> str:
    "Markdown of a notebook as markdown of a page."
    def draw(found: re.Match) -> str:
        try:
            return api.raw(f'<figure class="diagram">{diagrams.svg(found.group(1))}</figure>')
        except diagrams.DiagramError as error:
            raise PageError(f"{where}: {error}") from None

    def link(found: re.Match) -> str:
        folder, _, name = found.group(2).rpartition("/")
        return f"{found.group(1)}{folder}{'/' if folder else ''}{re.sub(r'^[0-9]+[a-z]?_', '', name)}{found.group(3) or ''}{found.group(4)}"

    text = _MERMAID.sub(draw, text)
    lines = [line if inside else _LINK.sub(link, _NBDEV_LINK.sub(r"\1", line)) for line, inside in fenced(text)]
    return "\n".join(lines)


def opening(n: Notebook, text: str) -> str:
    "Title, the one line below it set as a lead, and the rest of the first cell."
    title, _, rest = text.partition("\n")
    summary, _, after = rest.lstrip("\n").partition("\n\n")
    if not summary.startswith(">"):
        return text
    after = "\n".join(line for line in after.splitlines() if not re.match(r"^- (order|skip_exec|skip_showdoc|eval): ", line))
    lead = re.sub(r"^> ?", "", summary, flags=re.M)
    return f"{title}\n\n{{.lead}}\n{lead}\n\n{after}"


def heading_level(source: str, level: int) -> int:
    "Level of the last heading seen."
    for line, inside in fenced(source):
        if not inside and (m := re.match(r"^(#{1,6}) ", line)):
            level = len(m.group(1))
    return level


def staged_cells(n: Notebook, proc: Path) -> dict[str, str]:
    "Cells that nbdev's processors kept, by id."
    path = proc / n.rel
    if not path.exists():
        raise PageError(f"{n.rel}: nbdev's processors left no page in {proc.name}/; is the checkout below a folder that begins with a dot?")
    return {c["id"]: "".join(c["source"]) for c in json.loads(path.read_text(encoding="utf-8"))["cells"]}


def code_cell(cell: dict, outputs: list, count: int) -> dict:
    "One code cell with its outputs, with the directives obeyed and removed."
    found = directives(cell["source"])
    tags = []
    if found.get("echo") == "false":
        tags.append("remove-input")
    if found.get("output") == "false" or "hide_output" in found:
        outputs = []
    if "parameters" in cell["metadata"].get("tags", []):
        tags.append("parameters")
    shown = [clean_output(o, found.get("filter_stream", "").split()) for o in outputs]
    return {"cell_type": "code", "id": cell["id"], "metadata": {"tags": tags}, "execution_count": count, "source": without_directives(cell["source"]),
            "outputs": [o for o in shown if o]}


_FOREIGN_WARNING = re.compile(r"^\S*site-packages\S*:\d+: \w*Warning: [^\n]*\n(?:[^\n ][^\n]*\n)*(?: +[^\n]*\n?)?", re.M)
_CELL_FILE = re.compile(r"^\S*ipykernel_\d+[\\/]\d+\.py:\d+: ", re.M)
_TEMPORARY = re.compile(re.escape(tempfile.gettempdir()) + r"[\\/](?:qtnb-docs-\w+[\\/]|tmp\w{8}(?=[\\/'\"\s]))")


def anywhere(text: str) -> str:
    "Text of an output without the folders of the machine that built the site."
    return _TEMPORARY.sub(lambda m: "" if "qtnb-docs-" in m.group(0) else "...", text).replace(str(ROOT) + os.sep, "")


def clean_output(output: dict, words: list[str]) -> dict | None:
    "An output without progress bars, widget state and lines to be filtered."
    output = {**output}
    if output["output_type"] == "stream":
        text = _CELL_FILE.sub("", _FOREIGN_WARNING.sub("", "".join(output["text"])))
        text = re.sub(r"[^\n]*\r(?!\n)", "", text) if output["name"] == "stdout" else re.sub(r"\r[^\n]*", "", text)
        lines = [line for line in text.splitlines(True) if not (words and re.search("|".join(words), line)) and "it/s]" not in line]
        output["text"] = anywhere("".join(lines))
        return output if output["text"].strip() else None
    if "data" in output:
        output["data"] = {k: v for k, v in output["data"].items() if "widget" not in k}
        output["metadata"] = {}
        for kind in ("text/html", "text/plain", "text/markdown"):
            if kind in output["data"]:
                output["data"][kind] = anywhere("".join(output["data"][kind]))
        return output if output["data"] else None
    return output


def page(n: Notebook, proc: Path, outputs: dict[str, list]) -> dict:
    "The notebook that Sphinx reads for this page."
    kept, cells, level, count, first = staged_cells(n, proc), [], 1, 0, True
    for c in n.cells:
        where = f"nbs/{n.rel.as_posix()}, cell #{c['id']}"
        if c["cell_type"] == "markdown":
            if first or c["id"] in kept:
                text = opening(n, c["source"]) if first else kept[c["id"]]
                cells.append({"cell_type": "markdown", "id": c["id"], "metadata": {}, "source": markdown(text, where)})
                level = heading_level(text, level)
            first = False
        elif c["cell_type"] == "code" and api.is_exported(c["source"]):
            if "hide" not in directives(c["source"]) and (text := api.reference(c["source"], min(level + 1, 3))):
                cells.append({"cell_type": "markdown", "id": c["id"], "metadata": {}, "source": text})
        elif c["cell_type"] == "code" and c["id"] in kept and directives(c["source"]).get("include") != "false":
            count += 1
            shown = code_cell(c, outputs.get(c["id"], []), count)
            if shown["source"] or shown["outputs"]:
                cells.append(shown)
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


def toctree(caption: str, entries: list[str], hidden: bool = True) -> str:
    lines = ["```{toctree}"] + ([":hidden:"] if hidden else []) + [":maxdepth: 2"] + ([f":caption: {caption}"] if caption else [])
    return "\n".join([*lines, "", *entries, "```"])


def folder_page(folder: str, notebooks: list[Notebook]) -> str:
    "The page that opens a folder of the reference: what each of its pages is about."
    if folder == "contracts":
        intro = "The words that every other package shares: choices and value types."
    else:
        init = ROOT / "qtnb" / folder / "__init__.py"
        text = init.read_text(encoding="utf-8") if init.exists() else ""
        intro = m.group(1).strip() if (m := re.match(r'\s*"""(.*?)(?:"""|\n\n)', text, re.S)) else ""
    rows = "".join(f'<a class="card" href="{n.docname.rpartition("/")[2] if folder != "contracts" else "../" + n.docname}.html"><b>{n.title}</b>'
                   f'<code>qtnb.{n.module}</code><span>{api.inline(n.summary)}</span></a>' for n in notebooks)
    tree = toctree("", ["/" + n.docname for n in notebooks])
    return f"# {folder_title(folder)}\n\n{intro}\n\n{api.raw(f'<div class=cards>{rows}</div>')}\n\n{tree}\n"


def grouped(notebooks: list[Notebook]) -> list[tuple[str, list[tuple[str, list[Notebook]]]]]:
    "[(heading, [(folder, its notebooks)])] of what exists."
    out = []
    for heading, folders in GROUPS:
        found = [(f, [n for n in notebooks if n.folder == f and n.docname != "index"]) for f in folders]
        if found := [(f, ns) for f, ns in found if ns]:
            out.append((heading, found))
    return out


def write(notebooks: list[Notebook], proc: Path, outputs: dict[str, dict[str, list]], out: Path) -> None:
    "Fill the source folder of Sphinx; files that would not change are not touched."
    wanted: dict[Path, bytes] = {}
    names = [n.docname for n in notebooks]
    if twice := {x for x in names if names.count(x) > 1}:
        raise PageError(f"two notebooks make the page {sorted(twice)[0]}.html; rename one of them.")
    for n in notebooks:
        wanted[out / f"{n.docname}.ipynb"] = json.dumps(page(n, proc, outputs.get(n.docname, {})), indent=1).encode()
    trees = []
    for heading, found in grouped(notebooks):
        if heading == "Reference":
            for folder, ns in found:
                wanted[out / folder / "index.md"] = folder_page(folder, ns).encode()
            trees.append(toctree(heading, [f"{folder}/index" for folder, _ in found]))
        else:
            trees.append(toctree(heading, [n.docname for _, ns in found for n in ns]))
    start = {"cell_type": "markdown", "id": "sidebar", "metadata": {}, "source": "\n\n".join([toctree("", ["Get started <self>"]), *trees])}
    index = json.loads(wanted[out / "index.ipynb"]) if (out / "index.ipynb") in wanted else {
        "cells": [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# qtnb"}], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    wanted[out / "index.ipynb"] = json.dumps({**index, "cells": [*index["cells"], start]}, indent=1).encode()
    for path in NBS.rglob("*"):
        if path.suffix in ASSETS and "site" not in path.relative_to(NBS).parts[:1]:
            wanted[out / path.relative_to(NBS)] = path.read_bytes()
    for path in out.rglob("*") if out.exists() else []:
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, data in wanted.items():
        if not path.exists() or path.read_bytes() != data:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def copy_notebooks(notebooks: list[Notebook], out: Path) -> None:
    "The notebooks themselves, so that every page can offer its own."
    for n in notebooks:
        target = out / "_notebooks" / n.rel
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(n.nb, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
