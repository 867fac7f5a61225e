"""A system whose figures are arrays, one entry per measured row: one call of a law then predicts a whole table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from dse.catalogue.calibration import load_kernels, load_replays
from dse.catalogue.systems import load_system
from dse.equations.num import Number
from dse.model.constants import Kernels
from dse.model.system import System

Constants = Mapping[str, Number]
"""Constants by their name in the calibration files (`gemm.launch`, `prefill.vllm.tail`), a value or one per row."""
LIBRARIES = ("prefill", "decode", "experts")
"""Sections that a calibration file has once per kernel library."""
GPUS = 8
DEFAULT_LIBRARY = "trtllm"
"""Only attention and experts differ between kernel libraries."""


@cache
def machine(chip: str, library: str) -> System:
    """A chip of the catalogue with its shipped constants of one kernel library."""
    system = load_system(chip, gpus=GPUS)
    return replace(system, kernels=load_kernels(system.chip, library))


@cache
def replays(chip: str) -> Mapping[str, float]:
    """The shipped constants of replayed benchmarks."""
    return load_replays(machine(chip, DEFAULT_LIBRARY).chip)


def shipped(name: str, chip: str) -> float:
    """The value that a constant of the calibration files has on a chip."""
    if name.startswith("benchmark."):
        return replays(chip)[name]
    section, *rest = name.split(".")
    library = DEFAULT_LIBRARY
    if section in LIBRARIES:
        library, *rest = rest
    kernels = machine(chip, library).kernels
    part = getattr(kernels, section)
    return float(getattr(_of_format(part, rest) if isinstance(part, Mapping) else part, rest[-1]))


def _of_format(by_format: Mapping[str, Any], rest: Sequence[str]) -> Any:
    """The constants that `<format>.<constant>` or `<constant>` (bf16) means; the family's for a format without own."""
    fmt = rest[0] if len(rest) > 1 else "bf16"
    return by_format[fmt] if fmt in by_format else by_format["bf16"]


def row_system(chips: pd.Series[str], constants: Constants, library: str = DEFAULT_LIBRARY) -> System:
    """The system of rows that were measured on `chips`, with `constants` in place of the shipped ones."""
    names, index = np.unique(np.asarray(chips, dtype=str), return_inverse=True)
    machines = [machine(str(name), library) for name in names]
    first = machines[0]
    chip = _stacked([m.chip for m in machines], index)
    kernels = with_constants(_stacked([m.kernels for m in machines], index), constants, library)
    return replace(first, node=replace(first.node, chip=chip), kernels=kernels)


def with_constants(kernels: Kernels, constants: Constants, library: str = DEFAULT_LIBRARY) -> Kernels:
    """Kernels with some constants replaced; those of other libraries and of benchmarks are passed over."""
    for name, value in constants.items():
        section, *rest = name.split(".")
        if section in LIBRARIES:
            named, *rest = rest
            if named != library:
                continue
        if not hasattr(kernels, section):
            continue
        part = getattr(kernels, section)
        if isinstance(part, Mapping):
            fmt = rest[0] if len(rest) > 1 else "bf16"
            changed: Any = {**part, fmt: replace(_of_format(part, rest), **{rest[-1]: value})}
        else:
            changed = replace(part, **{rest[-1]: value})
        kernels = replace(kernels, **{section: changed})
    return kernels


def _stacked(items: list[Any], index: np.ndarray) -> Any:
    """One object whose numbers are arrays: `items` of the same shape, one per chip, spread over the rows.

    What they share stays one number. Names, topologies and other words stay the first item's: no law of one device
    reads them.
    """
    first = items[0]
    if any(i is None for i in items) and any(is_dataclass(i) for i in items):
        return None             # a table that some chips lack, which no law of one device reads
    if is_dataclass(first) and not isinstance(first, type):
        parts = {f.name: _stacked([getattr(i, f.name) for i in items], index) for f in fields(first)}
        return replace(first, **parts)
    if isinstance(first, Mapping):
        common = set(first).intersection(*map(set, items))
        return {key: _stacked([i[key] for i in items], index) for key in first if key in common}
    if isinstance(first, (int, float)) and not isinstance(first, bool) and any(i != first for i in items):
        return np.array([np.nan if i is None else i for i in items], dtype=float)[index]
    return first
