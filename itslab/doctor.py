"""What this machine can do, part by part, and how to mend what is lacking."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NamedTuple

from itslab import models, sandbox
from itslab.backends import library
from itslab.backends.library import INTERVAL, Cores
from itslab.core import ItslabError
from itslab.models.sources import megabytes

NEEDED_MEMORY = 2 * 2**30
NEEDED_DISK = 2**30
CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Finding(NamedTuple):
    """One part of the machine: what was found, and the fix where it is lacking."""

    state: Literal["OK", "lacking", "optional"]
    part: str
    found: str
    fix: str = ""


def diagnose() -> Iterator[Finding]:
    """Look at one part after the other."""
    yield Finding("OK", "python", f"{platform.python_version()}, {sys.executable}")
    yield _cores()
    yield _memory()
    yield from _llama()
    yield _disk()
    yield _models()
    yield _weights()
    yield Finding("OK", "notebooks", f"JupyterLab {version('jupyterlab')}")
    yield _sandbox()
    yield _chromium()


def _cores() -> Finding:
    import psutil

    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    found = f"{physical} physical, {logical} logical, {platform.machine()}"
    cores = Cores(physical or 1)
    time.sleep(2 * INTERVAL)
    free = cores.look()
    found += f"; other programs take {cores.taken:.1f}, models draw with {free} now"
    if free < (physical or 1):
        return Finding("optional", "cores", found, "end other programs for full speed")
    return Finding("OK", "cores", found)


def _memory() -> Finding:
    import psutil

    memory = psutil.virtual_memory()
    found = f"{megabytes(memory.available)} free of {megabytes(memory.total)}"
    if memory.available >= NEEDED_MEMORY:
        return Finding("OK", "memory", found)
    return Finding("lacking", "memory", found, f"free some: {megabytes(NEEDED_MEMORY)} are needed")


def _llama() -> Iterator[Finding]:
    try:
        library.start()
    except ItslabError as error:
        fix = f"{library.INSTALL} (a C++ compiler builds it), or take conda-forge's binary"
        yield Finding("lacking", "llama.cpp", f"{error.__cause__}", f"{fix}; replay needs none")
        return
    yield Finding("OK", "llama.cpp", library.build())
    kinds = ", ".join(library.built()[1:])
    if devices := library.found():
        names = ", ".join(f"{device.name} ({device.description})" for device in devices)
        yield Finding("OK", "devices", f"{names}{_offloaded()}")
    elif kinds:
        found = f"none, though llama.cpp was built for {kinds}: models run on the processor"
        yield Finding("optional", "devices", found, "install the device's driver")
    else:
        others = list(library.BUILD_FLAGS.values())[1:]
        yield Finding(
            "optional",
            "devices",
            "cpu only, which is all there is without a graphics card",
            f"{library.reinstall('cuda')}   (or {', '.join(others)})",
        )


def _offloaded() -> str:
    """How much of the smallest model on disk goes onto the device when it is loaded."""
    from itslab.backends.native import Model

    files = sorted(models.cached(), key=lambda item: item.size)
    if not files:
        return ""
    try:
        model = Model(files[0].path)
    except ItslabError as error:
        return f"; {files[0].name} could not be loaded: {error}"
    there, all_layers = model.offloaded
    model.close()
    return f"; {there} of {all_layers} layers of {files[0].name} are offloaded"


def _disk() -> Finding:
    home = models.home()
    there = next(folder for folder in [home, *home.parents] if folder.exists())
    free = shutil.disk_usage(there).free
    found = f"{home}, {megabytes(free)} free"
    if not os.access(there, os.W_OK):
        return Finding("lacking", "cache", f"{home} cannot be written", "let ITSLAB_HOME move it")
    if free < NEEDED_DISK:
        return Finding("lacking", "cache", found, "free some space, or let ITSLAB_HOME move it")
    return Finding("OK", "cache", found)


def _models() -> Finding:
    found = [
        f"{item.name.rpartition('/')[2].removesuffix('.gguf')} ({megabytes(item.size)})"
        for item in models.cached()
    ]
    if found:
        return Finding("OK", "models", ", ".join(found))
    return Finding("optional", "models", "none on disk", f"itslab pull {models.DEFAULT}")


def _weights() -> Finding:
    """What other quantizations are worth, by the recorded study; speed is a matter of machines."""
    return Finding(
        "OK",
        "weights",
        "begin with 4 bits, Q4_K_M as published: on 100 word problems Q8_0 solves no more (−2 "
        "[−5, +1] points), Q4_0 less (−8 [−16, −2]); `itslab bench-models` says what that comes "
        "to in seconds here",
    )


def _sandbox() -> Finding:
    try:
        return Finding("OK", "sandbox", f"{sandbox.mechanism()}, for programs that models write")
    except ItslabError as error:
        what, _, fix = str(error).partition(": ")
        return Finding("optional", "sandbox", what, fix)


def _chromium() -> Finding:
    names = [os.environ.get("CHROMIUM", ""), *CHROMIUM]
    path = next((path for name in names if name and (path := shutil.which(name))), None)
    if path:
        return Finding("OK", "chromium", path)
    return Finding("optional", "chromium", "not found (for the browser test)", "install chromium")


def processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "")
