"""Expressions in fields: "=1 - residual/context" over knobs, unknowns and what a model, its traffic and machine are.

Own grammar, so nothing of Python can be reached and every bound is ours:

    sum      product (("+" | "-") product)*
    product  signed (("*" | "/") signed)*
    signed   ("+" | "-") signed | power
    power    atom ("**" signed)?
    atom     number | name | function "(" sum ("," sum)* ")" | "(" sum ")"
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from dse.equations import num
from dse.equations.num import Number
from dse.errors import InputError, nearest

MARK = "="
LONGEST = 500
DEEPEST = 24
LARGEST_EXPONENT = 64.0
_TOKEN = re.compile(r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
                    r"|(?P<sign>\*\*|[-+*/(),]))", re.ASCII)
_GRAMMAR = "expected numbers, names, + - * / **, brackets and "


def _exp(value: Number) -> Number:
    if hasattr(value, "free_symbols"):
        import sympy

        return sympy.exp(value)
    return np.exp(value)


FUNCTIONS: Mapping[str, tuple[Callable[..., Number], int]] = {
    "min": (num.minimum, 0), "max": (num.maximum, 0), "ceil": (num.ceil, 1), "floor": (num.floor, 1),
    "log2": (num.log2, 1), "exp": (_exp, 1)}
"""Functions, and how many arguments each takes; 0: at least one."""
_GRAMMAR += ", ".join(FUNCTIONS)


@dataclass(frozen=True, slots=True)
class Node:
    """A number ("#"), a name ("$"), an operator or a function (`what`) with its operands."""

    what: str
    value: float | str = 0.0
    parts: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed expression; `text` is as written, without the mark."""

    text: str
    root: Node
    names: frozenset[str]

    def value(self, symbols: Mapping[str, Any], where: str) -> Any:
        """Its value for these symbols: floats, arrays (broadcast) or SymPy expressions; `where` names file and key.

        An expression that is one name passes whatever that is (a list of format names, say); arithmetic is refused
        with anything but finite numbers.
        """
        for name in sorted(self.names):
            if name not in symbols:
                raise InputError(where, f"unknown name {name!r} in {_short(self.text)}", nearest(name, symbols))
        if self.root.what == "$":
            return symbols[str(self.root.value)]
        with np.errstate(all="ignore"):
            return _plain(_Run(self.text, symbols, where).value(self.root))


def is_expression(value: object) -> bool:
    """Whether a value of a file is marked as an expression."""
    return isinstance(value, str) and value.lstrip().startswith(MARK)


def parse(text: str, where: str) -> Expression:
    """The expression in a marked text; an InputError names `where`."""
    body = text.strip().removeprefix(MARK).strip()
    try:
        return _parsed(body)
    except _NotArithmetic as problem:
        raise InputError(where, str(problem), problem.hint) from None


def value(text: str, symbols: Mapping[str, Any], where: str) -> Any:
    """The value of a marked text."""
    return parse(text, where).value(symbols, where)


class _NotArithmetic(Exception):  # noqa: N818 - becomes an InputError where file and key are known
    def __init__(self, message: str, hint: str = "") -> None:
        self.hint = hint
        super().__init__(message)


@lru_cache(4096)
def _parsed(body: str) -> Expression:
    if len(body) > LONGEST:
        raise _NotArithmetic(f"the expression has {len(body)} characters, expected at most {LONGEST}")
    parser = _Parser(body, list(_tokens(body)))
    root = parser.sum(0)
    parser.end()
    return Expression(body, root, frozenset(parser.names))


