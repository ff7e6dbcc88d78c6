"""Whether the probability that a judge gives to an answer is how often such answers are right."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from itslab.viz.style import MARKS, MUTED, TEMPLATE

if TYPE_CHECKING:
    import pandas as pd


def reliability(table: pd.DataFrame, title: str = "Reliability") -> go.Figure:
    """Draw how often samples are right against how likely they were judged to be, by each method.

    On the diagonal, judgements mean what they say (DeGroot & Fienberg 1983).

    Args:
        table: one row for each bin of a method's samples: columns ``method``, ``predicted`` (mean
            judged probability), ``observed``, ``low``, ``high`` (fraction of right answers and its
            interval) and ``count`` (samples).
        title: should say how many problems and samples there are and what the interval is.
    """
    methods = list(table.groupby("method", sort=False))
    figure = make_subplots(
        cols=len(methods),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        column_titles=[f"<b>{method}</b>" for method, _ in methods],
        x_title="judged probability of being right (%; dotted: right as often as judged)",
    )
    for column, ((_, rows), mark) in enumerate(zip(methods, cycle(MARKS[1:]), strict=False), 1):
        diagonal = {"color": MUTED, "width": 1.5, "dash": "dot"}
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line=diagonal, hoverinfo="skip", row=1, col=column
        )
        figure.add_scatter(
            x=rows.predicted,
            y=rows.observed,
            error_y={
                "array": rows.high - rows.observed,
                "arrayminus": rows.observed - rows.low,
                "thickness": 1.5,
            },
            mode="lines+markers",
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 9},
            line_width=1.5,
            customdata=rows[["count", "low", "high"]],
            hovertemplate=(
                "judged %{x:.0%}, right %{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})"
                "<br>%{customdata[0]:,} samples<extra></extra>"
            ),
            row=1,
            col=column,
        )
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=450,
        width=160 + 320 * len(methods) if len(methods) < 3 else None,
        margin={"t": 96, "b": 78},
        showlegend=False,
    )
    figure.update_xaxes(range=[-0.04, 1.04], tickformat=".0%", tickvals=[0, 0.25, 0.5, 0.75, 1])
    figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%")
    figure.update_yaxes(title="right answers (%)", col=1)
    return figure
