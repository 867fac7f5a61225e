"""Reading one TOML file into a schema, with errors of one line that name file and key."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from dse.errors import InputError, nearest

LARGEST_BYTES = 1 << 20  # a hardware file is a few KiB
DEEPEST = 8  # tables in tables; ours have three
LONGEST_CHAIN = 5  # a file, its base, the base of that, ...

Schema = TypeVar("Schema", bound=BaseModel)


def read_toml(path: Path) -> dict[str, Any]:
    """The document in a file, refused where it cannot be one of ours (size, encoding, syntax, nesting)."""
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_BYTES + 1)
    except OSError as problem:
        raise InputError(str(path), f"cannot be read ({problem.strerror}), expected a TOML file") from None
    if len(raw) > LARGEST_BYTES:
        raise InputError(str(path), "is larger than 1 MiB, expected a file of a few KiB")
    try:
        document = tomllib.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as problem:
        line = raw[: problem.start].count(b"\n") + 1
        raise InputError(str(path), f"line {line} is not UTF-8, expected TOML in UTF-8") from None
    except tomllib.TOMLDecodeError as problem:
        lines = len(raw.splitlines())
        reason = str(problem).replace("end of document", f"line {lines}, end of file")
        raise InputError(str(path), f"is not TOML: {reason}") from None
    except RecursionError:
        raise InputError(str(path), f"is nested too deeply, expected at most {DEEPEST} levels") from None
    if _deeper_than(document, DEEPEST):
        raise InputError(str(path), f"is nested too deeply, expected at most {DEEPEST} levels")
    return document


def read_based(path: Path, named: Callable[[str, str], Path]) -> dict[str, Any]:
    """The document in a file, laid over the one that its `base` names (a path beside it, or a name).

    `named` finds the file of a name; its second argument is where the name stands, for the error.
    """
    chain, bases = [read_toml(path)], [path]
    while (base := chain[-1].get("base")) is not None:
        where = f"{bases[-1]}: base"
        if not isinstance(base, str) or not base:
            raise InputError(where, f"{base!r} is no name, expected the name of a file to start from")
        bases.append(bases[-1].parent / base if base.endswith(".toml") else named(base, where))
        if len(bases) > LONGEST_CHAIN:
            raise InputError(where, f"{base!r} leads on and on, expected at most {LONGEST_CHAIN} files, in no loop")
        chain.append(read_toml(bases[-1]))
    if len(chain) == 1:
        return chain[0]
    document: dict[str, Any] = {}
    for part in reversed(chain):
        document = _merged(document, {key: value for key, value in part.items() if key != "base"})
    return document if "name" in chain[0] else document | {"name": path.stem}


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    # a figure is replaced whole: the base's range and source say nothing about a new value
    result = dict(under)
    for key, value in over.items():
        below = under.get(key)
        if isinstance(value, dict) and isinstance(below, dict) and not {"value", "ref"} & set(below):
            result[key] = _merged(below, value)
        else:
            result[key] = value
    return result


def _deeper_than(document: object, levels: int) -> bool:
    # level by level, not by recursion: the document may be as deep as the interpreter's stack
    layer = [document]
    for _ in range(levels + 1):
        layer = [inner for outer in layer for inner in _inside(outer)]
    return bool(layer)


def _inside(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, list) else []


def validate(schema: type[Schema], document: dict[str, Any], file: str) -> Schema:
    """`document` as a `schema`; the first thing wrong becomes the InputError."""
    try:
        return schema.model_validate(document)
    except ValidationError as problem:
        # an unknown key often is a misspelt required one: say that first
        errors = sorted(problem.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise _translated(schema, dict(errors[0]), file) from None


def _translated(schema: type[BaseModel], error: dict[str, Any], file: str) -> InputError:
    # steps that pydantic adds for a union (`value.str`, `value.float`) are no keys of the file
    place = [str(step) for step in error["loc"] if str(step) not in ("str", "float", "int")]
    where = f"{file}: {'.'.join(place)}"
    if error["type"] == "extra_forbidden":
        return InputError(where, "unknown key", nearest(place[-1], _keys(schema, place[:-1])))
    if error["type"] == "missing":
        return InputError(where, f"missing, expected {_expected(place[-1], _schema_at(schema, place))}")
    given = error.get("input")
    if error["type"] == "literal_error":
        return InputError(where, f"{given!r} is no choice, expected {error['ctx']['expected']}", _close(given, error))
    if error["type"] in ("model_type", "model_attributes_type", "dict_type"):
        expected = _expected(place[-1], _schema_at(schema, place))
        return InputError(where, f"{_short(given)} is no table, expected {expected}")
    expected = error["msg"].removeprefix("Input should be ").replace("a valid ", "a ")
    if place[-1] in ("value", "low", "high"):
        expected = "a number or a quantity with its unit such as '3.35 TB/s'"
    return InputError(where, f"{_short(given)} is wrong, expected {expected}")


def _short(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _close(given: object, error: dict[str, Any]) -> str:
    return nearest(str(given), str(error["ctx"]["expected"]).replace("'", "").replace(" or ", ", ").split(", "))


def _schema_at(schema: type[BaseModel], place: list[str]) -> type[BaseModel] | None:
    """The schema of the table at a dotted place; None for a plain value or where keys are free."""
    found: type[BaseModel] | None = schema
    for step in place:
        field = found.model_fields.get(step) if found else None
        if field is None:
            return None
        options = getattr(field.annotation, "__args__", (field.annotation,))
        tables = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        found = tables[0] if tables else None
    return found


def _keys(schema: type[BaseModel], place: list[str]) -> list[str]:
    found = _schema_at(schema, place)
    # the only tables with free names hold figures or sources
    return list(found.model_fields) if found else ["value", "low", "high", "source", "note", "kind", "ref"]


def _expected(key: str, table: type[BaseModel] | None) -> str:
    if key == "source":
        return "a figure's source: one of the names in [sources]"
    if table is not None and "source" in table.model_fields:
        return 'a figure { value = ..., source = "..." } whose source is in [sources]'
    if table is not None:
        return f"a table [{key}] with {', '.join(name for name, f in table.model_fields.items() if f.is_required())}"
    return f"{key} = ..."
