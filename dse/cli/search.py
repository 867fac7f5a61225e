"""`dse search`: the best plans on up to so many devices, and the best machine for them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dse.catalogue.calibration import engine_names
from dse.catalogue.models import load_model
from dse.catalogue.systems import COST_BASES, load_system
from dse.cli import parse
from dse.cli.progress import Bar
from dse.cli.search_page import nothing_feasible, search_page
from dse.cli.show import print_json, print_page
from dse.errors import InputError, nearest
from dse.model.metrics import METRICS, metric
from dse.model.money import missing_price, usd_per_device_hour
from dse.model.system import System
from dse.plan.traffic import LOADS
from dse.search.files import STUDY, check_folder, make_folder, write_result
from dse.search.grid import Aim
from dse.search.result import Request, front_table, result_document
from dse.search.space import Space, make_space
from dse.search.storage import without_password
from dse.search.study import Settings, explore

INTERRUPTED = 130
USERS = tuple(sorted({float(n) for power in range(11) for n in (2**power, 3 * 2**power // 2)}))
"""Concurrencies of a search that was given no load: 1, 2, 3, 4, 6, 8, ..., powers of two and halfway between."""
OBJECTIVES = ("usd_per_mtok", "tpot_s")
MOST_OBJECTIVES = 5
LIMITS = {"ttft_ms": "ttft_s", "tpot_ms": "tpot_s", "ttft_p90_ms": "ttft_p90_s", "tpot_p90_ms": "tpot_p90_s"}
_TRAFFIC, _MACHINE, _SPACE, _OUTPUT = "Traffic", "Machine", "Search", "Output"
_POSITIVE = {"low": 1e-6, "high": 1e12, "whole": False, "choices": (), "optional": False}
_TRIALS = {"low": 1.0, "high": 1e9, "whole": True, "choices": (), "optional": False}
_SEED = {"low": 0.0, "high": 2.0**32 - 1, "whole": True, "choices": (), "optional": False}


def search(
    model: Annotated[str, typer.Argument(help="Catalogue name, a config.json, or a folder holding one.")],
    hardware: Annotated[str, typer.Option(help="Chip or system of the catalogue, or a file of either.",
                                          rich_help_panel=_MACHINE)],
    input_tokens: Annotated[str, typer.Option(help="Prompt tokens of a request.", rich_help_panel=_TRAFFIC)],
    output_tokens: Annotated[str, typer.Option(help="Output tokens of a request.", rich_help_panel=_TRAFFIC)],
    concurrency: Annotated[str | None, typer.Option(help="Users who ask again when answered; a comma list. Without "
                                                    "any load 1,2,3,4,6,8,...,1536.", rich_help_panel=_TRAFFIC)] = None,
    rate: Annotated[str | None, typer.Option(help="Requests per second; a comma list.",
                                             rich_help_panel=_TRAFFIC)] = None,
    batch: Annotated[str | None, typer.Option(help="Sequences each replica always decodes; a comma list.",
                                              rich_help_panel=_TRAFFIC)] = None,
    arrival_cv2: Annotated[str, typer.Option(help="Squared coefficient of variation of arrivals; 1 is Poisson.",
                                             rich_help_panel=_TRAFFIC)] = "1",
    input_cv2: Annotated[str, typer.Option(help="Squared coefficient of variation of prompt lengths.",
                                           rich_help_panel=_TRAFFIC)] = "0",
    output_cv2: Annotated[str, typer.Option(help="The same of output lengths.", rich_help_panel=_TRAFFIC)] = "0",
    gpus: Annotated[str | None, typer.Option(help="The most devices of a plan; without it those of one node.",
                                             rich_help_panel=_MACHINE)] = None,
    engine: Annotated[str, typer.Option(help="Serving engine: vllm, sglang or trtllm.",
                                        rich_help_panel=_MACHINE)] = "vllm",
    cost: Annotated[str, typer.Option(help="Cost basis: owned or rented.", rich_help_panel=_MACHINE)] = "owned",
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
    cp: Annotated[str, typer.Option(help="Context parallelism to try; a comma list.", rich_help_panel=_SPACE)] = "1",
    free: Annotated[str | None, typer.Option(
        help="Continuous variables: any of kv_offload, weight_offload, l2, hbm, link, cores, or none. Without it the "
        "two offload ratios.", rich_help_panel=_SPACE)] = None,
    trials: Annotated[str, typer.Option(help="Points of the continuous variables to try.",
                                        rich_help_panel=_SPACE)] = "200",
    seed: Annotated[str, typer.Option(help="Seed of the sampler; workers on one study need one each.",
                                      rich_help_panel=_SPACE)] = "0",
    memory: Annotated[str, typer.Option(help="Memory for a block of the grid.",
                                        rich_help_panel=_SPACE)] = "512 MiB",
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
    """Find the plans that no other beats: every split, format and load exactly, the continuous variables by Optuna.

    --gpus N means up to N. Exits with 4 where no plan meets the limits, and with 130 when interrupted (the front of
    the finished trials is printed).
    """
    system = _system(hardware, engine, cost, usd_per_gpu_hour)
    most = system.node.gpus_per_node if gpus is None else int(_number(gpus, "--gpus", parse.RULES["gpus"]))
    load, loads = _load({"batch": batch, "concurrency": concurrency, "rate": rate})
    limits = {"ttft_ms": ttft_ms, "tpot_ms": tpot_ms, "ttft_p90_ms": ttft_p90_ms, "tpot_p90_ms": tpot_p90_ms}
    aim = _aim(system, objective, limits, _cell(output_tokens, "output_tokens"), load)
    tries = int(_number(trials, "--trials", _TRIALS))
    space = make_space(
        load_model(model), system, gpus=most, load=load, loads=loads,
        input_tokens=_cell(input_tokens, "input_tokens"), output_tokens=_cell(output_tokens, "output_tokens"),
        arrival_cv2=_cell(arrival_cv2, "arrival_cv2"), input_cv2=_cell(input_cv2, "input_cv2"),
        output_cv2=_cell(output_cv2, "output_cv2"), weights=_formats(weights, "weights"), kv=_formats(kv, "kv"),
        cp=[int(n) for n in parse.comma_list(cp, "cp")], free=_free(free), trials=tries)
    settings = Settings(tries, int(_number(seed, "--seed", _SEED)), _storage(storage, out, space),
                        study or f"{space.model.name} on {space.system.name}", _bytes(memory))
    _run(space, Request(aim, settings, _command()), out, report, as_json)


def _run(space: Space, request: Request, out: Path | None, report: Path | None, as_json: bool) -> None:
    """Search, then write and print what was asked for."""
    with Bar() as bar:
        outcome = explore(space, request.aim, request.settings, bar)
    if not len(outcome.front):
        raise nothing_feasible(space, outcome)
    result = result_document(space, request, outcome)
    if out is not None:
        make_folder(out)
        write_result(out, result, front_table(space, outcome))
    if report is not None:
        from dse.report.page import write_report  # templates and figures load when they are used

        write_report(result, report)
    if as_json:
        print_json(result)
    else:
        written = [str(path) for path in (out, report) if path is not None]
        print_page(search_page(result, written))
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)


def _system(hardware: str, engine: str, cost: str, price: str | None) -> System:
    """The machine with one device; each plan says how many it has."""
    if engine not in engine_names():
        raise InputError("--engine", f"no such engine: {engine[:60]!r}", nearest(engine, engine_names()))
    if cost not in COST_BASES:
        raise InputError("--cost", f"no such basis: {cost[:60]!r}", nearest(cost, COST_BASES))
    paid = None if price is None else _number(price, "--usd-per-gpu-hour", parse.PRICE)
    return load_system(hardware, 1, engine, cost, paid)


def _number(text: str, where: str, rules: Mapping[str, Any]) -> float:
    return float(parse.item(text, where, rules))


def _cell(text: str, name: str) -> float:
    return _number(text, parse.option(name), parse.RULES[name])


def _bytes(text: str) -> float:
    from dse.catalogue.quantity import quantity

    size = quantity(text, "B", "--memory")
    if size < 1 << 20:
        raise InputError("--memory", f"{text!r} is too little, expected at least 1 MiB")
    return float(size)


def _load(given: Mapping[str, str | None]) -> tuple[str, Sequence[float]]:
    """The one kind of load that is given, and its values."""
    named = [name for name in LOADS if given[name] is not None]
    if len(named) > 1:
        raise InputError("traffic", f"got {' and '.join(map(parse.option, named))}, expected at most one of them")
    if not named:
        return "concurrency", USERS
    return named[0], [float(v) for v in parse.comma_list(str(given[named[0]]), named[0])]


def _formats(text: str | None, name: str) -> tuple[str | None, ...]:
    return (None,) if text is None else tuple(str(v) for v in parse.comma_list(text, name))


def _free(text: str | None) -> list[str] | None:
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    return [] if names == ["none"] else names


def _aim(system: System, objectives: Sequence[str] | None, limits: Mapping[str, str | None],
         output_tokens: float, load: str) -> Aim:
    """Objectives that can be had, and limits in s."""
    names = tuple(dict.fromkeys(objectives or OBJECTIVES))
    if len(names) > MOST_OBJECTIVES:
        raise InputError("--objective", f"{len(names)} objectives, expected at most {MOST_OBJECTIVES}")
    for name in names:
        _check_objective(system, name, output_tokens)
        _check_known(f"--objective {name}", name, load)
    asked = {name: _number(text, parse.option(name), _POSITIVE) for name, text in limits.items() if text is not None}
    for name in asked:
        _check_known(parse.option(name), LIMITS[name], load)
    return Aim(names, {name: (LIMITS[name], value / 1e3) for name, value in asked.items()})


def _check_known(where: str, name: str, load: str) -> None:
    """Quantiles and saturation are known of a rate only, and goodput needs targets too."""
    if METRICS[name].rate_only and load != "rate":
        raise InputError(where, f"the {METRICS[name].title} is known for a rate only", "give --rate")
    if name == "goodput_requests_s":
        raise InputError(where, "a search takes no targets to count requests by", "limit --ttft-p90-ms instead")


def _check_objective(system: System, name: str, output_tokens: float) -> None:
    aim = metric(name, "--objective")
    if aim.better == 0:
        aims = [m for m in METRICS if METRICS[m].better]
        raise InputError("--objective", f"neither more nor less {name} is an aim", f"choose from {', '.join(aims)}")
    if aim.money and usd_per_device_hour(system) is None:
        raise InputError(f"--objective {name}", missing_price(system))
    if aim.needs and getattr(system.chip, aim.needs) is None:
        lacks = {"tdp_w": "power", "die_mm2": "die area"}[aim.needs]
        raise InputError(f"--objective {name}", f"the catalogue has no {lacks} for {system.chip.name}",
                         "choose another objective or chip")
    if name.startswith("tpot_") and output_tokens == 1:
        raise InputError(f"--objective {name}", "one output token has no time between tokens",
                         "--objective usd_per_mtok --objective ttft_s")


def _storage(storage: str | None, out: Path | None, space: Space) -> str | None:
    """Where the trials go; with --out into its folder, which is checked before any work."""
    if out is None:
        return storage
    check_folder(out)
    make_folder(out)
    return str(out / STUDY) if storage is None and space.free else storage


def _command() -> str:
    """The command as it was typed, without passwords."""
    return without_password(shlex.join(["dse", *sys.argv[1:]]))
