"""What an equation says as algebra: traced with SymPy from the very function that computes the numbers.

A maximum, a minimum or a choice is taken apart into its branches, each an expression without them, and rounding is
left out: so a branch can be solved for a symbol and differentiated. SymPy loads when one of these is called.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from dse.equations.registry import Equation
from dse.errors import InputError, nearest

MOST_BRANCHES = 16
"""Combinations of branches that are taken apart; an equation with more is shown as it stands."""
Expression = Any
"""A SymPy expression."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One way through an equation's maxima: the expression, and what has to hold for it to be the one that counts."""

    expression: Expression
    conditions: tuple[Expression, ...]


def symbols(e: Equation) -> dict[str, Expression]:
    """A positive symbol for each parameter."""
    import sympy

    return {name: sympy.Symbol(name, positive=True) for name in e.units}


def traced(e: Equation) -> Expression:
    """The equation's own function called with symbols."""
    import sympy

    return sympy.sympify(e.function(*symbols(e).values()))


def text(expression: Expression) -> str:
    """The expression as one would type it."""
    import sympy

    return str(sympy.sstr(expression))


def latex(e: Equation) -> str:
    """The equation as LaTeX, its names upright."""
    import sympy

    return f"{_upright(e.name)} = {sympy.latex(traced(e), symbol_names=_names(e))}"


def mathml(e: Equation) -> str:
    """The right-hand side as presentation MathML, which browsers draw without any script."""
    from sympy.printing.mathml import mathml as printed

    return str(printed(traced(e), printer="presentation"))


def branches(e: Equation) -> list[Branch]:
    """Every way through the equation's maxima, minima and choices; a single one where it has none."""
    found = list(_branches(_relaxed(traced(e))))
    return found if found else [Branch(_relaxed(traced(e)), ())]


def solved(e: Equation, name: str) -> list[tuple[Branch, Expression]]:
    """The symbol as a function of the result, for each branch that has it and can be solved in closed form."""
    import sympy

    symbol, result = _symbol(e, name), sympy.Symbol(e.name, positive=True)
    out: list[tuple[Branch, Expression]] = []
    for branch in branches(e):
        if branch.expression.has(symbol):
            out += [(branch, root) for root in _roots(branch.expression - result, symbol)]
    return out


def meeting(e: Equation, name: str) -> list[Expression]:
    """Values of the symbol at which two branches of a maximum are equal, where that has a closed form."""
    import sympy

    symbol, found = _symbol(e, name), []
    for node in _relaxed(traced(e)).atoms(sympy.Max, sympy.Min):
        first, *others = node.args
        if len(others) == 1 and not node.has(sympy.Piecewise) and (first - others[0]).has(symbol):
            found += [root for root in _roots(first - others[0], symbol) if root != 0]
    return found


def derivatives(e: Equation) -> list[tuple[Branch, dict[str, Expression]]]:
    """For each branch the derivative by each symbol that it has."""
    import sympy

    made = symbols(e)
    return [(branch, {name: sympy.simplify(sympy.diff(branch.expression, symbol)) for name, symbol in made.items()
                      if branch.expression.has(symbol)}) for branch in branches(e)]


def _symbol(e: Equation, name: str) -> Expression:
    made = symbols(e)
    if name not in made:
        raise InputError(f"--solve {name[:60]}", f"{e.name} has no such symbol", nearest(name, made))
    return made[name]


def _relaxed(expression: Expression) -> Expression:
    """The expression without rounding: what it is on average, and what can be solved."""
    import sympy

    return expression.replace(lambda x: isinstance(x, (sympy.ceiling, sympy.floor)), lambda x: x.args[0])


def _branches(expression: Expression, conditions: tuple[Expression, ...] = ()) -> Iterator[Branch]:
    """Innermost choices first, so that what is compared has none left."""
    import sympy

    choices = sorted((node for node in expression.atoms(sympy.Max, sympy.Min, sympy.Piecewise) if not any(
        argument.has(sympy.Max, sympy.Min, sympy.Piecewise) for argument in node.args)), key=str)
    ways = [list(_ways(node)) for node in choices]
    if not choices:
        yield Branch(expression, conditions)
        return
    if prod(len(way) for way in ways) > MOST_BRANCHES:
        return
    for taken in product(*ways):
        chosen = expression.xreplace({node: value for node, (value, _) in zip(choices, taken, strict=True)})
        yield from _branches(chosen, (*conditions, *(c for _, held in taken for c in held)))


def _ways(node: Expression) -> Iterator[tuple[Expression, tuple[Expression, ...]]]:
    """What a maximum may be, and when."""
    import sympy

    if isinstance(node, sympy.Piecewise):
        for value, condition in node.args:
            yield value, () if condition is sympy.true else (condition,)
        return
    larger = sympy.Ge if isinstance(node, sympy.Max) else sympy.Le
    for value in node.args:
        yield value, tuple(larger(value, other, evaluate=False) for other in node.args if other is not value)


def _roots(difference: Expression, symbol: Expression) -> list[Expression]:
    """Closed forms of the symbol; none where SymPy knows none, or would look for one for long: a broken power of the
    symbol within an exponent.
    """
    import sympy

    if any(inner.has(symbol) and not inner.exp.is_integer for outer in difference.atoms(sympy.Pow)
           for inner in outer.exp.atoms(sympy.Pow)):
        return []
    try:
        found = sympy.solve(difference, symbol)
    except NotImplementedError:
        return []
    return [sympy.simplify(root) for root in found if not root.has(sympy.I, sympy.LambertW)]


def _names(e: Equation) -> Mapping[Expression, str]:
    return {symbol: _upright(name) for name, symbol in symbols(e).items()}


def _upright(name: str) -> str:
    """A name of several letters as a word, one of a single letter as mathematics has it."""
    return name if len(name) == 1 else "\\mathrm{" + name.replace("_", "\\_") + "}"
