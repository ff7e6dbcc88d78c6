"""Exercises of the second session: search and refine, when it pays."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from itslab.workshop.exercise import Exercise, Mistake

Chain = tuple[float, str, bool]
"""Its score, what it says, whether it is finished."""
Tree = dict[str, tuple[float, int]]
"""Value and visits of each node; a child's name is its parent's and one sign more, the root's is
empty."""


# -- beam search by hand


def survivors(scores):
    first = sorted("ABCD", key=scores.get)[-2:]  # what survives the first round
    drawn = [step for step in scores if len(step) == 2 and step[0] in first]
    return sorted(drawn, key=scores.get)[-2:]


def _best(scores: dict[str, float], among: Sequence[str], count: int = 2) -> list[str]:
    return sorted(among, key=scores.__getitem__)[-count:]


def _drawn(scores: dict[str, float], after: Sequence[str]) -> list[str]:
    return [step for step in scores if len(step) == 2 and step[0] in after]


def _one_of_each(scores: dict[str, float]) -> list[str]:
    first = _best(scores, "ABCD")
    return [_best(scores, _drawn(scores, [step]), 1)[0] for step in first]


def _of_the_dropped(scores: dict[str, float]) -> list[str]:
    dropped = [step for step in "ABCD" if step not in _best(scores, "ABCD")]
    return _best(scores, _drawn(scores, dropped))


def _texts(answer: Any) -> list[str]:
    """All texts in an answer, whatever collections hold them."""
    answer = answer.tolist() if hasattr(answer, "tolist") else answer  # of numpy and pandas
    if isinstance(answer, str):
        return [answer]
    if isinstance(answer, Mapping):
        answer = [*answer.items()]
    return [t for one in answer for t in _texts(one)] if isinstance(answer, Collection) else []


_DENIES = re.compile(
    r"\b(NO|NOT|NONE|CANNOT|\w+N['’]T|NEITHER|NOR|NEVER|OR|BUT|EXCEPT|INSTEAD|OTHER|WITHOUT|WRONG|DROP\w*"
    r"|LOSES?|LOST|NEIN|NICHT|KEINE?R?S?|WEDER|ODER|NIE|AUSSER|STATT|OHNE|FALSCH)\b"
)
"""Words that turn an answer round, or leave it open."""


def _names(letters: str, answer: Any) -> list[str]:
    """The steps that an answer names, in its order, whatever words stand round them; none if it
    denies one or leaves it open."""
    name = rf"(?<![A-Z])([{letters}])(?:[ _]?(\d)(?!\.?\d)|(?![A-Z]))"
    said = ", ".join(_texts(answer)).upper()
    named = [letter + number for letter, number in re.findall(name, said)]
    return [] if _DENIES.search(said) else named


def _survive(answer: Any, expected: Any) -> bool:
    """Whether an answer names what is expected, or these two after the two of the first round."""
    said, asked = (sorted(_names("A-D", one)) for one in (answer, expected))
    first = [name for name in said if len(name) == 1]
    last = [name for name in said if len(name) == 2]
    both = len(first) == 2 and {name[0] for name in last} <= set(first)
    return said == asked or (both and last == asked)


SURVIVORS = Exercise(
    "survivors",
    right=survivors,
    right_of=_survive,
    mistakes=(
        Mistake(
            lambda scores: _best(scores, _drawn(scores, "ABCD")),
            "those have the highest scores of the second round, but A was dropped in "
            "the first round: what was dropped is never drawn from",
        ),
        Mistake(
            _one_of_each,
            "that is the best step after each: beam search keeps the best two of all four, even "
            "if both come from one (DVTS does as you did)",
        ),
        Mistake(
            lambda scores: _drawn(scores, _best(scores, "ABCD", 1)),
            "both go on from the best step of the first round: a score is that of the whole chain "
            "so far, so compare the four new ones by themselves, and add nothing",
        ),
        Mistake(
            lambda scores: _best(scores, "ABCD"),
            "those survive the first round: go on to the second",
        ),
        Mistake(
            lambda scores: _drawn(scores, _best(scores, "ABCD")),
            "those are all four that are drawn in the second round: two of them are kept",
        ),
        Mistake(
            lambda scores: _best(scores, _drawn(scores, _best(scores, "ABCD")), 1),
            "that is the best one: two are kept",
        ),
        Mistake(
            _of_the_dropped,
            "the steps before those were dropped in the first round: a high score is good",
        ),
    ),
    said="A1, the best of the second round, was never drawn: the step before it looked bad.",
    hints=(
        "Cross out the two steps of the first round with the lowest scores, and all after them.",
        "Four steps of the second round are left: the two with the highest scores survive.",
    ),
)


# -- a round of beam search


def next_beams(beams, steps, width):
    rivals = [beam for beam in beams if beam[2]] + steps
    return sorted(rivals, key=lambda chain: chain[0], reverse=True)[:width]


def _ranked(chains: Sequence[Chain]) -> list[Chain]:
    return sorted(chains, key=lambda chain: -chain[0])


def _rivals(beams: list[Chain], steps: list[Chain]) -> list[Chain]:
    return [beam for beam in beams if beam[2]] + steps


_BEAMS = [(0.9, "so 7", True), (0.8, "first", False)]
_STEPS = [(0.3, "first, then", False), (0.7, "first, but", False), (0.5, "first, as", False)]

NEXT_BEAMS = Exercise(
    "next_beams",
    right=next_beams,
    inputs=(
        (_BEAMS, _STEPS, 2),
        (
            [(-0.5, "is 7", True), (-0.2, "take", False)],
            [(-0.6, "b", True), (-0.4, "a", False)],
            2,
        ),
        ([(0.5, "", False)], [(0.2, "x", False), (0.4, "y", False), (0.1, "z", False)], 2),
        ([(0.1, "so 1", True), (0.6, "as", False)], [(0.7, "as a", False), (0.8, "as b", True)], 1),
        ([(0.5, "so 1", True), (0.6, "so 2", True)], [(0.8, "as", False)], 4),
    ),
    mistakes=(
        Mistake(
            lambda beams, steps, width: _ranked(steps)[:width],
            "finished chains are lost: they compete with the new steps",
        ),
        Mistake(
            lambda beams, steps, width: _ranked(steps)[:width][::-1],
            "finished chains are lost: they compete with the new steps; and the best must come "
            "first",
        ),
        Mistake(
            lambda beams, steps, width: _ranked(
                _rivals(beams, [step for step in steps if not step[2]])
            )[:width],
            "a new step may be finished too: it competes like the others",
        ),
        Mistake(
            lambda beams, steps, width: _ranked([*_rivals(beams, [])[:1], *steps])[:width],
            "there may be several finished beams: all of them compete",
        ),
        Mistake(
            lambda beams, steps, width: _ranked([*beams, *steps])[:width],
            "a chain that was gone on from competes with its own steps: of the beams only the "
            "finished ones do",
        ),
        Mistake(
            lambda beams, steps, width: _ranked([*beams, *steps])[:width][::-1],
            "a chain that was gone on from competes with its own steps, and the best must come "
            "first",
        ),
        Mistake(
            lambda beams, steps, width: _ranked(_rivals(beams, steps))[::-1][:width],
            "those are the lowest scores: sorted begins with the least, unless reverse=True",
        ),
        Mistake(
            lambda beams, steps, width: _ranked(_rivals(beams, steps))[:width][::-1],
            "the right ones, but the best must come first",
        ),
        Mistake(
            lambda beams, steps, width: _ranked(_rivals(beams, steps)),
            "all of them are kept: cut the list at width",
        ),
        Mistake(
            lambda beams, steps, width: _rivals(beams, steps)[:width],
            "those are the first ones, whatever their scores: sort before you cut",
        ),
        Mistake(
            lambda beams, steps, width: sorted(_rivals(beams, steps), key=lambda c: c[1])[:width],
            "that sorts by the text: the score comes first in a chain, chain[0]",
        ),
        Mistake(
            lambda beams, steps, width: [c[1] for c in _ranked(_rivals(beams, steps))[:width]],
            "those are the texts: return the chains, each with its score",
        ),
        Mistake(
            lambda beams, steps, width: (
                [b for b in beams if b[2]] + _ranked(steps)[: width - sum(b[2] for b in beams)]
            )[:width],
            "finished chains keep their place whatever comes: they too must be better than others",
        ),
        Mistake(
            lambda beams, steps, width: _ranked([b for b in beams if not b[2]] + steps)[:width],
            "that is the wrong half of the beams: the finished ones stay, the others were gone on "
            "from",
        ),
    ),
    said="Drawing, scoring and this, in a loop: that is beam search.",
    hints=(
        "Who competes? The new steps, and those beams that are finished: beam[2] is True.",
        "sorted(rivals, key=lambda chain: chain[0], reverse=True) puts the best first.",
    ),
)


# -- a rule that reads along


def holds(words, text):
    held = text.lower().replace(",", " ").replace(".", " ").split()
    return sum(word in held for word in words) / len(words)


def _held(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


HOLDS = Exercise(
    "holds",
    right=holds,
    inputs=(
        (["owl", "rope", "sea"], "The owl took a rope."),
        (["owl", "rope"], "The bowl fell, and ropes flew."),
        (["owl", "rope", "sea", "hat"], "Owl, owl, OWL and hat."),
        (["owl"], ""),
        (["sea", "hat"], "A hat at sea."),
        (["hat", "owl", "sea"], "A hat. An owl, and the sea"),
        (["sea", "owl"], "Sea and owl."),
        (["rope", "hat"], "A rope, a hat."),
        (["owl", "rope", "sea", "hat", "bell"], "A bell, a bell, a bell and a ROPE"),
    ),
    mistakes=(
        Mistake(
            lambda words, text: sum(word in text.lower() for word in words) / len(words),
            "it finds owl in bowl: compare whole words",
        ),
        Mistake(
            lambda words, text: sum(word in text for word in words) / len(words),
            "it finds owl in bowl, and not Owl: compare whole words, in lower case",
        ),
        Mistake(
            lambda words, text: (
                sum(w in text.replace(",", " ").replace(".", " ").split() for w in words)
                / len(words)
            ),
            "it misses Owl: a word at the beginning of a sentence counts, so take text.lower()",
        ),
        Mistake(
            lambda words, text: sum(word in text.lower().split() for word in words) / len(words),
            "it misses a word before a comma or a full stop: take these marks away first",
        ),
        Mistake(
            lambda words, text: (
                sum(w in text.lower().replace(".", " ").split() for w in words) / len(words)
            ),
            "it misses a word before a comma: take both marks away first",
        ),
        Mistake(
            lambda words, text: (
                sum(w in text.lower().replace(",", " ").split() for w in words) / len(words)
            ),
            "it misses a word before a full stop: take both marks away first",
        ),
        Mistake(
            lambda words, text: (
                sum(w in text.lower().strip(".,").split() for w in words) / len(words)
            ),
            "that takes marks away at the end of the text only: they stand within it as well",
        ),
        Mistake(
            lambda words, text: (
                sum(bool(re.search(rf" {word}\b", text.lower())) for word in words) / len(words)
            ),
            "it misses the first word of the text, which has no blank before it",
        ),
        Mistake(
            lambda words, text: sum(word in text.split() for word in words) / len(words),
            "it misses words before a comma or a full stop, and those in capitals",
        ),
        Mistake(
            lambda words, text: sum(word in _held(text) for word in words),
            "that is how many of the words there are: return their share, so divide",
        ),
        Mistake(
            lambda words, text: sum(word not in _held(text) for word in words) / len(words),
            "that is the share of the words that are missing",
        ),
        Mistake(
            lambda words, text: float(all(word in _held(text) for word in words)),
            "that is 0 until all are there: a search needs to know which beginning is better",
        ),
        Mistake(
            lambda words, text: sum(_held(text).count(word) for word in words) / len(words),
            "a word that stands there twice counts twice: ask whether it is there",
        ),
        Mistake(
            lambda words, text: sum(w in _held(text) for w in words) / max(len(_held(text)), 1),
            "that is divided by the words of the text: divide by how many are asked for",
        ),
    ),
    said="It scores a beginning as well as a whole story, and knows no solution.",
    hints=(
        "text.lower().replace(',', ' ').replace('.', ' ').split() gives the words of the text.",
        "Count the words that are among these, and divide by how many are asked for.",
    ),
)


# -- the rule of a tree search


def uct(value, visits, parent_visits, c):
    return value + c * np.sqrt(np.log(parent_visits) / visits)


def _bonus(parent_visits: float, visits: float) -> float:
    return float(np.sqrt(np.log(parent_visits) / visits))


UCT = Exercise(
    "uct",
    right=uct,
    inputs=(
        (0.8, 10, 16, 1.0),
        (0.6, 1, 16, 1.0),
        (0.2, 5, 16, 3.0),
        (0.5, 4, 9, 0.0),
        (0, 2, 3, 2),
    ),
    mistakes=(
        Mistake(
            lambda v, n, m, c: v,
            "that is the value alone, and never tries what looks bad at first: add the bonus",
        ),
        Mistake(lambda v, n, m, c: c * _bonus(m, n), "that is the bonus alone: add the value"),
        Mistake(
            lambda v, n, m, c: v + c * np.log(m) / n,
            "the square root is missing",
        ),
        Mistake(
            lambda v, n, m, c: v + c * np.sqrt(np.log(m)) / n,
            "the visits stand under the root as well: np.sqrt of the whole quotient",
        ),
        Mistake(
            lambda v, n, m, c: v + c * np.sqrt(m / n),
            "the logarithm is missing: the bonus must grow slowly with the parent's visits",
        ),
        Mistake(
            lambda v, n, m, c: v + _bonus(m, n),
            "c is missing: it says how much exploring is worth",
        ),
        Mistake(
            lambda v, n, m, c: v + np.sqrt(c * np.log(m) / n),
            "c stands under the root: it is a factor before it",
        ),
        Mistake(
            lambda v, n, m, c: v + c * _bonus(n, m),
            "the two numbers of visits are swapped: who was visited seldom has the larger bonus",
        ),
        Mistake(
            lambda v, n, m, c: v - c * _bonus(m, n),
            "the bonus is added: what was hardly tried may be better than it looks",
        ),
        Mistake(
            lambda v, n, m, c: v + c * np.sqrt(np.log10(m) / n),
            "that is the logarithm of base 10: np.log is the natural one",
        ),
        Mistake(
            lambda v, n, m, c: v + c * np.sqrt(np.log2(m) / n),
            "that is the logarithm of base 2: np.log is the natural one",
        ),
        Mistake(
            lambda v, n, m, c: v + c * np.sqrt(2 * np.log(m) / n),
            "no 2 stands under this root, as in UCB1: here c takes its place",
        ),
        Mistake(
            lambda v, n, m, c: v + c * _bonus(n, n),
            "the logarithm is that of the parent's visits",
        ),
        Mistake(
            lambda v, n, m, c: v + c * _bonus(m, n + 1),
            "nothing is added to the visits",
        ),
        Mistake(
            lambda v, n, m, c: (v + c) * _bonus(m, n),
            "only c is multiplied by the root: mind the brackets",
        ),
    ),
    said="With every visit the bonus shrinks, until the value has to carry a step.",
    hints=(
        "The value, plus c times a square root.",
        "Under the root: np.log(parent_visits), divided by visits.",
    ),
)


# -- one selection by hand


def selected(tree):
    at = ""
    while below := [name for name in tree if name and name[:-1] == at]:
        parent_visits = tree[at][1]
        bonus = {name: np.sqrt(np.log(parent_visits) / tree[name][1]) for name in below}
        at = max(below, key=lambda name: tree[name][0] + bonus[name])
    return at


def _below(tree: Tree, at: str) -> list[str]:
    return [name for name in tree if name and name[:-1] == at]


def _walk(tree: Tree, promise: Callable[[str, str], float], steps: int = 9) -> str:
    """Go from the root to the child that promises most, and on; ``promise(parent, child)``."""
    at = ""
    for _ in range(steps):
        below = _below(tree, at)
        if below:
            at = max(below, key=partial(promise, at))
    return at


def _by_uct(tree: Tree, root: bool = False) -> Callable[[str, str], float]:
    """UCT of a child; with the visits of the root, if asked, in place of its parent's."""
    return lambda parent, name: float(uct(*tree[name], tree["" if root else parent][1], 1.0))


