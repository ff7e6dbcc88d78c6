"""What models multiply: hand-made headers, real files, and FLOPs followed on paper."""

from __future__ import annotations

import json
from dataclasses import replace
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itslab.backends import Bank
from itslab.core import Completion, Cost, OptionError, Shape
from itslab.models import find
from itslab.models.gguf import Header, read_header, shape_of
from itslab.share import root

# Two layers of width 8: two heads of 4, one of keys and values, 12 in between; 100 words.
LAYER = {
    "attn_norm.weight": (8,),
    "attn_q.weight": (8, 8),
    "attn_q.bias": (8,),
    "attn_k.weight": (8, 4),
    "attn_v.weight": (8, 4),
    "attn_output.weight": (8, 8),
    "ffn_norm.weight": (8,),
    "ffn_gate.weight": (8, 12),
    "ffn_up.weight": (8, 12),
    "ffn_down.weight": (12, 8),
}
MATRICES = 64 + 32 + 32 + 64 + 3 * 96  # of a layer: 480
SMALL = Shape(matrices=2 * MATRICES, head=800, attention=2 * 2 * (4 + 4))


def header(*layers: dict[str, tuple[int, ...]], **numbers: int | str) -> Header:
    """Of a tied model; ``numbers`` are metadata, with _ for the dot."""
    tensors = {"token_embd.weight": (8, 100), "output_norm.weight": (8,)}
    for i, layer in enumerate(layers):
        tensors |= {f"blk.{i}.{name}": shape for name, shape in layer.items()}
    known = {"embedding_length": 8, "attention.head_count": 2, "block_count": len(layers)}
    known |= {name.replace("attention_", "attention."): n for name, n in numbers.items()}
    metadata = {f"tiny.{name}": n for name, n in known.items()}
    return Header(3, {"general.architecture": "tiny", **metadata}, tensors, 0)


def with_tensors(header: Header, **tensors: tuple[int, ...]) -> Header:
    more = {name.replace("__", "."): shape for name, shape in tensors.items()}
    return replace(header, tensors={**header.tensors, **more})


# -- by the header ---------------------------------------------------------------------------------


def test_a_table_is_looked_up_and_multiplied_only_as_the_head():
    tied = header(LAYER, LAYER)
    assert shape_of(tied) == SMALL
    assert shape_of(with_tensors(tied, output__weight=(8, 100))) == SMALL  # stored twice
    assert shape_of(with_tensors(tied, output__weight=(8, 50))) == replace(SMALL, head=400)
    tables = with_tensors(
        tied,
        position_embd__weight=(8, 64),
        per_layer_token_embd__weight=(8, 100),
        token_types__weight=(8, 2),
        rope_freqs__weight=(4,),
    )
    assert shape_of(tables) == SMALL
    between = with_tensors(tied, per_layer_model_proj__weight=(8, 16))
    assert shape_of(between) == replace(SMALL, matrices=SMALL.matrices + 128)


def test_a_reward_model_has_its_classifier_as_head():
    model = with_tensors(header(LAYER, LAYER), cls__weight=(8, 8), cls__bias=(8,))
    model = with_tensors(model, cls__output__weight=(8, 2), cls__norm__weight=(8,))
    assert shape_of(model, "cls") == replace(SMALL, head=64 + 16)
    assert shape_of(model) == SMALL  # drawn from, it has a vocabulary as others do


def test_of_experts_the_active_ones_count():
    layer = {
        **LAYER,
        "ffn_gate_inp.weight": (8, 16),  # routes
        "ffn_gate_exps.weight": (8, 12, 16),
        "ffn_gate_exps.bias": (12, 16),
        "ffn_down_exps.weight": (12, 8, 16),
        "ffn_up_shexp.weight": (8, 12),  # always on
    }
    mixture = header(layer, layer, expert_count=16, expert_used_count=4)
    more = 8 * 16 + 4 * 8 * 12 + 4 * 12 * 8 + 8 * 12
    assert shape_of(mixture) == replace(SMALL, matrices=2 * (MATRICES + more))


def test_layers_that_predict_further_tokens_are_not_run():
    nextn = {**LAYER, "nextn.eh_proj.weight": (16, 8)}
    assert shape_of(header(LAYER, LAYER, nextn, nextn_predict_layers=1)) == SMALL


