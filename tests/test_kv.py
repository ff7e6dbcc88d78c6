"""Streams and parking, on the real memory of a small model."""

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab import models
from itslab.backends.kv import Cache, Parking, Stream, Tokens, common_prefix
from itslab.backends.native import Context, Model

TOKENS = st.lists(st.integers(0, 3), max_size=12).map(tuple)


@given(TOKENS, TOKENS)
def test_common_prefix_equals_counting(a: Tokens, b: Tokens) -> None:
    count = 0
    while count < min(len(a), len(b)) and a[count] == b[count]:
        count += 1
    assert common_prefix(a, b) == count


@given(st.lists(TOKENS), TOKENS)
def test_parking_finds_the_longest_prefix_among_all(parked: list[Tokens], wanted: Tokens) -> None:
    parking = Parking(limit=10**9)
    for tokens in parked:
        parking.put(tokens, np.zeros(8, np.uint8))
    best = max((common_prefix(tokens, wanted) for tokens in parked), default=0)
    assert parking.best(wanted)[1] == best


def test_parking_drops_the_least_recently_used_beyond_its_limit() -> None:
    parking = Parking(limit=20)
    for first in (1, 2):
        parking.put((first, 0), np.zeros(10, np.uint8))
    parking.get((1, 0))
    parking.put((3, 0), np.zeros(10, np.uint8))
    assert [parking.serves((first, 0)) for first in (1, 2, 3)] == [True, False, True]
    assert parking.size == 20


def test_parking_keeps_the_longer_of_two_that_begin_alike() -> None:
    parking = Parking(limit=100)
    parking.put((1, 2), np.zeros(10, np.uint8))
    parking.put((1, 2, 3), np.zeros(15, np.uint8))
    assert len(parking) == 1
    assert parking.size == 15
    assert parking.serves((1, 2))


@pytest.fixture(scope="module")
def context(small_model: models.ModelFile) -> Iterator[Context]:
    model = Model(small_model.path, "cpu")
    context = model.context(streams=3, length=256, batch=64, threads=1)
    yield context
    context.close()
    model.close()


@pytest.fixture
def cache(context: Context) -> Cache:
    cache = Cache(context, "prefix", parking=10**8)
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
    cache.parking = Parking(0)
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
