"""The bank: samples, what was computed from them, and finished runs, kept in one SQLite file.

Recording, the bank stands before a backend, serves what it holds and buys only what it lacks.
Replaying, it needs neither the model nor llama.cpp. Samples are found by a digest of the model, the
exact request (``max_tokens``, signals and cutoff apart) and their index; the prompt itself is never
stored, so that a bank can be published without publishing other people's problems. FLOPs are not
stored either: they follow from a sample's tokens and the shape of the model, which is kept with it.

Banks only grow. Any number of threads and processes may write to one at once: SQLite in WAL mode
(https://sqlite.org/wal.html, not on network file systems), one short transaction per sample. Of two
samples drawn for the same place the one stored first is the one that everybody gets.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import math
import os
import shutil
import sqlite3
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import astuple, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, get_args

from itslab.backends.banked import FIX, Banked
from itslab.backends.places import Flights, request_digest
from itslab.core import (
    Backend,
    BackendError,
    Completion,
    Cost,
    Cutoff,
    Finish,
    Request,
    Sampling,
    Shape,
    Signals,
    require,
)
from itslab.models import home
from itslab.options import Text, checked

SCHEMA = 4
MAGIC = b"SQLite format 3\0"
TABLES = f"""
PRAGMA journal_mode = WAL;
CREATE TABLE bank (schema INTEGER NOT NULL);
INSERT INTO bank VALUES ({SCHEMA});
CREATE TABLE sources (
  id INTEGER PRIMARY KEY,
  digest TEXT NOT NULL, name TEXT NOT NULL, width INTEGER NOT NULL, build TEXT NOT NULL,
  shape TEXT NOT NULL,  -- as JSON; null if it is not known
  UNIQUE (digest, name, width, build)
);
CREATE TABLE samples (
  id INTEGER PRIMARY KEY,
  request BLOB NOT NULL, sample INTEGER NOT NULL, max_tokens INTEGER NOT NULL,
  signals INTEGER NOT NULL,  -- whether they were measured
  text TEXT NOT NULL,
  tokens BLOB NOT NULL, logprobs BLOB NOT NULL, offsets BLOB NOT NULL,
  entropies BLOB NOT NULL, certainties BLOB NOT NULL, confidences BLOB NOT NULL,
  state BLOB NOT NULL, choices BLOB NOT NULL,
  finish TEXT NOT NULL,
  prefilled INTEGER NOT NULL, reused INTEGER NOT NULL, decoded INTEGER NOT NULL,
  calls INTEGER NOT NULL, seconds REAL NOT NULL,
  source INTEGER NOT NULL REFERENCES sources (id), created REAL NOT NULL,
  UNIQUE (request, sample, max_tokens, signals)
);
CREATE TABLE memos (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
# Banks of samples alone, as they are packed, have none.
RUNS = """
CREATE TABLE IF NOT EXISTS runs (
  key TEXT PRIMARY KEY,
  strategy TEXT NOT NULL, problem TEXT NOT NULL,  -- for people
  value TEXT NOT NULL, created REAL NOT NULL
) WITHOUT ROWID;
"""
STORE = f"INSERT OR IGNORE INTO samples VALUES (NULL{', ?' * 21})"
_COLUMNS = """request, sample, max_tokens, signals, text, tokens, logprobs, offsets, entropies,
certainties, confidences, state, choices, finish, prefilled, reused, decoded, calls, seconds"""
MERGE = f"""
INSERT OR IGNORE INTO sources (digest, name, width, build, shape)
  SELECT digest, name, width, build, shape FROM other.sources ORDER BY id;
INSERT OR IGNORE INTO samples ({_COLUMNS}, source, created)
  SELECT {_COLUMNS}, ours.id, created FROM other.samples
  JOIN other.sources AS theirs ON theirs.id = source
  JOIN main.sources AS ours
    ON (ours.digest, ours.name, ours.width, ours.build)
    = (theirs.digest, theirs.name, theirs.width, theirs.build)
  ORDER BY other.samples.id;
INSERT OR IGNORE INTO memos SELECT * FROM other.memos;
"""
MERGE_RUNS = "INSERT OR IGNORE INTO runs SELECT * FROM other.runs;"
# The oldest row wins, so that a row added later never changes what an earlier lookup returned.
LOOKUP = """
SELECT max_tokens, text, finish, tokens, logprobs, offsets, choices,
  entropies, certainties, confidences, state,
  prefilled, reused, decoded, calls, seconds, shape
FROM samples JOIN sources ON sources.id = source
WHERE request = :request AND sample = :sample AND signals >= :signals AND (
  max_tokens = :wanted
  OR (max_tokens > :wanted OR finish IN ('end', 'stop') OR :cutoff)
  AND (decoded <= :wanted OR length(offsets) > 0)  -- else it cannot be shortened
) ORDER BY samples.id
"""


@dataclass(frozen=True, slots=True)
class Source:
    """A model whose samples a bank holds.

    Args:
        digest: of its weights.
        name: its label.
        batch_size: how many samples it ran at once.
        build: what drew the samples: program version, device, threads.
        samples: how many of them the bank holds.
        shape: what the model multiplies; None if that is unknown.
    """

    digest: str
    name: str
    batch_size: int
    build: str
    samples: int
    shape: Shape | None = field(repr=False)


class Bank:
    """A file of samples.

    Args:
        path: an SQLite file, made if it is not there; or one written by :meth:`pack` (``….xz``),
            which is unpacked once into the cache folder and can only be replayed. So can a file
            that cannot be written, or whose folder cannot.

    Raises:
        BackendError: the file is missing, damaged, no bank, or of another version of the package.
    """

    @checked
    def __init__(self, path: Text | Path) -> None:
        self.path = Path(path)
        self.packed = self.path.suffix == ".xz"
        self.flights = Flights()
        self._lock = threading.Lock()
        with self._using():
            if not self.packed and not self.path.exists():
                _create(self.path)
            file = _unpacked(self.path) if self.packed else self.path
            self.fixed = self.packed or not _writable(file)
            self._db = _opened(file, self.packed, self.fixed)
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'bank'").fetchone():
                raise BackendError(f"{path} is an SQLite file but no sample bank: name another")
            (schema,) = self._db.execute("SELECT schema FROM bank").fetchone() or (None,)
            if schema == SCHEMA - 1 and not self.fixed:
                schema = _upgraded(self._db)
        if schema != SCHEMA:
            raise BackendError(
                f"the sample bank {path} has schema {schema}, this itslab reads {SCHEMA}: "
                "install the version that wrote it, or record into a new file"
            )

    def __enter__(self) -> Bank:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        use = ", to be replayed" if self.fixed else ""
        return f"Bank({str(self.path)!r}{use})"

    def close(self) -> None:
        """Close the file. A bank that is never closed loses nothing."""
        self._db.close()

    @property
    def samples(self) -> int:
        """How many samples the bank holds."""
        return sum(source.samples for source in self.models)

    @property
    def models(self) -> list[Source]:
        """The models whose samples the bank holds, one entry for each build, oldest first."""
        return [source for source in self.sources if source.samples]

    @property
    def sources(self) -> list[Source]:
        """The models that were recorded into it, though perhaps no sample was lacking."""
        rows = self._query(
            "SELECT digest, name, width, build, count(samples.id), shape FROM sources "
            "LEFT JOIN samples ON samples.source = sources.id "
            "GROUP BY sources.id ORDER BY sources.id"
        )
        try:
            return [
                Source(digest, name, batch_size, build, samples, _shape(shape))
                for digest, name, batch_size, build, samples, shape in rows
            ]
        except (TypeError, ValueError) as error:
            raise BackendError(
                f"the sample bank {self.path} is damaged: a shape cannot be read ({error})"
            ) from error

    def record(self, model: Backend, *others: Bank) -> Banked:
        """Stand before a model: serve what the bank holds, buy what it lacks and keep it.

        Args:
            model: where lacking samples are bought.
            others: further banks whose samples are served, and kept there alone.
        """
        if self.packed:
            raise BackendError(
                f"{self.path} is packed and can only be replayed: "
                "unpack it (xz --decompress --keep) and record into the unpacked file"
            )
        if self.fixed:
            raise BackendError(
                f"{self.path} cannot be written and can only be replayed: "
                "make it and its folder writable, or record into a copy"
            )
        require(bool(model.digest), "digest", model.digest, "a name for the weights (itslab.load)")
        build, shape = str(getattr(model, "provenance", "")), getattr(model, "shape", None)
        source = (model.digest, model.name, model.batch_size, build)
        self._query("INSERT OR IGNORE INTO sources VALUES (NULL, ?, ?, ?, ?, 'null')", source)
        if shape:  # of all that the same weights have drawn
            stored = json.dumps(astuple(shape))
            self._query("UPDATE sources SET shape = ? WHERE digest = ?", (stored, model.digest))
        [(row,)] = self._query(
            "SELECT id FROM sources WHERE (digest, name, width, build) = (?, ?, ?, ?)", source
        )
        return Banked(self, model.name, model.digest, model.batch_size, model, row, others=others)

    def replay(self, model: str | None = None, *, fix: str = FIX) -> Banked:
        """Serve the bank's samples and nothing else.

        Args:
            model: name or digest of the model to replay; None if the bank holds only one.
            fix: what is said where a sample is lacking: how to come by it.
        """
        known = {source.digest: source for source in self.models}
        if not known:
            raise BackendError(f"the sample bank {self.path} is empty: record into it first")
        found = [source for source in known.values() if model in (None, source.name, source.digest)]
        valid = ", ".join(f"{source.name!r} ({source.digest})" for source in known.values())
        require(
            len(found) == 1,
            "model",
            model,
            f"name or digest of one in the bank, {valid}; draw others live",
        )
        return Banked(self, found[0].name, found[0].digest, found[0].batch_size, fix=fix)

    def pack(self, path: str | Path) -> Path:
        """Write everything into one compressed file (``….xz``); packed again, the same bytes."""
        import lzma  # Python in a browser may lack it

        target = Path(path)
        require(target.suffix == ".xz", "path", str(path), "a file name that ends in .xz")
        with self._using(), tempfile.TemporaryDirectory(dir=target.parent) as folder:
            plain, packed = Path(folder, "bank.sqlite"), Path(folder, "bank.xz")
            self._db.execute("VACUUM INTO ?", (str(plain),))
            packed.write_bytes(lzma.compress(plain.read_bytes(), preset=9))
            os.replace(packed, target)
        return target

    def memo(self, key: str, make: Callable[[], str | tuple[str, bool]]) -> str:
        """Return what is kept under a key; what is lacking is made, and kept where it can be.

        For what is computed from samples, always comes out the same, and takes long or takes tools
        that a reader may not have: what came of tests of a program.

        Args:
            key: names it.
            make: makes it, and may add whether it always comes out the same, so that it can be
                kept. Where it raises, nothing is.
        """
        known = self.find_memo(key)
        if known is not None:
            return known
        made = make()
        value, certain = (made, True) if isinstance(made, str) else made
        if certain and not self.fixed:
            self._query("INSERT OR IGNORE INTO memos VALUES (?, ?)", (key, value))
        return value

    def merge(self, other: Path) -> None:
        """Add all that another bank holds and this one lacks: samples, memos, finished runs.

        Args:
            other: its file, which is not packed.

        Raises:
            BackendError: the file cannot be read, is no bank, or is of another version.
        """
        require(other.suffix != ".xz", "other", str(other), "a bank that is not packed")
        with Bank(other) as theirs:
            script = f"{RUNS}{MERGE}{MERGE_RUNS}" if theirs._has_runs() else MERGE
        with self._using():
            self._db.execute("ATTACH ? AS other", (str(other),))
            try:
                self._db.executescript(f"BEGIN IMMEDIATE; {script} COMMIT;")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                self._db.execute("DETACH other")

    def find_memo(self, key: str) -> str | None:
        """Return what is kept under a key; None if nothing is."""
        rows = self._query("SELECT value FROM memos WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    @property
    def runs(self) -> int:
        """How many finished runs the bank holds."""
        return int(self._query("SELECT count(*) FROM runs")[0][0]) if self._has_runs() else 0

    @property
    def runs_by_task(self) -> dict[str, int]:
        """How many finished runs it holds of each task, by the start of the problems' ids."""
        if not self._has_runs():
            return {}
        return dict(
            self._query(
                "SELECT substr(problem, 1, instr(problem || '/', '/') - 1) AS task, count(*) "
                "FROM runs GROUP BY task ORDER BY min(created)"
            )
        )

    def find_run(self, key: str) -> str | None:
        """Return the finished run that is kept under a key, as text; None if there is none."""
        if not self._has_runs():
            return None
        rows = self._query("SELECT value FROM runs WHERE key = ?", (key,))
        return str(rows[0][0]) if rows else None

    def runs_of(self, problem: str) -> list[tuple[str, str]]:
        """Return the key and the strategy's name of each finished run on a problem, by its id."""
        if not self._has_runs():
            return []
        asked = "SELECT key, strategy FROM runs WHERE problem = ? ORDER BY strategy, key"
        return [(str(key), str(name)) for key, name in self._query(asked, (problem,))]

    def keep_run(self, key: str, strategy: str, problem: str, text: str) -> None:
        """Keep a finished run; in a packed bank nothing can be kept.

        Args:
            key: names it; of two the one kept first stays.
            strategy, problem: what it was called, for people.
            text: the run.

        Raises:
            BackendError: the file cannot be written.
        """
        if self.packed:
            return
        if self.fixed:
            raise BackendError(
                f"no run can be kept in {self.path}, which cannot be written: make it and its "
                "folder writable, or record into a copy"
            )
        self._query(RUNS)
        row = (key, strategy, problem, text, time.time())
        self._query("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?)", row)

    def _has_runs(self) -> bool:
        return bool(self._query("SELECT 1 FROM sqlite_master WHERE name = 'runs'"))

    def find(self, model: str, request: Request) -> list[Completion | None]:
        """Look up the samples of a request to a model (its digest); None where one is lacking."""
        place = request_digest(model, request)
        indices = range(request.first, request.first + request.n)
        return [self._find(place, i, request.sampling, request.cutoff) for i in indices]

    def stored(self, model: str, request: Request) -> dict[int, int]:
        """Which samples of a request there are, and the most ``max_tokens`` each was drawn with."""
        rows = self._query(
            "SELECT sample, max(max_tokens) FROM samples WHERE request = ? GROUP BY sample",
            (request_digest(model, request),),
        )
        return dict(rows)

    def keep(self, source: int, model: str, request: Request, sample: Completion) -> Completion:
        """Store a finished sample and return it as every later lookup will."""
        try:
            self._store(source, model, request, sample)
        except (UnicodeEncodeError, struct.error, OverflowError, TypeError, ValueError) as error:
            raise BackendError(
                f"sample {sample.index} of {model} cannot be kept in {self.path}: {error}"
            ) from error
        place = request_digest(model, request)
        kept = self._find(place, sample.index, request.sampling, request.cutoff)
        assert kept is not None  # a row always serves the request it was drawn for
        return kept

    def _store(self, source: int, model: str, request: Request, sample: Completion) -> None:
        place, sampling = request_digest(model, request), request.sampling
        arrays = (
            _blob(sample.tokens, "i"),
            _blob(sample.logprobs, "f"),
            _blob(sample.offsets, "i"),
            _blob(sample.signals.entropies, "e"),
            _blob(sample.signals.certainties, "e"),
            _blob(sample.signals.confidences, "e"),
            _blob(sample.signals.state, "e"),
            _blob(sample.choices, "f"),
        )
        *counts, seconds, _ = astuple(sample.cost)
        require(0 <= seconds < math.inf, "seconds", seconds, "a number ≥ 0")
        paid = [*map(int, counts), float(seconds)]
        sample.text.encode()  # half a surrogate pair cannot be stored
        most, finish = sampling.max_tokens, sample.finish
        if finish == "cut":  # it is the beginning of a sample, as drawn with so many tokens
            most, finish = sample.cost.decoded, "length"
        row = (place, sample.index, most, sampling.signals, sample.text, *arrays)
        self._query(STORE, (*row, finish, *paid, source, time.time()))

    def _find(
        self, place: bytes, index: int, sampling: Sampling, cutoff: Cutoff | None
    ) -> Completion | None:
        wanted = sampling.max_tokens
        values = {
            "request": place,
            "sample": index,
            "wanted": wanted,
            "signals": sampling.signals,
            "cutoff": cutoff is not None,
        }
        for most, *row in self._query(LOOKUP, values):
            sample = self._sample(row, index).truncate(wanted)
            if sample.finish == "length" and most < wanted:
                if cutoff is None or cutoff.place(sample.signals.confidences) is None:
                    continue
                sample = replace(sample, finish="cut")
            return sample.cut(cutoff)
        return None

    def _sample(self, row: Sequence[Any], index: int) -> Completion:
        text, finish, tokens, logprobs, offsets, choices, *rest = row
        *paid, stored = rest[4:]
        try:
            require(finish in get_args(Finish), "finish", finish, "an ending")
            require(isinstance(text, str), "text", text, "text")
            shape, cost = _shape(stored), Cost(*paid)
            return Completion(
                text=text,
                tokens=_numbers(tokens, "i"),
                logprobs=_numbers(logprobs, "f"),
                offsets=_numbers(offsets, "i"),
                finish=finish,
                cost=shape.price(cost) if shape else cost,
                index=index,
                signals=Signals(*(_numbers(blob, "e") for blob in rest[:4])),
                choices=_numbers(choices, "f"),
                shape=shape,
            )
        except (struct.error, TypeError, ValueError, IndexError) as error:
            raise BackendError(
                f"the sample bank {self.path} is damaged: sample {index} cannot be read ({error})"
            ) from error

    def _query(self, sql: str, values: Any = ()) -> list[Any]:
        with self._using():
            return self._db.execute(sql, values).fetchall()

    @contextmanager
    def _using(self) -> Iterator[None]:
        # One connection for all threads: notebook callbacks run on any of them.
        with self._lock:
            try:
                yield
            except (sqlite3.Error, EOFError, OSError) as error:
                raise BackendError(
                    f"the sample bank {self.path} cannot be used: {error}"
                ) from error


def _blob(values: Sequence[float], code: str) -> bytes:
    return struct.pack(f"<{len(values)}{code}", *values)


def _numbers(blob: bytes, code: str) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(blob) // struct.calcsize(code)}{code}", blob)


def _shape(stored: str) -> Shape | None:
    """A model's shape as it is stored."""
    known = json.loads(stored)
    return Shape(*known) if known else None


def _create(path: Path) -> None:
    """Make an empty bank appear all at once: several processes may open it at the same moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        fresh = Path(folder, "bank.sqlite")
        with closing(sqlite3.connect(fresh)) as db:
            db.executescript(TABLES)
        with suppress(FileExistsError):
            os.link(fresh, path)


def _writable(file: Path) -> bool:
    """Whether SQLite can write to a file, and its journal beside it."""
    return os.access(file, os.W_OK) and os.access(file.absolute().parent, os.W_OK)


def _opened(file: Path, packed: bool, fixed: bool) -> sqlite3.Connection:
    if not fixed:
        db = _connect(file, "mode=rw")
        # A killed process loses nothing this way; only a power cut may cost the last rows.
        db.execute("PRAGMA synchronous = NORMAL")
        return db
    if not packed:
        # Others may be writing. Without a journal nobody is; and then none can be made here, which
        # SQLite would want to read one in use (https://sqlite.org/wal.html#read_only_databases).
        with suppress(sqlite3.OperationalError):
            db = _connect(file, "mode=ro")
            db.execute("SELECT 1 FROM sqlite_master").fetchone()
            return db
        journal = file.with_name(f"{file.name}-wal")
        if journal.exists() and journal.stat().st_size:
            raise BackendError(
                f"the last samples of {file} are still in {journal.name}, which cannot be read in "
                "a folder that cannot be written: copy both into one that can"
            )
    return _connect(file, "immutable=1")


def _connect(file: Path, how: str) -> sqlite3.Connection:
    uri = f"{file.absolute().as_uri()}?{how}"
    return sqlite3.connect(uri, uri=True, timeout=60, isolation_level=None, check_same_thread=False)


def _upgraded(db: sqlite3.Connection) -> int:
    """Bring a bank that stored FLOPs up to date: the next recording tells the model's shape."""
    db.execute("BEGIN IMMEDIATE")
    (schema,) = db.execute("SELECT schema FROM bank").fetchone()
    if schema == SCHEMA - 1:  # else another process was first
        db.execute("ALTER TABLE sources ADD COLUMN shape TEXT NOT NULL DEFAULT 'null'")
        db.execute("ALTER TABLE samples DROP COLUMN flops")
        db.execute("UPDATE bank SET schema = ?", (SCHEMA,))
    db.execute("COMMIT")
    return SCHEMA


@cache
def _scratch() -> Path:
    """A folder for this process, where there is no cache folder."""
    folder = tempfile.mkdtemp(prefix="itslab-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _unpacked(path: Path) -> Path:
    name = f"{hashlib.sha256(path.read_bytes()).hexdigest()}.sqlite"
    target = home() / "banks" / name
    if not target.exists():
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(target.parent, os.W_OK):
            target = _scratch() / name
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            plain = Path(folder, "bank.sqlite")
            _unpack(path, plain)
            with closing(_connect(plain, "immutable=1")) as db:
                db.execute("SELECT schema FROM bank").fetchone()
            os.replace(plain, target)
    return target


def _unpack(path: Path, plain: Path) -> None:
    import lzma  # Python in a browser may lack it

    try:
        with lzma.open(path) as source, plain.open("wb") as unpacked:
            head = source.read(len(MAGIC))
            if head != MAGIC:  # nothing large is unpacked in vain
                raise sqlite3.DatabaseError("it holds no sample bank")
            unpacked.write(head)
            shutil.copyfileobj(source, unpacked, 2**20)
    except lzma.LZMAError as error:
        raise sqlite3.DatabaseError(str(error)) from error
