"""What would make a plan feasible: which constraint fails, by how much, and the nearest plans that meet it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dse.cli.parse import with_cell
from dse.errors import InputError
from dse.model.deployment import divisors
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.plan import document, plan_from_document

LARGEST_TP = 1024
OFFLOADS = tuple(n / 20 for n in range(1, 21))


def violations(e: Evaluation) -> list[str]:
    """Each constraint that is not met, in words, with the amount."""
    return [_violation(e, name, float(value)) for name, value in e.constraints.items() if not float(value) <= 0]


def _violation(e: Evaluation, name: str, excess: float) -> str:
    if name in ("memory", "host_memory"):
        parts = e.memory if name == "memory" else e.host_memory
        used, place = sum(float(v) for v in parts.values()), "host memory" if name == "host_memory" else "memory"
        over = used - used / (1 + excess) if math.isfinite(excess) else used
        return (f"{place}: {used / 1e9:,.1f} GB needed per GPU, {(used - over) / 1e9:,.1f} GB there, "
                f"{over / 1e9:,.1f} GB too much")
    if name == "rate":
        most = e.metrics["saturation_requests_s"]
        asked = float(e.traffic.peak_rate)
        return (f"rate: {asked:,.4g} requests/s asked, {float(most or 0):,.4g} requests/s possible, "
                f"{100 * excess:,.1f} % too much")
    return f"{name}: {100 * excess:,.1f} % over"


def remedies(e: Evaluation) -> list[str]:
    """Changes of one thing each after which the plan is feasible; empty where none was found."""
    failing = {name for name, value in e.constraints.items() if not float(value) <= 0}
    found: list[str] = []
    if "memory" in failing:
        found += [*_wider(e), *_smaller_formats(e), *_offloaded(e), *_fewer_sequences(e)]
    if "host_memory" in failing:
        found.append("place less in host memory: a smaller --kv-offload or --weight-offload")
    if failing == {"rate"}:
        found += _more_replicas(e)
    return found


def _wider(e: Evaluation) -> Iterator[str]:
    """The smallest tp at which it fits, with all other splits kept."""
    d = e.deployment
    for tp in divisors(e.model.heads):
        if d.tp < tp <= LARGEST_TP:
            cells = {"parallelism.tp": tp, "parallelism.dp": int(d.dp)}
            if _fits(e, cells, gpus=tp * d.pp * d.dp * d.cp):
                gpus = int(tp * d.pp * d.dp * d.cp)
                yield f"needs at least tp={tp} ({gpus} GPUs in all)"
                return


def _smaller_formats(e: Evaluation) -> Iterator[str]:
    """The first smaller format of weights, then of KV, at which it fits."""
    for name, cell, choices in (("--weights", "formats.weights", ("fp8", "int4")), ("--kv", "formats.kv", ("fp8",))):
        for choice in choices:
            current = str(e.deployment.formats.mlp_weights if name == "--weights" else e.deployment.formats.kv)
            if choice != current and _fits(e, {cell: choice}):
                yield f"{name} {choice}"
                break


def _offloaded(e: Evaluation) -> Iterator[str]:
    """The smallest share of weights or KV to keep in host memory."""
    if e.system.node.host is None:
        return
    for name, cell in (("--weight-offload", "placement.weights.host"), ("--kv-offload", "placement.kv.host")):
        share = next((share for share in OFFLOADS if _fits(e, {cell: share})), None)
        if share is not None:
            yield f"{name} {share:g}"


def _fewer_sequences(e: Evaluation) -> Iterator[str]:
    slots = float(e.metrics["kv_slots"] or 0)
    if e.traffic.batch is not None and 1 <= slots < float(e.traffic.batch):
        yield f"--batch {math.floor(slots)} or less"


def _more_replicas(e: Evaluation) -> Iterator[str]:
    most = float(e.metrics["saturation_requests_s"] or 0)
    pool, now = e.plan.pools.prefill, float(e.deployment.dp)
    if most > 0 and e.deployment.prompts is None:
        more = float(e.traffic.peak_rate) / most * (1 + 1e-9)
        dp = math.ceil(more * now) if pool is None else math.ceil(more) * int(now)     # pools grow in proportion
        words = f"{int(dp * e.deployment.gpus / now)} GPUs in all"
        yield f"needs at least dp={dp} ({words})" if pool is None else (
            f"dp={dp} with --prefill-replicas {math.ceil(more) * int(pool)} ({words})")


def _fits(e: Evaluation, cells: dict[str, Any], gpus: float | None = None) -> bool:
    """Whether the plan with some cells changed meets its memory constraints."""
    doc = document(e.plan)
    try:
        for path, value in cells.items():
            doc = with_cell(doc, path, value)
        system = e.system if gpus is None else replace(e.system, gpus=gpus)
        changed = evaluate(e.model, system, plan_from_document(doc, ""), e.traffic)
    except InputError:
        return False
    return all(float(v) <= 0 for name, v in changed.constraints.items() if name.endswith("memory"))
