"""Figures for notebooks and reports: plotly, one template, units on every axis.

Colours are those of Okabe and Ito, which people with any kind of colour vision tell apart
(https://jfly.uni-koeln.de/color/); no figure relies on colour alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import plotly.graph_objects as go

from itslab.answers import canonical

if TYPE_CHECKING:
    import pandas as pd

INK, MUTED, GRID = "#1b1b1b", "#6b6b6b", "#e6e6e6"
GREEN, BLUE, ORANGE, PURPLE = "#009e73", "#0072b2", "#d55e00", "#cc79a7"
SKY, GREY = "#a6d3f0", "#c4c8cc"

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
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 14, "color": INK},
        "title": {"x": 0, "xref": "container", "pad": {"l": 16}, "font": {"size": 17}},
        "colorway": [BLUE, ORANGE, GREEN, PURPLE],
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "margin": {"l": 70, "r": 24, "t": 72, "b": 60},
        "legend": {"bgcolor": "rgba(0,0,0,0)"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
    }
)
"""The look that all figures share."""


# -- votes -----------------------------------------------------------------------------------------

SHOWN = 9
"""Bars for answers in a picture of votes; rarer answers share the last one."""


class Bar(NamedTuple):
    """One bar of a picture of votes."""

    label: str
    votes: float
    colour: str


def bars(
    votes: Mapping[str, float], gold: str | None = None, silent: float = 0, drawing: float = 0
) -> list[Bar]:
    """Return the bars of a picture of votes, the most frequent answer first.

    Args:
        votes: for each canonical answer, as ``answers.tally`` counts them.
        gold: the gold answer, whose bar is marked; None marks none.
        silent: samples without an answer.
        drawing: samples that are not finished yet.
    """
    right = None if gold is None else canonical(gold)
    order = sorted(votes, key=lambda answer: -votes[answer])  # stable: first seen, first shown
    cut = SHOWN if len(order) <= SHOWN else SHOWN - 1
    rows = [
        Bar(f"✓ {short(a)}" if a == right else short(a), votes[a], GREEN if a == right else BLUE)
        for a in order[:cut]
    ]
    if rest := order[cut:]:
        here = "with ✓ " if right in rest else ""
        rows.append(Bar(f"{len(rest)} others {here}".strip(), sum(votes[a] for a in rest), SKY))
    if silent:
        rows.append(Bar("no answer", silent, MUTED))
    if drawing:
        rows.append(Bar("still drawing", drawing, GREY))
    return rows


def short(answer: str, most: int = 16) -> str:
    """An answer fit for an axis."""
    return answer if len(answer) <= most else f"{answer[: most - 1]}…"


def votes(
    votes: Mapping[str, float], gold: str | None = None, silent: float = 0, title: str = "Votes"
) -> go.Figure:
    """Draw how many samples gave each answer; see ``bars``."""
    rows = bars(votes, gold, silent)
    figure = go.Figure(
        go.Bar(
            x=[row.votes for row in rows],
            y=[row.label for row in rows],
            text=[f"{row.votes:g}" for row in rows],
            marker_color=[row.colour for row in rows],
            orientation="h",
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x} votes<extra></extra>",
        )
    )
    figure.update_layout(
        template=TEMPLATE, title=title, height=150 + 34 * len(rows), bargap=0.25, showlegend=False
    )
    figure.update_xaxes(title="votes (samples)", rangemode="tozero", tickformat="d")
    figure.update_yaxes(
        title="answer" + (" (✓ gold)" if gold is not None else ""),
        type="category",
        autorange="reversed",
        showgrid=False,
    )
    return figure


# -- accuracy --------------------------------------------------------------------------------------

_STYLE = [
    (INK, "star", "solid"),
    (BLUE, "circle", "solid"),
    (ORANGE, "square", "dash"),
    (GREEN, "diamond", "dot"),
    (PURPLE, "triangle-up", "dashdot"),
]
_TICKS = [digit * 10**power for power in range(8) for digit in (1, 2, 5)]


def accuracy_against_tokens(
    table: pd.DataFrame, title: str = "Accuracy against compute"
) -> go.Figure:
    """Draw accuracy against what it costs, one line for each method.

    Args:
        table: columns ``method``, ``samples`` (per problem), ``tokens`` (decoded per problem),
            ``accuracy``, ``low``, ``high`` (fractions: the estimate and its interval).
        title: should say how many problems there are and what the interval is.
    """
    figure = go.Figure()
    methods = list(zip(table.groupby("method", sort=False), cycle(_STYLE), strict=False))
    for (method, rows), (colour, _, _) in methods:  # bands lie below all lines
        if len(rows) > 1:
            figure.add_scatter(
                x=[*rows.tokens, *rows.tokens[::-1]],
                y=[*rows.high, *rows.low[::-1]],
                fill="toself",
                fillcolor=colour,
                opacity=0.1,
                line_width=0,
                mode="lines",
                hoverinfo="skip",
                legendgroup=method,
                showlegend=False,
            )
    for (method, rows), (colour, symbol, dash) in methods:
        figure.add_scatter(
            x=rows.tokens,
            y=rows.accuracy,
            error_y=None if len(rows) > 1 else _bar(rows),
            name=str(method),
            legendgroup=method,
            mode="lines+markers" if len(rows) > 1 else "markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            line={"color": colour, "width": 2.5, "dash": dash},
            customdata=rows[["samples", "low", "high"]],
            hovertemplate=(
                "%{customdata[0]} samples, %{x:,.0f} tokens<br>"
                "%{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})"
            ),
        )
    figure.update_layout(template=TEMPLATE, title=title, height=470, hovermode="closest")
    figure.update_xaxes(
        title="decoded tokens per problem (log scale)", type="log", tickvals=_TICKS, tickformat=",d"
    )
    figure.update_yaxes(title="problems solved (%)", tickformat=".0%", range=[0, 1.02])
    return figure


def _bar(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "array": rows.high - rows.accuracy,
        "arrayminus": rows.accuracy - rows.low,
        "thickness": 1.5,
    }
