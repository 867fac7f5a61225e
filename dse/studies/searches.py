"""Search files: a question, and all that `dse search` takes as options, in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dse.catalogue.files import read_toml
from dse.catalogue.json_reader import show
from dse.catalogue.models import model_names
from dse.catalogue.paths import find, names
from dse.errors import InputError, nearest
from dse.model.metrics import metric
from dse.plan.cells import check_cell, expectation, known_keys
from dse.plan.fields import Parallelism
from dse.plan.forms import Formats
from dse.plan.traffic import LOADS, Traffic
from dse.search.grid import LIMITS
from dse.search.variables import FREE
from dse.studies.variants import MODES

FOLDER = "studies/searches"
TEXTS = ("title", "question", "model", "hardware", "engine", "cost", "memory", "storage", "study", "sampler",
          "version")
LENGTHS = ("input_tokens", "output_tokens", "arrival_cv2", "peak_to_mean", "input_cv2", "output_cv2")
NUMBERS: Mapping[str, Mapping[str, Any]] = {
    name: {"low": low, "high": high, "whole": whole, "choices": (), "optional": False}
    for name, low, high, whole in (("gpus", 1.0, 1048576.0, True), ("trials", 1.0, 1e9, True),
                                   ("seed", 0.0, 2.0**32 - 1, True), ("workers", 1.0, 1024.0, True),
                                   ("usd_per_gpu_hour", 0.0, 1e6, False))}
LISTS = {"weights": (Formats, "mlp_weights"), "kv": (Formats, "kv"), "cp": (Parallelism, "cp")}
FLAGS = ("min_gpus",)
_KEYS = ("kind", *TEXTS, *NUMBERS, *LISTS, "traffic", "objectives", "limits", "techniques", "knobs", "free",
         *FLAGS)


@dataclass(frozen=True, slots=True)
class SearchFile:
    """What a search file says, by the names of the options; limits in ms, knobs with the place each is written at."""

    file: str
    cells: Mapping[str, Any] = field(default_factory=dict)
    techniques: Mapping[str, str] = field(default_factory=dict)
    knobs: Mapping[str, tuple[object, str]] = field(default_factory=dict)


def search_names() -> list[str]:
    """Searches of the catalogue."""
    return names(FOLDER)


def find_search(name: str) -> SearchFile | None:
    """The search of that name or file; None for what may be a model. A name like a search's is told so."""
    if name.endswith(".toml"):
        return load_search(Path(name))
    known = search_names()
    if name in known:
        return load_search(find(FOLDER, name))
    if get_close_matches(name, known, 1, 0.8) and name not in model_names() and not Path(name).exists():
        raise InputError("model", f"{name[:80]!r} is neither a model nor a search of the catalogue",
                         nearest(name, [*known, *model_names()]))
    return None


def load_search(path: Path) -> SearchFile:
    """A search from its file, every key checked."""
    document, where = _document(path), str(path)
    cells = _named(path, document) | {name: check_cell(document[name], rules, f"{where}: {name}")
                                      for name, rules in NUMBERS.items() if name in document}
    for name, (kind, cell) in LISTS.items():
        if name in document:
            cells[name] = _list(document[name], _rules(kind, cell), f"{where}: {name}")
    cells |= _traffic(_table(document, "traffic", where), f"{where}: traffic")
    cells |= _limits(_table(document, "limits", where), f"{where}: limits")
    if "objectives" in document:
        cells["objective"] = _names(document["objectives"], f"{where}: objectives")
        for name in cells["objective"]:
            metric(name, f"{where}: objectives")
    if "free" in document:
        cells["free"] = _names(document["free"], f"{where}: free")
        for name in cells["free"]:
            if name not in FREE:
                raise InputError(f"{where}: free", f"no such variable: {show(name)}", nearest(name, FREE))
    cells |= {name: _flag(document[name], f"{where}: {name}") for name in FLAGS if name in document}
    techniques = {_beside(path, name): _mode(mode, f"{where}: techniques.{name}")
                  for name, mode in _table(document, "techniques", where).items()}
    knobs = {name: (raw, f"{where}: knobs.{name}") for name, raw in _table(document, "knobs", where).items()}
    return SearchFile(where, cells, techniques, knobs)


