"""Expressions of fields: what they compute, and everything that they refuse."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from dse.errors import InputError
from dse.plan import expressions
from dse.plan.expressions import DEEPEST, LONGEST, is_expression, parse, value

WHERE = "some.toml: technique.formats.kv.share"
SYMBOLS = {"residual": 2.0, "context": 8.0, "a": 3.0, "b": 0.5}

NUMBERS = st.floats(0.25, 8.0).map(lambda x: format(x, ".4g"))
LEAVES = st.one_of(NUMBERS, st.sampled_from(sorted(SYMBOLS)))
TREES = st.recursive(LEAVES, lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
    st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: f"{t[0]}({t[1]}, {t[2]})"),
    st.tuples(st.sampled_from(["ceil", "floor"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
    inner.map(lambda text: f"-{text}"), inner.map(lambda text: f"(({text}) ** 2)")), max_leaves=8)


def python_value(text: str) -> float | None:
    """What Python makes of the same text; None where it has no finite number."""
    names: dict[str, Any] = {**SYMBOLS, "ceil": math.ceil, "floor": math.floor, "min": min, "max": max}
    try:
        found = float(eval(text, {"__builtins__": {}}, names))
    except (ArithmeticError, ValueError):
        return None
    return found if math.isfinite(found) else None


def outcome(text: str) -> tuple[float | None, str]:
    """The value of an expression, or the line of its error."""
    try:
        return float(value(text, SYMBOLS, WHERE)), ""
    except InputError as error:
        return None, str(error)


@given(TREES)
def test_arithmetic_is_pythons(text: str) -> None:
    expected, (found, line) = python_value(text), outcome(f"={text}")
    if found is None:
        assert expected is None or len(text) > LONGEST or "deep" in line
    else:
        assert found == pytest.approx(expected, rel=1e-12)


@given(st.text(max_size=60))
def test_any_text_is_a_number_or_one_error(text: str) -> None:
    found, line = outcome(f"={text}")
    assert math.isfinite(found) if found is not None else line.startswith(WHERE) and "\n" not in line


@pytest.mark.parametrize(("text", "expected"), [
    ("=1 - residual/context", 0.75), ("=2**3**2", 512.0), ("=-2**2", -4.0), ("=2**-1", 0.5), ("= 7", 7.0),
    ("=.5 + 1e-1", 0.6), ("=min(a)", 3.0), ("=max(1, a, b)", 3.0), ("=log2(context)", 3.0), ("=exp(0)", 1.0),
    ("=--a", 3.0), ("=a - b - 1", 1.5), ("=8/2/2", 2.0),
])
def test_values(text: str, expected: float) -> None:
    found = value(text, SYMBOLS, WHERE)
    assert isinstance(found, float)
    assert found == pytest.approx(expected)


REFUSED = {
    "unknown name": ("=residul", "'residual'"), "unknown function": ("=cell(2)", "'ceil'"),
    "division by zero": ("=1/(a - 3)", "divides by zero"), "hidden division": ("=min(1/0, 3)", "divides by zero"),
    "overflow": ("=exp(1000)", "overflow"), "huge literal": ("=1e999", "finite"),
    "huge exponent": ("=2**1e9", "exponent beyond"), "tower": ("=9**9**9", "exponent beyond"),
    "root of a negative": ("=(0 - 8)**0.5", "finite"), "logarithm of nothing": ("=log2(0)", "finite"),
    "too long": ("=" + "1+" * LONGEST + "1", str(LONGEST)), "too deep": ("=" + "(" * 60 + "1" + ")" * 60, str(DEEPEST)),
    "signs without end": ("=" + "-" * 400 + "1", "deeply"), "attribute": ("=a.b", "no arithmetic"),
    "import": ("=__import__('os').system('true')", "no arithmetic"), "call of nothing": ("=(1)(2)", "unexpected"),
    "dunder": ("=__builtins__", "unknown name"), "index": ("=a[0]", "no arithmetic"),
    "lambda": ("=lambda: 1", "no arithmetic"),
    "text": ("='1'", "no arithmetic"), "comparison": ("=a < b", "no arithmetic"), "nothing": ("=", "the end"),
    "open bracket": ("=(1", "not closed"), "two numbers": ("=1 2", "unexpected"), "no operand": ("=1 +", "the end"),
    "arguments": ("=ceil(1, 2)", "expected 1"), "null byte": ("=1\0", "no arithmetic"),
    "walrus": ("=(x:=1)", "arithmetic"),
    "other digits": ("=\u0661", "no arithmetic"), "assignment": ("=a=1", "no arithmetic"),
}


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_refusals_name_file_and_key_in_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        value(text, SYMBOLS, WHERE)
    line = str(caught.value)
    assert line.startswith(WHERE)
    assert words in line
    assert "\n" not in line
    assert len(line) < 300


def test_arrays_broadcast_and_stay_checked() -> None:
    names = {"x": np.arange(1.0, 4.0), "y": np.arange(1.0, 3.0)[:, None]}
    found = value("=max(x, y) / y", names, WHERE)
    assert found.shape == (2, 3)
    assert found[1].tolist() == [1.0, 1.0, 1.5]
    with pytest.raises(InputError, match="divides by zero"):
        value("=1/(x - 2)", names, WHERE)


def test_symbols_are_traced() -> None:
    x = sympy.Symbol("x", positive=True)
    found = value("=1 - max(x, 2)/4 + exp(x)", {"x": x}, WHERE)
    assert float(found.subs(x, 3.0)) == pytest.approx(0.25 + math.exp(3))
    with pytest.raises(InputError, match="divides by zero"):
        value("=x/0 + 1", {"x": x}, WHERE)


def test_a_lone_name_passes_names_and_arithmetic_does_not() -> None:
    kinds = np.array(["fp8", "bf16"])
    assert value("=kind", {"kind": kinds}, WHERE) is kinds
    with pytest.raises(InputError, match="expected a number"):
        value("=kind + 1", {"kind": kinds}, WHERE)


@pytest.mark.parametrize("bad", [None, True, "1", [1, "x"], object(), float("nan"), 10**400])
def test_symbols_that_are_no_finite_numbers_are_refused(bad: object) -> None:
    with pytest.raises(InputError) as caught:
        value("=x + 1", {"x": bad}, WHERE)
    assert caught.value.where == WHERE


def test_names_and_marks() -> None:
    assert parse("=min(a, b) + exp(c)", WHERE).names == {"a", "b", "c"}
    assert is_expression(" =1")
    assert not any(is_expression(x) for x in ("1", 1, None, "a=1"))


def test_nothing_of_python_runs() -> None:
    with open(expressions.__file__, encoding="utf-8") as file:
        source = file.read()
    assert not any(word in source for word in ("eval(", "exec(", "compile(\"", "__import__", "import ast"))
