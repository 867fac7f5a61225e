"""A plan plus techniques: partial plans, merged cell by cell.

Forms of one object chain, shares of an engine and micro-batches multiply, overlaps and events follow each other; every
other cell may be set by one technique only. The base plan's cells are always overridable; where it is silent
about overlaps, what every engine hides comes first. A row of `placement`,
`engines` or `hit` and a pool are one cell each. The neutral technique is `{}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dse.errors import InputError
from dse.plan.fields import STREAMING
from dse.plan.read import FIELDS, field_document, not_a_field
from dse.plan.vocabulary import LAYER_WEIGHTS, WEIGHT_OBJECTS

Document = Mapping[str, Any]
Path = tuple[str, ...]
_GROUPS = {"formats": LAYER_WEIGHTS, "placement": WEIGHT_OBJECTS}
_LISTS = (("overlap",), ("chance", "events"))
_ROWS = (("parallelism", "engines"), ("parallelism", "shares"), ("chance", "hit"))
"""Tables whose entries are cells of their own."""


def merge(base: Document, *techniques: tuple[str, Document]) -> dict[str, Any]:
    """The document of `base` with every (name, partial plan) merged in, in order.

    Raises InputError where two techniques set one cell, naming both.
    """
    merged: dict[Path, Any] = {("overlap",): field_document(STREAMING), **dict(_cells(base, "plan"))}
    owner: dict[Path, str] = {}
    for name, partial in techniques:
        for path, value in _cells(partial, name):
            if path in _LISTS:
                merged[path] = [*_listed(merged.get(path, [])), *_listed(value)]
            elif path[0] == "formats":
                merged[path] = _chained(merged.get(path), value, owner, path, name)
            else:
                merged[path] = _set(merged, path, value, owner, name)
    return _document(merged)


def _cells(partial: Document, who: str) -> Iterator[tuple[Path, Any]]:
    """The cells of a partial plan; a group spreads to its members, and the particular wins over the group."""
    for name, table in partial.items():
        if name not in FIELDS:
            raise not_a_field(name, f"{who}: {name}")
        if name == "overlap":
            yield (name,), table
        elif not isinstance(table, Mapping):
            raise InputError(f"{who}: {name}", "expected a table of keys")
        elif name in _GROUPS:
            members = {m: table["weights"] for m in _GROUPS[name] if table.get("weights") is not None}
            for obj, value in {**members, **{k: v for k, v in table.items() if k != "weights"}}.items():
                yield (name, obj), value
        else:
            yield from _keys(name, table)


def _keys(name: str, table: Document) -> Iterator[tuple[Path, Any]]:
    for key, value in table.items():
        if (name, key) in _ROWS and isinstance(value, Mapping):
            for row, inner in value.items():
                yield (name, key, row), inner
        else:
            yield (name, key), value


def _set(merged: Mapping[Path, Any], path: Path, value: Any, owner: dict[Path, str], name: str) -> Any:
    """The value of a cell that one technique sets; shares and micro-batches of several multiply."""
    before, owner[path] = owner.get(path), name
    if before is None:
        return value
    if path == ("batching", "micro") or path[:2] == ("parallelism", "shares"):
        return merged[path] * value
    raise _conflict(path, before, name)


def _chained(before: Any, value: Any, owner: dict[Path, str], path: Path, name: str) -> list[Any]:
    """Forms one after the other; an encoding replaces the base's, and two techniques' encodings are a conflict."""
    chain, added = _listed(before), _listed(value)
    if any(_encodes(item) for item in added):
        if path in owner:
            raise _conflict(path, owner[path], name)
        owner[path] = name
        chain = [item for item in chain if not _encodes(item)]
    names = [item for item in (*chain, *added) if not isinstance(item, Mapping)]
    return [*names, *(item for item in (*chain, *added) if isinstance(item, Mapping))]


def _encodes(item: Any) -> bool:
    return not isinstance(item, Mapping) or "bits" in item


def _conflict(path: Path, one: str, other: str) -> InputError:
    return InputError(".".join(path), f"is set by both {one} and {other}", "use one of them, or change one's cell")


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    several = isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value)
    return list(value) if several or (isinstance(value, (list, tuple)) and not value) else [value]


def _document(merged: Mapping[Path, Any]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for path, value in merged.items():
        if len(path) == 1:
            out[path[0]] = value
            continue
        table = out
        for key in path[:-1]:
            table = table.setdefault(key, {})
        table[path[-1]] = value
    for obj, chain in out.get("formats", {}).items():
        if isinstance(chain, list) and len(chain) == 1 and not isinstance(chain[0], Mapping):
            out["formats"][obj] = chain[0]
    return out
