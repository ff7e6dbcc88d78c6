"""Banks are real files; the processes that write them, and are killed, are real ones."""

from __future__ import annotations

import json
import lzma
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab.backends.bank import Bank, request_digest
from itslab.core import (
    BackendError,
    Completion,
    Cost,
    Message,
    MissingSample,
    OptionError,
    Piece,
    Request,
    Sampling,
    Shape,
    Signals,
)
from itslab.testing import ScriptedModel

ASK = Request((Message("user", "2 + 2?"),), seed=3)
SHAPE = Shape(matrices=1000, head=100, attention=10)


class Parrot:
    """A backend whose samples depend on the request alone, and that counts what it draws."""

    name, digest, batch_size, provenance, shape = "parrot", "ab" * 32, 4, "parrot 1.0", SHAPE

    def __init__(self, length: int = 6, finish: str = "end") -> None:
        self.length, self.finish = length, finish
        self.drawn: list[tuple[int, int]] = []
        self.calls = 0

    def generate(self, requests, on_text=None, on_sample=None, cancel=None):
        self.calls += 1
        rows = [
            [self.draw(request, request.first + j, cancel) for j in range(request.n)]
            for request in requests
        ]
        for i, row in enumerate(rows):
            for j, sample in enumerate(row):
                if on_text:
                    on_text(i, j, sample.text[:1])
                    on_text(i, j, sample.text[1:])
                if on_sample:
                    on_sample(i, j, sample)
        return rows

    def draw(self, request: Request, index: int, cancel) -> Completion:
        self.drawn.append((request.seed, index))
        n = min(self.length, request.sampling.max_tokens)
        text = f"{index}{'ab' * 50}"[: 2 * n]
        finish = self.finish if n == self.length else "length"
        return Completion(
            text=text,
            tokens=tuple(range(n)),
            logprobs=tuple(-0.1 * k for k in range(n)),
            offsets=tuple(range(2, 2 * n + 1, 2)),
            finish="cancelled" if cancel and cancel.is_set() else finish,
            cost=SHAPE.price(Cost(5, 2, n, 1, 0.25 * n)),
            index=index,
            shape=SHAPE,
        )


@pytest.fixture
def bank(tmp_path):
    with Bank(tmp_path / "bank.sqlite") as bank:
        yield bank


def asking(**changes) -> Request:
    """The usual request with some of its sampling changed."""
    return replace(ASK, sampling=replace(ASK.sampling, **changes))


# -- what is kept ----------------------------------------------------------------------------------

COUNTS = st.integers(0, 2**40)
AMOUNTS = st.floats(0, 1e30)
COSTS = st.builds(Cost, COUNTS, COUNTS, COUNTS, COUNTS, AMOUNTS)


@st.composite
def completions(draw) -> Completion:
    text = draw(st.text())
    n = draw(st.integers(0, 12))
    ends = sorted(draw(st.lists(st.integers(0, len(text)), min_size=n, max_size=n)))
    floats = st.lists(st.floats(-1e3, 0), min_size=n, max_size=n)
    ids = st.lists(st.integers(0, 2**31 - 1), min_size=n, max_size=n)
    halves = st.lists(st.floats(0, 100, width=16), min_size=n, max_size=n)
    return Completion(
        text=text,
        tokens=tuple(draw(st.one_of(st.just([]), ids))),
        logprobs=tuple(draw(floats)),
        offsets=tuple(ends),
        finish=draw(st.sampled_from(["end", "stop", "length"])),
        cost=SHAPE.price(replace(draw(COSTS), decoded=draw(st.integers(n, 12)))),
        index=draw(st.integers(0, 2**31)),
        signals=Signals(*(tuple(draw(halves)) for _ in range(3)), state=tuple(draw(halves))),
        choices=tuple(draw(st.lists(st.floats(-30, 0, width=32), max_size=3))),
        shape=SHAPE,
    )


@pytest.fixture(scope="module")
def long_lived_bank(tmp_path_factory):
    with Bank(tmp_path_factory.mktemp("bank") / "bank.sqlite") as bank:
        yield bank


