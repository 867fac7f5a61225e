"""An evaluation as plain values: what `--json` prints, what a search stores, what a report draws."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.model.evaluate import PHASES, Evaluation
from dse.model.spans import own_times, work
from dse.model.spending import spending
from dse.model.system import System, vector_peak
from dse.model.timeline import layer_bars
from dse.plan.plan import document as plan_document
from dse.plan.read import field_document
from dse.plan.traffic import Traffic

SCHEMA = "dse.evaluation/1"


def evaluation_document(e: Evaluation) -> dict[str, Any]:
    """One evaluated plan (no arrays) as a JSON-ready document, in SI units.

    breakdown: charged seconds of each (phase, op, resource); own: the seconds each keeps a resource busy, overlapping
    or not; work: FLOPs, HBM bytes and charged seconds of each (phase, op) on one device, for a roofline; usd_per_hour:
    the deployment's cost by cause; layer: one layer of the decode step as bars along time.
    """
    charges = {phase: e.breakdown(phase) for phase in PHASES}
    return {
        "schema": SCHEMA,
        "model": {"name": e.model.name, "type": e.model.model_type, "layers": e.model.depth, "source": e.model.source},
        "system": system_document(e.system),
        "plan": resolved_plan(e),
        "traffic": traffic_document(e.traffic),
        "metrics": {name: plain(value) for name, value in e.metrics.items()},
        "intervals": {name: [plain(low), plain(high)] for name, (low, high) in e.intervals.items()},
        "memory": {name: plain(value) for name, value in e.memory.items()},
        "memory_capacity": plain(e.system.chip.memory_bytes),
        "host_memory_capacity": None if e.system.node.host is None else plain(e.system.node.host.memory_bytes),
        "host_memory": {name: plain(value) for name, value in e.host_memory.items()},
        "constraints": {name: plain(value) for name, value in e.constraints.items()},
        "feasible": bool(e.feasible),
        "breakdown": [{"phase": phase, "op": op, "resource": resource, "seconds": plain(seconds)}
                      for phase in PHASES for (op, resource), seconds in charges[phase].items() if plain(seconds)],
        "own": [{"phase": phase, "op": op, "resource": resource, "seconds": plain(seconds)}
                for phase in PHASES for (op, resource), seconds in own_times(e.spans[phase]).items() if plain(seconds)],
        "work": [{"phase": phase, "op": op, "flops": plain(flops), "bytes": plain(nbytes),
                  "seconds": plain(sum(v for (name, _), v in charges[phase].items() if name == op))}
                 for phase in PHASES for op, (flops, nbytes) in work(e.spans[phase]).items() if plain(flops)],
        "bound_by": {phase: e.bound_by(phase) for phase in PHASES},
        "usd_per_hour": None if (usd := spending(e.system, e.deployment.gpus)) is None else
        {cause: plain(value) for cause, value in usd.items()},
        "layer": [asdict(bar) for bar in layer_bars(e.spans["decode"], e.plan.overlap)],
    }


def resolved_plan(e: Evaluation) -> dict[str, Any]:
    """The plan's document with the splits and formats that silence stood for."""
    d, doc = e.deployment, plan_document(e.plan)
    splits = {name: plain(getattr(d, name)) for name in ("tp", "pp", "dp", "ep", "cp")}
    return {**doc, "parallelism": {**doc["parallelism"], **splits}, "formats": field_document(d.formats)}


def system_document(system: System) -> dict[str, Any]:
    """What a reader needs of the system: names, devices, the ceilings of a roofline."""
    chip = system.chip
    return {
        "name": system.name, "title": system.node.title, "chip": chip.name, "gpus": plain(system.gpus),
        "engine": system.engine.name, "cost_basis": "given" if system.usd_per_gpu_hour is not None else
        system.cost_basis, "peak_flops": plain(vector_peak(chip)), "peaks": {k: plain(v) for k, v in chip.peak.items()},
        "memory_bandwidth": plain(chip.memory_bandwidth), "cache_bytes": plain(chip.cache_bytes),
        "cache_bandwidth": plain(chip.cache_bandwidth), "link_bandwidth": plain(chip.scale_up.bandwidth),
        "die_mm2": plain(chip.die_mm2),
    }


def traffic_document(traffic: Traffic) -> dict[str, Any]:
    """The traffic's cells that are set."""
    cells = {f.name: getattr(traffic, f.name) for f in fields(traffic)}
    return {name: plain(value) for name, value in cells.items() if value is not None}


def plain(value: Number) -> Any:
    """A JSON value: whole floats as integers, nan and infinities as null (JSON has neither)."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, np.ndarray) and value.ndim:
        return [plain(v) for v in value.tolist()]
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
