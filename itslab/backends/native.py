"""llama.cpp through numpy: a model, its vocabulary, a context of independent streams.

Nothing here schedules. Each method is one native call made safe: llama.cpp aborts the process on
several mistakes that Python cannot catch (a batch larger than n_batch, a sequence number out of
range, sampling a row without logits, a partial copy across streams), so they are made impossible
here rather than reported by it.

Names follow llama.h. ``LLAMA_*`` constants and structures come from ``llama_cpp``.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt
import psutil

from itslab.backends.library import gpu_layers, lib, offloaded, start
from itslab.core import BackendError, ModelError, Sampling, require
from itslab.models.gguf import Header, quantization, read_header, shape_of

Floats = npt.NDArray[np.float32]

INT32_MAX = 2**31 - 1
COLDEST = 1e-30  # a lower temperature makes logits infinite in single precision: it is greedy


class Unshared:
    """An object that holds native memory: neither copied, nor pickled."""

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise BackendError(
            f"a {type(self).__name__} holds native memory and can be neither copied nor pickled: "
            f"share it among threads, or load the model in each process"
        )


class Handle(Unshared):
    """A native object that threads share and any of them may close; none meets it freed.

    ``with handle as pointer:`` stands around every native call that takes the pointer. ``close``
    turns newcomers away; memory is freed at once, or by the last who is still using it. So closing
    never waits, and is safe in a finalizer, whatever its thread was just doing.

    Args:
        pointer: what llama.cpp returned.
        free: the native function that frees it.
        owner: what it was made from, which is in use until this one is freed.

    Raises:
        BackendError: on entering, if it is closed, or belongs to the process this one was forked
            from: llama.cpp's threads do not live on in a fork.
    """

    def __init__(
        self, pointer: Any, free: Callable[[Any], object], owner: Handle | None = None
    ) -> None:
        self._pointer, self._free = pointer, free
        self._owner: Handle | None = None
        self._users = 0
        self._closed = False
        self._process = os.getpid()
        self._lock = threading.RLock()  # garbage may be collected, and closed, while it is held
        if owner:
            owner.__enter__()
            self._owner = owner

    @property
    def foreign(self) -> bool:
        """Whether this process is a fork of the one it was made in, so that locks may hang."""
        return os.getpid() != self._process

    def check(self) -> None:
        """Raise ``BackendError`` if it cannot be used."""
        with self:
            pass

    def __enter__(self) -> Any:
        if self.foreign:
            raise BackendError(
                "this process is a fork of the one that loaded the model, and cannot use it: take "
                'threads, or multiprocessing.get_context("spawn") and a model loaded in each'
            )
        with self._lock:
            if self._closed:
                raise BackendError("this model is closed: load it again")
            self._users += 1
        return self._pointer

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            self._free_unused()

    def close(self) -> None:
        """Refuse further use, and free it once nobody uses it. May be called again."""
        if self.foreign:
            return
        with self._lock:
            self._closed = True
            self._free_unused()

    __del__ = close

    def _free_unused(self) -> None:
        if self._closed and not self._users and self._pointer is not None:
            pointer, self._pointer = self._pointer, None
            self._free(pointer)
            if self._owner:
                self._owner.__exit__()


class Model(Unshared):
    """The weights and the vocabulary of a GGUF file; safe to use and to close from any thread.

    Once it is closed, or in a process forked after it was loaded, every method raises
    ``BackendError``.

    Raises:
        ModelError: the file is damaged, or llama.cpp cannot load it.
    """

    _head: Literal["output", "cls"] = "output"

    def __init__(self, path: Path, device: str = "auto") -> None:
        start()
        # Read first: llama.cpp ends the process at some damage, and computes with other.
        header = read_header(path)
        self.shape = shape_of(header, self._head)
        self.quantization = quantization(header.metadata)
        params = lib.llama_model_default_params()
        params.n_gpu_layers = gpu_layers(device)
        self._model = lib.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ModelError(f"{path}: llama.cpp cannot load this file; is its architecture newer?")
        self._handle = Handle(self._model, lib.llama_model_free)
        self.offloaded = offloaded()  # layers on a device, of all
        self._vocab = lib.llama_model_get_vocab(self._model)
        self.n_vocab: int = lib.llama_vocab_n_tokens(self._vocab)
        self.n_embd: int = lib.llama_model_n_embd_out(self._model)
        self.context_length: int = lib.llama_model_n_ctx_train(self._model)
        self.kv_bytes = self._kv_bytes(header)
        # A recurrent state has no past: it can be copied where it stands, never cut shorter.
        self.recurrent = bool(
            lib.llama_model_is_recurrent(self._model) or lib.llama_model_is_hybrid(self._model)
        )
        self._pieces: dict[int, bytes] = {}

    def _kv_bytes(self, header: Header) -> int:
        """Memory that a token of context takes, at 16 bits."""
        width = lib.llama_model_n_embd(self._model) // max(lib.llama_model_n_head(self._model), 1)
        key = header.number("attention.key_length") or width
        value = header.number("attention.value_length") or key
        heads = lib.llama_model_n_head_kv(self._model)
        return int(2 * lib.llama_model_n_layer(self._model) * heads * (key + value))

    def chat_template(self, name: str | None = None) -> str | None:
        """Return the Jinja chat template in the file, or one by its name; None if there is none."""
        with self._handle as model:
            template = lib.llama_model_chat_template(model, name.encode() if name else None)
        return template.decode(errors="replace") if template else None

    def special(self, kind: str) -> tuple[int, str]:
        """Return id and text of the ``bos`` or ``eos`` token; -1 and '' if there is none."""
        with self._handle:
            token = {"bos": lib.llama_vocab_bos, "eos": lib.llama_vocab_eos}[kind](self._vocab)
        return token, self.piece(token).decode(errors="replace") if token >= 0 else ""

    @property
    def adds_bos(self) -> bool:
        """Whether prompts of this model start with its ``bos`` token."""
        with self._handle:
            return bool(lib.llama_vocab_get_add_bos(self._vocab))

    def ends(self, token: int) -> bool:
        """Whether a token closes the model's turn."""
        with self._handle:
            return bool(lib.llama_vocab_is_eog(self._vocab, token))

    @cached_property
    def control(self) -> dict[str, int]:
        """The special tokens, such as the one that closes a turn: their texts, and their ids."""
        kinds = lib.LLAMA_TOKEN_ATTR_CONTROL | lib.LLAMA_TOKEN_ATTR_UNKNOWN
        with self._handle:
            ids = [
                token
                for token in range(self.n_vocab)
                if lib.llama_vocab_get_attr(self._vocab, token) & kinds
            ]
            texts = [lib.llama_vocab_get_text(self._vocab, token) for token in ids]
        known = zip(texts, ids, strict=True)
        return {text.decode(errors="replace"): token for text, token in known if text}

    @cached_property
    def control_texts(self) -> re.Pattern[str]:
        """Finds the text of any special token, the longest first."""
        texts = sorted(self.control, key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, texts)) or '(?!)'})")

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """Return token ids, no ``bos`` added.

        Args:
            special: read special tokens where their text stands, as in a template. In what a person
                or a model wrote they are plain text: nobody closes a turn by spelling its end.
        """
        data = utf8(text)
        room = len(data) + 8
        tokens = (lib.llama_token * room)()
        with self._handle:
            n = lib.llama_tokenize(self._vocab, data, len(data), tokens, room, False, special)
        if n < 0:
            raise BackendError(f"llama.cpp cannot tokenise {text[:40]!r}…")
        return list(tokens[:n])

    def check_tokens(self, tokens: Sequence[int]) -> None:
        """Raise ``BackendError`` unless all are ids of this vocabulary."""
        for token in tokens:
            if not isinstance(token, int) or not 0 <= token < self.n_vocab:
                raise BackendError(
                    f"{token!r} is no token of this model, whose ids go from 0 to "
                    f"{self.n_vocab - 1}: were these tokens drawn from another model?"
                )

    def piece(self, token: int) -> bytes:
        """Return the bytes a token spells; they need not be whole UTF-8 characters."""
        known = self._pieces.get(token)
        if known is None:
            buffer = ctypes.create_string_buffer(256)
            with self._handle:
                n = lib.llama_token_to_piece(self._vocab, token, buffer, len(buffer), 0, True)
            known = self._pieces[token] = buffer.raw[: max(n, 0)]
        return known

    def context(self, streams: int, length: int, batch: int, threads: int) -> Context:
        """Allocate the memory for ``streams`` sequences of ``length`` tokens; see ``Context``."""
        return Context(self, self._handle, streams, length, batch, threads)

    def check(self) -> None:
        """Raise ``BackendError`` if the model is closed, or belongs to another process."""
        self._handle.check()

    def close(self) -> None:
        """Refuse further use; the memory is freed with the last user and context."""
        self._handle.close()


