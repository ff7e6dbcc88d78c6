"""Tasks: problems with gold answers, an extractor and a grader.

``load`` is the way in. A further source of problems is one line in ``LOADERS`` or, of another
package, an entry point in the group ``itslab.tasks``; see ``itslab.plugins``.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from itslab import plugins
from itslab.core import Problem, TaskError, require
from itslab.options import Count, Text, Whole, checked
from itslab.tasks.files import SUFFIXES, from_file, gsm8k
from itslab.tasks.generated import PREFIX, gsm_symbolic, reasoning_gym
from itslab.tasks.keywords import keywords
from itslab.tasks.moves import moves
from itslab.tasks.programs import humaneval
from itslab.tasks.puzzles import countdown, puzzle24
from itslab.tasks.sudoku import sudoku
from itslab.tasks.sums import sums
from itslab.tasks.task import Grader, Task, grade

__all__ = ["LOADERS", "Grader", "Task", "grade", "load"]

GROUP: plugins.Group = "itslab.tasks"
"""Entry points of other packages: functions of n and seed that return a ``Task``."""

LOADERS: dict[str, Callable[..., Task]] = {
    "gsm_symbolic": gsm_symbolic,
    "gsm8k": gsm8k,
    "countdown": countdown,
    "puzzle24": puzzle24,
    "moves": moves,
    "sudoku": sudoku,
    "keywords": keywords,
    "sums": sums,
    "humaneval": humaneval,
}

_PROMPTS: dict[str, int] = {}
"""What the package's own tasks ask, of all that were loaded: ids of problems, hashes of texts."""


@checked
def load(name: Text | Path, n: Count | None = None, seed: Whole | None = 0, **options: Any) -> Task:
    """Return a task by its name, or from a JSONL or parquet file by its path.

    Args:
        name: one of ``LOADERS``, a name that another package registers, a path, or
            ``reasoning_gym/<name>`` for any of its data sets.
        n: how many problems; None takes all, which a generator does not have.
        seed: names the problems of a generator; of a fixed set, which ones and in which order
            (None keeps the set's own). Fewer problems of a seed are the first of more.
        options: the loader's own, such as ``difficulty`` of ``gsm_symbolic``, ``split`` of
            ``gsm8k`` and ``numbers`` of ``countdown``.

    Raises:
        TaskError: the task is unknown, or its data cannot be had or read; or what another package
            registers returns no task.
        OptionError: an option is unknown or out of range.
    """
    name = str(name)
    if name.startswith(PREFIX):
        require(not options, "options", options, "left out for a data set of reasoning-gym")
        found = partial(reasoning_gym, name.removeprefix(PREFIX))
        return found(n=n, seed=seed)  # type: ignore[arg-type]  # it refuses None
    loader = partial(from_file, path=name) if name.casefold().endswith(SUFFIXES) else _loader(name)
    _check_options(name, loader, options)
    task = loader(n, seed, **options)
    if not isinstance(task, Task):
        raise TaskError(f"the loader of {name!r} returned {type(task).__name__}, not a Task")
    if loader in LOADERS.values():
        _PROMPTS.update((problem.id, hash(problem.prompt)) for problem in task)
    return task


def named_by_id(problem: Problem) -> bool:
    """Whether a problem is one of the package's own, whose ids hold all that they depend on.

    Under such an id the same text is asked everywhere; a file's ids hold for that file alone.
    """
    return _PROMPTS.get(problem.id) == hash(problem.prompt)


def _check_options(name: str, loader: Callable[..., Task], options: Mapping[str, Any]) -> None:
    """Refuse an option that a loader does not have, and a loader that takes no n and seed."""
    try:
        parameters = inspect.signature(loader).parameters.values()
        inspect.signature(loader).bind(None, None, **options)
        fits = True
    except ValueError as error:  # of some written in C nobody knows
        raise TaskError(f"the loader of {name!r} cannot be called: {error}") from error
    except TypeError:
        fits = False
    kinds = {p.name: p.kind for p in parameters if p.name not in ("n", "seed", "path", "name")}
    if inspect.Parameter.VAR_KEYWORD not in kinds.values():
        valid = " or ".join(sorted(kinds)) or "left out: there are none"
        for option in options:
            require(option in kinds, "option", option, valid)
    if not fits:
        raise TaskError(f"the loader of {name!r} takes no (n, seed): write it as load(n, seed)")


def _loader(name: str) -> Callable[..., Task]:
    """The loader of this name: ours, or another package's."""
    loader = LOADERS.get(name) or plugins.find(GROUP, name)
    if loader is None:
        known = [*LOADERS, *plugins.names(GROUP)]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known
        raise TaskError(
            f"unknown task {name!r}: did you mean {' or '.join(map(repr, close))}? "
            f"A file is named by its path, ending in {' or '.join(SUFFIXES)}"
        )
    if not callable(loader):
        raise TaskError(f"the loader of {name!r} is {type(loader).__name__}, not a function")
    return cast(Callable[..., Task], loader)
