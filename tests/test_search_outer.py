"""The outer search: structures, several machines, samplers, first points, journals, and workers of one machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

import dse
from dse.cli.main import run
from dse.cli.search_asked import make_search, read_asked
from dse.errors import DseError, EnvironmentProblem, InputError
from dse.plan.technique import Knob, Technique
from dse.search import samplers
from dse.search.grid import Aim, search_grid
from dse.search.record import found_of, record_of
from dse.search.result import Request, evaluation_at, front_table, result_document
from dse.search.space import Space, make_space
from dse.search.storage import open_storage, without_password
from dse.search.structures import shares, structures_of
from dse.search.study import Settings, explore
from dse.search.warm import first_points
from dse.studies.variants import make_variants, read_choices

AIM = Aim(("usd_per_mtok", "tpot_s"))
ARGUMENTS = ("llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "2", "--input-tokens", "1024", "--output-tokens",
             "128", "--batch", "1,16")
Given = Any


def space(chip: str = "h100_sxm", techniques: Sequence[Technique] = (), **changed: Given) -> Space:
    """A small space, with techniques that are off or on."""
    given: dict[str, Given] = {"gpus": 2, "load": "batch", "loads": [1, 16, 64], "input_tokens": 1024,
                               "output_tokens": 128, **changed}
    variants = make_variants({t.name: (t, "off or on") for t in techniques}, read_choices({}, techniques))
    return make_space(dse.load_model("llama-3.1-8b"), dse.load_system(chip), **given, variants=variants)


def slower(name: str) -> Technique:
    """A technique with a knob of its own, that takes a share of the memory's rate away."""
    knob = Knob("part", low=0.1, high=0.9, default=0.5)
    return Technique(name, fields={"parallelism": {"shares": {"hbm": "=part"}}}, knobs={"part": knob}, where=name)


def test_variants_with_the_same_free_variables_are_one_structure() -> None:
    held = {"formats": {"kv": "fp8"}}
    plain = Technique("plain", fields=held, knobs={}, where="plain")
    where = space(techniques=[plain, slower("slow")], free=("link",))
    found = structures_of([where])
    assert [(s.variants, [v.name for v in s.space.sampled]) for s in found] == [
        ((0, 2), ["link"]), ((1, 3), ["link", "slow.part"])]
    assert sum(s.space.size for s in found) == where.size
    assert [s.space.variants for s in structures_of([space()])] == [space().variants]


def test_more_trials_never_take_any_from_a_structure_and_all_are_handed_out() -> None:
    found = structures_of([space(techniques=[slower("one"), slower("other")], free=("link", "hbm"))])
    assert len(found) == 4
    before = [0] * 4
    for trials in range(4, 120):
        now = shares(found, trials)
        assert sum(now) == trials
        assert all(n >= b for n, b in zip(now, before, strict=True))
        before = now
    assert before[3] > before[0] >= 8
    assert shares(found, 1) == [1, 1, 1, 1]
    assert shares(structures_of([space(free=())]), 50) == [0]


