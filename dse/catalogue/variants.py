"""A variant of a catalogued chip: a file with a `base` whose [design] says other cores, cache, stacks or links.

What follows is moved from the base's own figures, as in a search; price, power and area that the file states stand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dse.catalogue.designs import check_possible
from dse.catalogue.figures import Source, facts_of
from dse.catalogue.files import validate
from dse.catalogue.silicon_schema import DesignOnly
from dse.errors import InputError
from dse.model.machine import Chip, Fact
from dse.model.moved import moved, no_silicon

MOVES = {"cache": "l2", "stacks": "hbm", "link": "link", "cores": "cores"}
"""Figures of a [design] that move a base chip, and the free variable of a search that does the same."""
STATED = {"price": "price_usd", "power": "tdp_w", "die_mm2": "die_mm2"}
FOLLOWING = {"memory.capacity": "memory_bytes", "memory.bandwidth": "memory_bandwidth",
             "memory.stacks": "memory_stacks", "cache.capacity": "cache_bytes", "cache.bandwidth": "cache_bandwidth",
             "power.tdp": "tdp_w", "price.device": "price_usd", "price.rent": "rent_usd_per_hour",
             "die_mm2": "die_mm2"}
"""Facts that a moved design changes, and where the chip has their values."""


def without_moves(document: dict[str, Any], base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The merged document with the base's own figures where the file's [design] moves them."""
    moving = [name for name in MOVES if name in own.get("design", {})]
    if not moving:
        return document
    there = base.get("design", {})
    design = {key: value for key, value in document["design"].items() if key not in moving}
    return {**document, "design": {**design, **{name: there[name] for name in moving if name in there}}}


def variant(chip: Chip, own: Mapping[str, Any], sources: Mapping[str, Source], path: Path) -> Chip:
    """The base chip moved to what the file's own [design] says."""
    stated = {name: value for name, value in own.get("design", {}).items() if name in MOVES}
    if not stated:
        return chip
    if chip.silicon is None:
        raise InputError(f"{path}: design", no_silicon(chip), "leave [design] out")
    where = f"{path}: design"
    read = facts_of(validate(DesignOnly, {"design": stated}, str(path)), sources, str(path))
    figures = {key.removeprefix("design."): fact for key, fact in read.items()}
    for name, fact in figures.items():
        if fact.value <= 0:
            raise InputError(f"{where}.{name}", f"{fact.value:g} is too little, expected more than 0")
    made = moved(chip, {MOVES[name]: fact.value for name, fact in figures.items()})
    assert made.silicon is not None
    check_possible(made.silicon, path, list(figures))
    made = replace(made, **{field: getattr(chip, field) for table, field in STATED.items() if table in own})
    source = next(iter(figures.values())).source
    facts = {key: _fact(chip.facts[key], getattr(made, field), source) for key, field in FOLLOWING.items()
             if key in chip.facts and getattr(made, field) != getattr(chip, field)}
    return replace(made, facts={**chip.facts, **facts})


def _fact(old: Fact, value: Any, source: str) -> Fact:
    """A figure moved with its range."""
    by = float(value) / old.value
    return replace(old, value=float(value), low=old.low * by, high=old.high * by, source=source,
                   note="moved with [design]")
