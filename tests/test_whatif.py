"""What `dse whatif` finds, put back into the model, meets the target, and a little less does not."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.cli.main import run
from dse.model.evaluate import Evaluation, evaluate
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.search.whatif import VARIABLES, Target, missed, solve

ON = ["--hardware", "h100_sxm", "--tp", "4", "--input-tokens", "2048", "--output-tokens", "256"]
BATCH = [*ON, "--batch", "32"]


def evaluated(plan: dict[str, Any] | None = None, tp: int = 4, **load: Any) -> Evaluation:
    """A plan of a model of 70 billion parameters."""
    made = plan_from_document({"parallelism": {"tp": tp}, **(plan or {})}, "")
    return evaluate(load_model("llama-3.1-70b"), load_system("h100_sxm", tp), made,
                    Traffic(input_tokens=2048.0, output_tokens=256.0, **(load or {"batch": 32.0})))


def asked(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The JSON document of the command."""
    assert run(["whatif", "llama-3.1-70b", *args, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize(("metric", "share", "vary"), [
    ("tpot_s", 0.8, "hbm_bandwidth"), ("ttft_s", 0.7, "compute"), ("tpot_s", 0.95, "link"), ("tpot_s", 0.8, "l2"),
    ("output_tok_s", 1.2, "hbm_bandwidth"), ("usd_per_mtok", 0.5, "usd_per_gpu_hour"),
    ("tpot_s", 1.3, "hbm_bandwidth"), ("tokens_per_usd", 1.2, "compute")])
def test_value_put_back_meets_the_target_and_slightly_less_does_not(metric: str, share: float, vary: str) -> None:
    e, variable = evaluated(), VARIABLES[vary]
    target = Target(metric, float(e.metrics[metric] or 0.0) * share)
    found = solve(e, target, variable)
    assert found.value is not None
    assert missed(variable.at(e, found.value), target) <= 0
    less = 1 - 1e-6 if variable.more_helps else 1 + 1e-6
    assert missed(variable.at(e, found.value * less), target) > 0
    assert found.metric == pytest.approx(target.value, rel=1e-9)


def test_offloaded_cache_says_which_host_link_it_needs() -> None:
    e, link = evaluated({"placement": {"kv": {"host": 0.5}}}), VARIABLES["host_link"]
    target = Target("tpot_s", 0.7 * float(e.metrics["tpot_s"] or 0.0))
    found = solve(e, target, link)
    assert found.value is not None
    assert missed(link.at(e, found.value), target) <= 0 < missed(link.at(e, found.value * (1 - 1e-6)), target)


def test_more_memory_makes_an_infeasible_plan_feasible() -> None:
    e, memory = evaluated(tp=1, batch=4.0), VARIABLES["memory"]
    assert not e.feasible
    target = Target("tpot_s", 2 * float(e.metrics["tpot_s"] or 0.0))
    found = solve(e, target, memory)
    assert found.value is not None
    assert memory.at(e, found.value).feasible
    assert not memory.at(e, found.value * (1 - 1e-6)).feasible


@pytest.mark.parametrize(("vary", "load"), [("batch", {"batch": 32.0}), ("concurrency", {"concurrency": 64.0})])
def test_most_users_are_the_last_whole_number_that_meets_the_target(vary: str, load: dict[str, Any]) -> None:
    e, variable = evaluated(**load), VARIABLES[vary]
    target = Target("tpot_s", 0.03)
    found = solve(e, target, variable)
    assert found.value is not None
    assert found.value.is_integer()
    assert missed(variable.at(e, found.value), target) <= 0 < missed(variable.at(e, found.value + 1), target)


def test_most_requests_per_second_meet_a_quantile_and_a_little_more_do_not() -> None:
    e, rate = evaluated(rate=0.5), VARIABLES["rate"]
    target = Target("ttft_p90_s", 1.0)
    found = solve(e, target, rate)
    assert found.value is not None
    assert missed(rate.at(e, found.value), target) <= 0 < missed(rate.at(e, found.value * (1 + 1e-6)), target)


def test_fewest_devices_agree_with_a_count_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "output_tok_s=3000", "--vary", "gpus", *BATCH)
    target = Target("output_tok_s", 3000.0)
    met = {tp * dp for tp in (1, 2, 4, 8) for dp in range(1, 33) if missed(evaluate(
        load_model("llama-3.1-70b"), load_system("h100_sxm", tp * dp),
        plan_from_document({"parallelism": {"tp": tp, "dp": dp}}, ""),
        Traffic(input_tokens=2048.0, output_tokens=256.0, batch=32.0)), target) <= 0}
    assert found["value"] == min(met)
    assert found["splits"]["tp"] * found["splits"]["dp"] == found["value"]
    assert found["metric_there"] >= 3000


def test_price_has_a_closed_form_and_bandwidth_is_a_root(capsys: pytest.CaptureFixture[str]) -> None:
    price = asked(capsys, "usd_per_mtok=1", "--vary", "usd_per_gpu_hour", *BATCH)
    assert price["method"] == "closed form"
    assert price["value"] == pytest.approx(price["now"] / price["metric_now"], rel=1e-9)
    assert asked(capsys, "tpot=30ms", "--vary", "hbm_bandwidth", *BATCH)["method"] == "root"


def test_answer_of_the_page_is_that_of_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "tpot=30ms", "--vary", "hbm_bandwidth", *BATCH)
    figure = f"chip.memory_bandwidth={found['value'] / 1e12!r} TB/s"
    assert run(["evaluate", "llama-3.1-70b", *BATCH, "--set", figure, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["tpot_s"] == pytest.approx(0.03, rel=1e-9)


def test_target_out_of_reach_says_what_limits_it_and_exits_with_4(capsys: pytest.CaptureFixture[str]) -> None:
    found = asked(capsys, "tpot=5ms", "--vary", "hbm_bandwidth", *BATCH, code=4)
    assert found["value"] is None
    assert 0.005 < found["metric_there"] < found["metric_now"]
    assert next(iter(found["limits"])) == "compute"
    assert run(["whatif", "llama-3.1-70b", "tpot=5ms", "--vary", "hbm_bandwidth", *BATCH]) == 4
    page = capsys.readouterr().out
    assert "no value does" in page
    assert "limited by" in page


def test_best_of_a_target_out_of_reach_is_a_plan_that_fits() -> None:
    for vary in ("batch", "gpus"):
        found = solve(evaluated(), Target("usd_per_mtok", 0.01), VARIABLES[vary])
        assert found.value is None
        assert found.evaluation.feasible
        assert not found.violated


def test_variable_that_changes_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["whatif", "llama-3.1-70b", "tpot=30ms", "--vary", "host_link", *BATCH]) == 4
    assert "none changes it" in capsys.readouterr().out


def test_splits_of_a_counted_answer_keep_the_rest_of_the_plan() -> None:
    e = evaluated({"formats": {"kv": "fp8"}})
    found = solve(e, Target("tpot_s", 0.03), VARIABLES["gpus"])
    assert found.evaluation.plan.formats == e.plan.formats
    assert found.evaluation.system == replace(e.system, gpus=found.value)


@pytest.mark.parametrize(("args", "words"), [
    (["tpot=20"], "has no unit"), (["tpot>20ms"], "less is better"), (["output_tok_s<5"], "more is better"),
    (["tpot"], "is not METRIC=VALUE"), (["tpt=20ms"], "did you mean 'tpot_s'"), (["batch=4"], "is no aim"),
    (["tpot=-3ms"], "tpot_s"), (["tpot=nan"], "tpot_s"), (["output_tok_s=inf"], "finite"),
    (["output_tok_s=5 GB"], "not a plain number"), (["tpot=20ms", "--vary", "l3"], "did you mean 'l2'"),
    (["tpot=20ms", "--vary", "rate"], "have none of it"), (["tpot=20ms", "--batch", "1,2"], "make 2 plans"),
    (["x" * 10_000], "is not METRIC=VALUE")])
def test_bad_input_is_one_line_that_says_what_to_do(args: list[str], words: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    load = [] if "--batch" in args else ["--batch", "32"]
    vary = [] if "--vary" in args else ["--vary", "l2"]
    assert run(["whatif", "llama-3.1-70b", *args, *vary, *ON, *load]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
