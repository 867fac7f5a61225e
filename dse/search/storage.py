"""Where the trials of a study are kept: in memory, in a journal file, or in PostgreSQL for many machines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dse.errors import EnvironmentProblem, InputError

WHERE = "--storage"
LONGEST_LINE = 1 << 20
_POSTGRESQL = ("postgresql", "postgresql+psycopg")


@contextmanager
def open_storage(place: str | None) -> Iterator[Any]:
    """An Optuna storage: None for memory, a path for a journal file, or a postgresql:// address."""
    if place is None:
        yield None
    elif "://" not in place:
        yield _journal(Path(place))
    else:
        storage = _database(place)
        try:
            yield storage
        finally:
            storage.remove_session()
            storage.engine.dispose()


def check_storage(place: str | None) -> None:
    """Refuse an address that cannot be used, before any work."""
    if place is None or "://" not in place:
        return
    scheme = place.split("://")[0].lower()
    if scheme.startswith("sqlite"):
        raise InputError(WHERE, "SQLite locks its one file under parallel writers and is not offered",
                         "give a path for a journal file, or a postgresql:// address")
    if scheme not in _POSTGRESQL:
        raise InputError(WHERE, f"no such storage: {scheme!r}", "give a path for a journal file, or postgresql://")
    if find_spec("psycopg") is None:
        raise EnvironmentProblem(WHERE, "PostgreSQL needs the package psycopg", "pip install 'dse[postgresql]'")


def without_password(text: str) -> str:
    """An address, or a command line that holds one, with the password hidden."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", text)


def _journal(path: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if path.is_dir() or not path.resolve().parent.is_dir():
        raise InputError(WHERE, f"{path} cannot be a journal file", "expected a file in a folder that exists")
    try:
        if not _begins_as_journal(path):
            raise InputError(WHERE, f"{path} is not the journal of a study", "choose another file")
        return JournalStorage(JournalFileBackend(str(path)))
    except OSError as problem:
        raise EnvironmentProblem(f"{WHERE} {path}", problem.strerror or str(problem)) from None


def _begins_as_journal(path: Path) -> bool:
    """Whether the file is new, empty, or begins as a journal does: Optuna would append to whatever there is."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    with path.open("rb") as file:
        line = file.readline(LONGEST_LINE)
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and "op_code" in entry


def _database(address: str) -> Any:
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return RDBStorage(re.sub(r"^postgresql(\+psycopg)?://", "postgresql+psycopg://", address, flags=re.IGNORECASE))
    except (SQLAlchemyError, StorageInternalError) as problem:
        reason = str(getattr(problem, "orig", None) or problem).split("\n")[0]
        raise EnvironmentProblem(f"{WHERE} {without_password(address)}", without_password(reason),
                                 "is the server running and the address right?") from None
