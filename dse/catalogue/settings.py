"""A system with single figures replaced: `--set chip.memory_bandwidth="4 TB/s"`, or the `device` table of a study.

Only figures that the model reads can be set; a figure that another one follows from (the host's share of a link) is
moved with it. A value is a text with its unit, or a number or NumPy array in SI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np

from dse.catalogue.quantity import quantity
from dse.errors import InputError, nearest
from dse.model.machine import Chip, Fabric, Fact, Host
from dse.model.moved import moved
from dse.model.system import System

RATES = ("bf16", "fp16", "fp8", "fp4", "int8")
TOPOLOGIES = ("switch", "mesh", "ring", "torus2d", "torus3d", "tree", "none")
UNITS: Mapping[str, Mapping[str, str]] = {
    "chip": {
        "clock": "Hz", "cores": "", "exp_rate": "", "memory_bytes": "B", "memory_bandwidth": "B/s",
        "cache_bytes": "B", "cache_bandwidth": "B/s", "cache_reserved": "B", "tdp_w": "W", "host_link_bandwidth": "B/s",
        "host_memory_bandwidth": "B/s", "price_usd": "USD", "rent_usd_per_hour": "USD/h", "die_mm2": "mm2",
    },
    "silicon": {"l2": "B", "hbm": "", "hbm_rate": "B/s", "link": "B/s", "cores": "", "clock": "Hz"},
    "peak": dict.fromkeys(RATES, "FLOP/s"),
    "scale_up": {"bandwidth": "B/s", "domain": "", "topology": "topology", "reduces": "flag"},
    "scale_out": {"bandwidth": "B/s", "oversubscription": ""},
    "host": {"link_bandwidth": "B/s", "link_efficiency": "", "link_latency": "s", "memory_bandwidth": "B/s",
             "memory_bytes": "B", "outstanding": "", "flops": "FLOP/s", "disk_bandwidth": "B/s", "disk_latency": "s",
             "disk_bytes": "B"},
}
"""The unit of each figure that can be set, by the table it is in."""
FACTS = {
    "chip.memory_bytes": "memory.capacity", "chip.memory_bandwidth": "memory.bandwidth",
    "chip.cache_bytes": "cache.capacity", "chip.cache_bandwidth": "cache.bandwidth", "chip.clock": "cores.clock",
    "chip.cores": "cores.count", "chip.exp_rate": "cores.exp_per_clock", "chip.tdp_w": "power.tdp",
    "chip.price_usd": "price.device", "chip.rent_usd_per_hour": "price.rent",
    "chip.scale_up.bandwidth": "scale_up.bandwidth", "chip.scale_up.domain": "scale_up.domain",
    "chip.scale_out.bandwidth": "scale_out.bandwidth", "chip.host_link_bandwidth": "host.bandwidth",
    "chip.host_memory_bandwidth": "host.memory_bandwidth", "host.link_bandwidth": "host.bandwidth",
    "host.link_efficiency": "host.link_efficiency", "host.link_latency": "host.link_latency",
    "host.memory_bandwidth": "host.memory_bandwidth", "host.memory_bytes": "host.memory_capacity",
    **{f"chip.peak.{rate}": f"peak.{rate}" for rate in RATES},
}
"""The catalogue's name of a figure that can be set."""
SHARES = ("link_efficiency", "utilisation", "average_draw", "memory_share")
AT_LEAST_ONE = ("cores", "domain", "outstanding", "oversubscription", "pue", "budget", "server_watt_per_chip_watt")
MAY_BE_ZERO = ("link_latency", "disk_latency", "cache_bytes", "cache_reserved", "half")
"""Figures of the machine that may be nothing; a constant of engine, economics or kernels may be unless it divides."""
DIVIDES = ("efficiency", "memory_efficiency", "utilisation", "life_years", "building_life_years", "memory_share",
           "norm", "interest", "power_scale", "cache_rate", "fp8_rate", "rate", "graph_efficiency",
           "network_efficiency", "pair_factor", "efficiency_factor")