def _tokens(body: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(body):
        found = _TOKEN.match(body, at)
        if found is None:
            raise _NotArithmetic(f"{_short(body[at:])} is no arithmetic, {_GRAMMAR}")
        yield str(found.lastgroup), found[str(found.lastgroup)]
        at = found.end()


class _Parser:
    """Recursive descent over the tokens; `depth` bounds the recursion."""

    def __init__(self, body: str, tokens: list[tuple[str, str]]) -> None:
        self.body, self.tokens, self.at, self.names = body, tokens, 0, set[str]()

    def _next(self, *signs: str) -> str | None:
        """The next token if it is one of the signs, taken."""
        if self.at < len(self.tokens) and self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] in signs:
            self.at += 1
            return self.tokens[self.at - 1][1]
        return None

    def end(self) -> None:
        """Nothing may be left over."""
        if self.at < len(self.tokens):
            raise self._wrong(f"unexpected {self.tokens[self.at][1]!r}")

    def sum(self, depth: int) -> Node:
        """Terms added and subtracted."""
        node = self._product(depth)
        while sign := self._next("+", "-"):
            node = Node(sign, parts=(node, self._product(depth)))
        return node

    def _product(self, depth: int) -> Node:
        node = self._signed(depth)
        while sign := self._next("*", "/"):
            node = Node(sign, parts=(node, self._signed(depth)))
        return node

    def _signed(self, depth: int) -> Node:
        if depth > DEEPEST:
            raise _NotArithmetic(f"the expression is nested too deeply, expected at most {DEEPEST} levels")
        if sign := self._next("+", "-"):
            return Node("negative" if sign == "-" else "positive", parts=(self._signed(depth + 1),))
        base = self._atom(depth)
        return Node("**", parts=(base, self._signed(depth + 1))) if self._next("**") else base

    def _atom(self, depth: int) -> Node:
        if self._next("("):
            node = self.sum(depth + 1)
            self._close()
            return node
        if self.at >= len(self.tokens) or self.tokens[self.at][0] == "sign":
            found = repr(self.tokens[self.at][1]) if self.at < len(self.tokens) else "the end"
            raise self._wrong(f"{found} where a number or name belongs")
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Node("#", float(text))
        if self._next("("):
            return self._call(text, depth)
        self.names.add(text)
        return Node("$", text)

    def _call(self, name: str, depth: int) -> Node:
        if name not in FUNCTIONS:
            raise _NotArithmetic(f"no such function: {name!r}", nearest(name, FUNCTIONS))
        parts = [self.sum(depth + 1)]
        while self._next(","):
            parts.append(self.sum(depth + 1))
        self._close()
        takes = FUNCTIONS[name][1]
        if takes and len(parts) != takes:
            raise self._wrong(f"{name} of {len(parts)} arguments, expected {takes}")
        return Node(name, parts=tuple(parts))

    def _close(self) -> None:
        if not self._next(")"):
            raise self._wrong("a bracket is not closed")

    def _wrong(self, problem: str) -> _NotArithmetic:
        return _NotArithmetic(f"{problem} in {_short(self.body)}, {_GRAMMAR}")


@dataclass(frozen=True, slots=True)
class _Run:
    """One evaluation; every intermediate result has to be finite, or an outer min() could hide a division by zero."""

    text: str
    symbols: Mapping[str, Any]
    where: str

    def value(self, node: Node) -> Any:
        """The value of a node."""
        if node.what == "#":
            return self._finite(np.float64(node.value), "a number")
        if node.what == "$":
            return self._number(str(node.value))
        parts = [self.value(part) for part in node.parts]
        if node.what == "/" and not _symbolic(parts[1]) and np.any(np.asarray(parts[1]) == 0):
            raise InputError(self.where, f"divides by zero in {_short(self.text)}")
        if node.what == "**":
            self._check_exponent(parts[1])
        return self._finite(_apply(node.what, parts), node.what)

    def _number(self, name: str) -> Any:
        given = self.symbols[name]
        if _symbolic(given):
            return given
        try:
            array = np.asarray(given)
        except (TypeError, ValueError, OverflowError):
            array = np.asarray("")
        if array.dtype.kind not in "iuf":
            raise InputError(self.where, f"{name!r} is {_short(given)}, expected a number in {_short(self.text)}")
        return self._finite(array.astype(float)[()], name)

    def _check_exponent(self, exponent: Any) -> None:
        if not _symbolic(exponent) and np.any(np.abs(exponent) > LARGEST_EXPONENT):
            raise InputError(self.where, f"an exponent beyond {LARGEST_EXPONENT:g} in {_short(self.text)}")

    def _finite(self, result: Any, what: str) -> Any:
        if _symbolic(result):
            if result.is_finite is False:
                raise InputError(self.where, f"{what!r} is not finite in {_short(self.text)}")
        elif not np.all(np.isfinite(result)):
            raise InputError(self.where, f"{what!r} is not a finite number in {_short(self.text)}",
                             "it overflows, or has no value there")
        return result


_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "**": lambda a, b: a**b, "negative": lambda a: -a, "positive": lambda a: a}


def _apply(what: str, parts: list[Any]) -> Any:
    if what in _OPERATORS:
        return _OPERATORS[what](*parts)
    return FUNCTIONS[what][0](*parts)


def _symbolic(given: Any) -> bool:
    return hasattr(given, "free_symbols")


def _plain(result: Any) -> Any:
    return float(result) if not _symbolic(result) and np.ndim(result) == 0 else result


def _short(given: object) -> str:
    text = given if isinstance(given, str) else repr(given)
    return repr(text if len(text) <= 60 else text[:57] + "...")
