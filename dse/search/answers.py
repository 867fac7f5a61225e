"""What a search says beside its points: the plan to take, what binds it, and what more of each resource would buy."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from dse.model.document import plain
from dse.model.elasticity import charged_shares, elasticities
from dse.model.evaluate import PHASES, Evaluation
from dse.search.grid import Aim
from dse.search.pareto import Points
from dse.search.result import evaluation_at
from dse.search.sizing import fewest_of
from dse.search.space import SPLITS, Space
from dse.search.structures import as_spaces, space_of
from dse.search.study import Outcome
from dse.search.variables import CHIP_VARIABLES, OFFLOADS, UNITS
from dse.search.variant import names_of_knobs

FULL = "kv_slots"
"""What binds where every place of the batch is taken."""
TELLING = ("ttft_s", "tpot_s", "output_tok_s_per_gpu", "usd_per_mtok")


def answers(space: Space | Sequence[Space], aim: Aim, outcome: Outcome, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Of the front's first plan. asked: the model and hardware as the user named them, and whether fewest devices are
    wanted.

    constraints: by how much of its bound each is missed, negative what is left, the tightest first. charged: each
    phase's seconds by resource, in shares. elasticities: per cent for one per cent more of a resource.
    """
    own, points = space_of(space, outcome.front, 0), outcome.front
    e = evaluation_at(own, points, 0)
    spaces = as_spaces(space)
    named = [asked["hardware"]] if isinstance(asked["hardware"], str) else list(asked["hardware"])
    hardware = named[next(i for i, s in enumerate(spaces) if s is own)] if len(named) > 1 else named[0]
    moves = elasticities(e)
    made = {
        "id": 0, "evaluate": shlex.join(evaluate_command(own, points, 0, asked["model"], hardware)),
        "constraints": _constraints(e, aim),
        "charged": {phase: {name: plain(-share) for name, share in charged_shares(e, phase).items()}
                    for phase in PHASES},
        "elasticities": {metric: {name: plain(v) for name, v in moves.get(metric, {}).items()}
                         for metric in dict.fromkeys((*aim.objectives, *TELLING)) if moves.get(metric)},
    }
    if not asked.get("min_gpus"):
        return made
    return {**made, "sizing": [fewest_of(s, i, aim, points) for i, s in enumerate(spaces)]}


def _constraints(e: Evaluation, aim: Aim) -> list[dict[str, Any]]:
    """Every constraint and limit, the one nearest to its bound first."""
    excess = {name: float(value) for name, value in e.constraints.items()}
    for name, (metric, most) in aim.limits.items():
        excess[name] = float(e.metrics[metric] or 0.0) / most - 1
    slots = float(e.metrics[FULL] or 0.0)
    if slots and isfinite(slots):
        excess[FULL] = min(float(e.metrics["batch"] or 0.0) / slots - 1, 0.0)
    return [{"name": name, "excess": plain(excess[name])} for name in sorted(excess, key=lambda n: -excess[n])]


def evaluate_command(space: Space, points: Points, row: int, model: str, hardware: str) -> list[str]:
    """The words of the `dse evaluate` command that gives a point's figures."""
    at = {name: value for name, value in zip(points.names, points.rows[row].tolist(), strict=True)
          if not np.isnan(value)}
    return ["dse", "evaluate", model, "--hardware", hardware, *_machine(space, at), *_plan(space, at),
            *_traffic(space, at)]


def _number(value: float) -> str:
    """A number whose text is that very number."""
    return str(plain(value))


def _machine(space: Space, at: Mapping[str, float]) -> Iterator[str]:
    system = space.system
    if system.engine.name != "vllm":
        yield from ("--engine", system.engine.name)
    if system.usd_per_gpu_hour is not None:
        yield from ("--usd-per-gpu-hour", _number(float(system.usd_per_gpu_hour)))
    elif system.cost_basis != "owned":
        yield from ("--cost", system.cost_basis)
    for name in CHIP_VARIABLES:
        if name in at:
            yield from ("--set", f"silicon.{name}={_number(at[name])} {UNITS[name]}".rstrip())


def _plan(space: Space, at: Mapping[str, float]) -> Iterator[str]:
    """Splits, formats, placement and techniques; silent where the search was."""
    variant = space.variants[int(at.get("technique", 0))]
    for name in SPLITS:
        if name in ("tp", "dp") or at[name] != 1:
            yield from (f"--{name}", _number(at[name]))
    for name in ("weights", "kv"):
        chosen = getattr(space, name)[int(at[name])] if name in at else None
        if chosen is not None:
            yield from (f"--{name}", chosen)
    for name in OFFLOADS:
        if at.get(name):
            yield from (f"--{name.replace('_', '-')}", _number(at[name]))
    if "budget" in at:
        yield from ("--set", f"batching.budget={_number(at['budget'])}")
    for name in variant.techniques:
        yield from ("--technique", name)
    knobs = {name: _number(at[name]) for name in names_of_knobs((variant,)) if name in at}
    for name, value in {**knobs, **variant.words}.items():
        yield from ("--knob", f"{name}={value}")


def _traffic(space: Space, at: Mapping[str, float]) -> Iterator[str]:
    traffic = space.traffic_at(at[space.load])
    yield from ("--input-tokens", _number(space.input_tokens), "--output-tokens", _number(space.output_tokens))
    yield from (f"--{space.load}", _number(at[space.load]))
    if space.load == "rate":
        yield from ("--arrival-cv2", _number(space.arrival_cv2)) if space.arrival_cv2 != 1 else ()
        yield from ("--peak-to-mean", _number(traffic.peak_to_mean)) if traffic.peak_to_mean != 1 else ()
    for name in ("input_cv2", "output_cv2"):
        if getattr(space, name):
            yield from (f"--{name.replace('_', '-')}", _number(getattr(space, name)))
