"""`dse search`: the best plans on up to so many devices, and the best machine for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.cli.search_asked import read_asked
from dse.cli.search_run import Output, run_search

_TRAFFIC, _MACHINE, _SPACE, _OUTPUT = "Traffic", "Machine", "Search", "Output"


def search(
    model: Annotated[str, typer.Argument(help="Catalogue name, a config.json or a folder holding one; or a search of "
                                         "the catalogue or the file of one, which options overrule.")],
    hardware: Annotated[str | None, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                                 rich_help_panel=_MACHINE)] = None,
    input_tokens: Annotated[str | None, typer.Option(help="Prompt tokens of a request.",
                                                     rich_help_panel=_TRAFFIC)] = None,
    output_tokens: Annotated[str | None, typer.Option(help="Output tokens of a request.",
                                                      rich_help_panel=_TRAFFIC)] = None,
    concurrency: Annotated[str | None, typer.Option(help="Users who ask again when answered; a comma list. Without "
                                                    "any load 1,2,3,4,6,8,...,1536.", rich_help_panel=_TRAFFIC)] = None,
    rate: Annotated[str | None, typer.Option(help="Requests per second; a comma list.",
                                             rich_help_panel=_TRAFFIC)] = None,
    batch: Annotated[str | None, typer.Option(help="Sequences each replica always decodes; a comma list.",
                                              rich_help_panel=_TRAFFIC)] = None,
    arrival_cv2: Annotated[str | None, typer.Option(help="Squared coefficient of variation of arrivals; without it 1, "
                                                    "which is Poisson.", rich_help_panel=_TRAFFIC)] = None,
    peak_to_mean: Annotated[str | None, typer.Option(
        help="Rate of the busiest hours over the mean rate (--rate): limits hold at the peak, a token costs what it "
        "does on average; without it 1.", rich_help_panel=_TRAFFIC)] = None,
    input_cv2: Annotated[str | None, typer.Option(help="Squared coefficient of variation of prompt lengths; without "
                                                  "it 0.", rich_help_panel=_TRAFFIC)] = None,
    output_cv2: Annotated[str | None, typer.Option(help="The same of output lengths.",
                                                   rich_help_panel=_TRAFFIC)] = None,
    gpus: Annotated[str | None, typer.Option(help="The most devices of a plan; without it those of one node.",
                                             rich_help_panel=_MACHINE)] = None,
    min_gpus: Annotated[bool, typer.Option("--min-gpus", help="Size a deployment: the fewest devices at which a plan "
                                           "meets --rate and the limits, and the cheapest plan of so many; --gpus "
                                           "bounds them.", rich_help_panel=_MACHINE)] = False,
    engine: Annotated[str | None, typer.Option(help="Serving engine: vllm (without it), sglang or trtllm.",
                                               rich_help_panel=_MACHINE)] = None,
    cost: Annotated[str | None, typer.Option(help="Cost basis: owned (without it) or rented.",
                                             rich_help_panel=_MACHINE)] = None,
    usd_per_gpu_hour: Annotated[str | None, typer.Option(help="Your own price of a device, USD/h.",
                                                         rich_help_panel=_MACHINE)] = None,
    objective: Annotated[list[str] | None, typer.Option(help="A metric to better; may be repeated. Without any "
                                                        "usd_per_mtok and tpot_s.", rich_help_panel=_SPACE)] = None,
    ttft_ms: Annotated[str | None, typer.Option(help="Most mean time to first token, ms.",
                                                rich_help_panel=_SPACE)] = None,
    tpot_ms: Annotated[str | None, typer.Option(help="Most mean time per output token, ms.",
                                                rich_help_panel=_SPACE)] = None,
    ttft_p90_ms: Annotated[str | None, typer.Option(help="Most time to first token of 90 % of the requests, ms; for a "
                                                    "rate.", rich_help_panel=_SPACE)] = None,
    tpot_p90_ms: Annotated[str | None, typer.Option(help="Most time per output token of 90 % of the requests, ms; for "
                                                    "a rate.", rich_help_panel=_SPACE)] = None,
    weights: Annotated[str | None, typer.Option(help="Formats of the weights to try; a comma list.",
                                                rich_help_panel=_SPACE)] = None,
    kv: Annotated[str | None, typer.Option(help="Formats of keys and values to try; a comma list.",
                                           rich_help_panel=_SPACE)] = None,
    cp: Annotated[str | None, typer.Option(help="Context parallelism to try; a comma list, without it 1.",
                                           rich_help_panel=_SPACE)] = None,
    technique: Annotated[list[str] | None, typer.Option(
        metavar="NAME[=on]", help="A technique (dse techniques lists them) or a file of one: tried off and on, or "
        "always on; may be repeated.", rich_help_panel=_SPACE)] = None,
    knob: Annotated[list[str] | None, typer.Option(
        metavar="NAME=VALUES", help="What to try of a TECHNIQUE.KNOB, or of a continuous variable: a comma list, "
        "LOW..HIGH, or LOW..HIGH:POINTS; may be repeated.", rich_help_panel=_SPACE)] = None,
    free: Annotated[str | None, typer.Option(
        help="Continuous variables: any of kv_offload, weight_offload, l2, hbm, link, cores, or none. Without it the "
        "two offload ratios.", rich_help_panel=_SPACE)] = None,
    trials: Annotated[str | None, typer.Option(help="Points of the continuous variables to try; without it 200.",
                                               rich_help_panel=_SPACE)] = None,
    seed: Annotated[str | None, typer.Option(help="Seed of the sampler, without it 0; each trial's is made of it and "
                                             "the trial's number.", rich_help_panel=_SPACE)] = None,
    sampler: Annotated[str | None, typer.Option(help="What proposes the points: tpe (without it), nsga2, qmc, random, "
                                                "or the extras gp and cmaes.", rich_help_panel=_SPACE)] = None,
    workers: Annotated[str | None, typer.Option(help="Processes that share the trials; without it 1.",
                                                rich_help_panel=_SPACE)] = None,
    memory: Annotated[str | None, typer.Option(help="Memory for a block of the grid; without it 512 MiB.",
                                               rich_help_panel=_SPACE)] = None,
    storage: Annotated[str | None, typer.Option(help="Where trials are kept: a journal file or postgresql://...; "
                                                "without it in memory, or in the folder of --out.",
                                                rich_help_panel=_OUTPUT)] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study in the storage; the same name and search "
                                              "go on where they stopped.", rich_help_panel=_OUTPUT)] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for result.json, front.csv and points.csv.",
                                             rich_help_panel=_OUTPUT)] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML page to write.",
                                                rich_help_panel=_OUTPUT)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The result as one JSON document.",
                                          rich_help_panel=_OUTPUT)] = False,
) -> None:
    """Find the plans that no other beats: every split, format, load and set of techniques exactly, the continuous
    variables and knobs by Optuna.

    --gpus N means up to N. Exits with 4 where no plan meets the limits, and with 130 when interrupted (the front of
    the finished trials is printed).
    """
    asked = read_asked(model, {
        "hardware": hardware, "input_tokens": input_tokens, "output_tokens": output_tokens, "concurrency": concurrency,
        "rate": rate, "batch": batch, "arrival_cv2": arrival_cv2, "input_cv2": input_cv2, "output_cv2": output_cv2,
        "gpus": gpus, "engine": engine, "cost": cost, "usd_per_gpu_hour": usd_per_gpu_hour, "ttft_ms": ttft_ms,
        "tpot_ms": tpot_ms, "ttft_p90_ms": ttft_p90_ms, "tpot_p90_ms": tpot_p90_ms, "weights": weights, "kv": kv,
        "cp": cp, "free": free, "peak_to_mean": peak_to_mean, "min_gpus": "true" if min_gpus else None,
        "trials": trials, "seed": seed, "sampler": sampler,
        "workers": workers, "memory": memory, "storage": storage, "study": study},
        objective, technique or (), knob or ())
    run_search(asked, Output(out, report, as_json))
