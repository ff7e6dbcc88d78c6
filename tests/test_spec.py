"""Who is who: equal parts have one identity in any session, and others have others."""

from __future__ import annotations

import importlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from itslab.core import Node, OptionError, Problem, Prompt
from itslab.run import Run, Strategy
from itslab.spec import spec
from itslab.strategies import MCTS, BeamSearch, BestOfN
from itslab.tasks import Task
from itslab.testing import ScriptedModel
from itslab.verifiers import ByProblem, Checker, Confidence, Judge, Tests


def test_a_spec_has_a_name_options_and_a_digest() -> None:
    told = spec(BestOfN(Confidence("entropy"), n=3))
    assert told.name == "BestOfN"
    assert (told.options["n"], told.options["verifier"]) == (
        "3",
        "Confidence(measure='entropy')",
    )
    assert len(told.digest) == 16
    assert told == spec(BestOfN(Confidence("entropy"), n=3))
    assert told.digest != spec(BestOfN(Confidence("entropy"), n=4)).digest


def test_a_verifier_that_is_a_function_is_known_by_its_source() -> None:
    def longest(prompt: Prompt, nodes: list[Node]) -> list[float]:
        return [len(node.text) for node in nodes]

    def made(power: int) -> Callable[..., object]:
        return lambda prompt, nodes: [len(node.text) ** power for node in nodes]

    assert spec(longest).name.endswith("longest")
    assert len({spec(f).digest for f in (longest, made(1), made(2))}) == 3
    assert spec(partial(longest, nodes=[])).options == {"nodes": "[]"}


def test_a_model_is_known_by_its_name_and_digest() -> None:
    model, same, other = ScriptedModel(), ScriptedModel(), ScriptedModel(digest="other")
    assert (spec(model).name, spec(model)) == ("scripted", spec(same))
    assert spec(model).digest != spec(other).digest


SUMS = tuple(Problem(str(i), f"How much is {i} + 3?", str(i + 3), {"hint": i}) for i in range(3))


def test_a_task_is_known_by_its_problems_and_by_how_they_are_read_and_graded() -> None:
    task = Task("sums", SUMS)
    others = [
        Task("products", SUMS),
        Task("sums", SUMS[:2]),
        Task("sums", (*SUMS[:2], replace(SUMS[2], answer="6"))),
        Task("sums", (*SUMS[:2], replace(SUMS[2], meta={"hint": 3}))),
        Task("sums", SUMS, extract=str.strip),
        Task("sums", SUMS, extract=lambda text: text[-1]),
        Task("sums", SUMS, extract=lambda text: text[0]),
        Task("sums", SUMS, grade=lambda problem, answer: True),
        Task("sums", SUMS, key=str.lower),
        Task("sums", SUMS, verifier=Confidence()),
    ]
    assert spec(task) == spec(Task("sums", SUMS))
    assert len({spec(one).digest for one in [task, *others]}) == 1 + len(others)


def test_a_user_may_say_what_a_part_is_known_by() -> None:
    class Held:
        def __init__(self, weight: float) -> None:
            self.weight = weight

        def __repr__(self) -> str:
            return "Held"

        def __spec__(self) -> list[object]:
            return [self.weight]

    assert spec(Held(1.0)) == spec(Held(1.0))
    assert spec(Held(1.0)) != spec(Held(2.0))


def test_a_users_function_is_known_by_its_source_and_what_it_holds() -> None:
    def made(text: str) -> Strategy:
        def strategy(run: Run, prompt: Prompt) -> Node:
            return run.append(run.reply(None, prompt), text)

        return strategy

    def other(run: Run, prompt: Prompt) -> Node:
        return run.reply(None, prompt)

    assert spec(made("a")).text == spec(made("a")).text
    assert len({spec(made("a")).text, spec(made("b")).text, spec(other).text}) == 3
    scores = [BestOfN(lambda prompt, nodes: [1.0]), BestOfN(lambda prompt, nodes: [2.0])]
    assert spec(scores[0]).text != spec(scores[1]).text


def test_a_changed_class_of_the_same_options_is_another_one() -> None:
    def beam(answer: int) -> Strategy:
        if answer:

            class Mine(BeamSearch):
                def __call__(self, run: Run, prompt: Prompt) -> Node:
                    return run.reply(None, "now")
        else:

            class Mine(BeamSearch):  # type: ignore[no-redef]
                def __call__(self, run: Run, prompt: Prompt) -> Node:
                    return run.reply(None, prompt)

        return Mine(Confidence())

    assert repr(beam(0)) == repr(beam(1))
    assert spec(beam(0)).text != spec(beam(1)).text


