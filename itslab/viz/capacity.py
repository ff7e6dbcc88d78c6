"""Figures of a service: waiting against load, machines that are needed, and what schemes bring.

Tables are those of ``serving.sizing`` and ``serving.billing``.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from itslab.core import require
from itslab.viz.curves import TICKS
from itslab.viz.figures import drawn_as, error_bars
from itslab.viz.style import BELOW, INK, MARKS, MUTED, TEMPLATE, headed

if TYPE_CHECKING:
    import pandas as pd

QUANTITIES = {
    "wait": "until the first sequence is in a batch",
    "first": "until the first token",
    "seconds": "until the answer",
}
"""What seconds are counted from the arrival, by the names of ``serving.summary.WAITS``."""
SERVED = 0.01
"""Where more requests are refused than that, points are hollow: the others wait less for it."""


_SMALL = {"showarrow": False, "yanchor": "bottom", "font": {"size": 12, "color": MUTED}}


def _promise(figure: go.Figure, target: float, log: bool) -> None:
    """Draw what was promised as a line, with its seconds at the right end."""
    figure.add_hline(target, line={"color": INK, "width": 1.5, "dash": "dash"})
    y = np.log10(target) if log else target
    at = {"x": 1, "xref": "paper", "xanchor": "right", "y": y}
    figure.add_annotation(text=f"target: {target:g} s", **at, **_SMALL)


def waits(
    table: pd.DataFrame,
    title: str = "How long requests wait",
    quantity: str = "seconds",
    statistics: Sequence[str] = ("p50", "p95", "p99"),
    target: float | None = None,
) -> go.Figure:
    """Draw percentiles of the time that requests take against the load, with their intervals.

    Hollow points are loads at which requests are refused; where they wait for ever there is none.

    Args:
        table: of ``sizing.against_load``.
        title: should say what is served, for how long it was simulated, and what intervals are.
        quantity: ``wait``, ``first`` or ``seconds``: what is counted from a request's arrival.
        statistics: which percentiles, the lowest first.
        target: seconds that are promised.

    Raises:
        OptionError: the table has no such quantity, or nothing of it is known.
    """
    require(quantity in QUANTITIES, "quantity", quantity, f"one of {[*QUANTITIES]}")
    table = table[table.tier == ""]
    refused = table[table.quantity == "refused"].set_index("load").value
    figure = go.Figure()
    for name, mark in zip(statistics, cycle(MARKS[1:]), strict=False):
        rows = table[(table.quantity == quantity) & (table.statistic == name)].sort_values("load")
        rows = rows[np.isfinite(rows.value)]
        require(len(rows) > 0, "table", sorted({*table.statistic}), f"one with {name} in seconds")
        look = drawn_as(mark)
        hollow = refused.reindex(rows.load).to_numpy() > SERVED
        symbols = [f"{mark.symbol}-open" if open_ else mark.symbol for open_ in hollow]
        figure.add_scatter(
            x=rows.load,
            y=rows.value,
            error_y=error_bars(rows.value, rows.low, rows.high),
            name=name,
            mode="lines+markers",
            line=look["line"],
            marker=look["marker"] | {"symbol": symbols},
            customdata=np.column_stack([rows[["low", "high", "n"]], refused.reindex(rows.load)]),
            hovertemplate=(
                "load %{x:.2f}: %{y:.3~g} s (%{customdata[0]:.3~g} to %{customdata[1]:.3~g})<br>"
                "%{customdata[2]:,} requests, %{customdata[3]:.0%} refused"
            ),
        )
    if table.load.max() >= 0.95:
        figure.add_vline(1, line={"color": INK, "width": 1.5, "dash": "dot"})
        above = {"x": 1, "y": 1, "yref": "paper", **_SMALL}
        figure.add_annotation(text="all that the machines can do", **above)
    if target is not None:
        _promise(figure, target, log=True)
    figure.update_layout(template=TEMPLATE, height=470)
    figure.update_xaxes(title="load: work offered ÷ work that can be done", rangemode="tozero")
    figure.update_yaxes(title=f"seconds {QUANTITIES[quantity]} (log)", type="log")
    figure.update_yaxes(tickformat=",~g", tickvals=TICKS)
    return headed(figure, title, "hollow: requests are refused as well", room=28)


def machines(
    tried: pd.DataFrame, target: float, title: str = "Machines that keep a promise"
) -> go.Figure:
    """Draw what requests take against the number of machines, and what was promised.

    The title ends with the number that was found.

    Args:
        tried: of ``Sizing.tried``.
        target: seconds that are promised.
        title: should say which percentile of what it is, and what intervals are.
    """
    figure = go.Figure()
    rows = tried[np.isfinite(tried.value)]
    for enough, mark in ((False, MARKS[2]), (True, MARKS[1])):
        some = rows[rows.enough == enough]
        if not len(some):
            continue
        figure.add_scatter(
            x=some.machines,
            y=some.value,
            error_y=error_bars(some.value, some.low, some.high),
            name="enough: all of the interval is below the target" if enough else "not enough",
            mode="markers",
            marker={**drawn_as(mark)["marker"], "size": 11},
            customdata=some[["low", "high", "load", "refused", "cut"]],
            hovertemplate=(
                "%{x} machines: %{y:.3~g} s (%{customdata[0]:.3~g} to %{customdata[1]:.3~g})<br>"
                "load %{customdata[2]:.2f}, %{customdata[3]:.0%} refused, "
                "%{customdata[4]:.0%} cut by deadlines<extra></extra>"
            ),
        )
    _promise(figure, target, log=False)
    good = tried.machines[tried.enough]
    found = f"{good.min()} are enough" if len(good) else f"{tried.machines.max()} are not enough"
    ends = min([*good, tried.machines.max()]) + 1.5, max(tried.machines.min() - 1, 0)
    figure.update_layout(template=TEMPLATE, height=430, legend=BELOW, margin_b=96)
    figure.update_xaxes(
        title="machines", range=ends[::-1], tickformat=",d", dtick=max(1, round(ends[0] / 10))
    )
    figure.update_yaxes(title="seconds", rangemode="tozero", tickformat=",~g")
    return headed(figure, f"{title}: {found}")


def schemes(
    bills: pd.DataFrame, margins: pd.DataFrame, title: str = "What schemes bring, and of whom"
) -> go.Figure:
    """Draw the bills of users under each scheme, and the margin of each group of requests.

    Args:
        bills: of ``billing.bills``.
        margins: of ``billing.margins``, of the same schemes.
        title: should say how many users and requests there are.

    Raises:
        OptionError: the tables are not of the same schemes.
    """
    names = list(bills.scheme)
    require({*names} == {*margins.scheme}, "margins", sorted({*margins.scheme}), f"of {names}")
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        subplot_titles=("bill of a user", "margin by group"),
    )
    figure.add_scatter(
        x=bills.bill,
        y=names,
        error_x=error_bars(
            bills.bill, bills.p10.clip(upper=bills.bill), bills.p90.clip(lower=bills.bill)
        ),
        mode="markers",
        marker={"color": INK, "symbol": "circle", "size": 9},
        customdata=bills[["p10", "p90", "cv"]],
        hovertemplate=(
            "%{y}: $%{x:.3~g} (p10 $%{customdata[0]:.3~g}, p90 $%{customdata[1]:.3~g})<br>"
            "spread ÷ mean %{customdata[2]:.0%}<extra></extra>"
        ),
        showlegend=False,
        row=1,
        col=1,
    )
    shapes = ("", "/", "x", ".", "\\", "-")
    groups = margins.groupby("group", sort=False)
    for (group, rows), mark, shape in zip(groups, cycle(MARKS[1:]), cycle(shapes), strict=False):
        pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": "white", "fgopacity": 0.6}
        figure.add_bar(
            x=rows.margin,
            y=rows.scheme,
            orientation="h",
            name=str(group),
            marker={"color": mark.colour, "pattern": {**pattern, "size": 7}},
            customdata=rows[["margin_share", "subsidy", "requests"]],
            hovertemplate=(
                "%{y}: $%{x:.3~g}, %{customdata[0]:.0%} of the revenue<br>"
                "pays $%{customdata[1]:.3~g} for others<br>%{customdata[2]:,} requests"
            ),
            row=1,
            col=2,
        )
    figure.add_vline(0, line={"color": INK, "width": 1}, row=1, col=2)
    figure.update_layout(template=TEMPLATE, height=190 + 70 * len(names), barmode="group")
    figure.update_layout(legend={"traceorder": "normal", "itemsizing": "constant"})
    figure.update_xaxes(title="dollars a month", rangemode="tozero", tickformat=",~g")
    figure.update_yaxes(autorange="reversed", ticks="", showgrid=False)
    return headed(figure, title, "left: the mean, and 80 % of users (p10 to p90)", room=34)
