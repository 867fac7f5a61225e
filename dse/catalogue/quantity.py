"""The one place where a quantity is read: "3.35 TB/s", "50 MiB", "2.59 us" become plain SI numbers."""

from __future__ import annotations

import math

from quantiphy import QuantiPhyError, Quantity

from dse.errors import InputError, nearest


class _Reader(Quantity):
    """QuantiPhy with the prefixes that hardware uses; in its full set "5 years" is 5 yocto-"ears"."""


_Reader.set_prefs(input_sf="EPTGMKkmunp", known_units=["USD"])

EXAMPLES = {
    "B": "80 GB", "B/s": "3.35 TB/s", "FLOP/s": "989 TFLOP/s", "s": "2.59 us", "Hz": "1.98 GHz", "W": "700 W",
    "USD": "27000 USD", "USD/h": "2.95 USD/h", "J/B": "3.9 pJ/bit", "USD/B": "12 USD/GB", "J": "0.25 pJ",
}  # fmt: skip
_SPELLINGS = {
    "B": {"bit": 1 / 8},
    "B/s": {"bit/s": 1 / 8},
    "J/B": {"J/bit": 8.0},
    "USD/B": {"USD/GB": 1e-9},
}
# What no machine has; a figure outside has lost or gained a prefix. Zero is an answer only where the least is zero.
_LIMITS = {
    "B": (0.0, 1e19), "B/s": (1e3, 1e19), "FLOP/s": (1e6, 1e21), "s": (0.0, 1e10), "Hz": (1e3, 1e13),
    "W": (0.0, 1e11), "USD": (0.0, 1e13), "USD/h": (0.0, 1e10), "J/B": (0.0, 1e-3), "USD/B": (0.0, 1.0),
    "J": (0.0, 1e3), "mm2": (0.0, 1e6), "": (0.0, 1e15),
}  # fmt: skip


def quantity(text: str | float, unit: str, where: str, *, negative: bool = False) -> float:
    """The value of `text` in `unit` (a key of EXAMPLES, "mm2" or "" for a plain number).

    A figure with a unit is a string that says it; areas and dimensionless figures are plain numbers, and a share is
    0.45, never "45 %". `where` names file and key in the error. `negative` allows values below zero.
    """
    value = _plain(text, where) if unit in ("", "mm2") else _with_unit(text, unit, where)
    low, high = _LIMITS[unit]
    if not math.isfinite(value):
        raise InputError(where, f"{text!r} is not a finite number, expected {_expected(unit)}")
    if value < 0 and not negative:
        raise InputError(where, f"{text!r} is negative, expected {_expected(unit)}")
    if not (negative and value < 0) and not low <= value <= high:
        bounds = f"from {low:g} to {high:g} {unit}".rstrip()
        raise InputError(where, f"{text!r} is absurd, expected {_expected(unit)}, {bounds}")
    return value


def unit_of(text: str | float, where: str) -> str:
    """The unit a figure states for itself, for tables whose keys are free; "" for a plain number."""
    if not isinstance(text, str):
        return ""
    stated = _read(text, "B", where).units
    for unit in EXAMPLES:
        if stated == unit or stated in _SPELLINGS.get(unit, {}):
            return unit
    raise InputError(where, f"{text!r} has an unknown unit", nearest(str(stated), EXAMPLES))


def _expected(unit: str) -> str:
    if unit in ("", "mm2"):
        return "a plain number such as 0.45" if not unit else "a plain number of mm2 such as 814"
    return f"a quantity in {unit} such as {EXAMPLES[unit]!r}"


def _plain(text: str | float, where: str) -> float:
    try:
        return float(text) if not isinstance(text, bool) else math.nan
    except (ValueError, TypeError, OverflowError):
        raise InputError(where, f"{text!r} is not a plain number, expected {_expected('')}") from None


def _with_unit(text: str | float, unit: str, where: str) -> float:
    if not isinstance(text, str):
        raise InputError(where, f"{text!r} has no unit, expected {_expected(unit)}")
    number = _read(text, unit, where)
    factor = 1.0 if number.units == unit else _SPELLINGS.get(unit, {}).get(number.units)
    if factor is None:
        raise InputError(where, f"{text!r} has the wrong unit, expected {_expected(unit)}")
    return float(number) * factor


def _read(text: str, unit: str, where: str) -> _Reader:
    # QuantiPhy also reads "name = 3 B"; a figure is no assignment
    try:
        if len(text) > 100 or "=" in text:
            raise ValueError
        return _Reader(text, binary=True)
    except (QuantiPhyError, ValueError, OverflowError):
        raise InputError(where, f"{text[:100]!r} is no quantity, expected {_expected(unit)}") from None
