"""A progress bar that shows only where the work takes long, on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

PATIENCE = 2.0
"""Seconds after which a bar appears."""


class Bar:
    """Call it with what is done and what there is; nothing is shown in the first two seconds."""

    def __init__(self, title: str = "searching") -> None:
        self._title, self._start, self._shown = title, time.monotonic(), Progress(disable=True)
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Say how far the work is."""
        if self._task is None:
            if time.monotonic() - self._start < PATIENCE:
                return
            self._shown = Progress(TextColumn(self._title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
                                   console=Console(stderr=True), transient=True)
            self._shown.start()
            self._task = self._shown.add_task(self._title, total=total)
        self._shown.update(self._task, completed=done, total=total)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._shown.stop()
