"""The search: exact fronts, the same answer twice, limits kept, trials that go on, files whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import dse
from dse.cli.search import search
from dse.errors import DseError, EnvironmentProblem, InputError, NothingFeasibleError
from dse.model.system import System
from dse.search import files
from dse.search.blocks import cuts, evaluate_grid
from dse.search.density import PER_DECADE, added_up
from dse.search.grid import Aim, names_of, search_grid
from dse.search.pareto import Points, front, joined, nondominated, plainest, scale_of
from dse.search.regret import measure
from dse.search.result import MOST_DETAILED, Request, evaluation_at, front_table, result_document
from dse.search.space import Space, enumerate_splits, make_space
from dse.search.storage import check_storage, without_password
from dse.search.study import Outcome, Settings, explore

AIM = Aim(("usd_per_mtok", "tpot_s"))
ARGUMENTS = ("llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "2", "--input-tokens", "1024", "--output-tokens",
             "128", "--concurrency", "1,16,256", "--trials", "4")
Given = Any


def space(model: str = "llama-3.1-70b", chip: str = "h100_sxm", gpus: int = 8, **changed: Given) -> Space:
    """A small space; `changed` replaces arguments of make_space."""
    given: dict[str, Given] = {"load": "concurrency", "loads": [1, 8, 64, 512], "input_tokens": 2048,
                               "output_tokens": 256, **changed}
    engine = given.pop("engine", "vllm")
    return make_space(dse.load_model(model), dse.load_system(chip, engine=engine), gpus=gpus, **given)


def scalar_rows(where: Space, aim: Aim, values: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Objectives and feasibility of every plan of a grid, each evaluated on its own."""
    rows, feasible = [], []
    for split in where.splits:
        for load in where.loads:
            one = dict(zip(("tp", "pp", "dp", "ep", "cp"), split.tolist(), strict=True))
            e = dse.evaluate(where.model, where.system_at(values, float(split[:3].prod() * split[4])),
                             where.plan_at(one, None, None, values), where.traffic_at(float(load)))
            rows.append([e.metrics[name] for name in aim.objectives])
            feasible.append(e.feasible and all(e.metrics[m] <= most for m, most in aim.limits.values()))
    return np.array(rows, dtype=float), np.array(feasible)


def test_the_grid_agrees_with_evaluating_each_plan_and_its_front_is_undominated() -> None:
    where, aim, values = space(), replace(AIM, limits={"tpot_ms": ("tpot_s", 0.06)}), {"kv_offload": 0.3,
                                                                                      "weight_offload": 0.0}
    found = search_grid(where, aim, values)
    rows, feasible = scalar_rows(where, aim, values)
    assert found.considered == len(rows) == where.size
    assert found.feasible == feasible.sum()
    assert sum(found.rejected.values()) == (~feasible).sum()
    good = rows[feasible]
    beaten = [(np.all(good <= r, axis=1) & np.any(good < r * (1 - 1e-9), axis=1)).any() for r in good]
    expected = {tuple(float(f"{v:.8g}") for v in r) for r, lost in zip(good, beaten, strict=True) if not lost}
    assert {tuple(float(f"{v:.8g}") for v in r) for r in found.front.columns(AIM.objectives)} == expected


