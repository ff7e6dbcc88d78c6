"""Closing, copying, forking: no native call on a model that is not there, from any thread."""

import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_reward import Tiny

from itslab import models
from itslab.backends.llama import Llama
from itslab.backends.native import Handle, Model
from itslab.backends.reward_model import RewardModel
from itslab.core import BackendError, Message, Piece, Request, Sampling, as_messages

pytestmark = pytest.mark.slow

TALK = [Message("user", "What is 2 + 3?"), Message("assistant", "5")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one layer that chats and scores: loaded in milliseconds."""
    return Tiny().write(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def load(path: Path, **options: object) -> Llama:
    return Llama(path, **{"batch_size": 4, "context": 256, "threads": 1, **options})  # type: ignore[arg-type]


def ask(text: str, sampling: Sampling = Sampling(max_tokens=4), n: int = 1) -> Request:
    return Request(as_messages(text), (Piece("So"),), sampling, n)


# -- the handle, without llama.cpp -----------------------------------------------------------------


def test_the_last_user_frees_and_only_once() -> None:
    freed: list[str] = []
    handle = Handle("it", freed.append)
    with handle as pointer:
        assert pointer == "it"
        with handle:
            handle.close()
        assert not freed
        with pytest.raises(BackendError, match="closed: load it again"):
            handle.check()
    assert freed == ["it"]
    handle.close()
    del handle
    assert freed == ["it"]


def test_what_was_made_from_it_is_freed_before_it() -> None:
    freed: list[str] = []
    model = Handle("model", freed.append)
    context = Handle("context", freed.append, owner=model)
    model.close()
    assert not freed
    context.close()
    assert freed == ["context", "model"]


def test_what_nobody_holds_any_more_is_freed() -> None:
    freed: list[str] = []
    model = Handle("model", freed.append)
    context = Handle("context", freed.append, owner=model)
    del model, context
    gc.collect()
    assert freed == ["context", "model"]


# -- closing ---------------------------------------------------------------------------------------


def test_every_method_of_a_closed_model_says_that_it_is_closed(tiny: Path) -> None:
    llm = load(tiny)
    llm.close()
    llm.close()
    calls: list[Callable[[], object]] = [
        lambda: llm.tokens(ask("Hi")),
        lambda: llm.render(ask("Hi")),
        lambda: llm.generate([ask("Hi")]),
        lambda: llm.generate([]),
        lambda: next(llm.stream(ask("Hi"))),
    ]
    model = llm._model
    calls += [
        lambda: model.tokenize("Hi"),
        lambda: model.piece(200),
        lambda: model.ends(0),
        lambda: model.special("bos"),
        lambda: model.adds_bos,
        lambda: model.chat_template(),
        lambda: model.context(1, 64, 64, 1),
    ]
    for call in calls:
        with pytest.raises(BackendError, match="closed: load it again"):
            call()


def test_closing_while_eight_threads_tokenise_draw_and_score(tiny: Path) -> None:
    """A hundred times; once was enough to end the process."""

    def until_closed(work: Callable[[], object], begun: threading.Barrier, ends: list[str]) -> None:
        begun.wait()
        try:
            while True:
                work()
        except BackendError as error:
            ends.append(str(error))

    for _ in range(100):
        llm, reward = load(tiny), RewardModel(tiny, context=256, threads=1)
        works: list[Callable[[], object]] = [
            lambda llm=llm: llm.tokens(ask("many words " * 20)),
            lambda llm=llm: llm._model.chat_template(),
            lambda llm=llm: llm.generate([ask("Hi", n=3)]),
            lambda reward=reward: reward.score([TALK, TALK[:1]]),
        ]
        begun, ends = threading.Barrier(9), []
        threads = [
            threading.Thread(target=until_closed, args=(work, begun, ends)) for work in works * 2
        ]
        for thread in threads:
            thread.start()
        begun.wait()
        llm.close()
        reward.close()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()
        assert len(ends) == 8
        assert all("closed" in end for end in ends)


def test_a_model_that_nobody_holds_frees_its_memory(tiny: Path) -> None:
    llm = load(tiny)
    model, thread = llm._model, llm._engine._thread
    del llm
    gc.collect()
    thread.join(10)
    with pytest.raises(BackendError, match="closed"):
        model.tokenize("Hi")


def test_a_model_refused_for_its_options_frees_its_memory(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Handle] = []
    init = Model.__init__

    def watched(self: Model, *args: object) -> None:
        init(self, *args)  # type: ignore[arg-type]
        made.append(self._handle)

    freed: list[object] = []
    monkeypatch.setattr(Model, "__init__", watched)
    with pytest.raises(ValueError, match="context=100000"):
        load(tiny, context=100_000)
    made[0]._free = freed.append
    made.clear()
    gc.collect()
    assert len(freed) == 1


PROGRAM = """
import sys, threading
from itslab.backends.llama import Llama
from itslab.core import Request, Sampling, as_messages
llm = Llama(sys.argv[1], batch_size=4, context=256, threads=1)
request = Request(as_messages("Hi"), (), Sampling(max_tokens=200), n=8)
def work():
    while True:
        llm.generate([request]), llm.tokens(request)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
llm.generate([request])
{end}
"""


@pytest.mark.parametrize("end", ["", "sys.exit(0)", "del llm; import gc; gc.collect()"])
def test_the_interpreter_may_end_while_threads_draw(tiny: Path, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(end=end), str(tiny)], timeout=60, check=False
    )
    assert done.returncode == 0


LATER = """
import sys, threading
from pathlib import Path
from itslab.backends.llama import Llama
from itslab.core import Message, Request, Sampling

llm = Llama(Path(sys.argv[1]), batch_size=16, context=256, threads=2)
request = Request((Message("user", "Hi"),), sampling=Sampling(max_tokens=40), n=16)
begun = threading.Event()

def draw():
    begun.set()
    threading.main_thread().join()  # the end of the interpreter waits for this thread
    print(len(llm.generate([request])[0]))

threading.Thread(target=draw).start()
begun.wait()
"""


def test_a_thread_that_outlives_the_main_one_may_draw(tiny: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATER, str(tiny)],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "16\n", done.stderr


def test_a_thread_that_draws_for_the_engine_may_collect_it(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    llm = load(tiny, batch_size=16, threads=2)
    engine = llm._engine
    monkeypatch.setattr(engine._cores, "look", lambda: 2)
    sample = type(engine._context).sample

    def collected(*args: object) -> int:
        if threading.current_thread().name.startswith("itslab-draw"):
            engine.close()  # as the finalizer does
        return sample(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(engine._context), "sample", collected)
    ended = threading.Event()

    def draw() -> None:
        with pytest.raises(BackendError, match="closed"):
            llm.generate([ask("Hi", Sampling(max_tokens=100, temperature=1), n=16)])
        ended.set()

    threading.Thread(target=draw, daemon=True).start()
    assert ended.wait(20)


def test_what_is_made_from_a_closed_one_leaves_its_users_alone() -> None:
    freed: list[str] = []
    model = Handle("model", freed.append)
    with model:
        model.close()
        with pytest.raises(BackendError, match="closed"):
            Handle("context", freed.append, model)
        gc.collect()
        assert "model" not in freed
    assert freed == ["context", "model"]


# -- copies and forks ------------------------------------------------------------------------------


def test_a_loaded_model_is_neither_copied_nor_pickled(tiny: Path) -> None:
    with load(tiny) as llm, RewardModel(tiny, context=256, threads=1) as reward:
        for held in (llm, reward, llm._model, llm._engine):
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(BackendError, match="neither copied nor pickled"):
                    copied(held)
        assert llm.generate([ask("Hi")])[0][0].tokens


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_is_told_to_load_the_model_itself(tiny: Path) -> None:
    with load(tiny) as llm, RewardModel(tiny, context=256, threads=1) as reward:

        def told(queue: "multiprocessing.Queue[str]") -> None:
            for call in (
                lambda: llm.generate([ask("Hi")]),
                lambda: llm.generate([]),
                lambda: llm.tokens(ask("Hi")),
                lambda: reward.score([TALK]),
            ):
                try:
                    queue.put(f"worked: {call()}")
                except BackendError as error:
                    queue.put(str(error))
            llm.close()
            reward.close()
            queue.put("closed")

        fork = multiprocessing.get_context("fork")
        queue: multiprocessing.Queue[str] = fork.Queue()
        # as if another thread were in the midst of a call while this one forks
        with llm._model._handle._lock, llm._engine._wake, reward._lock:
            child = fork.Process(target=told, args=(queue,))
            child.start()
        said = [queue.get(timeout=30) for _ in range(5)]
        child.join(30)
        assert child.exitcode == 0
        assert all("fork of" in words and "spawn" in words for words in said[:4])
        assert said[4] == "closed"
        assert llm.generate([ask("Hi")])[0][0].tokens  # here it goes on


def _drawn(path: Path) -> int:
    with load(path) as llm:
        return len(llm.generate([ask("Hi")])[0][0].tokens)


def test_a_spawned_process_loads_its_own(tiny: Path) -> None:
    with load(tiny) as llm, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert llm.generate([ask("Hi")])
        assert pool.apply(_drawn, (tiny,)) > 0


def test_the_small_model_closes_under_load(small_model: models.ModelFile) -> None:
    """With a real vocabulary, whose tokenising takes long enough to be met by closing."""
    for _ in range(3):
        llm = load(small_model.path, batch_size=2)
        ends: list[str] = []

        def work(llm: Llama = llm, ends: list[str] = ends) -> None:
            try:
                while True:
                    llm.tokens(ask("many words and more " * 2000))
            except BackendError as error:
                ends.append(str(error))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        llm.close()
        for thread in threads:
            thread.join(30)
        assert ends == ["this model is closed: load it again"] * 8
