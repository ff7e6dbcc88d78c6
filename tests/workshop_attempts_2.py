"""What participants of the second session may write; see ``workshop_attempts``."""

from __future__ import annotations

import heapq
import math
import re
from collections import deque
from itertools import count

import numpy as np

RIGHT: dict[tuple[int, str], list] = {}
WRONG: dict[tuple[int, str], list] = {}
GIVEN: dict[tuple[int, str], tuple] = {}

# -- survivors

SCORES = {"A": 0.6, "B": 0.7, "C": 0.95, "D": 0.4}
SCORES |= {"A1": 0.9, "A2": 0.2, "B1": 0.6, "B2": 0.65, "C1": 0.5, "C2": 0.55, "D1": 0.5, "D2": 0.1}
GIVEN[2, "survivors"] = (SCORES,)
RIGHT[2, "survivors"] = [
    ["B1", "B2"],
    "b2 and b1",
    {"B2", "B1"},
    deque(("B1", "B2")),
    {"B1": 0.6, "B2": 0.65},
    np.array(["B1", "B2"]),
    "B1B2",
    ["B", "C", "B1", "B2"],
    [["B", "C"], ["B1", "B2"]],
    "both B1 and B2",
    "B1 und B2",
    "B1 B2 survive",
    "round 2: B1, B2",
]
WRONG[2, "survivors"] = [
    (["A1", "B2"], "dropped in the first round"),
    (["B2", "C2"], "DVTS"),
    ("C1, C2", "add nothing"),
    ("C and B", "go on to the second"),
    (["B1", "B2", "C1", "C2"], "two of them"),
    ("B2", "best one"),
    (["A1", "D1"], "high score"),
    (["A1", "C1"], "is not it"),
    (2, "is not it"),
    ("neither B1 nor B2", "is not it"),
    (["not", "B1", "B2"], "is not it"),
    ("weder B1 noch B2", "is not it"),
    ("B1 or B2", "is not it"),
    ("all but B1 and B2", "is not it"),
    ("I choose B2 and C2", "DVTS"),
    (["A", "D", "B1", "B2"], "is not it"),
    (["B1", "B2", "A1"], "is not it"),
    (iter(["B1", "B2"]), "make a list"),
]

# -- next_beams


def beams_by_loop(beams, steps, width):
    rivals = list(steps)
    for score, text, finished in beams:
        if finished:
            rivals.append((score, text, finished))
    best = []
    while rivals and len(best) < width:
        top = max(rivals)
        rivals.remove(top)
        best.append(top)
    return best


def beams_by_numpy(beams, steps, width):
    rivals = [*filter(lambda beam: beam[2], beams), *steps]
    order = np.argsort([-score for score, *_ in rivals], kind="stable")
    return tuple(rivals[i] for i in order[:width])


RIGHT[2, "next_beams"] = [
    beams_by_loop,
    beams_by_numpy,
    lambda beams, steps, width: heapq.nlargest(
        width, [b for b in beams if b[-1]] + steps, key=lambda chain: chain[0]
    ),
    lambda beams, steps, width: deque(beams_by_loop(beams, steps, width)),
]


def beams_ascending(beams, steps, width):
    rivals = [beam for beam in beams if beam[2]] + steps
    rivals.sort(key=lambda chain: chain[0])
    return rivals[:width]


def beams_best_last(beams, steps, width):
    rivals = [beam for beam in beams if beam[2]] + steps
    return sorted(rivals, key=lambda chain: chain[0])[-width:]


def beams_finished_first(beams, steps, width):
    done = [beam for beam in beams if beam[2]]
    return (done + sorted(steps, reverse=True))[:width]


def beams_of_all_best_last(beams, steps, width):
    everything = beams + steps
    everything.sort(key=lambda chain: chain[0])
    return everything[-width:]


