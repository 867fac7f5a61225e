"""A plan from the parsed content of a file, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from dse.errors import InputError, nearest
from dse.plan.cells import known_keys
from dse.plan.fields import Batching, Chance, Edge, Event, Parallelism, Placement, Queueing
from dse.plan.forms import Formats, formats_document, read_formats
from dse.plan.laws import HITS, YIELDS, Law, read_law
from dse.plan.pools import Pools, pools_document, read_pools
from dse.plan.vocabulary import PLACED, check_name, check_pattern

FIELDS = ("formats", "placement", "parallelism", "pools", "batching", "overlap", "chance", "queueing")
_HOLDERS = {"parallelism": Parallelism, "batching": Batching, "queueing": Queueing}
_TOKENS = {"low": 1.0, "high": 1e6, "whole": False, "choices": (), "optional": False}
_RENAMED = {"hits": "hit", "yields": "yield"}


def read_field(name: str, table: Any) -> Any:
    """The checked object of one field."""
    if name == "overlap":
        return _edges(table)
    if not isinstance(table, Mapping):
        raise InputError(name, "expected a table of keys")
    if name in _READERS:
        return _READERS[name](table)
    kind = _HOLDERS[name]
    known_keys(table, tuple(f.name for f in fields(kind)), name)
    return kind(**table)


def _chance(table: Mapping[str, Any]) -> Chance:
    plain = tuple(f.name for f in fields(Chance) if "meaning" in f.metadata)
    known_keys(table, (*plain, "hit", "yield", "events"), "chance")
    hit = table.get("hit", {})
    if not isinstance(hit, Mapping):
        raise InputError("chance.hit", "expected objects and laws such as { expert_weights = { rate = 0.8 } }")
    hits = {check_name(obj, PLACED, f"chance.hit.{obj}", "object"): read_law(law, HITS, f"chance.hit.{obj}")
            for obj, law in hit.items()}
    yields = read_law(table["yield"], YIELDS, "chance.yield", _TOKENS) if "yield" in table else None
    return Chance(**{k: v for k, v in table.items() if k in plain}, hits=hits, yields=yields,
                  events=_events(table.get("events", [])))


def _events(table: Any) -> tuple[Event, ...]:
    events = []
    for where, item in _tables(table, "chance.events", "{ chance = 0.01, move = \"kv\", over = \"host_link\" }"):
        known_keys(item, tuple(f.name for f in fields(Event)), where)
        try:
            events.append(Event(**item))
        except InputError as error:
            raise InputError(f"{where}.{error.where}", error.message, error.hint) from None
    return tuple(events)


def _tables(table: Any, where: str, example: str) -> list[tuple[str, Mapping[str, Any]]]:
    if not isinstance(table, (list, tuple)):
        raise InputError(where, f"expected a list of tables such as {example}")
    for number, item in enumerate(table):
        if not isinstance(item, Mapping):
            raise InputError(f"{where}[{number}]", f"expected a table such as {example}")
    return [(f"{where}[{number}]", item) for number, item in enumerate(table)]


def _edges(table: Any) -> tuple[Edge, ...]:
    edges = []
    for where, item in _tables(table, "overlap", "{ hide = \"*.host_link\", behind = \"*\" }"):
        known_keys(item, tuple(f.name for f in fields(Edge)), where)
        if "hide" not in item:
            raise InputError(where, "expected a table with the key 'hide'")
        patterns = {k: _patterns(item[k], f"{where}.{k}") for k in ("hide", "behind") if k in item}
        try:
            edges.append(Edge(**{**item, **patterns}))
        except InputError as error:
            raise InputError(error.where.replace("overlap", where, 1), error.message, error.hint) from None
    return tuple(edges)


def _patterns(value: Any, where: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, (list, tuple)) or not names:
        raise InputError(where, "expected a span pattern or a list of them")
    return tuple(check_pattern(name, where) for name in names)


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "placement": Placement, "formats": read_formats, "chance": _chance, "pools": read_pools}


def field_document(value: Any) -> Any:
    """One field as nested plain values: what a file or a result stores, and `read_field` reads back."""
    if isinstance(value, Formats):
        return _plain(formats_document(value))
    if isinstance(value, Pools):
        return _plain(pools_document(value))
    if isinstance(value, Placement):
        return {name: {tier: _plain(v) for tier, v in row.items()} for name, row in value.rows.items()}
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Law):
        return _plain(value.document())
    if is_dataclass(value):
        named = ((_RENAMED.get(f.name, f.name), getattr(value, f.name)) for f in fields(value))
        return {name: _plain(v) for name, v in named if not _silent(v)}
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, (tuple, list, np.ndarray)):
        return [_plain(v) for v in value] if isinstance(value, (tuple, list)) else value.tolist()
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _silent(value: Any) -> bool:
    """Whether a file would leave the cell out."""
    return value is None or (isinstance(value, (Mapping, tuple)) and not value)


def not_a_field(name: str, where: str) -> InputError:
    """The error for a table that is none of the eight."""
    return InputError(where, "not a field of a plan", nearest(name, FIELDS))
