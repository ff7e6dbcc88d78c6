"""Conduct a study: draw what its store lacks, here or on many workers, and return what came of it.

A store is a bank: the samples, the finished runs and what they came to. So a study that was
interrupted, killed or widened goes on from there, and a finished one is read without a model.

With an executor, problems go to workers in chunks. A worker loads each model once, draws into a
store of its own for each chunk, in a folder of the study in ``STORE.parts``, and reads what the
main store holds; finished parts are merged into that. What a killed worker had drawn is found by
whoever gets its chunk next. Workers that do not share the folder send their parts instead.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from itslab.backends import Bank
from itslab.conductor.folder import alone, collect, folder
from itslab.conductor.loading import (
    Load,
    find_files,
    identities,
    load_named,
    model_file,
    recorded,
)
from itslab.conductor.parts import Part
from itslab.conductor.provenance import about, compare_builds, compare_models
from itslab.conductor.workers import draw_there, executing
from itslab.core import ItslabError, require
from itslab.options import Count, Text, checked
from itslab.study.outcome import Outcome, Row, tables
from itslab.study.plan import Cell, Study

__all__ = ["MODES", "conduct", "executing", "load_named", "model_file"]

MODES = ("live", "replay")
Until = Callable[[Outcome], bool]


@checked
def conduct(
    study: Study,
    store: Text | Path,
    *,
    mode: str = "live",
    executor: Any = None,
    chunk: Count = 8,
    until: Until | None = None,
    load: Load | None = None,
    others: Sequence[Bank] = (),
    progress: bool = True,
) -> Outcome:
    """Draw what a study's store lacks, and return what came of the study.

    Of one study only one driver is let into a store. Two studies may be, but what they share is
    drawn by both if they are conducted at once.

    Args:
        study: what is tried on what.
        store: the file of a bank, made if it is not there; in replay perhaps a packed one.
        mode: ``live``, or ``replay``, which takes what is there and needs no model.
        executor: any of ``concurrent.futures``, or of Dask (``Client(…).get_executor()``), whose
            workers draw; by default this process does.
        chunk: how many problems a worker is sent at once; all methods of a problem go together.
        until: looked at after each problem, in their order; the study ends early where it returns
            True. See ``study.sequential``.
        load: makes a model of its name; by default as ``itslab.load``, with quantizations. The last
            three models of a process are kept.
        others: further banks whose samples and runs are taken, where no executor draws.
        progress: show it on standard output.

    Raises:
        BackendError: a model, or the store, cannot be used; finished runs are kept.
        ItslabError: somebody else conducts the same study into this store, workers died, or there
            is no store to replay.
    """
    require(mode in MODES, "mode", mode, " or ".join(map(repr, MODES)))
    fits = executor is None or (callable(getattr(executor, "submit", None)) and until is None)
    require(fits, "executor", executor, "an Executor, and none with until, which looks in order")
    require("\0" not in str(store), "store", store, "the name of a file")
    began, store = time.monotonic(), Path(store)
    if mode == "replay" and not store.exists():
        raise ItslabError(f"there is no store {store}: draw the study first, without replay")
    if mode == "live" and load is None:
        find_files(study)  # before a store is made for a model that there is not
    made: dict[tuple[Cell, int], Row] = {}
    with Bank(store) as bank, ExitStack() as stack:
        if mode == "live":
            stack.enter_context(alone(study, store))
            collect(bank, folder(study, store))
        else:
            compare_models(bank, study)
        for model in study.models:
            wanted = Part(study, model, {name: range(len(t)) for name, t in study.tasks.items()})
            known = identities(study, bank, load, mode)
            lacking = wanted.known(bank, known, made)
            if not lacking.problems:
                continue
            if mode == "replay":
                made |= lacking.restore(bank, known, others)
            elif executor is None:
                _draw_here(lacking, bank, made, until, load, others, progress)
            else:
                draw_there(lacking, bank, store, made, executor, chunk, load, progress)
                compare_builds(bank, lacking)
        if mode == "live":
            _tell_unscored(made.values())
        told = about(study, bank, load, mode) | {"seconds": round(time.monotonic() - began, 1)}
        return tables(study, made.values(), told)


def _tell_unscored(made: Iterable[Row]) -> None:
    """Say where verifiers could not score: what chose by them chose without."""
    reasons = Counter[str]()
    for row in made:
        reasons.update(row.data["unscored"])
    lost = {why: n for why, n in reasons.items() if "the budget ended" not in why}
    if lost:
        why = max(lost, key=lambda reason: lost[reason])
        warnings.warn(
            f"{sum(lost.values()):,} verdicts are missing, {lost[why]:,} of them since {why}; "
            "the column 'unscored' counts them by run",
            stacklevel=4,
        )


def _draw_here(
    part: Part,
    bank: Bank,
    made: dict[tuple[Cell, int], Row],
    until: Until | None,
    load: Load | None,
    others: Sequence[Bank],
    progress: bool,
) -> None:
    backends = recorded(part.models, bank, load, *others)
    compare_builds(bank, part, backends)
    counts = {name: sum(1 for _ in part.study.cells(name, part.model)) for name in part.problems}
    ahead = [(name, i) for name, numbers in part.problems.items() for i in numbers]
    every = ((name, i) for name, task in part.study.tasks.items() for i in range(len(task)))
    place = {problem: number for number, problem in enumerate(every)}

    def answered() -> bool:
        """Whether the problems before the first that is not done yet answer the question.

        What ended first is not looked at first: quick problems are easy ones.
        """
        first = place[ahead[0]] if ahead else len(place)
        past = [row for (cell, i), row in made.items() if place[cell.task, i] < first]
        known = tables(part.study, past, {})
        return until is not None and bool(past) and until(known)

    if answered():
        return
    done: dict[tuple[str, int], int] = {}
    with closing(part.draw(bank, backends, progress, others)) as drawn:
        for (cell, i), row in drawn:
            made[cell, i] = row
            done[cell.task, i] = done.get((cell.task, i), 0) + 1
            while until and ahead and done.get(ahead[0], 0) == counts[ahead[0][0]]:
                ahead.pop(0)
                if answered():
                    return
