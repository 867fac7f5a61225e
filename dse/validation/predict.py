"""Predictions for measured rows, evaluated group by group as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.equations.roofline import roofline
from dse.model.constants import Engine
from dse.model.evaluate import evaluate
from dse.model.intervals import SCORE
from dse.model.parameters import cache_elements_per_token, matrix_elements
from dse.model.system import System, peak
from dse.plan.formats import element_bytes
from dse.plan.plan import Plan
from dse.plan.traffic import Traffic
from dse.validation.silicon import CHECKPOINT, stored

COLUMNS = ("tpot_s", "ttft_s", "roofline_s", "prompt_work_s", "spread", "kv_slots")
WAVES = 10
"""Prompts per user: the public harness sends ten times as many as users, all starting at once."""
DRAWN_CV2 = 0.0642**2
"""Lengths drawn uniformly from 0.8 to 1 of the nominal one, as the public harness and vLLM's own do."""
GROUP = ("model", "chip", "engine", "weights", "tp", "dp", "ep", "public")


def kv_format(model: str, engine: str, weights: str) -> str:
    """KV format of a row, which the data do not record: chosen once, from capacity and from the engines' defaults.

    The quantised 70B checkpoints name an 8-bit cache, and TensorRT-LLM's quantised recipes enable one; others keep 16
    bits.
    """
    quantised = weights != "bf16"
    return "fp8" if quantised and (model == "llama-3.1-70b" or engine == "trtllm") else "bf16"


def predict(rows: pd.DataFrame, engines: Mapping[str, Engine] | None = None) -> pd.DataFrame:
    """`tpot_s` and `ttft_s` predicted for each row, and `roofline_s`: TPOT by datasheet peaks alone.

    Beside them `prompt_work_s` of one prompt, and `spread`: what the interval of TPOT gives its logarithm. `engines`
    replace the catalogue's, as a fit of their overheads does. Rows without `dp` and `ep` split by `tp` alone.
    """
    rows = rows.assign(**{name: 1.0 for name in ("dp", "ep") if name not in rows.columns})
    out = pd.DataFrame(index=rows.index, columns=list(COLUMNS), dtype=float)
    for _, group in rows.groupby(list(GROUP)):
        out.loc[group.index] = _group(group, engines)
    return out


def _group(rows: pd.DataFrame, engines: Mapping[str, Engine] | None) -> np.ndarray:
    """Predictions of rows that share model, chip, engine, weights, splits and origin."""
    model_name, chip, engine, weights = (str(rows[name].iloc[0]) for name in GROUP[:4])
    tp, dp, ep = (int(rows[name].iloc[0]) for name in ("tp", "dp", "ep"))
    model, system = load_model(model_name), load_system(chip, gpus=tp * dp, engine=engine)
    if engines is not None:
        system = replace(system, engine=engines[engine])
    if weights not in ("bf16", CHECKPOINT) and not rows["public"].iloc[0]:
        # these runs quantise a 16-bit checkpoint (their model path says so), hence activations as they come
        system = replace(system, engine=replace(system.engine, fused_quantisation=False))
    kv = kv_format(model_name, engine, weights)
    drawn = np.where(rows["public"] | (engine == "vllm"), DRAWN_CV2, 0.0)
    traffic = Traffic(rows["isl_tokens"].to_numpy(), rows["osl_tokens"].to_numpy(),
                      concurrency=rows["concurrency"].to_numpy(), input_cv2=drawn, output_cv2=drawn, waves=WAVES)
    asked = None if weights == CHECKPOINT else weights
    e = evaluate(model, system, Plan(tp=tp, dp=dp, ep=ep, weights=asked, kv=kv), traffic)
    elements = matrix_elements(model) + model.vocab * model.hidden
    plain = _roofline_step(system, elements, cache_elements_per_token(model), traffic, stored(model_name, weights), kv,
                           tp * dp)
    spread = np.log(np.asarray(e.intervals["tpot_s"][1]) / e.metrics["tpot_s"]) / SCORE
    columns = (e.metrics["tpot_s"], e.metrics["ttft_s"], plain, e.metrics["prompt_work_s"], spread,
               e.metrics["kv_slots"])
    return np.stack([np.broadcast_to(np.asarray(c), len(rows)) for c in columns], axis=1)


def _roofline_step(system: System, elements: float, cached: float, traffic: Traffic, weights: str, kv: str,
                   devices: int) -> np.ndarray:
    """A decode step at datasheet peaks: all weights and caches once, all products, no overhead, no prompts."""
    users = traffic.concurrency
    flops = 2.0 * elements * users / devices
    held = users * (traffic.input_tokens + traffic.output_tokens / 2) * cached
    nbytes = (elements * element_bytes(weights) + held * element_bytes(kv)) / devices
    return roofline(flops, nbytes, peak(system.chip, weights, weights), system.chip.memory_bandwidth)  # type: ignore[no-any-return]


def without_cached_prompts(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows but for groups that cannot have computed their prompts, and how many rows those held.

    In most rows of such a group (model, chip, engine) the users' prompts need more engine time than the measured
    cycle has, by kernel times that no serving row was used for: a prefix cache answered for the prompts.
    """
    work = rows["concurrency"] * predict(rows)["prompt_work_s"]
    impossible = work > rows["ttft_s"] + rows["osl_tokens"] * rows["tpot_s"]
    share = impossible.groupby([rows[name] for name in ("model", "chip", "engine")]).transform("mean")
    kept = rows[share <= 0.5]
    return kept.reset_index(drop=True), len(rows) - len(kept)


def without_capped_batches(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """Rows but those whose engine ran fewer sequences than there were users and room for, and how many those were.

    Their users wait longer for the first token than all others' prompts take, and longer than an answer takes, though
    every cache fits: the server was started with a cap on its batch, which the data do not record.
    """
    p = predict(rows)
    waited = rows["ttft_s"] - rows["concurrency"] * p["prompt_work_s"]
    capped = (waited > rows["osl_tokens"] * rows["tpot_s"]) & (rows["concurrency"] <= p["kv_slots"] * rows["dp"])
    return rows[~capped].reset_index(drop=True), int(capped.sum())
