"""Speculative decoding and multi-token prediction: tokens per step, and what a step costs then."""

from __future__ import annotations

from dse.equations.num import Number, minimum
from dse.equations.registry import equation

LEVIATHAN = "Leviathan, Kalman, Matias: fast inference by speculative decoding, arXiv 2211.17192, equation 1"


@equation("", LEVIATHAN, drafted="", share="")
def tokens_per_step(drafted: Number, share: Number) -> Number:
    """Tokens that a decode step yields on average: the accepted run of the `drafted` ones and the model's own.

    `share`: chance that a drafted token is accepted if those before it were, independently of each other.
    """
    bounded = minimum(share, 1 - 1e-9)
    return (1 - bounded ** (drafted + 1)) / (1 - bounded)


@equation("s", LEVIATHAN, verify="s", drafted="", draft="s")
def speculative_step(verify: Number, drafted: Number, draft: Number) -> Number:
    """A decode step: drafting one token after the other, and the model's iteration over all of them at once."""
    return verify + drafted * draft


@equation("", "definition", output="", tokens_each="")
def speculative_steps(output: Number, tokens_each: Number) -> Number:
    """Decode steps of an answer whose first token comes with the prompt."""
    return (output - 1) / tokens_each
