"""Short stories that hold given words: whether they do is seen by reading, and what lacks is said.

Constrained generation as Madaan et al. 2023 refine it (arXiv:2303.17651, CommonGen-Hard), made from
a seed. Of many words a model forgets one or the other, each time another one: a story drawn anew
has to get all of them right at once, one that is revised only those that lack.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from itslab.core import Problem, Verdict
from itslab.options import Bounds, Whole, checked
from itslab.tasks.generated import Few
from itslab.tasks.rules import Rule, by_rules
from itslab.tasks.task import Task

_NOUNS = """\
anchor apple arrow baker basket beach bell bicycle blanket boat bottle bread bridge brush bucket \
butter button cabin camera candle carpet castle chain chair cherry clock cloud coat coin corner \
cotton cradle curtain desert diamond dinner doctor dragon drawer drum eagle engine farmer feather \
fence field finger flag flute forest fountain garden gate ghost glove goat hammer harbor hat \
helmet hill honey horse island jacket jewel kettle kitchen ladder lake lamp lantern leaf lemon \
letter lion map market medal mirror monkey moon mountain museum mushroom needle nest ocean orange \
oven owl paddle palace paper parrot pencil pepper piano pillow pirate planet pocket pond potato \
pumpkin queen rabbit railway ribbon river robot rocket roof rope saddle sailor salt school shadow \
shell shoe shovel silver soldier spider spoon stable statue storm sugar sword table teacher temple \
thunder ticket tiger tower train turtle umbrella valley village violin wagon wallet whale wheel \
window winter wolf"""
_PROMPT = """\
Write a very short story that uses every one of these words, as they stand here: {words}. Write \
the story and nothing else."""


def lacking(words: Sequence[str], text: str) -> list[str]:
    """Return which words a text does not hold; capitals do not matter, endings do."""
    held = set(re.findall(r"[a-z]+", text.lower()))
    return [word for word in words if word not in held]


LENGTH = 4
"""Words that a story takes for each given one, at least: a list of them is none."""


def short_of(words: Sequence[str], text: str) -> int:
    """Return how many words a text needs more to be a story and no list; 0 if it is long enough."""
    return max(LENGTH * len(words) - len(text.split()), 0)


@dataclass(frozen=True)
class Holds(Rule):
    """Scores a text by the share of words that it holds; its note names the others.

    A text that holds all of them, but hardly anything else, is short of 1 by half a word.

    Args:
        words: in lower case.
    """

    words: tuple[str, ...]

    def judge(self, text: str) -> Verdict:
        """See ``Rule.judge``."""
        left, short = lacking(self.words, text), short_of(self.words, text)
        if left or not short:
            note = f"These words are missing: {', '.join(left)}" if left else ""
            return Verdict(1 - len(left) / len(self.words), note=note)
        note = f"That is a list and no story: {short} words more at least"
        return Verdict(1 - 0.5 / len(self.words), note=note)


def extract_story(text: str) -> str | None:
    """Return the whole turn; None if it is empty."""
    return text.strip() or None


def grade(problem: Problem, answer: str | None) -> bool:
    """Whether a story holds all the words, and others between them.

    That is a fact, of which the verifier is never wrong.
    """
    words, text = problem.meta["words"], answer or ""
    return not lacking(words, text) and not short_of(words, text)


@checked
def keywords(n: Few, seed: Whole, words: Annotated[int, Bounds(1, 40)] = 9) -> Task:
    """A very short story that uses all the given words.

    Args:
        n: how many problems; fewer problems of a seed are the first of more.
        seed: names the problems.
        words: how many words each story has to hold, from 1 to 40.
    """
    rng = random.Random(f"keywords {words} {seed}")
    problems = tuple(_problem(rng.sample(_NOUNS.split(), words), words, seed, i) for i in range(n))
    name = f"keywords/{words}"
    return by_rules(name, problems, lambda p: Holds(tuple(p.meta["words"])), extract_story, grade)


def _problem(words: list[str], count: int, seed: int, number: int) -> Problem:
    prompt = _PROMPT.format(words=", ".join(words))
    return Problem(f"keywords/{count}/s{seed}/{number}", prompt, "", {"words": words})
