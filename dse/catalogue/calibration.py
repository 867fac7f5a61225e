"""Constants of kernels and engines: defaults, overlaid by a chip's class, overlaid by the chip's own file.

A constant is `{ value, error }`; its source is the file's, or its own. Sections of kernel libraries are named
`prefill.<library>` and `decode.<library>`; those of its expert kernels `experts.<library>` (bf16) and
`experts.<library>.<format>`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from dse.catalogue.files import read_toml
from dse.catalogue.paths import find, names
from dse.catalogue.quantity import quantity
from dse.equations.gemm import launch_time, power_limited_efficiency
from dse.errors import InputError, nearest
from dse.model import constants as c
from dse.model.machine import Chip, Uncertainty
from dse.plan.formats import FORMATS

FOLDER = "hardware/calibration"
ENGINES = "hardware/calibration/engines"
TEXTBOOK = "roofline"
"""The library of kernels without tiles and launches, whose constants win over every chip's."""
Constants = TypeVar("Constants")
Tree = dict[str, Any]


def engine_names() -> list[str]:
    """Engines of the catalogue."""
    return names(ENGINES)


def load_kernels(chip: Chip, library: str) -> c.Kernels:
    """Constants of a chip's kernels; what nobody measured on it comes from its class or the defaults."""
    tree, where = _merged(chip)
    if library == TEXTBOOK:
        path = find(FOLDER, TEXTBOOK)
        tree, where = _overlaid(tree, _sections(path)), str(path)
    if library not in tree["prefill"]:
        raise InputError(where, f"no kernel library {library!r}", nearest(library, tree["prefill"]))
    gemm = _gemm(tree["gemm"], chip, where)
    return c.Kernels(
        gemm=gemm,
        quant={name: _read(c.QuantConstants, table, f"{where}: quant.{name}") for name, table in tree["quant"].items()},
        prefill=_read(c.PrefillConstants, tree["prefill"][library], f"{where}: prefill.{library}"),
        decode=_read(c.DecodeConstants, tree["decode"][library], f"{where}: decode.{library}"),
        latent_prefill=_read(c.PrefillConstants, tree["latent_prefill"], f"{where}: latent_prefill"),
        latent_decode=_read(c.LatentConstants, tree["latent_decode"], f"{where}: latent_decode"),
        experts=_experts(tree["experts"][library], f"{where}: experts.{library}"),
        elementwise=_read(c.ElementwiseConstants, tree["elementwise"], f"{where}: elementwise"),
        collectives=_read(c.CollectiveConstants, tree["collectives"], f"{where}: collectives"),
        measured=_measured(chip),
    )


def _experts(table: Mapping[str, Any], where: str) -> dict[str, c.ExpertConstants]:
    """Constants of a library's expert kernels by weight format: what a section lacks comes from bf16's."""
    family = {name: value for name, value in table.items() if name not in FORMATS}
    made = {"bf16": _read(c.ExpertConstants, family, where)}
    for fmt in (name for name in table if name in FORMATS):
        made[fmt] = _read(c.ExpertConstants, {**family, **table[fmt]}, f"{where}.{fmt}")
    return made


def load_replays(chip: Chip) -> dict[str, float]:
    """What the last cache does to kernels that a benchmark replays, as `benchmark.<law>.<name>`; serving has none."""
    tree, where = _merged(chip)
    return {f"benchmark.{law}.{name}": _number(raw, "", f"{where}: benchmark.{law}.{name}")
            for law, table in tree.get("benchmark", {}).items() for name, raw in table.items()}


def _measured(chip: Chip) -> frozenset[str]:
    """Sections that the chip's own file, or that of the chip it is like, has."""
    own = [name for name in (chip.calibrated_as, chip.name) if name in names(FOLDER)]
    return frozenset(_sections(find(FOLDER, own[0]))) if own else frozenset()