def test_what_the_package_brings_is_known_by_its_repr() -> None:
    for strategy in (BestOfN(Confidence()), MCTS(Confidence()), BeamSearch(Confidence())):
        assert spec(strategy).text == repr(strategy)


def test_verifiers_of_many_problems_are_known_by_their_name() -> None:
    by_name = BestOfN(ByProblem("by hand", {"0": lambda prompt, nodes: [1.0]}, {"0": "Why?"}))
    assert spec(by_name).text == repr(by_name)


def test_what_cannot_be_told_from_others_is_refused() -> None:
    class Nameless:
        def __call__(self, run: Run, prompt: Prompt) -> Node:
            return run.reply(None, prompt)

    with pytest.raises(OptionError, match="must not hold an address"):
        spec(Nameless())
    names: dict[str, Strategy] = {}
    exec("def made(run, prompt): return run.reply(None, prompt)", names)
    with pytest.raises(OptionError, match="source cannot be read"):
        spec(names["made"])


# -- who a user's code is --------------------------------------------------------------------------


def module(tmp_path: Path, text: str) -> ModuleType:
    """A user's own file, imported."""
    path = tmp_path / f"own{len(list(tmp_path.iterdir()))}.py"
    path.write_text(text)
    made = ModuleType("own")
    made.__file__ = str(path)
    exec(compile(text, path, "exec"), vars(made))
    return made


@pytest.mark.parametrize(
    "text",
    [
        "def used(x): return {0}\ndef s(run, prompt): return used(prompt)",
        "WEIGHT = {0}\ndef s(run, prompt): return WEIGHT",
        "class Used:\n    def go(self): return {0}\ndef s(run, prompt): return Used().go()",
        "class Used:\n    most = [{0}]\ndef s(run, prompt): return Used.most",
        "def s(run, prompt):\n    def inner(): return WEIGHT\n    return inner()\nWEIGHT = {0}",
        "import functools\ndef twice(f):\n    @functools.wraps(f)\n    def call(*a):\n"
        "        return f(*a) * {0}\n    return call\n@twice\ndef s(run, prompt): return 1",
        "import functools\n@functools.cache\ndef used(x): return {0}\n"
        "def s(run, prompt): return used(prompt)",
        "class Held:\n    def __init__(self, x): self.x = x\ndef made(held):\n"
        "    def s(run, prompt): return held.x\n    return s\ns = made(Held({0}))",
        "def made(kind):\n    def s(run, prompt): return kind()\n    return s\nclass K:\n"
        "    def go(self): return {0}\ns = made(K)",
    ],
)
def test_a_change_in_what_a_users_function_uses_makes_another_one(
    tmp_path: Path, text: str
) -> None:
    first, same, other = (module(tmp_path, text.format(n)).s for n in (1, 1, 2))
    assert spec(first).text == spec(same).text
    assert spec(first).text != spec(other).text


def test_parts_that_are_called_alike_are_told_apart() -> None:
    def held(*parts: object) -> Strategy:
        def strategy(run: Run, prompt: Prompt) -> Node:
            return run.append(run.reply(None, prompt), repr(parts))

        return strategy

    longest, shortest = lambda ns: [len(n) for n in ns], lambda ns: [-len(n) for n in ns]
    row = np.arange(5000.0)
    other = np.where(row == 2500, 0, row)
    every = [
        (longest,), (shortest,), (longest, shortest), (shortest, longest),
        (longest, shortest, longest), (longest, shortest, shortest),
        (row,), (other,), (row + 1e-12,), (np.array([0.1]),), (np.array([0.1 + 1e-12]),),
    ]  # fmt: skip
    assert len({spec(held(*parts)).text for parts in every}) == len(every)
    assert len({spec(partial(longest, *parts)).text for parts in every}) == len(every)