class Context(Unshared):
    """Key-value memory for several sequences, each in a stream of its own.

    Args:
        streams: sequences at once.
        length: tokens per sequence.
        batch: most rows in one ``decode``.
        threads: for single rows and batches alike.

    Raises:
        BackendError: the memory would not fit into what is free.
    """

    def __init__(
        self, model: Model, owner: Handle, streams: int, length: int, batch: int, threads: int
    ) -> None:
        limit = lib.llama_max_parallel_sequences()
        require(1 <= streams <= limit, "batch_size", streams, f"between 1 and {limit}")
        require(
            streams * length <= INT32_MAX,
            "context",
            length,
            f"at most {INT32_MAX // streams} tokens for each of {streams}",
        )
        batch = max(batch, streams)
        needed, free = streams * length * model.kv_bytes, psutil.virtual_memory().available
        if needed > 0.9 * free:
            raise BackendError(
                f"a context of {streams} × {length} tokens takes {needed / 2**30:.1f} GiB, "
                f"{free / 2**30:.1f} GiB are free: choose a smaller batch_size or context"
            )
        params = lib.llama_context_default_params()
        params.n_ctx = streams * length
        params.n_seq_max = streams
        params.n_batch = params.n_ubatch = batch
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.kv_unified = False
        params.no_perf = True
        with owner as handle:
            context = lib.llama_init_from_model(handle, params)
            if not context:
                raise BackendError(f"llama.cpp cannot make a context of {streams}×{length} tokens")
            self._handle = Handle(context, lib.llama_free, owner)
        self._n_vocab, self._n_embd = model.n_vocab, model.n_embd
        self.streams, self.length, self.batch = streams, length, batch
        # numpy owns the batch, so that a step is written in four vector stores.
        self._token = np.zeros(batch, np.int32)
        self._pos = np.zeros(batch, np.int32)
        self._stream = np.zeros(batch, np.int32)
        self._one = np.ones(batch, np.int32)
        self._output = np.zeros(batch, np.int8)
        self._stream_rows = self._stream.ctypes.data + 4 * np.arange(batch, dtype=np.uintp)
        self._batch = lib.llama_batch(
            n_tokens=0,
            token=_pointer(self._token, lib.llama_token),
            embd=None,
            pos=_pointer(self._pos, lib.llama_pos),
            n_seq_id=_pointer(self._one, ctypes.c_int32),
            seq_id=_pointer(self._stream_rows, ctypes.POINTER(lib.llama_seq_id)),
            logits=_pointer(self._output, ctypes.c_int8),
        )

    def decode(
        self,
        tokens: Sequence[int],
        positions: Sequence[int],
        streams: Sequence[int],
        outputs: Sequence[bool],
        states: bool = False,
    ) -> None:
        """Evaluate one row per token; rows of a stream in order, streams ascending.

        Args:
            tokens, positions, streams: of each row.
            outputs: which rows shall have logits.
            states: give hidden states too. llama.cpp then computes logits for every row, which
                makes evaluating a prompt dearer and a step of single tokens not.

        Raises:
            BackendError: llama.cpp failed. The memory of the streams concerned is then undefined.
        """
        n = len(tokens)
        if not 0 < n <= self.batch or not 0 <= min(streams) <= max(streams) < self.streams:
            raise BackendError(f"a batch of {n} rows for streams {min(streams)}–{max(streams)}")
        self._token[:n], self._pos[:n] = tokens, positions
        self._stream[:n], self._output[:n] = streams, outputs
        self._batch.n_tokens = n
        if states:
            self._output[:n] = 1
        with self._handle as context:
            lib.llama_set_embeddings(context, states)
            code = lib.llama_decode(context, self._batch)
        if code != 0:
            raise BackendError(f"llama_decode returned {code} for a batch of {n} rows")

    def logits(self, row: int) -> Floats:
        """The logits of a row of the last decode, (vocabulary,); valid until the next decode."""
        self._check(row)
        with self._handle as context:
            pointer = lib.llama_get_logits_ith(context, row)
        return np.ctypeslib.as_array(pointer, (self._n_vocab,))

    def state(self, row: int) -> tuple[float, ...]:
        """The hidden state of a row of the last decode, which must have been made with states."""
        self._check(row)
        with self._handle as context:
            pointer = lib.llama_get_embeddings_ith(context, row)
            state = np.ctypeslib.as_array(pointer, (self._n_embd,))
            return tuple(state.astype(np.float16).tolist())

    def _check(self, row: int) -> None:
        if not self._output[row]:
            raise BackendError(f"row {row} of the last batch has no logits")

    def sample(self, sampler: Sampler, row: int) -> int:
        """Draw a token from a batch row that was flagged as an output of the last decode."""
        self._check(row)
        with self._handle as context, sampler.handle as chain:
            return int(lib.llama_sampler_sample(chain, context, row))

    def use_threads(self, threads: int) -> None:
        """Compute with this many threads from now on."""
        with self._handle as context:
            lib.llama_set_n_threads(context, threads, threads)

    def snapshot(self, stream: int) -> npt.NDArray[np.uint8]:
        """Copy the memory of a stream to the host."""
        with self._handle as context:
            data = np.empty(lib.llama_state_seq_get_size(context, stream), np.uint8)
            lib.llama_state_seq_get_data(context, _pointer(data, ctypes.c_uint8), data.size, stream)
        return data

    def restore(self, stream: int, data: npt.NDArray[np.uint8]) -> None:
        """Replace the memory of a stream by a snapshot, of this stream or of another."""
        pointer = _pointer(data, ctypes.c_uint8)
        with self._handle as context:
            n = lib.llama_state_seq_set_data(context, pointer, data.size, stream)
        if n != data.size:
            raise BackendError(f"a snapshot of {data.size} bytes could not be restored")

    def cut(self, stream: int, length: int) -> None:
        """Forget a stream's tokens from position ``length`` on."""
        with self._handle as context:
            cut = lib.llama_memory_seq_rm(lib.llama_get_memory(context), stream, length, -1)
        if not cut:
            raise BackendError(f"stream {stream} cannot be cut to {length} tokens")

    def clear(self) -> None:
        """Forget everything."""
        with self._handle as context:
            lib.llama_memory_clear(lib.llama_get_memory(context), False)

    def close(self) -> None:
        """Free the memory."""
        self._handle.close()


