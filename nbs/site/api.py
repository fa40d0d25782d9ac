"""Reference entries made from exported cells: heading, signature, docstring, table of parameters, source.

The house style writes a signature with one parameter per line and a comment behind it (its meaning, unit and shape). Those comments are the reference,
so they are read from the source itself, together with the types exactly as they were written.
"""
import ast
import html
import inspect
import io
import re
import textwrap
import tokenize

from notebooks import directives, without_directives
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer


def comments(source: str) -> dict[int, str]:
    "Comment at the end of each line that has code before it."
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.line[:token.start[1]].strip():
            found[token.start[0]] = token.string.lstrip("# ").strip()
    return found


def colour(code: str) -> str:
    "Python as highlighted HTML, without a frame."
    return highlight(code, PythonLexer(stripnl=False), HtmlFormatter(nowrap=True)).rstrip("\n")


def block(code: str) -> str:
    "Python as a framed block, in the markup that the theme styles."
    return f'<div class="highlight-python notranslate"><div class="highlight"><pre>{colour(code)}\n</pre></div></div>'


def inline(text: str) -> str:
    "A short text with `code` and *stress* as HTML."
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"(?<![\w*])\*([^*\s][^*]*)\*(?![\w*])", r"<em>\1</em>", out)


def arguments(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[ast.arg, ast.expr | None, str]]:
    "(argument, default, stars) of every parameter but `self`, in order."
    a = node.args
    plain = [*a.posonlyargs, *a.args]
    found = list(zip(plain, [None] * (len(plain) - len(a.defaults)) + list(a.defaults), [""] * len(plain), strict=True))
    found += [(a.vararg, None, "*")] if a.vararg else []
    found += list(zip(a.kwonlyargs, a.kw_defaults, [""] * len(a.kwonlyargs), strict=True))
    found += [(a.kwarg, None, "**")] if a.kwarg else []
    return [f for f in found if f[0].arg not in ("self", "cls")]


def rows(node: ast.FunctionDef | ast.AsyncFunctionDef, notes: dict[int, str]) -> list[tuple]:
    "(name, type, default, meaning) of every parameter; a comment counts when its line holds one parameter and nothing else."
    found = arguments(node)
    lines = [(default or a.annotation or a).end_lineno or 0 for a, default, _ in found]
    shared = {line for line in lines if lines.count(line) > 1} | {node.lineno, node.returns.end_lineno if node.returns else 0}
    return [(stars + a.arg, ast.unparse(a.annotation) if a.annotation else "", ast.unparse(default) if default is not None else "",
             "" if line in shared else notes.get(line, "")) for (a, default, stars), line in zip(found, lines, strict=True)]


def return_note(node: ast.FunctionDef | ast.AsyncFunctionDef, notes: dict[int, str]) -> str:
    "The comment behind `-> T:`."
    return notes.get(node.returns.end_lineno or 0, "") if node.returns is not None else ""


