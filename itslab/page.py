"""A notebook as one web page: plots stay alive, and nothing is fetched from anywhere.

It begins with what it was made by and what it holds; code is folded, under what it does.
"""

from __future__ import annotations

import ast
import html
import platform
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from itslab import __version__
from itslab.doctor import processor
from itslab.viz import theme

PLOTLY = "application/vnd.plotly.v1+json"

# What nbconvert's page would load from the network is left out: require.js and the widgets'
# manager have no use here, and mathematics is written in plain text.
TEMPLATE = """
{%- extends "lab/index.html.j2" -%}
{%- block html_head_js -%}<!-- plotly.js -->{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
<style>
  body.jp-Notebook { max-width: 64rem; margin: 0 auto; padding: 1rem; }
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  .jp-OutputArea-output { overflow-x: auto; }
  .jp-OutputArea-output pre { word-break: normal; overflow-wrap: anywhere; }
  .jp-OutputArea-output table.dataframe :is(td, th) { white-space: nowrap; }
  {{ resources.figures }}
  details.code { flex: 1; min-width: 0; }
  details.code > summary { font: 13px/1.6 Helvetica, Arial, sans-serif; color: #6b6b6b;
    cursor: pointer; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
  details.code[open] > summary { list-style: none; height: 6px; visibility: hidden; }
  .about { font: 13px/1.5 Helvetica, Arial, sans-serif; color: #6b6b6b; margin: 0 0.5rem; }
  .about button { font: inherit; margin-top: 4px; }
  @media print { .about button { display: none } }
</style>
{%- endblock -%}
{%- block input -%}
<details class="code"{{ " open" if "parameters" in cell.metadata.get("tags", []) }}>
<summary>{{ cell.metadata.does | escape_html }}</summary>{{ super() }}</details>
{%- endblock -%}
"""
_ALL = (
    "const code = [...document.querySelectorAll('details.code')];"
    "const open = code.some(one => !one.open); code.forEach(one => { one.open = open })"
)


def write_page(notebook: Any, path: Path) -> Path:
    """Write an executed notebook as a page that needs nothing but a browser.

    Args:
        notebook: an ``nbformat`` notebook.
        path: where the page is written.
    """
    from jinja2 import DictLoader
    from nbconvert import HTMLExporter
    from nbconvert.preprocessors import Preprocessor
    from plotly.offline import get_plotlyjs

    class Plots(Preprocessor):  # type: ignore[misc]
        """Say what code does, and turn figures into elements that plotly.js fills."""

        def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
            resources["figures"] = theme.FIGURES
            if cell.cell_type == "code":
                cell.metadata["does"] = does(cell)
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if PLOTLY in data:
                    data["text/html"] = _element(data.pop(PLOTLY))
            return cell, resources

    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})], template_file="page.html.j2"
    )
    exporter.register_preprocessor(Plots, enabled=True)
    page, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    script = f'<script charset="utf-8">{get_plotlyjs()}</script>'
    page = page.replace("<!-- plotly.js -->", script, 1)
    path.write_text(_headed(page, notebook), encoding="utf-8")
    return path


def does(cell: Any) -> str:
    """Return in words what a cell does: what it defines, makes and shows."""
    if "parameters" in cell.metadata.get("tags", []):
        return "parameters"
    try:
        body = ast.parse(cell.source).body
    except SyntaxError:  # a line of the shell, or a magic
        return str(cell.source).partition("\n")[0]
    defined = [one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
    made = [name for one in body for name in _made(one)]
    shown = list(filter(None, dict.fromkeys(map(_kind, cell.get("outputs", [])))))
    imports = any(isinstance(one, ast.Import | ast.ImportFrom) for one in body)
    parts = [("defines", defined), ("makes", list(dict.fromkeys(made))), ("shows", shown)]
    said = ["imports"] if imports else []
    said += [f"{verb} {_listed(names)}" for verb, names in parts if names]
    return "; ".join(said) or "code"


def _made(statement: ast.stmt) -> list[str]:
    """The names that a statement gives a value, in their order."""
    if not isinstance(statement, ast.Assign | ast.AugAssign | ast.AnnAssign):
        return []
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    nodes = (node for target in targets for node in ast.walk(target))
    return [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]


def _kind(output: Any) -> str:
    data = output.get("data", {})
    written = "".join(data.get("text/html", ""))
    if output.output_type == "error":
        return "an error"
    if output.get("name") == "stderr":  # a progress bar
        return ""
    if PLOTLY in data:
        return "a figure"
    if "data-tree" in written:
        return "a tree"
    if "dataframe" in written:
        return "a table"
    return "a view" if written else "a picture" if "image/png" in data else "text"


def _listed(names: list[str], most: int = 4) -> str:
    """Names in a row, of many the first ones."""
    if len(names) > most:
        return f"{', '.join(names[: most - 1])} and {len(names) - most + 1} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _headed(page: str, notebook: Any) -> str:
    """A page with its date, its versions, its machine and its contents, below the first heading."""
    run = notebook.metadata.get("papermill", {})
    at = run.get("start_time") or datetime.now(UTC).isoformat()
    seconds = f", in {run['duration']:.0f} s" if run.get("duration") else ""
    made = (
        f"Executed {at[:16].replace('T', ' ')} UTC{seconds}, by itslab {__version__} on Python "
        f"{platform.python_version()}, {processor()}."
    )
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', page, re.DOTALL)
    links = " · ".join(
        f'<a href="#{name}">{re.sub("<.*?>", "", title).strip()}</a>' for name, title in headings
    )
    about = (
        f'<div class="about"><p>{html.escape(made)}</p><p>{links}</p>'
        f'<button type="button" onclick="{html.escape(_ALL)}">all code</button></div>'
    )
    first = page.find("</h1>", page.find("<body"))
    at_end = page.find("</div>", first) if first >= 0 else -1
    body = re.search(r"<body[^>]*>", page)
    place = at_end if at_end >= 0 else (body.end() if body else 0)
    return f"{page[:place]}{about}{page[place:]}"


def _element(figure: dict[str, Any]) -> str:
    import plotly.io

    config = figure.get("config", {}) | {"responsive": True, "displaylogo": False}
    return str(plotly.io.to_html(figure, config=config, include_plotlyjs=False, full_html=False))
