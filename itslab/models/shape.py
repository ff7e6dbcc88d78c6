"""What a model multiplies, read from the header of its GGUF file; see ``Shape``.

The tensors tell it, whatever the architecture. Each of two or more dimensions is a matrix that
every evaluated token is multiplied with, except

- tables in which a token's row is looked up, and the head: ``output.weight``, or the table of
  embeddings where the file holds no other (some files hold tied embeddings twice);
- experts, of which only the active ones count;
- layers that predict further tokens (``nextn``), which llama.cpp does not run when it draws.

Approximated: sliding windows and sparse attention count as if they reached back to the first token;
a convolution or a recurrent state (Mamba) counts one multiplication for each of its weights; the
states of linear attention and RWKV, which have none, are left out.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path
from typing import Literal

from itslab.core import Shape
from itslab.models.gguf import Header, read_header

_TABLE = re.compile(r"(per_layer_)?token_embd\.|position_embd\.|token_types\.")
_HEAD = re.compile(r"output\.|cls\.")
_NO_MATRIX = re.compile(r"norm|\.bias$")
_QUERY = re.compile(r"(blk\.\d+)\.attn_(q|q_a|q_b|qkv)\.weight")
_LINEAR = "ssm_conv1d_q.weight"  # what a layer of linear attention (Kimi) has besides


def read_shape(path: Path, head: Literal["output", "cls"] = "output") -> Shape:
    """Read the shape of a GGUF model.

    Args:
        path: the file.
        head: what stands on the last layer: the vocabulary, or a reward model's classifier.

    Raises:
        ModelError: the file is no GGUF model, or is damaged.
    """
    return shape_of(read_header(path), head)


def shape_of(header: Header, head: Literal["output", "cls"] = "output") -> Shape:
    """Return the shape of a model by its header; see ``read_shape``."""
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
    end = _number(header, "block_count") - _number(header, "nextn_predict_layers")
    layers = {name: re.match(r"blk\.(\d+)\.", name) for name in header.tensors}
    kept = [name for name, layer in layers.items() if layer is None or int(layer[1]) < end]
    return {name: header.tensors[name] for name in kept}


def _active(header: Header, name: str, weights: int) -> int:
    """How many of these weights a token is multiplied with."""
    experts = _number(header, "expert_count")
    if "exps." not in name or not experts:
        return weights
    return weights * _number(header, "expert_used_count") // experts


def _attention(header: Header, run: dict[str, tuple[int, ...]]) -> int:
    """Query and value widths, summed over the layers that attend."""
    heads = _number(header, "attention.head_count")  # 0 where layers differ
    key = _number(header, "attention.key_length")
    key = key or _number(header, "embedding_length") // max(heads, 1)
    value = _number(header, "attention.value_length") or key
    width = 0
    for layer in {found[1] for name in run if (found := _QUERY.match(name))}:
        if f"{layer}.{_LINEAR}" not in run:
            output = run.get(f"{layer}.attn_output.weight", (0,))  # its rows are the values
            width += heads * (key + value) if heads else 2 * output[0]
    return width


def _number(header: Header, key: str) -> int:
    value = header.metadata.get(f"{header.metadata['general.architecture']}.{key}", 0)
    return int(value) if isinstance(value, int | float) else 0
