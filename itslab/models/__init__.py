"""GGUF models: a catalogue of them, and how to get them on disk, verified.

A model is known by the SHA-256 of its file, wherever its bytes came from.
"""

from itslab.models.catalogue import CATALOGUE, DEFAULT, Cached, ModelInfo, cached, find, home
from itslab.models.files import ModelFile, digest, pull, resolve
from itslab.models.quantization import TYPES, quantize

__all__ = [
    "CATALOGUE",
    "DEFAULT",
    "TYPES",
    "Cached",
    "ModelFile",
    "ModelInfo",
    "cached",
    "digest",
    "find",
    "home",
    "pull",
    "quantize",
    "resolve",
]
