"""The shipped calibration files from fits: what is universal, what a class has, what a chip has.

A file keeps what no fit concerns (rules, operators without tables, constants of other sources) as it stands.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from dse.catalogue.hardware import load_chip
from dse.catalogue.paths import find, names
from dse.validation.fit import EVERYWHERE, Fit, Fitted
from dse.validation.pipeline import fit_shipped
from dse.validation.unseen import EFFICIENCY_CAP, RULES, Values, launch_cycles, mean_over_architectures, power_rule

FOLDER = "hardware/calibration"
SOURCE = ("fitted by `dse calibrate --shipped` to the kernel tables of aiconfigurator-core 0.12.0 (PyPI, Apache-2.0); "
          "what that leaves as it was comes from trial laws fitted to the same tables")
COMMENTS = {
    "default": "Constants every chip starts from: universal ones, and for the rest what a chip nobody measured gets.\n"
               "gemm.launch = launch_cycles / boost clock and gemm.efficiency = min(efficiency_cap, power_scale\n"
               "(W per TFLOP/s)^power_exponent) where a chip has none of its own. benchmark.* describes replays of\n"
               "the tables, never serving. fits.* says how many rows are behind a stage, and their median error.",
    "class-async": "Chips whose copies and matrix products run asynchronously: Hopper, Blackwell for data centres,\n"
                   "and dataflow designs.",
    "class-sync": "Chips whose kernels wait for their copies: Ampere, Ada, Blackwell with GDDR; AMD's too.",
}
ORDER = ("gemm", "attention", "mla", "moe", "collective")
NEEDS = {"moe": "gemm"}
CLASSES = ("async", "sync")
LEAST_SPREAD = 0.02
"""Relative error given to a mean over chips that happen to agree."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A constant of one file: its dotted name, value and error in SI units or pure numbers."""

    name: str
    value: float
    error: float


def fit_all() -> dict[str, dict[str, Fit]]:
    """Every kind's fits, each on its own rows."""
    fits: dict[str, dict[str, Fit]] = {}
    for kind in ORDER:
        earlier = fits.get(NEEDS.get(kind, ""), {})
        found = fit_shipped(kind, earlier)
        fits[kind] = {name: fit for name, fit in found.items() if name not in earlier}
    return fits


def shipped_files(fits: Mapping[str, Fit]) -> dict[str, dict[str, Any]]:
    """Every file's document by name: the present one with the fitted constants in place."""
    constants = [c for fit in fits.values() for c in fit.constants]
    per_file: dict[str, list[Entry]] = {}
    for c in constants:
        per_file.setdefault(file_of(c.member), []).append(Entry(c.name, c.value, c.value * c.error))
    unsure = {c.name for fit in fits.values() for c in fit.refused}
    for file, entry in family(constants, unsure):
        per_file.setdefault(file, []).append(entry)
    return {file: _document(file, entries, fits) for file, entries in per_file.items()}


def file_of(member: str) -> str:
    """The file that holds the constants of a member."""
    if member == EVERYWHERE:
        return "default"
    return f"class-{member}" if member in CLASSES else member


def family(constants: Iterable[Fitted], unsure: Collection[str] = ()) -> Iterable[tuple[str, Entry]]:
    """What chips without data get: rules for the GEMM floor and efficiency, else means of the class and of all.

    unsure: constants that some chip refused; no mean of the others is put in its place.
    """
    by_name: dict[str, dict[str, float]] = {}
    for c in constants:
        if c.member != EVERYWHERE and c.member not in CLASSES:
            by_name.setdefault(c.name, {})[c.member] = c.value
    for name, known in by_name.items():
        if name in RULES:
            yield from _rules(name, known)
            continue
        if name not in unsure:
            yield "default", _mean(name, known)
        for kind in CLASSES:
            alike = {c: v for c, v in known.items() if load_chip(c).kernel_class == kind}
            if alike and not name.startswith("collectives."):
                yield f"class-{kind}", _mean(name, alike)


def _mean(name: str, known: Values) -> Entry:
    """The mean over architectures; its error is the spread of the chips."""
    value = mean_over_architectures(known)
    return Entry(name, value, value * max(float(np.std(np.log(list(known.values())))), LEAST_SPREAD))


def _rules(name: str, known: Values) -> Iterable[tuple[str, Entry]]:
    spread = float(np.std(np.log([v * (load_chip(c).clock if name == "gemm.launch" else 1) for c, v in known.items()])))
    if name == "gemm.launch":
        cycles = launch_cycles(known)
        yield "default", Entry("gemm.launch_cycles", cycles, cycles * spread)
        return
    scale, exponent = power_rule(known)
    yield "default", Entry("gemm.power_scale", scale, 0.05)
    yield "default", Entry("gemm.power_exponent", exponent, 0.05)
    yield "default", Entry("gemm.efficiency_cap", EFFICIENCY_CAP, 0.03)


def _document(file: str, entries: Iterable[Entry], fits: Mapping[str, Fit]) -> dict[str, Any]:
    known = tomllib.loads(find(FOLDER, file).read_text(encoding="utf-8")) if file in names(FOLDER) else {}
    tree: dict[str, Any] = {**known, "kind": "calibration", "source": SOURCE, "date": date.today()}
    tree.pop("fits", None)
    for entry in entries:
        put(tree, entry)
    tree["fits"] = {name: summary for name, fit in fits.items() if (summary := _summary(file, fit))}
    return tree


def put(tree: dict[str, Any], entry: Entry) -> None:
    """Set a constant in the tree of sections, in the unit that its field has."""
    *sections, key = entry.name.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[key] = {"value": written(key, entry.value), "error": written(key, entry.error, 2)}


def _summary(file: str, fit: Fit) -> dict[str, Any]:
    """Rows and residual behind a file's constants of one stage."""
    if file in fit.by_chip:
        rows, residual = fit.by_chip[file]
        return {"rows": rows, "residual": round(residual, 4)}
    if file in ("default", *(f"class-{c}" for c in CLASSES)):
        return {"rows": fit.rows, "residual": round(fit.residual, 4)}
    return {}


SECONDS = ("launch", "expert", "split_cost", "doubling", "base", "hop", "graph_base", "graph_hop")
"""Constants that the files give in us."""


def written(key: str, value: float, digits: int = 4) -> float | str:
    """A number as the files have it: `digits` significant ones, seconds as text in us."""
    if key in SECONDS:
        return f"{float(f'{value * 1e6:.{digits}g}')} us"
    return float(f"{value:.{digits}g}")
