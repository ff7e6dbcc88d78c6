"""What several test modules share: the smallest real model, and real servers on loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_vllm import FakeVLLM
from hypothesis import settings

from itslab import models

if TYPE_CHECKING:
    from itslab.backends.llama import Llama

pytest.register_assert_rewrite("contract_backend")

# A machine that has other work to do is no fault of an example.
settings.register_profile("itslab", deadline=None)
settings.load_profile("itslab")

# Started in the background of a shell, the tests would be deaf to the interrupts that some of them
# send, and so would the processes that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A worker takes a file at a time: the longest first, or one is left with them at the end. README's
# model draws late: two models drawing at once crawl, and test_lab.py draws too.
LONGEST = (
    "test_lab.py",
    "test_notebooks.py",
    "test_workshop_bundle.py",
    "test_sandbox.py",
    "02_best_of_n.ipynb",
    "test_tree.py",
    "test_readme.py",
    "test_bench.py",
    "test_search.py",
    "test_engine.py",
    "test_endurance.py",
)


REAL = {"llm", "small_model", "llama_cpp_server", "sandbox", "page", "lab"}
"""Fixtures that start something real: a model, a server, a sandbox, a browser."""
MIXED = ("test_search.py", "test_tree.py")
"""Of these long files, some tests are quick."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, within which nothing moves; mark the tests that are quick."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        name = item.path.name
        whole = (name in LONGEST and name not in MIXED) or item.path.suffix == ".ipynb"
        if not (whole or fixtures & REAL or item.get_closest_marker("slow")):
            item.add_marker("quick")


@pytest.fixture(scope="session")
def small_model() -> models.ModelFile:
    """SmolLM2-135M: a real chat model of 98 MB."""
    return models.resolve("smollm2-135m", progress=False)


@pytest.fixture(scope="session")
def llm(small_model: models.ModelFile) -> Iterator[Llama]:
    """The small model in this process, shared by all tests: leave it as it was."""
    from itslab.backends.llama import Llama

    with Llama(
        small_model.path, small_model.name, small_model.digest, batch_size=8, context=512, threads=1
    ) as llm:
        yield llm


@pytest.fixture(scope="session")
def llama_cpp_server(small_model: models.ModelFile, tmp_path_factory: pytest.TempPathFactory):
    """The address of a real OpenAI-compatible server with the small model."""
    port = _free_port()
    log = tmp_path_factory.mktemp("server") / "log"
    command = [sys.executable, "-m", "llama_cpp.server", "--model", str(small_model.path)]
    command += ["--model_alias", small_model.name, "--port", str(port), "--n_ctx", "512"]
    command += ["--n_threads", "1", "--interrupt_requests", "false"]
    url = f"http://127.0.0.1:{port}/v1"
    with log.open("w") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        _wait_for(f"{url}/models", server, log)
        yield url
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def vllm() -> Iterator[FakeVLLM]:
    """A server that answers as vLLM does, and fails on demand."""
    with FakeVLLM() as server:
        yield server


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no server at {url}: {log.read_text()[-2000:]}")


@pytest.fixture(scope="session")
def sandbox() -> str:
    """The mechanism that keeps model-written code in; never lacking in CI."""
    from itslab.core import ItslabError
    from itslab.sandbox import mechanism

    try:
        return mechanism()
    except ItslabError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
