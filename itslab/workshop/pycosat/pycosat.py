"""Stands in for pycosat where it cannot be compiled: its ``itersolve``, in pure Python.

reasoning-gym imports pycosat and asks it whether a puzzle has one solution. pycosat is published as
source only, so that installing it takes a C compiler. This is the search of Davis, Logemann and
Loveland (1962): follow what is forced, then try both values of a variable. For puzzles it is fast
enough, for hard formulas it is not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

Clause = tuple[int, ...]


def itersolve(clauses: Iterable[Iterable[int]]) -> Iterator[list[int]]:
    """Yield the assignments that satisfy all clauses, each once, in no particular order.

    Args:
        clauses: each a disjunction of literals: 3 is the third variable, -3 its negation.

    Yields:
        One literal for each variable from 1 to the largest, in this order.
    """
    given = [tuple(dict.fromkeys(clause)) for clause in clauses]
    holding: dict[int, list[Clause]] = defaultdict(list)
    for clause in given:
        for literal in clause:
            holding[literal].append(clause)
    variables = range(1, max((abs(literal) for literal in holding), default=0) + 1)
    units = [clause[0] for clause in given if len(clause) == 1]
    if all(given):  # an empty clause is never satisfied
        yield from _search(frozenset(), units, holding, variables)


def _search(
    true: frozenset[int], new: list[int], holding: Mapping[int, list[Clause]], variables: range
) -> Iterator[list[int]]:
    """Yield the solutions in which the literals ``true`` and ``new`` hold."""
    followed = _follow(true, new, holding)
    if followed is None:
        return
    free = [n for n in variables if n not in followed and -n not in followed]
    if not free:
        yield [n if n in followed else -n for n in variables]
        return
    chosen = max(free, key=lambda n: len(holding.get(n, ())) + len(holding.get(-n, ())))
    for literal in (chosen, -chosen):
        yield from _search(followed, [literal], holding, variables)


def _follow(
    true: frozenset[int], new: Sequence[int], holding: Mapping[int, list[Clause]]
) -> frozenset[int] | None:
    """Return all literals that follow by unit propagation; None if they contradict a clause."""
    known, waiting = set(true), list(new)
    while waiting:
        literal = waiting.pop()
        if -literal in known:
            return None
        if literal in known:
            continue
        known.add(literal)
        for clause in holding.get(-literal, ()):
            if known.isdisjoint(clause):
                left = [other for other in clause if -other not in known]
                if not left:
                    return None
                if len(left) == 1:
                    waiting.append(left[0])
    return frozenset(known)
