"""Who chooses among samples, and what that does: all selectors of a bank, and all its sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from itslab.study import methods, selection
from itslab.study.methods import MethodResult
from itslab.study.samples import Samples

Array = NDArray[np.float64]


def selectors(
    samples: Samples,
    scores: Mapping[str, Array],
    ks: Sequence[int],
    single: Mapping[str, Samples] = {},
    knockouts: Mapping[str, Samples] = {},
) -> dict[tuple[str, int], MethodResult]:
    """Return what selectors do on numbers of samples, by the name of each and the number.

    These are the majority, and for each verifier ``best by …`` and ``vote by …``; see
    ``selection.select``. Coverage is left out: nobody can select by it.

    Args:
        samples: n of each of p problems.
        scores: name of a verifier -> (p, n) its scores.
        ks: numbers of samples, in ascending order.
        single: what answers each of the p problems once, by its name, such as greedy chains. It is
            priced as one of the samples.
        knockouts: as drawn by ``Knockout`` from the same samples, by the name of each; ``ks`` are
            then 1, 2, 4, … n.
    """
    success: dict[str, Array]
    success = {name: once.correct[:, :1].astype(float) for name, once in single.items()}
    success |= selection.select(samples, scores, ks)
    success |= {name: selection.knockout(met) for name, met in knockouts.items()}
    del success["coverage"]
    return methods.selected(samples, success, ks)


def rates(results: methods.Results, name: str) -> Array:
    """Return the success rates of one method, (p, number of its sizes), such as for ``losses``."""
    return np.stack([result.success for (n, _), result in results.items() if n == name], axis=1)


def tries(samples: Samples, ns: Sequence[int]) -> dict[str, MethodResult]:
    """Return what programs that can be tried on visible tests solve, by how many are drawn.

    Args:
        samples: at least max(ns) programs of each of p problems, of a task with a verifier.
        ns: the most programs to draw.

    Returns:
        ``one sample``, whichever; ``first of up to n``: one after the other until one passes all
        tests, else the best; ``best of n``: always n. The best passes most tests, and is the
        likeliest of those that pass as many. Where there are no tests, ``first of`` has nothing to
        choose by and takes one sample, and ``best of`` takes the likeliest.
    """
    passing, untested = samples.by_tests(), samples.by_tests(untested=0)
    one = MethodResult.of_samples(samples, samples.correct.mean(axis=1), 1)
    first = {f"first of up to {n}": MethodResult.first_passing(samples, passing, n) for n in ns}
    best = {f"best of {n}": MethodResult.best_of(samples, untested, n) for n in ns}
    return {"one sample": one, **first, **best}
