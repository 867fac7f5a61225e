"""Searches of many workers on a PostgreSQL server, and what can be wrong with one."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import optuna
import pytest
from optuna.trial import TrialState
from postgresql_server import Server, free_port, missing, server

from dse.cli.main import run
from dse.search.storage import open_storage

TRIALS = 40
SEARCH = ("llama-3.1-70b", "--hardware", "h100_sxm", "--gpus", "8", "--input-tokens", "1024", "--output-tokens", "256",
          "--rate", ",".join(f"{0.125 * n:g}" for n in range(1, 241)), "--free", "none", "--knob",
          "link=300 GB/s..1200 GB/s", "--tpot-ms", "80", "--objective", "usd_per_mtok")
"""Grids that take a while: requests at a rate, whose batches are roots of equations."""
SMALL = ("llama-3.1-8b", "--hardware", "h100_sxm", "--gpus", "1", "--input-tokens", "64", "--output-tokens", "16",
         "--batch", "1", "--trials", "3")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Server]:
    """A server of this module's own."""
    if importlib.util.find_spec("psycopg") is None:
        missing("the package psycopg is not installed")
    with server() as made:
        yield made


def start(*arguments: str) -> subprocess.Popen[str]:
    """A worker, as a command line."""
    return subprocess.Popen([sys.executable, "-m", "dse.cli.main", "search", *arguments], text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def trials_of(address: str, study: str) -> list[optuna.trial.FrozenTrial]:
    with open_storage(address) as storage:
        return optuna.load_study(storage=storage, study_name=study).get_trials()


def killed_in_a_trial(address: str, study: str, worker: subprocess.Popen[str]) -> list[int]:
    """Numbers of the trials that a process ran when it was killed."""
    lost, end = list[int](), time.monotonic() + 120
    with open_storage(address) as storage:
        while not lost and time.monotonic() < end:
            assert worker.poll() is None, worker.communicate()[1]
            time.sleep(0.1)
            worker.send_signal(signal.SIGSTOP)      # so that a trial which runs now runs when the worker is killed
            with suppress(KeyError):
                lost = [t.number for t in optuna.load_study(storage=storage, study_name=study).get_trials()
                        if t.state == TrialState.RUNNING and f" {worker.pid}@" in t.user_attrs.get("worker", "")
                        and t.params]
            worker.send_signal(signal.SIGKILL if lost else signal.SIGCONT)
    assert lost, "the worker had no trial"
    return lost


def test_four_workers_finish_a_search_though_one_is_killed_in_the_middle_of_a_trial(postgresql: Server) -> None:
    address = postgresql.create("four")
    arguments = (*SEARCH, "--trials", str(TRIALS), "--storage", address, "--study", "four", "--json")
    workers = [start(*arguments) for _ in range(4)]
    victim = workers[0]
    lost = killed_in_a_trial(address, "four", victim)
    finished = {t.number for t in trials_of(address, "four") if t.state == TrialState.COMPLETE}
    results = [worker.communicate(timeout=300) for worker in workers]
    assert victim.returncode == -signal.SIGKILL
    for worker, (_, error) in zip(workers[1:], results[1:], strict=True):
        assert worker.returncode == 0, error
    trials = trials_of(address, "four")
    complete = {t.number: t for t in trials if t.state == TrialState.COMPLETE}
    assert len(complete) == TRIALS
    assert finished <= set(complete)
    assert not [t for t in trials if t.state in (TrialState.RUNNING, TrialState.WAITING)]
    for number in lost:
        assert trials[number].state == TrialState.FAIL
        again = [t for t in complete.values() if number in t.system_attrs.get("retry_history", ())]
        assert [t.params for t in again] == [trials[number].params]
    documents = [json.loads(out) for out, _ in results[1:]]
    alone = subprocess.run([sys.executable, "-m", "dse.cli.main", "search", *SEARCH, "--trials", str(TRIALS), "--json"],
                           capture_output=True, text=True, check=True)
    best = json.loads(alone.stdout)["front"][0]["metrics"]["usd_per_mtok"]
    for document in documents:
        assert document["search"]["trials"] == TRIALS
        assert document["front"] == documents[0]["front"]
        assert document["front"][0]["metrics"]["usd_per_mtok"] == pytest.approx(best, rel=5e-3)


def test_a_database_keeps_a_study_and_refuses_another_search_of_its_name(
        postgresql: Server, capsys: pytest.CaptureFixture[str]) -> None:
    address = postgresql.create("kept")
    assert run(["search", *SMALL, "--storage", address, "--study", "kept", "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert run(["search", *SMALL, "--storage", address, "--study", "kept", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["front"] == first["front"]
    assert again["search"]["trials"] == 3
    assert run(["search", *SMALL, "--input-tokens", "65", "--storage", address, "--study", "kept"]) == 2
    assert "begun for another search: input_tokens differ" in capsys.readouterr().err


def said(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that fails with this code."""
    assert run(["search", *SMALL, *arguments]) == code
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_a_server_that_is_not_there_is_told_without_the_password(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("psycopg")
    line = said(["--storage", f"postgresql://me:secret@127.0.0.1:{free_port()}/dse"], 6, capsys)
    assert "refused" in line
    assert "secret" not in line


def test_databases_that_are_none_of_ours_are_refused(postgresql: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in said(["--storage", postgresql.address("nowhere")], 6, capsys)
    shop = postgresql.create("shop")
    postgresql.sql("shop", "CREATE TABLE orders (id int)")
    line = said(["--storage", shop], 2, capsys)
    assert "is a database of something else (it has orders)" in line
    newer = postgresql.create("newer")
    assert run(["search", *SMALL, "--storage", newer]) == 0
    capsys.readouterr()
    postgresql.sql("newer", "UPDATE alembic_version SET version_num = 'v9.0.0.a'")
    assert "tables of another version of Optuna (v9.0.0.a" in said(["--storage", newer], 6, capsys)


def test_a_server_that_stops_ends_the_search_with_a_line_and_the_trials_stay(postgresql: Server) -> None:
    address = postgresql.create("stopped")
    arguments = (*SEARCH, "--trials", "200", "--storage", address, "--study", "stopped")
    worker = start(*arguments)
    end, finished = time.monotonic() + 120, 0
    while finished < 2 and time.monotonic() < end:
        assert worker.poll() is None, worker.communicate()[1]
        with suppress(KeyError):
            finished = sum(t.state == TrialState.COMPLETE for t in trials_of(address, "stopped"))
    postgresql.stop()
    try:
        _, error = worker.communicate(timeout=60)
    finally:
        postgresql.start()
    assert worker.returncode == 6, error
    assert "is the server running" in error
    assert error.strip().count("\n") == 0
    assert sum(t.state == TrialState.COMPLETE for t in trials_of(address, "stopped")) >= finished