@pytest.mark.parametrize(("model", "chip", "engine", "load", "loads", "tolerance"), [
    ("llama-3.1-70b", "h100_sxm", "vllm", "concurrency", [1, 16, 300, 4096], 1e-9),
    ("qwen3-235b-a22b", "h200_sxm", "trtllm", "concurrency", [3, 700], 1e-9),
    ("deepseek-v3.2", "h200_sxm", "sglang", "batch", [1, 64], 1e-9),
    ("llama-3.1-70b", "h100_sxm", "vllm", "rate", [0.5, 40], 1e-9),
    ("qwen3-30b-a3b", "mi300x", "vllm", "rate", [0.5, 40], 1e-5),       # a large cache: some splits nearly fit it,
    ("llama-3.2-1b", "h100_sxm", "vllm", "concurrency", [1, 64], 1e-5),     # and what is negligible is dropped
])
def test_blocks_of_the_open_grid_equal_single_evaluations(model: str, chip: str, engine: str, load: str,
                                                          loads: Sequence[float], tolerance: float) -> None:
    where = space(model, chip, 16, load=load, loads=loads, engine=engine, weights=(None, "fp8"), kv=("bf16", "fp8"),
                  free=("kv_offload", "weight_offload", "link"))
    link = where.free[2]
    values = {"kv_offload": np.array([0.1, 0.4]), "weight_offload": np.array([0.05, 0.2]),
              "link": np.array([link.low, link.default])}
    aim = Aim(("tpot_s",))
    blocks = list(evaluate_grid(where, values, memory=1 << 20))
    assert len(blocks) > 2
    random = np.random.default_rng(5)
    for _ in range(60):
        block = blocks[random.integers(len(blocks))]
        index = int(random.integers(np.prod(block.shape)))
        at = [cut[i] for cut, i in zip(block.cut, np.unravel_index(index, block.shape), strict=True)]
        row = [*where.splits[at[0]], 0.0, where.loads[at[1]], block.weights, at[2],
               *(values[v.name][i] for v, i in zip(where.free, at[3:], strict=True))]
        row[5] = float(np.prod(row[:3]) * row[4])
        table = Points(names_of(where, aim)[:len(row)], np.array([row], dtype=float))
        alone = evaluation_at(where, table, 0)
        for name, value in alone.metrics.items():
            other = block.flat(block.evaluation.metrics[name])[index]
            assert value is None or other == pytest.approx(value, rel=tolerance, nan_ok=True), (name, row)
        for name, excess in alone.constraints.items():
            assert block.flat(block.evaluation.constraints[name])[index] == pytest.approx(excess, rel=tolerance), name


def test_cuts_cover_a_grid_once_in_blocks_of_bounded_size() -> None:
    for lengths, most in (((7, 3, 2), 5), ((7, 3, 2), 1), ((4, 5), 1e9), ((3, 1000), 10)):
        seen = np.zeros(lengths, dtype=int)
        for cut in cuts(lengths, most):
            assert np.prod([len(c) for c in cut]) <= most
            seen[np.ix_(*cut)] += 1
        assert (seen == 1).all()


def test_splits_are_valid_up_to_the_devices_and_stay_in_a_domain_without_a_network() -> None:
    model, system = dse.load_model("qwen3-30b-a3b"), dse.load_system("h100_sxm")
    splits = enumerate_splits(model, system, 16)
    assert len(np.unique(splits, axis=0)) == len(splits)
    gpus = splits[:, :3].prod(axis=1) * splits[:, 4]
    assert gpus.max() == 16
    assert (np.diff(gpus) >= 0).all()
    for tp, pp, dp, ep, cp in splits.tolist():          # deploy refuses what cannot be
        dse.evaluate(model, replace(system, gpus=tp * pp * dp * cp), dse.Plan(tp=tp, pp=pp, dp=dp, ep=ep, cp=cp),
                     dse.Traffic(128, 16, batch=1))
    alone = replace(system, node=replace(system.node, chip=replace(system.chip, scale_out=None)))
    inside = enumerate_splits(model, alone, 16)
    assert 0 < len(inside) < len(splits)
    assert (inside[:, 0] * inside[:, 1] <= system.chip.scale_up.domain).all()


def test_fronts_keep_the_first_of_equals_and_merge() -> None:
    rows = np.array([[1, 5, 0], [1, 5, 1], [2, 4, 2], [2, 6, 3], [3, 4 * (1 - 1e-13), 4], [0.5, 9, 5]], dtype=float)
    points = Points(("a", "b", "id"), rows)
    assert front(points, ("a", "b"), (-1, -1)).column("id").tolist() == [5, 0, 2]
    assert front(joined([points, points]), ("a", "b"), (-1, -1)).column("id").tolist() == [5, 0, 2]
    assert front(points, ("a",), (1,)).column("id").tolist() == [4]
    three = np.random.default_rng(1).random((300, 3))
    kept = set(nondominated(three, (-1, 1, -1)).tolist())
    signed = three * np.array([1, -1, 1])
    assert kept == {i for i, r in enumerate(signed) if not ((signed <= r).all(axis=1) & (signed < r).any(axis=1)).any()}


