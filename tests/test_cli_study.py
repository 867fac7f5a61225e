"""`dse study`: files that are run, gone on with, shown and checked; what is needed to repeat a search; faults."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.catalogue.fingerprint import catalogue_fingerprint
from dse.cli.main import run
from dse.cli.search_asked import make_search, read_asked
from dse.model import steps
from dse.model.evaluate import Evaluation
from dse.model.spans import op
from dse.search import blocks, trials
from dse.studies.search_writer import search_document, search_text
from dse.studies.searches import search_names
from dse.toml_writer import dumps

FILE = """
kind = "search"
title = "a small search"
model = "llama-3.1-8b"
hardware = "h100_sxm"
gpus = 2
trials = 4
seed = 3
objectives = ["usd_per_mtok", "tpot_s"]
free = ["kv_offload"]
[traffic]
input_tokens = 512
output_tokens = 64
concurrency = [1, 64]
[limits]
tpot_ms = 100
"""
OPTIONS = ("search", "llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "2", "--trials", "4", "--seed", "3", "--free",
           "kv_offload", "--input-tokens", "512", "--output-tokens", "64", "--concurrency", "1,64", "--tpot-ms", "100")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A search file of two devices and four trials."""
    path = tmp_path / "small.toml"
    path.write_text(FILE, "utf-8")
    return path


def document(capsys: pytest.CaptureFixture[str], *args: object, code: int = 0) -> dict[str, Any]:
    """The one document on stdout."""
    assert run((*map(str, args), "--json")) == code
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def line(capsys: pytest.CaptureFixture[str], *args: object, code: int = 2) -> str:
    """The one line of an error."""
    assert run(tuple(map(str, args))) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def front_of(folder: Path) -> str:
    return (folder / "front.csv").read_text("utf-8")


