"""What is asked of a deployment: lengths, and how requests come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dse.equations.num import Number
from dse.errors import InputError
from dse.plan.cells import cell, check_cells

LOADS = ("batch", "concurrency", "rate")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Lengths in tokens and exactly one of batch, concurrency, rate; numbers may be arrays.

    batch: sequences a replica always decodes. concurrency: users of the whole deployment, each of whom asks again
    when answered. rate: requests per second of the whole deployment, arrivals with squared coefficient of variation
    `arrival_cv2` (1: Poisson); the mean over a day whose busiest hours bring `peak_to_mean` times as many, where
    latencies and saturation are of these hours, and the flow of tokens, and so the cost of one, of the mean. Both
    targets together make a goodput of a rate.
    """

    input_tokens: Number = cell(1024.0, "prompt tokens", low=1, high=2**27, whole=True)
    output_tokens: Number = cell(256.0, "output tokens", low=1, high=2**27, whole=True)
    batch: Number = cell(None, "sequences per replica", low=1, high=2**24, optional=True)
    concurrency: Number = cell(None, "users of the deployment", low=1, high=2**30, optional=True)
    rate: Number = cell(None, "requests per second of the deployment", low=1e-9, high=1e9, optional=True)
    arrival_cv2: Number = cell(1.0, "squared coefficient of variation of gaps between arrivals", low=0, high=1000)
    peak_to_mean: Number = cell(1.0, "rate of the busiest hours over the mean rate", low=1, high=1000)
    input_cv2: Number = cell(0.0, "squared coefficient of variation of prompt lengths", low=0, high=1000)
    output_cv2: Number = cell(0.0, "squared coefficient of variation of output lengths", low=0, high=1000)
    context: Number = cell(None, "cached tokens of a decoding sequence; None: as the lengths say", low=0, high=2**27,
                           optional=True)
    prefix_hit: Number = cell(0.0, "share of a prompt that is cached already", low=0, high=1)
    waves: Number = cell(None, "requests per user of a closed loop that starts all users at once; None: steady",
                         low=1, high=1e6, optional=True)
    ttft_target: Number = cell(None, "time to first token that counts as good, s", low=1e-6, high=1e6, optional=True)
    tpot_target: Number = cell(None, "time per output token that counts as good, s", low=1e-9, high=1e6,
                               optional=True)

    def __post_init__(self) -> None:
        check_cells(self, "traffic")
        given = [name for name in LOADS if getattr(self, name) is not None]
        if len(given) != 1:
            raise InputError("traffic", f"expected exactly one of batch, concurrency, rate; got {given or 'none'}")

    @property
    def peak_rate(self) -> Number:
        """Requests per second in the busiest hours."""
        return self.rate * self.peak_to_mean

    @property
    def load(self) -> tuple[str, Any]:
        """Which of batch, concurrency, rate is set, and its value."""
        name = next(n for n in LOADS if getattr(self, n) is not None)
        return name, getattr(self, name)
