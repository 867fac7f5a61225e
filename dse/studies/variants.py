"""Techniques that a search turns on and off, as variants of its plans, and their knobs as what it varies."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from dse.catalogue.json_reader import show
from dse.errors import InputError, nearest
from dse.plan.technique import Knob, Technique
from dse.plan.vocabulary import LAYER_WEIGHTS
from dse.search.space import SPLITS
from dse.search.variables import FREE, UNITS, Choice, Free, Listed, Range
from dse.search.variant import Bind, Variant
from dse.studies.bind import bound_plan, used_names
from dse.studies.figures import setting
from dse.studies.knobs import read_range

MODES = ("off or on", "on", "off")
MOST_VARIANTS = 256
MOST_TRIED = 33
"""Values that are tried of a knob whose default is the best one."""
MOST_LISTED = 4096


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a user says of knobs: of techniques, by `technique.knob`, and of the machine's variables."""

    knobs: Mapping[str, tuple[float | str, ...] | Range]
    machine: Mapping[str, Choice]


def read_choices(raw: Mapping[str, tuple[object, str]], techniques: Sequence[Technique]) -> Chosen:
    """Lists and ranges by name, each with the place it was written at; every name has to be known."""
    known = {f"{t.name}.{name}": knob for t in techniques for name, knob in _used(t).items()}
    machine = {name: Knob(name, unit=UNITS[name]) for name in FREE}
    knobs: dict[str, Any] = {}
    variables: dict[str, Any] = {}
    for name, (given, where) in raw.items():
        if name not in known and name not in machine:
            raise InputError(where, "no technique of the search has such a knob, and no machine such a variable",
                             nearest(name, (*known, *machine)))
        if name in known:
            knobs[name] = _choice(given, known[name], where)
        else:
            variables[name] = _choice(given, machine[name], where)
    return Chosen(knobs, variables)


def _choice(given: object, knob: Knob, where: str) -> tuple[float | str, ...] | Range:
    """A list of values, or { low, high }: a range to sample, with `points` a list again."""
    if isinstance(given, list) and 0 < len(given) <= MOST_LISTED:
        return tuple(dict.fromkeys(setting(item, knob, f"{where}[{i}]") for i, item in enumerate(given)))
    if not isinstance(given, Mapping):
        raise InputError(where, f"is {show(given)}, expected a list of values or {{ low, high }}")
    if knob.values:
        raise InputError(where, "is a range, expected some of its values",
                         f"known: {', '.join(map(str, knob.values[:20]))}")
    made = read_range(knob.name, given, where)
    if made.unit != knob.unit:
        raise InputError(f"{where}.low", f"{show(given['low'])} has the wrong unit, expected "
                         f"{'a quantity in ' + knob.unit if knob.unit else 'a plain number'}")
    if "points" in given:
        return tuple(float(v) for v in made.axis())
    return Range(made.low, made.high, made.log if "scale" in given else None)


def make_variants(techniques: Mapping[str, tuple[Technique, str]], chosen: Chosen) -> tuple[Variant, ...]:
    """Every combination of techniques that may be on, with the values of knobs that are names, the fewest on first.

    techniques: by name, each with its mode. Whether a combination can be is found out by the search.
    """
    for technique, _ in techniques.values():
        _check_splits(technique)
    states = [{"on": (True,), "off": (False,)}.get(mode, (False, True)) for _, mode in techniques.values()]
    found: list[Variant] = []
    for on in sorted(product(*states), key=sum):
        chain = [t for (t, _), used in zip(techniques.values(), on, strict=True) if used]
        found += _variants(chain, chosen)
        if len(found) > MOST_VARIANTS:
            raise InputError("techniques", f"make more than {MOST_VARIANTS} combinations",
                             "turn some on for good, or list fewer values of knobs that are names")
    return tuple(found)


