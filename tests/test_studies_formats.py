"""Caches in few bits, and caches remade from layer inputs: neutral knobs, compositions, limits, what is left open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sympy

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.equations import encoding, recompute
from dse.errors import InputError
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.studies.apply import Applied, applied
from dse.studies.files import load_study, load_technique
from dse.studies.reproduce import reproduce

WIDE, GROUPED = "llama-2-7b", "llama-3.1-8b"


def with_techniques(names: tuple[str, ...], knobs: Mapping[str, str], model: str = WIDE, hardware: str = "h100_sxm",
                    engine: str = "vllm", context: float = 2048, batch: float = 16) -> tuple[Evaluation, Applied]:
    shape, system = load_model(model), load_system(hardware, 1, engine)
    traffic = Traffic(1024, 128, batch=batch, context=context)
    made = applied({}, [load_technique(name) for name in names], knobs, shape, system, traffic)
    return evaluate(shape, system, plan_from_document(made.document, ""), traffic), made


def number(e: Evaluation, metric: str) -> float:
    found: Any = e.metrics[metric]
    return float(found)


def step(*names: str, knobs: Mapping[str, str] | None = None, **where: Any) -> float:
    return number(with_techniques(names, knobs or {}, **where)[0], "decode_step_s")


@pytest.mark.parametrize("model", [WIDE, GROUPED, "mixtral-8x7b"])
@pytest.mark.parametrize(("name", "knobs"), [("kivi", {"kivi.bits": "16"}), ("xquant", {"xquant.share": "0"})])
def test_the_neutral_knob_is_the_baseline(name: str, knobs: dict[str, str], model: str) -> None:
    gpus = "b200_sxm" if model.startswith("mixtral") else "h100_sxm"
    plain, _ = with_techniques((), {}, model, gpus)
    neutral, _ = with_techniques((name,), knobs, model, gpus)
    for metric in ("decode_step_s", "kv_slots", "ttft_s", "output_tok_s"):
        assert neutral.metrics[metric] == pytest.approx(plain.metrics[metric], rel=1e-12), metric
    assert neutral.memory["kv"] == pytest.approx(plain.memory["kv"], rel=1e-12)


def test_a_window_as_long_as_the_context_leaves_all_of_it_plain() -> None:
    assert step("kivi", knobs={"kivi.residual": "256"}, context=200) == pytest.approx(step(context=200), rel=1e-12)


@pytest.mark.parametrize("name", ["kivi", "xquant"])
@pytest.mark.parametrize(("model", "hardware"), [(GROUPED, "mi300x"), ("qwen2.5-7b", "ascend_910b"),
                                                 ("deepseek-v2", "b300_sxm"), ("gemma-2-9b", "l40s")])
def test_a_technique_of_formats_runs_on_any_model_and_chip(name: str, model: str, hardware: str) -> None:
    engine = "roofline" if hardware in ("mi300x", "ascend_910b") else "vllm"
    assert 0 < step(name, model=model, hardware=hardware, engine=engine) < 10


def test_bytes_and_seconds_fall_with_the_bits() -> None:
    for name in ("kivi", "xquant"):
        found = [with_techniques((name,), {f"{name}.bits": bits})[0] for bits in ("2", "4", "8")]
        slots = [number(e, "kv_slots") for e in found]
        times = [number(e, "decode_step_s") for e in found]
        assert slots == sorted(slots, reverse=True)
        assert times == sorted(times)


def test_the_best_share_to_remake_falls_to_nothing_behind_a_two_bit_cache() -> None:
    shape, system = load_model(WIDE), load_system("a100_80g_sxm", 1, "roofline")
    both = [load_technique("kivi"), load_technique("kvpr")]

    def split(bits: str, residual: str) -> float:
        knobs = {"kivi.bits": bits, "kivi.residual": residual}
        made = applied({"overlap": []}, both, knobs, shape, system, Traffic(1024, 128, batch=32, context=1024))
        return float(made.knobs["kvpr.split"])

    own = recompute.balanced_split(4096.0, 2.0, 32e9 * 0.8219, 312e12)
    assert split("16", "0") == pytest.approx(own, abs=0.01)
    assert split("2", "0") == split("2", "128") == split("4", "0") == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("order", [("kivi", "xquant"), ("xquant", "kivi")])
def test_two_encodings_of_one_cache_are_refused_with_both_names(order: tuple[str, str]) -> None:
    with pytest.raises(InputError, match="kv") as caught:
        with_techniques(order, {})
    assert all(name in str(caught.value) for name in order)


def test_two_bits_pay_on_h100_from_a_thousand_tokens_and_cease_to_at_23_instructions() -> None:
    def gain(context: float, unpack: str) -> float:
        return 1 - step("kivi", knobs={"kivi.unpack": unpack}, model=GROUPED, context=context) / step(
            model=GROUPED, context=context)

    assert gain(900, "4") < 0.05 < gain(1024, "4")
    assert gain(1400, "13.5") < 0.05 < gain(1500, "13.5")          # as slowly as 8-bit elements are widened
    assert gain(65536, "4") > 1.9 * gain(65536, "13.5") > 0.6
    system = load_system("h100_sxm", 1, "vllm")
    most = 128 * system.chip.cores * system.chip.clock * 2 / (
        system.chip.memory_bandwidth * system.kernels.decode.memory_efficiency)     # as long as reading 16 bits
    assert most == pytest.approx(22.6, abs=0.1)
    for context in (2048, 8192, 65536):
        assert gain(context, str(most - 1)) > 0 > gain(context, str(most + 2))


def test_remaking_loses_beside_fast_memory_and_wins_behind_a_slow_link() -> None:
    here: dict[str, Any] = {"hardware": "a100_80g_sxm", "engine": "roofline"}
    assert step("xquant", **here) > 5 * step(**here)
    shape, system = load_model(WIDE), load_system("a100_80g_sxm", 1, "roofline")
    traffic = Traffic(1024, 128, batch=16, context=16384)
    times = []
    for techniques in ([], [load_technique("xquant")]):
        made = applied({"placement": {"kv": {"host": 1.0}, "x": {"host": 1.0}}}, techniques, {}, shape, system, traffic)
        times.append(number(evaluate(shape, system, plan_from_document(made.document, ""), traffic), "decode_step_s"))
    rate = 32e9 * 0.8219
    assert times[0] / times[1] == pytest.approx(312e12 / rate / encoding.remaking_balance(4096.0, 2.0), rel=0.05)


def test_the_studies_say_which_terms_disagree() -> None:
    for name, term in (("kivi", "window"), ("xquant", "FLOPs a byte")):
        wrong = [o for o in reproduce(load_study(name)).outcomes if o.verdict == "CONTRADICTED"]
        assert len(wrong) >= 2
        assert all(o.claim.note for o in wrong)
        assert any(term in o.claim.note for o in wrong)


def test_a_window_interpolates_between_plain_and_encoded() -> None:
    share = encoding.encoded_share(2.0, 32.0, 32.0, 16.0)
    assert share == 3 / 16
    assert encoding.windowed_share(share, 0.0, 498.0) == share
    assert encoding.windowed_share(share, 600.0, 498.0) == 1
    assert 1 / encoding.windowed_share(share, 128.0, 498.0) == pytest.approx(2.523, abs=1e-3)
    assert 1 / encoding.windowed_share(share, 32.0, 498.0) == pytest.approx(4.172, abs=1e-3)


def test_a_peak_never_shrinks_by_more_than_the_cache() -> None:
    cache = np.geomspace(1e6, 1e15, 40)
    ratio = encoding.smaller_peak(13.5e9, cache, 0.3963)
    assert np.all(np.diff(ratio) > 0)
    assert 1 < ratio[0] < 1.001
    assert ratio[-1] < 1 / 0.3963 < 1.001 * ratio[-1]


def test_the_balances_are_where_remaking_takes_as_long_as_fetching() -> None:
    h, kv, b, q, rate, peak = sympy.symbols("h kv b q rate peak", positive=True)
    multiply, fetch = recompute.remaking_flops(h, kv) / peak, 2 * kv * b / rate
    beside = sympy.solve(multiply - fetch, peak)[0] / rate
    after = sympy.solve(h * q / rate + multiply - fetch, peak)[0] / rate
    assert sympy.simplify(beside - encoding.remaking_balance(h, b)) == 0
    assert sympy.simplify(after - encoding.serial_remaking_balance(h, kv, b, q)) == 0
    assert encoding.serial_remaking_balance(h, kv, b, 0) == encoding.remaking_balance(h, b)


@pytest.mark.parametrize(("bits", "scales", "saving"), [(16, 0, 2.0), (4, 20, 7.70), (3, 20, 10.14), (2, 20, 14.84)])
def test_inputs_in_few_bits_save_what_was_published(bits: float, scales: float, saving: float) -> None:
    share = encoding.encoded_share(bits, 128.0, scales, 16.0)
    assert encoding.remade_saving_ratio(4096.0, 4096.0, share) == pytest.approx(saving, abs=0.006)
