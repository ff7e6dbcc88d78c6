"""Which tokens are in which stream, and which prefixes are kept in host memory.

A sequence is known by its token ids alone. Asked for a stream that starts with given tokens, the
cache finds the longest prefix evaluated so far, wherever it is, and brings it there: in place, by a
copy from another stream, or from a snapshot on the host. Forking, swapping out and coming back are
thus one operation, and a strategy never hears of it.

Streams are filled in place of PagedAttention's blocks (Kwon et al. 2023, arXiv:2309.06180, §4): no
CPU kernel gains from a shared block, and copying a few megabytes is a hundred times cheaper than
evaluating the tokens again.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from itslab.backends.native import Context, Floats

Tokens = tuple[int, ...]
Reuse = Literal["prefix", "whole", "exact"]
Bytes = npt.NDArray[np.uint8]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many leading tokens two sequences share. Bisects, so that slices do the work."""
    low, high = 0, min(len(a), len(b))
    if a[:high] == b[:high]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


@dataclass(eq=False, slots=True)
class Stream:
    """One stream of the context: the tokens evaluated in it, and whether a sequence owns it."""

    index: int
    tokens: Tokens = ()
    live: bool = False
    used: int = field(default=0, repr=False)


class PrefixCache:
    """Snapshots in host memory by their tokens, the least recently used dropped first.

    Sorted by token ids, so that the longest common prefix with any sequence is found at one of its
    two neighbours. A snapshot that another one starts with is not kept: the longer serves for both.

    Args:
        limit: bytes.
        whole: snapshots serve only sequences that start with all of their tokens.
    """

    def __init__(self, limit: int, whole: bool = False) -> None:
        self.limit = limit
        self.size = 0
        self._whole = whole
        self._keys: list[Tokens] = []
        self._data: OrderedDict[Tokens, Bytes] = OrderedDict()

    def best(self, tokens: Tokens) -> tuple[Tokens, int]:
        """Return the entry that shares the longest prefix, and its length; ``(), 0`` if none."""
        if self._whole:
            near = [key for key in self._keys if key == tokens[: len(key)]]
        else:
            i = bisect_left(self._keys, tokens)
            near = self._keys[max(i - 1, 0) : i + 1]
        found = max(near, key=lambda key: common_prefix(key, tokens), default=())
        return found, common_prefix(found, tokens)

    def put(self, tokens: Tokens, data: Bytes) -> None:
        """Keep a snapshot, dropping what it makes redundant and the oldest beyond the limit."""
        if self.serves(tokens) or data.size > self.limit:
            return
        i = bisect_left(self._keys, tokens)
        if i and not self._whole and self._keys[i - 1] == tokens[: len(self._keys[i - 1])]:
            self._drop(self._keys[i - 1])
        insort(self._keys, tokens)
        self._data[tokens] = data
        self.size += data.size
        while self.size > self.limit:
            self._drop(next(iter(self._data)))

    def get(self, tokens: Tokens) -> Bytes:
        """Return a snapshot by its exact tokens."""
        self._data.move_to_end(tokens)
        return self._data[tokens]

    def serves(self, tokens: Tokens) -> bool:
        """Whether all of these tokens can be had from a snapshot."""
        if self._whole:
            return tokens in self._data
        i = bisect_left(self._keys, tokens)
        return i < len(self._keys) and self._keys[i][: len(tokens)] == tokens

    def __len__(self) -> int:
        return len(self._keys)

    def _drop(self, tokens: Tokens) -> None:
        del self._keys[bisect_left(self._keys, tokens)]
        self.size -= self._data.pop(tokens).size


