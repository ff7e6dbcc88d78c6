"""What llama.cpp was built for, the devices and cores that are here, and what is said of others."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from itslab import models
from itslab.backends import library
from itslab.backends.library import INTERVAL, Cores, Device, gpu_layers
from itslab.backends.llama import Llama
from itslab.core import OptionError, Request, Sampling, as_messages


def test_the_registry_of_this_build_holds_the_processor() -> None:
    assert library.built()[0] == "cpu"
    assert set(library.built()) <= {"cpu", *library.BUILD_FLAGS}
    assert {device.kind for device in library.found()} <= set(library.built())
    assert "llama-cpp-python" in library.build()


@pytest.mark.parametrize(
    ("built", "here", "device", "layers"),
    [
        (["cpu"], [], "cpu", 0),
        (["cpu"], [], "auto", 0),
        (["cpu", "vulkan"], [], "auto", 0),
        (["cpu", "vulkan"], ["vulkan"], "auto", -1),
        (["cpu", "vulkan"], ["vulkan"], "vulkan", -1),
        (["cpu", "vulkan"], ["vulkan"], "cpu", 0),
        (["cpu"], [], "cuda", r'CMAKE_ARGS="-DGGML_CUDA=on" pip install .* llama-cpp-python=='),
        (["cpu", "vulkan"], ["vulkan"], "metal", r"has only cpu, vulkan\. Reinstall it with:"),
        (["cpu", "vulkan"], [], "vulkan", "its driver shows no such device"),
        (["cpu"], [], "gpu", "device must be one of auto, cpu, cuda, metal, vulkan"),
    ],
)
def test_layers_go_to_a_device_that_is_built_and_here_else_the_fix_is_told(
    monkeypatch: pytest.MonkeyPatch, built: list[str], here: list[str], device: str, layers: object
) -> None:
    """Which machine it is cannot be had here; the registry's answers stand for it."""
    monkeypatch.setattr(library, "built", lambda: tuple(built))
    monkeypatch.setattr(library, "found", lambda: tuple(Device(kind, "0", "") for kind in here))
    if isinstance(layers, int):
        assert gpu_layers(device) == layers
    else:
        with pytest.raises(OptionError, match=str(layers)):
            gpu_layers(device)


# -- cores that other programs take are left to them ----------------------------------------------


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
    busy: None, small_model: models.ModelFile
) -> None:
    few = max(2, os.cpu_count() or 2)
    with Llama(small_model.path, context=256, batch_size=2, threads=few) as llm:
        request = Request(as_messages("Count to a hundred."), sampling=Sampling(max_tokens=200))
        began = time.monotonic()
        while llm._engine._threads == few and time.monotonic() < began + 60:
            llm.generate([request])
        assert llm._engine._threads < few


def test_the_threads_of_a_deterministic_model_stay(
    busy: None, small_model: models.ModelFile
) -> None:
    options = {"context": 256, "batch_size": 8, "threads": 2, "deterministic": True}
    with Llama(small_model.path, **options) as llm:
        llm._engine._cores._seen -= 10
        llm.generate([Request(as_messages("Hello"), sampling=Sampling(max_tokens=4))])
        assert llm._engine._threads == 2