@cache
def load_uncertainty() -> Uncertainty:
    """Spreads behind the intervals."""
    path = find(FOLDER, "uncertainty")
    table = read_toml(path)
    if table.get("kind") != "uncertainty":
        raise InputError(f"{path}: kind", "expected \"uncertainty\"")
    return Uncertainty(table["laws"], table["serving"], table["facts"]["unverified"])


@cache
def load_engine(name: str) -> c.Engine:
    """A serving engine's overheads and policy."""
    path = find(ENGINES, name)
    table = {k: v for k, v in read_toml(path).items() if k not in ("kind", "source", "date", "rows")}
    return _read(c.Engine, {**table, "name": name}, str(path))


def _merged(chip: Chip) -> tuple[Tree, str]:
    """The tree of sections for a chip, and the file that speaks last."""
    own = [name for name in (chip.calibrated_as, chip.name) if name in names(FOLDER)]
    tree: Tree = {}
    path = find(FOLDER, "default")
    for name in ("default", f"class-{chip.kernel_class}", *own[:1]):
        path = find(FOLDER, name)
        tree = _overlaid(tree, _sections(path))
    return tree, str(path)


@cache
def _sections(path: Path) -> Tree:
    table = read_toml(path)
    if table.get("kind") != "calibration" or not isinstance(table.get("source"), str):
        raise InputError(str(path), "expected kind = \"calibration\" and a source")
    return {k: v for k, v in table.items() if k not in ("kind", "source", "date")}


def _overlaid(base: Mapping[str, Any], top: Mapping[str, Any]) -> Tree:
    """Tables merged; a constant (a table with a value) is replaced whole."""
    out = dict(base)
    for key, value in top.items():
        old = out.get(key)
        inner = isinstance(value, Mapping) and "value" not in value and isinstance(old, Mapping)
        out[key] = _overlaid(old, value) if inner and old is not None else value
    return out


def _gemm(table: Mapping[str, Any], chip: Chip, where: str) -> c.GemmConstants:
    """GEMM constants; launch floor and efficiency follow from clock and power where nobody measured them."""
    rules = {k: _number(table[k], "", f"{where}: gemm.{k}")
             for k in ("launch_cycles", "power_scale", "power_exponent", "efficiency_cap")}
    made = {k: v for k, v in table.items() if k not in rules}
    made.setdefault("launch", {"value": launch_time(rules["launch_cycles"], chip.clock)})
    if "efficiency" not in made:
        rate = chip.peak.get("bf16", chip.peak.get("fp16"))
        watts = chip.tdp_w if chip.tdp_w is not None else 0.75e-12 * rate     # a recent accelerator's W per FLOP/s
        made["efficiency"] = {"value": power_limited_efficiency(
            watts, rate, rules["power_scale"], rules["power_exponent"], rules["efficiency_cap"])}
    return _read(c.GemmConstants, made, f"{where}: gemm")


def _read(kind: type[Constants], table: Mapping[str, Any], where: str) -> Constants:
    """A dataclass of constants from a table; every key known, none missing."""
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    for key in table:
        if key not in known and key != "source":
            raise InputError(f"{where}.{key}", "no such constant", nearest(key, known))
    missing = [name for name, f in known.items() if name not in table and f.default is MISSING]
    if missing:
        raise InputError(f"{where}.{missing[0]}", "missing; expected { value = ..., error = ... }")
    return kind(**{name: _value(table[name], f, f"{where}.{name}") for name, f in known.items() if name in table})


def _value(raw: Any, item: Any, where: str) -> Any:
    unit = item.metadata.get("unit")
    return raw if unit is None or isinstance(raw, bool) else _number(raw, unit, where)


def _number(raw: Any, unit: str, where: str) -> float:
    value = raw.get("value") if isinstance(raw, Mapping) else raw
    if isinstance(value, float) and unit == "s":
        return value            # derived from other constants, already in seconds
    if value == math.inf and not unit:
        return math.inf         # the norm of a hard maximum
    return quantity(value, unit, where)  # type: ignore[arg-type]
