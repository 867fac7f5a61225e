"""`dse evaluate`: one plan, or a table for comma lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dse.catalogue.calibration import engine_names
from dse.catalogue.models import load_model
from dse.catalogue.settings import with_figures
from dse.catalogue.systems import COST_BASES, load_system
from dse.cli import parse
from dse.cli.evaluate_page import evaluation_page
from dse.cli.evaluate_table import table_page
from dse.cli.report import write_plans
from dse.cli.show import print_json, print_page, significant
from dse.cli.traffic import Axes, Source, check_traffic, trace_document, traffic_of, with_trace
from dse.errors import InputError, nearest
from dse.model.architecture import Model
from dse.model.document import evaluation_document, plain
from dse.model.evaluate import Evaluation
from dse.model.evaluate import evaluate as predict
from dse.model.system import System
from dse.plan.plan import Plan, devices, plan_from_document
from dse.plan.technique import Technique
from dse.plan.traffic import Traffic

TABLE_SCHEMA = "dse.table/1"
INFEASIBLE = 3
Choice = Mapping[str, parse.Value]
Knobs = Mapping[str, float | str]

_List = str | None
_REQUESTS, _LOAD, _TARGETS = "Requests", "Load: exactly one of batch, concurrency, rate", "Targets"
_MACHINE, _SPLITS, _FORMATS, _PLAN, _OUTPUT = "Machine", "Splits and pools", "Formats and placement", "Plan", "Output"


@dataclass(frozen=True, slots=True)
class Machine:
    """The options that say which machine, as they were typed."""

    hardware: str
    engine: str
    cost: str
    usd_per_gpu_hour: str | None


@dataclass(frozen=True, slots=True)
class Request:
    """What all rows of a table share: the model, the machine with its settings made, the plan they start from, and
    the trace behind the traffic.
    """

    model: Model
    system: System
    plan: Mapping[str, Any]
    settings: Mapping[str, str]
    source: Source | None
    techniques: tuple[Technique, ...]
    knobs: Mapping[str, str]


def evaluate(
    model: Annotated[str, typer.Argument(help="Catalogue name, hf:ORG/NAME, a config.json, or its folder.")],
    hardware: Annotated[str, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                          rich_help_panel=_MACHINE)],
    input_tokens: Annotated[_List, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_REQUESTS)] = None,
    output_tokens: Annotated[_List, typer.Option(help="Output tokens of a request.",
                                                 rich_help_panel=_REQUESTS)] = None,
    input_cv2: Annotated[_List, typer.Option(help="Squared coefficient of variation of prompt lengths; 0 without it.",
                                             rich_help_panel=_REQUESTS)] = None,
    output_cv2: Annotated[_List, typer.Option(help="The same of output lengths.", rich_help_panel=_REQUESTS)] = None,
    prefix_hit: Annotated[_List, typer.Option(help="Share of each prompt that is cached already, 0 to 1.",
                                              rich_help_panel=_REQUESTS)] = None,
    trace: Annotated[str | None, typer.Option(
        metavar="FILE", help="A CSV of requests (BurstGPT's or Azure's columns): lengths, arrivals, and the rate where "
        "no load is given. Other options override it.", rich_help_panel=_REQUESTS)] = None,
    batch: Annotated[_List, typer.Option(help="Sequences each replica always decodes.", rich_help_panel=_LOAD)] = None,
    concurrency: Annotated[_List, typer.Option(help="Users who ask again when answered.",
                                               rich_help_panel=_LOAD)] = None,
    waves: Annotated[_List, typer.Option(help="Requests of each of these users, who start all at once; without it the "
                                         "steady state.", rich_help_panel=_LOAD)] = None,
    rate: Annotated[_List, typer.Option(help="Requests per second.", rich_help_panel=_LOAD)] = None,
    arrival_cv2: Annotated[_List, typer.Option(help="Squared coefficient of variation of the gaps between them; "
                                               "without it 1, Poisson.", rich_help_panel=_LOAD)] = None,
    peak_to_mean: Annotated[_List, typer.Option(help="Rate of the busiest hours over the mean rate: latencies are "
                                                "the peak's, the cost of a token is the mean's; without it 1.",
                                                rich_help_panel=_LOAD)] = None,
    ttft_target_ms: Annotated[_List, typer.Option(help="Time to first token that counts as good, of a rate.",
                                                  rich_help_panel=_TARGETS)] = None,
    tpot_target_ms: Annotated[_List, typer.Option(help="Time per output token that counts as good.",
                                                  rich_help_panel=_TARGETS)] = None,
    gpus: Annotated[_List, typer.Option(help="Devices; without it the product of the splits.",
                                        rich_help_panel=_MACHINE)] = None,
    engine: Annotated[str, typer.Option(help="Serving engine: vllm, sglang or trtllm.",
                                        rich_help_panel=_MACHINE)] = "vllm",
    cost: Annotated[str, typer.Option(help="Cost basis: owned or rented.", rich_help_panel=_MACHINE)] = "owned",
    usd_per_gpu_hour: Annotated[_List, typer.Option(help="Your own price of a device, USD/h.",
                                                    rich_help_panel=_MACHINE)] = None,
    tp: Annotated[_List, typer.Option(help="Tensor parallelism.", rich_help_panel=_SPLITS)] = None,
    pp: Annotated[_List, typer.Option(help="Pipeline parallelism.", rich_help_panel=_SPLITS)] = None,
    dp: Annotated[_List, typer.Option(help="Data parallelism: replicas.", rich_help_panel=_SPLITS)] = None,
    ep: Annotated[_List, typer.Option(help="Expert parallelism.", rich_help_panel=_SPLITS)] = None,
    cp: Annotated[_List, typer.Option(help="Context parallelism.", rich_help_panel=_SPLITS)] = None,
    prefill_replicas: Annotated[_List, typer.Option(help="Replicas (of dp) that only prefill; the others only decode.",
                                                    rich_help_panel=_SPLITS)] = None,
    weights: Annotated[_List, typer.Option(help="Format of the weights: bf16, fp8, int4, ...",
                                           rich_help_panel=_FORMATS)] = None,
    kv: Annotated[_List, typer.Option(help="Format of keys and values.", rich_help_panel=_FORMATS)] = None,
    activations: Annotated[_List, typer.Option(help="Format of activations.", rich_help_panel=_FORMATS)] = None,
    kv_offload: Annotated[_List, typer.Option(help="Share of the KV in host memory, 0 to 1.",
                                              rich_help_panel=_FORMATS)] = None,
    weight_offload: Annotated[_List, typer.Option(help="Share of the weights in host memory, 0 to 1.",
                                                  rich_help_panel=_FORMATS)] = None,
    draft_tokens: Annotated[_List, typer.Option(help="Tokens drafted for each sequence and step (speculation).",
                                                rich_help_panel=_PLAN)] = None,
    acceptance: Annotated[_List, typer.Option(help="Chance that a drafted token is accepted after those before it.",
                                              rich_help_panel=_PLAN)] = None,
    plan: Annotated[str | None, typer.Option(help="A plan file, or point 3 of the result in a folder: DIR#3.",
                                             rich_help_panel=_PLAN)] = None,
    technique: Annotated[list[str] | None, typer.Option(
        metavar="NAME", help="A technique (dse techniques lists them) or a file of one; may be repeated.",
        rich_help_panel=_PLAN)] = None,
    knobs: Annotated[list[str] | None, typer.Option(
        "--knob", metavar="TECHNIQUE.KNOB=VALUE", help="A knob of a technique; without it its default, or where "
        "TPOT is least.", rich_help_panel=_PLAN)] = None,
    settings: Annotated[list[str] | None, typer.Option(
        "--set", metavar="FIELD=VALUE", help="A cell of the plan (batching.budget=4096) or a figure of the machine "
        "(chip.memory_bandwidth='4 TB/s'); may be repeated.", rich_help_panel=_PLAN)] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML page to write.",
                                                rich_help_panel=_OUTPUT)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.", rich_help_panel=_OUTPUT)] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also own times, constants, laws, sources, what is "
                                          "unverified.", rich_help_panel=_OUTPUT)] = False,
) -> None:
    """Predict one plan, or a table of plans where an option has several values (--batch 1,2,4).

    Exactly one of --batch, --concurrency, --rate says how requests come, or a --trace does. An infeasible plan exits
    with 3, its figures and what would fix it are printed.
    """
    given = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "prefill_replicas": prefill_replicas,
             "weights": weights, "kv": kv, "activations": activations, "kv_offload": kv_offload,
             "weight_offload": weight_offload, "draft_tokens": draft_tokens, "acceptance": acceptance, "batch": batch,
             "concurrency": concurrency, "waves": waves, "rate": rate, "arrival_cv2": arrival_cv2,
             "peak_to_mean": peak_to_mean, "input_tokens": input_tokens, "output_tokens": output_tokens,
             "input_cv2": input_cv2, "output_cv2": output_cv2, "prefix_hit": prefix_hit,
             "ttft_target_ms": ttft_target_ms, "tpot_target_ms": tpot_target_ms}
    request, axes, choices = requested(
        model, Machine(hardware, engine, cost, usd_per_gpu_hour), given, trace=trace, plan=plan,
        technique=technique or (), knobs=knobs or (), settings=settings or ())
    with np.errstate(all="ignore"):     # what has no value is shown as unknown, not warned of
        if len(choices) == 1:
            _one(request, choices[0], as_json, explain, report)
        else:
            _several(request, axes, choices, as_json, report)


def requested(model: str, machine: Machine, given: Mapping[str, str | None], *, trace: str | None, plan: str | None,
              technique: Sequence[str], knobs: Sequence[str], settings: Sequence[str],
              ) -> tuple[Request, Axes, list[dict[str, parse.Value]]]:
    """What the options ask for, checked: what all rows share, the values of each option, and the choice of each row."""
    axes: Axes = {name: parse.comma_list(text, name) for name, text in given.items() if text is not None}
    axes, source = (axes, None) if trace is None else with_trace(axes, trace)
    check_traffic(axes, source)
    choices = list(parse.combinations(axes))
    made = parse.settings(settings)
    _check_settings(made, axes)
    start = {} if plan is None else parse.plan_document(plan)
    _check_draft(made, axes, start)
    techniques, turned = _techniques(technique, knobs)
    return Request(load_model(model), _system(machine, made), start, made, source, techniques, turned), axes, choices


def _check_draft(made: Mapping[str, str], axes: Axes, plan: Mapping[str, Any]) -> None:
    """Drafting without a chance of acceptance only costs, a chance without drafts does nothing."""
    for name, other in (("draft_tokens", "acceptance"), ("acceptance", "draft_tokens")):
        stated = other in axes or parse.CELLS[other] in made or plan.get("chance", {}).get(other)
        if name in axes and not stated:
            raise InputError(parse.option(other), f"is missing, expected beside {parse.option(name)}")


def _check_settings(made: Mapping[str, str], axes: Axes) -> None:
    """A cell that is set twice would hide one of the two."""
    for name, cell in parse.CELLS.items():
        if name in axes and cell in made:
            raise InputError(f"--set {cell}", f"is also given as {parse.option(name)}, expected only one of them")


def _system(machine: Machine, made: Mapping[str, str]) -> System:
    """The machine with one device; each row says how many it has."""
    engine, cost, price = machine.engine, machine.cost, machine.usd_per_gpu_hour
    if engine not in engine_names():
        raise InputError("--engine", f"no such engine: {engine[:60]!r}", nearest(engine, engine_names()))
    if cost not in COST_BASES:
        raise InputError("--cost", f"no such basis: {cost[:60]!r}", nearest(cost, COST_BASES))
    paid = None if price is None else parse.item(price, "--usd-per-gpu-hour", parse.PRICE)
    system = load_system(machine.hardware, 1, engine, cost, paid)
    return with_figures(system, {path: text for path, text in made.items() if path.split(".")[0] in parse.HARDWARE},
                        "--set")


def predicted(request: Request, choice: Choice) -> tuple[Evaluation, Knobs]:
    """One row, and the techniques' knobs in it; raises InputError for splits that cannot exist."""
    document, traffic = _document(request, choice), traffic_of(choice)
    made = plan_from_document(document, "")
    turned: Knobs = {}
    if request.techniques:
        from dse.studies.apply import applied  # studies load when a technique is used

        system = replace(request.system, gpus=_devices(choice, made))
        done = applied(document, request.techniques, request.knobs, request.model, system, traffic)
        made, turned = plan_from_document(done.document, ""), done.knobs
    gpus = _devices(choice, made)
    _check_pools(made, traffic, gpus)
    return predict(request.model, replace(request.system, gpus=gpus), made, traffic), turned


