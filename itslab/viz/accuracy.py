"""How many problems are solved: by each method, and for how many tokens."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from itslab.viz.style import INK, MARKS, TEMPLATE

if TYPE_CHECKING:
    import pandas as pd

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
    methods = list(zip(table.groupby("method", sort=False), cycle(MARKS), strict=False))
    for (method, rows), mark in methods:  # bands lie below all lines
        if len(rows) > 1:
            figure.add_scatter(
                x=[*rows.tokens, *rows.tokens[::-1]],
                y=[*rows.high, *rows.low[::-1]],
                fill="toself",
                fillcolor=mark.colour,
                opacity=0.1,
                line_width=0,
                mode="lines",
                hoverinfo="skip",
                legendgroup=method,
                showlegend=False,
            )
    for (method, rows), mark in methods:
        figure.add_scatter(
            x=rows.tokens,
            y=rows.accuracy,
            error_y=None if len(rows) > 1 else _interval(rows),
            name=str(method),
            legendgroup=method,
            mode="lines+markers" if len(rows) > 1 else "markers",
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 9},
            line={"color": mark.colour, "width": 2.5, "dash": mark.dash},
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


def forest(
    table: pd.DataFrame,
    title: str = "Accuracy of each method",
    reference: tuple[float, str] | None = None,
) -> go.Figure:
    """Draw the accuracy of methods below each other, each with its interval.

    Args:
        table: columns ``method``, ``accuracy``, ``low``, ``high`` (fractions: the estimate and its
            interval); optionally ``group`` (a heading over the methods that share it) and ``note``
            (text at the right margin). Rows are drawn in their order.
        title: should say how many problems there are and what the interval is.
        reference: an accuracy that all others are held against, and its label.
    """
    figure = go.Figure()
    labels: list[str] = []
    grouped = "group" in table
    groups = table.group.unique() if grouped else [""]
    for group, mark in zip(groups, cycle(MARKS[1:]), strict=False):
        rows = table[table.group == group] if grouped else table
        labels += [f"<b>{group}</b>"] if grouped else []
        places = range(len(labels), len(labels) + len(rows))
        labels += map(str, rows.method)
        figure.add_scatter(
            x=rows.accuracy,
            y=list(places),
            error_x=_interval(rows),
            mode="markers",
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 10},
            customdata=rows[["method", "low", "high"]],
            hovertemplate=(
                "%{customdata[0]}: %{x:.1%} (%{customdata[1]:.1%} to %{customdata[2]:.1%})"
                "<extra></extra>"
            ),
        )
        for place, note in zip(places, rows.get("note", []), strict=False):
            figure.add_annotation(
                x=1, xref="paper", xanchor="left", xshift=12, y=place, text=note, showarrow=False
            )
    if reference:
        value, label = reference
        figure.add_vline(value, line={"color": INK, "width": 1.5, "dash": "dot"})
        figure.add_annotation(
            x=value, y=1, yref="paper", yanchor="bottom", text=label, showarrow=False
        )
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=170 + 30 * len(labels),
        showlegend=False,
        margin={"t": 90, "r": 30 + 8 * max(map(len, table.get("note", [""])))},
    )
    figure.update_xaxes(title="problems solved (%)", tickformat=".0%", rangemode="tozero")
    figure.update_yaxes(
        tickvals=list(range(len(labels))),
        ticktext=labels,
        range=[len(labels) - 0.4, -0.6],
        ticks="",
        showgrid=False,
    )
    return figure


def _interval(rows: pd.DataFrame) -> dict[str, object]:
    return {
        "array": rows.high - rows.accuracy,
        "arrayminus": rows.accuracy - rows.low,
        "thickness": 1.5,
    }
