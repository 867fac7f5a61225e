"""The laws that every registered equation obeys, and numbers that a textbook or a head count gives."""

from __future__ import annotations

import ast
import importlib
import inspect
import math
import pkgutil
import textwrap
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
import sympy
from dimensions import DimensionError, Quantity, dimensions

import dse.equations
from dse.equations import attention, caches, collectives, cost, experts, gemm, num, overlap, roofline
from dse.equations.registry import REGISTRY, Equation

for _module in pkgutil.iter_modules(dse.equations.__path__):
    importlib.import_module(f"dse.equations.{_module.name}")

SAMPLES = 40
RANGES = {
    "B": (1e3, 1e11), "B/s": (1e9, 1e13), "FLOP": (1e6, 1e15), "FLOP/s": (1e12, 1e16), "s": (1e-6, 1e1),
    "Hz": (1e9, 2.5e9), "1/s": (1e-2, 1e2), "W": (1e2, 2e3), "USD": (1e2, 1e5), "USD/h": (1e-1, 1e2), "USD/W": (1, 20),
    "USD/W/h": (1e-2, 1), "mm": (0.2, 300), "mm2": (1e-2, 8e2), "mm2/B": (1e-7, 1e-5), "1/mm2": (5e-4, 4e-3),
    "USD/mm2": (0.1, 1), "J": (1e-14, 1e-11), "J/B": (1e-13, 1e-10), "J/B/mm": (1e-13, 1e-12),
}
SHARES = {"efficiency", "exp_share", "share", "network_share", "draw", "coupling", "recovery", "opex_share", "interest",
          "exponent", "cap", "tail", "scale", "bond_yield", "test_share", "yielded", "plain", "static_share"}
SMALL = {"dims": 3, "years": 30, "topk": 8, "page": 64, "p": 8, "exp_rate": 64, "arrival_cv2": 4, "service_cv2": 4,
         "pieces": 16, "tolerated": 2}
LARGE = {"queries": 2048, "experts": 512, "keys": 2**17, "pairs": 2**30}
CONVERSIONS = {
    "capital_rate": ("1/h", "divides by the hours of a year"),
    "building_rate": ("1/h", "divides by the hours of a year"),
    "usd_per_million_tokens": ("h/s", "an hour has 3600 seconds"),
}
"""Equations with a unit conversion inside: the unit that the constant stands for."""
FITTED = {"power_limited_efficiency": "a power law in W per TFLOP/s whose scale carries the rest of the unit"}
DEMAND = {"queue_wait": "rate", "places_wait": "rate"}
"""Rates at which work comes rather than is done: more of them never shortens a wait."""
FREE_OF_SECONDS = [e for e in REGISTRY.values() if e.name not in {*FITTED, *CONVERSIONS}]
"""Equations without a constant that carries seconds."""
COUNTS = {name for e in REGISTRY.values() for name, unit in e.units.items() if not unit} - SHARES
FORBIDDEN = (ast.If, ast.IfExp, ast.Compare, ast.BoolOp, ast.Match, ast.While, ast.For, ast.Try, ast.Assert)


def over(equations: Iterable[Equation]) -> pytest.MarkDecorator:
    """The test runs once for each of the equations, named after it."""
    chosen = list(equations)
    return pytest.mark.parametrize("e", chosen, ids=[e.name for e in chosen])


ALL = over(REGISTRY.values())


def sample(e: Equation, size: int = SAMPLES) -> dict[str, np.ndarray]:
    """Random arguments, the same for a name every time: log-uniform with a unit, whole counts, shares below 1."""
    rng = np.random.default_rng(zlib.crc32(e.name.encode()))
    return {name: _draw(rng, name, unit, size) for name, unit in e.units.items()}


def _draw(rng: np.random.Generator, name: str, unit: str, size: int) -> np.ndarray:
    if unit:
        return np.exp(rng.uniform(*np.log(RANGES[unit]), size))
    if name in SHARES:
        return rng.uniform(0.05, 0.95, size)
    low = LARGE.get(name, 1) // 4
    return rng.integers(max(low, 1), SMALL.get(name, LARGE.get(name, 256)) + 1, size).astype(float)


def rows(arguments: dict[str, np.ndarray]) -> Iterator[dict[str, float]]:
    """One scalar call after the other."""
    for values in zip(*arguments.values(), strict=True):
        yield dict(zip(arguments, map(float, values), strict=True))


def second_power(unit: str) -> float:
    """Exponent of the second in a unit."""
    return float(dimensions(unit).get("s", 0))


@over(e for e in REGISTRY.values() if e.name not in FITTED)
def test_units_come_out_as_registered(e: Equation) -> None:
    arguments = next(rows(sample(e)))
    got = e.function(**{n: Quantity(v, e.units[n]) for n, v in arguments.items()})
    factor, _ = CONVERSIONS.get(e.name, ("", ""))
    assert (got * Quantity(1, factor)).dims == dimensions(e.result)
    assert got.value == pytest.approx(float(e.function(**arguments)), rel=1e-12)


