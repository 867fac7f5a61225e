"""A panel of the page: a question, the figures that answer it, and tables of the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dse.report.style import Figure
from dse.report.words import quantity


@dataclass(frozen=True, slots=True)
class Cell:
    """A number in words, with the exact value beside it; `exact` is None for text."""

    text: str
    exact: int | float | None = None


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers behind a figure."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    marked: int | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """A section of the page. `figures` are by key, `captions` say what each shows; without any, `text` says why."""

    key: str
    title: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()
    captions: Mapping[str, str] = field(default_factory=dict)


def number(value: Any, unit: str = "") -> Cell:
    """A cell for a number, or for its absence."""
    exact = value if isinstance(value, int | float) and not isinstance(value, bool) else None
    return Cell(quantity(value, unit), exact)
