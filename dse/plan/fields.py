"""The eight fields of a plan.

    formats      in what form is each object kept?
    placement    which tier holds which fraction of it?
    parallelism  which device runs which share of each operation?
    pools        which pool serves which phase?
    batching     what goes into one iteration?
    overlap      what hides behind what, and how much at most?
    chance       what happens only sometimes?
    queueing     how long is the line?
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.plan.cells import cell, check_cell, check_cells
from dse.plan.formats import ACTIVATIONS, KV, WEIGHTS

LAYER_WEIGHTS = ("attention_weights", "mlp_weights", "expert_weights")
"""Weights of the layers: the group `weights` of formats, which leaves the embedding as the checkpoint has it."""
WEIGHT_OBJECTS = (*LAYER_WEIGHTS, "embedding")
"""Members of the group `weights` of a placement."""
PLACED = (*WEIGHT_OBJECTS, "kv")
TIERS = ("hbm", "host")
_SHARE = {"low": 0.0, "high": 1.0, "whole": False, "choices": (), "optional": False}


@dataclass(frozen=True, slots=True)
class Formats:
    """Number format of each object; None keeps the checkpoint's."""

    attention_weights: Any = cell(None, "projections around attention", choices=WEIGHTS, optional=True)
    mlp_weights: Any = cell(None, "dense feed-forward, shared experts, router", choices=WEIGHTS, optional=True)
    expert_weights: Any = cell(None, "routed experts", choices=WEIGHTS, optional=True)
    embedding: Any = cell(None, "input embedding and output head", choices=WEIGHTS, optional=True)
    kv: Any = cell(None, "keys and values, latents", choices=KV, optional=True)
    activations: Any = cell(None, "inputs of matrix products", choices=ACTIVATIONS, optional=True)

    def __post_init__(self) -> None:
        check_cells(self, "formats")


@dataclass(frozen=True, slots=True)
class Placement:
    """Rows object -> {tier: share}; what a row leaves over is in HBM, and an object without a row is there whole."""

    rows: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*PLACED, "weights")
        checked: dict[str, dict[str, Number]] = {}
        for name in sorted(self.rows, key=lambda n: n != "weights"):
            if name not in known:
                raise InputError(f"placement.{name}", "no such object", nearest(name, known))
            row = _check_row(self.rows[name], f"placement.{name}")
            for member in WEIGHT_OBJECTS if name == "weights" else (name,):
                checked[member] = row
        object.__setattr__(self, "rows", checked)

    def share(self, name: str, tier: str) -> Number:
        """Share of the object that the tier holds."""
        row = self.rows.get(name, {})
        return row.get(tier, 0.0) if tier != "hbm" else 1.0 - sum(v for t, v in row.items() if t != "hbm")

    @property
    def uses_host(self) -> bool:
        """Whether any row names host memory."""
        return any("host" in row for row in self.rows.values())

    @property
    def host_shares(self) -> Number:
        """Sum of all shares in host memory: above 0 where something is there."""
        return sum((self.share(name, "host") for name in self.rows), 0.0)


def _check_row(row: object, where: str) -> dict[str, Number]:
    if not isinstance(row, Mapping):
        raise InputError(where, "expected tiers and shares such as { host = 0.25 }")
    for tier in row:
        if tier not in TIERS:
            raise InputError(f"{where}.{tier}", "no such tier", nearest(str(tier), TIERS))
    stated = {t: check_cell(v, _SHARE, f"{where}.{t}") for t, v in row.items()}
    shares = {t: v for t, v in stated.items() if t != "hbm"}
    rest = check_cell(1.0 - sum(shares.values()), _SHARE, f"{where}.hbm")
    if np.any(np.abs(stated.get("hbm", rest) - rest) > 1e-9):
        raise InputError(where, "the shares of a row sum to 1", "leave hbm out: it holds the rest")
    return shares


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How many ways each thing is split. Devices of a deployment: tp x pp x dp x cp; experts spread over these."""

    tp: Number = cell(1.0, "tensor parallelism: matrices and heads", low=1, high=65536, whole=True)
    pp: Number = cell(1.0, "pipeline parallelism: layers", low=1, high=4096, whole=True)
    dp: Number = cell(None, "data parallelism: replicas of attention; None: what the devices allow", low=1,
                      high=2**20, whole=True, optional=True)
    ep: Number = cell(1.0, "expert parallelism: routed experts, over tp and dp ranks", low=1, high=65536, whole=True)
    cp: Number = cell(1.0, "context parallelism: tokens of a sequence", low=1, high=4096, whole=True)

    def __post_init__(self) -> None:
        check_cells(self, "parallelism")


@dataclass(frozen=True, slots=True)
class Pools:
    """Which replicas serve which phase: all serve both, or `prefill` of the dp replicas compute prompts only."""

    prefill: Number = cell(None, "replicas that only prefill; the others only decode; None: no pools", low=1,
                           high=2**20, whole=True, optional=True)

    def __post_init__(self) -> None:
        check_cells(self, "pools")


@dataclass(frozen=True, slots=True)
class Batching:
    """What one iteration holds."""

    budget: Number = cell(None, "tokens of an iteration; None: the engine's", low=1, high=2**24, whole=True,
                          optional=True)
    policy: Any = cell(None, "whether prompts share iterations with decodes; None: the engine's",
                       choices=("mixed", "prompt_first"), optional=True, structure=True)
    page: Number = cell(16.0, "tokens of a KV page", low=1, high=65536, whole=True)

    def __post_init__(self) -> None:
        check_cells(self, "batching")


@dataclass(frozen=True, slots=True)
class Edge:
    """Spans matching `hide` disappear behind a `window` share of those matching `behind` (shell patterns)."""

    hide: tuple[str, ...]
    behind: tuple[str, ...] = ("*",)
    window: Number = cell(1.0, "usable share of what it hides behind", low=0, high=1)

    def __post_init__(self) -> None:
        check_cells(self, "overlap")


STREAMING = (Edge(hide=("*.host_link",)),)
"""Transfers from host memory run beside the layer's own work, as every offloading engine does."""


@dataclass(frozen=True, slots=True)
class Chance:
    """What happens only sometimes, as named laws."""

    expert_imbalance: Number = cell(0.0, "exponent x of the hottest expert rank's load, ep^x over the mean", low=0,
                                    high=1)
    draft_tokens: Number = cell(0.0, "tokens drafted for each sequence and step", low=0, high=64)
    acceptance: Number = cell(0.0, "chance that a drafted token is accepted after those before it", low=0, high=1)
    draft_cost: Number = cell(None, "time of drafting a token over a step's; None: one layer's", low=0, high=1,
                              optional=True)

    def __post_init__(self) -> None:
        check_cells(self, "chance")


@dataclass(frozen=True, slots=True)
class Queueing:
    """The law of the line: continuous batching in a closed or an open loop, as the traffic says."""

    law: Any = cell("continuous_batching", "waiting law", choices=("continuous_batching",), structure=True)

    def __post_init__(self) -> None:
        check_cells(self, "queueing")
