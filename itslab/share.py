"""What comes with the package: its notebooks, and what was recorded for them.

In a checkout they lie beside the package, in an installed wheel inside it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, wraps
from pathlib import Path
from urllib.parse import quote

from itslab import sandbox
from itslab.backends import Bank, load
from itslab.backends.banked import Banked
from itslab.conductor import conduct
from itslab.core import Backend, Interpreter, ItslabError, Output, Request, require
from itslab.handle import RunHandle
from itslab.study.outcome import Outcome
from itslab.study.plan import Study

SECONDS = 3.0
"""Of a test, by default: outcomes within them are kept without saying so."""
LETTERS = 64
"""Of a guest's name, as a server takes it."""
MODES = ("replay", "live", "record")
RECORDED = (
    "Only what the notebooks ask with their own parameters (seed=0, difficulty=1.0; model and "
    "questions as they came, in the file of that name, line by line), or with fewer generated "
    "problems or samples, was recorded; for all else draw with mode=live"
)


def root() -> Path:
    """Return the folder that holds ``notebooks/`` and ``data/``."""
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


def key(name: str) -> str:
    """Return what is sent as the key of a guest of a server, such as that of a class.

    Args:
        name: the guest's; all without one are the same guest. Signs that are not seen are left
            out, and what is longer than a server takes.
    """
    seen = "".join(sign if sign.isprintable() else " " for sign in name)
    return quote(" ".join(seen.split())[:LETTERS].strip()) or "none"


@dataclass(frozen=True)
class Recording:
    """Where a notebook gets its samples, its runs and the outcomes of its tests.

    Args:
        mode: ``replay`` reads what was recorded in ``data/``, and needs neither a model nor
            llama.cpp; ``live`` draws with a model and keeps nothing; ``record`` draws with a model
            and keeps everything in ``data/``, so that it can go on after an interruption. The
            address of a server, ``http://…/v1``, is as ``live``, with a model of that server.
        name: by which such a server, as that of a class, tells who asks.

    Raises:
        OptionError: the mode is unknown.
    """

    mode: str
    name: str = ""

    def __post_init__(self) -> None:
        known = isinstance(self.mode, str) and (self.mode in MODES or self._there)
        valid = f"one of {', '.join(MODES)}, or the address of a server: http://…/v1"
        require(known, "mode", self.mode, valid)

    @property
    def _there(self) -> bool:
        """Whether a server draws."""
        return self.mode.startswith(("http://", "https://"))

    def _load(self, model: str) -> Backend:
        return _asked(model, self.mode, key(self.name)) if self._there else _loaded(model)

    def backend(self, model: str, bank: str, *, keep: bool = True) -> Backend:
        """Return a model, or the recorded samples of one.

        Args:
            model: what to draw with, as of ``itslab.load``; in replay its name.
            bank: the name of the samples, without folder or ending: ``data/<bank>.sqlite.xz``.
            keep: whether samples are recorded; False where their runs are archived as a whole.

        Raises:
            OptionError: the bank does not hold the model.
            ItslabError: the bank is missing, or the model cannot be loaded.
        """
        if self.mode == "replay":
            return self._bank(bank).replay(model, fix=RECORDED)
        drawn = self._load(model)
        return self._bank(bank).record(drawn) if keep and self.mode == "record" else drawn

    @property
    def live(self) -> bool:
        """Whether a model draws."""
        return self.mode != "replay"

    @property
    def _keeps(self) -> bool:
        """Whether ``data/`` is read or written."""
        return self.mode in ("replay", "record")

    def file(self, name: str) -> Path:
        """Return the path of a file of ``data/`` that is no bank, such as what was measured.

        Raises:
            ItslabError: there is none.
        """
        return shared(f"data/{name}")

    def archive(self, bank: str) -> Bank | None:
        """Return where finished runs are read from or kept; None if they are not kept (live).

        Args:
            bank: its name, without folder or ending: ``data/<bank>.sqlite.xz``.

        Raises:
            ItslabError: the bank is missing or cannot be read.
        """
        return self._bank(bank) if self._keeps else None

    def examiner(self, bank: str) -> sandbox.Examine:
        """Return what runs the tests of programs: the sandbox, or its recorded outcomes.

        In replay the sandbox runs only what was not recorded.

        Args:
            bank: the name of the samples beside which the outcomes are kept.

        Raises:
            ItslabError: the bank is missing.
        """
        return _remembered(self._bank(bank)) if self._keeps else sandbox.examine

    def prompt(self, backend: Backend, request: Request, bank: str = "prompts") -> list[str]:
        """Return what a model reads of a request, token by token: chat template and all.

        Samples are kept without their prompts, so those that are to be read have a bank of their
        own.

        Args:
            backend: as ``backend`` returns it.
            request: its messages, and what the model's turn already holds.
            bank: the name of the bank of prompts.

        Raises:
            ItslabError: there is no model, and this prompt was not recorded.
        """
        pieces = getattr(backend.model if isinstance(backend, Banked) else backend, "pieces", None)

        def make() -> str:
            if pieces is None:
                raise ItslabError(f"data/{bank}.sqlite.xz lacks this prompt: {RECORDED}")
            return json.dumps(pieces(request))

        if not self._keeps:
            return list(json.loads(make()))
        messages = [[message.role, message.content] for message in request.messages]
        asked = json.dumps(["prompt", backend.digest, messages, request.prefix_text])
        key = hashlib.sha256(asked.encode()).hexdigest()
        return list(json.loads(self._bank(bank).memo(key, make)))

    def interpreter(self, bank: str) -> Interpreter:
        """Return what runs programs: the sandbox, or what they printed when they were recorded.

        In replay the sandbox runs only what was not recorded.

        Args:
            bank: the name of the samples beside which the outputs are kept.

        Raises:
            ItslabError: the bank is missing.
        """
        return _printed(self._bank(bank)) if self._keeps else sandbox.execute

    def conduct(self, study: Study, bank: str, samples: Sequence[str] = ()) -> Outcome:
        """Return what came of a study: as it was recorded, or drawn now.

        Args:
            study: what is tried on what.
            bank: the name of its store, without folder or ending.
            samples: names of banks whose samples and runs are taken, where it is recorded or drawn.

        Raises:
            ItslabError: a bank is missing, or lacks runs that are to be replayed.
        """
        if self.mode == "replay":
            outcome = conduct(study, _recorded(bank), mode="replay")
            if outcome.lacking:
                raise ItslabError(
                    f"data/{bank}.sqlite.xz lacks {outcome.lacking:,} of the {study.runs:,} runs "
                    f"of the study {study.name!r}{_first_lacking(study, outcome)}: {RECORDED}"
                )
            return outcome
        others = [Bank(_recorded(name)) for name in samples]
        with tempfile.TemporaryDirectory() as folder:
            kept = self.mode == "record"
            store = _working(f"{bank}.sqlite") if kept else Path(folder, "study.sqlite")
            return conduct(study, store, others=others, load=self._load if self._there else None)

    def record_panel(
        self, begin: Callable[..., RunHandle], settings: Iterable[Sequence[object]]
    ) -> None:
        """Draw the runs that a panel can begin, all at once, if the mode is ``record``.

        Args:
            begin: begins a run with the values of the panel's sliders.
            settings: the values of the sliders, for each run.
        """
        if self.mode == "record":
            for handle in [begin(*values) for values in settings]:
                handle.result()

    def _bank(self, name: str) -> Bank:
        if self.mode == "record":
            return Bank(_working(f"{name}.sqlite"))
        return Bank(_recorded(name))


