"""Exercises of the third session: spend wisely, and serve."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from math import ceil
from statistics import median

from itslab.workshop.exercise import Exercise, Mistake
from itslab.workshop.exercises.session_1 import miscounted

# -- when a vote is decided


def decided(votes, left):
    leader, second, *_ = [*sorted(votes, reverse=True), 0, 0]
    return leader >= second + left


def _ordered(votes: Iterable[int]) -> list[int]:
    return [*sorted(votes, reverse=True), 0, 0]


_ON_TOP = "that looks at the leader only: what are left come on top of the second's votes"

DECIDED = Exercise(
    "decided",
    right=decided,
    inputs=(
        ([3, 1], 2),
        ([3, 1], 3),
        ([1, 6], 6),
        ([4], 4),
        ([2], 3),
        ([2, 6, 3], 2),
        ([2, 2], 0),
        ([2, 2], 1),
        ([1, 3, 3], 1),
        ([6, 4, 3], 3),
    ),
    mistakes=(
        Mistake(
            lambda votes, left: _ordered(votes)[0] > _ordered(votes)[1] + left,
            "a tie goes to the leader: the second has to come above it to win",
        ),
        Mistake(
            lambda votes, left: _ordered(votes)[0] > _ordered(votes)[1],
            "that asks who leads now: all that are left may go to the second",
        ),
        Mistake(
            lambda votes, left: _ordered(set(votes))[0] >= _ordered(set(votes))[1] + left,
            "on a draw the second has as many votes as the leader: a set, or x != leader, loses it",
        ),
        Mistake(lambda votes, left: _ordered(votes)[0] >= left, _ON_TOP),
        Mistake(lambda votes, left: _ordered(votes)[0] > left, _ON_TOP),
        Mistake(
            lambda votes, left: _ordered(votes)[0] * 2 > sum(votes) + left,
            "half of all is more than is needed: the votes that are not the leader's may be "
            "divided",
        ),
        Mistake(
            lambda votes, left: votes[0] >= votes[1] + left,
            "votes come in any order, and there may be only one: sort them, and take 0 for what "
            "is not there",
        ),
        Mistake(
            lambda votes, left: sorted(votes)[-1] >= sorted(votes)[-2] + left,
            "there may be fewer than two: a new answer begins with 0 votes",
        ),
        Mistake(
            lambda votes, left: len(votes) < 2 or _ordered(votes)[0] >= _ordered(votes)[1] + left,
            "where only one answer was given, another one may still come, with 0 votes so far",
        ),
        Mistake(
            lambda votes, left: _ordered(votes)[0] >= sum(_ordered(votes)[1:]) + left,
            "that is half of all, or the leader against all others together: only one of these can "
            "win, the second",
        ),
        Mistake(lambda votes, left: left == 0, "that waits for all of them"),
        Mistake(
            lambda votes, left: _ordered(votes)[0] < _ordered(votes)[1] + left,
            "that is the opposite: it says when the leader can still be caught up with",
        ),
    ),
    said="its.AdaptiveConsistency(DecidedStop()) stops by such a rule. It knows which answer came "
    "first and gives a tie to that one, so one that came before the leader must not even draw "
    "level: then no vote is changed.",
    hints=(
        "Whom must the leader fear? The second, and a new answer that begins with 0 votes.",
        "At worst all that are left go to the second. A tie is the leader's.",
    ),
)


# -- what a cascade costs


def per_solved(small, large, accepted, solved):
    return (small + (1 - accepted) * large) / solved


PER_SOLVED = Exercise(
    "per_solved",
    right=per_solved,
    inputs=(
        (100, 400, 0.75, 0.8),
        (100, 400, 0.0, 0.5),
        (90, 300, 1.0, 0.6),
        (210, 1000, 0.35, 0.9),
    ),
    mistakes=(
        Mistake(
            lambda s, b, a, solved: s + (1 - a) * b,
            "that is the cost of a problem: what is asked for is that of a solved one",
        ),
        Mistake(
            lambda s, b, a, solved: (s + (1 - a) * b) * solved,
            "divide by the share that is solved: the fewer are solved, the more each costs",
        ),
        Mistake(
            lambda s, b, a, solved: (a * s + (1 - a) * b) / solved,
            "the small model is paid for every problem, for those that go on as well",
        ),
        Mistake(
            lambda s, b, a, solved: (s + b) / solved,
            "the larger model is not asked where the small one's answer was accepted",
        ),
        Mistake(
            lambda s, b, a, solved: (s + a * b) / solved,
            "that sends the accepted ones to the larger model: it gets the others",
        ),
        Mistake(
            lambda s, b, a, solved: (s + (1 - a) * b) / a if a else None,
            "accepted is not solved: divide by what is solved in the end, by either model",
        ),
        Mistake(
            lambda s, b, a, solved: ((1 - a) * s + a * b) / solved,
            "the shares are swapped, and the small model is paid for every problem",
        ),
        Mistake(
            lambda s, b, a, solved: s + (1 - a) * b / solved,
            "brackets: what the small model costs is divided by the share that is solved as well",
        ),
        Mistake(
            lambda s, b, a, solved: s / solved + (1 - a) * b,
            "brackets: what the larger model costs is divided by the share that is solved as well",
        ),
        Mistake(
            lambda s, b, a, solved: (1 - a) * (s + b) / solved,
            "the small model is paid for every problem, for the accepted ones as well",
        ),
        Mistake(
            lambda s, b, a, solved: (s + (1 - solved) * b) / solved,
            "the larger model gets what was not accepted: who of all is right is known later",
        ),
    ),
    said="A look must be cheap, or accepted often.",
    hints=(
        "Of a hundred problems, how many pay for the small model, and how many for the larger?",
        "The sum, for each problem; then divided by the share that is solved in the end.",
    ),
)


# -- a queue


def wait(work):
    ends, now = [], 0
    for seconds in sorted(work):
        now += seconds
        ends.append(now)
    return sum(ends) / len(ends)


def _mean_end(work: Sequence[float]) -> float:
    return sum(sum(work[: i + 1]) for i in range(len(work))) / len(work)


WAIT = Exercise(
    "wait",
    right=wait,
    inputs=(([40, 6, 14],), ([5, 5],), ([7],), ([1, 2, 9, 3],), ([30, 20, 10],)),
    mistakes=(
        Mistake(_mean_end, "that is the order in which they came: another one waits less"),
        Mistake(
            lambda work: _mean_end(sorted(work, reverse=True)),
            "that is the longest first, which is the worst order",
        ),
        Mistake(
            lambda work: _mean_end(sorted(work)) - sum(work) / len(work),
            "that ends when work begins: whoever asked waits for the answer, so add the work",
        ),
        Mistake(
            lambda work: sum(work) / len(work),
            "that is the mean work: everybody also waits for those who go before",
        ),
        Mistake(lambda work: sum(work), "that is when the last one is done, and not the mean"),
        Mistake(
            lambda work: _mean_end(sorted(work)) * len(work),
            "that is the sum of all waits: divide by how many they are",
        ),
        Mistake(
            lambda work: [sum(sorted(work)[: i + 1]) for i in range(len(work))],
            "those are the seconds of each: return their mean",
        ),
    ),
    said="Shortest first waits least; but who knows beforehand what a question will take?",
    hints=(
        "Whom does a long question delay, if it goes first? All others.",
        "Go through sorted(work), add up the time so far, and note when each one ends.",
    ),
)


# -- an answer at any time


def anytime(samples, deadline):
    votes = [answer for second, answer in samples if second <= deadline and answer is not None]
    return max(votes, key=votes.count, default=None)


Timed = Sequence[tuple[float, str | None]]


def _in_time(samples: Timed, deadline: float) -> list[str]:
    return [answer for second, answer in samples if second <= deadline and answer is not None]


_AS_IT_IS = "seconds have fractions: compare with the deadline as it is"

ANYTIME = Exercise(
    "anytime",
    right=anytime,
    inputs=(
        ([(1, "a"), (2.2, "b"), (2.4, "b"), (2.7, "c"), (2.8, "c"), (2.9, "c")], 2.5),
        ([(1, "a"), (2, "b"), (3, "b"), (4, "a"), (5, "a")], 3),
        ([(1, "a"), (2, "b"), (3, "b"), (4, "c"), (5, "c"), (6, "c")], 6),
        ([(1, "b"), (2, None), (3, None), (4, "c")], 9),
        ([(1, "a"), (2, None), (3, "b"), (4, "b")], 4),
        ([(1, "b"), (2, "c"), (3, "b"), (4, "a")], 4.5),
        ([(5, "a")], 4),
        ([(1, "z"), (2, "y"), (3, "y"), (4, "z"), (6, "x")], 5),
        ([], 1),
        *((list(enumerate(said)), 9) for said in ("7310254986", "qjxzkvbwmf", "TREASONLIP")),
    ),
    mistakes=(
        *miscounted(_in_time),
        Mistake(
            lambda samples, deadline: anytime(samples, float("inf")),
            "that waits for all samples: only what is finished at the deadline counts",
        ),
        Mistake(
            lambda samples, deadline: anytime([s for s in samples if s[0] < deadline], deadline),
            "what is finished at the deadline itself is still in time",
        ),
        Mistake(lambda samples, deadline: anytime(samples, int(deadline)), _AS_IT_IS),
        Mistake(lambda samples, deadline: anytime(samples, ceil(deadline)), _AS_IT_IS),
        Mistake(
            lambda samples, deadline: max(
                _in_time(samples, deadline), key=[a for _, a in samples].count, default=None
            ),
            "what comes later has no vote: count among those that are finished",
        ),
        Mistake(
            lambda samples, deadline: max(
                told := [a for s, a in samples if s <= deadline], key=told.count, default=None
            ),
            "None has won: a sample that says nothing has no vote",
        ),
        Mistake(
            lambda samples, deadline: anytime(
                [*takewhile(lambda sample: sample[1] is not None, samples)], deadline
            ),
            "that ends at the first sample that says nothing: leave it out, and go on",
        ),
        Mistake(
            lambda samples, deadline: anytime(
                [(sum(s for s, _ in samples[: i + 1]), a) for i, (_, a) in enumerate(samples)],
                deadline,
            ),
            "the seconds count from the beginning: do not add them up",
        ),
    ),
    said="So a deadline costs accuracy, and never an answer that was there.",
    hints=(
        "Take the samples that are finished by then, and of these the answers that are not None.",
        "That they vote you have written in session 1: max(votes, key=votes.count, default=None).",
    ),
)


# -- a price


def fee(costs, margin):
    return sum(costs) / len(costs) / (1 - margin)


FEE = Exercise(
    "fee",
    right=fee,
    inputs=(([1, 1, 4], 0.3), ([0.2, 0.7, 0.3, 0.2], 0.5), ([2], 0), ([3, 0, 0, 0, 9], 0.2)),
    mistakes=(
        Mistake(
            lambda costs, margin: sum(costs) / len(costs) * (1 + margin),
            "that puts 30 % on the cost, which is less than 30 % of what is taken in: the margin "
            "is a share of the price",
        ),
        Mistake(
            lambda costs, margin: sum(costs) / len(costs),
            "that earns nothing: it pays just the cost",
        ),
        Mistake(
            lambda costs, margin: sum(costs) / (1 - margin),
            "that is what all requests bring together: a price is for one",
        ),
        Mistake(
            lambda costs, margin: median(costs) / (1 - margin),
            "the median forgets the few that are expensive: all costs have to come in",
        ),
        Mistake(
            lambda costs, margin: max(costs) / (1 - margin),
            "that is safe for the most expensive request, and keeps far more of the others",
        ),
        Mistake(
            lambda costs, margin: sum(costs) / len(costs) * (1 - margin),
            "that is below the cost: divide by what is left, 1 - margin",
        ),
        Mistake(
            lambda costs, margin: sum(costs) / len(costs) / margin,
            "of each dollar the cost is the part that is not the margin: 1 - margin",
        ),
        Mistake(
            lambda costs, margin: sum(costs) / len(costs) + margin,
            "the margin is a share of the price, and no amount of money",
        ),
    ),
    said="Who asks cheap questions then pays for who asks expensive ones.",
    hints=(
        "What must all requests bring together, so that the costs are the rest of it?",
        "price × (1 − margin) = mean cost.",
    ),
)


# -- the cheapest that will do

Row = tuple[str, float, float]


def cheapest(table, tolerance):
    most = max(solved for way, solved, cost in table)
    good = [row for row in table if row[1] >= most - tolerance]
    return min(good, key=lambda row: row[2])[0]


def _good(table: Sequence[Row], enough: Callable[[float, float], bool]) -> list[Row]:
    most = max(solved for _, solved, _ in table)
    return [row for row in table if enough(row[1], most)]


_PARTS = "parts of questions are solved too: >= most - tolerance, neither 1 less nor rounded"

CHEAPEST = Exercise(
    "cheapest",
    right=cheapest,
    inputs=(
        ([("one", 4, 100), ("votes", 8, 900), ("larger", 7, 300), ("both", 8, 700)], 0),
        ([("one", 4, 100), ("votes", 8, 900), ("larger", 7, 300), ("both", 8, 700)], 1),
        ([("one", 4, 100), ("votes", 8, 900), ("larger", 7, 300), ("both", 8, 700)], 4),
        ([("b", 9, 50), ("a", 1, 10), ("d", 8, 20), ("c", 9, 40)], 0),
        ([("b", 6.2, 60), ("d", 5.9, 46.5), ("a", 5.8, 46), ("c", 5.5, 1)], 0.5),
    ),
    mistakes=(
        Mistake(
            lambda table, tolerance: max(table, key=lambda row: row[1])[0],
            "that is the first that solves most, whatever it costs",
        ),
        Mistake(
            lambda table, tolerance: min(table, key=lambda row: row[2])[0],
            "that is the cheapest of all, whatever it solves",
        ),
        Mistake(
            lambda table, tolerance: max(table, key=lambda row: row[1] / row[2])[0],
            "that solves most for the money, and may leave out what the best one solves",
        ),
        Mistake(
            lambda table, tolerance: _good(table, lambda s, most: s >= most - tolerance)[0][0],
            "that is the first of those that will do: take the cheapest of them",
        ),
        Mistake(
            lambda table, tolerance: max(
                _good(table, lambda s, most: s >= most - tolerance), key=lambda row: row[1] / row[2]
            )[0],
            "that solves most for the money, of those that will do: take the cheapest of them",
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s == most), key=lambda row: row[2]
            )[0],
            "that leaves out the tolerance: so many fewer will do",
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s == most or s > most - tolerance),
                key=lambda row: row[2],
            )[0],
            "as many fewer as the tolerance says will do as well: >= and not >",
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s > most - tolerance - 1), key=lambda row: row[2]
            )[0],
            _PARTS,
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s >= most - int(tolerance)), key=lambda row: row[2]
            )[0],
            _PARTS,
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s >= most - tolerance), key=lambda row: row[1]
            )[0],
            "that solves fewest of those that will do: take the one that costs least",
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s >= most - tolerance), key=lambda row: row[2]
            ),
            "that is the whole row: return the name of the way",
        ),
        Mistake(
            lambda table, tolerance: min(
                _good(table, lambda s, most: s >= most - tolerance), key=lambda row: row[2]
            )[2],
            "that is what it costs: return the name of the way",
        ),
    ),
    said="On ten questions one more or less is luck: choose with that in mind.",
    hints=(
        "First the most that any way solves.",
        "Then the rows that solve at least that, less the tolerance; of these the one that costs "
        "least.",
    ),
)

EXERCISES = (DECIDED, PER_SOLVED, WAIT, ANYTIME, FEE, CHEAPEST)
