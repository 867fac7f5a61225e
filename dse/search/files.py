"""A result as files: each written whole or not at all, and never into a folder that holds something else."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dse import __version__
from dse.errors import EnvironmentProblem, InputError
from dse.search.result import SCHEMA
from dse.whole_file import write_whole

RESULT, FRONT, POINTS, STUDY = "result.json", "front.csv", "points.csv", "study.journal"
OURS = (RESULT, FRONT, POINTS)


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds another version's result or someone else's files, before any work."""
    where = f"--out {folder}"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(where, "is not a folder", "expected a folder, or a name for a new one")
    if (folder / RESULT).exists():
        _check_version(folder / RESULT, where)
    elif any(not f.name.startswith(STUDY) for f in folder.iterdir()):
        raise InputError(where, "holds files that no search wrote", "choose an empty folder, or a new one")


def _check_version(path: Path, where: str) -> None:
    try:
        held = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        held = None
    if not isinstance(held, dict) or held.get("schema") != SCHEMA:
        raise InputError(where, f"holds a {RESULT} that no search wrote", "choose another folder")
    if held.get("version") != __version__:
        raise InputError(where, f"holds a result of version {str(held.get('version'))[:40]}, this is {__version__}",
                         "choose another folder")


def write_result(folder: Path, document: Mapping[str, Any], front: Mapping[str, Any]) -> None:
    """result.json, front.csv (every point of the front) and points.csv (the sample of dominated ones)."""
    check_folder(folder)
    numbered = [[i, *row] for i, row in enumerate(front["rows"])]
    write_whole(folder / FRONT, _csv(["id", *front["columns"]], numbered).encode())
    write_whole(folder / POINTS, _csv(document["points"]["columns"], document["points"]["rows"]).encode())
    write_whole(folder / RESULT, json.dumps(document, indent=1, allow_nan=False).encode() + b"\n")


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def make_folder(folder: Path) -> None:
    """The folder itself, made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise EnvironmentProblem(f"--out {folder}", problem.strerror or str(problem)) from None
