"""The header of a GGUF file: its metadata, its tensors, where the last ends, what they multiply.

Enough to tell a whole model from a damaged one before llama.cpp maps it. The format, by the GGUF
specification (github.com/ggml-org/ggml, docs/gguf.md), versions 2 and 3, little-endian: counts,
key-value pairs, one entry per tensor, then the data, aligned.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite, prod
from pathlib import Path
from typing import Any, Literal

from itslab.core import ModelError, Shape

_LARGEST_HEADER = 64 * 2**20  # bytes; a vocabulary of 256k tokens with merges takes 16 MiB
_MOST_KEYS = 65_536
_MOST_DIMENSIONS = 4
_MOST_LAYERS = _MOST_EXPERTS = 512  # LLAMA_MAX_LAYERS, LLAMA_MAX_EXPERTS
_TURNED_WHOLE = ("llama", "qwen2", "qwen3")  # by RoPE: every dimension of a head, or llama.cpp ends

# value type -> struct format; strings are 8, arrays are 9
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9

# ggml's tensor types: number -> (elements, bytes) of one block
# fmt: off
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18), 42: (64, 18),
}
# fmt: on


@dataclass(frozen=True, slots=True)
class Header:
    """What a GGUF file says of itself.

    Args:
        version: of the format.
        metadata: the scalar and string values by key, such as ``general.architecture``. Arrays
            (vocabularies, merges) are left out.
        tensors: the shape of each by its name, the fastest dimension first.
        end: bytes the file must have, so that its last tensor is whole. A lower bound where a
            tensor is of a type newer than this reader.
    """

    version: int
    metadata: Mapping[str, bool | int | float | str] = field(repr=False)
    tensors: Mapping[str, tuple[int, ...]] = field(repr=False)
    end: int

    def number(self, key: str) -> int:
        """A whole number that the model's architecture has under a key; 0 if there is none."""
        value = self.metadata.get(f"{self.metadata['general.architecture']}.{key}", 0)
        return int(value) if isinstance(value, int | float) else 0


# fmt: off
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}
# fmt: on


def quantization(metadata: Mapping[str, bool | int | float | str]) -> str:
    """Return what most weights of a file are quantized to, such as ``Q4_K_M``; "" if untold.

    Args:
        metadata: of its header; ``general.file_type`` is a number of llama.cpp's ``llama_ftype``.
    """
    number = metadata.get("general.file_type")
    return _FILE_TYPES.get(number, "") if isinstance(number, int) else ""


def read_header(path: Path) -> Header:
    """Read the header of a GGUF model and check that the file holds all of its tensors.

    Raises:
        ModelError: the file cannot be read, is not a GGUF model, or is damaged or truncated.
    """
    if not path.is_file():
        raise ModelError(
            f"{path} is {'a folder' if path.is_dir() else 'not there'}: name a GGUF file"
        )
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = min(size, _LARGEST_HEADER)
            with mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ) as data:
                header = _parse(_Reader(data))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise ModelError(f"{path} is not a whole GGUF model: {error}") from error
    if size < header.end:
        raise ModelError(
            f"{path} is truncated: its tensors take {header.end:,} bytes, it has {size:,}; "
            "fetch it again"
        )
    return header


