"""The eight fields of a plan.

    formats      in what form is each object kept?                        (forms.py)
    placement    which memory holds which fraction of it?
    parallelism  which device or engine runs which share of each operation?
    pools        which pool serves which phase?                           (pools.py)
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
from dse.plan.cells import cell, check_cell, check_cells, known_keys
from dse.plan.laws import Law
from dse.plan.vocabulary import (
    BUFFERS,
    ENGINES,
    FOREIGN_OPS,
    OPS,
    PLACED,
    SPLIT_OPS,
    TIERS,
    WEIGHT_OBJECTS,
    check_name,
)

SHARE = {"low": 0.0, "high": 1.0, "whole": False, "choices": (), "optional": False}
_COPIES = {**SHARE, "high": 1e6}
_STAGED = {**SHARE, "high": 4096.0}
_POSITIVE_SHARE = {**SHARE, "low": 1e-6}


@dataclass(frozen=True, slots=True)
class Placement:
    """Rows object -> {memory: share}; what a row leaves over is in HBM, and an object without a row is there whole.

    A row may also say `copies` (bytes held over what each device needs: below 1 the rest is gathered from peers) and
    `staged` (layers of streamed weights that wait in device memory).
    """

    rows: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = (*PLACED, "weights")
        checked: dict[str, dict[str, Number]] = {}
        for name in sorted(self.rows, key=lambda n: n != "weights"):
            if name not in known:
                raise InputError(f"placement.{name}", "no such object", nearest(str(name), known))
            row = _check_row(self.rows[name], f"placement.{name}")
            for member in WEIGHT_OBJECTS if name == "weights" else (name,):
                checked[member] = row
        object.__setattr__(self, "rows", checked)

    def share(self, name: str, tier: str) -> Number:
        """Share of the object that the memory holds."""
        row = self.rows.get(name, {})
        return row.get(tier, 0.0) if tier != "hbm" else 1.0 - sum(row.get(t, 0.0) for t in TIERS[1:])

    def copies(self, name: str) -> Number:
        """Bytes of the object on a device over what it needs."""
        return self.rows.get(name, {}).get("copies", 1.0)

    def staged(self, name: str) -> Number:
        """Layers of streamed weights that wait in device memory: one at work, one arriving."""
        return self.rows.get(name, {}).get("staged", 2.0)

    @property
    def uses_host(self) -> bool:
        """Whether any row names a memory beyond the device."""
        return any(t in row for row in self.rows.values() for t in TIERS[1:])

    @property
    def host_shares(self) -> Number:
        """Sum of all shares beyond the device: above 0 where something is there."""
        return sum((self.share(name, t) for name in self.rows for t in TIERS[1:]), 0.0)


def _check_row(row: object, where: str) -> dict[str, Number]:
    if not isinstance(row, Mapping):
        raise InputError(where, "expected memories and shares such as { host = 0.25 }")
    known_keys(row, (*TIERS, "copies", "staged"), where)
    made = {key: check_cell(row[key], rules, f"{where}.{key}")
            for key, rules in (("copies", _COPIES), ("staged", _STAGED)) if key in row}
    stated = {t: check_cell(row[t], SHARE, f"{where}.{t}") for t in TIERS if t in row}
    shares = {t: v for t, v in stated.items() if t != "hbm"}
    rest = check_cell(1.0 - sum(shares.values()), SHARE, f"{where}.hbm")
    if np.any(np.abs(stated.get("hbm", rest) - rest) > 1e-9):
        raise InputError(where, "the shares of a row sum to 1", "leave hbm out: it holds the rest")
    return {**shares, **made}


@dataclass(frozen=True, slots=True)
class Parallelism:
    """How many ways each thing is split. Devices of a deployment: tp x pp x dp x cp; experts spread over these.

    engines: operation -> {engine: share of it}; what a row leaves over runs on the device. shares: what an operation,
    all compute, a memory or the sums over ranks may use of their engine, memory or link. tokens_split: operations
    that tensor parallelism splits by tokens.
    """

    tp: Number = cell(1.0, "tensor parallelism: matrices and heads", low=1, high=65536, whole=True)
    pp: Number = cell(1.0, "pipeline parallelism: layers", low=1, high=4096, whole=True)
    dp: Number = cell(None, "data parallelism: replicas of attention; None: what the devices allow", low=1,
                      high=2**20, whole=True, optional=True)
    ep: Number = cell(1.0, "expert parallelism: routed experts, over tp and dp ranks", low=1, high=65536, whole=True)
    cp: Number = cell(1.0, "context parallelism: tokens of a sequence", low=1, high=4096, whole=True)
    collective: Any = cell(None, "law of the sums over ranks; None: the fastest that the fabric allows",
                           choices=("ring", "one_shot", "two_shot", "in_switch", "none"), optional=True, structure=True)
    engines: Mapping[str, Mapping[str, Number]] = field(default_factory=dict)
    shares: Mapping[str, Number] = field(default_factory=dict)
    tokens_split: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_cells(self, "parallelism")
        if not isinstance(self.engines, Mapping) or not isinstance(self.shares, Mapping):
            raise InputError("parallelism", "expected tables of engines and shares")
        object.__setattr__(self, "engines", {op: _engines(op, row) for op, row in self.engines.items()})
        object.__setattr__(self, "shares", {_shared(name): check_cell(v, _POSITIVE_SHARE, f"parallelism.shares.{name}")
                                            for name, v in self.shares.items()})
        split: Any = self.tokens_split
        if not isinstance(split, (list, tuple)):
            raise InputError("parallelism.tokens_split", "expected a list of operations such as [\"norm\"]")
        object.__setattr__(self, "tokens_split", tuple(
            check_name(op, SPLIT_OPS, "parallelism.tokens_split", "operation that splits by tokens") for op in split))


def _engines(op: str, row: object) -> dict[str, Number]:
    where = f"parallelism.engines.{op}"
    check_name(op, FOREIGN_OPS, where, "operation that another engine can run")
    if not isinstance(row, Mapping):
        raise InputError(where, "expected engines and shares such as { cpu = 0.5 }")
    for name in row:
        check_name(name, ENGINES, f"{where}.{name}", "engine")
    stated = {name: check_cell(v, SHARE, f"{where}.{name}") for name, v in row.items()}
    away = {name: v for name, v in stated.items() if name != "device"}
    rest = check_cell(1.0 - sum(away.values()), SHARE, f"{where}.device")
    if np.any(np.abs(stated.get("device", rest) - rest) > 1e-9):
        raise InputError(where, "the shares of a row sum to 1", "leave device out: it runs the rest")
    return away


def _shared(name: str) -> str:
    return check_name(name, ("compute", "sum", "hbm", "host", *OPS), f"parallelism.shares.{name}",
                      "operation, memory or engine")


@dataclass(frozen=True, slots=True)
class Batching:
    """What one iteration holds."""

    budget: Number = cell(None, "tokens of an iteration; None: the engine's", low=1, high=2**24, whole=True,
                          optional=True)
    policy: Any = cell(None, "whether prompts share iterations with decodes; None: the engine's",
                       choices=("mixed", "prompt_first"), optional=True, structure=True)
    page: Number = cell(16.0, "tokens of a KV page", low=1, high=65536, whole=True)
    new: Number = cell(1.0, "tokens of a sequence and decode step", low=1, high=1024)
    micro: Number = cell(None, "micro-batches of an iteration, which share each load of streamed weights; None: one a "
                         "pipeline stage", low=1, high=65536, optional=True)
    prompts: Number = cell(1.0, "prompts that a lone prefill computes together", low=1, high=65536)
    shared: Number = cell(0.0, "tokens of a context that a group of sequences shares", low=0, high=2**27)
    group: Number = cell(1.0, "sequences that read a shared context once", low=1, high=2**20)
    imbalance: Number = cell(1.0, "slowest micro-batch over the mean", low=1, high=1000)

    def __post_init__(self) -> None:
        check_cells(self, "batching")


@dataclass(frozen=True, slots=True)
class Edge:
    """Spans matching `hide` disappear behind a `window` share of those matching `behind` (shell patterns).

    buffer: the memory where fetched bytes wait; what it cannot hold is not hidden.
    """

    hide: tuple[str, ...]
    behind: tuple[str, ...] = ("*",)
    window: Number = cell(1.0, "usable share of what it hides behind", low=0, high=1)
    buffer: Any = cell(None, "memory where the fetched bytes wait", choices=BUFFERS, optional=True, structure=True)
    cost: Number = cell(0.0, "fixed price of hiding anything, s a layer", low=0, high=1)
    slow: Number = cell(0.0, "seconds lost for each hidden second", low=0, high=1)

    def __post_init__(self) -> None:
        check_cells(self, "overlap")


STREAMING = (Edge(hide=("*.host_link", "*.disk_link")),)
"""Transfers from host memory run beside the layer's own work, as every offloading engine does."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens with `chance` per decode step: it takes `time`, or moves a `share` of one sequence's
    (or all of a weight's) bytes over a link.
    """

    chance: Number = cell(0.0, "probability per step", low=0, high=1)
    time: Number = cell(0.0, "seconds it takes beside any move", low=0, high=1e6)
    move: Any = cell(None, "object that is moved", choices=PLACED, optional=True, structure=True)
    over: Any = cell("host_link", "link it is moved over", choices=("host_link", "disk_link", "peer", "network"),
                     structure=True)
    share: Number = cell(1.0, "share of the object that moves", low=0, high=1)

    def __post_init__(self) -> None:
        check_cells(self, "")


@dataclass(frozen=True, slots=True)
class Chance:
    """What happens only sometimes, as named laws. hits: object -> share of touches that its first memory answers.
    yields: useful tokens of a decode step, on top of drafting.
    """

    expert_imbalance: Number = cell(0.0, "exponent x of the hottest expert rank's load, ep^x over the mean", low=0,
                                    high=1)
    draft_tokens: Number = cell(0.0, "tokens drafted for each sequence and step", low=0, high=64)
    acceptance: Number = cell(0.0, "chance that a drafted token is accepted after those before it", low=0, high=1)
    draft_cost: Number = cell(None, "time of drafting a token over a step's; None: one layer's", low=0, high=1,
                              optional=True)
    hits: Mapping[str, Law] = field(default_factory=dict)
    yields: Law | None = None
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        check_cells(self, "chance")


@dataclass(frozen=True, slots=True)
class Queueing:
    """The law of the line: continuous batching in a closed or an open loop, as the traffic says."""

    law: Any = cell("continuous_batching", "waiting law", choices=("continuous_batching",), structure=True)

    def __post_init__(self) -> None:
        check_cells(self, "queueing")