class Sampler:
    """A native chain: top-k, top-p, min-p, temperature, and a random stream of its own.

    Args:
        sampling: the distribution.
        seed: 32 bits; the chain draws one number per token, so it belongs to one sample.
    """

    def __init__(self, sampling: Sampling, seed: int) -> None:
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        self.handle = Handle(chain, lib.llama_sampler_free)
        for part in self._parts(sampling, seed):
            lib.llama_sampler_chain_add(chain, part)

    @staticmethod
    def _parts(sampling: Sampling, seed: int) -> list[object]:
        if sampling.temperature < COLDEST:
            return [lib.llama_sampler_init_greedy()]
        parts: list[object] = []
        if sampling.top_k > 0:
            parts.append(lib.llama_sampler_init_top_k(min(sampling.top_k, INT32_MAX)))
        if sampling.top_p < 1:
            parts.append(lib.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            parts.append(lib.llama_sampler_init_min_p(sampling.min_p, 1))
        if sampling.temperature != 1:
            parts.append(lib.llama_sampler_init_temp(sampling.temperature))
        return [*parts, lib.llama_sampler_init_dist(seed)]

    def draw(self, logits: Floats) -> int:
        """Draw a token from logits that are no longer in the context, (vocabulary,)."""
        n = len(logits)
        candidates = np.empty(n, [("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        candidates["id"], candidates["logit"], candidates["p"] = np.arange(n), logits, 0
        array = lib.llama_token_data_array(
            data=_pointer(candidates, lib.llama_token_data), size=n, selected=-1, sorted=False
        )
        with self.handle as chain:
            lib.llama_sampler_apply(chain, ctypes.byref(array))
            token = int(array.data[array.selected].id)
            lib.llama_sampler_accept(chain, token)
        return token

    def close(self) -> None:
        """Free the chain."""
        self.handle.close()


def utf8(text: str) -> bytes:
    """Encode a text; a ``BackendError`` names the character that no text can hold."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BackendError(
            f"the text holds the lone surrogate {text[error.start]!r} at character {error.start}, "
            f'which stands for no character: replace it by text.encode("utf-8", "replace").decode()'
        ) from None


def _pointer(array: npt.NDArray[np.generic], kind: type) -> object:
    return array.ctypes.data_as(ctypes.POINTER(kind))
