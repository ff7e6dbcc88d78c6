"""What comes with the package: its notebooks, and the samples recorded for them.

In a checkout they lie beside the package, in an installed wheel inside it.
"""

from __future__ import annotations

import hashlib
import json
import lzma
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from itslab import sandbox
from itslab.backends import Bank, load
from itslab.core import Backend, ItslabError, require

MODES = ("replay", "live", "record")
RECORDED = (
    "Recorded is what the notebooks ask with their own parameters (seed=0, difficulty=1.0), and "
    "with fewer problems or samples; for all else draw with mode=live"
)


def root() -> Path:
    """The folder that holds ``notebooks/`` and ``data/``."""
    package = Path(__file__).parent
    installed = package / "_share"
    return installed if installed.is_dir() else package.parent


def shared(name: str) -> Path:
    """Return the path of a file that comes with the package.

    Args:
        name: such as ``notebooks/00_start_here.ipynb`` or ``data/gsm_symbolic.sqlite.xz``.

    Raises:
        ItslabError: there is no such file.
    """
    path = root() / name
    if not path.is_file():
        there = sorted(file.name for file in path.parent.glob(f"*{path.suffix}"))
        raise ItslabError(
            f"there is no {path}: {path.parent} holds {', '.join(there) or 'nothing'}"
        )
    return path


def backend(mode: str, model: str, bank: str) -> Backend:
    """Return what a notebook draws its samples from.

    Args:
        mode: ``replay`` serves the samples in ``data/<bank>.sqlite.xz`` and needs neither the model
            nor llama.cpp; ``live`` draws with the model; ``record`` does too, and keeps each sample
            in ``data/<bank>.sqlite``, so that it can go on after an interruption.
        model: for ``live`` and ``record`` see ``itslab.load``; for ``replay`` its name.
        bank: name of the recorded samples, without folder or ending.

    Raises:
        OptionError: the mode is unknown, or the bank does not hold the model.
        ItslabError: the bank is missing, or the model cannot be loaded.
    """
    require(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
    if mode == "live":
        return _loaded(model)
    if mode == "record":
        return _bank(mode, bank).record(_loaded(model))
    return _bank(mode, bank).replay(model, fix=RECORDED)


def archive(mode: str, name: str) -> Bank | None:
    """Return where the finished runs of a notebook are kept.

    Args:
        mode: ``replay`` reads ``data/<name>.sqlite.xz``. ``record`` keeps each run in
            ``data/<name>.sqlite`` as soon as it is finished. ``live`` keeps none.
        name: of the bank, without folder or ending.

    Raises:
        OptionError: the mode is unknown.
        ItslabError: the bank is missing or cannot be read.
    """
    require(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
    return None if mode == "live" else _bank(mode, name)


def examiner(mode: str, bank: str) -> sandbox.Examine:
    """Return who runs tests of programs for a notebook.

    Args:
        mode: ``live`` runs them in the sandbox. ``record`` does too, and keeps what came of them
            beside the samples. ``replay`` knows it from there, and runs what it does not know.
        bank: name of the recorded samples, without folder or ending.

    Raises:
        OptionError: the mode is unknown.
        ItslabError: the bank is missing.
    """
    require(mode in MODES, "mode", mode, f"one of {', '.join(MODES)}")
    if mode == "live":
        return sandbox.examine
    kept = _bank(mode, bank)

    def examine(
        code: str, function: str, tests: Sequence[str], *, setup: str = "", seconds: float = 3.0
    ) -> sandbox.Outcomes:
        asked = json.dumps([sandbox.RULES, code, function, list(tests), setup])

        def run() -> tuple[str, bool]:
            fresh = sandbox.examine(code, function, tests, setup=setup, seconds=seconds)
            return json.dumps([fresh, round(fresh.seconds, 3)]), fresh.certain

        return sandbox.Outcomes(
            *json.loads(kept.memo(hashlib.sha256(asked.encode()).hexdigest(), run))
        )

    return examine


# A notebook that draws from several banks has one model in memory.
_loaded = lru_cache(load)


def _bank(mode: str, name: str) -> Bank:
    if mode == "record":
        return Bank(_working(f"{name}.sqlite"))
    return Bank(shared(f"data/{name}.sqlite.xz"))


def _working(name: str) -> Path:
    """The unpacked file in ``data/`` that a recording goes on with."""
    path = root() / "data" / name
    packed = path.with_name(f"{name}.xz")
    if packed.exists() and not path.exists():
        path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path
