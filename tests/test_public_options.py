"""Everything public answers nonsense where it is given, with one line."""

from __future__ import annotations

import contextlib
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import itslab as its
from itslab import tasks
from itslab.core import (
    Completion,
    ItslabError,
    Message,
    Node,
    OnSample,
    OnText,
    OptionError,
    Output,
    Problem,
    Prompt,
    Request,
)
from itslab.options import declared, fits

pytestmark = pytest.mark.slow  # everything public with everything odd


class Model:
    """Says the same to everyone."""

    name, digest, batch_size = "model", "model", 4

    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
    ) -> list[list[Completion]]:
        return [[Completion("\\boxed{4}")] * request.n for request in requests]


def judge(prompt: Prompt, nodes: Sequence[Node]) -> list[float]:
    return [1.0 for _ in nodes]


VALID: dict[str, Any] = {
    "verifier": judge,
    "judge": judge,
    "interpreter": Output,
    "stages": (its.Stage(its.ChainOfThought()),),
    "estimate": judge,
    "edges": (0.5,),
    "routes": (its.Route(its.ChainOfThought()), its.Route(its.SelfConsistency(2))),
    "verifiers": (judge,),
    "slopes": (1.0,),
    "backend": Model(),
    "llm": Model(),
    "model": "smollm2-135m",
    "prompt": "How much is 2 + 2?",
    "strategy": its.SelfConsistency(2),
    "path": Path("nowhere.gguf"),
    "base_url": "http://127.0.0.1:9/v1",
    "tag": "<tag>",
    "function": "add",
    "tests": ("assert add(1, 2) == 3",),
    "extract": str.strip,
    "check": lambda answer, facts: True,
    "facts": {"a": 1},
    "tasks": {"puzzles": tasks.load("puzzle24", n=1)},
    "models": ("smollm2-135m",),
    "strategies": {"direct": its.Direct()},
    "store": "/dev/null/nowhere.sqlite",
    "study": its.Study(
        tasks={"puzzles": tasks.load("puzzle24", n=1)},
        models=("smollm2-135m",),
        strategies={"direct": its.Direct()},
    ),
    "problem": Problem("1", "How much is 2 + 2?", "4"),
    "grade": lambda problem, answer: answer == problem.answer,
    "name": "countdown",
    "role": "user",
    "content": "Hello",
    "messages": (Message("user", "Hello"),),
    "text": "Hello",
    "ref": "nowhere.gguf",
    "type": "Q4_0",
    "matrices": 10**9,
    "weights": np.ones(4),
    "bias": 0.0,
    "id": "1",
    "answer": "4",
    "run": its.Tree(),
}
LISTS_WILL_DO = {"stop", "choices", "weights"}
NONSENSE: list[Any] = [
    None,
    "",
    "nonsense",
    b"bytes",
    True,
    False,
    0,
    -1,
    2.5,
    math.nan,
    math.inf,
    -math.inf,
    1e400,
    10**30,
    np.int64(4),
    np.float64(0.5),
    np.bool_(True),
    np.str_("score"),
    np.array([1, 2]),
    Decimal("1"),
    Fraction(1, 2),
    2j,
    [],
    [2],
    (),
    {},
    {2},
    object(),
    int,
    its.Confidence,
    lambda: None,
]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files with odd names may lie."""
    monkeypatch.chdir(tmp_path)


PLAIN = {
    its.ItslabError,
    its.Interrupted,
    its.Tree,
    its.Node,
    its.Result,
    its.Verdict,
    its.Cost,
    its.Completion,
}
"""Made by the package itself by the thousand, or without options."""


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in its.__all__:
        made = getattr(its, name)
        if callable(made) and made not in PLAIN and not getattr(made, "_is_protocol", False):
            yield name, made
    yield "tasks.load", tasks.load


def basis(made: Callable[..., Any]) -> dict[str, Any]:
    """Valid values for what has no default."""
    parameters = inspect.signature(made).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in (2, 4)]
    return {name: VALID[name] for name in needed if name in VALID}


@pytest.mark.parametrize(("name", "made"), public(), ids=lambda x: x if isinstance(x, str) else "")
def test_nonsense_is_refused_where_it_is_given(name: str, made: Callable[..., Any]) -> None:
    plain = inspect.isclass(made) and not is_dataclass(made)
    hints = declared(made.__init__ if plain else made)
    wrong = []
    for option in inspect.signature(made).parameters:
        if option not in hints:
            continue
        for value in NONSENSE:
            row = tuple(value) if isinstance(value, list) else value  # it is made a tuple
            if fits(value, hints[option]) or (is_dataclass(made) and fits(row, hints[option])):
                continue
            if option in LISTS_WILL_DO and repr(value) == "[]":
                continue
            try:
                made(**(basis(made) | {option: value}))
            except OptionError as error:
                text = str(error)
                if "\n" in text or option not in text or len(text) > 300:
                    wrong.append((option, value, text))
            except Exception as error:
                wrong.append((option, value, f"{type(error).__name__}: {error}"[:80]))
            else:
                wrong.append((option, value, "accepted"))
    assert wrong == []


@pytest.mark.parametrize(("name", "made"), public(), ids=lambda x: x if isinstance(x, str) else "")
def test_what_fits_its_annotation_works_or_is_refused_by_our_own_errors(
    name: str, made: Callable[..., Any]
) -> None:
    if name in ("pull", "load", "quantize", "Llama", "RewardModel"):
        pytest.skip("would look for a model")
    if name == "solve":
        pytest.skip("calls what it is given: an error in a user's function is the user's")
    for option in inspect.signature(made).parameters:
        for value in NONSENSE:
            with contextlib.suppress(ItslabError):
                made(**(basis(made) | {option: value}))
