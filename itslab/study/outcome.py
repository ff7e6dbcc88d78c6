"""What came of a study: tidy tables, one row for each run and one for each sample, and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from itslab.core import ItslabError, Problem, require
from itslab.study import selection
from itslab.study.methods import MethodResult, Results, until_passing
from itslab.study.plan import Cell, Study, pooled, rule, sizes
from itslab.study.prices import Price

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


class Row(NamedTuple):
    """What a run came to; see ``rows.row``."""

    cell: Cell
    problem: Problem
    data: Mapping[str, Any]


CELL = ["task", "model", "method", "size", "budget", "seed"]
FILES = "runs.parquet", "samples.parquet", "about.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a study.

    Args:
        runs: one row for each run: ``task``, ``model``, ``method``, ``size`` (missing where it has
            one only), ``budget``, ``seed``, ``problem``, ``cluster`` (problems of one template
            share it), ``answer``, ``correct`` (missing where the run ``failed``, which says why),
            ``stopped_by``, ``unfinished``, ``drawn``, ``prefilled``, ``reused``, ``decoded``,
            ``calls``, ``seconds``, ``flops``, ``elapsed``; and ``rule``, by which it chose among
            independent samples.
        samples: one row for each independent sample of them: the same names, ``sample`` (its
            number), ``key`` (its answer, canonical), ``correct``, ``score``, and what it cost with
            its verdict: ``tokens``, ``flops`` (without the prompt), ``seconds``, ``prefilled`` and
            ``reused`` (of the verdict), ``opening`` (FLOPs of the
            prompt), ``prompt`` (its tokens).
        about: what drew it: specs, digests, builds, the machine and its load, versions; and
            ``lacking``, how many runs there are not.
    """

    runs: pd.DataFrame
    samples: pd.DataFrame
    about: Mapping[str, Any]

    def __repr__(self) -> str:
        told = f"{len(self.runs):,} runs, {self.lacking:,} lacking, {len(self.failed):,} failed"
        return f"<outcome of {self.about.get('study', 'a study')}: {told}>"

    @property
    def lacking(self) -> int:
        """How many runs of the study there are not."""
        return int(self.about.get("lacking", 0))

    @property
    def failed(self) -> pd.DataFrame:
        """Runs that failed for good, and why: columns of ``CELL``, ``problem``, ``failed``."""
        return self.runs.loc[self.runs.failed != "", [*CELL, "problem", "failed"]]

    def join(self, other: Outcome) -> Outcome:
        """Return this and what came of a study of other tasks, models or methods."""
        import pandas as pd

        runs, samples = (
            pd.concat([ours, theirs], ignore_index=True).drop_duplicates(
                [*CELL, "problem", *(["sample"] if "sample" in ours else [])]
            )
            for ours, theirs in ((self.runs, other.runs), (self.samples, other.samples))
        )
        sizes: dict[str, dict[str, list[int]]] = {}
        for each in (self, other):
            for task, methods in each.about["sizes"].items():
                for method, counts in methods.items():
                    known = sizes.setdefault(task, {}).setdefault(method, [])
                    known[:] = sorted({*known, *counts})
        both = {"sizes": sizes, "clusters": self.about["clusters"] | other.about["clusters"]}
        lacking = self.lacking + other.lacking
        return Outcome(runs, samples, {**self.about, **both, "lacking": lacking})

    def save(self, folder: str | Path) -> Path:
        """Write ``runs.parquet``, ``samples.parquet`` and ``about.json`` into a folder.

        Raises:
            ItslabError: it cannot be written.
        """
        target = Path(folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            self.runs.to_parquet(target / FILES[0], index=False)
            self.samples.to_parquet(target / FILES[1], index=False)
            text = json.dumps(self.about, indent=1, ensure_ascii=False)
            (target / FILES[2]).write_text(text, encoding="utf-8")
        except OSError as error:
            raise ItslabError(f"the tables cannot be written to {target}: {error}") from error
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Outcome:
        """Read what ``save`` wrote.

        Raises:
            ItslabError: the folder lacks a table, or one cannot be read.
        """
        import pandas as pd

        source = Path(folder)
        try:
            about = json.loads((source / FILES[2]).read_text(encoding="utf-8"))
            runs, samples = (pd.read_parquet(source / name) for name in FILES[:2])
            return cls(runs, samples, about)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ItslabError(f"{source} holds no outcome of a study: {reason}") from error

    def results(
        self,
        task: str,
        model: str,
        budget: str = "",
        coverage: bool = False,
        price: Price | None = None,
        passing: float | None = None,
    ) -> Results:
        """Return what each method did, by its name and size, on the problems that none failed on.

        Where a method votes among independent samples, or takes the best of them, all subsets of
        the samples are averaged; others are averaged over seeds.

        Args:
            task, model, budget: which part of the study.
            coverage: add, for each such method, the share of problems that any of as many samples
                solves, as ``coverage of …``.
            price: of the model, for dollars.
            passing: add, for each method that takes the best of samples, what drawing until one
                scores so much does, as ``first of …``.

        Raises:
            OptionError: there is no such part.
        """
        runs = self._part(self.runs, task, model, budget)
        lost = runs.loc[runs.failed != "", "problem"].unique()
        kept = runs[~runs.problem.isin(lost)]
        problems = list(dict.fromkeys(kept.problem))
        require(bool(problems), "task", task, "one with a problem that no run failed on")
        clusters = list(kept.drop_duplicates("problem").cluster)
        done: dict[tuple[str, int], MethodResult] = {}
        for method, rows in kept.groupby("method", sort=False):
            drawn = self._part(self.samples, task, model, budget)
            drawn = drawn[(drawn.method == method) & ~drawn.problem.isin(lost)]
            rule = rows.rule.iloc[0]
            pool = _Pool.of(drawn, problems) if rule and not budget and len(drawn) else None
            if pool is None:
                for size in sorted(rows["size"].unique()):
                    one = rows[rows["size"] == size] if size == size else rows  # nan: the only one
                    done[str(method), _whole(size, 1)] = _of_runs(one, problems, clusters, price)
                continue
            steps = [k for k in self.about["sizes"][task][method] if k <= pool.size]
            curves = {str(method): pool.methods(rule, steps, clusters, price)}
            if passing is not None and rule == "best":
                curves[f"first of {method}"] = [
                    pool.until(k, passing, clusters, price) for k in steps
                ]
            if coverage:
                curves[f"coverage of {method}"] = pool.methods("any", steps, clusters, price)
            for title, results in curves.items():
                done |= {(title, k): one for k, one in zip(steps, results, strict=True)}
        return done

    def _part(self, table: pd.DataFrame, task: str, model: str, budget: str) -> pd.DataFrame:
        known = self.runs[["task", "model", "budget"]]
        for name, value in (("task", task), ("model", model), ("budget", budget)):
            there = list(known[name].unique())
            require(value in there, name, value, " or ".join(map(repr, there)) or "in the study")
        asked = (table.task == task) & (table.model == model) & (table.budget == budget)
        return table[asked]


def tables(study: Study, made: Iterable[Row], about: Mapping[str, Any]) -> Outcome:
    """Return the tidy tables of some runs of a study; see ``Outcome``."""
    import pandas as pd

    rules = {
        name: rule(ladder[0]) if pooled(ladder) else "" for name, ladder in study.ladders.items()
    }
    order = {cell: i for i, cell in enumerate(_cells(study))}
    number = {
        (name, problem.id): i
        for name, task in study.tasks.items()
        for i, problem in enumerate(task)
    }
    runs: list[list[Any]] = []
    samples: list[list[Any]] = []
    for cell, problem, data in sorted(
        made, key=lambda row: (order[row.cell], number[row.cell.task, row.problem.id])
    ):
        named = isinstance(cell.size, str)
        method = f"{cell.method} {cell.size}".strip() if named else cell.method
        size = math.nan if named else float(cell.size)
        place = [cell.task, cell.model, method, size, cell.budget, cell.seed, problem.id]
        cluster = str(problem.meta.get("template", problem.id))
        runs.append([*place, cluster, rules[cell.method], *(data[name] for name in _PAID)])
        samples += (
            [*place, i, *sample, data["opening"], data["prompt"]]
            for i, sample in enumerate(data.get("samples", ()))
        )
    known = pd.DataFrame(runs, columns=[*CELL, "problem", "cluster", "rule", *_PAID])
    known["correct"] = known.correct.astype("boolean")
    known["answer"] = known.answer.astype("string")
    drawn = pd.DataFrame(samples, columns=[*CELL, "problem", "sample", *_DRAWN])
    drawn["key"] = drawn.key.astype("string")
    drawn["correct"], drawn["score"] = drawn.correct.astype(bool), drawn.score.astype(float)
    counts = {task: sizes(study) for task in study.tasks}
    return Outcome(known, drawn, {**about, "sizes": counts})


def _cells(study: Study) -> Iterator[Cell]:
    """All cells of a study: by task, model and method, the smallest size first."""
    for task in study.tasks:
        for model in study.models:
            cells = [cell for cell, _, _ in study.cells(task, model)]
            for method in study.ladders:
                yield from reversed([cell for cell in cells if cell.method == method])


_DRAWN = ["key", "correct", "score", "tokens", "flops", "seconds", "prefilled", "reused"]
_DRAWN += ["opening", "prompt"]
_POOLED = ("correct", "score", "tokens", "flops", "seconds", "prefilled", "reused")
_PAID = [
    "answer",
    "correct",
    "failed",
    "stopped_by",
    "unfinished",
    "drawn",
    "prefilled",
    "reused",
    "decoded",
    "calls",
    "seconds",
    "flops",
    "elapsed",
]


def _whole(size: float, otherwise: int) -> Any:
    """A size, as a whole number where it is one; of a method without sizes another one."""
    if math.isnan(size):
        return otherwise
    return int(size) if size == int(size) else size


def _of_runs(
    rows: pd.DataFrame, problems: Sequence[str], clusters: Sequence[Any], price: Price | None
) -> MethodResult:
    """A method at one size, averaged over seeds."""
    columns = {"success": "correct", "tokens": "decoded"}
    columns |= {name: name for name in ("flops", "drawn", "seconds")}
    if price is not None:
        rows, columns = price.priced(rows), {**columns, "dollars": "dollars"}
    numbers = rows[["problem", *columns.values()]].astype(dict.fromkeys(columns.values(), float))
    means = numbers.groupby("problem").mean().reindex([*problems])
    return MethodResult(
        **{name: means[column].to_numpy() for name, column in columns.items()}, clusters=clusters
    )


@dataclass(frozen=True)
class _Pool:
    """Independent samples of some problems, (p, n) each."""

    keys: list[list[str | None]]
    correct: Array
    scores: Array
    tokens: Array
    flops: Array
    seconds: Array
    prefilled: Array
    reused: Array
    opening: Array
    prompt: Array

    @property
    def size(self) -> int:
        return int(self.correct.shape[1])

    @classmethod
    def of(cls, rows: pd.DataFrame, problems: Sequence[str]) -> _Pool | None:
        """The samples of the largest size of a method, those of all seeds; None if uneven."""
        rows = rows[rows["size"].eq(rows["size"].max()) | rows["size"].isna()]
        counts = rows.groupby("problem").size().reindex([*problems], fill_value=0)
        if counts.min() == 0 or counts.min() != counts.max():
            return None
        n = int(counts.max())
        order = {problem: i for i, problem in enumerate(problems)}
        rows = rows.iloc[np.argsort(rows.problem.map(order).to_numpy(), kind="stable")]

        def square(name: str) -> Array:
            return rows[name].to_numpy(dtype=float, na_value=math.nan).reshape(-1, n)

        keys = np.array([k if isinstance(k, str) else None for k in rows.key], dtype=object)
        columns = (square(name) for name in _POOLED)
        whole = (square(name)[:, 0] for name in ("opening", "prompt"))
        return cls(keys.reshape(-1, n).tolist(), *columns, *whole)

    def methods(
        self, rule: str, ks: Sequence[int], clusters: Sequence[Any], price: Price | None
    ) -> list[MethodResult]:
        """What choosing among k of the samples does, averaged over all subsets, for each k."""
        if rule == "majority":
            success = selection.majority_at_k(self.keys, self.correct, ks)
        elif rule == "best":
            unheard = np.array([[key is None for key in row] for row in self.keys])
            scores = np.where(unheard, math.nan, self.scores)
            success = selection.best_at_k(scores, self.correct, ks)
        else:
            success = selection.pass_at_k(self.correct, ks)
        weights = [np.full(self.correct.shape, k / self.size) for k in ks]
        return [
            self._priced(rates, often, clusters, price)
            for often, rates in zip(weights, success.T, strict=True)
        ]

    def until(
        self, k: int, threshold: float, clusters: Sequence[Any], price: Price | None
    ) -> MethodResult:
        """What drawing until one of k samples scores enough does, averaged over all orders."""
        mute = np.array([[key is None for key in row] for row in self.keys])
        success, weights = until_passing(self.scores, self.correct, mute, k, threshold)
        return self._priced(success, weights, clusters, price)

    def _priced(
        self, success: Array, weights: Array, clusters: Sequence[Any], price: Price | None
    ) -> MethodResult:
        """Success rates with what samples cost that are drawn so often, (p, n): their prompt is
        evaluated once.
        """

        def paid(column: Array) -> Array:
            return np.asarray((weights * column).sum(axis=1))

        drawn, tokens, seconds = weights.sum(axis=1), paid(self.tokens), paid(self.seconds)
        fresh = self.prompt + paid(self.prefilled)
        again = (drawn - 1) * self.prompt + paid(self.reused)
        bill = zip(fresh, again, tokens, seconds, strict=True)
        return MethodResult(
            success,
            tokens,
            self.opening + paid(self.flops),
            clusters,
            drawn,
            seconds,
            None if price is None else np.array([price.of(*each) for each in bill]),
        )