def test_hypervolume_grows_with_a_better_front_and_ignores_units() -> None:
    values = np.array([[1.0, 10.0], [2.0, 5.0], [4.0, 4.0]])
    scale = scale_of(values, (-1, -1))
    assert scale.hypervolume(values * 0.9) > scale.hypervolume(values) > scale.hypervolume(values[:2]) > 0
    other = scale_of(values * [1000, 1], (-1, -1))
    assert other.hypervolume(values * [1000, 1]) == pytest.approx(scale.hypervolume(values))


def run(where: Space, aim: Aim = AIM, **settings: Given) -> Outcome:
    """A short search."""
    return explore(where, aim, Settings(**{"trials": 6, "seed": 3, **settings}))


def test_one_seed_gives_one_front_and_limits_hold() -> None:
    aim = Aim(("usd_per_mtok", "tpot_s"), {"ttft_ms": ("ttft_s", 0.5), "tpot_ms": ("tpot_s", 0.05)})
    one, two = run(space(), aim), run(space(), aim)
    assert np.array_equal(one.front.rows, two.front.rows)
    assert len(one.front)
    assert (one.front.column("ttft_s") <= 0.5).all()
    assert (one.front.column("tpot_s") <= 0.05).all()
    assert one.considered == 6 * space().size == one.feasible + sum(one.rejected.values())
    assert set(nondominated(one.front.columns(AIM.objectives), AIM.better).tolist()) == set(range(len(one.front)))
    alone = explore(space(free=()), aim, Settings())        # the first trial is the catalogue's own machine
    assert one.front.column("usd_per_mtok").min() <= alone.front.column("usd_per_mtok").min() * (1 + 1e-9)
    assert alone.regret.value == 0


def test_regret_is_measured_where_a_grid_is_affordable_and_else_not() -> None:
    where = space(free=("kv_offload",))
    exact = measure(where, AIM, 1.0, 1 << 29)
    assert exact.value is not None
    best = 1 / (exact.value + 1)
    assert measure(where, AIM, best, 1 << 29).value == pytest.approx(0, abs=1e-12)
    assert (measure(where, AIM, best * 0.9, 1 << 29).value or 0) < 0
    many = space(gpus=64, loads=np.arange(1, 200), free=("kv_offload", "weight_offload", "l2", "hbm", "link"))
    assert measure(many, AIM, 1.0, 1 << 29).text == "regret: not measured"


def test_single_objectives_are_bettered_in_their_own_direction() -> None:
    for name, best in (("output_tok_s", np.max), ("usd_per_mtok", np.min)):
        outcome = run(space(), Aim((name,)))
        assert len(outcome.front) == 1
        grid = search_grid(space(), Aim((name,)), space().defaults, sample=10**6)
        every = best([*grid.sample.column(name), *grid.front.column(name)])
        assert grid.front.column(name)[0] == pytest.approx(every, rel=1e-4)      # closer ones count as equal
        found = [float(outcome.front.column(name)[0]), float(grid.front.column(name)[0])]
        assert found[0] == pytest.approx(best(found), rel=1e-9)


def test_memory_rate_clock_and_token_budget_change_what_they_name_and_nothing_else() -> None:
    where = space(free=("hbm_rate", "clock", "budget"), loads=[64])
    chip, d = where.system.chip, where.defaults
    assert d["budget"] == where.system.engine.budget
    assert where.system_at(d, 8.0).chip.peak == pytest.approx(chip.peak)
    slower = where.system_at({**d, "clock": chip.clock / 2}, 8.0).chip
    assert slower.peak["bf16"] == pytest.approx(chip.peak["bf16"] / 2)
    assert slower.tdp_w < chip.tdp_w
    assert slower.memory_bandwidth == chip.memory_bandwidth
    faster = where.system_at({**d, "hbm_rate": 1.5 * chip.memory_bandwidth}, 8.0).chip
    assert (faster.memory_bandwidth, faster.memory_bytes) == (pytest.approx(1.5 * chip.memory_bandwidth),
                                                               chip.memory_bytes)
    tight = where.plan_at(dict.fromkeys(("tp", "pp", "dp", "ep", "cp"), 1.0), None, None, {"budget": 256.0})
    assert tight.batching.budget == 256


