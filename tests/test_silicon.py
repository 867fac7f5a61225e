"""Silicon: laws of yield, area and cost; the chips it is calibrated and checked on; what cannot be built."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

import dse
from dse.catalogue import hardware
from dse.catalogue.hardware import load_chip
from dse.catalogue.processes import load_packaging, load_process, process_facts, process_names, process_of
from dse.catalogue.silicon_checks import silicon_checks
from dse.cli.main import run
from dse.equations import energy, fabrication, silicon
from dse.errors import InputError
from dse.model.moved import moved
from dse.model.power import flop_joules, load_powers
from dse.model.silicon import Silicon, areas, bill, blocks, cost, die_area, edges, excesses, redesigned, yields
from dse.model.spans import leaves

AREA = st.floats(1.0, 858.0)
DEFECTS = st.floats(1e-4, 5e-3)
ALPHA = st.floats(0.5, 100.0)
SHARE = st.floats(0.0, 1.0)
WITH_SILICON = [name for name in hardware.chip_names() if load_chip(name).silicon is not None]
MINE = """
kind = "accelerator"
name = "my_chip"
title = "A chip of my own"
vendor = "me"

[design]
process = { value = "n5", source = "mine" }
cores = { value = 132, source = "mine" }
physical_cores = { value = 144, source = "mine" }
clock = { value = "1.83 GHz", source = "mine" }
matrix_flop_per_clock = { value = 4096, source = "mine" }
cache = { value = "50 MiB", source = "mine" }
memory = { value = "hbm3", source = "mine" }
stacks = { value = 5, source = "mine" }
link = { value = "450 GB/s", source = "mine" }
rates = { fp8 = { value = 2, source = "mine" } }

