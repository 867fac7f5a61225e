"""A result as files: each written whole or not at all, and never into a folder that holds something else."""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dse import __version__
from dse.errors import EnvironmentProblem, InputError
from dse.search.result import SCHEMA
from dse.whole_file import write_whole

RESULT, FRONT, POINTS, STUDY, SEARCH = "result.json", "front.csv", "points.csv", "study.journal", "search.toml"
LOCK = ".lock"


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds another version's result or someone else's files, before any work."""
    where = f"--out {folder}"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(where, "is not a folder", "expected a folder, or a name for a new one")
    if (folder / RESULT).exists():
        _check_version(folder / RESULT, where)
    elif not all(_ours(f.name, folder) for f in folder.iterdir()):
        raise InputError(where, "holds files that no search wrote", "choose an empty folder, or a new one")


def _ours(name: str, folder: Path) -> bool:
    """Whether a run that did not come to its end may have left this file."""
    if name in (FRONT, POINTS) or name.endswith(".part"):
        return (folder / SEARCH).is_file()
    return name in (SEARCH, LOCK) or name.startswith(STUDY)


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


@contextmanager
def writing(folder: Path, search: str) -> Iterator[None]:
    """The folder, made if need be, with the search's own file in it, for one run alone.

    A file of an earlier run stays until the result is written: what is asked now may yet be refused as another search.
    """
    check_folder(folder)
    make_folder(folder)
    with (folder / LOCK).open("ab") as file:
        _lock(file, f"--out {folder}")
        if not (folder / SEARCH).exists():
            write_search(folder, search)
        yield


def _lock(file: IO[bytes], where: str) -> None:
    """To this process alone; the kernel drops the lock with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(where, "another run writes to this folder", "wait for it, or choose another folder") from None
    except OSError as problem:
        raise EnvironmentProblem(where, f"cannot be locked ({problem.strerror})", "choose a file system with locks",
                                 ) from None


def is_written(folder: Path) -> bool:
    """Whether a run holds the folder now."""
    try:
        with (folder / LOCK).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def write_search(folder: Path, text: str) -> None:
    """The file that asks the search again."""
    write_whole(folder / SEARCH, text.encode())


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
