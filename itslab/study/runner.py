"""Strategies × problems, so many at once that the model's batch stays full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from itslab.core import Backend, BackendError, Budget, PromptTooLong, Result
from itslab.handle import RunHandle, start
from itslab.run import Strategy
from itslab.study import record
from itslab.study.progress import Progress
from itslab.tasks import Task


def solve_all(
    task: Task,
    strategies: Mapping[str, Strategy],
    backend: Backend,
    *,
    budget: Budget = Budget(),
    seed: int = 0,
    archive: record.Runs | None = None,
    progress: bool = True,
) -> dict[str, list[Result]]:
    """Let each strategy answer each problem; return their results in the order of the problems.

    As many runs as the backend is wide go on at once. A run that fails for good, since its prompt
    is too long or its strategy raises, has a result that says why (``Result.failed``); the others
    go on. A model that cannot be used ends them all, and so does an interrupt; a backend that
    records has kept every sample that was finished, so that the same call goes on from there.

    Args:
        task: what to solve; a strategy sees a problem's prompt only.
        strategies: how to spend compute on each, by the name that tables give them.
        backend: the model.
        budget: the most to spend on each problem.
        seed: of each run.
        archive: a bank whose runs are used; all others are made, and kept in it.
        progress: show runs, samples, tokens and the time that is left, on standard output.
    """

    places = [(name, i) for name in strategies for i in range(len(task))]
    keys, found = {}, {}
    if archive is not None:
        # Now: what a user's strategy holds may be another once it has run.
        keys = {
            (name, i): record.run_key(
                strategies[name], task, task.problems[i], backend, budget, seed
            )
            for name, i in places
        }
        found = {
            place: record.find(archive, keys[place], task.problems[place[1]]) for place in places
        }
    results = {place: result for place, result in found.items() if result is not None}
    waiting = [place for place in reversed(places) if place not in results]
    running: dict[tuple[str, int], RunHandle] = {}
    shown = progress and bool(waiting)
    with Progress(task.name, Counter(name for name, _ in waiting), shown) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < backend.width:
                    name, i = waiting.pop()
                    running[name, i] = start(
                        task.problems[i].prompt,
                        strategies[name],
                        backend,
                        budget=budget,
                        extract=task.extract,
                        key=task.key,
                        seed=seed,
                        problem=task.problems[i].id,
                    )
                for place in [place for place, run in running.items() if not run.running]:
                    name, i = place
                    results[place] = _result(running.pop(place))
                    if archive is not None:
                        record.keep(archive, keys[place], name, task.problems[i], results[place])
                    bar.finish(name, results[place])
                bar.show(started.run.cost for started in running.values())
                time.sleep(0.02)
        finally:
            for started in running.values():
                started.stop()
    return {name: [results[name, i] for i in range(len(task))] for name in strategies}


def _result(started: RunHandle) -> Result:
    """The result of a run at its end; of one that failed for good, what it had come to.

    Raises:
        BackendError: the model cannot be used; another time it may be.
    """
    try:
        return started.result()
    except Exception as error:
        if isinstance(error, BackendError) and not isinstance(error, PromptTooLong):
            raise
        run, why = started.run, " ".join(f"{type(error).__name__}: {error}".split())
        elapsed = run.tree.events[-1].time if run.tree.events else 0.0
        costs = run.ledger.by_model
        return Result(None, None, run.tree, run.cost, None, elapsed, run.unscored, why, costs=costs)
