"""What a search looks through: splits, formats and loads that can be counted, and variables that have no list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from math import gcd, prod
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.model.architecture import MixtureOfExperts, Model
from dse.model.deployment import divisors, mixers, valid_expert_split
from dse.model.moved import moved, no_silicon
from dse.model.system import System
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic

SPLITS = ("tp", "pp", "dp", "ep", "cp")
OFFLOADS = ("kv_offload", "weight_offload")
CHIP_VARIABLES = ("l2", "hbm", "link", "cores")
FREE = (*OFFLOADS, *CHIP_VARIABLES)
MOST_POINTS = 10**15
MOST_OFFLOAD = 0.99
"""An offload ratio stays below 1: something of each object has to be at hand."""
LEAST_CACHE = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Free:
    """A continuous variable, its bounds, the value that leaves the catalogue's system as it is, and its unit."""

    name: str
    low: float
    high: float
    default: float
    unit: str
    log: bool = False

    def steps(self, count: int) -> np.ndarray:
        """`count` values from bound to bound, in equal steps (of the logarithm where it is searched so)."""
        space = np.geomspace if self.log else np.linspace
        return space(self.low, self.high, count)


@dataclass(frozen=True)
class Space:
    """Everything that may vary in a search, and what stays.

    splits: rows (tp, pp, dp, ep, cp), by number of devices. weights, kv: number formats, None for the checkpoint's.
    load, loads: which of batch, concurrency, rate is set, and its values. gpus: the most devices of a plan.
    """

    model: Model
    system: System
    gpus: int
    splits: np.ndarray
    weights: tuple[str | None, ...]
    kv: tuple[str | None, ...]
    load: str
    loads: np.ndarray
    input_tokens: float
    output_tokens: float
    arrival_cv2: float
    free: tuple[Free, ...]
    input_cv2: float = 0.0
    output_cv2: float = 0.0

    @property
    def size(self) -> int:
        """Plans of the inner grid, at one value of each free variable."""
        return prod((len(self.splits), len(self.loads), len(self.weights), len(self.kv)))

    @cached_property
    def defaults(self) -> dict[str, float]:
        """The catalogue's chip, and everything in device memory."""
        return {v.name: v.default for v in self.free}

    def system_at(self, values: Mapping[str, Number], gpus: Number) -> System:
        """The system of `gpus` devices with the chip's free variables set; values may be arrays."""
        chip = moved(self.system.chip, values)
        return replace(self.system, gpus=gpus, node=replace(self.system.node, chip=chip))

    def plan_at(self, split: Mapping[str, Number], weights: str | None, kv: Any, values: Mapping[str, Number]) -> Plan:
        """The plan with these splits, formats and offload ratios; a ratio of 0 leaves the plan silent."""
        away = {name: values[name] for name in OFFLOADS if name in values and np.any(values[name])}
        return Plan(tp=split["tp"], pp=split["pp"], dp=split["dp"], ep=split["ep"], cp=split["cp"], weights=weights,
                    kv=kv, kv_offload=away.get("kv_offload"), weight_offload=away.get("weight_offload"))

    def traffic_at(self, load: Number, kind: str | None = None) -> Traffic:
        """The traffic at one or many values of the load (of another `kind` if given)."""
        given = {kind or self.load: load}
        return Traffic(self.input_tokens, self.output_tokens, batch=given.get("batch"),
                       concurrency=given.get("concurrency"), rate=given.get("rate"), arrival_cv2=self.arrival_cv2,
                       input_cv2=self.input_cv2, output_cv2=self.output_cv2)

    def document(self) -> dict[str, Any]:
        """The space as plain values; two spaces with one document are the same."""
        return {
            "model": self.model.name, "hardware": self.system.name, "gpus": self.gpus,
            "engine": self.system.engine.name, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
            "arrival_cv2": self.arrival_cv2, "input_cv2": self.input_cv2, "output_cv2": self.output_cv2,
            self.load: self.loads.tolist(), "weights": list(self.weights),
            "kv": list(self.kv), "cp": sorted({int(c) for c in self.splits[:, 4]}),
            "free": {v.name: [v.low, v.high] for v in self.free},
            "figures": _digest({"model": asdict(self.model), "system": asdict(self.system)}),
        }


