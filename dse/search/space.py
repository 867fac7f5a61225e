"""What a search looks through: splits, formats and loads that can be counted, and variables that have no list."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from math import gcd, prod
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError
from dse.model.architecture import MixtureOfExperts, Model
from dse.model.deployment import divisors, mixers, valid_expert_split
from dse.model.evaluate import evaluate
from dse.model.moved import moved
from dse.model.system import System
from dse.plan.fields import Batching
from dse.plan.plan import Plan, plan_from_document
from dse.plan.traffic import Traffic
from dse.search.variables import OFFLOADS, Choice, Free, Listed, variables
from dse.search.variant import NEUTRAL, Variant, knobs_of, own_values

SPLITS = ("tp", "pp", "dp", "ep", "cp")
MOST_POINTS = 10**15


@dataclass(frozen=True)
class Space:
    """Everything that may vary in a search, and what stays.

    splits: rows (tp, pp, dp, ep, cp), by number of devices. weights, kv: number formats, None for the checkpoint's.
    load, loads: which of batch, concurrency, rate is set, and its values. gpus: the most devices of a plan. free: what
    a sampler explores; listed: axes with lists. variants: ways to make a plan, each with rows of `splits` (`rows`).
    left_out: why some combinations of techniques are not among them.
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
    listed: tuple[Listed, ...] = ()
    variants: tuple[Variant, ...] = (NEUTRAL,)
    rows: tuple[np.ndarray, ...] = ()
    peak_to_mean: float = 1.0
    left_out: tuple[str, ...] = field(default=(), compare=False)

    @cached_property
    def size(self) -> int:
        """Plans of the inner grid, at one value of each variable that a sampler explores."""
        return self.count(self.defaults)

    def count(self, values: Mapping[str, Number]) -> int:
        """Plans of the inner grid with these variables."""
        return sum(prod((len(self.rows_of(i)), len(self.loads), len(self.formats_of(v, "weights")),
                         len(self.formats_of(v, "kv")),
                         *(np.size(x) for x in own_values(v, self.listed, values).values())))
                   for i, v in enumerate(self.variants))

    @property
    def varied(self) -> tuple[Free | Listed, ...]:
        """Variables of machine and placement, whether a sampler or the grid varies them."""
        return (*self.free, *self.listed)

    @cached_property
    def sampled(self) -> tuple[Free, ...]:
        """What a sampler explores: variables that some variant leaves open, then knobs."""
        return (*(v for v in self.free if any(v.name not in other.sets for other in self.variants)),
                *knobs_of(self.variants))

    @cached_property
    def defaults(self) -> dict[str, float]:
        """The catalogue's chip, everything in device memory, and knobs as their files have them."""
        return {v.name: v.default for v in self.sampled}

    def rows_of(self, variant: int) -> np.ndarray:
        """Places in `splits` that can be with a variant."""
        return self.rows[variant] if self.rows else np.arange(len(self.splits))

    def formats_of(self, variant: Variant, name: str) -> tuple[int, ...]:
        """Places in the list of `weights` or `kv` to try: the first alone where the variant sets the format itself."""
        return (0,) if name in variant.sets else tuple(range(len(getattr(self, name))))

    def system_at(self, values: Mapping[str, Number], gpus: Number) -> System:
        """The system of `gpus` devices with the chip's free variables set; values may be arrays."""
        chip = moved(self.system.chip, values)
        return replace(self.system, gpus=gpus, node=replace(self.system.node, chip=chip))

    def plan_at(self, split: Mapping[str, Number], weights: str | None, kv: Any, values: Mapping[str, Number]) -> Plan:
        """The plan with these splits, formats and offload ratios; a ratio of 0 leaves the plan silent."""
        away = {name: values[name] for name in OFFLOADS if name in values and np.any(values[name])}
        return Plan(tp=split["tp"], pp=split["pp"], dp=split["dp"], ep=split["ep"], cp=split["cp"], weights=weights,
                    kv=kv, kv_offload=away.get("kv_offload"), weight_offload=away.get("weight_offload"),
                    batching=Batching(budget=values.get("budget")))

    def bound_at(self, variant: Variant, split: Mapping[str, Number], weights: str | None, kv: Any,
                 values: Mapping[str, Number], traffic: Traffic, system: System) -> Plan:
        """The plan of a variant; system: with its devices and its chip's variables set."""
        if variant.bind is None:
            return self.plan_at(split, weights, kv, values)
        away = {name: values[name] for name in OFFLOADS if name in values and np.any(values[name])}
        tables = {"parallelism": dict(split), "formats": {"weights": weights, "kv": kv},
                  "batching": {"budget": values.get("budget")},
                  "placement": {"weights": away.get("weight_offload"), "kv": away.get("kv_offload")}}
        document = {name: {key: {"host": cell} if name == "placement" else cell
                           for key, cell in table.items() if cell is not None} for name, table in tables.items()}
        return plan_from_document(variant.bind(document, values, self.model, traffic, system), variant.name)

    def traffic_at(self, load: Number, kind: str | None = None) -> Traffic:
        """The traffic at one or many values of the load (of another `kind` if given)."""
        given = {kind or self.load: load}
        return Traffic(self.input_tokens, self.output_tokens, batch=given.get("batch"),
                       concurrency=given.get("concurrency"), rate=given.get("rate"), arrival_cv2=self.arrival_cv2,
                       input_cv2=self.input_cv2, output_cv2=self.output_cv2, peak_to_mean=self.peak_to_mean)

    def document(self) -> dict[str, Any]:
        """The space as plain values; two spaces with one document are the same."""
        return {
            "model": self.model.name, "hardware": self.system.name, "gpus": self.gpus,
            "engine": self.system.engine.name, "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
            "arrival_cv2": self.arrival_cv2, "peak_to_mean": self.peak_to_mean, "input_cv2": self.input_cv2,
            "output_cv2": self.output_cv2,
            self.load: self.loads.tolist(), "weights": list(self.weights),
            "kv": list(self.kv), "cp": sorted({int(c) for c in self.splits[:, 4]}),
            "free": {v.name: [v.low, v.high] for v in self.free},
            **({"listed": {v.name: list(v.values) for v in self.listed}} if self.listed else {}),
            **({"variants": [v.document() for v in self.variants]} if self.variants != (NEUTRAL,) else {}),
            "figures": _digest({"model": asdict(self.model), "system": asdict(self.system)}),
        }