class PromptLogits:
    """The logits after a prompt, so that every later fork draws its own first token from them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._logits: OrderedDict[Tokens, Floats] = OrderedDict()

    def put(self, tokens: Tokens, logits: Floats) -> None:
        """Keep a copy, (vocabulary,)."""
        self._logits[tokens] = logits.copy()
        if len(self._logits) > self.limit:
            self._logits.popitem(last=False)

    def get(self, tokens: Tokens) -> Floats | None:
        """Return the logits after exactly these tokens, or None."""
        if tokens in self._logits:
            self._logits.move_to_end(tokens)
        return self._logits.get(tokens)


class Cache:
    """The streams of a context and the prefix cache behind them.

    Args:
        context: where the memory is.
        reuse: what may serve a new sequence. ``prefix``: any common prefix. ``whole``: only
            sequences it starts with entirely (recurrent states cannot be cut shorter). ``exact``:
            only the same prompt, as it was first evaluated (results then depend on nothing else).
        prefix_cache: bytes of host memory for snapshots; 0 keeps none.
        prompts: how many prompts' last logits are kept.
    """

    def __init__(
        self, context: Context, reuse: Reuse, prefix_cache: int, prompts: int = 64
    ) -> None:
        self._context = context
        self._reuse = reuse
        self._clock = 0
        self.streams = [Stream(i) for i in range(context.streams)]
        self.prefix_cache = PrefixCache(prefix_cache, whole=reuse != "prefix")
        self.prompt_logits = PromptLogits(prompts)

    def reach(self, tokens: Tokens) -> int:
        """Return how many leading tokens need not be evaluated again."""
        usable = self._usable(tokens)
        saved = self._saved(usable)[1]
        return max(saved, *(self._shared(stream, usable) for stream in self.streams))

    def acquire(self, tokens: Tokens) -> Stream:
        """Return a live stream that holds the longest known prefix of ``tokens``, and no more.

        At least one token is left to evaluate, unless the logits after the last are known.
        """
        usable = self._usable(tokens)
        source = max(self.streams, key=lambda s: (self._shared(s, usable), not s.live))
        shared = self._shared(source, usable)
        saved, length = self._saved(usable)
        if length > shared:
            stream = self._fill(saved, length, self.prefix_cache.get(saved))
        elif not source.live and shared == len(source.tokens):
            stream = source
        else:
            data = self._context.snapshot(source.index) if shared else None
            stream = self._fill(source.tokens, shared, data)
        stream.live = True
        return stream

    def remember(self, stream: Stream, logits: Floats) -> None:
        """Keep the logits after a prompt just evaluated, for the samples that fork here."""
        self.prompt_logits.put(stream.tokens, logits)
        if self._reuse == "exact":
            self.prefix_cache.put(stream.tokens, self._context.snapshot(stream.index))

    def release(self, stream: Stream) -> None:
        """Give a stream back. Its tokens stay until the place is needed."""
        stream.live = False
        self._clock += 1
        stream.used = self._clock
        if self._reuse == "exact":
            self._cut(stream, 0)

    def move(self, source: Stream, index: int) -> Stream:
        """Move a live sequence to the stream ``index``, which is not live, and return that one."""
        target = self.streams[index]
        self._vacate(target)
        self._bring(target, source.tokens, len(source.tokens), self._context.snapshot(source.index))
        self._cut(source, 0)
        target.live, source.live = True, False
        return target

    def shareable(self, held: Tokens, tokens: Tokens) -> int:
        """Return how many leading tokens a sequence of ``held`` tokens could serve."""
        if self._reuse == "exact":
            return len(held) if held == tokens else 0
        shared = common_prefix(held, tokens)
        return shared if self._reuse == "prefix" or shared == len(held) else 0

    def clear(self) -> None:
        """Forget all streams, as after a failed decode. The prefix cache stays."""
        self._context.clear()
        for stream in self.streams:
            stream.tokens, stream.live = (), False

    def _usable(self, tokens: Tokens) -> Tokens:
        """All tokens if the logits after them are known, else all but the last."""
        if self.prompt_logits.get(tokens) is not None:
            return tokens
        return () if self._reuse == "exact" else tokens[:-1]

    def _shared(self, stream: Stream, tokens: Tokens) -> int:
        # What a stream holds was partly evaluated in batches with others: never exact.
        return 0 if self._reuse == "exact" else self.shareable(stream.tokens, tokens)

    def _saved(self, tokens: Tokens) -> tuple[Tokens, int]:
        saved, length = self.prefix_cache.best(tokens)
        return (saved, length) if self._reuse != "exact" or saved == tokens else ((), 0)

    def _fill(self, tokens: Tokens, length: int, data: Bytes | None) -> Stream:
        """Fill a free stream from ``data``, giving up the least recently used if none is empty."""
        idle = [stream for stream in self.streams if not stream.live]
        stream = min(idle, key=lambda s: (bool(s.tokens), s.used, s.index))
        self._vacate(stream)
        if data is not None:
            self._bring(stream, tokens, length, data)
        return stream

    def _vacate(self, stream: Stream) -> None:
        """Empty a stream, saving what is nowhere else."""
        elsewhere = self.prefix_cache.serves(stream.tokens) or any(
            other is not stream and self._shared(other, stream.tokens) == len(stream.tokens)
            for other in self.streams
        )
        if stream.tokens and not elsewhere:
            self.prefix_cache.put(stream.tokens, self._context.snapshot(stream.index))
        self._cut(stream, 0)

    def _bring(self, stream: Stream, tokens: Tokens, length: int, data: Bytes) -> None:
        self._context.restore(stream.index, data)
        stream.tokens = tokens
        self._cut(stream, length)

    def _cut(self, stream: Stream, length: int) -> None:
        if len(stream.tokens) > length:
            self._context.cut(stream.index, length)
            stream.tokens = stream.tokens[:length]
