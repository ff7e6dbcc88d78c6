"""All that a run of the lab is begun with, and the lines of Python that begin the same one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from itslab import sandbox
from itslab.core import Backend, Budget, Node, Problem, require
from itslab.handle import RunHandle, start
from itslab.options import settings
from itslab.run import Strategy
from itslab.study.plan import bound
from itslab.tasks import Task
from itslab.viz.asked import gold_of, graded
from itslab.viz.style import short
from itslab.viz.written import modules, written


@dataclass(frozen=True)
class Setting:
    """What is asked of which model, how, and for how much.

    Args:
        task, problem: what is asked; of a question of one's own a task that holds nothing else.
        place: the lines by which a program has both; none of a question of one's own.
        model: that is asked.
        strategy: how; it may ask for the task's own check.
        budget, seed: of the run.
        names: what the reader of the code calls models and verifiers, by their ids.
        node: of a run that this one goes on from; None of a run of its own.
    """

    task: Task
    problem: Problem
    place: Sequence[str]
    model: Backend
    strategy: Strategy
    budget: Budget
    seed: int
    names: Mapping[int, str] = field(repr=False)
    node: int | None = None

    def begin(self) -> RunHandle:
        """Begin the run."""
        task = self.task
        return start(
            self.problem.prompt,
            bound(self.strategy, task, {}),
            self.model,
            budget=self.budget,
            extract=task.extract,
            key=task.key,
            seed=self.seed,
            problem=self.problem.id,
        )

    def fork(self, handle: RunHandle, node: Node) -> RunHandle:
        """Go on from a node of another run."""
        return handle.fork(node, bound(self.strategy, self.task, {}), budget=self.budget)

    def right(self, answer: str | None) -> bool | None:
        """Whether an answer is right, as ``graded`` has it."""
        return graded(self.task, self.problem, answer)

    @property
    def asked(self) -> str:
        """What is asked, in short."""
        return self.problem.id if self.place else short(" ".join(self.problem.prompt.split()), 32)

    @property
    def label(self) -> str:
        """The strategy, and its options that are not those it has by default."""
        from_node = "" if self.node is None else f" from node {self.node}"
        return f"{short(settings(self.strategy), 60)}{from_node}"

    @property
    def gold(self) -> str | None:
        """The right answer, as ``gold_of`` has it."""
        return gold_of(self.task, self.problem)

    @cached_property
    def code(self) -> str:
        """The lines that do the same, after those that load the models."""
        names = {**self.names, id(sandbox.execute): "itslab.sandbox.execute"}
        made = written(self.strategy, names)
        budget = f"budget=its.Budget(tokens={self.budget.tokens})"
        options = [budget] if self.budget.tokens else []
        if self.node is not None:
            asked = [f"handle.run.tree.nodes[{self.node}]", "strategy", *options]
            call, end = "result = handle.fork", ".result()  # of the run that was gone on from"
        else:
            asked, call, end = self._asked(options), "result = its.solve", ""
        line = f"{call}({', '.join(asked)}){end}"
        long = [f"{call}(", *(f"    {one}," for one in asked), f"){end}"]
        lines = [f"strategy = {made}", *([line] if len(line) <= 88 else long), "result.answer"]
        lines = lines if self.node is not None else [*self.place, *lines]
        used = modules(self.strategy) | ({"itslab.sandbox"} if "itslab.sandbox." in made else set())
        first = ["import itslab as its"]
        first += ["from itslab import tasks"] if "tasks.load" in "".join(lines[:2]) else []
        return "\n".join([*first, *(f"import {name}" for name in sorted(used)), "", *lines])

    def _asked(self, options: list[str]) -> list[str]:
        """What ``its.solve`` is called with."""
        question = "problem.prompt" if self.place else repr(self.problem.prompt)
        more = [*options, *([f"seed={self.seed}"] if self.seed else [])]
        if self.place:
            more += ["extract=task.extract", "key=task.key", "problem=problem.id"]
        return [question, "strategy", self.names[id(self.model)], *more]


def models_by_name(llm: Any) -> dict[str, Backend]:
    """Return models by their names: one, several, or such as have names already.

    Raises:
        OptionError: there is none, or two have the same name.
    """
    given = [llm] if hasattr(llm, "generate") else llm
    require(len(given) > 0, "llm", llm, "a model at least, such as its.load returns")
    if isinstance(given, Mapping):
        return dict(given)
    names = [str(getattr(model, "name", f"model {i}")) for i, model in enumerate(given, 1)]
    once = len({*names}) == len(names)
    require(once, "llm", names, "models of different names: give them as {name: model}")
    return dict(zip(names, given, strict=True))


def names_of(models: Mapping[str, Any], more: Mapping[str, Any]) -> dict[int, str]:
    """Return what models and verifiers of a reader's own are called in code, by their ids."""
    names = {id(model): f"models[{name!r}]" for name, model in models.items()}
    if len(models) == 1:
        names = dict.fromkeys(names, "llm")
    return names | {id(one): f"more[{name!r}]" for name, one in more.items()}
