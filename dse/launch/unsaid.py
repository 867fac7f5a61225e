"""What a plan says that no serving engine has a flag for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dse.plan.fields import STREAMING
from dse.plan.read import field_document

_STREAMING = field_document(STREAMING)


def unsaid(plan: Mapping[str, Any]) -> Iterator[str]:
    """Each such cell of a plan's document, in words."""
    yield from _placement(plan.get("placement", {}))
    par, batching, chance = (plan.get(name, {}) for name in ("parallelism", "batching", "chance"))
    for op, row in par.get("engines", {}).items():
        yield f"{op} partly on {', '.join(map(str, row))}"
    if par.get("shares"):
        yield f"shares of the device for {', '.join(par['shares'])}"
    if par.get("tokens_split"):
        yield f"{', '.join(par['tokens_split'])} split by tokens"
    if par.get("collective"):
        yield f"sums over ranks by {par['collective']}: the engine chooses"
    if batching.get("micro") is not None:
        yield f"{batching['micro']:g} micro-batches of an iteration"
    if batching.get("prompts", 1) != 1:
        yield f"{batching['prompts']:g} prompts computed together"
    for edge in plan.get("overlap", []):
        if edge not in _STREAMING:
            yield f"{', '.join(edge['hide'])} hidden behind {', '.join(edge.get('behind', ['*']))}"
    for obj in chance.get("hit", {}):
        yield f"a cache of {obj.replace('_', ' ')} with hits"
    for event in chance.get("events", []):
        yield f"events of chance {event.get('chance', 0):g} a step"


def _placement(rows: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, row in rows.items():
        obj = name.replace("_", " ")
        if row.get("disk"):
            yield f"{obj} on disk"
        if name == "x" and row.get("host"):
            yield "layer inputs in host memory"
        if row.get("copies", 1) != 1:
            yield f"{row['copies']:g} copies of {obj}"
        if row.get("staged", 2) != 2:
            yield f"{row['staged']:g} layers of {obj} staged"
