"""What drew a study's samples: all that it takes to repeat it."""

from __future__ import annotations

import platform
import warnings
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from itslab.backends import Bank
from itslab.conductor.loading import Load, identities
from itslab.core import Backend
from itslab.spec import spec
from itslab.study.plan import Study


def compare_builds(bank: Bank, model: Backend) -> None:
    """Say where a store's samples were drawn by another build of the same model."""
    ours = str(getattr(getattr(model, "model", None), "provenance", ""))
    theirs = [source for source in bank.models if source.digest == model.digest]
    others = [source for source in theirs if source.build != ours and source.samples]
    if others:
        lines = "; ".join(f"{source.samples:,} by {source.build!r}" for source in others)
        warnings.warn(
            f"{bank.path} holds samples of {model.name} that another build drew: {lines}. This one "
            f"is {ours!r}. Tokens and FLOPs can be compared, seconds cannot",
            stacklevel=4,
        )


def about(study: Study, bank: Bank, load: Load | None, mode: str) -> dict[str, Any]:
    """All that it takes to repeat a study, but for the problems of tasks."""
    import psutil

    named = {name: model.digest for name, model in identities(study, bank, load, mode).items()}
    return {
        "study": study.name,
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
        **clusters(study),
        "budgets": [repr(budget) for budget in study.budgets],
        "seeds": list(study.seeds),
        "drawn by": [
            {"model": source.name, "digest": source.digest, "build": source.build}
            | {"batch_size": source.batch_size, "samples": source.samples}
            for source in bank.models
            if source.digest in named.values()
        ],
        "machine": {
            "system": platform.platform(),
            "processor": _processor(),
            "cores": psutil.cpu_count(logical=False),
            "memory": psutil.virtual_memory().total,
            "load": [round(load, 2) for load in psutil.getloadavg()],
        },
        "versions": {name: version(name) for name in ("itslab", "numpy", "pandas", "math-verify")}
        | {"python": platform.python_version()},
    }


def clusters(study: Study) -> dict[str, Any]:
    """How many problems there are of each cluster of each task."""
    return {
        "clusters": {
            name: dict(Counter(map(str, task.clusters))) for name, task in study.tasks.items()
        }
    }


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