@given(sample=completions())
def test_what_the_recorder_returns_is_what_every_replay_returns(long_lived_bank, sample):
    class One(Parrot):
        def draw(self, request, index, cancel):
            return sample

    place = long_lived_bank.samples  # a new one for every sample
    request = replace(asking(max_tokens=12), seed=place, first=sample.index)
    [[recorded]] = long_lived_bank.record(One()).generate([request])
    [[replayed]] = long_lived_bank.replay().generate([request])
    assert replayed == recorded
    assert replace(recorded, logprobs=sample.logprobs) == sample
    assert recorded.logprobs == pytest.approx(sample.logprobs, rel=1e-6)


def test_only_lacking_samples_are_bought_and_all_in_one_call(bank):
    parrot = Parrot()
    recorder = bank.record(parrot)
    other = replace(ASK, seed=4)
    recorder.generate([replace(ASK, first=2, n=2), replace(other, n=1)])
    before = parrot.calls
    parrot.drawn.clear()
    rows = recorder.generate([replace(ASK, n=6), other, replace(other, first=7, n=2)])
    assert parrot.calls == before + 1
    assert parrot.drawn == [(3, 0), (3, 1), (3, 4), (3, 5), (4, 7), (4, 8)]
    assert [[s.index for s in row] for row in rows] == [[0, 1, 2, 3, 4, 5], [0], [7, 8]]
    assert bank.samples == 9
    recorder.generate([replace(ASK, n=6)])
    assert parrot.calls == before + 1


def test_callbacks_tell_of_stored_and_bought_samples_alike(bank):
    recorder = bank.record(Parrot())
    recorder.generate([replace(ASK, first=1)])
    pieces, finished = [], []
    [[a, b, c]] = recorder.generate(
        [replace(ASK, n=3)],
        on_text=lambda i, j, piece: pieces.append((j, piece)),
        on_sample=lambda i, j, sample: finished.append((j, sample)),
    )
    assert pieces == [(1, b.text), (0, a.text[0]), (0, a.text[1:]), (2, c.text[0]), (2, c.text[1:])]
    assert finished == [(1, b), (0, a), (2, c)]


def test_cancelled_samples_are_returned_but_never_stored(bank):
    cancel = threading.Event()
    cancel.set()
    [[sample]] = bank.record(Parrot()).generate([ASK], cancel=cancel)
    assert sample.finish == "cancelled"
    assert bank.samples == 0


def test_recorder_and_replay_look_like_the_model(bank):
    recorder = bank.record(Parrot())
    recorder.generate([ASK])
    for backend in (recorder, bank.replay()):
        assert (backend.name, backend.digest, backend.batch_size) == ("parrot", "ab" * 32, 4)


def test_a_model_without_a_digest_cannot_be_recorded(bank):
    class Nameless(Parrot):
        digest = ""

    with pytest.raises(OptionError, match="digest='' is not valid"):
        bank.record(Nameless())


# -- what identifies a sample ----------------------------------------------------------------------

CHANGED = {
    "temperature": 0.1,
    "top_p": 0.5,
    "top_k": 1,
    "min_p": 0.1,
    "stop": ("\n",),
    "include_stop": True,
    "choices": ("yes",),
}


def test_every_option_that_changes_a_sample_is_part_of_the_key():
    assert set(CHANGED) == {f.name for f in fields(Sampling)} - {"max_tokens", "signals"}
    digests = [request_digest("m", asking(**{name: value})) for name, value in CHANGED.items()]
    digests.append(request_digest("m", ASK))
    assert len(set(digests)) == len(digests)
    assert request_digest("m", asking(max_tokens=1)) == request_digest("m", ASK)


def test_a_sample_with_signals_serves_requests_without_and_not_the_reverse(bank):
    class Sure(Parrot):
        def draw(self, request, index, cancel):
            told = Signals(entropies=(1.0,)) if request.sampling.signals else Signals()
            return replace(super().draw(request, index, cancel), signals=told)

    bare, full = asking(), asking(signals=True)
    recorder = bank.record(Sure())
    [[first]] = recorder.generate([bare])
    with pytest.raises(MissingSample, match="without signals"):
        bank.replay().generate([full])
    [[second]] = recorder.generate([full])
    assert (first.signals.entropies, second.signals.entropies) == ((), (1.0,))
    assert bank.replay().generate([bare, full]) == [[first], [second]]

    [[other]] = recorder.generate([replace(full, seed=9)])
    assert bank.replay().generate([replace(bare, seed=9)]) == [[other]]


