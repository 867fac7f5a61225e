"""Figures of a study file: numbers, and quantities with their units."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dse.catalogue.json_reader import Reader, show
from dse.catalogue.quantity import EXAMPLES, quantity, unit_of
from dse.errors import InputError, nearest
from dse.plan import expressions
from dse.plan.technique import Knob

_FREE = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s+(\S.*)", re.ASCII)
_NUMERIC = re.compile(r"[-+]?(\d|\.\d)")


def reader(table: Mapping[str, Any], where: str) -> Reader:
    """Checked access to a table; `where` is "file: dotted.key"."""
    file, _, key = where.rpartition(": ")
    return Reader(table, file, f"{key}.")


def figure(raw: object, where: str) -> tuple[float, str]:
    """A number or quantity as its SI value and the unit it states ("" for a plain number)."""
    if isinstance(raw, str) and raw.strip():
        unit = unit_of(raw, where)
        return quantity(raw, unit, where, negative=True), unit
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not -1e300 <= raw <= 1e300:
        raise InputError(where, f"is {show(raw)}, expected a number or a quantity with its unit such as '3.35 TB/s'")
    return float(raw), ""


def read_value(raw: object, unit: str, where: str) -> float:
    """A figure that has to be in `unit`: a quantity, a plain number where the unit is none or mm2."""
    if unit in ("", "mm2"):
        if isinstance(raw, str):
            raise InputError(where, f"{show(raw)} has a unit or is no number, expected a plain number such as 0.45")
        return figure(raw, where)[0]
    if unit in EXAMPLES:
        return quantity(raw, unit, where, negative=True)  # type: ignore[arg-type]
    found = _FREE.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if found is None or found[2] != unit:
        raise InputError(where, f"{show(raw)} is no quantity in {unit}, expected one such as '12.5 {unit}'")
    return figure(float(found[1]), where)[0]


def bounds(raw: object, unit: str, where: str) -> tuple[float, float]:
    """One figure as [value, value], or an interval [low, high]."""
    pair = raw if isinstance(raw, list) else [raw, raw]
    if len(pair) != 2:
        raise InputError(where, f"is {show(raw)}, expected one figure or [low, high]")
    low, high = (read_value(item, unit, where) for item in pair)
    if low > high:
        raise InputError(where, f"{low:g} lies above {high:g}, expected [low, high]")
    return low, high


def setting(raw: object, knob: Knob | None, where: str) -> float | str:
    """A value that a knob or unknown is set to, in the knob's unit; a name where its values are names."""
    if knob is not None and knob.values and isinstance(knob.values[0], str):
        if not isinstance(raw, str) or raw not in knob.values:
            raise InputError(where, f"is {show(raw)}, expected one of its values",
                             nearest(str(raw), [str(v) for v in knob.values]))
        return raw
    if expressions.is_expression(raw):
        return float(expressions.value(str(raw), {}, where))
    value, unit = figure(raw, where)
    if knob is not None and unit != knob.unit:
        wanted = f"a quantity in {knob.unit}" if knob.unit else "a plain number"
        raise InputError(where, f"{show(raw)} has the wrong unit, expected {wanted}, as {knob.name!r} has")
    return value


def in_si(raw: object, where: str) -> object:
    """A text that starts like a number as an SI value; anything else (a name, a pattern, a list) as it is."""
    if isinstance(raw, str) and _NUMERIC.match(raw.strip()):
        return figure(raw, where)[0]
    return raw
