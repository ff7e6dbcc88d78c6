"""Draw the sample of the data that can be drawn again: ``python tests/reproduce.py``.

In deterministic mode the same build on a processor of the same features gives the same samples.
"""

from __future__ import annotations

from pathlib import Path

import itslab as its
from itslab import models, tasks
from itslab.core import Backend
from itslab.study.runner import solve_all

MODEL = "smollm2-135m"
STORE = Path(__file__).parent.parent / "data" / "reproducible.sqlite.xz"


def deterministic() -> its.Llama:
    """The model, as the sample was drawn."""
    file = models.resolve(MODEL)
    options = {"batch_size": 8, "context": 512, "threads": 1, "deterministic": True}
    return its.Llama(file.path, MODEL, file.digest, **options)


def texts(backend: Backend) -> list[str]:
    """What it says, four times to each of six word problems."""
    words = tasks.load("gsm_symbolic", n=6, seed=0, difficulty=1.0)
    vote = its.SelfConsistency(4, sampling=its.Sampling(max_tokens=96))
    results = solve_all(words, {"vote": vote}, backend, progress=False)["vote"]
    return [node.text for result in results for node in result.tree if node.completion]


if __name__ == "__main__":
    plain = STORE.with_suffix("")
    with its.Bank(plain) as bank:
        texts(bank.record(deterministic()))
        print(bank.pack(STORE), *bank.models)
    plain.unlink()
