"""What one more per cent of each resource changes: elasticities of phases by their charges, of metrics by the model.

The share of a phase's seconds that is charged to a resource is the elasticity of the phase to that resource's rate. A
served metric depends on several phases through the laws of batching; its elasticity is a difference over the same
rates, all of them in one evaluation. Prices stay as they are: what a better chip may cost is the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.model.evaluate import PHASES, Evaluation, evaluate
from dse.model.spans import RESOURCES
from dse.model.system import System

STEP, CAPACITY_STEP = 1e-4, 0.05
"""Steps of a logarithm: laws are smooth in the rates, but sequences that fit are counted, so that memory needs more."""
PHASE_METRICS = {"prefill": "prefill_s", "decode": "decode_step_s"}
NOT_LATENCIES = ("throttle_scale",)
"""Times of the constants that say where a law bends, and not how long something takes."""
Change = Callable[[System, Number], System]


def elasticities(e: Evaluation) -> dict[str, dict[str, float]]:
    """By metric and resource: per cent of change for one per cent more of the resource (of a single plan).

    latency and engine: for fixed times that are one per cent shorter. capacity: device memory. Resources that the plan
    does not use, and metrics that no resource moves, are left out.
    """
    used = [name for name in SPEEDS if name == "capacity" or _is_used(e, name)]
    served = _by_difference(e, used)
    return {**served, **{metric: charged_shares(e, phase) for phase, metric in PHASE_METRICS.items()}}


def charged_shares(e: Evaluation, phase: str) -> dict[str, float]:
    """Elasticity of a phase's time to each resource: minus the share of its seconds that is charged to it."""
    charges = e.breakdown(phase)
    whole = float(e.spans[phase].time)
    sums = {name: sum(float(v) for (_, resource), v in charges.items() if resource == name) for name in RESOURCES}
    return {name: -seconds / whole for name, seconds in sums.items() if seconds and whole}


def _is_used(e: Evaluation, resource: str) -> bool:
    return any(name == resource and np.any(v) for phase in PHASES for (_, name), v in e.breakdown(phase).items())


def _by_difference(e: Evaluation, used: list[str]) -> dict[str, dict[str, float]]:
    """Central differences of all metrics along an axis with each resource a step up and a step down."""
    system, steps = e.system, np.array([CAPACITY_STEP if name == "capacity" else STEP for name in used])
    for i, name in enumerate(used):
        factor = np.ones(2 * len(used))
        factor[2 * i:2 * i + 2] = np.exp(steps[i]), np.exp(-steps[i])
        system = SPEEDS[name](system, factor)
    with np.errstate(all="ignore"):
        moved = evaluate(e.model, system, e.plan, e.traffic)
        out: dict[str, dict[str, float]] = {}
        for metric, value in moved.metrics.items():
            if value is None:
                continue
            logs = np.log(np.broadcast_to(np.asarray(value, dtype=float), 2 * len(used)))
            slopes = (logs[0::2] - logs[1::2]) / (2 * steps)
            found = {name: float(v) for name, v in zip(used, slopes, strict=True) if np.isfinite(v) and abs(v) > 1e-9}
            if found:
                out[metric] = found
    return out


def _on_chip(system: System, **changes: Any) -> System:
    return replace(system, node=replace(system.node, chip=replace(system.node.chip, **changes)))


def _on_host(*names: str) -> Change:
    def change(system: System, factor: Number) -> System:
        host = system.node.host
        if host is None:
            return system
        moved = {name: getattr(host, name) * factor for name in names if getattr(host, name) is not None}
        return replace(system, node=replace(system.node, host=replace(host, **moved)))
    return change


def _compute(system: System, factor: Number) -> System:
    """Peak and clock together: kernels count some of their work in cycles."""
    chip = system.chip
    return _on_chip(system, peak={name: rate * factor for name, rate in chip.peak.items()}, clock=chip.clock * factor,
                    matrix_clock=chip.matrix_clock * factor)


def _link(system: System, factor: Number) -> System:
    near, far = system.chip.scale_up, system.chip.scale_out
    return _on_chip(system, scale_up=replace(near, bandwidth=near.bandwidth * factor),
                    scale_out=None if far is None else replace(far, bandwidth=far.bandwidth * factor))


def _latency(system: System, factor: Number) -> System:
    """Launch floors, starts of collectives and of transfers."""
    system, host = replace(system, kernels=_shorter(system.kernels, factor)), system.node.host
    if host is None:
        return system
    quick = replace(host, link_latency=host.link_latency / factor, disk_latency=host.disk_latency / factor)
    return replace(system, node=replace(system.node, host=quick))


def _shorter(part: Any, factor: Number) -> Any:
    """A tree of constants with everything whose unit is the second divided by a factor."""
    if isinstance(part, Mapping):
        return {key: _shorter(value, factor) for key, value in part.items()}
    if not is_dataclass(part) or isinstance(part, type):
        return part
    return replace(part, **{f.name: getattr(part, f.name) / factor if f.metadata.get("unit") == "s" and
                            f.name not in NOT_LATENCIES else _shorter(getattr(part, f.name), factor)
                            for f in fields(part)})


SPEEDS: Mapping[str, Change] = {
    "compute": _compute,
    "l2": lambda s, f: _on_chip(s, cache_bandwidth=s.chip.cache_bandwidth * f),
    "hbm": lambda s, f: _on_chip(s, memory_bandwidth=s.chip.memory_bandwidth * f),
    "link": _link,
    "host_link": _on_host("link_bandwidth", "memory_bandwidth"),
    "disk_link": _on_host("disk_bandwidth"),
    "cpu": _on_host("flops"),
    "latency": _latency,
    "engine": lambda s, f: replace(s, engine=_shorter(s.engine, f)),
    "capacity": lambda s, f: _on_chip(s, memory_bytes=s.chip.memory_bytes * f),
}
"""How a system gets more of each resource."""
