"""Make README.md from nbs/index.ipynb.

    python nbs/site/readme.py            write README.md
    python nbs/site/readme.py --check    exit 1 if README.md is not what the notebook says

Prose stays as it is, code becomes fenced blocks, and links that are relative to nbs/ become relative to the repository.
"""
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from notebooks import NBS, ROOT, Notebook, directives, fenced, without_directives  # noqa: E402

HEAD = "<!-- Made from nbs/index.ipynb by nbs/site/readme.py; edit the notebook. -->\n"
_TARGET = re.compile(r"(\]\()(?![a-z][a-z0-9+.-]*:|#|/)([^)\s]+)(\))")


def from_root(markdown: str) -> str:
    "Links relative to nbs/ as links relative to the repository; those in fenced blocks are left alone."
    def fix(found: re.Match) -> str:
        path = found.group(2)
        return f"{found.group(1)}{path.removeprefix('../') if path.startswith('../') else 'nbs/' + path}{found.group(3)}"

    return "\n".join(line if inside else _TARGET.sub(fix, line) for line, inside in fenced(markdown))


def readme(notebook: Notebook) -> str:
    "The text of README.md."
    parts: list[str] = []
    for cell in notebook.cells:
        if cell["cell_type"] == "markdown":
            parts.append(from_root(cell["source"].strip()))
        elif cell["cell_type"] == "code" and not directives(cell["source"]).keys() & {"hide", "default_exp"}:
            code = without_directives(cell["source"])
            if parts and parts[-1].startswith("```python"):  # imports and what follows them are one block
                parts[-1] = parts[-1].removesuffix("\n```") + f"\n\n{code}\n```"
            else:
                parts.append(f"```python\n{code}\n```")
    return HEAD + "\n\n".join(p for p in parts if p) + "\n"


def main() -> int:
    "Command line."
    text, path = readme(Notebook(NBS / "index.ipynb")), ROOT / "README.md"
    if "--check" in sys.argv[1:]:
        if path.read_text(encoding="utf-8") == text:
            return 0
        print("README.md is not what nbs/index.ipynb says; run `python nbs/site/readme.py`.", file=sys.stderr)
        return 1
    path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
