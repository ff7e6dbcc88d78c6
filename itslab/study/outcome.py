"""What came of a study: tidy tables, one row for each run and one for each sample, and curves."""

from __future__ import annotations

import json
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from itslab.core import ItslabError, Problem, require
from itslab.study.methods import MethodResult, Results
from itslab.study.plan import DERIVED, Cell, Study, kinds, pooled, rule, sizes
from itslab.study.pool import Pool, of_runs
from itslab.study.prices import Price

if TYPE_CHECKING:
    import pandas as pd


class Row(NamedTuple):
    """What a run came to; see ``rows.row``."""

    cell: Cell
    problem: Problem
    data: Mapping[str, Any]


CELL = ["task", "model", "method", "size", "budget", "seed"]
COVERAGE, FIRST = DERIVED
FILES = "runs.parquet", "samples.parquet", "about.json"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of a study.

    Args:
        runs: one row for each run: ``task``, ``model``, ``method``, ``size`` (missing where it has
            one only), ``budget``, ``seed``, ``problem``, ``cluster`` (problems of one template
            share it), ``answer``, ``correct`` (missing where the run ``failed``, which says why),
            ``stopped_by``, ``unfinished``, ``drawn``, ``prefilled``, ``reused`` (``found`` of them
            by other runs), ``decoded``, ``calls``, ``seconds``, ``flops``, ``elapsed``,
            ``unscored`` (how many verdicts are missing), ``costs`` (by model, as JSON, where a run
            asked others: tokens evaluated, reused and decoded, calls, seconds); and ``rule``, by
            which it chose among independent samples.
        samples: one row for each independent sample of them: the same names, ``sample`` (its
            number), ``key`` (its answer, canonical), ``correct``, ``score``, and what it cost with
            its verdict: ``tokens``, ``flops`` (without the prompt), ``seconds``, ``prefilled`` and
            ``reused`` (of the verdict), ``opening`` (FLOPs of the
            prompt), ``prompt`` (its tokens).
        about: what drew it: specs, digests, builds, the machine and its load, versions; and its
            ``cells``, each with what its strategy is known by, whatever its size, and its number of
            problems.
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
        asked = sum(int(count) for *_, count in self.about["cells"])
        return max(asked - len(self.runs), 0)

    @property
    def failed(self) -> pd.DataFrame:
        """Runs that failed for good, and why: columns of ``CELL``, ``problem``, ``failed``."""
        return self.runs.loc[self.runs.failed != "", [*CELL, "problem", "failed"]]

    def join(self, other: Outcome) -> Outcome:
        """Return this and what came of a study of other tasks, models or methods.

        What both have of one name has to be the same: more problems of a task, or more sizes of
        another strategy, take one study of all of them, which finds what is drawn.

        Raises:
            OptionError: both have a task, a model or a method of one name that is not the same.
        """
        import pandas as pd

        require(isinstance(other, Outcome), "other", other, "an Outcome")
        both = merged(self.about, other.about)
        runs, samples = (
            pd.concat([ours, theirs], ignore_index=True).drop_duplicates(
                [*CELL, "problem", *(["sample"] if "sample" in ours else [])]
            )
            for ours, theirs in ((self.runs, other.runs), (self.samples, other.samples))
        )
        return Outcome(runs, samples, both)

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
        except (OSError, ValueError) as error:  # such as half a letter in a name
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
            if not isinstance(about, dict) or not {"cells", "sizes", "clusters"} <= {*about}:
                raise ValueError(f"{FILES[2]} does not say what was tried")
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
        price: Price | Mapping[str, Price] | None = None,
        passing: float | None = None,
    ) -> Results:
        """Return what each method did, by its name and size, on the problems that all finished.

        Where a method votes among independent samples, or takes the best of them, all subsets of
        the samples are averaged; others are averaged over seeds. Problems on which a run failed, or
        that one of the methods lacks, are left out; so are methods that finished none. A warning
        says so, but of failures, which ``failed`` lists.

        Args:
            task, model, budget: which part of the study.
            coverage: add, for each such method, the share of problems that any of as many samples
                solves, as ``coverage of …``.
            price: of the model, for dollars; or of several by name, where runs ask others too.
            passing: add, for each method that takes the best of samples, what drawing until one
                scores so much does, as ``first of …``.

        Raises:
            OptionError: there is no such part, or no problem that all methods have finished.
        """
        others: Mapping[str, Price] = price if isinstance(price, Mapping) else {}
        own = price if isinstance(price, Price) else others.get(model)
        known = price is None or isinstance(price, Price | Mapping)
        known = known and all(isinstance(one, Price) for one in others.values())
        require(known, "price", price, "a Price, or Prices by the names of models")
        kept = self._finished(task, model, budget)
        problems = list(dict.fromkeys(kept.problem))
        clusters = list(kept.drop_duplicates("problem").cluster)
        samples = self._part(self.samples, task, model, budget)
        samples = samples[samples.problem.isin(problems)]
        done: dict[tuple[str, int], MethodResult] = {}
        for method, rows in kept.groupby("method", sort=False):
            drawn = samples[samples.method == method]
            rule = rows.rule.iloc[0]
            pool = Pool.of(drawn, problems) if rule and not budget and len(drawn) else None
            if pool is None:
                for size in sorted(rows["size"].unique()):
                    one = rows[rows["size"] == size] if size == size else rows  # nan: the only one
                    done[str(method), _whole(size, 1)] = of_runs(
                        one, problems, clusters, own, others
                    )
                continue
            steps = [k for k in self.about["sizes"][task][method] if k <= pool.size]
            curves = {str(method): pool.methods(rule, steps, clusters, own)}
            if passing is not None and rule == "best":
                curves[f"{FIRST}{method}"] = [pool.until(k, passing, clusters, own) for k in steps]
            if coverage:
                curves[f"{COVERAGE}{method}"] = pool.methods("any", steps, clusters, own)
            for title, results in curves.items():
                done |= {(title, k): one for k, one in zip(steps, results, strict=True)}
        return done

    def _finished(self, task: str, model: str, budget: str) -> pd.DataFrame:
        """The runs of a part on the problems that all methods have finished, if they did any."""
        runs = self._part(self.runs, task, model, budget)
        size = runs["size"].map(" {:g}".format).where(runs["size"].notna(), "")
        runs = runs.assign(unit=runs.method + size)
        asked = [
            cell for cell in self.about["cells"] if [*cell[:2], cell[4]] == [task, model, budget]
        ]
        seeds, count = len({cell[5] for cell in asked}), max(cell[-1] for cell in asked)
        ended = runs[runs.failed == ""]
        done: dict[str, set[str]] = {}
        for unit in dict.fromkeys(f"{c[2]}{'' if c[3] is None else f' {c[3]:g}'}" for c in asked):
            counts = ended[ended.unit == unit].problem.value_counts()
            done[unit] = {*counts.index[counts == seeds]}
        none = [unit for unit, problems in done.items() if not problems]
        why = next(iter(runs[runs.unit.isin(none) & (runs.failed != "")].failed), "all are lacking")
        valid = f"one of which a method has finished a problem ({why})"
        require(len(none) < len(done), "task", task, valid)
        common = set.intersection(*(problems for problems in done.values() if problems))
        alone = ", ".join(f"{len(problems)} by {unit!r}" for unit, problems in done.items())
        require(bool(common), "task", task, f"one with problems that all have finished: {alone}")
        if none:
            told = ", ".join(map(repr, none))
            warnings.warn(f"{task}: {told} left out, no run is finished: {why}", stacklevel=3)
        kept = ended[ended.problem.isin(common) & ~ended.unit.isin(none)]
        if count > len(common):
            failed = runs[(runs.failed != "") & ~runs.unit.isin(none)].problem.nunique()
            why = f"runs failed on {failed}" if failed else "runs are lacking"
            alone = f"finished are {alone}"
            left = f"{count - len(common)} of {count} problems"
            warnings.warn(f"{task}: {left} left out, {why}; {alone}", stacklevel=3)
        return kept

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
    cells = [*_cells(study)]
    order = {cell: i for i, (cell, _) in enumerate(cells)}
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
        place = [*_place(cell), problem.id]
        cluster = str(problem.meta.get("template", problem.id))
        others = {*data["costs"]} & ({*study.asked} - {cell.model})
        costs = json.dumps(data["costs"]) if len(data["costs"]) > 1 or others else ""
        paid = {**data, "unscored": sum(data["unscored"].values()), "costs": costs}
        runs.append([*place, cluster, rules[cell.method], *(paid[name] for name in _PAID)])
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
    told = {
        "sizes": {task: sizes(study) for task in study.tasks},
        "clusters": {name: dict(Counter(map(str, t.clusters))) for name, t in study.tasks.items()},
        "cells": [
            [*map(_plain, _place(cell)), kind, len(study.tasks[cell.task])] for cell, kind in cells
        ],
    }
    return Outcome(known, drawn, {**about, **told})


