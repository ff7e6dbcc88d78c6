"""A service with sliders: how often it is asked, for what, on how many machines, by which rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import plotly.graph_objects as go

from itslab.core import require
from itslab.serving.capacity import Fleet, Scenario, simulate
from itslab.serving.lobby import Admission
from itslab.serving.mix import Mix, Query
from itslab.serving.summary import Simulation
from itslab.serving.traffic import Arrivals, Bursts, Diurnal, Poisson
from itslab.viz.controls import slider
from itslab.viz.curves import TICKS
from itslab.viz.figures import drawn_as
from itslab.viz.panels import FigurePanel
from itslab.viz.style import BELOW, MARKS, MUTED, TEMPLATE, headed

RUNS = 3
"""Simulations of the same, with other random numbers; a first look takes one."""
ENOUGH = 600
"""Requests of a simulation; where they come often it spans less time."""
DAY = "a day in an hour"
_DIM = "<style>.its-simulated { opacity: 0.35 }</style>"
RULES: Mapping[str, Admission] = {
    "tiers first, refuse when full": Admission(order="tier", full="shed"),
    "tiers first, degrade when full": Admission(order="tier", full="degrade"),
    "shortest predicted first": Admission(order="shortest", full="shed"),
    "first come, first served": Admission(order="arrival", full="shed"),
}
"""The policies that can be chosen."""
TRAFFIC: Mapping[str, Callable[[float], Arrivals]] = {
    "steady (Poisson)": Poisson,
    "bursts": lambda rate: Bursts(rate / 3, rate * 3, 120, 60),
    DAY: lambda rate: Diurnal(rate, period=3600),
}
"""The kinds of arrivals that can be chosen: of a rate, requests a second."""


class Simulator(FigurePanel):
    """How long answers take, by tier, while load, mix, machines and rules are moved.

    Args:
        fleet: machines and the terms of tiers; how many machines and by which rules is moved.
        queries: what is asked, such as recorded runs.
        tiers: tier -> share of the requests; the last one's share is moved.
        rates: requests a minute that can be chosen.
        machines: numbers that can be chosen.
        seconds: that are simulated, some times over; fewer where ``ENOUGH`` requests come in less,
            but never half a day.
    """

    def __init__(
        self,
        fleet: Fleet,
        queries: Sequence[Query],
        tiers: Mapping[str, float],
        rates: Sequence[float] = (1, 2, 3, 4, 6, 8, 12, 16, 24),
        machines: Sequence[int] = (1, 2, 3, 4, 6, 8),
        seconds: float = 3600.0,
    ) -> None:
        import ipywidgets as widgets

        require(len(tiers) > 1, "tiers", tiers, "two or more")
        self._fleet, self._queries, self._seconds = fleet, tuple(queries), seconds
        *self._others, self._last = tiers
        self._tiers = dict(tiers)
        whole = sum(tiers.values())
        shares = sorted({0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, tiers[self._last] / whole})
        classes = sorted({query.difficulty for query in queries})
        self.rate = slider("requests/min", rates, rates[len(rates) // 3])
        self.machines = slider("machines", machines, machines[0])
        named = [(f"{share:.0%}", share) for share in shares]
        self.share = slider(f"share of {self._last}", named, tiers[self._last] / whole)
        hard = [(f"× {n:g}", n) for n in (0.25, 0.5, 1.0, 2.0, 4.0)]
        self._hard = max(classes, key=self._tokens) if len(classes) > 1 else None
        self.hard = slider(f"{self._hard} questions", hard, 1.0)
        self.rules = widgets.Dropdown(
            description="rules", options=[*RULES], layout={"width": "320px"}
        )
        self.traffic = widgets.Dropdown(description="arrivals", options=[*TRAFFIC])
        self._known: set[tuple[Any, ...]] = set()
        self._simulated = lru_cache(64)(self._simulate)
        controls = [self.rate, self.machines, self.share, self.rules, self.traffic]
        controls += [self.hard] if self._hard else []
        for control in controls:
            control.style.description_width = "130px"
            control.layout.width = "350px"
            if hasattr(control, "continuous_update"):  # a simulation for where it is let go
                control.continuous_update = False
        self.message = widgets.HTML(layout={"width": "100%", "height": "28px"})
        self._runs = RUNS
        super().__init__(controls)
        row, view = self.box.children
        self.box.children = (row, self.message, view)
        self.view.add_class("its-simulated")

    def _tokens(self, difficulty: str) -> float:
        """What a question of a class takes in the dearest tier."""
        return Mix(self._queries, self._tiers).tokens(self._last, difficulty)

    def show(self) -> None:
        """Draw the figure anew: at once from one simulation, then from all."""
        if self._chosen not in self._known:
            self.message.value = f"{_DIM}computing…"
            if self.view.outputs:  # nobody waits for the first one
                self._runs = 1
                super().show()
                self._runs = RUNS
                self.message.value = f"computing: 1 of {RUNS} simulations so far…"
        super().show()
        self._known.add(self._chosen)
        self.message.value = ""

    def _simulate(self, *chosen: Any) -> Simulation:
        rate, machines, share, hard, rules, traffic, runs = chosen
        rest = sum(self._tiers[tier] for tier in self._others)
        tiers = {tier: (1 - share) * self._tiers[tier] / rest for tier in self._others}
        mix = Mix(
            self._queries,
            {**tiers, self._last: share},
            difficulty={self._hard: hard} if self._hard else {},
        )
        admission = replace(
            RULES[rules],
            at_once=self._fleet.admission.at_once,
            queue=self._fleet.admission.queue,
        )
        fleet = replace(self._fleet, machines=machines, admission=admission)
        arrivals = TRAFFIC[traffic](rate / 60)
        return simulate(Scenario(fleet, mix, arrivals), self._span, replications=runs)

    @property
    def _chosen(self) -> tuple[Any, ...]:
        chosen = (self.rate, self.machines, self.share, self.hard, self.rules, self.traffic)
        return tuple(control.value for control in chosen)

    @property
    def _span(self) -> float:
        """Seconds that are simulated."""
        if self.traffic.value == DAY:
            return self._seconds
        return min(self._seconds, max(60 * ENOUGH / float(self.rate.value), 600.0))

    @property
    def simulation(self) -> Simulation:
        """What was simulated of the controls as they stand."""
        return self._simulated(*self._chosen, self._runs)

    def figure(self) -> Any:
        """Return the share of answers by the seconds that they take, a line for each tier."""
        shown = self.simulation
        rows = shown.counted
        figure = go.Figure()
        for tier, mark in zip([*self._others, self._last], MARKS[1:], strict=False):
            asked = rows[rows.asked == tier]
            if len(asked):
                self._add(figure, shown, tier, asked, drawn_as(mark))
        figure.add_hline(0.95, line={"color": MUTED, "width": 1, "dash": "dot"})
        figure.update_layout(template=TEMPLATE, height=540, legend=BELOW, margin_b=145)
        figure.update_xaxes(title="seconds until the answer (log)", type="log", tickvals=TICKS)
        figure.update_xaxes(tickformat=",~g")
        figure.update_yaxes(
            title="share of requests answered by then", range=[0, 1.02], tickformat=".0%"
        )
        return headed(figure, self._heading(shown), self._terms(shown), room=24)

    def _heading(self, shown: Simulation) -> str:
        shares = [shown.estimate(share).value for share in ("refused", "cut")]
        few = "" if max(shares) > 0.01 else "; at most 1% are refused or cut"
        return f"{shown.verdict[0].upper()}{shown.verdict[1:]}{few}; {shown.told('p95')}"

    def _terms(self, shown: Simulation) -> str:
        """What the words of the heading mean, and of how much they are read."""
        p95, busy = shown.estimate("seconds", "p95"), shown.estimate("utilisation").value
        served = f"p95 of those served {p95.value:,.0f} s [{p95.low:,.0f}, {p95.high:,.0f}], "
        interval = served if np.isfinite(p95.low) else ""
        return (
            f"load: work offered ÷ work of full batches; machines busy {busy:.0%}: the time in "
            f"which any step is computed, full or not; circles: deadlines. {interval}"
            f"{len(shown.counted):,} requests in {self._runs} × {self._span / 60:.0f} simulated "
            "minutes; interval of 95 %"
        )

    def _add(self, figure: go.Figure, shown: Simulation, tier: str, asked: Any, look: Any) -> None:
        took = np.sort((asked.end - asked.arrival).dropna().to_numpy())
        at = np.unique(np.linspace(0, len(took) - 1, min(len(took), 200)).astype(int))
        figure.add_scatter(
            x=took[at],
            y=(at + 1) / len(asked),
            mode="lines",
            line={**look["line"], "shape": "hv"},
            name=f"{tier}: {shown.told('p95', tier)} (n = {len(asked):,})",
            legendgroup=tier,
            hovertemplate="%{y:.0%} within %{x:.3~g} s",
        )
        terms = self._fleet.terms.get(tier)
        if terms is None or terms.deadline is None or not asked.cut.any():
            return
        figure.add_scatter(
            x=[terms.deadline],
            y=[float((took < terms.deadline).sum() / len(asked))],
            mode="markers",
            marker={
                "color": "white",
                "size": 11,
                "line": {"color": look["line"]["color"], "width": 2.5},
            },
            legendgroup=tier,
            showlegend=False,
            name=f"deadline of {tier}",
            hovertemplate=f"%{{x:g}} s: {asked.cut.mean():.0%} are cut",
        )
