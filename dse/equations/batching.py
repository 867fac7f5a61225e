"""Continuous batching: what a request asks of an engine, and how many an engine can take."""

from __future__ import annotations

from math import e

from dse.equations.num import Number, maximum, minimum
from dse.equations.registry import equation

RENEWAL = "conservation, with the length-biased lengths that renewal theory gives a random observer"


@equation("", "definition", prompt="", share="")
def uncached_tokens(prompt: Number, share: Number) -> Number:
    """Prompt tokens that no prefix cache holds; at least the last one, whose logits are needed."""
    return maximum(prompt * (1 - share), 1)


@equation("", "definition: the uncached tokens see the cached ones and each other", prompt="", share="",
          length_cv2="")
def uncached_pairs(prompt: Number, share: Number, length_cv2: Number) -> Number:
    """Mean query-key pairs of causal attention that a prompt's uncached tokens cost, lengths varying."""
    return prompt**2 * (1 + length_cv2) * (1 - share**2) / 2


@equation("", RENEWAL, prompt="", output="", length_cv2="")
def context_met(prompt: Number, output: Number, length_cv2: Number) -> Number:
    """Cached tokens of a sequence met in a running batch, halfway through an answer of length-biased length."""
    return prompt + output * (1 + length_cv2) / 2


@equation("", RENEWAL, capacity="", prompt="", output="", length_cv2="")
def sequences_held(capacity: Number, prompt: Number, output: Number, length_cv2: Number) -> Number:
    """Sequences that a cache of `capacity` tokens holds if each reserves its prompt and answer for its whole stay.

    Long answers stay longer, so they weigh more; half a sequence's room is empty on average.
    """
    return maximum(capacity / (prompt + output * (1 + length_cv2)) - 0.5, 1)


@equation("", "conservation of tokens", places="", residence="", budget="", new_tokens="")
def budgeted_batch(places: Number, residence: Number, budget: Number, new_tokens: Number) -> Number:
    """Sequences that run at once: all places, or what decodes and prompts share of the token budget.

    Over its `residence` iterations each request takes one token of the budget in each, and `new_tokens` once.
    """
    return minimum(places, residence * budget / (residence + new_tokens))


@equation("", "decode-first batching, arXiv 2403.02310", budget="", batch="", new_tokens="")
def prompts_in_room(budget: Number, batch: Number, new_tokens: Number) -> Number:
    """Prompts of `new_tokens` that fit beside `batch` decodes in one iteration's budget; below 1, a share of one."""
    return maximum(budget - batch, minimum(budget, 64)) / new_tokens


@equation("", "bin packing of whole prompts: a length-biased half stays empty", budget="", new_tokens="",
          length_cv2="")
def whole_prompts(budget: Number, new_tokens: Number, length_cv2: Number) -> Number:
    """Whole prompts that a budget holds on average, at least one; none is wasted where all are alike."""
    return maximum(budget / new_tokens - minimum(3 * length_cv2, (1 + length_cv2) / 2), 1)


@equation("1/s", "conservation", batch="", steps="", step="s", prompt_work="s")
def full_batch_rate(batch: Number, steps: Number, step: Number, prompt_work: Number) -> Number:
    """Requests per second of an engine whose batch is always full: a cycle decodes, and computes its prompts."""
    return batch / (steps * step + batch * prompt_work)


@equation("", "a Poisson number given that it is not zero", expected="", most="")
def prompts_together(expected: Number, most: Number) -> Number:
    """Mean prompts of an iteration that has any, where `expected` come between two decodes."""
    return minimum(expected / (1 - e ** (-expected)), most)
