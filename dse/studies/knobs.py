"""Reading knobs and unknowns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dse.catalogue.json_reader import show
from dse.errors import InputError
from dse.plan import expressions
from dse.plan.cells import known_keys
from dse.plan.technique import OPTIMAL, Knob
from dse.studies.figures import figure, reader, setting

MOST_POINTS = 4096
_RANGE = ("low", "high", "points", "scale", "whole")
_KEYS = (*_RANGE, "values", "why")


def read_knobs(raw: object, where: str) -> dict[str, Knob]:
    """The table [knobs]: ranges or values, each with a default."""
    return {name: _knob(name, table, f"{where}.{name}") for name, table in _tables(raw, where).items()}


def read_unknowns(raw: object, where: str) -> dict[str, Knob]:
    """The table [published.unknown]: ranges or values, each with the reason for it."""
    return {name: _unknown(name, table, f"{where}.{name}") for name, table in _tables(raw, where).items()}


def read_range(name: str, table: object, where: str) -> Knob:
    """A bare range, such as the one where a derived number is sought."""
    if not isinstance(table, Mapping):
        raise InputError(where, f"is {show(table)}, expected {{ low, high, points }}")
    known_keys(table, _RANGE, where)
    return _ranged(name, table, where)


def _tables(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping):
        raise InputError(where, f"is {show(raw)}, expected a table of names")
    for name in raw:
        if not name.isidentifier() or not name.isascii() or name in expressions.FUNCTIONS:
            raise InputError(f"{where}.{name}", "is no name an expression can use, expected letters, digits and _")
    return raw


def _knob(name: str, table: object, where: str) -> Knob:
    made = _axis(name, table, where, "default", "closed")
    assert isinstance(table, Mapping)
    default = table.get("default")
    if default is None:
        raise InputError(f"{where}.default", f"missing, expected a value or {OPTIMAL!r}")
    chosen = OPTIMAL if default == OPTIMAL else setting(default, made, f"{where}.default")
    r, file = reader(table, where), f"{where}.closed"
    closed = expressions.parse(r.text("closed"), file) if "closed" in table else None
    return replace(made, default=chosen, closed=closed, why=r.text("why", ""))


def _unknown(name: str, table: object, where: str) -> Knob:
    made = _axis(name, table, where)
    assert isinstance(table, Mapping)
    why = table.get("why")
    if not isinstance(why, str) or not why.strip():
        raise InputError(f"{where}.why", "missing, expected the reason for the range")
    return replace(made, why=why)


def _axis(name: str, table: object, where: str, *more: str) -> Knob:
    if not isinstance(table, Mapping):
        raise InputError(where, f"is {show(table)}, expected {{ low, high, points }} or {{ values }}")
    known_keys(table, (*_KEYS, *more), where)
    if "values" not in table:
        return _ranged(name, table, where)
    both = [key for key in _RANGE if key in table]
    if both:
        raise InputError(f"{where}.{both[0]}", "stands beside values, expected either a range or values")
    return _listed(name, table["values"], f"{where}.values")


def _listed(name: str, raw: object, where: str) -> Knob:
    if not isinstance(raw, list) or not 1 <= len(raw) <= MOST_POINTS:
        raise InputError(where, f"is {show(raw)}, expected a list of 1 to {MOST_POINTS} figures or names")
    if all(isinstance(item, str) and item.isidentifier() for item in raw):
        return Knob(name, values=tuple(raw))
    read = [figure(item, f"{where}[{number}]") for number, item in enumerate(raw)]
    units = {unit for _, unit in read}
    if len(units) > 1:
        raise InputError(where, f"mixes the units {', '.join(repr(u) for u in sorted(units))}, expected one unit")
    return Knob(name, values=tuple(value for value, _ in read), unit=units.pop())


def _ranged(name: str, table: Mapping[str, Any], where: str) -> Knob:
    r = reader(table, where)
    for key in ("low", "high"):
        if key not in table:
            raise InputError(f"{where}.{key}", "missing, expected a number or quantity; or values = [...]")
    (low, unit), (high, other) = (figure(table[key], f"{where}.{key}") for key in ("low", "high"))
    if unit != other:
        raise InputError(f"{where}.high", f"{show(table['high'])} has another unit than low, expected {unit or 'none'}")
    if low >= high:
        raise InputError(f"{where}.high", f"{high:g} is not above low, expected low < high")
    log = r.choice("scale", ("linear", "log"), "linear") == "log"
    if log and low <= 0:
        raise InputError(f"{where}.low", f"{low:g} has no logarithm, expected more than 0")
    points = r.integer("points", 2, MOST_POINTS, 65)
    return Knob(name, low=low, high=high, points=points, log=log, whole=r.flag("whole", False), unit=unit)
