"""What a run came to, as plain data: graded, priced, and small enough to be kept beside it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from itslab.core import Cost, Node, Result, Tree
from itslab.spec import spec
from itslab.study import methods, record
from itslab.study.runner import Job
from itslab.study.samples import sample_ends

VERSION = 4
"""Of the rows: others are made anew from the runs."""


def row_key(job: Job) -> str:
    """Name the row of a run by the run, and by all that grading it depends on."""
    problem, task = job.problem, job.task
    known = spec((problem.answer, problem.meta)).text
    named = VERSION, job.key, known, record.reading(task.grade)
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def row(job: Job, result: Result) -> dict[str, Any]:
    """Return what a run came to.

    Returns:
        Plain data: ``answer``, ``correct`` (None where the run failed), ``failed`` (why),
        ``passing`` (another time it may be another row), ``stopped_by``, ``unfinished``; what was
        paid: ``drawn`` (samples, or steps of a search), ``prefilled``, ``reused``, ``decoded``
        (tokens), ``calls``, ``seconds`` of compute, ``flops`` as if nobody else had evaluated the
        prompt; ``found``, how many of the reused tokens somebody else had; ``elapsed`` (seconds by
        the clock); ``unscored``, why verdicts are missing and how many; ``costs``, what each model
        was paid; and of independent samples ``samples``, one list for each: its canonical answer,
        whether it is right, its score if it has one, and what it cost with its verdict: tokens,
        FLOPs, seconds, prompt tokens of the verdict evaluated and reused; and of their prompt
        ``prompt``, its tokens, and ``opening``, its FLOPs.
    """
    cost, failed, passing = result.cost, result.failed, bool(result.outages)
    graded: dict[str, Any] = {"correct": None}
    if not failed:
        try:
            graded = _graded(job, result)
        except Exception as error:  # of the task's own grader: the other problems go on
            failed = " ".join(f"grading: {type(error).__name__}: {error}".split())
            passing = isinstance(error, OSError | MemoryError)
    return {
        "answer": result.answer,
        "failed": failed,
        "passing": passing,
        "stopped_by": result.stopped_by or "",
        "unfinished": result.unfinished,
        "drawn": sum(bool(node.completion) for node in result.tree),
        "prefilled": cost.prefilled,
        "reused": cost.reused,
        "decoded": cost.decoded,
        "calls": cost.calls,
        "seconds": cost.seconds,
        "flops": cost.flops + methods.unpaid(result.tree),
        "found": methods.found(result.tree),
        "elapsed": result.elapsed,
        "unscored": dict(result.unscored),
        "costs": {
            model: [c.prefilled, c.reused, c.decoded, c.calls, c.seconds]
            for model, c in result.costs.items()
        },
        **graded,
    }


def _graded(job: Job, result: Result) -> dict[str, Any]:
    """Whether a run, and each of its independent samples, is right, and what these cost."""
    graded: dict[str, Any] = {"correct": bool(job.task.grade(job.problem, result.answer))}
    ends = independent(result.tree)
    if ends:
        first = next(step.completion for step in ends[0].turn() if step.completion)
        graded["prompt"] = first.cost.prefilled + first.cost.reused
        graded["opening"] = methods.opening(ends)
        graded["samples"] = [
            _sample(job, end, flops)
            for end, flops in zip(ends, methods.decodings(ends), strict=True)
        ]
    return graded


def _sample(job: Job, end: Node, flops: float) -> list[Any]:
    answer = job.task.extract(end.turn_text)
    right = answer is not None and bool(job.task.grade(job.problem, answer))
    score = end.verdict.score if end.verdict else math.nan
    paid = sum((step.completion.cost for step in end.turn() if step.completion), Cost())
    judged = end.verdict.cost if end.verdict else Cost()
    key = None if answer is None else job.task.key(answer)
    return [key, right, None if math.isnan(score) else score, *_prices(paid, judged, flops)]


def _prices(paid: Cost, judged: Cost, flops: float) -> list[float]:
    """What a sample cost, with its verdict: tokens decoded, FLOPs, seconds, and of the verdict the
    prompt tokens evaluated and reused.
    """
    tokens, seconds = paid.decoded + judged.decoded, paid.seconds + judged.seconds
    return [tokens, flops + judged.flops, seconds, judged.prefilled, judged.reused]


def independent(tree: Tree) -> list[Node]:
    """Return where the samples of a tree end, if each was drawn whole and for itself; else none."""
    ends = sample_ends(tree)
    drawn = [[step for step in end.turn() if step.completion] for end in ends]
    alike = len({id(turn[0].parent) for turn in drawn}) == 1
    return ends if alike and all(len(turn) == 1 for turn in drawn) and _all(tree, drawn) else []


def _all(tree: Tree, drawn: Sequence[Sequence[Node]]) -> bool:
    """Whether nothing else was drawn."""
    return sum(bool(node.completion) for node in tree) == sum(map(len, drawn))
