"""Exercises of the first session: think longer, sample more, choose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
        Mistake(
            lambda p, d, i, o: (p + d) * i / 1e6,
            "that pays the input price for what is written too: each part has a price of its own",
        ),
        Mistake(
            lambda p, d, i, o: p * i + d * o / 1e6,
            "brackets: the price of the prompt is for a million tokens as well",
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


_NEITHER = "count the chains that say this: not the others, nor how many answers are different"

TALLY = Exercise(
    "tally",
    right=count_votes,
    mistakes=(
        Mistake(lambda answers, answer: len(answers), "that is how many chains there are"),
        Mistake(lambda answers, answer: sum(a != answer for a in answers), _NEITHER),
        Mistake(lambda answers, answer: len({a for a in answers if a is not None}), _NEITHER),
        Mistake(
            lambda answers, answer: sum(a == answer for a in answers) - 1,
            "one too few: count again, in both rows",
        ),
        Mistake(
            lambda answers, answer: sum(a == answer for a in answers) + 1,
            "one too many: count again, in both rows",
        ),
    ),
    said="That is the whole method: the rest is asking often enough.",
    hints=("Go through the answers one by one, and make a stroke for each.",),
)


def vote(answers):
    given = [answer for answer in answers if answer is not None]
    return max(given, key=given.count, default=None)  # the first of equally frequent ones


def _given(answers: Answers) -> list[str]:
    return [answer for answer in answers if answer is not None]


def _most(given: list[str], order: Callable[[str], float]) -> str | None:
    """The most frequent answer; of equally frequent ones that with the highest ``order``."""
    known = dict.fromkeys(given)
    most = max(map(given.count, known), default=0)
    return max((one for one in known if given.count(one) == most), key=order, default=None)


def _outright(answer: str | None, answers: Answers) -> bool:
    return list(answers).count(answer) * 2 > len(answers)


def _last_given(given: list[str]) -> str | None:
    return _most(given, lambda answer: max(i for i, one in enumerate(given) if one == answer))


def _last_new(given: list[str]) -> str | None:
    return _most(given, given.index)


def _first_to_reach(given: list[str]) -> str | None:
    counts = [given[: i + 1].count(answer) for i, answer in enumerate(given)]
    return given[counts.index(max(counts))] if given else None


_ABSOLUTE = "the winner needs more votes than any other, not more than half of all"


def miscounted(given: Callable[..., list[str]]) -> tuple[Mistake, ...]:
    """What goes wrong in a vote of the answers that ``given`` takes from an exercise's inputs."""
    ties = "of equally frequent answers take the one that was given first"
    lost = f"{ties}: mind >= for >, a set, and sorting"
    wrong: tuple[tuple[Callable[[list[str]], object], str], ...] = (
        (lambda told: told[0] if told else None, "that is the first answer: count all of them"),
        (lambda told: told[-1] if told else None, "that is the last answer: count all of them"),
        (_last_given, lost),
        (_last_new, lost),
        (lambda told: max(set(told), key=told.count, default=None), lost),
        (lambda told: max(sorted(told), key=told.count, default=None), lost),
        (lambda told: max(sorted(told)[::-1], key=told.count, default=None), lost),
        (_first_to_reach, f"{ties}, not the one that was first to have so many"),
        (
            lambda told: min(told, key=told.count, default=None),
            "that is the rarest answer: take the most frequent one",
        ),
        (
            lambda told: max(told, default=None),
            "that is the largest answer as a text: max needs key=, such as how often it was given",
        ),
        (lambda told: next((a for a in told if _outright(a, told)), None), _ABSOLUTE),
        (
            lambda told: max(told, key=told.count),
            "where there is no answer there is no winner: return None",
        ),
        (
            lambda told: max(map(told.count, told), default=0),
            "that is how often the winner was given: return the winner itself",
        ),
    )
    return tuple(
        Mistake(lambda *inputs, does=does: does(given(*inputs)), hint) for does, hint in wrong
    )


