"""A folder that installs without a network: made, and installed from where there is none."""

from __future__ import annotations

import ensurepip
import hashlib
import os
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from itslab import __version__, models
from itslab.core import ItslabError, OptionError
from itslab.workshop import bundle as bundles
from itslab.workshop.bundle import PLATFORMS, bundle, here
from itslab.workshop.packages import lacking, wheels

OFFLINE = ["bwrap", "--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"]


def test_what_cannot_be_made_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("")
    assert here() in PLATFORMS
    for options, message in (
        (
            {"platforms": ("linux",)},
            "platform='linux' is not valid: platform must be one of linux-",
        ),
        ({"pythons": ("3.10",)}, "python='3.10' is not valid: python must be one of 3.11, 3.12"),
        ({}, "folder must be new, or empty"),
    ):
        with pytest.raises(OptionError, match=message):
            bundle(tmp_path, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Makes a bundle that holds a file and a folder, in the place of wheels and scripts."""

    def make(scratch: Path, *_: object) -> Path:
        (scratch / "bundle" / "wheels").mkdir(parents=True)
        (scratch / "bundle" / "README.txt").write_text("Read me.")
        return scratch / "bundle"

    monkeypatch.setattr(bundles, "_make", make)
    return lambda folder: bundle(folder, say=lambda line: None)


def test_a_folder_that_is_there_stays_the_same_one(
    small: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be a stick's root, which cannot be removed, or where the caller is."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = Path().stat().st_ino
    small(Path())
    assert sorted(os.listdir()) == ["README.txt", "wheels"]
    assert Path().stat().st_ino == (tmp_path / "here").stat().st_ino == before
    small(tmp_path / "new" / "one")
    assert sorted(os.listdir(tmp_path / "new" / "one")) == ["README.txt", "wheels"]


@pytest.mark.skipif(os.name == "nt", reason="no SIGTERM")
def test_who_ends_it_finds_nothing_half_made_and_no_pip(index: Path, tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from itslab.workshop import bundle as bundles

def make(scratch, *_):
    (scratch / "part").write_text("half")
    print("making", flush=True)
    bundles._pip("install", "--dry-run", "--retries=9", "--index-url", sys.argv[2], "thing")

bundles._make = make
bundles.bundle(Path(sys.argv[1]))
"""
    target = tmp_path / "target"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # pip waits for its first word
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        command = [sys.executable, "-c", program, str(target), url]
        online = {k: v for k, v in os.environ.items() if k != "PIP_NO_INDEX"}
        made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=online)
        assert made.stdout is not None
        assert made.stdout.readline() == "making\n"
        asked, _ = silent.accept()
        assert any(target.iterdir())
        made.terminate()
        assert made.wait(20) == 128 + signal.SIGTERM
        with asked:
            asked.settimeout(20)
            while asked.recv(4096):  # until pip is gone
                pass
    assert [*target.iterdir()] == []


