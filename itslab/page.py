"""A notebook as one web page: plots stay alive, and nothing is fetched from anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
</style>
{%- endblock -%}
"""


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
        """Turn figures into elements that plotly.js fills."""

        def preprocess_cell(self, cell: Any, resources: Any, index: int) -> tuple[Any, Any]:
            for output in cell.get("outputs", []):
                data = output.get("data", {})
                if PLOTLY in data:
                    data["text/html"] = _element(data.pop(PLOTLY))
            return cell, resources

    exporter = HTMLExporter(
        extra_loaders=[DictLoader({"page.html.j2": TEMPLATE})], template_file="page.html.j2"
    )
    exporter.register_preprocessor(Plots, enabled=True)
    html, _ = exporter.from_notebook_node(notebook, {"metadata": {"name": path.stem}})
    script = f'<script charset="utf-8">{get_plotlyjs()}</script>'
    path.write_text(html.replace("<!-- plotly.js -->", script, 1), encoding="utf-8")
    return path


def _element(figure: dict[str, Any]) -> str:
    import plotly.io

    config = figure.get("config", {}) | {"responsive": True, "displaylogo": False}
    return str(plotly.io.to_html(figure, config=config, include_plotlyjs=False, full_html=False))
