"""Exercises of the first session: think longer, sample more, choose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

from itslab.workshop.exercise import Exercise, Mistake

Answers = Sequence[str | None]


# -- what an answer costs


def price(prompt, decoded, input_price, output_price):
    return (prompt * input_price + decoded * output_price) / 1_000_000


PRICE = Exercise(
    "price",
    right=price,
    inputs=((120, 4, 0.10, 0.40), (120, 268, 0.10, 0.40), (2000, 0, 0.25, 1.0), (0, 500, 0.1, 0.4)),
    mistakes=(
        Mistake(
            lambda p, d, i, o: (p * o + d * i) / 1e6,
            "the two prices are swapped: prompts are input, what the model writes is output",
        ),
        Mistake(
            lambda p, d, i, o: p * i + d * o,
            "the prices are for a million tokens: divide by 1,000,000",
        ),
        Mistake(
            lambda p, d, i, o: (p * i + d * o) / 1e3,
            "that divides by a thousand; the prices are for a million tokens",
        ),
        Mistake(lambda p, d, i, o: d * o / 1e6, "the prompt is paid for as well"),
        Mistake(lambda p, d, i, o: p * i / 1e6, "what the model writes is paid for as well"),
        Mistake(
            lambda p, d, i, o: (p + d) * o / 1e6,
            "that pays the output price for the prompt too: each part has a price of its own",
        ),
        Mistake(
            lambda p, d, i, o: (p + d) * (i + o) / 1e6,
            "that pays both prices for every token: each part has a price of its own",
        ),
    ),
    said="A chain costs many times what a bare answer does, nearly all for what is written.",
    hints=(
        "Two products: tokens of the prompt times their price, tokens decoded times theirs.",
        "Prices are for a million tokens, so divide the sum by 1_000_000.",
    ),
)


# -- a vote


def count_votes(answers, answer):
    return sum(one == answer for one in answers)


TALLY = Exercise(
    "tally",
    right=count_votes,
    mistakes=(
        Mistake(lambda answers, answer: len(answers), "that is how many chains there are"),
        Mistake(
            lambda answers, answer: len({a for a in answers if a is not None}),
            "that is how many different answers there are: count how often one was given",
        ),
        Mistake(
            lambda answers, answer: sum(a == answer for a in answers) - 1,
            "one too few: the first chain that says it counts as well",
        ),
        Mistake(
            lambda answers, answer: sum(a == answer for a in answers) + 1,
            "one too many: count again",
        ),
        Mistake(
            lambda answers, answer: sum(a != answer for a in answers),
            "those are the chains that say something else",
        ),
    ),
    said="That is the whole method: the rest is asking often enough.",
    hints=("Go through the answers one by one, and make a stroke for each.",),
)


def vote(answers):
    given = [answer for answer in answers if answer is not None]
    return max(given, key=given.count, default=None)  # the first of equally frequent ones


def _first(answers: Answers) -> str | None:
    return next((one for one in answers if one is not None), None)


def _with_silent(answers: Answers) -> str | None:
    return max(answers, key=list(answers).count, default=None)


def _last_of_ties(answers: Answers) -> str | None:
    given = [one for one in answers if one is not None]
    return max(reversed(given), key=given.count, default=None)


def _rarest(answers: Answers) -> str | None:
    given = [one for one in answers if one is not None]
    return min(given, key=given.count, default=None)


def _largest(answers: Answers) -> str | None:
    return max((one for one in answers if one is not None), default=None)


def _by_chance(answers: Answers) -> str | None:
    given = [one for one in answers if one is not None]
    return max(set(given), key=given.count, default=None)


def _absolute(answers: Answers) -> str | None:
    given = [one for one in answers if one is not None]
    return next((one for one in given if given.count(one) * 2 > len(answers)), None)


VOTE = Exercise(
    "vote",
    right=vote,
    inputs=(
        (["7", "8", "8"],),
        (["5", "9", "7", "5", "9", "4"],),
        ([None, "3", None, "4", "4", None, None],),
        (["9", "2", "2", "2", "9"],),
        ([None, None],),
        ([],),
        (list("518396"),),  # whatever order a set has, it is right about one of these
        (list("839651"),),
        (list("965183"),),
    ),
    mistakes=(
        Mistake(_first, "that takes the first answer: count how often each was given"),
        Mistake(
            _with_silent,
            "None has won: a chain that gave no answer has no vote, so leave it out first",
        ),
        Mistake(
            _last_of_ties,
            "of equally frequent answers take the one that was given first",
        ),
        Mistake(
            _by_chance,
            "a set has no order, so of equally frequent answers any may win: take the one that was "
            "given first",
        ),
        Mistake(_rarest, "that is the rarest answer: take the most frequent one"),
        Mistake(
            _largest,
            "that is the largest answer as a text: max needs key=, such as how often it was given",
        ),
        Mistake(
            _absolute,
            "the winner needs more votes than any other, not more than half of all",
        ),
        Mistake(
            lambda answers: Counter(a for a in answers if a is not None).most_common(1)[0][0],
            "where no chain gave an answer there is no winner: return None",
        ),
        Mistake(
            lambda answers: max(Counter(a for a in answers if a is not None).values(), default=0),
            "that is how often the winner was given: return the winner itself",
        ),
    ),
    said="itslab.answers.vote does that, for answers written in different ways as well.",
    hints=(
        "Leave out the chains that gave no answer: [a for a in answers if a is not None].",
        "collections.Counter counts; most_common(1) gives the first of the most frequent ones.",
        "Think of the chains that all gave none: then return None.",
    ),
)


# -- when a vote helps


def majority_right(p, n):
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1))


MAJORITY = Exercise(
    "majority",
    right=majority_right,
    inputs=((0.6, 3), (0.4, 3), (0.5, 5), (0.9, 1), (0.6, 15), (0.0, 3), (1.0, 5)),
    mistakes=(
        Mistake(lambda p, n: p, "that is the chance of one chain: the vote is what is asked for"),
        Mistake(lambda p, n: p**n, "that is the chance that all are right: more than half will do"),
        Mistake(
            lambda p, n: 1 - (1 - p) ** n,
            "that is the chance that any one is right (coverage): more than half must be",
        ),
        Mistake(
            lambda p, n: comb(n, n // 2 + 1) * p ** (n // 2 + 1) * (1 - p) ** (n - n // 2 - 1),
            "that is exactly one more than half: add the chances of all larger numbers",
        ),
        Mistake(
            lambda p, n: sum(p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1)),
            "there are comb(n, k) ways in which k of n chains are right: multiply by them",
        ),
        Mistake(
            lambda p, n: sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n)),
            "the case that all n are right is left out: range(a, b) ends before b",
        ),
        Mistake(
            lambda p, n: sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2, n + 1)),
            "n // 2 of n is less than half: begin one higher",
        ),
        Mistake(
            lambda p, n: sum(
                comb(n, k) * (1 - p) ** k * p ** (n - k) for k in range(n // 2 + 1, n + 1)
            ),
            "that is the chance that more than half are wrong",
        ),
    ),
    said="If wrong chains agree, a vote helps above one half and hurts below. Mostly they scatter: "
    "that is why it helps in the figure above, where one chain in five is right.",
    hints=(
        "Of n chains exactly k are right with the chance comb(n, k) * p**k * (1 - p)**(n - k).",
        "Add that up for all k that are more than half of n.",
    ),
)


# -- coverage


def coverage(right, n, k):
    return 1 - comb(n - right, k) / comb(n, k)


COVERAGE = Exercise(
    "coverage",
    right=coverage,
    inputs=((3, 16, 1), (3, 16, 4), (3, 16, 16), (0, 16, 8), (8, 16, 8), (1, 2, 1), (15, 16, 2)),
    mistakes=(
        Mistake(
            lambda right, n, k: right / n,
            "that is the chance of one sample, whatever k: k of them are looked at",
        ),
        Mistake(
            lambda right, n, k: 1 - (1 - right / n) ** k,
            "that draws with replacement: the same sample could be taken twice. "
            "Count the sets of k: comb",
        ),
        Mistake(
            lambda right, n, k: comb(n - right, k) / comb(n, k),
            "that is the chance that all k are wrong: what is asked for is the opposite",
        ),
        Mistake(
            lambda right, n, k: min(1.0, k * right / n),
            "chances do not add up like that: two of the k may be right at once",
        ),
        Mistake(
            lambda right, n, k: comb(right, k) / comb(n, k),
            "that is the chance that all k are right: any one will do",
        ),
        Mistake(
            lambda right, n, k: (right / n) ** k,
            "that is the chance that k draws are all right: any one will do",
        ),
        Mistake(
            lambda right, n, k: float(right > 0),
            "that looks at all n samples, whatever k: take every set of k",
        ),
    ),
    said="This is pass@k (Chen et al. 2021, arXiv:2107.03374, section 2.1).",
    hints=(
        "How many ways are there to take k of n samples? comb(n, k).",
        "How many of them take wrong samples only? comb(n - right, k).",
    ),
)


# -- choosing


def choose(samples, scores, passes):
    fine = [i for i, passed in enumerate(passes) if passed]
    among = fine or range(len(samples))
    return samples[max(among, key=lambda i: scores[i])]


CHOOSE = Exercise(
    "choose",
    right=choose,
    inputs=(
        (["a", "b", "c"], [0.9, 0.5, 0.2], [False, True, True]),
        (["a", "b", "c"], [0.1, 0.5, 0.7], [True, False, False]),
        (["a", "b", "c"], [0.3, 0.8, 0.1], [False, False, False]),
        (["a", "b"], [-2.0, -1.0], [True, True]),
        (["a", "b", "c"], [-0.5, -0.2, -0.4], [False, False, False]),
    ),
    mistakes=(
        Mistake(
            lambda samples, scores, passes: samples[scores.index(max(scores))],
            "that looks at the scores only: a sample that passes the check comes before any that "
            "fails",
        ),
        Mistake(
            lambda samples, scores, passes: next(
                (s for s, ok in zip(samples, passes, strict=True) if ok), samples[0]
            ),
            "that takes the first that passes: of several, take the one with the highest score",
        ),
        Mistake(
            lambda samples, scores, passes: max(
                ((score, s) for s, score, ok in zip(samples, scores, passes, strict=True) if ok),
                default=(0, None),
            )[1],
            "where none passes it gives nothing: then take the highest score of all",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                min(
                    [i for i, ok in enumerate(passes) if ok] or range(len(samples)),
                    key=lambda i: scores[i],
                )
            ],
            "that takes the lowest score: a high one is good",
        ),
        Mistake(
            lambda samples, scores, passes: max(
                [i for i, ok in enumerate(passes) if ok] or range(len(samples)),
                key=lambda i: scores[i],
            ),
            "that is the place of the sample: return the sample, samples[i]",
        ),
        Mistake(
            lambda samples, scores, passes: max(
                [scores[i] for i, ok in enumerate(passes) if ok] or scores
            ),
            "that is its score: return the sample itself",
        ),
        Mistake(
            lambda samples, scores, passes: max(
                (s for s, ok in zip(samples, passes, strict=True) if ok), default=max(samples)
            ),
            "that compares the texts of the samples: compare their scores",
        ),
    ),
    said="A check that can be trusted beats any feeling of the model's about itself.",
    hints=(
        "First the places of those that pass: [i for i, passed in enumerate(passes) if passed].",
        "If there are none, look at all places. Of those, take the one with the highest score.",
    ),
)

EXERCISES = (PRICE, TALLY, VOTE, MAJORITY, COVERAGE, CHOOSE)
