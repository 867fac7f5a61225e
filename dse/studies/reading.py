"""Reading claims, derived numbers and figures of a study file; whatever is wrong is one line with file and key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dse.catalogue.json_reader import Reader, show
from dse.equations.registry import Equation
from dse.errors import InputError, nearest
from dse.plan import expressions
from dse.plan.cells import known_keys
from dse.plan.technique import Knob
from dse.studies import study as s
from dse.studies.figures import bounds, read_value, reader, setting
from dse.studies.knobs import read_range
from dse.studies.quantities import quantity

_CLAIM = ("words", "metric", "quantity", "value", "tolerance", "set", "of", "over", "optimal", "side", "against",
          "against_set", "against_published", "published", "limits", "better", "margin", "bound", "joint",
          "out_of_model", "verdict", "given", "equation", "arguments", "source", "note")
_DERIVED = ("metric", "times", "set", "side", "published", "solve", "value", "why")
_DRAWING = ("title", "metric", "of", "over", "set", "side", "against", "published", "equation", "arguments")
CONFIGURATION = ("model", "hardware", "engine", "gpus", "device", "traffic", "plan")
"""Keys of a published configuration."""
_SIDES = ("technique", "against")
_BETTER = {"": 0, "more": 1, "less": -1}
Free = Mapping[str, Knob]


def read_claim(table: object, where: str, free: Free, derived: tuple[str, ...]) -> s.Claim:
    """One entry of `claims`."""
    if not isinstance(table, Mapping):
        raise InputError(where, f"is {show(table)}, expected a table of words, metric, quantity and value")
    known_keys(table, _CLAIM, where)
    r = reader(table, where)
    if not r.text("words", "").strip():
        raise r.fault("words", "missing, expected the exact words of the claim")
    words, source, note = r.text("words"), r.text("source", ""), r.text("note", "")
    verdict = r.text("verdict", "")
    if verdict and verdict not in s.VERDICTS:
        raise r.fault("verdict", f"no such verdict: {show(verdict)}", nearest(verdict, s.VERDICTS))
    if r.text("out_of_model", ""):
        return s.Claim(words, where, verdict=verdict or s.OUT_OF_MODEL, out_of_model=r.text("out_of_model"),
                       source=source, note=note)
    kind = r.text("quantity", "equation" if "equation" in table else "value")
    if kind not in s.QUANTITIES:
        raise r.fault("quantity", f"no such quantity: {show(kind)}", nearest(kind, s.QUANTITIES))
    unit = _unit(r, kind, free)
    return s.Claim(
        words, where, kind, r.text("metric", ""), _claimed(r, unit), unit,
        r.number("tolerance", 0, 10, 0.03 if kind in s.FRACTIONS else 0.05),
        set=_bound(r, "set", free, derived), of=_of(r, free), over=_names(r, "over", free),
        optimal=_names(r, "optimal", free), side=r.choice("side", _SIDES, "technique"), against=_table(r, "against"),
        against_set=_bound(r, "against_set", free, derived), against_published=_overrides(r, "against_published"),
        published=_overrides(r, "published"), limits=_limits(r), better=_BETTER[r.choice("better", _BETTER, "")],
        margin=r.number("margin", -1, 10, 0.0), bound=_bound_kind(r), joint=_group(r), verdict=verdict,
        given=r.flag("given", False), equation=r.text("equation", ""), arguments=_table(r, "arguments"),
        source=source, note=note)


def _unit(r: Reader, kind: str, free: Free) -> str:
    """The unit that the claim's value has to be in."""
    if kind == "equation":
        return _equation(r).result
    q = quantity(r.text("metric"), r.where("metric"))
    if kind in s.PLACES:
        return free[_of(r, free, needed=True)].unit
    return q.unit if kind == "value" else ""


def _equation(r: Reader) -> Equation:
    from dse.studies.equations import find

    return find(r.text("equation"), r.where("equation"))


def _claimed(r: Reader, unit: str) -> tuple[float, float]:
    if "value" not in r.raw:
        raise r.fault("value", f"missing, expected the published figure{' in ' + unit if unit else ''}")
    return bounds(r.raw["value"], unit, r.where("value"))


def _of(r: Reader, free: Free, needed: bool = False) -> str:
    name = r.text("of") if needed else r.text("of", "")
    if name and name not in free:
        raise r.fault("of", f"no such knob or unknown: {show(name)}", nearest(name, free))
    return name


