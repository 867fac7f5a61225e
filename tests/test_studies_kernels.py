"""Studies of kernels: products with narrow weights, and sums over ranks beside the computing of another half."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.equations import narrow, weaving
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.studies.bind import bound_plan
from dse.studies.files import load_study, load_technique
from dse.studies.judge import Outcome
from dse.studies.reproduce import Verdicts, reproduce

A10 = {"wide": 2.0, "narrow": 0.515625, "peak": 125e12, "bandwidth": 600e9}
FUSED = {"parallelism": {"tokens_split": ["norm"]}}


@cache
def verdicts(name: str) -> Verdicts:
    return reproduce(load_study(name))


def outcome(name: str, words: str) -> Outcome:
    return next(o for o in verdicts(name).outcomes if words in o.claim.words)


def run(techniques: tuple[str, ...], knobs: dict[str, Any], model: str = "llama-3.1-8b", hardware: str = "h100_sxm",
        tp: float = 1.0, tokens: float = 2048.0, batch: float = 16.0, base: dict[str, Any] | None = None) -> Evaluation:
    """One evaluation of the techniques with these knobs."""
    system, shapes = load_system(hardware, int(tp), "vllm"), load_model(model)
    traffic = Traffic(tokens, 128.0, batch=batch)
    plan = {**(base or {}), "parallelism": {"tp": tp, **(base or {}).get("parallelism", {})}}
    document = bound_plan(plan, [load_technique(t) for t in techniques], knobs, shapes, traffic, system)
    return evaluate(shapes, system, plan_from_document(document, ""), traffic)


def test_the_gain_is_whole_up_to_the_knee_and_gone_where_wide_weights_bind_no_more() -> None:
    knee = narrow.narrow_knee(A10["narrow"], A10["peak"], A10["bandwidth"])
    wide = narrow.narrow_knee(A10["wide"], A10["peak"], A10["bandwidth"])
    gains = narrow.narrow_gain(np.array([1.0, knee, wide, 10 * wide]), **A10)
    assert gains == pytest.approx([128 / 33, 128 / 33, 1, 1])
    rows = np.geomspace(1, 4096, 60)
    assert np.all(np.diff(narrow.narrow_gain(rows, **A10)) <= 1e-12)


def test_weights_of_their_own_width_gain_nothing() -> None:
    assert narrow.narrow_gain(np.geomspace(1, 4096, 9), 2.0, 2.0, 125e12, 600e9) == pytest.approx(1)


def test_weaving_is_never_faster_than_either_part_and_never_slower_than_both() -> None:
    compute, sums = np.geomspace(1e-5, 1e-2, 12)[:, None], np.geomspace(1e-5, 1e-2, 12)
    woven = weaving.woven(compute, sums, 0.0, 0.0)
    assert np.all((woven >= np.maximum(compute, sums)) & (woven <= compute + sums))
    assert np.all(weaving.woven(compute, sums, 0.1, 1e-6) > woven * (sums < compute))


def test_a_host_binds_only_where_it_is_the_slower() -> None:
    assert weaving.submitted(50e-3, 112, 0.6e-3) == pytest.approx(67.2e-3)
    assert weaving.submitted(50e-3, 56, 0.6e-3) == pytest.approx(50e-3)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v2"])
def test_sixteen_bits_are_the_baseline(model: str) -> None:
    plain, neutral = run((), {}, model, tp=8.0), run(("marlin",), {"bits": 16.0}, model, tp=8.0)
    assert neutral.metrics["decode_step_s"] == pytest.approx(plain.metrics["decode_step_s"], rel=1e-12)
    assert neutral.memory == pytest.approx(plain.memory)


@pytest.mark.parametrize("model", ["llama-3.1-8b", "mixtral-8x7b", "deepseek-v2"])
def test_one_part_without_a_share_is_the_baseline_but_for_the_split_norm(model: str) -> None:
    one = {"halves": 1.0, "taken": 0.0}
    plain, neutral = run((), {}, model, tp=8.0, base=FUSED), run(("tokenweave",), one, model, tp=8.0)
    for name in ("prefill_s", "decode_step_s"):
        assert neutral.metrics[name] == pytest.approx(plain.metrics[name], rel=1e-12)


def test_without_ranks_there_is_nothing_to_weave() -> None:
    plain, alone = run((), {}), run(("tokenweave",), {"halves": 1.0, "taken": 0.0})
    assert alone.metrics["decode_step_s"] == pytest.approx(plain.metrics["decode_step_s"], rel=1e-12)
    assert run(("tokenweave",), {}).metrics["prefill_s"] > plain.metrics["prefill_s"]


@pytest.mark.parametrize("chip", ["h100_sxm", "b200_sxm", "mi300x", "ascend_910b"])
def test_halves_pay_for_long_prompts_and_not_for_short_ones(chip: str) -> None:
    def ratio(tokens: float) -> float:
        base = {"batching": {"budget": 65536.0}}
        woven, plain = (run(t, {}, "llama-3.1-70b", chip, 8.0, tokens, base=base) for t in (("tokenweave",), ()))
        return float(woven.metrics["prefill_s"] / plain.metrics["prefill_s"])

    assert ratio(8192.0) < 1 < ratio(64.0)


def test_a_mixture_of_experts_loses_at_a_thousand_tokens_at_every_setting() -> None:
    found = outcome("tokenweave", "a mixture of experts loses at 1K")
    assert found.verdict == "ATTAINABLE"
    assert np.max(found.predicted) < 1


def test_knobs_are_axes() -> None:
    bits = run(("marlin",), {"bits": np.array([2.0, 4.0, 8.0, 16.0])}).metrics["decode_step_s"]
    assert np.all(np.diff(bits) > 0)
    parts = run(("tokenweave",), {"halves": np.array([1.0, 2.0, 4.0])}, "llama-3.1-70b", tp=8.0)
    assert parts.metrics["prefill_s"].shape == (3,)
