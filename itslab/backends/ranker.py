"""Rank pooling: llama.cpp puts a classification head on a conversation's last hidden state.

One step above ``native``: a model with a head, and a context that several conversations share. They
share its cells too, so that what they begin with in common is evaluated once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import llama_cpp as lib
import numpy as np

from itslab.backends.native import Floats, Handle, Model
from itslab.core import BackendError, ModelError
from itslab.models.gguf import read_header

HEAD = "cls.output.weight"
ARCHITECTURES = ("qwen3", "qwen3vl")  # the chat models that llama.cpp reads a head for
SEQUENCES = 16  # conversations at once
ROWS = 128  # evaluated in one go: as fast as more, and their scratch memory stays small

Row = tuple[int, int, Sequence[int]]  # token, position, the sequences that it belongs to


class Ranker(Model):
    """A GGUF model with a classification head, and the memory to run it.

    Args:
        path: the file.
        context: tokens of all conversations under way, what they have in common counted once.
        threads, device: see ``Llama``.

    Raises:
        ModelError: the file is no model, or has no head that llama.cpp can run; the text says why.
        BackendError: not enough memory for the context.
    """

    _head = "cls"

    def __init__(self, path: Path, context: int, threads: int, device: str) -> None:
        _check_head(path)
        super().__init__(path, device)
        self.labels = self._labels()
        if len(self.labels) < 2:
            raise ModelError(
                f"{path}: its head has one output, of which llama.cpp takes the softmax: it would "
                f"score everything 1. Convert the model with a head of two rows, its weights and "
                f"zeros, and two classifier.output_labels: the first is then σ(reward)"
            )
        self._context = self._new_context(context, threads)
        self._batch = lib.llama_batch_init(context, 0, SEQUENCES)

    def _labels(self) -> tuple[str, ...]:
        with self._handle as model:
            count = lib.llama_model_n_cls_out(model)
            names = [lib.llama_model_cls_label(model, i) for i in range(count)]
        return tuple((name or b"").decode() for name in names)

    def _new_context(self, context: int, threads: int) -> Handle:
        params = lib.llama_context_default_params()
        params.n_ctx = context
        params.n_seq_max = SEQUENCES
        params.n_batch = max(context, SEQUENCES)
        params.n_ubatch = ROWS
        params.n_threads = params.n_threads_batch = threads
        params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.pooling_type = lib.LLAMA_POOLING_TYPE_RANK
        params.embeddings = True
        params.kv_unified = True
        params.no_perf = True
        with self._handle as model:
            pointer = lib.llama_init_from_model(model, params)
            if not pointer:
                raise BackendError(f"llama.cpp cannot make a context of {context} tokens")
            return Handle(pointer, self._free, owner=self._handle)

    def _free(self, pointer: object) -> None:
        lib.llama_batch_free(self._batch)
        lib.llama_free(pointer)

    def rank(self, sequences: Sequence[Sequence[int]], shared: int) -> Floats:
        """Return the probabilities of the head's labels, (sequences, labels).

        Args:
            sequences: token ids, 1 to ``SEQUENCES`` conversations that fit into the context.
            shared: how many tokens all begin with; fewer than any of them has.

        Raises:
            BackendError: llama.cpp failed.
        """
        everyone = range(len(sequences))
        rows: list[Row] = [(t, i, everyone) for i, t in enumerate(sequences[0][:shared])]
        for s, tokens in enumerate(sequences):
            rows += [(t, i, (s,)) for i, t in enumerate(tokens[shared:-1], shared)]
        last: list[Row] = [(t[-1], len(t) - 1, (s,)) for s, t in enumerate(sequences)]
        shape = (len(self.labels),)
        with self._context as context:
            lib.llama_memory_clear(lib.llama_get_memory(context), False)
            # With embeddings on, llama.cpp computes logits for every row: only the last rows' are
            # of use.
            self._decode(context, rows, embeddings=False)
            self._decode(context, last, embeddings=True)
            outputs = [lib.llama_get_embeddings_seq(context, s) for s in everyone]
            return np.array([np.ctypeslib.as_array(output, shape) for output in outputs])

    def _decode(self, context: object, rows: Sequence[Row], embeddings: bool) -> None:
        batch = self._batch
        for i, (token, position, sequences) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, embeddings
            batch.n_seq_id[i] = len(sequences)
            for j, sequence in enumerate(sequences):
                batch.seq_id[i][j] = sequence
        batch.n_tokens = len(rows)
        lib.llama_set_embeddings(context, embeddings)
        code = lib.llama_decode(context, batch) if rows else 0
        if code != 0:
            raise BackendError(f"llama_decode returned {code} for a batch of {len(rows)} rows")

    def close(self) -> None:
        """Free the memory and the weights, once nobody uses them. May be called again."""
        self._context.close()
        super().close()


def _check_head(path: Path) -> None:
    """Raise unless llama.cpp will find a head: it does not tell, and pools rubbish without one."""
    header = read_header(path)
    if HEAD not in header.tensors:
        raise ModelError(
            f"{path} has no classification head (no tensor {HEAD}): it is not a reward model. "
            f"Name a GGUF file that was converted with its head, or ask this one by a Judge"
        )
    architecture = header.metadata["general.architecture"]
    if architecture not in ARCHITECTURES:
        raise ModelError(
            f"{path}: llama.cpp runs no head on the architecture {architecture!r}: "
            f"use a reward model built on {' or '.join(ARCHITECTURES)}"
        )