def test_model_messages_prefix_and_seed_are_part_of_the_key():
    said = Message("assistant", "4")
    requests = [
        ASK,
        replace(ASK, seed=0),
        replace(ASK, messages=(Message("system", "2 + 2?"),)),
        replace(ASK, messages=(Message("user", "2 + 2? "),)),
        replace(ASK, messages=(*ASK.messages, said)),
        replace(ASK, prefix=(Piece("4"),)),
    ]
    digests = {request_digest(model, request) for model in "ab" for request in requests}
    assert len(digests) == 2 * len(requests)


def test_of_the_prefix_only_its_text_counts():
    whole = replace(ASK, prefix=(Piece("so: 4"),))
    parts = replace(ASK, prefix=(Piece("so", (7,)), Piece(": 4", (8, 9))))
    assert request_digest("m", whole) == request_digest("m", parts)


def test_numbers_count_by_value():
    assert request_digest("m", asking(temperature=1)) == request_digest(
        "m", asking(temperature=1.0)
    )


def test_no_prompt_is_in_the_file(bank):
    request = replace(
        ASK, messages=(Message("user", "a secret problem"),), prefix=(Piece("a secret turn"),)
    )
    bank.record(Parrot()).generate([request])
    bank.close()
    content = b"".join(path.read_bytes() for path in bank.path.parent.iterdir())
    assert b"parrot 1.0" in content
    assert b"secret" not in content


# -- shorter and longer ----------------------------------------------------------------------------


def test_a_shorter_sample_is_cut_from_a_longer_one(bank):
    parrot = Parrot()
    recorder = bank.record(parrot)
    [[whole]] = recorder.generate([ASK])
    [[short]] = recorder.generate([asking(max_tokens=4)])
    assert len(parrot.drawn) == 1
    assert short == whole.truncate(4)
    assert (short.finish, short.cost.decoded) == ("length", 4)


def test_a_sample_that_ended_by_itself_serves_any_longer_request(bank):
    parrot = Parrot(finish="stop")
    recorder = bank.record(parrot)
    [[sample]] = recorder.generate([asking(max_tokens=10)])
    [[longer]] = recorder.generate([asking(max_tokens=1000)])
    assert longer == sample
    assert len(parrot.drawn) == 1


def test_a_sample_that_was_cut_off_is_drawn_again_for_a_longer_request(bank):
    parrot = Parrot(length=100)
    recorder = bank.record(parrot)
    [[short]] = recorder.generate([asking(max_tokens=5)])
    [[long]] = recorder.generate([asking(max_tokens=20)])
    assert (len(short.tokens), len(long.tokens)) == (5, 20)
    assert bank.samples == 2
    recorder.generate([asking(max_tokens=m) for m in (3, 5, 12, 20)])
    assert len(parrot.drawn) == 2
    with pytest.raises(MissingSample, match="holds that one only up to 20 tokens"):
        bank.replay().generate([asking(max_tokens=21)])


def test_a_sample_that_cannot_be_cut_serves_only_what_it_fits(bank):
    class Bare(Parrot):
        def draw(self, request, index, cancel):
            sample = super().draw(request, index, cancel)
            return replace(sample, tokens=(), offsets=())

    bare = Bare(length=6)
    recorder = bank.record(bare)
    recorder.generate([asking(max_tokens=10)])
    recorder.generate([asking(max_tokens=m) for m in (6, 10, 50)])
    assert len(bare.drawn) == 1
    [[short]] = recorder.generate([asking(max_tokens=4)])
    assert len(bare.drawn) == 2
    assert short.cost.decoded == 4


# -- replay ----------------------------------------------------------------------------------------


def test_a_missing_sample_is_named(bank):
    bank.record(Parrot()).generate([replace(ASK, n=8), replace(ASK, first=10)])
    replay = bank.replay()
    finished = []
    with pytest.raises(MissingSample) as error:
        replay.generate([ASK, replace(ASK, n=12)], on_sample=lambda *news: finished.append(news))
    for part in (
        "sample 8 of parrot with seed=3. It",
        "holds samples 0–7, 10 of this request. Record it with Bank(path).record(model)",
    ):
        assert part in str(error.value)
    assert not finished
    with pytest.raises(MissingSample, match=r"sample 0 .*seed=9.* holds none of this request"):
        replay.generate([replace(ASK, seed=9)])
    with pytest.raises(MissingSample, match=r"seed=3, temperature=0, stop=\('a',\)\. It") as error:
        bank.replay(fix="Ask for less").generate([asking(temperature=0, stop=("a",))])
    assert str(error.value).endswith(" none of this request. Ask for less")


