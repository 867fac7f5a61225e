"""Cells of a plan: a value, its bounds and its meaning, written once.

A frozen dataclass declares its cells with `cell(...)`; checking values, reading files, `--set` and the reference of
plan keys all read that declaration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any

import numpy as np

from dse.errors import InputError, nearest


def cell(default: Any, meaning: str, *, low: float | None = None, high: float | None = None, whole: bool = False,
         choices: tuple[str, ...] = (), optional: bool = False, structure: bool = False) -> Any:
    """A dataclass field that holds a number (or array) within bounds, or one of `choices` (or an array of them).

    A cell of `structure` chooses functions and takes one name only: a search over structure loops over plans.
    """
    rules = {"meaning": meaning, "low": low, "high": high, "whole": whole, "choices": choices, "optional": optional,
             "structure": structure}
    return field(default=default, metadata=rules)


def expectation(rules: Mapping[str, Any]) -> str:
    """What a cell expects, in words."""
    if rules["choices"]:
        return "one of " + ", ".join(rules["choices"])
    kind = "a whole number" if rules["whole"] else "a number"
    low, high = rules["low"], rules["high"]
    if low is not None and high is not None:
        return f"{kind} from {low:,.10g} to {high:,.10g}"
    return f"{kind} of at least {low:,.10g}" if low is not None else kind


def check_cell(value: Any, rules: Mapping[str, Any], where: str) -> Any:
    """`value` as a float, string or array if it obeys the rules, else an InputError that names `where`."""
    if value is None and rules["optional"]:
        return None
    if rules.get("structure") and not isinstance(value, str):
        raise _wrong(value, rules, where)
    if rules["choices"]:
        return _check_choice(value, rules["choices"], where)
    return _check_number(value, rules, where)


def _check_choice(value: Any, choices: tuple[str, ...], where: str) -> Any:
    names = [value] if isinstance(value, str) else list(np.asarray(value, dtype=object).ravel())
    if not names:
        raise InputError(where, "an empty list", nearest("", choices))
    for name in names:
        if not isinstance(name, str) or name not in choices:
            raise InputError(where, f"unknown value {_short(name)}", nearest(str(name), choices))
    return value if isinstance(value, str) else np.asarray(value, dtype=str)


def _check_number(value: Any, rules: Mapping[str, Any], where: str) -> Any:
    try:
        raw = np.asarray(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong(value, rules, where) from None
    if raw.dtype.kind not in "iuf":
        raise _wrong(value, rules, where)
    array = raw.astype(float)
    low, high = rules["low"], rules["high"]
    bad = ~np.isfinite(array)
    if low is not None:
        bad |= array < low
    if high is not None:
        bad |= array > high
    if rules["whole"]:
        bad |= array != np.round(array)
    if array.size == 0 or bool(np.any(bad)):
        raise _wrong(value, rules, where)
    return float(array) if array.ndim == 0 else array


def _wrong(value: Any, rules: Mapping[str, Any], where: str) -> InputError:
    return InputError(where, f"{_short(value)} is not {expectation(rules)}")


def check_cells(holder: object, where: str) -> None:
    """Check every cell of a frozen dataclass in place; `where` is its dotted name."""
    for item in fields(holder):  # type: ignore[arg-type]
        if "meaning" in item.metadata:
            value = check_cell(getattr(holder, item.name), item.metadata, f"{where}.{item.name}".lstrip("."))
            object.__setattr__(holder, item.name, value)


def known_keys(table: Mapping[str, Any], names: tuple[str, ...], where: str) -> None:
    """Refuse keys that are not among `names`."""
    for key in table:
        if key not in names:
            raise InputError(f"{where}.{key}".lstrip("."), "no such key", nearest(str(key), names))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
