"""A local reward model: whole conversations in, the probability that they are good out."""

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
from itslab.backends.llama import Length, Threads, default_threads
from itslab.backends.native import Unshared
from itslab.backends.ranker import SEQUENCES, Ranker
from itslab.backends.template import ChatTemplate, Template, chat_template, prompt_tokens
from itslab.core import Cost, Message, ModelError, Verdict, require
from itslab.options import checked


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
        label: the output that stands for good; the first by default.
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
        self.name = Path(path).stem
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
    """How many tokens all begin with, one at the end of each left aside."""
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
