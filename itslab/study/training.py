"""The other side: what training longer or larger buys, by published laws, and what it trades for.

Losses are nats per token on the text that each law was fitted to; neither says anything of a
benchmark's accuracy. N counts parameters, D training tokens, and training costs about 6 N D FLOPs.
"""

from __future__ import annotations

from itslab.options import Positive, checked


@checked
def chinchilla(n: Positive, d: Positive) -> float:
    """Return the loss of a model of n parameters trained on d tokens.

    E + A / N^α + B / D^β with E = 1.69, A = 406.4, B = 410.7, α = 0.34, β = 0.28: Hoffmann et al.
    2022 (arXiv:2203.15556).
    """
    return float(1.69 + 406.4 / n**0.34 + 410.7 / d**0.28)


@checked
def kaplan(n: Positive, d: Positive) -> float:
    """Return the loss of a model of n non-embedding parameters trained on d tokens.

    ((N_c / N)^(α_N / α_D) + D_c / D)^α_D with α_N = 0.076, α_D = 0.103, N_c = 6.4 × 10^13,
    D_c = 1.8 × 10^13, as fitted to both at once: Kaplan et al. 2020 (arXiv:2001.08361, equation 1.5
    and Table 2). Their laws of N alone and of D alone have other constants.
    """
    return float(((6.4e13 / n) ** (0.076 / 0.103) + 1.8e13 / d) ** 0.103)


@checked
def training_flops(n: Positive, d: Positive) -> float:
    """Return the FLOPs of training n parameters on d tokens: 6 N D (Kaplan et al. 2020, §2.1)."""
    return 6.0 * n * d


@checked
def exchange(larger: Positive, ratio: Positive) -> float:
    """Return how many times as much inference a smaller model may spend for a larger one's FLOPs.

    Training a model M times larger and asking it costs M (X + Y), where X = 6 N D_pretrain and
    Y = 2 N D_inference are those of the smaller one. Spent on inference by that, it is
    M + 3 (M − 1) / R times its own: Snell et al. 2024 (arXiv:2408.03314).

    Args:
        larger: M, how many times the parameters of the smaller model the larger one has, ≥ 1.
        ratio: R = D_inference / D_pretrain, the tokens that a model will ever draw, for all its
            users, as a multiple of those that it was trained on.
    """
    return larger + 3 * max(larger - 1, 0.0) / ratio


@checked
def break_even(larger: Positive, multiple: Positive) -> float:
    """Return R at which a multiple of the smaller model's inference costs as much as the larger.

    Below it, spending so much on inference is cheaper than training the larger model; above, it is
    dearer. Infinite where inference alone is cheaper already.

    Args:
        larger: as of ``exchange``.
        multiple: of the smaller model's FLOPs for one pass.
    """
    return 3 * (larger - 1) / (multiple - larger) if multiple > larger else float("inf")
