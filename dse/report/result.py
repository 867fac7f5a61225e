"""Reading the result.json of a search: whatever the file holds, it is drawn or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dse import __version__
from dse.catalogue.json_reader import show
from dse.errors import InputError
from dse.model.metrics import METRICS, metric
from dse.report.schema import SCHEMA, Result, needed_metrics

LARGEST_BYTES = 64 * 1024 * 1024
FILE = "result.json"
AGAIN = "run `dse search --out` again with this version"


def read_result(folder: Path) -> dict[str, Any]:
    """The result in a folder that `dse search --out` wrote."""
    where = str(folder / FILE)
    document = _parsed(_text(folder / FILE), where)
    _check_version(document, where)
    try:
        checked = Result.model_validate(document)
    except ValidationError as problem:
        raise _translated(dict(problem.errors(include_url=False)[0]), where) from None
    _check_references(checked, where)
    return document


def _text(path: Path) -> str:
    try:
        if not path.is_file():      # a folder, a pipe, nothing: a pipe would block for ever
            raise InputError(str(path), "is not a file", "expected the folder that `dse search --out` wrote")
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise InputError(str(path), f"cannot be read ({reason}), expected a result of `dse search --out`") from None
    if len(data) > LARGEST_BYTES:
        raise InputError(str(path), f"is larger than {LARGEST_BYTES // 1024**2} MiB, expected a result of a search")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(str(path), f"byte {problem.start} is not UTF-8, expected JSON in UTF-8") from None


def _parsed(text: str, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as problem:
        place = f"{where}: line {problem.lineno}"
        raise InputError(place, f"is not JSON ({problem.msg})", "is the file complete?") from None
    except (ValueError, RecursionError):    # an integer of thousands of digits; brackets without end
        raise InputError(where, "is no usable JSON: a number is too long or the nesting too deep") from None
    if not isinstance(document, dict):
        raise InputError(where, f"holds {show(document)}, expected a JSON object of schema {SCHEMA!r}")
    return document


def _check_version(document: dict[str, Any], where: str) -> None:
    """A result is drawn by the version that wrote it: another's numbers may mean something else."""
    for key, expected in (("schema", SCHEMA), ("version", __version__)):
        if key not in document:
            raise InputError(f"{where}: {key}", f"is missing, expected {expected!r}", AGAIN)
        if document[key] != expected:
            message = f"is {show(document[key])}, expected {expected!r}: written by another version"
            raise InputError(f"{where}: {key}", message, AGAIN)


def _check_references(result: Result, where: str) -> None:
    """What one part says of another: metrics that are registered, the chosen plan, columns and rows."""
    for key, name in needed_metrics(result):
        metric(name, f"{where}: {key}")
    ids = [m.id for m in result.front]
    if result.front and result.chosen not in ids:
        raise InputError(f"{where}: chosen", f"is {result.chosen}, expected the id of a plan in front")
    if len(set(ids)) != len(ids):
        raise InputError(f"{where}: front", "has two plans of one id, expected each once")
    for key, message in (*_point_faults(result), *_sweep_faults(result), *_curve_faults(result)):
        raise InputError(f"{where}: {key}", message)


def _point_faults(result: Result) -> Iterator[tuple[str, str]]:
    for key, table in (("points", result.points), ("front_table", result.front_table)):
        columns = [] if table is None else table.columns
        for i, row in enumerate([] if table is None else table.rows):
            if len(row) != len(columns):
                yield f"{key}.rows[{i}]", f"has {len(row)} values, expected one for each of the {len(columns)} columns"
            for name, value in zip(columns, row, strict=False):
                if name in METRICS and not _is_number(value):
                    yield f"{key}.rows[{i}]", f"has {show(value)} as {name}, expected a number"


def _curve_faults(result: Result) -> Iterator[tuple[str, str]]:
    for i, sweep in enumerate(result.curves):
        for k, curve in enumerate(sweep.curves):
            for name, values in curve.metrics.items():
                where = f"curves[{i}].curves[{k}].metrics.{_key(name)}"
                if name not in METRICS:
                    yield where, "no such metric"
                if len(values) != len(sweep.values):
                    yield where, f"has {len(values)} values, expected one for each of the {len(sweep.values)}"


def _sweep_faults(result: Result) -> Iterator[tuple[str, str]]:
    for i, step in enumerate(result.sweep or ()):
        nested = step.get("metrics")
        flat = {**step, **(nested if isinstance(nested, dict) else {})}
        if step.get("concurrency") is None:
            yield f"sweep[{i}].concurrency", "is missing, expected a number of users"
        for name, value in flat.items():
            if (name in METRICS or name == "concurrency") and not _is_number(value):
                yield f"sweep[{i}].{name}", f"is {show(value)}, expected a number"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _translated(error: dict[str, Any], where: str) -> InputError:
    """The first thing that pydantic found, as one line; keys come from the file and may be anything."""
    # the names of a union's types are no keys of the file
    steps = [step for step in error["loc"] if isinstance(step, int) or "[" not in step]
    if len(steps) > 1 and steps[-1] in ("bool", "float", "int", "str", "none"):
        steps.pop()
    place = "".join(f"[{s}]" if isinstance(s, int) else f".{_key(s)}" for s in steps).lstrip(".")
    if error["type"] == "missing":
        return InputError(f"{where}: {place}", f"is missing, expected by schema {SCHEMA!r}")
    expected = error["msg"].removeprefix("Input should be ").replace("a valid ", "a ")
    return InputError(f"{where}: {place}", f"is {show(error.get('input'))}, expected {expected}")


def _key(step: object) -> str:
    text = str(step)
    return text if text.isidentifier() and len(text) <= 64 else show(text)