def signature(node, name: str) -> str:
    "Call signature without types: get_bars(symbols, start, *, interval='1d')."
    a, parts = node.args, []
    plain = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(plain) - len(a.defaults)) + list(a.defaults)
    for i, (arg, default) in enumerate(zip(plain, defaults, strict=True)):
        parts.append(arg.arg + (f"={ast.unparse(default)}" if default is not None else ""))
        if a.posonlyargs and i == len(a.posonlyargs) - 1:
            parts.append("/")
    if a.vararg:
        parts.append("*" + a.vararg.arg)
    elif a.kwonlyargs:
        parts.append("*")
    parts += [k.arg + (f"={ast.unparse(d)}" if d is not None else "") for k, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    if a.kwarg:
        parts.append("**" + a.kwarg.arg)
    if parts and parts[0] in ("self", "cls"):
        parts = parts[1:]
        if parts and parts[0] == "/":
            parts = parts[1:]
    one = f"{name}({', '.join(parts)})"
    back = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    if len(one + back) <= 88:
        return one + back
    body = textwrap.fill(", ".join(parts), 84, initial_indent="    ", subsequent_indent="    ", break_long_words=False)
    return f"{name}(\n{body}\n){back}"


def table(entries: list[tuple], head: str, back: tuple[str, str] | None = None) -> str:
    "Parameters, fields or members as an HTML table; empty columns are left out."
    if not entries and not back:
        return ""
    with_type, with_default = any(e[1] for e in entries) or bool(back), any(e[2] for e in entries)
    titles = [head] + (["Type"] if with_type else []) + (["Default"] if with_default else []) + ["Meaning"]
    lines = ["<tr>" + "".join(f"<th>{t}</th>" for t in titles) + "</tr>"]
    body = []
    for name, kind, default, meaning in entries:
        cells = [f"<code>{html.escape(name)}</code>"]
        cells += [f"<code>{html.escape(kind)}</code>" if kind else ""] if with_type else []
        cells += [f"<code>{html.escape(default)}</code>" if default else ""] if with_default else []
        body.append("<tr>" + "".join(f"<td>{c}</td>" for c in [*cells, inline(meaning)]) + "</tr>")
    if back:
        cells = ["<em>returns</em>", f"<code>{html.escape(back[0])}</code>"] + ([""] if with_default else []) + [inline(back[1])]
        body.append("<tr>" + "".join(f"<td>{c}</td>" for c in cells) + "</tr>")
    return f'<table class="api-table"><thead>{"".join(lines)}</thead><tbody>{"".join(body)}</tbody></table>'


BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "pattern": "of the form"}


def field_parts(value: ast.expr | None) -> tuple[str, str]:
    "Default and meaning of a field; those of a pydantic `Field(...)` stand in its arguments."
    if not (isinstance(value, ast.Call) and ast.unparse(value.func) in ("Field", "field")):
        return (ast.unparse(value) if value else ""), ""
    named = {k.arg: k.value for k in value.keywords if k.arg}
    default = value.args[0] if value.args else named.get("default")
    made = named.get("default_factory")
    text = ast.unparse(default) if default is not None else f"{ast.unparse(made)}()" if made is not None and not isinstance(made, ast.Lambda) else ""
    about = named.get("description")
    meaning = str(about.value) if isinstance(about, ast.Constant) else ""
    bounds = ", ".join(f"{word} `{ast.unparse(named[name])}`" for name, word in BOUNDS.items() if name in named)
    return text.replace("...", ""), "; ".join(part for part in (meaning, bounds) if part)


def members(node: ast.ClassDef, notes: dict[int, str]) -> tuple[list[tuple], str]:
    "Fields of a data class or members of an enumeration, and which of the two they are."
    found, enum = [], any("Enum" in ast.unparse(b) for b in node.bases)
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and not item.target.id.startswith("_"):
            default, meaning = field_parts(item.value)
            found.append((item.target.id, ast.unparse(item.annotation), default, notes.get(item.end_lineno or 0, "") or meaning))
        elif isinstance(item, ast.Assign) and enum and isinstance(item.targets[0], ast.Name):
            found.append((item.targets[0].id, "", ast.unparse(item.value), notes.get(item.end_lineno or 0, "")))
    return found, "Member" if enum else "Field"


def doc(node) -> str:
    "The docstring as markdown."
    return inspect.cleandoc(ast.get_docstring(node) or "")