WRONG[2, "next_beams"] = [
    (lambda beams, steps, width: sorted(steps, reverse=True)[:width], "finished chains are lost"),
    (lambda b, s, width: sorted(b + s, reverse=True)[:width], "gone on from"),
    (beams_ascending, "lowest"),
    (beams_best_last, "best must come first"),
    (beams_of_all_best_last, "its own steps, and the best must come first"),
    (lambda beams, steps, width: sorted(steps)[-width:], "are lost: they compete"),
    (lambda b, s, width: sorted([c for c in b if c[2]] + s)[::-1], "cut"),
    (lambda b, s, width: ([c for c in b if c[2]] + s)[:width], "sort before"),
    (lambda b, s, width: [c[1] for c in beams_by_loop(b, s, width)], "texts"),
    (beams_finished_first, "keep their place"),
    (lambda b, s, w: sorted([c for c in b if not c[2]] + s)[::-1][:w], "wrong half"),
    (lambda b, s, w: beams_by_loop(b, [c for c in s if not c[2]], w), "finished too"),
    (lambda b, s, w: beams_by_loop([c for c in b if c[2]][:1], s, w), "several"),
    (lambda b, s, w: ([c for c in b if c[2]] + s).sort(reverse=True)[:w], "sorts x itself"),
    (lambda b, s, w: max([c for c in b if c[2]] + s), "it should give"),
    (lambda b, s, w: filter(None, beams_by_loop(b, s, w)), "make a list"),
]

# -- holds


def holds_by_pattern(words, text):
    there = [word for word in words if re.search(rf"\b{word}\b", text, re.IGNORECASE)]
    return len(there) / len(words)


def holds_by_sets(words, text):
    held = {token.strip(".,").casefold() for token in text.split()}
    return len(held & set(words)) / len(words)


def holds_by_loop(words, text):
    found = 0
    for word in words:
        for token in text.translate(str.maketrans(",.", "  ")).lower().split():
            if token == word:
                found += 1
                break
    return found / len(words)


RIGHT[2, "holds"] = [holds_by_pattern, holds_by_sets, holds_by_loop]


def tokens(text):
    return text.lower().replace(".", "").replace(",", "").split()


def rid(text, mark):
    return text.lower().replace(mark, "")


def holds_without_commas(words, text):
    tokens = text.lower().split()
    return sum(word in tokens or word + "." in tokens for word in words) / len(words)


WRONG[2, "holds"] = [
    (lambda words, text: np.mean([w in text.lower() for w in words]), "bowl"),
    (lambda words, text: np.mean([w in text for w in words]), "bowl"),
    (
        lambda words, text: len([w for w in words if re.search(rf"\b{w}\b", text)]) / len(words),
        "misses Owl",
    ),
    (lambda words, text: len(set(words) & set(text.lower().split())) / len(words), "comma"),
    (holds_without_commas, "before a comma: take"),
    (
        lambda words, text: np.mean([w in re.split(r"[ ,]+", text.lower()) for w in words]),
        "before a full stop: take",
    ),
    (lambda words, text: sum(w in text.split() for w in words) / len(words), "in capitals"),
    (lambda words, text: sum(w in rid(text, ".").split() for w in words) / len(words), "a comma"),
    (
        lambda words, text: (
            sum(f" {w} " in re.sub("[.,]", " ", text.lower() + ".") for w in words) / len(words)
        ),
        "first word",
    ),
    (lambda words, text: sum(w in rid(text, ",").split() for w in words) / len(words), "full stop"),
    (
        lambda words, text: sum(w in text.lower().rstrip(".,").split() for w in words) / len(words),
        "end of the text",
    ),
    (lambda words, text: len(set(words) & set(tokens(text))), "divide"),
    (lambda words, text: len(set(words) - set(tokens(text))) / len(words), "missing"),
    (lambda words, text: 1.0 if set(words) <= set(tokens(text)) else 0.0, "until all"),
    (lambda words, text: sum(t in words for t in tokens(text)) / len(words), "twice"),
    (
        lambda words, text: (
            len(set(words) & set(tokens(text))) / len(tokens(text)) if text else 0.0
        ),
        "of the text",
    ),
]

