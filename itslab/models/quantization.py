"""Quantize a GGUF file with llama.cpp."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from itslab.core import ModelError, extra, require
from itslab.models.catalogue import ModelInfo, home
from itslab.models.files import making, resolve
from itslab.models.gguf import read_header
from itslab.models.sources import megabytes, say
from itslab.options import Text, checked

# fmt: off
TYPES = (
    "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q5_K_S", "Q5_1", "Q5_0", "Q4_K_M", "Q4_K_S", "Q4_1",
    "Q4_0", "IQ4_NL", "IQ4_XS", "Q3_K_L", "Q3_K_M", "Q3_K_S", "Q2_K",
)
# fmt: on
"""What ``quantize`` offers: llama.cpp's types that need no importance matrix."""


@checked
def quantize(ref: Text | Path | ModelInfo, type: str, progress: bool = True) -> Path:
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
    if find_spec("llama_cpp") is None:
        raise ModelError(f"llama.cpp, which quantizes, is not installed: {extra('llama')}")
    source = resolve(ref, progress)
    stem = source.name.removeprefix("hf:").replace("/", "-").removesuffix(".gguf")
    target = home() / "models" / "quantized" / f"{stem}-{type}-{source.digest[:12]}.gguf"
    if target.is_file():
        return target
    with making(target, progress) as parts:
        if not target.is_file():  # another process may have made it meanwhile
            say(progress, f"{target.name}: quantizing {megabytes(source.size)}")
            made = Path(tempfile.mkdtemp(dir=parts), "made.gguf")
            _run_quantize(source.path, made, type)
            os.replace(made, target)
    return target


def _run_quantize(source: Path, target: Path, type: str) -> None:
    """Quantize in a process of its own: it can be interrupted, and an abort there ends nothing."""
    code = f"import sys; from {__name__} import _llama_quantize as q; sys.exit(q(*sys.argv[1:]))"
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
