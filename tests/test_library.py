"""What llama.cpp was built for, what is here, and what is said where a device is lacking."""

from __future__ import annotations

import pytest

from itslab.backends import library
from itslab.backends.library import Device, gpu_layers
from itslab.core import OptionError


def test_the_registry_of_this_build_holds_the_processor() -> None:
    assert library.built()[0] == "cpu"
    assert set(library.built()) <= {"cpu", *library.BUILD_FLAGS}
    assert {device.kind for device in library.found()} <= set(library.built())
    assert "llama-cpp-python" in library.build()


@pytest.mark.parametrize(
    ("built", "here", "device", "layers"),
    [
        (["cpu"], [], "cpu", 0),
        (["cpu"], [], "auto", 0),
        (["cpu", "vulkan"], [], "auto", 0),
        (["cpu", "vulkan"], ["vulkan"], "auto", -1),
        (["cpu", "vulkan"], ["vulkan"], "vulkan", -1),
        (["cpu", "vulkan"], ["vulkan"], "cpu", 0),
        (["cpu"], [], "cuda", r'CMAKE_ARGS="-DGGML_CUDA=on" pip install .* llama-cpp-python=='),
        (["cpu", "vulkan"], ["vulkan"], "metal", r"has only cpu, vulkan\. Reinstall it with:"),
        (["cpu", "vulkan"], [], "vulkan", "its driver shows no such device"),
        (["cpu"], [], "gpu", "device must be one of auto, cpu, cuda, metal, vulkan"),
    ],
)
def test_layers_go_to_a_device_that_is_built_and_here_else_the_fix_is_told(
    monkeypatch: pytest.MonkeyPatch, built: list[str], here: list[str], device: str, layers: object
) -> None:
    """Which machine it is cannot be had here; the registry's answers stand for it."""
    monkeypatch.setattr(library, "built", lambda: tuple(built))
    monkeypatch.setattr(library, "found", lambda: tuple(Device(kind, "0", "") for kind in here))
    if isinstance(layers, int):
        assert gpu_layers(device) == layers
    else:
        with pytest.raises(OptionError, match=str(layers)):
            gpu_layers(device)
