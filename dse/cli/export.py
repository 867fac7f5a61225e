"""`dse export`: the command that launches a plan on a serving engine."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from dse.cli import parse, show
from dse.cli.plan_asked import evaluated
from dse.errors import InfeasiblePlanError, InputError

SCHEMA = "dse.launch/1"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_MACHINE, _LOAD, _PLAN, _ENGINE = "Machine", "Requests", "Plan", "Engine"
_TEXT = str | None
Document = Mapping[str, Any]


def export(
    plan: Annotated[_TEXT, typer.Argument(metavar="[PLAN]", help="A plan file, or point 3 of the result in a folder: "
                                          "DIR#3. Without it the options say the plan.")] = None,
    engine: Annotated[_TEXT, typer.Option(help="Engine to launch: vllm, sglang or trtllm; without it the one that the "
                                          "plan was evaluated with.", rich_help_panel=_ENGINE)] = None,
    checkpoint: Annotated[_TEXT, typer.Option(help="What the engine loads, stored in the plan's formats: a hub name or "
                                              "a folder. Without it where the model comes from.",
                                              rich_help_panel=_ENGINE)] = None,
    draft_model: Annotated[_TEXT, typer.Option(help="The model that drafts tokens, where the plan drafts.",
                                               rich_help_panel=_ENGINE)] = None,
    model: Annotated[_TEXT, typer.Option(help="Catalogue name, hf:ORG/NAME, a config.json, or a folder holding one.",
                                         rich_help_panel=_MACHINE)] = None,
    hardware: Annotated[_TEXT, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                            rich_help_panel=_MACHINE)] = None,
    gpus: Annotated[_TEXT, typer.Option(help="Devices.", rich_help_panel=_MACHINE)] = None,
    input_tokens: Annotated[_TEXT, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_LOAD)] = None,
    output_tokens: Annotated[_TEXT, typer.Option(help="Output tokens of a request.", rich_help_panel=_LOAD)] = None,
    batch: Annotated[_TEXT, typer.Option(help="Sequences each replica decodes.", rich_help_panel=_LOAD)] = None,
    concurrency: Annotated[_TEXT, typer.Option(help="Users who ask again.", rich_help_panel=_LOAD)] = None,
    rate: Annotated[_TEXT, typer.Option(help="Requests per second.", rich_help_panel=_LOAD)] = None,
    tp: Annotated[_TEXT, typer.Option(help="Tensor parallelism.", rich_help_panel=_PLAN)] = None,
    pp: Annotated[_TEXT, typer.Option(help="Pipeline parallelism.", rich_help_panel=_PLAN)] = None,
    dp: Annotated[_TEXT, typer.Option(help="Data parallelism: replicas.", rich_help_panel=_PLAN)] = None,
    ep: Annotated[_TEXT, typer.Option(help="Expert parallelism.", rich_help_panel=_PLAN)] = None,
    cp: Annotated[_TEXT, typer.Option(help="Context parallelism.", rich_help_panel=_PLAN)] = None,
    prefill_replicas: Annotated[_TEXT, typer.Option(help="Replicas that only prefill.", rich_help_panel=_PLAN)] = None,
    weights: Annotated[_TEXT, typer.Option(help="Format of the weights.", rich_help_panel=_PLAN)] = None,
    kv: Annotated[_TEXT, typer.Option(help="Format of keys and values.", rich_help_panel=_PLAN)] = None,
    kv_offload: Annotated[_TEXT, typer.Option(help="Share of the KV in host memory.", rich_help_panel=_PLAN)] = None,
    weight_offload: Annotated[_TEXT, typer.Option(help="Share of the weights in host memory.",
                                                  rich_help_panel=_PLAN)] = None,
    draft_tokens: Annotated[_TEXT, typer.Option(help="Tokens drafted for each sequence and step.",
                                                rich_help_panel=_PLAN)] = None,
    acceptance: Annotated[_TEXT, typer.Option(help="Chance that a drafted token is accepted.",
                                              rich_help_panel=_PLAN)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A cell of the plan; may "
                                                       "be repeated.", rich_help_panel=_PLAN)] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="The commands alone.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Print the command that launches a plan: flags of one release of the engine, as a script; what no flag can say
    stands below as comments.

    A point of a result says all by itself; a plan file, or no PLAN, needs --model, --hardware and the requests. A plan
    that does not fit is not exported: exit code 3.
    """
    cells = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "prefill_replicas": prefill_replicas,
             "weights": weights, "kv": kv, "kv_offload": kv_offload, "weight_offload": weight_offload,
             "draft_tokens": draft_tokens, "acceptance": acceptance, "batch": batch, "concurrency": concurrency,
             "rate": rate, "input_tokens": input_tokens, "output_tokens": output_tokens}
    given = {name: text for name, text in cells.items() if text is not None}
    point = parse.point_of_result(plan) if plan is not None else None
    if point is None:
        document = evaluated(model, hardware, engine, plan, given, settings or ())
    else:
        _check_alone(plan or "", {"model": model, "hardware": hardware, **given})
        document = point
    _check_fits(document, plan or "the plan")
    chosen = engine or str(document["system"]["engine"])
    made = _launched(document, chosen, model, checkpoint, draft_model)
    from dse.launch.words import commands, launch_document, script

    if as_json:
        show.print_json({"schema": SCHEMA, "plan": document["plan"], **launch_document(made)})
    else:
        sys.stdout.write(commands(made) if quiet else script(made, _title(document)))


