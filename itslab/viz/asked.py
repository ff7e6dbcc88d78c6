"""What is asked: a text of one's own, or a problem of a task, in a panel."""

from __future__ import annotations

import html
from collections.abc import Callable, Collection, Mapping
from typing import Any

from itslab import tasks
from itslab.core import ItslabError, Problem, require
from itslab.tasks import Task, grade
from itslab.viz import style
from itslab.viz.style import BLUE, RED

OWN = "a question of your own"
_LOOK = {"style": {"description_width": "104px"}}
_MADE = [
    "gsm_symbolic",
    "countdown",
    "puzzle24",
    "moves",
    "sudoku",
    "keywords",
    "sums",
    "humaneval",
]
"""Tasks that need no download."""
_COUNT = 100
"""Problems of one of these that are offered."""


def gold_of(task: Task, problem: Problem) -> str | None:
    """Return the right answer where it is known and answers are equal to it; else None."""
    return (problem.answer or None) if task.grade is grade else None


def graded(task: Task, problem: Problem, answer: str | None) -> bool | None:
    """Return whether an answer is right; None where that is not known."""
    known = problem.answer or task.grade is not grade
    return task.grade(problem, answer) if known else None


class Asked:
    """A choice among tasks, of one of their problems, or a text that somebody writes.

    Args:
        given: tasks by name, which come first.
        question: of one's own, at first.
        recorded: in replay, names of tasks of which something was recorded: no other is offered;
            None offers all, and a question of one's own.

    Attributes:
        box: the controls, and the prompt.
        task: whose problem is asked; of a question of one's own a task with that alone.
        problem: that is asked.
        error: why there is none; empty if there is.
    """

    def __init__(
        self,
        given: Mapping[str, Task],
        question: str = "",
        recorded: Collection[str] | None = None,
    ) -> None:
        import ipywidgets as widgets

        for name, task in given.items():
            require(len(task) > 0, f"task {name!r}", task, "one with problems")
        self._given = [*given]
        made = [name for name in _MADE if recorded is None or name in recorded]
        own = [OWN] if recorded is None or question or not (given or made) else []
        self._tasks: dict[str, Task | None] = {**given, **dict.fromkeys(own)}
        self._tasks |= {name: None for name in made if name not in given}
        self._changed: list[Callable[[], None]] = []
        self.error = ""
        names = [*self._tasks]
        first = OWN if OWN in names and (question or not given) else names[0]
        wide = {**_LOOK, "layout": {"width": "330px"}}
        self.source = widgets.Dropdown(options=names, value=first, description="asked", **wide)
        self.number = widgets.BoundedIntText(value=1, min=1, max=1, description="problem", **wide)
        area = {
            "layout": {"width": "670px", "max_width": "98%"},
            "rows": 3,
            "continuous_update": False,
            **_LOOK,
        }
        self.text = widgets.Textarea(value=question, description="question", **area)
        self.gold_text = widgets.Text(description="right answer", continuous_update=False, **wide)
        self.source.tooltip = "whose problem is asked, or a question of your own"
        self.number.tooltip = "which of the problems, from 1"
        self.text.tooltip = "what the model is asked; press Run to ask it"
        self.gold_text.tooltip = "marks answers as right or wrong; the model never sees it"
        self.text.placeholder, self.gold_text.placeholder = (
            "what the model is asked",
            "if it is known",
        )
        self._prompt = widgets.HTML()
        row = widgets.HBox(
            [self.source, self.number, self.gold_text], layout={"flex_flow": "row wrap"}
        )
        self.box = widgets.VBox([row, self.text, self._prompt])
        self._open()
        self.source.observe(self._follow_source, "value")
        for control in (self.number, self.text, self.gold_text):
            control.observe(self._follow, "value")

    @property
    def own(self) -> bool:
        """Whether it is a question of one's own."""
        return bool(self.source.value == OWN)

    @property
    def task(self) -> Task:
        """The task that the problem is of.

        Raises:
            ItslabError: it could not be loaded.
        """
        if self.own:
            return Task("own", (self._own(),))
        task = self._tasks[self.source.value]
        if task is None:
            raise ItslabError(self.error)
        return task

    @property
    def problem(self) -> Problem:
        """The problem that is asked."""
        problems = self.task.problems
        return problems[min(int(self.number.value), len(problems)) - 1]

    @property
    def code(self) -> list[str]:
        """The lines by which a program has the task and the problem; none of one's own."""
        name, place = self.source.value, f"problem = task.problems[{self.number.value - 1}]"
        if self.own:
            return []
        if name not in self._given:
            return [f"task = tasks.load({name!r}, n={_COUNT})", place]
        return [place] if len(self._given) == 1 else [f"task = given[{name!r}]", place]

    @property
    def gold(self) -> str | None:
        """The right answer, as ``gold_of`` has it."""
        return gold_of(self.task, self.problem)

    def right(self, answer: str | None) -> bool | None:
        """Whether an answer is right, as ``graded`` has it."""
        return graded(self.task, self.problem, answer)

    def watch(self, changed: Callable[[], None]) -> None:
        """Call a function whenever something else is asked."""
        self._changed.append(changed)

    def _own(self) -> Problem:
        return Problem("own", self.text.value, self.gold_text.value)

    def _follow_source(self, _: Any) -> None:
        self._open()
        self._follow(None)

    def _follow(self, _: Any) -> None:
        self._show()
        for changed in self._changed:
            changed()

    def _open(self) -> None:
        """Load the task, and offer its problems."""
        name, self.error = self.source.value, ""
        own = name == OWN
        if not own and self._tasks[name] is None:
            try:
                self._tasks[name] = tasks.load(name, n=_COUNT)
            except ItslabError as error:
                self.error = str(error)
        task = self._tasks[name]
        self.number.max = len(task) if task else 1
        for control, there in ((self.number, not own), (self.text, own), (self.gold_text, own)):
            control.layout.display = "" if there else "none"
        self._show()

    def _show(self) -> None:
        """Show the prompt of a task's problem; the right answer is folded."""
        if self.error:
            self._prompt.value = f'<span style="color: {RED}">{html.escape(self.error)}</span>'
        elif self.own:
            self._prompt.value = ""
        else:
            problem, count = self.problem, len(self.task)
            said = style.box(html.escape(problem.prompt.strip()), BLUE)
            gold = html.escape(problem.answer or "known by a rule only")
            self._prompt.value = style.view(
                f"{said}<details><summary>right answer; problem {self.number.value} of {count:,}, "
                f"{html.escape(problem.id)}</summary>{style.box(gold, BLUE)}</details>"
            )
