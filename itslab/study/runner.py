"""Many runs, so many at once that the model's batch stays full."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import TypeVar

from itslab.core import Backend, BackendError, BadPrompt, Budget, Problem, Result
from itslab.handle import RunHandle, start
from itslab.options import Whole, checked, settings
from itslab.run import Strategy
from itslab.study import record
from itslab.study.progress import Progress
from itslab.tasks import Task

Place = TypeVar("Place", bound=Hashable)


@dataclass(frozen=True)
class Job:
    """A run that is to be made.

    Args:
        name: of the strategy, for people.
        task: that the problem belongs to: it says how answers are read and compared.
        problem: whose prompt the strategy sees.
        strategy: how to spend compute.
        backend: the model.
        budget: the most to spend.
        seed: of the run.
    """

    name: str
    task: Task
    problem: Problem
    strategy: Strategy
    backend: Backend
    budget: Budget = Budget()
    seed: int = 0

    @cached_property
    def key(self) -> str:
        """What the run is kept under; see ``record.run_key``."""
        return record.run_key(
            self.strategy, self.task, self.problem, self.backend, self.budget, self.seed
        )

    @cached_property
    def how(self) -> dict[str, str]:
        """What the run is made with, for people."""
        limits = {f.name: getattr(self.budget, f.name) for f in fields(self.budget)}
        said = ", ".join(f"{value:,g} {name}" for name, value in limits.items() if value)
        strategy = settings(self.strategy)
        return {"strategy": strategy, "budget": said or "none", "seed": str(self.seed)}

    def find(self, archive: record.Runs) -> Result | None:
        """Return the run as an archive keeps it; None if it does not."""
        found = record.find(archive, self.key, self.problem)
        return None if found is None else replace(found, strategy=self.strategy)

    def keep(self, archive: record.Runs, result: Result) -> None:
        """Keep in an archive how the run ended."""
        named, model = (self.key, self.name, self.problem), self.backend.digest
        record.keep(archive, *named, result, self.how, model)

    def start(self) -> RunHandle:
        """Begin the run."""
        return start(
            self.problem.prompt,
            self.strategy,
            self.backend,
            budget=self.budget,
            extract=self.task.extract,
            key=self.task.key,
            seed=self.seed,
            problem=self.problem.id,
        )


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
    jobs = {
        (name, i): Job(name, task, problem, strategy, backend, budget, seed)
        for name, strategy in strategies.items()
        for i, problem in enumerate(task)
    }
    results = dict(sweep(jobs, archive=archive, label=task.name, progress=progress))
    return {name: [results[name, i] for i in range(len(task))] for name in strategies}


def sweep(
    jobs: Mapping[Place, Job],
    *,
    archive: record.Runs | None = None,
    label: str = "",
    progress: bool = True,
) -> Generator[tuple[Place, Result], None, None]:
    """Make many runs, and yield each as it ends: first those that an archive keeps.

    As many go on at once as the batch of their model holds samples, begun in their order. Whoever
    stops iterating stops those under way.

    Args:
        jobs: by a name of the caller's.
        archive: a bank whose runs are used; all others are made, and kept in it.
        label: what the progress is called.
        progress: show runs, samples, tokens and the time that is left, on standard output.

    Raises:
        BackendError: a model cannot be used.
    """
    waiting = []
    if archive is not None:
        # Now: what a user's strategy holds may be another once it has run.
        for job in jobs.values():
            job.key  # noqa: B018  # is kept
    for place, job in jobs.items():
        found = None if archive is None else job.find(archive)
        if found is None:
            waiting.append(place)
        else:
            yield place, found
    waiting.reverse()  # the next one last
    counts = Counter(jobs[place].name for place in waiting)
    running: dict[Place, RunHandle] = {}
    with Progress(label, counts, progress and bool(waiting)) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < jobs[waiting[-1]].backend.batch_size:
                    place = waiting.pop()
                    running[place] = jobs[place].start()
                ended = [place for place, handle in running.items() if not handle.running]
                for place in ended:
                    job, result = jobs[place], outcome(running.pop(place))
                    if archive is not None:
                        job.keep(archive, result)
                    bar.finish(job.name, result)
                    yield place, result
                bar.show(handle.run.cost for handle in running.values())
                if not ended:
                    time.sleep(0.02)
        finally:
            for handle in running.values():
                handle.stop()


def outcome(handle: RunHandle) -> Result:
    """The result of a run at its end; of one that failed for good, what it had come to.

    Raises:
        BackendError: the model cannot be used; another time it may be.
    """
    try:
        return handle.result()
    except Exception as error:
        if isinstance(error, BackendError) and not isinstance(error, BadPrompt):
            raise
        why = " ".join(f"{type(error).__name__}: {error}".split())
        passes = isinstance(error, OSError | MemoryError)
        return replace(failure(handle, why), outages=(why,) if passes else ())


def failure(handle: RunHandle, why: str) -> Result:
    """What a run that failed had come to."""
    run = handle.run
    return Result(
        answer=None,
        node=None,
        tree=run.tree,
        cost=run.cost,
        stopped_by=None,
        elapsed=run.tree.events[-1].time if run.tree.events else 0.0,
        unscored=run.unscored,
        failed=why,
        costs=run.ledger.by_model,
        stages=tuple(run.stages),
        strategy=handle.strategy,
    )