[sources]
mine = { kind = "assumed", ref = "an idea" }
"""


def of(name: str) -> Silicon:
    """The silicon of a catalogued chip."""
    made = load_chip(name).silicon
    assert made is not None
    return made


# --- laws


@given(AREA, DEFECTS, ALPHA, SHARE, st.floats(0, 2))
def test_yields_are_shares_and_fall_with_area_and_defects(area: float, defects: float, alpha: float, share: float,
                                                          tolerated: float) -> None:
    def every(a: float, d: float) -> list[float]:
        plain = fabrication.clustered_yield(a, d, alpha)
        return [plain, fabrication.poisson_yield(a, d), fabrication.murphy_yield(a, d),
                fabrication.harvested_yield(plain, a, share * a, d, alpha, tolerated)]

    here = every(area, defects)
    assert all(0 < y <= 1 + 1e-12 for y in here)
    for worse in (every(1.1 * area, defects), every(area, 1.1 * defects)):
        assert all(w <= y * (1 + 1e-12) for w, y in zip(worse, here, strict=True))
    assert here[3] >= here[0] * (1 - 1e-12)                   # harvesting never loses a die
    assert here[3] <= fabrication.clustered_yield((1 - share) * area, defects, alpha) * (1 + 1e-12)


def test_clustering_runs_from_seeds_to_poisson() -> None:
    x = 8.14 * 0.1
    assert fabrication.clustered_yield(814, 1e-3, 1) == pytest.approx(1 / (1 + x))
    assert fabrication.clustered_yield(814, 1e-3, 1e9) == pytest.approx(math.exp(-x), rel=1e-6)
    assert fabrication.poisson_yield(814, 1e-3) == pytest.approx(math.exp(-x))
    order = [fabrication.clustered_yield(814, 1e-3, alpha) for alpha in (1, 3, 10, 100)]
    assert order == sorted(order, reverse=True)
    assert fabrication.murphy_yield(814, 9e-4) == pytest.approx(0.50, abs=0.01)      # tables of the trade
    assert fabrication.clustered_yield(814, 9e-4, 3) == pytest.approx(0.52, abs=0.01)


def test_harvesting_equals_the_sum_over_a_gamma_mixture() -> None:
    """Defects are Poisson under a density that is gamma distributed; at most two of them, all in the redundant part."""
    alpha, area, redundant, defects = 3.0, 800.0, 640.0, 1e-3
    draws = np.random.default_rng(1).gamma(alpha, defects / alpha, 400_000)
    inside = draws * redundant
    for tolerated, terms in ((0, 1), (1, 1 + inside), (2, 1 + inside + inside**2 / 2)):
        expected = np.mean(np.exp(-draws * area) * terms)
        plain = fabrication.clustered_yield(area, defects, alpha)
        got = fabrication.harvested_yield(plain, area, redundant, defects, alpha, tolerated)
        assert got == pytest.approx(expected, rel=5e-3)


def test_dies_per_wafer_are_those_of_a_count() -> None:
    """Dies on a grid that lie wholly within the usable circle, at the best of some offsets."""
    for area in (100.0, 400.0, 814.0):
        pitch, radius = math.sqrt(area) + 0.2, 145.0
        steps = np.arange(-16, 17)
        best = 0
        for dx in np.linspace(0, 1, 8):
            for dy in np.linspace(0, 1, 8):
                x, y = (steps + dx) * pitch, (steps + dy) * pitch
                far = np.maximum(abs(x), abs(x + pitch))[:, None] ** 2 + np.maximum(abs(y), abs(y + pitch)) ** 2
                best = max(best, int((far <= radius**2).sum()))
        assert fabrication.dies_per_wafer(area, 300, 0.2, 5) == pytest.approx(best, rel=0.08)
    assert fabrication.dies_per_wafer(814.0, 300, 0, 0) == pytest.approx(63.5, abs=0.1)


def test_scalar_array_and_symbols_agree_on_a_whole_die() -> None:
    def price(area: Any) -> Any:
        plain = fabrication.clustered_yield(area, 1e-3, 10)
        good = fabrication.harvested_yield(plain, area, 0.8 * area, 1e-3, 10, 2)
        return fabrication.die_cost(16988, fabrication.dies_per_wafer(area, 300, 0.2, 5), good, 0.05)

    sizes = np.linspace(50, 850, 9)
    a = sympy.Symbol("a", positive=True)
    traced = sympy.lambdify(a, price(a), modules="numpy")
    assert price(sizes) == pytest.approx([float(price(float(s))) for s in sizes], rel=1e-12)
    assert price(sizes) == pytest.approx([float(traced(s)) for s in sizes], rel=1e-9)
    assert np.all(np.diff(price(sizes) / sizes) > 0)          # large dies cost more for each mm2
    assert np.all(np.diff(price(sizes)) > 0)


@pytest.mark.parametrize("name", ["h100_sxm", "mi300x", "ascend_910b"])
def test_area_adds_up_and_grows_with_every_block(name: str) -> None:
    s = of(name)
    whole = blocks(s)
    assert sum(areas(replace(s, die_mm2=None))) == pytest.approx(sum(whole.values()))
    assert die_area(s) == pytest.approx(load_chip(name).die_mm2)
    for field, block in (("cores", "cores"), ("cache_bytes", "cache"), ("stacks", "memory interfaces"),
                         ("link_bandwidth", "links"), ("registers", "cores"), ("matrix", "cores")):
        larger = redesigned(s, {field: getattr(s.design, field) * 1.5})
        more = blocks(larger)
        assert more[block] > whole[block]
        assert all(more[other] >= whole[other] * (1 - 1e-12) for other in whole if other not in (block, "bare"))
        assert bill(larger) > bill(s)
        assert die_area(larger) > die_area(s)


@pytest.mark.parametrize("name", WITH_SILICON)
def test_a_design_of_arrays_equals_one_at_a_time(name: str) -> None:
    s = of(name)
    d, scale = s.design, np.array([0.5, 0.9, 1.0])

    def at(by: Any) -> Silicon:
        return redesigned(s, {"cores": d.cores * by, "cache_bytes": d.cache_bytes * by, "stacks": d.stacks * by,
                              "link_bandwidth": d.link_bandwidth * by})

    many = at(scale)
    for index, by in enumerate(scale):
        one = at(float(by))
        for function in (bill, die_area):
            assert function(many)[index] == pytest.approx(float(function(one)), rel=1e-12)
        for key, value in excesses(one).items():
            assert excesses(many)[key][index] == pytest.approx(float(value), rel=1e-9)
    assert all(0 < float(y) <= 1 for y in yields(s))
    assert all(float(value) <= 0 for value in excesses(replace(s, base=d)).values())      # what exists can be built


# --- chips that exist


def test_the_die_photo_is_met_block_by_block() -> None:
    got = blocks(of("a100_80g_sxm"))
    photo = {"cores": 476.25, "interconnect": 76.44, "cache": 119.31, "memory interfaces": 58 + 31.77,
             "misc": 43.28}
    assert {name: got[name] for name in photo} == pytest.approx(photo, rel=2e-3)
    assert got["links"] + got["host link"] == pytest.approx(20.95, rel=1e-3)
    assert sum(got.values()) == pytest.approx(826, rel=1e-3)


@pytest.mark.parametrize(("name", "real", "tolerance"), [
    ("h100_sxm", 814, 0.12), ("ascend_910b", 552.7, 0.2), ("mi210", 724, 0.2), ("mi300x", 2359, 0.25),
])
def test_areas_of_chips_that_calibrated_nothing(name: str, real: float, tolerance: float) -> None:
    assert sum(blocks(of(name)).values()) == pytest.approx(real, rel=tolerance)


@pytest.mark.parametrize(("name", "low", "high"), [
    ("h100_sxm", 0.8 * 3320, 1.2 * 3320), ("mi300x", 0.8 * 5300, 1.2 * 5300), ("b200_sxm", 5700, 7300),
])
def test_bills_of_materials_are_within_the_published_range(name: str, low: float, high: float) -> None:
    parts = cost(of(name))
    assert low <= sum(parts.values()) <= high
    assert max(parts, key=lambda part: parts[part]) == "memory"


def test_good_silicon_costs_what_analysts_say() -> None:
    h100 = of("h100_sxm")
    assert 0.75 < yields(h100)[0] < 0.9
    assert 300 < cost(h100)["logic"] < 496
    assert 194 < cost(of("a100_80g_sxm"))["logic"] < 262
    per_mm2 = cost(h100)["logic"] / 814
    assert 0.4 < per_mm2 < 0.55


@pytest.mark.parametrize("name", ["a100_80g_sxm", "h100_sxm", "b200_sxm", "mi300x"])
def test_no_full_load_is_above_the_thermal_design_power(name: str) -> None:
    rows = [row for row in silicon_checks() if row.item.endswith(f"/{name}") and row.check.startswith("power")]
    assert len(rows) == 2
    assert all(row.agrees for row in rows)
    chip = load_chip(name)
    assert all(watts > 0.2 * chip.tdp_w for watts in load_powers(of(name), chip.tdp_w).values())
    assert flop_joules(of(name), "bf16") > flop_joules(of(name), "fp8")


def test_the_check_prints_derived_against_real(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("catalogue", "check", "hardware")) == 5             # four disagreements that are not of silicon
    out = " ".join(capsys.readouterr().out.split())
    assert "h100_sxm: die area: derived 778 mm2, -4.4 %, expected 814 mm2 within 12 %" in out
    assert "mi300x: bill of materials: derived" in out
    assert "4 disagree" in out
    assert not [row for row in silicon_checks() if not row.agrees]


def test_processes_load_and_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"n7", "n6", "n5", "n3", "smic_n2"} <= set(process_names())
    for name in process_names():
        assert load_process(name).wafer > 1000
        assert all(fact.low <= fact.value <= fact.high for fact in process_facts(name).values())
    assert [process_of(node) for node in ("TSMC 4N", "TSMC N7", "abacus")] == ["n5", "n7", None]
    assert load_packaging().limits["reticle_mm2"] == 858
    assert run(("catalogue", "list", "hardware")) == 0
    assert "process (5)" in capsys.readouterr().out
    assert run(("catalogue", "show", "n5", "--json")) == 0
    item = json.loads(capsys.readouterr().out)["items"][0]
    assert item["kind"] == "process"
    assert "wafer.price" in {figure["key"] for figure in item["figures"]}


# --- moved designs


def test_a_moved_design_moves_price_power_and_area_and_the_same_design_none() -> None:
    chip = load_chip("h100_sxm")
    same = moved(chip, {"l2": chip.cache_bytes, "hbm": chip.memory_stacks})
    assert (same.price_usd, same.tdp_w, same.die_mm2) == pytest.approx(
        (chip.price_usd, chip.tdp_w, chip.die_mm2), rel=1e-12)
    for values, fields in (({"l2": 2 * chip.cache_bytes}, ("price_usd", "die_mm2")),
                           ({"hbm": 6.0}, ("price_usd", "die_mm2", "tdp_w", "memory_bytes", "memory_bandwidth")),
                           ({"link": 9e11}, ("price_usd", "die_mm2", "tdp_w")),
                           ({"cores": 140.0}, ("price_usd", "die_mm2", "tdp_w", "cores", "cache_bandwidth"))):
        more = moved(chip, values)
        assert all(getattr(more, field) > getattr(chip, field) for field in fields), values
    twice = moved(moved(chip, {"l2": 60e6}), {"cores": 120.0})
    once = moved(chip, {"l2": 60e6, "cores": 120.0})
    assert (twice.price_usd, twice.tdp_w) == pytest.approx((once.price_usd, once.tdp_w), rel=1e-12)


def test_a_slab_is_cheaper_than_a_banked_cache_of_its_size() -> None:
    chip = load_chip("ascend_910b")
    slab = of("ascend_910b")
    banked = replace(slab, design=replace(slab.design, cache_style="banked"), die_mm2=None)
    assert blocks(banked)["cache"] > 3 * blocks(slab)["cache"]
    dearer = moved(chip, {"l2": 2 * chip.cache_bytes}).price_usd / chip.price_usd
    assert 1 < dearer < 1.2


# --- energy


def test_energy_of_a_token_is_rest_and_work_and_never_above_the_tdp() -> None:
    model, system = dse.load_model("llama-3.1-8b"), dse.load_system("h100_sxm")
    chip, pue = system.chip, system.economics.pue
    for users in (1, 16, 256):
        e = dse.evaluate(model, system, dse.Plan(), dse.Traffic(512, 128, concurrency=users))
        m: Mapping[str, Any] = e.metrics
        watts = m["joule_per_token"] * m["output_tok_s"] / pue
        assert 0.2 * chip.tdp_w < watts <= chip.tdp_w * (1 + 1e-12)
        assert m["output_tok_s_per_watt"] == pytest.approx(m["output_tok_s"] / chip.tdp_w)
        assert m["output_tok_s_per_mm2"] == pytest.approx(m["output_tok_s"] / 814)
    step, each = 0.0, flop_joules(of("h100_sxm"), "bf16")
    for leaf, count in leaves(e.spans["decode"]):
        step += float(count * leaf.flops) * each
    assert step > 0


def test_joules_follow_the_format_and_need_silicon() -> None:
    model, traffic = dse.load_model("llama-3.1-8b"), dse.Traffic(512, 128, batch=64)
    wide, narrow = (dse.evaluate(model, dse.load_system("h100_sxm"), dse.Plan(weights=w), traffic).metrics
                    for w in ("bf16", "fp8"))
    assert narrow["joule_per_token"] < wide["joule_per_token"]
    system = dse.load_system("l40s")                   # no silicon: TDP x average draw x PUE x time
    m: Mapping[str, Any] = dse.evaluate(model, system, dse.Plan(), traffic).metrics
    assert m["joule_per_token"] == pytest.approx(350 * 0.75 * 1.2 / m["output_tok_s"])
    assert energy.drawn_power(700, 0.2, 1000) == 700


# --- files of a user's own


@pytest.fixture
def mine(tmp_path: Path) -> Any:
    def write(*changes: tuple[str, str], text: str = MINE) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "my.toml"
        path.write_text(text)
        return path

    return write


def evaluated(path: Path) -> int:
    return run(("evaluate", "llama-3.1-8b", "--hardware", str(path), "--concurrency", "8", "--input-tokens", "256",
                "--output-tokens", "64", "--json"))


def test_a_chip_described_by_its_silicon_is_evaluated(mine: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = mine()
    chip = load_chip(path)
    assert chip.peak["fp8"] == 2 * chip.peak["bf16"] == pytest.approx(2 * 132 * 1.83e9 * 4096)
    assert 700 < chip.die_mm2 < 858
    assert 8_000 < chip.price_usd < 30_000
    assert 300 < chip.tdp_w < 900
    assert evaluated(path) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["feasible"]
    assert document["metrics"]["usd_per_mtok"] > 0
    assert document["metrics"]["output_tok_s_per_mm2"] > 0
    stated = load_chip(mine(("[sources]", '[price]\ndevice = { value = "1000 USD", source = "mine" }\n[sources]')))
    assert stated.price_usd == 1000


@pytest.mark.parametrize(("old", "new", "key", "words"), [
    ("value = 132", "value = 400", "design.cores", "expected at most the reticle's 858"),
    ('"50 MiB"', '"900 MiB"', "design.cache", "expected at most the reticle's 858"),
    ("stacks = { value = 5", "stacks = { value = 12", "design.stacks", "mm of edge, expected at most"),
    ("value = 132", "value = 0", "design.cores", "expected more than 0"),
    ('"n5"', '"n4x"', "design.process", "is no process of the catalogue"),
    ('"hbm3"', '"gddr6"', "design.memory", "expected hbm2e, hbm3"),
    ("clock =", "klock =", "design.klock", "did you mean"),
    ('link = { value = "450 GB/s", source = "mine" }\n', "", "design.link", "missing"),
    ('"450 GB/s"', '"450 GB"', "link", "expected a quantity in B/s"),
    ("fp8 = {", "fp9 = {", "design.rates.fp9", "is no rate"),
])
def test_what_cannot_be_built_is_refused_in_one_line(mine: Any, old: str, new: str, key: str, words: str,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    path = mine((old, new))
    with pytest.raises(InputError) as caught:
        load_chip(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert key in text
    assert words in text
    assert evaluated(path) == 2
    assert words in json.loads(capsys.readouterr().out)["error"]["message"] + text


def test_a_variant_of_a_known_chip_moves_its_figures(mine: Any) -> None:
    text = ('base = "h100_sxm"\nname = "more"\n[design]\nstacks = { value = 6, source = "mine" }\n'
            '[sources]\nmine = { kind = "assumed", ref = "an idea" }\n')
    base, more = load_chip("h100_sxm"), load_chip(mine(text=text))
    assert more.memory_bytes == pytest.approx(1.2 * base.memory_bytes)
    assert more.price_usd > base.price_usd
    assert more.facts["memory.capacity"].value == pytest.approx(96e9)
    assert dse.load_system(mine(text=text)).chip.tdp_w > base.tdp_w
    with pytest.raises(InputError, match=r"design\.stacks: each die would be"):
        load_chip(mine(("value = 6", "value = 9"), text=text))
    with pytest.raises(InputError, match=r"design\.cache: each die would be"):
        load_chip(mine(("stacks = { value = 6", 'cache = { value = "400 MiB"'), text=text))
    with pytest.raises(InputError, match="lacks stacks of HBM"):
        load_chip(mine(("h100_sxm", "l40s"), text=text))


def test_interfaces_need_edge_and_a_larger_die_has_more() -> None:
    assert silicon.outline(400.0) == 80
    assert silicon.shoreline(6, 10, 27, 1.35) == pytest.approx(80)
    s = of("h100_sxm")
    need, there = edges(s)
    assert need < there < silicon.outline(858)