def test_only_layers_with_queries_attend():
    mamba = {"ssm_in.weight": (8, 32), "ssm_conv1d.weight": (4, 16), "ssm_a": (2, 16)}
    weights = 8 * 32 + 4 * 16 + 2 * 16
    half = Shape(SMALL.matrices - MATRICES + weights, 800, SMALL.attention // 2)
    assert shape_of(header(LAYER, mamba)) == half
    linear = {**LAYER, "ssm_conv1d_q.weight": (4, 8)}
    assert shape_of(header(LAYER, linear)).attention == SMALL.attention // 2
    fused = {"attn_qkv.weight": (8, 16), "attn_output.weight": (8, 8)}
    assert shape_of(header(fused)).attention == SMALL.attention // 2


def test_heads_may_have_a_width_of_their_own():
    wide = header(LAYER, LAYER, attention_key_length=6, attention_value_length=5)
    assert shape_of(wide).attention == 2 * 2 * (6 + 5)
    assert shape_of(header(LAYER, attention_key_length=6)).attention == 2 * (6 + 6)


def test_where_layers_differ_their_output_matrices_tell():
    narrow = {**LAYER, "attn_output.weight": (4, 8)}
    own = header(LAYER, narrow, attention_key_length=4)
    del own.metadata["tiny.attention.head_count"]  # an array, which is not read
    assert shape_of(own).attention == 2 * 8 + 2 * 4


# -- real files ------------------------------------------------------------------------------------

# name: matrices, head, attention, norms and biases, all weights of the architecture counted once
KNOWN = {
    # 30 layers of width 576, 9 heads of 64 (3 of keys and values), 1536 between; 49,152 words
    "smollm2-135m": (106_168_320, 28_311_552, 34_560, 35_136, 134_515_008),
    # 24 layers of 896, 14 heads of 64 (2), 4864; 151,936 words
    "qwen2.5-coder-0.5b": (357_826_560, 136_134_656, 43_008, 71_552, 494_032_768),
    # 28 layers of 1536, 12 heads of 128 (2), 8960; 151,936 words
    "qwen2.5-coder-1.5b": (1_310_195_712, 233_373_696, 86_016, 144_896, 1_543_714_304),
    # 18 layers of 640, 4 heads of 256 (1), 2048; 262,144 words
    "gemma-3-270m": (100_270_080, 167_772_160, 36_864, 55_936, 268_098_176),
}


@pytest.mark.parametrize("name", KNOWN)
def test_real_models_are_counted_as_their_makers_do(name: str, small_model):
    path = find(name).path
    if not path.exists():
        pytest.skip(f"{name} is not here")
    matrices, head, attention, rest, parameters = KNOWN[name]
    assert shape_of(read_header(path)) == Shape(matrices, head, attention)
    assert matrices + head + rest == parameters
    stored = sum(map(prod, read_header(path).tensors.values()))
    assert stored in (parameters, parameters + head)  # tied embeddings are stored once or twice


# -- FLOPs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 1.0, True, None, "1"])
@pytest.mark.parametrize("name", ["matrices", "head", "attention"])
def test_a_shape_is_made_of_counts(name, value):
    with pytest.raises(OptionError, match=f"{name}=.*whole number ≥ 0"):
        Shape(**{"matrices": 1, name: value})


def test_flops_by_hand():
    shape = Shape(matrices=100, head=10, attention=3)
    # positions 2, 3, 4 attend to 3, 4 and 5 tokens; two of them are followed by a drawn one
    assert shape.flops(2, 5, 2) == 2 * (3 * 100 + 2 * 10 + (3 + 4 + 5) * 3)
    assert shape.flops(4, 4, 0) == 0


def test_the_price_of_a_sample_by_hand():
    shape = Shape(matrices=100, head=10, attention=3)

    def flops(*tokens: int) -> float:
        return shape.price(Cost(*tokens)).flops

    # a prompt of 4, and 3 drawn tokens of which the last is not evaluated: positions 0 to 5
    assert flops(4, 0, 3) == 2 * (6 * 100 + 3 * 10 + 21 * 3)
    # a fork: its first token is drawn from kept logits, then positions 4 and 5
    assert flops(0, 4, 3) == 2 * (2 * 100 + 2 * 10 + (5 + 6) * 3)
    # the end of the prompt is new: positions 3, 4 and 5
    assert flops(1, 3, 3) == 2 * (3 * 100 + 3 * 10 + (4 + 5 + 6) * 3)
    assert flops(0, 4, 1) == 0
    assert flops(3, 1, 0) == 2 * (3 * 100 + (2 + 3 + 4) * 3)  # cancelled before it drew
    assert flops(0, 0, 0) == 0
    assert shape.price(Cost(1, 2, 3, 4, 5.0)) == Cost(1, 2, 3, 4, 5.0, flops(1, 2, 3))


SHAPES = st.builds(Shape, *[st.integers(0, 10**9)] * 3)
TOKENS = st.integers(1, 500)


@given(SHAPES, TOKENS, TOKENS, st.integers(1, 6))
def test_forks_cost_as_much_as_one_prompt_and_what_follows_it(shape, prompt, drawn, n):
    costs = [Cost(prompt, 0, drawn), *[Cost(0, prompt, drawn)] * (n - 1)]
    total = sum(shape.price(cost).flops for cost in costs)
    end = prompt + drawn - 1
    once = shape.flops(0, prompt, 1) + n * shape.flops(prompt, end, drawn - 1)
    assert total == pytest.approx(once)


@given(SHAPES, TOKENS, TOKENS, TOKENS)
def test_a_sample_drawn_in_two_parts_costs_what_it_costs_at_once(shape, prompt, first, second):
    whole = shape.price(Cost(prompt, 0, first + second)).flops
    end = prompt + first - 1  # the last token of the first part is drawn, not evaluated
    parts = shape.price(Cost(prompt, 0, first)) + shape.price(Cost(1, end, second))
    assert parts.flops == pytest.approx(whole)


# -- recorded --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", sorted((root() / "data").glob("*.sqlite.xz")), ids=lambda p: p.name
)
def test_recorded_banks_know_the_shape_of_their_models(path):
    for source in Bank(path).models:
        assert source.shape == Shape(*KNOWN[source.name.partition("@")[0]][:3])


