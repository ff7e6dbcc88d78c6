"""Streams and the prefix cache: by hand on a memory of lists, then on that of a small model."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab import models
from itslab.backends.kv import (
    Cache,
    PrefixCache,
    PromptLogits,
    Reuse,
    Stream,
    Tokens,
    common_prefix,
)
from itslab.backends.native import Context, Model

TOKENS = st.lists(st.integers(0, 3), max_size=12).map(tuple)


@given(TOKENS, TOKENS)
def test_common_prefix_equals_counting(a: Tokens, b: Tokens) -> None:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    assert common_prefix(a, b) == count


@given(st.lists(TOKENS), TOKENS)
def test_the_prefix_cache_finds_the_longest_prefix_among_all(
    keys: list[Tokens], wanted: Tokens
) -> None:
    saved = PrefixCache(limit=10**9)
    for tokens in keys:
        saved.put(tokens, np.zeros(8, np.uint8))
    best = max((common_prefix(tokens, wanted) for tokens in keys), default=0)
    assert saved.best(wanted)[1] == best


def test_the_prefix_cache_drops_the_least_recently_used_beyond_its_limit() -> None:
    saved = PrefixCache(limit=20)
    for first in (1, 2):
        saved.put((first, 0), np.zeros(10, np.uint8))
    saved.get((1, 0))
    saved.put((3, 0), np.zeros(10, np.uint8))
    assert [saved.serves((first, 0)) for first in (1, 2, 3)] == [True, False, True]
    assert saved.size == 20


def test_the_prefix_cache_keeps_the_longer_of_two_that_begin_alike() -> None:
    saved = PrefixCache(limit=100)
    saved.put((1, 2), np.zeros(10, np.uint8))
    saved.put((1, 2, 3), np.zeros(15, np.uint8))
    assert len(saved) == 1
    assert saved.size == 15
    assert saved.serves((1, 2))


def test_the_prefix_cache_drops_only_what_the_new_one_starts_with() -> None:
    saved = PrefixCache(limit=100)
    for tokens in ((0, 1), (0, 2, 5), (1, 2), (1, 2, 3)):
        saved.put(tokens, np.zeros(5, np.uint8))
    assert [saved.serves(tokens) for tokens in ((0, 1), (0, 2, 5), (1, 2, 3))] == [True] * 3
    assert (len(saved), saved.size) == (3, 15)


@pytest.mark.parametrize(("size", "kept"), [(20, 1), (21, 0)])
def test_the_prefix_cache_takes_what_fills_it_and_no_more(size: int, kept: int) -> None:
    saved = PrefixCache(limit=20)
    saved.put((1, 2), np.zeros(size, np.uint8))
    assert len(saved) == kept


def test_a_prefix_cache_of_whole_sequences_serves_no_part_of_one() -> None:
    saved = PrefixCache(limit=100, whole=True)
    for tokens in ((1, 2), (1, 2, 3)):
        saved.put(tokens, np.zeros(5, np.uint8))
    assert len(saved) == 2  # the shorter serves where the longer cannot
    assert saved.best((1, 2, 9)) == ((1, 2), 2)
    assert saved.best((1, 2, 3, 4)) == ((1, 2, 3), 3)
    assert saved.best((1, 9)) == ((), 0)
    assert not saved.serves((1,))


def test_of_prompts_whose_logits_are_kept_the_least_recently_used_goes() -> None:
    logits = PromptLogits(limit=2)
    for token in (1, 2):
        logits.put((token,), np.zeros(1, np.float32))
    logits.get((1,))
    logits.put((3,), np.zeros(1, np.float32))
    assert [logits.get((token,)) is None for token in (1, 2, 3)] == [False, True, False]


# -- the cache, on a memory that is a list of tokens for each stream -------------------------------


class Memory:
    """What ``Cache`` asks of a context; a snapshot holds a byte for each token."""

    streams = 3

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.held: list[Tokens] = [()] * self.streams

    def snapshot(self, stream: int) -> np.ndarray:
        return np.array(self.held[stream], np.uint8)

    def restore(self, stream: int, data: np.ndarray) -> None:
        self.held[stream] = tuple(map(int, data))

    def cut(self, stream: int, length: int) -> None:
        self.held[stream] = self.held[stream][:length]


def remembering(reuse: Reuse, prefix_cache: int = 100) -> tuple[Cache, Memory]:
    memory = Memory()
    return Cache(memory, reuse, prefix_cache), memory  # type: ignore[arg-type]


def grown(cache: Cache, memory: Memory, tokens: Tokens, *, kept: bool = False) -> Stream:
    """A live stream in which these tokens were evaluated, as a prompt if ``kept``."""
    stream = cache.acquire(tokens)
    assert memory.held[stream.index] == stream.tokens == tokens[: len(stream.tokens)]
    memory.held[stream.index] = stream.tokens = tokens
    if kept:
        cache.remember(stream, np.zeros(1, np.float32))
    return stream


@pytest.mark.parametrize(
    ("reuse", "tokens", "known"),
    [
        ("prefix", (1, 2, 9), (1, 2)),
        ("prefix", (1, 2, 3), (1, 2)),  # one is left to evaluate
        ("prefix", (1, 2, 3, 4), (1, 2, 3)),
        ("whole", (1, 2, 9), ()),
        ("whole", (1, 2, 3), ()),
        ("whole", (1, 2, 3, 4), (1, 2, 3)),
        ("exact", (1, 2, 9), ()),
        ("exact", (1, 2, 3), ()),
        ("exact", (1, 2, 3, 4), ()),
    ],
)
@pytest.mark.parametrize("where", ["live", "released", "saved"])
def test_what_serves_another_sequence(
    reuse: Reuse, tokens: Tokens, known: Tokens, where: str
) -> None:
    cache, memory = remembering(reuse)
    stream = grown(cache, memory, (1, 2, 3))
    if where != "live":
        cache.release(stream)
    if where == "saved":
        others = [grown(cache, memory, (start, start)) for start in (5, 6, 7)]
        for other in others:
            cache.release(other)
    assert cache.reach(tokens) == len(known)
    assert cache.acquire(tokens).tokens == known


@pytest.mark.parametrize("reuse", ["prefix", "whole", "exact"])
def test_a_prompt_whose_logits_are_known_is_not_evaluated_at_all(reuse: Reuse) -> None:
    cache, memory = remembering(reuse)
    prompt = (1, 2, 3)
    cache.release(grown(cache, memory, prompt, kept=True))
    assert cache.reach(prompt) == 3
    again = cache.acquire(prompt)
    assert again.tokens == memory.held[again.index] == prompt
    assert cache.reach((1, 2)) == (1 if reuse == "prefix" else 0)


def test_of_an_exact_cache_no_stream_serves_only_the_snapshot_of_the_prompt() -> None:
    cache, memory = remembering("exact")
    stream = grown(cache, memory, (1, 2), kept=True)
    memory.held[stream.index] = stream.tokens = (1, 2, 3)  # drawn in a batch with others
    cache.release(stream)
    assert memory.held == [()] * 3
    assert cache.acquire((1, 2)).tokens == (1, 2)
    assert cache.acquire((1, 2, 3)).tokens == ()


def test_what_a_sequence_on_its_way_could_serve() -> None:
    held = (1, 2, 3)
    served = {
        reuse: [
            remembering(reuse)[0].shareable(held, tokens)
            for tokens in ((1, 2, 3), (1, 2, 3, 4), (1, 2, 9), (0,))
        ]
        for reuse in ("prefix", "whole", "exact")
    }
    assert served == {"prefix": [3, 3, 2, 0], "whole": [3, 3, 0, 0], "exact": [3, 0, 0, 0]}


def test_an_empty_stream_is_taken_first_then_the_one_released_first() -> None:
    cache, memory = remembering("prefix")
    a = grown(cache, memory, (1, 1))
    b = grown(cache, memory, (2, 2))
    cache.release(b)
    cache.release(a)
    third = grown(cache, memory, (3, 3))
    assert third.index not in (a.index, b.index)
    assert cache.acquire((4, 4)) is b
    assert cache.prefix_cache.serves((2, 2))
    assert not cache.prefix_cache.serves((1, 1))


def test_a_sequence_moves_and_leaves_nothing_behind() -> None:
    cache, memory = remembering("prefix")
    stream = grown(cache, memory, (1, 2))
    assert cache.move(stream, 2).tokens == memory.held[2] == (1, 2)
    assert stream.tokens == memory.held[0] == ()


def test_an_exact_cache_keeps_a_prompt_that_another_one_starts_with() -> None:
    cache, memory = remembering("exact")
    for prompt in ((1, 2), (1, 2, 3)):
        cache.release(grown(cache, memory, prompt, kept=True))
    assert cache.acquire((1, 2)).tokens == (1, 2)
    assert cache.acquire((1, 2, 3)).tokens == (1, 2, 3)


def test_only_what_is_nowhere_else_is_saved() -> None:
    cache, memory = remembering("prefix")
    short = grown(cache, memory, (1, 2))
    longer = grown(cache, memory, (1, 2, 3))
    cache.release(short)
    grown(cache, memory, (5, 5))
    assert cache.acquire((6, 6)) is short
    assert len(cache.prefix_cache) == 0  # the longer one holds it
    cache.release(longer)
    assert cache.acquire((7, 7)) is longer
    assert cache.prefix_cache.best((1, 2, 3)) == ((1, 2, 3), 3)
    cache.release(longer)
    back = cache.acquire((1, 2, 3, 4))
    assert memory.held[back.index] == back.tokens == (1, 2, 3)
    cache.release(back)
    size = cache.prefix_cache.size
    cache.acquire((8, 8))
    assert cache.prefix_cache.size == size  # it is saved already


@pytest.mark.parametrize("reuse", ["prefix", "whole", "exact"])
@given(seed=st.integers(0, 10**6), prefix_cache=st.sampled_from([0, 6, 100]))
def test_in_any_order_streams_hold_what_the_cache_says(
    reuse: Reuse, seed: int, prefix_cache: int
) -> None:
    cache, memory = remembering(reuse, prefix_cache)
    rng, live = random.Random(seed), list[Stream]()
    for _ in range(30):
        if live and (len(live) == 3 or rng.random() < 0.5):
            cache.release(live.pop(rng.randrange(len(live))))
        else:
            tokens = tuple(rng.randrange(1, 3) for _ in range(rng.randrange(2, 6)))
            known = cache.reach(tokens)
            stream = grown(cache, memory, tokens, kept=rng.random() < 0.5)
            assert known <= len(tokens)
            live.append(stream)
        gaps = [i for i in range(3) if not cache.streams[i].live]
        if live and gaps and rng.random() < 0.3:
            live[0] = cache.move(live[0], gaps[0])
        assert memory.held == [stream.tokens for stream in cache.streams]
        assert {id(s) for s in cache.streams if s.live} == {id(s) for s in live}
        assert cache.prefix_cache.size <= prefix_cache


@pytest.fixture(scope="module")
def context(small_model: models.ModelFile) -> Iterator[Context]:
    model = Model(small_model.path, "cpu")
    context = model.context(streams=3, length=256, batch=64, threads=1)
    yield context
    context.close()
    model.close()


@pytest.fixture
def cache(context: Context) -> Cache:
    cache = Cache(context, "prefix", prefix_cache=10**8)
    cache.clear()
    return cache


def evaluate(context: Context, stream: Stream, tokens: Tokens) -> np.ndarray:
    """Evaluate what the stream lacks of ``tokens``; return the logits after the last."""
    start = len(stream.tokens)
    n = len(tokens) - start
    outputs = [False] * (n - 1) + [True]
    context.decode(tokens[start:], range(start, len(tokens)), [stream.index] * n, outputs)
    stream.tokens = tokens
    return context.logits(n - 1).copy()


def test_a_fork_continues_from_the_shared_prefix_as_if_evaluated_anew(
    context: Context, cache: Cache
) -> None:
    trunk, branch = tuple(range(100, 140)), (*range(100, 130), 7, 8, 9)
    evaluate(context, cache.acquire(trunk), trunk)
    fork = cache.acquire(branch)
    assert len(fork.tokens) == 30
    forked = evaluate(context, fork, branch)

    cache.clear()
    cache.prefix_cache = PrefixCache(0)
    anew = evaluate(context, cache.acquire(branch), branch)
    assert np.abs(forked - anew).max() < 0.5  # batch shapes differ, so not bitwise
    assert forked.argmax() == anew.argmax()


def test_a_sequence_swapped_out_comes_back_bit_for_bit(context: Context, cache: Cache) -> None:
    first = tuple(range(200, 240))
    stream = cache.acquire(first)
    evaluate(context, stream, first)
    stayed = evaluate(context, stream, (*first, 1))
    context.cut(stream.index, len(first))
    stream.tokens = first
    cache.release(stream)
    for start in (300, 400, 500):  # as many others as there are streams push it out
        other = cache.acquire(tuple(range(start, start + 20)))
        evaluate(context, other, tuple(range(start, start + 20)))
        cache.release(other)
    assert all(s.tokens != first for s in cache.streams)
    back = cache.acquire((*first, 1))
    assert back.tokens == first
    assert np.array_equal(evaluate(context, back, (*first, 1)), stayed)


def test_a_move_takes_the_tokens_along(context: Context, cache: Cache) -> None:
    tokens = tuple(range(20))
    stream = cache.acquire(tokens)
    evaluate(context, stream, tokens)
    stayed = evaluate(context, stream, (*tokens, 1))
    context.cut(stream.index, len(tokens))
    stream.tokens = tokens
    moved = cache.move(stream, 2)
    assert (moved.index, moved.tokens, moved.live) == (2, tokens, True)
    assert (stream.tokens, stream.live) == ((), False)
    assert np.array_equal(evaluate(context, moved, (*tokens, 1)), stayed)


def test_streams_always_hold_the_longest_prefix_known_anywhere(
    context: Context, cache: Cache
) -> None:
    """Any order of acquiring, evaluating, releasing and moving keeps the books right."""
    rng = random.Random(0)
    live: list[Stream] = []
    for _ in range(150):
        if len(live) == 3 or (live and rng.random() < 0.4):
            cache.release(live.pop(rng.randrange(len(live))))
            continue
        tokens = tuple(rng.randrange(1, 4) for _ in range(rng.randrange(2, 12)))
        known = cache.reach(tokens)
        stream = cache.acquire(tokens)
        assert len(stream.tokens) == known < len(tokens)
        assert stream.tokens == tokens[:known]
        evaluate(context, stream, tokens)
        live.append(stream)
        assert sorted(s.index for s in cache.streams if s.live) == sorted(s.index for s in live)
