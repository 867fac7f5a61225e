"""How figures and tables look: units on every number, readable at 80 columns, plain when piped."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

UNKNOWN, UNBOUNDED = "unknown", "unbounded"
_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def significant(value: Any, digits: int = 4) -> str:
    """A number with that many significant digits, whole ones without a point; "unknown" where there is none."""
    if value is None or math.isnan(float(value)):
        return UNKNOWN
    number = float(value)
    if math.isinf(number):
        return UNBOUNDED
    if number == 0:
        return "0"
    size = math.floor(math.log10(abs(number)))
    if not -5 < size < 15:
        return f"{number:.{digits - 1}e}"
    if number.is_integer():
        return f"{int(number):,}"
    return f"{number:,.{max(digits - 1 - size, 0)}f}"


def seconds(value: Any, digits: int = 4) -> str:
    """A duration in the unit that suits it."""
    if value is None or not math.isfinite(float(value)):
        return significant(value)
    scale, unit = time_unit(float(value))
    return f"{significant(float(value) * scale, digits)} {unit}"


def time_unit(value: float) -> tuple[float, str]:
    """Factor from seconds and name of the unit in which a duration reads well."""
    if 0 < value < 1e-3:
        return 1e6, "us"
    return (1e3, "ms") if 0 < value < 1 else (1.0, "s")


def gigabytes(value: Any) -> str:
    """Bytes in GB, 1e9 of them."""
    return f"{float(value) / 1e9:,.2f}"


def percent(share: Any) -> str:
    """A share in per cent; one that is tiny but there is not shown as nothing."""
    value = 100 * float(share)
    return "<0.1 %" if 0 < value < 0.1 else f"{value:.1f} %"


def with_prefix(value: Any, unit: str) -> str:
    """A figure with its unit and a decimal prefix: 3.35 TB/s."""
    if value is None:
        return UNKNOWN
    number = float(value)
    if unit == "s":
        return seconds(number)
    if unit in ("", "USD", "USD/h", "mm2", "W"):
        return f"{significant(number)} {unit}".rstrip()
    if unit in ("J/B", "USD/B"):
        return f"{number:.3g} {unit}"
    for size, prefix in _PREFIXES:
        if abs(number) >= size:
            return f"{significant(number / size)} {prefix}{unit}"
    return f"{significant(number)} {unit}"


def heading(text: str) -> Text:
    """The line above a block."""
    return Text("\n" + text, style="bold")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, left: int = 1, total: bool = False,
          wraps: bool = True) -> Table:
    """A plain table; the first `left` columns hold words, the rest figures; `total` sets the last row apart."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for number, name in enumerate(columns):
        words = number < left
        made.add_column(name, justify="left" if words else "right", no_wrap=not (words and wraps), overflow="fold")
    lines = list(rows)
    for number, row in enumerate(lines):
        last = total and number == len(lines) - 1
        made.add_row(*(Text(cell) for cell in row), style="bold" if last else None)
    return made


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """Names and what they are, in two columns."""
    made = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        made.add_row(Text(name), Text(value))
    return made


def bar(share: float, width: int = 20) -> str:
    """A share of 1 as a bar; full and marked where it is more."""
    filled = min(max(round(share * width), 0), width)
    return "#" * filled + "." * (width - filled) + ("!" if share > 1 else "")


def print_page(parts: Iterable[RenderableType]) -> None:
    """Write the parts to stdout in one piece, in colour only on a terminal that wants it."""
    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part)
    lines = (line.rstrip() for line in captured.get().split("\n"))
    sys.stdout.write("\n".join(lines))


def print_json(document: Mapping[str, Any]) -> None:
    """Write the one document of a command."""
    sys.stdout.write(json.dumps(document, indent=2, allow_nan=False) + "\n")
