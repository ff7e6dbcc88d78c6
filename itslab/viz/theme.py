"""Dark pages: what is drawn on white becomes a negative whose hues stay as they are."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

from itslab.core import require
from itslab.viz.style import BLUE, GRID, INK, MUTED, ORANGE, PURPLE, WINE

_DRAWN = ":is(.js-plotly-plot, .its-view, .its-tree)"
_NEGATIVE = f"""
{{dark}}{_DRAWN} {{{{ filter: invert(0.93) hue-rotate(180deg) }}}}
{{dark}}{_DRAWN} {_DRAWN} {{{{ filter: none }}}}"""
FIGURES = """
.js-plotly-plot { min-width: 460px }
.js-plotly-plot:has(.x3tick) { min-width: 720px }
"""
"""CSS of the least widths of figures: three side by side need more."""
LAB = (
    _NEGATIVE.format(dark="[data-jp-theme-light='false'] ")
    + FIGURES
    + """
.jp-OutputArea-child:has(> .js-plotly-plot) { overflow: auto hidden }
.its-panel .widget-html-content { min-width: 0 }
.its-wide .js-plotly-plot { min-width: 900px }
.jp-OutputArea-output table.dataframe :is(td, th) { white-space: nowrap }
"""
)
"""CSS by which figures, views and trees follow the theme of JupyterLab, while it changes too, and
by which what is too wide for a window is scrolled, not squeezed."""
SYSTEM = f"@media (prefers-color-scheme: dark) {{{_NEGATIVE.format(dark='')} }}"
"""CSS by which those of a page follow the reader's system."""
SHEET = f"<style>{LAB}</style>"
"""An element that does so for the whole notebook in which it stands anywhere."""

_PAGE = "#111111"  # JupyterLab's own
_DARK = {
    INK: "#ececec",
    MUTED: "#a3a3a3",
    GRID: "#333333",
    "white": _PAGE,
    "#f3f3f3": "#1f1f1f",  # the low end of a heat map
    "#7fb8d9": "#2f7da8",
    "#0b4f78": "#a6d3f0",
    BLUE: "#56a9e0",
    ORANGE: "#f07d2e",
    PURPLE: "#d98cb3",
    WINE: "#d0709f",
}


def dark(figure: go.Figure) -> go.Figure:
    """Return a figure for a dark page: what was black on white is white on black.

    Args:
        figure: one of ``itslab.viz``, which stays as it is.
    """
    fits = isinstance(figure, go.Figure)
    require(fits, "figure", figure, "a plotly Figure, such as accuracy_against returns")
    return go.Figure(_recoloured(figure.to_dict()))


def _recoloured(part: Any) -> Any:
    if isinstance(part, dict):
        return {name: _recoloured(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return [_recoloured(value) for value in part]
    return _DARK.get(part, part) if isinstance(part, str) else part
