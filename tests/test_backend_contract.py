"""One contract, run over every backend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from contract_backend import COLOURS, GREEDY, BackendContract
from fake_vllm import FakeVLLM, Token

from itslab.backends.bank import Bank, Banked
from itslab.backends.llama import Llama
from itslab.backends.remote import Remote
from itslab.core import Completion, Message, Piece, Request, Sampling


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    with Bank(tmp_path_factory.mktemp("bank") / "bank.sqlite") as bank:
        yield bank


class TestLlama(BackendContract):
    repeats = False  # another batch, another rounding

    @pytest.fixture
    def backend(self, llm):
        return llm


class TestServer(BackendContract):
    """A real server, that of llama-cpp-python."""

    tells_tokens = tells_logprobs = tells_prompt = False
    repeats = continues = refuses_long_prompts = False

    @pytest.fixture
    def backend(self, llama_cpp_server, small_model):
        return Remote(small_model.name, llama_cpp_server)


class TestVLLM(BackendContract):
    """A server that speaks as vLLM does, with a real model behind it."""

    tells_tokens = repeats = refuses_long_prompts = False

    @pytest.fixture
    def backend(self, llm):
        with FakeVLLM(lambda body: served(llm, body)) as server:
            yield Remote(server.model, server.url)


class TestRecorder(BackendContract):
    @pytest.fixture
    def backend(self, bank, llm):
        return bank.record(llm)


class TestReplay(BackendContract):
    takes_time = refuses_long_prompts = False

    @pytest.fixture
    def backend(self, bank, llm):
        bank.record(llm).generate([Request(COLOURS, sampling=GREEDY)])
        return RecordFirst(bank.record(llm), bank.replay())


class RecordFirst:
    """Replays what it has just recorded."""

    def __init__(self, recorder: Banked, replay: Banked) -> None:
        self.recorder, self.replay = recorder, replay
        self.name, self.digest, self.batch_size = replay.name, replay.digest, replay.batch_size

    def generate(self, requests: Any, *callbacks: Any, **more: Any) -> list[list[Completion]]:
        recorded = self.recorder.generate(requests)
        replayed = self.replay.generate(requests, *callbacks, **more)
        assert replayed == recorded
        return replayed


def served(llm: Llama, body: dict[str, Any]) -> Iterable[Token]:
    """Draw the tokens of a call with a real model, a few at a time: the client may go away."""
    messages = tuple(Message(m["role"], m["content"]) for m in body["messages"])
    prefix: tuple[Piece, ...] = ()
    if body.get("continue_final_message"):
        messages, prefix = messages[:-1], (Piece(messages[-1].content),)
    sampling = Sampling(
        temperature=body["temperature"],
        top_p=body["top_p"],
        top_k=max(body["top_k"], 0),
        min_p=body["min_p"],
        max_tokens=12,
    )
    finish = "length"
    while finish == "length":
        request = Request(messages, prefix, sampling, seed=body["seed"])
        [[sample]] = llm.generate([request])
        starts = (0, *sample.offsets)
        for start, end, logprob in zip(starts, sample.offsets, sample.logprobs, strict=False):
            yield sample.text[start:end], logprob
        prefix += (Piece(sample.text, sample.tokens),)
        finish = sample.finish
