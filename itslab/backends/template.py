"""From messages to token ids, by a model's own chat template."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from itslab.backends import filling
from itslab.backends.native import Model, Unshared, utf8
from itslab.core import BackendError, Message, ModelError, require

Template = Callable[[Sequence[Message]], str]

SECONDS = 5.0  # for a template to be filled in; a whole conversation takes milliseconds
STARTING = 60.0  # for its process to start, on a busy machine
LARGEST = 2**26  # bytes of a filled template, as JSON
_OURS = ("messages", "add_generation_prompt", "bos_token", "eos_token")
_ASKED = {"functions": None, "function_call": None, "tools": None, "tool_choice": None}


class TemplateRefusal(BackendError):
    """A chat template called ``raise_exception``: it does not accept the conversation."""


class ChatTemplate(Unshared):
    """A model's chat template: messages in, their text as the model reads it out.

    It is filled in a process of its own, within ``SECONDS`` and ``filling.MEMORY``. Today is always
    ``filling.TODAY``.

    Args:
        source: in Jinja.
        bos, eos: the texts of these tokens.
        open_turn: whether the model's own turn follows and is to be continued.
        options: variables for the template, such as ``{"enable_thinking": False}``.

    Raises:
        ModelError: it is no template, or cannot show "Hello" within its limits.
        OptionError: an option is none that this template reads.
    """

    def __init__(
        self, source: str, bos: str, eos: str, open_turn: bool, options: Mapping[str, Any]
    ) -> None:
        self._source = source
        ours = dict(zip(_OURS[1:], (open_turn, bos, eos), strict=True))
        self._variables = {**_ASKED, **options, **ours}
        self._lock = threading.Lock()
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._closing: weakref.finalize | None = None  # type: ignore[type-arg]
        try:
            reads = self._start()
        except BackendError as error:
            raise ModelError(str(error)) from None
        self.dated = "strftime_now" in reads
        valid = [name for name in reads if name not in (*_OURS, "raise_exception", "strftime_now")]
        for name in options:
            known = f"a mapping from {' or '.join(valid)}, which its chat template reads"
            require(name in valid, "template_options", dict(options), known)
        try:
            self([Message("user", "Hello")])
        except BackendError as error:
            if not isinstance(error, TemplateRefusal):
                raise ModelError(str(error)) from None

    def __call__(self, messages: Sequence[Message]) -> str:
        """Return the conversation as text.

        Raises:
            BackendError: the template refuses the conversation, fails, or takes too much of time or
                memory.
        """
        turns = [{"role": message.role, "content": message.content} for message in messages]
        with self._lock:
            if self._process is None and not self._closed:
                self._start()
            answer = self._ask({**self._variables, "messages": turns}, SECONDS)
        if "refused" in answer:
            raise TemplateRefusal(
                f"the model's chat template refuses this conversation: {answer['refused']}"
            )
        if "failed" in answer:
            raise BackendError(f"the model's chat template fails: {answer['failed']}")
        return str(answer["text"])

    def _start(self) -> list[str]:
        """Start the process, and return the names of the variables that the template reads."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", filling.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interrupt of the kernel is not meant for it
        )
        self._closing = weakref.finalize(self, _end, self._process, os.getpid())
        self._ask("", STARTING)
        answer = self._ask(self._source, SECONDS)
        if "failed" in answer:
            self._stop()
            raise ModelError(f"the model's chat template is none: {answer['failed']}")
        return list(answer["reads"])

    def _ask(self, what: object, seconds: float) -> dict[str, Any]:
        process = self._process
        if process is None or self._closed:
            raise BackendError("this model is closed: load it again")
        assert process.stdin is not None
        assert process.stdout is not None
        late = threading.Timer(seconds, process.kill)
        late.daemon = True
        late.start()
        whole = False
        try:
            process.stdin.write(json.dumps(what).encode() + b"\n")
            process.stdin.flush()
            line = process.stdout.readline(LARGEST)
            whole = line.endswith(b"\n")
        except (OSError, ValueError):
            pass  # it has ended, or its pipes were closed
        finally:
            late.cancel()
            if not whole:  # also if we were interrupted: the answer must not be the next one's
                self._stop()
        if self._closed:
            raise BackendError("this model is closed: load it again")
        if not whole:
            raise BackendError(
                f"the model's chat template took more than {seconds:g} seconds, "
                f"{filling.MEMORY >> 20} MiB of memory or {LARGEST >> 20} MiB of text"
            )
        return dict(json.loads(line))

    def _stop(self) -> None:
        if self._closing:
            self._closing()
        self._process = None

    def close(self) -> None:
        """End the process, from any thread; calls that wait for it raise ``BackendError``."""
        self._closed = True
        if self._closing:
            self._closing()


def _end(process: subprocess.Popen[bytes], owner: int) -> None:
    if os.getpid() != owner:  # a fork: it is another's
        return
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe:
            with contextlib.suppress(OSError):
                pipe.close()
    process.wait()


def chat_template(
    model: Model, *, open_turn: bool, options: Mapping[str, Any] | None = None
) -> ChatTemplate | None:
    """Return how a model is shown a conversation; None if it has no template.

    Args, Raises: see ``ChatTemplate``.
    """
    options = options or {}
    if (source := model.chat_template()) is None:
        require(not options, "template_options", options, "empty: this model has no chat template")
        return None
    (_, bos), (_, eos) = model.special("bos"), model.special("eos")
    return ChatTemplate(source, bos, eos, open_turn, options)


def prompt_tokens(model: Model, template: Template, messages: Sequence[Message]) -> list[int]:
    """Return the token ids of a whole prompt, with a ``bos`` token where the model wants one.

    Special tokens come from the template alone. Where a message spells one, it is hidden while the
    template is filled, and what stands between the template's own is tokenised as plain text.

    Raises:
        BackendError: a message holds what is no text, or the template refuses the conversation.
    """
    for message in messages:
        utf8(message.content)
    special = model.control_texts
    if any(special.search(message.content) for message in messages):
        ids = _tokens_apart(model, template, messages, special)
    else:
        ids = model.tokenize(template(messages), special=True)
    bos, _ = model.special("bos")
    if model.adds_bos and bos >= 0 and ids[:1] != [bos]:
        ids.insert(0, bos)
    return ids


def _tokens_apart(
    model: Model, template: Template, messages: Sequence[Message], special: re.Pattern[str]
) -> list[int]:
    mark = "\ue000"  # for private use: no text needs it, but one may hold it
    while any(mark in message.content for message in messages):
        mark += "\ue001"
    hidden: list[str] = []

    def hide(found: re.Match[str]) -> str:
        hidden.append(found[0])
        return f"{mark}{len(hidden) - 1};"

    def show(found: re.Match[str]) -> str:
        known = len(found[1]) < 10 and int(found[1]) < len(hidden)
        return hidden[int(found[1])] if known else found[0]  # else it is the template's own

    turns = [replace(m, content=special.sub(hide, m.content)) for m in messages]
    ids: list[int] = []
    for i, part in enumerate(special.split(template(turns))):
        if i % 2:
            ids.append(model.control[part])
        else:
            text = re.sub(f"{mark}([0-9]+);", show, part)
            ids += model.tokenize(text)
    return ids
