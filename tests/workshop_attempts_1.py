"""What participants of the workshop may write: right and plausible wrong answers, by exercise.

Written without looking at the wrong solutions of ``itslab.workshop.exercises``. Of each exercise
three right answers that differ in how they work, and at least five wrong ones, each with a word
that the hint must hold, since it names the mistake.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from fractions import Fraction
from itertools import combinations, product
from math import comb, prod
from statistics import mode

import numpy as np

from itslab import answers

RIGHT: dict[tuple[int, str], list] = {}
WRONG: dict[tuple[int, str], list] = {}
"""By session and exercise: the attempt, and a word of its hint."""
GIVEN: dict[tuple[int, str], tuple] = {}
"""What a value follows from."""

# -- session 1: price


def price_in_steps(prompt, decoded, input_price, output_price):
    million = 10**6
    read = prompt / million * input_price
    written = decoded / million * output_price
    return read + written


RIGHT[1, "price"] = [
    price_in_steps,
    lambda p, d, i, o: float(np.dot([p, d], [i, o]) * 1e-6),
    lambda p, d, i, o: sum(n * c for n, c in ((p, i), (d, o))) / 1e6,
]


def price_swapped(prompt, decoded, input_price, output_price):
    return prompt * output_price / 1e6 + decoded * input_price / 1e6


WRONG[1, "price"] = [
    (price_swapped, "swapped"),
    (lambda p, d, i, o: p * i + d * o, "million"),
    (lambda p, d, i, o: d / 1e6 * o, "prompt"),
    (lambda p, d, i, o: (p + d) / 1e6 * o, "output price"),
    (lambda p, d, i, o: (p * i + d * o) / 1000, "thousand"),
    (lambda p, d, i, o: p / 1e6 * i, "writes"),
    (lambda p, d, i, o: (p + d) / 1e6 * (i + o), "both prices"),
    (lambda p, d, i, o: (p + d) * i / 1e6, "input price"),
    (lambda p, d, i, o: p * i + d * o / 1e6, "brackets"),
    (lambda p, d, i, o: price_in_steps(p, d, i, o) * 100, "cents"),
    (lambda p, d, i, o: round(price_in_steps(p, d, i, o), 5), "rounded"),
    (lambda p, d, i, o: (p * i + d * o) // 1e6, "it should give"),
]

# -- session 1: tally

SAID = ["13", "43", None, "13", "0", "13", "12"]
GIVEN[1, "tally"] = (SAID, "13")
RIGHT[1, "tally"] = [3, 3.0, np.int64(SAID.count("13"))]
WRONG[1, "tally"] = [
    (7, "chains there are"),
    (2, "too few"),
    (len(set(SAID) - {None}), "different"),
    (11, "is not it"),
    (None, "None is not it"),
    ("many", "is not it"),
]

# -- session 1: vote


def vote_by_counter(answers):
    counts = Counter(answer for answer in answers if answer is not None)
    return counts.most_common(1)[0][0] if counts else None


def vote_by_dictionary(answers):
    votes = defaultdict(int)
    for answer in answers:
        if answer is not None:
            votes[answer] += 1
    best = None
    for answer, count in votes.items():
        if best is None or count > votes[best]:
            best = answer
    return best


def vote_by_sorting(answers):
    given = [a for a in answers if a is not None]
    order = sorted(given, key=lambda a: (-given.count(a), given.index(a)))
    return order[0] if order else None


RIGHT[1, "vote"] = [vote_by_counter, vote_by_dictionary, vote_by_sorting]


def vote_first(answers):
    for answer in answers:
        if answer is not None:
            return answer
    return None


def vote_none_counts(answers):
    return Counter(answers).most_common(1)[0][0] if answers else None


def vote_late(answers):
    best, most = None, 0
    for answer in answers:
        if answer is not None and answers.count(answer) >= most:
            best, most = answer, answers.count(answer)
    return best


def vote_absolute(answers):
    for answer in answers:
        if answer is not None and answers.count(answer) > len(answers) / 2:
            return answer
    return None


def vote_of_some(answers):
    return Counter(a for a in answers if a is not None).most_common()[0][0]


def vote_count(answers):
    counts = Counter(a for a in answers if a is not None)
    return counts.most_common(1)[0][1] if counts else 0


def vote_of_a_set(answers):
    return max({a for a in answers if a is not None}, key=answers.count, default=None)


def vote_as_it_goes(answers):  # who is the first to have so many
    counts, best = Counter(), None
    for answer in answers:
        if answer is not None:
            counts[answer] += 1
            if best is None or counts[answer] > counts[best]:
                best = answer
    return best


def vote_by_mode(answers):
    return mode(answer for answer in answers if answer is not None)


def vote_with_count(answers):
    counts = Counter(a for a in answers if a is not None)
    return counts.most_common(1)[0] if counts else None


def vote_of_strangers(answers):  # counts None, and takes it for nobody yet
    votes = Counter(answers)
    best = None
    for answer, count in votes.items():
        if best is None or count > votes[best]:
            best = answer
    return best


def vote_paired_off(answers):  # Boyer and Moore's, which needs more than half
    best, lead = None, 0
    for answer in answers:
        if answer is not None:
            best = best if lead else answer
            lead += 1 if answer == best else -1
    return best


WRONG[1, "vote"] = [
    (vote_as_it_goes, "first to have so many"),
    (vote_by_mode, "return None (and for [None, None] it raised StatisticsError"),
    (lambda answers: Counter(answers).most_common(1)[0][0], "None has won"),
    (vote_with_count, "return that alone"),
    (lambda answers: int(vote_by_sorting(answers) or 0), "a text is asked for"),
    (lambda answers: vote_by_sorting(sorted(a for a in answers if a)), "sorting"),
    (vote_paired_off, "it should give"),
    (vote_of_strangers, "it should give '3', and gives None"),
    (answers.vote, "it should give '8', and gives 1, which is a number"),
    (vote_of_a_set, "a set"),
    (vote_first, "first answer"),
    (vote_none_counts, "None has won"),
    (vote_late, "given first"),
    (vote_absolute, "more than half"),
    (vote_of_some, "return None"),
    (vote_count, "how often"),
    (lambda answers: max((a for a in answers if a), default=None), "largest"),
]

# -- session 1: majority


def majority_by_enumeration(p, n):
    total = 0
    for outcome in product((True, False), repeat=n):
        if 2 * sum(outcome) > n:
            total += prod(p if right else 1 - p for right in outcome)
    return total


def majority_by_states(p, n):
    chances = [1.0]  # of so many right ones
    for _ in range(n):
        longer = [0.0] * (len(chances) + 1)
        for k, chance in enumerate(chances):
            longer[k] += chance * (1 - p)
            longer[k + 1] += chance * p
        chances = longer
    return sum(chances[k] for k in range(n + 1) if k > n / 2)


def majority_by_scipy(p, n):
    from scipy.stats import binom

    return binom.sf(n // 2, n, p)


RIGHT[1, "majority"] = [majority_by_enumeration, majority_by_states, majority_by_scipy]


def binomial(p, n, ks):
    return sum(comb(n, k) * p**k * (1 - p) ** (n - k) for k in ks)


WRONG[1, "majority"] = [
    (lambda p, n: p, "one chain"),
    (lambda p, n: p**n, "all are right"),
    (lambda p, n: 1 - (1 - p) ** n, "coverage"),
    (lambda p, n: binomial(p, n, [n // 2 + 1]), "exactly"),
    (lambda p, n: binomial(p, n, range(n // 2 + 1, n)), "left out"),
    (lambda p, n: binomial(p, n, range(n // 2, n + 1)), "one higher"),
    (lambda p, n: binomial(p, n, range(n // 2, n)), "both ends"),
    (lambda p, n: sum(comb(n, k) * p**k for k in range(n // 2 + 1, n + 1)), "others are wrong"),
    (lambda p, n: 1.0 if p > 0.5 else 0.0, "very many"),
    (lambda p, n: round(majority_by_states(p, n), 2), "rounded"),
    (lambda p, n: 100 * majority_by_states(p, n), "per cent"),
    (lambda p, n: binomial(1 - p, n, range(n // 2 + 1, n + 1)), "wrong"),
    (lambda p, n: sum(p**k * (1 - p) ** (n - k) for k in range(n // 2 + 1, n + 1)), "comb"),
]

# -- session 1: coverage


def coverage_by_enumeration(right, n, k):
    marks = [i < right for i in range(n)]
    sets = [any(taken) for taken in combinations(marks, k)]
    return sum(sets) / len(sets)


def coverage_by_product(right, n, k):
    wrong = 1.0
    for i in range(k):
        wrong *= max(n - right - i, 0) / (n - i)
    return 1 - wrong


def coverage_by_numpy(right, n, k):  # as in the paper
    if n - right < k:
        return 1.0
    return 1.0 - np.prod(1.0 - k / np.arange(n - right + 1, n + 1))


RIGHT[1, "coverage"] = [coverage_by_enumeration, coverage_by_product, coverage_by_numpy]
WRONG[1, "coverage"] = [
    (lambda right, n, k: right / n, "one sample"),
    (lambda right, n, k: 1 - (1 - right / n) ** k, "replacement"),
    (lambda right, n, k: 1 - coverage_by_product(right, n, k), "opposite"),
    (lambda right, n, k: min(k * right / n, 1), "add up"),
    (lambda right, n, k: float(Fraction(comb(right, k), comb(n, k))), "all k are right"),
    (lambda right, n, k: 1.0 if right else 0.0, "whatever k"),
    (lambda right, n, k: k * right / n, "add up"),
    (lambda right, n, k: right * comb(n - right, k - 1) / comb(n, k), "exactly one"),
    (lambda right, n, k: 1 - comb(right, k) / comb(n, k), "any one is wrong"),
    (lambda right, n, k: 1 - comb(n - right, k) // comb(n, k), "divide by /"),
]

# -- session 1: choose


def choose_by_sorting(samples, scores, passes):
    order = sorted(range(len(samples)), key=lambda i: (passes[i], scores[i], -i))
    return samples[order[-1]]


def choose_by_loop(samples, scores, passes):
    best, key = None, None
    for sample, score, passed in zip(samples, scores, passes, strict=True):
        if key is None or (passed, score) > key:
            best, key = sample, (passed, score)
    return best


def choose_by_numpy(samples, scores, passes):
    scores = np.array(scores, float)
    if any(passes):
        scores[~np.array(passes)] = -np.inf
    return samples[int(np.argmax(scores))]


RIGHT[1, "choose"] = [
    choose_by_sorting,
    choose_by_loop,
    choose_by_numpy,
    lambda s, c, p: s[max(range(len(s)), key=lambda i: c[i] + 1e9 * p[i])],
]


def choose_first(samples, scores, passes):
    return samples[passes.index(True)] if True in passes else samples[0]


def choose_or_nothing(samples, scores, passes):
    fine = [(score, s) for s, score, ok in zip(samples, scores, passes, strict=True) if ok]
    return max(fine, key=lambda pair: pair[0])[1] if fine else None


def choose_above(start, late=False):
    def choose(samples, scores, passes):
        best, top = None, start
        for sample, score, passed in zip(samples, scores, passes, strict=True):
            if passed and (score > top or (late and score == top)):
                best, top = sample, score
        return samples[scores.index(max(scores))] if best is None else best

    return choose


def choose_by_score(samples, scores, passes):
    good = [score for score, passed in zip(scores, passes, strict=True) if passed]
    return samples[scores.index(max(good or scores))]


def choose_by_dictionary(samples, scores, passes):
    by_score = dict(zip(scores, samples, strict=True))
    fine = {score: s for s, score, ok in zip(samples, scores, passes, strict=True) if ok}
    return max((fine or by_score).items())[1]


def choose_by_place(samples, scores, passes):
    best = None
    for i in range(len(samples)):
        if passes[i] and (best is None or scores[i] > scores[best]):
            best = i
    return samples[best] if best else samples[scores.index(max(scores))]


def choose_over_and_over(samples, scores, passes):
    best = None
    for i in range(len(samples)):
        if (passes[i] or not any(passes)) and (not best or scores[i] > scores[best]):
            best = i
    return samples[best]


def choose_by_text(samples, scores, passes):
    fine = [s for s, passed in zip(samples, passes, strict=True) if passed] or samples
    return max(fine, key=lambda s: scores[samples.index(s)])


def choose_by_score_of_text(samples, scores, passes):
    rows = [*zip(samples, scores, passes, strict=True)]
    score = {s: c for s, c, ok in rows if ok or not any(passes)}
    return max(score, key=score.get)


WRONG[1, "choose"] = [
    (choose_by_place, "it should give"),
    (choose_over_and_over, "it should give"),
    (choose_by_text, "keep the place, not the text"),
    (choose_by_score_of_text, "keep the place, not the text"),
    (lambda s, c, p: s[max(range(len(s)), key=lambda i: c[i] + 10 * p[i])], "further apart"),
    (lambda s, c, p: s[max(range(len(s)), key=lambda i: c[i] + 100 * p[i])], "further apart"),
    (choose_above(0), "may be negative"),
    (choose_above(-1), "may be negative"),
    (choose_above(-10), "may be negative"),
    (choose_above(-1e9, late=True), "it should give"),
    (choose_by_score, "may be one that fails"),
    (choose_by_dictionary, "and that is the last"),
    (lambda s, c, p: max(zip(p, c, s, strict=True))[2], "texts"),
    (lambda s, c, p: sorted(zip(p, c, s, strict=True))[-1][-1], "texts"),
    (lambda s, c, p: s[sorted(range(len(s)), key=lambda i: (p[i], c[i]))[-1]], "the last"),
    (lambda s, c, p: s[max(range(len(s)), key=lambda i: c[i] + p[i])], "further apart"),
    (lambda s, c, p: s[max(range(len(s)), key=lambda i: c[i] * p[i])], "negative"),
    (
        lambda s, c, p: (
            s[max(range(len(s)), key=lambda i: c[i] * p[i])] if any(p) else s[c.index(max(c))]
        ),
        "times False",
    ),
    (lambda s, c, p: s[p.index(True)] if any(p) else s[c.index(max(c))], "first that passes"),
    (lambda s, c, p: choose_by_loop(s, c, p) if any(p) else s[0], "takes the first"),
    (lambda samples, scores, passes: samples[int(np.argmax(scores))], "scores only"),
    (choose_first, "first that passes"),
    (choose_or_nothing, "none passes"),
    (
        lambda s, c, p: s[
            min([i for i in range(len(s)) if p[i]] or range(len(s)), key=lambda i: c[i])
        ],
        "lowest",
    ),
    (lambda s, c, p: s.index(choose_by_loop(s, c, p)), "place"),
    (lambda s, c, p: c[s.index(choose_by_loop(s, c, p))], "its score"),
]
