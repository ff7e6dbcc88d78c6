import contextlib
import ctypes
import math
import struct
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import Q4_0, tiny_gguf
from tiny_reward import Tiny

from itslab.backends.native import Model
from itslab.core import ModelError
from itslab.models import gguf


@pytest.fixture
def write(tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(content)
        return path

    return write


def test_reads_scalars_and_strings_and_skips_arrays(write):
    names = struct.pack("<IQ", 8, 2) + b"".join(struct.pack("<Q", 1) + c for c in (b"a", b"b"))
    numbers = struct.pack("<IQ", 6, 3) + bytes(12)
    content = tiny_gguf(
        metadata=[
            ("tiny.block_count", 4, struct.pack("<I", 7)),
            ("vocabulary", 9, names),
            ("scores", 9, numbers),
            ("theta", 6, struct.pack("<f", 0.5)),
            ("add_bos", 7, b"\1"),
            ("template", 8, struct.pack("<Q", 3) + "é!".encode()),
        ]
    )
    header = gguf.read_header(write(content))
    assert header.version == 3
    assert header.metadata == {
        "general.architecture": "tiny",
        "tiny.block_count": 7,
        "theta": 0.5,
        "add_bos": True,
        "template": "é!",
    }
    assert header.end == len(content)


@pytest.mark.parametrize("alignment", [1, 32, 64, 4096])
def test_data_begins_at_the_alignment_that_the_file_names(write, alignment):
    content = tiny_gguf(metadata=[("general.alignment", 4, struct.pack("<I", alignment))])
    assert gguf.read_header(write(content)).end == len(content)


def test_size_of_a_quantized_tensor_by_hand(write):
    # 96 weights of Q4_0 are 3 blocks of 32, each 16 bytes of nibbles and a scale of 2: 54 bytes
    content = tiny_gguf(elements=96, tensor_type=Q4_0, data=bytes(54))
    assert gguf.read_header(write(content)).end == len(content)
    with pytest.raises(ModelError, match="truncated"):
        gguf.read_header(write(content[:-1]))


def test_block_sizes_are_those_of_ggml():
    import llama_cpp

    lib = next((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-base.*"))
    ggml = ctypes.CDLL(str(lib))
    ggml.ggml_type_size.restype = ctypes.c_size_t
    ggml.ggml_blck_size.restype = ctypes.c_int64
    theirs = {kind: (ggml.ggml_blck_size(kind), ggml.ggml_type_size(kind)) for kind in range(43)}
    assert {kind: block for kind, block in theirs.items() if block[1]} == gguf._BLOCKS


def test_reads_a_real_model_as_llama_cpp_does(small_model):
    import llama_cpp

    header = gguf.read_header(small_model.path)
    assert header.end == small_model.size

    options = llama_cpp.llama_model_default_params()
    options.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(small_model.path).encode(), options)
    text = ctypes.create_string_buffer(2**16)
    for key, ours in header.metadata.items():
        assert llama_cpp.llama_model_meta_val_str(model, key.encode(), text, len(text)) >= 0, key
        theirs = text.value.decode()
        if isinstance(ours, float):
            assert float(theirs) == pytest.approx(ours, abs=1e-6), key
        else:
            assert theirs == (str(ours).lower() if isinstance(ours, bool) else str(ours)), key
    llama_cpp.llama_model_free(model)


def test_a_file_cut_anywhere_is_refused(write):
    whole = tiny_gguf(metadata=[("names", 9, struct.pack("<IQQ", 8, 1, 2) + b"ab")])
    gguf.read_header(write(whole))
    for length in range(len(whole)):
        with pytest.raises(ModelError):
            gguf.read_header(write(whole[:length]))


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_header_is_read_or_refused_and_nothing_else(tmp_path_factory, data):
    content = bytearray(tiny_gguf(metadata=[("n", 9, struct.pack("<IQQ", 8, 1, 2) + b"ab")]))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(4, 160))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.gguf"
    path.write_bytes(content)
    with contextlib.suppress(ModelError):  # any other error fails
        gguf.read_header(path)


@pytest.mark.parametrize(
    "lie",
    [
        struct.pack("<IQQ", 3, 2**63, 0),  # tensors
        struct.pack("<IQQ", 3, 0, 2**63),  # keys
        struct.pack("<IQQQ", 3, 0, 1, 2**62),  # the length of a key
        struct.pack("<IQQQIIQ", 3, 0, 1, 0, 9, 8, 2**60) + bytes(2**20),  # strings in an array
        struct.pack("<IQQQIIQ", 3, 0, 1, 0, 9, 10, 2**62),  # numbers in an array
        struct.pack("<IQQQIIQ", 3, 0, 1, 0, 9, 9, 2**62),  # arrays in an array
        struct.pack("<IQQQI", 3, 0, 1, 0, 99),  # the type of a value
        struct.pack("<IQQQIIQ", 3, 1, 0, 0, 2**31, 0, 0),  # dimensions
    ],
)
def test_lies_in_the_header_cost_no_time_and_no_memory(write, lie):
    start = time.monotonic()
    with pytest.raises(ModelError, match="not a whole GGUF model"):
        gguf.read_header(write(b"GGUF" + lie))
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"GG", "begins with b'GG'"),
        (b"<html>404</html>", "begins with b'<htm'"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "no architecture"),
        (tiny_gguf(metadata=[("general.alignment", 5, bytes(4))]), "alignment of 0"),
    ],
)
def test_a_file_that_is_no_model_is_refused_with_the_reason(write, content, word):
    with pytest.raises(ModelError, match=word):
        gguf.read_header(write(content))


