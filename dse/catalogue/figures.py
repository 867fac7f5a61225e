"""A figure as a file has it: `{ value = "3.35 TB/s", source = "aic" }`. Its class says the unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from dse.catalogue.quantity import quantity, unit_of
from dse.errors import InputError, nearest
from dse.model.machine import Fact

UNVERIFIED = ("recalled", "assumed")  # kinds of source that nobody read in a document


class Table(BaseModel):
    """A table of a file: nothing beyond its keys, and no silent conversion of types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Source(Table):
    """Where figures come from: what kind of document, and its citation."""

    kind: Literal[
        "paper", "repo", "measured", "press", "vendor_doc", "dataset",
        "price", "estimate", "derived", "recalled", "assumed",
    ]  # fmt: skip
    ref: Annotated[str, Field(min_length=1)]


class Text(Table):
    """A word with a source, e.g. the process node."""

    value: Annotated[str, Field(min_length=1)]
    source: str
    note: str = ""


class Kernels(Text):
    """Whether kernels overlap bulk copies and matrix products ("async") or take turns ("sync")."""

    value: Literal["async", "sync"]


class Figure(Table):
    """A plain number, with its range where the sources disagree; the subclasses are figures with a unit."""

    unit: ClassVar[str] = ""
    value: str | float
    low: str | float | None = None
    high: str | float | None = None
    source: str
    note: str = ""


class Bytes(Figure):
    """B."""

    unit = "B"


class Rate(Figure):
    """Byte/s, one direction."""

    unit = "B/s"


class Flops(Figure):
    """FLOP/s, dense."""

    unit = "FLOP/s"


class Seconds(Figure):
    """s."""

    unit = "s"


class Hertz(Figure):
    """Hz."""

    unit = "Hz"


class Watts(Figure):
    """W."""

    unit = "W"


class Usd(Figure):
    """USD."""

    unit = "USD"


class UsdPerHour(Figure):
    """USD per hour and device."""

    unit = "USD/h"


class Joules(Figure):
    """J, of one FLOP."""

    unit = "J"


class JoulesPerByte(Figure):
    """J/B; files say pJ/bit."""

    unit = "J/B"


class UsdPerByte(Figure):
    """USD/B; files say USD/GB."""

    unit = "USD/B"


class Area(Figure):
    """Square millimetres: a plain number, the key ends in _mm2."""

    unit = "mm2"


class Stated(Figure):
    """A figure of a table with free keys: its string says the unit."""


def facts_of(table: Table, sources: Mapping[str, Source], file: str) -> dict[str, Fact]:
    """Every figure of a file by dotted key, read into SI; each must name one of the file's sources."""
    facts = {}
    for key, entry in _entries(table, ""):
        where = f"{file}: {key}"
        if entry.source not in sources:
            raise InputError(f"{where}.source", f"{entry.source!r} is not in [sources]", nearest(entry.source, sources))
        if isinstance(entry, Figure):
            facts[key] = _fact(entry, sources[entry.source], where)
    return facts


def _entries(table: object, prefix: str) -> Iterator[tuple[str, Figure | Text]]:
    if isinstance(table, Figure | Text):
        yield prefix, table
    elif isinstance(table, Table | dict):
        for key, entry in table.items() if isinstance(table, dict) else table:
            yield from _entries(entry, f"{prefix}.{key}" if prefix else key)


def _fact(figure: Figure, source: Source, where: str) -> Fact:
    unit = unit_of(figure.value, where) if isinstance(figure, Stated) else figure.unit
    value = quantity(figure.value, unit, where)
    low = value if figure.low is None else quantity(figure.low, unit, f"{where}.low")
    high = value if figure.high is None else quantity(figure.high, unit, f"{where}.high")
    if not low <= value <= high:
        message = f"low {figure.low!r}, value {figure.value!r}, high {figure.high!r} are out of order"
        raise InputError(where, f"{message}, expected a range that contains the value")
    return Fact(value, low, high, unit, figure.source, figure.note, source.kind not in UNVERIFIED)