ROOTS = ("silicon", "chip", "host", "engine", "economics", "kernels")
"""Tables of the machine; those of `silicon` are a search's variables, whose price, power and area follow."""
Setting = Any
"""A text, a number or an array."""


def with_figures(system: System, figures: Mapping[str, Setting], where: str) -> System:
    """The system with every figure at a dotted path set; `where` names the file and table, or the option, that says so.

    Those of the silicon go first and together: they are ratios to the catalogue's chip.
    """
    place = f"{where} " if where.startswith("--") else f"{where}."
    silicon = {path: value for path, value in figures.items() if path.split(".")[0] == "silicon"}
    system = _with_silicon(system, silicon, place)
    for path, value in figures.items():
        if path not in silicon:
            system = with_figure(system, path, value, f"{place}{path}")
    return system


def _with_silicon(system: System, figures: Mapping[str, Setting], place: str) -> System:
    values = {}
    for path, text in figures.items():
        key, where = path.partition(".")[2], f"{place}{path}"
        values[key] = _figure(key, UNITS["silicon"], text, where, zero=False)
        if key == "l2" and not np.all(np.asarray(system.chip.cache_bytes) > 0):
            raise InputError(where, f"{system.chip.name} has no last on-chip cache to vary")
    return replace(system, node=replace(system.node, chip=moved(system.chip, values))) if values else system


def with_figure(system: System, path: str, text: Setting, where: str) -> System:
    """The system with the figure at a dotted path set to what `text` says."""
    head, *rest = path.split(".")
    if head not in ROOTS:
        raise InputError(where, "no such table of the machine", nearest(head, ROOTS))
    if not rest:
        raise InputError(where, f"names a table, expected a figure such as {head}.{_example(system, head)}")
    if head == "silicon":
        return _with_silicon(system, {path: text}, where.removesuffix(path))
    if head == "chip":
        return _with_chip(system, rest, text, where)
    if head == "host":
        if system.node.host is None:
            raise InputError(where, f"the catalogue has no host link for {system.chip.name}",
                             "describe the chip in a file of your own")
        _leaf(rest, where)
        return _with_host(system, rest[0], _figure(rest[0], UNITS["host"], text, where))
    part: Any = getattr(system, head)
    return replace(system, **{head: _with_constant(part, rest, text, where)})


def _example(system: System, head: str) -> str:
    if head in UNITS:
        return next(iter(UNITS[head]))
    return _settable(getattr(system, head))[0]


def _with_chip(system: System, keys: list[str], text: Setting, where: str) -> System:
    chip, key = system.chip, keys[0]
    if key in ("peak", "scale_up", "scale_out") and len(keys) == 2:
        value = _figure(keys[1], UNITS[key], text, where)
        changed = _with_part(chip, key, keys[1], value, where)
    else:
        known = {**UNITS["chip"], **dict.fromkeys(("peak", "scale_up", "scale_out"), "")}
        if key in known and key not in UNITS["chip"]:
            raise InputError(where, "names a table, expected one of its figures", nearest("", UNITS[key]))
        value = _figure(key, UNITS["chip"], text, where, also=tuple(known))
        _leaf(keys, where)
        changed = replace(chip, **{key: value})
    changed = replace(changed, facts=_facts_with(chip, ".".join(["chip", *keys]), value))
    system = replace(system, node=replace(system.node, chip=changed))
    if keys == ["scale_out", "oversubscription"]:
        return replace(system, node=replace(system.node, oversubscription=value))
    if key in ("host_link_bandwidth", "host_memory_bandwidth"):
        return _with_host(system, key.removeprefix("host_"), value)
    return system


def _with_part(chip: Chip, table: str, key: str, value: Any, where: str) -> Chip:
    """The chip with a figure of its peak or of one of its networks set."""
    if table == "peak":
        return replace(chip, peak={**chip.peak, key: value})
    fabric: Fabric | None = getattr(chip, table)
    if fabric is None:
        raise InputError(where, f"the catalogue has no {table} for {chip.name}",
                         "describe the chip in a file of your own")
    changed = replace(fabric, **{key: value})
    return replace(chip, scale_up=changed) if table == "scale_up" else replace(chip, scale_out=changed)


