"""Sliders make strategies, and begin and fork runs of them."""

from __future__ import annotations

import pytest

from itslab.core import Budget, Completion, Cost, OptionError, Problem, Request, Sampling
from itslab.strategies import SelfConsistency
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.viz import Controls, slider

TASK = Task("by hand", (Problem("one", "Say 1.", "1"),), key=lambda answer: f"<{answer}>")


def temperature(request: Request, index: int) -> Completion:
    """A reply that says the temperature at which it was asked for."""
    text = rf"\boxed{{{request.sampling.temperature}}}"
    return Completion(text, finish="end", cost=Cost(decoded=10, calls=1))


def vote(n: int, temperature: float) -> SelfConsistency:
    return SelfConsistency(n, sampling=Sampling(temperature=temperature), instruction="")


CHOICES = {"samples": [1, 2], "temperature": [0.5, 1.0]}


def test_sliders_begin_runs_with_their_values_or_with_others() -> None:
    controls = Controls(
        vote, ScriptedModel(replies=temperature), TASK, TASK.problems[0], CHOICES, [2, 0.5], seed=3
    )
    assert [slider.description for slider in controls.sliders] == ["samples", "temperature"]
    assert type(slider("by", ["tests", "itself"], "tests")).__name__ == "Dropdown"
    assert [slider.value for slider in controls.sliders] == [2, 0.5]
    assert controls.settings == [(1, 0.5), (1, 1.0), (2, 0.5), (2, 1.0)]
    started = controls.begin()
    assert started.result().answer == "0.5"
    assert started.result().cost.calls == 2
    assert controls.begin(1, 1.0).result().answer == "1.0"
    run = started.run
    assert (run.key, run.problem, run.budget) == (TASK.key, "one", Budget())


def test_the_last_slider_is_the_budget() -> None:
    given = {"tokens": (5, 50)}
    controls = Controls(
        vote,
        ScriptedModel(replies=temperature),
        TASK,
        TASK.problems[0],
        CHOICES,
        [2, 0.5, 50],
        **given,
    )
    assert controls.sliders[-1].description == "tokens"
    assert len(controls.settings) == 8
    started = controls.begin()
    assert started.run.budget == Budget(tokens=50)
    started.result()
    fork = controls.resume(started, started.run.tree.nodes[0], 1, 1.0, 5)
    assert fork.run.budget == Budget(tokens=5)
    assert fork.run.tree is started.run.tree
    fork.result()


def test_every_slider_needs_its_value() -> None:
    with pytest.raises(OptionError, match=r"values=\[2\].*one for each of samples, temperature"):
        Controls(vote, ScriptedModel(replies=temperature), TASK, TASK.problems[0], CHOICES, [2])
