"""What one iteration holds, per replica rank: sequences that decode and prompts that prefill."""

from __future__ import annotations

from dataclasses import dataclass

from dse.equations.num import Number


@dataclass(frozen=True, slots=True)
class Decode:
    """`sequences` that each add `new` tokens (one, and drafted ones) to `context` cached ones.

    shared: tokens of the context that `group` sequences have in common and read once.
    """

    sequences: Number
    context: Number
    new: Number = 1.0
    shared: Number = 0.0
    group: Number = 1.0

    @property
    def read(self) -> Number:
        """Cached tokens read for each sequence."""
        return self.context - self.shared * (1 - 1 / self.group)

    @property
    def tokens(self) -> Number:
        """New tokens in all."""
        return self.sequences * self.new


@dataclass(frozen=True, slots=True)
class Prompt:
    """`prompts` chunks of `tokens` new positions each, the last at position `keys`.

    unevenness: mean square of the prompts' lengths over the square of their mean.
    """

    prompts: Number
    tokens: Number
    keys: Number
    unevenness: Number = 1.0


@dataclass(frozen=True, slots=True)
class Iteration:
    """One iteration of one micro-batch; either part may be absent."""

    decode: Decode | None = None
    prompt: Prompt | None = None

    @property
    def tokens(self) -> Number:
        """New tokens that the matrices multiply."""
        new = self.decode.tokens if self.decode else 0.0
        return new + self.prompt.prompts * self.prompt.tokens if self.prompt else new

    @property
    def logits(self) -> Number:
        """Positions whose logits are needed: one for each sequence and prompt."""
        rows = self.decode.tokens if self.decode else 0.0
        return rows + self.prompt.prompts if self.prompt else rows
