"""`dse whatif`: how much of one thing a target needs, everything else as it is."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import RenderableType
from rich.text import Text

from dse.catalogue.quantity import quantity
from dse.cli import show
from dse.cli.equations import metric_named
from dse.cli.evaluate import Machine, predicted, requested
from dse.cli.sensitivity_page import RESOURCES
from dse.errors import InputError, NothingFeasibleError, nearest
from dse.model.document import plain
from dse.model.metrics import METRICS
from dse.search.whatif import SPAN, VARIABLES, Answer, Target, Variable, solve

SCHEMA = "dse.whatif/1"
_LIST = str | None
_LOAD, _MACHINE, _PLAN, _OUTPUT = "Traffic", "Machine", "Plan", "Output"
_TARGET = re.compile(r"\s*([A-Za-z0-9_]+)\s*(<=|>=|<|>|=)\s*(\S.*?)\s*")
_READ = ("s", "USD", "USD/h", "J")
"""Units that a target may be given in; others are plain numbers in the metric's unit."""


def whatif(
    model: Annotated[str, typer.Argument(help="Catalogue name, hf:ORG/NAME, a config.json, or its folder.")],
    target: Annotated[str, typer.Argument(metavar="METRIC=VALUE", help="What the metric has to reach: tpot=20ms, "
                                          "output_tok_s=5000, usd_per_mtok=0.5. Also \"tpot<20ms\", in quotes.")],
    vary: Annotated[str, typer.Option(help=f"What is changed: {', '.join(VARIABLES)}.")],
    hardware: Annotated[str, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                          rich_help_panel=_MACHINE)],
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
    """Say how much of one thing a target needs: the least of a resource, the fewest devices, the most users.

    Prices, splits and all else stay; of gpus, tensor and data parallelism are chosen anew. Exits with 4 where no value
    reaches the target, and says what limits it then.
    """
    aim, variable = _target(target), _variable(vary)
    given = {"gpus": gpus, "tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp, "weights": weights, "kv": kv,
             "kv_offload": kv_offload, "weight_offload": weight_offload, "batch": batch, "concurrency": concurrency,
             "rate": rate, "input_tokens": input_tokens, "output_tokens": output_tokens, "prefix_hit": prefix_hit}
    request, _, choices = requested(model, Machine(hardware, engine, cost, usd_per_gpu_hour), given, trace=trace,
                                    plan=plan, technique=technique or (), knobs=knobs or (), settings=settings or ())
    if len(choices) > 1:
        raise InputError("whatif", f"the comma lists make {len(choices)} plans, expected one")
    with np.errstate(all="ignore"):     # values that are too small have no finite figures
        e, _ = predicted(request, choices[0])
        found = solve(e, aim, variable)
        document = _document(found, aim, variable)
        head = f"{e.model.name} on {show.significant(e.system.gpus)} x {e.system.name}"
    if as_json:
        show.print_json({**document, "model": e.model.name, "hardware": e.system.name})
    else:
        show.print_page(_page(head, document))
    if found.value is None:
        raise typer.Exit(NothingFeasibleError.code)


def _variable(name: str) -> Variable:
    if name not in VARIABLES:
        raise InputError("--vary", f"no such variable: {name[:60]!r}", nearest(name, VARIABLES))
    return VARIABLES[name]


def _target(text: str) -> Target:
    """METRIC=VALUE; a sign that contradicts the metric's direction is an error."""
    match = _TARGET.fullmatch(text)
    if match is None:
        raise InputError("target", f"{text[:60]!r} is not METRIC=VALUE", "such as tpot=20ms or output_tok_s=5000")
    name, sign, value = match.groups()
    metric = METRICS[metric_named(name)]
    if not metric.better:
        raise InputError(metric.name, "is no aim, expected a metric of which less or more is better",
                         "such as tpot=20ms")
    wrong = ">" if metric.better < 0 else "<"
    if sign.startswith(wrong):
        raise InputError(metric.name, f"of this metric {'less' if metric.better < 0 else 'more'} is better, expected "
                         f"{metric.name}={value[:40]}")
    return Target(metric.name, _value(value, metric.unit, metric.name))


def _value(text: str, unit: str, where: str) -> float:
    try:
        number = float(text)
        if unit == "s":
            raise InputError(where, f"{text[:60]!r} has no unit, expected a time such as 20ms")
    except ValueError:
        if unit not in _READ:
            raise InputError(where, f"{text[:60]!r} is not a plain number, in {unit or 'no unit'}") from None
        number = quantity(text, unit, where)
    if not (math.isfinite(number) and number > 0):
        raise InputError(where, f"{text[:60]!r} is not above zero and finite")
    return number


def _document(found: Answer, target: Target, variable: Variable) -> dict[str, Any]:
    d = found.evaluation.deployment
    return {
        "schema": SCHEMA, "metric": target.metric, "target": target.value, "vary": variable.name,
        "unit": variable.unit, "now": plain(found.now), "metric_now": found.metric_now, "value": plain(found.value),
        "metric_there": found.metric, "method": found.method, "best_at": plain(found.reach),
        "limits": dict(found.limits), "violated": list(found.violated),
        "splits": {name: plain(getattr(d, name)) for name in ("tp", "pp", "dp", "ep", "cp")},
    }


def _page(head: str, d: dict[str, Any]) -> Iterator[RenderableType]:
    metric, variable = METRICS[d["metric"]], VARIABLES[d["vary"]]
    wanted = _figure(d["target"], metric.unit)
    words = "at most" if metric.better < 0 else "at least"
    yield Text(f"{head}: {metric.title} {words} {wanted}", style="bold")
    yield show.pairs(_lines(d, variable, metric.unit))


def _lines(d: dict[str, Any], variable: Variable, unit: str) -> Iterator[tuple[str, str]]:
    now = show.with_prefix(d["now"], variable.unit)
    yield "now", f"{now} gives {_figure(d['metric_now'], unit)}"
    if d["value"] is not None:
        how = {"gpus": "fewest"}.get(variable.name, "least" if variable.more_helps else "most")
        ratio = d["value"] / d["now"]
        yield variable.title, (f"{how} {show.with_prefix(d['value'], variable.unit)}, {show.significant(ratio)} times "
                               f"today's ({METHODS[d['method']]})")
        if variable.name == "gpus":
            yield "splits", ", ".join(f"{name} {value}" for name, value in d["splits"].items() if value != 1) or "none"
        yield "gives", _figure(d["metric_there"], unit)
        return
    if d["metric_there"] == d["metric_now"] and variable.name != "gpus":
        yield variable.title, f"no value does: none changes it, from {1 / SPAN:g} to {SPAN:g} times today's"
    else:
        yield variable.title, (f"no value does; at best {_figure(d['metric_there'], unit)}, with "
                           f"{show.with_prefix(d['best_at'], variable.unit)}")
    for name in d["violated"]:
        yield "infeasible", f"the constraint {name} is not met there"
    told = [f"{RESOURCES.get(name, name)} ({value:+.2f} % for 1 % more)" for name, value in list(
        d["limits"].items())[:4]]
    if told:
        yield "limited by", ", ".join(told)


def _figure(value: Any, unit: str) -> str:
    """A metric with its unit, times in the unit that suits them."""
    return show.seconds(value) if unit == "s" else f"{show.significant(value)} {unit}".rstrip()


METHODS = {"closed form": "exact", "root": "root of the model", "count": "counted"}
"""How an answer was found, in words."""