def _with_host(system: System, key: str, value: Any) -> System:
    host = system.node.host
    if host is None:
        return system
    changed: Host = replace(host, **{key: value})
    chip = replace(system.chip, facts=_facts_with(system.chip, f"host.{key}", value))
    return replace(system, node=replace(system.node, host=changed, chip=chip))


def _facts_with(chip: Chip, path: str, value: Any) -> Mapping[str, Fact]:
    """The chip's facts with the user's figure in place of the catalogue's."""
    key = FACTS.get(path)
    return chip.facts if key is None else {**chip.facts, key: Fact(value, value, value, "", "--set")}


def _with_constant(part: Any, keys: list[str], text: Setting, where: str) -> Any:
    """A dataclass or table of constants with the one at a path set."""
    key = keys[0]
    known = _settable(part)
    if key not in known:
        raise InputError(where, f"no such key: {key!r}", nearest(key, known))
    inner = part[key] if isinstance(part, Mapping) else getattr(part, key)
    if is_dataclass(inner) or isinstance(inner, Mapping):
        if len(keys) == 1:
            raise InputError(where, "names a table, expected one of its figures", nearest("", _settable(inner)))
        value = _with_constant(inner, keys[1:], text, where)
    else:
        _leaf(keys, where)
        unit = {f.name: f.metadata.get("unit", "") for f in fields(part)}[key]
        value = _figure(key, {key: "flag" if isinstance(inner, bool) else unit}, text, where, zero=key not in DIVIDES)
    return {**part, key: value} if isinstance(part, Mapping) else replace(part, **{key: value})


def _settable(part: Any) -> list[str]:
    if isinstance(part, Mapping):
        return list(part)
    return [f.name for f in fields(part) if f.name not in ("facts", "name", "kernels", "policy")]


def _leaf(keys: list[str], where: str) -> None:
    if len(keys) > 1:
        raise InputError(where, f"{keys[0]} is a figure, which has no {keys[1]!r}")


def _figure(key: str, units: Mapping[str, str], text: Setting, where: str, *, zero: bool | None = None,
            also: tuple[str, ...] = ()) -> Any:
    """The value of a known key in its unit, within what the model can reckon with."""
    if key not in units:
        raise InputError(where, f"no such key: {key!r}", nearest(key, {*units, *also}))
    unit = units[key]
    if unit == "topology":
        return _choice(text, TOPOLOGIES, where)
    if unit == "flag":
        return _choice(text, ("true", "false"), where) == "true"
    value = quantity(text, unit, where) if isinstance(text, str) else _number(text, where)
    if np.any(value == 0) and not (key in MAY_BE_ZERO if zero is None else zero):
        raise InputError(where, f"{text!r} is zero, expected more")
    if key in SHARES and np.any(value > 1):
        raise InputError(where, f"{text!r} is no share, expected at most 1")
    if key in AT_LEAST_ONE and np.any(value < 1):
        raise InputError(where, f"{text!r} is too little, expected at least 1")
    if key == "domain" and np.any(value != np.round(value)):
        raise InputError(where, f"{text!r} is no count, expected a whole number")
    return int(value) if key == "domain" else value


def _number(value: Setting, where: str) -> Any:
    """A number or an array in SI, finite and not negative."""
    array = np.asarray(value)
    if array.dtype.kind not in "iuf" or array.size == 0 or not np.all(np.isfinite(array)) or np.any(array < 0):
        raise InputError(where, f"{str(value)[:60]!r} is not a number of at least 0, expected a figure")
    return float(array) if array.ndim == 0 else array.astype(float)


def _choice(text: str, choices: tuple[str, ...], where: str) -> str:
    if text not in choices:
        raise InputError(where, f"{text!r} is no choice, expected one of {', '.join(choices)}")
    return text