def test_an_absent_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not there"):
        gguf.read_header(tmp_path / "absent.gguf")
    with pytest.raises(ModelError, match="a folder"):
        gguf.read_header(tmp_path)


# -- numbers that llama.cpp does not survive -------------------------------------------------------


def _whole(value: int) -> bytes:
    return struct.pack("<II", 4, value)


def _real(value: float) -> bytes:
    return struct.pack("<If", 6, value)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("block_count", _whole(0), "is 0, not within 1 to 512"),
        ("block_count", _whole(513), "is 513, not"),
        ("block_count", _whole(1000), "is 1,000, not"),
        ("context_length", _whole(0), "is 0, not"),
        ("context_length", _whole(2**31), "is 2,147,483,648, not"),
        ("expert_count", _whole(4), "expert_used_count is 0, not within 1 to 4"),
        ("expert_count", _whole(513), "is 513, not"),
        ("expert_used_count", _whole(1), "is 1, not within 0 to 0"),
        ("rope.dimension_count", _whole(0), "is 0, where a head has 32"),
        ("rope.dimension_count", _whole(33), "is 33, where a head has 32"),
        ("rope.freq_base", _real(0), "is 0.0, not > 0"),
        ("rope.freq_base", _real(-1), "is -1.0, not > 0"),
        ("rope.freq_base", _real(math.inf), "is inf"),
        ("rope.scaling.factor", _real(math.nan), "is nan"),
        ("attention.layer_norm_rms_epsilon", _real(math.nan), "is nan"),
        ("attention.layer_norm_rms_epsilon", _real(-1e-6), "is -"),
    ],
)
def test_numbers_that_llama_cpp_does_not_survive_are_refused(
    tmp_path, monkeypatch, key, value, words
):
    whole = Tiny._metadata
    monkeypatch.setattr(Tiny, "_metadata", lambda self: {**whole(self), f"qwen3.{key}": value})
    path = Tiny().write(tmp_path / "tiny.gguf")
    for read in (gguf.read_header, Model):
        with pytest.raises(ModelError, match=f"qwen3.*{words}"):
            read(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("block_count", _whole(1)),
        ("rope.dimension_count", _whole(32)),
        ("attention.layer_norm_rms_epsilon", _real(0)),
        ("expert_count", _whole(0)),
    ],
)
def test_numbers_at_the_border_are_read(tmp_path, monkeypatch, key, value):
    whole = Tiny._metadata
    monkeypatch.setattr(Tiny, "_metadata", lambda self: {**whole(self), f"qwen3.{key}": value})
    Model(Tiny().write(tmp_path / "tiny.gguf")).close()
