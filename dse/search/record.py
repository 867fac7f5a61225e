"""What a trial found as an attribute of it in a shared storage, and back: bit for bit, and read without trust."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.search.density import CELLS
from dse.search.grid import Found, Miss
from dse.search.pareto import Points

FOUND = "found"
_TABLES = ("front", "sample")


def record_of(found: Found) -> dict[str, Any]:
    """Plain values: counts as they are, tables as the bytes of their numbers (little-endian doubles) in base 64."""
    return {"considered": found.considered, "feasible": found.feasible, "rejected": dict(found.rejected),
            **{name: _packed(getattr(found, name)) for name in (*_TABLES, "density")},
            **{name: [miss.excess if np.isfinite(miss.excess) else None, miss.constraint, _packed(miss.point)]
               for name, miss in (("miss", found.miss), ("undefined", found.undefined)) if miss is not None}}


def found_of(record: Any, names: tuple[str, ...], where: str) -> Found:
    """What a record says, as tables with these columns."""
    try:
        counts = {str(name): int(count) for name, count in record["rejected"].items()}
        front, sample = (_unpacked(record[name], names) for name in _TABLES)
        miss, undefined = (_miss(record, name, names) for name in ("miss", "undefined"))
        return Found(int(record["considered"]), int(record["feasible"]), counts, front, sample, miss, undefined,
                     _unpacked(record["density"], CELLS))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InputError(where, "holds a trial whose result cannot be read", "was it written by another version?",
                         ) from None


def _miss(record: Mapping[str, Any], name: str, names: tuple[str, ...]) -> Miss | None:
    if record.get(name) is None:
        return None
    excess, constraint, point = record[name]
    return Miss(np.inf if excess is None else float(excess), str(constraint), _unpacked(point, names))


def _packed(points: Points) -> str:
    return base64.b64encode(np.ascontiguousarray(points.rows, dtype="<f8").tobytes()).decode()


def _unpacked(text: str, names: tuple[str, ...]) -> Points:
    numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f8").astype(float)
    return Points(names, numbers.reshape(-1, len(names)))
