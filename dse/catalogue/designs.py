"""A chip's silicon from its file: a catalogued chip's by its figures and [design], a described one's by [design].

A described chip is a file whose [design] says what its other tables leave out: peak, memory, cache, cores, links, die,
price and power then follow from the silicon. What such a file states stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dse.catalogue.figures import Source, facts_of
from dse.catalogue.files import validate
from dse.catalogue.parts import TIERS, load_part
from dse.catalogue.processes import load_packaging, load_process, process_of
from dse.catalogue.schema import Accelerator
from dse.catalogue.silicon_schema import DesignOnly, DesignTable
from dse.errors import InputError
from dse.model.machine import Chip, Fact
from dse.model.power import WIDTHS, thermal_power
from dse.model.silicon import Design, Packaging, Silicon, bill, blocks, die_area, edges, excesses, largest_die

SOURCE = "design"
DESCRIBED = ("cores", "clock", "matrix_flop_per_clock", "cache", "stacks", "link")
"""Figures that a chip has to be described by, beside its process and its memory."""
AT_LEAST_ONE = ("cores", "dies", "stacks")
KIB = 1024.0
LOCAL = {"SM": (256 * KIB, 256 * KIB), "CU": (512 * KIB, 96 * KIB)}
"""Registers and scratch memory of a core by its kind, where the file does not say."""
VECTOR = 256.0
"""FLOP a clock of a core's vector lanes, where nothing says it."""
DOMAIN = 8


def completed(document: dict[str, Any], path: Path) -> tuple[dict[str, Any], bool]:
    """The document with the tables that its [design] implies, and whether there were any to add."""
    tables = ("peak", "memory", "cache", "cores", "scale_up")
    design = document.get("design")
    if not isinstance(design, dict) or all(name in document for name in tables):
        return document, False
    if not any(name in design for name in DESCRIBED):
        return document, False              # a chip by its tables, of which one is missing or misspelt
    sources = {name: validate(Source, source, f"{path}: sources.{name}")
               for name, source in document.get("sources", {}).items()}
    file = validate(DesignOnly, {"design": design}, str(path))
    table = file.design
    figures = {key.removeprefix("design."): fact.value for key, fact in facts_of(file, sources, str(path)).items()}
    for name in (*DESCRIBED, *(n for n in ("memory", "process") if getattr(table, n) is None)):
        if name not in figures:
            raise InputError(f"{path}: design.{name}", "missing, expected where a file has no [peak], [memory], ...: "
                             f"{', '.join((*DESCRIBED, 'memory', 'process'))}")
    made = _tables(table, figures, str(path))
    full = {**document, **{name: {**implied, **document.get(name, {})} for name, implied in made.items()}}
    full.setdefault("kernel_class", {"value": "async", "source": SOURCE})
    full.setdefault("dies", _given(figures.get("dies", 1.0) + figures.get("io_dies", 0.0)))
    full["sources"] = {SOURCE: {"kind": "derived", "ref": "follows from the [design] of this file"},
                       **document.get("sources", {})}
    return full, True


def _given(value: float, unit: str = "") -> dict[str, Any]:
    return {"value": f"{value!r} {unit}" if unit else value, "source": SOURCE}


