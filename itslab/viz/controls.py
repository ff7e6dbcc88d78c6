"""Sliders over the options of a strategy, for panels that run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any

from itslab.core import Backend, Budget, Node, Problem, require
from itslab.handle import RunHandle, start
from itslab.run import Strategy
from itslab.tasks import Task

WIDE = {"style": {"description_width": "90px"}, "layout": {"margin": "2px 12px 2px 2px"}}
"""The look of a slider."""


def slider(label: str, choices: Sequence[Any], value: Any) -> Any:
    """Make a slider over choices: values, or pairs of a text and a value; of words, a dropdown."""
    import ipywidgets as widgets

    words = all(isinstance(choice, str) for choice in choices)
    make = widgets.Dropdown if words else widgets.SelectionSlider
    return make(description=label, options=list(choices), value=value, **WIDE)


class Controls:
    """Sliders over the options of a strategy, and the runs on one problem that they begin.

    Args:
        strategy: makes a strategy from the values of the sliders, in their order.
        backend: draws the samples.
        task: reads and compares the answers.
        problem: the problem that every run is asked.
        choices: the label of each slider, and the values that it chooses from.
        values: the first value of each slider.
        tokens: choices for the budget of a run, in decoded tokens; their slider comes last, and
            its value is not handed to ``strategy``. Without them a run has no budget.
        seed: the seed of every run.

    Attributes:
        sliders: widgets with a ``value``.
        settings: every combination of choices, in the order of the sliders.

    Raises:
        OptionError: there are not as many values as sliders.
    """

    def __init__(
        self,
        strategy: Callable[..., Strategy],
        backend: Backend,
        task: Task,
        problem: Problem,
        choices: Mapping[str, Sequence[Any]],
        values: Sequence[Any],
        *,
        tokens: Sequence[int] = (),
        seed: int = 0,
    ) -> None:
        self._strategy, self._backend, self._seed = strategy, backend, seed
        self._task, self._problem, self._limited = task, problem, bool(tokens)
        every = {**choices, "tokens": tokens} if tokens else choices
        valid = f"one for each of {', '.join(every)}"
        require(len(values) == len(every), "values", values, valid)
        rows = zip(every.items(), values, strict=True)
        self.sliders = [slider(label, options, value) for (label, options), value in rows]
        self.settings = list(product(*every.values()))

    def begin(self, *values: Any) -> RunHandle:
        """Begin a run with these values of the sliders, or with those that they have now."""
        strategy, budget = self._made(values or [slider.value for slider in self.sliders])
        return start(
            self._problem.prompt,
            strategy,
            self._backend,
            budget=budget,
            extract=self._task.extract,
            key=self._task.key,
            seed=self._seed,
            problem=self._problem.id,
        )

    def resume(self, handle: RunHandle, node: Node, *values: Any) -> RunHandle:
        """Go on from a node of a run with these values of the sliders; see ``RunHandle.fork``."""
        strategy, budget = self._made(values)
        return handle.fork(node, strategy, budget=budget)

    def _made(self, values: Sequence[Any]) -> tuple[Strategy, Budget]:
        if not self._limited:
            return self._strategy(*values), Budget()
        *options, tokens = values
        return self._strategy(*options), Budget(tokens=tokens)