def methods(node: ast.ClassDef, notes: dict[int, str]) -> str:
    "Public methods as a list: signature, docstring, parameters."
    out = []
    for item in node.body:
        if not isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) or (item.name.startswith("_") and item.name != "__call__"):
            continue
        is_property = any(ast.unparse(d).endswith(("property", "cached_property")) for d in item.decorator_list)
        name = item.name if is_property else signature(item, item.name)
        if is_property and item.returns is not None:
            name += f": {ast.unparse(item.returns)}"
        documented = [e for e in rows(item, notes) if e[3]]
        text = "<br>".join(inline(p.replace("\n", " ")) for p in doc(item).split("\n\n") if p)
        back = (ast.unparse(item.returns), note) if item.returns is not None and (note := return_note(item, notes)) and not is_property else None
        out.append(f'<dt id="{node.name}.{item.name}"><pre>{colour(name)}</pre></dt><dd>{text}'
                   + (table(rows(item, notes), "Parameter", back) if documented or (back and rows(item, notes)) else "")
                   + (f'<p class="api-back">Returns {inline(back[1])}.</p>' if back and not documented and not rows(item, notes) else "") + "</dd>")
    return f'<dl class="api-methods">{"".join(out)}</dl>' if out else ""


def raw(text: str) -> str:
    "HTML as a block that MyST passes through."
    return f"``````{{raw}} html\n{text}\n``````"


def entry(node, notes: dict[int, str], level: int) -> str:
    "One function or class."
    parts = [raw(f'<span class="api-anchor" id="{node.name}"></span>'), f"{'#' * level} `{node.name}`"]
    if isinstance(node, ast.ClassDef):
        bases = [ast.unparse(b) for b in node.bases] + [ast.unparse(k.value) for k in node.keywords if k.arg == "metaclass"]
        marks = [ast.unparse(d) for d in node.decorator_list if "dataclass" in ast.unparse(d)]
        frozen = "@dataclass(frozen)\n" if any("frozen=True" in m for m in marks) else ("@dataclass\n" if marks else "")
        init = next((i for i in node.body if isinstance(i, ast.FunctionDef) and i.name == "__init__"), None)
        head = f"{frozen}class {signature(init, node.name)}" if init else f"{frozen}class {node.name}" + (f"({', '.join(bases)})" if bases else "")
        found, kind = members(node, notes)
        tables = (table(rows(init, notes), "Parameter") if init else "") + table(found, kind) + methods(node, notes)
        if init and bases:
            tables = f'<p class="api-bases">Inherits from {", ".join(f"<code>{html.escape(b)}</code>" for b in bases)}.</p>' + tables
    else:
        head = signature(node, node.name)
        back = (ast.unparse(node.returns), return_note(node, notes)) if node.returns is not None and return_note(node, notes) else None
        tables = table(rows(node, notes), "Parameter", back)
    parts += [raw(f'<div class="api-signature"><pre>{colour(head)}</pre></div>'), doc(node)] + ([raw(tables)] if tables else [])
    return "\n\n".join(p for p in parts if p)


def only_imports(body: list[ast.stmt]) -> bool:
    "Whether there is nothing but imports, those for type checkers included."
    return all(isinstance(n, ast.Import | ast.ImportFrom)
               or (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test) and only_imports(n.body)) for n in body)


def reference(source: str, level: int) -> str | None:
    "Markdown for one exported cell; None when a reader needs nothing of it (imports)."
    code = without_directives(source)
    tree = ast.parse(code)
    if not tree.body or only_imports(tree.body):
        return None
    notes = comments(code)
    public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not n.name.startswith("_")]
    parts = [entry(n, notes, level) for n in public]
    lines = code.count("\n") + 1
    if public:
        parts.append(raw(f'<details class="api-source"><summary>Source, {lines} lines</summary>{block(code)}</details>'))
    elif all(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in tree.body) and lines > 8:
        names = ", ".join(f"<code>{n.name}</code>" for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef))
        parts.append(raw(f'<details class="api-source"><summary>Internal: {names}, {lines} lines</summary>{block(code)}</details>'))
    else:  # a constant, or something small: the code itself says it best
        parts.append(raw(f'<div class="exported">{block(code)}</div>'))
    return "\n\n".join(parts)


def is_exported(source: str) -> bool:
    return bool(directives(source).keys() & {"export", "exports", "exporti"})