def test_a_bank_of_several_models_must_be_told_which(bank):
    class Other(Parrot):
        name, digest, batch_size = "macaw", "cd" * 32, 9

    bank.record(Parrot()).generate([ASK])
    bank.record(Other()).generate([ASK])
    with pytest.raises(OptionError, match=r"model=None .* 'parrot' \(abab.* 'macaw' \(cdcd"):
        bank.replay()
    with pytest.raises(OptionError, match="model='ara'"):
        bank.replay("ara")
    assert bank.replay("macaw").batch_size == bank.replay("cd" * 32).batch_size == 9
    summary = [(source.name, source.build, source.samples) for source in bank.models]
    assert summary == [("parrot", "parrot 1.0", 1), ("macaw", "parrot 1.0", 1)]


def test_an_empty_bank_cannot_be_replayed(bank):
    bank.record(Parrot())
    with pytest.raises(BackendError, match=r"bank\.sqlite is empty: record into it first"):
        bank.replay()


def test_replay_needs_neither_llama_cpp_nor_a_server(bank):
    bank.record(Parrot()).generate([ASK])
    program = f"""
import sys
sys.modules.update(dict.fromkeys(("llama_cpp", "openai", "tenacity")))  # importing them fails
from itslab.backends.bank import Bank
from itslab.core import Message, Request
request = Request((Message("user", "2 + 2?"),), seed=3)
[[sample]] = Bank({str(bank.path)!r}).replay().generate([request])
print(sample.text)
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert output.stdout == "0abababababa\n", output.stderr


# -- read-only -------------------------------------------------------------------------------------

REPLAY = """
import os, sys
from itslab.backends.bank import Bank
from itslab.core import BackendError, Message, Request
if os.getuid() == 0:
    os.setuid(65534)  # whom permissions hold for
path = sys.argv[1]
try:
    bank = Bank(path)
    [row] = bank.replay().generate([Request((Message("user", "2 + 2?"),), seed=3, n=2)])
    print([sample.text for sample in row], bank.memo("a", lambda: "made"), bank.fixed)
    bank.record(bank.replay())
except BackendError as error:
    print(error)
"""


@pytest.fixture
def abroad(monkeypatch):
    """A folder that other users may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory() as folder:
        monkeypatch.setenv("ITSLAB_HOME", f"{folder}/home")
        yield Path(folder)
        os.chmod(folder, 0o700)


def locked(folder: Path, file: int, mode: int) -> None:
    """Set the permissions of a folder and of the files in it."""
    for path in folder.iterdir():
        os.chmod(path, file)
    os.chmod(folder, mode)


def seen_by_another(path: Path, **environment: str) -> list[str]:
    """What another user reads in a bank, and is told who records into it."""
    command = [sys.executable, "-c", REPLAY, str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | environment
    )
    return done.stdout.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
@pytest.mark.parametrize(("file", "folder"), [(0o444, 0o555), (0o666, 0o555), (0o444, 0o777)])
def test_a_bank_that_cannot_be_written_is_replayed(abroad, file, folder):
    path = abroad / "bank.sqlite"
    with Bank(path) as bank:
        [row] = bank.record(Parrot()).generate([replace(ASK, n=2)])
        bank.memo("a", lambda: "kept")
    locked(abroad, file, folder)
    said, refused = seen_by_another(path)
    assert said == f"{[sample.text for sample in row]} kept True"
    assert refused == (
        f"{path} cannot be written and can only be replayed: "
        "make it and its folder writable, or record into a copy"
    )


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_samples_in_the_journal_of_a_read_only_bank_are_never_overlooked(abroad):
    path = abroad / "bank.sqlite"
    bank = Bank(path)
    [row] = bank.record(Parrot()).generate([replace(ASK, n=2)])
    locked(abroad, 0o444, 0o555)
    assert seen_by_another(path)[0].startswith(
        f"{[sample.text for sample in row]} "
    )  # it is in use
    os.chmod(abroad, 0o755)
    shutil.copytree(abroad, abroad / "copy")  # as of a process that was killed
    (abroad / "copy" / "bank.sqlite-shm").unlink()
    locked(abroad / "copy", 0o444, 0o555)
    [refused] = seen_by_another(abroad / "copy" / "bank.sqlite")
    assert "are still in bank.sqlite-wal" in refused
    bank.close()


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_a_packed_bank_is_replayed_where_there_can_be_no_cache(abroad):
    with Bank(abroad / "bank.sqlite") as bank:
        [row] = bank.record(Parrot()).generate([replace(ASK, n=2)])
        path = bank.pack(abroad / "bank.sqlite.xz")
    locked(abroad, 0o444, 0o555)
    with tempfile.TemporaryDirectory() as scratch:
        os.chmod(scratch, 0o777)
        said, refused = seen_by_another(path, TMPDIR=scratch)
        assert said == f"{[sample.text for sample in row]} made True"
        assert "is packed" in refused
        assert list(Path(scratch).iterdir()) == []  # nothing is left there


