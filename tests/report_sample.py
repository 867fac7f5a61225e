"""A result as `dse search --out` writes it, made of a few evaluated plans."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import dse
from dse.model.document import evaluation_document
from dse.plan.plan import document, plan_from_document
from dse.studies.apply import applied
from dse.studies.files import load_technique

Document = dict[str, Any]
HOSTILE = "<img src=x onerror=alert(1)></script><!--<script>alert(2)</script>'\"&lt;b&gt; %{x} $x$ " + "a" * 10_000


def evaluated(tp: int, users: int, kv_offload: float | None = None, technique: str = "") -> Document:
    """An evaluation document of llama-3.1-70b on eight H100."""
    system = dse.load_system("h100_sxm", gpus=8)
    traffic = dse.Traffic(input_tokens=2048, output_tokens=256, concurrency=users)
    model, plan = dse.load_model("llama-3.1-70b"), dse.Plan(tp=tp, dp=8 // tp, weights="fp8", kv_offload=kv_offload)
    if technique:
        made = applied(document(plan), (load_technique(technique),), {}, model, system, traffic)
        plan = plan_from_document(made.document, "")
    return evaluation_document(dse.evaluate(model, system, plan, traffic))


@cache
def _sample() -> Document:
    front = [{**evaluated(*at), "id": i, "free": {}} for i, at in enumerate(((2, 128), (4, 64), (8, 16)))]
    columns = ["usd_per_mtok", "tpot_s", "tp", "weights", "concurrency"]
    rows = [[d["metrics"]["usd_per_mtok"], d["metrics"]["tpot_s"], tp, "fp8", users]
            for tp, users in ((8, 128), (8, 64), (4, 16)) for d in [evaluated(tp, users)]]
    sweep = [{"concurrency": users, "metrics": evaluated(4, users)["metrics"]} for users in (1, 8, 64, 256)]
    search = {"model": "llama-3.1-70b", "hardware": "h100_sxm", "gpus": 8, "engine": "vllm",
              "traffic": {"input_tokens": [2048], "output_tokens": [256], "concurrency": [16, 64, 128]},
              "objectives": ["usd_per_mtok", "tpot_s"], "limits": {"ttft_s": 2, "tpot_s": 0.03}, "free": [],
              "trials": 0, "seed": 0, "command": "dse search --model llama-3.1-70b"}
    return {"schema": "dse.result/1", "version": dse.__version__, "search": search,
            "counts": {"considered": 84, "feasible": 63, "rejected": {"memory": 21}},
            "regret": {"value": 0, "text": "regret: 0 % against the exact grid"}, "front": front, "chosen": 1,
            "points": {"columns": columns, "rows": rows}, "sweep": sweep, "seconds": {"grid": 0.12},
            "curves": [_curves()], "landmarks": [_landmark()]}


def _curves() -> Document:
    """Two techniques along the size of a cache; the second does not fit at the end."""
    return {"variable": "l2", "unit": "B", "values": [1e7, 3e7, 9e7], "curves": [
        {"technique": "none", "at": 3e7, "metrics": {"usd_per_mtok": [2.0, 2.1, 2.4], "tpot_s": [0.03, 0.029, 0.028]}},
        {"technique": "preserve", "at": 3e7, "metrics": {"usd_per_mtok": [2.0, 1.9, None],
                                                         "tpot_s": [0.028, 0.025, None]}}]}


def _landmark() -> Document:
    metrics = evaluated(4, 64)["metrics"]
    return {"name": "h100_sxm", "title": "H100", "die_mm2": 814, "metrics": metrics}


def sample() -> Document:
    """A result of its own for each test."""
    return copy.deepcopy(_sample())


def hostile() -> Document:
    """A result whose every name means harm."""
    result = sample()
    result["search"] |= {"model": HOSTILE, "hardware": HOSTILE, "engine": HOSTILE, "command": HOSTILE,
                         "free": {HOSTILE: {"low": 0, "high": 1, "unit": HOSTILE}},
                         "traffic": {"input_tokens": HOSTILE, "concurrency": [HOSTILE]}}
    result["counts"]["rejected"] = {HOSTILE: 21}
    result["regret"]["text"] = HOSTILE
    result["seconds"] = {HOSTILE: 1.0}
    result["points"]["columns"][3] = HOSTILE
    result["points"]["rows"][0][3] = HOSTILE
    result["curves"][0] |= {"variable": HOSTILE, "unit": HOSTILE}
    result["curves"][0]["curves"][0]["technique"] = HOSTILE
    result["landmarks"][0]["name"] = HOSTILE
    for member in result["front"]:
        _spoil(member)
    return result


def _spoil(member: Document) -> None:
    """Hostile names in all tables of an evaluation that a report reads."""
    member["free"] = {HOSTILE: HOSTILE}
    member["model"]["name"] = member["system"]["name"] = HOSTILE
    member["system"]["peaks"][HOSTILE] = 1e15
    member["plan"]["formats"] |= {"kv": HOSTILE, "mlp_weights": HOSTILE}
    member["plan"]["placement"] = {HOSTILE: {HOSTILE: 0.5}}
    member["memory"][HOSTILE] = 5e9
    member["constraints"][HOSTILE] = 0.5
    member["feasible"] = False
    member["techniques"] = [HOSTILE]
    member["usd_per_hour"][HOSTILE] = 1.0
    member["layer"] += [{"op": HOSTILE, "lane": HOSTILE, "start": 0.0, "seconds": 1e-4, "behind": HOSTILE}]
    member["breakdown"].append({"phase": "decode", "op": HOSTILE, "resource": HOSTILE, "seconds": 0.001})
    member["work"].append({"phase": "decode", "op": HOSTILE, "flops": 1e9, "bytes": 1e7, "seconds": 0.001})


def written(result: Any, folder: Path) -> Path:
    """The folder with the result in it."""
    folder.mkdir(parents=True, exist_ok=True)
    text = result if isinstance(result, str) else json.dumps(result)
    (folder / "result.json").write_text(text, encoding="utf-8")
    return folder