def _sibling(tree: Tree) -> str:
    """The worse leaf below the child of the root with the higher value."""
    first = _walk(tree, lambda _, name: tree[name][0], 1)
    return min(_below(tree, first), key=lambda name: tree[name][0])


def _leads(answer: Any, expected: Any) -> bool:
    """Whether an answer names the expected node, or the walk that leads there."""
    said = _names("PQ", answer)
    goes_on = all(later.startswith(one) for one, later in pairwise(said))
    return goes_on and said[-1:] == _names("PQ", expected)


SELECTED = Exercise(
    "selected",
    right=selected,
    right_of=_leads,
    mistakes=(
        Mistake(
            lambda tree: _walk(tree, lambda _, name: tree[name][0]),
            "that is the way of the highest values: add the bonus, at the root already",
        ),
        Mistake(
            lambda tree: _walk(tree, _by_uct(tree, root=True)),
            "the second step must take the visits of the node that it goes on from, not the root's",
        ),
        Mistake(
            lambda tree: _walk(tree, _by_uct(tree), 1),
            "the first step is right: go on until nothing is below",
        ),
        Mistake(
            lambda tree: _walk(tree, lambda _, name: tree[name][0], 1),
            "that has the higher value: add the bonus, and go on until nothing is below",
        ),
        Mistake(
            _sibling, "the walk goes another way from the root: compare its two children first"
        ),
    ),
    said="P1 is worth most so far, but Q was visited less than P, and Q1 is worth a try.",
    hints=(
        "Begin at the root: uct of P and of Q, with the root's 16 visits. Go to the higher one.",
        "There again, with the visits of that node as parent_visits.",
    ),
)