def _tables(table: DesignTable, v: Mapping[str, float], path: str) -> dict[str, dict[str, Any]]:
    """The tables that follow from a design."""
    assert table.memory is not None
    for name in DESCRIBED:
        if v[name] <= 0:
            raise InputError(f"{path}: design.{name}", f"{v[name]:g} is too little, expected more than 0")
    try:
        stack = load_part(TIERS, table.memory.value)
        capacity, bandwidth = stack["stack_capacity"].value, stack["stack_bandwidth"].value
    except (InputError, KeyError):
        raise InputError(f"{path}: design.memory", f"{table.memory.value!r} is no stacked memory of hardware/tiers",
                         "expected hbm2e, hbm3, hbm3e or hbm4") from None
    peak = v["cores"] * v["clock"] * v["matrix_flop_per_clock"]
    rates = {"bf16": 1.0, "fp16": 1.0, **{name: v[f"rates.{name}"] for name in table.rates or {}}}
    for name in rates:
        if name not in WIDTHS:
            raise InputError(f"{path}: design.rates.{name}", "is no rate", f"expected some of {', '.join(WIDTHS)}")
    style, memory = table.cache_style or "banked", v["stacks"] * bandwidth
    quick = load_packaging().rates
    cached = (quick["slab_over_memory"] * memory if style == "slab" else
              maximum_of(quick["banked_bytes_per_clock"] * v["cores"] * v["clock"], memory))
    return {
        "peak": {name: _given(peak * rate, "FLOP/s") for name, rate in rates.items()},
        "memory": {"capacity": _given(v["stacks"] * capacity, "B"), "bandwidth": _given(memory, "B/s"),
                   "stacks": _given(v["stacks"]), "type": {"value": table.memory.value, "source": SOURCE}},
        "cache": {"level": "l3" if style == "slab" else "l2", "capacity": _given(v["cache"], "B"),
                  "bandwidth": _given(cached, "B/s")},
        "cores": {"kind": {"value": "SM", "source": SOURCE}, "count": _given(float(round(v["cores"]))),
                  "clock": _given(v["clock"], "Hz"), "exp_per_clock": _given(16.0)},
        "scale_up": {"name": "links of the design", "topology": "switch", "domain": _given(DOMAIN),
                     "bandwidth": _given(v["link"], "B/s")},
    }


def maximum_of(first: float, second: float) -> float:
    """The larger: a cache is never slower than the memory behind it."""
    return first if first > second else second


def with_silicon(chip: Chip, file: Accelerator, path: Path, described: bool) -> Chip:
    """The chip with its silicon, or with what is missing for one; a described chip gets die, price and power."""
    made = silicon_of(file, chip.facts, path)
    if isinstance(made, str):
        if file.design is not None:
            raise InputError(f"{path}: design", f"lacks {made}", "add the figure, or leave [design] out")
        return replace(chip, silicon_lacks=made)
    silicon = replace(made, die_mm2=chip.die_mm2)
    if not described:
        return replace(chip, silicon=silicon)
    check_possible(silicon, path)
    cost = silicon.packaging.cost
    figures = {"die_mm2": ("die_mm2", die_area(silicon), "mm2"), "tdp_w": ("power.tdp", thermal_power(silicon), "W"),
               "price_usd": ("price.device", bill(silicon) * cost["price_over_cost"], "USD")}
    missing = {field: entry for field, entry in figures.items() if getattr(chip, field) is None}
    facts = {key: Fact(float(value), float(value), float(value), unit, SOURCE, "derived from [design]")
             for key, value, unit in missing.values()}
    values: dict[str, Any] = {field: float(value) for field, (_, value, _) in missing.items()}
    return replace(chip, silicon=silicon, facts={**chip.facts, **facts}, **values)


def silicon_of(file: Accelerator, facts: Mapping[str, Fact], path: Path) -> Silicon | str:
    """The silicon of a chip, or what the sources lack for one, in words."""
    table = file.design or DesignTable()
    own = {key.removeprefix("design."): fact.value for key, fact in facts.items() if key.startswith("design.")}
    name = table.process.value if table.process else process_of(file.node.value) if file.node else None
    if name is None:
        return f"a process for {file.node.value!r}" if file.node else "a process"
    packaging = load_packaging()
    memory = (table.memory or file.memory.type)
    kind = "" if memory is None else memory.value.lower().split()[0]
    stacks = own.get("stacks", _get(facts, "memory.stacks", 0.0))
    if not stacks or kind not in packaging.cost:
        return f"a cost of its memory ({memory.value})" if memory and stacks else "stacks of HBM"
    if "cores" not in own and file.cores.kind.value not in LOCAL:
        return f"the area of one of its cores ({file.cores.kind.value})"
    process = load_process(name, f"{path}: design.process")
    other = process if table.io_process is None else load_process(table.io_process.value, f"{path}: design.io_process")
    return Silicon(_design(file, table, own, facts, packaging, kind, float(stacks)), process, other, packaging)


