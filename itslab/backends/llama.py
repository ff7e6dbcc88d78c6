"""A local model: chat template, token ids, and samples drawn by the engine."""

from __future__ import annotations

import hashlib
import json
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import psutil

from itslab.backends.engine import Engine, Stats
from itslab.backends.filling import TODAY
from itslab.backends.library import build
from itslab.backends.native import Model, Unshared
from itslab.backends.scheduler import Service, current
from itslab.backends.sequence import ActiveSequence, Ticket, spelled
from itslab.backends.template import chat_template, prompt_tokens
from itslab.core import (
    Completion,
    Message,
    OnSample,
    OnText,
    Piece,
    PromptTooLong,
    Request,
    Shape,
    require,
)
from itslab.options import Bounds, Count, Whole, checked

Length = Annotated[int, Bounds(2)]
Threads = Annotated[int, Bounds(1, 512)]  # GGML_MAX_N_THREADS

UTF8_REACH = 4  # tokens back within which a character may have begun


def default_threads() -> int:
    """Physical cores: a second thread on one slows llama.cpp down."""
    return psutil.cpu_count(logical=False) or 1


def _digest(digest: str, template_options: Mapping[str, Any], ignore_eos: bool) -> str:
    """The identity of the weights and of what else decides on prompts and samples."""
    try:
        options = json.dumps(template_options, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError):
        options = ""
    valid = "a mapping from names to JSON values"
    require(options != "", "template_options", template_options, valid)
    if digest and template_options:
        digest = hashlib.sha256(f"{digest}\n{options}".encode()).hexdigest()
    if digest and ignore_eos:
        digest = hashlib.sha256(f"{digest}\nignore_eos".encode()).hexdigest()
    return digest


