"""Several processes on one machine, each a worker on the studies of one storage."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dse.errors import DseError
from dse.search.grid import Aim
from dse.search.opening import Search, open_runs
from dse.search.space import Space
from dse.search.storage import open_storage
from dse.search.structures import as_spaces, structures_of
from dse.search.trials import Run, Settings, conduct, finished

Factory = Callable[[], tuple[Space | Sequence[Space], Aim]]
"""What makes the spaces and the aim anew in a worker: it can be pickled, where a space with techniques cannot."""
LOOK = 0.2
"""Seconds between looks at how far the workers are."""
ENDING = 10.0
"""Seconds that a worker gets to end before it is killed."""


@dataclass(slots=True)
class Together:
    """What workers did: mean seconds of grids and of the rest, and what happened to them."""

    grid: float = 0.0
    optuna: float = 0.0
    notes: list[str] = field(default_factory=list)


@contextmanager
def private_journal() -> Iterator[str]:
    """A journal that only this search's workers see, and that goes with it."""
    with TemporaryDirectory(prefix="dse-") as folder:
        yield str(Path(folder) / "study.journal")


def conduct_together(runs: Sequence[Run], factory: Factory, settings: Settings, sample: int,
                     progress: Callable[[int, int], None]) -> Together:
    """Have `settings.workers` processes run the trials of the studies; an interrupt ends them all."""
    context = get_context("spawn")
    pipes, processes = [], []
    with _deaf():        # a worker whose Python is not up yet shall not answer Ctrl-C with a traceback
        for _ in range(settings.workers):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(factory, settings, sample, there), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
    try:
        while any(process.is_alive() for process in processes):
            progress(*finished(runs))
            wait([process.sentinel for process in processes if process.is_alive()], LOOK)
    finally:
        _end(processes)
    return _collected([_message(pipe) for pipe in pipes], [process.exitcode for process in processes])


def _work(factory: Factory, settings: Settings, sample: int, pipe: Connection) -> None:
    """What a worker does, from its start to its end; its last word goes through the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        given, aim = factory()
        spaces = as_spaces(given)
        with open_storage(settings.storage) as storage:
            runs = open_runs(storage, Search(spaces, structures_of(spaces), aim, settings), sample)
            start = time.perf_counter()
            grid = conduct(runs, aim, settings.memory, _stop_alone)
        pipe.send((grid, time.perf_counter() - start - grid))
    except KeyboardInterrupt:
        pass
    except DseError as error:
        pipe.send((type(error), error.where, error.message, error.hint))
    except Exception as error:
        pipe.send((DseError, "internal error", f"a worker: {type(error).__name__}: {error}", ""))


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _stop_alone(done: int, total: int) -> None:
    """A worker whose parent was killed has nobody to work for."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        raise KeyboardInterrupt


def _end(processes: Sequence[Any]) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    for process in processes:
        process.join(ENDING)
        if process.is_alive():
            process.kill()
            process.join()


def _message(pipe: Connection) -> Any:
    """A worker's last word; None of one that was killed."""
    with pipe:
        try:
            return pipe.recv() if pipe.poll() else None
        except EOFError:
            return None


def _collected(messages: Sequence[Any], codes: Sequence[int | None]) -> Together:
    together = Together()
    ended = [message for message in messages if message is not None and len(message) == 2]
    for number, (message, code) in enumerate(zip(messages, codes, strict=True), 1):
        if message is not None and len(message) == 4:
            raise message[0](*message[1:])
        if message is None:
            how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
            together.notes.append(f"worker {number} was ended by {how}: its trials were run again")
    if ended:
        together.grid, together.optuna = (sum(part) / len(ended) for part in zip(*ended, strict=True))
    return together


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C from their first moment."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