class _Reader:
    """A cursor over the first bytes of a file.

    It never moves past their end, so a hostile length costs neither memory nor time.
    """

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.position = 0

    def _broken(self, position: int) -> ValueError:
        return ValueError(f"truncated or damaged, its header breaks off at byte {position:,}")

    def skip(self, size: int) -> int:
        """Move on, and return the position before."""
        start = self.position
        if size > len(self.data) - start:
            raise self._broken(start)
        self.position += size
        return start

    def numbers(self, form: str) -> tuple[Any, ...]:
        """Read numbers, ``form`` in the letters of ``struct``."""
        return struct.unpack_from(f"<{form}", self.data, self.skip(struct.calcsize(f"<{form}")))

    def string(self) -> str:
        """Read a string: its length in bytes, then UTF-8."""
        start = self.skip(*self.numbers("Q"))
        return self.data[start : self.position].decode(errors="replace")

    def skip_array(self) -> None:
        """Skip an array of scalars or strings: element type, count, elements."""
        kind, count = self.numbers("IQ")
        if kind in _SCALARS:
            self.skip(count * struct.calcsize(f"<{_SCALARS[kind]}"))
        elif kind == _STRING:
            self._skip_strings(count)
        else:
            raise ValueError(f"an array of values of type {kind}")

    def _skip_strings(self, count: int) -> None:
        length_at = struct.Struct("<Q").unpack_from
        position, last = self.position, len(self.data) - 8
        for _ in range(count):  # a vocabulary: 300,000 rounds
            if position > last:
                raise self._broken(position)
            position += 8 + length_at(self.data, position)[0]
        self.skip(position - self.position)


