"""Answers through their revisions: how many are right, and what each revision changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plotly.subplots import make_subplots

from itslab.viz.style import AMBER, BLUE, GREEN, GREY, INK, ORANGE, TEMPLATE

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

_LINES = (
    ("right", "low", "high", "the last version", BLUE, "circle", "solid", -0.03),
    ("kept", "kept low", "kept high", "the best version by score", ORANGE, "square", "dash", 0.03),
)
"""The last number moves a line aside, so that intervals do not lie upon each other."""

_BARS = (
    ("wrong → right", "wrong → right: better", GREEN, "/"),
    ("right → right", "right → right", GREY, ""),
    ("wrong → wrong", "wrong → wrong", "white", ""),
    ("right → wrong", "right → wrong: worse", AMBER, "x"),
)


def refinement(table: pd.DataFrame, title: str = "Refinement") -> go.Figure:
    """Draw how many answers are right after each iteration, and what the iteration changed.

    Args:
        table: as ``study.revisions.course`` returns it.
        title: should say how many problems there are and what the interval is.
    """
    figure = make_subplots(
        rows=1,
        cols=2,
        column_widths=[0.5, 0.5],
        horizontal_spacing=0.12,
        subplot_titles=("answers that are right", "revisions, by what they changed"),
    )
    _draw_answers(figure, table)
    _draw_revisions(figure, table[table.revised > 0])
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=470,
        barmode="stack",
        bargap=0.3,
        legend={"itemsizing": "constant"},
        margin={"t": 100},
    )
    figure.update_xaxes(title="iteration (0: the first answer)", dtick=1, row=1, col=1)
    figure.update_xaxes(title="iteration (revisions)", type="category", ticks="", row=1, col=2)
    figure.update_yaxes(title="answers (%)", tickformat=".0%", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="revisions (%)", tickformat=".0%", range=[0, 1], row=1, col=2)
    return figure


def _draw_answers(figure: go.Figure, table: pd.DataFrame) -> None:
    for name, low, high, label, colour, symbol, dash, aside in _LINES:
        figure.add_scatter(
            x=table.index + aside,
            y=table[name],
            error_y={
                "array": table[high] - table[name],
                "arrayminus": table[name] - table[low],
                "thickness": 1.5,
            },
            name=label,
            mode="lines+markers",
            marker={"color": colour, "symbol": symbol, "size": 9},
            line={"color": colour, "width": 2.5, "dash": dash},
            hovertemplate="iteration %{x:.0f}: %{y:.1%}",
            row=1,
            col=1,
        )


def _draw_revisions(figure: go.Figure, table: pd.DataFrame) -> None:
    for name, label, colour, pattern in _BARS:
        shares = table[name] / table.revised
        figure.add_bar(
            x=[f"{i}<br>({n})" for i, n in zip(table.index, table.revised, strict=True)],
            y=shares,
            name=label,
            text=[
                str(n) if part > 0.03 else "" for n, part in zip(table[name], shares, strict=True)
            ],
            textposition="inside",
            insidetextanchor="middle",
            textangle=0,
            constraintext="none",
            textfont={"color": INK, "size": 13},
            marker={
                "color": colour,
                "line": {"color": GREY, "width": 1},
                "pattern": {"shape": pattern, "fillmode": "overlay", "fgopacity": 0.5, "size": 8},
            },
            hovertemplate="%{x}: %{y:.1%}",
            row=1,
            col=2,
        )