def _devices(choice: Choice, plan: Plan) -> Any:
    """Devices as asked for, or the product of the splits."""
    return choice["gpus"] if "gpus" in choice else devices(plan)


def _techniques(names: Sequence[str], texts: Sequence[str]) -> tuple[tuple[Technique, ...], Mapping[str, str]]:
    """The techniques that are named, and the knobs that are set."""
    knobs = parse.assignments(texts, "--knob", "such as kv_split.split=0.5")
    if not names:
        if knobs:
            raise InputError("--knob", "no technique is on, expected --technique beside it")
        return (), {}
    from dse.studies.files import load_technique

    if len(set(names)) < len(names):
        raise InputError("--technique", "a technique is given twice, expected each once")
    return tuple(load_technique(name) for name in names), knobs


def _check_pools(plan: Plan, traffic: Traffic, gpus: Any) -> None:
    """Both pools need a replica, and a load under which prompts and decodes are apart."""
    par, pool = plan.parallelism, plan.pools.prefill
    if pool is None:
        return
    if traffic.batch is not None:
        raise InputError("pools.prefill", "a batch that always decodes has no pool for prompts, expected --concurrency "
                         "or --rate")
    replicas = gpus / (par.tp * par.pp * par.cp) if par.dp is None else par.dp
    if pool >= replicas:
        raise InputError("pools.prefill", f"{pool:g} of {replicas:g} replicas would only prefill, expected fewer: "
                         "others have to decode", "--dp says how many replicas there are")


