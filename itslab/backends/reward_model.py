"""A local reward model: whole conversations in, the probability that they are good out.

llama.cpp puts a classification head on a conversation's last hidden state (rank pooling). Several
conversations share a context, and its cells too, so that what they begin with in common is
evaluated once for all of them.
"""

from __future__ import annotations

import re
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from itslab.backends.kv import Tokens, common_prefix
from itslab.backends.library import lib
from itslab.backends.llama import Length, Threads, default_threads
from itslab.backends.native import Floats, Handle, Model, Unshared
from itslab.backends.template import ChatTemplate, Template, chat_template, prompt_tokens
from itslab.core import BackendError, Cost, Message, ModelError, Verdict, require
from itslab.models.gguf import read_header
from itslab.options import checked

HEAD = "cls.output.weight"
ARCHITECTURES = ("qwen3", "qwen3vl")  # the chat models that llama.cpp reads a head for
SEQUENCES = 16  # conversations at once
ROWS = 128  # evaluated in one go: as fast as more, and their scratch memory stays small

Row = tuple[int, int, Sequence[int]]  # token, position, the sequences that it belongs to


class RewardModel(Unshared):
    """A GGUF reward model run in this process by llama.cpp: a ``Scorer`` for ``Reward``.

    The score is P(label), from the head's logits on the last token of the conversation. A head
    trained on one reward r (Ouyang et al. 2022, arXiv:2203.02155) is converted with a second row of
    zeros and scores σ(r), which ranks as r does.

    Conversations are shown through the file's own chat template, or through the template named
    ``rerank`` if it has one: what was asked is its ``{query}``, the reply its ``{document}``. What
    conversations have in common, such as the problem, is evaluated once.

    Args:
        path: the GGUF file, of the architecture qwen3, with a classification head.
        label: the name of the output that stands for "good"; by default the first one.
        context: tokens of one conversation at most, and of all that are evaluated at once.
        threads, device: see ``Llama``.

    Raises:
        ModelError: the file is no reward model that llama.cpp can run; the text says why.
        OptionError: an option is out of range, or the build lacks the device.
        BackendError: not enough memory for the context.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        label: str | None = None,
        *,
        context: Length = 2048,
        threads: Threads | None = None,
        device: str = "auto",
    ) -> None:
        threads = default_threads() if threads is None else threads
        self.path = Path(path)
        self.name = self.path.stem
        self.context = context
        self._ranker = Ranker(Path(path), context, threads, device)
        self._closing = weakref.finalize(self, self._ranker.close)
        self._lock = threading.Lock()
        trained, labels = self._ranker.context_length, self._ranker.labels
        try:
            require(context <= trained, "context", context, f"at most {trained} for this model")
            require(label is None or label in labels, "label", label, f"one of {', '.join(labels)}")
            self._good = 0 if label is None else labels.index(label)
            self._template = _template(self._ranker, path)
        except Exception:
            self._closing()
            raise

    @checked
    def score(self, conversations: Sequence[Sequence[Message]]) -> list[Verdict]:
        """Score finished conversations, several at once; safe to call from any thread.

        Returns:
            One verdict each, in their order, which carries its cost. nan where a conversation is
            longer than the context.

        Raises:
            BackendError: llama.cpp failed, or the model is closed.
        """
        require(all(conversations), "conversations", conversations, "a list of messages each")
        self._ranker.check()  # before the lock, which a fork may have inherited locked
        with self._lock:
            prompts = [self._tokens(messages) for messages in conversations]
            verdicts = [self._too_long(tokens) for tokens in prompts]
            for group in self._groups(prompts):
                scored = self._score([prompts[i] for i in group])
                for i, verdict in zip(group, scored, strict=True):
                    verdicts[i] = verdict
        return verdicts

    def _too_long(self, tokens: Tokens) -> Verdict:
        said = f"the conversation has {len(tokens)} tokens, the context holds {self.context}"
        return Verdict(float("nan"), note=said)

    def _groups(self, prompts: Sequence[Tokens]) -> Iterator[list[int]]:
        """The positions of conversations that fit into the context together, in their order."""
        group: list[int] = []
        for i, tokens in enumerate(prompts):
            if len(tokens) > self.context:
                continue
            wider = [*group, i]
            if len(wider) > SEQUENCES or _cells([prompts[j] for j in wider]) > self.context:
                yield group
                wider = [i]
            group = wider
        if group:
            yield group

    def _score(self, group: Sequence[Tokens]) -> list[Verdict]:
        began = time.perf_counter()
        shared = _shared(group)
        outputs = self._ranker.rank(group, shared).astype(np.float64)
        # In doubles, where 1 - 10⁻⁹ is less than 1: llama.cpp's softmax is of single precision.
        scores = outputs[:, self._good] / outputs.sum(axis=1)
        seconds = (time.perf_counter() - began) / _cells(group)
        verdicts = []
        for i, (tokens, score) in enumerate(zip(group, scores, strict=True)):
            reused = shared if i else 0  # the first pays for what all have in common
            cost = Cost(
                prefilled=len(tokens) - reused,
                reused=reused,
                calls=1,
                seconds=seconds * (len(tokens) - reused),
                flops=self._ranker.shape.flops(reused, len(tokens), outputs=1),
            )
            verdicts.append(Verdict(float(score), cost))
        return verdicts

    def _tokens(self, messages: Sequence[Message]) -> Tokens:
        return tuple(prompt_tokens(self._ranker, self._template, messages))

    def close(self) -> None:
        """Free the model's memory. May be called again."""
        self._closing()
        if isinstance(self._template, ChatTemplate):
            self._template.close()

    def __enter__(self) -> RewardModel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"RewardModel({self.name!r})"


def _shared(group: Sequence[Tokens]) -> int:
    """How many leading tokens all have in common, the last of each not counted."""
    return min(min(common_prefix(group[0], tokens), len(tokens) - 1) for tokens in group)


def _cells(group: Sequence[Tokens]) -> int:
    """How many tokens are evaluated for a group."""
    return sum(map(len, group)) - (len(group) - 1) * _shared(group)


def _template(ranker: Ranker, path: str | Path) -> Template:
    """How the model is shown a conversation."""
    rerank = ranker.chat_template("rerank")
    if rerank is not None:
        return partial(_fill, rerank)
    template = chat_template(ranker, open_turn=False)
    if template is None:
        raise ModelError(f"{path} has no chat template: a reward model reads a conversation by one")
    return template


def _fill(template: str, messages: Sequence[Message]) -> str:
    *asked, reply = [message.content for message in messages]
    said = {"{query}": "\n\n".join(asked), "{document}": reply}
    return re.sub("{query}|{document}", lambda place: said[place[0]], template)


# -- the model with a head -------------------------------------------------------------------------


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
    """Raise unless the file has a head: without one llama.cpp silently computes nonsense."""
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