# -- which version to keep


def kept(answers, scores):
    repeats = [i for i, answer in enumerate(answers) if answer in answers[:i]]
    end = repeats[0] if repeats else len(answers)
    return max(range(end), key=lambda i: scores[i])  # the first of equal ones


def _end(answers: Sequence[object]) -> int:
    return next((i for i, one in enumerate(answers) if one in answers[:i]), len(answers))


def _last_repeat(answers: Sequence[str]) -> int:
    repeats = [i for i, one in enumerate(answers) if one in answers[:i]]
    return repeats[-1] if repeats else len(answers)


def _end_unchanged(answers: Sequence[str]) -> int:
    pairs = range(1, len(answers))
    return next((i for i in pairs if answers[i] == answers[i - 1]), len(answers))


def _end_near(answers: Sequence[str]) -> int:
    return next(
        (i for i, one in enumerate(answers) if one in answers[max(i - 2, 0) : i]), len(answers)
    )


def _while_better(answers: Sequence[str], scores: Sequence[float], gain: float) -> int:
    line = range(1, _end(answers))
    return next((i for i in line if scores[i] < scores[i - 1] + gain), _end(answers))


def _last_of_best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: (scores[i], i))


def _first_of_best(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=lambda i: scores[i])


KEPT = Exercise(
    "kept",
    right=kept,
    inputs=(
        (["12", "15", "18", "15", "20"], [0.25, 0.75, 0.5, 0.75, 1.0]),
        (["12", "15", "18", "15"], [0.25, 0.5, 0.75, 0.5]),
        (["3", "4", "5"], [0.5, 0.5, 0.25]),
        (["7", "7", "9"], [0.25, 0.25, 1.0]),
        (["1", "2", "3", "4"], [0.25, 0.0, 0.5, 1.0]),
        (["1", "2", "3"], [0.9, 0.1, 0.5]),
        (["1", "2", "3", "1", "9"], [0.1, 0.2, 0.3, 0.1, 0.9]),
        (["8"], [0.0]),
        (["4", "4", "5", "6", "4"], [0.25, 0.25, 0.5, 0.75, 0.25]),
        (["1", "2", "3"], [0.5, 0.5, 0.75]),
        (["5", "6", "6", "5", "1"], [0.2, 0.4, 0.4, 0.2, 0.9]),
        (["5", "6", "5", "1"], [0.6, 0.4, 0.6, 0.9]),
    ),
    mistakes=(
        Mistake(
            lambda answers, scores: _first_of_best(scores),
            "it goes on after an answer that was there before: versions after that were never "
            "written",
        ),
        Mistake(
            lambda answers, scores: _last_of_best(scores),
            "it goes on after an answer that was there before, and takes the last of equal ones",
        ),
        Mistake(lambda answers, scores: len(answers) - 1, "that is the last one: take the best"),
        Mistake(
            lambda answers, scores: _end(answers) - 1,
            "that is the last one before the line repeats itself: of these take the best",
        ),
        Mistake(
            lambda answers, scores: min(_end(answers), len(answers) - 1),
            "that is where the line ends: of the versions up to there take the best",
        ),
        Mistake(lambda answers, scores: 0, "that is the first one: take the best"),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _end_unchanged(answers)]),
            "that ends only where an answer comes twice in a row: one that came any time before "
            "ends the line too (a cycle)",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _end_near(answers)]),
            "that looks for the answer among the last two only: it may have come any time before",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _while_better(answers, scores, 0)]),
            "that ends where a version is worse than the one before: the line goes on",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _while_better(answers, scores, 1e-9)]),
            "that ends where a version is no better than the one before: the line goes on",
        ),
        Mistake(
            lambda answers, scores: max(
                (i for i in range(1, _end(answers)) if scores[i] > scores[i - 1]), default=0
            ),
            "that compares with the version before: compare with the best so far",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: len(set(answers))]),
            "that is how many answers differ, also after the line ended: find where it ends",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(
                scores[: answers.index(([*answers, answers[-1]])[_end(answers)]) + 1]
            ),
            "the line ends where the answer comes again, and not where it came first",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _end(scores)]),
            "that ends where a score comes again: two answers may be equally good, so look at the "
            "answers",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _last_repeat(answers)]),
            "that ends at the last answer that was there before: the line ends at the first one",
        ),
        Mistake(
            lambda answers, scores: _last_of_best(scores[: _end(answers) + 1]),
            "of equal ones take the first",
        ),
        Mistake(
            lambda answers, scores: _last_of_best(scores[: _end(answers)]),
            "of equal ones take the first: what came later was only longer paid for",
        ),
        Mistake(
            lambda answers, scores: answers[_first_of_best(scores[: _end(answers)])],
            "that is the answer of the version: return its place, counted from 0",
        ),
        Mistake(
            lambda answers, scores: max(scores[: _end(answers)]),
            "that is the score of the version: return its place, counted from 0",
        ),
        Mistake(
            lambda answers, scores: _first_of_best(scores[: _end(answers)]) + 1,
            "one too high: places count from 0",
        ),
    ),
    said="A line that goes round ends, and the best version by the check is kept, not the last.",
    hints=(
        "Where does the line end? At the first i with answers[i] in answers[:i], if there is one.",
        "Of the places before that, max(range(end), key=lambda i: scores[i]).",
    ),
)

EXERCISES = (SURVIVORS, NEXT_BEAMS, HOLDS, UCT, SELECTED, KEPT)
