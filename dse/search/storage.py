"""Where the trials of a study are kept: in memory, in a journal file, or in PostgreSQL for many machines."""

from __future__ import annotations

import errno
import json
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dse.errors import DseError, EnvironmentProblem, InputError

WHERE = "--storage"
LONGEST_LINE = 1 << 20
BEAT, GRACE = 5, 15
"""Seconds between the signs of life of a trial in a database, and after how many without one it counts as lost."""
LEFT = 10
"""Seconds after which a journal's lock, which is held for a write, is taken from who must have been killed."""
CONNECT = 10
"""Seconds to wait for a server."""
LOCK = 1144210768
"""The number that those who make the tables agree on: any would do."""
_POSTGRESQL = ("postgresql", "postgresql+psycopg")
_KEPT = "the finished trials are kept; the same command goes on"


@contextmanager
def open_storage(place: str | None) -> Iterator[Any]:
    """An Optuna storage: None for memory, a path for a journal file, or a postgresql:// address.

    Faults of the storage inside the block are told as the environment's.
    """
    if place is None:
        yield None
    elif "://" not in place:
        with _journal_faults(place):
            yield _journal(Path(place))
    else:
        with _database_faults(place):
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
    hidden = re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", hidden)


def _journal(path: Path) -> Any:
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage

    class WholeLines(JournalFileBackend):
        """Cuts off what a writer that was killed, or had no room, left of a line before it writes the next."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            with _interrupts_wait():        # Optuna's lock, interrupted while it is released, fails in its own way
                if _is_torn(path):
                    lock.acquire()
                    try:
                        _mend(path)
                    finally:
                        lock.release()
                super().append_logs(logs)

    if path.is_dir() or not path.resolve().parent.is_dir():
        raise InputError(WHERE, f"{path} cannot be a journal file", "expected a file in a folder that exists")
    if not _begins_as_journal(path):
        raise InputError(WHERE, f"{path} is not the journal of a study", "choose another file")
    lock = JournalFileSymlinkLock(str(path), grace_period=LEFT)
    return JournalStorage(WholeLines(str(path), lock))


@contextmanager
def _journal_faults(place: str) -> Iterator[None]:
    from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError

    where = f"{WHERE} {place}"
    try:
        yield
    except DseError:
        raise
    except OSError as problem:
        full = problem.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = f"make room: {_KEPT}" if full else ""
        raise EnvironmentProblem(where, problem.strerror or str(problem), hint) from None
    except (DuplicatedStudyError, UpdateFinishedTrialError):
        raise
    except (ValueError, KeyError, AssertionError, TypeError) as problem:
        if not _is_of_reading(problem):
            raise
        raise InputError(where, "cannot be read: it is damaged, or a newer version of Optuna wrote it",
                         "choose another file, or use that version") from None


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Ctrl-C inside the block takes effect at its end; in another thread than the main one, none arrives."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is None:
        yield
        return
    caught: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught and callable(before):
        before(caught[0], None)


def _is_of_reading(problem: BaseException) -> bool:
    """Whether an error comes from Optuna's reading of a journal's lines and not from what was done with them."""
    trace = problem.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name in ("apply_logs", "read_logs"):
            return True
        trace = trace.tb_next
    return False


def _is_torn(path: Path) -> bool:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - 1, 0))
        return size > 0 and file.read(1) != b"\n"


def _mend(path: Path) -> None:
    """Cut an unfinished last line off."""
    with path.open("r+b") as file:
        end = file.seek(0, 2)
        while end > 0:
            start = max(end - LONGEST_LINE, 0)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                file.truncate(start + found + 1)
                return
            end = start
        file.truncate(0)


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
    import optuna
    from sqlalchemy import create_engine, inspect, text

    url = re.sub(r"^postgresql(\+psycopg)?://", "postgresql+psycopg://", address, flags=re.IGNORECASE)
    patience = {"connect_args": {"connect_timeout": CONNECT}}
    engine = create_engine(url, **patience)
    try:
        with engine.connect() as connection:     # of workers that begin at once one makes the tables
            connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
            _check_tables(address, inspect(connection).get_table_names())
            with warnings.catch_warnings():      # heartbeats are "experimental" since 2021
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                storage = optuna.storages.RDBStorage(
                    url, engine_kwargs=patience, skip_compatibility_check=True, heartbeat_interval=BEAT,
                    grace_period=GRACE, heartbeat_stale_trial_callback=retry())
    finally:
        engine.dispose()
    _check_schema(address, storage)
    return storage


def _check_tables(address: str, tables: Sequence[str]) -> None:
    if tables and "version_info" not in tables:
        raise InputError(f"{WHERE} {without_password(address)}",
                         f"is a database of something else (it has {', '.join(sorted(tables)[:3])[:80]})",
                         "expected an empty one, or one of studies")


def _check_schema(address: str, storage: Any) -> None:
    held, known = storage.get_current_version(), storage.get_head_version()
    if held == known:
        return
    storage.remove_session()
    storage.engine.dispose()
    raise EnvironmentProblem(f"{WHERE} {without_password(address)}",
                             f"holds the tables of another version of Optuna ({str(held)[:40]}, this has {known})",
                             "use that version, or another database")


def retry() -> Any:
    """What has a lost trial tried again, at most so often that one which kills its worker ends."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)


@contextmanager
def _database_faults(address: str) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    where = f"{WHERE} {without_password(address)}"
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as problem:
        cause = problem.__cause__ if isinstance(problem, StorageInternalError) and problem.__cause__ else problem
        reason = str(getattr(cause, "orig", None) or cause).split("\n")[0]
        raise EnvironmentProblem(where, without_password(reason),
                                 "is the server running and the address right?") from None