def _variants(chain: Sequence[Technique], chosen: Chosen) -> Iterator[Variant]:
    """One combination of techniques: a variant for each choice of the knobs that are names."""
    if not chain:
        yield Variant()
        return
    knobs, axes = [], []
    words: dict[str, tuple[Any, ...]] = {}
    for technique in chain:
        for name, knob in _used(technique).items():
            full = f"{technique.name}.{name}"
            made = _vary(full, knob, chosen.knobs.get(full))
            if isinstance(made, Free):
                knobs.append(made)
            elif isinstance(made, Listed):
                axes.append(made)
            elif made:
                words[full] = made
    sets = frozenset(name for technique in chain for name in _sets(technique.fields))
    for values in product(*words.values()):
        named = dict(zip(words, values, strict=True))
        yield Variant(tuple(t.name for t in chain), _bind(chain, named), tuple(knobs), tuple(axes), named, sets,
                      _fingerprint(chain))


def _vary(name: str, knob: Knob, given: tuple[float | str, ...] | Range | None) -> Free | Listed | tuple[Any, ...]:
    """How a knob varies: sampled over a range, an axis of values, or names; an unknown (it says why) stays put."""
    if isinstance(given, Range):
        default = knob.default if isinstance(knob.default, float) else (given.low + given.high) / 2
        return Free(name, given.low, given.high, float(np.clip(default, given.low, given.high)), knob.unit,
                    knob.log if given.log is None else given.log, knob.whole)
    if given is None and knob.why and not knob.optimal:
        return ()
    if given is None and not knob.values and not knob.optimal:
        default = knob.default if isinstance(knob.default, float) else knob.low
        return Free(name, knob.low, knob.high, default, knob.unit, knob.log, knob.whole)
    values = given if given is not None else knob.values or _thinned(knob.axis())
    if any(isinstance(value, str) for value in values):
        return values
    return Listed(name, tuple(sorted(float(v) for v in values)), knob.unit)


def _thinned(axis: np.ndarray) -> tuple[float, ...]:
    places = np.unique(np.linspace(0, len(axis) - 1, min(len(axis), MOST_TRIED)).round().astype(int))
    return tuple(float(v) for v in axis[places])


def _used(technique: Technique) -> dict[str, Knob]:
    """The knobs that a technique's own fields use."""
    names = used_names(technique.fields)
    return {name: knob for name, knob in technique.knobs.items() if name in names}


def _bind(chain: Sequence[Technique], words: Mapping[str, str]) -> Bind:
    """What merges the techniques into a plan, at values of their knobs."""
    def bind(document: Mapping[str, Any], values: Mapping[str, Any], *around: Any) -> dict[str, Any]:
        knobs = {name: value for name, value in values.items() if "." in name}
        return bound_plan(document, chain, {**knobs, **words}, *around)

    return bind


def _sets(fields: Mapping[str, Any]) -> Iterator[str]:
    """Variables and formats of a search that a partial plan sets itself."""
    placed, formats = fields.get("placement", {}), fields.get("formats", {})
    if "kv" in placed:
        yield "kv_offload"
    if "weights" in placed or all(name in placed for name in LAYER_WEIGHTS):
        yield "weight_offload"
    if "budget" in fields.get("batching", {}):
        yield "budget"
    if _encodes(formats.get("kv")):
        yield "kv"
    if _encodes(formats.get("weights")) or all(_encodes(formats.get(name)) for name in LAYER_WEIGHTS):
        yield "weights"


def _encodes(cell: Any) -> bool:
    """Whether a cell of the formats replaces the number format, and does not only add forms."""
    items = cell if isinstance(cell, list) else [cell]
    return any(isinstance(item, str) or (isinstance(item, Mapping) and "bits" in item) for item in items)


def _check_splits(technique: Technique) -> None:
    for name in SPLITS:
        if name in technique.fields.get("parallelism", {}):
            raise InputError(f"{technique.where}.parallelism.{name}", "is what a search varies itself",
                             "leave the splits out of the technique")


def _fingerprint(chain: Sequence[Technique]) -> str:
    knobs = [{n: [k.values, k.low, k.high, k.default, k.closed and k.closed.text] for n, k in t.knobs.items()}
             for t in chain]
    text = json.dumps([[t.name, t.fields] for t in chain] + knobs, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
