"""Many problems at once, so that the model's batch stays full."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from itslab import answers
from itslab.core import Backend, Budget, Cost, Extractor, Problem, Result
from itslab.run import Started, Strategy, start

if TYPE_CHECKING:
    from tqdm import tqdm


def solve_all(
    problems: Sequence[Problem],
    strategy: Strategy,
    backend: Backend,
    *,
    budget: Budget = Budget(),
    extract: Extractor = answers.extract,
    seed: int = 0,
    progress: bool = True,
) -> list[Result]:
    """Let a strategy answer many problems and return the results in their order.

    As many runs as the backend is wide go on at once. An error in one run ends them all, and so
    does an interrupt; a backend that records has kept what was finished.

    Args:
        problems: what to solve; the strategy sees their prompts only.
        strategy: how to spend compute on each.
        backend: the model.
        budget: the most to spend on each problem.
        extract: reads the answer from the model's turn.
        seed: of each run.
        progress: show problems, samples and tokens so far, on standard output.
    """
    waiting = list(enumerate(problems))[::-1]
    running: dict[int, Started] = {}
    results: dict[int, Result] = {}
    with _bar(type(strategy).__name__, len(problems), progress) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < backend.width:
                    i, problem = waiting.pop()
                    running[i] = start(
                        problem.prompt, strategy, backend, budget=budget, extract=extract, seed=seed
                    )
                finished = [i for i, run in running.items() if not run.running]
                for i in finished:
                    results[i] = running.pop(i).result()
                spent = [r.cost for r in results.values()] + [r.run.cost for r in running.values()]
                cost = sum(spent, Cost())
                bar.set_postfix_str(f"{cost.calls} samples, {cost.decoded:,} tokens", refresh=False)
                bar.update(len(finished))
                time.sleep(0.02)
        finally:
            for run in running.values():
                run.stop()
    return [results[i] for i in range(len(problems))]


def _bar(label: str, total: int, shown: bool) -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(
        total=total,
        desc=label,
        bar_format="{desc}: |{bar}| {n_fmt}/{total_fmt} problems{postfix} [{elapsed}<{remaining}]",
        ncols=96,
        mininterval=0.5,
        miniters=0,  # redraw although no problem is finished: tokens are
        smoothing=0,  # the remaining time follows from the average speed
        disable=not shown,
        file=sys.stdout,
    )
