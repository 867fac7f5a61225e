"""A progress bar with rate and time left that shows only where the work takes long, on stderr."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dse.cli.every_command import QUIET

PATIENCE = 2.0
"""Seconds after which a bar appears."""


class _Rate(ProgressColumn):
    """Steps a second, or seconds a step where one takes longer."""

    def render(self, task: Task) -> Text:
        """The rate once there is one."""
        speed = task.finished_speed or task.speed
        if not speed:
            return Text("")
        return Text(f"{speed:.3g}/s" if speed >= 1 else f"{1 / speed:.3g} s each")


class Bar:
    """Call it with what is done and what there is; nothing is shown in the first two seconds, or with --quiet."""

    def __init__(self, title: str = "searching") -> None:
        self._title, self._start, self._shown = title, time.monotonic(), Progress(disable=True)
        self._task: TaskID | None = None

    def __enter__(self) -> Bar:
        return self

    def __call__(self, done: int, total: int) -> None:
        """Say how far the work is."""
        if self._task is None:
            if QUIET.get() or time.monotonic() - self._start < PATIENCE:
                return
            self._shown = Progress(TextColumn(self._title), BarColumn(), MofNCompleteColumn(), _Rate(),
                                   TimeRemainingColumn(), TextColumn("left"), console=Console(stderr=True),
                                   transient=True)
            self._shown.start()
            self._task = self._shown.add_task(self._title, total=total)
        self._shown.update(self._task, completed=done, total=total)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._shown.stop()
