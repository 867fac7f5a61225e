"""Searching techniques and their knobs: on and off, conflicts, knobs as axes and samples, files, plans that repeat."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dse
from dse.cli.main import run
from dse.errors import InputError
from dse.plan.plan import plan_from_document
from dse.plan.technique import Technique
from dse.search.completion import completed
from dse.search.grid import SHOWN, Aim, search_grid, search_grids
from dse.search.result import Request, evaluation_at, front_table, result_document
from dse.search.space import Space, make_space
from dse.search.study import Outcome, Settings, explore
from dse.studies.files import load_technique
from dse.studies.searches import load_search, search_names
from dse.studies.variants import make_variants, read_choices

AIM = Aim(("usd_per_mtok", "tpot_s"))
SLOWER = {"parallelism": {"shares": {"hbm": 0.5}}}
CHEAP = ("llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "2", "--input-tokens", "1024", "--output-tokens", "128",
         "--concurrency", "1,64", "--trials", "3")
Given = Any


def technique(name: str, fields: dict[str, Given], **knobs: Given) -> Technique:
    return Technique(name, fields=fields, knobs=knobs, where=name)


def space(techniques: dict[str, tuple[Technique, str]], raw: dict[str, Given] | None = None,
          model: str = "llama-3.1-8b", chip: str = "h100_sxm", **changed: Given) -> Space:
    """A small space with techniques; `raw`: what is chosen of knobs and variables."""
    chosen = read_choices({name: (value, name) for name, value in (raw or {}).items()},
                          [t for t, mode in techniques.values() if mode != "off"])
    given: dict[str, Given] = {"gpus": 4, "load": "batch", "loads": [1, 16, 64], "input_tokens": 2048,
                               "output_tokens": 256, "free": (), **changed}
    return make_space(dse.load_model(model), dse.load_system(chip, engine=given.pop("engine", "vllm")), **given,
                      chosen=chosen.machine, variants=make_variants(techniques, chosen))


def optional(*techniques: Technique) -> dict[str, tuple[Technique, str]]:
    return {t.name: (t, "off or on") for t in techniques}


def searched(where: Space, aim: Aim = AIM, **settings: Given) -> Outcome:
    return explore(where, aim, Settings(**{"trials": 8, **settings}))


def on_front(where: Space, outcome: Outcome) -> set[str]:
    """Names of the variants that the front has."""
    return {where.variants[int(i)].name for i in outcome.front.column("technique")}


def test_a_neutral_technique_changes_nothing() -> None:
    bare, neutral = space({}), space({"nothing": (technique("nothing", {}), "on")})
    one, other = searched(bare), searched(neutral)
    assert other.considered == one.considered
    assert np.array_equal(one.front.columns(AIM.objectives), other.front.columns(AIM.objectives))
    assert "technique" not in one.front.names
    both = searched(space(optional(technique("nothing", {}))))
    assert both.considered == 2 * one.considered
    assert on_front(space(optional(technique("nothing", {}))), both) == {"none"}     # of equals the plainer


def test_a_technique_that_helps_is_on_the_front_and_one_that_costs_is_not() -> None:
    helps = load_technique("preserve")
    where = space(optional(helps, technique("slower", SLOWER)), free=("l2",))
    names = on_front(where, searched(where))
    assert "preserve" in names
    assert not any("slower" in name for name in names)
    assert len(where.variants) == 4


def test_a_conflicting_pair_is_left_out_by_both_names_and_refused_where_both_are_on() -> None:
    one, other = load_technique("kvpr"), technique("whole", {"placement": {"kv": {"host": 0.5}}})
    where = space(optional(one, other))
    assert [v.name for v in where.variants] == ["none", "whole", "kvpr"]
    assert len(where.left_out) == 1
    assert all(name in where.left_out[0] for name in ("kvpr", "whole", "placement.kv"))
    document = result_document(where, Request(AIM, Settings()), searched(where))
    assert where.left_out[0] in document["notes"]
    with pytest.raises(InputError, match=r"placement\.kv.*both kvpr and whole"):
        space({"kvpr": (one, "on"), "whole": (other, "on")})
    third = space(optional(one, other, technique("slower", SLOWER)))
    assert len(third.left_out) == 1                          # what holds the pair goes without saying
    assert len(third.variants) == 6


def test_knobs_are_axes_names_or_samples_and_points_repeat() -> None:
    where = space(optional(load_technique("kvpr")), {"kvpr.split": [0, 0.25, 0.5]}, model="opt-6.7b",
                  chip="a100_40g_sxm", gpus=1, engine="roofline")
    assert where.size == 3 + 3 * 3
    outcome = searched(where)
    assert outcome.considered == where.size
    sampled = space(optional(load_technique("kvpr")), {"kvpr.split": {"low": 0.1, "high": 0.6}}, gpus=1)
    assert [v.name for v in sampled.sampled] == ["kvpr.split"]
    default = space(optional(load_technique("kvpr")), gpus=1)
    assert 20 < len(default.variants[1].axes[0].values) <= 33       # its default is the best value
    for found in (outcome, searched(sampled)):
        held = where if found is outcome else sampled
        for i in range(len(found.front)):
            again = evaluation_at(held, found.front, i)
            assert again.metrics["tpot_s"] == pytest.approx(found.front.column("tpot_s")[i], rel=1e-9)


def test_the_grid_agrees_with_single_evaluations_of_every_variant() -> None:
    where = space(optional(load_technique("kvpr"), load_technique("preserve")), {"l2": ["10 MiB", "50 MiB"],
                  "kvpr.split": [0, 0.3]}, model="opt-6.7b", gpus=2, kv=(None, "fp8"))
    found = search_grid(where, Aim(("tpot_s",)), where.defaults, sample=10**6)
    sample = completed(where, Aim(("tpot_s",)), found.sample)
    picked = np.random.default_rng(3).choice(len(sample), 40, replace=False)
    assert len(set(sample.column("technique")[picked])) == 4
    for i in picked:
        alone = evaluation_at(where, sample, int(i))
        for name in ("tpot_s", *SHOWN):
            assert alone.metrics[name] == pytest.approx(sample.column(name)[i], rel=1e-5)


def test_what_a_technique_sets_itself_is_not_varied_beside_it() -> None:
    where = space({"kvpr": (load_technique("kvpr"), "on")}, {"kvpr.split": [0.5]}, free=("kv_offload",), gpus=1)
    assert where.sampled == ()
    outcome = searched(where)
    document = result_document(where, Request(AIM, Settings()), outcome)
    assert document["front"][0]["free"] == {"kv_offload": None}
    assert document["front"][0]["plan"]["placement"]["kv"]["host"] == 1
    assert document["front"][0]["knobs"] == {"kvpr.split": 0.5}
    assert any("sets kv_offload itself" in note for note in document["notes"])
    assert front_table(where, outcome)["rows"][0][-1] is not None
    formats = space({"small": (technique("small", {"formats": {"kv": "fp8"}}), "on")}, kv=("bf16", "fp8"))
    assert formats.size == len(formats.splits) * 3
    table = front_table(formats, searched(formats))
    assert {row[table["columns"].index("kv")] for row in table["rows"]} == {"set by the technique"}


def test_a_technique_is_tried_only_with_splits_that_can_be() -> None:
    where = space(optional(technique("pool", {"pools": {"prefill": 1}})), load="concurrency")
    apart = where.splits[where.rows_of(1)]
    assert 0 < len(apart) < len(where.splits)
    assert (apart[:, 2] > 1).all()
    assert searched(where).considered == where.size


def test_values_of_knobs_that_cannot_be_together_are_refused_one_by_one() -> None:
    from dse.plan.technique import Knob

    shares = {name: Knob(name, low=0.0, high=1.0, points=5, default=0.0) for name in ("here", "there")}
    rest = technique("rest", {"placement": {"kv": {"host": "=1 - here - there", "disk": "=there"}}}, **shares)
    where = space({"rest": (rest, "on")}, {"rest.here": [0, 0.5, 1], "rest.there": [0, 0.5, 1]}, gpus=1, loads=[1])
    found = search_grid(where, AIM, where.defaults)
    assert found.considered == where.size == 9
    assert found.rejected["knobs"] == 3
    sampled = space({"rest": (rest, "on")}, gpus=1, loads=[1])
    assert searched(sampled, trials=20).rejected["knobs"] > 0


def test_the_exploration_of_caches_evaluates_every_one() -> None:
    where = space(optional(load_technique("preserve")), {"l2": {"low": "1 MiB", "high": "200 MiB", "points": 200}},
                  loads=[1, 16, 256], chip="ascend_910b", engine="roofline", gpus=8)
    splits = len(where.splits)
    assert {1, 2, 4, 8} <= set(where.splits[:, 0])
    assert where.size == 200 * 2 * splits * 3
    outcome = searched(where, Aim(("output_tok_s_per_mm2",)))
    assert outcome.considered == where.size
    assert outcome.regret.value == 0
    assert outcome.trials == 0


def test_a_point_of_a_result_repeats_as_a_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "r"
    assert run(["search", *CHEAP, "--technique", "preserve=on", "--technique", "kvpr", "--knob", "kvpr.split=0.2,0.4",
                "--free", "none", "--out", str(folder)]) == 0
    capsys.readouterr()
    document = json.loads((folder / "result.json").read_text())
    assert document["search"]["variants"] == ["preserve", "preserve+kvpr"]
    for i, member in enumerate(document["front"][:3]):
        assert run(["evaluate", "llama-3.1-8b", "--hardware", "h100_sxm", "--plan", f"{folder}#{i}", "--gpus",
                    str(member["metrics"]["gpus"]), "--concurrency", str(member["traffic"]["concurrency"]),
                    "--input-tokens", "1024", "--output-tokens", "128", "--json"]) == 0
        again = json.loads(capsys.readouterr().out)
        assert again["metrics"]["tpot_s"] == pytest.approx(member["metrics"]["tpot_s"], rel=1e-9)
    with (folder / "front.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["technique"] == "+".join(document["front"][0]["techniques"])
    assert "kvpr.split" in rows[0]


def test_a_study_with_techniques_goes_on_where_it_stopped(tmp_path: Path) -> None:
    more = ("--technique", "kvpr", "--knob", "kvpr.split=0.1..0.9", "--free", "none", "--out", str(tmp_path / "r"))
    for trials in (2, 4):
        command = ["-m", "dse.cli.main", "search", *CHEAP, *more, "--trials", str(trials)]
        subprocess.run([sys.executable, *command], check=True, capture_output=True)     # hashes differ by process
    assert json.loads((tmp_path / "r" / "result.json").read_text())["search"]["trials"] == 4


def test_a_remade_cache_repeats_and_can_be_drawn(tmp_path: Path) -> None:
    page = pytest.importorskip("dse.report.page")
    folder = tmp_path / "r"
    assert run(["search", "opt-6.7b", "--hardware", "a100_40g_sxm", "--gpus", "1", "--input-tokens", "512",
                "--output-tokens", "64", "--batch", "8", "--technique", "kvpr=on", "--free", "none", "--knob",
                "kvpr.split=0.3", "--out", str(folder), "--report", str(tmp_path / "page.html")]) == 0
    member = page.read_result(folder)["front"][0]
    plan = plan_from_document(member["plan"], "")
    e = dse.evaluate(dse.load_model("opt-6.7b"), dse.load_system("a100_40g_sxm"), plan,
                     dse.Traffic(512, 64, batch=member["traffic"]["batch"]))
    assert e.metrics["tpot_s"] == pytest.approx(member["metrics"]["tpot_s"], rel=1e-9)
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "kvpr" in text
    assert "reshaped KV" in text


FILE = """
kind = "search"
title = "a"
question = "is it so?"
model = "llama-3.1-8b"
hardware = "h100_sxm"
gpus = 2
free = []
objectives = ["usd_per_mtok", "tpot_s"]
[traffic]
input_tokens = 1024
output_tokens = 128
concurrency = [1, 64]
[limits]
tpot_ms = 100
[techniques]
preserve = "off or on"
[knobs]
l2 = ["50 MiB", "60 MiB"]
"""


def test_a_file_says_what_options_say_and_options_win(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text(FILE)
    assert run(["search", str(tmp_path / "a.toml"), "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert run(["search", *CHEAP, "--technique", "preserve", "--free", "none", "--tpot-ms", "100", "--knob",
                "l2=50 MiB,60 MiB", "--json"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert one["front"] == other["front"]
    assert one["search"]["question"] == "is it so?"
    assert run(["search", str(tmp_path / "a.toml"), "--batch", "4", "--technique", "preserve=off", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    assert changed["search"]["traffic"]["batch"] == [4]
    assert "variants" not in changed["search"]


def test_a_technique_beside_the_file_goes_by_its_stem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slow.toml").write_text('kind = "technique"\nparallelism.shares = { hbm = 0.5 }\n')
    (tmp_path / "a.toml").write_text(FILE.replace("preserve =", '"slow.toml" ='))
    assert run(["search", str(tmp_path / "a.toml"), "--technique", "slow=on", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["search"]["variants"] == ["slow"]
    assert run(["search", "remade_cache", "--technique", "kvpr=off", "--technique", "remade_part=off", "--knob",
                "kv_offload=0.7,0.8", "--json"]) == 0                         # its knobs are without effect then
    assert "variants" not in json.loads(capsys.readouterr().out)["search"]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("gpus = 2", "gpsu = 2", "gpsu: no such key; did you mean 'gpus'"),
    ("input_tokens", "input_tokesn", "traffic.input_tokesn: no such key; did you mean 'input_tokens'"),
    ("concurrency = [1, 64]", "concurrency = [0]", "traffic.concurrency[0]"),
    ("concurrency = [1, 64]", "concurrency = 1\nrate = 2", "concurrency and rate"),
    ("tpot_ms", "tpt_ms", "did you mean 'tpot_ms'"),
    ('preserve = "off or on"', 'presrve = "on"', "did you mean 'preserve'"),
    ('"off or on"', '"onn"', "techniques.preserve: is 'onn', expected one of"),
    ("l2 =", "preserve.l2 =", "knobs.preserve"),
    ('"50 MiB"', '"50 ms"', "knobs.l2[0]: '50 ms' has the wrong unit"),
    ('free = []', 'free = ["l3"]', "free: no such variable: 'l3'"),
    ('"tpot_s"]', '"tpt_s"]', "did you mean 'tpot_s'"),
    ('"tpot_s"]', '"tpot_p90_s"]', "objectives tpot_p90_s: the"),
    ('kind = "search"', 'kind = "study"', "kind: is 'study', expected 'search'"),
    ('model = "llama-3.1-8b"', "", "model: missing"),
    ("gpus = 2", 'gpus = 2\nengine = "vlm"', "engine: no such engine: 'vlm'; did you mean 'vllm'"),
])
def test_a_file_that_is_wrong_is_one_line_and_exit_2(old: str, new: str, message: str, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.toml").write_text(FILE.replace(old, new, 1))
    assert run(["search", str(tmp_path / "a.toml")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(("more", "message"), [
    (("--technique", "kvrp"), "did you mean 'kvpr'"),
    (("--technique", "kvpr=maybe"), "--technique: 'kvpr=maybe' is not NAME or NAME=on"),
    (("--technique", "kvpr", "--technique", "kvpr=on"), "given twice"),
    (("--technique", "kvpr", "--knob", "kvpr.splt=1"), "did you mean 'kvpr.split'"),
    (("--technique", "kvpr", "--knob", "kvpr.split=2"), "technique: formats.kv.share: 2"),
    (("--technique", "kvpr=off", "--knob", "kvpr.split=1"), "no technique of the search has such a knob"),
    (("--knob", "l2=5"), "--knob l2[0]: 5 has the wrong unit"),
    (("--knob", "kv_offload=1.5"), "kv_offload: 1.5 cannot be"),
    (("--knob", "l2=9 MiB..3 MiB"), "expected low < high"),
    (("--knob", "l2"), "--knob"),
])
def test_what_is_no_technique_or_knob_is_one_line_and_exit_2(more: Sequence[str], message: str,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", *CHEAP, *more]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_misspelt_search_and_a_missing_option_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["search", "prefetch_l3"]) == 2
    assert "'prefetch_l2'" in capsys.readouterr().err
    assert run(["search", "llama-3.1-8b", "--input-tokens", "1", "--output-tokens", "2"]) == 2
    assert "--hardware: is missing" in capsys.readouterr().err


def test_a_technique_that_splits_the_model_itself_is_refused() -> None:
    with pytest.raises(InputError, match=r"parallelism\.tp: is what a search varies"):
        space(optional(technique("split", {"parallelism": {"tp": 2}})))


@pytest.mark.parametrize("name", search_names())
def test_every_search_of_the_catalogue_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = load_search(Path("studies/searches") / f"{name}.toml")
    assert asked.cells["question"].endswith("?")
    assert run(["search", name, "--trials", "2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["front"]
    assert not asked.techniques or any(name != "none" for name in document["search"]["variants"])


def test_several_points_of_the_free_variables_at_once_give_what_each_gives_alone() -> None:
    where = space(optional(load_technique("kvpr")), {"kvpr.split": {"low": 0.0, "high": 0.9}}, model="opt-6.7b", gpus=2,
                  kv=(None, "fp8"), free=("kv_offload", "l2"))
    random = np.random.default_rng(7)
    trials = [{v.name: float(random.uniform(v.low, v.high)) for v in where.sampled} for _ in range(5)]
    together = search_grids(where, AIM, trials, memory=1 << 22, sample=500)
    for trial, found in zip(trials, together, strict=True):
        alone = search_grid(where, AIM, trial, sample=500)
        assert (found.considered, found.feasible, found.rejected) == (alone.considered, alone.feasible, alone.rejected)
        assert found.front.columns(AIM.objectives) == pytest.approx(alone.front.columns(AIM.objectives), rel=1e-9)
        assert (len(found.sample) + len(found.front) > 0) == (found.feasible > 0)
    assert 0 < sum(found.feasible for found in together) < sum(found.considered for found in together)
