"""Processes and packaging from hardware/, checked, in SI (defects per mm2, bytes, joules)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dse.catalogue import paths
from dse.catalogue.figures import facts_of
from dse.catalogue.files import read_toml, validate
from dse.catalogue.silicon_schema import PackagingFile, ProcessFile
from dse.errors import InputError, nearest
from dse.model.machine import Fact
from dse.model.silicon import FORMATS, Packaging, Process

PROCESSES, PACKAGING = "hardware/processes", "hardware/packaging"
DEFAULT_PACKAGING = "interposer"
MM2_PER_CM2 = 100.0
MIB = float(1 << 20)
POSITIVE = ("wafer.price", "wafer.clustering", "io.lane_rate", "limits.reticle_mm2", "limits.wafer_mm",
            "limits.interface_depth_mm", "limits.edge_share", "limits.stack_edge_mm", "cost.bond_yield",
            "cost.price_over_cost")
"""Figures that something is divided by."""
SHARES = ("limits.edge_share", "cost.bond_yield", "power.static_share", "power.matrix_share")


def process_names() -> list[str]:
    """Every process of the catalogue."""
    return paths.names(PROCESSES)


def process_facts(name: str) -> Mapping[str, Fact]:
    """Figures of a process by dotted key."""
    path = paths.find(PROCESSES, name)
    file = validate(ProcessFile, read_toml(path), str(path))
    return _checked(facts_of(file, file.sources, str(path)), path)


def packaging_facts(name: str) -> Mapping[str, Fact]:
    """Figures of a way of packaging by dotted key."""
    path = paths.find(PACKAGING, name)
    file = validate(PackagingFile, read_toml(path), str(path))
    return _checked(facts_of(file, file.sources, str(path)), path)


def process_of(node: str) -> str | None:
    """The process that a chip's `node` names; None where the catalogue has none of it."""
    for name in process_names():
        if node in read_toml(paths.find(PROCESSES, name)).get("covers", ()):
            return name
    return None


def load_process(name: str, where: str = PROCESSES) -> Process:
    """A process by its name; `where` says who asks for it."""
    if name not in process_names():
        raise InputError(where, f"{name!r} is no process of the catalogue", nearest(name, process_names()))
    return process_from(name, {key: fact.value for key, fact in process_facts(name).items()})


def load_packaging(name: str = DEFAULT_PACKAGING) -> Packaging:
    """A way of packaging by its name."""
    return packaging_from({key: fact.value for key, fact in packaging_facts(name).items()})


def process_from(name: str, v: Mapping[str, float]) -> Process:
    """A process from plain figures by dotted key."""
    logic = {key: v[f"logic.{key}_mm2"] for key in ("control", "vector", "matrix", "systolic", "interconnect", "misc")}
    sram = {key: v[f"sram.{key}_mm2_per_mib"] / MIB for key in ("registers", "scratch", "banked", "slab")}
    return Process(
        name, v["wafer.price"], v["wafer.defects_per_cm2"] / MM2_PER_CM2, v["wafer.clustering"],
        v["wafer.tolerated_defects"], **logic, **sram, memory_phy=v["io.memory_phy_mm2"],
        memory_controller=v["io.memory_controller_mm2"], lane=v["io.lane_mm2"], lane_rate=v["io.lane_rate"],
        host=v["io.host_mm2"], flop_joules={name: v[f"energy.{name}"] for name in FORMATS},
        sram_joules=v["energy.sram"], cache_joules=v["energy.cache"], wire_joules=v["energy.wire"])


def packaging_from(v: Mapping[str, float]) -> Packaging:
    """A way of packaging from plain figures by dotted key."""
    tables: dict[str, dict[str, float]] = {}
    for key, value in v.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    return Packaging(**tables)


def _checked(facts: Mapping[str, Fact], path: Path) -> Mapping[str, Fact]:
    for key, fact in facts.items():
        if key in POSITIVE and fact.value <= 0:
            raise InputError(f"{path}: {key}", f"{fact.value:g} is too little, expected more than 0")
        if key in SHARES and fact.value > 1:
            raise InputError(f"{path}: {key}", f"{fact.value:g} is no share, expected at most 1")
    return facts