def _document(request: Request, choice: Choice) -> dict[str, Any]:
    document = dict(request.plan)
    for name, value in choice.items():
        if name in parse.CELLS:
            document = parse.with_cell(document, parse.CELLS[name], value)
    for path, text in request.settings.items():
        if path.split(".")[0] not in parse.HARDWARE:
            document = parse.with_cell(document, path, parse.literal(text))
    return document


def _one(request: Request, choice: Choice, as_json: bool, explain: bool, report: Path | None) -> None:
    e, turned = predicted(request, choice)
    if report is not None:
        write_plans([{**evaluation_document(e), **_used(request, turned)}], report)
    if as_json:
        print_json({**evaluation_document(e), **_used(request, turned), **_source(request)})
    else:
        print_page(evaluation_page(e, explain, _said(request, turned), request.source))
    if not e.feasible:
        raise typer.Exit(INFEASIBLE)


def _used(request: Request, turned: Mapping[str, Any]) -> dict[str, Any]:
    """The techniques that are on and their knobs, for a document; nothing without any."""
    names = [t.name for t in request.techniques]
    return {"techniques": names, "knobs": {name: plain(v) for name, v in turned.items()}} if names else {}


def _said(request: Request, turned: Knobs) -> dict[str, str]:
    """Settings and techniques with their knobs, as the page names them."""
    words = {name: value if isinstance(value, str) else significant(value) for name, value in turned.items()}
    named = {"technique": "+".join(t.name for t in request.techniques)} if request.techniques else {}
    return {**request.settings, **named, **words}


