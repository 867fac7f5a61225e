"""`dse sensitivity`: what one per cent more of each resource changes, how far off the figures may be, and whose fault
it is; of a search's result, whether the best plan stays the best.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from dse.cli import parse, show
from dse.cli.evaluate import INFEASIBLE, Machine, predicted, requested
from dse.cli.remedies import violations
from dse.cli.sensitivity_page import contest_page, sensitivity_page
from dse.errors import InputError
from dse.model.evaluate import Evaluation
from dse.search.sensitivity import contest, contest_document, sensitivity_document, spreads
from dse.search.uncertain import Uncertain, uncertain
from dse.studies.searches import find_search

_LIST = str | None
_LOAD, _MACHINE, _PLAN, _DRAWS = "Traffic", "Machine", "Plan", "Draws"
_DRAW_RULES = {"low": 10.0, "high": 1e6, "whole": True, "choices": (), "optional": False}
_SEED_RULES = {**_DRAW_RULES, "low": 0.0, "high": 2.0**32 - 1}
_SPREAD_RULES = {**_DRAW_RULES, "low": 0.0, "high": 2.0, "whole": False}
MOST_PLANS = 64
"""Plans that are held against each other: the best ones by the first objective."""


@dataclass(frozen=True, slots=True)
class Draws:
    """How many, from which seed, and what the user says of spreads."""

    count: int
    seed: int
    spreads: Mapping[str, float]


def sensitivity(
    what: Annotated[str, typer.Argument(metavar="MODEL|SEARCH|DIR", help="A model, as `dse evaluate` takes it; or "
                                        "a search by name or file, or the folder of its result: its front.")],
    hardware: Annotated[_LIST, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                            rich_help_panel=_MACHINE)] = None,
    input_tokens: Annotated[_LIST, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_LOAD)] = None,
    output_tokens: Annotated[_LIST, typer.Option(help="Output tokens of a request.", rich_help_panel=_LOAD)] = None,
    batch: Annotated[_LIST, typer.Option(help="Sequences each replica always decodes.", rich_help_panel=_LOAD)] = None,
    concurrency: Annotated[_LIST, typer.Option(help="Users who ask again when answered.",
                                               rich_help_panel=_LOAD)] = None,
    rate: Annotated[_LIST, typer.Option(help="Requests per second.", rich_help_panel=_LOAD)] = None,
    arrival_cv2: Annotated[_LIST, typer.Option(help="Squared coefficient of variation of the gaps between them.",
                                               rich_help_panel=_LOAD)] = None,
    peak_to_mean: Annotated[_LIST, typer.Option(help="Rate of the busiest hours over the mean rate.",
                                                rich_help_panel=_LOAD)] = None,
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
    draws: Annotated[str, typer.Option(help="Draws of the uncertain constants.", rich_help_panel=_DRAWS)] = "1000",
    seed: Annotated[str, typer.Option(help="Seed of the draws.", rich_help_panel=_DRAWS)] = "0",
    spread: Annotated[list[str] | None, typer.Option(
        metavar="NAME=SHARE", help="Standard deviation of a constant's logarithm in place of the known one, 0 for "
        "none: input_tokens=0.3; may be repeated.", rich_help_panel=_DRAWS)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """Say what each resource is worth, how far off each metric may be, and which uncertain constant that is owed to.

    Constants are drawn at once, as one more axis of the same evaluation; the same seed gives the same figures. Of a
    folder, all plans of the front meet the same draws: how likely is it that another one is the best?
    """
    count = int(parse.item(draws, "--draws", _DRAW_RULES))
    start = int(parse.item(seed, "--seed", _SEED_RULES))
    said = {name: float(parse.item(text, f"--spread {name}", _SPREAD_RULES)) for name, text in parse.assignments(
        spread or (), "--spread", "such as input_tokens=0.3").items()}
    given = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "weights": weights, "kv": kv,
             "kv_offload": kv_offload, "weight_offload": weight_offload, "batch": batch, "concurrency": concurrency,
             "rate": rate, "arrival_cv2": arrival_cv2, "peak_to_mean": peak_to_mean,
             "input_tokens": input_tokens, "output_tokens": output_tokens}
    kept = Path(what).is_dir() and not (Path(what) / "config.json").exists()
    if kept or find_search(what) is not None:
        _check_no_plan({**given, "hardware": hardware, "plan": plan, "trace": trace})
        _of_front(what, kept, Draws(count, start, said), as_json)
        return
    if hardware is None:
        raise InputError("--hardware", "is missing, expected a chip or system of the catalogue")
    request, _, choices = requested(what, Machine(hardware, engine, cost, usd_per_gpu_hour), given, trace=trace,
                                    plan=plan, technique=technique or (), knobs=knobs or (), settings=settings or ())
    if len(choices) > 1:
        raise InputError("sensitivity", f"the comma lists make {len(choices)} plans, expected one")
    with np.errstate(all="ignore"):
        e, _ = predicted(request, choices[0])
        _of_plan(e, Draws(count, start, said), as_json)


def _check_no_plan(given: Mapping[str, str | None]) -> None:
    for name, text in given.items():
        if text is not None:
            raise InputError(parse.option(name), "changes nothing of a result's front, expected a model beside it")


def _of_plan(e: Evaluation, draws: Draws, as_json: bool) -> None:
    document = _document(e, uncertain([e], draws.spreads)[0], draws)
    if as_json:
        show.print_json(document)
    else:
        show.print_page(sensitivity_page(document))
    if not e.feasible:
        raise typer.Exit(INFEASIBLE)


def _document(e: Evaluation, constants: tuple[Uncertain, ...], draws: Draws) -> dict[str, Any]:
    found = spreads(e, constants, draws.count, draws.seed)
    document = sensitivity_document(e, constants, found, draws.count, draws.seed)
    return {**document, "feasible": bool(e.feasible), "violations": violations(e)}


def _of_front(what: str, kept: bool, draws: Draws, as_json: bool) -> None:
    """The front's plans against each other, and the chosen one by itself."""
    from dse.cli.front_asked import front_kept, front_searched  # searches load when they are used
    from dse.cli.search_asked import read_asked

    front = front_kept(Path(what), MOST_PLANS) if kept else front_searched(
        read_asked(what, {}, None, (), ()), MOST_PLANS)
    constants = uncertain(front.plans, draws.spreads)
    found = contest_document(contest(front.plans, constants, front.aim, draws.count, draws.seed))
    plans = [{**plan, "plan": words} for plan, words in zip(found["plans"], front.words, strict=True)]
    document = {**_document(front.plans[0], constants[0], draws), "front": {**found, "plans": plans}}
    if as_json:
        show.print_json(document)
    else:
        show.print_page([*contest_page(document), *sensitivity_page(document)])
