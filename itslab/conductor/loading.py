"""The models of a study, by the names that they have in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from functools import lru_cache

from itslab import models
from itslab.backends import Bank
from itslab.core import Backend, require
from itslab.study.plan import Named, Study

Load = Callable[[str], Backend]


def load_named(name: str) -> Backend:
    """Load a model by the name that it has in a study.

    Args:
        name: as of ``itslab.load``, perhaps with ``@`` and a type of ``models.TYPES``; or the
            address of a server and its model, ``https://…/v1#model``.
    """
    if name.startswith(("http://", "https://")):
        from itslab.backends import Remote

        address, _, model = name.partition("#")
        require(bool(model), "model", name, "written as https://…/v1#model")
        key = os.environ.get("OPENAI_API_KEY", "none")
        return Remote(model, address, key)
    from itslab.backends import Llama, library

    library.start()  # before a model is pulled in vain
    file = model_file(name)
    return Llama(file.path, name, file.digest)


def model_file(name: str) -> models.ModelFile:
    """Return the file of a model by the name that it has in a study, quantized if it says so."""
    base, _, type = name.rpartition("@")
    if base and type in models.TYPES:
        return models.resolve(models.quantize(base, type))
    return models.resolve(name)


_LOADING = threading.Lock()


@lru_cache(3)
def _kept(load: Load, name: str) -> Backend:
    model = load(name)
    fits = all(hasattr(model, part) for part in ("digest", "generate", "batch_size"))
    require(fits, "load", model, f"a function that returns a Backend for {name!r}")
    return model


def loaded(name: str, load: Load = load_named) -> Backend:
    """Load a model, or return it as it is loaded already.

    A worker is sent many chunks, and loads a model once, also if several of its threads ask for it;
    of many models few are in memory.
    """
    with _LOADING:
        return _kept(load, name)


def find_files(study: Study) -> None:
    """Look for the files of a study's models.

    Raises:
        ItslabError: one is unknown or not on disk.
    """
    for name in study.named:
        if "://" not in name:
            model_file(name)


def identities(study: Study, bank: Bank, load: Load | None, mode: str) -> dict[str, Backend]:
    """The models of a study, without loading those that need not be."""
    if mode == "replay":
        digests = {source.name: source.digest for source in bank.sources}
        return {name: Named(name, digests.get(name, "")) for name in study.named}
    if load is not None:
        return {name: loaded(name, load) for name in study.named}
    return {
        name: loaded(name) if "://" in name else Named(name, model_file(name).digest)
        for name in study.named
    }


def recorded(
    names: Iterable[str], bank: Bank, load: Load | None, *others: Bank
) -> dict[str, Backend]:
    """Load models, with all that they draw kept in a bank, and what others hold taken."""
    return {name: bank.record(loaded(name, load or load_named), *others) for name in names}