def test_a_user_code_is_known_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from itslab.spec import spec\nfrom itslab.strategies import BestOfN\n"
        "def made(words):\n    return BestOfN(lambda p, nodes: [n.text in words for n in nodes])\n"
        "def unbound():\n    if not unbound: late = 1\n    return BestOfN(lambda p, n: late)\n"
        "print(repr(spec(made({'a', 'b', 'cc', 'ddd'})).text + spec(unbound()).text))\n"
    )
    told = {
        subprocess.run(
            [sys.executable, tmp_path / "mine.py"],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(told) == 1


def test_a_users_part_counts_where_ours_hide_it() -> None:
    def checker(extract: Callable[[str], str]) -> Strategy:
        return BestOfN(Checker(lambda facts, answer: True, {}, extract))

    assert spec(checker(lambda text: text)).text != spec(checker(lambda text: text[1:])).text


# -- what users write ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Several:
    """A plain dataclass, as notebook 09 writes one."""

    n: int = 2
    hidden: object = field(default=None, repr=False)

    def __call__(self, run: Run, prompt: Prompt) -> Node:
        return run.extend(run.reply(None, prompt), n=self.n)[0]


def test_a_dataclass_of_a_user_is_known_by_its_options_and_its_source() -> None:
    assert spec(Several()).digest == spec(Several()).digest
    digests = {spec(one).digest for one in (Several(), Several(3), Several(hidden=1))}
    assert len(digests) == 3


def test_models_of_one_name_and_other_weights_make_other_verifiers() -> None:
    q4, q8 = (Judge(ScriptedModel(name="m", digest=digest)) for digest in ("q4", "q8"))
    assert spec(BestOfN(q4)).digest != spec(BestOfN(q8)).digest


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


class Scores:
    """No model, although it scores."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def score(self, x: float) -> float:
        return x * self.weight

    def __repr__(self) -> str:
        return "Scores()"


class Pair(NamedTuple):
    a: int
    b: int


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Slotted(1), Slotted(2)),
        (Scores(1), Scores(2)),
        (re.compile("a").search, re.compile("b").search),
        (re.compile("a" * 250 + "b"), re.compile("a" * 250 + "c")),
        ({"a": 1}.get, {"a": 2}.get),
        (random.Random(1), random.Random(2)),
        (pd.DataFrame({"x": range(500)}), pd.DataFrame({"x": [*range(499), 7]})),
        (({"a", "b"}, set()), ({"a"}, {"b"})),
        (Pair(1, 2), (1, 2)),
        (Tests("f", ("assert f(1) == 1",), str), Tests("f", ("assert f(1) == 2",), str)),
        (Checker(len, {"t": 1}), Checker(len, {"t": 2})),  # type: ignore[arg-type]
    ],
    ids=lambda part: type(part).__name__,
)
def test_what_a_function_holds_is_part_of_it(one: object, other: object) -> None:
    def holding(held: object) -> Callable[..., object]:
        return lambda prompt, nodes: [held for _ in nodes]

    assert spec(holding(one)).digest == spec(holding(one)).digest
    assert spec(holding(one)).digest != spec(holding(other)).digest


SETS = """
from dataclasses import dataclass
from functools import partial
from itslab.spec import spec
from itslab.tasks import load

@dataclass(frozen=True)
class Words:
    words: frozenset = frozenset({"alpha", "beta", "gamma", "delta"})

def count(prompt, nodes, words): return [0 for _ in nodes]

print(spec(Words()).digest, spec(partial(count, words=frozenset("abcdef"))).digest)
print(spec(load("humaneval", n=5).extract).digest)
"""


def test_sets_are_the_same_in_every_process(tmp_path: Path) -> None:
    file = tmp_path / "sets.py"
    file.write_text(SETS)
    told = {
        subprocess.run(
            [sys.executable, str(file)],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2, 3)
    }
    assert len(told) == 1


def test_modules_are_followed_to_what_is_used_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    digests = set()
    for number in (1, 2):
        name = f"followed{number}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        (tmp_path / name / "inner.py").write_text(f"def weigh(x):\n    return x * {number}\n")
        (tmp_path / name / "outer.py").write_text(
            f"import {name}.inner\n"
            f"def deep(prompt, nodes):\n    return [{name}.inner.weigh(1) for _ in nodes]\n"
            "def late(prompt, nodes):\n"
            f"    from {name}.inner import weigh\n    return [weigh(1) for _ in nodes]\n"
        )
        outer = importlib.import_module(f"{name}.outer")
        text = [spec(part).source.replace(name, "followed") for part in (outer.deep, outer.late)]
        digests |= {tuple(line for line in said.splitlines() if "weigh" in line) for said in text}
    assert len(digests) == 2  # one for each number, however it is reached
    assert () not in digests
