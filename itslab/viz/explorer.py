"""A study to walk through: what is compared, on what, against which budget; all follows at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from itertools import cycle
from typing import Any, cast

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from itslab.core import OptionError, require
from itslab.study.fits import Fit, fit
from itslab.study.methods import Budget, MethodResult, Results, at_budget
from itslab.study.outcome import Outcome
from itslab.study.prices import Price
from itslab.study.statistics import Estimate
from itslab.study.tables import accuracy
from itslab.viz.curves import AXES, TICKS, undominated
from itslab.viz.figures import drawn_as, error_bars
from itslab.viz.panels import FigurePanel
from itslab.viz.style import MARKS, MUTED, TEMPLATE, Mark, headed

SLICES = {"all": (0.0, 1.0), "easiest third": (2 / 3, 1.0), "middle third": (1 / 3, 2 / 3)}
SLICES |= {"hardest third": (0.0, 1 / 3)}
"""Problems by how often anything in the study solved them, from the lowest part to the highest."""

Name = tuple[str, str]  # model, method


class Explorer(FigurePanel):
    """A study's curves, paired differences, front and fits, of what is chosen.

    The difficulty of a problem is how often all that was tried solved it, which no strategy can
    know, and which makes slices look more different than they are: for a look, not for claims.

    Args:
        outcome: of the study.
        prices: name of a model -> its price, for dollars.
        task: that is chosen at first; by default the first.
    """

    def __init__(
        self, outcome: Outcome, prices: Mapping[str, Price] = {}, task: str | None = None
    ) -> None:
        import ipywidgets as widgets

        require(isinstance(outcome, Outcome), "outcome", outcome, "what conduct returns")
        self._outcome, self._prices = outcome, prices
        require(len(outcome.runs) > 0, "outcome", "no runs", "of a study of which some were drawn")
        tasks, models = (list(outcome.runs[name].unique()) for name in ("task", "model"))
        require(task in (None, *tasks), "task", task, " or ".join(map(repr, tasks)))
        self._results = cache(self._computed)
        look = {"style": {"description_width": "70px"}}
        self.task = widgets.Dropdown(
            description="task", options=tasks, value=task or tasks[0], **look
        )
        wide = {"rows": 4, "layout": {"width": "300px"}, **look}
        self.models = widgets.SelectMultiple(
            description="models", options=models, value=models, **wide
        )
        methods = self._methods()
        self.methods = widgets.SelectMultiple(
            description="methods", options=methods, value=methods[:4], **wide
        )
        self.against = widgets.Dropdown(description="against", **look)
        self.against.tooltip = "what the others are compared with, for as much of the budget"
        axes = [name for name in AXES if name != "dollars" or prices]
        self.axis = widgets.ToggleButtons(
            options=axes, value="tokens", style={"button_width": "86px"}
        )
        self.slice = widgets.Dropdown(description="problems", options=list(SLICES), **look)
        self.slice.tooltip = "by how often all that was tried here solved them"
        self.law = widgets.Dropdown(
            description="fit", options=["none", "power law", "logistic"], value="logistic", **look
        )
        what = [self.task, self.slice, self.against, self.law]
        super().__init__([*what, self.models, self.methods, self.axis])
        self.view.add_class("its-wide")

    # -- what is chosen

    def _methods(self) -> list[str]:
        runs = self._outcome.runs
        names = list(runs[runs.task == self.task.value].method.unique())
        drawn = runs[(runs.task == self.task.value) & (runs.rule != "")].method.unique()
        return [*names, *(f"coverage of {name}" for name in drawn)]

    def settle(self) -> None:
        """Offer the methods of the task, and each line to compare with; keep what was chosen."""
        methods = self._methods()
        if list(self.methods.options) != methods:
            kept = [name for name in self.methods.value if name in methods] or methods[:4]
            self.methods.options, self.methods.value = methods, kept
        labels = [*_labels(self._lines()).values()]
        if list(self.against.options) != labels:
            before = self.against.value
            self.against.options = labels
            self.against.value = before if before in labels else next(iter(labels), None)

    def _lines(self) -> list[Name]:
        """The chosen methods of the chosen models, as far as they were tried on the task."""
        return [
            (model, method)
            for model in self.models.value
            for method in dict.fromkeys(name for name, _ in self._results(self.task.value, model))
            if method in self.methods.value
        ]

    def _computed(self, task: str, model: str) -> Results:
        runs = self._outcome.runs
        there = runs[(runs.task == task) & (runs.model == model)]
        if there.empty:
            return {}
        budget = str(there.budget.iloc[0])
        return self._outcome.results(task, model, budget, coverage=True, price=self._prices)

    def ladders(self) -> dict[Name, dict[int, MethodResult]]:
        """Return what the chosen methods of the chosen models did on the chosen problems."""
        found: dict[Name, dict[int, MethodResult]] = {}
        for model in self.models.value:
            results = self._results(self.task.value, model)
            for (method, size), result in results.items():
                if method in self.methods.value:
                    found.setdefault((model, method), {})[size] = result
        counts = {len(r.success) for sizes in found.values() for r in sizes.values()}
        if len(counts) == 1 and self.slice.value != "all":
            chosen = self._chosen()
            if len(chosen) == counts.pop():
                return {
                    name: {size: result.part(chosen) for size, result in sizes.items()}
                    for name, sizes in found.items()
                }
        return found

    def _chosen(self) -> NDArray[np.bool_]:
        """Which problems the slice holds, by how often all that was tried solved them."""
        low, high = SLICES[self.slice.value]
        every = [
            result.success
            for model in self._outcome.runs.model.unique()
            for (method, _), result in self._results(self.task.value, model).items()
            if not method.startswith("coverage")
        ]
        ranks = np.argsort(np.argsort(np.mean(every, axis=0), kind="stable"), kind="stable")
        place = (ranks + 0.5) / len(ranks)
        return np.asarray((place >= low) & (place <= high))

    # -- what is drawn

    def figure(self) -> go.Figure:
        """Return the four pictures: curves, differences, the front, and what fits leave over."""
        ladders = self.ladders()
        if not ladders:
            return _empty("nothing that is chosen was tried on this task: choose other models")
        figure = make_subplots(
            rows=2,
            cols=2,
            horizontal_spacing=0.13,
            vertical_spacing=0.2,
            subplot_titles=("", "", "the front of these", "left over by the fits (points)"),
        )
        count = next(len(r.success) for sizes in ladders.values() for r in sizes.values())
        budget = AXES[self.axis.value]
        label = _labels(ladders)
        tables = self._tables(ladders)
        largest = []
        look = dict(zip(tables, cycle(MARKS), strict=False))
        for name, table in tables.items():
            mark = look[name]
            if table[budget.column].isna().any():
                continue
            self._add_curve(figure, label[name], table, mark)
            if not name[1].startswith("coverage"):  # which nobody reaches without the gold answers
                largest.append(table.assign(name=label[name], colour=mark.colour))
        self._add_gains(figure, ladders, label, look)
        if largest:
            self._add_front(figure, pd.concat(largest))
        told = [f"per problem: {budget.title.replace(' per problem', '')}; 95 % intervals"]
        told += ["recorded, each model by itself"] if self.axis.value == "seconds" else []
        told += [] if self.slice.value == "all" else ["difficulty: how few methods here solve it"]
        figure.update_layout(
            template=TEMPLATE,
            height=860,
            hovermode="closest",
            showlegend=False,  # the differences are labelled, and show each mark
        )
        figure.update_annotations(font_size=13)
        figure.update_xaxes(title_font_size=13, tickangle=0)
        figure.update_yaxes(title_font_size=13)
        for row, col in ((1, 1), (2, 1), (2, 2)):
            figure.update_xaxes(type="log", tickvals=TICKS, tickformat=",~g", row=row, col=col)
            figure.update_xaxes(title=f"{self.axis.value} (log scale)", row=row, col=col)
        figure.update_yaxes(tickformat=".0%", title="solved (%)", col=1)
        figure.update_yaxes(range=[0, 1.02], row=1, col=1)
        heading = f"{self.task.value}, {self.slice.value}: {count} problems"
        return headed(figure, heading, "; ".join(told), room=20)

    def _tables(self, ladders: Mapping[Name, Mapping[int, MethodResult]]) -> dict[Name, Any]:
        """The numbers of each line."""
        tables = {}
        for (model, method), sizes in ladders.items():
            table = accuracy({(method, size): result for size, result in sizes.items()})
            tables[model, method] = table.sort_values("tokens")
        return tables

    def _add_curve(self, figure: go.Figure, label: str, table: Any, mark: Mark) -> None:
        budget = AXES[self.axis.value]
        at = table[budget.column]
        figure.add_scatter(
            x=at,
            y=table.accuracy,
            error_y={**error_bars(table.accuracy, table.low, table.high), "width": 3},
            name=label,
            mode="lines+markers",
            **drawn_as(mark),
            customdata=table[["samples", "low", "high"]],
            hovertemplate=(
                f"%{{customdata[0]}} samples, %{{x:{budget.form}}} {self.axis.value}<br>"
                "%{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%})"
            ),
            row=1,
            col=1,
        )
        law = self._fit(table)
        if law is not None:
            at = np.geomspace(law.x.min(), law.x.max() * 3, 40)
            thin = {"color": mark.colour, "width": 1, "dash": "dot"}
            figure.add_scatter(
                x=at, y=law(at), mode="lines", line=thin, hoverinfo="skip", showlegend=False
            )
            figure.add_scatter(
                x=law.x,
                y=100 * law.residuals,
                mode="markers",
                marker=drawn_as(mark)["marker"],
                name=label,
                row=2,
                col=2,
            )

    def _fit(self, table: Any) -> Fit | None:
        """The chosen law, where there are budgets enough."""
        if self.law.value == "none":
            return None
        rows = table.drop_duplicates(AXES[self.axis.value].column)
        try:
            return fit(
                self.law.value,
                rows[AXES[self.axis.value].column].to_numpy(),
                rows.accuracy.to_numpy()[None, :],
                draws=1,
            )
        except OptionError:
            return None

    def _add_gains(
        self,
        figure: go.Figure,
        ladders: Mapping[Name, Mapping[int, MethodResult]],
        label: Mapping[Name, str],
        look: Mapping[Name, Mark],
    ) -> None:
        """Each method at its largest size against a chosen one, for as much of the budget."""
        budget = AXES[self.axis.value].column
        by = {"samples": "tokens", "gflops": "flops"}.get(budget, budget)
        unit = {"flops": "FLOPs"}.get(by, by)
        first = next(name for name in ladders if label[name] == self.against.value)
        reach, clipped = 0.1, False
        for place, (name, sizes) in enumerate(ladders.items()):
            said, gain = f"{label[name]}, {max(sizes)}", None
            if name == first:
                said = f"{label[name]}: the reference"
            else:
                gain, even = _gain(sizes[max(sizes)], ladders[first].values(), cast(Budget, by))
                clipped |= not even
                said += f": {gain.points}{'' if even else '*'}" if gain else ": not comparable"
            if gain:
                reach = max(reach, abs(gain.low), abs(gain.high))
            figure.add_scatter(
                x=[100 * gain.value if gain else 0],
                y=[place],
                error_x={
                    "array": [100 * (gain.high - gain.value)],
                    "arrayminus": [100 * (gain.value - gain.low)],
                    "thickness": 1.5,
                }
                if gain
                else None,
                mode="markers",
                marker=drawn_as(look[name])["marker"],
                opacity=1 if gain or name == first else 0,
                hovertemplate=f"{said}<extra></extra>",
                row=1,
                col=2,
            )
            figure.add_annotation(
                x=0,
                xref="x2 domain",
                y=place - 0.4,
                yref="y2",
                text=said,
                xanchor="left",
                showarrow=False,
                bgcolor="white",  # the line at zero does not go through words
                borderpad=1,
            )
        figure.add_vline(0, line={"color": MUTED, "width": 1, "dash": "dot"}, row=1, col=2)
        figure.update_yaxes(
            showticklabels=False,
            ticks="",
            range=[len(ladders) - 0.5, -0.8],
            showgrid=False,
            title="",
            row=1,
            col=2,
        )
        against = f"points for as many {unit} (at the largest size)"
        if clipped:
            against += f"<br>* that many {unit} are more than the other was tried with"
        figure.update_xaxes(title=against, range=[-110 * reach, 110 * reach], row=1, col=2)

    def _add_front(self, figure: go.Figure, table: Any) -> None:
        price = AXES[self.axis.value].column
        best = undominated(table, price)
        figure.add_scatter(
            x=best[price],
            y=best.accuracy,
            mode="lines",
            line={"color": MUTED, "width": 1.5, "dash": "dot", "shape": "hv"},
            hoverinfo="skip",
            showlegend=False,
            row=2,
            col=1,
        )
        figure.add_scatter(
            x=best[price],
            y=best.accuracy,
            error_y=error_bars(best.accuracy, best.low, best.high),
            mode="markers",
            marker={"color": best.colour, "size": 9},
            showlegend=False,
            customdata=best[["name", "samples"]],
            hovertemplate="%{customdata[0]} %{customdata[1]}: %{y:.0%}<extra></extra>",
            row=2,
            col=1,
        )


def _gain(
    result: MethodResult, rivals: Iterable[MethodResult], by: Budget
) -> tuple[Estimate | None, bool]:
    """A difference for as much of a budget, and whether the rival could spend that much."""
    try:
        spent = _mean(result, by)
        rival = at_budget(list(rivals), spent, by)
        return result.gain(rival), abs(_mean(rival, by) - spent) <= 0.02 * spent
    except OptionError:
        return None, True  # of other problems


def _empty(why: str) -> go.Figure:
    """A picture that says why there is none."""
    figure = go.Figure()
    figure.update_layout(template=TEMPLATE, height=200, margin={"t": 30, "b": 30})
    figure.add_annotation(text=why, showarrow=False, font_size=16)
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def _labels(names: Iterable[Name]) -> dict[Name, str]:
    """What tells lines apart: the method, the model, or both."""
    known = list(names)
    models, methods = {model for model, _ in known}, {method for _, method in known}
    if len(models) == 1:
        return {name: name[1] for name in known}
    return {name: name[0] if len(methods) == 1 else f"{name[0]}, {name[1]}" for name in known}


def _mean(result: MethodResult, budget: str) -> float:
    paid = getattr(result, budget)
    return float("nan") if paid is None else float(paid.mean())
