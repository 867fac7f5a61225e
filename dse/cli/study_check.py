"""What `dse study check` says: that a search can be run, and how many plans it would look at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType

from dse.cli import show
from dse.cli.search_asked import Asked
from dse.model.metrics import METRICS
from dse.search.grid import Aim
from dse.search.space import Space
from dse.search.structures import Structure, shares, structures_of
from dse.studies.search_writer import search_document


def size_document(asked: Asked, spaces: Sequence[Space], aim: Aim) -> dict[str, Any]:
    """The plans of a search by axis, for each of its structures, and what it aims at.

    A structure is what samples the same variables on the same chip; one that samples none is evaluated once.
    """
    structures = structures_of(spaces)
    parts = [_part(structure, trials) for structure, trials in
             zip(structures, shares(structures, int(asked["trials"])), strict=True)]
    return {
        "search": search_document(asked), "structures": parts,
        "plans": sum(part["plans_of_a_trial"] * max(part["trials"], 1) for part in parts),
        "objectives": list(aim.objectives), "limits": {name: most for name, (_, most) in aim.limits.items()},
        "left_out": list(dict.fromkeys(note for space in spaces for note in space.left_out)),
    }


def _part(structure: Structure, trials: int) -> dict[str, Any]:
    space = structure.space
    axes = {"splits": len(space.splits), space.load: len(space.loads), "weights": len(space.weights),
            "kv": len(space.kv), **{v.name: len(v.values) for v in space.listed}, "variants": len(space.variants),
            **{a.name: len(a.values) for variant in space.variants for a in variant.axes}}
    return {"name": structure.name, "hardware": space.system.name, "axes": axes, "plans_of_a_trial": space.size,
            "trials": trials,
            "sampled": {v.name: {"low": v.low, "high": v.high, "unit": v.unit} for v in space.sampled}}


def check_page(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """A search that can be run."""
    parts = document["structures"]
    yield show.heading(f"{document['search']['title']}: can be run")
    yield show.pairs(_facts(document))
    for part in parts:
        yield show.heading(f"{part['name']}: plans by axis" if len(parts) > 1 else "Plans by axis")
        yield show.pairs(_size(part))


def _facts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "model", document["search"]["model"]
    yield "hardware", ", ".join(dict.fromkeys(part["hardware"] for part in document["structures"]))
    yield "for", ", ".join(METRICS[name].title for name in document["objectives"])
    if document["limits"]:
        yield "within", ", ".join(f"{name.removesuffix('_ms')} {show.seconds(most)}"
                                  for name, most in document["limits"].items())
    yield "plans", f"{document['plans']:,}"
    for note in document["left_out"]:
        yield "note", note


def _size(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, size in part["axes"].items():
        if size > 1:
            yield name, f"{size:,}"
    if part["trials"]:
        yield "trials", f"{part['trials']:,} of {part['plans_of_a_trial']:,} plans each, of"
    for name, ends in part["sampled"].items():
        yield f"  {name}", _between(ends["low"], ends["high"], ends["unit"])


def _between(low: float, high: float, unit: str) -> str:
    if unit in ("B", "B/s"):
        return f"{show.with_prefix(low, unit)} to {show.with_prefix(high, unit)}"
    return f"{show.significant(low)} to {show.significant(high)} {unit}".rstrip()
