"""Number formats: how many bytes an element takes and at which of a chip's rates it computes.

Bytes include scales: block fp8 has one 32-bit scale for 128 x 128 elements, int4 a 16-bit one for 128, nvfp4 an 8-bit
one for 16, mxfp4 an 8-bit one for 32, int2 (KV only) a 16-bit scale and zero for 32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError, nearest


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A storage format: bytes an element, the chip rate its products run at, the activations it is used with."""

    name: str
    nbytes: float
    rate: str
    activations: str
    weights: bool = True


FORMATS = {
    f.name: f
    for f in (
        NumberFormat("bf16", 2.0, "bf16", "bf16"),
        NumberFormat("fp8", 1.0, "fp8", "fp8"),
        NumberFormat("fp8_block", 1.0 + 4 / 128**2, "fp8", "fp8_block"),
        NumberFormat("int8", 1.0, "int8", "int8"),
        NumberFormat("int4", 0.5 + 2 / 128, "int4", "bf16"),
        NumberFormat("nvfp4", 0.5 + 1 / 16, "fp4", "nvfp4"),
        NumberFormat("mxfp4", 0.5 + 1 / 32, "fp4", "bf16"),
        NumberFormat("int2", 0.25 + 4 / 32, "int2", "bf16", weights=False),
    )
}
WEIGHTS = tuple(f.name for f in FORMATS.values() if f.weights)
KV = tuple(FORMATS)
ACTIVATIONS = ("bf16", "fp8", "fp8_block", "int8", "nvfp4", "mxfp4")
_WIDTH = {"bf16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4, "int2": 2}


def check_format(name: object, known: tuple[str, ...], where: str) -> str:
    """`name` if it is one of `known`, else an error with the nearest."""
    if not isinstance(name, str) or name not in known:
        raise InputError(where, f"no such number format: {name!r}", nearest(str(name), known))
    return name


def per_format(names: Number, value: Callable[[str], Any]) -> Any:
    """`value(name)` for one format name, or an array of them for an array of names (its shape kept)."""
    if isinstance(names, str):
        return value(names)
    flat = [value(str(n)) for n in np.asarray(names).ravel()]
    return np.array(flat).reshape(np.shape(names))


def pairwise(first: Number, second: Number, value: Callable[[str, str], Any]) -> Any:
    """`value(a, b)` over two format names or arrays of them, broadcast."""
    if isinstance(first, str) and isinstance(second, str):
        return value(first, second)
    left, right = np.broadcast_arrays(np.asarray(first), np.asarray(second))
    values = [value(str(a), str(b)) for a, b in zip(left.ravel(), right.ravel(), strict=True)]
    return np.array(values).reshape(left.shape)


def element_bytes(names: Number) -> Number:
    """Bytes of an element as stored, scales included."""
    return per_format(names, lambda name: FORMATS[name].nbytes)


def usual_activations(names: Number) -> Number:
    """The activation format that a weight format is served with."""
    return per_format(names, lambda name: FORMATS[name].activations)


def compute_rate(weights: str, activations: str) -> str:
    """The rate a product of the two formats runs at: the wider operand's, bf16 where integer meets float."""
    left, right = FORMATS[weights].rate, FORMATS[activations].rate
    wider = left if _WIDTH[left] > _WIDTH[right] else right
    integer = {left.startswith("int"), right.startswith("int")}
    if len(integer) == 2 and wider != "bf16":
        return "bf16"
    return "int8" if wider.startswith("int") else wider