def _names(r: Reader, key: str, free: Free) -> tuple[str, ...]:
    """Knobs to take the best of; unknowns are not chosen by anyone."""
    raw = r.raw.get(key, [])
    names = [raw] if isinstance(raw, str) else raw
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise r.fault(key, f"is {show(raw)}, expected names of knobs")
    knobs = {name for name, knob in free.items() if knob.default is not None}
    for name in names:
        if name not in knobs:
            raise r.fault(key, f"no such knob: {show(name)}", nearest(name, knobs))
    return tuple(names)


def _table(r: Reader, key: str) -> Mapping[str, Any]:
    raw = r.raw.get(key, {})
    if not isinstance(raw, Mapping):
        raise r.fault(key, f"is {show(raw)}, expected a table")
    check_expressions(raw, r.where(key))
    return raw


def _overrides(r: Reader, key: str) -> Mapping[str, Any]:
    """A table that overrides parts of the published configuration."""
    table = _table(r, key)
    known_keys(table, CONFIGURATION, r.where(key))
    return table


def _bound(r: Reader, key: str, free: Free, derived: tuple[str, ...]) -> dict[str, float | str]:
    """A table of values for knobs, unknowns or derived numbers."""
    made = {}
    for name, raw in _table(r, key).items():
        where = f"{r.where(key)}.{name}"
        if name not in free and name not in derived:
            raise InputError(where, "no such knob, unknown or derived number", nearest(name, [*free, *derived]))
        made[name] = setting(raw, free.get(name), where)
    return made


def _limits(r: Reader) -> dict[str, float]:
    made = {}
    for name, raw in _table(r, "limits").items():
        where = f"{r.where('limits')}.{name}"
        made[name] = read_value(raw, quantity(name, where).unit, where)
    return made


def _bound_kind(r: Reader) -> str:
    raw = r.raw.get("bound", "")
    if isinstance(raw, bool):
        return "upper" if raw else ""
    return r.choice("bound", ("", "upper", "lower"), "")


def _group(r: Reader) -> str:
    """The group of claims that have to hold together: true is the group of the file."""
    raw = r.raw.get("joint", "")
    return ("all" if raw else "") if isinstance(raw, bool) else r.text("joint", "")


def read_derived(name: str, raw: object, where: str, free: Free) -> s.Derived:
    """One entry of [published.derived]."""
    if expressions.is_expression(raw):
        expressions.parse(str(raw), where)
        return s.Derived(name, where, text=str(raw))
    if not isinstance(raw, Mapping):
        raise InputError(where, f"is {show(raw)}, expected an expression or a table with the key 'metric'")
    known_keys(raw, _DERIVED, where)
    r = reader(raw, where)
    q = quantity(r.text("metric"), r.where("metric"))
    axis = read_range(name, raw["solve"], r.where("solve")) if "solve" in raw else None
    if axis is not None and "value" not in raw:
        raise r.fault("value", f"missing, expected the measured {q.name} that is solved for")
    value = read_value(raw["value"], q.unit, r.where("value")) if axis is not None else 0.0
    return s.Derived(name, where, "", q.name, r.number("times", -1e30, 1e30, 1.0), value, axis,
                     r.choice("side", _SIDES, "against"), _bound(r, "set", free, ()), _overrides(r, "published"),
                     r.text("why", ""))


def read_drawing(table: object, where: str, free: Free, derived: tuple[str, ...]) -> s.Drawing:
    """One entry of [[figures]]."""
    if not isinstance(table, Mapping):
        raise InputError(where, f"is {show(table)}, expected a table of title, metric and of")
    known_keys(table, _DRAWING, where)
    r = reader(table, where)
    equation = _equation(r).name if "equation" in table else ""
    name = "" if equation else quantity(r.text("metric"), r.where("metric")).name
    over = r.text("over", "")
    if over and (over not in free or over == r.text("of")):
        raise r.fault("over", f"no such other knob or unknown: {show(over)}", nearest(over, free))
    return s.Drawing(r.text("title"), where, name, _of(r, free, needed=True), over,
                     r.choice("side", (*_SIDES, "ratio"), "ratio"), _bound(r, "set", free, derived),
                     _table(r, "against"), _overrides(r, "published"), equation, _table(r, "arguments"))


def check_expressions(raw: object, where: str) -> None:
    """Every expression in a table has to be arithmetic, whether anything uses it or not."""
    if isinstance(raw, Mapping):
        for key, value in raw.items():
            check_expressions(value, f"{where}.{key}")
    elif isinstance(raw, list):
        for number, value in enumerate(raw):
            check_expressions(value, f"{where}[{number}]")
    elif expressions.is_expression(raw):
        parsed = expressions.parse(str(raw), where)
        if not parsed.names:
            parsed.value({}, where)
