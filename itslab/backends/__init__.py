"""Where samples come from: a local model, a server, or a bank of samples drawn before.

Generation is the scarce thing. A ``Bank`` keeps every sample with its cost, so that any number of
votes, budgets and selectors can be computed from the same draws, later, without the model::

    with its.Bank("samples.sqlite") as bank:
        its.solve("What is 17 * 23?", its.SelfConsistency(n=4), bank.record(llm))
        again = its.solve("What is 17 * 23?", its.SelfConsistency(n=3), bank.replay())

``bank.replay()`` needs neither llama.cpp nor the model file. ``Remote`` draws from any
OpenAI-compatible server (vLLM, SGLang, llama-server) instead.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itslab.options import Text, checked

if TYPE_CHECKING:
    from itslab.backends.bank import Bank
    from itslab.backends.llama import Llama
    from itslab.backends.remote import Remote
    from itslab.backends.reward_model import RewardModel

__all__ = ["Bank", "Llama", "Remote", "RewardModel", "load"]

_HOME = {"Bank": "bank", "Llama": "llama", "Remote": "remote", "RewardModel": "reward_model"}


@checked
def load(model: Text | Path = "qwen2.5-coder-0.5b", **options: Any) -> Llama:
    """Return a local model, pulled first if need be.

    Args:
        model: a name of the catalogue, the path of a GGUF file, or ``hf:owner/repo/file.gguf``.
        options: see ``Llama``.

    Raises:
        BackendError: llama.cpp is not installed.
        ModelError: the model is unknown, cannot be fetched, or its file is damaged.
    """
    from itslab.backends.library import start
    from itslab.backends.llama import Llama
    from itslab.models import resolve

    start()  # before a model is pulled in vain
    file = resolve(model)
    return Llama(file.path, file.name, file.digest, **options)


def __getattr__(name: str) -> Any:
    # A replay needs neither llama.cpp nor the client of a server.
    if name not in _HOME:
        raise AttributeError(f"module 'itslab.backends' has no attribute {name!r}")
    return getattr(import_module(f"itslab.backends.{_HOME[name]}"), name)
