"""The register of equations: unit of the result, unit of each symbol, source.

Whoever needs to know what an equation takes (documentation, unit checks, the law tests) asks here, so that a unit
is written once.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Equation:
    """A registered equation. `units` has one entry per parameter, in order; "" is a pure number."""

    name: str
    module: str
    function: Callable[..., Any]
    result: str
    units: dict[str, str]
    source: str

    @property
    def meaning(self) -> str:
        """First line of the docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


REGISTRY: dict[str, Equation] = {}


def _module(function: Callable[..., Any]) -> str:
    return function.__module__.rpartition(".")[2]


def equation(result: str, source: str, **units: str) -> Callable[[Function], Function]:
    """Register the function below as an equation that yields `result` from symbols in `units`."""

    def register(function: Function) -> Function:
        parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        if tuple(units) != parameters:
            raise TypeError(f"{function.__name__}: units name {tuple(units)}, the function takes {parameters}")
        if function.__name__ in REGISTRY and REGISTRY[function.__name__].module != _module(function):
            raise TypeError(f"{function.__name__}: {REGISTRY[function.__name__].module} has an equation of that name")
        REGISTRY[function.__name__] = Equation(
            function.__name__, _module(function), function, result, units, source
        )
        return function

    return register


@cache
def registered() -> Mapping[str, Equation]:
    """Every equation by name: all modules of equations are imported, and each registers its own."""
    import dse.equations

    for module in pkgutil.iter_modules(dse.equations.__path__):
        importlib.import_module(f"dse.equations.{module.name}")
    return REGISTRY