def _check_alone(plan: str, given: Mapping[str, str | None]) -> None:
    for name, text in given.items():
        if text is not None:
            raise InputError(parse.option(name), f"is said by {plan[:60]}, expected without it",
                             "dse evaluate --plan tries other settings")


def _check_fits(document: Document, what: str) -> None:
    over = {name: excess for name, excess in document["constraints"].items() if excess is None or excess > 0}
    if over:
        words = ", ".join(f"{name} by {'any measure' if v is None else show.percent(v)}" for name, v in over.items())
        raise InfeasiblePlanError(what[:80], f"does not fit and is not exported: exceeds {words}",
                                  "dse evaluate says what would fit")


def _launched(document: Document, engine: str, model: str | None, checkpoint: str | None, drafter: str | None) -> Any:
    """The launch, with what is known of the model's checkpoint and the machine's nodes."""
    from dse.launch.command import Target, launch

    name = model or str(document["model"]["name"])
    found, home = _model(name)
    stored = None if found is None else dict(found.formats)
    if checkpoint is not None:      # it is stored as the plan says
        formats = document["plan"]["formats"]
        stored = {**(stored or {}), **{obj: f for obj, f in formats.items() if obj != "kv" and isinstance(f, str)}}
    made = launch(document, engine, Target(checkpoint or home, stored, _per_node(document), drafter))
    if found is not None or checkpoint is not None:
        return made
    return replace(made, remarks=(f"{name} is no model of the catalogue: --checkpoint says what the engine loads",
                                  *made.remarks))


def _model(name: str) -> tuple[Any, str]:
    """The model, None where its file is elsewhere now, and what an engine would load."""
    from dse.catalogue.models import load_model, model_names, published

    try:
        found = load_model(name)
    except InputError:
        return None, name
    if name in model_names():
        title = published(name).title
        return found, title if _HUB_NAME.fullmatch(title) else name
    if name.startswith("hf:"):
        return found, name.removeprefix("hf:")
    path = Path(name)
    return found, str(path.parent if path.is_file() else path)


def _per_node(document: Document) -> int | None:
    """Devices of one node; None where the machine is in no file that is at hand."""
    from dse.catalogue.systems import load_system

    try:
        return int(load_system(str(document["system"]["name"])).node.gpus_per_node)
    except InputError:
        return None


def _title(document: Document) -> str:
    figures = document["metrics"]
    tpot = "" if figures.get("tpot_s") is None else f"; TPOT {show.seconds(figures['tpot_s'])} predicted"
    return f"{document['model']['name']} on {document['system']['gpus']:g} x {document['system']['chip']}{tpot}"
