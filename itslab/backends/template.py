"""From messages to token ids, by a model's own chat template."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from itslab.backends.native import Model
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


def prompt_tokens(model: Model, text: str) -> list[int]:
    """Return the token ids of a whole prompt, begun as the model wants it to begin."""
    bos, bos_text = model.special("bos")
    ids = model.tokenize(text)
    if model.adds_bos and not (bos_text and text.startswith(bos_text)):
        ids.insert(0, bos)
    return ids