@pytest.mark.parametrize("name", ["tree_search", "mcts", "refinement"])
def test_recorded_runs_are_priced_by_the_same_rule(name):
    small, large = (Shape(*KNOWN[f"qwen2.5-coder-{size}"][:3]) for size in ("0.5b", "1.5b"))
    texts = Bank(root() / "data" / f"{name}.sqlite.xz")._query("SELECT value FROM runs")
    assert texts
    for (text,) in texts:
        run = json.loads(text)
        told = [(kind, Cost(*data["cost"])) for _, kind, _, data in run["events"] if "cost" in data]
        assert sum((cost for _, cost in told), Cost()).flops == run["cost"][-1]
        for kind, cost in told:
            if cost.calls == 0:  # tests of a program, which take time and no model
                assert cost == Cost(seconds=cost.seconds)
            elif cost.calls == 1:
                assert cost == small.price(cost), kind
            else:  # a critique by the larger model, and its verdict
                evaluated = cost.prefilled + cost.decoded - 2
                dense = large.matrices * evaluated + large.head * cost.decoded
                attended, rest = divmod(cost.flops / 2 - dense, large.attention)
                assert rest == 0
                assert 0 < attended / evaluated < cost.prefilled + cost.reused + cost.decoded


# -- cut shorter -----------------------------------------------------------------------------------


def completion(cost: Cost, shape: Shape | None) -> Completion:
    n = cost.decoded
    ids = tuple(range(n))
    return Completion("x" * n, ids, offsets=ids, finish="length", cost=cost, shape=shape)


@given(SHAPES, st.integers(0, 300), st.integers(0, 300), TOKENS, TOKENS)
def test_a_shortened_sample_costs_as_if_it_had_been_drawn_so(shape, new, reused, drawn, kept):
    cost = Cost(new, reused, drawn, 1, float(new + drawn - 1))
    short = completion(shape.price(cost), shape).truncate(kept)
    n = min(drawn, kept)
    paid = replace(cost, decoded=n, seconds=pytest.approx(new + n - 1))
    assert short.cost == replace(shape.price(replace(cost, decoded=n)), seconds=paid.seconds)
    assert short.truncate(kept) == short
    assert completion(shape.price(cost), shape).truncate(kept + 7).truncate(kept).tokens == (
        short.tokens
    )


def test_without_a_shape_flops_shrink_with_the_tokens_evaluated():
    known = Cost(4, 0, 7, 1, flops=100.0)  # ten tokens evaluated
    assert completion(known, None).truncate(3).cost.flops == 60.0


@pytest.mark.parametrize("tokens", [0, -1, 2.0, True, None, "3"])
def test_a_sample_is_cut_to_a_number_of_tokens(tokens):
    with pytest.raises(OptionError, match="max_tokens"):
        completion(Cost(4, 0, 7), None).truncate(tokens)