# -- what cannot be kept ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "odd",
    [
        Completion("\ud800"),
        Completion("a", tokens=(2**40,), offsets=(1,)),
        Completion("a", logprobs=(-1e39,)),
        Completion("a", cost=Cost(seconds=math.nan)),
    ],
    ids=("surrogate", "token", "logprob", "seconds"),
)
def test_a_sample_that_cannot_be_stored_is_refused_and_the_bank_stays_whole(bank, odd):
    model = ScriptedModel(replies=lambda request, index: odd)
    with pytest.raises(BackendError, match="cannot be kept"):
        bank.record(model).generate([ASK])
    assert bank.samples == 0


def test_numbers_of_numpy_are_stored_as_numbers(bank):
    paid = Completion("a", cost=Cost(decoded=np.int64(7), seconds=np.float64(0.5)))
    model = ScriptedModel(replies=lambda request, index: paid)
    [[kept]] = bank.record(model).generate([ASK])
    assert (kept.cost.decoded, kept.cost.seconds) == (7, 0.5)


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM bank",
        "UPDATE sources SET shape = '[1, 2, 3, 4]'",
        "UPDATE sources SET shape = 'x'",
        "UPDATE samples SET finish = 'blah'",
        "UPDATE samples SET text = x'ff'",
    ],
)
def test_damage_is_said_in_one_line(tmp_path, damage):
    path = tmp_path / "bank.sqlite"
    with Bank(path) as bank:
        bank.record(Parrot()).generate([ASK])
    with sqlite3.connect(path) as db:
        db.execute(damage)
    with pytest.raises(BackendError):
        Bank(path).replay().generate([ASK])


# -- packed ----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_packed_bank_replays_the_same_samples_and_cannot_be_written(bank, cache, tmp_path):
    request = replace(ASK, n=5)
    recorded = bank.record(Parrot()).generate([request])
    path = bank.pack(tmp_path / "bank.sqlite.xz")
    os.chmod(path, 0o400)
    for _ in range(2):
        with Bank(path) as packed:
            assert packed.replay().generate([request]) == recorded
            assert packed.models == bank.models
            with pytest.raises(BackendError, match="packed and can only be replayed: unpack"):
                packed.record(Parrot())
    assert len(list((cache / "banks").iterdir())) == 1


def test_packing_twice_gives_the_same_bytes(bank, cache, tmp_path):
    bank.record(Parrot()).generate([replace(ASK, n=5)])
    first = bank.pack(tmp_path / "one.xz").read_bytes()
    assert bank.pack(tmp_path / "two.xz").read_bytes() == first
    with Bank(bank.path) as again:
        assert again.pack(tmp_path / "three.xz").read_bytes() == first


def test_a_damaged_pack_is_named(cache, tmp_path):
    for content in (b"nonsense", lzma.compress(b"nonsense"), lzma.compress(b"")[:-4]):
        (tmp_path / "bank.xz").write_bytes(content)
        with pytest.raises(BackendError, match=r"bank\.xz cannot be used: .+"):
            Bank(tmp_path / "bank.xz")
    with pytest.raises(BackendError, match=r"absent\.xz cannot be used: .*No such file"):
        Bank(tmp_path / "absent.xz")


