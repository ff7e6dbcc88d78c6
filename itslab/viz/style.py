"""The look that all figures, panels and readers share: colours, marks, and pieces of HTML.

Colours of series are those of Okabe and Ito, which people with any kind of colour vision tell apart
(https://jfly.uni-koeln.de/color/); no figure relies on colour alone.
"""

from __future__ import annotations

import html
import re
import textwrap
from typing import NamedTuple

import plotly.graph_objects as go

INK, MUTED, GRID = "#1b1b1b", "#6b6b6b", "#e6e6e6"
GREEN, BLUE, ORANGE, PURPLE = "#009e73", "#0072b2", "#d55e00", "#cc79a7"
AMBER, CYAN, WINE, RED = "#e69f00", "#56b4e9", "#8a2a66", "#b00020"
SKY, GREY = "#a6d3f0", "#c4c8cc"

HUES = ("#0072b2", "#cc79a7", "#e69f00", "#5d4a9c", "#56b4e9", "#7a6a00")
"""Of answers: the most frequent one first. Green is that of the right answer alone, where it is
known; ``RARE`` that of all answers without a hue of their own. The trees' script has the same."""
RARE = "#b3b8bc"

COMPUTE, CLOCK = "compute, s", "by the clock, s"
"""Seconds are of three kinds, and each is called by its name: those that models, judges and sandbox
took (``Cost.seconds``), which are charged to a run; those that passed by the clock
(``Result.elapsed``); and those of the run, at which things happened in it: the slider's."""

FONT = "Helvetica, Arial, sans-serif"

_AXIS = {
    "gridcolor": GRID,
    "linecolor": MUTED,
    "showline": True,
    "ticks": "outside",
    "tickcolor": MUTED,
    "zeroline": False,
    "automargin": True,
}
TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": FONT, "size": 14, "color": INK},
        "title": {
            "x": 0,
            "xref": "container",
            "y": 1,
            "yref": "container",
            "yanchor": "top",
            "pad": {"l": 16, "t": 16},
            "font": {"size": 16},
        },
        "colorway": [BLUE, ORANGE, GREEN, PURPLE],
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 24, "t": 48, "b": 60},
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
        "modebar": {  # in the margin, not over titles
            "orientation": "v",
            "remove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
        },
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
"""The plotly template of every figure."""


class Mark(NamedTuple):
    """How the points and lines of one series are drawn."""

    colour: str
    symbol: str
    dash: str


MARKS = [
    Mark(INK, "star", "solid"),
    Mark(BLUE, "circle", "solid"),
    Mark(ORANGE, "square", "dash"),
    Mark(GREEN, "diamond", "dot"),
    Mark(PURPLE, "triangle-up", "dashdot"),
    Mark(CYAN, "triangle-down", "longdash"),
    Mark(AMBER, "pentagon", "longdashdot"),
    Mark(WINE, "hexagram", "12px 3px 3px 3px 3px 3px"),
    Mark(MUTED, "x", "3px 5px"),
]
"""The marks of the first series, the second, and so on."""


BELOW = {"orientation": "h", "x": 0, "y": 0.01, "yref": "container", "yanchor": "bottom"}
"""A legend below its picture, so that a narrow window shows both."""


def headed(figure: go.Figure, title: str, below: str = "", room: int = 10) -> go.Figure:
    """Return a figure under its title, in lines that fit 480 pixels, and smaller text below that.

    Args:
        figure: whose height is that with a title of one line.
        title: what it shows, of how many problems, and what the intervals are.
        below: what else has to be known.
        room: pixels between both and the picture, for what stands above that.
    """
    lines, small = _lines(title, 60), _lines(below, 74)
    more = {"text": "<br>".join(small), "font_size": 13}
    top = 20 + 22 * len(lines) + (6 + 17 * len(small) if small else 0) + room
    figure.update_layout(
        title={"text": "<br>".join(lines), **({"subtitle": more} if small else {})}, margin_t=top
    )
    if figure.layout.height:
        figure.layout.height += 22 * (len(lines) - 1)
    return figure


def _lines(text: str, width: int) -> list[str]:
    parts = (textwrap.wrap(part, width, break_on_hyphens=False) for part in text.split("<br>"))
    return [line for part in parts for line in part]


def short(answer: str, most: int = 16) -> str:
    """Return an answer, cut to a length that fits an axis."""
    return answer if len(answer) <= most else f"{answer[: most - 1]}…"


_WRAPPED = re.compile(r"\\(?:(?:text|math)(?:|rm|bf|it|sf|tt)|boxed|emph)\{([^{}]*)\}")


def plain(answer: str) -> str:
    """Return an answer on one line, without marks that only set its type; as the trees' script."""
    return " ".join(_WRAPPED.sub(r"\1", answer).split())


# -- pieces of HTML --------------------------------------------------------------------------------

_BOX = (
    f"font: 14px/1.45 {FONT}; white-space: pre-wrap; word-break: normal; background: none; "
    "color: inherit; "
    "overflow-wrap: anywhere; max-width: 46rem; padding: 0.3rem 0.9rem; border-left: 4px solid"
)


def box(content: str, colour: str, style: str = "margin: 0") -> str:
    """Return HTML in a box with a coloured edge, as something that was said.

    It is a ``<pre>``, in which mathematics is not typeset: a price in dollars would become a
    formula.
    """
    return f'<pre style="{_BOX} {colour}; {style}">{content}</pre>'


def view(content: str, max_width: str = "50rem") -> str:
    """Return HTML as a panel's view, which follows the theme where ``theme.SHEET`` stands."""
    style = f"font: 14px/1.5 {FONT}; color: {INK}; background: white; padding: 8px"
    return f'<div class="its-view" style="{style}; max-width: {max_width}">{content}</div>'


def note(content: str) -> str:
    """Return HTML as a muted remark in which line breaks are kept."""
    style = f"color: {MUTED}; margin: 8px 0; white-space: pre-line"
    return f'<div style="{style}">{content}</div>'


def copied(code: str) -> str:
    """Return lines of code as HTML, with a button that copies them."""
    copy = "navigator.clipboard.writeText(this.nextElementSibling.textContent)"
    look = "font: 12px/1.5 ui-monospace, monospace; white-space: pre-wrap; margin: 8px 0"
    return (
        f'<button type="button" onclick="{copy}">copy</button>'
        f'<pre style="{look}">{html.escape(code)}</pre>'
    )


def mark(right: bool) -> str:
    """Return a word and its colour for a right or a wrong answer, as HTML."""
    colour, text = (GREEN, "✓ right") if right else (RED, "✗ wrong")
    return f'<b style="color: {colour}">{text}</b>'
