"""A system from what a user names: a chip, a catalogued system, or a file of either."""

from __future__ import annotations

import os
from pathlib import Path

from dse.catalogue.calibration import load_engine, load_kernels, load_uncertainty
from dse.catalogue.files import read_toml
from dse.catalogue.hardware import chip_names, default_node, load_chip, load_economics, load_node, system_names
from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.model.machine import Node
from dse.model.system import System
from dse.plan.cells import check_cell

COST_BASES = ("owned", "rented")
_GPUS = {"low": 1.0, "high": 1048576.0, "whole": True, "choices": (), "optional": False}
_PRICE = {"low": 0.0, "high": 1e6, "whole": False, "choices": (), "optional": True}


def hardware_names() -> list[str]:
    """Chips and systems of the catalogue."""
    return sorted({*chip_names(), *system_names()})


def load_system(hardware: str | Path, gpus: Number = 1, engine: str = "vllm", cost_basis: str = "owned",
                usd_per_gpu_hour: Number | None = None) -> System:
    """`gpus` devices of a chip or system, by catalogue name or file, with a serving engine and a cost basis.

    cost_basis: "owned" (capital, network, power, building) or "rented"; `usd_per_gpu_hour` replaces both.
    """
    node = _node(hardware)
    if cost_basis not in COST_BASES:
        raise InputError("cost", f"no such basis: {cost_basis!r}", nearest(cost_basis, COST_BASES))
    serving = load_engine(engine)
    price = check_cell(usd_per_gpu_hour, _PRICE, "usd_per_gpu_hour")
    return System(node, check_cell(gpus, _GPUS, "gpus"), load_kernels(node.chip, serving.kernels), serving,
                  load_economics(), load_uncertainty(), price, cost_basis)


def _node(hardware: str | Path) -> Node:
    text = os.fspath(hardware)
    if text.endswith(".toml") or os.sep in text:
        return load_node(text) if read_toml(Path(text)).get("kind") == "system" else default_node(load_chip(text))
    if text in system_names():
        return load_node(text)
    if text in chip_names():
        return default_node(load_chip(text))
    raise InputError("hardware", f"{text!r} is not in the catalogue", nearest(text, hardware_names()))
