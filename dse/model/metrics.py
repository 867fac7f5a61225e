"""The register of metrics: unit, direction and definition, written once.

Command line, JSON, search objectives and axis titles read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dse.errors import InputError, nearest


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure of merit. `better` is -1 where less is better, +1 where more is, 0 where neither is an aim.

    money: needs a price. rate_only: null unless the traffic is a rate. needs: the figure of a chip without which it
    is null.
    """

    name: str
    title: str
    unit: str
    better: int
    definition: str
    money: bool = False
    rate_only: bool = False
    needs: str = ""


METRICS: Mapping[str, Metric] = {m.name: m for m in (
    Metric("ttft_s", "time to first token", "s", -1, "from arrival to the first token, waiting included"),
    Metric("tpot_s", "time per output token", "s", -1, "(e2e_s - ttft_s)/(output tokens - 1)"),
    Metric("e2e_s", "time to last token", "s", -1, "from arrival to the last token"),
    Metric("output_tok_s", "output tokens per second", "tok/s", 1, "of the whole deployment"),
    Metric("output_tok_s_per_gpu", "output tokens per second and GPU", "tok/s", 1, "output_tok_s over devices"),
    Metric("requests_s", "requests per second", "1/s", 1, "answered by the whole deployment"),
    Metric("saturation_requests_s", "saturation rate", "1/s", 1,
           "requests per second with every batch full; for a rate only", rate_only=True),
    Metric("batch", "running batch", "", 0, "sequences that decode together on a replica"),
    Metric("kv_slots", "KV slots", "", 1, "sequences of mean length whose KV fits a replica"),
    Metric("gpus", "devices", "", -1, "tp x pp x dp x cp"),
    Metric("prefill_s", "lone prefill", "s", -1, "one prompt alone on an idle replica"),
    Metric("decode_step_s", "decode step", "s", -1, "one iteration without prompts"),
    Metric("prompt_work_s", "prompt work", "s", -1, "engine time that a prompt adds to its replica"),
    *(Metric(f"{name}_{q}_s", f"{words}, {q.upper()}", "s", -1, f"quantile over requests of {name}_s; for a rate only",
             rate_only=True)
      for name, words in (("ttft", "time to first token"), ("tpot", "time per output token"),
                          ("e2e", "time to last token")) for q in ("p50", "p90", "p99")),
    Metric("goodput_requests_s", "goodput", "1/s", 1, "requests per second within both targets; for a rate only",
           rate_only=True),
    Metric("usd_per_hour", "cost per hour", "USD/h", -1, "of the whole deployment", True),
    Metric("usd_per_mtok", "cost per million output tokens", "USD", -1, "$/h over output tokens/h x 1e6", True),
    Metric("usd_per_mtok_total", "cost per million tokens", "USD", -1, "over input and output tokens", True),
    Metric("usd_per_mtok_input", "cost per million input tokens", "USD", -1,
           "the share of device-seconds in prefill, over input tokens", True),
    Metric("usd_per_mtok_output", "decode cost per million output tokens", "USD", -1,
           "the share of device-seconds in decode, over output tokens", True),
    Metric("tokens_per_usd", "output tokens per dollar", "tok/USD", 1, "1e6 / usd_per_mtok", True),
    Metric("output_tok_s_per_mm2", "output tokens per second and mm2", "tok/s/mm2", 1,
           "output_tok_s over the area of all dies of all devices, memory stacks not counted", needs="die_mm2"),
    Metric("output_tok_s_per_watt", "output tokens per second and W", "tok/s/W", 1,
           "output_tok_s over the TDP of all devices: what has to be provisioned", needs="tdp_w"),
    Metric("joule_per_token", "energy per output token", "J", -1,
           "devices x PUE x (TDP share at rest x time + energy of FLOPs and bytes by level, at most TDP x time), over "
           "output tokens; devices x TDP x average draw x PUE x time where the chip has no silicon model",
           needs="tdp_w"),
)}


def metric(name: str, where: str = "objective") -> Metric:
    """A metric by name, or an error with the nearest."""
    if name not in METRICS:
        raise InputError(where, f"no such metric: {name!r}", nearest(name, METRICS))
    return METRICS[name]
