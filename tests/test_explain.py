"""What `dse explain` says: algebra traced from the functions, chains that give the metric again, crossovers."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.cli.main import run
from dse.equations.registry import Equation, registered
from dse.errors import InputError
from dse.model.chain_metrics import chain, chain_document
from dse.model.evaluate import Evaluation, evaluate
from dse.model.metrics import METRICS
from dse.plan import expressions
from dse.plan.plan import plan_from_document
from dse.plan.traffic import Traffic
from dse.report import algebra, reference
from dse.search import crossovers
from dse.search.crossovers import Crossover
from dse.search.whatif import VARIABLES

ON = ["--model", "llama-3.1-70b", "--hardware", "h100_sxm", "--tp", "4", "--input-tokens", "2048", "--output-tokens",
      "256"]
LOADS = [["--batch", "32"], ["--concurrency", "64"], ["--rate", "1"]]
ROOFLINE = registered()["roofline"]


def document(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> dict[str, Any]:
    """The JSON document of a command."""
    assert run([*args, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def again(term: dict[str, Any]) -> float:
    """A term computed from the leaves below it."""
    if "formula" not in term:
        return float(term["value"])
    parts = {part["name"]: again(part) for part in term["parts"]}
    assert len(parts) == len(term["parts"]), f"two parts of {term['name']} have one name"
    return float(expressions.value(f"={term['formula']}", parts, term["name"]))


def evaluated(plan: dict[str, Any] | None = None, **traffic: Any) -> Evaluation:
    """A plan of a model of 70 billion parameters."""
    made = plan_from_document({"parallelism": {"tp": 4}, **(plan or {})}, "")
    load = traffic or {"batch": 32.0}
    return evaluate(load_model("llama-3.1-70b"), load_system("h100_sxm", 4), made,
                    Traffic(input_tokens=2048.0, output_tokens=256.0, **load))


def test_list_names_every_equation_with_units_and_source_within_80_columns(capsys: pytest.CaptureFixture[str],
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["explain"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    assert set(registered()) <= set(page.splitlines())
    found = document(capsys, "explain")["equations"]
    assert {e["name"]: (e["units"], e["source"]) for e in found} == {
        e.name: (e.units, e.source) for e in registered().values()}


def test_sympy_loads_only_for_algebra() -> None:
    script = "import sys\nfrom dse.cli.main import run\nrun({})\nprint('sympy' in sys.modules, file=sys.stderr)"
    metric = ["explain", "tpot", *ON, "--batch", "8", "--quiet"]
    for args, loaded in ((["explain", "--quiet"], "False"), (metric, "False"), (["explain", "roofline", "--quiet"],
                                                                               "True")):
        done = subprocess.run([sys.executable, "-c", script.format(args)], capture_output=True, text=True, check=True)
        assert done.stderr.split() == [loaded], args


def test_roofline_is_solved_in_its_branch_and_bends_where_both_are_equal(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "explain", "roofline", "--solve", "bandwidth", "--diff")
    (branch,) = found["solved"]["branches"]
    assert branch["value"] == "nbytes/roofline"
    assert found["solved"]["meeting"] == ["nbytes*peak/flops"]
    assert {name for part in found["derivatives"] for name in part["by"]} == set(ROOFLINE.units)
    assert run(["explain", "roofline", "--latex"]) == 0
    assert capsys.readouterr().out.startswith(r"\mathrm{roofline} = \max\left(")


@pytest.mark.parametrize("e", [registered()[name] for name in (
    "roofline", "soft_maximum", "curved_roofline", "hidden", "pipelined", "remade_time", "ring_all_reduce_wire",
    "usd_per_million_tokens", "capital_rate", "hidden_context")], ids=lambda e: e.name)
def test_what_is_solved_for_gives_the_result_back(e: Equation) -> None:
    arguments, _ = reference.example(e)
    numbers = {sympy.Symbol(name, positive=True): value for name, value in arguments.items()}
    solved = 0
    for name in e.units:
        for branch, root in algebra.solved(e, name):
            result = float(branch.expression.subs(numbers))
            value = float(root.subs({**numbers, sympy.Symbol(e.name, positive=True): result}))
            if math.isclose(value, arguments[name], rel_tol=1e-9):
                solved += 1
    assert solved


@pytest.mark.parametrize("e", [e for e in registered().values() if not {"ceil", "floor"} & set(
    e.function.__code__.co_names)], ids=lambda e: e.name)
def test_one_branch_gives_what_the_function_gives(e: Equation) -> None:
    arguments, expected = reference.example(e)
    numbers = {sympy.Symbol(name, positive=True): value for name, value in arguments.items()}
    values = [complex(branch.expression.subs(numbers).evalf()) for branch in algebra.branches(e)]
    assert any(abs(v - expected) <= 1e-9 * max(abs(expected), 1e-300) for v in values)


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load[0])
@pytest.mark.parametrize("metric", ["ttft", "tpot", "e2e", "output_tok_s_per_gpu", "usd_per_mtok", "tokens_per_usd"])
def test_leaves_of_a_chain_give_the_metric_of_evaluate(metric: str, load: list[str],
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "explain", metric, *ON, *load)
    told = document(capsys, "evaluate", ON[1], *ON[2:], *load)["metrics"][found["metric"]]
    assert found["chain"]["value"] == told
    assert again(found["chain"]) == pytest.approx(told, rel=1e-9)


@pytest.mark.parametrize(("model", "hardware", "args"), [
    ("deepseek-v3", "h200_sxm", ["--tp", "8", "--concurrency", "64"]),
    ("llama-3.1-70b", "h100_sxm", ["--tp", "4", "--pp", "2", "--batch", "16"]),
    ("llama-3.1-70b", "h100_sxm", ["--tp", "4", "--batch", "16", "--kv-offload", "0.5"]),
    ("llama-3.1-70b", "h100_sxm", ["--tp", "4", "--batch", "16", "--technique", "preserve"]),
    ("mixtral-8x7b", "h100_sxm", ["--tp", "4", "--rate", "2", "--weights", "fp8"])])
def test_chains_of_other_structures_add_up(model: str, hardware: str, args: list[str],
                                           capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "explain", "tpot", "--model", model, "--hardware", hardware, "--input-tokens", "2048",
                     "--output-tokens", "256", *args)
    assert again(found["chain"]) == pytest.approx(found["chain"]["value"], rel=1e-9)


def test_binding_branch_is_the_longest(capsys: pytest.CaptureFixture[str]) -> None:
    def check(term: dict[str, Any]) -> int:
        values = {part["name"]: part["value"] for part in term.get("parts", ())}
        if "binding" in term:
            assert values[term["binding"]] == max(values.values())
        return ("binding" in term) + sum(map(check, term.get("parts", ())))

    assert check(document(capsys, "explain", "tpot", *ON, "--batch", "32")["chain"]) > 4


def test_every_metric_with_a_value_has_a_chain() -> None:
    e = evaluated(rate=1.0)
    for name, value in e.metrics.items():
        if value is not None and np.isfinite(float(value)):
            assert again(chain_document(chain(e, name))) == pytest.approx(float(value), rel=1e-9), name


def named(e: Evaluation, name: str) -> Crossover:
    """A crossover of a plan."""
    return next(c for c in crossovers.crossovers(e) if c.name == name)


def test_products_take_as_long_to_compute_as_to_read_at_the_crossover() -> None:
    e = evaluated()
    found = named(e, "decode_products")
    assert found.value is not None
    assert found.closed is not None
    compute, memory = crossovers.step_seconds(e, found.value, True)
    assert compute == pytest.approx(memory, rel=1e-9)
    assert found.value == pytest.approx(found.closed, rel=0.15)      # tiles and activations apart
    below, above = (crossovers.step_seconds(e, found.value * factor, True) for factor in (0.8, 1.25))
    assert below[0] < below[1]
    assert above[0] > above[1]


def test_link_is_as_slow_as_all_else_at_the_rate_where_it_takes_over() -> None:
    e = evaluated(plan={"placement": {"kv": {"host": 0.5}}})
    rate = named(e, "offload_hidden").value
    link = VARIABLES["host_link"]
    assert rate is not None
    rest = float(link.at(e, rate * 1e9).spans["decode"].time)
    assert crossovers.host_seconds(link.at(e, rate)) == pytest.approx(rest, rel=1e-6)
    assert not [c for c in crossovers.crossovers(evaluated()) if c.name.startswith("offload")]


def test_recomputing_and_fetching_take_equally_long_where_one_stops_paying() -> None:
    e = evaluated()
    d = e.deployment.prefills
    assert named(e, "recompute_host_link").value is None
    host = e.system.node.host
    assert host is not None
    slow = replace(host, link_bandwidth=1e9)
    found = named(replace(e, deployment=replace(d, system=replace(d.system, node=replace(d.system.node, host=slow)))),
                  "recompute_host_link")
    assert found.value is not None
    again_s, fetched = crossovers.cache_seconds(d, found.value, 1e9 * slow.link_efficiency)
    assert again_s == pytest.approx(fetched, rel=1e-6)


def test_larger_buffer_than_the_saturated_one_hides_no_more(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "explain", "tpot", *ON, "--batch", "32", "--technique", "preserve")
    (size,) = [c["value"] for c in found["crossovers"] if c["name"] == "prefetch_saturated"]
    from dse.cli.evaluate import Machine, predicted, requested

    request, _, choices = requested(ON[1], Machine("h100_sxm", "vllm", "owned", None), {
        "tp": "4", "batch": "32", "input_tokens": "2048", "output_tokens": "256"}, trace=None, plan=None,
        technique=["preserve"], knobs=(), settings=())
    e, _ = predicted(request, choices[0])
    now = float(e.system.chip.cache_bytes)
    hides = [crossovers.hidden_seconds(crossovers._roomier(e, size * factor - now).spans["decode"])
             for factor in (0.9, 1.0, 2.0)]
    assert hides[0] < hides[1] * (1 - 1e-6)
    assert hides[1] == pytest.approx(hides[2], rel=1e-6)


class Tags(HTMLParser):
    """What a page refers to, and how many tags of each kind it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}
        self.links: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Count, and keep what it points to."""
        self.seen[tag] = self.seen.get(tag, 0) + 1
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_reference_shows_every_equation_and_fetches_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "equations.html"
    assert run(["explain", "--html", str(target)]) == 0
    page = Tags(target.read_text("utf-8"))
    assert page.seen["article"] == page.seen["math"] == len(registered())
    assert all(link.startswith("#") for link in page.links)
    assert "script" not in page.seen
    assert re.search(rf"{len(registered())} equations", capsys.readouterr().out)


def test_reference_escapes_what_an_equation_says(monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = replace(ROOFLINE, source="<script>alert(1)</script>")
    monkeypatch.setattr(reference, "registered", lambda: {"roofline": hostile})
    page = reference.reference()
    assert "script" not in Tags(page).seen
    assert "&lt;script&gt;" in page


def test_examples_of_the_reference_are_what_the_functions_give() -> None:
    arguments, result = reference.example(ROOFLINE)
    assert result == max(arguments["flops"] / arguments["peak"], arguments["nbytes"] / arguments["bandwidth"])
    assert sum(math.isfinite(reference.example(e)[1]) for e in registered().values()) > 0.95 * len(registered())


@pytest.mark.parametrize(("args", "words"), [
    (["rooflin"], "did you mean 'roofline'"), (["roofline", "--solve", "bandwith"], "did you mean 'bandwidth'"),
    (["tpot"], "--model: is missing"), (["--latex"], "needs the name of an equation"),
    (["tpot", *ON, "--batch", "8", "--latex"], "is a metric"), (["roofline", *ON], "is an equation"),
    (["tpot", *ON, "--batch", "8,16"], "make 2 plans"), (["roofline", "--html", "x.html"], "expected no name"),
    (["--html", "/nowhere/x.html"], "cannot be written"), (["\x1b[31mx"], "no such equation or metric"),
    (["tpot_p99", *ON, "--batch", "8"], "no finite value"), (["x" * 10_000], "no such equation or metric")])
def test_bad_input_is_one_line_that_says_what_to_do(args: list[str], words: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert "\x1b" not in err


def test_infeasible_plan_is_explained_and_exits_with_3(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "explain", "tpot", "--model", "llama-3.1-70b", "--hardware", "h100_sxm", "--batch", "8",
                     "--input-tokens", "2048", "--output-tokens", "256", code=3)
    assert found["violations"]
    assert again(found["chain"]) == pytest.approx(found["chain"]["value"], rel=1e-9)


def test_metric_without_a_value_is_refused() -> None:
    with pytest.raises(InputError, match="no finite value"):
        chain(evaluated(), "goodput_requests_s")
    assert METRICS["goodput_requests_s"].rate_only