def test_a_pack_of_something_else_leaves_nothing_behind(cache, tmp_path):
    with sqlite3.connect(tmp_path / "birds.sqlite") as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    for content in (b"0" * 10_000_000, (tmp_path / "birds.sqlite").read_bytes()):
        (tmp_path / "bank.xz").write_bytes(lzma.compress(content))
        with pytest.raises(BackendError, match=r"bank\.xz cannot be used: .*bank"):
            Bank(tmp_path / "bank.xz")
    assert list((cache / "banks").iterdir()) == []


@pytest.mark.parametrize("blob", [b"abc", "text"])
def test_a_damaged_sample_is_named(bank, blob):
    bank.record(Parrot()).generate([ASK])
    bank._db.execute("UPDATE samples SET tokens = ?", (blob,))
    with pytest.raises(BackendError, match="is damaged: sample 0 cannot be read"):
        bank.replay().generate([ASK])


def test_a_pack_must_be_named_so(bank):
    with pytest.raises(OptionError, match=r"path='bank\.gz' .* ends in \.xz"):
        bank.pack("bank.gz")


# -- files that are no banks -----------------------------------------------------------------------


def test_a_file_that_is_no_bank_is_named(tmp_path):
    (tmp_path / "text.sqlite").write_text("nothing " * 500)
    with pytest.raises(BackendError, match=r"text\.sqlite cannot be used: file is not a database"):
        Bank(tmp_path / "text.sqlite")
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    with pytest.raises(BackendError, match=r"other\.sqlite is an SQLite file but no sample bank"):
        Bank(tmp_path / "other.sqlite")
    with pytest.raises(BackendError, match="cannot be used: unable to open"):
        Bank(tmp_path)


def test_a_memo_is_made_once_and_goes_with_the_packed_bank(bank, tmp_path):
    made = []

    def make():
        made.append("value")
        return f"made {len(made)}"

    assert [bank.memo("a", make), bank.memo("a", make), bank.memo("b", make)] == [
        "made 1",
        "made 1",
        "made 2",
    ]
    assert bank.memo("e", lambda: ("perhaps", False)) == "perhaps"
    assert bank.memo("e", lambda: ("now", True)) == "now"  # what was uncertain was not kept
    packed = Bank(bank.pack(tmp_path / "memos.sqlite.xz"))
    assert packed.memo("a", make) == "made 1"
    assert [packed.memo("c", make), packed.memo("c", make)] == ["made 3", "made 4"]


def test_a_bank_of_another_schema_is_named(bank):
    bank.close()
    with sqlite3.connect(bank.path) as db:
        db.execute("UPDATE bank SET schema = 7")
    with pytest.raises(BackendError, match="has schema 7, this itslab reads 4"):
        Bank(bank.path)


OLDER = """
UPDATE bank SET schema = 3;
ALTER TABLE sources DROP COLUMN shape;
ALTER TABLE samples ADD COLUMN flops REAL NOT NULL DEFAULT 7;
"""


def test_a_bank_that_stored_flops_takes_them_from_the_shape_of_the_next_recording(bank):
    [[sample]] = bank.record(Parrot()).generate([ASK])
    bank.close()
    with sqlite3.connect(bank.path) as db:
        db.executescript(OLDER)
    for _ in range(2):
        with Bank(bank.path) as again:
            [[untold]] = again.replay().generate([ASK])
            assert untold == replace(sample, cost=replace(sample.cost, flops=0), shape=None)
    with Bank(bank.path) as again:
        assert again.record(Parrot()).generate([ASK]) == [[sample]]
    with Bank(bank.path) as again:
        assert again.replay().generate([ASK]) == [[sample]]
        assert [source.shape for source in again.models] == [SHAPE]


def test_flops_follow_the_shape_of_the_weights_whichever_build_told_it_last(bank):
    class Later(Parrot):
        provenance, shape = "parrot 2.0", Shape(matrices=1)

    class Unknown(Parrot):
        provenance, shape = "parrot 3.0", None

    bank.record(Parrot()).generate([ASK])
    bank.record(Later())
    bank.record(Unknown())
    [[sample]] = bank.replay().generate([ASK])
    assert sample.cost.flops == 2 * (5 + 6 - 1)


