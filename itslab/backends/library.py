"""The library llama.cpp: loaded once, what it was built as, the devices and cores it can use.

It is an extra of the package: nothing but loading a model imports it.

ggml keeps a registry for each kind (``ggml_backend_reg_name``) and a device for each that was found
(``ggml_backend_dev_name``). A build for Vulkan on a machine without a graphics card has the first
and not the second.

What was seen of Vulkan (llama-cpp-python 0.3.36 built with ``-DGGML_VULKAN=on``, SmolLM2-135M,
Mesa's software driver llvmpipe): a beam search runs on ``device="vulkan"``. With flash attention
the driver itself crashes in a step of five sequences of unequal length, with llama.cpp alone as
well; without it the contract tests of backends pass. CUDA and Metal were not seen.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import psutil

from itslab.core import BackendError, OptionError, extra, require

INSTALL = extra("llama")

DEVICES = ("auto", "cpu", "cuda", "metal", "vulkan")
BUILD_FLAGS = {"cuda": "-DGGML_CUDA=on", "metal": "-DGGML_METAL=on", "vulkan": "-DGGML_VULKAN=on"}
_KINDS = {"CUDA": "cuda", "ROCm": "cuda", "MTL": "metal", "Metal": "metal", "Vulkan": "vulkan"}
"""ggml's name of a registry -> ours. A build for ROCm is asked for as CUDA, whose code it runs."""


class _Library:
    """``llama_cpp``, imported when the first of its names is asked for.

    Raises:
        BackendError: it is not installed, or cannot be loaded; the text has the fix.
    """

    def __getattr__(self, name: str) -> Any:
        value = getattr(_imported(), name)
        setattr(self, name, value)  # from now on it is found without coming here
        return value


def _imported() -> Any:
    # Threads of llama.cpp wait for each other a thousand times a second; by default GNU OpenMP lets
    # them spin for milliseconds, on cores that other programs could use.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        import llama_cpp
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(
            f"llama.cpp, which draws from local models, cannot be loaded ({error}): {INSTALL}. "
            "Recorded samples are replayed without it"
        ) from error
    return llama_cpp


lib: Any = _Library()
_OFFLOADED = re.compile(rb"offloaded (\d+)/(\d+) layers")
_last_loaded = {"offloaded": (0, 0)}


def _listen(level: int, text: bytes, user_data: ctypes.c_void_p) -> None:
    """Drop the log, but for what can be read nowhere else."""
    if match := _OFFLOADED.search(text):
        _last_loaded["offloaded"] = int(match[1]), int(match[2])


@cache  # which keeps what is returned: llama.cpp holds only a pointer to it
def start() -> object:
    """Load and initialise llama.cpp once per process."""
    listener = lib.llama_log_callback(_listen)
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")  # an abort would start gdb otherwise
    lib.llama_log_set(listener, ctypes.c_void_p(0))
    lib.llama_backend_init()
    return listener


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
    return _last_loaded["offloaded"]


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
    start()
    from llama_cpp._ggml import libggml

    return _GGML(libggml)


# -- cores -----------------------------------------------------------------------------------------

INTERVAL = 0.5
"""Seconds between two looks; the operating system counts in hundredths of a second."""
STALE = 10 * INTERVAL
"""Seconds after which the last look says what others did before, not while there was work."""


def spent() -> tuple[float, float]:
    """Return the busy seconds of all cores since the machine started: by this process, by others.

    What runs at low priority (nice) gives way by itself, and is not counted.
    """
    times, own = psutil.cpu_times(), time.process_time()
    busy = ("user", "system", "irq", "softirq", "interrupt", "dpc")
    return own, sum(getattr(times, name, 0.0) for name in busy) - own


class Cores:
    """How many threads may compute while other programs need the cores too.

    llama.cpp splits each of its operations over its threads, which then wait for the slowest. A
    thread that shares its core with a busy program holds all others up: with as many threads as
    cores, one such program costs far more than its share. So a model gives up a thread for each
    core taken.

    Args:
        most: threads, on a machine that is otherwise idle.
        cores: of the machine; all by default.
        clock, spent: where seconds are read.
    """

    def __init__(
        self,
        most: int,
        cores: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], tuple[float, float]] = spent,
    ) -> None:
        self._most, self._cores = most, cores or psutil.cpu_count() or most
        self._clock, self._spent = clock, spent
        self._seen, self._others = clock(), spent()[1]
        self.taken = 0.0
        self.free = most

    def look(self) -> int:
        """Return the number of threads to use now, at least 1."""
        now = self._clock()
        if now - self._seen >= INTERVAL:
            others = self._spent()[1]
            recent = now - self._seen < STALE
            self.taken = (others - self._others) / (now - self._seen) if recent else 0.0
            self._seen, self._others = now, others
            whole = math.floor(self.taken + 0.5)  # a core that is taken half of the time is lost
            self.free = min(max(self._cores - whole, 1), self._most)
        return self.free