class Llama(Unshared):
    """A GGUF model run in this process by llama.cpp; a ``Backend``.

    Args:
        path: the GGUF file.
        name: a label for people; by default the file's name without its ending.
        digest: SHA-256 of the file, under which a bank keeps its samples.
        batch_size: how many samples are drawn at once. 16 is best on most CPUs; ``itslab bench``
            tells.
        context: how many tokens a sample may have, prompt included; at most what the model was
            trained on.
        threads: how many threads llama.cpp uses; by default the number of physical cores.
        device: ``auto``, ``cpu``, ``cuda``, ``metal`` or ``vulkan``.
        prefix_cache: bytes of host memory for evaluated prefixes that are out of the batch.
        deterministic: the same request gives the same samples whatever else is running, on this
            machine and build. Somewhat slower; see ``Engine``.
        template_options: variables for the chat template, such as ``{"enable_thinking": False}``.
            They change the prompts, so they change the digest.
        ignore_eos: let every sample go on to ``max_tokens``, past the end of the model's turn; for
            benchmarks. It changes the digest.

    Raises:
        ModelError: llama.cpp cannot load the file.
        OptionError: an option is out of range, or the build lacks the device.
        BackendError: not enough memory for ``batch_size`` × ``context``.
    """

    @checked
    def __init__(
        self,
        path: str | Path,
        name: str | None = None,
        digest: str = "",
        *,
        batch_size: Count = 16,
        context: Length = 2048,
        threads: Threads | None = None,
        device: str = "auto",
        prefix_cache: Whole = 2**30,
        deterministic: bool = False,
        template_options: Mapping[str, Any] | None = None,
        ignore_eos: bool = False,
    ) -> None:
        threads = default_threads() if threads is None else threads
        require(
            not deterministic or (batch_size >= 8 and batch_size % 4 == 0),
            "batch_size",
            batch_size,
            "a multiple of 4 and at least 8 in deterministic mode",
        )
        self._model = Model(Path(path), device)
        trained = self._model.context_length
        require(context <= trained, "context", context, f"at most {trained} for this model")
        self.name = name or Path(path).stem
        options = dict(template_options or {})
        self.digest = _digest(digest, options, ignore_eos)
        self._template = chat_template(self._model, open_turn=True, options=options)
        self.path, self.threads = Path(path), threads
        self.context = context
        self.batch_size = batch_size
        self._engine = Engine(
            self._model,
            batch_size=batch_size,
            context=context,
            threads=threads,
            prefix_cache=prefix_cache,
            deterministic=deterministic,
            ignore_eos=ignore_eos,
        )
        layers, of = self._model.offloaded
        self.provenance = (
            f"{build()}; {threads} threads; batch_size {batch_size}"
            f"{f'; {layers} of {of} layers on {device}' if layers else ''}"
            f"{'; deterministic' if deterministic else ''}"
            f"{'; end of turn ignored' if ignore_eos else ''}"
            f"{f'; template options {options}' if options else ''}"
            f"{f'; dated {TODAY:%Y-%m-%d}' if self._template and self._template.dated else ''}"
        )
        # The engine's thread keeps the engine alive, but must not keep this object.
        self._closing = weakref.finalize(self, self._engine.close)

    # -- drawing -----------------------------------------------------------------------------------

    @checked
    def generate(
        self,
        requests: Sequence[Request],
        on_text: OnText | None = None,
        on_sample: OnSample | None = None,
        cancel: threading.Event | None = None,
        *,
        service: Service | None = None,
    ) -> list[list[Completion]]:
        """Draw samples; see ``Backend.generate``.

        Args:
            requests, on_text, on_sample, cancel: see ``Backend.generate``.
            service: the caller's priority, deadline and share of the batch; by default that of the
                thread (``scheduler.serving``), or else all callers are served as they come.
        """
        ticket = Ticket(on_text is not None, cancel, service or current())
        sequences = [
            s for i, request in enumerate(requests) for s in self._sequences(ticket, i, request)
        ]
        drawn: dict[tuple[int, int], Completion] = {}
        self._engine.submit(sequences)
        try:
            while len(drawn) < len(sequences):
                i, j, item = ticket.items.get()
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Completion):
                    drawn[i, j] = item
                    if on_sample:
                        on_sample(i, j, item)
                elif on_text:
                    on_text(i, j, item)
        finally:
            ticket.abandoned = True  # by an error or Ctrl-C: the engine drops the rest
        return [[drawn[i, j] for j in range(r.n)] for i, r in enumerate(requests)]

    @checked
    def stream(self, request: Request, *, service: Service | None = None) -> Iterator[str]:
        """Yield the text of one sample as it is drawn. Closing the iterator cancels the sample.

        Args:
            request: what to draw, with ``n=1``.
            service: see ``generate``.
        """
        require(request.n == 1, "n", request.n, "1 to stream")
        ticket = Ticket(wants_text=True, service=service or current())
        self._engine.submit(self._sequences(ticket, 0, request))
        try:
            while not isinstance(item := ticket.items.get()[2], Completion):
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            ticket.abandoned = True

    def _sequences(self, ticket: Ticket, position: int, request: Request) -> list[ActiveSequence]:
        prompt = self.tokens(request)
        if len(prompt) >= self.context:
            raise PromptTooLong(
                f"the prompt has {len(prompt)} tokens, the context holds {self.context} with the "
                f"answer: shorten it, or load the model with a larger context "
                f"(up to {self._model.context_length})"
            )
        before = b"".join(map(self._model.piece, prompt[-UTF8_REACH:]))
        choices = tuple(map(self._first_token, request.sampling.choices))
        room = self.context - len(prompt)
        return [
            ActiveSequence(ticket, request, (position, j), prompt, before, choices, room)
            for j in range(request.n)
        ]

    # -- tokens ------------------------------------------------------------------------------------

    def tokens(self, request: Request) -> tuple[int, ...]:
        """Return the token ids of a request: template, messages, and the model's own prefix."""
        ids = prompt_tokens(self._model, self._shown, request.messages)
        for piece in request.prefix:
            ids += self._piece_tokens(piece)
        return tuple(ids)

    def render(self, request: Request) -> str:
        """Return the conversation as text up to the model's open turn.

        A base model has no chat template: it sees the messages' texts, parted by empty lines.
        """
        return self._shown(request.messages)

    def pieces(self, request: Request) -> list[str]:
        """Return the text of each token of a request, as the model reads it: special ones too.

        Where a token is a part of a character, it is shown as "�".
        """
        return [self._model.piece(i).decode(errors="replace") for i in self.tokens(request)]

    def _shown(self, messages: Sequence[Message]) -> str:
        self._model.check()
        if self._template is None:
            return "\n\n".join(message.content for message in messages)
        return self._template(messages)

    def _first_token(self, text: str) -> int:
        tokens = self._model.tokenize(text)
        require(len(tokens) > 0, "choices", text, "a text that this model spells by tokens")
        return tokens[0]

    def _piece_tokens(self, piece: Piece) -> list[int]:
        self._model.check_tokens(piece.tokens)
        start = spelled(map(self._model.piece, piece.tokens))
        return [*piece.tokens, *self._model.tokenize(piece.text[len(start) :])]

    # -- facts -------------------------------------------------------------------------------------

    @property
    def shape(self) -> Shape:
        """What the model multiplies: its samples' FLOPs follow from it."""
        return self._model.shape

    @property
    def quantization(self) -> str:
        """What most weights are quantized to, such as ``Q4_K_M``; "" if the file does not tell."""
        return self._model.quantization

    @property
    def closed(self) -> bool:
        """Whether its memory was freed."""
        return not self._closing.alive

    @property
    def stats(self) -> Stats:
        """What the engine did since the model was loaded."""
        return self._engine.stats

    def close(self) -> None:
        """Free the model's memory; whatever is being drawn fails. May be called again."""
        self._closing()
        if self._template:
            self._template.close()

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        kind = f"{self.quantization}, " if self.quantization else ""
        return (
            f"Llama({self.name!r}, {kind}batch_size={self.batch_size}, context={self.context}, "
            f"threads={self.threads}{', closed' if self.closed else ''})"
        )
