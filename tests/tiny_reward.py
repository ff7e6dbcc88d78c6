"""A reward model of 130 kB, made by hand: Qwen3 of one layer, random weights, a head of two rows.

``Tiny.logit`` is the same model in numpy, for llama.cpp to be compared with.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

WIDTH, HEADS, HEAD_WIDTH, FEED = 64, 2, 32, 48
EPSILON, BASE = 1e-6, 10_000.0
SPECIAL = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def vocabulary() -> list[str]:
    """One token per byte, spelled as GPT-2's byte-level vocabularies do, then the special ones."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in sorted(set(range(256)) - set(plain)):
        letters[byte] = chr(256 + len(letters) - len(plain))
    return [letters[byte] for byte in range(256)] + ["ab", *SPECIAL]


def ids(text: str) -> list[int]:
    """Token ids of a text in which only ``SPECIAL`` are not single bytes."""
    found: list[int] = []
    for i, part in enumerate(text.split(SPECIAL[0])):
        found += [257] if i else []
        for j, inner in enumerate(part.split(SPECIAL[1])):
            found += [258] if j else []
            found += inner.encode()
    return found


def _weights(seed: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    inner = HEADS * HEAD_WIDTH
    shapes = {
        "token_embd": (259, WIDTH),
        "output_norm": (WIDTH,),
        "blk.0.attn_norm": (WIDTH,),
        "blk.0.attn_q": (inner, WIDTH),
        "blk.0.attn_k": (HEAD_WIDTH, WIDTH),  # both heads share keys and values
        "blk.0.attn_v": (HEAD_WIDTH, WIDTH),
        "blk.0.attn_output": (WIDTH, inner),
        "blk.0.attn_q_norm": (HEAD_WIDTH,),
        "blk.0.attn_k_norm": (HEAD_WIDTH,),
        "blk.0.ffn_norm": (WIDTH,),
        "blk.0.ffn_gate": (FEED, WIDTH),
        "blk.0.ffn_up": (FEED, WIDTH),
        "blk.0.ffn_down": (WIDTH, FEED),
        "cls.output": (2, WIDTH),
    }
    return {
        f"{name}.weight": draw.normal(1 if len(shape) == 1 else 0, 0.2, shape).astype(np.float32)
        for name, shape in shapes.items()
    }


@dataclass
class Tiny:
    """The model; change its parts before writing it."""

    weights: dict[str, np.ndarray] = field(default_factory=lambda: _weights(0))
    labels: tuple[str, ...] = ("yes", "no")
    templates: dict[str, str] = field(default_factory=lambda: {"": TEMPLATE})
    architecture: str = "qwen3"

    def write(self, path: Path) -> Path:
        """Write a GGUF file, by the specification of the format."""
        pairs = self._metadata()
        header = b"GGUF" + struct.pack("<IQQ", 3, len(self.weights), len(pairs))
        for key, value in pairs.items():
            header += _string(key) + value
        data = b""
        for name, weight in self.weights.items():
            shape = weight.shape[::-1]  # ggml counts the fastest dimension first
            header += _string(name) + struct.pack("<I", len(shape))
            header += struct.pack(f"<{len(shape)}QIQ", *shape, 0, len(data))
            data += weight.astype("<f4").tobytes()
            data += bytes(-len(data) % 32)
        path.write_bytes(header + bytes(-len(header) % 32) + data)
        return path

    def _metadata(self) -> dict[str, bytes]:
        a = self.architecture
        numbers = {
            f"{a}.block_count": 1,
            f"{a}.context_length": 1024,
            f"{a}.embedding_length": WIDTH,
            f"{a}.feed_forward_length": FEED,
            f"{a}.attention.head_count": HEADS,
            f"{a}.attention.head_count_kv": 1,
            f"{a}.attention.key_length": HEAD_WIDTH,
            f"{a}.attention.value_length": HEAD_WIDTH,
            "tokenizer.ggml.eos_token_id": 258,
        }
        pairs = {
            "general.architecture": _text(a),
            **{key: struct.pack("<II", 4, value) for key, value in numbers.items()},
            f"{a}.attention.layer_norm_rms_epsilon": struct.pack("<If", 6, EPSILON),
            f"{a}.rope.freq_base": struct.pack("<If", 6, BASE),
            "tokenizer.ggml.model": _text("gpt2"),
            "tokenizer.ggml.pre": _text("qwen2"),
            "tokenizer.ggml.tokens": _texts(vocabulary()),
            "tokenizer.ggml.token_type": struct.pack("<IIQ259i", 9, 5, 259, *[1] * 257, 3, 3),
            "tokenizer.ggml.merges": _texts(["a b"]),
        }
        if self.labels:
            pairs[f"{a}.classifier.output_labels"] = _texts(self.labels)
        for name, template in self.templates.items():
            pairs["tokenizer.chat_template" + (f".{name}" if name else "")] = _text(template)
        return pairs

    def score(self, tokens: list[int]) -> float:
        """P(first label) after the last of the tokens."""
        return float(1 / (1 + np.exp(-self.logit(tokens))))

    def logit(self, tokens: list[int]) -> float:
        """How much the head prefers its first label to its second, after the last token."""
        w = {name.removeprefix("blk.0."): weight for name, weight in self.weights.items()}
        x = w["token_embd.weight"][tokens].astype(np.float64)
        y = _norm(x, w["attn_norm.weight"])
        q = (y @ w["attn_q.weight"].T).reshape(len(tokens), HEADS, HEAD_WIDTH)
        q = _rotate(_norm(q, w["attn_q_norm.weight"]))
        k = _rotate(_norm((y @ w["attn_k.weight"].T)[:, None], w["attn_k_norm.weight"]))[:, 0]
        attended = np.einsum("ihd,jd->hij", q, k) / np.sqrt(HEAD_WIDTH)
        attended += np.triu(np.full((len(tokens),) * 2, -np.inf), 1)
        mixed = np.einsum("hij,jd->ihd", _softmax(attended), y @ w["attn_v.weight"].T)
        x = x + mixed.reshape(len(tokens), -1) @ w["attn_output.weight"].T
        y = _norm(x, w["ffn_norm.weight"])
        gate = y @ w["ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (y @ w["ffn_up.weight"].T)) @ w["ffn_down.weight"].T
        last = _norm(x[-1], w["output_norm.weight"])
        first, second = w["cls.output.weight"] @ last
        return float(first - second)


def _norm(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * weight


def _rotate(x: np.ndarray) -> np.ndarray:
    """Rotary positions, (tokens, heads, width): the halves of a head are the parts of a number."""
    half = HEAD_WIDTH // 2
    angles = np.arange(len(x))[:, None, None] * BASE ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angles)
    return np.concatenate([turned.real, turned.imag], -1)


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _text(text: str) -> bytes:
    return struct.pack("<I", 8) + _string(text)


def _texts(texts) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(texts)) + b"".join(map(_string, texts))