def _remembered(bank: Bank) -> sandbox.Examine:
    """The sandbox, with what came of each program's tests kept in a bank."""

    def examine(
        code: str, function: str, tests: Sequence[str], *, setup: str = "", seconds: float = SECONDS
    ) -> sandbox.Outcomes:
        allowed = [] if seconds == SECONDS else [seconds]
        asked = json.dumps([sandbox.RULES, code, function, list(tests), setup, *allowed])

        def run() -> tuple[str, bool]:
            fresh = sandbox.examine(code, function, tests, setup=setup, seconds=seconds)
            return json.dumps([fresh, round(fresh.seconds, 3)]), fresh.certain

        return sandbox.Outcomes(
            *json.loads(bank.memo(hashlib.sha256(asked.encode()).hexdigest(), run))
        )

    return examine


def _printed(bank: Bank) -> Interpreter:
    """The sandbox, with what each program printed kept in a bank."""

    @wraps(sandbox.execute)
    def execute(code: str) -> Output:
        def run() -> tuple[str, bool]:
            fresh = sandbox.execute(code)
            return json.dumps([fresh.text, fresh.error, round(fresh.seconds, 3)]), fresh.certain

        asked = json.dumps([sandbox.RULES, "execute", 2, code])
        return Output(*json.loads(bank.memo(hashlib.sha256(asked.encode()).hexdigest(), run)))

    return execute


def _recorded(name: str) -> Path:
    """The file of a bank: packed, or unpacked in a site for browsers, whose Python may lack xz."""
    plain = root() / "data" / f"{name}.sqlite"
    packed = plain.with_name(f"{plain.name}.xz")
    return plain if plain.is_file() and not packed.exists() else shared(f"data/{packed.name}")


def _first_lacking(study: Study, outcome: Outcome) -> str:
    """Which problem has the fewest runs, where others have more: it may be one's own."""
    runs = outcome.runs.problem.value_counts()
    counts = {
        problem.id: int(runs.get(problem.id, 0)) for t in study.tasks.values() for problem in t
    }
    first = min(counts, key=lambda name: counts[name])
    return f", first of all those of {first}" if counts[first] < max(counts.values()) else ""


# A notebook that draws from several banks has one model in memory.
_loaded = lru_cache(load)


@lru_cache
def _asked(model: str, address: str, key: str) -> Backend:
    from itslab.backends import Remote  # replay does without its packages

    return Remote(model, address, key)


def _working(name: str) -> Path:
    """Return the unpacked file in ``data/`` that a recording is continued in."""
    path = root() / "data" / name
    packed = path.with_name(f"{name}.xz")
    if packed.exists() and not path.exists():
        import lzma

        path.write_bytes(lzma.decompress(packed.read_bytes()))
    return path