def test_chip_variables_change_the_chip_and_its_price_follows() -> None:
    where = space(free=("l2", "hbm", "link", "cores"), loads=[64])
    document = result_document(where, Request(AIM, Settings()), run(where))
    assert not [note for note in document["notes"] if "price" in note]
    chip = where.system.chip
    richer = where.system_at({"hbm": 6.0, "l2": 55e6, "link": 5e11, "cores": 120.0}, 8.0).chip
    assert richer.memory_bytes == pytest.approx(chip.memory_bytes * 6 / chip.memory_stacks)
    assert (richer.cache_bytes, richer.scale_up.bandwidth, richer.cores) == (55e6, 5e11, 120.0)
    assert richer.peak["bf16"] == pytest.approx(chip.peak["bf16"] * 120 / chip.cores)
    assert richer.price_usd != chip.price_usd
    same = where.system_at(where.defaults, 8.0).chip
    figures = ("price_usd", "tdp_w", "die_mm2", "memory_bytes", "cache_bandwidth", "cores")
    assert [getattr(same, f) for f in figures] == pytest.approx([getattr(chip, f) for f in figures], rel=1e-12)
    for member in document["front"]:
        assert set(member["free"]) == {"l2", "hbm", "link", "cores"}


def test_a_chip_without_silicon_says_that_its_price_does_not_follow_and_keeps_its_cores() -> None:
    where = space("llama-3.1-8b", "l40s", free=("l2", "link"), loads=[8])
    assert "do not follow l2, link: l40s has no silicon model" in result_document(
        where, Request(AIM, Settings()), run(where))["notes"][0]
    with pytest.raises(InputError, match="l40s has no silicon model: it lacks stacks of HBM; leave cores out"):
        space("llama-3.1-8b", "l40s", free=("cores",))


def test_silicon_that_nobody_uses_is_not_bought() -> None:
    """Alone on short prompts, decoding is bound by memory: fewer cores and less cache cost less and lose little."""
    where = space("llama-3.1-8b", gpus=1, loads=[1], input_tokens=32, free=("l2", "cores"))
    aim = Aim(("usd_per_mtok",), {"tpot_ms": ("tpot_s", 1.05 * search_grid(
        where, Aim(("tpot_s",)), where.defaults).front.column("tpot_s")[0])})
    best = explore(where, aim, Settings(trials=25, seed=1)).front
    assert best.column("cores")[0] < where.defaults["cores"]
    assert best.column("usd_per_mtok")[0] < search_grid(where, aim, where.defaults).front.column("usd_per_mtok")[0]


@pytest.mark.parametrize(("values", "name"), [
    ({"l2": 400e6, "cores": 132.0, "hbm": 5.0}, "reticle"), ({"l2": 50e6, "cores": 264.0, "hbm": 5.0}, "reticle"),
    ({"l2": 50e6, "cores": 100.0, "hbm": 10.0}, "shoreline"),
])
def test_chips_that_cannot_be_built_are_rejected_by_name(values: dict[str, float], name: str) -> None:
    found = search_grid(space(free=("l2", "cores", "hbm"), loads=[8]), AIM, values)
    assert found.feasible == 0
    assert found.rejected[name] > 0
    assert found.miss is not None


@pytest.mark.parametrize(("change", "message"), [
    ({"free": ("kv",)}, "no such variable"),
    ({"weights": ("fp9",)}, "did you mean 'fp8'"),
    ({"kv": ("bf61",)}, "did you mean 'bf16'"),
    ({"loads": []}, "nothing along concurrency"),
    ({"cp": (16,)}, "nothing along splits"),
    ({"trials": 10**14}, "shorten the longest axis"),
    ({"loads": [0.0]}, "traffic.concurrency"),
])
def test_spaces_that_cannot_be_searched_are_refused(change: dict[str, Given], message: str) -> None:
    with pytest.raises(InputError) as error:
        space(**change)
    assert message in str(error.value)


