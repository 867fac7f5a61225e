"""What the laws of continuous batching are told: how long an iteration takes, what a request holds, how an engine
batches.

All numbers may be NumPy arrays that broadcast together.
"""

from __future__ import annotations

from dataclasses import dataclass

from dse.equations import batching as law
from dse.equations.num import Number, maximum

POLICIES = ("mixed", "prompt_first", "disaggregated")


@dataclass(frozen=True, slots=True)
class IterationCost:
    """Time of one iteration (s), affine around an operating point.

    fixed: weights, launches, host. per_sequence: for each decoding sequence. per_kv: for each cached token that the
    decodes read. per_token: for each prompt token. per_pair: for each query-key pair of the prompts' attention.
    """

    fixed: Number
    per_sequence: Number = 0.0
    per_kv: Number = 0.0
    per_token: Number = 0.0
    per_pair: Number = 0.0

    def __call__(self, sequences: Number, cached: Number, tokens: Number = 0.0, pairs: Number = 0.0) -> Number:
        """Seconds of an iteration: `sequences` with `cached` tokens in all decode beside `tokens` of prompts."""
        decode = self.per_sequence * sequences + self.per_kv * cached
        return self.fixed + decode + self.per_token * tokens + self.per_pair * pairs


@dataclass(frozen=True, slots=True)
class Requests:
    """Lengths in tokens: mean and squared coefficient of variation. prefix_hit: share of a prompt already cached.

    cached: tokens that a sequence of the batch holds, where somebody says so.
    output counts iterations (the first token's among them); answer is its length where steps yield several tokens.
    """

    prompt: Number
    output: Number
    prompt_cv2: Number = 0.0
    output_cv2: Number = 0.0
    prefix_hit: Number = 0.0
    answer: Number | None = None
    cached: Number | None = None

    @property
    def new(self) -> Number:
        """Prompt tokens to compute."""
        return law.uncached_tokens(self.prompt, self.prefix_hit)

    @property
    def pairs(self) -> Number:
        """Query-key pairs of a mean prompt."""
        return law.uncached_pairs(self.prompt, self.prefix_hit, self.prompt_cv2)

    @property
    def steps(self) -> Number:
        """Decode iterations of a request: its first token comes with the prompt."""
        return maximum(self.output - 1, 1)

    @property
    def context(self) -> Number:
        """Cached tokens of a sequence met in the batch, where long answers are met more often; or what was said."""
        if self.cached is not None:
            return self.cached
        answer = self.output if self.answer is None else self.answer
        return law.context_met(self.prompt, answer - 1, self.output_cv2)


@dataclass(frozen=True, slots=True)
class Batching:
    """How an engine batches. policy: one of `POLICIES`. budget: tokens of an iteration. places: sequences that fit.

    Where the policy is disaggregated: prefill and decode count the engines of the two pools, places are those of one
    decode engine, and `transfer` (s) is how long a prompt's cache travels.
    """

    policy: str
    budget: Number
    places: Number
    prefill: Number = 1.0
    decode: Number = 1.0
    transfer: Number = 0.0


@dataclass(frozen=True, slots=True)
class Phases:
    """Phase times (s) of one kind of request. step: a decode iteration's part that does not grow with the batch.
    sequence: its part per decoding sequence. launch: an iteration's part that does not grow with prompts, where it
    holds prompts only. work: what one prompt adds to an iteration.
    """

    step: Number
    sequence: Number
    launch: Number
    work: Number

    def decode(self, batch: Number) -> Number:
        """A decode iteration of `batch` sequences."""
        return self.step + self.sequence * batch


def phases(prompts: IterationCost, decode: IterationCost, requests: Requests) -> Phases:
    """Phase times from the cost of an iteration that holds prompts, and of one that decodes.

    Where prompts share iterations with decodes, the two are the same and `launch` equals `step`.
    """
    return Phases(
        decode.fixed, decode.per_sequence + decode.per_kv * requests.context, prompts.fixed,
        prompts.per_token * requests.new + prompts.per_pair * requests.pairs,
    )
