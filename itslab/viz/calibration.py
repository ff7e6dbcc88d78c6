"""Whether the probability that a judge gives to an answer is how often such answers are right."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from itslab.viz.style import GREY, MARKS, MUTED, TEMPLATE

if TYPE_CHECKING:
    import pandas as pd

_BAR = 0.06  # width of a bar, as a probability


def reliability(table: pd.DataFrame, title: str = "Reliability") -> go.Figure:
    """Draw how often samples are right against how likely they were judged to be, by each method.

    On the diagonal, judgements mean what they say (DeGroot & Fienberg 1983). Below each panel is
    shown how many samples its points stand for.

    Args:
        table: one row for each bin of a method's samples: columns ``method``, ``predicted`` (mean
            judged probability), ``observed``, ``low``, ``high`` (fraction of right answers and its
            interval) and ``count`` (samples).
        title: should say how many problems there are and what the interval is.
    """
    methods = list(table.groupby("method", sort=False))
    wide = len(methods) < 3
    figure = make_subplots(
        rows=2,
        cols=len(methods),
        row_heights=[0.78, 0.22],
        shared_xaxes=True,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        vertical_spacing=0.05,
        column_titles=[f"<b>{method}</b>" for method, _ in methods],
        x_title="judged probability of being right<br>(dotted: right as often as judged)",
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
        figure.add_bar(
            x=rows.predicted,
            y=rows["count"],
            width=_BAR,
            marker_color=GREY,
            text=[f"{n / 1000:.1f}k" if n >= 1000 else f"{n}" for n in rows["count"]],
            textposition="outside",
            textangle=0 if wide else -90,
            textfont_size=10,
            constraintext="none",
            cliponaxis=False,
            hovertemplate="%{y:,} samples<extra></extra>",
            row=2,
            col=column,
        )
    figure.update_layout(
        template=TEMPLATE,
        title=title,
        height=530,
        width=160 + 320 * len(methods) if wide else None,
        margin={"t": 96, "b": 84},
        showlegend=False,
    )
    figure.update_xaxes(range=[-0.04, 1.04], tickformat=".0%", tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[-0.04, 1.04], tickformat=".0%", row=1)
    figure.update_yaxes(title="right answers (%)", row=1, col=1)
    figure.update_yaxes(range=[0, 1.5 * table["count"].max()], nticks=3, row=2)
    figure.update_yaxes(title="samples", row=2, col=1)
    return figure