def _digest(parts: Mapping[str, Any]) -> str:
    """A fingerprint of every figure of a model and a system: two catalogues may differ under one name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def make_space(model: Model, system: System, *, gpus: int, load: str, loads: Sequence[float],
               input_tokens: float, output_tokens: float, arrival_cv2: float = 1.0,
               weights: Sequence[str | None] = (None,), kv: Sequence[str | None] = (None,), cp: Sequence[int] = (1,),
               free: Sequence[str] | None = None, trials: int = 1, input_cv2: float = 0.0,
               output_cv2: float = 0.0) -> Space:
    """The space of all plans on up to `gpus` devices; `free` None: the offload ratios, where there is a host."""
    space = Space(model, system, gpus, enumerate_splits(model, system, gpus, cp), _once(weights), _once(kv), load,
                  np.unique(np.asarray(loads, dtype=float)), input_tokens, output_tokens, arrival_cv2,
                  _free_variables(system, free), input_cv2, output_cv2)
    _check_size(space, trials)
    for name in (*space.weights, *space.kv):                 # refuse bad formats and loads before any work
        Plan(kv=name)
    for name in space.weights:
        Plan(weights=name)
    space.traffic_at(space.loads)
    return space


def _once(names: Sequence[str | None]) -> tuple[str | None, ...]:
    return tuple(dict.fromkeys(names))


def enumerate_splits(model: Model, system: System, gpus: int, cp: Sequence[int] = (1,)) -> np.ndarray:
    """Rows (tp, pp, dp, ep, cp) of at most `gpus` devices, by devices, then by how far a replica is cut.

    tp divides the heads of every mixer. pp and ep: powers of two and divisors of the layers and of the experts.
    dp: powers of two and divisors of `gpus`. A chip without a scale-out network keeps its groups in one domain.
    """
    experts = [g.feedforward.experts for g in model.layers if isinstance(g.feedforward, MixtureOfExperts)]
    heads = gcd(*(mixer.heads for mixer in mixers(model)))
    most_experts = min(experts, default=1)
    axes = ([n for n in divisors(max(heads, 1)) if n <= gpus], _counts(model.depth, min(model.depth, gpus)),
            _counts(gpus, gpus), _counts(most_experts, min(most_experts, gpus)), sorted({int(c) for c in cp}))
    short = [np.array(a, dtype=float) for a in axes]
    plain = np.stack([g.ravel() for g in np.meshgrid(*short[:3], short[4], indexing="ij")], axis=1)
    plain = plain[plain.prod(axis=1) <= gpus]
    rows = np.concatenate([np.column_stack([plain[:, :3], np.full(len(plain), ep), plain[:, 3]]) for ep in short[3]])
    tp, pp, dp, ep, context = rows.T
    valid = valid_expert_split(tp, dp, ep, context)
    if system.chip.scale_out is None:
        valid = valid & (np.maximum(tp * context * pp, np.maximum(tp, ep)) <= system.chip.scale_up.domain)
    order = np.lexsort((ep, dp, pp, tp, context, tp * pp * dp * context))
    kept: np.ndarray = rows[order][valid[order]]
    return kept


def _counts(number: int, most: int) -> list[int]:
    """Powers of two and divisors of `number`, up to `most`."""
    powers = {1 << k for k in range(most.bit_length())}
    return sorted(n for n in powers | set(divisors(number)) if n <= most)


def _free_variables(system: System, names: Sequence[str] | None) -> tuple[Free, ...]:
    asked = (OFFLOADS if system.node.host is not None else ()) if names is None else tuple(dict.fromkeys(names))
    return tuple(_free_variable(system, name) for name in asked)


def _free_variable(system: System, name: str) -> Free:
    chip = system.chip
    if name not in FREE:
        raise InputError("free", f"no such variable: {name!r}", nearest(name, (*FREE, "none")))
    if name in OFFLOADS:
        if system.node.host is None:
            raise InputError("free", f"the catalogue has no link to host memory for {chip.name}",
                             f"leave {name} out")
        return Free(name, 0.0, MOST_OFFLOAD, 0.0, "share in host memory")
    if name == "l2":
        if not chip.cache_bytes:
            raise InputError("free", f"{chip.name} has no last on-chip cache to vary", "leave l2 out")
        size = float(chip.cache_bytes)
        return Free(name, min(LEAST_CACHE, size), 4 * size, size, "B", log=True)
    if name == "hbm":
        stacks = float(chip.memory_stacks or 0)
        return Free(name, 1.0, 2 * stacks, stacks, "stacks") if stacks else Free(name, 0.5, 2.0, 1.0, "x catalogue")
    if name == "cores":
        if chip.silicon is None:
            raise InputError("free", no_silicon(chip), "leave cores out")
        cores = float(chip.silicon.design.cores)
        return Free(name, max(cores / 4, 1.0), 2 * cores, cores, "cores")
    rate = float(chip.scale_up.bandwidth)
    return Free(name, rate / 4, rate * 4, rate, "B/s", log=True)


def _check_size(space: Space, trials: int) -> None:
    axes = {"splits": len(space.splits), space.load: len(space.loads), "weights": len(space.weights),
            "kv": len(space.kv), "trials": trials if space.free else 1}
    count = prod(axes.values())
    words = " x ".join(f"{name} {size}" for name, size in axes.items())
    if count == 0:
        empty = ", ".join(name for name, size in axes.items() if size == 0)
        raise InputError("space", f"holds no plan: nothing along {empty} ({words})",
                         "allow more devices, or shorter lists")
    if count > MOST_POINTS:
        raise InputError("space", f"holds {count:.3g} plans, more than {MOST_POINTS:.0e} ({words})",
                         "shorten the longest axis")
