"""What a user writes on the command line, as checked values; every error names the option."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from dse.catalogue.files import read_toml
from dse.catalogue.settings import ROOTS
from dse.errors import InputError, nearest
from dse.plan.cells import check_cell, expectation
from dse.plan.fields import Chance, Parallelism
from dse.plan.forms import Formats
from dse.plan.plan import plan_from_document, with_setting
from dse.plan.pools import Pools
from dse.plan.read import FIELDS
from dse.plan.traffic import Traffic
from dse.plan.vocabulary import WEIGHT_OBJECTS

Value = float | str
MOST_ROWS = 4096
LARGEST_RESULT = 1 << 28
RESULT_SCHEMA = "dse.result/1"
HARDWARE = ROOTS
"""Roots of settings that speak of the machine and not of the plan."""
_GROUPS = {
    "formats.weights": tuple(f"formats.{name}" for name in WEIGHT_OBJECTS if name != "embedding"),
    "placement.weights.host": tuple(f"placement.{name}.host" for name in WEIGHT_OBJECTS),
}
"""Cells that stand for several; a plan read from a result has all of these, so each is set."""
_NUMBER = {"low": 0.0, "high": 1.0, "whole": False, "choices": (), "optional": False}
_COUNT = {**_NUMBER, "low": 1.0, "high": 1048576.0, "whole": True}
PRICE = {**_NUMBER, "high": 1e6}
TARGETS = {"ttft_target_ms": "ttft_target", "tpot_target_ms": "tpot_target"}
"""Options in ms, and the cells of the traffic in s that they set."""
TRAFFIC = tuple(f.name for f in fields(Traffic) if f.name not in TARGETS.values())
"""Options that are cells of the traffic as they stand."""


def _rules(kind: type, name: str) -> Mapping[str, Any]:
    return next(f.metadata for f in fields(kind) if f.name == name)


def _milliseconds(rules: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**rules, "low": rules["low"] * 1e3, "high": rules["high"] * 1e3}


RULES: Mapping[str, Mapping[str, Any]] = {
    "gpus": _COUNT,
    **{name: _rules(Parallelism, name) for name in ("tp", "pp", "dp", "ep", "cp")},
    **{name: _rules(Traffic, name) for name in TRAFFIC},
    **{name: _milliseconds(_rules(Traffic, cell)) for name, cell in TARGETS.items()},
    **{name: _rules(Chance, name) for name in ("draft_tokens", "acceptance")},
    "prefill_replicas": _rules(Pools, "prefill"),
    "weights": _rules(Formats, "mlp_weights"), "kv": _rules(Formats, "kv"),
    "activations": _rules(Formats, "activations"), "kv_offload": _NUMBER, "weight_offload": _NUMBER,
}
"""What each option that takes a comma list expects."""
CELLS = {
    **{name: f"parallelism.{name}" for name in ("tp", "pp", "dp", "ep", "cp")},
    "weights": "formats.weights", "kv": "formats.kv", "activations": "formats.activations",
    "kv_offload": "placement.kv.host", "weight_offload": "placement.weights.host",
    "prefill_replicas": "pools.prefill", "draft_tokens": "chance.draft_tokens", "acceptance": "chance.acceptance",
}
"""The cell of a plan that an option sets."""


def option(name: str) -> str:
    """How an option is written."""
    return "--" + name.replace("_", "-")


def comma_list(text: str, name: str) -> tuple[Value, ...]:
    """The values of an option that takes a comma list, each checked, none twice."""
    pieces = [piece.strip() for piece in text.split(",")]
    if not all(pieces):
        raise InputError(option(name), f"{text[:60]!r} has an empty item, expected {expectation(RULES[name])}")
    return tuple(dict.fromkeys(item(piece, option(name), RULES[name]) for piece in pieces))


def item(text: str, where: str, rules: Mapping[str, Any]) -> Value:
    """One value that obeys the rules of a cell."""
    if rules["choices"]:
        return str(check_cell(text, rules, where))
    try:
        number = float(text)
    except ValueError:
        raise InputError(where, f"{text[:60]!r} is not {expectation(rules)}") from None
    whole = number.is_integer() and abs(number) < 2**53
    return float(check_cell(int(number) if whole else number, rules, where))


def combinations(axes: Mapping[str, tuple[Value, ...]]) -> Iterator[dict[str, Value]]:
    """Every combination of the values, the last axis fastest."""
    rows = prod(len(values) for values in axes.values())
    if rows > MOST_ROWS:
        longest = max(axes, key=lambda name: len(axes[name]))
        raise InputError(option(longest), f"the comma lists make {rows} plans, expected at most {MOST_ROWS}",
                         "dse search looks through more")
    return (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))


def settings(texts: Iterable[str]) -> dict[str, str]:
    """`field=value` of each --set, by field."""
    found: dict[str, str] = {}
    for text in texts:
        path, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and path and value):
            raise InputError("--set", f"{text[:60]!r} is not field=value",
                             'such as parallelism.tp=4 or chip.memory_bandwidth="4 TB/s"')
        if path in found:
            raise InputError(f"--set {path}", "is given twice, expected once")
        if path.split(".")[0] not in (*FIELDS, *HARDWARE):
            raise InputError(f"--set {path}", "no such field", nearest(path.split(".")[0], (*FIELDS, *HARDWARE)))
        found[path] = value.strip("\"'")
    return found


def assignments(texts: Iterable[str], where: str, example: str) -> dict[str, str]:
    """`name=value` of each text of a repeated option, by name."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and name and value) or name in found:
            raise InputError(where, f"{text[:60]!r} is not NAME=VALUE, each name once", example)
        found[name] = value
    return found