def merged(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what there is to say about two studies together; see ``Outcome.about``.

    Raises:
        OptionError: a task, a model or a method of one name is another one in each.
    """
    told = {**theirs, **ours}
    for name in ("tasks", "models"):
        for one in {*ours[name]} & {*theirs[name]}:
            same = ours[name][one] == theirs[name][one]
            require(same, name, one, "the same in both: rename it in one, or conduct both as one")
        told[name] = {**theirs[name], **ours[name]}
    kinds: dict[tuple[str, ...], str] = {}
    cells = {json.dumps(cell[:-2]): cell for cell in (*theirs["cells"], *ours["cells"])}
    for task, model, method, *_, kind, _count in (*ours["cells"], *theirs["cells"]):
        known = kinds.setdefault((task, model, method), kind)
        valid = f"the same strategy on {task!r} with {model!r} in both: rename it in one"
        require(known == kind, "method", method, valid)
    told["cells"] = [*cells.values()]
    told["clusters"] = {**theirs["clusters"], **ours["clusters"]}
    told["sizes"] = {}
    for task, methods in (*ours["sizes"].items(), *theirs["sizes"].items()):
        for method, counts in methods.items():
            size = told["sizes"].setdefault(task, {}).setdefault(method, [])
            size[:] = sorted({*size, *counts})
    for name in ("budgets", "seeds", "drawn by"):
        listed = [*ours[name], *theirs[name]]
        told[name] = [one for i, one in enumerate(listed) if one not in listed[:i]]
    ladders = [*ours["strategies"].items(), *theirs["strategies"].items()]
    told["strategies"] = {
        method: list(
            dict.fromkeys(one for name, ladder in ladders if name == method for one in ladder)
        )
        for method, _ in ladders
    }
    return told


def _place(cell: Cell) -> list[Any]:
    """The columns of ``CELL``: a size that is text belongs to the method's name."""
    named = isinstance(cell.size, str)
    method = f"{cell.method} {cell.size}".strip() if named else cell.method
    size = math.nan if named else float(cell.size)
    return [cell.task, cell.model, method, size, cell.budget, cell.seed]


def _plain(value: Any) -> Any:
    """A value as JSON has it, which knows no nan."""
    return None if value != value else value


def _cells(study: Study) -> Iterator[tuple[Cell, str]]:
    """All cells of a study, by task, model and method, the smallest size first; and what each
    strategy is known by, whatever its size.
    """
    known = {
        method: dict(zip(map(id, ladder), kinds(ladder), strict=True))
        for method, ladder in study.ladders.items()
    }
    for task in study.tasks:
        for model in study.models:
            cells = [
                (cell, known[cell.method][id(strategy)])
                for cell, strategy, _ in study.cells(task, model)
            ]
            for method in study.ladders:
                yield from reversed([cell for cell in cells if cell[0].method == method])


_DRAWN = ["key", "correct", "score", "tokens", "flops", "seconds", "prefilled", "reused"]
_DRAWN += ["opening", "prompt"]
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
    "found",
    "elapsed",
    "unscored",
    "costs",
]


def _whole(size: float, otherwise: int) -> Any:
    """A size, as a whole number where it is one; of a method without sizes another one."""
    if math.isnan(size):
        return otherwise
    return int(size) if size == int(size) else size
