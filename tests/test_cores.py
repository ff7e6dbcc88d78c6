"""Cores that other programs take are left to them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from itslab.backends.library import INTERVAL, Cores
from itslab.backends.llama import Llama
from itslab.core import Request, Sampling, as_messages


def watched(most: int, cores: int, others: list[float]) -> Cores:
    """A machine on which others take this many cores between one look and the next."""
    seconds = iter(range(1, 100))
    total = [0.0]
    for taken in others:
        total.append(total[-1] + taken)
    spent = iter(total)
    return Cores(most, cores, lambda: next(seconds), lambda: (0.0, next(spent)))


@pytest.mark.parametrize(
    ("most", "cores", "others", "threads"),
    [
        (2, 2, [0.0, 0.49, 0.5, 1.0, 0.1], [2, 2, 1, 1, 2]),
        (2, 2, [2.0, 5.0], [1, 1]),  # never none
        (4, 8, [1.0, 4.4, 4.5, 6.0], [4, 4, 3, 2]),  # a core to spare for each
        (8, 8, [3.2], [5]),
    ],
)
def test_a_thread_is_given_up_for_each_core_that_is_taken_for_half_of_the_time(
    most: int, cores: int, others: list[float], threads: list[int]
) -> None:
    machine = watched(most, cores, others)
    assert [machine.look() for _ in others] == threads


def test_between_two_looks_nothing_is_read() -> None:
    now = [0.0]
    reads = iter([(0.0, 0.0), (0.0, 1.0)])
    cores = Cores(2, 2, lambda: now[0], lambda: next(reads))
    now[0] = INTERVAL * 0.9
    assert [cores.look() for _ in range(3)] == [2, 2, 2]
    now[0] = INTERVAL * 2
    assert cores.look() == 1
    assert cores.taken == pytest.approx(1 / (2 * INTERVAL))


def test_what_others_did_while_nothing_was_drawn_does_not_count() -> None:
    now = [0.0]
    reads = iter([(0.0, 0.0), (0.0, 20.0), (0.0, 20.6)])
    cores = Cores(2, 2, lambda: now[0], lambda: next(reads))
    now[0] = 10.0
    assert cores.look() == 2
    now[0] += 1.0
    assert cores.look() == 1


@pytest.fixture
def busy() -> Iterator[None]:
    """As many busy programs as cores."""
    loop = [sys.executable, "-c", "while True: pass"]
    programs = [subprocess.Popen(loop) for _ in range(os.cpu_count() or 1)]
    yield
    for program in programs:
        program.kill()
        program.wait()


def test_a_busy_machine_is_noticed_and_the_engine_draws_with_fewer_threads(
    busy: None, small_model: object
) -> None:
    few = max(2, os.cpu_count() or 2)
    with Llama(small_model.path, context=256, width=2, threads=few) as llm:  # type: ignore[attr-defined]
        request = Request(as_messages("Count to a hundred."), sampling=Sampling(max_tokens=200))
        began = time.monotonic()
        while llm._engine._threads == few and time.monotonic() < began + 60:
            llm.generate([request])
        assert llm._engine._threads < few


def test_the_threads_of_a_deterministic_model_stay(busy: None, small_model: object) -> None:
    options = {"context": 256, "width": 8, "threads": 2, "deterministic": True}
    with Llama(small_model.path, **options) as llm:  # type: ignore[attr-defined]
        llm._engine._cores._seen -= 10
        llm.generate([Request(as_messages("Hello"), sampling=Sampling(max_tokens=4))])
        assert llm._engine._threads == 2