def without_host(system: System) -> System:
    return replace(system, node=replace(system.node, host=None))


def test_without_a_host_nothing_is_offloaded_and_asking_for_it_is_refused() -> None:
    model, system = dse.load_model("llama-3.1-8b"), without_host(dse.load_system("h100_sxm"))
    given: dict[str, Given] = {"gpus": 2, "load": "batch", "loads": [1], "input_tokens": 64, "output_tokens": 8}
    assert make_space(model, system, **given).free == ()
    with pytest.raises(InputError, match="no link to host memory for h100_sxm"):
        make_space(model, system, free=("kv_offload",), **given)


def test_a_journal_goes_on_where_it_stopped_and_another_space_is_refused(tmp_path: Path) -> None:
    journal = str(tmp_path / "study.journal")
    first = run(space(), storage=journal, trials=3)
    more = run(space(), storage=journal, trials=7)
    assert (first.trials, more.trials) == (3, 7)
    assert more.considered == 7 * space().size
    again = run(space(), storage=journal, trials=7)         # nothing left to do: the same front
    assert np.array_equal(again.front.rows, more.front.rows)
    with pytest.raises(InputError, match="begun for another search: gpus differ"):
        run(space(gpus=4), storage=journal)
    with pytest.raises(InputError, match="objectives differ"):
        run(space(), Aim(("tpot_s", "ttft_s")), storage=journal)
    assert run(space(gpus=4), storage=journal, study="another").trials == 6


def test_an_interrupted_search_keeps_its_finished_trials(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    settings = Settings(trials=9, storage=str(tmp_path / "study.journal"))
    outcome = explore(space(), AIM, settings, stop)
    assert outcome.interrupted
    assert outcome.trials == 3
    assert len(outcome.front)
    assert explore(space(), AIM, settings).trials == 9


@pytest.mark.parametrize(("place", "kind", "message"), [
    ("sqlite:///a.db", InputError, "locks"), ("mysql://u@h/d", InputError, "no such storage"),
    ("/nowhere/at/all/study.journal", InputError, "folder that exists"),
])
def test_storages_that_cannot_be_used_are_refused(place: str, kind: type[DseError], message: str) -> None:
    with pytest.raises(kind, match=message):
        run(space(loads=[1]), storage=place)


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not the journal of a study"):
        run(space(loads=[1]), storage=str(tmp_path / "thesis.tex"))
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_postgresql_without_its_package_is_an_environment_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dse.search.storage.find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"dse\[postgresql\]"):
        check_storage("postgresql://user:secret@host/name")
    assert without_password("--storage postgresql://user:secret@host/name") == \
        "--storage postgresql://user:***@host/name"


def test_nothing_feasible_names_the_constraint_and_the_nearest_miss() -> None:
    where = space("llama-3.1-405b", gpus=2, free=())
    outcome = explore(where, AIM, Settings())
    assert not len(outcome.front)
    assert outcome.rejected["memory"] == where.size
    assert outcome.miss is not None
    assert outcome.miss.constraint == "memory"
    assert outcome.miss.excess == pytest.approx(evaluation_at(where, outcome.miss.point, 0).constraints["memory"])


@pytest.fixture
def command() -> Callable[..., Any]:
    """`dse search` with the short search's arguments and others, without the entry point around it."""
    app = typer.Typer()
    app.command()(search)

    def call(*more: str, arguments: Sequence[str] = ARGUMENTS) -> Any:
        return CliRunner().invoke(app, [*arguments, *more])

    return call


