"""A part of a study: the runs of one model on some of its problems, known and drawn."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, replace
from typing import NamedTuple

from itslab import background
from itslab.backends import Bank
from itslab.core import Backend, Result
from itslab.spec import spec
from itslab.study import rows
from itslab.study.outcome import Row
from itslab.study.plan import Cell, Study
from itslab.study.runner import Job, sweep

Problems = Mapping[str, Sequence[int]]  # the name of a task -> the numbers of its problems


class Archives(NamedTuple):
    """Where finished runs are looked up: the store, where new ones are kept, and other banks."""

    store: Bank
    others: Sequence[Bank]

    def find_run(self, key: str) -> str | None:
        """Return the run that any of them keeps under a key."""
        found = (bank.find_run(key) for bank in (self.store, *self.others))
        return next((text for text in found if text is not None), None)

    def keep_run(self, key: str, strategy: str, problem: str, text: str) -> None:
        """Keep a run in the store."""
        self.store.keep_run(key, strategy, problem, text)


@dataclass(frozen=True)
class Part:
    """The runs of one model on some problems of each task."""

    study: Study
    model: str
    problems: Problems

    @property
    def models(self) -> list[str]:
        """The names of the models that these runs ask."""
        return list(dict.fromkeys([self.model, *self.study.asked]))

    def jobs(self, backends: Mapping[str, Backend]) -> dict[tuple[Cell, int], Job]:
        """Return the runs, with their models loaded."""
        return self.study.jobs(self.model, backends, self.problems)

    def known(
        self, bank: Bank, backends: Mapping[str, Backend], made: dict[tuple[Cell, int], Row]
    ) -> Part:
        """Add what a bank knows of these runs, and return the problems of which one is lacking."""
        lacking: dict[str, dict[int, None]] = {}
        for (cell, i), job in self.jobs(backends).items():
            if (cell, i) in made:
                continue
            text = bank.find_memo(rows.row_key(job))
            if text is None:
                lacking.setdefault(cell.task, {})[i] = None
            else:
                made[cell, i] = Row(cell, job.problem, json.loads(text))
        return replace(self, problems={name: [*numbers] for name, numbers in lacking.items()})

    def restore(
        self, bank: Bank, backends: Mapping[str, Backend], others: Sequence[Bank]
    ) -> Iterator[tuple[tuple[Cell, int], Row]]:
        """Yield what those runs came to that some bank keeps, without a model."""
        archive = Archives(bank, others)
        for place, job in self.jobs(backends).items():
            result = job.find(archive)
            if result is not None:
                yield place, _keep(bank, place[0], job, result)

    def draw(
        self,
        bank: Bank,
        backends: Mapping[str, Backend],
        progress: bool,
        others: Sequence[Bank] = (),
    ) -> Generator[tuple[tuple[Cell, int], Row], None, None]:
        """Make the runs, in the order of the problems, and yield what each came to as it ends."""
        jobs = self.jobs(backends)
        archive = Archives(bank, others)
        runs = sweep(jobs, archive=archive, label=self.label, progress=progress)
        with closing(runs), background.pool(2) as pool:  # programs are graded beside
            waiting: list[tuple[tuple[Cell, int], Future[Row]]] = []
            for place, result in runs:
                waiting.append((place, pool.submit(_keep, bank, place[0], jobs[place], result)))
                while waiting and waiting[0][1].done():
                    first, row = waiting.pop(0)
                    yield first, row.result()
            for place, row in waiting:
                yield place, row.result()

    def chunks(self, size: int) -> Iterator[Part]:
        """Divide the problems."""
        for name, numbers in self.problems.items():
            for start in range(0, len(numbers), size):
                yield replace(self, problems={name: numbers[start : start + size]})

    @property
    def ids(self) -> Iterator[str]:
        """Its problems."""
        for name, numbers in self.problems.items():
            yield from (self.study.tasks[name].problems[i].id for i in numbers)

    @property
    def count(self) -> int:
        """How many problems there are."""
        return sum(map(len, self.problems.values()))

    @property
    def label(self) -> str:
        """What its progress is called."""
        return f"{self.study.name}, {self.model}"

    @property
    def name(self) -> str:
        """What tells its store from those of others."""
        named = json.dumps([study_key(self.study), self.model, [*self.problems], [*self.ids]])
        return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


def _keep(bank: Bank, cell: Cell, job: Job, result: Result) -> Row:
    """What a run came to, kept beside it, unless it may be another row another time."""

    def make() -> tuple[str, bool]:
        made = rows.row(job, result)
        return json.dumps(made), not made["passing"]

    return Row(cell, job.problem, json.loads(bank.memo(rows.row_key(job), make)))


def study_key(study: Study) -> str:
    """Return what tells a study from others: all that its runs depend on, and so not its name."""
    return spec(replace(study, name="study")).digest
