"""The pages of equations that `dse explain` prints: all of them, and one of them as algebra."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from inspect import cleandoc
from itertools import groupby
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from dse.cli import show
from dse.equations.registry import Equation, registered


def list_page() -> Iterator[RenderableType]:
    """Every equation by module: meaning, units, source."""
    known = sorted(registered().values(), key=lambda e: e.module)
    yield Text(f"{len(known)} equations; dse explain NAME takes one apart")
    for module, members in groupby(known, key=lambda e: e.module):
        about = (import_module(f"dse.equations.{module}").__doc__ or "").strip().splitlines()[0]
        yield show.heading(f"{module}: {about}")
        for e in members:
            yield Text(e.name, style="bold")
            yield _indented(e.meaning, signature(e), f"source: {e.source}")


def signature(e: Equation) -> str:
    """Symbols with their units, and the result's."""
    taken = ", ".join(f"{name} [{unit}]" if unit else name for name, unit in e.units.items())
    return f"{taken} -> {e.result or 'a number'}"


def _indented(*lines: str) -> RenderableType:
    return Padding(Group(*(Text(line) for line in lines)), (0, 0, 0, 4))


def algebra_document(e: Equation, solve: str | None, diff: bool) -> dict[str, Any]:
    """What is asked of an equation, as text and LaTeX."""
    from dse.report import algebra

    document: dict[str, Any] = {"formula": f"{e.name} = {algebra.text(algebra.traced(e))}", "latex": algebra.latex(e)}
    if solve is not None:
        document["solved"] = {"symbol": solve, "branches": [
            {"value": algebra.text(root), "where": _where(branch)} for branch, root in algebra.solved(e, solve)],
            "meeting": [algebra.text(value) for value in algebra.meeting(e, solve)]}
    if diff:
        document["derivatives"] = [{"where": _where(branch), "by": {name: algebra.text(d) for name, d in by.items()}}
                                   for branch, by in algebra.derivatives(e)]
    return document


def _where(branch: Any) -> list[str]:
    from dse.report import algebra

    return [algebra.text(condition) for condition in branch.conditions]


def equation_page(e: Equation, found: dict[str, Any]) -> Iterator[RenderableType]:
    """One equation, and what is asked of it."""
    yield Text(found["formula"], style="bold")
    yield Text("")
    yield Text(cleandoc(e.function.__doc__ or ""))
    yield show.heading("Symbols")
    yield show.table(("symbol", "unit"), [*((name, unit or "a number") for name, unit in e.units.items()),
                                          (f"{e.name} (result)", e.result or "a number")], left=2)
    yield Text("")
    yield show.pairs([("module", e.module), ("source", e.source)])
    if "solved" in found:
        yield from _solution(e, found["solved"])
    for part in found.get("derivatives", ()):
        yield show.heading(f"Derivatives of {e.name}{_condition(part['where'])}")
        yield show.pairs([(f"by {name}", text) for name, text in part["by"].items()])


def _solution(e: Equation, solved: dict[str, Any]) -> Iterator[RenderableType]:
    symbol = solved["symbol"]
    yield show.heading(f"Solved for {symbol}, rounding left out")
    if not solved["branches"]:
        yield Text(f"no closed form; dse whatif finds values of a plan by root finding ({e.name})")
    for part in solved["branches"]:
        yield Text(f"{symbol} = {part['value']}{_condition(part['where'])}")
    for value in solved["meeting"]:
        yield Text(f"the branches are equal at {symbol} = {value}")


def _condition(where: list[str]) -> str:
    return f", where {' and '.join(where)}" if where else ""