def test_the_fronts_of_structures_are_merged_with_each_points_own_technique() -> None:
    where = space(techniques=[slower("slow")], free=("link",))
    outcome = explore(where, AIM, Settings(trials=6))
    alone = explore(space(free=("link",)), AIM, Settings(trials=3))
    assert outcome.trials == 6
    assert {where.variants[int(i)].name for i in outcome.front.column("technique")} == {"none"}
    assert outcome.considered == 6 * search_grid(space(free=()), AIM, {}).considered
    assert np.allclose(outcome.front.columns(AIM.objectives)[0], alone.front.columns(AIM.objectives)[0], rtol=0.05)
    assert {where.variants[int(i)].name for i in outcome.sample.column("technique")} == {"none", "slow"}
    for row in range(0, len(outcome.sample), max(1, len(outcome.sample) // 20)):
        again = evaluation_at(where, outcome.sample, row)
        assert again.metrics["tpot_s"] == pytest.approx(outcome.sample.column("tpot_s")[row], rel=1e-9)


def test_several_machines_have_one_front_and_each_point_says_whose_it_is() -> None:
    chips = ("h100_sxm", "l40s", "h200_sxm")
    spaces = [space(chip, free=("kv_offload", "l2") if chip != "l40s" else ("kv_offload",)) for chip in chips]
    outcome = explore(spaces, AIM, Settings(trials=9))
    assert outcome.considered == sum(s.size for s in spaces) * 3
    places = outcome.front.column("space").astype(int)
    assert len(set(places)) > 1
    parts = [explore(s, AIM, Settings(trials=3)) for s in spaces]
    for objective in AIM.objectives:
        assert outcome.front.column(objective).min() == pytest.approx(
            min(part.front.column(objective).min() for part in parts), rel=1e-3)
    document = result_document(spaces, Request(AIM, Settings()), outcome)
    assert [m["hardware"] for m in document["front"]] == [chips[i] for i in places]
    assert all(m["hardware"] == m["system"]["name"] for m in document["front"])
    table = front_table(spaces, outcome)
    assert [row[table["columns"].index("space")] for row in table["rows"]] == [chips[i] for i in places]
    assert "hardware" not in result_document(spaces[0], Request(AIM, Settings()), parts[0])["front"][0]


def test_a_list_of_machines_is_asked_by_option_and_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = [a if a != "h100_sxm" else "h100_sxm,l40s" for a in ARGUMENTS]
    assert run(["search", *more, "--trials", "4", "--json"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert one["search"]["hardware"] == "h100_sxm, l40s"
    (tmp_path / "a.toml").write_text("""
kind = "search"
title = "a"
model = "llama-3.1-8b"
hardware = ["h100_sxm", "l40s"]
gpus = 2
trials = 4
[traffic]
input_tokens = 1024
output_tokens = 128
batch = [1, 16]
""")
    assert run(["search", str(tmp_path / "a.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["front"] == one["front"]
    assert run(["search", *more, "--trials", "4"]) == 0
    shown = capsys.readouterr().out
    assert "chip" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("name", ["tpe", "nsga2", "qmc", "random"])
def test_each_sampler_repeats_itself_and_another_seed_differs(name: str) -> None:
    where = space(free=("l2", "link"))

    def points(seed: int) -> list[list[float]]:
        rows = explore(where, AIM, Settings(trials=24, seed=seed, sampler=name)).sample
        return rows.columns(("l2", "link")).tolist()

    assert points(1) == points(1)
    assert points(1) != points(2)


@pytest.mark.parametrize(("name", "kind", "message"), [
    ("tpq", InputError, "did you mean 'tpe'"), ("gp", EnvironmentProblem, r"dse\[gp\]"),
    ("cmaes", EnvironmentProblem, r"dse\[cmaes\]")])
def test_a_sampler_that_cannot_run_is_refused_before_the_first_trial(
        name: str, kind: type[DseError], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "find_spec", lambda package: None)
    with pytest.raises(kind, match=message):
        explore(space(), AIM, Settings(sampler=name), lambda done, of: pytest.fail("work was done"))


def test_a_study_that_goes_on_proposes_what_it_would_have_proposed(tmp_path: Path) -> None:
    def values(journal: Path, *trials: int) -> list[dict[str, float]]:
        for count in trials:
            explore(space(), AIM, Settings(trials=count, storage=str(journal), study="a"))
        return [t.params for t in trials_of(journal)]

    whole, parts = values(tmp_path / "whole", 12), values(tmp_path / "parts", 5, 12)
    assert len(parts) == 12
    assert len({json.dumps(p) for p in parts}) == 12
    assert parts == whole


def test_a_search_begins_with_the_catalogues_chips_and_the_best_of_a_coarse_grid() -> None:
    where = space(free=("l2", "link", "hbm"))
    points, coarse = first_points(where, AIM, 500, 1 << 29)
    assert points[0] == where.defaults
    assert 4 <= len(points) <= 8
    for point in points:
        assert all(v.low <= point[v.name] <= v.high for v in where.sampled)
    assert coarse is not None
    for name in AIM.objectives:
        tried = [search_grid(where, AIM, point).front.column(name) for point in points]
        assert min(np.min(values, initial=np.inf) for values in tried) <= coarse.front.column(name).min() * (1 + 1e-3)


def test_plans_of_the_coarse_grid_are_counted() -> None:
    where = space(free=("link",))
    coarse = first_points(where, AIM, 40, 1 << 29)[1]
    assert coarse is not None
    assert coarse.considered == 5 * where.size
    assert explore(where, AIM, Settings(trials=40)).considered == 45 * where.size


def test_what_a_trial_found_survives_a_storage_bit_for_bit_and_rubbish_is_refused() -> None:
    where = space(loads=[1, 16, 64, 1e6], gpus=1)
    for aim in (AIM, Aim(AIM.objectives, {"tpot_ms": ("tpot_s", 1e-6)})):
        found = search_grid(where, aim, where.defaults, sample=50)
        again = found_of(json.loads(json.dumps(record_of(found))), found.front.names, "")
        assert np.array_equal(again.front.rows, found.front.rows, equal_nan=True)
        assert np.array_equal(again.sample.rows, found.sample.rows, equal_nan=True)
        assert (again.considered, again.feasible, again.rejected) == (found.considered, found.feasible, found.rejected)
        assert (again.miss is None) == (found.miss is None)
    for rubbish in (None, {}, {**record_of(found), "front": "?"}, {**record_of(found), "front": "AAAA"},
                    {**record_of(found), "rejected": [1]}, {**record_of(found), "miss": [1, 2]}):
        with pytest.raises(InputError, match="cannot be read"):
            found_of(rubbish, found.front.names, "a")


def trials_of(journal: Path, study: str = "a") -> list[optuna.trial.FrozenTrial]:
    with open_storage(str(journal)) as storage:
        return optuna.load_study(storage=storage, study_name=study).get_trials()


def test_constraints_go_by_their_names(tmp_path: Path) -> None:
    aim = Aim(AIM.objectives, {"tpot_ms": ("tpot_s", 1e-6)})
    explore(space(), aim, Settings(trials=2, storage=str(tmp_path / "j"), study="a"))
    constraints = [t.constraints for t in trials_of(tmp_path / "j")]
    assert all(set(c) == {"tpot_ms"} and c["tpot_ms"] > 0 for c in constraints)


def test_workers_together_make_the_number_of_trials_that_was_asked_and_the_front_of_one(tmp_path: Path) -> None:
    asked = read_asked("llama-3.1-8b", {"hardware": "h100_sxm", "gpus": "2", "input_tokens": "1024", "batch": "1,16",
                                        "output_tokens": "128"}, None, ("kvpr",), ("kvpr.split=0.1..0.6",))
    spaces, aim = make_search(asked)
    journal = tmp_path / "j"
    settings = Settings(trials=30, workers=2, storage=str(journal), study="a")
    outcome = explore(spaces, aim, settings, factory=partial(make_search, asked))
    assert outcome.trials == 30
    assert not outcome.notes
    trials = [t for name in ("a/none", "a/kvpr") for t in trials_of(journal, name)]
    complete = [t for t in trials if t.state == TrialState.COMPLETE]
    assert len({t.user_attrs["worker"] for t in complete}) == 2
    tried = {json.dumps([t.params, "kvpr.split" in t.params], sort_keys=True) for t in complete}
    assert len(complete) == len(tried) == 30                     # nobody does another's work again
    alone = explore(spaces, aim, Settings(trials=30))
    assert outcome.front.column("usd_per_mtok")[0] == pytest.approx(alone.front.column("usd_per_mtok")[0], rel=5e-3)
    assert len(os.listdir(tmp_path)) == 1


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


def finished(journal: Path) -> int:
    try:
        return sum(t.state == TrialState.COMPLETE for t in trials_of(journal))
    except (KeyError, DseError, FileNotFoundError):
        return 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_search_that_is_ended_goes_on_with_every_finished_trial(number: int, tmp_path: Path) -> None:
    journal, rates = tmp_path / "j", ",".join(str(n) for n in range(1, 60))
    command = [sys.executable, "-m", "dse.cli.main", "search", *ARGUMENTS[:-2], "--rate", rates, "--storage",
               str(journal), "--study", "a", "--trials"]
    ended = subprocess.Popen([*command, "400"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: finished(journal) >= 5)
    ended.send_signal(number)
    out, error = ended.communicate(timeout=60)
    if number == signal.SIGINT:
        assert ended.returncode == 130, error
        assert b"Pareto front" in out
        assert b"go on" in out
    held = {t.number for t in trials_of(journal) if t.state == TrialState.COMPLETE}
    assert 5 <= len(held) < 400
    again = subprocess.run([*command, str(len(held) + 10), "--json"], capture_output=True, check=True, timeout=120)
    assert json.loads(again.stdout)["search"]["trials"] == len(held) + 10
    trials = trials_of(journal)
    assert held <= {t.number for t in trials if t.state == TrialState.COMPLETE}
    assert not [t for t in trials if t.state == TrialState.RUNNING]


def test_a_line_that_a_killed_writer_left_torn_is_cut_off(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    explore(space(), AIM, Settings(trials=2, storage=str(journal), study="a"))
    with journal.open("ab") as file:
        file.write(b'{"op_code":4,"worker_')
    assert explore(space(), AIM, Settings(trials=4, storage=str(journal), study="a")).trials == 4
    assert explore(space(), AIM, Settings(trials=4, storage=str(journal), study="a")).trials == 4


@pytest.mark.parametrize("line", [b'{"op_code":99,"worker_id":"x"}\n', b'{"op_code":4}\n', b"rubbish\n\n",
                                  b'{"op_code":0,"worker_id":"x"}\n'])
def test_a_journal_that_is_damaged_or_newer_is_told_in_a_line(line: bytes, tmp_path: Path) -> None:
    journal = tmp_path / "j"
    explore(space(), AIM, Settings(trials=1, storage=str(journal), study="a"))
    with journal.open("ab") as file:
        file.write(line)
    with pytest.raises(InputError, match="damaged, or a newer version"):
        explore(space(), AIM, Settings(trials=2, storage=str(journal), study="a"))


def test_a_disk_that_fills_keeps_the_finished_trials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "j"
    settings = Settings(trials=3, storage=str(journal), study="a")
    explore(space(), AIM, settings)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentProblem, match=r"No space left.*trials are kept"):
            explore(space(), AIM, Settings(trials=6, storage=str(journal), study="a"))
    assert sum(t.state == TrialState.COMPLETE for t in trials_of(journal)) >= 3
    assert explore(space(), AIM, Settings(trials=6, storage=str(journal), study="a")).trials == 6


def test_a_study_of_something_else_is_refused(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with open_storage(str(journal)) as storage:
        other = optuna.create_study(storage=storage, study_name="a")
        other.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    with pytest.raises(InputError, match="'a' is a study of something else"):
        explore(space(), AIM, Settings(trials=2, storage=str(journal), study="a"))


def test_passwords_are_hidden_wherever_an_address_has_them() -> None:
    assert without_password("postgresql://me:pw@h/d") == "postgresql://me:***@h/d"
    assert without_password("postgresql://h/d?user=me&password=pw&x=1") == "postgresql://h/d?user=me&password=***&x=1"
