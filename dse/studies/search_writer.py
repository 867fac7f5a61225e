"""What a search was asked for, written as a search file that asks the same again, and what else repeating it takes."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dse import __version__
from dse.catalogue.fingerprint import catalogue_fingerprint, file_fingerprint
from dse.errors import InputError
from dse.plan.traffic import LOADS
from dse.search.grid import LIMITS
from dse.studies.searches import LENGTHS, LISTS, NUMBERS, TEXTS
from dse.toml_writer import dumps

_PACKAGES = ("numpy", "scipy", "optuna", "moocore")


def search_text(asked: Mapping[str, Any]) -> str:
    """The search file of these cells; files that they name are named by their whole path."""
    comment = "What a search was asked for, with what it takes by itself; `dse study run` of this file asks it again."
    text = dumps(search_document(asked), comment)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError("--out", "the search names a file whose name is not UTF-8", "rename that file") from None
    return text


def search_document(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The cells of a search as its file has them."""
    cells = {**asked, **{name: _whole(asked[name]) for name in ("model", "hardware")}}
    cells.setdefault("title", f"{asked['model']} on {_words(asked['hardware'])}")
    if "storage" in cells:
        cells["storage"] = _reachable(cells["storage"])
    tables = {
        "traffic": {name: _plain(asked[name]) for name in (*LENGTHS, *LOADS) if name in asked},
        "limits": {name: _plain(asked[name]) for name in LIMITS if name in asked},
        "techniques": {_whole(name): mode for name, mode in asked["techniques"].items()},
        "knobs": {name: raw for name, (raw, _) in asked["knobs"].items()},
    }
    return {
        "kind": "search", "version": __version__,
        **{name: _plain(cells[name]) for name in (*TEXTS, *NUMBERS, *LISTS) if name in cells and name != "version"
           and cells[name] != (None,)},
        "objectives": list(asked["objective"]),
        **({"free": list(asked["free"])} if "free" in asked else {}),
        **({"min_gpus": True} if asked.get("min_gpus") else {}),
        **{name: table for name, table in tables.items() if table},
    }


def repetition(asked: Mapping[str, Any], text: str, command: str) -> dict[str, Any]:
    """What a result keeps to be repeated: the search file, the versions, and what the catalogue and files held."""
    named = [*_several(asked["model"]), *_several(asked["hardware"]), *asked["techniques"]]
    files = [Path(name) for name in named if _is_file(name)]
    return {
        "file": text, "seed": int(asked["seed"]), "command": command,
        "versions": {"dse": __version__, "python": platform.python_version(),
                     **{name: version(name) for name in _PACKAGES}},
        "catalogue_sha256": catalogue_fingerprint(),
        "files": {str(path.resolve()): file_fingerprint(path) for path in files if path.is_file()},
    }


def _is_file(name: str) -> bool:
    """Whether a name is a path, as the catalogue's names hold neither."""
    return name.endswith((".toml", ".json")) or "/" in name


def _whole(name: Any) -> Any:
    """A path from the root, so that the file may lie anywhere; a name of the catalogue as it is."""
    if not isinstance(name, str):
        return [_whole(item) for item in name]
    return str(Path(name).resolve()) if _is_file(name) else name


def _several(name: Any) -> Sequence[str]:
    return [name] if isinstance(name, str) else name


def _words(name: Any) -> str:
    return ", ".join(_several(name))


def _reachable(storage: str) -> str:
    """A journal by its whole path; an address without its password, which the environment or ~/.pgpass holds."""
    if "://" not in storage:
        return str(Path(storage).resolve())
    address = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1@", storage)
    return re.sub(r"(?<=[?&])password=[^&]*&?", "", address).rstrip("?&")


def _plain(value: Any) -> Any:
    """Numbers as a person writes them: whole ones without a point."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value
