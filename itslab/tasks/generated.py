"""Tasks made from a seed at run time by reasoning-gym's generators (arXiv:2505.24760)."""

from __future__ import annotations

import difflib
import sys
from importlib.util import find_spec
from itertools import islice
from types import ModuleType
from typing import Annotated, Any

from itslab.core import Problem, TaskError
from itslab.options import Bounds, Whole, checked
from itslab.tasks.task import Task

PREFIX = "reasoning_gym/"
_STRIDE = 1_000_000
"""reasoning-gym draws problem i of seed s from s + i, so that neighbouring seeds share problems."""

OPTIONAL = ("cellpylib", "pycosat")
"""Packages that games of life and zebra puzzles alone are made with: one brings matplotlib, the
other is compiled."""

Few = Annotated[int, Bounds(1, _STRIDE // 4)]

_UNSOUND = frozenset({2, 3, 4, 27, 28, 36, 40, 46, 49, 52, 66, 73, 75, 81, 82, 94, 99})
"""Templates of gsm_symbolic that are left out, at every difficulty. The gold answers of 2, 3, 4,
40, 49, 75 and 99 are rounded down where the question asks for no rounding (half of 17 tubes is 8);
46, 52 and 66 print float noise (0.6666666666666666 water); some answers of 27 are no whole numbers;
the others stop making sense above difficulty 1 (8 days a week, a price cut of 130 %)."""


@checked
def gsm_symbolic(n: Few, seed: Whole, difficulty: Annotated[float, Bounds(1, 3)] = 1.0) -> Task:
    """Grade-school word problems with fresh numbers and names (Mirzadeh et al., arXiv:2410.05229).

    Every gold answer is a whole number.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems. Those of different seeds are the same by chance only.
        difficulty: from 1 to 3: widens the range of the numbers; the steps stay the same. An id at
            another difficulty is the same template.

    Problems of one template, ``meta["template"]``, tell the same story with other names and
    numbers: a model that solves one of them mostly solves the others. Studies take them as one
    unit (``Task.clusters``).

    Raises:
        OptionError: difficulty, n or seed is out of range, or None.
    """
    data = dataset("gsm_symbolic", n, seed)
    # The generators take any difficulty; only the configuration's check insists on 1.0.
    data.config.difficulty = float(difficulty)
    sound = (i for i, template in enumerate(data.task_indices) if template not in _UNSOUND)
    name = f"gsm_symbolic/d{float(difficulty)}/s{seed}"
    return Task(name, tuple(_word_problem(name, data, index) for index in islice(sound, n)))


def _word_problem(name: str, data: Any, index: int) -> Problem:
    item = data[index]
    question = item["question"].removesuffix(
        " Give the result as your final answer. Do not include units."
    )
    meta = {"template": data.task_indices[index], "difficulty": data.config.difficulty}
    return Problem(f"{name}/{index}", question, item["answer"], meta)


@checked
def reasoning_gym(name: str, n: Few, seed: Whole) -> Task:
    """Any data set of reasoning-gym by its name, with its own prompts and its own grader.

    Args:
        name: such as ``spell_backward``.
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.

    Raises:
        TaskError: reasoning-gym has no such data set.
    """
    data = dataset(name, n, seed)
    title = f"{PREFIX}{name}"
    items = {f"{title}/s{seed}/{i}": data[i] for i in range(n)}
    problems = (Problem(id, item["question"], item["answer"]) for id, item in items.items())

    def grade(problem: Problem, answer: str | None) -> bool:
        return answer is not None and data.score_answer(answer, items[problem.id]) >= 1

    return Task(title, tuple(problems), grade=grade)


@checked
def dataset(name: str, n: Few, seed: Whole, **options: Any) -> Any:
    """A reasoning-gym data set of at least n items, with some to leave out.

    Raises:
        OptionError: n or seed is out of range.
        TaskError: reasoning-gym has no such data set.
    """
    gym = _gym()
    if name not in gym.factory.DATASETS:
        close = difflib.get_close_matches(name, gym.factory.DATASETS, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(close)}? " if close else ""
        raise TaskError(f"reasoning-gym has no data set {name!r}: {hint}It names them in DATASETS")
    return gym.create_dataset(name, size=2 * n + 100, seed=seed * _STRIDE, **options)


class _Lacking(ModuleType):
    """Stands for a package of reasoning-gym that is not installed, as in a browser."""

    def __getattr__(self, name: str) -> Any:
        package = self.__name__
        raise TaskError(f"this data set takes the package {package}: pip install {package}")


def _gym() -> Any:
    """reasoning-gym, which imports all that any of its generators may need."""
    lacking = [name for name in OPTIONAL if name not in sys.modules and not find_spec(name)]
    sys.modules.update({name: _Lacking(name) for name in lacking})
    try:
        import reasoning_gym  # takes two seconds
    finally:
        for name in lacking:
            del sys.modules[name]
    return reasoning_gym