def test_a_damaged_bank_is_an_error_not_a_wrong_sample(bank):
    bank.record(Parrot()).generate([replace(ASK, n=200)])
    bank.close()
    content = bytearray(bank.path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    bank.path.write_bytes(content)
    with pytest.raises(BackendError, match=r"bank\.sqlite cannot be used: .*malformed"):
        Bank(bank.path)


def test_a_full_disk_is_named_and_what_was_stored_stays(bank):
    recorder = bank.record(Parrot())
    recorder.generate([ASK])
    bank._db.execute("PRAGMA max_page_count = 1")  # no page more than there are
    with pytest.raises(BackendError, match="cannot be used: database or disk is full"):
        recorder.generate([replace(ASK, n=500)])
    bank._db.execute("PRAGMA max_page_count = 100000")
    assert bank.samples >= 1
    assert bank._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- many writers ----------------------------------------------------------------------------------


def test_any_thread_may_use_a_bank(bank):
    recorder = bank.record(Parrot())
    rows = []
    threads = [
        threading.Thread(target=lambda: rows.append(recorder.generate([replace(ASK, n=50)])))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows) == 6
    assert all(row == rows[0] for row in rows)
    assert bank.samples == 50


WRITER = """
import json, os, random, sys, time
from itslab.backends.bank import Bank
from itslab.core import Completion, Cost, Message, Request

class Random:
    name, digest, batch_size = "random", "00" * 32, 4
    def generate(self, requests, on_text=None, on_sample=None, cancel=None):
        for i, request in enumerate(requests):
            for j in range(request.n):
                text = os.urandom(8).hex()  # no two processes draw the same
                on_sample(i, j, Completion(text, index=request.first + j))

print("ready", flush=True)
sys.stdin.readline()
recorder = Bank(sys.argv[1]).record(Random())
requests = [Request((Message("user", str(k)),), n=5) for k in range(20)]
random.shuffle(requests)
for request in requests:
    [samples] = recorder.generate([request])
    print(json.dumps([request.messages[0].content, [s.text for s in samples]]), flush=True)
"""


def test_processes_that_make_and_fill_a_bank_at_once_agree_on_every_sample(tmp_path):
    path = tmp_path / "new" / "bank.sqlite"
    command = [sys.executable, "-c", WRITER, str(path)]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outputs = [dict(map(json.loads, writer.communicate()[0].splitlines())) for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * 4
    assert len(outputs[0]) == 20
    assert all(output == outputs[0] for output in outputs)
    with Bank(path) as bank:
        assert bank.samples == 100
        replay = bank.replay()
        for question, texts in outputs[0].items():
            [samples] = replay.generate([Request((Message("user", question),), n=5)])
            assert [sample.text for sample in samples] == texts


RECORDING = """
import json, sys
from itslab.backends.bank import Bank
from itslab.backends.llama import Llama
from itslab.core import Message, Request, Sampling

llm = Llama(sys.argv[2], digest="11" * 32, batch_size=4, context=512, threads=1)
recorder = Bank(sys.argv[1]).record(llm)
sampling = Sampling(temperature=1.0, max_tokens=8)
for question in range(1000):
    request = Request((Message("user", f"Say {question}."),), sampling=sampling, n=8)
    def stored(i, j, sample):
        print(json.dumps([question, sample.index, sample.text]), flush=True)
    recorder.generate([request], on_sample=stored)
"""


def test_ten_kills_of_a_recording_run_lose_no_finished_sample(tmp_path, small_model):
    path = tmp_path / "bank.sqlite"
    command = [sys.executable, "-c", RECORDING, str(path), str(small_model.path)]
    rng = random.Random(0)
    told: dict[tuple[int, int], str] = {}
    for _ in range(10):
        fresh = rng.randrange(1, 12)  # samples until the kill
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            while fresh:
                question, index, text = json.loads(run.stdout.readline())
                fresh -= (question, index) not in told
                # A later run is served what an earlier one has stored.
                assert told.setdefault((question, index), text) == text
            run.send_signal(signal.SIGKILL)
            whole, *_ = run.stdout.read().rpartition("\n")  # the kill may tear a line
        for question, index, text in map(json.loads, whole.splitlines()):
            told[question, index] = text
        with Bank(path) as bank:
            assert bank._db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert {place: replayed(bank, *place) for place in told} == told
    assert len(told) >= 10


def replayed(bank: Bank, question: int, index: int) -> str:
    request = Request(
        (Message("user", f"Say {question}."),),
        sampling=Sampling(temperature=1.0, max_tokens=8),
        first=index,
    )
    [[sample]] = bank.replay().generate([request])
    return sample.text
