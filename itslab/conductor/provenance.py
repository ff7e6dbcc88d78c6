"""What drew a study's samples: all that it takes to repeat it."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from itslab.backends import Bank
from itslab.conductor.loading import Load, identities
from itslab.conductor.parts import Part
from itslab.core import Backend
from itslab.spec import spec
from itslab.study.plan import Study


def compare_builds(bank: Bank, part: Part, models: Mapping[str, Backend] | None = None) -> None:
    """Say where a store's samples were drawn by several builds of the same model.

    Args:
        bank: the store.
        part: of a study, that is to be drawn here or was drawn by workers.
        models: loaded, by name, whose build draws here.
    """
    for name, model in (models or identities(part.study, bank, None, "replay")).items():
        drawn = {
            source.build: source.samples
            for source in bank.models
            if source.digest == model.digest and source.samples
        }
        here = str(getattr(getattr(model, "model", None), "provenance", "")) if models else ""
        others = {build: samples for build, samples in drawn.items() if build != here}
        if len({*others, *filter(None, [here])}) > 1:
            lines = "; ".join(f"{samples:,} by {build!r}" for build, samples in others.items())
            this = f". This one is {here!r}" if here else ""
            warnings.warn(
                f"{bank.path} holds samples of {name} that several builds drew: {lines}{this}. "
                "Tokens and FLOPs can be compared, seconds cannot",
                stacklevel=4,
            )


def compare_models(bank: Bank, study: Study) -> None:
    """Say where a store holds several models of one name, of which a replay takes the last."""
    for name in study.named:
        digests = dict.fromkeys(source.digest for source in bank.sources if source.name == name)
        if len(digests) > 1:
            warnings.warn(
                f"{bank.path} holds {len(digests)} models that are called {name}, by their digests "
                f"{', '.join(digest[:12] for digest in digests)}: the last is taken. Conduct the "
                "study live with the file that is meant, or into a store of its own",
                stacklevel=4,
            )


def about(study: Study, bank: Bank, load: Load | None, mode: str) -> dict[str, Any]:
    """All that it takes to repeat a study, but for the problems of tasks."""
    named = {name: model.digest for name, model in identities(study, bank, load, mode).items()}
    return {
        "study": study.name,
        "mode": mode,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "tasks": {
            name: {"task": task.name, "problems": len(task), "digest": spec(task).digest}
            for name, task in study.tasks.items()
        },
        "models": named,
        "strategies": {
            name: [spec(strategy).text for strategy in ladder]
            for name, ladder in study.ladders.items()
        },
        "budgets": [repr(budget) for budget in study.budgets],
        "seeds": list(study.seeds),
        "drawn by": [
            {"model": source.name, "digest": source.digest, "build": source.build}
            | {"batch_size": source.batch_size, "samples": source.samples}
            for source in bank.sources
            if source.digest in named.values()
        ],
        "machine": {"system": platform.platform(), **_machine()},
        "versions": {name: version(name) for name in ("itslab", "numpy", "pandas", "math-verify")}
        | {"python": platform.python_version()},
    }


def _machine() -> dict[str, Any]:
    """What may change how fast something is drawn, and how."""
    try:
        import psutil
    except ImportError:  # in a browser, where nothing is drawn
        return {}
    from itslab.doctor import processor

    return {
        "processor": processor(),
        "cores": psutil.cpu_count(logical=False),
        "memory": psutil.virtual_memory().total,
        "load": [round(load, 2) for load in psutil.getloadavg()],
    }
