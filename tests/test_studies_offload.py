"""Weights on flash and experts behind the host link: laws, neutral knobs, and the answers that the studies give."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dse.equations.experts import experts_touched
from dse.equations.offloading import fresh_share, local_hit, missed_time, read_time, united_share
from dse.model.evaluate import Evaluation
from dse.studies.drawings import Drawn, drawn
from dse.studies.files import load_study
from dse.studies.quantities import quantity
from dse.studies.reproduce import reproduce
from dse.studies.run import Bench, Side
from dse.studies.searches import find_search

FLASH, EXPERTS = "llm_in_a_flash", "expert_offloading"
NEUTRAL = {FLASH: {"active": 1.0}, EXPERTS: {"held": 1.0}}


def figure(name: str, number: int) -> Drawn:
    return drawn(load_study(name))[number]


def evaluated(name: str, plain: bool = False, **values: float) -> Evaluation:
    """The study's configuration with its technique or none, unknowns at the middle of their range."""
    study = load_study(name)
    full = {**{k: knob.default for k, knob in study.technique.knobs.items()},
            **{k: u.middle() for k, u in study.unknown.items()}, "start": 0.0, **values}
    technique = replace(study.technique, fields={}) if plain else study.technique
    return Bench(study).evaluation(Side(technique, study.published, ""), full)


@pytest.mark.parametrize("name", NEUTRAL)
def test_the_neutral_knob_is_the_baseline(name: str) -> None:
    own, none = (evaluated(name, plain, **NEUTRAL[name]).metrics["decode_step_s"] for plain in (False, True))
    assert own == pytest.approx(none, rel=1e-12)


@pytest.mark.parametrize("window", [1.0, 2.0, 5.0, 16.0])
def test_what_is_fresh_is_what_the_union_grows_by(window: float) -> None:
    grown = united_share(0.1, window + 1, 0.5) - united_share(0.1, window, 0.5)
    assert fresh_share(0.1, window, 0.5) == pytest.approx(grown, rel=1e-12)


def test_a_window_never_reads_more_and_none_reads_all_that_is_touched() -> None:
    windows = np.arange(0.0, 64.0)
    fresh = fresh_share(0.1, windows, 0.5)
    assert fresh[0] == pytest.approx(0.1)
    assert np.all(np.diff(fresh) < 0)
    assert united_share(0.1, 200.0, 0.5) == 1
    assert fresh_share(0.1, 200.0, 0.5) == 0
    assert fresh_share(0.1, 5.0, 0.0) == 0          # the same rows every time


def test_the_published_window_from_the_published_memory() -> None:
    growth = np.log2(0.24 / 0.105) / np.log2(5)
    assert growth == pytest.approx(load_study(FLASH).technique.knobs["growth"].default, rel=1e-4)
    assert fresh_share(0.105, 5.0, growth) == pytest.approx(0.024, rel=0.03)


@pytest.mark.parametrize(("nbytes", "rate", "seconds"), [
    (13.4e9, 6.1e9, 2.196), (6.7e9, 6.1e9, 1.090), (0.9e9, 1.25e9, 0.738), (0.2e9, 1.25e9, 0.164),
    (0.2e9, 2.25e9, 0.087)])
def test_every_row_of_the_table_is_volume_over_rate(nbytes: float, rate: float, seconds: float) -> None:
    assert read_time(nbytes, rate) == pytest.approx(seconds, rel=0.03)


def test_locality_is_between_uniform_use_and_certainty() -> None:
    shares = np.linspace(0, 1, 21)
    for half in (0.05, 0.3, 2.0):
        hit = local_hit(shares, half)
        assert hit[0] == 0
        assert hit[-1] == pytest.approx(1)
        assert np.all(np.diff(hit) > 0)
        assert np.all(hit >= shares - 1e-12)
    assert local_hit(shares, 1e6) == pytest.approx(shares, abs=1e-6)
    assert 1 - local_hit(0.2, 0.1) == pytest.approx(0.25, rel=0.01)


def test_misses_take_what_the_equation_says() -> None:
    e = evaluated(EXPERTS, held=0.25, half=0.1)
    own = quantity("raw:experts.expert_weights.host_link", "").of(e)
    host = e.system.node.host
    assert host is not None
    expert = 3 * 2048 * 768 * (0.5 + 2 / 128)
    missed = 1 - local_hit(0.25, 0.1)
    assert experts_touched(128, 8, 1) == pytest.approx(8)
    expected = missed_time(1, 8, missed, expert, host.link_bandwidth * host.link_efficiency, 0.0)
    assert own == pytest.approx(expected + host.link_latency, rel=0.01)


def test_no_flash_is_free_with_small_accesses_and_11_gb_a_second_is_with_64_kib() -> None:
    """Half of the weights on flash: 16 KiB accesses wait for their start, however fast the flash."""
    ratio = np.asarray(figure(FLASH, 0).lines["map"], dtype=float)
    rows, rate = figure(FLASH, 0).y, figure(FLASH, 0).x
    assert ratio[rows.index(2.0)].min() > 1.9
    free = {n: rate[int(np.argmax(ratio[rows.index(n)] <= 1))] for n in (8.0, 64.0)}
    assert 11e9 < free[8.0] < 17e9
    assert 5.6e9 < free[64.0] < 8.1e9


def test_half_of_the_dense_weights_on_flash_needs_half_of_the_memory_rate() -> None:
    study = load_study(FLASH)
    dense = replace(study, technique=replace(study.technique, fields={"placement": {"weights": {"disk": 0.5}}}))
    ratio = np.asarray(drawn(dense)[0].lines["map"], dtype=float)[0]
    first = drawn(dense)[0].x[int(np.argmax(ratio <= 1.05))]
    assert 0.4 * 400e9 <= first <= 0.7 * 400e9


@pytest.mark.parametrize(("number", "hit"), [(0, 0.95), (1, 0.965)])
def test_within_twice_of_all_in_memory_takes_19_hits_in_20(number: int, hit: float) -> None:
    """Whatever the locality: it only says how many experts that hit rate takes."""
    made = figure(EXPERTS, number)
    for half, line in zip(made.y, made.lines["map"], strict=True):
        ratio, held = np.asarray(line, dtype=float), np.asarray(made.x, dtype=float)
        if half > 1 and ratio[-2] > 2:
            continue                      # twice lies between the last point and all of them
        needed = np.interp(-2, -ratio, local_hit(held, half))
        assert needed == pytest.approx(hit, abs=0.01)


def test_sparse_products_reach_less_than_dense_ones_on_every_published_machine() -> None:
    joint = {j.group: j for j in reproduce(load_study(FLASH)).joint}
    assert {name for name, j in joint.items() if not j.inside} == {"processor", "Metal", "M2"}


def test_measured_lru_needs_half_of_the_experts_for_twice_the_step() -> None:
    made = figure(EXPERTS, 3)
    line, held = np.asarray(made.lines["against"], dtype=float), np.asarray(made.x, dtype=float)
    assert np.interp(-2, -line / line[-1], held) == pytest.approx(0.485, abs=0.01)


@pytest.mark.parametrize("name", ["expert_cache", "flash_weights"])
def test_the_searches_load(name: str) -> None:
    made = find_search(name)
    assert made is not None
    assert made.techniques
