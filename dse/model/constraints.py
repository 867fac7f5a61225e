"""What a plan must not exceed: memory, the rate asked for, what a die can be. Each has a use and a capacity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dse.equations.memory import overfull
from dse.equations.num import Number
from dse.model.deployment import Deployment
from dse.model.memory import footprint, held_bytes
from dse.model.merits import plain_number
from dse.model.moved import moved_silicon
from dse.model.serving import Served
from dse.model.silicon import excesses
from dse.plan.traffic import Traffic


class Constraints(Mapping[str, Number]):
    """By which share of its capacity each thing is exceeded, by name: 0 or less is met. Arrays broadcast.

    The shares are computed when they are read; whether a constraint is met takes a comparison only.
    """

    __slots__ = ("_shares", "_uses", "_warnings")

    def __init__(self, d: Deployment, traffic: Traffic, served: Served, held: Number) -> None:
        self._uses = dict(_uses(d, traffic, served, held))
        silicon = moved_silicon(d.system.chip)
        self._shares: dict[str, Number] = {} if silicon is None else dict(excesses(silicon))
        self._warnings = np.geterr()        # of whoever evaluates, not of whoever happens to read first

    def __getitem__(self, name: str) -> Number:
        if name not in self._shares:
            with np.errstate(**self._warnings):
                self._shares[name] = overfull(*self._uses[name])
        return plain_number(self._shares[name])

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._uses, *self._shares)))

    def __len__(self) -> int:
        return len({*self._uses, *self._shares})

    def met(self, name: str) -> Number:
        """Whether it is met; false where it is not a number."""
        if name not in self._uses:
            return self[name] <= 0
        used, capacity = self._uses[name]
        return used <= capacity


def _uses(d: Deployment, traffic: Traffic, served: Served, held: Number) -> Iterator[tuple[str, tuple[Number, Number]]]:
    """Memory for weights and at least one request; the rate that was asked for."""
    m = served.memory
    yield "memory", (held_bytes(m.fixed, m.per_sequence, held), m.capacity)
    if m.host_fixed or m.host_per_sequence:
        yield "host_memory", (held_bytes(m.host_fixed, m.host_per_sequence, held), m.host_capacity)
    if m.disk_fixed or m.disk_per_sequence:
        yield "disk", (held_bytes(m.disk_fixed, m.disk_per_sequence, held), m.disk_capacity)
    if d.prompts is not None:
        p = footprint(d.prompts, traffic.input_tokens, traffic.input_tokens, 1.0)
        yield "prefill_memory", (held_bytes(p.fixed, p.per_sequence, 1.0), p.capacity)
    if served.saturation is not None:
        yield "rate", (traffic.peak_rate, served.saturation)