@pytest.mark.parametrize(("first", "second"), [("s", "B"), ("", "s"), ("1/s", "s"), ("h", "s")])
def test_unlike_things_cannot_be_added(first: str, second: str) -> None:
    for combine in (np.add, np.maximum, np.subtract):
        with pytest.raises(DimensionError):
            combine(Quantity(1, first), Quantity(1, second))
    with pytest.raises(DimensionError):
        roofline.roofline(Quantity(1, "B"), Quantity(1, "B"), Quantity(1, "FLOP/s"), Quantity(1, "B/s"))


@ALL
def test_array_equals_a_loop_of_scalars(e: Equation) -> None:
    arguments = sample(e)
    together = e.function(**arguments)
    assert together == pytest.approx([float(e.function(**row)) for row in rows(arguments)], rel=1e-12)


@ALL
def test_axes_of_an_open_grid_broadcast(e: Equation) -> None:
    count = len(e.units)
    short = sample(e, 2)
    axes = {n: v.reshape([2 if i == j else 1 for j in range(count)]) for i, (n, v) in enumerate(short.items())}
    grid = np.broadcast_to(e.function(**axes), (2,) * count)
    corner = {n: float(v[-1]) for n, v in short.items()}
    assert grid[(-1,) * count] == pytest.approx(float(e.function(**corner)), rel=1e-12)


@ALL
def test_symbolic_trace_gives_the_same_numbers(e: Equation) -> None:
    symbols = {n: sympy.Symbol(n, positive=True) for n in e.units}
    traced = sympy.lambdify(list(symbols.values()), e.function(**symbols), modules="numpy")
    arguments = sample(e)
    got = [float(traced(*row.values())) for row in rows(arguments)]
    assert got == pytest.approx([float(e.function(**row)) for row in rows(arguments)], rel=1e-11)


@over(FREE_OF_SECONDS)
def test_rates_times_c_and_times_over_c_scale_the_result(e: Equation) -> None:
    arguments, c = sample(e), 3.7
    powers = {n: second_power(u) for n, u in e.units.items()}
    scaled = {n: v * c ** -powers[n] for n, v in arguments.items()}
    expected = np.asarray(e.function(**arguments)) * c ** -second_power(e.result)
    assert e.function(**scaled) == pytest.approx(expected, rel=1e-9)


@over(e for e in REGISTRY.values() if e.result == "s")
def test_more_of_a_rate_never_takes_longer(e: Equation) -> None:
    arguments = sample(e, 400)
    before = np.asarray(e.function(**arguments))
    for name, unit in e.units.items():
        if second_power(unit) < 0 or name == "exp_rate":
            after = np.asarray(e.function(**{**arguments, name: arguments[name] * 1.3}))
            longer = after - before if DEMAND.get(e.name) != name else before - after
            assert np.all(longer <= 1e-12 * np.abs(before)), name


@ALL
def test_finite_at_one_of_everything_countable(e: Equation) -> None:
    typical = next(rows(sample(e)))
    ones = {n: 1.0 if n in COUNTS else v for n, v in typical.items()}
    assert np.isfinite(e.function(**ones))
    for name in set(typical) & COUNTS - {"topk"}:
        assert np.isfinite(e.function(**{**typical, name: 1.0})), name


@ALL
def test_written_as_documented_algebra_without_branches(e: Equation) -> None:
    assert e.source.strip()
    assert len(e.meaning.split()) > 2
    tree = ast.parse(textwrap.dedent(inspect.getsource(e.function)))
    body = tree.body[0].body  # type: ignore[attr-defined]
    nodes = [node for statement in body for node in ast.walk(statement)]
    assert not [ast.dump(n) for n in nodes if isinstance(n, FORBIDDEN)]
    called = {ast.unparse(n.func) for n in nodes if isinstance(n, ast.Call)}
    assert called <= {n for n, f in vars(num).items() if inspect.isfunction(f) and not n.startswith("_")}


def test_a_second_equation_of_the_same_name_is_noticed() -> None:
    defined = [node.name for module in pkgutil.iter_modules(dse.equations.__path__)
               for node in ast.parse(inspect.getsource(importlib.import_module(f"dse.equations.{module.name}"))).body
               if isinstance(node, ast.FunctionDef) and module.name not in ("num", "registry")]
    assert sorted(defined) == sorted(REGISTRY)


def test_roofline_bends_at_the_ridge_point() -> None:
    peak, bandwidth = 989e12, 3.35e12
    ridge = roofline.ridge_point(peak, bandwidth)
    assert ridge == pytest.approx(295.2, rel=1e-3)
    assert roofline.roofline(ridge * 1e9, 1e9, peak, bandwidth) == pytest.approx(1e9 / bandwidth)
    assert roofline.roofline(2 * ridge * 1e9, 1e9, peak, bandwidth) == pytest.approx(2e9 / bandwidth)
    assert roofline.roofline(0.5 * ridge * 1e9, 1e9, peak, bandwidth) == pytest.approx(1e9 / bandwidth)


