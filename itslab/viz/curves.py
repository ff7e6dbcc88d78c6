"""Figures of scaling: accuracy against any budget, fronts, fitted laws, and problems one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import ArrayLike
from plotly.subplots import make_subplots

from itslab.core import require
from itslab.study.fits import Fit
from itslab.viz.figures import drawn_as, error_bars
from itslab.viz.style import BELOW, BLUE, GREEN, INK, MARKS, MUTED, ORANGE, TEMPLATE, headed, short

if TYPE_CHECKING:
    import pandas as pd


class Axis(NamedTuple):
    """A budget: its column in a table, and how it is written.

    Args:
        column: of ``tables.accuracy``.
        title: of the axis, with the unit.
        form: of a value, for plotly.
    """

    column: str
    title: str
    form: str


AXES: Mapping[str, Axis] = {
    "samples": Axis("samples", "samples per problem", ",.3~g"),
    "tokens": Axis("tokens", "decoded tokens per problem", ",.0f"),
    "GFLOPs": Axis("gflops", "GFLOPs per problem", ",.0f"),
    "seconds": Axis("seconds", "seconds of compute per problem", ",.3~g"),
    "dollars": Axis("dollars", "US dollars per 1,000 problems", ",.3~g"),
}
"""What accuracy is drawn against."""

TICKS = [digit * 10.0**power for power in range(-4, 8) for digit in (1, 2, 5)]
_SIGNS = {GREEN: "triangle-right", ORANGE: "triangle-left", MUTED: "circle"}
"""Better, worse, and neither: no figure relies on colour alone."""
_SHARES = [-0.02, 1.02]
"""The range of shares: points at 0 and at 1 are seen whole."""
_BANDS = 3
"""Up to so many lines have a band; more would hide each other, and have a bar at their end."""


def axis(x: str, table: pd.DataFrame) -> Axis:
    """Return the budget of this name.

    Raises:
        OptionError: there is none, or the table does not have it for all methods.
    """
    there = [name for name, each in AXES.items() if each.column in table]
    known = [name for name in there if bool(table[AXES[name].column].notna().all())]
    require(x in known, "x", x, " or ".join(map(repr, known)))
    return AXES[x]


def accuracy_against(
    table: pd.DataFrame,
    title: str = "Accuracy against compute",
    x: str = "tokens",
    fits: Mapping[str, Fit] = {},
) -> go.Figure:
    """Draw accuracy against a budget, one line per method.

    Args:
        table: columns ``method``, ``samples`` (per problem), ``tokens`` (decoded per problem),
            ``accuracy``, ``low``, ``high`` (fractions: the estimate and its interval); other
            budgets as ``tables.accuracy`` returns them.
        title: should say how many problems there are and what the interval is.
        x: one of ``AXES``.
        fits: of some methods, drawn as thin lines, three times as far as they were fitted.

    Raises:
        OptionError: the table does not have the budget.
    """
    budget = axis(x, table)
    figure = go.Figure()
    methods = list(zip(table.groupby("method", sort=False), cycle(MARKS), strict=False))
    lines = sum(len(rows) > 1 for (_, rows), _ in methods)
    for (method, rows), mark in methods:  # bands lie below all lines
        if len(rows) > 1 and lines <= _BANDS:
            at = rows[budget.column]
            figure.add_scatter(
                x=[*at, *at[::-1]],
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
        single = len(rows) == 1
        bars = None
        if single or lines > _BANDS:
            last = rows.index == rows.index[-1]
            low, high = (end.where(last, rows.accuracy) for end in (rows.low, rows.high))
            bars = error_bars(rows.accuracy, low, high)
        figure.add_scatter(
            x=rows[budget.column],
            y=rows.accuracy,
            error_y=bars,
            name=str(method),
            legendgroup=method,
            mode="markers" if single else "lines+markers",
            **drawn_as(mark),
            customdata=rows[["samples", "low", "high"]],
            hovertemplate=(
                f"%{{customdata[0]}} samples, %{{x:{budget.form}}} {x}<br>"
                "%{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})"
            ),
        )
        if fit := fits.get(str(method)):
            figure.add_trace(_curve(fit, mark.colour, f"{method}: {fit.law}"))
    figure.update_layout(template=TEMPLATE, height=500, hovermode="closest", legend=BELOW)
    figure.update_xaxes(title=f"{budget.title} (log scale)", type="log", tickvals=TICKS)
    figure.update_xaxes(tickformat=",~g")
    figure.update_yaxes(title="problems solved (%)", tickformat=".0%", range=_SHARES)
    return headed(figure, title)


def _curve(fit: Fit, colour: str, name: str) -> go.Scatter:
    at = np.geomspace(fit.x.min(), fit.x.max() * 3, 60)
    return go.Scatter(
        x=at,
        y=fit(at),
        mode="lines",
        line={"color": colour, "width": 1, "dash": "dot"},
        name=name,
        hoverinfo="skip",
        showlegend=False,
    )


def front(
    table: pd.DataFrame, title: str = "Accuracy against compute", x: str = "GFLOPs"
) -> go.Figure:
    """Draw methods as points by what they solve and cost, and the line that none of them beats.

    On the line (the Pareto front) are the methods than which no other solves more for as much or
    less.

    Args:
        table: columns ``method``, a budget such as ``gflops`` (per problem), ``accuracy``, ``low``,
            ``high`` (fractions: the estimate and its interval), and ``group`` (methods that share a
            mark); optionally ``note`` (text beside the mark).
        title: should say how many problems there are and what the interval is.
        x: one of ``AXES``.

    Raises:
        OptionError: there is no method with an accuracy, or the table does not have the budget.
    """
    table = table[table.accuracy.notna()].reset_index(drop=True)
    require(len(table) > 0, "table", table, "a row of one method at least, with an accuracy")
    budget = axis(x, table)
    price = budget.column
    figure = go.Figure()
    best = undominated(table, price)
    figure.add_scatter(
        x=[*best[price], table[price].max() * 1.1],
        y=[*best.accuracy, best.accuracy.iloc[-1]],
        mode="lines",
        line={"color": MUTED, "width": 1.5, "dash": "dot", "shape": "hv"},
        name="front",
        hoverinfo="skip",
    )
    groups = zip(table.groupby("group", sort=False), cycle(MARKS[1:]), strict=False)
    for (group, rows), mark in groups:
        figure.add_scatter(
            x=rows[price],
            y=rows.accuracy,
            error_y=error_bars(rows.accuracy, rows.low, rows.high),
            mode="markers+text" if "note" in rows else "markers",
            text=rows.get("note"),
            # Nothing lies above and left of the front.
            textposition=np.where(rows.index.isin(best.index), "top left", "bottom right"),
            marker={"color": mark.colour, "symbol": mark.symbol, "size": 11},
            name=str(group),
            customdata=rows[["method", "low", "high"]],
            hovertemplate=(
                f"%{{customdata[0]}}: %{{x:{budget.form}}} {x}<br>"
                "%{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})<extra></extra>"
            ),
        )
    figure.update_layout(
        template=TEMPLATE,
        height=470,
        hovermode="closest",
        legend=BELOW,
    )
    if table[price].max() >= 10 * table[price].min() > 0:
        figure.update_xaxes(title=f"{budget.title} (log scale)", type="log", tickvals=TICKS)
    else:
        figure.update_xaxes(title=budget.title, rangemode="tozero")
    figure.update_xaxes(tickformat=",~g")
    figure.update_yaxes(title="problems solved (%)", tickformat=".0%")
    return headed(figure, title)


def undominated(table: pd.DataFrame, price: str) -> pd.DataFrame:
    """Return the rows than which no other solves more for as much or less, the cheapest first."""
    order = table.sort_values([price, "accuracy"], ascending=[True, False])
    return order[order.accuracy > order.accuracy.cummax().shift(fill_value=-1)]


def fitted(
    fit: Fit,
    title: str,
    unit: str,
    reach: float = 4.0,
    held_out: tuple[ArrayLike, ArrayLike] = ((), ()),
) -> go.Figure:
    """Draw a law that was fitted to a curve, its forecast beyond, and below what it leaves over.

    Args:
        fit: as ``fits.fit`` returns it.
        title: should say how many problems there are and what the interval is.
        unit: of x, such as samples per problem.
        reach: how many times as far as it was fitted it is drawn.
        held_out: x and accuracy of budgets that it was not fitted to.
    """
    figure = make_subplots(
        rows=2, shared_xaxes=True, row_heights=[0.74, 0.26], vertical_spacing=0.06
    )
    at = np.geomspace(fit.x.min(), fit.x.max() * reach, 80)
    low, high = fit.interval(at)
    figure.add_scatter(
        x=[*at, *at[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=BLUE,
        opacity=0.12,
        line_width=0,
        mode="lines",
        name="95 % interval of the fit",
        hoverinfo="skip",
    )
    within = at <= fit.x.max() * 1.0001
    for part, dash, name in ((within, "solid", fit.law), (~within, "dot", "forecast")):
        figure.add_scatter(
            x=at[part],
            y=fit(at[part]),
            mode="lines",
            line={"color": BLUE, "width": 2.5, "dash": dash},
            name=name,
            hovertemplate="%{x:,.3~g}: %{y:.1%}<extra></extra>",
        )
    points = [(fit.x, fit.observed, "fitted to", MARKS[0])]
    other = np.asarray(held_out[0], dtype=float), np.asarray(held_out[1], dtype=float)
    if other[0].size:
        points.append((*other, "held out", MARKS[2]))
    for x, y, name, mark in points:
        look = {"color": mark.colour, "symbol": mark.symbol, "size": 9}
        hover = "%{x:,.3~g}: %{y:.1%}<extra></extra>"
        figure.add_scatter(x=x, y=y, mode="markers", marker=look, name=name, hovertemplate=hover)
        figure.add_scatter(
            x=x,
            y=(y - fit(x)) * 100,
            mode="markers",
            marker=look,
            showlegend=False,
            hovertemplate="%{x:,.3~g}: %{y:+.1f} points<extra></extra>",
            row=2,
            col=1,
        )
    figure.add_hline(0, line={"color": MUTED, "width": 1}, row=2, col=1)
    figure.update_layout(template=TEMPLATE, height=590, hovermode="closest", legend=BELOW)
    figure.update_xaxes(type="log", tickvals=TICKS, tickformat=",~g")
    figure.update_xaxes(title=f"{unit} (log scale)", row=2, col=1)
    figure.update_yaxes(title="solved (%)", tickformat=".0%", range=_SHARES, row=1, col=1)
    figure.update_yaxes(title="left over<br>(points)", rangemode="tozero", row=2, col=1)
    return headed(figure, title)


def gains(table: pd.DataFrame, reference: str, title: str = "Differences") -> go.Figure:
    """Draw paired differences to a reference one below the other, each with its intervals.

    Args:
        table: columns ``method``, ``gain``, ``low``, ``high`` (fractions), ``note`` (text at the
            right margin).
        reference: what the methods are compared with.
        title: should say how many problems there are and what the interval is.
    """
    figure = go.Figure()
    places = list(range(len(table)))
    clear = (table.low > 0) | (table.high < 0)
    figure.add_scatter(
        x=table.gain * 100,
        y=places,
        error_x=error_bars(table.gain * 100, table.low * 100, table.high * 100),
        mode="markers",
        marker={"color": np.where(clear, ORANGE, BLUE), "size": 10},
        customdata=table[["method", "note"]],
        hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
    )
    figure.add_vline(0, line={"color": INK, "width": 1.5, "dash": "dot"})
    right = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 12, "showarrow": False}
    for place, note in zip(places, table.note, strict=True):
        figure.add_annotation(text=note, y=place, **right)
    figure.update_layout(
        template=TEMPLATE,
        height=170 + 30 * len(table),
        showlegend=False,
        margin={"r": 30 + 8 * max(map(len, table.note), default=0)},
    )
    figure.update_xaxes(title=f"percentage points against {reference}", zeroline=False)
    figure.update_yaxes(
        tickvals=places, ticktext=list(table.method), range=[len(table) - 0.4, -0.6], ticks=""
    )
    return headed(figure, title)


def atlas(table: pd.DataFrame, title: str = "Where which method pays") -> go.Figure:
    """Draw where methods pay: a column for each task, a row for each method, with intervals.

    Of a method's budgets the smallest is drawn uppermost, as the smallest sign.

    Args:
        table: as ``study.tables.atlas`` returns it.
        title: should say what the rival is and what the intervals are.

    Raises:
        OptionError: the table has no rows, or is another one.
    """
    columns = {"task", "method", "budget", "problems", "tokens", "solved", "rival", "points"}
    fits = columns | {"gain", "low", "high"} <= {*getattr(table, "columns", ())} and len(table) > 0
    require(fits, "table", table, "as study.tables.atlas returns it, of one row at least")
    tasks, names = ([*dict.fromkeys(table[column])] for column in ("task", "method"))
    counts = table.groupby("task").problems.agg(["min", "max"])
    of = {
        task: f"{low}" if low == high else f"{low}–{high}"
        for task, low, high in counts.itertuples()
    }
    figure = make_subplots(
        cols=len(tasks),
        shared_yaxes=True,
        horizontal_spacing=0.03,
        column_titles=[f"<b>{task}</b><br>{of[task]} problems" for task in tasks],
        x_title="percentage points against the rival for as many tokens",
    )
    place = table.groupby(["task", "method"]).cumcount()
    for (_, row), nth in zip(table.iterrows(), place, strict=True):
        beside = int(((table.task == row.task) & (table.method == row.method)).sum())
        colour = GREEN if row.low > 0 else ORANGE if row.high < 0 else MUTED
        figure.add_scatter(
            x=[100 * row.gain],
            y=[names.index(row.method) + 0.3 * (nth - (beside - 1) / 2)],
            error_x={
                "array": [100 * (row.high - row.gain)],
                "arrayminus": [100 * (row.gain - row.low)],
                "thickness": 1.5,
                "color": colour,
            },
            mode="markers",
            marker={"color": colour, "size": 7 + 3 * nth, "symbol": _SIGNS[colour]},
            showlegend=False,
            hovertemplate=(
                f"{row.method}, {row.budget}: {row.solved} against {row.rival},<br>"
                f"{row.points} points, {row.tokens:,} tokens, {row.problems} problems"
                "<extra></extra>"
            ),
            row=1,
            col=1 + tasks.index(row.task),
        )
    for column in range(1, len(tasks) + 1):
        figure.add_vline(0, line={"color": INK, "width": 1, "dash": "dot"}, row=1, col=column)
    figure.update_layout(
        template=TEMPLATE,
        height=200 + 40 * len(names),
        margin={"b": 80},
    )
    figure.update_yaxes(tickvals=list(range(len(names))), range=[len(names) - 0.4, -0.6], ticks="")
    figure.update_yaxes(ticktext=names, col=1)
    figure.update_xaxes(matches="x", nticks=7)  # a point is as long everywhere
    return headed(figure, title, room=56)


def by_problem(
    rates: Mapping[str, ArrayLike], problems: Sequence[str], title: str = "Problem by problem"
) -> go.Figure:
    """Draw what methods solve of each problem: a row for each method, the easiest problems left.

    Args:
        rates: name of a method -> (p,) success rates.
        problems: (p,) their names.
        title: should say what the problems are.
    """
    require(bool(rates), "rates", rates, "of one method at least")
    values = np.array([np.asarray(row, dtype=float) for row in rates.values()])
    require(values.shape[1:] == (len(problems),), "rates", values.shape, f"(p,) of {len(problems)}")
    order = np.argsort(-values.mean(axis=0), kind="stable")
    figure = go.Figure(
        go.Heatmap(
            z=values[:, order],
            y=[short(str(name), 28) for name in rates],
            customdata=np.broadcast_to(np.array(problems, dtype=object)[order], values.shape),
            zmin=0,
            zmax=1,
            colorscale=[[0, "#f3f3f3"], [0.5, "#7fb8d9"], [1, "#0b4f78"]],
            colorbar={"title": "solved", "tickformat": ".0%"},
            hovertemplate="%{customdata}<br>%{y}: %{z:.0%}<extra></extra>",
        )
    )
    figure.update_layout(template=TEMPLATE, height=170 + 30 * len(rates))
    figure.update_xaxes(title="problems, the easiest for these methods first", ticks="")
    figure.update_xaxes(showticklabels=False, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="")
    return headed(figure, title)