def _get(facts: Mapping[str, Fact], key: str, default: Any) -> Any:
    return facts[key].value if key in facts else default


def _design(file: Accelerator, table: DesignTable, own: Mapping[str, float], facts: Mapping[str, Fact],
            packaging: Packaging, memory_type: str, stacks: float) -> Design:
    """What the file says, else what its figures imply."""
    cores = own.get("cores", _get(facts, "cores.count", 0.0))
    boost = facts["cores.clock"].value
    clock = own.get("clock", _get(facts, "cores.matrix_clock", boost))
    wide = _get(facts, "peak.bf16", _get(facts, "peak.fp16", 0.0))
    registers, scratch = LOCAL.get(file.cores.kind.value, LOCAL["SM"])
    cache = own.get("cache", facts["cache.capacity"].value)
    lanes = facts["peak.fp32"].value / (cores * boost) if "peak.fp32" in facts else VECTOR
    rates = {key.removeprefix("peak."): fact.value / wide for key, fact in facts.items() if key.startswith("peak.")}
    return Design(
        cores=cores, clock=clock, matrix=own.get("matrix_flop_per_clock", wide / (cores * clock)),
        vector=own.get("vector_flop_per_clock", lanes), rates=rates, cache_bytes=cache, stacks=stacks,
        stack_bytes=facts["memory.capacity"].value / stacks,
        stack_bandwidth=facts["memory.bandwidth"].value / stacks,
        link_bandwidth=own.get("link", facts["scale_up.bandwidth"].value), memory_type=memory_type,
        core_style=table.core_style,
        cache_style=table.cache_style or ("banked" if file.cache.level == "l2" else "slab"),
        asynchronous=file.kernel_class.value == "async", registers=own.get("registers", registers),
        scratch=own.get("scratch", scratch), inner_cache_bytes=own.get("inner_cache", 0.0),
        core_spare=max(own.get("physical_cores", cores) / cores, 1.0),
        cache_spare=max(own.get("physical_cache", cache) / cache, 1.0) if cache else 1.0,
        memory_spare=max(own.get("memory_sites", stacks) / stacks, 1.0),
        memory_fused=max(own.get("physical_memory", 0.0) / facts["memory.capacity"].value, 1.0),
        dies=own.get("dies", max(_get(facts, "dies", 1.0) - own.get("io_dies", 0.0), 1.0)),
        io_dies=own.get("io_dies", 0.0))


def check_possible(s: Silicon, path: Path, changed: Collection[str] = ("cores", "cache", "stacks", "link")) -> None:
    """A die that no exposure prints, and interfaces that no edge holds, are refused; the key to look at is the largest
    of those `changed`.
    """
    d = s.design
    for name in AT_LEAST_ONE:
        if getattr(d, name) < 1:
            raise InputError(f"{path}: design.{name}", f"{getattr(d, name):g} is too little, expected at least 1")
    over, limits = excesses(s), s.packaging.limits
    parts = blocks(s)
    size = {"cores": parts["cores"], "cache": parts["cache"], "stacks": parts["memory interfaces"],
            "link": parts["links"]}
    if over["reticle"] > 0:
        largest = max((key for key in size if key in changed), key=lambda key: size[key])
        raise InputError(f"{path}: design.{largest}", f"each die would be {largest_die(s):,.0f} mm2, expected at most "
                         f"the reticle's {limits['reticle_mm2']:g}", "fewer cores, less cache, or more dies")
    if over["shoreline"] > 0:
        need, there = edges(s)
        key = next((key for key in ("stacks", "link") if key in changed), "cores")
        raise InputError(f"{path}: design.{key}", f"{d.stacks:g} stacks and the links take {need:,.0f} mm of edge, "
                         f"expected at most {there:,.0f} mm of this die's",
                         "fewer stacks, slower links, or larger dies")