def literal(text: str) -> Any:
    """A setting's text as a number where it is one."""
    try:
        number = float(text)
    except ValueError:
        return text
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def with_cell(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document of a plan with one cell, or each member of a group of cells, set."""
    for member in _GROUPS.get(path, (path,)):
        document = with_setting(document, member, value)
    return document


def plan_document(text: str) -> dict[str, Any]:
    """The checked document of a plan: from a plan file, or `DIR#3` from the result in a folder."""
    path, mark, index = text.rpartition("#")
    if mark and not Path(text).is_file():
        return _point_of_result(Path(path) / "result.json", index)
    if Path(text).is_dir():
        raise InputError(f"--plan {text}", "is a folder, expected a plan file or a point of a result such as "
                         f"{text}#0")
    document = read_toml(Path(text))
    for key in document:
        if key not in FIELDS:
            raise InputError(f"{text}: {key}", "no such field of a plan", nearest(key, FIELDS))
    plan_from_document(document, text)
    return document


def point_of_result(text: str) -> dict[str, Any] | None:
    """The evaluation of a point `DIR#3` of a result, checked; None where `text` names a file."""
    path, mark, index = text.rpartition("#")
    if not mark or Path(text).is_file():
        return None
    from dse.report.result import read_result  # schemas load when they are used

    _point_of_result(Path(path) / "result.json", index)
    found: dict[str, Any] = read_result(Path(path))["front"][int(index)]
    return found


def _point_of_result(file: Path, index: str) -> dict[str, Any]:
    """The plan of a result's point; the first is 0."""
    result = _read_result(file)
    front = result.get("front")
    if result.get("schema") != RESULT_SCHEMA or not isinstance(front, list):
        found = str(result.get("schema"))[:60]
        raise InputError(f"{file}: schema", f"is {found!r}, expected {RESULT_SCHEMA!r} with a front")
    if not index.isascii() or not index.isdigit() or len(index) > 9 or int(index) >= len(front):
        held = f"a point from 0 to {len(front) - 1}" if front else "a result with points; this one has none"
        raise InputError(f"{file}: front", f"no point {index[:20]!r}, expected {held}")
    point = front[int(index)]
    plan = point.get("plan") if isinstance(point, dict) else None
    where = f"{file}: front[{index}].plan"
    if not isinstance(plan, dict):
        raise InputError(where, "is missing, expected a table")
    plan_from_document(plan, where)
    return plan


def _read_result(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST_RESULT:
            raise InputError(str(file), f"is larger than {LARGEST_RESULT >> 20} MiB, expected a result of dse search")
        result = json.loads(file.read_text("utf-8"))
    except OSError as problem:
        raise InputError(str(file), f"cannot be read ({problem.strerror}), expected the result of a search") from None
    except (ValueError, RecursionError):
        raise InputError(str(file), "is not JSON, expected the result of a search", "is the file complete?") from None
    if not isinstance(result, dict):
        raise InputError(str(file), "holds no JSON object, expected the result of a search")
    return result
