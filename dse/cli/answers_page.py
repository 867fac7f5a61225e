"""What binds a search's chosen plan, what more of each resource would buy, and the command that evaluates it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dse.cli import show
from dse.cli.sensitivity_page import RESOURCES, elasticity_table

LIMITS = {"memory": "device memory", "host_memory": "host memory", "prefill_memory": "memory of the prompts' pool",
          "disk": "disk", "rate": "the rate", "kv_slots": "places in the batch", "reticle": "the reticle",
          "shoreline": "the edge of the die"}
MOST_CONSTRAINTS, MOST_RESOURCES = 3, 3
WIDTH = 76
TIGHT = 5e-4


def answers_page(answers: Mapping[str, Any]) -> Iterator[RenderableType]:
    """The blocks after the front."""
    if len(answers.get("sizing", ())) > 1:
        yield show.heading("Fewest devices of each chip")
        yield show.pairs(_sizes(answers["sizing"]))
    yield show.heading("What binds")
    yield show.pairs(_binds(answers))
    yield show.heading("What 1 % more of a resource changes, in % (at its present price)")
    yield elasticity_table(answers["elasticities"])
    yield show.heading("The plan by itself")
    yield Text("\n".join(_lines(answers["evaluate"])))


def _lines(command: str) -> Iterator[str]:
    """A command over several lines that a shell takes as one."""
    options = re.split(r" (?=--)", command)
    line = options[0]
    for option in options[1:]:
        if len(line) + len(option) + 1 > WIDTH:
            yield line + " \\"
            line = "    " + option
        else:
            line += " " + option
    yield line


def _binds(answers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    told = [f"{_limit(c['name'])} {_left(c['excess'])}" for c in answers["constraints"][:MOST_CONSTRAINTS]]
    yield "constraints", ", ".join(told)
    for phase, shares in answers["charged"].items():
        largest = sorted(shares, key=lambda name: -shares[name])[:MOST_RESOURCES]
        yield f"{phase} time", ", ".join(f"{show.percent(shares[n])} {RESOURCES.get(n, n)}" for n in largest)


def _limit(name: str) -> str:
    return LIMITS.get(name, "--" + name.replace("_", "-"))


def _left(excess: float | None) -> str:
    """How much of a bound is left."""
    if excess is None:
        return "unknown"
    return "used up" if excess > -TIGHT else f"{show.percent(-excess)} left"


def _sizes(sizing: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for size in sizing:
        if size["gpus"] is None:
            yield size["hardware"], "none meets the limits"
        else:
            cost = size.get("usd_per_mtok")
            price = "" if cost is None else f", {show.significant(cost)} USD/Mtok"
            yield size["hardware"], f"{show.significant(size['gpus'])} devices{price}, TPOT " \
                                    f"{show.seconds(size.get('tpot_s'))}, TTFT {show.seconds(size.get('ttft_s'))}"
