"""Bad input on the command line: an exit code, one line that says where and what, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dse.cli import evaluate
from dse.cli.main import run
from dse.errors import EnvironmentProblem

TRAFFIC = ("--concurrency", "64", "--input-tokens", "2048", "--output-tokens", "256")
LENGTHS = ("--input-tokens", "2048", "--output-tokens", "256")
ON = ("--hardware", "h100_sxm", *TRAFFIC)
LLAMA = ("evaluate", "llama-3.1-70b", *ON)

BAD = {
    "misspelt model": (("evaluate", "lama-3.1-70b", *ON), "model", "'llama-3.1-70b'"),
    "misspelt chip": (("evaluate", "llama-3.1-70b", "--hardware", "h100_smx", *TRAFFIC), "hardware", "'h100_sxm'"),
    "misspelt option": ((*LLAMA, "--wieghts", "fp8"), "dse evaluate", "'--weights'"),
    "misspelt command": (("evalute",), "dse", "evaluate"),
    "misspelt format": ((*LLAMA, "--weights", "pf8"), "--weights", "'fp8'"),
    "misspelt engine": ((*LLAMA, "--engine", "vlm"), "--engine", "'vllm'"),
    "misspelt basis": ((*LLAMA, "--cost", "rentd"), "--cost", "'rented'"),
    "misspelt cell": ((*LLAMA, "--set", "batching.buget=4"), "batching.buget", "'budget'"),
    "misspelt field": ((*LLAMA, "--set", "batchin.budget=4"), "batchin.budget", "'batching'"),
    "misspelt figure": ((*LLAMA, "--set", "chip.memory_bandwith=4 TB/s"), "memory_bandwith", "'memory_bandwidth'"),
    "misspelt network figure": ((*LLAMA, "--set", "chip.scale_up.bandwith=4 TB/s"), "bandwith", "'bandwidth'"),
    "misspelt constant": ((*LLAMA, "--set", "engine.iteraton=1 ms"), "iteraton", "'iteration'"),
    "misspelt item": (("catalogue", "show", "h100_sxn"), "catalogue", "'h100_sxm'"),
    "misspelt half": (("catalogue", "list", "hardwear"), "catalogue list", "hardware"),
    "negative tp": ((*LLAMA, "--tp", "-1"), "--tp", "from 1"),
    "zero tp": ((*LLAMA, "--tp", "0"), "--tp", "from 1"),
    "fraction of tp": ((*LLAMA, "--tp", "2.5"), "--tp", "whole"),
    "nan": ((*LLAMA, "--dp", "nan"), "--dp", "nan"),
    "absurd tp": ((*LLAMA, "--tp", "1e999"), "--tp", "65,536"),
    "absurd users": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--concurrency", "1e300", *LENGTHS),
                     "--concurrency", "from 1"),
    "no prompt": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--batch", "1", "--input-tokens", "0",
                   "--output-tokens", "1"), "--input-tokens", "from 1"),
    "share above one": ((*LLAMA, "--kv-offload", "1.5"), "--kv-offload", "from 0 to 1"),
    "hole in a list": ((*LLAMA, "--tp", "1,,2"), "--tp", "empty"),
    "word for a number": ((*LLAMA, "--tp", "two"), "--tp", "'two'"),
    "no load": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", *LENGTHS), "traffic", "--rate"),
    "two loads": ((*LLAMA, "--rate", "1"), "traffic", "exactly one"),
    "heads not divided": ((*LLAMA, "--tp", "7"), "parallelism.tp", "1, 2, 4, 8, 16, 32, 64"),
    "no row at all": ((*LLAMA, "--tp", "3,7"), "parallelism.tp", "none of the 2"),
    "devices left over": ((*LLAMA, "--tp", "8", "--gpus", "12"), "parallelism", "12 devices"),
    "too many stages": ((*LLAMA, "--pp", "81"), "parallelism.pp", "80"),
    "experts of a dense model": ((*LLAMA, "--ep", "2"), "parallelism.ep", "no experts"),
    "too long a table": ((*LLAMA, "--tp", ",".join(map(str, range(1, 90))), "--pp", ",".join(map(str, range(1, 80)))),
                         "--tp", "dse search"),
    "no unit": ((*LLAMA, "--set", "chip.memory_bandwidth=4"), "chip.memory_bandwidth", "B/s"),
    "wrong unit": ((*LLAMA, "--set", "chip.memory_bytes=4 TB/s"), "chip.memory_bytes", "80 GB"),
    "negative size": ((*LLAMA, "--set", "chip.memory_bytes=-4 GB"), "chip.memory_bytes", "negative"),
    "zero size": ((*LLAMA, "--set", "chip.memory_bytes=0 GB"), "chip.memory_bytes", "zero"),
    "absurd rate": ((*LLAMA, "--set", "chip.memory_bandwidth=4e30 B/s"), "chip.memory_bandwidth", "absurd"),
    "share of use above one": ((*LLAMA, "--set", "economics.utilisation=2"), "utilisation", "at most 1"),
    "no such topology": ((*LLAMA, "--set", "chip.scale_up.topology=star"), "topology", "torus2d"),
    "setting of a table": ((*LLAMA, "--set", "chip.scale_up=1"), "chip.scale_up", "bandwidth"),
    "setting without a value": ((*LLAMA, "--set", "parallelism.tp"), "--set", "field=value"),
    "setting given twice": ((*LLAMA, "--set", "parallelism.tp=2", "--set", "parallelism.tp=4"), "tp", "twice"),
    "option and setting": ((*LLAMA, "--tp", "2", "--set", "parallelism.tp=4"), "parallelism.tp", "--tp"),
    "edges by setting": ((*LLAMA, "--set", "overlap.x=1"), "overlap.x", "plan file"),
    "negative price": ((*LLAMA, "--usd-per-gpu-hour", "-1"), "--usd-per-gpu-hour", "from 0"),
    "variation": ((*LLAMA, "--arrival-cv2", "inf"), "--arrival-cv2", "inf"),
    "variation of a closed loop": ((*LLAMA, "--arrival-cv2", "2"), "--arrival-cv2", "--rate"),
    "variation of lengths": ((*LLAMA, "--input-cv2", "-1"), "--input-cv2", "from 0"),
    "word for a variation": ((*LLAMA, "--output-cv2", "much"), "--output-cv2", "'much'"),
    "more than all cached": ((*LLAMA, "--prefix-hit", "1.01"), "--prefix-hit", "from 0 to 1"),
    "no waves": ((*LLAMA, "--waves", "0"), "--waves", "from 1"),
    "waves of a rate": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--rate", "1", "--waves", "2",
                         *LENGTHS), "--waves", "--concurrency"),
    "zero target": ((*LLAMA, "--ttft-target-ms", "0"), "--ttft-target-ms", "from 0.001"),
    "targets of a closed loop": ((*LLAMA, "--ttft-target-ms", "9", "--tpot-target-ms", "9"), "--ttft-target-ms",
                                 "--rate"),
    "one target": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--rate", "1", "--tpot-target-ms", "9",
                    *LENGTHS), "--ttft-target-ms", "--tpot-target-ms"),
    "half a length": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--rate", "1", "--input-tokens", "9"),
                      "--output-tokens", "--trace"),
    "pool of everybody": ((*LLAMA, "--tp", "8", "--dp", "2", "--prefill-replicas", "2"), "pools.prefill", "--dp"),
    "pool of a lone replica": ((*LLAMA, "--tp", "8", "--prefill-replicas", "1"), "pools.prefill", "1 of 1 replicas"),
    "pool of a batch": (("evaluate", "llama-3.1-70b", "--hardware", "h100_sxm", "--batch", "1", "--dp", "2",
                         "--prefill-replicas", "1", *LENGTHS), "pools.prefill", "--rate"),
    "half a replica": ((*LLAMA, "--dp", "2", "--prefill-replicas", "0.5"), "--prefill-replicas", "whole"),
    "pool by option and setting": ((*LLAMA, "--dp", "2", "--prefill-replicas", "1", "--set", "pools.prefill=1"),
                                   "pools.prefill", "--prefill-replicas"),
    "drafts that nobody accepts": ((*LLAMA, "--draft-tokens", "3"), "--acceptance", "--draft-tokens"),
    "acceptance of nothing": ((*LLAMA, "--acceptance", "0.7"), "--draft-tokens", "--acceptance"),
    "certain acceptance": ((*LLAMA, "--draft-tokens", "3", "--acceptance", "1.1"), "--acceptance", "from 0 to 1"),
    "trace that is not there": ((*LLAMA, "--trace", "nowhere.csv"), "nowhere.csv", "CSV"),
    "plan that is not there": ((*LLAMA, "--plan", "nowhere.toml"), "nowhere.toml", "TOML"),
    "result that is not there": ((*LLAMA, "--plan", "nowhere#0"), "result.json", "search"),
    "nothing given": (("evaluate",), "dse evaluate", "model"),
    "no catalogue command": (("catalogue",), "dse catalogue", "--help"),
}


@pytest.mark.parametrize(("args", "where", "hint"), BAD.values(), ids=BAD)
def test_bad_input_is_one_line(args: tuple[str, ...], where: str, hint: str,
                               capsys: pytest.CaptureFixture[str]) -> None:
    assert run(args) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), err.endswith("\n")) == ("", 1, True)
    assert where in err
    assert hint in err
    assert "Traceback" not in err


@pytest.mark.parametrize("args", [case[0] for case in BAD.values()], ids=BAD)
def test_bad_input_is_one_document(args: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run((*args, "--json")) == 2
    found = json.loads(capsys.readouterr().out)
    assert set(found) == {"schema", "error"}
    assert set(found["error"]) == {"code", "where", "message", "hint"}
    assert found["error"]["code"] == 2
    assert found["error"]["message"]


CONFIGS = {
    "truncated": ('{"model_type": "llama", "hidden_size": 40', "line 1"),
    "empty": ("", "line 1"),
    "list": ("[]", "object"),
    "deep": ("[" * 100_000, "deeper"),
    "long number": ('{"model_type": "llama", "hidden_size": ' + "9" * 5000 + "}", "too long"),
    "negative": ('{"model_type": "llama", "num_hidden_layers": -1}', "num_hidden_layers"),
    "nan": ('{"model_type": "llama", "num_hidden_layers": NaN}', "num_hidden_layers"),
    "unknown type": ('{"model_type": "lama"}', "'llama'"),
    "control characters": ('{"model_type": "\\u001b[2Jx\\n"}', "model_type"),
}


@pytest.mark.parametrize(("text", "words"), CONFIGS.values(), ids=CONFIGS)
def test_hostile_config_is_one_line(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text(text, "utf-8")
    for path in (tmp_path, tmp_path / "config.json"):
        assert run(("evaluate", str(path), *ON)) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "config.json" in err
        assert words in err
        assert err[:-1].isprintable()


PLANS = {
    "misspelt field": ("[paralelism]\ntp = 2\n", "'parallelism'"),
    "misspelt key": ("[parallelism]\ntpp = 2\n", "'tp'"),
    "word for a number": ('[parallelism]\ntp = "x"\n', "parallelism.tp"),
    "not TOML": ("[parallelism\n", "not TOML"),
    "no tier": ("[placement]\nkv = { tape = 0.5 }\n", "placement.kv.tape"),
}


@pytest.mark.parametrize(("text", "words"), PLANS.values(), ids=PLANS)
def test_bad_plan_file_is_one_line(text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.toml").write_text(text, "utf-8")
    assert run((*LLAMA, "--plan", str(tmp_path / "plan.toml"))) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "plan.toml" in err
    assert words in err


RESULTS = {
    "not JSON": ("{", "0", "complete"),
    "another schema": ('{"schema": "dse.result/9", "front": []}', "0", "dse.result/1"),
    "no points": ('{"schema": "dse.result/1", "front": []}', "0", "none"),
    "past the end": ('{"schema": "dse.result/1", "front": [{}]}', "1", "from 0 to 0"),
    "no number": ('{"schema": "dse.result/1", "front": [{}]}', "x", "'x'"),
    "no index": ('{"schema": "dse.result/1", "front": [{}]}', "", "from 0 to 0"),
    "no plan": ('{"schema": "dse.result/1", "front": [{}]}', "0", "front[0].plan"),
    "bad plan": ('{"schema": "dse.result/1", "front": [{"plan": {"parallelism": {"tp": 0}}}]}', "0", "parallelism.tp"),
    "deep": ("[" * 100_000, "0", "JSON"),
}


@pytest.mark.parametrize(("text", "index", "words"), RESULTS.values(), ids=RESULTS)
def test_bad_result_is_one_line(text: str, index: str, words: str, tmp_path: Path,
                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text(text, "utf-8")
    assert run((*LLAMA, "--plan", f"{tmp_path}#{index}")) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "result.json" in err
    assert words in err


def _failing(error: BaseException) -> Callable[[bool], None]:
    """A command that fails."""
    def command(json: bool = False) -> None:
        raise error

    return command


@pytest.mark.parametrize(("error", "code", "words"), [
    (KeyboardInterrupt(), 130, "interrupted"),
    (MemoryError(), 6, "memory"),
    (OSError(28, "No space left on device", "out.json"), 6, "out.json: No space left"),
    (ModuleNotFoundError("No module named 'pyarrow'", name="pyarrow"), 6, "'pyarrow'"),
    (EnvironmentProblem("postgresql://x", "cannot be reached"), 6, "cannot be reached"),
    (ZeroDivisionError("two\nlines\x1b"), 1, "internal error: ZeroDivisionError"),
])
def test_every_failure_has_its_exit_code(error: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluate, "evaluate", _failing(error))
    assert run(("evaluate", "--json") if code == 6 else ("evaluate",)) == code
    out, err = capsys.readouterr()
    assert words in err
    assert err.count("\n") == 1
    assert err[:-1].isprintable()
    assert code != 6 or json.loads(out)["error"]["code"] == 6


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DSE_DEBUG", "1")
    monkeypatch.setattr(evaluate, "evaluate", _failing(ZeroDivisionError("x")))
    assert run(("evaluate",)) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_full_disk_is_one_line(form: tuple[str, ...]) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([sys.executable, "-m", "dse.cli.main", *LLAMA, "--tp", "8", *form], stdout=full,
                              stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "LC_ALL": "C"})
    assert (done.returncode, done.stderr) == (6, "dse: output: No space left on device\n")
