"""Strategies × problems, so many at once that the model's batch stays full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from itslab.core import Backend, BackendError, Budget, PromptTooLong, Result
from itslab.handle import RunHandle, start
from itslab.options import Whole, checked
from itslab.run import Strategy
from itslab.study import record
from itslab.study.progress import Progress
from itslab.tasks import Task


@checked
def solve_all(
    task: Task,
    strategies: Mapping[str, Strategy],
    backend: Backend,
    *,
    budget: Budget = Budget(),
    seed: Whole = 0,
    archive: record.Runs | None = None,
    progress: bool = True,
) -> dict[str, list[Result]]:
    """Let each strategy answer each problem; return their results in the order of the problems.

    As many runs go on at once as the backend's batch holds samples. A run that fails for good,
    since its prompt is too long or its strategy raises, has a result that says why
    (``Result.failed``); the others go on. A model that cannot be used ends them all, and so does an
    interrupt; a backend that records has kept every sample that was finished, so that the same call
    goes on from there.

    Args:
        task: what to solve; a strategy sees a problem's prompt only.
        strategies: how to spend compute on each, by the name that tables give them.
        backend: the model.
        budget: the most to spend on each problem.
        seed: of each run.
        archive: a bank whose runs are used; all others are made, and kept in it.
        progress: show runs, samples, tokens and the time that is left, on standard output.
    """
    sweep = _Sweep(task, strategies, backend, budget, seed, archive)
    counts = Counter(name for name, _ in sweep.waiting)
    with Progress(task.name, counts, progress and bool(sweep.waiting)) as bar:
        try:
            while sweep.waiting or sweep.running:
                sweep.begin()
                for name, result in sweep.collect():
                    bar.finish(name, result)
                bar.show(handle.run.cost for handle in sweep.running.values())
                time.sleep(0.02)
        finally:
            for handle in sweep.running.values():
                handle.stop()
    return {name: [sweep.results[name, i] for i in range(len(task))] for name in strategies}


Place = tuple[str, int]  # the name of a strategy, the number of a problem


class _Sweep:
    """The runs of ``solve_all``: those that wait, those that go on, and the results of the others.

    Attributes:
        waiting: the next one last.
        running, results: by the name of the strategy and the number of the problem.
    """

    def __init__(
        self,
        task: Task,
        strategies: Mapping[str, Strategy],
        backend: Backend,
        budget: Budget,
        seed: int,
        archive: record.Runs | None,
    ) -> None:
        self._task, self._strategies, self._backend = task, strategies, backend
        self._budget, self._seed, self._archive = budget, seed, archive
        places = [(name, i) for name in strategies for i in range(len(task))]
        # Now: what a user's strategy holds may be another once it has run.
        self._keys = {place: self._key(*place) for place in places} if archive is not None else {}
        found = {place: self._find(place) for place in self._keys}
        self.results = {place: result for place, result in found.items() if result is not None}
        self.waiting = [place for place in reversed(places) if place not in self.results]
        self.running: dict[Place, RunHandle] = {}

    def begin(self) -> None:
        """Begin as many runs as the backend has room for."""
        while self.waiting and len(self.running) < self._backend.batch_size:
            name, i = self.waiting.pop()
            problem = self._task.problems[i]
            self.running[name, i] = start(
                problem.prompt,
                self._strategies[name],
                self._backend,
                budget=self._budget,
                extract=self._task.extract,
                key=self._task.key,
                seed=self._seed,
                problem=problem.id,
            )

    def collect(self) -> Iterator[tuple[str, Result]]:
        """Yield the results of runs that have ended, each with its strategy's name.

        Raises:
            BackendError: the model cannot be used.
        """
        for place in [place for place, handle in self.running.items() if not handle.running]:
            name, i = place
            self.results[place] = result = outcome(self.running.pop(place))
            if self._archive is not None:
                problem = self._task.problems[i]
                record.keep(self._archive, self._keys[place], name, problem, result)
            yield name, result

    def _key(self, name: str, i: int) -> str:
        problem, strategy = self._task.problems[i], self._strategies[name]
        return record.run_key(
            strategy, self._task, problem, self._backend, self._budget, self._seed
        )

    def _find(self, place: Place) -> Result | None:
        assert self._archive is not None  # or there are no keys
        return record.find(self._archive, self._keys[place], self._task.problems[place[1]])


def outcome(handle: RunHandle) -> Result:
    """The result of a run at its end; of one that failed for good, what it had come to.

    Raises:
        BackendError: the model cannot be used; another time it may be.
    """
    try:
        return handle.result()
    except Exception as error:
        if isinstance(error, BackendError) and not isinstance(error, PromptTooLong):
            raise
        run, why = handle.run, " ".join(f"{type(error).__name__}: {error}".split())
        elapsed = run.tree.events[-1].time if run.tree.events else 0.0
        return Result(
            answer=None,
            node=None,
            tree=run.tree,
            cost=run.cost,
            stopped_by=None,
            elapsed=elapsed,
            unscored=run.unscored,
            failed=why,
            costs=run.ledger.by_model,
            stages=tuple(run.stages),
        )