def test_the_command_prints_the_front_and_writes_only_what_it_was_asked_for(
        command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = command()
    assert shown.exit_code == 0, shown.output
    assert "Pareto front" in shown.output
    assert "regret" in shown.output
    assert not list(tmp_path.iterdir())
    document = json.loads(command("--json").stdout)
    assert document["schema"] == "dse.result/1"
    assert document["counts"]["considered"] == sum(document["counts"]["rejected"].values()) + \
        document["counts"]["feasible"]
    assert document["front"][document["chosen"]]["metrics"]["usd_per_mtok"] == min(
        m["metrics"]["usd_per_mtok"] for m in document["front"])
    assert [step["concurrency"] for step in document["sweep"]][:3] == [1, 2, 4]


def test_out_holds_json_and_csv_that_agree_and_a_second_run_goes_on(command: Callable[..., Any],
                                                                    tmp_path: Path) -> None:
    folder = tmp_path / "new" / "result"
    assert command("--out", str(folder)).exit_code == 0
    assert {f.name for f in folder.iterdir()} == {"result.json", "front.csv", "points.csv", "study.journal",
                                                 "search.toml", ".lock"}
    document = json.loads((folder / "result.json").read_text())
    lines = (folder / "front.csv").read_text().splitlines()
    assert len(lines) == document["front_points"] + 1
    row = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert float(row["usd_per_mtok"]) == pytest.approx(document["front"][0]["metrics"]["usd_per_mtok"], rel=1e-9)
    assert command("--out", str(folder)).exit_code == 0
    again = json.loads((folder / "result.json").read_text())
    assert [m["metrics"] for m in again["front"]] == [m["metrics"] for m in document["front"]]


def test_a_result_can_be_drawn(command: Callable[..., Any], tmp_path: Path) -> None:
    page = pytest.importorskip("dse.report.page")
    assert command("--out", str(tmp_path / "r"), "--report", str(tmp_path / "page.html")).exit_code == 0
    assert page.read_result(tmp_path / "r")["front"]
    assert "llama-3.1-8b" in (tmp_path / "page.html").read_text("utf-8")


def small_result() -> tuple[dict[str, Any], dict[str, Any]]:
    where = space("llama-3.1-8b", gpus=2, free=(), loads=[1, 64])
    outcome = explore(where, AIM, Settings())
    return result_document(where, Request(AIM, Settings()), outcome), front_table(where, outcome)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document, table = small_result()
    files.write_result(tmp_path, document, table)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left"):
        files.write_result(tmp_path, {**document, "chosen": 99}, table)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("name", "text", "message"), [
    ("result.json", '{"schema": "dse.result/1", "version": "0.0.9"}', "version 0.0.9"),
    ("result.json", '{"schema": "other/1"}', "no search wrote"),
    ("result.json", "not json", "no search wrote"),
    ("thesis.tex", "years of work", "no search wrote"),
])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        files.write_result(tmp_path, *small_result())
    assert [f.name for f in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text


@pytest.mark.parametrize(("more", "kind", "message"), [
    (("--objective", "tpot"), InputError, "did you mean"),
    (("--objective", "batch"), InputError, "neither more nor less"),
    (("--concurrency", "1,x"), InputError, "--concurrency"),
    (("--batch", "4"), InputError, "at most one"),
    (("--free", "l3"), InputError, "no such variable"),
    (("--trials", "0"), InputError, "--trials"),
    (("--output-tokens", "1"), InputError, "no time between tokens"),
    (("--tpot-ms", "0.001"), NothingFeasibleError, "--tpot-ms rejects most"),
    (("--input-cv2", "-1"), InputError, "--input-cv2"),
    (("--output-cv2", "x"), InputError, "--output-cv2"),
    (("--ttft-p90-ms", "100"), InputError, "--ttft-p90-ms: the time to first token, P90 is known for a rate only"),
    (("--tpot-p90-ms", "100"), InputError, "--tpot-p90-ms"),
    (("--objective", "ttft_p99_s"), InputError, "known for a rate only"),
])
def test_what_cannot_be_searched_is_one_line(command: Callable[..., Any], more: Sequence[str], kind: type[DseError],
                                             message: str) -> None:
    outcome = command(*more)
    assert isinstance(outcome.exception, kind), outcome.output
    assert message in str(outcome.exception)
    assert "\n" not in str(outcome.exception)


RATES = tuple("--rate" if a == "--concurrency" else "1,4,16,64" if a == "1,16,256" else a for a in ARGUMENTS)


def test_quantiles_limit_a_search_over_rates(command: Callable[..., Any]) -> None:
    more = ("--input-cv2", "1", "--output-cv2", "0.5", "--json")
    free = json.loads(command(*more, arguments=RATES).stdout)
    assert (free["search"]["traffic"]["input_cv2"], free["search"]["traffic"]["output_cv2"]) == (1, 0.5)
    assert free["front"][0]["traffic"]["input_cv2"] == 1
    worst = max(member["metrics"]["ttft_p90_s"] for member in free["front"])
    least = min(member["metrics"]["ttft_p90_s"] for member in free["front"])
    limit = (worst + least) / 2
    found = json.loads(command("--ttft-p90-ms", str(1e3 * limit), "--tpot-p90-ms", "1000", *more,
                               arguments=RATES).stdout)
    assert found["search"]["limits"] == {"ttft_p90_s": pytest.approx(limit), "tpot_p90_s": 1}
    assert found["counts"]["rejected"]["ttft_p90_ms"] > 0
    assert all(member["metrics"]["ttft_p90_s"] <= limit for member in found["front"])
    assert "time to first token, P90" in command("--ttft-p90-ms", str(1e3 * limit), *more[:-1], arguments=RATES).stdout


@pytest.mark.parametrize(("more", "message"), [
    (("--objective", "goodput_requests_s"), "takes no targets"),
    (("--objective", "tpot_p90_s", "--output-tokens", "1"), "no time between tokens"),
])
def test_objectives_that_no_rate_has_are_refused(command: Callable[..., Any], more: Sequence[str],
                                                 message: str) -> None:
    outcome = command(*more, arguments=RATES)
    assert isinstance(outcome.exception, InputError), outcome.output
    assert message in str(outcome.exception)


def test_an_objective_in_money_is_refused_where_the_chip_has_no_price(command: Callable[..., Any]) -> None:
    from dse.catalogue.hardware import chip_names
    from dse.model.money import usd_per_device_hour

    chip = next(n for n in chip_names() if usd_per_device_hour(dse.load_system(n)) is None)
    arguments = [a if a != "h100_sxm" else chip for a in ARGUMENTS]
    refused = command(arguments=arguments)
    assert isinstance(refused.exception, InputError)
    assert chip in str(refused.exception)


def test_a_long_front_is_thinned_and_says_so() -> None:
    where = space("llama-3.2-1b", gpus=1, free=(), loads=np.arange(1, 401))
    outcome = explore(where, AIM, Settings())
    assert len(outcome.front) > MOST_DETAILED
    document = result_document(where, Request(AIM, Settings()), outcome)
    assert len(document["front"]) == MOST_DETAILED
    assert f"details of {MOST_DETAILED}" in document["notes"][0]
    assert len(document["points"]["rows"]) <= 5000


def test_the_density_counts_every_feasible_plan_where_it_lies() -> None:
    found = search_grid(space(), AIM, space().defaults, sample=10**6)
    cells = found.density
    assert cells.column("plans").sum() == pytest.approx(found.feasible)
    values = np.concatenate([found.front.columns(AIM.objectives), found.sample.columns(AIM.objectives)])
    places = np.floor(np.log10(values) * PER_DECADE)
    for i, j, plans in cells.rows:
        assert plans == pytest.approx(((places[:, 0] == i) & (places[:, 1] == j)).sum())
    twice = added_up([cells, cells])
    assert twice.column("plans").sum() == pytest.approx(2 * found.feasible)
    assert len(twice) == len(cells)


def test_a_plan_that_gains_nothing_by_an_effort_gives_way_to_the_plain_one() -> None:
    fancy = Points(("a", "b", "effort"), np.array([[1.0, 5.0, 1], [2.0, 4.0, 1], [3.0, 3.0, 1]]))
    plain = Points(("a", "b", "effort"), np.array([[1.00005, 5.0, 0], [2.01, 4.0, 0], [3.0, 3.0002, 0]]))
    kept = plainest(fancy, plain, ("a", "b"), (-1, -1))
    assert kept.column("effort").tolist() == [0, 1, 0]
    assert plainest(fancy, plain.take(np.zeros(0, dtype=int)), ("a", "b"), (-1, -1)) == fancy