def _source(request: Request) -> dict[str, Any]:
    return {} if request.source is None else {"trace": trace_document(request.source)}


def _several(request: Request, axes: Axes, choices: list[dict[str, parse.Value]], as_json: bool,
             report: Path | None) -> None:
    varied = [name for name, values in axes.items() if len(values) > 1]
    rows: list[tuple[Choice, Evaluation]] = []
    refused: list[tuple[Choice, InputError]] = []
    documents: list[dict[str, Any]] = []
    for choice in choices:
        shown = {name: choice[name] for name in varied}
        try:
            e, turned = predicted(request, choice)
            rows.append(({**shown, **turned}, e))
            if report is not None:
                documents.append({**evaluation_document(e), **_used(request, turned)})
        except InputError as error:
            refused.append((shown, error))
    if not rows:
        first = refused[0][1]
        raise InputError(first.where, f"none of the {len(choices)} combinations can exist, the first because "
                         f"{first.message}", first.hint)
    if report is not None:
        write_plans(documents, report)
    if as_json:
        print_json({"schema": TABLE_SCHEMA, "rows": [evaluation_document(e) for _, e in rows],
                    "refused": [{"choice": {name: plain(value) for name, value in shown.items()},
                                 "error": error.document()} for shown, error in refused], **_source(request)})
    else:
        print_page(table_page(rows, refused, request.source))
    if not any(e.feasible for _, e in rows):
        raise typer.Exit(INFEASIBLE)
