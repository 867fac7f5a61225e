"""From a file's tables to a plan: expressions become values, techniques merge into the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dse.errors import InputError
from dse.model.architecture import Model
from dse.model.system import System
from dse.plan import expressions
from dse.plan.merge import merge
from dse.plan.plan import plan_from_document
from dse.plan.technique import Technique
from dse.plan.traffic import Traffic
from dse.studies.figures import figure, in_si
from dse.studies.symbols import Symbols, machine_symbols, model_symbols, traffic_symbols

SPLITS = ("tp", "pp", "dp", "ep", "cp")


def bound_plan(base_document: Mapping[str, Any], techniques: Sequence[Technique], values: Mapping[str, Any],
               model: Model, traffic: Traffic, system: System) -> dict[str, Any]:
    """The document of a plan: the base with the techniques merged in, every expression resolved.

    values: knobs (and unknowns, derived numbers) by name, numbers or arrays; "technique.knob" wins over "knob".
    A knob without a value has its default, or its closed form where the default is "optimal".
    """
    shapes = {**model_symbols(model), **traffic_symbols(traffic)}
    plain = {name: value for name, value in values.items() if "." not in name}
    base = resolved(base_document, {**shapes, **plain}, "plan")
    around = {**shapes, **machine_symbols(system, splits(base)), **plain}
    partial = []
    for technique in techniques:
        symbols = with_knobs(technique, values, around)
        own = resolved(technique.fields, symbols, technique.where or technique.name)
        plan_from_document(own, technique.where or technique.name)      # what is wrong is named by its own file
        partial.append((technique.name, own))
    return merge(base, *partial)


def with_knobs(technique: Technique, values: Mapping[str, Any], around: Symbols) -> Symbols:
    """The symbols with every knob of a technique: a given value, its default, or its closed form."""
    symbols = dict(around)
    later = []
    for name, knob in technique.knobs.items():
        given = values.get(f"{technique.name}.{name}", values.get(name))
        if given is not None or not knob.optimal:
            symbols[name] = knob.default if given is None else given
        else:
            later.append(knob)
    for knob in later:
        place = f"{technique.where or technique.name}: {knob.name}"
        if knob.closed is not None:
            symbols[knob.name] = within(knob.closed.value(symbols, place), knob.low, knob.high, bool(knob.values))
        elif knob.name in used_names(technique.fields):
            raise InputError(place, "is to be optimal and has no closed form, expected a value",
                             f"give {knob.name} a number, or let a study or search choose it")
    return symbols


def within(value: Any, low: float, high: float, free: bool) -> Any:
    """A closed form kept inside the knob's range, which is what the enumeration tries."""
    return value if free else np.clip(value, low, high)


def resolved(raw: Any, symbols: Mapping[str, Any], where: str) -> Any:
    """A table with every expression and quantity replaced by its value."""
    if isinstance(raw, Mapping):
        return {key: resolved(value, symbols, _inner(where, key)) for key, value in raw.items()}
    if isinstance(raw, (list, tuple)):
        return [resolved(value, symbols, f"{where}[{number}]") for number, value in enumerate(raw)]
    if expressions.is_expression(raw):
        return expressions.value(raw, symbols, where)
    return in_si(raw, where)


def splits(document: Mapping[str, Any]) -> Symbols:
    """The splits that a resolved plan states; one of each where it is silent."""
    table = document.get("parallelism", {})
    stated = table if isinstance(table, Mapping) else {}
    return {name: stated.get(name, 1.0) for name in SPLITS}


def used_names(*tables: Any) -> set[str]:
    """Names in the expressions of tables."""
    found: set[str] = set()
    rest: list[Any] = list(tables)
    while rest:
        raw = rest.pop()
        if isinstance(raw, Mapping):
            rest.extend(raw.values())
        elif isinstance(raw, (list, tuple)):
            rest.extend(raw)
        elif expressions.is_expression(raw):
            found |= expressions.parse(raw, "").names
    return found


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Figures of the machine by dotted path, from nested tables or keys that are dotted already."""
    made: dict[str, Any] = {}
    for key, value in table.items():
        path = f"{prefix}{key}"
        made |= flattened(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return made


def machine_figures(table: Mapping[str, Any], symbols: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Figures to set on a system: texts as they are (the catalogue reads units), expressions as values."""
    return {path: expressions.value(raw, symbols, f"{where}.{path}") if expressions.is_expression(raw) else raw
            for path, raw in flattened(table).items()}


def traffic_cells(table: Mapping[str, Any], symbols: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Cells of the traffic; an expression may use the cells that are plain figures."""
    plain = {key: figure(raw, f"{where}.{key}")[0] for key, raw in table.items() if not expressions.is_expression(raw)}
    names = {**plain, **symbols}
    return {key: plain[key] if key in plain else expressions.value(raw, names, f"{where}.{key}")
            for key, raw in table.items()}


def _inner(where: str, key: str) -> str:
    return f"{where}{key}" if where.endswith(": ") else f"{where}.{key}"