def _parse(reader: _Reader) -> Header:
    if (magic := reader.data[:4]) != b"GGUF":
        raise ValueError(f"it begins with {magic!r}, not with b'GGUF'")
    reader.skip(4)
    version, tensors, keys = reader.numbers("IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} of the format, where 2 and 3 are known")
    if keys > _MOST_KEYS:
        raise ValueError(f"{keys:,} keys of metadata, where at most {_MOST_KEYS:,} are plausible")
    metadata = _metadata(reader, keys)
    _check(metadata)
    found = [_tensor(reader) for _ in range(tensors)]
    if "general.architecture" not in metadata or not found:
        raise ValueError("it names no architecture or holds no tensors")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError(f"an alignment of {alignment!r}")
    start = -(-reader.position // alignment) * alignment
    shapes = {name: shape for name, shape, _ in found}
    return Header(version, metadata, shapes, start + max(end for _, _, end in found))


def _check(metadata: Mapping[str, bool | int | float | str]) -> None:
    """Refuse numbers at which llama.cpp would abort, or compute nonsense."""
    prefix = f"{metadata.get('general.architecture')}."
    own = {k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)}

    def whole(key: str, low: int, high: int) -> None:
        value = own.get(key, low)
        if type(value) is int and not low <= value <= high:
            raise ValueError(f"{prefix}{key} is {value:,}, not within {low:,} to {high:,}")

    whole("block_count", 1, _MOST_LAYERS)
    whole("context_length", 1, 2**31 - 1)
    for key, value in own.items():
        if isinstance(value, float) and (not isfinite(value) or (value < 0 and "epsilon" in key)):
            raise ValueError(f"{prefix}{key} is {value}")
    if not own.get("rope.freq_base", 1.0) > 0:  # type: ignore[operator]
        raise ValueError(f"{prefix}rope.freq_base is {own['rope.freq_base']}, not > 0")
    experts = own.get("expert_count", 0)
    own.setdefault("expert_used_count", 0)
    if type(experts) is int:
        whole("expert_count", 0, _MOST_EXPERTS)
        whole("expert_used_count", min(experts, 1), experts)
    heads, width = own.get("attention.head_count"), own.get("embedding_length")
    if prefix[:-1] in _TURNED_WHOLE and type(heads) is int and type(width) is int and heads:
        turned = own.get("attention.key_length", width // heads)
        if own.get("rope.dimension_count", turned) != turned:
            found = f"{prefix}rope.dimension_count is {own['rope.dimension_count']}"
            raise ValueError(f"{found}, where a head has {turned} dimensions")


def _metadata(reader: _Reader, keys: int) -> dict[str, bool | int | float | str]:
    metadata: dict[str, bool | int | float | str] = {}
    for _ in range(keys):
        key = reader.string()
        (kind,) = reader.numbers("I")
        if kind in _SCALARS:
            (metadata[key],) = reader.numbers(_SCALARS[kind])
        elif kind == _STRING:
            metadata[key] = reader.string()
        elif kind == _ARRAY:
            reader.skip_array()
        else:
            raise ValueError(f"{key!r} has a value of type {kind}")
    return metadata


def _tensor(reader: _Reader) -> tuple[str, tuple[int, ...], int]:
    """The name of the next tensor, its shape, and where its data ends."""
    name = reader.string()
    (rank,) = reader.numbers("I")
    if rank > _MOST_DIMENSIONS:
        raise ValueError(f"tensor {name!r} has {rank} dimensions")
    shape = reader.numbers(f"{rank}Q")
    kind, offset = reader.numbers("IQ")
    elements, size = _BLOCKS.get(kind, (1, 0))
    return name, shape, int(offset + prod(shape) // elements * size)


# -- what a model multiplies -----------------------------------------------------------------------

_TABLE = re.compile(r"(per_layer_)?token_embd\.|position_embd\.|token_types\.")
_HEAD = re.compile(r"output\.|cls\.")
_NO_MATRIX = re.compile(r"norm|\.bias$")
_QUERY = re.compile(r"(blk\.\d+)\.attn_(q|q_a|q_b|qkv)\.weight")
_LINEAR = "ssm_conv1d_q.weight"  # what a layer of linear attention (Kimi) has besides


def shape_of(header: Header, head: Literal["output", "cls"] = "output") -> Shape:
    """Return what a model multiplies, by its header; see ``Shape``.

    It is read from the tensors, whatever the architecture. Each of two or more dimensions is a
    matrix that every evaluated token is multiplied with, except

    - tables in which a token's row is looked up, and the head: ``output.weight``, or the table of
      embeddings where the file holds no other (some files hold tied embeddings twice);
    - experts, of which only the active ones count;
    - layers that predict further tokens (``nextn``), which llama.cpp does not run when it draws.

    Approximated: sliding windows and sparse attention count as if they reached back to the first
    token; a convolution or a recurrent state (Mamba) counts one multiplication for each of its
    weights; the states of linear attention and RWKV, which have none, are left out.

    Args:
        header: of the model's file.
        head: what stands on the last layer: the vocabulary, or a reward model's classifier.
    """
    run = _run(header)
    weights = {
        name: _active(header, name, prod(shape))
        for name, shape in run.items()
        if sum(n > 1 for n in shape) > 1 and not _NO_MATRIX.search(name)
    }
    heads = [name for name in weights if name.startswith(f"{head}.")] or ["token_embd.weight"]
    return Shape(
        matrices=sum(
            n for name, n in weights.items() if not (_TABLE.match(name) or _HEAD.match(name))
        ),
        head=sum(weights.get(name, 0) for name in heads),
        attention=_attention(header, run),
    )


def _run(header: Header) -> dict[str, tuple[int, ...]]:
    """The tensors of all layers that are run."""
    end = header.number("block_count") - header.number("nextn_predict_layers")
    layers = {name: re.match(r"blk\.(\d+)\.", name) for name in header.tensors}
    kept = [name for name, layer in layers.items() if layer is None or int(layer[1]) < end]
    return {name: header.tensors[name] for name in kept}


def _active(header: Header, name: str, weights: int) -> int:
    """How many of these weights a token is multiplied with."""
    experts = header.number("expert_count")
    if "exps." not in name or not experts:
        return weights
    return weights * header.number("expert_used_count") // experts


def _attention(header: Header, run: dict[str, tuple[int, ...]]) -> int:
    """Query and value widths, summed over the layers that attend."""
    heads = header.number("attention.head_count")  # 0 where layers differ
    key = header.number("attention.key_length")
    key = key or header.number("embedding_length") // max(heads, 1)
    value = header.number("attention.value_length") or key
    width = 0
    for layer in {found[1] for name in run if (found := _QUERY.match(name))}:
        if f"{layer}.{_LINEAR}" not in run:
            output = run.get(f"{layer}.attn_output.weight", (0,))  # its rows are the values
            width += heads * (key + value) if heads else 2 * output[0]
    return width