def test_a_file_finds_what_its_options_find(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = document(capsys, "study", "run", file), document(capsys, *OPTIONS)
    assert one["front"] == other["front"]
    assert one["counts"] == other["counts"]
    more = document(capsys, "study", "run", file, "--trials", "2")
    assert more["search"]["trials"] == 2


def test_a_result_holds_the_search_that_gives_its_front_again(tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    first, again = tmp_path / "first", tmp_path / "again"
    result = document(capsys, *OPTIONS, "--out", first)
    assert run(("study", "run", str(first / "search.toml"), "--out", str(again))) == 0
    assert front_of(first) == front_of(again)
    repeat = result["repeat"]
    assert repeat["file"] == (first / "search.toml").read_text("utf-8")
    assert repeat["seed"] == 3
    assert repeat["catalogue_sha256"] == catalogue_fingerprint()
    assert {"dse", "python", "numpy", "optuna"} <= set(repeat["versions"])


def test_files_of_the_user_are_kept_by_path_and_content(file: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    technique = tmp_path / "slow one.toml"
    technique.write_text('kind = "technique"\nparallelism.shares = { hbm = 0.5 }\n')
    file.write_text(FILE + '[techniques]\n"slow one.toml" = "on"\n')
    result = document(capsys, "study", "run", file, "--out", tmp_path / "out")
    assert list(result["repeat"]["files"]) == [str(technique)]
    monkeypatch.chdir("/")
    assert document(capsys, "study", "run", tmp_path / "out" / "search.toml")["front"] == result["front"]
    before = result["repeat"]["files"][str(technique)]
    technique.write_text('kind = "technique"\nparallelism.shares = { hbm = 0.6 }\n')
    assert document(capsys, "study", "run", file)["repeat"]["files"][str(technique)] != before


def test_the_catalogues_fingerprint_sees_every_file_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = catalogue_fingerprint()
    own = tmp_path / "workloads" / "traffic" / "mine.toml"
    own.parent.mkdir(parents=True)
    own.write_text("a = 1")
    monkeypatch.setenv("DSE_CATALOGUE", str(tmp_path))
    with_own = catalogue_fingerprint()
    own.write_text("a = 2")
    assert len({before, with_own, catalogue_fingerprint()}) == 3


@pytest.mark.parametrize("name", search_names())
def test_every_search_of_the_catalogue_is_written_so_that_it_reads_the_same(name: str, tmp_path: Path) -> None:
    asked = read_asked(name, {}, None, (), ())
    path = tmp_path / "again.toml"
    path.write_text(search_text(asked), "utf-8")
    again = read_asked(str(path), {}, None, (), ())
    assert search_document(again) == search_document(asked)
    (spaces, aim), (others, other_aim) = make_search(asked), make_search(again)
    assert aim == other_aim
    assert [space.document() for space in spaces] == [space.document() for space in others]


@pytest.mark.parametrize("more", [
    ("--hardware", "h100_sxm,h200_sxm", "--sampler", "random", "--weights", "bf16,fp8"),
    ("--rate", "2", "--min-gpus", "--peak-to-mean", "2", "--ttft-p90-ms", "900", "--trials", "8"),
    ("--technique", "kivi", "--knob", "kivi.group=32", "--free", "none", "--usd-per-gpu-hour", "2.5", "--cp", "1,2"),
])
def test_whatever_options_ask_the_folders_file_asks_again(more: tuple[str, ...], tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    short = tuple(o for o in OPTIONS if "--rate" not in more or o not in ("--concurrency", "1,64"))
    document(capsys, *short, *more, "--out", tmp_path / "first")
    document(capsys, "study", "run", tmp_path / "first" / "search.toml", "--out", tmp_path / "again")
    assert front_of(tmp_path / "first") == front_of(tmp_path / "again")
    assert (tmp_path / "first" / "search.toml").read_text() == (tmp_path / "again" / "search.toml").read_text()


@pytest.mark.parametrize(("name", "free", "saved"), [
    ("l2_size", {"l2": (9e6, 15e6)}, (0.015, 0.03)),
    ("decode_chip", {"l2": (7e6, 15e6), "hbm": (3.2, 3.7), "link": (1.1e12, 1.7e12)}, (0.13, 0.17)),
    ("cache_and_weights_away", {"kv_offload": (0.001, 0.04), "weight_offload": (0, 0.04)}, (0.005, 0.02)),
])
def test_what_the_readme_says_of_the_chip_searches_stands(name: str, free: dict[str, tuple[float, float]],
                                                          saved: tuple[float, float],
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    one = ("search", name, "--objective", "usd_per_mtok")
    best, = document(capsys, *one)["front"]
    for variable, (low, high) in free.items():
        assert low < best["free"][variable] < high
    plain, = document(capsys, *one, "--free", "none")["front"]
    assert saved[0] < 1 - best["metrics"]["usd_per_mtok"] / plain["metrics"]["usd_per_mtok"] < saved[1]


def test_a_password_is_not_written_and_a_journal_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch,
                                                                       tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    asked = read_asked("prefetch_l2", {"storage": "postgresql://me:secret@host/db"}, None, (), ())
    assert "secret" not in search_text(asked)
    assert search_document(asked)["storage"] == "postgresql://me@host/db"
    asked["storage"] = "postgresql://host/db?user=me&password=secret"
    assert search_document(asked)["storage"] == "postgresql://host/db?user=me"
    asked = read_asked("prefetch_l2", {"storage": "study.log"}, None, (), ())
    assert search_document(asked)["storage"] == str(tmp_path / "study.log")


def test_toml_keeps_what_it_is_given() -> None:
    tree = {"a b": 'say "x"\\\n\t\x7f\u20ac', "list": [1, 2.5, "x", True], "nothing": [], "table": {
        "x.y": [1e-7, 1e300], "inner": {"low": "4 MiB", "high": -2}, "figure": {"value": 3}}}
    assert tomllib.loads(dumps(tree)) == tree


def test_check_counts_the_plans_that_a_run_considers(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counted = document(capsys, "study", "check", file)
    considered = document(capsys, "study", "run", file)["counts"]["considered"]
    assert counted["plans"] <= considered <= counted["plans"] * 9 / 8      # a coarse grid comes first
    part, = counted["structures"]
    assert part["axes"]["concurrency"] == 2
    assert part["trials"] == 4
    assert run(("study", "check", "prefetch_density")) == 0
    assert "256" in capsys.readouterr().out


@pytest.mark.parametrize(("old", "new", "words"), [
    ("seed = 3", "sede = 3", "sede: no such key; did you mean 'seed'"),
    ("seed = 3", 'seed = "3"', "seed: '3' is not a whole number"),
    ("trials = 4", "trials = 1e12", "trials: 1000000000000.0 is not a whole number from 1 to 1,000,000,000"),
    ("gpus = 2", "gpus = 2\nworkers = 0", "workers: 0 is not a whole number"),
    ("gpus = 2", 'gpus = 2\nmemory = "1 kB"', "--memory"),
    ("gpus = 2", 'gpus = 2\nsampler = "tpa"', "did you mean 'tpe'"),
    ("gpus = 2", 'gpus = 2\nstorage = "sqlite:///a.db"', "SQLite"),
    ("gpus = 2", "gpus = 2\ncp = [4]", "holds no plan: nothing along splits"),
    ("[1, 64]", "[" + "1, " * 400_000 + "1]", "larger than 1 MiB"),
    ('["kv_offload"]', '["kv_offload", 3]', "free: is"),
    ("[limits]", "[limits.deeper.and.deeper.and.deeper.and.deeper]", "nested too deeply"),
    ("[limits]", "[knobs]\nl2 = { low = '1 MiB', high = '64 MiB', points = 4096 }\n"
     "hbm = { low = 1, high = 5, points = 4096 }\nlink = { low = '1 GB/s', high = '2 GB/s', points = 4096 }\n"
     "cores = { low = 40, high = 90, points = 4096 }\n[limits]", "more than 1e+15 (splits"),
])
def test_a_file_that_cannot_be_run_is_refused_by_check_and_run(old: str, new: str, words: str, file: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text(FILE.replace(old, new, 1), "utf-8")
    assert words in line(capsys, "study", "run", file)
    assert words in line(capsys, "study", "check", file)


def test_a_pipe_is_no_search_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "p.toml")
    assert "is not a file" in line(capsys, "study", "check", tmp_path / "p.toml")


def test_what_is_no_search_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean 'prefetch_l2'" in line(capsys, "study", "run", "prefech_l2")
    assert "neither a search" in line(capsys, "study", "check", "llama-3.1-8b")


def test_resuming_does_only_what_is_missing_and_needs_only_the_folder(file: Path, tmp_path: Path,
                                                                     capsys: pytest.CaptureFixture[str]) -> None:
    folder, whole = tmp_path / "out", tmp_path / "whole"
    short = document(capsys, "study", "run", file, "--trials", "2", "--out", folder)
    file.unlink()
    assert document(capsys, "study", "resume", folder)["counts"] == short["counts"]
    longer = document(capsys, "study", "resume", folder, "--trials", "5")
    assert longer["search"]["trials"] == 5
    assert document(capsys, "study", "show", folder)["trials"]["complete"] == 5
    assert not whole.exists()


def test_a_killed_search_goes_on_with_its_finished_trials(file: Path, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    file.write_text(FILE.replace("trials = 4", "trials = 100000"), "utf-8")
    process = subprocess.Popen([sys.executable, "-m", "dse.cli.main", "study", "run", str(file), "--out", str(folder)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        finished = 0
        until = time.monotonic() + 120
        while finished < 3 and time.monotonic() < until:
            time.sleep(0.05)
            if (folder / "study.journal").exists():
                seen = document(capsys, "study", "show", folder)
                finished = seen["trials"].get("complete", 0)
                assert seen["state"] == "running"
        refused = line(capsys, "study", "run", file, "--out", folder)
        assert "another run writes to this folder" in refused
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert finished >= 3
    seen = document(capsys, "study", "show", folder)
    assert seen["state"] == "stopped"
    assert seen["so_far"]["rows"]
    held = seen["trials"]["complete"]
    assert document(capsys, "study", "resume", folder, "--trials", str(held + 2))["search"]["trials"] == held + 2


def test_an_interrupted_search_prints_its_front_and_how_to_go_on(file: Path, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    folder, real = tmp_path / "out", trials.search_grids
    rounds = 0

    def interrupted(*args: Any, **more: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds > 2:
            raise KeyboardInterrupt
        return real(*args, **more)

    monkeypatch.setattr(trials, "search_grids", interrupted)
    assert run(("study", "run", str(file), "--out", str(folder))) == 130
    said = capsys.readouterr().out
    assert "Pareto front" in said
    assert f"dse study resume {folder}" in " ".join(said.split())
    monkeypatch.undo()
    seen = document(capsys, "study", "show", folder)
    assert seen["state"] == "stopped"
    assert 0 < seen["trials"]["complete"] < 4
    assert document(capsys, "study", "resume", folder)["search"]["trials"] == 4
    assert document(capsys, "study", "show", folder)["state"] == "finished"


def test_a_folder_that_another_process_holds_is_refused_and_left_alone(file: Path, tmp_path: Path,
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    with (folder / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run writes to this folder" in line(capsys, "study", "run", file, "--out", folder)
    assert [f.name for f in folder.iterdir()] == [".lock"]
    assert run(("study", "run", str(file), "--out", str(folder))) == 0


@pytest.mark.parametrize(("change", "words"), [
    ({"search.toml": None}, "holds no search.toml"),
    ({"study.journal": None}, "holds no trials of it"),
    ({"search.toml": ('version = "', 'version = "9.')}, "is of version 9."),
    ({"search.toml": ("seed =", "sede =")}, "sede: no such key"),
    ({"search.toml": ("input_tokens = 512", "input_tokens = 513")}, "input_tokens differ"),
])
def test_a_folder_that_cannot_be_gone_on_with_says_why(change: dict[str, tuple[str, str] | None], words: str,
                                                       file: Path, tmp_path: Path,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    document(capsys, "study", "run", file, "--out", folder)
    for name, edit in change.items():
        text = (folder / name).read_text("utf-8")
        if edit is None:
            (folder / name).unlink()
        else:
            (folder / name).write_text(text.replace(*edit), "utf-8")
    assert words in line(capsys, "study", "resume", folder)


def test_a_search_without_trials_or_storage_cannot_be_gone_on_with(file: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert "names no storage" in line(capsys, "study", "resume", file)
    assert "asks for no trials" in line(capsys, "study", "resume", "two_bit_cache")


def test_a_file_with_a_storage_goes_on_where_it_stopped(file: Path, tmp_path: Path,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    journal = tmp_path / "study.log"
    file.write_text(FILE.replace("gpus = 2", f"gpus = 2\nstorage = '{journal}'"), "utf-8")
    assert "holds no trials of it" in line(capsys, "study", "resume", file)
    first = document(capsys, "study", "run", file)
    assert document(capsys, "study", "resume", file)["front"] == first["front"]


@pytest.mark.parametrize("stage", ["search.toml", "result.json"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(stage: str, file: Path, tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    folder, left = tmp_path / "out", {"search.toml": 0, "result.json": 3}[stage]
    written = 0

    def fill(descriptor: int) -> None:
        nonlocal written
        if written >= left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += 1

    file.write_text(FILE.replace('free = ["kv_offload"]', "free = []"), "utf-8")
    monkeypatch.setattr("dse.whole_file.os.fsync", fill)
    said = line(capsys, "study", "run", file, "--out", folder, code=6)
    assert "No space left on device" in said
    assert stage in said
    assert stage not in {f.name for f in folder.iterdir()}
    assert not [f.name for f in folder.iterdir() if f.name.endswith(".part")]
    monkeypatch.undo()
    assert run(("study", "run", str(file), "--out", str(folder))) == 0


@pytest.mark.parametrize(("lacking", "code"), [(np.nan, 0), (np.nan, 4), (np.inf, 4)])
def test_an_objective_without_a_value_names_the_plan_and_the_metric(
        lacking: float, code: int, file: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    real = blocks.evaluate

    def spoilt(*args: Any, **more: Any) -> Evaluation:
        e = real(*args, **more)
        tpot = np.asarray(e.metrics["tpot_s"]) * np.ones(np.shape(e.metrics["usd_per_mtok"]))
        spoil = e.plan.parallelism.tp == 2 if code == 0 else True
        return replace(e, metrics={**e.metrics, "tpot_s": np.where(spoil, lacking, tpot)})

    monkeypatch.setattr(blocks, "evaluate", spoilt)
    file.write_text(FILE.replace("[limits]\ntpot_ms = 100\n", ""), "utf-8")
    if code == 0:
        notes = " ".join(document(capsys, "study", "run", file)["notes"])
        assert "lack an objective: tpot_s is not a finite number, for one at tp=2" in notes
    else:
        said = line(capsys, "study", "run", file, code=4)
        assert "tpot_s is not a finite number, for one at tp=1 concurrency=1" in said


def test_an_objective_without_a_value_names_the_operation_that_has_none(
        file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(steps, "engine_work", lambda d, sequences: op("engine", {"engine": np.nan}))
    said = line(capsys, "study", "run", file, code=4)
    assert "'s engine takes nan s on engine" in said


