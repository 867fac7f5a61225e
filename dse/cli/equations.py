"""`dse explain`: every equation with its units and source, one of them as algebra, or a metric of a plan as the chain
of terms that makes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dse.cli import show
from dse.cli.evaluate import INFEASIBLE, Machine, predicted, requested
from dse.equations.registry import Equation, registered
from dse.errors import InputError, nearest
from dse.model.metrics import METRICS

LIST_SCHEMA, EQUATION_SCHEMA, CHAIN_SCHEMA = "dse.equations/1", "dse.equation/1", "dse.chain/1"
_LIST = str | None
_ALGEBRA, _OUTPUT = "Algebra", "Output"
_LOAD, _MACHINE, _PLAN = "Traffic of a metric", "Machine of a metric", "Plan of a metric"


def explain(
    name: Annotated[_LIST, typer.Argument(metavar="[EQUATION|METRIC]", help="An equation, or a metric of a plan "
                                          "(tpot for tpot_s); without any all equations.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="The equation in LaTeX.", rich_help_panel=_ALGEBRA)] = False,
    solve: Annotated[_LIST, typer.Option(metavar="SYMBOL", help="The equation solved for a symbol, each branch of a "
                                         "maximum by itself.", rich_help_panel=_ALGEBRA)] = None,
    diff: Annotated[bool, typer.Option("--diff", help="Its derivatives by each symbol.",
                                       rich_help_panel=_ALGEBRA)] = False,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="A reference of all equations to write: one HTML "
                                              "page.", rich_help_panel=_OUTPUT)] = None,
    model: Annotated[_LIST, typer.Option(help="Catalogue name, hf:ORG/NAME, a config.json, or its folder.",
                                         rich_help_panel=_MACHINE)] = None,
    hardware: Annotated[_LIST, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                            rich_help_panel=_MACHINE)] = None,
    input_tokens: Annotated[_LIST, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_LOAD)] = None,
    output_tokens: Annotated[_LIST, typer.Option(help="Output tokens of a request.", rich_help_panel=_LOAD)] = None,
    prefix_hit: Annotated[_LIST, typer.Option(help="Share of each prompt that is cached already.",
                                              rich_help_panel=_LOAD)] = None,
    batch: Annotated[_LIST, typer.Option(help="Sequences each replica always decodes.", rich_help_panel=_LOAD)] = None,
    concurrency: Annotated[_LIST, typer.Option(help="Users who ask again when answered.",
                                               rich_help_panel=_LOAD)] = None,
    rate: Annotated[_LIST, typer.Option(help="Requests per second.", rich_help_panel=_LOAD)] = None,
    trace: Annotated[_LIST, typer.Option(metavar="FILE", help="A CSV of requests, for what no option says.",
                                         rich_help_panel=_LOAD)] = None,
    gpus: Annotated[_LIST, typer.Option(help="Devices; without it the product of the splits.",
                                        rich_help_panel=_MACHINE)] = None,
    engine: Annotated[str, typer.Option(help="Serving engine: vllm, sglang or trtllm.",
                                        rich_help_panel=_MACHINE)] = "vllm",
    cost: Annotated[str, typer.Option(help="Cost basis: owned or rented.", rich_help_panel=_MACHINE)] = "owned",
    usd_per_gpu_hour: Annotated[_LIST, typer.Option(help="Your own price of a device, USD/h.",
                                                    rich_help_panel=_MACHINE)] = None,
    tp: Annotated[_LIST, typer.Option(help="Tensor parallelism.", rich_help_panel=_PLAN)] = None,
    pp: Annotated[_LIST, typer.Option(help="Pipeline parallelism.", rich_help_panel=_PLAN)] = None,
    dp: Annotated[_LIST, typer.Option(help="Data parallelism: replicas.", rich_help_panel=_PLAN)] = None,
    ep: Annotated[_LIST, typer.Option(help="Expert parallelism.", rich_help_panel=_PLAN)] = None,
    cp: Annotated[_LIST, typer.Option(help="Context parallelism.", rich_help_panel=_PLAN)] = None,
    weights: Annotated[_LIST, typer.Option(help="Format of the weights.", rich_help_panel=_PLAN)] = None,
    kv: Annotated[_LIST, typer.Option(help="Format of keys and values.", rich_help_panel=_PLAN)] = None,
    kv_offload: Annotated[_LIST, typer.Option(help="Share of the KV in host memory.", rich_help_panel=_PLAN)] = None,
    weight_offload: Annotated[_LIST, typer.Option(help="Share of the weights in host memory.",
                                                  rich_help_panel=_PLAN)] = None,
    plan: Annotated[_LIST, typer.Option(help="A plan file, or point 3 of a result: DIR#3.",
                                        rich_help_panel=_PLAN)] = None,
    technique: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A technique or a file of one; may be "
                                                        "repeated.", rich_help_panel=_PLAN)] = None,
    knobs: Annotated[list[str] | None, typer.Option("--knob", metavar="TECHNIQUE.KNOB=VALUE", help="A knob of a "
                                                    "technique.", rich_help_panel=_PLAN)] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A cell of the plan or a "
                                                       "figure of the machine.", rich_help_panel=_PLAN)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.", rich_help_panel=_OUTPUT)] = False,
) -> None:
    """List the equations, take one apart, or follow a metric of a plan down to FLOPs, bytes, rates and efficiencies.

    The algebra is traced from the functions that compute the numbers: nobody writes a formula twice.
    """
    given = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "weights": weights, "kv": kv,
             "kv_offload": kv_offload, "weight_offload": weight_offload, "batch": batch, "concurrency": concurrency,
             "rate": rate, "input_tokens": input_tokens, "output_tokens": output_tokens, "prefix_hit": prefix_hit}
    if html is not None:
        _reference(html, name, as_json)
    elif name is None:
        _check_alone(latex, solve, diff, model, hardware)
        _list(as_json)
    elif name in registered():
        if model is not None or hardware is not None:
            raise InputError("--model", f"{name} is an equation, expected a metric beside a plan",
                             f"dse explain {name} by itself shows it")
        _one(registered()[name], latex, solve, diff, as_json)
    else:
        metric = metric_named(name)
        if latex or solve is not None or diff:
            raise InputError(name, "is a metric, expected an equation beside --latex, --solve and --diff",
                             "dse explain lists the equations")
        if model is None or hardware is None:
            raise InputError("--model" if model is None else "--hardware", f"is missing, expected beside the metric "
                             f"{metric}", "dse explain NAME without a plan shows an equation")
        request, _, choices = requested(model, Machine(hardware, engine, cost, usd_per_gpu_hour), given, trace=trace,
                                        plan=plan, technique=technique or (), knobs=knobs or (),
                                        settings=settings or ())
        if len(choices) > 1:
            raise InputError("explain", f"the comma lists make {len(choices)} plans, expected one")
        with np.errstate(all="ignore"):
            e, _ = predicted(request, choices[0])
            _chain(e, metric, as_json)
        if not e.feasible:
            raise typer.Exit(INFEASIBLE)


def metric_named(name: str) -> str:
    """The metric by its name, with or without its unit; an error with the nearest of equations and metrics."""
    for known in (name, f"{name}_s"):
        if known in METRICS:
            return known
    raise InputError(name[:60], "no such equation or metric", nearest(name, [*registered(), *METRICS]))


def _check_alone(latex: bool, solve: str | None, diff: bool, model: str | None, hardware: str | None) -> None:
    """Options that speak of one equation or of one metric need its name."""
    for option, said in (("--latex", latex), ("--solve", solve is not None), ("--diff", diff)):
        if said:
            raise InputError(option, "needs the name of an equation", "dse explain lists them")
    if model is not None or hardware is not None:
        raise InputError("--model", "needs the name of a metric", "such as dse explain tpot --model ...")


def _list(as_json: bool) -> None:
    if as_json:
        show.print_json({"schema": LIST_SCHEMA, "equations": [_document(e) for e in registered().values()]})
        return
    from dse.cli.equations_page import list_page

    show.print_page(list_page())


def _document(e: Equation) -> dict[str, Any]:
    return {"name": e.name, "module": e.module, "meaning": e.meaning, "result": e.result, "units": e.units,
            "source": e.source}


def _one(e: Equation, latex: bool, solve: str | None, diff: bool, as_json: bool) -> None:
    from dse.cli.equations_page import algebra_document, equation_page

    found = algebra_document(e, solve, diff)
    if as_json:
        show.print_json({"schema": EQUATION_SCHEMA, **_document(e), **found})
    elif latex:
        typer.echo(found["latex"])
    else:
        show.print_page(equation_page(e, found))


def _chain(e: Any, metric: str, as_json: bool) -> None:
    from dse.cli.chain_page import chain_page
    from dse.cli.remedies import violations
    from dse.model.chain_metrics import chain, chain_document
    from dse.search.crossovers import crossovers, crossovers_document

    term, found = chain(e, metric), crossovers(e)
    if as_json:
        show.print_json({"schema": CHAIN_SCHEMA, "metric": metric, "model": e.model.name, "hardware": e.system.name,
                         "feasible": bool(e.feasible), "violations": violations(e), "chain": chain_document(term),
                         "crossovers": crossovers_document(found)})
    else:
        show.print_page(chain_page(e, metric, term, found))


def _reference(path: Path, name: str | None, as_json: bool) -> None:
    if name is not None:
        raise InputError("--html", "is a reference of all equations, expected no name beside it")
    from dse.report.reference import write_reference

    write_reference(path)
    if as_json:
        show.print_json({"schema": LIST_SCHEMA, "written": str(path), "equations": len(registered())})
    else:
        typer.echo(f"{path}: {len(registered())} equations")
