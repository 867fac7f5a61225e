"""The shipped studies: each verdict is the recorded one, and the findings that the README repeats still stand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import sympy

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.equations import recompute
from dse.model.evaluate import evaluate
from dse.plan.plan import devices, plan_from_document
from dse.plan.traffic import Traffic
from dse.studies.apply import applied
from dse.studies.files import load_study, load_technique, study_names
from dse.studies.judge import Outcome
from dse.studies.reproduce import Verdicts, reproduce


@cache
def verdicts(name: str) -> Verdicts:
    return reproduce(load_study(name))


def outcome(name: str, words: str) -> Outcome:
    return next(o for o in verdicts(name).outcomes if words in o.claim.words)


@pytest.mark.parametrize("name", study_names())
def test_every_verdict_is_the_one_that_its_file_records(name: str) -> None:
    wrong = [(o.claim.words, o.verdict, o.claim.verdict) for o in verdicts(name).outcomes if not o.agrees]
    assert not wrong


@pytest.mark.parametrize("name", study_names())
def test_every_technique_loads_alone_and_every_claim_has_words_and_source(name: str) -> None:
    study = load_study(name)
    assert load_technique(name).fields
    assert study.source
    assert all(claim.words for claim in study.claims)


def test_the_three_optima_of_the_cache_exploration_hold_together_somewhere_but_seldom() -> None:
    joint = next(j for j in verdicts("preserve").joint if len(j.claims) == 3)
    assert 0 < joint.inside <= 0.02 * joint.settings


def test_the_balanced_split_is_what_sympy_solves_from_its_parts() -> None:
    names = ("hidden", "kv_width", "element", "rate", "compute")
    h, kv, b, link, flops = sympy.symbols(names, positive=True)
    split = sympy.Symbol("split", positive=True)
    remaking = split * recompute.remaking_flops(h, kv) / flops
    fetching = (1 - split) * 2 * kv * b / link
    solved = sympy.solve(sympy.Eq(remaking, fetching), split)[0]
    assert sympy.simplify(solved - recompute.balanced_split(h, b, link, flops)) == 0


def test_remaking_stops_paying_where_inputs_are_wider_than_keys_and_values() -> None:
    h, kv, split = sympy.symbols("hidden kv_width split", positive=True)
    assert sympy.solve(recompute.remade_saving(split, h, kv), kv) == [h / 2]
    hidden, narrow, wide = 4096.0, 1024.0, 4096.0
    shares = np.linspace(0, 1, 101)
    times = [recompute.remade_time(shares, hidden, width, 2.0, 32e9, 312e12) for width in (narrow, wide)]
    assert shares[np.argmin(times[0])] == 0
    assert shares[np.argmin(times[1])] == pytest.approx(recompute.balanced_split(hidden, 2.0, 32e9, 312e12), abs=0.01)


def test_the_saving_is_what_the_best_split_takes_off_the_transfer() -> None:
    split = recompute.balanced_split(4096.0, 2.0, 32e9, 312e12)
    whole, best = (recompute.remade_time(s, 4096.0, 4096.0, 2.0, 32e9, 312e12) for s in (0.0, split))
    assert 1 - best / whole == pytest.approx(recompute.remade_saving(split, 4096.0, 4096.0), rel=1e-12)


HOMES = {"expert_offloading": ("qwen3-30b-a3b", 1), "distserve": ("llama-3.1-8b", 2), "kunserve": ("llama-3.1-8b", 2)}
"""Models and devices of techniques that need experts, or several replicas."""
CHIPS = (("h100_sxm", "vllm"), ("b200_sxm", "sglang"), ("mi300x", "roofline"))


@pytest.mark.parametrize("name", study_names())
@pytest.mark.parametrize(("chip", "engine"), CHIPS)
def test_every_technique_runs_on_other_models_and_chips_than_its_papers(name: str, chip: str, engine: str) -> None:
    shape, gpus = HOMES.get(name, ("llama-3.1-8b", 1))
    model, system = load_model(shape), load_system(chip, gpus, engine)
    traffic = Traffic(2048, 128, concurrency=16)
    base = {} if name in ("distserve", "kunserve") else {"parallelism": {"tp": gpus}}
    made = applied(base, [load_technique(name)], {}, model, system, traffic)
    plan = plan_from_document(made.document, name)
    found = evaluate(model, replace(system, gpus=devices(plan)), plan, traffic)
    assert 0 < found.metrics["tpot_s"] < 60
    assert sum(found.breakdown("decode").values()) == pytest.approx(found.metrics["decode_step_s"], rel=1e-9)
