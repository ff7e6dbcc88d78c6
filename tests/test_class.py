"""A class: one model for all, seats by name, what is handed in, and the page of it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from browser import browser_page, needs_browser
from hypothesis import given, settings
from hypothesis import strategies as st

import itslab as its
from itslab import share
from itslab.bench.classroom import ClassReport as Report
from itslab.bench.classroom import Participants, Work, ask, ten_questions
from itslab.core import BackendError, ItslabError, Sampling
from itslab.serving import limits
from itslab.serving.desk import Desk
from itslab.serving.limits import Users
from itslab.serving.server import Server
from itslab.serving.tiers import Menu
from itslab.share import Recording, key
from itslab.testing import ScriptedModel
from itslab.workshop import Session, journal, page
from itslab.workshop.classroom import JOURNALS, Classroom, network, serve
from itslab.workshop.gathered import MOST_BYTES, answers, gather, tries
from itslab.workshop.journal import Entry, Journal, sign, written

FEW = Sampling(max_tokens=8)
QUESTION = "How many of 40?"
EVIL = "</script></pre><img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def room(llm, tmp_path) -> Iterator[Classroom]:
    """A class of three with the small model."""
    with Classroom(llm, tmp_path / "class", seats=3, host="127.0.0.1", port=0, at_once=8) as room:
        yield room


def address(room: Classroom) -> str:
    [there] = room.addresses
    return there


def entry(kind: str, name: str, value: object, of: int = 1, **more: object) -> Entry:
    told = {"session": 1, "kind": kind, "name": name, "value": value, "of": id_(of)}
    return Entry(**told, **more)


def id_(number: int) -> str:
    return f"{number:012x}"


def put(folder: Path, *entries: Entry, name: str = "") -> None:
    path = folder / (name or f"{entries[0].of}.txt")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(written(entries))


def post(room: Classroom, body: bytes, name: str = "ann") -> httpx.Response:
    url = address(room).replace("/v1", "/class/journal")
    return httpx.post(url, content=body, headers={"Authorization": f"Bearer {key(name)}"})


# -- one model for all -----------------------------------------------------------------------------


def test_a_notebook_asks_the_classs_model_by_its_address_alone(room, llm):
    assert f'mode = "{address(room)}"' in room.told
    model = Recording(address(room), "Zoë").backend(llm.name, "any")
    result = its.solve("What is 17 + 25?", its.SelfConsistency(3, sampling=FEW), model)
    assert result.cost.calls == 3
    assert "1 of 3 seats taken" in repr(room.server.desk.users)
    with pytest.raises(BackendError, match="does not serve"):
        Recording(address(room), "Zoë").backend("qwen2.5-coder-0.5b", "any")


def test_two_guests_with_one_name_are_one_and_who_finds_no_seat_is_told_so(room, llm):
    asked = [Recording(address(room), name) for name in ("ann", "bo", "ann", "")]
    models = [one.backend(llm.name, "any") for one in asked]
    vote = its.SelfConsistency(2, sampling=FEW)
    with ThreadPoolExecutor(4) as pool:
        solved = [*pool.map(lambda model: its.solve("Hi", vote, model), models)]
    assert [one.cost.calls for one in solved] == [2] * 4
    with pytest.raises(BackendError, match=r"all 3 seats are taken, and '.*' has none: come with"):
        its.Remote(llm.name, address(room), key("eve"))
    with pytest.raises(BackendError, match="up to 64 letters that is no user's"):
        its.Remote(llm.name, address(room), "x" * 65)
    assert its.solve("Hi", vote, models[0]).cost.calls == 2


def test_a_port_that_is_taken_is_said_before_a_model_is_sought(room, tmp_path):
    with pytest.raises(ItslabError, match="cannot be listened on"):
        serve("no-such-model", tmp_path, host="127.0.0.1", port=room.server.port)


def test_a_class_has_no_tiers_of_which_one_comes_before_another(room, llm):
    body = {"model": llm.name, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
    url, headers = f"{address(room)}/chat/completions", {"Authorization": "Bearer ann"}
    tier = httpx.post(url, json={**body, "model": f"{llm.name}@fast"}, headers=headers)
    assert tier.status_code == 400
    for more in ({}, {"deadline": 60}, {"n": 2}):
        assert httpx.post(url, json=body | more, headers=headers, timeout=60).status_code == 200
    listed = httpx.get(f"{address(room)}/models", headers=headers, timeout=60)
    assert listed.json()["data"][0]["itslab"]["deadline"] is None


def test_a_process_may_open_the_files_that_a_class_needs():
    code = (
        "import resource; from itslab.workshop.classroom import FILES, _may_open;"
        "kind = resource.RLIMIT_NOFILE; _, hard = resource.getrlimit(kind);"
        "resource.setrlimit(kind, (256, hard)); _may_open(30 * FILES);"
        "print(*resource.getrlimit(kind), hard)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    soft, _, hard = map(int, told.stdout.split())
    assert soft == (1920 if hard < 0 else min(hard, 1920))


@pytest.mark.slow
def test_while_all_are_asking_each_has_its_share_and_the_greedy_one_no_more(llm, tmp_path):
    """Counted in tokens, not in seconds: this machine may have other things to do."""
    asked = Participants(ten_questions()[:4], count=4, votes=4, greedy=6, max_tokens=24)
    with Classroom(llm, tmp_path, seats=4, host="127.0.0.1", port=0, at_once=4) as room:
        report = Report("", asked.count, ask(address(room), llm.name, asked))
    assert not [work.failed for work in report.works if work.failed]
    *others, greedy = report.served().values()
    assert sum(others) > 500
    most = max(others) + 6 * asked.max_tokens  # what is under way when the first one is done
    assert greedy <= most
    assert min(others) >= max(others) / 2
    assert "greedy" in str(report)


def test_who_found_no_seat_does_not_end_the_measurement():
    refused = Work(0, 0.0, 0.01, failed=["all 1 seats are taken"])
    report = Report("", 2, [refused, Work(1, 0.0, 4.0, [(2.0, 50), (4.0, 50)])])
    assert (report.until, report.speed) == (4.0, 25.0)
    assert report.worst == 0.5
    assert "failed: 1, such as all 1 seats are taken" in str(report)
    assert "nobody who had an answer waited longer than 0.50 ×" in str(report)
    assert "nobody waited longer than" in str(replace(report, works=report.works[1:]))


# -- what is handed in -----------------------------------------------------------------------------


def test_a_journal_is_handed_in_again_and_again_and_its_page_names_nobody(room, tmp_path):
    session = Session(1, "Zoë <b>", tmp_path)
    assert session.hand_in(address(room)).there is None
    expected = session.expect("greedy", QUESTION, (0, 40))
    expected.entry.value = "12"
    expected.write()
    told = session.hand_in(address(room))
    assert (told.there, told.said.split(";")[0]) == (True, "1 entries")
    session.came("greedy", 9)
    session.check("vote", lambda answers: answers[0])
    told = session.hand_in(f"{address(room)}/")
    sign_ = sign(session.journal.of)
    said = f"3 entries; on the class's page you are participant {sign_}"
    assert repr(told) == f"handed in: {said}"
    [kept] = room.folder.glob("*.txt")
    assert kept.name == f"{session.journal.of}.txt"
    [ours] = gather(room.folder).participants
    assert (ours.name, [one.value for one in ours.entries[:2]]) == ("Zoë <b>", [12, 9])
    shown = httpx.get(address(room).replace("/v1", "/class"))
    assert shown.headers["content-type"].startswith("text/html")
    assert sign(session.journal.of) in shown.text
    assert "Zoë" not in shown.text
    assert session.journal.of not in shown.text
    assert QUESTION in shown.text


def test_without_a_server_it_is_said_where_the_journal_lies(tmp_path, llm):
    session = Session(1, "ann", tmp_path)
    session.check("vote", lambda answers: answers[0])
    by_hand = f"bring {session.journal.path.resolve()} by hand"
    assert repr(session.hand_in()) == f"not handed in: no server is known here: {by_hand}"
    assert session.hand_in("replay").there is None
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = session.hand_in(f"http://127.0.0.1:{free.getsockname()[1]}/v1")
    assert gone.there is False
    assert by_hand in gone.said
    for wrong in ("http://", "http://[", "http://a b/v1", "https://127.0.0.1:1/v1"):
        assert by_hand in session.hand_in(wrong).said
    with Server(Desk(Menu({"m": llm})), port=0) as server:
        other = session.hand_in(server.url)
    assert by_hand in other.said
    assert "<pre" in other._repr_html_()


def test_who_has_no_seat_brings_it_by_hand(room, tmp_path):
    for name in ("a", "b", "c"):
        assert post(room, written([entry("tried", "vote", "no", of=ord(name))]), name).is_success
    session = Session(1, "eve", tmp_path)
    session.check("vote", lambda answers: answers[0])
    told = session.hand_in(address(room))
    assert "all 3 seats are taken" in told.said
    assert "by hand" in told.said


@pytest.mark.parametrize(
    "of",
    [
        "../../evil",
        "..",
        "",
        "con",
        "a" * 12 + "/x",
        "A" * 12,
        "é" * 12,
        "0" * 13,
        "0" * 12 + "\n",
        "\ud800",
    ],
    ids=range(10),
)
def test_a_journal_that_names_a_path_is_not_kept(room, of):
    line = json.dumps({"session": 1, "kind": "tried", "name": "a", "value": "b", "of": of})
    answer = post(room, line.encode())
    assert answer.status_code == 400
    assert not list(room.folder.parent.rglob("*evil*"))
    assert not list(room.folder.iterdir())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"\xff\xfe\x00", 400),
        (b"[" * 100_000, 400),
        (b'{"session": 1e400}', 400),
        (b'{"session": 9, "kind": "tried", "name": "a", "value": "b", "of": "000000000001"}', 400),
        (b"x" * (MOST_BYTES + 1), 413),
    ],
    ids=range(6),
)
def test_what_is_no_journal_is_refused(room, body, status):
    assert post(room, body).status_code == status
    assert not list(room.folder.iterdir())
    assert "0 of 3 seats taken" in repr(room.server.desk.users)


def test_a_folder_in_which_nothing_can_be_written_is_said(room):
    room.folder.rmdir()
    room.folder.touch()
    answer = post(room, written([entry("tried", "vote", "no")]))
    assert "cannot be written: Not a directory" in answer.json()["error"]["message"]


def test_a_journal_needs_a_name_and_there_are_so_many(room):
    line = written([entry("tried", "vote", "no")])
    url = address(room).replace("/v1", "/class/journal")
    assert httpx.post(url, content=line).status_code == 401
    assert httpx.get(url).status_code == 405
    for guest in range(3):
        mine = range(guest * 9, guest * 9 + JOURNALS + 1)
        sent = [written([entry("tried", "vote", "no", of=n)]) for n in mine]
        statuses = [post(room, one, f"guest {guest}").status_code for one in sent]
        assert statuses == [200] * JOURNALS + [403]
    assert post(room, line, "guest 0").status_code == 200  # which is there already
    assert len(list(room.folder.iterdir())) == JOURNALS * 3


def test_one_request_takes_no_room_from_others_and_nothing_is_written_before_all_is_checked(room):
    many = [entry("tried", "vote", "no", of=n) for n in range(2_000)]
    told = post(room, written(many), "eve")
    assert told.json() == {"entries": JOURNALS, "left_out": 2_000 - JOURNALS}
    assert len(list(room.folder.iterdir())) == JOURNALS
    full = [entry("written", "why", f"{n} {'x' * 19_000}", of=3_000, by="ann") for n in range(101)]
    assert post(room, written(full), "ann").is_success
    theirs = [replace(one, value=f"more {one.value[:9_000]}") for one in full]
    refused = post(room, written([entry("tried", "vote", "no", of=4_000), *theirs]), "ann")
    assert refused.status_code == 403  # hers, so what came with it is not written either
    assert not (room.folder / f"{id_(4_000)}.txt").exists()


def test_entries_of_others_that_are_refused_keep_nobody_from_handing_in(room):
    full = [entry("tried", "vote", f"{n}", of=1, by="org") for n in range(2_000)]
    assert post(room, written(full), "org").is_success
    odd = [replace(entry("tried", "vote", "odd"), of=of) for of in ("", "A" * 12)]
    more = [entry("tried", "vote", "no", of=n) for n in range(10, 20)]
    mine = entry("tried", "vote", "no", of=2, by="ann ", time=1.0)
    body = written([entry("tried", "vote", "new", by="org", time=2.0), *odd, *more, mine])
    told = post(room, body)
    assert told.json() == {"entries": JOURNALS, "left_out": 13 - (JOURNALS - 1)}
    [kept] = journal.read(room.folder / f"{id_(2)}.txt")
    assert kept == mine


def test_who_only_asks_for_the_list_of_models_keeps_no_seat(room):
    for name in ("a", "b", "c", "d", "e"):
        headers = {"Authorization": f"Bearer {name}"}
        assert httpx.get(f"{address(room)}/models", headers=headers, timeout=60).is_success
    line = written([entry("tried", "vote", "no")])
    assert [post(room, line, name).status_code for name in "fgh"] == [200] * 3


def test_damaged_lines_are_left_out_and_what_follows_is_kept(room):
    whole = written([entry("tried", "vote", "no"), entry("tried", "vote", "no", of=2)])
    answer = post(room, whole + b'{"session": 1, "kind"')
    assert answer.json() == {"entries": 2, "left_out": 1}
    assert {kept.name for kept in room.folder.iterdir()} == {f"{id_(n)}.txt" for n in (1, 2)}


# -- a folder that is copied, with what somebody wrote in it ---------------------------------------


def new_kernel(monkeypatch) -> None:
    """Nothing is left of what a kernel knew; the files are."""
    monkeypatch.setattr(journal, "_SETTLED", {})


def caches_in(monkeypatch, folder: Path) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *_, **__: folder)


def expects(folder: Path, name: str, value: int, number: int = 1) -> Session:
    session = Session(number, name, folder)
    asked = session.expect("greedy", QUESTION, (0, 40))
    asked.entry.value = str(value)
    asked.write()
    return session


@pytest.mark.parametrize("names", [("ann", "bob", "cid"), ("", "", ""), ("org", "org", "org")])
def test_who_writes_in_copies_of_a_folder_is_somebody_each_and_nothing_is_lost(
    room, tmp_path, monkeypatch, names
):
    master = tmp_path / "master"
    master.mkdir()
    expects(master, "org" if "org" in names else "", 1)
    brought = tmp_path / "brought"
    for value, name in enumerate(names, 10):
        folder = brought / str(value)
        shutil.copytree(master, folder)
        new_kernel(monkeypatch)
        session = Session(1, name, folder)
        assert session.expect("greedy", QUESTION, (0, 40)).written is None
        told = expects(folder, name, value).hand_in(address(room))
        assert told.said.startswith("1 entries, 1 of others in this folder; on the class's page")
    for folder in (room.folder, brought):
        found = gather(folder).participants
        assert [len(one.entries) for one in found] == [1] * 4
        said = answers(gather(folder), 1, "expected", "greedy")
        assert sorted(said.given.values()) == [1, 10, 11, 12]


def test_who_begins_anew_or_gives_a_name_later_stays_one_and_another_name_is_another(
    tmp_path, monkeypatch
):
    expects(tmp_path, "", 1)
    new_kernel(monkeypatch)
    expects(tmp_path, "ann", 2)  # who had no name
    new_kernel(monkeypatch)
    expects(tmp_path, "ann", 3, number=2)
    expects(tmp_path, "Ann K", 4, number=2)  # in the same kernel
    new_kernel(monkeypatch)
    expects(tmp_path, "Ann K", 5, number=2)
    new_kernel(monkeypatch)
    expects(tmp_path, "", 6, number=3)  # who forgot it
    [ann] = gather(tmp_path).participants
    assert ann.name == "Ann K"
    assert [one.value for one in ann.entries] == [1, 2, 3, 4, 5, 6]
    new_kernel(monkeypatch)
    expects(tmp_path, "bob", 7)  # at her machine, in the next class
    assert [one.name for one in gather(tmp_path).participants] == ["Ann K", "bob"]


def test_machines_with_one_name_and_one_path_are_different_participants(tmp_path, monkeypatch):
    folder, master = tmp_path / "same", tmp_path / "master"
    master.mkdir()
    caches_in(monkeypatch, tmp_path / "organiser")
    expects(master, "", 1)
    found = []
    for name in ("ann", "", "ann", "cid"):
        new_kernel(monkeypatch)
        monkeypatch.setattr(journal, "_FRESH", f"{len(found):032}".encode())
        caches_in(monkeypatch, tmp_path / f"home {name}")
        shutil.copytree(master, folder)
        found.append(expects(folder, name, 2).journal.of)
        shutil.move(folder, tmp_path / f"was {len(found)}")
    new_kernel(monkeypatch)
    shutil.copytree(tmp_path / "was 3", folder)
    caches_in(monkeypatch, tmp_path / "home ann")
    assert Journal(folder, "ann").of == found[2]  # who goes on, whatever her host is called
    master_of = next(iter(journal.read(master / journal.NAME))).of
    assert len({*found, master_of}) == 5


def test_where_no_cache_can_be_written_a_participant_is_this_processs(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    caches_in(monkeypatch, tmp_path / "file")
    expects(tmp_path, "ann", 1)
    monkeypatch.setattr(journal, "_SETTLED", {})
    assert len(Journal(tmp_path, "ann").entries) == 1
    monkeypatch.setattr(journal, "_FRESH", b"of another process")
    assert not Journal(tmp_path, "ann").entries


def test_a_name_is_the_same_with_other_blanks_and_old_entries_are_of_who_has_their_name(
    tmp_path, monkeypatch
):
    old = [entry("tried", "vote", "no", by="ann", time=1.0), entry("tried", "vote", "no", of=2)]
    put(tmp_path, *old, name=journal.NAME)
    for name in ("ann ", " ann", "ann"):
        new_kernel(monkeypatch)
        assert expects(tmp_path, name, 1).journal.of == id_(1)
    new_kernel(monkeypatch)
    assert Journal(tmp_path, "bob").of not in (id_(1), id_(2))


def test_what_a_server_has_stays_whoever_sends_the_rest(room):
    first, second = entry("tried", "vote", "no", time=1.0), entry("tried", "vote", "no", time=2.0)
    for sent in ([first], [second], [first], [first, second]):
        assert post(room, written(sent), "any").status_code == 200
    [kept] = room.folder.iterdir()
    assert [one.time for one in journal.read(kept)] == [1.0, 2.0]
    texts = [entry("written", "why", f"{n} {'x' * 19_000}") for n in range(150)]
    assert post(room, written(texts[:80])).status_code == 200
    assert post(room, written(texts[80:])).status_code == 403  # together they are too much
    assert kept.stat().st_size <= MOST_BYTES
    assert gather(room.folder).left_out == ()


def test_the_machines_addresses_are_told_one_on_each_line(llm, tmp_path):
    assert "127.0.0.1" not in network()
    with Classroom(llm, tmp_path, port=0) as room:
        assert len(room.addresses) == max(len(network()), 1)
        for there in room.addresses:
            assert f'    mode = "{there}"' in room.told.splitlines()
    (tmp_path / "file").touch()
    with pytest.raises(ItslabError, match="cannot be made"):
        Classroom(llm, tmp_path / "file" / "class")


# -- the page --------------------------------------------------------------------------------------


def test_a_folder_is_read_whatever_the_files_are_called_and_each_entry_once(tmp_path):
    early = [
        entry("expected", "greedy", 10, time=1.0, by="ann"),
        entry("came", "greedy", 9, time=2.0),
    ]
    late = [*early, entry("expected", "greedy", 9, time=3.0, by="Ann K")]
    put(tmp_path, *early, name="usb/journal.txt")
    put(tmp_path, *late)
    put(tmp_path, entry("expected", "greedy", 20, of=2, by="Ann K", time=4.0))
    put(tmp_path, entry("expected", "greedy", 30, of=3, time=5.0), name="x/y/journal (1).txt")
    (tmp_path / "notes.txt").write_text('{"question": "?"}\n')
    (tmp_path / "ten_questions.txt").write_text('{"question": "?"}\n')  # of a whole folder
    (tmp_path / "empty.txt").touch()
    (tmp_path / "large.txt").write_bytes(b"\n" * (MOST_BYTES + 1))
    with (tmp_path / f"{id_(2)}.txt").open("ab") as file:
        file.write(b"\x00\xff\n")
    found = gather(tmp_path)
    assert [one.name for one in found.participants] == [
        "Ann K",
        "Ann K (2)",
        f"participant {sign(id_(3))}",
    ]
    assert [len(one.entries) for one in found.participants] == [3, 1, 1]
    assert found.left_out == (
        f"{id_(2)}.txt: 1 line, damaged or too many",
        "large.txt: larger than 2,000,000 bytes",
        "notes.txt: no journal",
    )
    said = answers(found, 1, "expected", "greedy")
    assert [*said.given.values()] == [10, 20, 30]
    assert said.came == {"Ann K": 9}
    hidden = gather(tmp_path, names=False)
    assert {one.name for one in hidden.participants} == {
        f"participant {sign(id_(n))}" for n in (1, 2, 3)
    }
    with pytest.raises(ItslabError, match="no folder"):
        gather(tmp_path / "nowhere")


def test_what_cannot_have_been_answered_is_left_out(tmp_path):
    told = {"asked": QUESTION, "between": [0, 40]}
    values = [12, 40, 0, 41, -1, 1e300, float("nan"), True, "many"]
    for number, value in enumerate(values):
        put(tmp_path, entry("expected", "greedy", value, of=number, **told))
    put(tmp_path, entry("expected", "greedy", 7, of=50, asked="another", between=[0, 10**6]))
    said = answers(gather(tmp_path), 1, "expected", "greedy")
    assert (said.asked, said.between, said.numbers) == (QUESTION, (0, 40), True)
    assert sorted(said.given.values()) == [0, 7, 12, 40]
    assert said.others == 3
    assert "n = 4, 3 other answers left out" in str(page.dots(said).layout.title)


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(
        [10**400, 1e15, -1e14, 1e-320, 2**53, "x" * 20_000, "\ud800", "</script>", EVIL]
    ),
    st.text(max_size=5),
)
BETWEEN = st.one_of(
    st.none(),
    st.lists(ODD, max_size=5),
    st.sampled_from([[0, 40], [40, 0], [0, 0], [0, "x"], ["a", "b"], [0, 10**400], [0, 1e-320]]),
)
LINES = st.fixed_dictionaries(
    {
        "session": st.sampled_from([1, 1, 1, 2, 0, True]),
        "kind": st.sampled_from(["expected", "came", "tried", "chosen", "written"]),
        "name": st.sampled_from(["a", "b", EVIL]),
        "value": st.one_of(st.integers(0, 40), ODD),
        "right": st.sampled_from([None, True, False]),
        "time": st.sampled_from([0, 1.7e9, -1e300, 1e300]),
        "by": st.sampled_from(["", "ann", EVIL]),
        "of": st.sampled_from([id_(1), id_(2), ""]),
        "asked": st.sampled_from(["", QUESTION, EVIL]),
        "between": BETWEEN,
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(LINES, min_size=1, max_size=40))
def test_no_journal_takes_the_page_from_the_others(lines):
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), entry("expected", "sound", 7, of=9, asked="Sound?", between=[0, 40]))
        held = "\n".join(json.dumps(line) for line in lines)
        Path(folder, "odd.txt").write_text(held, encoding="utf-8")
        shown = page.collect(folder).read_text(encoding="utf-8")
    assert "Sound?" in shown
    assert "cannot be drawn" not in shown


def test_a_question_that_cannot_be_drawn_is_left_out_and_said(tmp_path, monkeypatch):
    put(tmp_path, entry("expected", "a", 7, asked="Broken?"), entry("chosen", "b", "x"))
    monkeypatch.setattr(page, "dots", lambda said: 1 / 0)
    shown = page.collect(tmp_path).read_text(encoding="utf-8")
    assert "a is left out, for it cannot be drawn: ZeroDivisionError: division by zero" in shown
    assert "n = 1" in shown


def test_dots_of_whole_numbers_that_were_written_once_each_make_no_comb(tmp_path):
    for value in range(40, 60):
        put(tmp_path, entry("expected", "a", value, of=value, asked="?", between=[0, 100]))
    [dots] = page.dots(answers(gather(tmp_path), 1, "expected", "a")).data
    assert max(dots.y) == 1.5
    assert sorted(dots.x) == [n + 0.5 for n in range(40, 60, 2) for _ in "ab"]


def test_a_choice_of_the_sessions_is_read_whole(tmp_path):
    words = ["the vote", "one cannot tell them apart"]
    put(tmp_path, entry("chosen", "a", words[1], between=words))
    bars = page.bars(answers(gather(tmp_path), 1, "chosen", "a"))
    assert bars.layout.yaxis.ticktext == tuple(words)


def test_tries_are_counted_until_the_first_right_one(tmp_path):
    wrong, right = {"value": "count", "right": False}, {"value": "right.", "right": True}
    for of, course in enumerate(
        ([right], [wrong, wrong, right, wrong], [wrong] * 5, [wrong] * 4 + [right])
    ):
        put(
            tmp_path,
            *(entry("tried", "vote", of=of, time=float(i), **one) for i, one in enumerate(course)),
        )
    found = gather(tmp_path)
    fared = tries(found, 1, "vote")
    assert sorted(fared.right.values()) == [1, 3, 5]
    assert [*fared.wrong.values()] == [5]
    assert {hint: len(who) for hint, who in fared.hints.items()} == {"count": 3}
    figure = page.steps([fared], 4)
    assert [bar.x[0] for bar in figure.data] == [1, 1, 1, 1]
    assert figure.layout.yaxis.ticktext == ("vote  (n = 4)",)
    assert "3 of 4" in page.drawn(found)


def test_dots_and_bars_show_everyone_and_what_came(tmp_path):
    words = ["votes", "a judge"]
    for of, (number, came, word) in enumerate(
        [(10, 8, "votes"), (10, 9, "votes"), (30, 9, "a judge")]
    ):
        told = {"of": of, "by": "abc"[of]}
        put(
            tmp_path,
            entry("expected", "greedy", number, asked=QUESTION, between=[0, 40], **told),
            entry("came", "greedy", came, **told),
            entry("expected", "which", word, asked="Which?", between=[*words, "neither"], **told),
            entry("came", "which", "a judge", **told),
            entry("chosen", "next", word, **told),
            entry("written", "why", f"since {word}", asked="Why?", **told),
        )
    found = gather(tmp_path)
    figure = page.dots(answers(found, 1, "expected", "greedy"))
    expected, came = figure.data
    assert sorted(zip(expected.x, expected.y, strict=True)) == [(10, 0.5), (10, 1.5), (30, 0.5)]
    assert sorted(came.x) == [8, 9, 9]
    assert max(came.y) < 0
    assert figure.layout.annotations[0].text == "came: 9 (median)"
    which = page.bars(answers(found, 1, "expected", "which"))
    assert which.data[0].x == (2, 1, 0)
    assert which.layout.yaxis.ticktext == ("votes", "a judge  ✓ came (3)", "neither")
    assert page.bars(answers(found, 1, "chosen", "next")).data[0].x == (2, 1)
    shown = page.drawn(found)
    for text in ("Why? (n = 3)", "since a judge", "Session 1", "3 journals, 18 entries"):
        assert text in shown
    assert "Session 2" not in shown


def hostile(folder: Path) -> None:
    """Journals in which everything that a participant may write is meant to break the page."""
    for of in range(3):
        told = {
            "of": of,
            "by": EVIL,
            "asked": f"{EVIL} <a href='javascript:alert(3)'>x</a>",
            "time": -1e300,
        }
        put(
            folder,
            entry("expected", EVIL, 1, **told),
            entry("expected", "words", EVIL, **told),
            entry("chosen", EVIL, EVIL, **told, between=[EVIL, "\ud800\x00\x1b[31m"]),
            entry("tried", EVIL, EVIL, right=False, **told),
            entry("written", EVIL, EVIL + "\ud800\u202e" + "x" * 9_000, **told),
            entry("came", EVIL, -1e14, **told),
            *(entry("chosen", f"{EVIL} {n}", "a", **told) for n in range(60)),
            replace(entry("written", "c", "d", **told), session=10**30),
        )
    (folder / f"{EVIL.replace('/', '∕')[:60]}.txt").write_text("no")


def test_what_participants_wrote_is_never_a_part_of_the_page(tmp_path):
    hostile(tmp_path)
    path = page.collect(tmp_path)
    assert path == tmp_path / "class.html"
    text = path.read_text(encoding="utf-8")
    body = text[text.index("<h1>") :]
    assert "<img" not in body
    assert "alert(2)</script>" not in body
    assert "onerror=alert(1)&gt;" in body
    assert "about which fewer wrote are not shown" in body
    assert "1 line, damaged or too many" in body
    (tmp_path / "b" / "class.html").mkdir(parents=True)
    with pytest.raises(ItslabError, match="cannot be written"):
        page.collect(tmp_path / "b")


@needs_browser
def test_a_browser_shows_it_and_runs_nothing_that_was_written(tmp_path):
    hostile(tmp_path)
    put(tmp_path, entry("expected", "a", 3, of=9), entry("tried", "vote", "no", of=9, right=False))
    path = page.collect(tmp_path)
    said: list[str] = []
    with browser_page() as shown:
        shown.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        shown.on("pageerror", lambda error: said.append(str(error)))
        shown.on(
            "request", lambda asked: said.append(asked.url) if "http" in asked.url[:4] else None
        )
        shown.goto(path.as_uri())
        shown.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length > 3")
        assert shown.locator("img, a[href^=javascript], script[src]").count() == 0
        assert not said


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is nothing that never ends")
def test_what_is_no_file_is_left_out(tmp_path):
    (tmp_path / "a.txt").symlink_to("/dev/zero")
    (tmp_path / "b.txt").mkdir()
    (tmp_path / "c.txt").symlink_to(tmp_path / "nothing")
    told = ("a.txt: no file", "b.txt: no file", "c.txt: no file")
    assert gather(tmp_path).left_out == told


def test_a_folder_without_journals_makes_a_page_that_says_so(tmp_path):
    assert "0 journals, 0 entries" in page.collect(tmp_path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    ["", "  ", "ünï", "a\tb\n", "👩\u200d💻", "\ud800", "\u202e", "x" * 99, "%00", "a" * 63 + " b"],
)
def test_every_name_has_a_key_that_a_server_takes(name):
    guest = Users([], guests=1).find(key(name))
    assert guest is not None
    assert limits.LETTERS == share.LETTERS


def test_what_the_disk_refused_is_handed_in_all_the_same(room, tmp_path):
    session = Session(1, "ann", tmp_path)
    session.journal.write(1, "expected", "a", 1, between=(0, 40))
    path = session.journal.path
    path.rename(tmp_path / "aside")
    path.mkdir()
    with pytest.warns(UserWarning, match="cannot be written"):
        session.journal.write(1, "expected", "a", 2, between=(0, 40))
    path.rmdir()
    (tmp_path / "aside").rename(path)
    assert "2 entries;" in session.hand_in(address(room)).said


def test_two_notebooks_that_begin_at_once_write_one_journal(tmp_path):
    first, second = Journal(tmp_path, "ann"), Journal(tmp_path, "ann")
    assert first.of != second.of
    first.write(1, "tried", "vote", "no", False)
    second.write(2, "tried", "vote", "no", False)
    assert Journal(tmp_path).of == first.of
    [one] = gather(tmp_path).participants
    assert (one.name, len(one.entries)) == ("ann", 2)


def test_a_model_that_is_not_ours_may_be_served_to_a_class(tmp_path):
    model = ScriptedModel(replies=["42"])
    with Classroom(model, tmp_path, seats=1, host="127.0.0.1", port=0) as room:
        assert its.Remote(model.name, address(room), key("ann")).server == "itslab"
