"""What the catalogue says, checked against what can be derived from it. Pure functions that return rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dse.catalogue import hardware, parts, paths
from dse.catalogue.calibration import ENGINES, FOLDER, load_engine, load_kernels
from dse.catalogue.files import read_toml
from dse.catalogue.models import load_model, model_names, published
from dse.catalogue.processes import PACKAGING, PROCESSES, packaging_facts, process_facts
from dse.catalogue.silicon_checks import silicon_checks
from dse.errors import InputError
from dse.model.machine import Fact
from dse.model.parameters import total_parameters

BOTH_WAYS = "_both_ways"
AGREEMENT = 0.01
"""Relative difference at which rounded figures of different sources still agree."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one item: what was expected, what was found, whether they agree. shown: also where they do;
    claimed: False where a figure is set beside another without a promise to agree."""

    item: str
    check: str
    expected: str
    found: str
    agrees: bool
    shown: bool = False
    claimed: bool = True


def hardware_checks() -> list[Finding]:
    """Every file of hardware/: it loads, is named like its file, and its figures agree with one another; every chip
    whose silicon is known: area, bill of materials and power."""
    files = [finding for kind in LOADERS for name in paths.names(kind) for finding in _file_checks(kind, name)]
    return files + [Finding(c.item, c.check, c.expected, c.found, c.agrees, True, c.claimed) for c in silicon_checks()]


def workload_checks() -> list[Finding]:
    """Every model: it loads, and its parameters add up to the published total within the stated tolerance."""
    return [finding for name in model_names() for finding in _model_checks(name)]


def disagreements(findings: list[Finding]) -> list[Finding]:
    """Those that do not agree."""
    return [finding for finding in findings if not finding.agrees]


def _chip_facts(name: str) -> Mapping[str, Fact]:
    chip = hardware.load_chip(name)
    for engine in paths.names(ENGINES):
        load_kernels(chip, load_engine(engine).kernels)
    return chip.facts


def _system_facts(name: str) -> Mapping[str, Fact]:
    hardware.load_node(name)
    return {}               # its figures are its chip's, or override them on purpose


def _engine_facts(name: str) -> Mapping[str, Fact]:
    load_engine(name)
    return {}


def _constants(name: str) -> Mapping[str, Fact]:
    read_toml(paths.find(FOLDER, name))     # read whole with the chips that use them
    return {}


LOADERS: Mapping[str, Callable[[str], Mapping[str, Fact]]] = {
    parts.ACCELERATORS: _chip_facts,
    parts.SYSTEMS: _system_facts,
    parts.LINKS: lambda name: parts.load_part(parts.LINKS, name),
    parts.TIERS: lambda name: parts.load_part(parts.TIERS, name),
    "hardware/economics": lambda name: hardware.load_economics(name).facts,
    PROCESSES: process_facts,
    PACKAGING: packaging_facts,
    FOLDER: _constants,
    ENGINES: _engine_facts,
}
"""For each folder, what loads a name of it and returns the figures to compare."""


def _file_checks(kind: str, name: str) -> Iterator[Finding]:
    item = f"{kind}/{name}"
    try:
        facts = LOADERS[kind](name)
        stated = _stated_name(paths.find(kind, name))
    except InputError as problem:
        yield Finding(item, "loads", "a file that loads", str(problem), False)
        return
    yield Finding(item, "loads", "a file that loads", "loads", True)
    if stated is not None:
        yield Finding(item, "name", name, stated, stated == name)
    yield from _both_ways(item, facts)
    yield from _matrix_clock(item, facts)


def _stated_name(path: Path) -> str | None:
    """What the file calls itself; a file of constants, or one laid over a base, need not say."""
    name: Any = read_toml(path).get("name")
    return None if name is None else str(name)


def _both_ways(item: str, facts: Mapping[str, Fact]) -> Iterator[Finding]:
    """A nominal rate both ways is twice the rate one way, where a file has both; measured ones need not be."""
    for key, fact in facts.items():
        one_way = facts.get(key.removesuffix(BOTH_WAYS))
        if key.endswith(BOTH_WAYS) and one_way is not None and "measured" not in key:
            twice = 2 * one_way.value
            expected, found = f"{twice / 1e9:,.4g} GB/s, twice the rate one way", f"{fact.value / 1e9:,.4g} GB/s"
            yield Finding(item, key, expected, found, math.isclose(twice, fact.value, rel_tol=AGREEMENT))


def _matrix_clock(item: str, facts: Mapping[str, Fact]) -> Iterator[Finding]:
    """At the matrix clock a peak is a power of two of FLOP for each core and clock."""
    peak, clock, cores = (facts.get(key) for key in ("peak.bf16", "cores.matrix_clock", "cores.count"))
    if peak is None or clock is None or cores is None:
        return
    each = peak.value / (cores.value * clock.value)
    expected = 2.0 ** round(math.log2(each))
    agrees = math.isclose(each, expected, rel_tol=AGREEMENT)
    yield Finding(item, "cores.matrix_clock", f"{expected:g} FLOP a clock and core at the bf16 peak", f"{each:,.1f}",
                  agrees)


def _model_checks(name: str) -> Iterator[Finding]:
    item = f"workloads/models/{name}"
    try:
        model, facts = load_model(name), published(name)
    except InputError as problem:
        yield Finding(item, "loads", "a model that loads", str(problem), False)
        return
    yield Finding(item, "loads", "a model that loads", "loads", True)
    if facts.total_b is not None:
        total = total_parameters(model) / 1e9
        off = total / facts.total_b - 1
        expected = f"{facts.total_b:g} B within {100 * facts.tolerance:g} %"
        yield Finding(item, "parameters", expected, f"{total:,.3f} B, {100 * off:+.2f} %", abs(off) <= facts.tolerance)
