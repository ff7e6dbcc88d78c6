"""The library llama.cpp: started once, what it was built as, and what it can compute on.

ggml keeps a registry for each kind (``ggml_backend_reg_name``) and a device for each that was found
(``ggml_backend_dev_name``). A build for Vulkan on a machine without a graphics card has the first
and not the second.
"""

from __future__ import annotations

import ctypes
import os
import re
from functools import cache
from typing import Any, NamedTuple

import llama_cpp as lib

from itslab.core import OptionError, require

DEVICES = ("auto", "cpu", "cuda", "metal", "vulkan")
BUILD_FLAGS = {"cuda": "-DGGML_CUDA=on", "metal": "-DGGML_METAL=on", "vulkan": "-DGGML_VULKAN=on"}
_KINDS = {"CUDA": "cuda", "ROCm": "cuda", "MTL": "metal", "Metal": "metal", "Vulkan": "vulkan"}
"""ggml's name of a registry -> ours. A build for ROCm is asked for as CUDA, whose code it runs."""


_OFFLOADED = re.compile(rb"offloaded (\d+)/(\d+) layers")
_told = {"offloaded": (0, 0)}


@lib.llama_log_callback  # type: ignore[untyped-decorator]
def _listen(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    """Drop the log, but for what is told nowhere else. llama.cpp holds only a pointer to this."""
    if match := _OFFLOADED.search(text):
        _told["offloaded"] = int(match[1]), int(match[2])


@cache
def start() -> None:
    """Initialise llama.cpp once per process."""
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an abort would start gdb otherwise
    lib.llama_log_set(_listen, ctypes.c_void_p(0))
    lib.llama_backend_init()


def build() -> str:
    """What this llama.cpp was built as, for provenance."""
    start()
    features = lib.llama_print_system_info().decode().strip().strip("|")
    parts = [
        part.split("=")[0].strip() for part in features.split("|") if part.strip().endswith("1")
    ]
    kinds = [kind for kind in built() if kind != "cpu"]
    return f"llama-cpp-python {lib.__version__} ({', '.join([*kinds, *parts]) or 'generic'})"


def offloaded() -> tuple[int, int]:
    """How many layers of the model that was loaded last are on a device, and how many it has."""
    return _told["offloaded"]


class Device(NamedTuple):
    """A graphics processor that llama.cpp found.

    Args:
        kind: ``cuda``, ``metal`` or ``vulkan``.
        name: as llama.cpp numbers it, such as ``Vulkan0``.
        description: by its driver.
    """

    kind: str
    name: str
    description: str


@cache
def built() -> tuple[str, ...]:
    """The kinds of device that this llama.cpp was built for, ``cpu`` first."""
    ggml = _ggml()
    names = [ggml.reg_name(ggml.reg_get(i)).decode() for i in range(ggml.reg_count())]
    return "cpu", *dict.fromkeys(_KINDS[name] for name in names if name in _KINDS)


@cache
def found() -> tuple[Device, ...]:
    """The graphics processors that are here and that this llama.cpp can use."""
    ggml = _ggml()
    devices = []
    for i in range(ggml.dev_count()):
        device = ggml.dev_get(i)
        kind = _KINDS.get(ggml.reg_name(ggml.dev_backend_reg(device)).decode())
        if kind is not None:
            texts = (ggml.dev_name(device), ggml.dev_description(device))
            devices.append(Device(kind, *(text.decode(errors="replace") for text in texts)))
    return tuple(devices)


def gpu_layers(device: str) -> int:
    """Return how many layers to offload for a device: 0 none, -1 all.

    Raises:
        OptionError: the device is unknown, not here, or not in this build; the text has the fix.
    """
    require(device in DEVICES, "device", device, f"one of {', '.join(DEVICES)}")
    if device == "cpu":
        return 0
    here = {each.kind for each in found()}
    if device == "auto":
        return -1 if here else 0
    if device not in built():
        raise OptionError(
            f"device={device!r}: this build of llama-cpp-python has only {', '.join(built())}. "
            f"Reinstall it with:  {reinstall(device)}"
        )
    if device not in here:
        raise OptionError(
            f"device={device!r}: this build of llama-cpp-python has it, and its driver shows no "
            f"such device on this machine: choose device='auto' or 'cpu'"
        )
    return -1


def reinstall(device: str) -> str:
    """Return the command that builds llama-cpp-python for a kind of device."""
    return (
        f'CMAKE_ARGS="{BUILD_FLAGS[device]}" pip install --force-reinstall --no-cache-dir '
        f"--no-binary llama-cpp-python llama-cpp-python=={lib.__version__}"
    )


class _GGML:
    """The functions of ggml's registry that are needed here (ggml-backend.h)."""

    def __init__(self, library: Any) -> None:
        number, pointer, text = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_char_p

        def function(name: str, result: Any, *arguments: Any) -> Any:
            native = getattr(library, f"ggml_backend_{name}")
            native.restype, native.argtypes = result, arguments
            return native

        self.reg_count = function("reg_count", number)
        self.reg_get = function("reg_get", pointer, number)
        self.reg_name = function("reg_name", text, pointer)
        self.dev_count = function("dev_count", number)
        self.dev_get = function("dev_get", pointer, number)
        self.dev_name = function("dev_name", text, pointer)
        self.dev_description = function("dev_description", text, pointer)
        self.dev_backend_reg = function("dev_backend_reg", pointer, pointer)


@cache
def _ggml() -> _GGML:
    from llama_cpp._ggml import libggml

    start()
    return _GGML(libggml)
