"""Trees of spans: charges sum to the time, a share is an elasticity, and every node keeps its bounds."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from dse.model.hiding import SHARED, Buffer, overlapped
from dse.model.spans import Span, attribute, busy, leaves, op, own_times, par, pipeline, seq, times, work
from dse.plan.fields import Edge

RESOURCES = ("compute", "hbm", "link", "latency")
NORMS = (1, 2, 3.5, inf)
STEP = 1e-5
"""Relative change of a rate in a numerical derivative."""
Recipe = tuple[Any, ...]

seconds = st.floats(1e-3, 1e3)
shares = st.floats(0, 1)
counts = st.integers(1, 5)
operations = st.tuples(st.just("op"), st.sampled_from("abcd"), st.sampled_from(NORMS),
                       st.dictionaries(st.sampled_from(RESOURCES), st.lists(seconds, min_size=3, max_size=3),
                                       min_size=1))


def _composites(inner: st.SearchStrategy[Recipe]) -> st.SearchStrategy[Recipe]:
    several = st.lists(inner, min_size=1, max_size=4)
    return st.one_of(
        st.tuples(st.sampled_from(("seq", "par")), several),
        st.tuples(st.just("times"), counts, inner),
        st.tuples(st.just("hide"), shares, inner, inner),
        st.tuples(st.just("pipeline"), counts, inner, inner),
    )


recipes = st.recursive(operations, _composites, max_leaves=12)
laws = settings(max_examples=150, deadline=None, derandomize=True)


def build(recipe: Recipe, rates: dict[str, float] | None = None, column: Any = 0) -> Span:
    """The tree of a recipe; rates divide the seconds of their resource, `column` picks one plan or all (a slice)."""
    kind, *rest = recipe
    if kind == "op":
        name, norm, used = rest
        return op(name, {r: np.array(v)[column] / (rates or {}).get(r, 1.0) for r, v in used.items()}, norm,
                  flops=2.0, nbytes=3.0)
    if kind == "times":
        return times(rest[0], build(rest[1], rates, column))
    if kind in ("seq", "par"):
        return {"seq": seq, "par": par}[kind](kind, *(build(r, rates, column) for r in rest[0]))
    first, second = (build(r, rates, column) for r in rest[1:])
    if kind == "hide":
        return hidden_behind(first, second, rest[0])
    return pipeline(kind, seq("fill", first, second), second, rest[0])


def no_buffer(name: str) -> Buffer:
    raise AssertionError(f"no edge here asks for {name}")


def hidden_behind(background: Span, foreground: Span, window: float = 1.0) -> Span:
    """The background behind a share of the foreground, whatever both are called."""
    parts = seq("background", background), seq("foreground", foreground)
    return overlapped("hide", parts, [Edge(("background",), ("foreground",), window)], no_buffer)


def charged(span: Span) -> dict[str, Any]:
    """Charged seconds by resource."""
    out: dict[str, Any] = dict.fromkeys(RESOURCES, 0.0)
    for (_, resource), value in attribute(span).items():
        out[resource] = out[resource] + value
    return out


@laws
@given(recipes)
def test_charges_sum_to_the_time(recipe: Recipe) -> None:
    tree = build(recipe)
    charges = attribute(tree)
    assert sum(charges.values()) == pytest.approx(tree.time, rel=1e-12)
    assert min(charges.values()) >= 0


@laws
@given(recipes)
def test_charges_of_many_plans_are_those_of_each(recipe: Recipe) -> None:
    together = build(recipe, column=slice(None))
    charges = attribute(together)
    assert sum(charges.values()) == pytest.approx(together.time, rel=1e-12)
    for plan in range(3):
        alone = build(recipe, column=plan)
        assert np.broadcast_to(together.time, 3)[plan] == pytest.approx(alone.time, rel=1e-12)
        got = {key: np.broadcast_to(value, 3)[plan] for key, value in charges.items()}
        assert got == pytest.approx(attribute(alone), rel=1e-12, abs=1e-12 * float(alone.time))


@laws
@given(recipes, st.sampled_from(RESOURCES))
def test_share_of_a_resource_is_the_elasticity_to_its_rate(recipe: Recipe, resource: str) -> None:
    tree = build(recipe)
    faster, slower = build(recipe, {resource: 1 + STEP}), build(recipe, {resource: 1 / (1 + STEP)})
    gain, loss = tree.time - faster.time, slower.time - tree.time
    assume(abs(gain - loss) <= 10 * STEP * STEP * tree.time)      # no tie within the step
    assert (gain + loss) / (2 * np.log1p(STEP)) == pytest.approx(charged(tree)[resource], abs=1e-4 * tree.time)


@laws
@given(recipes, st.sampled_from(RESOURCES), st.floats(1, 10))
def test_a_faster_resource_never_takes_longer(recipe: Recipe, resource: str, factor: float) -> None:
    assert build(recipe, {resource: factor}).time <= build(recipe).time * (1 + 1e-12)


@laws
@given(recipes, st.floats(0.1, 10))
def test_all_resources_faster_scale_the_time(recipe: Recipe, factor: float) -> None:
    quick = build(recipe, dict.fromkeys(RESOURCES, factor))
    assert quick.time == pytest.approx(build(recipe).time / factor, rel=1e-12)


@laws
@given(recipes)
def test_a_resource_is_busy_at_least_as_long_as_it_is_charged(recipe: Recipe) -> None:
    tree = build(recipe)
    own, charges = own_times(tree), attribute(tree)
    assert all(own[key] >= value * (1 - 1e-12) for key, value in charges.items())


@laws
@given(recipes, recipes, shares)
def test_hiding_stays_between_the_longer_and_the_sum(background: Recipe, foreground: Recipe, window: float) -> None:
    back, front = build(background), build(foreground)
    both = back.time + front.time
    needed = busy(seq("all", back, front))
    least = max(back.time, front.time, *(needed.get(r, 0.0) for r in SHARED))
    assert hidden_behind(back, front, 0.0).time == pytest.approx(both, rel=1e-12)
    assert hidden_behind(back, front).time == pytest.approx(least, rel=1e-12)
    partly = hidden_behind(back, front, window).time
    assert least * (1 - 1e-12) <= partly <= both * (1 + 1e-12)


@laws
@given(st.lists(recipes, min_size=1, max_size=4), counts)
def test_composites_add_take_the_longest_and_repeat(parts: list[Recipe], count: int) -> None:
    spans = [build(r) for r in parts]
    assert seq("s", *spans).time == pytest.approx(sum(s.time for s in spans), rel=1e-12)
    assert par("p", *spans).time == max(s.time for s in spans)
    assert times(count, spans[0]).time == pytest.approx(seq("s", *[spans[0]] * count).time, rel=1e-12)


@laws
@given(recipes, recipes, counts)
def test_a_pipeline_fills_once_and_then_goes_at_its_slowest_stage(first: Recipe, last: Recipe, items: int) -> None:
    a, b = build(first), build(last)
    slowest = max(a, b, key=lambda s: s.time)
    fill = seq("fill", a, b)
    whole = pipeline("p", fill, slowest, items)
    assert whole.time == pytest.approx(fill.time + (items - 1) * slowest.time, rel=1e-12)
    assert whole.time <= times(items, fill).time * (1 + 1e-12)


@laws
@given(recipes, counts)
def test_work_counts_every_run_of_an_operation_once(recipe: Recipe, items: int) -> None:
    tree = build(recipe)
    runs = sum(count for _, count in leaves(tree))
    assert sum(flops for flops, _ in work(tree).values()) == pytest.approx(2.0 * runs)
    assert sum(nbytes for _, nbytes in work(tree).values()) == pytest.approx(3.0 * runs)
    staged = pipeline("p", tree, tree, items)
    assert sum(flops for flops, _ in work(staged).values()) == pytest.approx(2.0 * runs * items)


@pytest.mark.parametrize("norm", NORMS)
def test_an_operation_combines_its_resources_by_its_norm(norm: float) -> None:
    time = op("x", {"compute": 3.0, "hbm": 4.0}, norm).time
    expected = {1: 7.0, 2: 5.0, 3.5: (3**3.5 + 4**3.5) ** (1 / 3.5), inf: 4.0}[norm]
    assert time == pytest.approx(expected, rel=1e-12)


def test_a_tie_is_charged_once() -> None:
    tied = op("x", {"compute": 2.0, "hbm": 2.0})
    assert attribute(par("p", tied, tied)) == {("x", "compute"): 2.0, ("x", "hbm"): 0.0}


def test_an_operation_without_work_costs_nothing_and_charges_nothing() -> None:
    for norm in NORMS:
        nothing = op("x", {"hbm": np.zeros(2), "link": np.zeros(2)}, norm)
        assert np.all(nothing.time == 0)
        assert np.all(sum(attribute(nothing).values()) == 0)
    assert op("x", {}).time == 0
    assert attribute(seq("empty")) == {}