@pytest.mark.skipif(os.name == "nt", reason="no limits of processes")
def test_a_full_disk_is_said(index: Path, tmp_path: Path) -> None:
    (index / "big-1.0-py3-none-any.whl").write_bytes(wheel(index, "big").read_bytes())
    with zipfile.ZipFile(index / "big-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("big.bin", os.urandom(3_000_000))
    program = """
import resource, sys
from itslab.core import ItslabError
from itslab.workshop import bundle as bundles

resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    bundles._pip("download", "--no-deps", "--dest", sys.argv[1], "big")
except ItslabError as error:
    print(error)
"""
    command = [sys.executable, "-c", program, str(tmp_path / "to")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "File too large" in said
    assert said.count("\n") == 1


# -- wheels ----------------------------------------------------------------------------------------


def wheel(folder: Path, name: str, *requires: str, tag: str = "py3-none-any") -> Path:
    """A wheel with nothing but metadata."""
    path = folder / f"{name}-1.0-{tag}.whl"
    lines = [f"Requires-Dist: {requirement}\n" for requirement in requires]
    with zipfile.ZipFile(path, "w") as archive:
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        archive.writestr(f"{name}-1.0.dist-info/METADATA", head + "".join(lines))
        kind = f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        archive.writestr(f"{name}-1.0.dist-info/WHEEL", kind)
        archive.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all that pip finds wheels in; there is pip itself."""
    folder = tmp_path / "index"
    folder.mkdir()
    [pip] = (Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl")
    (folder / pip.name).symlink_to(pip)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def fetched(folder: Path, own: Path, name: str) -> set[str]:
    bundles._fetch(folder, str(own), "shop", name, "3.12", own.parent)
    return {path.name for path in folder.iterdir() if not path.name.startswith("pip-")}


@pytest.mark.slow
def test_wheels_are_those_of_the_platform_and_its_conditions(index: Path, tmp_path: Path) -> None:
    """Nothing that a condition on another system asks for is left out, nor what that asks for."""
    built = tmp_path / "built"
    built.mkdir()
    own = wheel(built, "shop", "fast", "colours; sys_platform == 'win32'", "old; os_name == 'nt'")
    any_platform = wheel(index, "colours", "paint; python_version >= '3.12'").name
    paint, old = wheel(index, "paint").name, wheel(index, "old").name
    for tag in ("win_amd64", "manylinux_2_28_x86_64", "manylinux_2_99_x86_64", "macosx_15_0_arm64"):
        wheel(index, "fast", tag=f"cp312-abi3-{tag}")
    linux = fetched(tmp_path / "linux", own, "linux-x86_64")
    assert linux == {own.name, "fast-1.0-cp312-abi3-manylinux_2_28_x86_64.whl"}
    windows = fetched(tmp_path / "windows", own, "windows-x86_64")
    fast = "fast-1.0-cp312-abi3-win_amd64.whl"
    assert windows == {own.name, fast, any_platform, paint, old}
    for name in ("macos-arm64", "linux-arm64"):  # too new a system, and none at all
        with pytest.raises(ItslabError, match=f"no bundle for {name} and Python 3.12: .*fast"):
            fetched(tmp_path / name, own, name)


# -- the scripts -----------------------------------------------------------------------------------


def scripts(folder: Path, *pythons: str) -> Path:
    """A bundle of nothing but what starts it."""
    bundles._write_scripts(folder, pythons)
    (folder / "README.txt").write_text("Read me.")
    bundles._write_sums(folder)
    return folder


def installing(folder: Path) -> tuple[int, str]:
    done = subprocess.run(["sh", folder / "install.sh"], capture_output=True, text=True)
    return done.returncode, done.stdout


def test_a_damaged_copy_is_told(tmp_path: Path) -> None:
    scripts(tmp_path, "3.11")
    (tmp_path / "README.txt").write_text("Read we.")
    code, said = installing(tmp_path)
    assert code == 1
    assert "This copy is damaged" in said


def test_another_python_is_told(tmp_path: Path) -> None:
    code, said = installing(scripts(tmp_path, "2.0", "2.1"))
    assert code == 1
    assert "None of the Pythons that this folder is for is here: 2.0 2.1." in said


def test_the_script_for_windows_has_its_ends_of_lines(tmp_path: Path) -> None:
    script = (scripts(tmp_path, "3.11", "3.13") / "install.bat").read_bytes()
    assert script.count(b"\n") == script.count(b"\r\n") > 20
    assert b"in (3.11 3.13) do" in script
    assert b"@P" not in script


# -- a real one ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for this machine, from the network or what pip keeps."""
    return bundle(tmp_path_factory.mktemp("made") / "bundle", say=lambda line: None)


def offline(folder: Path, *command: str | Path, home: Path) -> str:
    """What a command prints where there is no network, and nothing of this environment."""
    ours = ("PYTHONPATH", "VIRTUAL_ENV")
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ours and not name.startswith("PIP_")
    }
    path = os.pathsep.join((str(Path(sys.executable).parent), kept["PATH"]))
    done = subprocess.run(
        [*OFFLINE, *map(str, command)],
        cwd=folder,
        env={**kept, "PATH": path, "ITSLAB_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # what is fetched may take its time
def test_a_bundle_says_what_it_is_for_and_lacks_nothing(made: Path) -> None:
    said = (made / "README.txt").read_text()
    python = "{}.{}".format(*sys.version_info)
    count = len(list((made / "wheels").iterdir()))
    assert f"{here()}, Python {python}: {count} wheels" in said
    assert "nobody tried" not in said
    assert lacking("itslab", wheels(made / "wheels").get) == []
    sums = [line.split("  ") for line in (made / "SHA256SUMS").read_text().splitlines()]
    assert len(sums) == count + 3
    for digest, name in sums:
        assert hashlib.sha256((made / name).read_bytes()).hexdigest() == digest


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("sandbox")
def test_it_is_installed_without_a_network_in_minutes_and_replays(
    made: Path, small_model: models.ModelFile, tmp_path: Path
) -> None:
    home, python = tmp_path / "home", made / ".venv" / "bin" / "python"
    bundles._add_model(small_model.name, made / "models", lambda line: None)
    where = "import socket; print(*socket.if_nameindex())"
    assert offline(made, sys.executable, "-c", where, home=home) == "(1, 'lo')\n"

    said = offline(made, "sh", "install.sh", home=home)
    assert said.endswith(f"To begin: {made}/.venv/bin/itslab workshop\n")
    assert "llama.cpp is not in this folder" in said
    itslab = python.with_name("itslab")
    assert offline(tmp_path, itslab, "--version", home=home) == f"{__version__}\n"
    assert "00_start_here" in offline(tmp_path, itslab, "notebooks", home=home)
    assert offline(tmp_path, itslab, "pull", small_model.name, home=home).startswith(str(home))

    program = """
from itslab.share import shared
from itslab.workshop.ready import check, text

found = check([shared("notebooks/00_start_here.ipynb")])
print(text(found))
assert not [one for one in found if one.state == "lacking"]
"""
    said = offline(tmp_path, python, "-c", program, home=home)
    assert "OK       00_start_here" in said
    assert "llama_cpp" in said  # which is not there, and not needed

    again = "import sys; from pathlib import Path; from itslab.workshop.bundle import own_wheel"
    again += "; print(own_wheel(Path(sys.argv[1])))"
    repacked = zipfile.ZipFile(offline(tmp_path, python, "-c", again, tmp_path, home=home).strip())
    [original] = map(zipfile.ZipFile, made.glob("wheels/itslab-*.whl"))
    assert set(repacked.namelist()) == set(original.namelist())
    for name in original.namelist():
        if not name.endswith("RECORD"):
            assert repacked.read(name) == original.read(name)
