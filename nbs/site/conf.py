"""Sphinx configuration of the documentation site. Everything a page needs is a local file: the site works with no network."""
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

from docutils import nodes
from sphinx.util import logging

logger = logging.getLogger(__name__)
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from notebooks import ROOT, all_notebooks, exported_names  # noqa: E402

project = "qtnb"
author = "The qtnb developers"
copyright = author
version = release = re.search(r'__version__ = "([^"]+)"', (ROOT / "qtnb" / "__init__.py").read_text(encoding="utf-8")).group(1)
language = "en"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # the outputs are already in the pages
nb_merge_streams = True
nb_output_stderr = "show"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

templates_path = ["templates"]
html_static_path = ["static"]
html_css_files = ["qtnb.css"]
html_js_files = [("qtnb.js", {"defer": "defer"})]
html_theme = "pydata_sphinx_theme"
html_title = "qtnb"
html_favicon = "static/favicon.svg"
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_permalinks_icon = "#"
html_use_index = False
html_context = {"default_mode": "auto"}
html_sidebars = {"**": ["site-nav.html"]}
html_theme_options = {
    "logo": {"text": "qtnb", "image_light": "static/logo.svg", "image_dark": "static/logo.svg", "alt_text": "qtnb"},
    "navbar_start": ["navbar-logo"],
    "navbar_center": [],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button-field"],
    "article_header_start": [],
    "primary_sidebar_end": [],
    "secondary_sidebar_items": ["page-toc", "notebook-link"],
    "footer_start": ["made-from"],
    "footer_center": [],
    "footer_end": [],
    "search_bar_text": "Search the documentation",
    "search_as_you_type": True,
    "show_toc_level": 2,
    "back_to_top_button": False,
    "pygments_light_style": "github-light",
    "pygments_dark_style": "github-dark",
}

NOTEBOOKS = {n.docname: n for n in all_notebooks()}


def symbols() -> dict[str, tuple[str, str]]:
    "Names a reader may meet in back-ticks -> (page, anchor); a name that two modules define must be qualified to be linked."
    found: dict[str, tuple[str, str]] = {}
    twice = set()
    for n in NOTEBOOKS.values():
        if "/" in n.docname:
            found[n.docname] = (n.docname, "")
        if not n.module:
            continue
        module = n.module
        for prefix in ("qtnb.", ""):
            found[prefix + module] = (n.docname, "")
        for name, anchor in exported_names(n).items():
            for prefix in (f"qtnb.{module}.", f"{module}.", f"{module.rpartition('.')[2]}."):
                found[prefix + name] = (n.docname, anchor)
            twice |= {name} & found.keys()
            found[name] = (n.docname, anchor)
    return {name: target for name, target in found.items() if name not in twice}


def is_distinct(name: str) -> bool:
    "Whether a back-ticked name cannot be an ordinary word: it has a capital, an underscore, a dot or a slash."
    return bool(re.search(r"[A-Z_./]", name))


def link_names(app, doctree, docname) -> None:
    "Turn back-ticked names into links to their entries."
    known = app.config.qtnb_symbols
    for node in list(doctree.findall(nodes.literal)):
        text = node.astext()
        if isinstance(node.parent, nodes.reference | nodes.title) or any(isinstance(p, nodes.title) for p in _parents(node)):
            continue
        name = text.removesuffix("()")
        if name not in known or not (is_distinct(name) or text.endswith("()")) or known[name][0] == docname:
            continue
        page, anchor = known[name]
        if page not in app.env.found_docs:
            continue
        uri = app.builder.get_relative_uri(docname, page) + (f"#{anchor}" if anchor else "")
        reference = nodes.reference("", "", refuri=uri, internal=True, classes=["name"])
        node.replace_self(reference)
        reference += node


def _parents(node):
    while (node := node.parent) is not None:
        yield node


def mathml(self, node, block: bool) -> str:
    "A formula as MathML, which browsers set without any script."
    from docutils.utils.math import MathError
    from docutils.utils.math.latex2mathml import tex2mathml

    tex = re.sub(r"\\(?:big|Big|bigg|Bigg)[lrm]?(?![a-zA-Z])", "", node.astext())  # sizes of brackets: browsers stretch them
    try:
        return str(tex2mathml(tex, as_block=block))
    except MathError as error:
        logger.warning("formula %r is not understood: %s", node.astext(), error, location=node)
        return ""


def inline_math(self, node) -> None:
    self.body.append(f'<span class="math">{mathml(self, node, False)}</span>')
    raise nodes.SkipNode


def block_math(self, node) -> None:
    self.body.append(f'<div class="math">{mathml(self, node, True)}</div>')
    raise nodes.SkipNode


BOKEH = {"bokeh.min.js": "Bokeh", "bokeh-widgets.min.js": r'"name":\s*"(?:Button|Slider|Select|Toggle|RadioButtonGroup|Tabs|TabPanel|Div|CheckboxGroup)"',
         "bokeh-tables.min.js": r'"name":\s*"DataTable"'}


def page_context(app, pagename, templatename, context, doctree) -> None:
    "What the templates need: the notebook of the page, and BokehJS where there is a plot."
    n = NOTEBOOKS.get(pagename)
    context["notebook"] = n and n.rel.as_posix()
    context["module"] = n and n.module and f"qtnb.{n.module}"
    if doctree is None:
        return
    text = "".join(r.astext() for r in doctree.findall(nodes.raw) if "Bokeh.embed" in r.astext())
    if text:
        for name, mark in BOKEH.items():
            if re.search(mark, text):
                app.add_js_file(f"bokeh/{name}")


def copy_bokeh(app, error) -> None:
    "Put BokehJS beside the pages, once, from the installed package."
    if error is None and app.builder.format == "html":
        import bokeh

        target = Path(app.outdir) / "_static" / "bokeh"
        target.mkdir(parents=True, exist_ok=True)
        for name in BOKEH:
            source = Path(bokeh.__file__).parent / "server" / "static" / "js" / name
            if not (target / name).exists() or (target / name).stat().st_size != source.stat().st_size:
                shutil.copyfile(source, target / name)


def setup(app):
    known = symbols()
    app.add_config_value("qtnb_symbols", known, "")
    app.add_config_value("qtnb_symbols_hash", hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest(), "html")
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("doctree-resolved", link_names)
    app.connect("html-page-context", page_context)
    app.connect("build-finished", copy_bokeh)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