def _document(path: Path) -> dict[str, Any]:
    """What the file holds, if that is a search with known keys."""
    if path.exists() and not path.is_file():        # a pipe would block for ever
        raise InputError(str(path), "is not a file", "expected a search file (.toml)")
    document = read_toml(path)
    if document.get("kind") != "search":
        raise InputError(f"{path}: kind", f"is {show(document.get('kind'))}, expected 'search'")
    for key in document:
        if key not in _KEYS:
            raise InputError(f"{path}: {key[:80]}", "no such key", nearest(key, _KEYS))
    return document


def _named(path: Path, document: Mapping[str, Any]) -> dict[str, Any]:
    """Texts and names; one machine or a list of them."""
    several = isinstance(document.get("hardware"), list) and bool(document["hardware"])
    cells: dict[str, Any] = {name: _text(document[name], f"{path}: {name}") for name in TEXTS
                             if name in document and not (name == "hardware" and several)}
    if several:
        cells["hardware"] = tuple(_beside(path, name) for name in _names(document["hardware"], f"{path}: hardware"))
    for name in ("title", "model", "hardware"):
        if name not in cells:
            raise InputError(f"{path}: {name}", "missing, expected a line of text")
    return cells | {name: _beside(path, cells[name]) for name in ("model", "hardware") if isinstance(cells[name], str)}


def _text(raw: object, where: str) -> str:
    if not isinstance(raw, str) or not raw.strip() or "\n" in raw:
        raise InputError(where, f"is {show(raw)}, expected a line of text")
    return raw


def _flag(raw: object, where: str) -> bool:
    if not isinstance(raw, bool):
        raise InputError(where, f"is {show(raw)}, expected true or false")
    return raw


def _table(document: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, Mapping):
        raise InputError(f"{where}: {name}", f"is {show(table)}, expected a table")
    return table


def _rules(kind: type, name: str) -> Mapping[str, Any]:
    return next(f.metadata for f in fields(kind) if f.name == name)


def _list(raw: object, rules: Mapping[str, Any], where: str) -> tuple[Any, ...]:
    """A list of values of a cell, or one."""
    items = raw if isinstance(raw, list) else [raw]
    if not items:
        raise InputError(where, f"is empty, expected {expectation(rules)}")
    return tuple(dict.fromkeys(check_cell(item, rules, f"{where}[{i}]") for i, item in enumerate(items)))


def _names(raw: object, where: str) -> tuple[str, ...]:
    if not isinstance(raw, list) or not all(isinstance(item, str) for item in raw):
        raise InputError(where, f"is {show(raw)}, expected a list of names")
    return tuple(dict.fromkeys(raw))


def _traffic(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Lengths, and one load with its values."""
    known_keys(table, (*LENGTHS, *LOADS), where)
    loads = [name for name in LOADS if name in table]
    if len(loads) > 1:
        raise InputError(where, f"has {' and '.join(loads)}, expected one of them")
    cells: dict[str, Any] = {name: check_cell(table[name], _rules(Traffic, name), f"{where}.{name}")
                             for name in LENGTHS if name in table}
    for name in loads:
        cells[name] = _list(table[name], {**_rules(Traffic, name), "optional": False}, f"{where}.{name}")
    return cells


def _limits(table: Mapping[str, Any], where: str) -> dict[str, float]:
    known_keys(table, tuple(LIMITS), where)
    rules = {"low": 1e-6, "high": 1e12, "whole": False, "choices": (), "optional": False}
    return {name: check_cell(raw, rules, f"{where}.{name}") for name, raw in table.items()}


def _mode(raw: object, where: str) -> str:
    if not isinstance(raw, str) or raw not in MODES:
        raise InputError(where, f"is {show(raw)}, expected one of {', '.join(map(repr, MODES))}",
                         nearest(str(raw)[:60], MODES))
    return raw


def _beside(path: Path, name: str) -> str:
    """A file that lies beside the search's, else the name as it is."""
    own = path.parent / name
    return str(own) if name.endswith(".toml") and own.is_file() else name