def test_soft_maximum_lies_between_the_maximum_and_the_sum() -> None:
    assert roofline.soft_maximum(3.0, 4.0, 1) == pytest.approx(7)
    assert roofline.soft_maximum(3.0, 4.0, 2) == pytest.approx(5)
    assert roofline.soft_maximum(3.0, 4.0, 200) == pytest.approx(4)


@pytest.mark.parametrize(("function", "expected"), [
    (collectives.ring_all_reduce_wire, 1.75), (collectives.gather_wire, 0.875), (collectives.one_shot_wire, 7),
    (collectives.in_switch_wire, 1.125),
])
def test_wire_bytes_of_eight_ranks(function: Any, expected: float) -> None:
    assert function(8, 1.0) == pytest.approx(expected)


def test_steps_of_eight_and_of_five_ranks() -> None:
    assert [collectives.ring_all_reduce_steps(n) for n in (8, 5)] == [14, 8]
    assert [collectives.tree_all_reduce_steps(n) for n in (8, 5)] == [6, 6]
    assert collectives.torus_steps(64, 3) == pytest.approx(9)
    assert collectives.torus_distance(64, 3) == pytest.approx(3)


def test_experts_touched_from_one_token_to_many() -> None:
    assert [experts.experts_touched(8, 2, n) for n in (1, 2)] == pytest.approx([2, 3.5])
    assert experts.experts_touched(256, 8, 10_000) == pytest.approx(256)


@pytest.mark.parametrize("queries", [1, 3, 8, 20])
@pytest.mark.parametrize("past", [0, 1, 7, 30])
@pytest.mark.parametrize("window", [1, 4, 9, 64])
def test_attention_pairs_equal_a_count(queries: int, past: int, window: int) -> None:
    keys = past + queries
    positions = range(past + 1, keys + 1)
    assert attention.causal_pairs(queries, keys) == sum(positions)
    assert attention.windowed_pairs(queries, keys, window) == sum(min(p, window) for p in positions)
    in_chunk = [(p - 1) % window + 1 for p in range(1, keys + 1)]
    assert attention.chunked_prefix_pairs(keys, window) == sum(in_chunk)


@pytest.mark.parametrize("window", [4, 64])
def test_chunked_keys_are_all_of_the_first_chunk_then_within_one(window: int) -> None:
    assert [attention.chunked_keys(keys, window) for keys in range(1, window + 1)] == list(range(1, window + 1))
    later = [attention.chunked_keys(keys, window) for keys in range(window + 1, 5 * window)]
    assert window / 2 <= min(later) <= max(later) <= window


def test_capital_recovery_is_the_annuity_of_the_tables() -> None:
    assert cost.capital_recovery(0.08, 5) == pytest.approx(0.25046, abs=5e-6)
    assert cost.capital_recovery(0.05, 10) == pytest.approx(0.12950, abs=5e-6)
    assert cost.usd_per_million_tokens(3.6, 1000.0) == pytest.approx(1.0)



def test_gemm_law_has_no_tail_on_one_wave_and_reaches_the_peak_on_many() -> None:
    cores, clock, edge = 132.0, 1.83e9, gemm.EDGE
    peak = 4096.0 * cores * clock
    many = gemm.tile_time(100.0, 4096, 1, peak, clock, cores, 1.0, 0.0, 0.0, 0.0)
    assert many == pytest.approx(gemm.gemm_flops(edge * 100 * cores, edge, 4096) / peak)
    one = [gemm.tile_time(1.0, 4096, 1, peak, clock, cores, 1.0, tail, 0.0, 50.0) for tail in (0.0, 0.5)]
    assert one[0] == one[1]


def test_a_cache_keeps_half_of_what_just_fills_it_and_none_of_much_more() -> None:
    assert caches.resident(1e6, 1e6) == pytest.approx(0.5)
    assert caches.resident(1e7, 1e6) < 1e-3
    assert caches.resident(1e5, 1e6) > 0.999
    assert caches.gemm_traffic_bound(64, 64, 64, 2.0, 2.0) == pytest.approx(2 * 64**3 * 2)


def test_pipelines_and_hiding_obey_their_bounds() -> None:
    assert overlap.pipelined(4.0, 1.0, 1) == 4
    assert overlap.pipelined(4.0, 1.0, 5) == 8
    assert overlap.hidden(3.0, 2.0, math.inf) == 2
    assert overlap.slowest_stage_share(61, 4) == pytest.approx(16 * 4 / 61)
    assert overlap.slowest_stage_share(64, 4) == 1