def _digest(parts: Mapping[str, Any]) -> str:
    """A fingerprint of every figure of a model and a system: two catalogues may differ under one name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=_in_order).encode()).hexdigest()[:16]


def _in_order(value: object) -> Any:
    """What JSON has no form for: sets sorted, as their order differs between runs of Python."""
    return sorted(value) if isinstance(value, frozenset | set) else str(value)


def make_space(model: Model, system: System, *, gpus: int, load: str, loads: Sequence[float],
               input_tokens: float, output_tokens: float, arrival_cv2: float = 1.0,
               weights: Sequence[str | None] = (None,), kv: Sequence[str | None] = (None,), cp: Sequence[int] = (1,),
               free: Sequence[str] | None = None, trials: int = 1, input_cv2: float = 0.0,
               output_cv2: float = 0.0, chosen: Mapping[str, Choice] | None = None,
               variants: Sequence[Variant] = (NEUTRAL,), peak_to_mean: float = 1.0,
               every_count: bool = False) -> Space:
    """The space of all plans on up to `gpus` devices; `free` None: the offload ratios, where there is a host.

    chosen: lists or bounds of variables. variants: each is tried with every split that can be with it. every_count:
    any number of replicas, not only powers of two and divisors of `gpus`.
    """
    replicas = range(1, gpus + 1) if every_count else None
    sampled, listed = variables(system, free, chosen or {})
    splits = enumerate_splits(model, system, gpus, cp, replicas)
    space = Space(model, system, gpus, splits, _once(weights), _once(kv), load,
                  np.unique(np.asarray(loads, dtype=float)), input_tokens, output_tokens, arrival_cv2,
                  sampled, input_cv2, output_cv2, listed, tuple(variants), peak_to_mean=peak_to_mean)
    _check_size(space, trials)
    for name in (*space.weights, *space.kv):                 # refuse bad formats and loads before any work
        Plan(kv=name)
    for name in space.weights:
        Plan(weights=name)
    space.traffic_at(space.loads)
    return space if space.variants == (NEUTRAL,) else _with_rows(space)


def _with_rows(space: Space) -> Space:
    """The space with the splits that each variant can have; a variant that can have none is left out, and said so.

    A technique that no split can have alone is refused, and so is a space without variants. Of combinations that
    cannot be, the smallest are told.
    """
    kept, rows = [], []
    faults: dict[tuple[str, ...], InputError] = {}
    for variant in sorted(space.variants, key=lambda v: len(v.techniques)):
        found, fault = _possible(space, variant, np.lexsort((space.splits[:, 2],)))
        if fault is None or len(found):
            kept.append(variant)
            rows.append(np.sort(found))
        elif not any(set(held) <= set(variant.techniques) for held in faults):
            faults[variant.techniques] = fault
    alone = next((names for names in faults if len(names) == 1 or not kept), None)
    if alone is not None:
        fault = faults[alone]
        raise InputError(f"{'+'.join(alone)}: {fault.where}", fault.message, fault.hint)
    said = tuple(f"{'+'.join(names)} is left out: {fault}" for names, fault in faults.items())
    return replace(space, variants=tuple(kept), rows=tuple(rows), left_out=said)


def _possible(space: Space, variant: Variant, rows: np.ndarray) -> tuple[np.ndarray, InputError | None]:
    """Which of these splits can be with a variant, by halves, and the first fault found."""
    if variant.bind is None:
        return rows, None
    values = {name: np.ravel(v)[0].item() for name, v in
              own_values(variant, space.listed, space.defaults).items()}
    split = dict(zip(SPLITS, space.splits[rows].T, strict=True))
    gpus = split["tp"] * split["pp"] * split["dp"] * split["cp"]
    traffic, system = space.traffic_at(float(space.loads[0])), space.system_at(values, gpus)
    try:
        with np.errstate(all="ignore"):
            plan = space.bound_at(variant, split, space.weights[0], space.kv[0], values, traffic, system)
            evaluate(space.model, system, plan, traffic)
    except InputError as fault:
        if len(rows) == 1:
            return rows[:0], fault
        halves = [_possible(space, variant, half) for half in np.array_split(rows, 2)]
        return np.concatenate([found for found, _ in halves]), next((f for _, f in halves if f is not None), None)
    return rows, None


def _once(names: Sequence[str | None]) -> tuple[str | None, ...]:
    return tuple(dict.fromkeys(names))


def enumerate_splits(model: Model, system: System, gpus: int, cp: Sequence[int] = (1,),
                     replicas: Sequence[int] | None = None) -> np.ndarray:
    """Rows (tp, pp, dp, ep, cp) of at most `gpus` devices, by devices, then by how far a replica is cut.

    tp divides the heads of every mixer. pp and ep: powers of two and divisors of the layers and of the experts.
    dp: `replicas`, or powers of two and divisors of `gpus`. A chip without a scale-out network keeps its groups in one
    domain.
    """
    experts = [g.feedforward.experts for g in model.layers if isinstance(g.feedforward, MixtureOfExperts)]
    heads = gcd(*(mixer.heads for mixer in mixers(model)))
    most_experts = min(experts, default=1)
    axes = ([n for n in divisors(max(heads, 1)) if n <= gpus], _counts(model.depth, min(model.depth, gpus)),
            list(replicas or _counts(gpus, gpus)), _counts(most_experts, min(most_experts, gpus)),
            sorted({int(c) for c in cp}))
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


def _check_size(space: Space, trials: int) -> None:
    axes = {"splits": len(space.splits), space.load: len(space.loads), "weights": len(space.weights),
            "kv": len(space.kv), **{v.name: len(v.values) for v in space.listed},
            "trials": trials if space.sampled else 1}
    count = prod(axes.values()) if space.variants == (NEUTRAL,) else space.size * axes["trials"]
    words = " x ".join(f"{name} {size}" for name, size in axes.items())
    if count == 0:
        empty = ", ".join(name for name, size in axes.items() if size == 0)
        raise InputError("space", f"holds no plan: nothing along {empty} ({words})",
                         "allow more devices, or shorter lists")
    if count > MOST_POINTS:
        raise InputError("space", f"holds {count:.3g} plans, more than {MOST_POINTS:.0e} ({words})",
                         "shorten the longest axis")
