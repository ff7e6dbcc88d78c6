"""Tables of a study: methods and verifiers compared, accuracy lost, and what revisions changed.

Tables for figures hold numbers; tables to be read hold texts such as 35% [26%, 44%], values with
their 95 % intervals over problems.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from itslab.answers import vote
from itslab.core import OptionError, Result, require
from itslab.study.methods import Budget, MethodResult, Results, at_budget, at_tokens
from itslab.study.samples import Samples, finished, graded, versions
from itslab.study.selection import pass_at_k
from itslab.study.statistics import Estimate, auroc, holm, mean, proportion
from itslab.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

# -- methods ---------------------------------------------------------------------------------------


def accuracy(results: Results) -> pd.DataFrame:
    """Return one row per method and size, for ``viz.accuracy_against``.

    Returns:
        Columns ``method``, ``samples`` (the size), ``tokens``, ``gflops``, ``seconds`` of compute
        (missing where they are unknown), all per problem; ``dollars`` (likewise) per 1,000;
        ``accuracy``, ``low``, ``high`` (its 95 % interval over problems).
    """
    import pandas as pd

    rows = []
    for (method, size), result in results.items():
        solved = result.solved
        seconds, dollars = map(_average, (result.seconds, result.dollars))
        paid = (result.tokens.mean(), result.flops.mean() / 1e9, seconds, 1000 * dollars)
        rows.append((method, size, *paid, solved.value, solved.low, solved.high))
    budgets = ["samples", "tokens", "gflops", "seconds", "dollars"]
    return pd.DataFrame(rows, columns=["method", *budgets, "accuracy", "low", "high"])


def _average(paid: Array | None) -> float:
    return math.nan if paid is None else float(paid.mean())


def by_flops(results: Mapping[tuple[str, str], MethodResult]) -> pd.DataFrame:
    """Return one row per method, for ``viz.front``.

    Args:
        results: by the group that a method belongs to, and by what it does.

    Returns:
        Index as the results; columns ``method``, ``group``, ``gflops`` (per problem), ``accuracy``,
        ``low``, ``high`` (its 95 % interval over problems).
    """
    import pandas as pd

    rows = []
    for (group, method), result in results.items():
        solved, gflops = result.solved, result.flops.mean() / 1e9
        rows.append((f"{group}: {method}", group, gflops, solved.value, solved.low, solved.high))
    columns = ["method", "group", "gflops", "accuracy", "low", "high"]
    return pd.DataFrame(rows, columns=columns, index=pd.MultiIndex.from_tuples(results))


def comparison(
    results: Mapping[Any, MethodResult], reference: Any = None, drawn: str | None = None
) -> pd.DataFrame:
    """Return what methods solve and cost, and their differences to one of them.

    Args:
        results: by the name of a method, or by its name and size or another pair.
        reference: one of the methods; of methods with sizes a name, so that each is compared with
            the same size of that one. None compares none.
        drawn: the name of a column for the samples drawn of each problem, if there is to be one.

    Returns:
        Index ``method``, and ``size`` where there are pairs; columns ``solved`` (percent),
        ``tokens`` and ``GFLOPs`` (per problem), ``points against …`` (percentage points, paired).

    Raises:
        OptionError: the reference is none of the methods.
    """
    import pandas as pd

    names = dict.fromkeys([*results, *(key[0] for key in results if isinstance(key, tuple))])
    known = reference is None or reference in names
    require(known, "reference", reference, " or ".join(map(repr, names)))
    title = " ".join(map(str, reference)) if isinstance(reference, tuple) else reference
    rows = []
    for key, result in results.items():
        row: dict[str, object] = {"solved": result.solved.percent}
        if drawn is not None and result.drawn is not None:
            row[drawn] = f"{result.drawn.mean():.1f}"
        row |= _price(result)
        if reference is not None:
            base = results.get(reference if reference in results else (reference, key[1]))
            gain = "" if base is None or base is result else result.gain(base).points
            row[f"points against {title}"] = gain
        rows.append(row)
    pairs = all(isinstance(key, tuple) for key in results)
    index = pd.MultiIndex.from_tuples(results) if pairs else pd.Index(results)
    return pd.DataFrame(rows, index=index.set_names(["method", "size"][: 1 + pairs]))


def equal_tokens(
    results: Mapping[Any, MethodResult], rival: Iterable[MethodResult], name: str
) -> pd.DataFrame:
    """Return what methods solve beside a rival that spends as many tokens; see ``at_tokens``.

    Args:
        results: by the name of a method, or by a pair.
        rival: the rival at several sizes, for ever more tokens.
        name: of the rival's column.

    Returns:
        Columns ``solved`` (percent), ``tokens`` and ``GFLOPs`` (per problem), what the rival
        solves, and ``points`` (percentage points against it, paired; "" where both are the same).
    """
    import pandas as pd

    sizes = list(rival)
    rows = {}
    for key, result in results.items():
        other = at_tokens(sizes, result.tokens.mean())
        same = np.array_equal(result.success, other.success)  # one of the rival's own sizes
        rows[key] = {
            "solved": result.solved.percent,
            **_price(result),
            name: other.solved.percent,
            "points": "" if same else result.gain(other).points,
        }
    return pd.DataFrame(rows).T


class Held(NamedTuple):
    """A method at one budget, and what it is held against.

    Args:
        task: its name.
        method: its name, such as that of its family.
        budget: how much it may spend, as text, such as ``small``.
        result: what it did.
        rival: on the same problems, the rival at several sizes, for ever more tokens, such as the
            majority of ever more samples.
        by: what the rival spends as much of; models of several sizes compare by ``flops``.
    """

    task: str
    method: str
    budget: str
    result: MethodResult
    rival: Sequence[MethodResult]
    by: Budget = "tokens"


def atlas(held: Iterable[Held]) -> pd.DataFrame:
    """Return where which method pays: paired differences to a rival that spends as much.

    Args:
        held: methods on tasks.

    Returns:
        One row for each, for ``viz.atlas``: ``task``, ``method``, ``budget``, ``problems``,
        ``tokens`` (per problem), ``solved`` and ``rival`` (with intervals, as text), ``rival
        tokens`` (fewer, where its largest size takes no more), ``gain``,
        ``low``, ``high`` (95 %), ``points`` (the same as text), ``p (Holm)`` (as one of all the
        tests in the table).

    Raises:
        OptionError: nothing is held against anything, or a rival has other problems.
    """
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for line in held:
        require(isinstance(line, Held), "held", line, "a Held: a method, a budget and its rival")
        task, method, budget, result, sizes, by = line
        spent = getattr(result, by, None)
        if spent is None:
            raise OptionError(f"by={by!r} is not valid: by must be known of {method!r} on {task!r}")
        rival = at_budget(sizes, float(spent.mean()), by)
        gain = result.gain(rival)
        rows.append(
            {
                "task": task,
                "method": method,
                "budget": budget,
                "problems": len(result.success),
                "tokens": round(float(result.tokens.mean())),
                "solved": result.solved.percent,
                "rival": rival.solved.percent,
                "rival tokens": round(float(rival.tokens.mean())),
                "gain": gain.value,
                "low": gain.low,
                "high": gain.high,
                "points": gain.points,
                "p (Holm)": gain.p,
            }
        )
    require(bool(rows), "held", rows, "one method at least")
    table = pd.DataFrame(rows)
    table["p (Holm)"] = holm(list(table["p (Holm)"]))
    return table


def _price(result: MethodResult) -> dict[str, object]:
    return {"tokens": round(result.tokens.mean()), "GFLOPs": round(result.flops.mean() / 1e9)}


def paired(gains: Mapping[str, Estimate]) -> pd.DataFrame:
    """Return paired differences, the largest first, for ``viz.gains``.

    Args:
        gains: by the name of a method; see ``methods.gains``.

    Returns:
        Columns ``method``; ``gain``, ``low``, ``high`` (fractions, 95 %); ``p (Holm)`` (as one of
        so many tests; see ``statistics.holm``); ``note``, the points with their interval, as text,
        with a star where that p-value is at most 0.05.
    """
    import pandas as pd

    adjusted = holm([gain.p for gain in gains.values()])
    rows = [
        (name, gain.value, gain.low, gain.high, p, gain.points + " *" * (p <= 0.05))
        for (name, gain), p in zip(gains.items(), adjusted, strict=True)
    ]
    columns = ["method", "gain", "low", "high", "p (Holm)", "note"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values("gain", ascending=False, kind="stable", ignore_index=True)


# -- samples and verifiers -------------------------------------------------------------------------


def overview(samples: Samples) -> pd.Series[Any]:
    """Return how many problems and samples there are, and how many of them are right."""
    import pandas as pd

    right, clusters = samples.correct, samples.task.clusters
    count = len(set(clusters))
    templates = f" from {count} templates" if count < len(clusters) else ""
    return pd.Series(
        {
            "problems": f"{len(right)}{templates}",
            "samples of each": right.shape[1],
            "tokens per sample": round(samples.tokens.mean()),
            "right samples": mean(right.mean(axis=1), clusters=clusters).percent,
            "problems with a right sample": mean(right.any(axis=1), clusters=clusters).percent,
            "samples without an answer": f"{samples.unanswered.mean():.1%}",
        }
    )


def verifiers(samples: Samples, scores: Mapping[str, Array], results: Results) -> pd.DataFrame:
    """Return how well verifiers tell right samples from wrong ones, and what choosing by them does.

    Args:
        samples: n of each of p problems.
        scores: name of a verifier -> (p, n) its scores.
        results: of "best by" and "vote by" each verifier, at the numbers of samples to be chosen
            from; of these, the largest is shown.

    Returns:
        Index ``verifier``; columns ``problems`` (those with right and wrong samples), ``AUROC``
        (its mean over them), ``best of n``, ``vote of n`` (percent of problems solved).
    """
    import pandas as pd

    n = max(size for _, size in results)
    rows = []
    for name, score in scores.items():
        areas = auroc(score, samples.correct)
        both = np.flatnonzero(~np.isnan(areas))
        area = _mean(areas[both], [samples.task.clusters[problem] for problem in both])
        solved = (results[f"{how} by {name}", n].solved.percent for how in ("best", "vote"))
        rows.append((name, len(both), area, *solved))
    columns = ["verifier", "problems", "AUROC", f"best of {n}", f"vote of {n}"]
    return pd.DataFrame(rows, columns=columns).set_index("verifier")


def _mean(areas: ArrayLike, clusters: Sequence[Hashable]) -> str:
    return str(mean(areas, clusters=clusters)) if len(clusters) else "unknown"


def losses(samples: Samples, success: ArrayLike, ks: Sequence[int]) -> pd.DataFrame:
    """Split the problems into those solved and those lost, by what they were lost to.

    - ``coverage``: no sample holds the right answer, however it is read;
    - ``extraction``: one does, but it was read wrongly, and no other sample was read rightly;
    - ``selection``: a right answer was read, and another one chosen.

    Args:
        samples: of p problems.
        success: (p, number of ks) success rates of a selector.
        ks: numbers of samples.

    Returns:
        Columns ``samples``, ``solved``, ``selection``, ``extraction``, ``coverage``: shares of all
        problems, which add up to 1.
    """
    import pandas as pd

    solved = np.asarray(success, dtype=float).mean(axis=0)
    read = pass_at_k(samples.correct, ks).mean(axis=0)
    there = pass_at_k(samples.readable, ks).mean(axis=0)
    return pd.DataFrame(
        {
            "samples": ks,
            "solved": solved,
            "selection": read - solved,
            "extraction": there - read,
            "coverage": 1 - there,
        }
    )


# -- runs ------------------------------------------------------------------------------------------


def step_auroc(task: Task, results: Sequence[Result], parts: int = 3) -> pd.DataFrame:
    """Return how well verdicts on steps tell how a chain ends, by how far it has come.

    AUROC is the probability that a step of a chain that ends right scores above a step of one that
    ends wrong, of the same problem and the same part of their chains.

    Args:
        task: p problems.
        results: of a search whose chains share no step, such as a particle filter that never
            resamples, in the order of the problems.
        parts: into how many parts of equally many steps a chain is divided.

    Returns:
        One row per part, from the first steps to the last: ``problems`` (those with steps of both
        kinds) and ``AUROC`` (the mean over them, with its interval).
    """
    import pandas as pd

    judged = [_judged_steps(task, i, result, parts) for i, result in enumerate(results)]
    rows = []
    for part in range(parts):
        scores = [[score for place, score, _ in steps if place == part] for steps in judged]
        right = [[mark for place, _, mark in steps if place == part] for steps in judged]
        both = [i for i, marks in enumerate(right) if len(set(marks)) == 2]
        areas = [float(auroc([scores[i]], [right[i]])[0]) for i in both]
        rows.append((len(both), _mean(areas, [task.clusters[i] for i in both])))
    return pd.DataFrame(rows, columns=["problems", "AUROC"])


def _judged_steps(
    task: Task, number: int, result: Result, parts: int
) -> list[tuple[int, float, bool]]:
    """Of each step that has a verdict: the part of its chain, the score, how the chain ends."""
    judged = []
    for end in result.tree.leaves():
        steps = [node for node in end.turn() if node.completion]
        right = task.grade(task.problems[number], task.extract(end.turn_text))
        for place, step in enumerate(steps):
            if step.verdict is not None:  # not where a chain was only drawn to its end
                part = int((place + 0.5) / len(steps) * parts)
                judged.append((part, step.verdict.score, right))
    return judged


def stages(task: Task, results: Sequence[Result]) -> pd.DataFrame:
    """Return which stage of a cascade, or route of a router, answered how many problems.

    Args:
        task: p problems.
        results: of one cascade or router, in the order of the problems.

    Returns:
        Index ``stage`` (from 1) and ``model``; columns ``asked`` and ``answered`` (problems),
        ``right`` (of those answered, percent with its interval) and ``tokens`` (decoded before
        and by it, on average of those that it answered).
    """
    import pandas as pd

    require(len(results) == len(task), "results", len(results), f"one for each of {len(task)}")
    asked: dict[tuple[int, str], int] = {}
    answered: dict[tuple[int, str], list[int]] = {}
    for i, result in enumerate(results):
        outer = [stage for stage in result.stages if not stage.get("level", 0)]
        for place in {_stage(stage) for stage in outer}:
            asked[place] = asked.get(place, 0) + 1
            answered.setdefault(place, [])
        if outer:  # where none was accepted, since the budget ended, whoever's answer it is
            accepted = [stage for stage in outer if stage["accepted"]]
            told = [stage for stage in outer if result.node and stage["node"] == result.node.id]
            answered[_stage((accepted or told or outer)[-1])].append(i)
    rows = {}
    for place in sorted(asked):
        own = answered[place]
        right = [task.grade(task.problems[i], results[i].answer) for i in own]
        tokens = [results[i].cost.decoded for i in own]
        rows[place] = {
            "asked": asked[place],
            "answered": len(own),
            "right": mean(right, clusters=[task.clusters[i] for i in own]).percent if own else "",
            "tokens": round(float(np.mean(tokens))) if own else "",
        }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["stage", "model"])
    return table


def _stage(stage: Mapping[str, Any]) -> tuple[int, str]:
    """The number of a stage, from 1, and its model."""
    return stage["stage"] + 1, stage["model"]


def diversity(task: Task, results: Mapping[Any, Sequence[Result]]) -> pd.DataFrame:
    """Return how many chains searches finish, how they differ, and whether any of them is right.

    Args:
        task: p problems.
        results: by the name and the size of a search, in the order of the problems.

    Returns:
        Index ``method``, ``size``; columns ``a finished chain is right`` (percent of problems),
        ``finished chains`` and ``different answers`` (on average).
    """
    import pandas as pd

    rows = {}
    for key, runs in results.items():
        given = [finished(task, result) for result in runs]
        rows[key] = {
            "a finished chain is right": MethodResult.of_chains(task, runs).solved.percent,
            "finished chains": f"{np.mean([len(answers) for answers in given]):.1f}",
            "different answers": f"{np.mean([len(set(map(task.key, a))) for a in given]):.1f}",
        }
    return pd.DataFrame(rows).T.rename_axis(["method", "size"])


# -- refinement ------------------------------------------------------------------------------------

CHANGES = ("right → right", "wrong → right", "right → wrong", "wrong → wrong")
REVISED = ["revised", *CHANGES, "better", "equal", "worse"]
"""The columns of ``refinement`` that say what revisions changed."""


def refinement(task: Task, results: Sequence[Result]) -> pd.DataFrame:
    """Return what became of all lines of versions, one row per iteration, for ``viz.refinement``.

    Args:
        task: p problems.
        results: of a refinement, in the order of the problems.

    Returns:
        Index ``iteration``, 0 for the first answers. Columns: ``lines`` in all, ``revised`` in this
        iteration; ``right``, the fraction of lines whose version is right by then, with ``low`` and
        ``high`` (95 %, clustered by problem or template), and ``kept``, ``kept low``,
        ``kept high``, the same of the best version by score; of those revised the number of each
        of ``CHANGES``, and by the run's own verifier how many scored ``better``, ``equal`` and
        ``worse`` than before.
    """
    import pandas as pd

    rows = graded(task, results)
    most = max((len(line.right) for row in rows for line in row), default=0)
    counts = np.array([len(row) for row in rows], dtype=float)
    part = partial(proportion, whole=counts, clusters=task.clusters)
    table = []
    for i in range(most):
        last = part([sum(line.right[line.at(i)] for line in row) for row in rows])
        kept = part([sum(line.right[line.best(i)] for line in row) for row in rows])
        revised = [line for row in rows for line in row if 0 < i < len(line.right)]
        changes = [_change(*line.right[i - 1 : i + 1]) for line in revised]
        steps = [np.sign(line.scores[i] - line.scores[i - 1]) for line in revised]
        table.append(
            {
                "iteration": i,
                "lines": int(counts.sum()),
                "revised": len(revised),
                "right": last.value,
                "low": last.low,
                "high": last.high,
                "kept": kept.value,
                "kept low": kept.low,
                "kept high": kept.high,
                **{name: changes.count(name) for name in CHANGES},
                "better": steps.count(1),
                "equal": steps.count(0),
                "worse": steps.count(-1),
            }
        )
    return pd.DataFrame(table).set_index("iteration")


def _change(before: bool, after: bool) -> str:
    return f"{'right' if before else 'wrong'} → {'right' if after else 'wrong'}"


def alternatives(task: Task, results: Mapping[Any, Sequence[Result]]) -> pd.DataFrame:
    """Return what refinements would solve if they returned another of their versions.

    Args:
        task: p problems.
        results: of refinements, by name, in the order of the problems.

    Returns:
        One row per refinement; columns ``first``, ``last`` and ``vote`` (over all versions):
        percent of problems solved.
    """
    import pandas as pd

    def voted(answers: Sequence[str | None]) -> str | None:
        winner = vote(answers, key=task.key)
        return None if winner is None else answers[winner]

    picks: dict[str, Callable[[Sequence[str | None]], str | None]]
    picks = {"first": itemgetter(0), "last": itemgetter(-1), "vote": voted}
    rows: dict[Any, dict[str, str]] = {}
    for name, runs in results.items():
        drawn = [[task.extract(n.turn_text) for n in versions(run.tree)] for run in runs]
        rows[name] = {}
        for how, pick in picks.items():
            right = [task.grade(p, pick(row)) for p, row in zip(task, drawn, strict=True)]
            rows[name][how] = mean(right, clusters=task.clusters).percent
    return pd.DataFrame(rows).T
