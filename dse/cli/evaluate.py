"""`dse evaluate`: one plan, or a table for comma lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
import typer

from dse.catalogue.calibration import engine_names
from dse.catalogue.models import load_model
from dse.catalogue.systems import COST_BASES, load_system
from dse.cli import parse
from dse.cli.evaluate_page import evaluation_page, table_page
from dse.cli.hardware_settings import with_hardware
from dse.cli.show import print_json, print_page
from dse.errors import InputError, nearest
from dse.model.architecture import Model
from dse.model.document import evaluation_document, plain
from dse.model.evaluate import Evaluation
from dse.model.evaluate import evaluate as predict
from dse.model.system import System
from dse.plan.plan import Plan, plan_from_document
from dse.plan.traffic import LOADS, Traffic

TABLE_SCHEMA = "dse.table/1"
INFEASIBLE = 3
Choice = Mapping[str, parse.Value]

_List = str | None
_PLAN, _TRAFFIC, _MACHINE, _OUTPUT = "Plan", "Traffic", "Machine", "Output"


@dataclass(frozen=True, slots=True)
class Request:
    """What all rows of a table share: the model, the machine with its settings made, the plan they start from."""

    model: Model
    system: System
    plan: Mapping[str, Any]
    settings: Mapping[str, str]
    arrival_cv2: float


def evaluate(
    model: Annotated[str, typer.Argument(help="Catalogue name, a config.json, or a folder holding one.")],
    hardware: Annotated[str, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                          rich_help_panel=_MACHINE)],
    input_tokens: Annotated[str, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_TRAFFIC)],
    output_tokens: Annotated[str, typer.Option(help="Output tokens of a request.", rich_help_panel=_TRAFFIC)],
    batch: Annotated[_List, typer.Option(help="Sequences each replica always decodes.",
                                         rich_help_panel=_TRAFFIC)] = None,
    concurrency: Annotated[_List, typer.Option(help="Users who ask again when answered.",
                                               rich_help_panel=_TRAFFIC)] = None,
    rate: Annotated[_List, typer.Option(help="Requests per second.", rich_help_panel=_TRAFFIC)] = None,
    arrival_cv2: Annotated[str, typer.Option(help="Squared coefficient of variation of arrivals; 1 is Poisson.",
                                             rich_help_panel=_TRAFFIC)] = "1",
    gpus: Annotated[_List, typer.Option(help="Devices; without it the product of the splits.",
                                        rich_help_panel=_MACHINE)] = None,
    engine: Annotated[str, typer.Option(help="Serving engine: vllm, sglang or trtllm.",
                                        rich_help_panel=_MACHINE)] = "vllm",
    cost: Annotated[str, typer.Option(help="Cost basis: owned or rented.", rich_help_panel=_MACHINE)] = "owned",
    usd_per_gpu_hour: Annotated[_List, typer.Option(help="Your own price of a device, USD/h.",
                                                    rich_help_panel=_MACHINE)] = None,
    tp: Annotated[_List, typer.Option(help="Tensor parallelism.", rich_help_panel=_PLAN)] = None,
    pp: Annotated[_List, typer.Option(help="Pipeline parallelism.", rich_help_panel=_PLAN)] = None,
    dp: Annotated[_List, typer.Option(help="Data parallelism: replicas.", rich_help_panel=_PLAN)] = None,
    ep: Annotated[_List, typer.Option(help="Expert parallelism.", rich_help_panel=_PLAN)] = None,
    cp: Annotated[_List, typer.Option(help="Context parallelism.", rich_help_panel=_PLAN)] = None,
    weights: Annotated[_List, typer.Option(help="Format of the weights: bf16, fp8, int4, ...",
                                           rich_help_panel=_PLAN)] = None,
    kv: Annotated[_List, typer.Option(help="Format of keys and values.", rich_help_panel=_PLAN)] = None,
    activations: Annotated[_List, typer.Option(help="Format of activations.", rich_help_panel=_PLAN)] = None,
    kv_offload: Annotated[_List, typer.Option(help="Share of the KV in host memory, 0 to 1.",
                                              rich_help_panel=_PLAN)] = None,
    weight_offload: Annotated[_List, typer.Option(help="Share of the weights in host memory, 0 to 1.",
                                                  rich_help_panel=_PLAN)] = None,
    plan: Annotated[str | None, typer.Option(help="A plan file, or point 3 of the result in a folder: DIR#3.",
                                             rich_help_panel=_PLAN)] = None,
    settings: Annotated[list[str] | None, typer.Option(
        "--set", metavar="FIELD=VALUE", help="A cell of the plan (batching.budget=4096) or a figure of the machine "
        "(chip.memory_bandwidth='4 TB/s'); may be repeated.", rich_help_panel=_PLAN)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.", rich_help_panel=_OUTPUT)] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Also own times, constants, sources, what is unverified.",
                                          rich_help_panel=_OUTPUT)] = False,
) -> None:
    """Predict one plan, or a table of plans where an option has several values (--batch 1,2,4).

    Exactly one of --batch, --concurrency, --rate says how requests come. An infeasible plan exits with 3, its
    figures and what would fix it are printed.
    """
    given = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "weights": weights, "kv": kv,
             "activations": activations, "kv_offload": kv_offload, "weight_offload": weight_offload, "batch": batch,
             "concurrency": concurrency, "rate": rate, "input_tokens": input_tokens, "output_tokens": output_tokens}
    axes = {name: parse.comma_list(text, name) for name, text in given.items() if text is not None}
    _check_load(axes)
    choices = list(parse.combinations(axes))
    made = parse.settings(settings or ())
    _check_settings(made, axes)
    system = _system(hardware, engine, cost, usd_per_gpu_hour, made)
    request = Request(load_model(model), system, {} if plan is None else parse.plan_document(plan), made,
                      float(parse.item(arrival_cv2, "--arrival-cv2", parse.ARRIVALS)))
    with np.errstate(all="ignore"):     # what has no value is shown as unknown, not warned of
        if len(choices) == 1:
            _one(request, choices[0], as_json, explain)
        else:
            _several(request, axes, choices, as_json)


def _check_load(axes: Mapping[str, object]) -> None:
    loads = [name for name in LOADS if name in axes]
    if len(loads) != 1:
        found = "none" if not loads else " and ".join(parse.option(name) for name in loads)
        raise InputError("traffic", f"got {found}, expected exactly one of --batch (sequences always decoding on each "
                         "replica), --concurrency (users of the deployment) and --rate (requests/s)")


def _check_settings(made: Mapping[str, str], axes: Mapping[str, object]) -> None:
    """A cell that is set twice would hide one of the two."""
    for name, cell in parse.CELLS.items():
        if name in axes and cell in made:
            raise InputError(f"--set {cell}", f"is also given as {parse.option(name)}, expected only one of them")


def _system(hardware: str, engine: str, cost: str, price: str | None, made: Mapping[str, str]) -> System:
    """The machine with one device; each row says how many it has."""
    if engine not in engine_names():
        raise InputError("--engine", f"no such engine: {engine[:60]!r}", nearest(engine, engine_names()))
    if cost not in COST_BASES:
        raise InputError("--cost", f"no such basis: {cost[:60]!r}", nearest(cost, COST_BASES))
    paid = None if price is None else parse.item(price, "--usd-per-gpu-hour", parse.PRICE)
    system = load_system(hardware, 1, engine, cost, paid)
    for path, text in made.items():
        if path.split(".")[0] in parse.HARDWARE:
            system = with_hardware(system, path, text)
    return system


def _predict(request: Request, choice: Choice) -> Evaluation:
    """One row: raises InputError for splits that cannot exist."""
    made = _plan(request, choice)
    par = made.parallelism
    gpus = choice.get("gpus", par.tp * par.pp * par.cp * (1 if par.dp is None else par.dp))
    traffic = Traffic(choice["input_tokens"], choice["output_tokens"], choice.get("batch"), choice.get("concurrency"),
                      choice.get("rate"), request.arrival_cv2)
    return predict(request.model, replace(request.system, gpus=gpus), made, traffic)


def _plan(request: Request, choice: Choice) -> Plan:
    document = dict(request.plan)
    for name, value in choice.items():
        if name in parse.CELLS:
            document = parse.with_cell(document, parse.CELLS[name], value)
    for path, text in request.settings.items():
        if path.split(".")[0] not in parse.HARDWARE:
            document = parse.with_cell(document, path, parse.literal(text))
    return plan_from_document(document, "")


def _one(request: Request, choice: Choice, as_json: bool, explain: bool) -> None:
    e = _predict(request, choice)
    if as_json:
        print_json(evaluation_document(e))
    else:
        print_page(evaluation_page(e, explain, request.settings))
    if not e.feasible:
        raise typer.Exit(INFEASIBLE)


def _several(request: Request, axes: Mapping[str, tuple[parse.Value, ...]], choices: list[dict[str, parse.Value]],
             as_json: bool) -> None:
    varied = [name for name, values in axes.items() if len(values) > 1]
    rows: list[tuple[Choice, Evaluation]] = []
    refused: list[tuple[Choice, InputError]] = []
    for choice in choices:
        shown = {name: choice[name] for name in varied}
        try:
            rows.append((shown, _predict(request, choice)))
        except InputError as error:
            refused.append((shown, error))
    if not rows:
        first = refused[0][1]
        raise InputError(first.where, f"none of the {len(choices)} combinations can exist, the first because "
                         f"{first.message}", first.hint)
    if as_json:
        print_json({"schema": TABLE_SCHEMA, "rows": [evaluation_document(e) for _, e in rows],
                    "refused": [{"choice": {name: plain(value) for name, value in shown.items()},
                                 "error": error.document()} for shown, error in refused]})
    else:
        print_page(table_page(rows, refused))
    if not any(e.feasible for _, e in rows):
        raise typer.Exit(INFEASIBLE)