# -- uct


def uct_in_steps(value, visits, parent_visits, c):
    explored = math.log(parent_visits) / visits
    return value + c * explored**0.5


RIGHT[2, "uct"] = [
    uct_in_steps,
    lambda v, n, parent, c: np.array(v) + c * np.sqrt(np.log(parent)) / np.sqrt(n),
    lambda v, n, parent, c: v + math.sqrt(c**2 * math.log(parent, math.e) / n),
]
WRONG[2, "uct"] = [
    (lambda v, n, parent, c: v, "value alone"),
    (lambda v, n, parent, c: c * math.sqrt(math.log(parent) / n), "bonus alone"),
    (lambda v, n, parent, c: v + c * math.log(parent) / n, "root is missing"),
    (lambda v, n, parent, c: v + c * math.sqrt(math.log(parent)) / n, "whole quotient"),
    (lambda v, n, parent, c: v + c * math.sqrt(parent / n), "logarithm"),
    (lambda v, n, parent, c: v + math.sqrt(math.log(parent) / n), "c is missing"),
    (lambda v, n, parent, c: v + math.sqrt(c * math.log(parent) / n), "factor"),
    (lambda v, n, parent, c: v + c * math.sqrt(math.log(n) / parent), "swapped"),
    (lambda v, n, parent, c: v - c * math.sqrt(math.log(parent) / n), "added"),
    (lambda v, n, parent, c: v + c * math.sqrt(math.log(parent, 10) / n), "base 10"),
    (lambda v, n, parent, c: (v + c) * math.sqrt(math.log(parent) / n), "brackets"),
    (lambda v, n, parent, c: v + c * math.sqrt(math.log2(parent) / n), "base 2"),
    (lambda v, n, parent, c: v + c * (2 * math.log(parent) / n) ** 0.5, "no 2"),
    (lambda v, n, parent, c: v + c * (math.log(n) / n) ** 0.5, "the parent's visits"),
    (lambda v, n, parent, c: v + c * (math.log(parent) / (n + 1)) ** 0.5, "nothing is added"),
    (lambda v, n, parent, c: round(uct_in_steps(v, n, parent, c), 2), "rounded"),
]

# -- selected

TREE = {"": (0.66, 16), "P": (0.7, 10), "Q": (0.6, 6)}
TREE |= {"P1": (0.9, 6), "P2": (0.4, 4), "Q1": (0.7, 4), "Q2": (0.4, 2)}
GIVEN[2, "selected"] = (TREE,)
RIGHT[2, "selected"] = [
    "Q1",
    " q1 ",
    ["Q1"],
    np.str_("Q1"),
    np.array(["Q1"]),
    ("Q1", (0.7, 4)),
    "Q1 (1.29)",
    ["Q", "Q1"],
    ("", "Q", "Q1"),
    "root, Q, then Q1",
    "Q 1.15 -> Q1 1.29",
    "I choose Q1",
    "Q1 wins",
    "node Q1, then stop",
    "das ist Q1",
    "Q1 with uct 1.4",
]
WRONG[2, "selected"] = [
    ("P1", "highest values"),
    ("Q2", "not the root's"),
    ("Q", "go on"),
    ("P", "higher value"),
    ("P2", "two children"),
    (["P1"], "highest values"),
    (["Q1", "Q"], "is not it"),
    ("P -> P1", "highest values"),
    (["P", "Q1"], "is not it"),
    (["Q1", "Q2"], "is not it"),
    ("P1 or Q1", "is not it"),
    ("Q1 or Q2", "is not it"),
    ("it isn't Q1", "is not it"),
    ("not Q1", "is not it"),
    (["not", "Q1"], "is not it"),
    ("root", "is not it"),
]

# -- kept


