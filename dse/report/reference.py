"""The reference: every equation by module on one page that needs no network, made of the functions themselves.

Formulas are MathML, which browsers draw by themselves; the values of an example are drawn once for each name, and its
result is what the function gives.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from importlib import import_module
from inspect import cleandoc
from itertools import groupby
from pathlib import Path

import numpy as np
from markupsafe import Markup

from dse import __version__
from dse.equations.registry import Equation, registered
from dse.report import algebra
from dse.report.page import environment, own_file
from dse.whole_file import write_whole

TYPICAL = {
    "B": 1e9, "B/s": 3e12, "FLOP": 1e12, "FLOP/s": 1e15, "s": 1e-3, "Hz": 1.8e9, "1/s": 5.0, "W": 700.0,
    "USD": 3e4, "USD/h": 2.0, "USD/W": 10.0, "USD/W/h": 0.1, "mm": 10.0, "mm2": 100.0, "mm2/B": 1e-6, "1/mm2": 1e-3,
    "USD/mm2": 0.3, "J": 1e-12, "J/B": 1e-11, "J/B/mm": 5e-13,
}
"""About what a symbol of a unit is, for the examples."""
SHARES = ("efficiency", "share", "draw", "coupling", "recovery", "interest", "exponent", "cap", "tail", "scale",
          "yield", "yielded", "plain", "hit", "load", "chance", "exp")


@dataclass(frozen=True, slots=True)
class Entry:
    """An equation as the page shows it."""

    name: str
    text: str
    formula: Markup
    latex: str
    plain: str
    result: str
    symbols: tuple[tuple[str, str], ...]
    source: str
    example: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module and its equations."""

    name: str
    about: str
    entries: tuple[Entry, ...]


def write_reference(path: Path) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, reference().encode())


def reference() -> str:
    """The page."""
    known = sorted(registered().values(), key=lambda e: e.module)
    modules = [Module(name, _about(name), tuple(map(_entry, members)))
               for name, members in groupby(known, key=lambda e: e.module)]
    template = environment().from_string(own_file("reference.html.j2"))
    return template.render(modules=modules, count=len(known), version=__version__)


def _about(module: str) -> str:
    return cleandoc(import_module(f"dse.equations.{module}").__doc__ or "")


def _entry(e: Equation) -> Entry:
    traced = algebra.text(algebra.traced(e))
    formula = Markup(f"<math display=\"block\">{algebra.mathml(e)}</math>")      # SymPy's: names of our own functions
    return Entry(e.name, cleandoc(e.function.__doc__ or ""), formula, algebra.latex(e), f"{e.name} = {traced}",
                 e.result or "a number", tuple((name, unit or "a number") for name, unit in e.units.items()), e.source,
                 _example(e))


def example(e: Equation) -> tuple[dict[str, float], float]:
    """Arguments of about the usual size, and what the function makes of them."""
    arguments = {name: _typical(e, name, unit) for name, unit in e.units.items()}
    with np.errstate(all="ignore"):
        return arguments, float(e.function(**arguments))


def _typical(e: Equation, name: str, unit: str) -> float:
    """A share where the name says so, a power of two where it counts, else of the unit's size, not all alike."""
    turn = zlib.crc32(f"{e.name}.{name}".encode()) % 4
    if unit:
        return float(f"{TYPICAL.get(unit, 1.0) * (1, 2, 4, 8)[turn]:.3g}")
    if any(word in name for word in SHARES):
        return (0.2, 0.4, 0.6, 0.8)[turn]
    return (2.0, 4.0, 8.0, 16.0)[turn]


def _example(e: Equation) -> str:
    arguments, result = example(e)
    said = ", ".join(f"{name}={value:g}" for name, value in arguments.items())
    unit = f" {e.result}" if e.result else ""
    return f"{e.name}({said}) = {result:.6g}{unit}" if math.isfinite(result) else ""
