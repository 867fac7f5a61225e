"""From a plan to the command that launches it: flags of one engine release, quoted, and what no flag can say."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dse import Plan, Traffic, evaluate, load_model
from dse.catalogue.paths import data_roots
from dse.cli.main import run
from dse.errors import InputError
from dse.launch.command import Launch, Target, launch
from dse.launch.engines import launch_engines, load_launch_engine
from dse.launch.words import script
from dse.model.document import evaluation_document
from dse.plan.fields import Chance, Parallelism
from dse.plan.pools import Pools

ENGINES = ("sglang", "trtllm", "vllm")
LLAMA = ("--model", "llama-3.1-70b", "--hardware", "h100_sxm", "--input-tokens", "2048", "--output-tokens", "256")
USERS = Traffic(2048, 256, concurrency=64)
HOSTILE = "me/it's; rm -rf $HOME `id` \"x\""


def launched(engine: str, plan: Plan, model: str = "llama-3.1-8b", traffic: Traffic = USERS, **target: Any) -> Launch:
    """The launch of a plan of a catalogued model on nodes of eight H100."""
    document = evaluation_document(evaluate(model, "h100_sxm", plan, traffic))
    held = {"checkpoint": "me/model", "stored": load_model(model).formats, "per_node": 8, **target}
    return launch(document, engine, Target(**held))


def flags(made: Launch, number: int = 0) -> dict[str, str]:
    """The flags of a server with their values."""
    words = made.servers[number].words
    pairs = zip(words, [*words[1:], "--"], strict=True)
    return {word: "" if after.startswith("--") else after for word, after in pairs if word.startswith("--")}


def said(capsys: pytest.CaptureFixture[str], *args: str, code: int = 0) -> str:
    """What a command prints, having exited with `code`."""
    assert run(["export", *args]) == code
    return capsys.readouterr().out


@pytest.mark.parametrize("engine", ENGINES)
def test_every_flag_that_is_written_stands_in_the_list_with_its_source(engine: str) -> None:
    known = load_launch_engine(engine)
    listed = {flag.name for flag in known.flags.values()} | {flag.beside for flag in known.flags.values()}
    listed |= {name for part in (known.drafts.ngram, known.drafts.model, known.pools.prefill, known.pools.decode)
               for name in part} | {known.model, known.config, "--ntasks", "--ntasks-per-node", "--mpi=pmix"}
    assert known.version
    assert all(flag.file.endswith(".py") for flag in known.flags.values())
    plans = [Plan(tp=2, kv="fp8", weights="fp8", kv_offload=0.1, weight_offload=0.1), Plan(tp=8, pp=4, dp=2),
             Plan(tp=2, parallelism=Parallelism(dp=4), pools=Pools(prefill=2)),
             Plan(chance=Chance(draft_tokens=3, acceptance=0.7))]
    for made in (launched(engine, plan, drafter=drafter) for plan in plans for drafter in (None, "me/small")):
        for number, server in enumerate(made.servers):
            assert set(flags(made, number)) <= listed
            assert {name for name in listed if name and "." in name} >= {
                f"{key}.{inner}" for key, table in server.config.items() if isinstance(table, dict) for inner in table}


def test_list_of_engines_is_the_one_in_the_help() -> None:
    assert tuple(launch_engines()) == ENGINES


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("plan", [Plan(tp=8), Plan(tp=2, dp=4), Plan(tp=2, pp=2, dp=2), Plan(tp=4, dp=8),
                                  Plan(dp=4, tp=2, pools=Pools(prefill=1))])
def test_servers_use_every_device_of_the_plan(engine: str, plan: Plan) -> None:
    made = launched(engine, plan)
    used = sum(server.count * server.devices for server in made.servers)
    assert used == evaluate("llama-3.1-8b", "h100_sxm", plan, USERS).deployment.gpus
    for number, server in enumerate(made.servers):
        f = {name.lstrip("-").replace("_", "-"): value for name, value in flags(made, number).items()}
        tp = int(f.get("tensor-parallel-size") or f["tp-size"])
        pp = int(f.get("pipeline-parallel-size") or f.get("pp-size") or 1)
        dp = int(f.get("data-parallel-size") or f.get("dp-size") or 1)
        assert tp * pp * dp == server.devices


@pytest.mark.parametrize(("engine", "expected"), [
    ("vllm", {"--tensor-parallel-size": "1", "--data-parallel-size": "16", "--enable-expert-parallel": ""}),
    ("sglang", {"--tp-size": "16", "--attn-dp-size": "16", "--ep-size": "16"}),
    ("trtllm", {"--tp_size": "16", "--ep_size": "16"})])
def test_attention_ranks_that_share_experts_are_one_server(engine: str, expected: dict[str, str]) -> None:
    made = launched(engine, Plan(tp=1, dp=16, ep=16), "deepseek-v3")
    assert expected.items() <= flags(made).items()
    assert (made.servers[0].count, made.servers[0].devices) == (1, 16)
    if engine == "trtllm":
        assert made.servers[0].config["enable_attention_dp"] is True
        assert made.servers[0].words[:2] == ["srun", "-N"]


def test_replicas_of_a_mixture_are_servers_of_their_own_in_vllm() -> None:
    made = launched("vllm", Plan(tp=4, dp=2), "mixtral-8x7b")
    assert (made.servers[0].count, made.servers[0].devices) == (2, 4)
    assert "--data-parallel-size" not in flags(made)


@pytest.mark.parametrize(("engine", "flag", "name"), [("vllm", "--kv-cache-dtype", "fp8"),
                                                      ("sglang", "--kv-cache-dtype", "fp8_e4m3")])
def test_formats_of_the_checkpoint_need_no_flag_and_others_do(engine: str, flag: str, name: str) -> None:
    assert flag not in flags(launched(engine, Plan(tp=2)))
    assert "--quantization" not in flags(launched(engine, Plan(tp=2)))
    made = launched(engine, Plan(tp=2, kv="fp8", weights="fp8"))
    assert flags(made)[flag] == name
    assert flags(made)["--quantization"].startswith("fp8")
    stored = {"mlp_weights": "fp8", "attention_weights": "fp8", "expert_weights": "fp8", "kv": "fp8"}
    assert not {"--quantization", flag} & set(flags(launched(engine, Plan(tp=2, kv="fp8", weights="fp8"),
                                                            stored=stored)))


@pytest.mark.parametrize("engine", ENGINES)
def test_format_that_no_engine_makes_is_said_and_not_launched(engine: str) -> None:
    made = launched(engine, Plan(tp=2, weights="int4", kv="int2"))
    assert any("weights in int4" in text for text in made.missing)
    assert any("KV in int2" in text for text in made.missing)
    assert "--quantization" not in flags(made)


def test_batch_is_the_loads_within_the_memory() -> None:
    for users, dp in ((64, 1), (64, 4), (10, 4)):
        made = launched("vllm", Plan(tp=1, dp=dp), traffic=Traffic(2048, 256, concurrency=users))
        assert int(flags(made)["--max-num-seqs"]) == -(-users // dp)
    e = evaluate("llama-3.1-8b", "h100_sxm", Plan(), Traffic(2048, 256, concurrency=100_000))
    made = launched("vllm", Plan(), traffic=Traffic(2048, 256, concurrency=100_000))
    assert int(flags(made)["--max-num-seqs"]) == int(e.metrics["kv_slots"])  # type: ignore[arg-type]
    assert flags(launched("vllm", Plan(), traffic=Traffic(2048, 256, batch=7)))["--max-num-seqs"] == "7"


def test_sizes_in_host_memory_are_those_of_the_evaluation() -> None:
    plan = Plan(tp=2, kv_offload=0.5, weight_offload=0.25)
    e = evaluate("llama-3.1-8b", "h100_sxm", plan, USERS)
    weights = sum(float(size) for name, size in e.host_memory.items() if name not in ("kv", "x"))
    kv = float(e.host_memory["kv"])
    f = flags(launched("vllm", plan))
    assert 0 <= int(f["--cpu-offload-gb"]) * 2**30 - weights < 2**30
    assert 0 <= int(f["--kv-offloading-size"]) * 2**30 - 2 * kv < 2**30     # of both devices
    assert 0 <= int(flags(launched("sglang", plan))["--hicache-size"]) * 1e9 - kv < 1e9
    assert "--enable-hierarchical-cache" in flags(launched("sglang", plan))
    trt = launched("trtllm", plan)
    assert 0 <= trt.servers[0].config["kv_cache_config"]["host_cache_size"] - kv < 1
    assert any("weights per device in host memory" in text for text in trt.missing)


@pytest.mark.parametrize(("engine", "roles"), [("vllm", ("--kv-transfer-config",) * 2),
                                               ("sglang", ("prefill", "decode"))])
def test_pools_become_servers_of_both_roles(engine: str, roles: tuple[str, str]) -> None:
    made = launched(engine, Plan(tp=2, dp=4, pools=Pools(prefill=1)))
    assert [(s.role, s.count * s.devices) for s in made.servers] == [("prefill", 2), ("decode", 6)]
    for number, word in enumerate(roles):
        assert word in made.servers[number].words
    assert any("front" in text for text in made.remarks)


def test_drafts_are_looked_up_unless_a_model_is_named() -> None:
    plan = Plan(tp=2, chance=Chance(draft_tokens=3, acceptance=0.7))
    assert {"--spec-method": "ngram", "--spec-tokens": "3"}.items() <= flags(launched("vllm", plan)).items()
    assert flags(launched("vllm", plan, drafter="me/small"))["--spec-model"] == "me/small"
    sglang = flags(launched("sglang", plan, drafter="me/small"))
    assert (sglang["--speculative-num-steps"], sglang["--speculative-num-draft-tokens"]) == ("3", "4")


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_of_a_technique_is_lost_without_a_word(engine: str) -> None:
    plan = Plan(tp=2, parallelism=Parallelism(tp=2, shares={"compute": 0.5}, tokens_split=("norm",)))
    missing = " ".join(launched(engine, plan).missing)
    assert "compute" in missing
    assert "norm" in missing


def test_script_is_a_shells_and_names_stay_names(tmp_path: Path) -> None:
    document = evaluation_document(replace(evaluate("llama-3.1-8b", "h100_sxm", Plan(tp=2, kv="fp8"), USERS)))
    for engine in ENGINES:
        made = launch(document, engine, Target(HOSTILE, drafter="me/small"))
        text = script(made, "a title\nrm -rf /\r\x1b[0m; touch bad")
        assert HOSTILE in made.servers[0].words
        file = tmp_path / "launch.sh"
        start = made.servers[0].words[0]
        file.write_text(f"{start}() {{ printf '%s\\n' \"$@\"; }}\n{text}", "utf-8")
        done = subprocess.run(["bash", "-u", str(file)], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == made.servers[0].words[1:]
        assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("name", ["--help", "-x", "", "a\nb"])
def test_name_that_an_engine_would_take_for_a_flag_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        launched("vllm", Plan(tp=2), checkpoint=name)


def test_engines_own_file_is_written_beside_its_command() -> None:
    made = launched("trtllm", Plan(tp=2, kv="fp8"))
    text = script(made, "x")
    assert "cat > engine.yaml <<'END'\nkv_cache_config: {\"dtype\": \"fp8\"}\nEND\n" in text
    assert flags(made)["--config"] == "engine.yaml"


def test_command_line_prints_a_script_and_quiet_only_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    args = [*LLAMA, "--tp", "8", "--concurrency", "64", "--engine", "vllm"]
    page = said(capsys, *args)
    assert "vLLM 0." in page
    assert "vllm serve meta-llama/Meta-Llama-3.1-70B" in page
    assert all(len(line) <= 80 for line in page.splitlines())
    quiet = said(capsys, *args, "--quiet")
    assert "#" not in quiet
    assert shlex.split(quiet.replace("\\\n", " "))[:2] == ["vllm", "serve"]
    document = json.loads(said(capsys, *args, "--json"))
    assert document["schema"] == "dse.launch/1"
    assert document["servers"][0]["words"] == shlex.split(quiet.replace("\\\n", " "))


def test_plan_that_does_not_fit_is_not_exported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", *LLAMA, "--concurrency", "64", "--json"]) == 3
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == 3
    assert "memory" in err
    assert err.count("\n") == 1


def test_plan_file_point_of_a_result_and_options_give_one_command(tmp_path: Path,
                                                                  capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "found"
    assert run(["search", "llama-3.1-8b", "--hardware", "h100_sxm", "--input-tokens", "2048", "--output-tokens", "256",
                "--concurrency", "64", "--gpus", "2", "--free", "none", "--out", str(folder), "--quiet"]) == 0
    member = json.loads((folder / "result.json").read_text("utf-8"))["front"][0]
    splits = {name: str(member["plan"]["parallelism"][name]) for name in ("tp", "pp", "dp")}
    file = tmp_path / "plan.toml"
    file.write_text("[parallelism]\n" + "".join(f"{n} = {v}\n" for n, v in splits.items()), "utf-8")
    on = ("--model", "llama-3.1-8b", "--hardware", "h100_sxm", "--input-tokens", "2048", "--output-tokens", "256",
          "--concurrency", "64")
    options = [word for name, value in splits.items() for word in (f"--{name}", value)]
    found = {said(capsys, *words, "--engine", "vllm", "--quiet") for words in (
        (f"{folder}#0",), (str(file), *on), (*options, *on))}
    assert len(found) == 1
    assert run(["export", f"{folder}#99", "--engine", "vllm"]) == 2
    assert run(["export", f"{folder}#0", "--tp", "2"]) == 2
    assert "no point '99'" in capsys.readouterr().err


@pytest.mark.parametrize(("args", "words"), [
    ((*LLAMA, "--tp", "8", "--concurrency", "64", "--engine", "vlm"), "'vllm'"),
    ((*LLAMA, "--tp", "8"), "--concurrency"), (("--tp", "8", "--concurrency", "64"), "--model"),
    ((*LLAMA, "--tp", "8", "--concurrency", "64", "--set", "chip.memory_bandwidth=4 TB/s"), "cell of the plan"),
    (("nothing.toml", *LLAMA, "--concurrency", "64"), "nothing.toml")])
def test_bad_input_is_one_line(args: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", *args]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_data_of_the_engines_name_release_source_and_day() -> None:
    for path in sorted((data_roots()[-1] / "hardware" / "engines").glob("*.toml")):
        raw = tomllib.loads(path.read_text("utf-8"))
        assert re.search(r"\d", raw["version"])
        assert raw["checked"].year >= 2026
        assert all(set(flag) >= {"file"} for flag in raw["flags"].values())