def kept_by_loop(answers, scores):
    seen, best = set(), None
    for place, answer, score in zip(count(), answers, scores, strict=False):
        if answer in seen:
            break
        seen.add(answer)
        if best is None or score > scores[best]:
            best = place
    return best


def kept_by_sorting(answers, scores):
    lasting = []
    for answer in answers:
        if answer in lasting:
            break
        lasting.append(answer)
    return sorted(range(len(lasting)), key=lambda i: (-scores[i], i))[0]


def kept_by_numpy(answers, scores):
    fresh = [answer not in answers[:i] for i, answer in enumerate(answers)]
    written = np.logical_and.accumulate(fresh)
    return int(np.argmax(np.where(written, scores, -np.inf)))


RIGHT[2, "kept"] = [kept_by_loop, kept_by_sorting, kept_by_numpy]


def lasting(answers):
    return next((i for i in range(len(answers)) if answers[i] in answers[:i]), len(answers))


def kept_unchanged(answers, scores):
    end = 1
    while end < len(answers) and answers[end] != answers[end - 1]:
        end += 1
    return scores.index(max(scores[:end]))


def kept_late(answers, scores):
    best = 0
    for i in range(lasting(answers)):
        if scores[i] >= scores[best]:
            best = i
    return best


def kept_to_the_last_repeat(answers, scores):
    end = len(answers)
    for i, answer in enumerate(answers):
        if answer in answers[:i]:
            end = i
    return scores.index(max(scores[:end]))


def kept_while_better(answers, scores):
    best = 0
    for i in range(1, lasting(answers)):
        if scores[i] < scores[i - 1]:
            break
        if scores[i] > scores[best]:
            best = i
    return best


def kept_from_step_to_step(answers, scores):
    best = 0
    for i in range(1, lasting(answers)):
        if scores[i] > scores[i - 1]:
            best = i
    return best


def kept_near(answers, scores):
    end = len(answers)
    for i in range(1, len(answers)):
        if answers[i] == answers[i - 1] or (i > 1 and answers[i] == answers[i - 2]):
            end = i
            break
    return scores.index(max(scores[:end]))


def kept_to_the_first_of_equals(answers, scores):
    end = len(answers)
    for i, answer in enumerate(answers):
        if answer in answers[:i]:
            end = answers.index(answer) + 1
            break
    return scores.index(max(scores[:end]))


def kept_leaving_out(answers, scores):
    best = 0
    for i in range(1, len(answers)):
        if answers[i] in answers[:i]:
            continue
        if scores[i] > scores[best]:
            best = i
    return best


WRONG[2, "kept"] = [
    (kept_while_better, "worse than the one before"),
    (kept_from_step_to_step, "the best so far"),
    (kept_near, "last two only"),
    (kept_to_the_first_of_equals, "not where it came first"),
    (kept_leaving_out, "goes on after"),
    (lambda answers, scores: scores.index(max(scores[: len(set(answers))])), "answers differ"),
    (lambda a, s: (kept_by_loop(a, s), s[kept_by_loop(a, s)]), "return that alone"),
    (lambda answers, scores: scores.index(max(scores)), "never"),
    (lambda answers, scores: len(scores) - 1, "last one"),
    (lambda answers, scores: lasting(answers) - 1, "repeats itself"),
    (lambda answers, scores: min(lasting(answers), len(answers) - 1), "where the line ends"),
    (lambda answers, scores: 0, "first one"),
    (kept_unchanged, "cycle"),
    (kept_late, "take the first"),
    (kept_to_the_last_repeat, "the first one"),
    (lambda answers, scores: kept_by_loop(scores, scores), "answers"),
    (lambda answers, scores: answers[kept_by_loop(answers, scores)], "place"),
    (lambda answers, scores: max(scores[: lasting(answers)]), "score of the version"),
    (lambda answers, scores: kept_by_loop(answers, scores) + 1, "one too high"),
]