VOTE = Exercise(
    "vote",
    right=vote,
    inputs=(
        (["7", "8", "8"],),
        (["5", "9", "7", "5", "9", "4"],),
        (["3", "4", "4", "3"],),
        ([None, "3", None, "4", "4", None, None],),
        (["3", None, None],),
        (["9", "2", "2", "2", "9"],),
        ([None, None],),
        ([],),
        (list("518396"),),  # whatever order a set has, it is right about one of these
        (list("839651"),),
        (list("965183"),),
    ),
    mistakes=(
        *miscounted(_given),
        Mistake(
            lambda answers: max(answers, key=list(answers).count, default=None),
            "None has won: a chain that gave no answer has no vote, so leave it out first",
        ),
        Mistake(
            lambda answers: next((a for a in _given(answers) if _outright(a, answers)), None),
            _ABSOLUTE,
        ),
    ),
    said="itslab.answers.vote does that, also where 18 is written as 18.0, and returns the place.",
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
            lambda p, n: sum(comb(n, k) * p**k for k in range(n // 2 + 1, n + 1)),
            "if just k chains are right, the others are wrong: multiply by (1 - p) ** (n - k)",
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
            lambda p, n: sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n // 2, n)),
            "n // 2 of n is less than half, and range(a, b) ends before b: both ends one higher",
        ),
        Mistake(
            lambda p, n: float(p > 0.5),
            "that is what very many chains would come to: with n of them luck plays a part",
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


_NO_SUM = "chances do not add up like that: two of the k may be right at once"

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
        Mistake(lambda right, n, k: k * right / n, _NO_SUM),
        Mistake(lambda right, n, k: min(1.0, k * right / n), _NO_SUM),
        Mistake(
            lambda right, n, k: right * comb(n - right, k - 1) / comb(n, k),
            "that is the chance that exactly one is right: there may be more",
        ),
        Mistake(
            lambda right, n, k: 1 - comb(right, k) / comb(n, k),
            "that is the chance that any one is wrong: count the sets that are wrong throughout",
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
            "that is 1 as soon as any of the n is right, whatever k: count the sets of k, and "
            "divide by /",
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


def _among(passes: Sequence[bool]) -> list[int]:
    return [i for i, passed in enumerate(passes) if passed] or [*range(len(passes))]


def _above(start: float) -> Callable[..., str]:
    """Begin with a score, and with no sample."""

    def does(samples: Sequence[str], scores: Sequence[float], passes: Sequence[bool]) -> str:
        fine = [i for i in _among(passes) if passes[i] and scores[i] > start]
        return str(choose(samples, scores, [i in fine for i in range(len(samples))]))

    return does


_START = "scores may be negative: of those that pass take the highest, wherever it lies"
_TEXT = "the same text may come twice, with another score: keep the place, not the text"

CHOOSE = Exercise(
    "choose",
    right=choose,
    inputs=(
        (["a", "b", "c"], [0.9, 0.5, 0.2], [False, True, True]),
        (["a", "b", "c"], [0.2, 3.0, 0.5], [True, False, True]),
        (["a", "a", "b"], [0.3, 0.1, 0.8], [False, False, False]),
        (["a", "b", "c"], [-0.5, -0.1, -0.3], [False, False, True]),
        (["a", "b"], [-0.1, -20000.0], [False, True]),
        (["a", "b", "c"], [-15.0, -14.0, -12.0], [True, True, False]),
        (["a", "b", "c"], [0.5, 0.1, 0.9], [True, True, False]),
        (["a", "a", "b"], [0.9, 0.1, 0.5], [False, True, True]),
        (["a", "a", "b"], [0.9, 0.1, 0.5], [True, True, True]),
        (["a", "b", "c"], [-0.5, -0.2, -0.4], [False, False, False]),
        (["a", "c", "e", "b", "d"], [0.5, 0.5, 0.5, 0.5, 0.5], [False, True, True, True, True]),
        (["b", "a", "c"], [-3.0, -3.0, -3.0], [False, False, False]),
    ),
    mistakes=(
        Mistake(
            lambda samples, scores, passes: samples[scores.index(max(scores))],
            "that looks at the scores only: a sample that passes the check comes before any that "
            "fails",
        ),
        Mistake(
            lambda samples, scores, passes: samples[_among(passes)[0]],
            "that takes the first that passes: of several, take the one with the highest score",
        ),
        Mistake(
            lambda samples, scores, passes: (
                samples[passes.index(True)] if any(passes) else choose(samples, scores, passes)
            ),
            "that takes the first that passes: of several, take the one with the highest score",
        ),
        Mistake(
            lambda samples, scores, passes: (
                choose(samples, scores, passes) if any(passes) else None
            ),
            "where none passes it gives nothing: then take the highest score of all",
        ),
        Mistake(
            lambda samples, scores, passes: (
                choose(samples, scores, passes) if any(passes) else samples[0]
            ),
            "where none passes it takes the first: then take the highest score of all",
        ),
        Mistake(
            lambda samples, scores, passes: samples[min(_among(passes), key=lambda i: scores[i])],
            "that takes the lowest score: a high one is good",
        ),
        Mistake(
            lambda samples, scores, passes: max(_among(passes), key=lambda i: scores[i]),
            "that is the place of the sample: return the sample, samples[i]",
        ),
        Mistake(
            lambda samples, scores, passes: max(scores[i] for i in _among(passes)),
            "that is its score: return the sample itself",
        ),
        Mistake(
            lambda samples, scores, passes: max(samples[i] for i in _among(passes)),
            "that compares the texts of the samples: compare their scores",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                scores.index(max(scores[i] for i in _among(passes)))
            ],
            "the first sample with that score may be one that fails: keep the place, not the score",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                max(_among(passes), key=lambda i: (scores[i], i))
            ],
            "of equal scores take the first, and that is the last",
        ),
        Mistake(
            lambda samples, scores, passes: max((scores[i], samples[i]) for i in _among(passes))[1],
            "of equal scores take the first: max compares the texts there",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                max(range(len(samples)), key=lambda i: scores[i] + passes[i])
            ],
            "that adds 1 for a pass: scores may lie further apart than that",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                max(range(len(samples)), key=lambda i: scores[i] + 100 * passes[i])
            ],
            "scores may lie further apart than any number that is added for a pass, or begun with",
        ),
        Mistake(
            lambda samples, scores, passes: max(
                (samples[i] for i in _among(passes)), key=lambda x: scores[samples.index(x)]
            ),
            _TEXT,
        ),
        Mistake(
            lambda samples, scores, passes: max(
                (samples[i] for i in _among(passes)),
                key=dict(zip(samples, scores, strict=True)).__getitem__,
            ),
            _TEXT,
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                max(range(len(samples)), key=lambda i: scores[i] * passes[i])
            ],
            "scores may be negative: times False they are 0, and that is more",
        ),
        Mistake(
            lambda samples, scores, passes: samples[
                max(
                    range(len(samples)),
                    key=lambda i: scores[i] * passes[i] if any(passes) else scores[i],
                )
            ],
            "scores may be negative: times False they are 0, and that is more",
        ),
        Mistake(_above(0), _START),
        Mistake(_above(-1), _START),
    ),
    said="A check that can be trusted beats any feeling of the model's about itself.",
    hints=(
        "First the places of those that pass: [i for i, passed in enumerate(passes) if passed].",
        "If there are none, look at all places. Of those, take the one with the highest score.",
    ),
)

EXERCISES = (PRICE, TALLY, VOTE, MAJORITY, COVERAGE, CHOOSE)
