"""Habits of a shell: names completed, quiet commands, a plain page, a progress bar with rate and time left."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from dse.catalogue.models import model_names
from dse.catalogue.systems import hardware_names
from dse.cli import main, progress
from dse.cli.every_command import QUIET
from dse.cli.main import COMMANDS, load, run
from dse.model.metrics import METRICS
from dse.studies.files import study_names
from dse.studies.searches import search_names

DSE = (sys.executable, "-m", "dse.cli.main")
SMALL = ("--batch", "1", "--input-tokens", "100", "--output-tokens", "10")


def completed(line: str, **environment: str) -> list[str]:
    """What bash is offered for the last word of a line, which is empty after a space."""
    words = line.split(" ")
    env = {**os.environ, "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1), "_DSE_COMPLETE": "complete_bash",
           **environment}
    done = subprocess.run(DSE, env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(("line", "names"), [
    ("dse evaluate ", model_names()), ("dse evaluate x --hardware ", hardware_names()),
    ("dse search ", sorted({*model_names(), *search_names()})), ("dse search x --objective ", list(METRICS)),
    ("dse evaluate x --technique ", study_names()), ("dse reproduce ", study_names()),
    ("dse export --engine ", ["sglang", "trtllm", "vllm"])])
def test_shell_is_offered_the_names_of_the_catalogue(line: str, names: list[str]) -> None:
    assert completed(line) == names


def test_only_names_that_go_on_are_offered() -> None:
    assert completed("dse evaluate llama-3.1-8") == ["llama-3.1-8b"]
    assert completed("dse ev") == ["evaluate"]
    assert completed("dse evaluate x --hard") == ["--hardware"]
    assert "h200_sxm" in completed("dse catalogue show h2")


def test_last_item_of_a_comma_list_is_completed() -> None:
    assert completed("dse evaluate x --weights bf16,fp8") == ["bf16,fp8", "bf16,fp8_block"]


def test_names_of_a_folder_of_ones_own_are_offered(tmp_path: Path) -> None:
    (tmp_path / "workloads/models/mine").mkdir(parents=True)
    (tmp_path / "workloads/models/mine/config.json").write_text("{}", "utf-8")
    assert completed("dse evaluate mine", DSE_CATALOGUE=str(tmp_path)) == ["mine"]


def test_broken_folder_offers_nothing_and_writes_nothing_into_the_line(tmp_path: Path) -> None:
    assert completed("dse evaluate ", DSE_CATALOGUE=str(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_of_a_shell_is_printed(shell: str) -> None:
    done = subprocess.run([*DSE, "--show-completion", shell], capture_output=True, text=True, check=False,
                          env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert done.returncode == 0, done.stderr
    assert "_DSE_COMPLETE" in done.stdout or "_MAIN_COMPLETE" in done.stdout


def test_completion_loads_only_when_a_shell_asks() -> None:
    script = ("import sys; from dse.cli.main import run; run(['--help']);"
              "sys.exit('dse.cli.completion' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_quiet_and_answer_as_json(name: str) -> None:
    command = load(name)
    members = getattr(command, "commands", {}) or {name: command}
    for member in members.values():
        options = {text for parameter in member.params for text in parameter.opts}
        assert {"--quiet", "--json"} <= options, member.name


def test_quiet_command_prints_nothing_but_errors(capsys: pytest.CaptureFixture[str]) -> None:
    on = ("evaluate", "llama-3.1-8b", "--hardware", "h100_sxm", *SMALL)
    assert run([*on, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert run(["evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", *SMALL, "--quiet"]) == 3     # does not fit
    assert capsys.readouterr() == ("", "")
    assert run(["evaluate", "lama", "--hardware", "h100_sxm", *SMALL, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert run([*on, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["feasible"] is True
    assert not QUIET.get()


def test_page_has_no_colour_where_none_is_wanted() -> None:
    env = {**os.environ, "NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run([*DSE, "techniques"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", done.stdout)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that a test sets, and a terminal that a bar writes to."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def shown(clock: list[float], monkeypatch: pytest.MonkeyPatch, steps: int) -> str:
    """What a bar writes over some steps of a second each."""
    written = io.StringIO()
    monkeypatch.setattr(progress, "Console", lambda **_: Console(file=written, force_terminal=True, width=80,
                                                                 get_time=lambda: clock[0]))
    with progress.Bar("counting") as bar:
        for step in range(1, steps + 1):
            clock[0] += 1.0
            bar(step, 100)
            if bar._task is not None:
                bar._shown.refresh()
    return written.getvalue()


def test_bar_shows_after_two_seconds_with_rate_and_time_left(clock: list[float],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(clock, monkeypatch, 1) == ""
    page = shown(clock, monkeypatch, 20)
    assert "counting" in page
    assert "20/100" in page
    assert re.search(r"1/s|1 s each", page)
    assert "left" in page


def test_quiet_bar_shows_nothing(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    token = QUIET.set(True)
    try:
        assert shown(clock, monkeypatch, 20) == ""
    finally:
        QUIET.reset(token)


def test_main_answers_the_shell_before_it_parses_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_DSE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "dse --nonsense ")
    monkeypatch.setenv("COMP_CWORD", "2")
    with pytest.raises(SystemExit) as left:
        main.main()
    assert left.value.code in (0, 1)
