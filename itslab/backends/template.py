"""From messages to token ids, by a model's own chat template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from itslab.backends.native import Model, utf8
from itslab.core import Message

Template = Callable[[Sequence[Message]], str]


def chat_template(model: Model, *, open_turn: bool) -> Template | None:
    """Return how a model is shown a conversation; None if it has no template.

    Args:
        open_turn: whether the model's own turn follows and is to be continued.
    """
    if (source := model.chat_template()) is None:
        return None
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    (_, bos), (_, eos) = model.special("bos"), model.special("eos")
    formatter = Jinja2ChatFormatter(source, eos, bos, add_generation_prompt=open_turn)

    def render(messages: Sequence[Message]) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return str(formatter(messages=turns).prompt)

    return render


def prompt_tokens(model: Model, template: Template, messages: Sequence[Message]) -> list[int]:
    """Return the token ids of a whole prompt, begun as the model wants it to begin.

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

    turns = [replace(m, content=special.sub(hide, m.content)) for m in messages]
    ids: list[int] = []
    for i, part in enumerate(special.split(template(turns))):
        if i % 2:
            ids.append(model.control[part])
        else:
            text = re.sub(f"{mark}(\\d+);", lambda found: hidden[int(found[1])], part)
            ids += model.tokenize(text)
    return ids
