"""What a claim can be about: every registered metric, and figures of one layer, of memory and of the machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np

from dse.equations.num import Number, maximum, minimum
from dse.errors import InputError, nearest
from dse.model.evaluate import Evaluation
from dse.model.hiding import hidden_leaves, raw_leaves
from dse.model.layer import one_layer
from dse.model.metrics import METRICS
from dse.model.parameters import cache_elements_per_token
from dse.plan.vocabulary import STATE

DECODE, PREFILL = "decode", "prefill"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A figure of an evaluation; `better` is -1 where less is better, +1 where more is, 0 where neither is an aim."""

    name: str
    title: str
    unit: str
    better: int
    of: Callable[[Evaluation], Number | None]


def quantity(name: str, where: str) -> Quantity:
    """The quantity of that name, or an error with the nearest."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    for prefix, made in FAMILIES.items():
        if name.startswith(prefix) and len(name) > len(prefix):
            return made(name, name.removeprefix(prefix))
    known = [*QUANTITIES, *(f"{prefix}..." for prefix in FAMILIES)]
    raise InputError(where, f"no such metric: {name!r}", nearest(name, known))


def mean_context(e: Evaluation) -> Number:
    """Tokens a sequence holds on average while it decodes."""
    given = e.traffic.context
    return e.traffic.input_tokens + (e.traffic.output_tokens - 1) / 2 if given is None else given


def held_sequences(e: Evaluation) -> Number:
    """Sequences whose KV the memory figures count."""
    batch, slots = e.metrics["batch"], e.metrics["kv_slots"]
    return batch if e.traffic.batch is not None else maximum(minimum(batch, maximum(slots, 1.0)), 1.0)


def _layer(e: Evaluation) -> Number:
    return one_layer(e, DECODE).time


def _state(e: Evaluation) -> Number:
    held = (table.get(name, 0.0) for table in (e.memory, e.host_memory) for name in STATE)
    return sum(held, 0.0) / held_sequences(e)


def _tokens(e: Evaluation) -> Number:
    return e.metrics["kv_slots"] * mean_context(e)


def _event(e: Evaluation) -> Number:
    return sum((seconds for (op, _), seconds in e.breakdown(DECODE).items() if op == "event"), 0.0)


def _transfer(e: Evaluation) -> Number:
    return cache_elements_per_token(e.model) * e.deployment.kept["kv"].stored * e.traffic.input_tokens


def _metric(name: str) -> Callable[[Evaluation], Number | None]:
    return lambda e: e.metrics[name]


QUANTITIES: Mapping[str, Quantity] = {q.name: q for q in (
    *(Quantity(m.name, m.title, m.unit, m.better, _metric(m.name)) for m in METRICS.values()),
    Quantity("layer_s", "one decode layer", "s", -1, _layer),
    Quantity("state_bytes", "state of one sequence on the fullest device", "B", -1, _state),
    Quantity("tokens_max", "tokens whose KV fits a replica", "", 1, _tokens),
    Quantity("event_s", "time of events in a step", "s", -1, _event),
    Quantity("transfer_bytes", "cache of a prompt, handed over where pools are apart", "B", -1, _transfer),
    Quantity("die_mm2", "die area", "mm2", -1, lambda e: e.system.chip.die_mm2),
)}


def _leaves(phase: str, raw: bool) -> Callable[[str, str], Quantity]:
    """Leaf seconds in one layer, after hiding or before it."""
    def made(name: str, pattern: str) -> Quantity:
        def seconds(e: Evaluation) -> Number:
            found = (raw_leaves if raw else hidden_leaves)(one_layer(e, phase))
            chosen = [value for leaf, value in found.items() if fnmatchcase(leaf, pattern)]
            if not chosen:
                raise InputError(name, "no leaf of the layer has such a name", nearest(pattern, found))
            return sum(chosen, 0.0)

        words = "before hiding" if raw else "after hiding"
        return Quantity(name, f"{pattern} in one layer ({phase}, {words})", "s", -1, seconds)

    return made


def _memory(table: str) -> Callable[[str, str], Quantity]:
    def made(name: str, key: str) -> Quantity:
        def nbytes(e: Evaluation) -> Number:
            held: Mapping[str, Number] = getattr(e, table)
            if key == "total":
                return sum(held.values(), 0.0)
            if key not in held:
                raise InputError(name, "no such object in memory", nearest(key, [*held, "total"]))
            return held[key]

        return Quantity(name, f"{key} in {'host' if table == 'host_memory' else 'device'} memory", "B", -1, nbytes)

    return made


def _constraint(name: str, key: str) -> Quantity:
    def excess(e: Evaluation) -> Number:
        if key not in e.constraints:
            raise InputError(name, "no such constraint", nearest(key, e.constraints))
        return e.constraints[key]

    return Quantity(name, f"constraint {key}, met up to 0", "", -1, excess)


FAMILIES: Mapping[str, Callable[[str, str], Quantity]] = {
    "span:": _leaves(DECODE, False), "raw:": _leaves(DECODE, True),
    "prefill.span:": _leaves(PREFILL, False), "prefill.raw:": _leaves(PREFILL, True),
    "host_memory.": _memory("host_memory"), "memory.": _memory("memory"), "constraint.": _constraint}
"""Quantities by prefix: span patterns, objects in memory, constraints (at most 0 where met)."""


def number(q: Quantity, e: Evaluation, where: str) -> Number:
    """The quantity of an evaluation as a float or array."""
    try:
        found = q.of(e)
    except InputError as error:
        raise InputError(where, f"{error.where}: {error.message}", error.hint) from None
    if found is None:
        raise InputError(where, f"{q.name} has no value here: the machine or traffic lacks a figure it needs",
                         "a price, a die area, a rate, a host link, an event")
    return np.asarray(found, dtype=float)
